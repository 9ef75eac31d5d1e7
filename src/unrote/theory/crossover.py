"""At which model size does memorizing part of the data cost less than generalising? 000's equation (14) and beyond.

Two surrogates are compared by their training loss at noise level sigma, psi = 1 / sigma^2, averaged with a weighting
(`unrote.theory.levels`): the denoiser of the true mixture, and the one that has memorized M of the N samples.

==============  ================================================  ==================================================
                as in the paper                                   exactly, at finite dimension
==============  ================================================  ==================================================
generalising    d sigma*^2 / (psi sigma*^2 + 1)                   `unrote.theory.overlap.generalising_loss`
partial         C (1 - M/N) d sigma*^2, 1 <= C <= 2               `nearest.binomial_constant`, `.expected_nearest`
both            crossover M*/N = 1 - rho / C                      `unrote.theory.surrogates.surrogate_losses`
==============  ================================================  ==================================================

Both columns are excess losses over the memorizing denoiser's where the noise is small; where it is large the
memorizing loss is not zero (`surrogates.memorizing_loss`), and losses are compared whole.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from unrote.theory.levels import Levels, Weighting, probabilities
from unrote.theory.nearest import binomial_constant


@dataclass(frozen=True)
class Spectrum:
    """Eigenvalues of the covariance of every cluster: isotropic, anisotropic or low-rank.

    Args:
        eigenvalues: of cluster k (K,R), each `multiplicity` times; zeros may be left out or given.
        weights: of the clusters (K,), summing to one.
        multiplicity: how often each eigenvalue occurs.
    """

    eigenvalues: Float[Tensor, "K R"]
    weights: Float[Tensor, " K"]
    multiplicity: int = 1

    def __post_init__(self) -> None:
        if bool((self.eigenvalues < 0).any()) or not float(self.eigenvalues.sum()) > 0:
            raise ValueError("eigenvalues must be >= 0, and not all zero")
        if len(self.weights) != len(self.eigenvalues):
            raise ValueError(f"{len(self.weights)} weights for {len(self.eigenvalues)} clusters")
        probabilities(self.weights)

    @property
    def trace(self) -> float:
        """sum_k w_k tr Sigma_k, which is d sigma*^2 for isotropic clusters."""
        return float(probabilities(self.weights) @ self.eigenvalues.double().sum(1)) * self.multiplicity


def isotropic_spectrum(dimension: int, spread: float) -> Spectrum:
    """Clusters with covariance sigma*^2 I in d dimensions."""
    if dimension < 1 or not (spread > 0 and math.isfinite(spread)):
        raise ValueError(f"a cluster needs d >= 1 and sigma*^2 > 0, got d = {dimension}, sigma*^2 = {spread}")
    one = torch.ones(1, dtype=torch.float64)
    return Spectrum(spread * one[None], one, dimension)


def generalising_excess(sigma: Float[Tensor, " L"], spectrum: Spectrum) -> Float[Tensor, " L"]:
    """Excess training loss of the true mixture's denoiser: sum_k w_k sum_r l_kr sigma^2 / (l_kr + sigma^2).

    For isotropic clusters it is d sigma*^2 / (psi sigma*^2 + 1).  It is the exact loss of one Gaussian, at every
    level, and exact for a mixture up to the confusion of clusters, which `unrote.theory.overlap` adds.

    Args:
        sigma: levels (L,), positive.
        spectrum: of the clusters.

    Source: 000 Theorem 3.1 (isotropic); the sum over eigenvalues is its anisotropic form.
    """
    level = sigma.double()[:, None, None] ** 2
    loss = spectrum.eigenvalues.double() * level / (spectrum.eigenvalues.double() + level)
    return spectrum.multiplicity * (loss.sum(2) @ probabilities(spectrum.weights))


def valid_up_to(dimension: int) -> float:
    """The level up to which 000's approximations are claimed: psi >= log^2 d / d, so sigma <= sqrt(d) / log d.

    The theorem leaves the constant in front open; it is taken as one.  d = 1 has no limit.

    Source: 000 Theorems 3.1 and 3.2, kappa(d).
    """
    if dimension < 1:
        raise ValueError(f"a dimension is at least 1, got {dimension}")
    return math.inf if dimension == 1 else math.sqrt(dimension) / math.log(dimension)


def partial_excess(kept_share: float, constant: float, spectrum: Spectrum) -> float:
    """Excess training loss of the partially memorizing denoiser: C (1 - M/N) d sigma*^2, at every small level.

    Args:
        kept_share: M/N in [0, 1].
        constant: C; 1 in 000's program, 2 in its Figure 1, `nearest.nearest_constant` exactly.
        spectrum: whose trace stands for d sigma*^2.

    Source: 000 Theorem 3.2.  It holds for M >= (1 + log d) K log K, which the theorem does not say: below that,
    clusters without a kept sample cost more than C = 2 (`unrote.theory.concentration`).
    """
    if not 0 <= kept_share <= 1 or not constant > 0:
        raise ValueError(f"M/N must lie in [0, 1] and C be positive, got {kept_share} and {constant}")
    return constant * (1 - kept_share) * spectrum.trace


def rho(levels: Levels, weighting: Weighting, spectrum: Spectrum) -> float:
    """The generalising excess as a share of d sigma*^2: E[lambda / (psi sigma*^2 + 1)] / E[lambda].

    With anisotropic clusters E[lambda sum_r l_r sigma^2 / (l_r + sigma^2)] / (E[lambda] sum_r l_r).
    For sigma* = 1 it is the mean of t^2.

    Source: 000 equation (14).
    """
    return float(levels.mean(generalising_excess(levels.sigma, spectrum), weighting)) / spectrum.trace


def crossover(share: float, constant: float) -> float:
    """M*/N = 1 - rho / C; below zero, memorizing any part costs less than generalising.

    Args:
        share: `rho`.
        constant: C.

    Source: 000 equation (14).
    """
    if not constant > 0:
        raise ValueError(f"the constant must be positive, got {constant}")
    return 1 - share / constant


def constant_for(share: float, wanted: float) -> float:
    """The C that puts the crossover at M*/N = wanted: rho / (1 - wanted)."""
    if not wanted < 1:
        raise ValueError(f"the crossover must lie below 1, got {wanted}")
    return share / (1 - wanted)


def crossover_at_dimension(
    share: float,
    count: int,
    dimension: int,
    weights: Float[Tensor, " K"],
    missing: Float[Tensor, " K"],
    spreads: Float[Tensor, " K"] | None = None,
) -> float | None:
    """M* where the partial excess with its exact constant meets the generalising one, in the limit of small noise.

    (1 - M/N) sum_k w_k s_k C_k(M) = rho sum_k w_k s_k, C_k from `binomial_constant`, linear between whole M.
    Where the weighting reaches levels at which clusters overlap, `surrogates.surrogate_losses` is exact instead.

    Args:
        share: `rho` in the weighting of interest.
        count: N.
        dimension: d.
        weights: of the clusters (K,).
        missing: cost of a cluster without a kept sample (K,), in units of d sigma*^2, see `nearest.missing_cost`.
        spreads: sigma*^2 of each cluster (K,); all alike by default.

    Returns:
        M*, or None where one kept sample already costs no more than generalising.
    """
    if count < 2 or not share > 0:
        raise ValueError(f"a crossover needs N >= 2 and rho > 0, got {count} and {share}")
    each = probabilities(weights) * (1 if spreads is None else spreads.double())
    each = each / each.sum()

    def difference(size: int) -> float:
        if size == count:
            return -share
        one = torch.tensor([size])
        return (1 - size / count) * float(
            binomial_constant(one, weights, dimension, missing)[0] @ each
        ) - share

    low, high = 1, count
    if difference(low) <= 0:
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if difference(middle) > 0 else (low, middle)
    ends = torch.tensor([difference(low), difference(high)], dtype=torch.float64)
    return crossing(torch.tensor([low, high]), ends, 0.0)


def crossing(sizes: Int[Tensor, " S"], values: Float[Tensor, " S"], threshold: float) -> float | None:
    """The model size at which a curve first falls to a threshold, linear between sizes.

    Args:
        sizes: M, increasing (S,).
        values: the curve, for example a loss (S,).
        threshold: for example another loss.

    Returns:
        M*; the first size if the curve starts at or below the threshold; None if it stays above.
    """
    if len(sizes) != len(values) or bool((sizes.diff() <= 0).any()):
        raise ValueError("sizes must increase, with one value for each")
    at = torch.nonzero(values <= threshold)
    if not len(at):
        return None
    first = int(at[0])
    if first == 0:
        return float(sizes[0])
    above, below = float(values[first - 1]) - threshold, float(values[first]) - threshold
    step = float(sizes[first] - sizes[first - 1])
    return float(sizes[first - 1]) + step * above / (above - below)


def distortion_loss(
    distortion: Float[Tensor, " S"], dimension: int, levels: Levels, weighting: Weighting
) -> Float[Tensor, " S"]:
    """F(D2): the training loss of an isotropic mixture whose centroids have distortion D2, where softmaxes are one-hot.

    F(D2) = E[lambda d v sigma^2 / (v + sigma^2)] / E[lambda] with v = D2 / d, the variance that is best at every level.
    F increases with D2, so the best means are those of k-means.

    Args:
        distortion: D2, mean squared distance to the nearest mean (S,).
        dimension: d.
        levels, weighting: of the training loss.
    """
    if bool((distortion < 0).any()):
        raise ValueError("a mean squared distance is not negative")
    v = distortion.double()[:, None] / dimension
    level = levels.sigma.double() ** 2
    return levels.mean(dimension * v * level / (v + level), weighting)


def crossover_from_distortion(
    sizes: Int[Tensor, " S"],
    distortion: Float[Tensor, " S"],
    generalising: float,
    dimension: int,
    levels: Levels,
    weighting: Weighting,
) -> float | None:
    """The model size at which the loss F(D2(M)) of a k-means optimum falls to the generalising loss.

    If the generalising loss is 000's approximation, which is F(d sigma*^2), the crossing is where D2(M) = d sigma*^2
    whatever the weighting, that is near M = K: a trained mixture with M >= K fits better than the truth, at every
    level.  So this crossing says when a model is large enough, not when it copies; `copying_distortion` does.

    Args:
        sizes: M, increasing (S,).
        distortion: D2(M) (S,).
        generalising: the generalising loss in the same weighting.
        dimension: d.
        levels, weighting: of both losses.

    Returns:
        As `crossing`.
    """
    return crossing(sizes, distortion_loss(distortion, dimension, levels, weighting), generalising)


def copying_distortion(constant: float, dimension: int, spread: float, factor: float = 3.0) -> float:
    """D2 below which samples of a component that sits on one training point are copies: C d sigma*^2 / (f^2 - 1).

    Such a sample is x + sqrt(v) g with v = D2/d: its squared distance to x is about D2, and to the next sample of
    the cluster D2 + C d sigma*^2.  It is a copy if f^2 D2 < D2 + C d sigma*^2.

    Args:
        constant: C of the nearest other training sample, `nearest.nearest_constant(n - 1, d)` in a cluster of n.
        dimension: d.
        spread: sigma*^2.
        factor: of the ratio rule, 3 for d1 < d2 / 3.

    Source: 000 Definition 2.2 (c = 1/9) for the rule; the distances concentrate as in its Appendix C.
    """
    if not (constant > 0 and spread > 0 and factor > 1 and dimension >= 1):
        raise ValueError("a threshold needs C > 0, sigma*^2 > 0, a factor above 1 and d >= 1")
    return constant * dimension * spread / (factor**2 - 1)
