"""Exact neighbours through a bound in a projected space: most points are dismissed without being measured.

With orthonormal directions V (D, r) and y = x - c, the features

    f(x) = (V^T y, |y - V V^T y|)        (r + 1 numbers)

never lie further apart than the points: |f(q) - f(x)| <= |q - x|, because the part of q - x outside the span
of V is at least as long as the difference of the two lengths there.  One product of thin matrices gives a
floor under every distance (`unrote.distances`), a few measured points give a ceiling over the k-th nearest,
and only points whose floor lies below that ceiling are measured, in float64 at the end.  Directions of large
variance (principal components) make floors high; every choice of V gives the same, exact result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from unrote import distances
from unrote.contracts import Neighbors
from unrote.distances import (
    GROUP,
    MEMORY,
    NARROW,
    Frame,
    below,
    check_count,
    close_pairs,
    frame,
    full_precision,
    lift,
    raised,
    roundoff,
    smallest,
    squared,
)

RANK = 128
"""Default number of directions: enough for natural images, where it leaves about 1 point in 1,000."""

MEASURING = 60_000
"""How many entries of a product cost as much time as measuring one pair; no result depends on it."""

Exact = Callable[[Tensor, Tensor], Tensor]
"""Squared distances in float64, in the frame's unit, of listed rows of a view's members and of points."""


@dataclass(frozen=True)
class ProjectedIndex:
    """Reference points with their features, ready for exact searches; made by `projected_index`.

    Args:
        reference: the points themselves (N, D), not copied.
        frame: origin and unit of the features.
        basis: orthonormal directions (D, r), float64.
        lifted: features with the columns that floors need (M, r + 4), float32, padded with unreachable rows.
        slack: relative error of the features.
        blur: how far measured distances may be from the wanted ones where the points were rounded before
            they came here, in the units of the data.
    """

    reference: Shaped[Tensor, "N D"]
    frame: Frame
    basis: Float[Tensor, "D R"]
    lifted: Float[Tensor, "M W"]
    slack: float
    blur: float


def projected_index(
    reference: Shaped[Tensor, "N D"],
    rank: int = RANK,
    *,
    setting: Frame | None = None,
    blur: float = 0.0,
    memory: int = MEMORY,
) -> ProjectedIndex:
    """Project reference points onto their leading principal components.

    Args:
        reference: points (N, D).
        rank: number of directions, cut to what N and D allow.
        setting: a frame that suits the queries too, where these are of another size than the points.
        blur: see `ProjectedIndex`.
        memory: budget in bytes for the work; the index itself holds 4 N (rank + 4) bytes.

    Raises:
        InputError: for no points at all, NaN or infinity.
        ValueError: for a rank below 1.
    """
    if rank < 1:
        raise ValueError(f"a projection needs a rank of at least 1, got {rank}")
    check_count(1, len(reference))
    setting = setting or frame(reference, reference)
    basis = _directions(reference, rank, setting)
    slack = _slack(basis)
    r = basis.shape[1]
    lifted = torch.zeros(-(-len(reference) // GROUP) * GROUP, r + 4, device=reference.device)
    _features(reference, setting, basis, lifted[: len(reference)], memory)
    lift(lifted, r + 1, slack, turned=False)
    lifted[len(reference) :, r + 2] = torch.finfo(torch.float32).max / 4
    return ProjectedIndex(reference, setting, basis, lifted, slack, blur)


def _directions(reference: Tensor, rank: int, setting: Frame) -> Tensor:
    """Leading principal directions (D, r) of at most 4,096 points by subspace iteration, float64.

    It starts from evenly spaced points, so that nothing here is random.
    """
    sample = reference[:: -(-len(reference) // 4096)]
    y = torch.empty(sample.shape, device=reference.device)
    setting.place(sample, y)
    y = y - y.mean(0)
    q = torch.linalg.qr(y[:: max(1, len(y) // (rank + 16))][: rank + 16].T.double()).Q.float()
    with full_precision():
        for _ in range(2):
            q = torch.linalg.qr((y.T @ (y @ q)).double()).Q.float()
        small = y @ q
    vectors = torch.linalg.eigh((small.T @ small).double()).eigenvectors
    return torch.linalg.qr(q.double() @ vectors.flip(1)[:, :rank]).Q


def _slack(basis: Tensor) -> float:
    """Relative error |f - F| / |F| of computed features.

    In float64 the projection errs by at most w = (sqrt(r) (D + 8) + 8) u64 + 2 |V^T V - 1|, the length
    outside the span, a square root of a difference, by 2 sqrt(w); rounding to float32 adds u32.
    """
    d, r = basis.shape
    skew = torch.linalg.matrix_norm(basis.T @ basis - torch.eye(r, dtype=basis.dtype, device=basis.device))
    w = 1.02 * (r**0.5 * (d + 8) + 8) * roundoff(torch.float64) + 2 * float(skew)
    return 1.01 * roundoff(torch.float32) + w + 2 * w**0.5


def _features(x: Tensor, setting: Frame, basis: Tensor, out: Tensor, memory: int) -> None:
    """Write f(x) into the first r + 1 columns of `out`."""
    d, r = basis.shape
    rows = max(1, min(1024, memory // (32 * (d + r))))
    y = torch.empty(min(rows, len(x)), d, dtype=torch.float64, device=x.device)
    for points, target in zip(x.split(rows), out.split(rows), strict=True):
        part = y[: len(points)]
        setting.place(points, part)
        p = part @ basis
        target[:, :r] = p
        outside = torch.linalg.vector_norm(part, dim=1).square() - p.square().sum(1)
        target[:, r] = outside.clamp_(min=0).sqrt_()


@dataclass(frozen=True)
class View:
    """A block of bags seen beside all reference points; made by `look`.

    Args:
        index: the reference points.
        members: members of all bags (R, D) with R = B T, bag after bag.
        bags: how many bags B.
        floor: half squared distances of every member from below (R, M).
        least: the least floor over each bag's members (B, M).
        exact: how pairs are measured at the end.
        sharp: whether the floors come from all coordinates and not from the projection.
    """

    index: ProjectedIndex
    members: Shaped[Tensor, "R D"]
    bags: int
    floor: Float[Tensor, "R M"]
    least: Float[Tensor, "B M"]
    exact: Exact
    sharp: bool = False

    @property
    def size(self) -> int:
        """Members in each bag, T."""
        return len(self.members) // self.bags

    def measured(
        self, member: Int[Tensor, " E"], point: Int[Tensor, " E"]
    ) -> tuple[Float[Tensor, " E"], Float[Tensor, " E"]]:
        """Distances of listed pairs from below and from above in the frame's unit, by float32 differences.

        A norm summed in any order errs by (D/2 + 4) unit roundoffs; twice that is allowed for.
        """
        reference, scale = self.index.reference, self.index.frame.scale
        plain = scale == 1 and {reference.dtype, self.members.dtype} <= NARROW
        found = [torch.empty(0, device=member.device)]
        for q, x in zip(member.split(256), point.split(256), strict=True):
            a, b = reference.index_select(0, x), self.members.index_select(0, q)
            difference = a.float().sub_(b) if plain else a.double().sub_(b).mul_(scale).float()
            found.append(torch.linalg.vector_norm(difference, dim=1))
        d = torch.cat(found).double()
        spread = (reference.shape[1] + 8) * roundoff(torch.float32)
        spread = spread / (1 - spread)
        blur = self.index.blur * scale + reference.shape[1] ** 0.5 * 2.0**-60
        return d * (1 - spread) - blur, d * (1 + spread) + blur

    def candidates(self, width: int) -> tuple[Float[Tensor, "B K"], Int[Tensor, "B K"], Int[Tensor, "B K"]]:
        """Points with the least floors of every bag: floors, points and the members that attain them."""
        floor, point = smallest(self.least, width)
        own = torch.arange(self.bags, device=point.device)[:, None] * self.size
        if self.size == 1:
            return floor, point, own.expand_as(point)
        columns = point[:, None, :].expand(-1, self.size, -1)
        best = self.floor.unflatten(0, (self.bags, self.size)).gather(2, columns).argmin(1)
        return floor, point, own + best

    def ceiling(self, k: int) -> Float[Tensor, " B"]:
        """An upper bound on the k-th distance of every bag: the k-th among a few measured points."""
        _, point, member = self.candidates(min(len(self.index.reference), max(8, k + 6)))
        _, high = self.measured(member.flatten(), point.flatten())
        return high.view_as(point).kthvalue(k, dim=1).values

    def limit(self, ceiling: Float[Tensor, " A"]) -> Float[Tensor, " A"]:
        """The highest floor of a point that may lie within a distance."""
        reach = ceiling + self.index.blur * self.index.frame.scale
        return (reach.square() / 2 * (1 + 2.0**-20)).float() + torch.finfo(torch.float32).tiny

    def crowd(self, ceiling: Float[Tensor, " A"], bags: Int[Tensor, " A"]) -> Float[Tensor, " A"]:
        """About how many pairs a ceiling on the distance leaves to be measured, from every 16th point."""
        some = self.floor.unflatten(0, (self.bags, self.size))[:, :, ::16][bags]
        share = (some <= self.limit(ceiling)[:, None, None]).float().mean((1, 2))
        return share * self.size * len(self.index.reference)

    def open(
        self, ceiling: Float[Tensor, " A"], bags: Int[Tensor, " A"]
    ) -> tuple[Int[Tensor, " E"], Int[Tensor, " E"], Int[Tensor, " E"]]:
        """All that a ceiling on the distance leaves to be measured: row of `bags`, point and member."""
        limit = self.limit(ceiling)
        row, point = below(self.least if len(bags) == self.bags else self.least[bags], limit)
        if self.size == 1:
            return row, point, bags[row]
        floors = self.floor.unflatten(0, (self.bags, self.size))[bags[row], :, point]
        hit, inside = (floors <= limit[row, None]).nonzero(as_tuple=True)
        row, point = row[hit], point[hit]
        return row, point, bags[row] * self.size + inside

    def verified(
        self, k: int, ceiling: Float[Tensor, " A"], bags: Int[Tensor, " A"]
    ) -> tuple[Float[Tensor, "A K"], Int[Tensor, "A K"]]:
        """Squared distances in the frame's unit and indices of the k nearest points, exact.

        Args:
            k: how many neighbours.
            ceiling: an upper bound on the k-th distance of each bag asked for.
            bags: which bags, ascending.
        """
        n, d = self.index.reference.shape
        crowded = self.crowd(ceiling, bags) > max(256, self.size * n * d / MEASURING)
        if self.sharp or not crowded.any():
            row, point, member = self.open(ceiling, bags)
            low, high = self.measured(member, point)
            near = low <= _first(row, point, high, k, len(bags))[0][row, -1]
            row, point, member = row[near], point[near], member[near]
            return _first(row, point, self.exact(member, point), k, len(bags))
        d2 = torch.empty(len(bags), k, dtype=torch.float64, device=bags.device)
        place = torch.empty(len(bags), k, dtype=torch.int64, device=bags.device)
        d2[~crowded], place[~crowded] = self.verified(k, ceiling[~crowded], bags[~crowded])
        sharp = self.sharpened(bags[crowded])
        every = torch.arange(sharp.bags, device=bags.device)
        d2[crowded], place[crowded] = sharp.verified(k, sharp.ceiling(k), every)
        return d2, place

    def sharpened(self, bags: Int[Tensor, " A"]) -> View:
        """Some bags with floors from all coordinates, for queries that the projection tells little about."""
        rows = (bags[:, None] * self.size + torch.arange(self.size, device=bags.device)).flatten()
        turned = raised(self.members, rows, self.index.frame, torch.float32, turned=True)
        floor = self.floor.new_full((len(rows), self.floor.shape[1]), float("inf"))
        n = len(self.index.reference)
        for points in torch.arange(n, device=bags.device).split(1024):
            straight = raised(self.index.reference, points, self.index.frame, torch.float32, turned=False)
            with full_precision():
                floor[:, points] = turned @ straight.T
        least = floor.unflatten(0, (len(bags), self.size)).amin(1)

        def exact(member: Tensor, point: Tensor) -> Tensor:
            return self.exact(rows[member], point)

        return View(self.index, self.members[rows], len(bags), floor, least, exact, sharp=True)


def _first(row: Tensor, point: Tensor, value: Tensor, k: int, rows: int) -> tuple[Tensor, Tensor]:
    """The k least values over distinct points of every row and the points; equal values by lower point."""
    span = int(point.max()) + 1 if len(point) else 1
    key, place = (row * span + point).unique(return_inverse=True)
    least = torch.full((len(key),), float("inf"), dtype=value.dtype, device=value.device)
    least.scatter_reduce_(0, place, value, "amin")
    order = least.argsort(stable=True)
    order = order[(key[order] // span).argsort(stable=True)]
    start = torch.searchsorted(key[order] // span, torch.arange(rows, device=row.device))
    take = order[start[:, None] + torch.arange(k, device=row.device)]
    return least[take], key[take] % span


def look(
    index: ProjectedIndex,
    bags: Shaped[Tensor, "B T D"],
    exact: Exact | None = None,
    *,
    scratch: Float[Tensor, "S M"] | None = None,
    memory: int = MEMORY,
) -> View:
    """Floors between a block of bags and all reference points.

    Args:
        index: the reference points.
        bags: the distance of a bag is that of its nearest member; T = 1 is the plain case.
        exact: how pairs are measured at the end; by default by direct differences.
        scratch: room for the floors of at least B*T members; spent by the next call that is given it.
        memory: budget in bytes for the projection.
    """
    members = bags.flatten(0, 1)
    r = index.basis.shape[1]
    turned = torch.empty(len(members), r + 4, device=bags.device)
    _features(members, index.frame, index.basis, turned, memory)
    lift(turned, r + 1, index.slack, turned=True)
    with full_precision():
        floor = torch.mm(turned, index.lifted.T, out=None if scratch is None else scratch[: len(members)])
    least = floor if bags.shape[1] == 1 else floor.unflatten(0, bags.shape[:2]).amin(1)

    def direct(member: Tensor, point: Tensor) -> Tensor:
        return squared(members, index.reference, member, point, index.frame.scale)

    return View(index, members, len(bags), floor, least, exact or direct)


def views(index: ProjectedIndex, query: Shaped[Tensor, "Q ..."], memory: int = MEMORY) -> Iterator[View]:
    """Look at queries (Q, D), or bags (Q, T, D), block by block; a view ends where the next begins.

    Raises:
        InputError: for NaN or infinity, or different dimensions.
    """
    setting = frame(query.flatten(0, -2), index.reference[:1])
    if setting.scale < index.frame.scale * 2.0**-40:
        raise ValueError(
            "the queries are 2^40 times larger than the points; make the index in a common frame"
        )
    bags = query if query.ndim == 3 else query[:, None]
    size = bags.shape[1]
    rows = max(1, min(256, memory // (8 * size * len(index.lifted))))
    scratch = torch.empty(min(rows, len(bags)) * size, len(index.lifted), device=query.device)
    for block in bags.split(rows) if len(bags) else ():
        yield look(index, block, scratch=scratch, memory=memory // 4)


def nearest(view: View, k: int) -> Neighbors:
    """The k nearest reference points of every bag in view, exact in float64; ties go to the lower index."""
    d2, place = view.verified(k, view.ceiling(k), torch.arange(view.bags, device=view.members.device))
    return Neighbors(d2.sqrt() / view.index.frame.scale, place)


def search(
    index: ProjectedIndex, query: Shaped[Tensor, "Q ..."], k: int = 2, *, memory: int = MEMORY
) -> Neighbors:
    """The k nearest reference points of every query or bag, exact in float64; ties go to the lower index.

    Args:
        index: the reference points.
        query: points (Q, D), or bags (Q, T, D), whose distance is that of the nearest member.
        k: how many neighbours, at most N.
        memory: budget in bytes beyond data and index.

    Raises:
        InputError: for k outside 1..N, NaN or infinity, or different dimensions.
    """
    check_count(k, len(index.reference))
    nothing = torch.empty(0, k, dtype=torch.float64, device=query.device)
    found = [Neighbors(nothing, nothing.long()), *(nearest(view, k) for view in views(index, query, memory))]
    return Neighbors(torch.cat([f.distance for f in found]), torch.cat([f.index for f in found]))


def pairs_within(
    x: Shaped[Tensor, "N D"], radius: float, *, rank: int = 32, memory: int = MEMORY
) -> tuple[Int[Tensor, "E 2"], Float[Tensor, " E"]]:
    """All pairs i < j with d(x_i, x_j) <= radius: `unrote.distances.pairs_within`, sooner for large N and D.

    Args:
        x: points in the units of the data.
        radius: in the same units, not negative; 0 finds exact copies.
        rank: number of directions.
        memory: budget in bytes beyond the data, the index and the result.

    Raises:
        InputError: for a negative or undefined radius, NaN or infinity in x.
    """
    if len(x) < 4 * rank or x.shape[1] < 4 * rank:
        return distances.pairs_within(x, radius, memory=memory)
    index = projected_index(x, rank, memory=memory)
    m = index.basis.shape[1] + 1

    def rows(start: int, stop: int, turned: bool) -> Tensor:
        out = index.lifted[start:stop].clone()
        if turned:
            lift(out, m, index.slack, turned=True)
        return out

    return close_pairs(x, radius, index.frame, rows, memory)
