"""Steps of the reverse process of tokens, for `unrote.sample.steps.trajectory` from level 1 down to 0.

The level t is the probability with which a token has been destroyed. A step asks the denoiser once and then moves all
tokens independently of each other, which is exact only in the limit of small steps; `first_hitting` moves one token
at a time and is exact.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int, Integer
from torch import Tensor

from unrote.contracts import Randomness, Step, TokenDenoiser, over, uniform
from unrote.sample.steps import conditioned, seeded, trajectory

Choice = Callable[[Tensor, Tensor], Tensor]
"""(probabilities (...,V), uniform numbers (...)) -> tokens (...): `drawn`, `likeliest`."""


def drawn(p: Float[Tensor, "*B V"], u: Float[Tensor, "*B"]) -> Int[Tensor, "*B"]:
    """A token from its probabilities: the first whose cumulative sum exceeds u of the total.

    In float64: with Gumbel noise in single precision rare tokens never come, which cools the samples (Zheng et al.
    2024, "Masked diffusion models are secretly time-agnostic masked models", section 4).
    """
    ends = p.double().cumsum(-1)
    # A last token of probability 0 must not be reached by rounding.
    place = (ends <= u[..., None] * ends[..., -1:]).sum(-1)
    return torch.minimum(place, (ends < ends[..., -1:]).sum(-1))


def likeliest(p: Float[Tensor, "*B V"], u: Float[Tensor, "*B"]) -> Int[Tensor, "*B"]:
    """The token of highest probability, the first of equals; u is left alone."""
    return p.argmax(-1)


def resample(
    denoiser: TokenDenoiser,
    x: Integer[Tensor, "B L"],
    level: Float[Tensor, " B"],
    next_level: Float[Tensor, " B"],
    generator: Randomness | None = None,
) -> Integer[Tensor, "B L"]:
    """The reverse step of uniform noise: every token drawn from its exact posterior at the next level s.

    p(x_s = j | x) = sum_a q(x_s = j | x_l, x0_l = a) p(x0_l = a | x), which needs no draw of x0. Into s = 0 it draws
    x0 itself.

    Args:
        denoiser: log p(x0_l = a | x) (B,L,v), which tells v.
        x: tokens 0..v - 1.
        level, next_level: 0 <= s < t <= 1.
        generator: one stream, or one per row.

    Raises:
        ValueError: without a generator.

    Source: 002 appendix B.3; Austin et al. 2021 (D3PM), section 3, and the posterior for their plug-in: see
    `unrote.train.token_losses.bound_term`.
    """
    p = denoiser(x, level).double().exp()
    u = drawn_numbers(tuple(x.shape), generator, x.device)
    return drawn(reverse_law(p, x, level, next_level), u).to(x.dtype)


def reverse_law(
    p: Float[Tensor, "B L V"],
    x: Integer[Tensor, "B L"],
    level: Float[Tensor, " B"],
    next_level: Float[Tensor, " B"],
) -> Float[Tensor, "B L V"]:
    """p(x_s,l = j | x) for uniform noise, from the probabilities of x0_l."""
    v = p.shape[2]
    t, s = over(level.double(), x)[..., None], over(next_level.double(), x)[..., None]
    seen = torch.nn.functional.one_hot(x.long(), v).double()
    parts = p.double() / ((1 - t) * seen + t / v)
    keep = (1 - t) / (1 - s)
    return (keep * seen + (1 - keep) / v) * ((1 - s) * parts + s / v * parts.sum(2, keepdim=True))


def revealing(last: Choice = likeliest) -> Step:
    """The reverse step of masks: each opens with probability (t - s)/t, to a token from its posterior.

    Into s = 0 all that are left open as `last` says. What is open stays. MD4 takes the likeliest token there; `drawn`
    keeps the law.

    Args:
        last: how the last masks open.

    Raises:
        ValueError: on use, without a generator.

    Source: Shi et al. 2024 (MD4), algorithm 2, and their program for the end.
    """

    def step(
        denoiser: TokenDenoiser,
        x: Tensor,
        level: Tensor,
        next_level: Tensor,
        generator: Randomness | None = None,
    ) -> Tensor:
        p = denoiser(x, level).double().exp()
        u = drawn_numbers((len(x), 2, x.shape[1]), generator, x.device)
        opened = u[:, 0] < over(((level - next_level) / level).double(), x)
        arrived = over(next_level == 0, x)
        token = torch.where(arrived, last(p, u[:, 1]), drawn(p, u[:, 1])).to(x.dtype)
        return torch.where((x == p.shape[2]) & (opened | arrived), token, x)

    return step


def first_hitting(vocabulary: int) -> Step:
    """The exact reverse process of masks between two levels: one mask opens at a time, each after a new look.

    With n masks at level t the next one opens at t' = t w^(1/n), w uniform, and is one of the n alike. There is one
    call of the denoiser for each mask that opens: from 1 to 0 in one step L calls, and with the exact denoiser the
    strings are those of the language.

    Args:
        vocabulary: v, which is the mask.

    Raises:
        ValueError: on use, without a generator.

    Source: Zheng et al. 2024 ("Masked diffusion models are secretly time-agnostic masked models"), section 3.
    """

    def step(
        denoiser: TokenDenoiser,
        x: Tensor,
        level: Tensor,
        next_level: Tensor,
        generator: Randomness | None = None,
    ) -> Tensor:
        # Numbers for each mask that could open, so that a row draws the same whatever the others do.
        u = drawn_numbers((len(x), x.shape[1], 3), generator, x.device)
        x, now = x.clone(), level.double()
        alive = torch.ones(len(x), dtype=torch.bool, device=x.device)
        for numbers in u.unbind(1):
            wait, which, what = numbers.unbind(1)
            hidden = x == vocabulary
            count = hidden.sum(1)
            now = now * wait ** (1 / count.clamp(min=1))
            alive = alive & (count > 0) & (now >= next_level)
            rows = alive.nonzero()[:, 0]
            if not len(rows):
                break
            place = drawn(hidden[rows].double(), which[rows])
            p = denoiser(x[rows], now[rows].to(level.dtype))[torch.arange(len(rows)), place].double().exp()
            x[rows, place] = drawn(p, what[rows]).to(x.dtype)
        return x

    return step


def hidden_start(count: int, length: int, vocabulary: int) -> Int[Tensor, "n L"]:
    """The state at level 1 of masks: nothing but masks, int64."""
    return torch.full((count, length), vocabulary, dtype=torch.int64)


def uniform_start(count: int, length: int, vocabulary: int, generator: Randomness) -> Int[Tensor, "n L"]:
    """The state at level 1 of uniform noise: any tokens alike, int64."""
    u = drawn_numbers((count, length), generator, torch.device("cpu"))
    return (u * vocabulary).long().clamp_(max=vocabulary - 1)


Start = Callable[[int, int, int, Randomness], Tensor]
"""(count, length, vocabulary, generator) -> the state at the first level (count,length)."""


def masks_first(count: int, length: int, vocabulary: int, generator: Randomness) -> Int[Tensor, "n L"]:
    """`hidden_start` as a `Start`; the generator is left alone."""
    return hidden_start(count, length, vocabulary)


@torch.no_grad()
def generate_tokens(
    denoiser: TokenDenoiser,
    length: int,
    vocabulary: int,
    seeds: Sequence[int],
    levels: Float[Tensor, " T"],
    step: Step,
    start: Start,
    batch_size: int = 512,
    device: torch.device | str = "cpu",
    condition: Tensor | None = None,
) -> Int[Tensor, "n L"]:
    """Draw one string for each seed, batch by batch: (n,L) int64 on the CPU; string i depends on seed i alone.

    Args:
        denoiser: in evaluation mode.
        length, vocabulary: L and v of the strings.
        levels: decreasing, from 1 (or the last timestep) to 0.
        step: `resample`, `revealing(...)` or `first_hitting(v)`.
        start: `uniform_start` or `masks_first`.
        condition: a class per string (n,), or None.
    """
    done = []
    for first in range(0, len(seeds), batch_size):
        streams = seeded(seeds[first : first + batch_size])
        given = None if condition is None else condition[first : first + batch_size].to(device)
        x = start(len(streams), length, vocabulary, streams).to(device)
        told = conditioned(denoiser, given)
        *_, last = trajectory(step, told, x, levels, streams)
        done.append(last.cpu())
    return torch.cat(done) if done else torch.empty(0, length, dtype=torch.int64)


def drawn_numbers(
    shape: tuple[int, ...], generator: Randomness | None, device: torch.device
) -> Float[Tensor, "..."]:
    """`unrote.contracts.uniform` for a step, which may have been given no generator.

    Raises:
        ValueError: without a generator, or with another number of them than rows.
    """
    if generator is None:
        raise ValueError("a step of tokens draws them: give trajectory a generator, or one for each row")
    return uniform(shape, generator, device)
