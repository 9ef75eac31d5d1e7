"""Drawings of the front: remedies in the plane of quality and copying, copies by ambient level, all in a table."""

from __future__ import annotations

from collections.abc import Sequence

from unrote.lab.ambient.remedies import LEVELS
from unrote.lab.claims import Row
from unrote.lab.wild_middle.gap_figures import copies_left, curve, front, neighbours, present, summary, track
from unrote.lab.wild_middle.gap_rules import left
from unrote.report.blocks import Block
from unrote.report.planes import plane
from unrote.report.plots import Curve, curves

DRAWN = (
    "baseline",
    "ambient 0.5, rows first",
    "ambient 1, levels first",
    "gap",
    "dummy",
    "dropout",
    "dropout + ambient 0.5, rows first",
    "flip",
)
"""Remedies with a path of their own; the other figures have all."""


def show(rows: Sequence[Row]) -> tuple[Block, ...]:
    """Every figure that the runs at hand allow."""
    names = present(rows)
    if "baseline" not in names:
        return ()
    paths = plane(
        [track(rows, name) for name in DRAWN if name in names],
        x_label="Frechet distance to test pictures",
        y_label="samples that are copies",
        place_label="step",
        log_x=True,
        caption="Training as a path: small points are checkpoints, large ones the end. Means over seeds with 95 % "
        "intervals.",
        alt="Copy ratio against Frechet distance over training, one line for each remedy.",
    )
    return (
        paths,
        *level_curve(rows, names),
        copies_left(rows, names),
        front(rows, names),
        summary(rows, names),
        *neighbours(rows),
    )


def level_curve(rows: Sequence[Row], names: Sequence[str]) -> tuple[Block, ...]:
    """Copies left over sigma_n, by the authors' rule and by Algorithm 1."""
    lines = []
    for rule in ("levels first", "rows first"):
        kept = [level for level in LEVELS if f"ambient {level:g}, {rule}" in names]
        if kept:
            lines.append(curve(rule, kept, [left(rows, f"ambient {level:g}, {rule}") for level in kept]))
    return (left_by_level(lines, "by level"),) if lines else ()


def left_by_level(lines: Sequence[Curve], by: str) -> Block:
    """What ambient training leaves of the copies over sigma_n, some lines of it."""
    return curves(
        lines,
        x_label="sigma_n",
        y_label="copies / copies of the baseline",
        log_x=True,
        y_limits=(0, None),
        caption=f"What ambient training leaves of the baseline's copies, {by}; 95 % intervals over seeds.",
        alt="Copies left over the level of ambient training.",
    )
