"""Which windows of levels a swap looks at: the paper's thirds, those of the data's geometry, those asked for."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from unrote.contracts import InputError
from unrote.jobs.geometry_verdict import regimes_of
from unrote.jobs.ground import Ground
from unrote.jobs.options import GeometryOptions, SwapOptions
from unrote.jobs.surveying import choose_levels, measure
from unrote.noise.levels import edm_levels
from unrote.sample.windows import Window, window_within

STEPS = 18
"""Levels of the paper's schedule."""
MIDDLE = (7, 13)
"""The paper's medium window, "steps 7-13"."""
THIRDS = ("large", "medium", "small")
"""Names of the parts of a schedule, the highest levels first."""


@dataclass(frozen=True)
class Named:
    """A window with its name.

    Args:
        name: "large", "medium", "small", or "asked for".
        source: what the window comes from, in words.
        window: indices into the levels, from 0.
    """

    name: str
    source: str
    window: Window


def paper_windows(levels: Tensor) -> list[Named]:
    """Large, medium and small noise with the paper's medium "steps 7-13", counted from 0 and from 1.

    Between the levels of the paper's own schedule the parts meet halfway in log sigma, so that they part any
    schedule.

    Args:
        levels: decreasing, with or without a closing 0 (T,).

    Source: 001 Table 1 and appendix E.6, which does not say from where steps are counted.
    """
    grid, found = edm_levels(STEPS), []
    for base in (0, 1):
        first, last = (step - base for step in MIDDLE)
        low, high = ((grid[k] * grid[k + 1]).sqrt().item() for k in (last, first - 1))
        found += thirds(levels, low, high, f"paper, steps from {base}")
    return found


def thirds(levels: Tensor, low: float, high: float, source: str) -> list[Named]:
    """The windows above, between and below two levels, as far as the schedule has any levels there."""
    ends = ((high, math.inf), (low, high), (0.0, low))
    windows = (window_within(levels, *pair) for pair in ends)
    return [Named(name, source, w) for name, w in zip(THIRDS, windows, strict=True) if w is not None]


def geometry_windows(levels: Tensor, ground: Ground, options: SwapOptions) -> tuple[list[Named], str | None]:
    """The windows of the training set's own regimes, as `unrote geometry` finds them, or why there are none."""
    asked = GeometryOptions(train=options.train, seed=options.seed)
    try:
        curves = measure(ground, choose_levels(ground, asked), asked, lambda n: None)
        found = regimes_of(curves, ground, options.seed)
    except InputError as error:
        return [], f"The geometry of the training set gave no windows: {error}"
    if found.medium is None:
        why = found.reasons.get("small_below") or found.reasons.get("large_above") or "its ends cross."
        return [], f"The geometry of the training set gave no windows: {why}"
    return thirds(levels, found.medium.low, found.medium.high, "geometry of --train"), None


def asked_windows(levels: Tensor, options: SwapOptions) -> list[Named]:
    """The windows of --window and --steps-window.

    Args:
        levels: decreasing, ending with 0 (T,).

    Raises:
        InputError: for ends in the wrong order, or where the schedule has no level.
    """
    check_spelling(options)
    count, found = len(levels) - 1, []
    for low, high in options.window:
        window = window_within(levels, low, high)
        if window is None:
            raise InputError(
                f"--window {low:g} {high:g} holds none of the {count} levels of the schedule, which are "
                f"{', '.join(f'{level:.3g}' for level in levels[:-1].tolist())}. Take wider ends, or more --levels."
            )
        found.append(Named("asked for", f"--window {low:g} {high:g}", window))
    base = options.index_base or 0
    for first, last in options.steps_window:
        if not base <= first <= last < count + base:
            raise InputError(
                f"--steps-window {first} {last} is not in the schedule: its {count} levels are numbered {base} to "
                f"{count + base - 1} (--index-base {base}), the highest first. Give the first and the last number of "
                "the window in this order."
            )
        found.append(
            Named(
                "asked for",
                f"--steps-window {first} {last}, counted from {base}",
                Window(first - base, last - base),
            )
        )
    return found


def check_spelling(options: SwapOptions) -> None:
    """Refuse windows that no schedule could hold, and flags that would be ignored.

    Raises:
        InputError: naming the flag.
    """
    for low, high in options.window:
        if not 0 < low < high < math.inf:
            raise InputError(
                f"--window {low:g} {high:g} is not a window of noise levels; give its lowest and its highest level, "
                "two positive numbers, the lower first, for example --window 0.14 5.3 (sigma, pixels -1 to 1). For "
                "numbers of steps use --steps-window."
            )
    if options.index_base is not None and not options.steps_window:
        raise InputError(
            f"--index-base {options.index_base} says from where the steps of --steps-window are counted, and none is "
            "given; add --steps-window FIRST LAST, or leave it out."
        )
