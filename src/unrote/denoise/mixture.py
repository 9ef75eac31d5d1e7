"""The denoiser of a Gaussian mixture: one class for the true, the memorizing and the learned model.

For x = x0 + sigma z with x0 ~ sum_k w_k N(mu_k, Sigma_k) and C_k = Sigma_k + sigma^2 I (000 Lemma 2.1)

    D(x, sigma) = sum_k p_k [mu_k + Sigma_k C_k^-1 (x - mu_k)],   p_k ~ w_k N(x; mu_k, C_k).
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unrote.contracts import InputError
from unrote.data.mixtures import GaussianMixture
from unrote.denoise.components import shape_of

DEFAULT_MEMORY = 64 * 2**20
"""Bytes for a block of rows; results do not depend on it beyond the rounding of matrix products."""

TOLERANCE = 1e-10
"""What rounding may do to a log density before rows between two components are computed from differences."""

CERTAIN = 1e-14
"""A posterior that leaves less than this to all other components is taken as one-hot."""


class MixtureDenoiser(nn.Module):
    """E[x0 | x] for a Gaussian mixture, in float64 whatever the type of x.

    D(x, sigma) = sum_k p_k [mu_k + Sigma_k (Sigma_k + sigma^2 I)^-1 (x - mu_k)]. What is common to all
    components is cancelled before exponentiating, and where matrix products are too coarse (small sigma, a row
    between two components) distances are computed from differences.

    The true mixture gives the generalizing denoiser, `points(x)` the memorizing and `points(x[:M])` the
    partially memorizing one, and trainable=True the learned model.

    Args:
        mixture: weights, means and covariances; they become buffers that move with ``.to(device)``.
        trainable: whether they are parameters: `means`, `log_weights` (up to a constant), and `shape.log_variance`
            (isotropic), `shape.factor` (low-rank) or `shape.log_spread` and `shape.turn` (full).
        shared_variance: whether a trainable isotropic mixture has one variance for all components, as 000
            eq. (11) has; it must start from equal ones.
        memory: bytes for a block of rows.

    Raises:
        InputError: if a mixture that is to be trained has a weight or a variance of 0, or if a shared variance
            is asked for where there is none.

    Source: 000 Lemma 2.1, eq. (9); isotropic eq. (11). Deviation: x = x0 + sigma z instead of
    alpha_t x0 + sigma_t z.
    """

    means: Tensor
    log_weights: Tensor

    def __init__(
        self,
        mixture: GaussianMixture,
        trainable: bool = False,
        *,
        shared_variance: bool = False,
        memory: int = DEFAULT_MEMORY,
    ) -> None:
        super().__init__()
        if shared_variance and not trainable:
            raise InputError("shared_variance concerns what is trained: it needs trainable=True.")
        means, weights = mixture.means.detach().double().clone(), mixture.weights.detach().double()
        self.shape = shape_of(mixture.covariance, trainable, shared_variance)
        self.memory = memory
        if trainable:
            if not bool((weights > 0).all()):
                raise InputError(
                    "A trainable mixture needs positive weights, because their logarithms are trained: leave "
                    "components of weight 0 out."
                )
            self.means, self.log_weights = nn.Parameter(means), nn.Parameter(weights.log())
            return
        # Equal weights cancel; they are kept as a single 0, which is not added.
        alike = bool((weights == weights[0]).all())
        self.register_buffer("means", means)
        self.register_buffer("log_weights", weights.new_zeros(1) if alike else weights.log())

    @property
    def mixture(self) -> GaussianMixture:
        """The mixture as it is now, float64, without gradient."""
        count = len(self.means)
        weights = self.log_weights.detach().expand(count).softmax(0)
        return GaussianMixture(weights, self.means.detach().clone(), self.shape.covariance(count))

    def forward(
        self, x: Float[Tensor, "B *E"], sigma: Float[Tensor, " _B"], condition: Tensor | None = None
    ) -> Float[Tensor, "B *E"]:
        """E[x0 | x].

        Args:
            x: noisy points (B,*E); E holds as many numbers as the mixture has dimensions.
            sigma: their levels (B,), > 0.
            condition: must be None; a mixture knows no classes.

        Raises:
            ValueError: for a condition, levels that are not positive, or another dimension.
        """
        if condition is not None:
            raise ValueError(
                "a condition was given, but a mixture denoiser has no classes: build one from the components of a "
                "class instead"
            )
        means = [
            self.shape.mean(part, view, s2, self.means, self._posterior(part, view, s2))
            for part, view, s2 in self._blocks(x, sigma)
        ]
        mean = means[0] if len(means) == 1 else torch.cat(means)
        return mean.reshape(x.shape).to(x.dtype)

    def responsibilities(self, x: Float[Tensor, "B *E"], sigma: Float[Tensor, " _B"]) -> Float[Tensor, "B K"]:
        """p_k(x): how likely each component is to have produced x; float64, rows sum to one.

        Args:
            x, sigma: as for a call.

        Raises:
            ValueError: as for a call.
        """
        return torch.cat([self._posterior(*block) for block in self._blocks(x, sigma)])

    def log_density(self, x: Float[Tensor, "B *E"], sigma: Float[Tensor, " _B"]) -> Float[Tensor, " B"]:
        """log p_sigma(x) = log sum_k w_k N(x; mu_k, Sigma_k + sigma^2 I) in nats, float64.

        Args:
            x, sigma: as for a call.

        Raises:
            ValueError: as for a call.
        """
        weights = self.log_weights.expand(len(self.means)).log_softmax(0)
        parts = [
            torch.logsumexp(weights + self._exact(part, s2), 1) for part, _, s2 in self._blocks(x, sigma)
        ]
        return torch.cat(parts)

    def score(self, x: Float[Tensor, "B *E"], sigma: Float[Tensor, " _B"]) -> Float[Tensor, "B *E"]:
        """grad_x log p_sigma(x) = (D(x, sigma) - x) / sigma^2 (Tweedie).

        Args:
            x, sigma: as for a call.

        Raises:
            ValueError: as for a call.
        """
        return (self(x, sigma) - x) / sigma.to(x).square().reshape(-1, *(1,) * (x.ndim - 1))

    def blend(
        self, x: Float[Tensor, "B *E"], sigma: Float[Tensor, " _B"], weights: Float[Tensor, "_B K"]
    ) -> Float[Tensor, "B *E"]:
        """The affine denoiser that has fixed weights in place of the posterior.

        sum_k q_k [mu_k + B_k (x - mu_k)] with B_k = Sigma_k (Sigma_k + sigma^2 I)^-1; with one-hot q it is the
        denoiser of a single component, which the mixture's denoiser is wherever its posterior is one-hot.

        Args:
            x, sigma: as for a call.
            weights: q of each row (B,K).

        Raises:
            ValueError: as for a call, or for weights of another shape.
        """
        if weights.shape != (len(x), len(self.means)):
            raise ValueError(
                f"{len(x)} rows and {len(self.means)} components need weights of shape "
                f"{(len(x), len(self.means))}, got {tuple(weights.shape)}"
            )
        done, means = 0, []
        for part, view, s2 in self._blocks(x, sigma):
            q = weights[done : done + len(part)].double()
            means.append(self.shape.mean(part, view, s2, self.means, q))
            done += len(part)
        return torch.cat(means).reshape(x.shape).to(x.dtype)

    @torch.no_grad()
    def blend_loss(
        self, x0: Float[Tensor, "B *E"], sigma: float, weights: Float[Tensor, "_B K"]
    ) -> Float[Tensor, " B"]:
        """The expected squared error of `blend` over the noise, in closed form; float64.

        E|blend(x0 + sigma z) - x0|^2 = |blend(x0) - x0|^2 + sigma^2 tr[(sum_k q_k B_k)^2].

        Args:
            x0: clean rows (B,*E).
            sigma: one level for all rows, > 0.
            weights: q of each row (B,K).

        Raises:
            ValueError: as for `blend`.
        """
        level = torch.full((len(x0),), sigma, dtype=torch.float64, device=x0.device)
        away = (self.blend(x0.double(), level, weights) - x0.double()).flatten(1)
        table, q = self.shape.overlap(sigma**2, self.means.detach()), weights.double()
        return away.square().sum(1) + sigma**2 * ((q @ table) * q).sum(1)

    def _blocks(self, x: Tensor, sigma: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Rows, what their shape sees of them, and sigma^2, as many at a time as the memory allows."""
        count, dimension = self.means.shape
        if sigma.shape != (len(x),):
            raise ValueError(f"a level must hold one number per row, ({len(x)},), got {tuple(sigma.shape)}")
        flat = x.reshape(len(x), -1) if len(x) else x.reshape(0, dimension)
        if flat.shape[1] != dimension:
            raise ValueError(f"rows have {flat.shape[1]} numbers, but the mixture has {dimension} dimensions")
        if len(x) and not float(sigma.detach().min()) > 0:
            raise ValueError(f"levels must be positive, got one of {float(sigma.detach().min())}")
        flat, s2 = flat.double(), sigma.double().square()
        rows = max(1, self.memory // (8 * self.shape.width(dimension, count)))
        for start in range(0, max(1, len(flat)), rows):
            part = flat[start : start + rows]
            yield part, self.shape.view(part, self.means), s2[start : start + rows]

    def _posterior(self, x: Tensor, view: Tensor, s2: Tensor) -> Tensor:
        logits = self.shape.log_density(x, view, s2, self.means)
        if len(self.log_weights) > 1:
            logits = logits + self.log_weights
        p = torch.softmax(logits, 1)
        if len(x) == 0 or len(self.means) == 1:
            return p
        rows = self._coarse(x, s2, p)
        if len(rows) == 0:
            return p
        exact = torch.softmax(self.log_weights + self._exact(x[rows], s2[rows]), 1)
        return p.index_copy(0, rows, exact)

    @torch.no_grad()
    def _coarse(self, x: Tensor, s2: Tensor, p: Tensor) -> Tensor:
        """The rows whose posterior is moved by the rounding of matrix products."""
        square = max(float(x.square().sum(1).max()), float(self.means.square().sum(1).max()))
        if not self.shape.rounding(square, float(s2.min())) > TOLERANCE:
            return s2.new_empty(0, dtype=torch.int64)
        return (p.amax(1) < 1 - CERTAIN).nonzero().flatten()

    def _exact(self, x: Tensor, s2: Tensor) -> Tensor:
        rows = max(1, self.memory // (24 * self.means.numel()))
        parts = [
            self.shape.exact_log_density(a, b, self.means)
            for a, b in zip(x.split(rows), s2.split(rows), strict=True)
        ]
        return torch.cat(parts)


def log_density(
    mixture: GaussianMixture, x: Float[Tensor, "B *E"], sigma: Float[Tensor, " _B"]
) -> Float[Tensor, " B"]:
    """log p_sigma(x) of a mixture with noise, in nats, float64: see `MixtureDenoiser.log_density`.

    Args:
        mixture: the distribution of x0.
        x: noisy points (B,*E).
        sigma: their levels (B,), > 0.

    Raises:
        ValueError: for levels that are not positive, or another dimension.
    """
    return MixtureDenoiser(mixture).log_density(x, sigma)
