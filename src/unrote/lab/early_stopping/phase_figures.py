"""The phase diagram: quality and copying over steps and pictures in one grid, with measured and foretold borders."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from unrote.lab.claims import Row
from unrote.lab.early_stopping.law_figures import by_size, laws, onset_lines, over_sizes
from unrote.lab.early_stopping.law_rules import Definition, at_stop
from unrote.lab.early_stopping.phase_rules import GOOD, SMALL, learned, learning_law, line_of
from unrote.measure.estimate import estimate
from unrote.measure.power_law import over_seeds
from unrote.report.blocks import Block, Column, Table
from unrote.report.format import percent, quantity
from unrote.report.heat import Layer, Route, layers
from unrote.report.plots import Curve, curves

APART = Definition("relative", 1.0, "averaged")
COPIED = Definition("copies", 0.05, "averaged")
SHOWN = (
    Definition("relative", 0.5, "averaged"),
    APART,
    Definition("relative", 1.0, "raw"),
    Definition("gap", 0.2, "averaged"),
    Definition("copies", 0.01, "averaged"),
    COPIED,
)
LEARNED = f"Frechet distance {GOOD:g}"


def show(rows: Sequence[Row]) -> tuple[Block, ...]:
    """The diagram, its borders on axes, and tables."""
    return (
        diagram(rows),
        *borders(rows),
        dynamics(rows),
        laws(rows, "Borders", SHOWN),
        learning(rows),
        windows(rows),
    )


def known(rows: Sequence[Row], key: str) -> list[float]:
    """The mean over seeds at every checkpoint that all seeds of one size reached."""
    reached = min(len(row["result"]["steps"]) for row in rows)
    values = [row["result"]["averaged"][key][:reached] for row in rows]
    return torch.tensor(values, dtype=torch.float64).mean(0).tolist()  # type: ignore[no-any-return]


def diagram(rows: Sequence[Row]) -> Block:
    """Figure 6, measured: colour for quality, covered by another as copies appear."""
    sizes = by_size(rows)
    steps = max((row["result"]["steps"] for row in rows), key=len)
    samples = rows[0]["configuration"]["samples"]
    quality: dict[tuple[int, int], float | None] = {}
    copies: dict[tuple[int, int], float | None] = {}
    top = {size: place for place, size in enumerate(reversed(sizes))}
    for size, some in sizes.items():
        for column, value in enumerate(known(some, "frechet")):
            quality[column, top[size]] = value
        for column, value in enumerate(known(some, "copies")):
            copies[column, top[size]] = value / samples
    return layers(
        Layer("Frechet distance", quality, (200.0, 2.0), True, quantity),
        Layer("samples that are copies", copies, (0.0, 0.4), False, percent),  # type: ignore[arg-type]
        across=[f"{step:,}" for step in steps],
        down=[str(size) for size in top],
        x_label="step",
        y_label="P, training pictures",
        caption="Quality and copying, averaged weights, means over seeds. The stronger the first colour, the smaller "
        "the Frechet distance of the samples to test pictures; the second covers it as samples become copies. "
        f"Lines: steps proportional to P, drawn through P up to {SMALL} and no further, and the step at which the "
        f"Frechet distance is {GOOD:g}. Empty: runs had ended.",
        alt="A grid of training steps and training-set sizes, coloured by quality and by copying, with border lines.",
        routes=[route for route in routes(rows, steps, top) if route is not None],
    )


def routes(rows: Sequence[Row], steps: Sequence[int], top: dict[int, int]) -> list[Route | None]:
    """Lines of the theory: proportional borders through the small sizes, and one time to learn for all."""
    times = [learned(row) for row in rows]
    typical = over_seeds(times).value
    return [
        route("losses part, tau = a P", line_of(rows, APART), 1, steps, top),
        route("5 % are copies, tau = a P", line_of(rows, COPIED), 1, steps, top),
        route("samples are good, tau constant", typical, 0, steps, top),
    ]


def route(
    name: str, constant: float | None, power: int, steps: Sequence[int], top: dict[int, int]
) -> Route | None:
    """tau = constant P^power in columns and rows, as far as the columns go."""
    if constant is None:
        return None
    x, y = [], []
    for k in range(20 * len(top) + 1):
        row = -0.5 + k / 20
        if row > len(top) - 0.5:
            break
        column = place_of(constant * size_at(row, top) ** power, steps)
        if -0.5 <= column <= len(steps) - 0.5:
            x.append(column)
            y.append(row)
    return Route(name, x, y) if x else None


def size_at(row: float | int, top: dict[int, int]) -> float:
    """P at a fraction of a row: sizes lie in geometric progression."""
    sizes = list(top)
    ratio = sizes[0] / sizes[1] if len(sizes) > 1 else 2.0
    return float(sizes[0] * ratio**-row)


def place_of(step: float | int, steps: Sequence[int]) -> float:
    """A step as a fraction of a column, straight on the logarithmic axis, beyond the ends as well."""
    k = min(max(sum(one <= step for one in steps) - 1, 0), len(steps) - 2)
    return k + math.log(step / steps[k]) / math.log(steps[k + 1] / steps[k])


def borders(rows: Sequence[Row]) -> tuple[Block, ...]:
    """Onsets and the time to learn over P."""
    times = {d.words: d.onset for d in (SHOWN[0], APART, SHOWN[4], COPIED)}
    lines = onset_lines(rows, times | {LEARNED: learned})
    return over_sizes(
        lines, "Borders of the diagram: when losses part, when samples are copies, when they are good."
    )


def dynamics(rows: Sequence[Row]) -> Block:
    """Frechet distances over the steps."""
    lines = []
    for size, some in by_size(rows).items():
        distance = known(some, "frechet")
        lines.append(Curve(f"P = {size}", some[0]["result"]["steps"][: len(distance)], distance))
    return curves(
        lines,
        x_label="step",
        y_label="Frechet distance to test pictures",
        log_x=True,
        log_y=True,
        caption="Quality over training, averaged weights, means over seeds.",
        alt="Frechet distance over training steps, one line for each size of the training set.",
    )


def learning(rows: Sequence[Row]) -> Table:
    """The exponent of the time to learn."""
    law = learning_law(rows)
    reached = sum(learned(row).value is not None for row in rows)
    cells = ((LEARNED, f"{reached} of {len(rows)}", None if law is None else law.exponent),)
    columns = (Column("time to learn"), Column("runs that reached it"), Column("exponent b", quantity))
    return Table(columns, cells, "tau = a P^b, 95 % intervals")


def windows(rows: Sequence[Row]) -> Table:
    """What is reached before the losses part, at every size."""
    cells = []
    for size, some in by_size(rows).items():
        cells.append(
            (
                str(size),
                *(
                    estimate(torch.tensor(at_stop(some, key), dtype=torch.float64))
                    for key in ("frechet", "validation")
                ),
                sum(at_stop(some, "copies")) / (some[0]["configuration"]["samples"] * len(some)),
                over_seeds([COPIED.onset(row) for row in some]),
            )
        )
    columns = (
        Column("P"),
        Column("Frechet distance", quantity),
        Column("test loss", quantity),
        Column("copies", percent),  # type: ignore[arg-type]
        Column("step at which 5 % are copies", quantity),
    )
    return Table(columns, tuple(cells), "At the last checkpoint with a relative gap of losses up to 1")
