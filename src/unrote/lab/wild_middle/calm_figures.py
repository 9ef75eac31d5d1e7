"""The drawings of the calm ends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from unrote.contracts import Estimate
from unrote.lab.claims import Row
from unrote.lab.crossover.drawing import over_seeds, seeds_in_words
from unrote.measure.estimate import estimate
from unrote.report.blocks import Block, Column, Facts, Table
from unrote.report.format import quantity
from unrote.report.plots import Curve, curves


def show(rows: Sequence[Row]) -> tuple[Block, ...]:
    """The linear limit far out and at EDM's levels, sensitivities, reach, and tables of what is guaranteed."""
    return (_far(rows), _near(rows), _sensitivities(rows), _reach(rows), _open(rows), _alignment(rows))


def _table(rows: Sequence[Row], part: str, key: str) -> torch.Tensor:
    return torch.tensor([row["result"][part][key] for row in rows], dtype=torch.float64)


def _far(rows: Sequence[Row]) -> Block:
    x = rows[0]["result"]["limit"]["levels"]
    named = (("measured gap", "gap"), ("what it tends to, sigma^-2", "leading"), ("bound", "bound"))
    return curves(
        [over_seeds(name, x, _table(rows, "limit", key)) for name, key in named],
        x_label="noise level sigma",
        y_label="|m - m_G|",
        log_x=True,
        log_y=True,
        caption=f"Theorem 4.11: empirical against linear denoiser at sigma u, u normal. {seeds_in_words(len(rows))}.",
        alt="The measured gap falls onto a line of slope -2 at large noise; the bound lies far above.",
    )


def _near(rows: Sequence[Row]) -> Block:
    x = rows[0]["result"]["limit"]["edm"][::-1]
    return curves(
        (over_seeds("empirical against linear", x, _table(rows, "limit", "relative").flip(1)),),
        x_label="noise level sigma",
        y_label="|m - m_G| / |m_G - mean|",
        log_x=True,
        log_y=True,
        caption=f"The same at noisy held-out images and EDM's levels. {seeds_in_words(len(rows))}.",
        alt="The relative gap falls with the noise level.",
    )


def _sensitivities(rows: Sequence[Row]) -> Block:
    found = rows[0]["result"]["locality"]
    lines = []
    for name in found["jacobian"]:
        lines.append(Curve(f"sigma {name}", found["distance"], found["jacobian"][name]))
    for name in list(found["bound"])[1:4:2]:
        lines.append(Curve(f"bound, sigma {name}", found["distance"], found["bound"][name]))
    return curves(
        lines,
        x_label="distance in pixels",
        y_label="largest |J|",
        log_y=True,
        caption="Theorem D.4: sensitivity of the linear denoiser to a pixel at a distance, and its bound; one seed.",
        alt="Sensitivities fall with distance, faster than their bounds.",
    )


def _reach(rows: Sequence[Row]) -> Block:
    x = rows[0]["result"]["locality"]["levels"][::-1]
    return curves(
        (
            over_seeds("by the stationary spectrum", x, _table(rows, "locality", "reach").flip(1)),
            over_seeds("by the covariance itself", x, _table(rows, "locality", "reach_true").flip(1)),
        ),
        x_label="noise level sigma",
        y_label="pixels",
        log_x=True,
        caption="Within how many pixels 90 % of the squared sensitivity to other pixels lies. "
        f"{seeds_in_words(len(rows))}.",
        alt="The reach grows with the noise level.",
    )


def _open(rows: Sequence[Row]) -> Block:
    def over(key: str) -> Estimate:
        return estimate(torch.tensor([row["result"]["open"][key] for row in rows], dtype=torch.float64))

    losses = max(loss for row in rows for loss in row["result"]["open"]["losses"].values())
    return Facts(
        (
            ("shells part below sigma", over("below")),
            ("level of the comparison", over("sigma")),
            ("largest loss of either denoiser", losses),
            ("their difference off the shells", over("difference")),
        ),
        quantity,
    )


def _alignment(rows: Sequence[Row]) -> Table:
    keys = ("paper", "probability_paper", "sharp", "probability", "cosine", "error_bound", "error")
    heads = (
        "bound",
        "probability",
        "sharp bound",
        "its probability",
        "measured",
        "error bound",
        "measured error",
    )
    lines: list[tuple[Any, ...]] = []
    for where, first in rows[0]["result"]["alignment"].items():
        for time in first:
            cells = [
                estimate(
                    torch.tensor(
                        [r["result"]["alignment"][where][time][key] for r in rows], dtype=torch.float64
                    )
                )
                for key in keys
            ]
            lines.append((f"{where}, t = {time}", *cells))
    columns = (Column("data and time"), *(Column(head, quantity) for head in heads))
    return Table(
        columns, tuple(lines), "Cosine of the velocities (Corollary A.2) and denoising error (Lemma A.1)"
    )
