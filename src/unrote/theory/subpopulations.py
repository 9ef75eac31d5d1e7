"""003's subpopulations: how much of a population lies in groups that a training set shows once, twice, or not at all.

N subpopulations have frequencies D_1, ..., D_N; the marginal law of one of them is the prior.  A training set of n
examples shows subpopulation i count_i ~ Bin(n, D_i) times, so that

    tau_l = E[D_i | count_i = l] = E[a^(l+1) (1-a)^(n-l)] / E[a^l (1-a)^(n-l)],      a ~ prior.

Every power here is a ratio to the most likely frequency l/n, in the form that keeps its accuracy for n in the millions
(Loader's): l log(a n/l) + (n-l) log((1-a) n/(n-l)) with its first-order terms, which cancel, left out.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

MOST_VECTORS = 10**6
"""Frequency vectors that are enumerated."""


@dataclass(frozen=True)
class Frequencies:
    """The law of the frequency of one subpopulation.

    Args:
        value: frequencies (K,), from 0 to 1.
        mass: their probabilities (K,), summing to one.
        components: N, how many subpopulations; where they make up the whole population, N E[a] = 1.
    """

    value: Float[Tensor, " K"]
    mass: Float[Tensor, " K"]
    components: int

    def __post_init__(self) -> None:
        if not len(self.value) or not bool(((self.value >= 0) & (self.value <= 1)).all()):
            raise ValueError("frequencies must be one or more numbers from 0 to 1")
        if not bool((self.mass >= 0).all()) or abs(float(self.mass.sum()) - 1) > 1e-9:
            raise ValueError("the masses of frequencies must be at least 0 and sum to one")
        if self.components < 1:
            raise ValueError(f"there must be at least one subpopulation, got {self.components}")


def listed(frequencies: Float[Tensor, " N"]) -> Frequencies:
    """Each subpopulation has one entry of a list, in an order that nobody knows; the list is scaled to sum to one.

    Args:
        frequencies: (N,), at least 0, not all 0.
    """
    share = _shares(frequencies)
    return Frequencies(share, torch.full_like(share, 1 / len(share)), len(share))


def zipf(components: int, exponent: float = 1.0) -> Float[Tensor, " N"]:
    """Frequencies in proportion to 1, 2^-s, ..., N^-s, summing to one; s = 0 is the uniform list."""
    if components < 1:
        raise ValueError(f"there must be at least one subpopulation, got {components}")
    return _shares(torch.arange(1, components + 1, dtype=torch.float64) ** -exponent)


def picked(
    frequencies: Float[Tensor, " K"], components: int, generator: torch.Generator, repeats: int
) -> Float[Tensor, "R N"]:
    """Frequency vectors by the paper's rule: N entries of the list, picked with replacement, over their sum.

    Source: 003 section 4.2.1 and Definition 1.
    """
    share = _shares(frequencies)
    found = share[torch.randint(len(share), (repeats, components), generator=generator)]
    return found / found.sum(1, keepdim=True)


def every_pick(frequencies: Float[Tensor, " K"], components: int) -> Float[Tensor, "R N"]:
    """All K^N frequency vectors of `picked`, which are equally likely.

    Raises:
        ValueError: if there are more than a million.
    """
    share = _shares(frequencies)
    if len(share) ** components > MOST_VECTORS:
        raise ValueError(
            f"{len(share)} frequencies for {components} subpopulations make more than a million vectors"
        )
    found = share[torch.tensor(list(itertools.product(range(len(share)), repeat=components)))]
    return found / found.sum(1, keepdim=True)


def normalised(
    frequencies: Float[Tensor, " K"], components: int, generator: torch.Generator, repeats: int
) -> Float[Tensor, "R K"]:
    """The marginal law of `picked`, by draws of what the N - 1 others sum to: all entries of a row are equally likely.

    Given the others' sum S, an entry p becomes p / (p + S), for every p of the list; only S is drawn.

    Args:
        frequencies: the list (K,).
        components: N, at least 1.
        generator: draws the others.
        repeats: R, how many sums.

    Source: 003 Definition 1 and equation (8).
    """
    share = _shares(frequencies)
    others = [
        share[torch.randint(len(share), (components - 1,), generator=generator)].sum() for _ in range(repeats)
    ]
    return share / (share + torch.stack(others)[:, None])


def of_draws(values: Float[Tensor, "R K"], components: int) -> Frequencies:
    """The law of equally likely frequencies: of `normalised`, or of all vectors where no permutation matters."""
    value = values.double().flatten()
    return Frequencies(value, torch.full_like(value, 1 / len(value)), components)


def coefficients(prior: Frequencies, samples: int, counts: Int[Tensor, " S"]) -> Float[Tensor, " S"]:
    """tau_l = E[a^(l+1) (1-a)^(n-l)] / E[a^l (1-a)^(n-l)]: what a subpopulation with l examples is worth.

    Args:
        prior: law of a.
        samples: n, at least 1.
        counts: l (S,), from 0 to n.

    Returns:
        (S,), float64; NaN where no subpopulation can have l examples.

    Source: 003 Theorems 4.3 and A.1.
    """
    return _moments(prior.value.double()[None], prior.mass.double(), samples, counts)[1][0]


def pooled_coefficients(
    values: Float[Tensor, "R K"], samples: int, counts: Int[Tensor, " S"]
) -> tuple[Float[Tensor, " S"], Float[Tensor, " S"]]:
    """tau_l for equally likely frequencies, and its standard error by the jackknife over rows.

    Args:
        values: frequencies (R,K), R at least 2 independent draws; see `normalised`.
        samples: n.
        counts: l (S,).
    """
    rows, size = values.shape
    if rows < 2:
        raise ValueError(f"a standard error needs two draws or more, got {rows}")
    even = torch.full((size,), 1 / size, dtype=torch.float64)
    log_chance, tau = _moments(values.double(), even, samples, counts)
    chance = (log_chance - log_chance.amax(0)).exp()
    tau = torch.where(chance > 0, tau, torch.zeros_like(tau))
    top = chance * tau
    without = (top.sum(0) - top) / (chance.sum(0) - chance)
    error = ((rows - 1) * without.var(0, correction=0)).sqrt()
    return top.sum(0) / chance.sum(0), error


def represented(
    prior: Frequencies, samples: int, counts: Int[Tensor, " S"]
) -> tuple[Float[Tensor, " S"], Float[Tensor, " S"]]:
    """How many subpopulations have l examples on average, and the share of the population in them.

    number_l = N E[C(n,l) a^l (1-a)^(n-l)],   mass_l = N E[a C(n,l) a^l (1-a)^(n-l)] = tau_l number_l,
    sum_l number_l = N,  sum_l mass_l = N E[a].  mass_1 is the singleton mass, mass_0 that of the unseen.

    Args:
        prior: law of a.
        samples: n, at least 1.
        counts: l (S,), from 0 to n.
    """
    log_chance, tau = _moments(prior.value.double()[None], prior.mass.double(), samples, counts)
    ways = torch.tensor([_log_mode(samples, count) for count in counts.tolist()], dtype=torch.float64)
    number = prior.components * (ways + log_chance[0]).exp()
    return number, torch.where(number > 0, number * tau[0], torch.zeros_like(number))


def weight(prior: Frequencies, low: float, high: float) -> float:
    """N E[a 1{low <= a <= high}]: the share of the population in subpopulations of these frequencies.

    Source: 003 section A.3.
    """
    inside = (prior.value >= low) & (prior.value <= high)
    return float(prior.components * (prior.value * prior.mass)[inside].sum())


def heavy_floor(prior: Frequencies, samples: int) -> float:
    """At least how large tau_1 is: weight([1/(3n), 2/n]) / (5n).

    Args:
        prior: law of a with N E[a] <= 1.
        samples: n, at least 3.

    Source: 003 Lemmas 4.4 and A.2.
    """
    return weight(prior, 1 / (3 * samples), 2 / samples) / (5 * samples)


@dataclass(frozen=True)
class LightTail:
    """What Lemma A.3 says for one threshold.

    Args:
        below: beta, the weight of frequencies up to theta.
        gap: weight strictly between theta and t/n, t = log(1 / (theta beta)); the lemma needs 0.
        end: t/n.
        ceiling: 2 theta, at least tau_1 where `applies`.
        applies: whether theta <= 1/(2n) and the gap is empty.
    """

    below: float
    gap: float
    end: float
    ceiling: float
    applies: bool


def light_tail(prior: Frequencies, samples: int, theta: float) -> LightTail:
    """At most how large tau_1 is for a prior with nothing between theta and t/n.

    Source: 003 Lemma A.3; frequencies equal to theta count as below it.
    """
    if not theta > 0:
        raise ValueError(f"theta must be positive, got {theta}")
    below = weight(prior, 0.0, theta)
    end = math.inf if below == 0 else math.log(1 / (theta * below)) / samples
    between = (prior.value > theta) & (prior.value <= end)
    gap = float(prior.components * (prior.value * prior.mass)[between].sum())
    applies = below > 0 and gap == 0 and theta <= 1 / (2 * samples)
    return LightTail(below, gap, end, 2 * theta, applies)


def singleton_floor(prior: Frequencies, samples: int) -> float:
    """At least how many singletons there are on average: n (1 - 1/n)^(n-1) weight([0, 1/n]) >= (n/e) weight.

    The paper has n/2 for the factor, which the uniform list of n frequencies misses: it gives n/e.

    Source: 003 section A.3, corrected.
    """
    n = samples
    factor = 1.0 if n == 1 else math.exp((n - 1) * math.log1p(-1 / n))
    return n * factor * weight(prior, 0.0, 1 / n)


def merge(frequencies: Float[Tensor, " N"], group: Int[Tensor, " N"]) -> Float[Tensor, " G"]:
    """Frequencies of groups of subpopulations that noise has made one.

    Args:
        frequencies: (N,).
        group: number of each one's group, from 0 (N,).

    Source: 003 section 4.2.3 ("the new coefficient is w_i + w_j").
    """
    out = torch.zeros(int(group.max()) + 1, dtype=torch.float64)
    return out.index_add_(0, group, frequencies.double())


def posterior_means(vectors: Float[Tensor, "R N"], counts: Int[Tensor, " N"]) -> Float[Tensor, " N"]:
    """E[D_i | Z] for equally likely frequency vectors and a training set with these counts.

    sum_D D_i prod_j D_j^count_j / sum_D prod_j D_j^count_j.  It is tau of count_i on average over the other counts,
    and for each of them only if the law is a Dirichlet (at least 3 subpopulations).

    Args:
        vectors: all frequency vectors (R,N), as `every_pick` gives them.
        counts: examples of each subpopulation (N,).

    Source: 003's proof of Theorem A.1, which takes it for tau; Johnson's sufficientness postulate.
    """
    log = torch.xlogy(counts.double(), vectors.double()).sum(1)
    return torch.softmax(log, 0) @ vectors.double()


def dirichlet_coefficients(
    components: int, concentration: float, samples: int, counts: Int[Tensor, " S"]
) -> Float[Tensor, " S"]:
    """tau_l = (b + l) / (N b + n) for the symmetric Dirichlet law; equal to E[D_i | Z] whatever the other counts are.

    Args:
        components: N.
        concentration: b, positive.
        samples: n.
        counts: l (S,).
    """
    return (concentration + counts.double()) / (components * concentration + samples)


def smoothed_single(copies: int, dimension: int, sigma: float, epsilon: float) -> float:
    """P(m noisy copies of one point lie within epsilon of each other) is at least this.

    max(F(e^2 / (4 sigma^2))^m,  1 - m (m - 1)/2 (1 - F(e^2 / (2 sigma^2)))),  F of chi^2_d: every copy within e/2 of
    the point, or no pair too far apart; exact for two copies.

    Args:
        copies: m, at least 1.
        dimension: d.
        sigma: noise level of x = x0 + sigma z, positive; the paper's x_t has all distances times sqrt(1 - sigma_t^2).
        epsilon: distance in units of x.

    Source: 003 Definition 2 and Lemma A.4, with exact probabilities for exp(-d/2).
    """
    from scipy import special

    half = dimension / 2
    if copies == 1:
        return 1.0
    inside = float(special.gammainc(half, (epsilon / sigma) ** 2 / 8))
    apart = float(special.gammaincc(half, (epsilon / sigma) ** 2 / 4))
    return max(inside**copies, 1 - copies * (copies - 1) / 2 * apart)


def norm_above(dimension: int, factor: float) -> float:
    """P(|z|^2 > factor d), exactly: about 1/2 for factor 1, and at most exp(-d/2) for 2 + sqrt(2).

    Source: 003's proof of Lemma A.4, which has exp(-d/2) for factor 1; Laurent and Massart, 2000.
    """
    from scipy import special

    return float(special.gammaincc(dimension / 2, factor * dimension / 2))


def _shares(frequencies: Float[Tensor, " N"]) -> Float[Tensor, " N"]:
    f = frequencies.double()
    if not len(f) or not bool(torch.isfinite(f).all() and (f >= 0).all() and (f > 0).any()):
        raise ValueError("frequencies must be finite numbers, at least 0, not all 0")
    return f / f.sum()


def _moments(
    value: Float[Tensor, "R K"], mass: Float[Tensor, " K"], samples: int, counts: Int[Tensor, " S"]
) -> tuple[Float[Tensor, "R S"], Float[Tensor, "R S"]]:
    """log E[k_l(a)] for k_l = a^l (1-a)^(n-l) over its greatest value, and tau_l, NaN where k_l vanishes."""
    if samples < 1 or bool(((counts < 0) | (counts > samples)).any()):
        raise ValueError(f"counts lie between 0 and n = {samples}, and n is at least 1")
    chance, tau = [], []
    for count in counts.tolist():
        log = mass.log() + _log_kernel(value, samples, count)
        chance.append(torch.logsumexp(log, 1))
        # A mean with weights, since the ratio of two sums loses digits where both are e^(-10^6).
        tau.append((torch.softmax(log, 1) * value).sum(1))
    return torch.stack(chance, 1), torch.stack(tau, 1)


def _log_kernel(value: Float[Tensor, "R K"], n: int, count: int) -> Float[Tensor, "R K"]:
    """log of a^l (1-a)^(n-l) over its value at a = l/n."""
    if count == 0:
        return n * torch.log1p(-value)
    if count == n:
        return n * value.log()
    mode = count / n
    away = value - mode
    return count * _log1p_less(away / mode) + (n - count) * _log1p_less(-away / (1 - mode))


def _log1p_less(u: Float[Tensor, "R K"]) -> Float[Tensor, "R K"]:
    """log(1 + u) - u without the loss of digits near 0: with r = u/(2+u), log(1+u) = 2 artanh r and u - 2r = u r."""
    small = u.abs() < 0.3
    r = torch.where(small, u / (2 + u), torch.zeros_like(u))
    square, series = r * r, torch.zeros_like(r)
    for k in range(25, 1, -2):
        series = square * (1 / k + series)
    return torch.where(small, r * (2 * series - u), torch.log1p(u) - u)


def _log_mode(n: int, count: int) -> float:
    """log of C(n,l) (l/n)^l (1 - l/n)^(n-l)."""
    if count in (0, n):
        return 0.0
    rest = n - count
    correction = _stirling(n) - _stirling(count) - _stirling(rest)
    return correction - 0.5 * math.log(2 * math.pi * count * (rest / n))


def _stirling(k: int) -> float:
    """log k! - (k log k - k + log(2 pi k)/2)."""
    if k < 30:
        return math.lgamma(k + 1) - (k * math.log(k) - k + 0.5 * math.log(2 * math.pi * k))
    return (1 / 12 - (1 / 360 - (1 / 1260 - 1 / (1680 * k**2)) / k**2) / k**2) / k
