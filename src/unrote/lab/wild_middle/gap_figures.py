"""Drawings of the gap experiments: trajectories, every remedy's copies, the front, errors by level, neighbours."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from unrote.contracts import Estimate
from unrote.lab.claims import Row
from unrote.lab.wild_middle.gap_cures import BOTH, DUMMY, MUCH, PLAIN
from unrote.lab.wild_middle.gap_rules import change, last, left, of
from unrote.lab.wild_middle.gap_runs import read
from unrote.measure.estimate import estimate
from unrote.report.blocks import Block, Column, Exhibit, Gallery, Picture, Table
from unrote.report.canvas import Interval
from unrote.report.format import percent, quantity
from unrote.report.planes import Track, plane
from unrote.report.plots import Curve, bars, clouds, curves

DRAWN = (PLAIN, "zone .95 reject", "recommended reject", "zone .05 reject", DUMMY, BOTH)
"""Remedies with a line of their own; the others are in the bars and tables."""


def show(rows: Sequence[Row]) -> tuple[Block, ...]:
    """Every figure that the runs at hand allow, one set of figures for each kind of picture."""
    found: list[Block] = []
    for name in sorted({row["configuration"]["set"] for row in rows}):
        mine = [row for row in rows if row["configuration"]["set"] == name]
        names = present(mine)
        if PLAIN in names:
            found += [trajectories(mine, names), over_training(mine, names), copies_left(mine, names)]
            found += [front(mine, names), *errors(mine, names), summary(mine, names), *neighbours(mine)]
    return tuple(found)


def present(rows: Sequence[Row]) -> list[str]:
    """The remedies of some runs in the order in which they were asked for."""
    return list(dict.fromkeys(row["configuration"]["cure"] for row in rows))


def over_seeds(rows: Sequence[Row], cure: str, key: str) -> list[Estimate]:
    """Mean over seeds with its interval at every checkpoint."""
    values = torch.tensor([row["result"][key] for row in of(rows, cure)], dtype=torch.float64)
    return [estimate(column) for column in values.T]


def curve(name: str, x: Sequence[float | int], found: Sequence[Estimate]) -> Curve:
    """A line with a band where there are intervals."""
    known = all(f.low is not None for f in found)
    ends = ([f.low for f in found], [f.high for f in found]) if known else (None, None)
    return Curve(name, list(x), [f.value for f in found], *ends)


def track(rows: Sequence[Row], cure: str) -> Track:
    """The path of one remedy through quality and copies."""
    steps = of(rows, cure)[0]["result"]["steps"]
    return Track(cure, over_seeds(rows, cure, "frechet"), over_seeds(rows, cure, "copies"), steps)


def trajectories(rows: Sequence[Row], names: Sequence[str]) -> Block:
    """Figure 4: the path of every remedy through quality and copies."""
    return plane(
        [track(rows, cure) for cure in DRAWN if cure in names],
        x_label="Frechet distance to test pictures",
        y_label="samples that are copies",
        place_label="step",
        log_x=True,
        caption="Training as a path from right to left: small points are checkpoints, large ones the end. Means over "
        "seeds with 95 % intervals.",
        alt="Copy ratio against Frechet distance over training, one line for each remedy.",
    )


def over_training(rows: Sequence[Row], names: Sequence[str]) -> Block:
    """Copies over the steps."""
    lines = [
        curve(cure, of(rows, cure)[0]["result"]["steps"], over_seeds(rows, cure, "copies"))
        for cure in DRAWN
        if cure in names
    ]
    return curves(
        lines,
        x_label="step",
        y_label="samples that are copies",
        show_y=percent,
        caption="Copies over training, mean over seeds with 95 % intervals.",
        alt="Copy ratio over training steps, one line for each remedy.",
    )


def copies_left(rows: Sequence[Row], names: Sequence[str]) -> Block:
    """Figure 5: what every remedy leaves of the baseline's copies."""
    values = {f"{cure}{where(rows, cure)}": left(rows, cure) for cure in names if cure != MUCH}
    return bars(
        values,
        x_label="copies / copies of the baseline",
        show=quantity,
        caption="What each remedy leaves of the baseline's copies at the end: geometric mean of paired ratios, 95 % "
        "intervals over seeds; the levels left out are those of the first seed.",
        alt="Bars of the share of copies that each remedy leaves.",
    )


def where(rows: Sequence[Row], cure: str) -> str:
    """The levels that a gap leaves out, in words."""
    ends = of(rows, cure)[0]["result"]["gap"]
    return "" if ends is None else f": {ends[0]:.2g} to {ends[1]:.2g}"


def undominated(points: Sequence[tuple[float, float]]) -> list[bool]:
    """Which points no other one matches or beats in both coordinates and beats in one."""
    return [
        not any(a <= x and b <= y and (a < x or b < y) for a, b in points if (a, b) != (x, y))
        for x, y in points
    ]


def mean(values: Sequence[float]) -> float:
    """The mean of some numbers."""
    return sum(values) / len(values)


def ends_of(rows: Sequence[Row], names: Sequence[str]) -> dict[str, tuple[float, float]]:
    """Mean copies and Frechet distance at the end, of all that learn from the few pictures."""
    return {
        cure: (mean(last(rows, cure, "copies")), mean(last(rows, cure, "frechet")))
        for cure in names
        if cure != MUCH
    }


def front(rows: Sequence[Row], names: Sequence[str]) -> Block:
    """Figure 9: every remedy at the end, those on the front, and the baseline wherever it could be stopped."""
    points = ends_of(rows, names)
    best = dict(zip(points, undominated(list(points.values())), strict=True))
    path = [
        (a.value or 0.0, b.value)
        for a, b in zip(over_seeds(rows, PLAIN, "copies"), over_seeds(rows, PLAIN, "frechet"), strict=True)
    ]
    groups: list[tuple[str, Sequence[tuple[float, float | None]]]] = [
        ("on the front", [points[c] for c in points if best[c]]),
        ("other remedies", [points[c] for c in points if not best[c]]),
        ("baseline over training", path),
    ]
    return clouds(
        [Curve(said, [p[0] for p in some], [p[1] for p in some]) for said, some in groups if some],
        x_label="samples that are copies",
        y_label="Frechet distance to test pictures",
        show_x=percent,
        caption=f"Quality against copying at the end, means over seeds. On the front: "
        f"{', '.join(c for c in points if best[c])}.",
        alt="Frechet distance against copy ratio of every remedy.",
    )


def errors(rows: Sequence[Row], names: Sequence[str]) -> list[Block]:
    """Held-out error by level against a model with much data: what a gap costs where it lies."""
    if MUCH not in names:
        return []
    much = [row["result"]["test_error"] for row in of(rows, MUCH)]
    lines = []
    for cure in (c for c in DRAWN if c in names):
        few = [row["result"]["test_error"] for row in of(rows, cure)]
        logs = (torch.tensor(few, dtype=torch.float64) / torch.tensor(much, dtype=torch.float64)).log()
        found = [estimate(column) for column in logs.T]
        lines.append(curve(cure, rows[0]["result"]["levels"], [exponential(f) for f in found]))
    marked = [c for c in ("recommended reject", "zone .05 reject") if c in names]
    gaps = [(c, of(rows, c)[0]["result"]["gap"]) for c in marked]
    return [
        curves(
            lines,
            x_label="level sigma",
            y_label="held-out error / that of a model with much data",
            log_x=True,
            log_y=True,
            intervals=[Interval(low, high, c) for c, (low, high) in gaps],
            caption="Denoising error on test pictures by level, against a model that learned from all pictures for as "
            "many steps: geometric means over seeds, 95 % intervals.",
            alt="Excess of the held-out error over noise levels, one line for each remedy.",
        )
    ]


def exponential(found: Estimate) -> Estimate:
    """An estimate of a logarithm as one of the number."""
    value, low, high = (None if v is None else math.exp(v) for v in (found.value, found.low, found.high))
    return Estimate(value, low, high, found.n)


def summary(rows: Sequence[Row], names: Sequence[str]) -> Table:
    """All numbers at the end."""
    cells: list[tuple[Any, ...]] = []
    for cure in names:
        ends = of(rows, cure)[0]["result"]["gap"]
        excess = change(rows, cure, "held_out", MUCH) if MUCH in names else None
        cells.append(
            (
                cure,
                None if ends is None else f"{ends[0]:.3g} to {ends[1]:.3g}",
                mean([row["result"]["share"] for row in of(rows, cure)]),
                estimate(torch.tensor(last(rows, cure, "copies"), dtype=torch.float64)),
                left(rows, cure),
                estimate(torch.tensor(last(rows, cure, "frechet"), dtype=torch.float64)),
                change(rows, cure, "frechet"),
                excess,
            )
        )
    columns = (
        Column("remedy"),
        Column("levels left out, first seed"),
        Column("share of the law", percent),  # type: ignore[arg-type]
        Column("copies", quantity),
        Column("of the baseline's", quantity),
        Column("Frechet distance", quantity),
        Column("against the baseline", quantity),
        Column("excess of the held-out loss", quantity),
    )
    words = "At the end of training: means over seeds, paired differences and ratios, 95 % intervals"
    return Table(columns, tuple(cells), words)


def neighbours(rows: Sequence[Row]) -> list[Block]:
    """Figures 17 to 19 and E.9: samples beside their nearest training pictures."""
    groups = []
    for row in rows:
        kept = row["result"]["pairs"]
        if kept is not None and row["configuration"]["cure"] != MUCH:
            pictures = []
            for one, other, copy in zip(kept["samples"], kept["nearest"], kept["copies"], strict=True):
                pictures.append(Picture(read(one, kept["shape"]), "copy" if copy else "sample"))
                pictures.append(Picture(read(other, kept["shape"]), "nearest"))
            seen = (
                f"{row['configuration']['cure']}: {sum(kept['copies'])} of {len(kept['copies'])} are copies"
            )
            groups.append(Exhibit(tuple(pictures), seen))
    words = "The first samples of the first seed, each followed by its nearest training picture, by remedy"
    return [Gallery(tuple(groups), words, each=32)] if groups else []
