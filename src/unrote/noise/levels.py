"""Grids of levels for sampling, and laws of levels for training."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from unrote.noise.schedule import cosine_levels, sigma_of_vp_time, vp_time


def edm_levels(
    n: int = 18, sigma_min: float = 0.002, sigma_max: float = 80.0, rho: float = 7.0
) -> Float[Tensor, " T"]:
    """EDM's grid, highest level first, float64: equal spacing of sigma^(1/rho).

    sigma_i = (sigma_max^(1/rho) + i/(n-1) (sigma_min^(1/rho) - sigma_max^(1/rho)))^rho.

    Source: 001 appendix E.1 (Karras et al. 2022, eq. 5). The final 0 is not part of the grid.
    """
    if n < 2 or not 0 < sigma_min < sigma_max:
        raise ValueError(
            f"a grid needs n >= 2 and 0 < sigma_min < sigma_max, got {n}, {sigma_min}, {sigma_max}"
        )
    ramp = torch.linspace(0, 1, n, dtype=torch.float64)
    high, low = sigma_max ** (1 / rho), sigma_min ** (1 / rho)
    levels = (high + ramp * (low - high)) ** rho
    levels[0], levels[-1] = sigma_max, sigma_min  # the ends are promised, not computed
    return levels


def vp_levels(steps: int = 25, t_first: float = 0.999, t_last: float = 0.001) -> Float[Tensor, " T"]:
    """000's DDIM grid as sigma: t_l = 0.999 - 0.998 l/L, highest first, float64, L + 1 values.

    Source: 000 appendix H.2; the paper prints 0.999 - l/L, which leaves [0, 1].
    """
    return sigma_of_vp_time(torch.linspace(t_first, t_last, steps + 1, dtype=torch.float64))


def respaced(levels: Float[Tensor, " T"], count: int) -> Float[Tensor, " n"]:
    """A subset of a schedule's levels, evenly spaced in the timestep and with both ends, highest first.

    Timesteps round(i (T - 1)/(n - 1)); with n = T all of them.

    Args:
        levels: of all timesteps, ascending (T,).
        count: n, from 2 to T.

    Raises:
        ValueError: for another count.

    Source: Nichol and Dhariwal 2021, section 4 (improving sampling speed).
    """
    if not 2 <= count <= len(levels):
        raise ValueError(f"from {len(levels)} timesteps 2 to {len(levels)} can be taken, got {count}")
    index = torch.linspace(0, len(levels) - 1, count, dtype=torch.float64).round().long()
    return levels[index].flip(0)


def end_at_zero(levels: Float[Tensor, " T"]) -> Float[Tensor, " T+1"]:
    """Append level 0, so that the last step of a trajectory lands on the data."""
    return torch.cat([levels, levels.new_zeros(1)])


def log_levels(low: float, high: float, n: int) -> Float[Tensor, " T"]:
    """n levels from low to high, equal spacing in log sigma, float64."""
    return torch.exp(torch.linspace(math.log(low), math.log(high), n, dtype=torch.float64))


@dataclass(frozen=True)
class LogNormal:
    """EDM's law of training levels: log sigma ~ N(mean, std^2).

    Source: Karras et al. 2022, table 1 (P_mean, P_std).
    """

    mean: float = -1.2
    std: float = 1.2

    def __call__(self, n: int, generator: torch.Generator) -> Float[Tensor, " n"]:
        """Draw n levels, float32."""
        z = torch.randn(n, generator=generator, device=generator.device)
        return torch.exp(self.mean + self.std * z)

    def probability(self, low: float, high: float) -> float:
        """The share of training updates whose level lies in (low, high]."""
        scale = self.std * math.sqrt(2)

        def below(sigma: float) -> float:
            if sigma <= 0:
                return 0.0
            return 0.5 * (1 + math.erf((math.log(sigma) - self.mean) / scale)) if sigma < math.inf else 1.0

        return below(high) - below(low)


@dataclass(frozen=True)
class UniformTime:
    """VP time uniform on (t_first, t_last), as sigma: the law of DDPM-type training.

    Source: 003 Algorithm 1 (t uniform), in 000's parametrisation sigma_t = t.
    """

    t_first: float = 1e-3
    t_last: float = 0.999

    def __call__(self, n: int, generator: torch.Generator) -> Float[Tensor, " n"]:
        """Draw n levels, float32."""
        u = torch.rand(n, generator=generator, device=generator.device)
        return sigma_of_vp_time(self.t_first + (self.t_last - self.t_first) * u)

    def probability(self, low: float, high: float) -> float:
        """The share of training updates whose level lies in (low, high]."""

        def below(sigma: float) -> float:
            t = 1.0 if sigma == math.inf else float(vp_time(torch.tensor(sigma, dtype=torch.float64)))
            return min(1.0, max(0.0, (t - self.t_first) / (self.t_last - self.t_first)))

        return below(high) - below(low)


@dataclass(frozen=True)
class CosineTimesteps:
    """Timesteps 0..T-1 of the cosine schedule, drawn uniformly, as sigma: the law of improved DDPM's training.

    With the weight 1/sigma^2 the loss of a denoiser is then the simple objective, the mean squared error of the noise:
    eps_hat - eps = (x0 - D)/sigma.

    Args:
        steps: T.

    Source: Nichol and Dhariwal 2021, eq. 17.
    """

    steps: int = 4000

    def __call__(self, n: int, generator: torch.Generator) -> Float[Tensor, " n"]:
        """Draw n levels, float32."""
        index = torch.randint(self.steps, (n,), generator=generator, device=generator.device)
        return cosine_levels(self.steps).to(generator.device, torch.float32)[index]

    def probability(self, low: float, high: float) -> float:
        """The share of training updates whose level lies in (low, high]."""
        table = cosine_levels(self.steps)
        return float(((table > low) & (table <= high)).double().mean())
