"""Training a mixture denoiser is k-means where its softmax is one-hot: the loss, and how wrong that is.

The model is an equal-weight mixture of isotropic Gaussians with means mu_i and one variance s^2. At level sigma,

    h = s^2/(s^2 + sigma^2),   D(x) = h x + (1-h) sum_i p_i mu_i,   p = softmax_i(-|x - mu_i|^2 / (2(s^2+sigma^2))).

If p is one-hot at the own cluster a(n) of every point, the loss is F = (1-h)^2 D2 + h^2 sigma^2 d, least at
s^2 = D2/d for every sigma. For any p whatever the difference is, exactly,

    L - F = (1-h)^2 (1/N) sum_n E[ sum_i p_i G_ni - (1-2h) tr Cov_p(mu) ],   G_ni = |x_n-mu_i|^2 - |x_n-mu_a|^2.

Proofs are in docs/kmeans.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from unrote.contracts import InputError, Randomness, normal
from unrote.train.mixtures.kmeans import Clusters

Weighting = Callable[[Tensor], Tensor]
"""Weight of a level sigma (T,) -> (T,) in the loss of |D(x) - x0|^2."""

ENTRIES = 2**20
"""Numbers in one block of points times means."""


def flat(sigma: Float[Tensor, " T"]) -> Float[Tensor, " T"]:
    """Weight 1: the error of the denoised sample itself."""
    return torch.ones_like(sigma)


def noise_prediction(sigma: Float[Tensor, " T"]) -> Float[Tensor, " T"]:
    """Weight 1/sigma^2 = psi: the error of the predicted noise."""
    return sigma.square().reciprocal()


def reduced_loss(
    distortion: float, dimension: int, levels: Float[Tensor, " T"], weighting: Weighting = flat
) -> float:
    """The training loss in the one-hot regime, an increasing and concave function of the distortion.

    F(D2) = (1/T) sum_t w(sigma_t) d s^2 sigma_t^2 / (s^2 + sigma_t^2),   s^2 = D2/d.

    Args:
        distortion: D2 >= 0, mean squared distance of the data to their means.
        dimension: d, numbers per point.
        levels: sigma_t > 0 (T,), in the units of the data.
        weighting: `flat` for x0 units, `noise_prediction` for the paper's training loss.

    Raises:
        InputError: if a level or the distortion is out of range.

    Source: docs/kmeans.md, section 1; 000 eq. (12) at the learned denoiser.
    """
    sigma = check_levels(levels)
    if not 0 <= distortion < math.inf or dimension < 1:
        raise InputError(
            f"A distortion of {distortion} in {dimension} dimensions has no loss; the distortion must be finite "
            "and not negative, the dimension at least 1; take both from Clusters."
        )
    return float((weighting(sigma) * dimension * shrunk(distortion / dimension, sigma)).mean())


def shrunk(variance: Tensor | float, sigma: Tensor) -> Tensor:
    """Error left of a coordinate of this variance at this level: s^2 sigma^2 / (s^2 + sigma^2)."""
    square = sigma.square()
    return variance * (square / (variance + square))


@dataclass(frozen=True)
class OneHot:
    """How far the training loss can be from the loss of the one-hot regime, level by level.

    Args:
        levels: sigma (T,).
        loss: F_sigma at these clusters and s^2 = D2/d (T,), in x0 units.
        below: the training loss is at least loss - below (T,).
        above: the training loss is at most loss + above (T,).
        softness: bound on the probability that the softmax chooses another than the own component, mean
            over points (T,); at most 1.
    """

    levels: Float[Tensor, " T"]
    loss: Float[Tensor, " T"]
    below: Float[Tensor, " T"]
    above: Float[Tensor, " T"]
    softness: Float[Tensor, " T"]


def one_hot_bound(
    x: Shaped[Tensor, "N D"],
    clusters: Clusters,
    levels: Float[Tensor, " T"],
    weights: Float[Tensor, " M"] | None = None,
) -> OneHot:
    """Bounds on the training loss that hold for every data set, from the chance that the softmax errs.

    A rival i of the own component a takes E p_i <= E min(1, e^-U) =: b_i of the responsibility, where
    U ~ N(G_ni/(2v) - log(w_i/w_a), (sigma |mu_i - mu_a| / v)^2), v = s^2 + sigma^2, and all rivals at most 1:

        above = (1-h)^2 (1/N) sum_n max_q sum_i q_i (G_ni + (2h-1)_+ |mu_i-mu_a|^2)_+,      0 <= q_i <= b_i,
        below = (1-h)^2 (1/N) sum_n max_q sum_i q_i ((1-2h)_+ |mu_i-mu_a|^2 - G_ni)_+,      sum_i q_i <= 1.

    Args:
        x: data (N,D).
        clusters: a partition of these points, best with every point at its nearest mean.
        levels: sigma > 0 (T,).
        weights: mixture weights w (M,), all positive; equal by default.

    Raises:
        InputError: if a level or weight is out of range, or the clusters are of other points.

    Source: docs/kmeans.md, section 2.
    """
    setting = _Setting.of(x, clusters, levels)
    log_weight = log_weights(weights, len(clusters.means))
    below, above, softness = (torch.zeros(len(setting.sigma), dtype=torch.float64) for _ in range(3))
    for own, gap, apart in setting.blocks():
        odds = log_weight - log_weight[own, None]
        for t, (sigma, h) in enumerate(zip(setting.sigma, setting.h, strict=True)):
            v = clusters.variance + sigma**2
            rival = taken(gap / (2 * v) - odds, sigma * apart.sqrt() / v)
            rival.scatter_(1, own[:, None], 0.0)
            softness[t] += rival.sum(1).clamp(max=1).sum()
            above[t] += (1 - h) ** 2 * worst(rival, gap + (2 * h - 1).clamp(min=0) * apart)
            below[t] += (1 - h) ** 2 * worst(rival, (1 - 2 * h).clamp(min=0) * apart - gap)
    loss = x.shape[1] * shrunk(clusters.variance, setting.sigma)
    return OneHot(setting.sigma, loss, *(total / len(x) for total in (below, above, softness)))


def one_hot_error(
    x: Shaped[Tensor, "N D"],
    clusters: Clusters,
    levels: Float[Tensor, " T"],
    generator: Randomness,
    draws: int = 4,
) -> Float[Tensor, "T N"]:
    """Estimate of L - F for every level and point; its mean over points is the error of the reduction.

    The identity at the head of this file, with its expectation over z by Monte Carlo: noise enters through p
    alone, so that nothing fluctuates where the softmax is one-hot.

    Args:
        x: data (N,D).
        clusters: a partition of these points.
        levels: sigma > 0 (T,).
        generator: of the noise, one draw of (N,D) shared by the levels.
        draws: noises per point.

    Raises:
        InputError: as `one_hot_bound`, or for draws < 1.
    """
    if draws < 1:
        raise InputError(f"{draws} draws of noise were asked; an estimate needs at least 1; ask for more.")
    setting = _Setting.of(x, clusters, levels)
    error = torch.zeros(len(setting.sigma), len(x), dtype=torch.float64)
    square = setting.means.square().sum(1)
    for _ in range(draws):
        z = normal((len(x), x.shape[1]), generator, torch.float64)
        start = 0
        for _, gap, _ in setting.blocks():
            rows = slice(start, start + len(gap))
            start += len(gap)
            inner = z[rows] @ setting.means.T
            for t, (sigma, h) in enumerate(zip(setting.sigma, setting.h, strict=True)):
                logits = (2 * sigma * inner - gap) / (2 * (clusters.variance + sigma**2))
                p = logits.softmax(1)
                scatter = p @ square - (p @ setting.means).square().sum(1)
                error[t, rows] += (1 - h) ** 2 * ((p * gap).sum(1) - (1 - 2 * h) * scatter)
    return error / draws


def taken(mean: Float[Tensor, "B M"], deviation: Float[Tensor, "B M"]) -> Float[Tensor, "B M"]:
    """E min(1, e^-U) for U ~ N(mean, deviation^2), in closed form."""
    spread = deviation.clamp(min=1e-150)
    away = mean / spread
    tail = (spread.square() / 2 - mean + torch.special.log_ndtr(away - spread)).exp()
    return (torch.special.ndtr(-away) + tail).clamp(max=1)


def worst(limit: Float[Tensor, "B M"], cost: Float[Tensor, "B M"]) -> Float[Tensor, ""]:
    """Sum over rows of max_q sum_i q_i cost_i with 0 <= q_i <= limit_i and sum_i q_i <= 1 (dearest first)."""
    dear, order = cost.clamp(min=0).sort(dim=1, descending=True)
    filled = limit.gather(1, order).cumsum(1).clamp(max=1)
    return (filled.diff(dim=1, prepend=torch.zeros_like(filled[:, :1])) * dear).sum()


def log_weights(weights: Tensor | None, count: int) -> Float[Tensor, " M"]:
    """Logarithms of mixture weights, equal ones by default."""
    if weights is None:
        return torch.zeros(count, dtype=torch.float64)
    if weights.shape != (count,) or not bool(((weights > 0) & weights.isfinite()).all()):
        raise InputError(
            f"Mixture weights of shape {tuple(weights.shape)} came for {count} means; one positive number per mean "
            "is needed; leave out components of weight 0."
        )
    return weights.double().log()


def check_levels(levels: Tensor) -> Float[Tensor, " T"]:
    """Levels in float64, or InputError."""
    sigma = levels.detach().cpu().double()
    if sigma.ndim != 1 or len(sigma) == 0 or not bool(((sigma > 0) & sigma.isfinite()).all()):
        raise InputError(
            f"The noise levels are {levels.tolist()}; a list of positive finite numbers is needed; "
            "translate a grid of VP times by sigma = t / sqrt(1 - t^2) with 0 < t < 1."
        )
    return sigma


@dataclass(frozen=True)
class _Setting:
    x: Tensor
    means: Tensor
    assignment: Tensor
    sigma: Tensor
    h: Tensor

    @classmethod
    def of(cls, x: Tensor, clusters: Clusters, levels: Tensor) -> _Setting:
        if len(x) != len(clusters.assignment) or x.shape[1] != clusters.means.shape[1]:
            raise InputError(
                f"The clusters hold {len(clusters.assignment)} points of {clusters.means.shape[1]} numbers, the "
                f"data {len(x)} of {x.shape[1]}; both must be the same points; cluster this data first."
            )
        sigma = check_levels(levels)
        centre = clusters.means.mean(0)
        h = clusters.variance / (clusters.variance + sigma.square())
        rows = x.detach().cpu().double() - centre
        return cls(rows, clusters.means - centre, clusters.assignment, sigma, h)

    def blocks(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Blocks of (own component (B,), G (B,M), |mu_i - mu_a|^2 (B,M))."""
        half = self.means.square().sum(1) / 2
        between = (2 * (half[:, None] + half - self.means @ self.means.T)).clamp(min=0)
        for rows in torch.arange(len(self.x)).split(max(1, ENTRIES // len(self.means))):
            own = self.assignment[rows]
            distance = 2 * (half - self.x[rows] @ self.means.T)
            yield own, distance - distance.gather(1, own[:, None]), between[own]
