"""Drawings of training with classes: Table 1, copies against quality, copies left by level."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from unrote.contracts import Estimate
from unrote.lab.ambient.classes_rules import of_size
from unrote.lab.ambient.classes_runs import CURES, PLAIN, RATES
from unrote.lab.ambient.front_figures import left_by_level
from unrote.lab.claims import Row
from unrote.lab.wild_middle.gap_figures import curve, present, track
from unrote.lab.wild_middle.gap_rules import last, left, of
from unrote.measure.estimate import estimate
from unrote.report.blocks import Block, Column, Part, Table
from unrote.report.format import quantity
from unrote.report.planes import plane

SHARES = ("copies", *RATES)


def shown(key: str, words: str) -> Callable[[Sequence[Row]], tuple[Block, ...]]:
    """Every figure that the runs at hand allow, one part for each size.

    Args:
        key: of the size in configurations.
        words: what it counts, for instance "images a class".
    """

    def show(rows: Sequence[Row]) -> tuple[Block, ...]:
        sizes = sorted({row["configuration"][key] for row in rows})
        parts = [(size, of_size(rows, key, size)) for size in sizes]
        parts = [(size, mine) for size, mine in parts if PLAIN in present(mine)]
        if not parts:
            return ()
        each = [Part(f"{size:,} {words}", (paths(mine), thresholds(mine))) for size, mine in parts]
        return (table(parts, words), *by_level(parts, words), *each)

    return show


def mean(values: Sequence[float]) -> Estimate:
    """The mean over seeds with its interval."""
    return estimate(torch.tensor(values, dtype=torch.float64))


def table(parts: Sequence[tuple[int, list[Row]]], words: str) -> Table:
    """Table 1: everything at the end, by number of images and remedy, and what fresh pictures get."""
    cells: list[tuple[Any, ...]] = []
    for each, mine in parts:
        for name in present(mine):
            shares = [mean(last(mine, name, key)) for key in SHARES]
            losses = [mean(last(mine, name, key)) for key in ("frechet", "held_out", "excess")]
            cells.append((f"{each:,}: {name}", shares[0], left(mine, name, PLAIN), *shares[1:], *losses))
        fresh = [mean([row["result"]["fresh"][key] for row in of(mine, PLAIN)]) for key in SHARES]
        cells.append((f"{each:,}: fresh pictures", fresh[0], None, *fresh[1:], None, None, None))
    columns = (
        Column(f"{words}: training"),
        Column("copies", quantity),
        Column("of the baseline's", quantity),
        *(Column(name, quantity) for name in RATES),
        Column("Frechet distance", quantity),
        Column("held-out loss", quantity),
        Column("less training loss", quantity),
    )
    caption = (
        "Table 1 in kind, at the end of training: means over seeds with 95 % intervals. Similar: samples whose nearest "
        "training picture is more similar than that of all but 10 %, 1 % or none of the fresh pictures."
    )
    return Table(columns, tuple(cells), caption)


def by_level(parts: Sequence[tuple[int, list[Row]]], words: str) -> tuple[Block, ...]:
    """What each level leaves of the copies, one line for each number of images."""
    lines = []
    for each, mine in parts:
        names = [name for name in present(mine) if CURES[name] > 0]
        if names:
            found = [left(mine, name, PLAIN) for name in names]
            lines.append(curve(f"{each:,} {words}", [CURES[name] for name in names], found))
    return (left_by_level(lines, "by level and number of images"),) if lines else ()


def paths(rows: Sequence[Row]) -> Block:
    """Training as a path through quality and copies."""
    return plane(
        [track(rows, name) for name in present(rows)],
        x_label="Frechet distance to test pictures",
        y_label="samples that are copies",
        place_label="step",
        log_x=True,
        caption="Training as a path: small points are checkpoints, large ones the end. Means over seeds with 95 % "
        "intervals.",
        alt="Copy ratio against Frechet distance over training, one line for each level.",
    )


def thresholds(rows: Sequence[Row]) -> Table:
    """What the thresholds of similarity are, and how good the classifier is whose features they are in."""
    plain = of(rows, PLAIN)
    cells = [
        (name, mean([row["result"]["thresholds"][name] for row in plain]), mean_fresh(plain, name))
        for name in RATES
    ]
    right = plain[0]["result"]["accuracy"]
    words = (
        "Thresholds of the cosine in features, set by what fresh pictures reach, one for each seed; the classifier is "
        f"right in {right:.0%} of pictures of its own set that it never saw"
    )
    return Table(
        (Column("measure"), Column("similarity above", quantity), Column("fresh pictures above", quantity)),
        tuple(cells),
        words,
    )


def mean_fresh(plain: Sequence[Row], name: str) -> Estimate:
    """The share of fresh pictures above a threshold."""
    return mean([row["result"]["fresh"][name] for row in plain])
