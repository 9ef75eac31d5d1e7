"""Steps of the reverse process, and the only sampling loop.

The probability flow of x = x0 + sigma z is dx/dsigma = (x - D(x, sigma)) / sigma (001 eq. 4); every
sampler here is a way to follow it from a high level down to 0.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float, Num
from torch import Tensor

from unrote.contracts import Denoiser, Randomness, Step, normal, over


def slope(denoiser: Denoiser, x: Float[Tensor, "B *E"], level: Float[Tensor, " B"]) -> Float[Tensor, "B *E"]:
    """dx/dsigma = (x - D(x, sigma)) / sigma (001 eq. 4)."""
    return (x - denoiser(x, level)) / over(level, x)


def euler(
    denoiser: Denoiser,
    x: Float[Tensor, "B *E"],
    level: Float[Tensor, " B"],
    next_level: Float[Tensor, " B"],
    generator: Randomness | None = None,
) -> Float[Tensor, "B *E"]:
    """x' = x + (sigma' - sigma) dx/dsigma; in sigma this *is* DDIM (000 appendix H.2).

    Written as a mixture, x' = (sigma'/sigma) x + (1 - sigma'/sigma) D, so that sigma' = 0 returns the
    denoised state bit for bit. The step draws no noise, so generator is left alone.
    """
    keep = over(next_level / level, x)
    return keep * x + (1 - keep) * denoiser(x, level)


def heun(
    denoiser: Denoiser,
    x: Float[Tensor, "B *E"],
    level: Float[Tensor, " B"],
    next_level: Float[Tensor, " B"],
    generator: Randomness | None = None,
) -> Float[Tensor, "B *E"]:
    """Euler's step corrected by the slope at its end; second order (Karras et al. 2022, algorithm 1).

    Into level 0 the correction is undefined and the step is Euler's. One call moves all rows into the
    same kind of level: all to 0 or none.
    """
    first = euler(denoiser, x, level, next_level)
    if not bool(next_level.any()):
        return first
    width = over(next_level - level, x)
    return 0.5 * (x + first + width * slope(denoiser, first, next_level))


def churn(
    step: Step,
    amount: float,
    low: float = 0.0,
    high: float = math.inf,
    noise: float = 1.0,
    steps: int = 18,
) -> Step:
    """Add fresh noise before each step: sigma -> (1 + gamma) sigma, gamma = min(amount/steps, sqrt(2)-1).

    Args:
        step: the step taken from the raised level.
        amount, low, high, noise: S_churn, S_min, S_max, S_noise of Karras et al. 2022, algorithm 2.
        steps: number of steps of the trajectory, over which amount is spread.
    """
    gamma = min(amount / steps, math.sqrt(2) - 1)

    def churned(
        denoiser: Denoiser, x: Tensor, level: Tensor, next_level: Tensor, generator: Randomness | None = None
    ) -> Tensor:
        if generator is None:
            raise ValueError("a churned step draws noise: give trajectory a generator, or one for each row")
        inside = (level >= low) & (level <= high)
        raised = torch.where(inside, level * (1 + gamma), level)
        extra = torch.sqrt((raised**2 - level**2).clamp(min=0)) * noise
        x = x + over(extra, x) * normal(x.shape, generator, x.dtype, x.device)
        return step(denoiser, x, raised, next_level, generator)

    return churned


def trajectory(
    step: Step,
    denoiser: Denoiser,
    x: Num[Tensor, "B *E"],
    levels: Float[Tensor, " T"],
    generator: Randomness | None = None,
) -> Iterator[Tensor]:
    """Follow the reverse process through decreasing levels; yields the state at each level, start first.

    Args:
        step: the move between two levels (``euler``, ``heun``, ``churn(...)``).
        x: the state at levels[0], (B,*E); levels have its type, those of tokens are float64.
        levels: decreasing levels (T,); end with 0 to land on the data.
        generator: for steps that draw noise; one generator for each row keeps rows independent.

    Raises:
        ValueError: if the levels do not decrease or fall below 0.
    """
    if levels.ndim != 1 or bool((levels.diff() >= 0).any()) or bool((levels < 0).any()):
        raise ValueError(f"levels must decrease and stay at or above 0, got {levels.tolist()}")
    real = x.dtype if x.is_floating_point() else torch.float64
    yield x
    for pair in zip(levels[:-1].tolist(), levels[1:].tolist(), strict=True):
        level, next_level = (x.new_full((len(x),), one, dtype=real) for one in pair)
        x = step(denoiser, x, level, next_level, generator)
        yield x


def edm_start(z: Float[Tensor, "B *E"], sigma: float) -> Float[Tensor, "B *E"]:
    """The state at the highest level as EDM draws it: sigma z, variance sigma^2."""
    return sigma * z


def vp_start(z: Float[Tensor, "B *E"], sigma: float) -> Float[Tensor, "B *E"]:
    """The state at the highest level as a VP sampler draws it: variance 1 + sigma^2.

    A VP process starts from x_t ~ N(0, I), which is x = x_t / alpha_t ~ N(0, (1 + sigma^2) I).
    """
    return math.sqrt(1 + sigma**2) * z


def seeded(seeds: Sequence[int], device: torch.device | str = "cpu") -> list[torch.Generator]:
    """One generator for each seed, so that sample i is the same whichever batch it rides in."""
    return [torch.Generator(device).manual_seed(seed) for seed in seeds]


def conditioned(denoiser: Denoiser, given: Tensor | None) -> Denoiser:
    """A denoiser that is told the same condition at every step."""
    if given is None:
        return denoiser
    return lambda x, sigma, condition=None: denoiser(x, sigma, given)


@torch.no_grad()
def generate(
    denoiser: Denoiser,
    shape: Sequence[int],
    seeds: Sequence[int],
    levels: Float[Tensor, " T"],
    step: Step = heun,
    batch_size: int = 512,
    device: torch.device | str = "cpu",
    condition: Tensor | None = None,
) -> Float[Tensor, "n *E"]:
    """Draw one sample for each seed, EDM's start, batch by batch: (n,*E) on the CPU, float32.

    Args:
        condition: what the denoiser is told of each sample (n,...), or None.
    """
    done = []
    for first in range(0, len(seeds), batch_size):
        streams = seeded(seeds[first : first + batch_size])
        given = None if condition is None else condition[first : first + batch_size].to(device)
        z = normal((len(streams), *shape), streams, device=device)
        *_, last = trajectory(
            step, conditioned(denoiser, given), edm_start(z, float(levels[0])), levels, streams
        )
        done.append(last.cpu())
    return torch.cat(done) if done else torch.empty(0, *shape)
