"""Log-likelihoods of noisy points under a whole data set, and the means that follow from them.

Distances come from |q - x|^2/2 = |x|^2/2 - qx + |q|^2/2 with one matrix product in the data's own
precision. In float32 that product is off by up to 1e-3, which at sigma = 0.002 is hundreds of nats. So
the size of the rounding error is estimated on the spot, and every pair whose posterior weight it could
move is computed again as a float64 difference. All results carry no gradient.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

DEFAULT_MEMORY = 512 * 2**20
"""Default budget in bytes beyond the data and the result."""

SAFETY = 8.0
"""Typical rounding errors are multiplied by this, because the largest of many is larger (6 times, on images)."""

TOLERANCE = 4e-7
"""What the estimated error of a float32 product may do to a weight; the true error is mostly a tenth."""

CHUNK = 2**19
"""Elementwise work is done on so many numbers at a time, because they fit the cache."""


def gaussian_log_likelihood(
    x: Float[Tensor, "B *E"],
    x0: Float[Tensor, "N *E"],
    sigma: Float[Tensor, " B"],
    *,
    memory: int = DEFAULT_MEMORY,
) -> Float[Tensor, "B N"]:
    """-|x_b - x0_n|^2 / (2 sigma_b^2) in float64; what is left out is -(D/2) log(2 pi sigma_b^2).

    Nothing is subtracted per row, so that logsumexp over n is a log density up to that constant.
    The softmax over n is within 1e-6 of float64 arithmetic for float32 data, and as good as float64
    differences for float64 data: wherever the rounding error of the matrix product could move a
    weight by more than a tolerance (4e-7, for float64 1e-13) the entry is a float64 difference. The
    others are off by at most that error over sigma^2.

    Args:
        x: noisy points (B,*E), of any floating type.
        x0: the data set (N,*E); its type is the type of the matrix product, at least float32.
        sigma: noise levels (B,), in the units of the data, > 0.
        memory: bytes to use beyond the data and the result.

    Raises:
        ValueError: if a level is not a positive number, or if the shapes do not fit.

    Source: 001 eq. (3).
    """
    query, data = flat(x).double(), flat(x0)
    check(query, data, sigma)
    with torch.no_grad():
        centre = middle(data)
        result = torch.empty(len(query), len(data), dtype=torch.float64, device=data.device)
        # Half of the budget holds the products of a block of queries, a quarter the centred data.
        size = product_type(data).itemsize
        rows = max(1, memory // (2 * size * (len(data) + 4 * data.shape[1])))
        for start in range(0, len(query), rows):
            part = slice(start, start + rows)
            _fill(result[part], query[part], data, centre, sigma[part].double(), memory // 4)
    return result


def mix(
    weights: Float[Tensor, "B N"], x0: Float[Tensor, "N *E"], *, memory: int = DEFAULT_MEMORY
) -> Float[Tensor, "B *E"]:
    """The weighted mean sum_n w_n x0_n, in the type of the data; one-hot weights return their row exactly.

    Rows whose weight sits on a few points (all but 2^-24 of it for float32 data) gather those points,
    the others go through a matrix product in the type of the data, whose error is a few units in
    the last place of the largest entry.

    Args:
        weights: posterior weights (B,N) of any floating type; rows need not sum to one.
        x0: the data set (N,*E).
        memory: bytes to use beyond the data, the weights and the result.

    Source: 001 eq. (2).
    """
    data = flat(x0)
    with torch.no_grad():
        out = torch.empty(len(weights), data.shape[1], dtype=product_type(data), device=data.device)
        narrow = torch.zeros(len(weights), dtype=torch.bool, device=weights.device)
        # A gathered point costs about 64 times its share of a matrix product, a row 2^20 numbers.
        for part in chunks(len(weights), len(data)) if data.numel() >= 2**20 else ():
            kept = _support(weights[part], out.dtype)
            narrow[part] = kept.sum(1) * 64 <= len(data)
            for b in narrow[part].nonzero()[:, 0].tolist():
                columns = kept[b].nonzero()[:, 0]
                out[part.start + b] = _gather(weights[part.start + b, columns], columns, data, out.dtype)
        wide = (~narrow).nonzero()[:, 0]
        # Weights are copied once as they are and once in the type of the product.
        rows = max(1, memory // (16 * (len(data) + data.shape[1])))
        for which in wide.split(rows):
            out[which] = _matrix_mean(weights, which, data, memory // 4)
    return out.to(x0.dtype).reshape(len(weights), *x0.shape[1:])


def mix_columns(
    values: Float[Tensor, "B C"], columns: Int[Tensor, "B C"], x0: Float[Tensor, "N *E"]
) -> Float[Tensor, "B *E"]:
    """``mix`` for weights that are known to vanish outside the given columns of each row.

    Args:
        values: weights (B,C); a column that stands twice in a row counts twice.
        columns: rows of the data set (B,C) that the values belong to.
        x0: the data set (N,*E).
    """
    data = flat(x0)
    with torch.no_grad():
        kind = product_type(data)
        out = torch.empty(len(values), data.shape[1], dtype=kind, device=data.device)
        kept = _support(values, kind)
        single = kept.sum(1) == 1
        only = columns[kept & single[:, None]]
        out[single] = values[kept & single[:, None]].to(kind)[:, None] * data[only].to(kind)
        for b in (~single).nonzero()[:, 0].tolist():
            which = kept[b].nonzero()[:, 0]
            out[b] = _gather(values[b, which], columns[b, which], data, kind)
    return out.to(x0.dtype).reshape(len(values), *x0.shape[1:])


# The parts below serve the denoisers, which reuse one matrix product for many levels.


def flat(x: Shaped[Tensor, "B *E"]) -> Shaped[Tensor, "B D"]:
    """Events as vectors, also for no rows and for events that are single numbers."""
    return x.reshape(len(x), math.prod(x.shape[1:]))


def check(query: Tensor, data: Tensor, sigma: Tensor) -> None:
    """Raise ValueError unless there is data, one event shape, and one positive level per query."""
    if len(data) == 0 or query.shape[1] != data.shape[1]:
        raise ValueError(
            f"queries of {query.shape[1]} numbers cannot be compared with {len(data)} data points of "
            f"{data.shape[1]} numbers: pass at least one data point and one shape of event"
        )
    if sigma.shape != query.shape[:1]:
        raise ValueError(f"sigma must have shape ({len(query)},), one level per query, got {sigma.shape}")
    if not bool((torch.isfinite(sigma) & (sigma > 0)).all()):
        raise ValueError(f"every sigma must be a finite number above 0, got {sigma.tolist()[:8]}")


def chunks(rows: int, columns: int) -> Iterator[slice]:
    """Row slices of a (rows, columns) matrix that fit the cache."""
    step = max(1, CHUNK // max(1, columns))
    return (slice(start, min(rows, start + step)) for start in range(0, rows, step))


def product_type(data: Tensor) -> torch.dtype:
    """The type in which matrix products with this data are made: its own, but at least float32."""
    return torch.promote_types(data.dtype, torch.float32)


def middle(data: Float[Tensor, "N D"]) -> Float[Tensor, " D"]:
    """A point near the mean of the data: distances from it are small, and so are rounding errors."""
    # It need not be the mean, but every row must be shifted by exactly the same numbers.
    return data[:: max(1, len(data) // 1024)].double().mean(0).to(product_type(data))


def inner_products(
    query: Float[Tensor, "Q D"], data: Float[Tensor, "N D"], centre: Float[Tensor, " D"], memory: int
) -> tuple[Float[Tensor, "Q N"], Float[Tensor, " N"]]:
    """<q, x - centre> in the type of the data, and |x - centre|^2/2 in float64, block by block."""
    kind = centre.dtype
    products = torch.empty(len(query), len(data), dtype=kind, device=data.device)
    half = torch.empty(len(data), dtype=torch.float64, device=data.device)
    left = query.to(kind)
    step = min(len(data), max(1, min(2048, memory // (kind.itemsize * (data.shape[1] + len(query))))))
    shifted = torch.empty(step, data.shape[1], dtype=kind, device=data.device)
    inner = max(1, CHUNK // (2 * max(1, data.shape[1])))
    for start in range(0, len(data), step):
        n = min(step, len(data) - start)
        for a in range(0, n, inner):
            b = min(n, a + inner)
            torch.sub(data[start + a : start + b], centre, out=shifted[a:b])
            wide = shifted[a:b].double()
            half[start + a : start + b] = torch.linalg.vecdot(wide, wide)
        products[:, start : start + n] = left @ shifted[:n].T
    return products, half.mul_(0.5)


def rounding(
    products: Float[Tensor, "Q N"],
    query: Float[Tensor, "Q D"],
    data: Float[Tensor, "N D"],
    centre: Float[Tensor, " D"],
    radius: float,
) -> Float[Tensor, " Q"]:
    """A bound on the rounding error of each row of ``inner_products``, estimated, not proved.

    SAFETY times (the root mean square relative error of a thousand pairs, computed again in float64,
    times |q| radius, plus u times the largest product). The second part is for pairs that are nearly
    parallel, which a sample of pairs does not meet. It follows the order of summation and the arithmetic
    of the machine (some devices make products in reduced precision).
    """
    unit = torch.finfo(products.dtype).eps / 2
    if len(query) == 0:
        return query.new_zeros(0)
    rows = torch.arange(0, len(query), -(-len(query) // 16), device=data.device)
    columns = torch.arange(0, len(data), -(-len(data) // 64), device=data.device)
    right = data[columns].double() - centre.double()
    exact = query[rows] @ right.T
    scale = query[rows].norm(dim=1)[:, None] * right.norm(dim=1)
    error = (products[rows][:, columns].double() - exact) / scale.clamp_min(torch.finfo(torch.float64).tiny)
    typical = max(unit / 8, float(error.square().nanmean().sqrt()))
    low, high = torch.aminmax(products, dim=1)
    largest = torch.maximum(-low, high).double()
    return SAFETY * (typical * radius * query.norm(dim=1) + unit * largest)


def reach(delta: Float[Tensor, " B"], size: int, kind: torch.dtype) -> Float[Tensor, " B"]:
    """How many nats below the log of the total a point may lie and still need its exact distance.

    A weight w with a log-likelihood off by at most delta moves by w (e^{2 delta} - 1). It is left alone
    while that is below the tolerance. Where delta is large all points together count, hence log N.
    """
    tolerance = 1e-13 if kind == torch.float64 else TOLERANCE
    moved = torch.expm1((2 * delta).clamp_max(1)).clamp_max(1)
    return 2 * delta + torch.log(moved / tolerance) + math.log(size) * (delta > 0.005)


def half_squared(
    query: Float[Tensor, "B D"],
    data: Float[Tensor, "N D"],
    rows: Int[Tensor, " P"],
    columns: Int[Tensor, " P"],
) -> Iterator[tuple[slice, Float[Tensor, "p D"], Float[Tensor, " p"]]]:
    """For blocks of pairs: which pairs, x_column - q_row and half its square, as float64 differences."""
    step = max(1, CHUNK // (2 * max(1, data.shape[1])))
    for start in range(0, len(rows), step):
        part = slice(start, min(len(rows), start + step))
        difference = data[columns[part]].double().sub_(query[rows[part]])
        yield part, difference, difference.square().sum(1).mul_(0.5)


def _fill(
    result: Float[Tensor, "B N"],
    query: Float[Tensor, "B D"],
    data: Float[Tensor, "N D"],
    centre: Float[Tensor, " D"],
    sigma: Float[Tensor, " B"],
    memory: int,
) -> None:
    """Log-likelihoods of a block of queries: the products, then the pairs that need better."""
    shifted = query - centre.double()
    products, half = inner_products(shifted, data, centre, memory)
    radius = float((2 * half.max()).sqrt())
    delta = rounding(products, shifted, data, centre, radius) / sigma**2
    own = shifted.square().sum(1) / 2
    depth = reach(delta, len(data), products.dtype)
    crowded = []
    for part in chunks(len(query), len(data)):
        torch.sub(half, products[part], out=result[part])
        result[part].add_(own[part, None]).div_(-(sigma[part, None] ** 2))
        near = result[part] >= (_log_total(result[part]) - depth[part])[:, None]
        many = _many(near, products.dtype)
        crowded.append(part.start + many.nonzero()[:, 0])
        near[many] = False
        rows, columns = near.nonzero(as_tuple=True)
        rows = rows + part.start
        for pairs, _, exact in half_squared(query, data, rows, columns):
            result[rows[pairs], columns[pairs]] = exact / -(sigma[rows[pairs]] ** 2)
    del products
    for which in torch.cat([*crowded, own.new_zeros(0, dtype=torch.int64)]).split(max(1, len(query) // 2)):
        result[which] = _wide(query[which], data, centre, memory) / -(sigma[which, None] ** 2)


def _log_total(log_likelihood: Float[Tensor, "B N"]) -> Float[Tensor, " B"]:
    top = log_likelihood.amax(1, keepdim=True)
    # float32 is enough to say which points matter.
    return top[:, 0] + (log_likelihood - top).float().exp_().sum(1).double().log()


def _many(near: Bool[Tensor, "B N"], kind: torch.dtype) -> Bool[Tensor, " B"]:
    """Rows in which a float64 matrix product is cheaper than so many float64 differences."""
    if kind == torch.float64:
        return torch.zeros(len(near), dtype=torch.bool, device=near.device)
    return near.sum(1) > 64 + near.shape[1] // 32


def _wide(
    query: Float[Tensor, "B D"], data: Float[Tensor, "N D"], centre: Float[Tensor, " D"], memory: int
) -> Float[Tensor, "B N"]:
    """Half squared distances from a float64 matrix product."""
    origin = centre.double()
    shifted = query - origin
    products, half = inner_products(shifted, data, origin, memory)
    return products.neg_().add_(half).add_((shifted.square().sum(1) / 2)[:, None])


def _support(weights: Float[Tensor, "B N"], kind: torch.dtype) -> Bool[Tensor, "B N"]:
    """The points that carry all of a row's weight but what the result's type cannot show."""
    unit = torch.finfo(kind).eps / 2
    total = weights.sum(1)
    kept = ~(weights <= (unit / 16) * total[:, None])  # nan is kept, and shows in the mean
    lost = (weights * ~kept).sum(1) > unit * total
    kept |= lost[:, None] & (weights != 0)
    return kept


def _gather(values: Tensor, columns: Tensor, data: Tensor, kind: torch.dtype) -> Tensor:
    return values.to(kind) @ data[columns].to(kind)


def _matrix_mean(weights: Tensor, which: Tensor, data: Tensor, memory: int) -> Tensor:
    kind = product_type(data)
    total = torch.zeros(len(which), data.shape[1], dtype=kind, device=data.device)
    step = len(data) if data.dtype == kind else max(1, memory // (kind.itemsize * data.shape[1]))
    for start in range(0, len(data), step):
        left = weights[which, start : start + step].to(kind)
        total += left @ data[start : start + step].to(kind)
    return total
