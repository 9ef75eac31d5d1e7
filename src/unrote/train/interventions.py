"""Remedies against memorization as functions from recipe to recipe: they compose, and the trainer knows none.

Levels are sigma in x = x0 + sigma z; `unrote.noise.schedule.units` has the same level as VP time and timestep.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import reduce

import torch
from torch import Tensor

from unrote.contracts import Examples, InputError, normal, over
from unrote.train.recipe import DRAWS, Intervention, Recipe, Redraw, rows_first

GapRule = Callable[[Recipe, float, float], Recipe]
"""What becomes of the updates whose level falls into a gap (low, high]: `reject` or `skip`."""

DummyNoise = Callable[[int, Tensor, torch.Generator], Tensor]
"""(count, the real rows (N,*E), generator) -> noise images (count,*E): `uniform_noise` or `matched_noise`."""

KINDS = 64  # different levels inside the rows that are looked at, evenly over all there are


def compose(*interventions: Intervention) -> Intervention:
    """One intervention after the other, the first one first; none at all changes nothing."""

    def apply(recipe: Recipe) -> Recipe:
        return reduce(lambda made, intervention: intervention(made), interventions, recipe)

    return apply


def reject(recipe: Recipe, low: float, high: float) -> Recipe:
    """Levels are drawn again until they fall outside: the levels that are left are trained more.

    P(sigma) = law(sigma) 1[sigma outside (low, high]] / (1 - law(low, high]).

    Source: 001 section 5, which leaves out the danger zone; that other levels take its updates is the plain reading.
    """
    before = recipe.allowed

    def allowed(level: Tensor, sigma: Tensor) -> Tensor:
        return before(level, sigma) & ~((sigma > low) & (sigma <= high))

    return replace(recipe, allowed=allowed)


def skip(recipe: Recipe, low: float, high: float) -> Recipe:
    """A row whose level falls inside is dropped: every other level is trained exactly as often as before.

    Its weight in the loss is 0 and the mean still runs over the whole batch, so that under one seed the rows,
    levels and noise of all other updates are those of the run without the gap.

    Deviation: not in 001. With it a gap can be told from more training of the other levels.
    """
    before = recipe.weight

    def weight(sigma: Tensor) -> Tensor:
        kept = before(sigma)
        return torch.where((sigma > low) & (sigma <= high), torch.zeros_like(kept), kept)

    return replace(recipe, weight=weight)


def gap(low: float, high: float, rule: GapRule = reject) -> Intervention:
    """No row is trained at the levels low < sigma <= high.

    Args:
        low, high: sigma, 0 <= low < high; `unrote.geometry.advice.recommended_gap` has a choice. For tokens t, see
            `unrote.geometry.tokens.token_zone`.
        rule: `reject` (the paper's) draws such levels anew, `skip` drops the row.

    Raises:
        InputError: if the ends are no interval, or, on use, if nothing of the law of levels is left for some row.

    Source: 001 section 5.
    """
    if not 0 <= low < high:
        raise InputError(
            f"A gap from {low:g} to {high:g} is no interval of noise levels: its lower end is at least 0 and below "
            "its upper end, both as sigma in x = x0 + sigma z, or for tokens as t."
        )

    def apply(recipe: Recipe) -> Recipe:
        return _still_trained(rule(recipe, low, high))

    return apply


def ambient(level: float, generator: torch.Generator, redraw: Redraw = rows_first) -> Intervention:
    """Levels above sigma_n are learned from one noisy copy of each row, the others from the clean row.

    The rows x_i get twins x_i + sigma_n z_i, frozen once. Clean rows are trained at sigma <= sigma_n, twins at
    sigma > sigma_n, both by `denoising_loss`, which is 003 eq. 6 for a row that holds noise.

    Args:
        level: sigma_n > 0.
        generator: advanced by exactly one draw, here; so the twins are the same at every use.
        redraw: `rows_first` is Algorithm 1, where clean rows and twins are trained equally often; `levels_first`
            is the authors' program, where the law of levels decides.

    Raises:
        InputError: for a level that is no positive number; on use, if rows hold noise already, or the law of levels
            leaves nothing below or nothing above sigma_n.

    Source: 003 Algorithm 1 and eq. 6, in the form for x = x0 + sigma z. Deviation: the authors' program draws a
    row's flip anew and keeps its noise, so that two targets of one image differ by a noise-free quantity; here a
    row has one twin.
    """
    _check_level(level)
    seed, device = _seed_of(generator), generator.device

    def apply(recipe: Recipe) -> Recipe:
        clean, before = recipe.examples, recipe.allowed
        twins = _noisy(clean, level, torch.Generator(device).manual_seed(seed))
        label = None if clean.label is None else torch.cat([clean.label, clean.label])
        rows = Examples(torch.cat([clean.x, twins.x]), torch.cat([clean.level, twins.level]), label)

        def allowed(inside: Tensor, sigma: Tensor) -> Tensor:
            return before(inside, sigma) & ((inside > 0) == (sigma > level))

        return _still_trained(replace(recipe, examples=rows, allowed=allowed, redraw=redraw))

    return apply


def noisy_only(level: float, generator: torch.Generator) -> Intervention:
    """Every row is replaced by one noisy copy; levels up to sigma_n are not trained at all.

    Samples then end at sigma_n: below it the denoiser is what its initialization makes it.

    Args:
        level: sigma_n > 0.
        generator: advanced by exactly one draw, here.

    Raises:
        InputError: as `ambient`.

    Source: the baseline of 003 Table 2 that sees noisy data alone. Deviation: no consistency loss below sigma_n.
    """
    _check_level(level)
    seed, device = _seed_of(generator), generator.device

    def apply(recipe: Recipe) -> Recipe:
        rows = _noisy(recipe.examples, level, torch.Generator(device).manual_seed(seed))
        return _still_trained(replace(recipe, examples=rows))

    return apply


def uniform_noise(count: int, x: Tensor, generator: torch.Generator) -> Tensor:
    """Every pixel uniform on [-1, 1], the range of images: nothing of the data is in it, and nothing leaves the range.

    Its standard deviation is 1/sqrt(3) = 0.577, near EDM's sigma_data = 0.5, so that the preconditioning, which is
    one for both classes, keeps unit scale on it.
    """
    shape = (count, *x.shape[1:])
    u = torch.rand(*shape, generator=generator, dtype=x.dtype, device=generator.device)
    return (2 * u - 1).to(x.device)


def matched_noise(count: int, x: Tensor, generator: torch.Generator) -> Tensor:
    """Every pixel normal with the mean and the standard deviation of all pixels of the data.

    Brightness and contrast then tell the classes apart no more, but pixels leave [-1, 1], and two numbers of the
    data are in it.
    """
    z = normal((count, *x.shape[1:]), generator, x.dtype, x.device)
    return x.mean() + x.std(unbiased=False) * z


def classes_with_dummies(classes: int | None) -> int:
    """How many classes a network needs beside `dummy_class`: one more, where none at all counts as one."""
    return (1 if classes is None else classes) + 1


def dummy_class(
    generator: torch.Generator,
    count: int | None = None,
    noise: DummyNoise = uniform_noise,
    classes: int | None = None,
) -> Intervention:
    """Noise images are trained on beside the real ones, as one class more.

    The rows x_1 .. x_N of classes 0 .. C-1 (all 0 where there were none) are followed by `count` frozen noise
    images of class C. Samples are asked for with real classes.

    It comes before `ambient` and `noisy_only`, which then make noisy copies of the noise images too.

    Args:
        generator: advanced by exactly one draw, here; so the noise images are the same at every use.
        count: noise images; None for as many as rows, which then take half of the updates where rows are drawn
            first: at equal steps every real row is trained half as often.
        noise: what they are, `uniform_noise` or `matched_noise`.
        classes: C, where the data need not hold the last class; None for one more than the largest label.

    Raises:
        InputError: for a count below 1; on use, if a label is not below `classes`, or rows hold noise already.

    Source: 001 section 5 ("2k random noise images as a second class"), after Yoon et al. 2023. Deviation: the paper
    names neither their distribution nor whether they are drawn anew; here pixels are uniform, and frozen as in a
    data set.
    """
    if count is not None and count < 1:
        raise InputError(f"A dummy class of {count} noise images is none: take at least 1, or leave it out.")
    seed, device = _seed_of(generator), generator.device

    def apply(recipe: Recipe) -> Recipe:
        real = recipe.examples
        _check_clean(
            real, "Noise images are added to clean rows; use `dummy_class` before the other interventions."
        )
        label = real.level.new_zeros(len(real.x), dtype=torch.int64) if real.label is None else real.label
        known = int(label.max()) + 1 if classes is None else classes
        if int(label.max()) >= known:
            raise InputError(
                f"The dummy class would be class {known}, and the examples have labels up to {int(label.max())}: name "
                "as many classes as there are."
            )
        n = len(real.x) if count is None else count
        dummies = noise(n, real.x, torch.Generator(device).manual_seed(seed))
        rows = Examples(
            torch.cat([real.x, dummies]),
            torch.cat([real.level, real.level.new_zeros(n)]),
            torch.cat([label, label.new_full((n,), known)]),
        )
        return replace(recipe, examples=rows)

    return apply


def _check_level(level: float) -> None:
    if not 0 < level < float("inf"):
        raise InputError(
            f"The noise of a noisy copy cannot be {level:g}: it is a positive number, sigma in x = x0 + sigma z."
        )


def _seed_of(generator: torch.Generator) -> int:
    return int(torch.randint(2**53, (), generator=generator, device=generator.device))


def _noisy(clean: Examples, level: float, generator: torch.Generator) -> Examples:
    _check_clean(clean, "Noisy copies are made of clean rows; use one of `ambient` and `noisy_only`, once.")
    noise = torch.full_like(clean.level, level)
    z = normal(clean.x.shape, generator, clean.x.dtype, clean.x.device)
    return Examples(clean.x + over(noise.to(clean.x), clean.x) * z, noise, clean.label)


def _check_clean(examples: Examples, told: str) -> None:
    if bool((examples.level != 0).any()):
        raise InputError(f"Some rows hold noise already. {told} Or begin from examples of level 0.")


def _still_trained(recipe: Recipe) -> Recipe:
    """The recipe, if every kind of row still has a level, by 65,535 draws of the law from a stream of its own.

    Raises:
        InputError: naming the rows for which nothing is left.
    """
    sigma = recipe.law(DRAWS, torch.Generator().manual_seed(0))
    counts = recipe.weight(sigma) > 0
    kinds = recipe.examples.level.unique().cpu()
    some = torch.linspace(0, len(kinds) - 1, min(len(kinds), KINDS)).round().long()
    for level in kinds[some].to(sigma.dtype):
        if not bool((recipe.allowed(level.expand(DRAWS), sigma) & counts).any()):
            which = f"rows that hold noise of level {float(level):g}" if level > 0 else "clean rows"
            raise InputError(
                f"With these interventions no level is left at which {which} can be trained: {DRAWS:,} levels of the "
                f"training law, from {float(sigma.min()):.3g} to {float(sigma.max()):.3g}, held none. Narrow the gap, "
                "or move the ambient level into the law; levels are sigma in x = x0 + sigma z, of which VP time and "
                "timesteps are other numbers (`unrote.noise.schedule.units`); those of tokens are t."
            )
    return recipe
