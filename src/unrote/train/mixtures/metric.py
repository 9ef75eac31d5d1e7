"""k-means in other metrics: unequal weights, a shared covariance, low-rank coloured templates.

Where the softmax is one-hot, a shared covariance Sigma makes training k-means in the metric B^2 with
B = sigma^2 (Sigma + sigma^2 I)^-1; a free Sigma is best at the within-cluster scatter S, at every level, and what
is left is sum_k s_k sigma^2/(s_k + sigma^2) over the eigenvalues of S. Coloured templates become K-subspaces.
Proofs are in docs/kmeans.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from unrote.contracts import InputError
from unrote.train.mixtures.kmeans import Clusters, hartigan
from unrote.train.mixtures.reduction import Weighting, check_levels, flat, log_weights, shrunk


@dataclass(frozen=True)
class Shared:
    """A partition, its means, and one covariance for all components.

    Args:
        means: (M,D) float64, in the units of the data.
        assignment: cluster of every point (N,).
        covariance: Sigma (D,D) of every component.
        loss: mean over levels of weight times the one-hot training loss.
        history: the loss after every round, which never rises.
    """

    means: Float[Tensor, "M D"]
    assignment: Int[Tensor, " N"]
    covariance: Float[Tensor, "D D"]
    loss: float
    history: tuple[float, ...]


def misassigned(
    x: Shaped[Tensor, "N D"],
    model: Clusters | Shared,
    levels: Float[Tensor, " T"],
    weights: Float[Tensor, " M"] | None = None,
) -> Float[Tensor, " T"]:
    """Share of points that the softmax gives to another component than their own cluster, for every level.

    Without noise the softmax takes argmin_i |x_n - mu_i|^2 in the metric (Sigma + sigma^2 I)^-1, minus 2 log w_i.
    Weights and Sigma act on training through this choice alone; where the share is 0, the one-hot loss is that
    of the clusters, and no weights can lower it.

    Args:
        x: data (N,D).
        model: `Clusters` (Sigma = D2/d I) or `Shared`.
        levels: sigma > 0 (T,).
        weights: mixture weights (M,), all positive; equal by default; only their ratios count.

    Raises:
        InputError: if a weight or level is out of range.

    Source: docs/kmeans.md, sections 3 and 4.
    """
    sigma, odds = check_levels(levels), log_weights(weights, len(model.means))
    centre = model.means.mean(0)
    means, wrong = model.means - centre, torch.zeros(len(sigma), dtype=torch.float64)
    rows = x.detach().cpu().double() - centre
    if isinstance(model, Shared):
        spectrum, basis = spectrum_of(model.covariance)
        means, rows = means @ basis, rows @ basis
    else:
        spectrum = torch.full((x.shape[1],), model.variance, dtype=torch.float64)
    for block, own in zip(
        *(v.split(max(1, 2**20 // len(means))) for v in (rows, model.assignment)), strict=True
    ):
        for t, level in enumerate(sigma):
            scaled = means / (spectrum + level**2)
            cost = (scaled * means).sum(1) - 2 * block @ scaled.T - 2 * odds
            lead = cost.gather(1, own[:, None])[:, 0] - cost.amin(1)
            wrong[t] += (lead > 1e-12 * (cost.abs().amax(1) + 1)).sum()
    return wrong / len(x)


def scatter(
    x: Shaped[Tensor, "N D"], means: Float[Tensor, "M D"], assignment: Int[Tensor, " N"]
) -> Float[Tensor, "D D"]:
    """Within-cluster scatter S = (1/N) sum_n (x_n - mu_{a(n)})(x_n - mu_{a(n)})^T, in float64."""
    total = torch.zeros(x.shape[1], x.shape[1], dtype=torch.float64)
    for rows, own in zip(x.detach().cpu().split(4096), assignment.split(4096), strict=True):
        away = rows.double() - means[own]
        total += away.T @ away
    return total / len(x)


def covariance_loss(
    within: Float[Tensor, "D D"],
    levels: Float[Tensor, " T"],
    weighting: Weighting = flat,
    covariance: Float[Tensor, "P Q"] | None = None,
) -> float:
    """The one-hot training loss of a mixture with a shared covariance, from the scatter alone.

    Given Sigma: mean_t w_t [tr(B S B) + sigma^2 tr (I - B)^2],  B = sigma^2 (Sigma + sigma^2 I)^-1.
    Left free: its least value, at Sigma = S: mean_t w_t sum_k s_k sigma^2/(s_k + sigma^2).

    Args:
        within: scatter S (D,D).
        levels: sigma > 0 (T,).
        weighting: weight of each level, `flat` by default.
        covariance: Sigma (D,D), symmetric and positive semi-definite; None for the best one.

    Raises:
        InputError: if a level or the covariance is out of range.

    Source: docs/kmeans.md, section 4.
    """
    sigma = check_levels(levels)
    if covariance is None:
        spectrum = torch.linalg.eigvalsh(within).clamp(min=0)
        return float((weighting(sigma) * shrunk(spectrum[:, None], sigma).sum(0)).mean())
    value, basis = spectrum_of(covariance)
    keep = value[:, None] / (value[:, None] + sigma.square())
    along = torch.einsum("dk,de,ek->k", basis, within, basis)
    each = (1 - keep).square() * along[:, None] + sigma.square() * keep.square()
    return float((weighting(sigma) * each.sum(0)).mean())


def fixed_covariance(
    x: Shaped[Tensor, "N D"],
    start: Clusters,
    covariance: Float[Tensor, "P Q"],
    levels: Float[Tensor, " T"],
    weighting: Weighting = flat,
) -> Shared:
    """Train the means of a mixture whose shared covariance is given: k-means in one fixed metric.

    mean_t w_t |B_t (x - mu)|^2 = (x - mu)^T C (x - mu) with C = mean_t w_t B_t^2: the levels share the means, so
    that they ask for one k-means of the points C^(1/2) x together. Single-point moves (`hartigan`).

    Args:
        x: data (N,D).
        start: the partition to start from, for example by `ward`.
        covariance: Sigma (D,D), symmetric and positive semi-definite, in squared units of the data.
        levels: sigma > 0 (T,).
        weighting: weight of each level, `flat` by default.

    Raises:
        InputError: if the covariance, a level or the start does not fit.

    Source: docs/kmeans.md, section 4.
    """
    value, basis = spectrum_of(covariance)
    if len(value) != x.shape[1]:
        raise InputError(
            f"The covariance is {len(value)} x {len(value)}, the points have {x.shape[1]} numbers; they must agree."
        )
    means, assignment = _in_metric(x, start, value, basis, check_levels(levels), weighting)
    loss = covariance_loss(scatter(x, means, assignment), levels, weighting, covariance)
    return Shared(means, assignment, covariance.double(), loss, (loss,))


def shared_covariance(
    x: Shaped[Tensor, "N D"],
    start: Clusters,
    levels: Float[Tensor, " T"],
    weighting: Weighting = flat,
    *,
    rounds: int = 100,
) -> Shared:
    """Train the means and the shared covariance of a mixture: k-means in a metric that follows the scatter.

    Minimises Phi(S) = mean_t w_t tr S sigma_t^2 (S + sigma_t^2 I)^-1 over partitions; Sigma = S. Phi is concave, so

        Phi(S') <= Phi(S) + tr C (S' - S),   C = mean_t w_t sigma_t^4 (S + sigma_t^2 I)^-2,

    and tr C S' is the distortion in the metric C: single-point moves there lower Phi. Rounds of "scatter, metric,
    moves" end when no move is left; a partition occurs at most once.

    Args:
        x: data (N,D).
        start: the partition to start from, for example by `ward`.
        levels: sigma > 0 (T,).
        weighting: weight of each level, `flat` by default.
        rounds: at most so many, at least 1.

    Raises:
        InputError: if a level or the start does not fit, or rounds < 1.

    Source: docs/kmeans.md, section 4.
    """
    if rounds < 1:
        raise InputError(f"{rounds} rounds were asked; training needs at least 1; leave it out for 100.")
    sigma, clusters, history = check_levels(levels), start, list[float]()
    for _ in range(rounds):
        value, basis = torch.linalg.eigh(scatter(x, clusters.means, clusters.assignment))
        means, assignment = _in_metric(x, clusters, value.clamp(min=0), basis, sigma, weighting)
        same = bool((assignment == clusters.assignment).all())
        clusters = Clusters(means, assignment, 0.0)
        within = scatter(x, means, assignment)
        history.append(covariance_loss(within, levels, weighting))
        if same:
            break
    return Shared(clusters.means, clusters.assignment, within, history[-1], tuple(history))


def spectrum_of(covariance: Tensor) -> tuple[Float[Tensor, " D"], Float[Tensor, "D D"]]:
    """Eigenvalues >= 0 and eigenvectors of a covariance, or InputError."""
    matrix = covariance.detach().cpu().double()
    square = matrix.ndim == 2 and matrix.shape[0] == matrix.shape[1] and bool(matrix.isfinite().all())
    scale = float(matrix.abs().max()) if square and matrix.numel() else 0.0
    if not square or float((matrix - matrix.T).abs().max()) > 1e-8 * scale:
        raise InputError(
            f"The covariance has shape {tuple(covariance.shape)} or is not symmetric; a symmetric (D,D) matrix of "
            "finite numbers is needed; symmetrise it with (c + c.T) / 2."
        )
    value, basis = torch.linalg.eigh(matrix)
    if float(value[0]) < -1e-8 * scale:
        raise InputError(
            f"The covariance has the negative eigenvalue {float(value[0]):.3g}; a covariance has none; "
            "check its construction, or clamp its eigenvalues at 0."
        )
    return value.clamp(min=0), basis


def _in_metric(
    x: Tensor, start: Clusters, value: Tensor, basis: Tensor, sigma: Tensor, weighting: Weighting
) -> tuple[Tensor, Tensor]:
    """Single-point moves in the metric C = mean_t w_t B_t^2; means in the units of the data."""
    square = sigma.square()
    metric = (weighting(sigma) * (square / (value[:, None] + square)).square()).mean(1)
    turned = basis * metric.sqrt()
    rows = x.detach().cpu().double()
    found = hartigan(rows @ turned, Clusters(start.means @ turned, start.assignment, 0.0)).assignment
    total = torch.zeros_like(start.means).index_add_(0, found, rows)
    size = torch.bincount(found, minlength=len(total))
    return torch.where(size[:, None] > 0, total / size[:, None].clamp(min=1), start.means), found
