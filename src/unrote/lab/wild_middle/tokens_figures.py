"""Drawings of the danger zone of strings: curves of the geometry, what is known by level, swaps, gaps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from unrote.contracts import Estimate
from unrote.lab.claims import Row
from unrote.lab.wild_middle.tokens_rules import (
    at_equal_copies,
    copies,
    index_of,
    left,
    left_by,
    mean,
    measured,
    of,
    turn,
)
from unrote.lab.wild_middle.tokens_runs import CURES, PARTS, PLAIN
from unrote.report.blocks import Block, Column, Table
from unrote.report.format import percent, quantity
from unrote.report.plots import Curve, curves


def show(rows: Sequence[Row]) -> tuple[Block, ...]:
    """Every process: its curves, its levels, its swaps, its gaps."""
    found: list[Block] = []
    for way in dict.fromkeys(row["configuration"]["way"] for row in rows):
        plain = of(rows, way)
        if plain:
            found += [geometry(plain, way), known(plain, way), looks(plain, way), handing_over(plain, way)]
            found += [levels(plain, way), windows(plain, way)]
        found.append(gaps(rows, way))
    return tuple(found)


def line(rows: Sequence[Row], name: str, levels: Sequence[float], values: Callable[[Row], Any]) -> Curve:
    """A mean over seeds with its interval."""
    found = [mean(one) for one in zip(*map(values, rows), strict=True)]
    whole = all(one.low is not None for one in found)
    ends = ([one.low for one in found], [one.high for one in found]) if whole else (None, None)
    return Curve(name, list(levels), [one.value for one in found], *ends)


def column(part: str, key: str) -> Callable[[Row], Any]:
    """A curve that a run has."""
    return lambda row: row["result"][part][key]


def geometry(rows: Sequence[Row], way: str) -> Block:
    """Weight, coverage and the weight of the language."""
    names = {"own": "weight of the string", "covered": "coverage", "language": "weight in the language"}
    told = rows[0]["result"]["geometry"]["levels"]
    return curves(
        [line(rows, said, told, column("geometry", key)) for key, said in names.items()],
        x_label="share of destroyed tokens t",
        y_label="share",
        show_y=percent,
        caption=f"{way}: before training. Mean weight of the string itself among the training strings and in the whole "
        "language, and the share of noisy fresh strings that a training string explains as well.",
        alt="Three curves over the level: weights fall, coverage rises.",
    )


def known(rows: Sequence[Row], way: str) -> Block:
    """What the model knows of its strings beyond the language, and what there is to know."""
    told = rows[0]["result"]["probe"]["levels"]
    names = {"known": "the model knows", "most": "by heart"}
    return curves(
        [line(rows, said, told, column("probe", key)) for key, said in names.items()],
        x_label="share of destroyed tokens t",
        y_label="nats a token",
        caption=f"{way}: KL(heart | exact) - KL(heart | model) on noisy training strings, and KL(heart | exact).",
        alt="Two curves over the level with a peak in the middle.",
    )


def looks(rows: Sequence[Row], way: str) -> Block:
    """Copies by one look at a noisy fresh string: Figure 2 of the paper."""
    told = rows[0]["result"]["probe"]["levels"]
    names = {"model": "the model", "heart": "by heart", "exact": "the language"}
    return curves(
        [line(rows, said, told, column("probe", key)) for key, said in names.items()],
        x_label="share of destroyed tokens t",
        y_label="outputs that are training strings",
        show_y=percent,
        caption=f"{way}: likeliest tokens after one look at a noisy fresh string.",
        alt="Copies of single steps over the level, three denoisers.",
    )


def handing_over(rows: Sequence[Row], way: str) -> Block:
    """Copies where model and language share the levels."""
    told = rows[0]["result"]["swap"]["turns"]

    def share(row: Row, which: str) -> list[float]:
        swap = row["result"]["swap"]
        return [one[0] / swap["count"] for one in swap[which]]

    return curves(
        [
            line(rows, "model above, language below", told, lambda row: share(row, "above")),
            line(rows, "language above, model below", told, lambda row: share(row, "below")),
        ],
        x_label="level at which one hands over to the other",
        y_label="samples that are copies",
        show_y=percent,
        caption=f"{way}: samples of which the levels above a level are denoised by one and those below by the other.",
        alt="Copies over the level of handing over, one curve falls, the other rises.",
    )


def levels(rows: Sequence[Row], way: str) -> Table:
    """Levels that the geometry foretells, and those that were measured."""

    def half(name: str) -> Estimate:
        return mean([row["result"]["geometry"]["half"][name] for row in rows])

    def ends(of_row: Callable[[Row], Sequence[float] | None]) -> tuple[Estimate, Estimate]:
        found = [of_row(row) for row in rows]
        first, last = (mean([None if one is None else one[i] for one in found]) for i in (0, 1))
        return first, last

    turned = {which: mean([turn(row, which) for row in rows]) for which in ("above", "below")}
    fits = [mean([index_of(name)(row) for row in rows]) for name in ("danger", "images")]
    crossing, height = (mean([row["result"]["geometry"][k] for row in rows]) for k in ("crossing", "height"))
    cells: list[tuple[str, Estimate | None, Estimate | None]] = [
        ("language's weight 1/2; model above hands over, half of copies", half("language"), turned["above"]),
        ("coverage 1/2; model below takes over, half of the copies", half("covered"), turned["below"]),
        ("weight among the training strings 1/2", half("weight"), None),
        ("crossing of weight and coverage; its height", crossing, height),
        ("danger zone, from and to", *ends(lambda row: row["result"]["geometry"]["danger"])),
        ("zone by the thresholds of images", *ends(lambda row: row["result"]["geometry"]["images"])),
        ("the model knows half of its peak, from and to", *ends(measured)),
        ("Jaccard index of both zones with that", fits[0], fits[1]),
    ]
    columns = (Column("level t"), Column("foretold, or from", quantity), Column("measured, or to", quantity))
    return Table(columns, tuple(cells), f"{way}: levels, mean over seeds with 95 % intervals", sortable=False)


def windows(rows: Sequence[Row], way: str) -> Table:
    """Table 1 of the paper for strings."""
    cells: list[tuple[str | Estimate, ...]] = [
        (part, *(mean([left_by(direction, part)(row) for row in rows]) for direction in ("away", "into")))
        for part in PARTS
    ]
    columns = (
        Column("part of the levels"),
        Column("the language takes it, share of the copies left", quantity),
        Column("the model takes it alone", quantity),
    )
    return Table(
        columns, tuple(cells), f"{way}: swaps below, within and above the danger zone", sortable=False
    )


def gaps(rows: Sequence[Row], way: str) -> Table:
    """Every gap: where it lies, what is left of copying, and what else is lost."""
    plain = {row["configuration"]["seed"]: row for row in of(rows, way)}
    cells: list[tuple[str | Estimate | None, ...]] = []
    for cure in CURES:
        mine = of(rows, way, cure)
        if not mine:
            continue
        lost = [row["result"]["excess"][-1] for row in mine]
        stopped = [
            at_equal_copies(plain[row["configuration"]["seed"]], row["result"]["copies"][-1], "excess")
            if row["configuration"]["seed"] in plain
            else None
            for row in mine
        ]
        cells.append(
            (
                cure,
                places(mine),
                mean([row["result"]["share"] for row in mine]),
                mean(list(copies(rows, way, cure).values())),
                None if cure == PLAIN else left(rows, way, cure),
                mean([row["result"]["valid"][-1] / row["configuration"]["samples"] for row in mine]),
                mean(lost),
                None if cure == PLAIN else mean(stopped),
            )
        )
    names = ("share of the law", "copies", "share left", "valid", "excess, nats", "baseline stopped: excess")
    columns = (Column("training"), Column("gap, t"), *(Column(name, quantity) for name in names))
    return Table(columns, tuple(cells), f"{way}: gaps at equal steps, mean over seeds", sortable=False)


def places(rows: Sequence[Row]) -> str:
    """Ends of a gap, mean over seeds."""
    found = [row["result"]["gap"] for row in rows if row["result"]["gap"] is not None]
    if not found:
        return ""
    low, high = (sum(one[i] for one in found) / len(found) for i in (0, 1))
    return f"{low:.2f} to {high:.2f}"
