"""The drawing of the transition under finer and finer sampling."""

from __future__ import annotations

from collections.abc import Sequence

from unrote.lab.claims import Row
from unrote.report.blocks import Block
from unrote.report.plots import Curve, curves


def show(rows: Sequence[Row]) -> tuple[Block, ...]:
    """M_pt/N over the variance of the clusters, one line for each way of sampling."""
    lines = []
    variances = sorted({row["configuration"]["variance"] for row in rows})
    for way in rows[0]["result"]:
        means: list[float | None] = []
        for variance in variances:
            mine = [row for row in rows if row["configuration"]["variance"] == variance]
            found = [row["result"][way]["half"]["value"] for row in mine]
            shares = [value / mine[0]["configuration"]["N"] for value in found if value is not None]
            means.append(sum(shares) / len(shares) if shares else None)
        lines.append(Curve("drawn directly" if way == "law" else f"{way} steps", variances, means))
    return (
        curves(
            lines,
            x_label="variance of the clusters",
            y_label="M_pt / N",
            log_x=True,
            caption="Where half of the samples are copies, over the variance of the clusters; mean over seeds. The "
            "learned models are the same in every line.",
            alt="With 25 steps the transition rises with the variance, with 400 steps and by direct draws it is flat.",
        ),
    )
