"""What the flags of `unrote train` do against copying: which levels are left out, which are learned from noise."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence, Set
from dataclasses import asdict, dataclass
from typing import Any

import torch

from unrote.contracts import InputError
from unrote.data.spelling import printable
from unrote.geometry.regimes import Law
from unrote.jobs.levels import EVERYWHERE
from unrote.jobs.options import TrainOptions
from unrote.noise.schedule import Units, linear_alpha_bars, sigma_of_timestep, sigma_of_vp_time, units
from unrote.report.format import number, percent
from unrote.train.interventions import GapRule, ambient, compose, dummy_class, gap, noisy_only, reject, skip
from unrote.train.recipe import Intervention

LEAST = 1e-4
"""A share of the training law below which levels are not worth a flag, or rows cannot be trained."""

PARTS = ("gap", "dummy", "ambient", "noisy-only")
"""What a recipe is joined of, in the order in which it is done."""

GAP_RULES: dict[str, GapRule] = {"reject": reject, "skip": skip}
"""The values of --gap-rule."""

NEEDED = {
    "gap": "--gap LOW HIGH, the noise levels to leave out: run `unrote geometry --train {train}` and take its "
    "recommended gap",
    "ambient": "--ambient LEVEL, the noise of the copies: run `unrote geometry --train {train}` and take its "
    "recommended ambient level",
}
"""What a flag holds that some parts need."""

FLAGS = {"gap": "gap", "ambient": "ambient", "noisy-only": "ambient"}
"""The flag that each part needs; `dummy` needs none."""


@dataclass(frozen=True)
class Cures:
    """What is done against copying; nothing by default.

    Args:
        gap: lowest and highest level that is left out of training.
        ambient: level above which noisy copies are learned from.
        dummies: whether as many noise images as there are training images are a class more.
        rule: what becomes of updates that fall into the gap.
        noisy_only: noise of the copies that are learned from alone.

    Raises:
        InputError: for `ambient` beside `noisy_only`.
    """

    gap: tuple[float, float] | None = None
    ambient: float | None = None
    dummies: bool = False
    rule: GapRule = reject
    noisy_only: float | None = None

    def __post_init__(self) -> None:
        if self.ambient is not None and self.noisy_only is not None:
            raise InputError(
                "ambient learns from clean images and noisy copies, and noisy-only from noisy copies alone: a recipe "
                "holds one of the two."
            )

    @property
    def noisy(self) -> float | None:
        """The noise of noisy copies, where there are any."""
        return self.noisy_only if self.ambient is None else self.ambient

    def intervention(self, seed: int, classes: int | None = None) -> Intervention:
        """The same as a function from recipe to recipe.

        Args:
            seed: of the noise in the copies; the noise images have the next one.
            classes: of the real images, or None.
        """

        def stream(number: int) -> torch.Generator:
            return torch.Generator().manual_seed(number)

        made = [] if self.gap is None else [gap(*self.gap, self.rule)]
        if self.dummies:
            made.append(dummy_class(stream(seed + 1), classes=classes))
        if self.ambient is not None:
            made.append(ambient(self.ambient, stream(seed)))
        if self.noisy_only is not None:
            made.append(noisy_only(self.noisy_only, stream(seed)))
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
    needed = {FLAGS[part] for part in parts if part in FLAGS}
    for flag, asked in NEEDED.items():
        given = getattr(options, flag) is not None
        if given and flag not in needed:
            wanted = "+".join(part for part in PARTS if part in parts or part == flag)
            raise InputError(
                f"--{flag} would be ignored by --recipe {options.recipe}; leave it out, or use --recipe {wanted}."
            )
        if flag in needed and not given:
            train = shlex.quote(printable(options.train))
            raise InputError(f"--recipe {options.recipe} needs {asked.format(train=train)}.")
    if options.gap_rule != "reject" and "gap" not in needed:
        raise InputError(
            f"--gap-rule {options.gap_rule} would be ignored by --recipe {options.recipe}; leave it out, or use "
            "--recipe gap."
        )
    if options.gap is not None and not 0 <= options.gap[0] < options.gap[1] < math.inf:
        raise InputError(
            f"--gap {options.gap[0]:g} {options.gap[1]:g} is no interval of noise levels: LOW is at least 0 and below "
            "HIGH, both as sigma for pixels from -1 to 1."
        )
    if options.ambient is not None and not 0 < options.ambient < math.inf:
        raise InputError(
            f"--ambient {options.ambient:g} is no noise level; it is positive, as sigma for pixels from -1 to 1."
        )


def _cures(options: TrainOptions, parts: Sequence[str]) -> Cures:
    return Cures(
        gap=options.gap if "gap" in parts else None,
        ambient=options.ambient if "ambient" in parts else None,
        dummies="dummy" in parts,
        rule=GAP_RULES[options.gap_rule],
        noisy_only=options.ambient if "noisy-only" in parts else None,
    )


def check_cures(cures: Cures, law: Law, known: tuple[float, float] = EVERYWHERE) -> None:
    """Refuse levels that the training law hardly has, mostly numbers in another unit, and cures that leave nothing.

    Args:
        law: of training levels.
        known: the lowest and the highest level that the model knows.

    Raises:
        InputError: with the number in the other units.
    """
    low, high = known
    if cures.gap is not None and share(law, *cures.gap, known) < LEAST:
        raise InputError(
            f"--gap {cures.gap[0]:g} {cures.gap[1]:g} would leave out less than one training level in "
            f"{round(1 / LEAST):,}. {_other_units(*cures.gap)}"
        )
    if cures.noisy is not None:
        ends = ((low, cures.noisy, "below"), (cures.noisy, high, "above"))
        for start, end, where in ends:
            if share(law, start, end, known) < LEAST:
                raise InputError(
                    f"--ambient {cures.noisy:g} leaves less than one training level in {round(1 / LEAST):,} "
                    f"{where} it. {_other_units(cures.noisy)}"
                )
    if cures.gap is None:
        return
    middle = high if cures.noisy is None else cures.noisy
    for start, end, rows in ((low, middle, "clean images"), (middle, high, "noisy copies")):
        cut = share(law, max(start, cures.gap[0]), min(end, cures.gap[1]), known)
        trained = end > start and not (rows == "clean images" and cures.noisy_only is not None)
        if trained and share(law, start, end, known) - cut < LEAST:
            raise InputError(
                f"--gap {cures.gap[0]:g} {cures.gap[1]:g} leaves next to no training level for {rows}, which are "
                f"trained at sigma = {number(start)} to {number(end)}; narrow the gap"
                + ("." if cures.noisy is None else ", or move the ambient level.")
            )


def share(law: Law, low: float, high: float, known: tuple[float, float] = EVERYWHERE) -> float:
    """The share of training updates whose level lies in (low, high], among the levels that the model knows."""
    bottom, top = max(low, known[0]), min(high, known[1])
    return law.probability(bottom, top) / law.probability(*known) if bottom < top else 0.0


def removed(cures: Cures, law: Law, known: tuple[float, float] = EVERYWHERE) -> float:
    """The share of the training law at which nothing is trained; a gap that holds a cut is not counted twice."""
    cut = 0.0 if cures.gap is None else share(law, *cures.gap, known)
    if cures.noisy_only is None:
        return cut
    below = share(law, 0.0, cures.noisy_only, known)
    if cures.gap is None:
        return below
    return below + share(law, max(cures.gap[0], cures.noisy_only), cures.gap[1], known)


def told(cures: Cures, law: Law, known: tuple[float, float] = EVERYWHERE) -> list[dict[str, Any]]:
    """The interventions of a run as result.json holds them."""
    made: list[dict[str, Any]] = []
    if cures.gap is not None:
        low, high = cures.gap
        made.append(
            {
                "name": "gap",
                "low": low,
                "high": high,
                "units": {"low": _in_units(low), "high": _in_units(high)},
                "share_removed": share(law, low, high, known),
                "rule": next((name for name, rule in GAP_RULES.items() if rule is cures.rule), "another"),
            }
        )
    if cures.dummies:
        made.append({"name": "dummy", "share_removed": 0.0, "share_of_updates": 0.5})
    if cures.ambient is not None:
        made.append(
            {
                "name": "ambient",
                "level": cures.ambient,
                "units": {"level": _in_units(cures.ambient)},
                "share_removed": 0.0,
                "share_above": share(law, cures.ambient, math.inf, known),
            }
        )
    if cures.noisy_only is not None:
        made.append(
            {
                "name": "noisy-only",
                "level": cures.noisy_only,
                "units": {"level": _in_units(cures.noisy_only)},
                "share_removed": share(law, 0.0, cures.noisy_only, known),
            }
        )
    return made


def sentences(cures: Cures, law: Law, known: tuple[float, float] = EVERYWHERE) -> tuple[str, ...]:
    """The same in words, in three units."""
    made = []
    if cures.gap is not None:
        made.append(
            f"Left out of training: {_spelled(*cures.gap)}, {percent(share(law, *cures.gap, known))} of the training "
            f"law, {FATES.get(cures.rule, 'by a rule of its own')}."
        )
    if cures.dummies:
        made.append(
            "A second class: as many noise images as training images, each pixel uniform from -1 to 1, take half of "
            "the updates; samples are drawn as real images."
        )
    if cures.ambient is not None:
        made.append(
            f"Learned from one noisy copy of each image: all levels above {_spelled(cures.ambient)}. Clean images are "
            "trained below it; both take half of the updates."
        )
    if cures.noisy_only is not None:
        removed = percent(share(law, 0.0, cures.noisy_only, known))
        made.append(
            f"Learned from one noisy copy of each image alone: only levels above {_spelled(cures.noisy_only)} are "
            f"trained, and {removed} of the training law, below it, is left out. There samples rest on what the "
            "network makes of levels that it never saw."
        )
    return tuple(made)


FATES: dict[GapRule, str] = {
    reject: "whose updates go to the other levels",
    skip: "whose updates are dropped, so that every other level is trained as often as without the gap",
}
"""What becomes of the updates in a gap, in words."""


def _in_units(sigma: float) -> dict[str, Any] | None:
    return asdict(units(sigma)) if sigma > 0 else None


def _spelled(*levels: float) -> str:
    """Levels as sigma, VP time and timesteps of DDPM's linear schedule."""
    known: list[Units] = [units(level) for level in levels if level > 0]
    times = " to ".join(number(u.vp_time) for u in known)
    steps = [u.ddpm_linear_timestep for u in known]
    said = [f"VP time {'0 to ' if len(known) < len(levels) else ''}{times}"]
    if len(known) == len(levels) and all(step is not None for step in steps):
        plural = "s" if len(steps) > 1 else ""
        said.append(f"DDPM timestep{plural} " + " to ".join(f"{step:.0f}" for step in steps))
    return f"sigma = {' to '.join(map(number, levels))} ({', '.join(said)})"


def _other_units(*values: float) -> str:
    """What numbers would be, were they meant in another unit."""
    level = torch.tensor(values, dtype=torch.float64)
    meant = []
    if min(values) > 0.1 and max(values) < 1:  # below, both numbers are nearly one
        meant.append(("VP time", sigma_of_vp_time(level)))
    if min(values) >= 1 and max(values) <= 999:
        meant.append(("DDPM timestep", sigma_of_timestep(level, linear_alpha_bars())))
    given = " to ".join(f"{value:g}" for value in values)
    return " ".join(
        [
            "Levels are sigma for pixels from -1 to 1;",
            *(
                f"{unit} {given} is sigma {' to '.join(map(number, found.tolist()))};"
                for unit, found in meant
            ),
            "`unrote geometry` recommends levels in every unit.",
        ]
    )
