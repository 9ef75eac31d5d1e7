"""Ancestral sampling: steps back that draw the noise that they are unsure of, as DDPM and improved DDPM do.

With x0 known, x at a lower level s given x at level sigma is normal: mean (s^2/sigma^2) x + (1 - s^2/sigma^2) x0,
variance s^2 (sigma^2 - s^2)/sigma^2. A step back puts D in the place of x0, and a variance of its own.
"""

from __future__ import annotations

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor

from unrote.contracts import Denoiser, Randomness, Step, normal, over

Variance = Callable[[Tensor, Tensor], Tensor]
"""(level (B,), next_level (B,)) -> variance (B,): `unrote.noise.schedule.fixed_small`, `fixed_large`."""

LogVariance = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(v (B,*E), level (B,), next_level (B,)) -> log variance (B,*E): `unrote.denoise.variance.log_variance`."""


def ancestral(variance: Variance, bound: float | None = None) -> Step:
    """DDPM's step: x' = (s^2/sigma^2) x + (1 - s^2/sigma^2) D + sqrt(variance) z, without noise into level 0.

    With `fixed_small` it is exact for data that is one point, with `fixed_large` for data that is N(0, I), whatever
    levels are left out.

    Args:
        variance: of the step.
        bound: D is cut to [-bound, bound], as the authors' programs do with 1; None for no cut. At the first levels
            of a cosine schedule sigma is 10^4 and a small error of a network that predicts noise is large in D.

    Raises:
        ValueError: on use, without a generator.

    Source: Ho et al. 2020, eq. 6 and 7 (algorithm 2); Nichol and Dhariwal 2021, section 4, for fewer timesteps.
    """

    def step(
        denoiser: Denoiser, x: Tensor, level: Tensor, next_level: Tensor, generator: Randomness | None = None
    ) -> Tensor:
        mean = posterior_mean(x, cut(denoiser(x, level), bound), level, next_level)
        spread = over(variance(level.double(), next_level.double()).sqrt().to(x.dtype), x)
        return mean + into(next_level, x) * spread * noise(x, generator)

    return step


def learned_ancestral(log_variance: LogVariance, bound: float | None = None) -> Step:
    """`ancestral` with the variance that the denoiser itself tells: for denoisers that return [D, v] (B,2C,...).

    Args:
        log_variance: what v stands for.
        bound: as in `ancestral`.

    Raises:
        ValueError: on use, without a generator, or if the denoiser tells no v.

    Source: Nichol and Dhariwal 2021, section 3.1.
    """

    def step(
        denoiser: Denoiser, x: Tensor, level: Tensor, next_level: Tensor, generator: Randomness | None = None
    ) -> Tensor:
        told = denoiser(x, level)
        if told.shape[1] != 2 * x.shape[1]:
            raise ValueError(
                f"the denoiser returned {told.shape[1]} channels for states of {x.shape[1]}, and a learned variance "
                f"needs {2 * x.shape[1]}; take `ancestral` for a denoiser without one"
            )
        clean, v = told.chunk(2, 1)
        mean = posterior_mean(x, cut(clean, bound), level, next_level)
        spread = (0.5 * log_variance(v, level, next_level)).exp()
        return mean + into(next_level, x) * spread * noise(x, generator)

    return step


def implicit(variance: Variance, bound: float | None = None) -> Step:
    """DDIM's family: x' = D + sqrt(s^2 - variance) (x - D)/sigma + sqrt(variance) z.

    Without variance it is Euler's step (DDIM), with `fixed_small` it is DDPM's; in between fresh noise takes the place
    of the old, and the law of x at every level stays what it is for data that is one point.

    Args:
        variance: of the fresh noise, at most s^2.
        bound: as in `ancestral`.

    Raises:
        ValueError: on use, without a generator, or for a variance above s^2.

    Source: Song, Meng and Ermon 2021 (denoising diffusion implicit models), eq. 12.
    """

    def step(
        denoiser: Denoiser, x: Tensor, level: Tensor, next_level: Tensor, generator: Randomness | None = None
    ) -> Tensor:
        fresh = variance(level.double(), next_level.double())
        left = next_level.double() ** 2 - fresh
        if bool((left < 0).any()):
            raise ValueError(
                f"the variance of fresh noise must not exceed s^2, got {fresh.tolist()[:4]} at s = "
                f"{next_level.tolist()[:4]}"
            )
        clean = cut(denoiser(x, level), bound)
        kept, drawn = (over(part.to(x.dtype), x) for part in (left.sqrt() / level.double(), fresh.sqrt()))
        return clean + kept * (x - clean) + drawn * noise(x, generator)

    return step


def posterior_mean(
    x: Float[Tensor, "B *E"],
    x0: Float[Tensor, "B *E"],
    level: Float[Tensor, " B"],
    next_level: Float[Tensor, " B"],
) -> Float[Tensor, "B *E"]:
    """E[x at s | x at sigma, x0] = (s^2/sigma^2) x + (1 - s^2/sigma^2) x0; into s = 0 it is x0 bit for bit."""
    keep = over(((next_level.double() / level.double()) ** 2).to(x.dtype), x)
    return keep * x + (1 - keep) * x0


def cut(x0: Float[Tensor, "B *E"], bound: float | None) -> Float[Tensor, "B *E"]:
    """x0 brought into [-bound, bound]."""
    return x0 if bound is None else x0.clamp(-bound, bound)


def into(next_level: Float[Tensor, " B"], x: Float[Tensor, "B *E"]) -> Float[Tensor, "B *_"]:
    """1 for rows that go to a level above 0, 0 for those that arrive."""
    return over((next_level > 0).to(x.dtype), x)


def noise(x: Float[Tensor, "B *E"], generator: Randomness | None) -> Float[Tensor, "B *E"]:
    """Standard normal numbers like x.

    Raises:
        ValueError: without a generator.
    """
    if generator is None:
        raise ValueError("an ancestral step draws noise: give trajectory a generator, or one for each row")
    return normal(x.shape, generator, x.dtype, x.device)
