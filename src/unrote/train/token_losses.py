"""Losses of denoisers of tokens: variational bounds of both processes, and cross-entropies.

They are losses as `unrote.train.loop` takes them: rows are strings (B,L) of integers, `sigma` is the level t in [0, 1],
the probability with which a token has been destroyed, and the standard normal numbers of a batch are turned into
uniform ones. All losses are in nats per token; `bits` translates.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int, Integer
from torch import Tensor

from unrote.contracts import Examples, InputError, TokenDenoiser, over
from unrote.train.losses import Batch, Loss, held_out_loss
from unrote.train.recipe import Law, Recipe, Weight, above, rows_first

Destroy = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(x0 (B,L), t (B,), z (B,L) standard normal) -> x ~ q(x | x0) (B,L): `replaced`, `masked`."""

LEAST = 1e-4
"""The lowest level at which masked strings are trained, as in MD4: weights are 1/t."""


@dataclass(frozen=True)
class Timesteps:
    """A discrete schedule's timesteps, drawn uniformly, as levels.

    Args:
        levels: t at the timesteps 1..T, ascending (T,): ``1 - linear_alpha_bars(1000)`` for D3PM's linear schedule.

    Raises:
        InputError: unless levels ascend within (0, 1].

    Source: Austin et al. 2021 (D3PM), section 3.
    """

    levels: Float[Tensor, " T"]

    def __post_init__(self) -> None:
        check_levels(self.levels)

    def __call__(self, n: int, generator: torch.Generator) -> Float[Tensor, " n"]:
        """Draw n levels, float64."""
        index = torch.randint(len(self.levels), (n,), generator=generator, device=generator.device)
        return self.levels.to(generator.device)[index]


@dataclass(frozen=True)
class StratifiedTimes:
    """Levels that share (low, high] evenly: t_i = low + (high - low) ((u + i/n) mod 1), one u for all, in random order.

    Each is uniform by itself, and together they fill the interval, which takes most of the noise of levels out of a
    batch's mean loss. Random order lets levels that are not allowed be drawn again with next to no bias.

    Args:
        low, high: 0 <= low < high <= 1; MD4's linear schedule is (1e-4, 1 - 1e-4).

    Raises:
        InputError: for another interval.

    Source: Shi et al. 2024 (MD4), their program; Kingma et al. 2021 (variational diffusion models), appendix I.1.
    """

    low: float = LEAST
    high: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.low < self.high <= 1:
            raise InputError(
                f"Levels of tokens are probabilities: they can be drawn from an interval within [0, 1], not from "
                f"{self.low:g} to {self.high:g}."
            )

    def __call__(self, n: int, generator: torch.Generator) -> Float[Tensor, " n"]:
        """Draw n levels, float64."""
        place = generator.device
        start = torch.rand(1, generator=generator, device=place, dtype=torch.float64)
        order = torch.randperm(n, generator=generator, device=place)
        # 1 - [0, 1) is (0, 1]: level 0 has no noise and infinite weight.
        return self.low + (self.high - self.low) * (1 - (start + order / n) % 1)


def replaced(vocabulary: int) -> Destroy:
    """Tokens replaced, with probability t, by one of all v alike; whether and by which comes from one number.

    u = Phi(z); x = floor(v u / t) where u < t. Given u < t, u/t is uniform.
    """

    def destroy(x0: Tensor, t: Tensor, z: Tensor) -> Tensor:
        u, level = torch.special.ndtr(z.double()), over(t.double(), x0)
        other = (u / level.clamp(min=1e-300) * vocabulary).long().clamp_(max=vocabulary - 1)
        return torch.where(u < level, other.to(x0.dtype), x0)

    return destroy


def masked(vocabulary: int) -> Destroy:
    """Tokens hidden, with probability t, behind the mask, which is token v: where Phi(z) < t."""

    def destroy(x0: Tensor, t: Tensor, z: Tensor) -> Tensor:
        return x0.masked_fill(torch.special.ndtr(z.double()) < over(t.double(), x0), vocabulary)

    return destroy


def uniform_loss(vocabulary: int, levels: Float[Tensor, " T"], cross_entropy: float = 0.0) -> Loss:
    """D3PM's loss for uniform noise: T times one term of the variational bound, and a share of the cross-entropy.

    l = weight (T L_k + cross_entropy * H), L_k see `bound_term`, H = -(1/L) sum_l log p(x0_l | x). With weight 1 and
    uniform timesteps its mean is the bound on -log p(x0)/L but for `uniform_rest`.

    Args:
        vocabulary: v.
        levels: t at the timesteps 1..T, ascending; a level of the batch counts as the nearest of them.
        cross_entropy: how much H counts. D3PM's lambda is beside one term of the bound: it is T lambda here.

    Raises:
        InputError: for levels that do not ascend, and, on use, for strings that hold noise.

    Source: Austin et al. 2021 (D3PM), eqs. 1, 3 and 5; 002 appendix B.3.
    """
    check_levels(levels)
    destroy = replaced(vocabulary)

    def loss(denoiser: TokenDenoiser, batch: Batch) -> Tensor:
        x0 = _clean(batch)
        table = levels.to(batch.sigma.device)
        nearest = _nearest(table, batch.sigma)
        t = table[nearest]
        before = torch.cat([table.new_zeros(1), table])[nearest]
        x = destroy(x0, t, batch.z)
        log_p = denoiser(x, t, batch.label)
        found = len(table) * bound_term(log_p, x0, x, t, before)
        if cross_entropy:
            found = found + cross_entropy * token_nats(log_p, x0)
        return batch.weight * found

    return loss


def masked_loss(vocabulary: int) -> Loss:
    """The masked process's loss: weight times the cross-entropy of masked tokens, summed and divided by all L.

    l = weight (1/L) sum_{l masked} -log p(x0_l | x). With the weight (high - low)/t (`inverse_level`) and t uniform
    on (low, high] its mean is the bound on -log p(x0)/L but for `masked_rest`, whatever the schedule was called.

    Source: Shi et al. 2024 (MD4), eq. 5 with alpha = 1 - t: their weight is alpha' / (1 - alpha).
    """
    destroy = masked(vocabulary)

    def loss(denoiser: TokenDenoiser, batch: Batch) -> Tensor:
        x0 = _clean(batch)
        x = destroy(x0, batch.sigma, batch.z)
        log_p = denoiser(x, batch.sigma, batch.label)
        nats = -log_p.gather(2, x0.long()[..., None])[..., 0]
        return batch.weight * torch.where(x == vocabulary, nats, 0.0).mean(1)

    return loss


def cross_entropy_loss(destroy: Destroy) -> Loss:
    """weight times -(1/L) sum_l log p(x0_l | x): every level counts as much as its weight says, and no bound is meant.

    Its least value at a level is `unrote.denoise.tokens.bayes_loss` of the exact denoiser.
    """

    def loss(denoiser: TokenDenoiser, batch: Batch) -> Tensor:
        x0 = _clean(batch)
        log_p = denoiser(destroy(x0, batch.sigma, batch.z), batch.sigma, batch.label)
        return batch.weight * token_nats(log_p, x0)

    return loss


def bound_term(
    log_p: Float[Tensor, "B L V"],
    x0: Integer[Tensor, "B L"],
    x: Integer[Tensor, "B L"],
    t: Float[Tensor, " B"],
    s: Float[Tensor, " B"],
) -> Float[Tensor, " B"]:
    """One term of the bound for uniform noise, a value per string, float64, nats per token, at least 0.

    (1/L) sum_l KL(q(x_s,l | x_l, x0_l) | p(x_s,l | x)), p(x_s,l = j | x) = sum_a q(j | x_l, a) p(x0_l = a | x); for
    s = 0 it is the cross-entropy. The exact posterior is the best p there is.

    Args:
        log_p: what a denoiser says at (x, t).
        x0, x: strings and what noise of level t made of them.
        t, s: levels, 0 <= s < t.

    Source: Austin et al. 2021 (D3PM), eq. 1. Deviation: they put p in the place of q(x0 | x) without dividing by
    q(x_t | x0), so that their best p is p(x0_l | the other tokens); with `unrote.denoise.token_networks.TokenPosterior`
    both are the same.
    """
    v = log_p.shape[2]
    level, below = over(t.double(), x), over(s.double(), x)
    seen = torch.nn.functional.one_hot(x.long(), v).double()
    truth = torch.nn.functional.one_hot(x0.long(), v).double()
    forward = (1 - level)[..., None] * seen + (level / v)[..., None]  # q(x_l | a)
    reached = (1 - below)[..., None] * truth + (below / v)[..., None]  # q(x_s = j | x0_l)
    keep = (1 - level) / (1 - below)
    moved = keep[..., None] * seen + ((1 - keep) / v)[..., None]  # q(x_l | x_s = j)
    scale = (forward * truth).sum(2, keepdim=True)  # q(x_l | x0_l)
    parts = log_p.double().exp() / forward
    mixed = (1 - below)[..., None] * parts + (below / v)[..., None] * parts.sum(2, keepdim=True)
    target = moved * reached / scale
    # Where s = 0 all but x0 have probability 0, and no logarithm of 0 may come into the gradient.
    ratio = torch.where(target > 0, reached / scale, 1.0).log() - mixed.clamp(min=1e-300).log()
    return (target * ratio).sum(2).mean(1)


def token_nats(log_p: Float[Tensor, "B L V"], x0: Integer[Tensor, "B L"]) -> Float[Tensor, " B"]:
    """-(1/L) sum_l log p(x0_l), a value per string."""
    return -log_p.gather(2, x0.long()[..., None])[..., 0].mean(1)


def inverse_level(span: float = 1.0) -> Weight:
    """span / t: with t uniform on an interval of that length, the weight of the masked process's bound."""

    def weight(t: Tensor) -> Tensor:
        return span / t

    return weight


def uniform_rest(vocabulary: int, last: float) -> float:
    """What the end of the chain adds to the bound for uniform noise, nats per token: KL(q(x_T | x0) | uniform).

    Args:
        vocabulary: v.
        last: t at the last timestep.
    """
    kept = 1 - last + last / vocabulary
    other = last / vocabulary
    parts = [kept * math.log(kept * vocabulary)] if kept > 0 else []
    parts += [(vocabulary - 1) * other * math.log(other * vocabulary)] if other > 0 else []
    return math.fsum(parts)


def masked_rest(vocabulary: int, low: float) -> float:
    """What levels up to `low` add to the bound for masks, nats per token: masked tokens guessed blindly, low log v.

    Source: Shi et al. 2024 (MD4), their program's reconstruction term.
    """
    return low * math.log(vocabulary)


def token_recipe(examples: Examples, law: Law, weight: Weight, loss: Loss) -> Recipe:
    """Ordinary training on strings: every string at every level, rows first.

    Args:
        examples: clean strings (N,L) of any integer type, levels 0.
        law: of levels in (0, 1].
        weight: of a level.
        loss: `uniform_loss`, `masked_loss` or `cross_entropy_loss`.

    Raises:
        InputError: if there are no strings, they are not integers, or hold noise.
    """
    x = examples.x
    if not len(x) or x.is_floating_point() or x.ndim != 2 or bool((examples.level > 0).any()):
        raise InputError(
            f"Training on tokens needs at least one clean string and whole numbers (N,L); got {x.dtype} of shape "
            f"{tuple(x.shape)}, {int((examples.level > 0).sum())} of them with noise inside. Give strings as integers, "
            "and leave the noise to the loss."
        )
    return Recipe(examples, law, weight, loss, above, rows_first)


def uniform_recipe(
    examples: Examples, vocabulary: int, levels: Float[Tensor, " T"], cross_entropy: float = 0.0
) -> Recipe:
    """D3PM with uniform noise: `uniform_loss` at uniform timesteps; arguments and errors as there."""
    _check_vocabulary(examples.x, vocabulary)
    loss = uniform_loss(vocabulary, levels, cross_entropy)
    return token_recipe(examples, Timesteps(levels), torch.ones_like, loss)


def masked_recipe(examples: Examples, vocabulary: int, low: float = LEAST) -> Recipe:
    """Masked diffusion: `masked_loss` at stratified times in (low, 1] with the weight (1 - low)/t.

    Deviation from MD4: its schedule ends at t = 1 - 1e-4, a difference of 1e-4 of the tokens at the far end, without
    which the bound would hold nowhere.
    """
    _check_vocabulary(examples.x, vocabulary)
    law = StratifiedTimes(low, 1.0)
    return token_recipe(examples, law, inverse_level(1 - low), masked_loss(vocabulary))


def string_losses(
    denoiser: TokenDenoiser,
    recipe: Recipe,
    x0: Integer[Tensor, "N L"],
    generator: torch.Generator,
    draws: int = 1,
    label: Int[Tensor, " N"] | None = None,
) -> Float[Tensor, " N"]:
    """The mean loss of each string over draws of level and noise: the bound on -log p(x0)/L, but for the rest.

    Args:
        denoiser: in evaluation mode.
        recipe: whose loss, law and weight are taken; its examples play no part.
        x0: strings (N,L).
        generator: of levels and noise.
        draws: of each string; their levels are drawn in one go.
        label: classes (N,), or None.
    """
    rows = torch.arange(len(x0)).repeat(draws)
    t = recipe.law(len(rows), generator).to(x0.device, torch.get_default_dtype())
    z = torch.randn(len(rows), x0.shape[1], generator=generator, device=generator.device).to(x0.device)
    given = None if label is None else label[rows]
    found = held_out_loss(denoiser, x0[rows], t, z, recipe.weight, given, loss=recipe.loss)
    return found.double().reshape(draws, len(x0)).mean(0)


def bits(nats: Float[Tensor, "*B"]) -> Float[Tensor, "*B"]:
    """Nats per token as bits per token, which are bits per character where a token is one."""
    return nats / math.log(2)


def check_levels(levels: Tensor) -> None:
    """That levels can be those of a discrete schedule.

    Raises:
        InputError: unless they ascend within (0, 1].
    """
    right = levels.ndim == 1 and len(levels) > 0 and bool((levels > 0).all() and (levels <= 1).all())
    if not right or bool((levels.diff() <= 0).any()):
        raise InputError(
            "The timesteps of a discrete schedule are levels that ascend within (0, 1], the first above 0; got "
            f"{levels.reshape(-1)[:3].tolist()} to {levels.reshape(-1)[-1:].tolist()}. From a table of alpha-bar take "
            "1 - alpha_bar."
        )


def _nearest(table: Tensor, t: Tensor) -> Tensor:
    """The index of the nearest of ascending levels."""
    above_it = torch.searchsorted(table, t.double().to(table.dtype)).clamp(1, max(1, len(table) - 1))
    above_it = above_it.clamp(max=len(table) - 1)
    below_it = (above_it - 1).clamp(min=0)
    nearer = (t - table[below_it]).abs() <= (table[above_it] - t).abs()
    return torch.where(nearer, below_it, above_it)


def _clean(batch: Batch) -> Tensor:
    if bool((batch.level > 0).any()):
        raise InputError(
            "Losses of tokens are of clean strings, and some of these hold noise: there is no ambient training of "
            "tokens. Use the recipe without `ambient` and `noisy_only`."
        )
    return batch.x


def _check_vocabulary(x: Tensor, vocabulary: int) -> None:
    if x.numel() and not 0 <= int(x.min()) <= int(x.max()) < vocabulary:
        raise InputError(
            f"Strings of {vocabulary} different tokens hold 0..{vocabulary - 1}, got {int(x.min())} to {int(x.max())}; "
            "masks come with the noise. Give the right vocabulary, or look for strings that are not clean."
        )
