"""Low-rank coloured templates: K-subspaces instead of k-means.

A component holds a direction e_k (a template of unit norm), a mean colour kappa_k and a variance tau_k:
mean kappa_k (x) e_k, covariance tau_k I_c (x) e_k e_k^T. In the one-hot regime with X_n the (c,n) matrix of a point,

    F = R + (1/N) sum_n c tau_a sigma^2/(tau_a + sigma^2),   R = (1/N) sum_n |X_n|^2 - |X_n e_a|^2,

with kappa_k, c tau_k the mean and the scatter of X_n e_k over the cluster, at every level. Proofs: docs/kmeans.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from unrote.contracts import InputError
from unrote.train.mixtures.points import SLACK, check_count
from unrote.train.mixtures.reduction import Weighting, check_levels, flat, shrunk


@dataclass(frozen=True)
class Subspaces:
    """Templates, their colours, and which point belongs to which.

    Args:
        directions: templates of unit norm (M,n); their largest entry is positive.
        colours: mean coefficients kappa (M,C), in the units of the data; zero in plain K-subspaces.
        variances: tau (M,), variance of each channel's coefficient; 0 without points.
        assignment: component of every point (N,).
        residual: R, mean squared distance of the points to the lines of their templates.
        history: what was minimised, after every round; it never rises.
    """

    directions: Float[Tensor, "M n"]
    colours: Float[Tensor, "M C"]
    variances: Float[Tensor, " M"]
    assignment: Int[Tensor, " N"]
    residual: float
    history: tuple[float, ...]

    @property
    def means(self) -> Float[Tensor, "M D"]:
        """kappa_k (x) e_k, events (C,n) flattened: (M,C n)."""
        return torch.einsum("kc,kn->kcn", self.colours, self.directions).flatten(1)

    @property
    def factors(self) -> Float[Tensor, "M D C"]:
        """A_k with covariance A_k A_k^T = tau_k I_c (x) e_k e_k^T: (M,C n,C)."""
        identity = torch.eye(self.colours.shape[1], dtype=torch.float64)
        lines = self.variances.sqrt()[:, None] * self.directions
        return torch.einsum("cr,kn->kcnr", identity, lines).flatten(1, 2)


def subspace_start(
    x: Shaped[Tensor, "N C n"], count: int, generator: torch.Generator
) -> Float[Tensor, "M n"]:
    """First templates: best lines of drawn points, each drawn in proportion to what the earlier ones leave over.

    Where nothing is left over, points are drawn uniformly among those not yet drawn.

    Args:
        x: data (N,C,n).
        count: how many, from 1 to N.
        generator: decides which points.

    Raises:
        InputError: if the count is out of range or the points are not finite.

    Source: Arthur and Vassilvitskii (2007), carried over to lines.
    """
    points, _ = _points(x)
    check_count(count, len(points))
    energy = points.square().sum((1, 2))
    left, unused = energy.clone(), torch.ones(len(points), dtype=torch.float64)
    directions = []
    for _ in range(count):
        weight = torch.where(left > SLACK * energy.mean(), left, 0.0) * unused
        n = int(torch.multinomial(weight if float(weight.sum()) > 0 else unused, 1, generator=generator))
        unused[n] = 0
        directions.append(_line(points[n]))
        left = torch.minimum(left, energy - (points @ directions[-1]).square().sum(1)).clamp(min=0)
    return torch.stack(directions)


def subspaces(x: Shaped[Tensor, "N C n"], start: Float[Tensor, "M _"], *, rounds: int = 1000) -> Subspaces:
    """K-subspaces: every point to the template that explains most of it, every template a leading singular vector.

    Minimises R = (1/N) sum_n min_k |X_n|^2 - |X_n e_k|^2 by alternation, colours held at zero. With one variance
    for all templates, c tau = (1/N) sum_n |X_n e_a|^2, this is training at every level; with one each,
    c tau_k = its mean over the cluster, it is the limit of small sigma and the start for `coloured`.

    Ties: the lowest index at first; later a point stays unless another template explains more, beyond rounding. A
    template without points becomes the best line of the point that is explained worst.

    Args:
        x: data (N,C,n), one matrix of channels by pixels per point.
        start: first templates (M,n), of any norm but 0.
        rounds: at most so many, at least 1.

    Raises:
        InputError: if shapes do not fit, numbers are not finite, a template is zero, or M > N.

    Source: docs/kmeans.md, section 5; Tseng (2000) for K-subspaces.
    """
    points, tolerance = _points(x)
    directions, count = _unit(start, points), len(start)
    check_count(count, len(points))
    energy, found, history = points.square().sum((1, 2)), None, list[float]()
    for _ in range(rounds):
        left = energy[:, None] - (points @ directions.T).square().sum(1)
        found, same = _choose(left, found, count, tolerance)
        if same:
            break
        parts = [points[found == k] for k in range(count)]
        directions = torch.stack([_line(part.flatten(0, 1)) for part in parts])
        history.append(float((energy - _own(points, directions, found).square().sum(1)).mean()))
    if found is None:
        raise InputError(f"{rounds} rounds were asked; K-subspaces needs at least 1; leave it out for 1000.")
    colour = _own(points, directions, found).square().mean(1)
    size = torch.bincount(found, minlength=count).clamp(min=1)
    variances = torch.zeros(count, dtype=torch.float64).index_add_(0, found, colour) / size
    colours = torch.zeros(count, x.shape[1], dtype=torch.float64)
    return Subspaces(directions, colours, variances, found, max(0.0, history[-1]), tuple(history))


def coloured(
    x: Shaped[Tensor, "N C n"],
    start: Int[Tensor, " _"],
    levels: Float[Tensor, " T"],
    weighting: Weighting = flat,
    *,
    rounds: int = 1000,
) -> Subspaces:
    """Train templates, mean colours and variances of a mixture of coloured templates in the one-hot regime.

    Minimises J = mean_t w_t [R + (1/N) sum_n c tau_a sigma_t^2/(tau_a + sigma_t^2)] by descent: with slopes
    beta_k = mean_t w_t sigma_t^4/(tau_k + sigma_t^2)^2 / mean_t w_t, a template is the leading eigenvector of
    G_k - beta_k V_k (second moment and covariance of the channels over its cluster), and a point goes to

        argmin_k  |X|^2 - |X e_k|^2 + beta_k |X e_k - kappa_k|^2 + c mean_t w_t sigma_t^2 lambda_kt^2 / mean_t w_t,

    lambda = tau/(tau + sigma^2). Neither step raises J. A component without points takes the dearest point.

    Args:
        x: data (N,C,n).
        start: a partition (N,) into components 0..M-1, none empty, for example `ward` of x.flatten(1).
        levels: sigma > 0 (T,).
        weighting: weight of each level, `flat` by default.
        rounds: at most so many, at least 1.

    Raises:
        InputError: if shapes or levels do not fit, numbers are not finite, or a component starts empty.

    Source: docs/kmeans.md, section 5; 000 section 4.2 and H.4 for the model.
    """
    points, tolerance = _points(x)
    used = start.unique()
    if len(start) != len(points) or rounds < 1 or used.tolist() != list(range(len(used))):
        raise InputError(
            f"A partition of {len(start)} points and {rounds} rounds came for {len(points)} points; each point needs a "
            "component, each component a point, and there must be a round; take the assignment of a clustering."
        )
    law = _Law(check_levels(levels), weighting, x.shape[1])
    count, found, history = len(used), start, list[float]()
    lines: list[Tensor | None] = [None] * count
    for _ in range(rounds):
        fits = [law.fit(points[found == k], lines[k]) for k in range(count)]
        lines = [fit[0] for fit in fits]
        directions, colours, variances = (torch.stack(each) for each in zip(*fits, strict=True))
        at = _own(points, directions, found)
        residual = float((points.square().sum((1, 2)) - at.square().sum(1)).mean().clamp(min=0))
        history.append(law.weight * (residual + float(law.spread(variances)[found].mean())))
        fresh, same = _choose(law.cost(points, directions, colours, variances), found, count, tolerance)
        if same:
            break
        previous, found = found, fresh
    else:
        found = previous
    return Subspaces(directions, colours, variances, found, residual, tuple(history))


@dataclass(frozen=True)
class _Law:
    """The levels, and what they make of a variance."""

    sigma: Tensor
    weighting: Weighting
    channels: int

    @property
    def weight(self) -> float:
        return float(self.weighting(self.sigma).mean())

    def mean(self, value: Tensor) -> Tensor:
        """Weighted mean over levels (..., T) -> (...), weights summing to one."""
        return (self.weighting(self.sigma) * value).mean(-1) / self.weight

    def spread(self, tau: Tensor) -> Tensor:
        return self.channels * self.mean(shrunk(tau[..., None], self.sigma))

    def slope(self, tau: Tensor) -> Tensor:
        square = self.sigma.square()
        return self.mean((square / (tau[..., None] + square)).square())

    def cost(self, points: Tensor, directions: Tensor, colours: Tensor, tau: Tensor) -> Tensor:
        at = (points @ directions.T).transpose(1, 2)  # (N,M,C)
        keep = tau[:, None] / (tau[:, None] + self.sigma.square())
        noise = self.channels * self.mean((keep * self.sigma).square())
        energy = points.square().sum((1, 2))[:, None]
        return energy - at.square().sum(2) + self.slope(tau) * (at - colours).square().sum(2) + noise

    def fit(self, part: Tensor, line: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Direction, mean colour and variance of one cluster (m,C,n), by linearising the concave part."""
        middle = part.mean(0)
        away = (part - middle).flatten(0, 1) / len(part) ** 0.5
        if line is None or len(part) == 1:  # for one point this is the best line outright
            line = _line(part.flatten(0, 1))
        energy, before = float(part.square().sum((1, 2)).mean()), float("inf")
        while True:
            tau = (away @ line).square().sum() / self.channels
            value = float(self.spread(tau)) - float((part @ line).square().sum(1).mean())
            if len(part) == 1 or not value < before - SLACK * energy:
                return line, middle @ line, tau
            before = value
            line = _line(torch.cat([middle, away * (1 - self.slope(tau)).clamp(min=0).sqrt()]))


def _line(rows: Tensor) -> Tensor:
    """Leading right singular vector, with its largest entry positive."""
    tall = len(rows) > 2 * rows.shape[1]
    line = (
        torch.linalg.eigh(rows.T @ rows)[1][:, -1]
        if tall
        else torch.linalg.svd(rows, full_matrices=False).Vh[0]
    )
    return line * (1.0 if float(line[line.abs().argmax()]) > 0 else -1.0)


def _own(points: Tensor, directions: Tensor, found: Tensor) -> Tensor:
    """Coefficients X_n e_a of every point (N,C)."""
    return torch.einsum("ncp,np->nc", points, directions[found])


def _choose(cost: Tensor, found: Tensor | None, count: int, tolerance: float) -> tuple[Tensor, bool]:
    """The cheapest component of every point, empty ones refilled; whether nothing changed."""
    best, place = cost.min(1)
    if found is None:
        fresh = place
    else:
        own = cost.gather(1, found[:, None])[:, 0]
        fresh = torch.where(own - best > tolerance, place, found)
    size = torch.bincount(fresh, minlength=count)
    for k in (size == 0).nonzero()[:, 0].tolist():
        paid = cost.gather(1, fresh[:, None])[:, 0]
        n = int(torch.where(size[fresh] > 1, paid, -torch.inf).argmax())
        size[fresh[n]] -= 1
        fresh[n], size[k] = k, 1
    return fresh, found is not None and bool((fresh == found).all())


def _points(x: Tensor) -> tuple[Tensor, float]:
    """Data in float64 on the CPU and the gain that counts as none, or InputError."""
    if x.ndim != 3 or len(x) == 0 or x.is_complex() or x.dtype == torch.bool:
        raise InputError(
            f"The points have shape {tuple(x.shape)} and type {x.dtype}; at least one matrix of channels by pixels of "
            "real numbers is needed, (N,C,n); bring all templates to one size and flatten images with .flatten(2)."
        )
    points = x.detach().cpu().double()
    scale = float(points.square().sum((1, 2)).mean())
    if not scale < float("inf"):
        raise InputError(
            "The points hold NaN or infinite numbers, or their squares overflow; subspaces need finite numbers; "
            "remove or repair the rows for which torch.isfinite is false."
        )
    return points, SLACK * scale


def _unit(start: Tensor, points: Tensor) -> Tensor:
    rows = start.detach().cpu().double()
    if rows.ndim != 2 or len(rows) == 0 or rows.shape[1] != points.shape[2]:
        raise InputError(
            f"The first templates have shape {tuple(start.shape)}, the points {tuple(points.shape)}; templates of "
            f"{points.shape[2]} numbers are needed; draw them by subspace_start."
        )
    norm = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    if not bool(((norm > 0) & norm.isfinite()).all()):
        raise InputError(
            "A first template is zero or not finite; a direction is needed; draw it by subspace_start."
        )
    return rows / norm
