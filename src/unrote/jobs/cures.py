"""What the flags of `unrote train` do against copying: which levels are left out, what is noisy, hidden or mirrored."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence, Set
from dataclasses import dataclass, fields

import torch

from unrote.contracts import InputError
from unrote.data.spelling import printable
from unrote.jobs.options import TrainOptions
from unrote.train.augment import augmented, flip
from unrote.train.interventions import GapRule, ambient, compose, dummy_class, gap, noisy_only, reject, skip
from unrote.train.masking import masking
from unrote.train.recipe import Intervention, Redraw, levels_first, rows_first

PARTS = ("gap", "dummy", "ambient", "noisy-only", "masking")
"""What a recipe is joined of, in the order in which it is done."""

GAP_RULES: dict[str, GapRule] = {"reject": reject, "skip": skip}
"""The values of --gap-rule."""

AMBIENT_RULES: dict[str, Redraw] = {"rows-first": rows_first, "levels-first": levels_first}
"""The values of --ambient-rule."""

HIDDEN = 0.5
"""The share of pixels that masking hides where --hidden is not given: the middle, for which nothing in data speaks."""

NEEDED = {
    "gap": "--gap LOW HIGH, the noise levels to leave out: run `unrote geometry --train {train}` and take its "
    "recommended gap",
    "ambient": "--ambient LEVEL, the noise of the copies: run `unrote geometry --train {train}` and take its "
    "recommended ambient level",
}
"""What a flag holds that some parts need."""

FLAGS = {
    "gap": ("gap",),
    "ambient": ("ambient", "noisy-only"),
    "gap_rule": ("gap",),
    "ambient_rule": ("ambient",),
    "hidden": ("masking",),
}
"""The parts that use each flag; `dummy` uses none."""


@dataclass(frozen=True)
class Cures:
    """What is done against copying; nothing by default.

    Args:
        gap: lowest and highest level that is left out of training.
        ambient: level above which noisy copies are learned from.
        dummies: whether as many noise images as there are training images are a class more.
        rule: what becomes of updates that fall into the gap.
        noisy_only: noise of the copies that are learned from alone.
        redraw: whether rows or levels are drawn first where noisy copies stand beside clean rows.
        hidden: share of the pixels that masking hides for good.
        flip: whether every image is also trained on mirrored.

    Raises:
        InputError: for two of `ambient`, `noisy_only` and `hidden`.
    """

    gap: tuple[float, float] | None = None
    ambient: float | None = None
    dummies: bool = False
    rule: GapRule = reject
    noisy_only: float | None = None
    redraw: Redraw = rows_first
    hidden: float | None = None
    flip: bool = False

    def __post_init__(self) -> None:
        if self.ambient is not None and self.noisy_only is not None:
            raise InputError(
                "ambient learns from clean images and noisy copies, and noisy-only from noisy copies alone: a recipe "
                "holds one of the two."
            )
        if self.hidden is not None and self.noisy is not None:
            name = "ambient" if self.noisy_only is None else "noisy-only"
            raise InputError(
                f"masking learns from clean images of which pixels are hidden, and {name} from noisy copies: a noisy "
                "copy with hidden pixels serves neither, so a recipe holds one of the two. To compare them, list both: "
                f"--recipe masking,{name}."
            )

    @property
    def noisy(self) -> float | None:
        """The noise of noisy copies, where there are any."""
        return self.noisy_only if self.ambient is None else self.ambient

    def intervention(self, seed: int, classes: int | None = None) -> Intervention:
        """The same as a function from recipe to recipe.

        Images are mirrored before noise is frozen, so that both have noise of their own, and after pixels are hidden,
        so that what is hidden of an image is not shown in its mirror image.

        Args:
            seed: of the noise in the copies; the noise images have the next one, the masks the one after.
            classes: of the real images, or None.
        """

        def stream(number: int) -> torch.Generator:
            return torch.Generator().manual_seed(number)

        mirrored = [augmented([flip])] if self.flip else []
        made = [] if self.hidden is not None else list(mirrored)
        if self.gap is not None:
            made.append(gap(*self.gap, self.rule))
        if self.dummies:
            made.append(dummy_class(stream(seed + 1), classes=classes))
        if self.ambient is not None:
            made.append(ambient(self.ambient, stream(seed), self.redraw))
        if self.noisy_only is not None:
            made.append(noisy_only(self.noisy_only, stream(seed)))
        if self.hidden is not None:
            made += [masking(self.hidden, stream(seed + 2)), *mirrored]
        return compose(*made)


def parts_of(recipe: str) -> tuple[str, ...]:
    """What a recipe is joined of; nothing for the baseline.

    Raises:
        InputError: for names that are unknown, occur twice or exclude each other.
    """
    if recipe == "baseline":
        return ()
    names = recipe.split("+")
    unknown = [name for name in names if name not in PARTS]
    if unknown:
        raise InputError(
            f"--recipe {printable(recipe)} is not understood: {printable(unknown[0]) or 'nothing'} is no recipe. A "
            f"recipe is baseline, or one of {', '.join(PARTS)}, or several of these joined by + (gap+ambient); a comma "
            "lists recipes to compare (baseline,gap)."
        )
    if len(set(names)) < len(names):
        raise InputError(f"--recipe {recipe} holds a cure twice; each acts once.")
    return tuple(names)


def recipes_of(options: TrainOptions) -> dict[str, Cures]:
    """The recipes of --recipe by their names, with the flags that they need.

    Raises:
        InputError: if a name or a flag cannot be used, or a recipe is listed twice.
    """
    names = [name.strip() for name in options.recipe.split(",")]
    parts = {name: parts_of(name) for name in names}
    for i, name in enumerate(names):
        twin = next((other for other in names[:i] if set(parts[other]) == set(parts[name])), None)
        if twin is not None:
            same = "" if twin == name else f", which is {twin} in another order"
            raise InputError(f"--recipe {options.recipe} lists {name} twice{same}; leave one out.")
    _check_flags(options, {part for joined in parts.values() for part in joined})
    return {name: _cures(options, parts[name]) for name in names}


def _check_flags(options: TrainOptions, parts: Set[str]) -> None:
    """Refuse flags that are missing, that no recipe needs, or that hold no levels."""
    defaults = {field.name: field.default for field in fields(options)}
    for flag, users in FLAGS.items():
        value = getattr(options, flag)
        used = not parts.isdisjoint(users)
        if value != defaults[flag] and not used:
            named = f"--{flag.replace('_', '-')}" + (f" {value}" if isinstance(value, str) else "")
            raise InputError(
                f"{named} would be ignored by --recipe {options.recipe}; leave it out, or use "
                f"--recipe {_with(parts, users[0])}."
            )
        if used and value is None and flag in NEEDED:
            train = shlex.quote(printable(options.train))
            raise InputError(f"--recipe {options.recipe} needs {NEEDED[flag].format(train=train)}.")
    if options.gap is not None and not 0 <= options.gap[0] < options.gap[1] < math.inf:
        raise InputError(
            f"--gap {options.gap[0]:g} {options.gap[1]:g} is no interval of noise levels: LOW is at least 0 and below "
            "HIGH, both as sigma for pixels from -1 to 1."
        )
    if options.ambient is not None and not 0 < options.ambient < math.inf:
        raise InputError(
            f"--ambient {options.ambient:g} is no noise level; it is positive, as sigma for pixels from -1 to 1."
        )
    if options.hidden is not None and not 0 < options.hidden < 1:
        raise InputError(
            f"--hidden {options.hidden:g} is no share of pixels that can be hidden: it lies above 0, where nothing is "
            "hidden, and below 1, where nothing is left to learn from."
        )


def _with(parts: Set[str], part: str) -> str:
    """A recipe that holds a part beside others; a list of two where they exclude each other."""
    noisy = {"ambient", "noisy-only"}
    if (part == "masking" and parts & noisy) or (part in noisy and "masking" in parts):
        return ",".join([*(name for name in PARTS if name in parts), part])
    return "+".join(name for name in PARTS if name in parts or name == part)


def _cures(options: TrainOptions, parts: Sequence[str]) -> Cures:
    hidden = HIDDEN if options.hidden is None else options.hidden
    return Cures(
        gap=options.gap if "gap" in parts else None,
        ambient=options.ambient if "ambient" in parts else None,
        dummies="dummy" in parts,
        rule=GAP_RULES[options.gap_rule],
        noisy_only=options.ambient if "noisy-only" in parts else None,
        redraw=AMBIENT_RULES[options.ambient_rule],
        hidden=hidden if "masking" in parts else None,
        flip=options.flip,
    )
