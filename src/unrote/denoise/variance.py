"""Denoisers that also say how uncertain the step back is: improved DDPM's learned variance.

Such a denoiser returns twice the channels of an image, [D, v]: what it takes the image to be, and for every number
where between its two natural bounds the logarithm of a step's variance lies.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unrote.contracts import Denoiser, over
from unrote.denoise.compose import Coefficients
from unrote.noise.schedule import alpha_bar, fixed_large, fixed_small


@final
class LearnedVariance(nn.Module):
    """A network of 2C channels as a denoiser with a variance: (B,C,...) -> (B,2C,...).

    [D, v] with D = c_skip x + c_out F(c_in x, c_noise)_{1..C} and v = F(c_in x, c_noise)_{C+1..2C}.

    Args:
        network: takes events (C, ...) and returns 2C channels, as `unrote.denoise.networks.UNet.build` makes it for
            ``channels_out``.
        coefficients: as in `Precondition`; `vp_eps` makes the first half predict noise.

    Source: Nichol and Dhariwal 2021, section 3.1.
    """

    def __init__(self, network: nn.Module, coefficients: Coefficients) -> None:
        super().__init__()
        self.network = network
        self.coefficients = coefficients

    def forward(
        self, x: Float[Tensor, "B C *S"], sigma: Float[Tensor, " B"], condition: Tensor | None = None
    ) -> Float[Tensor, "B C2 *S"]:
        """E[x0 | x] as the network sees it, and v.

        Raises:
            ValueError: if the network does not return 2C channels.
        """
        c = self.coefficients(sigma.double())
        skip, out, scale = (over(part.to(x.dtype), x) for part in (c.skip, c.out, c.input))
        told = self.network(scale * x, c.noise.to(x.dtype), condition)
        if told.shape[1] != 2 * x.shape[1]:
            raise ValueError(
                f"a learned variance of {x.shape[1]} channels needs a network that returns {2 * x.shape[1]}, got "
                f"{told.shape[1]}: build it with channels_out={2 * x.shape[1]}"
            )
        mean, v = told.chunk(2, 1)
        # v as wide as the images: under mixed precision the network's own numbers may be shorter.
        return torch.cat([skip * x + out * mean, v.to(x.dtype)], 1)

    def weight(self, sigma: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
        """1/c_out^2, as `Precondition.weight`; 1/sigma^2 under `vp_eps`."""
        return self.coefficients(sigma).out ** -2


@final
class MeanOf(nn.Module):
    """A denoiser with a variance as a denoiser alone: D without v, for whatever asks for images.

    Args:
        denoiser: returns [D, v] (B,2C,...), such as a `LearnedVariance`.
    """

    def __init__(self, denoiser: Denoiser) -> None:
        super().__init__()
        self.denoiser = denoiser

    def forward(
        self, x: Float[Tensor, "B C *S"], sigma: Float[Tensor, " B"], condition: Tensor | None = None
    ) -> Float[Tensor, "B C *S"]:
        """E[x0 | x]."""
        return self.denoiser(x, sigma, condition)[:, : x.shape[1]]


@final
@dataclass(frozen=True)
class LogVariance:
    """The logarithm of a step's variance that v stands for, between the two that are natural for it.

    log variance = (1 + v)/2 log large + (1 - v)/2 log small, where large and small are
    `unrote.noise.schedule.fixed_large` and `fixed_small`: what a step needs if the data is N(0, I), or one point.

    Args:
        first: small of the last step, into level 0, where the formula gives 0.

    Source: Nichol and Dhariwal 2021, eq. 15.
    """

    first: float

    def __call__(
        self, v: Float[Tensor, "B *E"], level: Float[Tensor, " B"], next_level: Float[Tensor, " B"]
    ) -> Float[Tensor, "B *E"]:
        """(B,*E), from level (B,) to next_level (B,) -> (B,*E); v may leave [-1, 1], as the network likes."""
        # Squares of neighbouring levels nearly cancel: float64.
        level, next_level = level.double(), next_level.double()
        small = torch.where(next_level > 0, fixed_small(level, next_level), self.first)
        low, high = (over(part.log().to(v.dtype), v) for part in (small, fixed_large(level, next_level)))
        return 0.5 * (1 + v) * high + 0.5 * (1 - v) * low


def log_variance(levels: Float[Tensor, " T"]) -> LogVariance:
    """`LogVariance` of a schedule, or of a subset of its timesteps.

    The step into level 0 has no posterior variance; as in improved DDPM that of the step before takes its place.

    Args:
        levels: of all timesteps that are taken, ascending, without 0 (T,).

    Raises:
        ValueError: unless there are two ascending levels above 0.
    """
    if levels.ndim != 1 or len(levels) < 2 or bool((levels.diff() <= 0).any()) or float(levels[0]) <= 0:
        raise ValueError(
            f"a learned variance needs at least two ascending levels above 0, got {levels.tolist()[:6]}"
        )
    low, high = levels[:1].double(), levels[1:2].double()
    return LogVariance(float(fixed_small(high, low) * alpha_bar(low)))
