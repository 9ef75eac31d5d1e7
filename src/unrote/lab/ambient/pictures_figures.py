"""The page of pictures: Figure 3 as tables of pictures, its numbers by level, samples beside their neighbours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from unrote.lab.claims import Row
from unrote.lab.wild_middle.gap_figures import curve
from unrote.lab.wild_middle.gap_runs import read
from unrote.measure.estimate import estimate
from unrote.report.blocks import (
    Block,
    Column,
    Details,
    Exhibit,
    Gallery,
    Part,
    Picture,
    Table,
    Text,
)
from unrote.report.canvas import Interval
from unrote.report.format import number, percent
from unrote.report.plots import Curve, curves

MUCH, PLAIN, BEST = "much data", "baseline", "exact optimum"
"""Denoisers: a network of many pictures, one of the few, and the exact optimum of these; ambient ones stand between."""


def few(rows: Sequence[Row]) -> list[Row]:
    """The runs on the fewest pictures, by seed."""
    least = min(row["configuration"]["images"] for row in rows)
    mine = [row for row in rows if row["configuration"]["images"] == least]
    return sorted(mine, key=lambda row: row["configuration"]["seed"])


def show(rows: Sequence[Row]) -> tuple[Block, ...]:
    """Figure 3 of the fewest pictures, its numbers over all their seeds, then samples for every number of pictures."""
    if not rows:
        return ()
    mine = few(rows)
    seen = [row for row in mine if row["result"]["shown"] is not None]
    galleries = tuple(
        block
        for row in sorted(rows, key=lambda row: row["configuration"]["images"])
        if row["result"]["shown"] is not None
        for block in samples(row)
    )
    return (
        Part("One denoising step", (*(b for row in seen[:1] for b in tables(row)), *numbers(mine))),
        Part("Samples and their nearest training pictures", galleries),
    )


def tables(row: Row) -> tuple[Block, ...]:
    """Figure 3: a table of pictures for every test picture, the first at once and the others on request."""
    kept, asked = row["result"]["shown"], row["configuration"]
    levels = " and ".join(f"{level:g}" for level in asked["sigma_n"])
    words = (
        "A fresh picture with noise of eight levels, the highest first, and what one denoising step makes of it: by a "
        f"network that learned from many pictures, by others that learned from the same {asked['images']}, plain and "
        f"ambient with sigma_n = {levels}, and by the exact optimum of these. Noisy pictures are divided by "
        "1 + 2 sigma to fit the scale.",
    )
    first, *others = (table(kept, i) for i in range(len(kept["clean"])))
    more = (Details(f"{len(others)} more test pictures", tuple(others)),) if others else ()
    return (Text(words), first, *more)


def table(kept: Mapping[str, Any], i: int) -> Table:
    """One test picture: a row for each level, a column for each denoiser."""
    columns = (Column("sigma"), Column("clean"), *map(Column, kept["columns"]))
    rows: list[tuple[Any, ...]] = [
        (
            number(level),
            Picture(read(kept["clean"][i], kept["shape"])),
            *(Picture(read(out[t][i], kept["shape"])) for out in kept["columns"].values()),
        )
        for t, level in enumerate(kept["levels"])
    ]
    return Table(columns, tuple(rows), f"Test picture {i + 1}", sortable=False)


def lines(rows: Sequence[Row], key: str, names: Sequence[str]) -> list[Curve]:
    """A measurement by level, one line for each denoiser: means over seeds with their intervals."""
    levels = rows[0]["result"]["levels"]
    found = []
    for name in names:
        values = torch.tensor([row["result"][key][name] for row in rows], dtype=torch.float64)
        found.append(curve(name, levels, [estimate(column) for column in values.T]))
    return found


def numbers(rows: Sequence[Row]) -> tuple[Block, ...]:
    """What Figure 3 shows, in numbers: distance from the model of much data, overconfidence, copies."""
    highest = rows[0]["result"]["levels"][-1]
    noisy = [Interval(n, highest, f"above {n:g}") for n in rows[0]["configuration"]["sigma_n"]]
    every = tuple(rows[0]["result"]["overconfidence"])
    over = "Means over seeds with 95 % intervals, where there are several."
    return (
        curves(
            lines(rows, "apart", [name for name in every if name != MUCH]),
            x_label="level sigma",
            y_label="squared distance from the much-data model's",
            log_x=True,
            log_y=True,
            intervals=noisy,
            caption=f"How far denoised test pictures are from what the network of many pictures makes of them. {over}",
            alt="Squared distance from the much-data model over noise levels, one line for each denoiser.",
        ),
        curves(
            lines(rows, "overconfidence", every),
            x_label="level sigma",
            y_label="overconfidence",
            log_x=True,
            intervals=noisy,
            caption="How much more outputs depart from the mean picture than they are right about, as a share of the "
            f"variance of test pictures: 0 for a conditional mean, which is as blurry as it must be. {over}",
            alt="Overconfidence over noise levels, one line for each denoiser.",
        ),
        curves(
            lines(rows, "copies", every),
            x_label="level sigma",
            y_label="denoised test pictures that are copies",
            log_x=True,
            show_y=percent,
            intervals=noisy,
            caption=f"Which noised test pictures one step turns into copies of a training picture. {over}",
            alt="Copies after one denoising step over noise levels, one line for each denoiser.",
        ),
    )


def samples(row: Row) -> list[Block]:
    """Figures 4 to 6: samples of every training on the few pictures, each followed by its nearest training picture."""
    groups = []
    for name, found in row["result"]["samples"].items():
        kept = found["pairs"]
        pictures = []
        for one, other, copy in zip(kept["samples"], kept["nearest"], kept["copies"], strict=True):
            pictures.append(Picture(read(one, kept["shape"]), "copy" if copy else "sample"))
            pictures.append(Picture(read(other, kept["shape"]), "nearest"))
        share = percent(found["copies"])
        count = row["configuration"]["samples"]
        groups.append(Exhibit(tuple(pictures), f"{name}: {share} of {count} samples are copies"))
    words = (
        f"{row['configuration']['images']} training pictures: the first samples, each followed by its nearest training "
        "picture; all trainings began from the same noise"
    )
    return [Gallery(tuple(groups), words, each=32)]
