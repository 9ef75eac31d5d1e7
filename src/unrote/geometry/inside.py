"""Which noisy points lie inside a union of shells, at every level from one distance computation.

y = x + sigma z lies in the shell of x_i if sigma^2 inner^2 <= |y - x_i|^2 <= sigma^2 outer^2, that is if
A_i - sigma B_i lies between sigma^2 (inner^2 - |z|^2) / 2 and sigma^2 (outer^2 - |z|^2) / 2, with
A_i = |x_i - x|^2 / 2 and B_i = <z, x_i - x>.  Pairs that rounding could put on the other side
of a limit are done again in float64.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from unrote import likelihoods

Left = tuple[Int[Tensor, " Q"], Int[Tensor, " N"]]
"""A group for every query and for every data point; pairs within one group are left out."""


def inside_any(
    data: Float[Tensor, "N D"],
    base: Float[Tensor, "Q D"],
    z: Float[Tensor, "Q D"],
    levels: Float[Tensor, " T"],
    ends: tuple[float, float],
    left_out: Left | None = None,
    memory: int = likelihoods.DEFAULT_MEMORY,
) -> Bool[Tensor, "T Q"]:
    """Whether base + sigma z lies in the shell of any data point.

    Args:
        data: centres of the shells (N,D).
        base: clean points (Q,D).
        z: their standard normal noise (Q,D), the same for all levels.
        levels: sigma (T,).
        ends: inner and outer radius of the shells in units of sigma.
        left_out: groups of the queries and of the data; a query is not compared with its own group.
        memory: bytes beyond the data.
    """
    out = torch.zeros(len(levels), len(base), dtype=torch.bool, device=data.device)
    size = likelihoods.product_type(data).itemsize
    step = max(1, memory * 3 // 4 // (4 * size * len(data) + 32 * data.shape[1]))
    for first in range(0, len(base), step):
        rows = slice(first, min(len(base), first + step))
        groups = None if left_out is None else (left_out[0][rows], left_out[1])
        with torch.no_grad():
            block = _block(data, base[rows].double(), z[rows].double(), groups, memory // 4)
            for index, sigma in enumerate(levels.tolist()):
                out[index, rows] = block.inside(sigma, *ends)
    return out


@dataclass(frozen=True)
class _Block:
    """A_i and B_i of a block of queries, with bounds on their errors."""

    data: Float[Tensor, "N D"]
    base: Float[Tensor, "Q D"]
    z: Float[Tensor, "Q D"]
    a: Float[Tensor, "Q N"]
    b: Float[Tensor, "Q N"]
    error_a: Float[Tensor, " Q"]
    error_b: Float[Tensor, " Q"]
    buffer: Float[Tensor, "Q N"]

    def inside(self, sigma: float, inner: float, outer: float) -> Bool[Tensor, " Q"]:
        """Whether each query lies in a shell at one level."""
        value = torch.add(self.a, self.b, alpha=-sigma, out=self.buffer)
        square = self.z.square().sum(1)
        low, high = (sigma**2 * (end**2 - square) / 2 for end in (inner, outer))
        unit = 4 * torch.finfo(value.dtype).eps
        error = self.error_a + sigma * self.error_b + unit * (low.abs() + high.abs())
        # The point with the least value is the nearest: mostly it alone decides.
        least = value.amin(1).double()
        found = (least >= low + error) & (least <= high - error)
        rest = (~found & (least <= high + error)).nonzero()[:, 0]
        for rows in rest.split(max(1, likelihoods.CHUNK // value.shape[1])):
            found[rows] = self._any(value[rows], rows, low[rows], high[rows], error[rows], sigma)
        return found

    def _any(
        self, value: Tensor, rows: Tensor, low: Tensor, high: Tensor, error: Tensor, sigma: float
    ) -> Bool[Tensor, " R"]:
        """Whether some pair of these rows is inside, looking closer at pairs near a limit."""
        kind = value.dtype
        certain = (value >= (low + error).to(kind)[:, None]) & (value <= (high - error).to(kind)[:, None])
        found = certain.any(1)
        wide = (value >= (low - error).to(kind)[:, None]) & (value <= (high + error).to(kind)[:, None])
        row, column = (wide & ~found[:, None]).nonzero(as_tuple=True)
        for pairs, difference, half in likelihoods.half_squared(self.base, self.data, rows[row], column):
            exact = half - sigma * torch.linalg.vecdot(difference, self.z[rows[row[pairs]]])
            hit = (exact >= low[row[pairs]]) & (exact <= high[row[pairs]])
            found[row[pairs][hit]] = True
        return found


def _block(data: Tensor, base: Tensor, z: Tensor, groups: Left | None, memory: int) -> _Block:
    centre = likelihoods.middle(data)
    shifted = base - centre.double()
    products, half = likelihoods.inner_products(torch.cat([shifted, z]), data, centre, memory)
    a, b = products.split(len(base))
    radius = float((2 * half.max()).sqrt())
    unit = torch.finfo(a.dtype).eps
    own = shifted.square().sum(1) / 2
    error_a = likelihoods.rounding(a, shifted, data, centre, radius) + unit * (own + radius**2 / 2)
    error_b = likelihoods.rounding(b, z, data, centre, radius)
    cross = (shifted * z).sum(1)
    error_b = error_b + unit * (cross.abs() + z.norm(dim=1) * radius / len(z[0]) ** 0.5)
    a.neg_().add_(half.to(a.dtype)).add_(own.to(a.dtype)[:, None])
    b.sub_(cross.to(a.dtype)[:, None])
    for rows, same in _same(groups, len(base)):
        a[rows].masked_fill_(same, torch.inf)
    return _Block(data, base, z, a, b, error_a, error_b, torch.empty_like(a))


def _same(groups: Left | None, queries: int) -> Iterator[tuple[slice, Bool[Tensor, "q N"]]]:
    if groups is not None:
        for rows in likelihoods.chunks(queries, len(groups[1])):
            yield rows, groups[0][rows, None] == groups[1]
