"""000's Appendix C as calculators, with its slips corrected, and the condition that Theorem 3.2 does not state.

What was corrected: the proof of Theorem C.1 needs log(1 + x) - x <= -x^2/2 + x^3/3 (not x^3/6, which fails at
x = 1); Proposition C.3 holds with exponent d eps^2 / 8 (its statement says d eps^2 / 2), and its lower end is
d sigma*^2 (1 - 3 eps) throughout; Proposition C.4 needs the factor 2 of its proof, and 1 + log d where log d is
printed.  Exact probabilities stand beside the bounds where they are as cheap.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float
from scipy import special
from torch import Tensor

from unrote.theory.levels import probabilities


def chi_square_below(dimension: int, epsilon: float) -> float:
    """P(chi^2_p <= (1 - eps) p) is at most exp(p/2 (eps + log(1 - eps))).

    Args:
        dimension: p, at least 1.
        epsilon: in (0, 1).

    Source: 000 Theorem C.1, equation (17).
    """
    _check(dimension, epsilon)
    return 0.0 if epsilon == 1 else math.exp(dimension / 2 * (epsilon + math.log1p(-epsilon)))


def chi_square_above(dimension: int, epsilon: float) -> float:
    """P(chi^2_p >= (1 + eps) p) is at most exp(-p/2 (eps - log(1 + eps))).

    Args:
        dimension: p, at least 1.
        epsilon: in (0, 1].

    Source: 000 Theorem C.1, equation (18).
    """
    _check(dimension, epsilon)
    return math.exp(-dimension / 2 * (epsilon - math.log1p(epsilon)))


def chi_square_away(dimension: int, epsilon: float) -> float:
    """P(|chi^2_p - p| >= eps p) is at most 2 exp(-p eps^2 / 8).

    Args:
        dimension: p, at least 1.
        epsilon: in (0, 1].

    Source: 000 Theorem C.1, equation (19).  Its proof's inequality for log(1 + x) is false at x = 1; with
    x^3/3 for x^3/6 it is true on [0, 1] and gives the same conclusion.
    """
    _check(dimension, epsilon)
    return min(1.0, 2 * math.exp(-dimension * epsilon**2 / 8))


def chi_square_exactly(dimension: int, epsilon: float) -> tuple[float, float]:
    """P(chi^2_p <= (1 - eps) p) and P(chi^2_p >= (1 + eps) p), exactly."""
    _check(dimension, epsilon)
    half = dimension / 2
    below = special.gammainc(half, half * (1 - epsilon))
    return float(below), float(special.gammaincc(half, half * (1 + epsilon)))


def norm_away(dimension: int, epsilon: float) -> float:
    """P(| |g|^2 - (|mu|^2 + sigma^2 d) | >= eps sigma sqrt(d) (sigma sqrt(d) + |mu|)) is at most 4 exp(-d eps^2 / 8).

    g ~ N(mu, sigma^2 I), whatever mu and sigma.

    Args:
        dimension: d, at least 1.
        epsilon: in (0, 1].

    Source: 000 Lemma C.2.
    """
    _check(dimension, epsilon)
    return min(1.0, 4 * math.exp(-dimension * epsilon**2 / 8))


def softmax_distance(
    count: int, dimension: int, epsilon: float, spread: float = 1.0
) -> tuple[float, float, float]:
    """(low, high, failure): where |sum_j softmax(w)_j g_j - g_n|^2 lies, but for a probability of at most `failure`.

    low = d sigma*^2 (1 - 3 eps),  high = 2 d sigma*^2 (1 + 3 eps),  failure = 6 n exp(-d eps^2 / 8),
    for n independent g_i ~ N(0, sigma*^2 I) and any weights of the first n - 1, even chosen after seeing all g.
    The proof gives more: sigma*^2 d (1 - eps - eps sqrt(1 + eps)) below and 2 d sigma*^2 (1 + eps) above.

    Args:
        count: n, at least 2.
        dimension: d, at least 1.
        epsilon: in (0, 1].
        spread: sigma*^2.

    Source: 000 Proposition C.3, whose statement has exponent d eps^2 / 2; its proof gives d eps^2 / 8, and its last
    line loses sigma*^2.
    """
    _check(dimension, epsilon)
    if count < 2:
        raise ValueError(f"n must be at least 2, got {count}")
    failure = min(1.0, 6 * count * math.exp(-dimension * epsilon**2 / 8))
    return dimension * spread * (1 - 3 * epsilon), 2 * dimension * spread * (1 + 3 * epsilon), failure


def needed_samples(clusters: int, dimension: int) -> float:
    """(1 + log d) K log K: how many kept samples Theorem 3.2 needs, so that no cluster goes without.

    Args:
        clusters: K, at least 1.
        dimension: d, at least 1.

    Source: 000 Proposition C.4; Theorem 3.2 uses it and does not say so.  Below it C exceeds 2.
    """
    if clusters < 1 or dimension < 1:
        raise ValueError(f"clusters and dimension must be at least 1, got {clusters} and {dimension}")
    return (1 + math.log(dimension)) * clusters * math.log(clusters)


def twice_covered(clusters: int, dimension: int) -> float:
    """P(every cluster has two of M samples) is at least 1 - 2 K^(-log d) (1 + (1 + log d) log K), M = `needed_samples`.

    Args:
        clusters: K, at least 1.
        dimension: d, at least 1.

    Source: 000 Proposition C.4, with the factor 2 of its proof and 1 + log d for its log d; 0 where it says nothing.
    """
    needed_samples(clusters, dimension)
    if clusters == 1:
        return 1.0  # the paper's trivial case
    log_k, log_d = math.log(clusters), math.log(dimension)
    return max(0.0, 1 - 2 * math.exp(-log_d * log_k) * (1 + (1 + log_d) * log_k))


def covered_at_least(kept: int, weights: Float[Tensor, " K"], least: int = 2) -> float:
    """P(every cluster has `least` of M samples) is at least 1 - sum_k P(Bin(M, w_k) < least), by a union bound.

    Args:
        kept: M.
        weights: of the clusters (K,), summing to one.
        least: how many samples each cluster needs.

    Source: the first step of the proof of 000's Proposition C.4, for any weights and any count.
    """
    w = probabilities(weights).numpy()
    if kept < least:
        return 0.0
    # P(Bin(M, w) <= r - 1) is a regularised incomplete beta function; betainc wants positive parameters.
    short = special.betainc(kept - least + 1, least, 1 - w)
    return max(0.0, 1 - float(short.sum()))


def covered(kept: int, weights: Float[Tensor, " K"], least: int = 1) -> float:
    """P(every cluster has `least` of M samples), exactly.

    prod_k P(Y_k >= r) P(sum_k Y_k = M | all Y_k >= r) / P(Pois(M) = M),  Y_k ~ Pois(M w_k) independent.
    The sum's law comes from a discrete Fourier transform; absolute error about 1e-13.

    Args:
        kept: M.
        weights: of the clusters (K,), summing to one.
        least: r, at least 1.

    Source: Levin, "A representation for multinomial cumulative distribution functions", 1981.
    """
    w = probabilities(weights).numpy()
    if least < 1 or kept < 0:
        raise ValueError(f"counts must be positive, got {kept} samples and at least {least} for each cluster")
    if kept < least * len(w):
        return 0.0
    n = np.arange(kept + 1, dtype=float)
    size = 2 ** math.ceil(math.log2(2 * (kept + 1)))
    log_total, spectrum = 0.0, np.ones(size // 2 + 1, dtype=complex)
    values, counts = np.unique(w, return_counts=True)
    for rate, times in zip(kept * values, counts, strict=True):
        if rate == 0:
            return 0.0
        law = np.exp(n * math.log(rate) - rate - special.gammaln(n + 1)) * (n >= least)
        total = law.sum()
        log_total += times * math.log(total)
        # One factor at a time would need more than M + 1 points; what wraps around is cut off after each power.
        spectrum = _truncated(
            spectrum * _power(np.fft.rfft(law / total, size), int(times), kept, size), kept, size
        )
    at_kept = np.fft.irfft(spectrum, size)[kept]
    return float(
        min(
            1.0,
            max(0.0, math.exp(log_total + math.lgamma(kept + 1) + kept - kept * math.log(kept)) * at_kept),
        )
    )


def expected_collection(weights: Float[Tensor, " K"]) -> float:
    """How many samples it takes on average until every cluster has one: int_0^inf 1 - prod_k (1 - e^(-w_k t)) dt.

    K (1 + 1/2 + ... + 1/K) for equal weights.

    Source: the coupon collector; the integral is that of Flajolet, Gardy and Thimonier, "Birthday paradox, coupon
    collectors, caching algorithms and self-organizing search", 1992.
    """
    w = probabilities(weights).numpy()
    if (w == 0).any():
        return math.inf
    # In log t the integrand is a smooth step; before it, it is 1, and that part is exact.
    start, stop = math.log(1e-9 / w.min()), math.log(45 / w.min() + math.log(len(w)) / w.min())
    node, weight = np.polynomial.legendre.leggauss(400)
    t = np.exp(start + (stop - start) * (node + 1) / 2)
    missing = -np.expm1(np.log(-np.expm1(-np.outer(t, w))).sum(1))
    return float(math.exp(start) + (weight * (stop - start) / 2 * t) @ missing)


def expected_uncovered(kept: int, weights: Float[Tensor, " K"]) -> tuple[float, float]:
    """Expected number of clusters without a kept sample, and the share of the population in them.

    sum_k (1 - w_k)^M and sum_k w_k (1 - w_k)^M.
    """
    w = probabilities(weights).numpy()
    none = (1 - w) ** kept
    return float(none.sum()), float((w * none).sum())


def softmax_gap(count: int, gap: float, temperature: float) -> float:
    """How far softmax(v/T) of n numbers is from one-hot in any p-norm, at most: 2 (n - 1) exp(-gap / T).

    Args:
        count: n.
        gap: between the largest and the second largest.
        temperature: T, positive.

    Source: 000 Lemma D.1.
    """
    if count < 1 or gap < 0 or not temperature > 0:
        raise ValueError(f"a softmax needs n >= 1, a gap >= 0 and T > 0, got {count}, {gap}, {temperature}")
    return 2 * (count - 1) * math.exp(-gap / temperature)


def _power(spectrum: np.ndarray, times: int, kept: int, size: int) -> np.ndarray:
    """A transform's power by squaring, cut off at `kept` after every product."""
    out = np.ones_like(spectrum)
    while times:
        if times & 1:
            out = _truncated(out * spectrum, kept, size)
        spectrum, times = _truncated(spectrum * spectrum, kept, size), times >> 1
    return out


def _truncated(spectrum: np.ndarray, kept: int, size: int) -> np.ndarray:
    law = np.fft.irfft(spectrum, size)
    law[kept + 1 :] = 0
    return np.fft.rfft(law, size)


def _check(dimension: int, epsilon: float) -> None:
    if dimension < 1 or not 0 < epsilon <= 1:
        raise ValueError(f"the bound holds for d >= 1 and eps in (0, 1], got {dimension} and {epsilon}")
