"""Blocked exact Euclidean distances under a memory budget: a fast pass that is never trusted, then float64.

A matrix product in float32 cannot tell near neighbours apart: |q|^2 + |x|^2 - 2<q,x> loses what the norms
have in common.  So no distance here comes from such a product.  It only gives a *floor*, a number that is
proven to lie below half the squared distance, whatever the order in which the product was summed; points
whose floor is too high are dismissed, and the few that remain are measured in float64 by direct differences.

The floor.  For vectors f, g with m entries in arithmetic of unit roundoff u, gamma = (m+4)u / (1 - (m+4)u),

    floor(f, g) = (1 - e)(|f|^2 + |g|^2)/2 - <f, g> - e |f| |g|        (one product with m + 3 columns)
    e           = 1.2 (m + 16) u / (1 - (m + 16) u) + 2.2 slack.

Any order of summation errs by at most gamma times the sum of the absolute values of the products, that is by
gamma (|f| + |g|)^2 / 2, which the terms in e exceed; the rest of e pays for rounding the four extra columns
and for vectors that are themselves known only up to a relative error `slack`.
Underflow is paid for by a subtracted constant, overflow is avoided by a power of two, see `Frame`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from unrote.contracts import InputError, Neighbors

MEMORY = 512 * 2**20
"""Default budget in bytes beyond the data."""

GROUP = 64
"""Columns that share one minimum when a wide row of floors is searched."""

NARROW = {torch.uint8, torch.int8, torch.int16, torch.float16, torch.bfloat16, torch.float32}
_ROUNDED = 1 + 2.0**-44
"""More than any float64 sum of squares by `tree_sum` can be off, for fewer than 2^64 terms."""


@dataclass(frozen=True)
class Frame:
    """Where the passes put the origin and the unit, so that norms are small and nothing overflows.

    Args:
        centre: a point near the data (D,), itself narrow where the data are.
        scale: a power of two; 1 for all data of ordinary size.
        narrow: whether every coordinate is exact in float32.
    """

    centre: Float[Tensor, " D"]
    scale: float
    narrow: bool

    def place(self, x: Shaped[Tensor, "M D"], out: Float[Tensor, "M D"]) -> None:
        """Write (x - centre) * scale into `out`, to a relative error of 1.01 unit roundoffs per entry."""
        if self.scale == 1 and (self.narrow or out.dtype == torch.float64):
            out.copy_(x).sub_(self.centre.to(out.dtype))
        else:
            out.copy_((x.double() * self.scale).sub_(self.centre * self.scale))


def frame(query: Shaped[Tensor, "Q D"], reference: Shaped[Tensor, "N _"]) -> Frame:
    """A frame for two sets of points, centred near the mean of the second.

    Raises:
        InputError: for complex or boolean numbers, for NaN and infinity, for different dimensions.
    """
    if query.shape[1] != reference.shape[1]:
        raise InputError(
            f"The queries have {query.shape[1]} numbers each, the reference points {reference.shape[1]}; "
            "both need the same; resize the images or convert their channels until the sets agree."
        )
    largest = max(_largest(query, "queries"), _largest(reference, "reference points"))
    sample = reference[:: max(1, len(reference) // 1024)].double()
    whole = not (query.is_floating_point() or reference.is_floating_point())
    power = 0 if largest == 0 else torch.frexp(torch.tensor(largest, dtype=torch.float64)).exponent.item()
    scale = 1.0 if -20 <= power <= 20 else 2.0 ** -max(-1020, min(power, 1020))
    centre = (sample * scale).mean(0) / scale
    centre = centre.round() if whole else centre
    narrow = {query.dtype, reference.dtype} <= NARROW
    return Frame(centre.float().double() if narrow else centre, scale, narrow)


def _largest(x: Tensor, name: str) -> float:
    if x.is_complex() or x.dtype == torch.bool:
        raise InputError(
            f"The {name} are of type {x.dtype}; distances need integers or real floating point numbers; "
            "convert them, for example with .to(torch.uint8) or .float()."
        )
    if x.numel() == 0:
        return 0.0
    low, high = (float(end) for end in x.aminmax())
    if not (abs(low) < float("inf") and abs(high) < float("inf")):
        raise InputError(
            f"The {name} hold NaN or infinite numbers; distances need finite numbers; "
            "remove or repair the rows for which torch.isfinite is false."
        )
    return max(abs(low), abs(high))


def roundoff(dtype: torch.dtype) -> float:
    """Unit roundoff of a floating point type: 2^-24 for float32, 2^-53 for float64."""
    return torch.finfo(dtype).eps / 2


def margin(columns: int, dtype: torch.dtype, slack: float) -> float:
    """The relative margin e of a floor, see the head of this file."""
    spread = (columns + 16) * roundoff(dtype)
    return 1.2 * spread / (1 - spread) + 2.2 * slack


def lift(f: Float[Tensor, "M W"], m: int, slack: float, *, turned: bool) -> None:
    """Fill columns m to m+3 behind vectors in the first m columns, so that a product gives floors.

    One side of the product is turned, the other is not: turned(f) . straight(g) = floor(f, g) <= d^2/2.
    """
    e = margin(m, f.dtype, slack)
    norm = torch.cat([torch.linalg.vector_norm(rows.double(), dim=1) for rows in f[:, :m].split(256)])
    half = norm.square() * ((1 - e) / 2) - (m + 4) * 2 * torch.finfo(f.dtype).tiny
    if turned:
        f[:, :m].neg_()
    one = torch.ones_like(half)
    for column, value in enumerate((half, one, norm) if turned else (one, half, norm * -e)):
        f[:, m + column] = value


def raised(
    x: Shaped[Tensor, "N D"], rows: Int[Tensor, " M"], setting: Frame, dtype: torch.dtype, *, turned: bool
) -> Float[Tensor, "M W"]:
    """Chosen points in a frame, with the columns that floors need."""
    m = x.shape[1]
    out = torch.empty(len(rows), m + 3, dtype=dtype, device=x.device)
    for part, target in zip(rows.split(1024), out.split(1024), strict=True):
        start, stop = int(part[0]), int(part[-1]) + 1
        setting.place(x[start:stop] if stop - start == len(part) else x[part], target[:, :m])
    lift(out, m, 1.01 * roundoff(dtype), turned=turned)
    return out


@contextmanager
def full_precision() -> Iterator[None]:
    """Matrix products in the type of their arguments, whatever reduced precision the caller allows."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def smallest(floor: Float[Tensor, "B W"], k: int) -> tuple[Float[Tensor, "B K"], Int[Tensor, "B K"]]:
    """The k smallest entries of every row in ascending order, through the minima of groups of columns.

    The k groups with the smallest minima hold k smallest entries, so only those are looked into.
    """
    width = floor.shape[1]
    groups = width // GROUP
    if groups < 4 * k:
        return floor.topk(k, largest=False)
    body = floor[:, : groups * GROUP].unflatten(1, (groups, GROUP))
    chosen = body.amin(2).topk(k, largest=False).indices
    column = (chosen[:, :, None] * GROUP + torch.arange(GROUP, device=floor.device)).flatten(1)
    tail = torch.arange(groups * GROUP, width, device=floor.device).expand(len(floor), -1)
    column = torch.cat([column, tail], 1)
    value, place = floor.gather(1, column).topk(k, largest=False)
    return value, column.gather(1, place)


def below(
    floor: Float[Tensor, "B W"], limit: Float[Tensor, " B"]
) -> tuple[Int[Tensor, " E"], Int[Tensor, " E"]]:
    """Rows and columns of all entries at most their row's limit, through the minima of groups of columns."""
    groups = floor.shape[1] // GROUP
    body = floor[:, : groups * GROUP].unflatten(1, (groups, GROUP))
    row, group = (body.amin(2) <= limit[:, None]).nonzero(as_tuple=True)
    hit, inside = (body[row, group] <= limit[row, None]).nonzero(as_tuple=True)
    tail_row, tail = (floor[:, groups * GROUP :] <= limit[:, None]).nonzero(as_tuple=True)
    return torch.cat([row[hit], tail_row]), torch.cat([group[hit] * GROUP + inside, tail + groups * GROUP])


def tree_sum(x: Float[Tensor, "M D"]) -> Float[Tensor, " M"]:
    """Sum every row in a fixed order, so that no result depends on blocks or threads; x is spent."""
    width = x.shape[1]
    while width > 1:
        half = (width + 1) // 2
        x[:, : width // 2].add_(x[:, half:width])
        width = half
    return x[:, 0].clone()


def squared(
    query: Shaped[Tensor, "Q D"],
    reference: Shaped[Tensor, "N D"],
    first: Int[Tensor, " E"],
    second: Int[Tensor, " E"],
    scale: float = 1.0,
) -> Float[Tensor, " E"]:
    """Squared distances of listed pairs, times scale^2, in float64 by direct differences.

    For 8-bit data the result is exact.  It is 0 for equal points alone (unless they differ by less than
    1e-150 of the data's range), and does not depend on blocks, threads or device.
    """
    rows = max(1, 2**18 // max(1, query.shape[1]))
    found = [torch.empty(0, dtype=torch.float64, device=query.device)]
    for q, x in zip(first.split(rows), second.split(rows), strict=True):
        difference = reference.index_select(0, x).double().sub_(query.index_select(0, q))
        if scale != 1:
            difference.mul_(scale)
        found.append(tree_sum(difference.square_()))
    return torch.cat(found)


def top_k(
    query: Shaped[Tensor, "Q D"], reference: Shaped[Tensor, "N _"], k: int, *, memory: int = MEMORY
) -> Neighbors:
    """The k nearest reference points of every query, exact in float64; ties go to the lower index.

    d(q, x) = sqrt(sum_i (q_i - x_i)^2).  A float32 pass proposes k' = max(8, k + 6) points, which are
    measured in float64; a query is done when its k-th distance lies below the floor of all other points,
    otherwise the pass is repeated for it in float64 with k' doubled.

    Args:
        query: points in the units of the data, any integer or floating point type; 8-bit data are converted
            block by block and measured exactly.
        reference: points in the same units.
        k: how many neighbours, at most N.
        memory: budget in bytes beyond the data; it changes the speed and never the result.

    Raises:
        InputError: for k outside 1..N, NaN or infinity, or different dimensions.
    """
    check_count(k, len(reference))
    setting = frame(query, reference)
    distance = torch.empty(len(query), k, dtype=torch.float64, device=query.device)
    index = torch.empty(len(query), k, dtype=torch.int64, device=query.device)
    rows = max(1, memory // (4 * 4 * (query.shape[1] + 4 * (k + 10))))
    dtype = torch.float32 if margin(query.shape[1], torch.float32, 0.0) < 0.05 else torch.float64
    search = _BruteForce(query, reference, k, setting, memory)
    for block in torch.arange(len(query), device=query.device).split(rows) if len(query) else ():
        for done, d2, place in search.resolve(block, max(8, k + 6), dtype, None):
            distance[done] = d2.sqrt() / setting.scale
            index[done] = place
    return Neighbors(distance, index)


def check_count(k: int, available: int) -> None:
    """Raise InputError unless k neighbours can be found among the reference points there are."""
    if not 1 <= k <= available:
        raise InputError(
            f"{k} nearest neighbours were asked of {available} reference points; "
            "ask for at least 1 and at most as many as there are, or pass a larger reference set."
        )


@dataclass(frozen=True)
class _BruteForce:
    query: Tensor
    reference: Tensor
    k: int
    frame: Frame
    memory: int

    def resolve(
        self, todo: Tensor, width: int, dtype: torch.dtype, rows: Tensor | None
    ) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Yield (queries, squared distances, indices), each query once."""
        available = len(self.reference) if rows is None else len(rows)
        width = min(width, available)
        floor, place = self._propose(todo, width, dtype, rows)
        first = todo.repeat_interleave(width)
        d2 = squared(self.query, self.reference, first, place.flatten(), self.frame.scale).view_as(place)
        d2, place = in_order(d2, place)
        sure = (d2[:, self.k - 1] * _ROUNDED < 2 * floor.double()) | (width == available)
        yield todo[sure], d2[sure, : self.k], place[sure, : self.k]
        todo = todo[~sure]
        if len(todo) == 0:
            return
        if rows is None and dtype == torch.float64:
            rows = self._lowest_copies
        for block in todo.split(max(1, self.memory // (128 * width))):
            yield from self.resolve(block, 2 * width, torch.float64, rows)

    def _propose(
        self, todo: Tensor, width: int, dtype: torch.dtype, rows: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Indices of the `width` lowest floors of every query, and the highest of these floors."""
        size = torch.finfo(dtype).bits // 8
        turned = raised(self.query, todo, self.frame, dtype, turned=True)
        available = len(self.reference) if rows is None else len(rows)
        step = max(1, min(2048, available, self.memory // (8 * size * (self.query.shape[1] + 3))))
        tile = max(1, min(1024, self.memory // (8 * size * step)))
        best = torch.full((len(todo), width), float("inf"), dtype=dtype, device=todo.device)
        place = torch.zeros(len(todo), width, dtype=torch.int64, device=todo.device)
        everything = torch.arange(available, device=todo.device) if rows is None else rows
        for block in everything.split(step):
            straight = raised(self.reference, block, self.frame, dtype, turned=False)
            for start in range(0, len(todo), tile):
                part = slice(start, start + tile)
                with full_precision():
                    floor = turned[part] @ straight.T
                value, column = smallest(floor, min(width, len(block)))
                value, choice = torch.cat([best[part], value], 1).topk(width, largest=False)
                place[part] = torch.cat([place[part], block[column]], 1).gather(1, choice)
                best[part] = value
        return best[:, -1], place

    @cached_property
    def _lowest_copies(self) -> Tensor:
        """Ascending indices of all points that have fewer than k equal points before them."""
        seen: Counter[bytes] = Counter()
        keep = []
        for row, point in enumerate(self.reference):
            name = blake2b((point + 0).cpu().view(torch.uint8).numpy().tobytes(), digest_size=16).digest()
            seen[name] += 1
            if seen[name] <= self.k:
                keep.append(row)
        return torch.tensor(keep, device=self.reference.device)


def in_order(
    value: Float[Tensor, "Q K"], place: Int[Tensor, "Q K"]
) -> tuple[Float[Tensor, "Q K"], Int[Tensor, "Q K"]]:
    """Sort every row by value, equal values by place."""
    place, order = place.sort(dim=1)
    value, again = value.gather(1, order).sort(dim=1, stable=True)
    return value, place.gather(1, again)


def pairs_within(
    x: Shaped[Tensor, "N D"], radius: float, *, memory: int = MEMORY
) -> tuple[Int[Tensor, "E 2"], Float[Tensor, " E"]]:
    """All pairs i < j with d(x_i, x_j) <= radius in lexicographic order, exact in float64.

    Args:
        x: points in the units of the data.
        radius: in the same units, not negative; 0 finds exact copies.
        memory: budget in bytes beyond the data and the result.

    Returns:
        Pairs (E, 2) int64 and their distances (E,) float64.

    Raises:
        InputError: for a negative or undefined radius, NaN or infinity in x.
    """
    setting = frame(x, x)
    dtype = torch.float32 if margin(x.shape[1], torch.float32, 0.0) < 0.05 else torch.float64

    def rows(start: int, stop: int, turned: bool) -> Tensor:
        return raised(x, torch.arange(start, stop, device=x.device), setting, dtype, turned=turned)

    return close_pairs(x, radius, setting, rows, memory)


def close_pairs(
    x: Shaped[Tensor, "N D"],
    radius: float,
    setting: Frame,
    rows: Callable[[int, int, bool], Tensor],
    memory: int,
) -> tuple[Int[Tensor, "E 2"], Float[Tensor, " E"]]:
    """All close pairs, filtered by the floors that products of `rows(start, stop, turned)` give."""
    if not radius >= 0:
        raise InputError(
            f"The radius is {radius}; it must be a number of at least 0 in the units of the data."
        )
    n = len(x)
    step = max(1, min(2048, memory // (16 * (x.shape[1] + 3)), int((memory / 16) ** 0.5)))
    half = (radius * setting.scale) ** 2 / 2 * (1 + 2.0**-20) + torch.finfo(torch.float32).tiny
    pairs, distance = [], []
    for start in range(0, n, step):
        turned = rows(start, min(n, start + step), True)
        limit = torch.full((len(turned),), half, dtype=turned.dtype, device=x.device)
        near = []
        for other in range(start, n, step):
            straight = rows(other, min(n, other + step), False)
            with full_precision():
                i, j = below(turned @ straight.T, limit)
            ordered = i + start < j + other
            i, j = i[ordered] + start, j[ordered] + other
            d = squared(x, x, i, j, setting.scale).sqrt() / setting.scale
            near.append(torch.stack([i.double(), j.double(), d], 1)[d <= radius])
        found = torch.cat(near)
        found = found[(found[:, 0] * n + found[:, 1]).argsort()]
        pairs.append(found[:, :2].long())
        distance.append(found[:, 2])
    if not pairs:
        return torch.empty(0, 2, dtype=torch.int64), torch.empty(0, dtype=torch.float64)
    return torch.cat(pairs), torch.cat(distance)
