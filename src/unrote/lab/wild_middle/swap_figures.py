"""Drawings of swaps: Table 1, samples of every swap (digits alone), and the map of all windows."""

from __future__ import annotations

from collections.abc import Sequence

from unrote.contracts import Estimate
from unrote.lab.claims import Row
from unrote.lab.wild_middle.levels_claims import mean, of
from unrote.lab.wild_middle.levels_figures import names_of, words_of
from unrote.lab.wild_middle.pairs import DIRECTIONS, STEPS, unpacked, window_key
from unrote.lab.wild_middle.swap import PARTS, WINDOWS, by_chance, meets, reach, shortest
from unrote.noise.levels import edm_levels
from unrote.report.blocks import Block, Column, Exhibit, Gallery, Part, Picture, Table
from unrote.report.format import percent, quantity
from unrote.report.plots import Curve, curves
from unrote.sample.windows import Window

TOLD = {"away": "few, within the window many", "into": "many, within the window few"}
LENGTHS = (1, 2, 3, 4, 6, 8)
"""Lengths of windows that have a line of their own in the map."""


def table(rows: Sequence[Row], words: str) -> Block:
    """Table 1: copies and distances of every swap, mean over seeds."""
    cells = []
    for direction in DIRECTIONS:
        cells.append((f"{TOLD[direction]}: no swap", "", *numbers(rows, direction, None, None)))
        for windows in WINDOWS:
            if all(windows in row["result"]["swap"]["windows"] for row in rows):
                cells += [
                    (
                        f"{TOLD[direction]}: {windows}, {part}",
                        places(rows, windows, part),
                        *numbers(rows, direction, windows, part),
                    )
                    for part in PARTS
                ]
    columns = (
        Column("samples of"),
        Column("indices from 0, sigma"),
        Column("copies", quantity),
        Column("Frechet distance", quantity),
    )
    return Table(
        columns,
        tuple(cells),
        f"{words}: samples by Euler's {STEPS} steps; mean over seeds, its interval",
        sortable=False,
    )


def places(rows: Sequence[Row], windows: str, part: str) -> str:
    """The window of a swap: indices and levels, or how the seeds differ."""
    levels = edm_levels(STEPS).tolist()
    found = {window_key(row["result"]["swap"]["windows"][windows][part]) for row in rows}
    if len(found) > 1:
        return " or ".join(sorted(found))
    key = found.pop()
    if key == "none":
        return "no level"
    first, last = map(int, key.split("-"))
    return f"{key}, {levels[first]:.3g} to {levels[last]:.2g}"


def numbers(
    rows: Sequence[Row], direction: str, windows: str | None, part: str | None
) -> tuple[Estimate, Estimate | None]:
    """Copies and Frechet distance of one swap, mean over seeds."""
    copies, distances = [], []
    for row in rows:
        told = row["result"]["swap"]
        key = "none" if windows is None else window_key(told["windows"][windows][part])
        one = told[direction][key]
        copies.append(one["copies"] / told["count"])
        distances.append(None if one["distance"] is None else one["distance"]["value"])
    known = [value for value in distances if value is not None]
    return mean(copies), mean(known) if len(known) == len(rows) else None


def lengths(rows: Sequence[Row], words: str, direction: str, entry: int, label: str) -> Block:
    """The map of all windows: one line for each length, over the first level of the window."""
    levels = edm_levels(STEPS).tolist()
    series = []
    for length in LENGTHS:
        firsts = range(STEPS - length + 1)
        values = []
        for first in firsts:
            key = window_key(Window(first, first + length - 1))
            found = [row["result"]["map"][direction][key][entry] for row in rows]
            scale = rows[0]["result"]["map"]["count"] if entry == 0 else 1
            known = [value / scale for value in found if value is not None]
            values.append(sum(known) / len(known) if len(known) == len(found) else None)
        x = [levels[first] for first in firsts]
        series.append(Curve(f"{length} level{'s' if length > 1 else ''}", x[::-1], values[::-1]))
    return curves(
        series,
        x_label="first level of the window, sigma",
        y_label=label,
        log_x=True,
        show_y=percent if entry == 0 else quantity,  # type: ignore[arg-type]
        caption=f"{words}: samples of the network of {TOLD[direction]}; one line for each length of the window, mean "
        f"over {len(rows)} seed{'s' if len(rows) > 1 else ''}.",
        alt=f"{label} over the place of the window, one line for each length.",
    )


def whole_map(rows: Sequence[Row], words: str) -> tuple[Block, ...]:
    """Copies and quality of every window in both directions, and the shortest window that stops copying."""
    mine = [row for row in rows if "map" in row["result"]]
    if not mine:
        return ()
    drawn = [lengths(mine, words, direction, 0, "copies") for direction in DIRECTIONS]
    if all(row["result"]["map"]["away"]["none"][1] is not None for row in mine):
        drawn += [lengths(mine, words, direction, 1, "Frechet distance") for direction in DIRECTIONS]
    cells = []
    for row in mine:
        found, zone = shortest(row), row["result"]["geometry"]["danger"]
        low, high = (None, None) if found is None else reach(found)
        cells.append(
            (
                f"seed {row['configuration']['seed']}",
                window_key(found),
                None if low is None else f"{low:.2g} to {high:.3g}",
                None if zone is None else f"{zone[0]:.2f} to {zone[1]:.2f}",
                "yes" if meets(found, zone) else "no",
                by_chance(row),
            )
        )
    columns = (
        *map(Column, ("run", "shortest window", "reaches, sigma", "danger zone", "meets it")),
        Column("windows of this length that do", percent),  # type: ignore[arg-type]
    )
    return (
        *drawn,
        Table(columns, tuple(cells), f"{words}: the shortest window whose swap leaves a tenth of the copies"),
    )


def samples(rows: Sequence[Row], words: str) -> tuple[Block, ...]:
    """Figure 10: samples of every swap from the same noise, from the run that kept them."""
    shown = [row["result"]["shown_samples"] for row in rows if "shown_samples" in row["result"]]
    if not shown:
        return ()
    groups = tuple(
        Exhibit(
            tuple(Picture(unpacked(one), str(index)) for index, one in enumerate(pictures)),
            f"{TOLD[direction]}: {'no swap' if part == 'none' else part}",
        )
        for direction, parts in shown[0].items()
        for part, pictures in parts.items()
    )
    return (
        Gallery(
            groups, f"{words}: samples of every swap; windows counted from 0, the same noise in each place."
        ),
    )


def show(rows: Sequence[Row]) -> tuple[Block, ...]:
    """Table, samples and map of every pair."""
    found: list[Block] = []
    for name in names_of(rows):
        mine, words = of(rows, name), words_of(name)
        found.append(
            Part(f"Swaps: {words}", (table(mine, words), *samples(mine, words), *whole_map(mine, words)))
        )
    return tuple(found)
