"""The drawings of the honest test."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from unrote.contracts import Estimate
from unrote.lab.claims import Row
from unrote.lab.crossover.learned import CRITERION, FACTORS, half
from unrote.report.blocks import Block, Column, Table
from unrote.report.format import quantity
from unrote.report.plots import Curve, clouds, curves

NAMES = {"lloyd": "the paper's optimiser (Lloyd)", "ward": "the objective's best (Ward)"}


def show(rows: Sequence[Row]) -> tuple[Block, ...]:
    """Predictions against measurements for both solvers, the criterion's part, and every setting in numbers."""
    return (*(against(rows, solver, words) for solver, words in NAMES.items()), strictness(rows), table(rows))


def against(rows: Sequence[Row], solver: str, words: str) -> Block:
    """What was predicted over what was measured, one point for each setting and seed."""
    at = FACTORS.index(CRITERION)
    seen = [(row, half(row["result"][solver]).value, row["configuration"]["N"]) for row in rows]
    there = [(row, value / n, n) for row, value, n in seen if value is not None]
    x = [value for _, value, _ in there]

    def said(values: Sequence[float | None]) -> list[float | None]:
        return [None if v is None else v / n for v, (_, _, n) in zip(values, there, strict=True)]

    return clouds(
        (
            Curve("crossover of the losses", x, said([row["result"]["crossover"] for row, _, _ in there])),
            Curve(
                "geometry of the clusters",
                x,
                said([row["result"][solver]["geometry"][at] for row, _, _ in there]),
            ),
            Curve("four fifths of N", x, [0.8] * len(x)),
        ),
        x_label="measured M_pt / N",
        y_label="predicted M / N",
        diagonal=True,
        caption=f"Predictions without any fitting against what {words} does, over settings in which the crossover can "
        "be wrong. A good prediction lies on the dashed line.",
        alt="Predicted over measured transition for three rules.",
    )


def strictness(rows: Sequence[Row]) -> Block:
    """M_pt over the factor of the definition of a copy."""
    lines = []
    for solver, words in NAMES.items():
        means: list[float | None] = []
        for factor in FACTORS:
            found = [half(row["result"][solver], factor).value for row in rows]
            shares = [
                v / row["configuration"]["N"] for v, row in zip(found, rows, strict=True) if v is not None
            ]
            means.append(sum(shares) / len(shares) if shares else None)
        lines.append(Curve(words, list(FACTORS), means))
    return curves(
        lines,
        x_label="second over first distance of a copy",
        y_label="mean M_pt / N",
        caption="The crossover of the losses knows nothing of how a copy is defined. The transition does.",
        alt="Mean transition over the factor in the definition of a copy.",
    )


def table(rows: Sequence[Row]) -> Block:
    """Every setting: measured and predicted, mean over seeds."""
    from unrote.lab.crossover.prediction import by_crossover, by_fit, by_geometry, errors, name
    from unrote.measure.estimate import estimate

    names = list(dict.fromkeys(name(row["configuration"]) for row in rows))
    cells: list[list[str | Estimate | None]] = [[one] for one in names]
    for solver in NAMES:
        for index, one in enumerate(names):
            found = [
                (half(row["result"][solver]).value, row["configuration"]["N"])
                for row in rows
                if name(row["configuration"]) == one
            ]
            values = torch.tensor([v / n for v, n in found if v is not None], dtype=torch.float64)
            cells[index].append(estimate(values) if len(values) else None)
        for predict in (by_crossover, by_geometry(solver), by_fit):
            wrong = errors(rows, solver, predict).nanmean(1)
            for index, value in enumerate(wrong.tolist()):
                cells[index].append(Estimate(value, None, None, len(rows) // len(names)))
    heads = [
        f"{solver}: {words}"
        for solver in NAMES
        for words in ("M_pt/N", "crossover's error", "geometry's error", "4/5's error")
    ]
    columns = (Column("setting"), *(Column(head, quantity) for head in heads))
    return Table(
        columns,
        tuple(tuple(row) for row in cells),
        "Measured transitions and errors of the predictions, mean over seeds",
    )
