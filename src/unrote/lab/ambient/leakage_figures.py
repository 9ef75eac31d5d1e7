"""The drawings of the leakage of draws."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from unrote.lab.claims import Row
from unrote.lab.crossover.drawing import over_seeds, seeds_in_words
from unrote.report.blocks import Block
from unrote.report.plots import Curve, curves


def show(rows: Sequence[Row]) -> tuple[Block, ...]:
    """Information over the number of draws: of one point, and of a data set."""
    return (of_a_point(rows), of_a_set(rows))


def of_a_point(rows: Sequence[Row]) -> Block:
    """Simulated, corrected, printed, ambient, at sigma_n = 0.5."""
    asked, first = rows[0]["configuration"], rows[0]["result"]
    draws, at = [float(m) for m in asked["draws"]], asked["times"].index(0.5)
    seen = torch.tensor([row["result"]["looks"][at] for row in rows], dtype=torch.float64)
    return curves(
        (
            over_seeds("DDPM, simulated", draws, seen),
            Curve("(1/2) log det(I + m S/sigma^2)", draws, first["closed"][at]),
            Curve("Lemma 4.2 as printed", draws, first["printed"][at]),
            Curve("ambient", draws, [first["closed"][at][0]] * len(draws)),
        ),
        x_label="draws m",
        y_label="information about a training point (nats)",
        log_x=True,
        log_y=True,
        caption=f"What m draws of the optima at sigma_n = 0.5 tell about one training point. "
        f"{seeds_in_words(len(rows))}. New noisy copies tell more and more, but like a logarithm and not m "
        "times; a repeated copy tells no more than once.",
        alt="The simulated curve lies on the logarithmic formula, far below the straight line that is printed, and "
        "above the flat line of ambient training.",
    )


def of_a_set(rows: Sequence[Row]) -> Block:
    """Both optima of the largest data set at sigma_n = 0.5, with the bounds."""
    asked = rows[0]["configuration"]
    size, draws = asked["N"][-1], [float(m) for m in asked["set_draws"]]
    at = [i for i, c in enumerate(rows[0]["result"]["sets"]) if c["time"] == 0.5 and c["N"] == size]

    def table(name: str) -> torch.Tensor:
        return torch.tensor(
            [[row["result"]["sets"][i][name] for i in at] for row in rows], dtype=torch.float64
        )

    def line(name: str) -> list[float]:
        return [float(v) for v in table(name)[0]]

    return curves(
        (
            over_seeds("ambient, simulated", draws, table("ambient")),
            over_seeds("DDPM, simulated", draws, table("ddpm")),
            Curve("distinct copies, labels known", draws, line("high")),
            Curve("the same less the labels", draws, line("low")),
            Curve("DDPM, labels known", draws, line("ddpm_high")),
            Curve("Lemma C.1 as printed", draws, line("printed")),
        ),
        x_label="draws m",
        y_label="information about the data set (nats)",
        caption=f"What m draws tell about a data set of {size} points at sigma_n = 0.5. {seeds_in_words(len(rows))}. "
        "As long as draws rarely repeat a point both optima tell the same; the ambient one ends at its stored copies.",
        alt="Ambient and DDPM curves rise together and part as draws outnumber points; ambient flattens.",
    )
