"""What the flags of `unrote train` do against copying: which levels are left out, which are learned from noise."""

from __future__ import annotations

import math
import shlex
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
from unrote.train.interventions import ambient, compose, gap
from unrote.train.recipe import Intervention

LEAST = 1e-4
"""A share of the training law below which levels are not worth a flag, or rows cannot be trained."""

RECIPES: dict[str, tuple[str, ...]] = {
    "baseline": (),
    "gap": ("gap",),
    "ambient": ("ambient",),
    "gap+ambient": ("gap", "ambient"),
}
"""The flags that each recipe needs; it takes no other."""

NEEDED = {
    "gap": "--gap LOW HIGH, the noise levels to leave out: run `unrote geometry --train {train}` and take its "
    "recommended gap",
    "ambient": "--ambient LEVEL, the noise of the copies: run `unrote geometry --train {train}` and take its "
    "recommended ambient level",
}


@dataclass(frozen=True)
class Cures:
    """What is done against copying; nothing by default.

    Args:
        gap: lowest and highest level that is left out of training.
        ambient: level above which noisy copies are learned from.
    """

    gap: tuple[float, float] | None = None
    ambient: float | None = None

    def intervention(self, seed: int) -> Intervention:
        """The same as a function from recipe to recipe.

        Args:
            seed: of the noise in the copies.
        """
        made = [] if self.gap is None else [gap(*self.gap)]
        if self.ambient is not None:
            made.append(ambient(self.ambient, torch.Generator().manual_seed(seed)))
        return compose(*made)


def cures_of(options: TrainOptions) -> Cures:
    """The flags as cures.

    Raises:
        InputError: if a flag is missing, does not belong to the recipe, or is no level.
    """
    needed = RECIPES[options.recipe]
    for flag, asked in NEEDED.items():
        given = getattr(options, flag) is not None
        if given and flag not in needed:
            wanted = "+".join(f for f in NEEDED if f in needed or f == flag)
            raise InputError(
                f"--{flag} would be ignored by --recipe {options.recipe}; leave it out, or use --recipe {wanted}."
            )
        if flag in needed and not given:
            train = shlex.quote(printable(options.train))
            raise InputError(f"--recipe {options.recipe} needs {asked.format(train=train)}.")
    if options.gap is not None and not 0 <= options.gap[0] < options.gap[1] < math.inf:
        raise InputError(
            f"--gap {options.gap[0]:g} {options.gap[1]:g} is no interval of noise levels: LOW is at least 0 and below "
            "HIGH, both as sigma for pixels from -1 to 1."
        )
    if options.ambient is not None and not 0 < options.ambient < math.inf:
        raise InputError(
            f"--ambient {options.ambient:g} is no noise level; it is positive, as sigma for pixels from -1 to 1."
        )
    return Cures(options.gap, options.ambient)


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
    if cures.ambient is not None:
        ends = ((low, cures.ambient, "below"), (cures.ambient, high, "above"))
        for start, end, where in ends:
            if share(law, start, end, known) < LEAST:
                raise InputError(
                    f"--ambient {cures.ambient:g} leaves less than one training level in {round(1 / LEAST):,} "
                    f"{where} it. {_other_units(cures.ambient)}"
                )
    if cures.gap is None:
        return
    middle = high if cures.ambient is None else cures.ambient
    for start, end, rows in ((low, middle, "clean images"), (middle, high, "noisy copies")):
        cut = share(law, max(start, cures.gap[0]), min(end, cures.gap[1]), known)
        if end > start and share(law, start, end, known) - cut < LEAST:
            raise InputError(
                f"--gap {cures.gap[0]:g} {cures.gap[1]:g} leaves next to no training level for {rows}, which are "
                f"trained at sigma = {number(start)} to {number(end)}; narrow the gap"
                + ("." if cures.ambient is None else ", or move the ambient level.")
            )


def share(law: Law, low: float, high: float, known: tuple[float, float] = EVERYWHERE) -> float:
    """The share of training updates whose level lies in (low, high], among the levels that the model knows."""
    bottom, top = max(low, known[0]), min(high, known[1])
    return law.probability(bottom, top) / law.probability(*known) if bottom < top else 0.0


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
            }
        )
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
    return made


def sentences(cures: Cures, law: Law, known: tuple[float, float] = EVERYWHERE) -> tuple[str, ...]:
    """The same in words, in three units."""
    made = []
    if cures.gap is not None:
        made.append(
            f"Left out of training: {_spelled(*cures.gap)}, {percent(share(law, *cures.gap, known))} of the training "
            "law, whose updates go to the other levels."
        )
    if cures.ambient is not None:
        made.append(
            f"Learned from one noisy copy of each image: all levels above {_spelled(cures.ambient)}. Clean images are "
            "trained below it; both take half of the updates."
        )
    return tuple(made)


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
