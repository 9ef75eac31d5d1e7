"""003's information leakage: what generated samples tell about the training data, in nats.

Everything is written for x = x0 + sigma z; the paper's sigma_n is VP time, sigma_n^2 = sigma^2 / (1 + sigma^2), so its
(1 - sigma_n^2) / sigma_n^2 is 1 / sigma^2.  The optimum of ambient training knows one noisy copy of every training
point and repeats it; the optimum of ordinary training (DDPM) makes a new noisy copy at every draw.  m new copies of one
point are as good as one at level sigma / sqrt(m), so that ordinary training leaks

    I(D; x0) = (1/2) log det(I + m Sigma / sigma^2),      not      (m/2) log det(I + Sigma / sigma^2)

as Lemma 4.2 says: it grows like (d/2) log m.  What the lemma is for survives: one leaks without bound, the other never
more than the first copy.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from unrote.contracts import normal

MOST_SUBSETS = 12
"""Points or draws of a simulation whose sums run over all subsets."""

BLOCK = 1024
"""Counts of draws at a time."""


def ambient_leakage(spectrum: Float[Tensor, " D"], sigma: Float[Tensor, " L"]) -> Float[Tensor, " L"]:
    """I(A; x0) = (1/2) sum_k log(1 + lambda_k / sigma^2): what any number of draws of the ambient optimum tells.

    Args:
        spectrum: eigenvalues of the covariance of x0 ~ N(mu, Sigma) (D,), at least 0.
        sigma: noise levels of x = x0 + sigma z (L,), positive.

    Source: 003 Lemma 4.2; equation (11) in VP units.
    """
    return ddpm_leakage(spectrum, sigma, torch.ones(1, dtype=torch.int64))[0]


def ddpm_leakage(
    spectrum: Float[Tensor, " D"], sigma: Float[Tensor, " L"], draws: Int[Tensor, " S"]
) -> Float[Tensor, "S L"]:
    """I(D; x0) = (1/2) sum_k log(1 + m lambda_k / sigma^2): what m draws of the DDPM optimum tell.

    Args:
        spectrum: eigenvalues of the covariance of x0 (D,), at least 0.
        sigma: noise levels (L,), positive.
        draws: m (S,), at least 0.

    Source: 003 Lemma 4.2, corrected: the draws are independent only when x0 is given.
    """
    values, s = _checked(spectrum, sigma)
    if bool((draws < 0).any()):
        raise ValueError("a number of draws is at least 0")
    value, times = values.unique(return_counts=True)  # often there is one, a thousand times
    ratio = draws.double()[:, None, None] * value / s.square()[:, None]
    return torch.log1p(ratio) @ times.double() / 2


def printed_leakage(
    spectrum: Float[Tensor, " D"], sigma: Float[Tensor, " L"], draws: Int[Tensor, " S"]
) -> Float[Tensor, "S L"]:
    """m I(A; x0), which the paper says of m draws of the DDPM optimum; right for m = 1, too large beyond.

    Source: 003 Lemma 4.2 as printed.
    """
    return draws.double()[:, None] * ambient_leakage(spectrum, sigma)


def remaining_error(
    spectrum: Float[Tensor, " D"], sigma: Float[Tensor, " L"], draws: Int[Tensor, " S"]
) -> Float[Tensor, "S L"]:
    """E|x0 - E[x0 | D]|^2 = sum_k lambda_k sigma^2 / (sigma^2 + m lambda_k): how well m draws locate x0.

    It falls like d sigma^2 / m for ordinary training, and stays at its value for m = 1 for ambient training.
    2 sigma^2 times the derivative of the leakage in m is this error.

    Args:
        spectrum: eigenvalues of the covariance of x0 (D,).
        sigma: noise levels (L,), positive.
        draws: m (S,).

    Source: 003, after Lemma 4.2 ("error poly(1/m)"); the relation of Guo, Shamai and Verdu, 2005.
    """
    values, s = _checked(spectrum, sigma)
    square = s.square()[:, None]
    return (values * square / (square + draws.double()[:, None, None] * values)).sum(-1)


def expected_distinct(samples: int, draws: Int[Tensor, " S"]) -> Float[Tensor, " S"]:
    """N (1 - (1 - 1/N)^m): how many different stored copies m draws show.

    Source: 003 Lemma C.1, which counts m.
    """
    if samples < 1:
        raise ValueError(f"a data set has at least one point, got {samples}")
    if samples == 1:
        return (draws > 0).double()
    return -samples * torch.expm1(draws.double() * math.log1p(-1 / samples))


def ambient_set_bounds(
    spectrum: Float[Tensor, " D"], sigma: Float[Tensor, " L"], samples: int, draws: Int[Tensor, " S"]
) -> tuple[Float[Tensor, "S L"], Float[Tensor, "S L"]]:
    """Between which numbers I(A; S) lies, for m draws of the ambient optimum of N independent points: (low, high).

    high = E[k] I_1,  E[k] = `expected_distinct`,  I_1 = `ambient_leakage`: all that the k different copies would tell
    if one knew whose they are.  Not knowing costs at most the entropy of the labels, log N!/(N - k)!, which is
    concave in k:  low = high - log N!/(N - E[k])!, or 0.

    Args:
        spectrum: eigenvalues of the covariance of the points (D,).
        sigma: noise levels (L,), positive.
        samples: N.
        draws: m (S,).

    Source: 003 Lemma C.1, corrected: E[k] <= min(m, N) stands where the paper has m.
    """
    different = expected_distinct(samples, draws)
    high = different[:, None] * ambient_leakage(spectrum, sigma)
    left = (samples - different).clamp(min=0)
    labels = math.lgamma(samples + 1) - torch.lgamma(left + 1)
    return (high - labels[:, None]).clamp(min=0), high


def ddpm_set_bound(
    spectrum: Float[Tensor, " D"], sigma: Float[Tensor, " L"], samples: int, draws: Int[Tensor, " S"]
) -> Float[Tensor, "S L"]:
    """At most what m draws of the DDPM optimum of N independent points tell: N E[I_j], j ~ Bin(m, 1/N).

    It is what they would tell if one knew whose copies they are; I_j is `ddpm_leakage` of j draws.

    Args:
        spectrum: eigenvalues of the covariance of the points (D,).
        sigma: noise levels (L,), positive.
        samples: N.
        draws: m (S,).

    Source: 003 section C.1.3, which says "m times larger" than ambient training.
    """
    if samples == 1:
        return ddpm_leakage(spectrum, sigma, draws)
    rows = []
    for m in draws.tolist():
        count, mass = _binomial(m, 1 / samples)
        parts = zip(count.split(BLOCK), mass.split(BLOCK), strict=True)
        rows.append(sum(samples * share @ ddpm_leakage(spectrum, sigma, some) for some, share in parts))
    return torch.stack([torch.as_tensor(row) for row in rows])


def simulate_looks(
    spectrum: Float[Tensor, " D"], sigma: float, draws: int, generator: torch.Generator, repeats: int = 1000
) -> Float[Tensor, " R"]:
    """log p(D | x0) / p(D) for m draws of the DDPM optimum of one point; its mean is I(D; x0).

    Draws are made one by one, and p(D) is the density of all of them together, with a Cholesky factor of their
    covariance lambda 1 1^T + sigma^2 I: nothing of `ddpm_leakage` is used.

    Args:
        spectrum: eigenvalues of the covariance of x0 (D,).
        sigma: noise level, positive.
        draws: m, at least 1.
        generator: draws x0 and the noise.
        repeats: R, how many x0.
    """
    values, s = _checked(spectrum, torch.tensor([sigma], dtype=torch.float64))
    size, m = len(values), draws
    x0 = normal((repeats, size), generator, torch.float64) * values.sqrt()
    noise = normal((repeats, m, size), generator, torch.float64)
    seen = x0[:, None] + s * noise
    given = -noise.square().sum((1, 2)) / 2 - m * size * math.log(sigma)
    one = torch.ones(m, m, dtype=torch.float64)
    factor = torch.linalg.cholesky(values[:, None, None] * one + sigma**2 * torch.eye(m, dtype=torch.float64))
    white = torch.linalg.solve_triangular(factor, seen.permute(2, 1, 0), upper=False)  # (D,m,R)
    marginal = (
        -white.square().sum((0, 1)) / 2 - factor.diagonal(dim1=1, dim2=2).log().sum()
    )  # constants cancel
    return given - marginal


def simulate_ambient_set(
    spectrum: Float[Tensor, " D"],
    sigma: float,
    samples: int,
    draws: int,
    generator: torch.Generator,
    repeats: int = 1000,
) -> Float[Tensor, " R"]:
    """log p(A | S) / p(A) for m draws of the ambient optimum of N points; its mean is I(A; S), labels unknown.

    p(A | S) of k different copies is an average over all ways to give them to points, a permanent, here an exact sum
    over subsets.

    Args:
        spectrum: eigenvalues of the covariance of the points (D,).
        sigma: noise level, positive.
        samples: N, at most 12.
        draws: m, at least 1.
        generator: draws points, copies, and which are shown.
        repeats: R, how many data sets.

    Source: 003 Lemma C.1.
    """
    values, _ = _checked(spectrum, torch.tensor([sigma], dtype=torch.float64))
    if not 1 <= samples <= MOST_SUBSETS:
        raise ValueError(f"sums over subsets are taken for up to {MOST_SUBSETS} points, got {samples}")
    size = len(values)
    points = normal((repeats, samples, size), generator, torch.float64) * values.sqrt()
    copies = points + sigma * normal((repeats, samples, size), generator, torch.float64)
    shown = torch.randint(samples, (repeats, draws), generator=generator)
    count = torch.zeros(repeats, samples, dtype=torch.int64)
    count.scatter_(1, shown, 1)
    kept = count.sum(1)
    order = torch.argsort(count, dim=1, descending=True, stable=True)
    out = torch.empty(repeats, dtype=torch.float64)
    for k in kept.unique().tolist():
        here = kept == k
        rows = torch.arange(len(points))[here][:, None]
        y = copies[rows, order[here][:, :k]]  # (r,k,D)
        ratio = _log_ratio(y, points[here], values, sigma)  # (r,k,N)
        ways = math.lgamma(samples + 1) - math.lgamma(samples - k + 1)
        out[here] = _log_permanent(ratio) - ways
    return out


def simulate_ddpm_set(
    spectrum: Float[Tensor, " D"],
    sigma: float,
    samples: int,
    draws: int,
    generator: torch.Generator,
    repeats: int = 1000,
) -> Float[Tensor, " R"]:
    """log p(D | S) / p(D) for m draws of the DDPM optimum of N points; its mean is I(D; S), labels unknown.

    p(D) is an average over all ways to give the draws to points, an exact sum over subsets of the draws.

    Args:
        spectrum: eigenvalues of the covariance of the points (D,).
        sigma: noise level, positive.
        samples: N, at least 1.
        draws: m, at most 12.
        generator: draws points, labels and noise.
        repeats: R, how many data sets.

    Source: 003 section C.1.3.
    """
    values, _ = _checked(spectrum, torch.tensor([sigma], dtype=torch.float64))
    if not 1 <= draws <= MOST_SUBSETS:
        raise ValueError(f"sums over subsets are taken for up to {MOST_SUBSETS} draws, got {draws}")
    size = len(values)
    points = normal((repeats, samples, size), generator, torch.float64) * values.sqrt()
    label = torch.randint(samples, (repeats, draws), generator=generator)
    y = points.gather(1, label[..., None].expand(-1, -1, size))
    y = y + sigma * normal((repeats, draws, size), generator, torch.float64)
    given = torch.logsumexp(_log_ratio(y, points, values, sigma), 2).sum(1)  # times N^-m, as p(D) is
    return given - _log_ways(_log_blocks(y, values, sigma), samples)


def _log_ratio(
    y: Float[Tensor, "R K D"], points: Float[Tensor, "R N D"], values: Float[Tensor, " D"], sigma: float
) -> Float[Tensor, "R K N"]:
    """log N(y; x, sigma^2 I) / N(y; 0, Sigma + sigma^2 I) for every copy and point."""
    near = (y[:, :, None] - points[:, None]).square().sum(3) / (2 * sigma**2)
    total = values + sigma**2
    far = (y.square() / total).sum(2) / 2
    constant = torch.log1p(values / sigma**2).sum() / 2
    return constant + far[:, :, None] - near


def _log_permanent(entry: Float[Tensor, "R K N"]) -> Float[Tensor, " R"]:
    """log of sum over injections f of prod_i exp(entry[i, f(i)]), row after row over subsets of columns."""
    rows, k, n = entry.shape
    top = entry.amax(2, keepdim=True)
    scaled = (entry - top).exp()
    subset = torch.arange(2**n)
    ways = torch.zeros(rows, 2**n, dtype=torch.float64)
    ways[:, 0] = 1
    for i in range(k):
        after = torch.zeros_like(ways)
        for j in range(n):
            free = subset[(subset >> j) % 2 == 0]
            after[:, free + 2**j] += ways[:, free] * scaled[:, i, j, None]
        ways = after
    return ways.sum(1).log() + top.sum((1, 2))


def _log_blocks(
    y: Float[Tensor, "R M D"], values: Float[Tensor, " D"], sigma: float
) -> Float[Tensor, "R 2**M"]:
    """log of p(draws of a subset, from one point) over the product of their single densities, all subsets."""
    _, m, _ = y.shape
    member = ((torch.arange(2**m)[:, None] >> torch.arange(m)) % 2).double()  # (2^M,M)
    count = member.sum(1)[:, None]
    total = torch.einsum("um,rmd->rud", member, y)
    square, one = sigma**2, values + sigma**2
    together = (total.square() * (values / (square * (square + count * values)))).sum(2) / 2
    together = together - torch.log1p(count * values / square).sum(1) / 2
    single = (y.square() * (values / (square * one))).sum(2) / 2 - torch.log1p(values / square).sum() / 2
    return together - single @ member.T


def _log_ways(block: Float[Tensor, "R U"], samples: int) -> Float[Tensor, " R"]:
    """log of sum over maps J of draws to N points of prod_j exp(block[J = j]), point after point."""
    size = block.shape[1]
    ways = torch.full_like(block, -math.inf)
    ways[:, 0] = 0
    whole = [torch.tensor([b for b in range(u + 1) if b & u == b]) for u in range(size)]
    for _ in range(samples):
        ways = torch.stack(
            [torch.logsumexp(ways[:, u - inside] + block[:, inside], 1) for u, inside in enumerate(whole)], 1
        )
    return ways[:, -1]


def _binomial(trials: int, share: float) -> tuple[Int[Tensor, " J"], Float[Tensor, " J"]]:
    """Counts within fourteen deviations of the mean and their probabilities, from ratios of neighbours."""
    mean, deviation = trials * share, math.sqrt(trials * share * (1 - share))
    low = max(0, math.floor(mean - 14 * deviation - 40))
    high = min(trials, math.ceil(mean + 14 * deviation + 40))
    count = torch.arange(low, high + 1)
    j = count[:-1].double()
    step = torch.log((trials - j) / (j + 1)) + math.log(share) - math.log1p(-share)
    log_mass = torch.cat([torch.zeros(1, dtype=torch.float64), step.cumsum(0)])
    return count, torch.softmax(log_mass, 0)


def _checked(
    spectrum: Float[Tensor, " D"], sigma: Float[Tensor, " L"]
) -> tuple[Float[Tensor, " D"], Float[Tensor, " L"]]:
    values, s = spectrum.double(), sigma.double()
    if not len(values) or not bool(torch.isfinite(values).all() and (values >= 0).all()):
        raise ValueError("a spectrum holds one or more finite numbers, none below 0")
    if not bool((s > 0).all()):
        raise ValueError("noise levels must be positive; without noise a copy tells everything")
    return values, s
