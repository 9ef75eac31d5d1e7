"""Processes that destroy data: for now the Gaussian one, x = x0 + sigma z."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from unrote import likelihoods
from unrote.contracts import Randomness, normal, over


@dataclass(frozen=True)
class Gaussian:
    """x = x0 + sigma z with z standard normal; the level is sigma > 0.

    Args:
        memory: bytes that the likelihood of a whole data set may take beyond the data.

    Source: 001 section 2 (the convention of EDM).
    """

    memory: int = likelihoods.DEFAULT_MEMORY

    def noise(
        self, x0: Float[Tensor, "B *E"], level: Float[Tensor, " B"], generator: Randomness
    ) -> Float[Tensor, "B *E"]:
        """Draw x0 + sigma z; row b uses stream b when one generator per row is given."""
        return x0 + over(level, x0) * normal(x0.shape, generator, x0.dtype, x0.device)

    def log_likelihood(
        self, x: Float[Tensor, "B *E"], x0: Float[Tensor, "N *E"], level: Float[Tensor, " B"]
    ) -> Float[Tensor, "B N"]:
        """-|x_b - x0_n|^2 / (2 sigma_b^2) up to a constant per row, float64 (001 eq. 3)."""
        return likelihoods.gaussian_log_likelihood(x, x0, level, memory=self.memory)

    def mix(self, weights: Float[Tensor, "B N"], x0: Float[Tensor, "N *E"]) -> Float[Tensor, "B *E"]:
        """The posterior mean sum_n w_n x0_n (001 eq. 2)."""
        return likelihoods.mix(weights, x0)
