"""Verdicts about swaps of denoisers within a window of levels; thresholds are fixed before the runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from unrote.contracts import Estimate
from unrote.lab.claims import FAILED, HELD, PARTLY, Claim, Row
from unrote.lab.wild_middle.levels_claims import above, below, mean, of, share, tested
from unrote.lab.wild_middle.pairs import KINDS, PAPER_WINDOWS, STEPS, WORDS, window_key
from unrote.measure.estimate import estimate
from unrote.noise.levels import edm_levels
from unrote.sample.windows import Window, all_windows

Judged = Callable[[Sequence[Row]], tuple[Estimate, str]]

GONE, KEPT = 0.1, 0.75
"""A swap flips copying if it leaves at most a tenth of it, and leaves it alone if at least three quarters stay."""
WINDOWS = {
    **{
        name: "the paper's steps 7 to 13 counted " + ("from 0" if name == "from 0" else "from 1")
        for name in PAPER_WINDOWS
    },
    "regimes": "the regimes of the geometry",
}
PARTS = ("large", "medium", "small")


def relative(row: Row, windows: str, direction: str) -> dict[str, float]:
    """Copies after each swap over those of the network of few alone; a regime without a level swaps nothing."""
    told = row["result"]["swap"]
    base = max(told["away"]["none"]["copies"], 0.5)  # no copies at all count as half of one
    named: Mapping[str, Any] = told["windows"].get(windows, {})
    keys = {part: window_key(named.get(part)) for part in PARTS}
    return {part: told[direction][keys[part]]["copies"] / base for part in PARTS}


def flips(name: str, windows: str) -> Judged:
    """Judge whether the middle alone flips copying, in both directions."""

    def judged(rows: Sequence[Row]) -> tuple[Estimate, str]:
        mine = of(rows, name)
        away = [relative(row, windows, "away") for row in mine]
        into = [relative(row, windows, "into") for row in mine]
        lost, gained = (mean([one["medium"] for one in seen]) for seen in (away, into))
        ends = ("large", "small")
        sure = (
            below(lost, GONE)
            and above(gained, KEPT)
            and all(above(mean([one[part] for one in away]), KEPT) for part in ends)
            and all(below(mean([one[part] for one in into]), GONE) for part in ends)
        )
        assert lost.value is not None and gained.value is not None
        return lost, HELD if sure else PARTLY if lost.value <= GONE and gained.value >= KEPT else FAILED

    return judged


def matters_most(row: Row, direction: str) -> bool:
    """Whether the middle's swap changes the Frechet distance most, for the better where it takes few pictures away."""
    told = row["result"]["swap"]
    distances = {
        part: told[direction][window_key(told["windows"]["from 0"][part])]["distance"]["value"]
        for part in PARTS
    }
    pick = min if direction == "away" else max
    return pick(distances, key=distances.__getitem__) == "medium"


def quality_hinges(name: str) -> Judged:
    """Judge whether the middle decides the quality of samples."""

    def judged(rows: Sequence[Row]) -> tuple[Estimate, str]:
        seen = [matters_most(row, direction) for row in of(rows, name) for direction in ("away", "into")]
        return estimate(torch.tensor(seen)), HELD if all(seen) else PARTLY if sum(seen) > len(
            seen
        ) / 2 else FAILED

    return judged


def shortest(row: Row, left: float = GONE) -> Window | None:
    """The window of fewest levels whose swap leaves at most a share of the copies; of several, that with fewest."""
    told = row["result"]["map"]["away"]
    most = left * told["none"][0]
    good = [
        (window.last - window.first, told[window_key(window)][0], window.first, window)
        for window in all_windows(STEPS)
        if told[window_key(window)][0] <= most
    ]
    return min(good)[3] if good and told["none"][0] else None


def reach(window: Window) -> tuple[float, float]:
    """The noise that a window takes away: from its first level down to the one after its last."""
    levels = [*edm_levels(STEPS).tolist(), 0.0]
    return levels[window.last + 1], levels[window.first]


def meets(window: Window | None, zone: Sequence[float] | None) -> bool:
    """Whether a window's reach and a zone have a level in common."""
    if window is None or zone is None:
        return False
    low, high = reach(window)
    return low <= zone[1] and zone[0] <= high


def by_chance(row: Row) -> float:
    """The share of windows as long as the shortest one that meet the danger zone."""
    found, zone = shortest(row), row["result"]["geometry"]["danger"]
    if found is None:
        return 1.0
    length = found.last - found.first
    alike = [meets(Window(first, first + length), zone) for first in range(STEPS - length)]
    return sum(alike) / len(alike)


def shortest_meets_danger(name: str) -> Judged:
    """Judge whether the shortest window that stops copying meets the danger zone."""

    def judged(rows: Sequence[Row]) -> tuple[Estimate, str]:
        seen = [meets(shortest(row), row["result"]["geometry"]["danger"]) for row in of(rows, name)]
        found = estimate(torch.tensor(seen))
        return found, HELD if all(seen) else PARTLY if sum(seen) > len(seen) / 2 else FAILED

    return judged


RULE = (
    f"copies after a swap over those of the network of few alone, 512 samples along EDM's {STEPS} levels by Euler's "
    f"steps: held if the intervals put the middle's swap at or below {GONE:g} and the swaps of both ends at or above "
    f"{KEPT:g} where the network of few is replaced, and the middle's at or above {KEPT:g} and both ends' at or below "
    f"{GONE:g} where it is put in; partly if the means do so for the middle; the number is what the middle's swap "
    "leaves"
)


def flip_claim(name: str, windows: str) -> Claim:
    """Table 1 for one pair and one set of windows."""
    return Claim(
        f"only-the-middle-flips-{windows.replace(' ', '-')}-{name}",
        "001",
        "Table 1",
        f"Only the middle swap flips copying, in both directions: {WINDOWS[windows]} ({WORDS[name]}).",
        tested(name),
        RULE,
        flips(name, windows),
        share,
    )


def quality_claim(name: str) -> Claim:
    """What the paper finds in Figure 10, measured."""
    return Claim(
        f"quality-hinges-on-the-middle-{name}",
        "001",
        "Figure 10, section E.6",
        "Of the three swaps the middle's gives the best samples where the network of few is replaced, and the worst "
        f"where it is put in ({WORDS[name]}).",
        f"Frechet distance to the test pictures in features of a classifier trained on other pictures; {tested(name)}",
        "share of seeds and directions, windows counted from 0, at which it is so: held if all, partly if most",
        quality_hinges(name),
    )


def window_claim(name: str) -> Claim:
    """The full map against the zone that was computed before training."""
    return Claim(
        f"shortest-window-meets-the-danger-zone-{name}",
        "unrote",
        "beyond Table 1",
        f"The shortest window whose swap stops copying meets the danger zone of the geometry ({WORDS[name]}).",
        f"all {len(all_windows(STEPS))} windows of the schedule, 256 samples each; {tested(name)}",
        f"the window of fewest levels that leaves at most {GONE:g} of the copies, from its first level to the one "
        "after its last: held if it meets the zone at every seed, partly at most; windows of that length that meet it "
        "by chance are reported beside it",
        shortest_meets_danger(name),
    )


CLAIMS = (
    *(flip_claim(name, windows) for name in KINDS for windows in WINDOWS),
    quality_claim("unet"),
    quality_claim("mlp"),
    window_claim("unet"),
    window_claim("mlp"),
)
