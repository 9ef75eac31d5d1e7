"""The drawings of Figures 2, 6 and 7."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from unrote.contracts import Estimate
from unrote.lab.claims import Row
from unrote.lab.crossover.drawing import over_seeds, seeds_in_words
from unrote.lab.crossover.learned import CRITERION, FACTORS
from unrote.report.blocks import Block, Column, Table
from unrote.report.canvas import Interval
from unrote.report.format import Value, percent, quantity
from unrote.report.plots import curves

NAMES = {"lloyd": "the paper's optimiser (Lloyd)", "ward": "the objective's best (Ward)"}


def show(rows: Sequence[Row]) -> tuple[Block, ...]:
    """Ratio, losses and parameters over M, and the transition of every seed."""
    asked = rows[0]["configuration"]
    share = [size / asked["N"] for size in asked["sizes"]]
    return (
        ratio_figure(rows, share),
        *loss_figures(rows, share),
        *parameter_figures(rows, share),
        places(rows),
    )


def ratio_figure(rows: Sequence[Row], share: Sequence[float]) -> Block:
    """Figure 2, left (and Figure 7): the memorization ratio."""
    at = FACTORS.index(CRITERION)
    lines = []
    for solver, words in NAMES.items():
        found = [row["result"][solver] for row in rows]
        table = torch.tensor(
            [[c[at] / f["samples"] for c in f["copies"]] for f in found], dtype=torch.float64
        )
        lines.append(over_seeds(words, share, table))
    first, N = rows[0]["result"]["lloyd"]["transition"][at], rows[0]["configuration"]["N"]
    ends = [first[key]["value"] for key in ("start", "end")]
    marked = () if None in ends else (Interval(ends[0] / N, ends[1] / N, "transition"),)
    return curves(
        lines,
        x_label="model size M / N",
        y_label="samples that are copies",
        show_y=percent,
        y_limits=(0, 1),
        intervals=marked,
        caption=f"{seeds_in_words(len(rows))}. Shaded: ratios from 0.1 to 0.9, Lloyd, first seed. The ratio "
        "depends on which minimum is reached: the best solution of the objective memorizes at smaller sizes than the "
        "one that the paper's optimiser finds.",
        alt="Both curves rise from zero to one between about two thirds of N and N; Ward's lies to the left.",
    )


def loss_figures(rows: Sequence[Row], share: Sequence[float]) -> tuple[Block, ...]:
    """Figure 2, middle and right: training and test loss."""
    drawn = []
    for which, words in enumerate(("training", "test")):

        def table(*path: str, which: int = which) -> Float[Tensor, "R S"]:
            found = []
            for row in rows:
                here = row["result"]
                for key in path:
                    here = here[key]
                found.append(
                    [pair[which] for pair in here]
                    if isinstance(here[0], list)
                    else [here[which]] * len(share)
                )
            return torch.tensor(found, dtype=torch.float64)

        lines = [over_seeds(f"learned, {solver}", share, table(solver, "losses")) for solver in NAMES]
        lines += [
            over_seeds(name, share, table(key))
            for name, key in (("true law", "law"), ("memorizing", "memorizing"))
        ]
        lines += [over_seeds("partially memorizing", share, table("partial"))]
        drawn.append(
            curves(
                lines,
                x_label="model size M / N",
                y_label=f"{words} loss at t = 0.360",
                log_y=which == 1,
                caption=f"{words.capitalize()} loss at t = 0.360, psi = 6.70.",
                alt=f"{words} loss of learned, true, memorizing and partially memorizing denoisers over the model size",
            )
        )
    return tuple(drawn)


def parameter_figures(rows: Sequence[Row], share: Sequence[float]) -> tuple[Block, ...]:
    """Figure 6: learned variance, and distances of learned means to data and to true means."""
    d = rows[0]["configuration"]["d"]

    def table(solver: str, key: str) -> Float[Tensor, "R S"]:
        return torch.tensor([row["result"][solver][key] for row in rows], dtype=torch.float64)

    variance = curves(
        [over_seeds(words, share, table(solver, "distortion") / d) for solver, words in NAMES.items()],
        x_label="model size M / N",
        y_label="learned variance",
        caption="The learned variance D2/d falls about linearly to 0; it does not collapse at the transition.",
        alt="Learned variance over model size: two nearly straight falling lines.",
    )
    lines = []
    for solver in NAMES:
        lines.append(over_seeds(f"to the data, {solver}", share, table(solver, "to_data")))
        lines.append(over_seeds(f"to true means, {solver}", share, table(solver, "to_means")))
    distance = curves(
        lines,
        x_label="model size M / N",
        y_label="mean distance of learned means",
        caption="Learned means move from the true means to the data, steadily, with no jump at the transition.",
        alt="Distances of learned means to the data fall, those to the true means rise.",
    )
    return (variance, distance)


def places(rows: Sequence[Row]) -> Block:
    """Start, middle and end of the transition for every seed and solver."""
    at = FACTORS.index(CRITERION)
    cells: list[tuple[Value, ...]] = []
    for row in rows:
        for solver, words in NAMES.items():
            found = row["result"][solver]["transition"][at]
            cells.append(
                (
                    f"{words}, seed {row['configuration']['seed']}",
                    *(Estimate(**found[key]) for key in ("start", "half", "end")),
                )
            )
    columns = (Column("model"), *(Column(word, quantity) for word in ("M at 0.1", "M_pt", "M at 0.9")))
    return Table(columns, tuple(cells), "The transition in model sizes M, with intervals from the samples")
