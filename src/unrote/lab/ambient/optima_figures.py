"""The drawings of the exact optima."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from unrote.lab.claims import Row
from unrote.lab.crossover.drawing import over_seeds, seeds_in_words
from unrote.report.blocks import Block, Column, Table
from unrote.report.format import Value, percent, quantity
from unrote.report.plots import curves

NAMES = {"digits": "digits", "lfw_faces_32": "faces"}


def show(rows: Sequence[Row]) -> tuple[Block, ...]:
    """Copies, own images and copies after a smooth denoiser over sigma_n; a table of all cells."""
    return (
        *(copy_figure(group) for group in by_set(rows)),
        *(own_figure(g) for g in by_set(rows)),
        cells(rows),
    )


def by_set(rows: Sequence[Row]) -> list[list[Row]]:
    """The runs of the largest size of every picture set."""
    found = []
    for name in dict.fromkeys(row["configuration"]["set"] for row in rows):
        mine = [row for row in rows if row["configuration"]["set"] == name]
        most = max(row["configuration"]["images"] for row in mine)
        found.append([row for row in mine if row["configuration"]["images"] == most])
    return found


def table(rows: Sequence[Row], key: str, counts: bool = False) -> Float[Tensor, "R S"]:
    """One row for each seed, one column for each level; counts as shares of the samples."""
    return torch.tensor(
        [[v / row["result"]["samples"] if counts else v for v in row["result"][key]] for row in rows],
        dtype=torch.float64,
    )


def copy_figure(rows: Sequence[Row]) -> Block:
    """Copy ratio over sigma_n: exact optima stay at one, a smooth denoiser below does not care for the noise."""
    asked = rows[0]["configuration"]
    levels, name = asked["levels"], NAMES[asked["set"]]
    plain = torch.tensor(
        [[row["result"]["copies"] / row["result"]["samples"]] * len(levels) for row in rows],
        dtype=torch.float64,
    )
    lines = [
        over_seeds("exact diffusion", levels, plain),
        over_seeds("ambient, then clean optimum", levels, table(rows, "copies_ambient", True)),
        over_seeds("the same as a switch", levels, table(rows, "copies_switch", True)),
        over_seeds("ambient, then smooth", levels, table(rows, "smooth_ambient")),
        over_seeds("diffusion, then smooth", levels, table(rows, "smooth_plain")),
    ]
    return curves(
        lines,
        x_label="sigma_n",
        y_label="samples that are copies",
        log_x=True,
        show_y=percent,
        y_limits=(0, 1),
        caption=f"{name.capitalize()}, {asked['images']} images. {seeds_in_words(len(rows))}. Smooth: the flow of a "
        "Gaussian made of other images. Exact optima copy at every sigma_n; with the same smooth denoiser below, "
        "ambient and plain optima above copy alike.",
        alt="Three curves lie on one at every level; two others fall together from one to zero at low levels.",
    )


def own_figure(rows: Sequence[Row]) -> Block:
    """Which image is copied: the own one of the noisy copy, at low levels."""
    asked = rows[0]["configuration"]
    levels, name = asked["levels"], NAMES[asked["set"]]
    lines = [
        over_seeds("ends on its own image", levels, table(rows, "own", True)),
        over_seeds("mean self weight", levels, table(rows, "self_weight")),
        over_seeds("best guess of the image", levels, table(rows, "best_guess")),
        over_seeds("training images copied", levels, table(rows, "distinct_ambient")),
    ]
    return curves(
        lines,
        x_label="sigma_n",
        y_label="share",
        log_x=True,
        show_y=percent,
        y_limits=(0, 1),
        caption=f"{name.capitalize()}, {asked['images']} images, {rows[0]['result']['samples']} samples. "
        f"{seeds_in_words(len(rows))}. How often clean data lead from a stored copy back to its own image, beside the "
        "posterior weight of that image, the best that any guess from the copy could do on average over noise, and the "
        "share of training images that were copied at least once.",
        alt="Four curves near one at low levels; the first three fall to zero, the last one to about a half.",
    )


def cells(rows: Sequence[Row]) -> Block:
    """Every set, size and level: means over seeds."""
    lines: list[tuple[Value, ...]] = []
    kinds = dict.fromkeys((r["configuration"]["set"], r["configuration"]["images"]) for r in rows)
    for name, images in kinds:
        mine = [
            r for r in rows if (r["configuration"]["set"], r["configuration"]["images"]) == (name, images)
        ]
        columns = [
            table(mine, key, counts).mean(0).tolist()
            for key, counts in (
                ("copies_ambient", True),
                ("copies_switch", True),
                ("own", True),
                ("self_weight", False),
                ("distinct_ambient", False),
                ("smooth_ambient", False),
                ("smooth_plain", False),
                ("landing", False),
                ("chi_squared", False),
            )
        ]
        for place, level in enumerate(mine[0]["configuration"]["levels"]):
            lines.append((f"{NAMES[name]}, n = {images}", level, *(column[place] for column in columns)))
    headings = (
        Column("set"),
        Column("sigma_n", quantity),
        Column("copies, ambient then clean", percent),  # type: ignore[arg-type]
        Column("copies, switch", percent),  # type: ignore[arg-type]
        Column("own image", percent),  # type: ignore[arg-type]
        Column("self weight", percent),  # type: ignore[arg-type]
        Column("images copied", percent),  # type: ignore[arg-type]
        Column("copies, ambient then smooth", percent),  # type: ignore[arg-type]
        Column("copies, diffusion then smooth", percent),  # type: ignore[arg-type]
        Column("d1/d2 at sigma_n, 99 %", quantity),
        Column("chi-squared / df", quantity),
    )
    return Table(headings, tuple(lines), "Exact optima, means over seeds")
