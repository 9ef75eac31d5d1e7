"""What a denoiser is trained on: examples, a law of levels, which level may meet which row, one loss.

A remedy against memorization is a function from recipe to recipe, so remedies compose:
``gap(...)`` narrows `allowed`, ``ambient(...)`` adds rows that hold noise and narrows `allowed` for them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unrote.contracts import Examples, InputError
from unrote.train.losses import Loss, denoising_loss

Law = Callable[[int, torch.Generator], Tensor]
"""(n, generator) -> n independent levels (n,), on the generator's device."""

Weight = Callable[[Tensor], Tensor]
"""sigma (B,) -> weight of the loss (B,)."""

Allowed = Callable[[Tensor, Tensor], Tensor]
"""(level inside the row (B,), sigma (B,)) -> whether the row may be trained at sigma, bool (B,)."""

Draw = Callable[[int, torch.Generator], tuple[Tensor, Tensor]]
"""(n, generator) -> rows (n,) int64 and levels (n,), every pair allowed."""

Redraw = Callable[["Recipe"], Draw]
"""How rows and levels find each other: `rows_first` or `levels_first`."""

TRIES = (1, 64, 4_096, 61_374)
"""Candidates for a level in each round of drawing: one mostly fits, and rounds cost more than candidates."""

DRAWS = sum(TRIES)
"""As many candidates as a row or level may take: 65,535."""


@dataclass(frozen=True)
class Recipe:
    """Everything that decides which number a denoiser is asked to make small.

    min_D E_{(i, sigma)} E_z loss(D; x_i, level_i, sigma, z), (i, sigma) drawn by `redraw`.

    Args:
        examples: rows (N,*E) with the noise level inside each.
        law: law of training levels.
        weight: weight of a level in the loss; 1/c_out^2 (`Precondition.weight`) lets every level count
            alike for the network.
        loss: one value per row.
        allowed: which level may meet which row.
        redraw: `rows_first` or `levels_first`.
    """

    examples: Examples
    law: Law
    weight: Weight
    loss: Loss
    allowed: Allowed
    redraw: Redraw


Intervention = Callable[[Recipe], Recipe]


def above(level: Float[Tensor, " B"], sigma: Float[Tensor, " B"]) -> Bool[Tensor, " B"]:
    """A row can be trained only at levels above the noise that it already holds: sigma > level."""
    return sigma > level


def rows_first(recipe: Recipe) -> Draw:
    """Rows are drawn uniformly; then each row's level from the law, again until it is allowed.

    P(i, sigma) = (1/N) law(sigma | allowed for row i): every row is trained equally often, however
    few levels are open to it. Source: 003 Algorithm 1.

    Raises:
        InputError: on drawing, if 65,535 levels of the law are not enough for some row.
    """

    def draw(n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        level = recipe.examples.level.to(generator.device)
        rows = torch.randint(len(level), (n,), generator=generator, device=generator.device)

        def fits(which: Tensor, sigma: Tensor) -> Tensor:
            return recipe.allowed(level[rows[which]], sigma)

        return rows, _levels_that_fit(n, recipe.law, fits, generator)

    return draw


def levels_first(recipe: Recipe) -> Draw:
    """Levels are drawn from the law; then a row uniformly among those allowed at that level.

    P(i, sigma) = law(sigma | some row is allowed) 1[allowed]/#{rows allowed at sigma}: the law of
    levels stays as it is, and a row with few open levels is trained rarely. Source: the released
    program of 003, which differs from its Algorithm 1 (16 % against 50 % of updates above
    sigma_n = 1 under EDM's law).

    Raises:
        InputError: on drawing, if 65,535 levels of the law are not enough to find one that any row allows.
    """
    # Rows of one level are interchangeable: sort them into groups once.
    kinds, kind_of_row, count = recipe.examples.level.unique(return_inverse=True, return_counts=True)
    by_kind = kind_of_row.argsort(stable=True)
    first = count.cumsum(0) - count

    def draw(n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        device = generator.device
        levels, counts, firsts = kinds.to(device), count.to(device), first.to(device)

        def open_rows(sigma: Tensor) -> Tensor:
            """How many rows of each kind are allowed at each level: (n,) -> (n, kinds)."""
            pairs = (len(sigma), len(levels))
            fit = recipe.allowed(levels.expand(pairs).reshape(-1), sigma[:, None].expand(pairs).reshape(-1))
            return fit.reshape(pairs) * counts

        def fits(which: Tensor, sigma: Tensor) -> Tensor:
            return open_rows(sigma).any(1)

        sigma = _levels_that_fit(n, recipe.law, fits, generator)
        opened = open_rows(sigma)
        ends = opened.cumsum(1)
        # float64 resolves far more rows than fit into memory; floor(u n) < n because u <= 1 - 2^-53.
        u = torch.rand(n, generator=generator, device=device, dtype=torch.float64)
        chosen = (u * ends[:, -1]).long()
        kind = torch.searchsorted(ends, chosen[:, None], right=True).squeeze(1)
        before = (ends - opened).gather(1, kind[:, None]).squeeze(1)
        place = firsts[kind] + chosen - before
        return by_kind.to(device)[place], sigma

    return draw


def baseline(examples: Examples, law: Law, weight: Weight) -> Recipe:
    """Ordinary training: every row at every level above its own, rows first.

    Raises:
        InputError: if there are no examples, or they are not finite floating-point numbers.
    """
    if not len(examples.x) or not examples.x.is_floating_point() or not examples.x.isfinite().all():
        raise InputError(
            f"Training needs at least one example and finite floating-point numbers; got {len(examples.x)} "
            f"rows of {examples.x.dtype}. Convert 8-bit images to [-1, 1] and remove NaN or infinite rows."
        )
    return Recipe(examples, law, weight, denoising_loss, above, rows_first)


def _levels_that_fit(
    n: int, law: Law, fits: Callable[[Tensor, Tensor], Tensor], generator: torch.Generator
) -> Float[Tensor, " n"]:
    """The first of independent draws that fits, for each of n places: the law given that it fits.

    Args:
        fits: (place (m,) int64, sigma (m,)) -> bool (m,).
    """
    sigma = law(n, generator)
    missing = (~fits(torch.arange(n, device=sigma.device), sigma)).nonzero().squeeze(1)
    for tries in TRIES[1:]:
        if not len(missing):
            return sigma
        candidates = law(len(missing) * tries, generator).reshape(-1, tries)
        fit = fits(missing.repeat_interleave(tries), candidates.reshape(-1)).reshape(candidates.shape)
        found, place = fit.to(torch.uint8).max(1)  # of equal values the first
        found = found > 0
        taken = candidates.gather(1, place[:, None]).squeeze(1)
        sigma[missing] = torch.where(found, taken, sigma[missing])
        missing = missing[~found]
    if not len(missing):
        return sigma
    raise InputError(
        f"The law of training levels gave no allowed level in {DRAWS:,} draws for {len(missing)} of "
        f"{n} places in a batch: the noise already inside those rows, or the forbidden interval, leaves next "
        "to nothing of the law. Lower the ambient level, narrow the gap, or take a law with more high levels."
    )
