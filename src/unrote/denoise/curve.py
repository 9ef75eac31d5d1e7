"""The course of the posterior over a data set along the noise levels, from one distance computation."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from unrote import likelihoods

NEVER = -1e30
"""A log weight that is certain to vanish; not -inf, because 0 times -inf is not 0."""

LOWEST = -80.0
"""Log weights below this count as this: numbers below 1e-38 would be slow and change nothing."""

SHORT = 48
"""Mean length of the short lists: above it one pass over all points is cheaper than float64 differences."""


@dataclass(frozen=True)
class PosteriorWeights:
    """Posterior weights of a block of queries at one level, sparse where few data points matter.

    Args:
        level: sigma of each query (B,), all equal.
        index: which of the levels asked for.
        rows: which of the queries these are.
        size: number of data points N.
        values: weights (B,C) in the order of ``columns``, float64; (B,N) in the type of the data where
            ``columns`` is None.
        columns: data point of each value (B,C); rows with fewer points are filled up with weight 0.
        maximum: the largest weight of each query (B,), float64.
        entropy: -sum_n w_n log w_n of each query (B,), float64, in nats.
    """

    level: Float[Tensor, " B"]
    index: int
    rows: slice
    size: int
    values: Float[Tensor, "B C"]
    columns: Int[Tensor, "B C"] | None
    maximum: Float[Tensor, " B"]
    entropy: Float[Tensor, " B"]

    def dense(self) -> Float[Tensor, "B N"]:
        """All weights (B,N)."""
        if self.columns is None:
            return self.values
        out = self.values.new_zeros(len(self.values), self.size)
        return out.scatter_add_(1, self.columns, self.values)

    def of(self, own: Int[Tensor, " B"]) -> Float[Tensor, " B"]:
        """The weight of one data point per query (B,), float64; of its origin: the self weight.

        Source: 001 Def. 4.1, self version.
        """
        if self.columns is None:
            return self.values.gather(1, own[:, None])[:, 0].double()
        return (self.values * (self.columns == own[:, None])).sum(1)

    def mean(self, x0: Float[Tensor, "N *E"]) -> Float[Tensor, "B *E"]:
        """The denoised queries sum_n w_n x0_n (001 eq. 2), in the type of the data."""
        if self.columns is None:
            return likelihoods.mix(self.values, x0)
        return likelihoods.mix_columns(self.values, self.columns, x0)


def posterior_curve(
    x0: Float[Tensor, "N *E"],
    base: Float[Tensor, "B *E"],
    z: Float[Tensor, "B *E"],
    levels: Float[Tensor, " L"],
    *,
    memory: int = likelihoods.DEFAULT_MEMORY,
) -> Iterator[PosteriorWeights]:
    """Posterior weights of base + sigma z at every level, from one distance computation.

    |base + sigma z - x_j|^2 / 2 = A_j - sigma B_j + sigma^2 |z|^2 / 2, A_j = |x_j - base|^2 / 2,
    B_j = <z, x_j - base>. A and B are made once; a level then costs one pass over them. The points
    that can matter for a query become fewer as sigma falls: if a point's deficit A_j - sigma B_j -
    k sigma^2 against the nearest point, concave in sigma and positive at 0, is negative somewhere, it
    stays negative above. So below some level only a short list per query is touched, in float64.

    Where A and B do not fit the memory, queries are done in blocks: all levels for the first block,
    then all levels for the next (``rows`` and ``index`` of each result say which). Weights are as
    accurate as those of ``likelihoods.gaussian_log_likelihood``; a dense result takes room of its own.

    Args:
        x0: the data set (N,*E).
        base: clean points (B,*E), of the data set or not.
        z: standard normal noise (B,*E), the same for all levels.
        levels: noise levels (L,) in any order, > 0.
        memory: bytes to use beyond the data and one dense result.

    Raises:
        ValueError: if a level is not a positive number, or if the shapes do not fit.

    Source: 001 eq. (3), Def. 4.1.
    """
    data, start, noise = likelihoods.flat(x0), likelihoods.flat(base), likelihoods.flat(z)
    likelihoods.check(levels.new_zeros(len(levels), data.shape[1]), data, levels)
    likelihoods.check(start, data, levels.new_ones(len(start)))
    if start.shape != noise.shape:
        raise ValueError(f"base {tuple(base.shape)} and z {tuple(z.shape)} must have one shape")
    return _blocks(data, start, noise, levels.double(), memory)


def _blocks(data: Tensor, base: Tensor, z: Tensor, levels: Tensor, memory: int) -> Iterator[PosteriorWeights]:
    size = likelihoods.product_type(data).itemsize
    step = max(1, memory * 3 // 4 // (2 * size * (len(data) + 8 * data.shape[1])))
    for first in range(0, len(base), step):
        rows = slice(first, min(len(base), first + step))
        with torch.no_grad():
            lines = _Lines(data, base[rows].double(), z[rows].double(), memory // 4)
            few = lines.shorten(levels.tolist())
        for index, sigma in enumerate(levels.tolist()):
            with torch.no_grad():
                short = lines.short if sigma <= few else None
                found = lines.dense(sigma) if short is None else short.weights(sigma)
            level = levels[index].expand(rows.stop - rows.start)
            yield PosteriorWeights(level, index, rows, len(data), *found)


Found = tuple[Tensor, Tensor | None, Tensor, Tensor]
"""values, columns, maximum, entropy of a PosteriorWeights."""


@dataclass(frozen=True)
class _Pairs:
    """A_j and B_j in float64 for some pairs of a query (a row) and a data point (a column)."""

    rows: Int[Tensor, " P"]
    columns: Int[Tensor, " P"]
    a: Float[Tensor, " P"]
    b: Float[Tensor, " P"]

    def and_also(self, other: _Pairs) -> _Pairs:
        names = ("rows", "columns", "a", "b")
        return _Pairs(*(torch.cat([getattr(self, name), getattr(other, name)]) for name in names))

    def place(self, matrix: Float[Tensor, "B N"]) -> Int[Tensor, " P"]:
        """Where the pairs stand in a matrix that is read row by row."""
        return self.rows * matrix.shape[1] + self.columns

    def log_weights(self, sigma: float) -> Float[Tensor, " P"]:
        return (sigma * self.b - self.a) / sigma**2


class _Lines:
    """A_j and B_j of a block of queries in the type of the data, and in float64 for pairs that matter."""

    def __init__(self, data: Tensor, base: Tensor, z: Tensor, memory: int) -> None:
        self.data, self.base, self.z = data, base, z
        centre = likelihoods.middle(data)
        shifted = base - centre.double()
        products, half = likelihoods.inner_products(torch.cat([shifted, z]), data, centre, memory)
        self.kind = products.dtype
        self.a, self.b = products.split(len(base))
        radius = float((2 * half.max()).sqrt())
        self.error_a = likelihoods.rounding(self.a, shifted, data, centre, radius)
        self.error_b = likelihoods.rounding(self.b, z, data, centre, radius)
        own = shifted.square().sum(1) / 2
        self.a.neg_().add_(half.to(self.kind)).add_(own.to(self.kind)[:, None])
        self.b.sub_((shifted * z).sum(1).to(self.kind)[:, None])
        # Sums and level passes in this type round once more, by a few units of their largest term.
        self.error_a += torch.finfo(self.kind).eps * (own + radius**2 / 2)
        self.parts = list(likelihoods.chunks(len(base), len(data)))
        none, zero = own.new_zeros(0, dtype=torch.int64), own.new_zeros(0)
        self.pairs = [_Pairs(none, none, zero, zero) for _ in self.parts]
        self.short: _Short | None = None

    def exact(self, part: slice, near: Bool[Tensor, "B N"]) -> _Pairs:
        """The pairs marked in a part of the queries, in float64."""
        rows, columns = near.nonzero(as_tuple=True)
        a, b = (torch.empty(len(rows), dtype=torch.float64, device=near.device) for _ in range(2))
        base, z = self.base[part], self.z[part]
        for which, difference, half in likelihoods.half_squared(base, self.data, rows, columns):
            a[which] = half
            b[which] = torch.linalg.vecdot(difference, z[rows[which]])
        return _Pairs(rows, columns, a, b)

    def shorten(self, levels: list[float]) -> float:
        """Make the short lists, for the highest level at which they are short; return that level."""
        allowed = len(self.data) // 8
        for sigma in sorted(levels, reverse=True):
            marks, total = [], 0
            for part in self.parts:
                marks.append(self._near(part, sigma))
                counts = marks[-1].sum(1)
                total += int(counts.sum())
                if int(counts.max()) > allowed or total > SHORT * len(self.base):
                    break
            else:
                self.pairs = [self.exact(part, near) for part, near in zip(self.parts, marks, strict=True)]
                self.short = _Short.of(self.pairs, self.parts)
                return sigma
        return 0.0

    def _near(self, part: slice, sigma: float) -> Bool[Tensor, "B N"]:
        """Every point that could matter at this level or below, judged against the nearest to base."""
        a, b = self.a[part], self.b[part]
        least, nearest = a.min(1, keepdim=True)
        depth = math.log(len(self.data)) + (40 if self.kind == torch.float64 else 18)
        margin = 2 * (self.error_a[part] + sigma * self.error_b[part])
        bound = (sigma**2 * depth + margin)[:, None] + least - sigma * b.gather(1, nearest)
        near = torch.add(a, b, alpha=-sigma) <= bound.to(self.kind)
        return near | (a <= (least + 2 * self.error_a[part][:, None]).to(self.kind))

    def dense(self, sigma: float) -> Found:
        """Weights of all data points, in the type of the data except for the exact pairs."""
        values = torch.empty_like(self.a)
        maximum, entropy = torch.empty_like(self.error_a), torch.empty_like(self.error_a)
        delta = (self.error_a + sigma * self.error_b) / sigma**2
        for at, part in enumerate(self.parts):
            maximum[part], entropy[part] = self._pass(at, sigma, delta[part], values[part])
        return values, None, maximum, entropy

    def _pass(self, at: int, sigma: float, delta: Tensor, out: Tensor) -> tuple[Tensor, Tensor]:
        """Weights of one part of the queries at one level, their maximum and entropy."""
        log = self.a[self.parts[at]] * (-1 / sigma**2)
        log.add_(self.b[self.parts[at]], alpha=1 / sigma)
        pairs = self.pairs[at]
        log.view(-1)[pairs.place(log)] = NEVER
        highest = log.amax(1)
        top = highest.double().scatter_reduce_(0, pairs.rows, pairs.log_weights(sigma), "amax").to(self.kind)
        log.sub_(top[:, None])
        torch.clamp(log, min=LOWEST, out=out).exp_()
        total, weight, exact = self._total(at, sigma, top, out)
        limit = total.log() - likelihoods.reach(delta, log.shape[1], self.kind)
        if bool((highest - top >= limit).any()):
            new = self.exact(self.parts[at], log >= limit.to(self.kind)[:, None])
            pairs = self.pairs[at] = pairs.and_also(new)
            if float(delta.max()) > 0.5:
                # The top itself may have been wrong by many nats, so the part is done again.
                return self._pass(at, sigma, delta, out)
            log.view(-1)[new.place(log)] = NEVER
            total, weight, exact = self._total(at, sigma, top, out)
        sums = log.mul_(out).sum(1).double().index_add_(0, pairs.rows, weight * exact)
        out.mul_(total.reciprocal().to(self.kind)[:, None])
        out.view(-1)[pairs.place(log)] = (weight / total[pairs.rows]).to(self.kind)
        return out.amax(1).double(), (total.log() - sums / total).clamp_min(0)

    def _total(
        self, at: int, sigma: float, top: Tensor, out: Tensor
    ) -> tuple[Float[Tensor, " B"], Float[Tensor, " P"], Float[Tensor, " P"]]:
        """Sum of all weights, weights of the exact pairs and their logs; the pairs are zeroed in out."""
        pairs = self.pairs[at]
        out.view(-1)[pairs.place(out)] = 0
        exact = pairs.log_weights(sigma) - top.double()[pairs.rows]
        weight = exact.exp()
        return out.sum(1).double().index_add_(0, pairs.rows, weight), weight, exact


@dataclass(frozen=True)
class _Short:
    """A_j and B_j of the few data points of each query that matter, filled up with infinite distances."""

    columns: Int[Tensor, "B C"]
    a: Float[Tensor, "B C"]
    b: Float[Tensor, "B C"]

    @staticmethod
    def of(pairs: list[_Pairs], parts: list[slice]) -> _Short:
        rows = torch.cat([p.rows + part.start for p, part in zip(pairs, parts, strict=True)])
        counts = torch.bincount(rows, minlength=parts[-1].stop)
        place = torch.arange(len(rows), device=rows.device) - (counts.cumsum(0) - counts)[rows]
        shape = (len(counts), int(counts.max()))
        columns = rows.new_zeros(shape)
        a, b = pairs[0].a.new_full(shape, math.inf), pairs[0].a.new_zeros(shape)
        columns[rows, place] = torch.cat([p.columns for p in pairs])
        a[rows, place] = torch.cat([p.a for p in pairs])
        b[rows, place] = torch.cat([p.b for p in pairs])
        return _Short(columns, a, b)

    def weights(self, sigma: float) -> Found:
        """Weights at one level."""
        log = torch.log_softmax((sigma * self.b - self.a) / sigma**2, dim=1)
        values = log.exp()
        entropy = -(values * log.clamp_min(NEVER)).sum(1)
        return values, self.columns, values.amax(1), entropy.clamp_min(0)
