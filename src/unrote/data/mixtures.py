"""Gaussian mixtures: the distributions in which every denoiser, loss and likelihood is known in closed form.

pi = sum_k w_k N(mu_k, Sigma_k) with isotropic, low-rank or full Sigma_k; a data set is the mixture of its
points with Sigma = 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from unrote.contracts import InputError

CHUNK = 64
"""Rows that are drawn at a time; a row depends on its place alone and not on how many are asked for."""

WEIGHT_TOLERANCE = 1e-6
"""How far from one the sum of the weights may be: float32 weights of thousands of components come so near."""

SYMMETRY = 1e-6
"""Largest asymmetry and smallest eigenvalue of a full covariance, relative to its largest entry."""


@dataclass(frozen=True, eq=False)
class Isotropic:
    """Sigma_k = variance_k I.

    Args:
        variance: one per component (K,), in squared units of the data; 0 makes the component a point.
    """

    variance: Float[Tensor, " K"]


@dataclass(frozen=True, eq=False)
class LowRank:
    """Sigma_k = factor_k factor_k^T, for components that live on a subspace.

    Args:
        factor: (K,D,R), in units of the data.
    """

    factor: Float[Tensor, "K D R"]


@dataclass(frozen=True, eq=False)
class Full:
    """Any symmetric positive definite Sigma_k.

    Args:
        matrix: (K,D,D), in squared units of the data.
    """

    matrix: Float[Tensor, "K D _D"]


Covariance = Isotropic | LowRank | Full


@dataclass(frozen=True, eq=False)
class GaussianMixture:
    """pi = sum_k w_k N(mu_k, Sigma_k).

    Args:
        weights: probabilities of the components (K,); they sum to one, some may be 0.
        means: centres (K,D).
        covariance: spread of all components, in one of three shapes.

    Raises:
        InputError: if shapes disagree, weights are no probabilities, numbers are not finite, a variance is
            negative, or a full covariance is not symmetric or not positive definite.

    Source: 000 eq. (8).
    """

    weights: Float[Tensor, " _K"]
    means: Float[Tensor, "K D"]
    covariance: Covariance

    def __post_init__(self) -> None:
        _check_means(self.means)
        _check_weights(self.weights, len(self.means))
        _check_covariance(self.covariance, self.means)

    @property
    def count(self) -> int:
        """K, the number of components."""
        return self.means.shape[0]

    @property
    def dimension(self) -> int:
        """D, the dimension of the data."""
        return self.means.shape[1]


@dataclass(frozen=True, eq=False)
class Draw:
    """Data together with the component that each row came from.

    Args:
        x: data (N,D).
        label: component of each row (N,), int64.
    """

    x: Float[Tensor, "N D"]
    label: Int[Tensor, " _N"]

    def __post_init__(self) -> None:
        if len(self.x) != len(self.label):
            raise ValueError(f"{len(self.x)} rows need one label each, got {len(self.label)}")


def draw(mixture: GaussianMixture, count: int, generator: torch.Generator) -> Draw:
    """Independent rows of a mixture: k ~ w, x = mu_k + Sigma_k^(1/2) z.

    Row i is the same however many rows are asked for, and the generator advances equally far.

    Args:
        mixture: the distribution; rows have its type and are where it is.
        count: N, at least 0.
        generator: the source of all rows.

    Raises:
        InputError: for a negative count.
    """
    if count < 0:
        raise InputError(f"{count} rows of a mixture were asked for; ask for 0 or more.")
    seed = int(torch.randint(2**62, (1,), generator=generator, device=generator.device))
    stream = torch.Generator(generator.device).manual_seed(seed)
    root = _root(mixture.covariance)
    parts = [_chunk(mixture, root, stream) for _ in range(-(-count // CHUNK))]
    if not parts:
        empty = torch.empty(0, dtype=torch.int64, device=mixture.means.device)
        return Draw(mixture.means[:0], empty)
    return Draw(torch.cat([x for x, _ in parts])[:count], torch.cat([label for _, label in parts])[:count])


def sphere_means(count: int, dimension: int, generator: torch.Generator) -> Float[Tensor, "K D"]:
    """Centres that are uniform on the sphere of radius sqrt(D), float64.

    mu_k = sqrt(D) g_k / |g_k| with g_k ~ N(0, I).

    Args:
        count: K, at least 1.
        dimension: D, at least 2: in one dimension the sphere is two points, and centres would coincide.
        generator: the source of the directions.

    Raises:
        InputError: for other counts or dimensions.

    Source: 000 section 4.1 (no separation is enforced).
    """
    if count < 1:
        raise InputError(f"{count} centres were asked for; a mixture has at least 1.")
    if dimension < 2:
        raise InputError(
            f"Centres on the sphere need a dimension of at least 2, got {dimension}: in one dimension the "
            "sphere is the two points -1 and 1, so that most centres coincide. Give the means yourself."
        )
    g = torch.randn(count, dimension, generator=generator, dtype=torch.float64, device=generator.device)
    return g * (dimension**0.5 / g.norm(dim=1, keepdim=True))


def isotropic(
    means: Float[Tensor, "K D"],
    variance: float | Float[Tensor, " _K"],
    weights: Float[Tensor, " _K"] | None = None,
) -> GaussianMixture:
    """A mixture of balls: Sigma_k = variance_k I.

    Args:
        means: centres (K,D).
        variance: one for all components or one for each (K,).
        weights: probabilities (K,), equal by default.

    Raises:
        InputError: as for `GaussianMixture`.
    """
    each = variance if isinstance(variance, Tensor) else means.new_full((len(means),), variance)
    return GaussianMixture(_equal(means) if weights is None else weights, means, Isotropic(each))


def points(x: Float[Tensor, "N D"], variance: float = 0.0) -> GaussianMixture:
    """A data set as a mixture, one component of equal weight per row.

    With variance 0 its denoiser is the memorizing one (000 eq. 7), with the first M rows the partially
    memorizing one (eq. 10).

    Args:
        x: data (N,D).
        variance: of every component.

    Raises:
        InputError: as for `GaussianMixture`.
    """
    return isotropic(x, variance)


def coloured_templates(
    templates: Float[Tensor, "K *n"] | Sequence[Tensor],
    channels: int = 3,
    variance: float = 1.0,
    colour: Float[Tensor, "_K _C"] | None = None,
    weights: Float[Tensor, " _K"] | None = None,
) -> GaussianMixture:
    """Monochrome pictures in random colours: x = c (x) template_k with c ~ N(colour_k, variance I).

    An event is (channels, n) flattened; mu_k = colour_k (x) x_k and Sigma_k = variance (I (x) x_k x_k^T),
    of rank `channels`.

    Args:
        templates: pictures (K,*n), or a sequence of pictures of one size.
        channels: C, at least 1.
        variance: of a colour, > 0.
        colour: mean colour of each template (K,C); 0 by default, and then all means coincide.
        weights: probabilities (K,), equal by default.

    Raises:
        InputError: for templates of mixed size, a template that is zero everywhere, colours of another shape,
            or as for `GaussianMixture`.

    Source: 000 section 4.2 and appendix H.4.
    """
    x = _stacked(templates)
    if channels < 1 or not variance > 0:
        raise InputError(
            f"Coloured templates need at least 1 channel and a positive variance of their colours, got "
            f"{channels} channels and variance {variance}."
        )
    empty = (x == 0).all(1).nonzero().flatten().tolist()
    if empty:
        raise InputError(
            f"The templates {empty[:20]} are zero everywhere, and no colour can be seen on them: leave them out."
        )
    mean = x.new_zeros(len(x), channels) if colour is None else colour
    if mean.shape != (len(x), channels):
        raise InputError(
            f"Mean colours must have one row per template and one column per channel, ({len(x)}, {channels}), "
            f"got {tuple(mean.shape)}."
        )
    eye = torch.eye(channels, dtype=x.dtype, device=x.device)
    factor = variance**0.5 * torch.einsum("kn,cr->kcnr", x, eye).reshape(len(x), -1, channels)
    means = torch.einsum("kc,kn->kcn", mean.to(x), x).reshape(len(x), -1)
    return GaussianMixture(_equal(means) if weights is None else weights, means, LowRank(factor))


def _equal(means: Tensor) -> Tensor:
    if len(means) == 0:
        raise InputError("A mixture needs at least one component, got means of shape (0, ...).")
    return means.new_full((len(means),), 1 / len(means))


def _stacked(templates: Tensor | Sequence[Tensor]) -> Tensor:
    shapes = sorted({tuple(one.shape) for one in templates})
    if len(shapes) > 1:
        raise InputError(
            f"Templates must all have one size, got {len(shapes)} sizes, among them {shapes[0]} and "
            f"{shapes[-1]}: resize them to one size first."
        )
    if not shapes or 0 in shapes[0]:
        raise InputError("Coloured templates need at least one template with at least one pixel, got none.")
    stacked = templates if isinstance(templates, Tensor) else torch.stack(list(templates))
    return stacked.flatten(1) if stacked.ndim > 1 else stacked[:, None]


def _check_means(means: Tensor) -> None:
    if 0 in means.shape:
        raise InputError(
            f"A mixture needs at least one component of at least one dimension, got means of shape "
            f"{tuple(means.shape)}."
        )
    if not bool(torch.isfinite(means).all()):
        raise InputError("The means of a mixture must be finite; some are NaN or infinite.")


def _check_weights(weights: Tensor, count: int) -> None:
    if weights.shape != (count,):
        raise InputError(
            f"A mixture of {count} components needs {count} weights, got weights of shape {tuple(weights.shape)}."
        )
    total, least = float(weights.double().sum()), float(weights.min())
    if not (least >= 0 and abs(total - 1) <= WEIGHT_TOLERANCE):
        raise InputError(
            f"The weights of a mixture must be at least 0 and sum to 1, got a sum of {total:.9g} and a smallest "
            f"weight of {least:.9g}: divide them by their sum."
        )


def _check_covariance(covariance: Covariance, means: Tensor) -> None:
    count, dimension = means.shape
    if isinstance(covariance, Isotropic):
        values, wanted = covariance.variance, f"({count},)"
        valid = values.shape == (count,)
    elif isinstance(covariance, LowRank):
        values, wanted = covariance.factor, f"({count}, {dimension}, R)"
        valid = values.shape[:2] == (count, dimension) and values.shape[2] > 0
    else:
        values, wanted = covariance.matrix, f"({count}, {dimension}, {dimension})"
        valid = values.shape == (count, dimension, dimension)
    if not valid:
        raise InputError(
            f"A mixture of {count} components in {dimension} dimensions needs a covariance of shape {wanted}, "
            f"got shape {tuple(values.shape)}."
        )
    if not bool(torch.isfinite(values).all()):
        raise InputError("The covariance of a mixture must be finite; some entries are NaN or infinite.")
    if isinstance(covariance, Isotropic) and bool((values < 0).any()):
        raise InputError(
            f"A variance must be at least 0, got {float(values.min()):g}; give the variance, not its logarithm."
        )
    if isinstance(covariance, Full):
        _check_definite(values.double())


def _check_definite(matrix: Tensor) -> None:
    scale = matrix.abs().amax((1, 2))
    skew = (matrix - matrix.mT).abs().amax((1, 2))
    wrong = (skew > SYMMETRY * scale).nonzero().flatten().tolist()
    if wrong:
        raise InputError(
            f"The covariances of components {wrong[:20]} are not symmetric (entries differ by up to "
            f"{float(skew.max()):.3g}): give (S + S^T)/2 if the difference is rounding."
        )
    # Rounding moves an eigenvalue by about D times the last place of the largest.
    least = torch.linalg.eigvalsh((matrix + matrix.mT) / 2)[:, 0]
    wrong = (least <= 1e-14 * matrix.shape[1] * scale).nonzero().flatten().tolist()
    if wrong:
        raise InputError(
            f"The covariances of components {wrong[:20]} are not positive definite (smallest eigenvalue "
            f"{float(least.min()):.3g}): components without extent in some direction are given as "
            "LowRank(factor), points as Isotropic(0)."
        )


def _root(covariance: Covariance) -> Tensor:
    """What turns white noise into a component: standard deviations (K,) or matrices (K,D,R)."""
    if isinstance(covariance, Isotropic):
        return covariance.variance.sqrt()
    return covariance.factor if isinstance(covariance, LowRank) else torch.linalg.cholesky(covariance.matrix)


def _chunk(mixture: GaussianMixture, root: Tensor, stream: torch.Generator) -> tuple[Tensor, Tensor]:
    place, means = stream.device, mixture.means
    bounds = mixture.weights.double().cumsum(0)
    u = torch.rand(CHUNK, generator=stream, dtype=torch.float64, device=place).to(means.device)
    # Right: a component of weight 0 is an empty interval, and no u falls into it.
    label = torch.searchsorted(bounds / bounds[-1], u, right=True)
    width = root.shape[2] if root.ndim == 3 else means.shape[1]
    z = torch.randn(CHUNK, width, generator=stream, dtype=torch.float64, device=place).to(means)
    if root.ndim == 1:
        return means[label] + root[label, None].to(means) * z, label
    x = means[label]
    for which in label.unique().tolist():
        rows = label == which
        x[rows] += z[rows] @ root[which].to(means).mT
    return x, label
