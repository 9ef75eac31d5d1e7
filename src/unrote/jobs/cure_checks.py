"""Whether the levels of cures are in the training law, and which share of it they leave out."""

from __future__ import annotations

import torch

from unrote.contracts import InputError
from unrote.geometry.regimes import Law
from unrote.jobs.cures import Cures
from unrote.jobs.levels import EVERYWHERE
from unrote.noise.schedule import linear_alpha_bars, sigma_of_timestep, sigma_of_vp_time
from unrote.report.format import number

LEAST = 1e-4
"""A share of the training law below which levels are not worth a flag, or rows cannot be trained."""


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
