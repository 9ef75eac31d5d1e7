"""The only file where alpha and t exist: translations between sigma and every other unit.

A variance-preserving state x_t = alpha_t x0 + sigma_t z with alpha_t^2 + sigma_t^2 = 1 is the state
x = x_t / alpha_t at level sigma = sigma_t / alpha_t. All units below name that one sigma:

====================  =============================================================
VP time               sigma_t = sigma / sqrt(1 + sigma^2)   (000: alpha_t = sqrt(1 - t^2), so t = sigma_t)
alpha-bar             alpha_t^2 = 1 / (1 + sigma^2)
log-SNR               log(alpha_t^2 / sigma_t^2) = -2 log sigma
DDPM timestep         the (fractional) index at which a table of alpha-bar takes this value
====================  =============================================================
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from unrote.contracts import over


def vp_time(sigma: Tensor) -> Tensor:
    """VP time t = sigma / sqrt(1 + sigma^2) in [0, 1) (000 section 2; 003's sigma_t)."""
    return sigma / torch.sqrt(1 + sigma**2)


def sigma_of_vp_time(t: Tensor) -> Tensor:
    """sigma = t / sqrt(1 - t^2) for t in [0, 1).

    Raises:
        ValueError: where t leaves [0, 1); at t = 1 nothing of the data is left and sigma is infinite.
    """
    if bool(((t < 0) | (t >= 1)).any()):
        raise ValueError(
            f"VP time must lie in [0, 1), got values from {t.min():g} to {t.max():g}; end grids before t = 1"
        )
    return t / torch.sqrt((1 - t) * (1 + t))


def alpha_bar(sigma: Tensor) -> Tensor:
    """alpha-bar = 1 / (1 + sigma^2), the squared signal coefficient of the VP state."""
    return 1 / (1 + sigma**2)


def sigma_of_alpha_bar(value: Tensor) -> Tensor:
    """sigma = sqrt(1 / alpha-bar - 1) for alpha-bar in (0, 1]."""
    if bool(((value <= 0) | (value > 1)).any()):
        raise ValueError(f"alpha-bar must lie in (0, 1], got values from {value.min():g} to {value.max():g}")
    return torch.sqrt((1 - value) / value)


def log_snr(sigma: Tensor) -> Tensor:
    """log(alpha^2 / sigma_t^2) = -2 log sigma."""
    return -2 * torch.log(sigma)


def sigma_of_log_snr(value: Tensor) -> Tensor:
    """sigma = exp(-log-SNR / 2)."""
    return torch.exp(-value / 2)


def linear_alpha_bars(
    steps: int = 1000, beta_first: float = 1e-4, beta_last: float = 0.02
) -> Float[Tensor, " T"]:
    """alpha-bar at DDPM's timesteps 0..T-1 for betas linear in the index (Ho et al. 2020), float64."""
    beta = torch.linspace(beta_first, beta_last, steps, dtype=torch.float64)
    return torch.cumprod(1 - beta, 0)


def cosine_alpha_bars(
    steps: int = 1000, offset: float = 0.008, beta_most: float = 0.999
) -> Float[Tensor, " T"]:
    """alpha-bar of the cosine schedule (Nichol and Dhariwal 2021, eq. 17), betas capped, float64.

    alpha-bar is rebuilt by the cumulative product of the capped betas, as their program does.
    """
    index = torch.arange(steps + 1, dtype=torch.float64) / steps
    shape = torch.cos((index + offset) / (1 + offset) * math.pi / 2) ** 2
    beta = (1 - shape[1:] / shape[:-1]).clamp(max=beta_most)
    return torch.cumprod(1 - beta, 0)


def sigma_of_timestep(step: Tensor, alpha_bars: Float[Tensor, " T"]) -> Tensor:
    """sigma at a (fractional) DDPM timestep, log-sigma interpolated linearly between timesteps.

    Raises:
        ValueError: where a timestep leaves 0..T-1.
    """
    last = len(alpha_bars) - 1
    if bool(((step < 0) | (step > last)).any()):
        raise ValueError(f"timesteps run from 0 to {last}, got {step.min():g} to {step.max():g}")
    table = torch.log(sigma_of_alpha_bar(alpha_bars))
    below = step.floor().clamp(max=last - 1).long()
    part = step.to(table.dtype) - below
    return torch.exp(table[below] * (1 - part) + table[below + 1] * part)


def timestep(sigma: Tensor, alpha_bars: Float[Tensor, " T"]) -> Tensor:
    """The fractional DDPM timestep at which the schedule has this sigma; nan outside its range."""
    table = torch.log(sigma_of_alpha_bar(alpha_bars))
    wanted = torch.log(sigma.to(table.dtype))
    above = torch.searchsorted(table, wanted).clamp(1, len(table) - 1)
    part = (wanted - table[above - 1]) / (table[above] - table[above - 1])
    # A billionth of a step of slack keeps the two ends of the table inside it.
    inside = (part >= -1e-9) & (part <= 1 + 1e-9)
    return torch.where(inside, above - 1 + part, torch.full_like(part, math.nan))


@lru_cache(maxsize=16)
def cosine_levels(steps: int = 4000) -> Float[Tensor, " T"]:
    """sigma at the timesteps 0..T-1 of the cosine schedule, ascending, float64; 4,000 is improved DDPM's number."""
    return sigma_of_alpha_bar(cosine_alpha_bars(steps))


@dataclass(frozen=True)
class CosineTime:
    """The fractional timestep of the cosine schedule that has a level, in units of the caller's: most t / T.

    Levels beyond the ends of the schedule are told as its ends.

    Args:
        steps: T.
        most: what t = T would be told as; with 10, a U-Net of this program hears 1000 t / T, as improved DDPM's does.
    """

    steps: int = 4000
    most: float = 10.0

    def __call__(self, sigma: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
        """(B,) -> (B,), float64."""
        table = cosine_levels(self.steps).to(sigma.device)
        # The table's own ends, so that no rounding carries a level beyond them.
        index = timestep(sigma.double().clamp(table[0], table[-1]), alpha_bar(table))
        return index * (self.most / self.steps)


def fixed_small(level: Float[Tensor, " B"], next_level: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
    """The variance of x at the next level s given x at level sigma and x0: s^2 (sigma^2 - s^2) / sigma^2.

    In DDPM's words the posterior variance of a step, divided by the alpha-bar that it leads to. It is what a step back
    needs if the data is a single point. 0 for a step into level 0.

    Source: Ho et al. 2020, eq. 7.
    """
    return next_level**2 * (level**2 - next_level**2) / level**2


def fixed_large(level: Float[Tensor, " B"], next_level: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
    """The variance of x at the next level s given x at level sigma if x0 ~ N(0, I).

    (1 + s^2)(sigma^2 - s^2) / (1 + sigma^2), in DDPM's words beta of the step, divided by the alpha-bar that it leads
    to.

    Source: Ho et al. 2020, section 3.2.
    """
    return (1 + next_level**2) * (level**2 - next_level**2) / (1 + level**2)


def from_vp(x: Float[Tensor, "B *E"], sigma: Float[Tensor, " B"]) -> Float[Tensor, "B *E"]:
    """x = x_t / alpha_t: a VP state as a state of x = x0 + sigma z."""
    return x * over(torch.sqrt(1 + sigma**2), x)


def to_vp(x: Float[Tensor, "B *E"], sigma: Float[Tensor, " B"]) -> Float[Tensor, "B *E"]:
    """x_t = alpha_t x: the VP state that a VP-trained network expects."""
    return x / over(torch.sqrt(1 + sigma**2), x)


@dataclass(frozen=True)
class Units:
    """One level in every unit; a timestep is None where the schedule does not reach the level."""

    sigma: float
    vp_time: float
    alpha_bar: float
    log_snr: float
    ddpm_linear_timestep: float | None
    ddpm_cosine_timestep: float | None


def units(sigma: float) -> Units:
    """Print one level in every unit; timesteps are those of 1,000-step schedules.

    Raises:
        ValueError: if sigma is not a positive number.
    """
    if not (sigma > 0 and math.isfinite(sigma)):
        raise ValueError(f"a level must be a positive number, got {sigma}")
    level = torch.tensor(sigma, dtype=torch.float64)

    def index(alpha_bars: Tensor) -> float | None:
        value = float(timestep(level, alpha_bars))
        return None if math.isnan(value) else value

    return Units(
        sigma=sigma,
        vp_time=float(vp_time(level)),
        alpha_bar=float(alpha_bar(level)),
        log_snr=float(log_snr(level)),
        ddpm_linear_timestep=index(linear_alpha_bars()),
        ddpm_cosine_timestep=index(cosine_alpha_bars()),
    )
