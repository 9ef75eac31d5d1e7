"""The drawings of Figure 3."""

from __future__ import annotations

from collections.abc import Sequence

from unrote.lab.claims import Row
from unrote.lab.crossover.learned import SOLVERS, half
from unrote.lab.crossover.settings import TIMES
from unrote.report.blocks import Block, Column, Table, Text
from unrote.report.format import quantity
from unrote.report.plots import Curve, clouds, curves


def show(rows: Sequence[Row]) -> tuple[Block, ...]:
    """M_pt over N, and three weightings that say the same."""
    from unrote.lab.crossover.sweep import fits, seeds_of

    points = []
    for index, solver in enumerate(SOLVERS):
        found = [
            (row["configuration"]["N"] + 8 * index - 4, half(row["result"][solver]).value) for row in rows
        ]
        points.append(Curve(solver, [n for n, _ in found], [m for _, m in found]))
    linear = clouds(
        points,
        x_label="training points N",
        y_label="M_pt",
        caption="Every triple (N, d, K) and seed: the model size at which half of the samples are copies. The two "
        "solvers are set apart a little.",
        alt="M_pt rises along two straight lines, Ward's below Lloyd's.",
    )
    if len(rows) < 8:
        return (linear,)
    made = fits(rows, "lloyd", seeds_of(rows)[0])
    times = TIMES.flip(0).tolist()
    weightings = curves(
        [
            Curve(f"from {name}", times, (fit.weight / fit.weight.sum()).flip(0).tolist())
            for name, fit in made.items()
        ],
        x_label="time t",
        y_label="fitted weighting, normalised",
        caption="The regression of eq (30) from three starts. The weightings have little in common but E[t^2], and so "
        "the same crossover: the fit cannot tell them apart, and would fit any law of the form M_pt = const N.",
        alt="Three different weightings over time.",
    )
    table = Table(
        (
            Column("start"),
            *(Column(w, quantity) for w in ("E[t^2]", "crossover M*/N", "train error", "test error")),
        ),
        tuple((name, fit.spread, fit.predicted, fit.train, fit.test) for name, fit in made.items()),
        "The three fits (first seed; mean squared error of M/N)",
    )
    words = Text(
        (
            "With variance 1 and this schedule 1/(1 + psi) = t^2, so the crossover is M*/N = 1 - E[t^2]/C whatever N, "
            "d and K are: the one number that the regression finds is E[t^2].",
        )
    )
    return (linear, words, weightings, table)
