"""Drawings of improved DDPM: losses, copies and distances over steps, onsets over sizes, samples at the stop."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from unrote.contracts import Estimate
from unrote.lab.claims import Row
from unrote.lab.early_stopping.iddpm_rules import COPYING, definitions, largest, lowest, onset_of, parted
from unrote.lab.early_stopping.law_figures import (
    by_size,
    copying,
    dynamics,
    laws,
    onsets,
    stops,
    typical_onsets,
)
from unrote.lab.early_stopping.law_rules import of_set
from unrote.lab.ratios import geometric
from unrote.lab.wild_middle.gap_runs import read
from unrote.measure.estimate import estimate
from unrote.report.blocks import Block, Column, Exhibit, Gallery, Picture, Table
from unrote.report.format import quantity
from unrote.report.plots import Curve, curves


def show(rows: Sequence[Row]) -> tuple[Block, ...]:
    """Every set with its curves, its onsets, its distances and its samples at the stop."""
    found: list[Block] = []
    for name in dict.fromkeys(row["configuration"]["pictures"]["set"] for row in rows):
        mine = of_set(rows, name)
        judged = definitions(name)
        drawn = [d for d in judged if d.weights == "averaged" and d.kind != "relative"]
        found += [dynamics(mine, name), copying(mine, name, scaled=True), *onsets(mine, name, drawn)]
        found += [laws(mine, name, judged), typical_onsets(mine, name, judged)]
        found += [distances(mine, name), moments(mine, name), stops(mine, name), *samples(mine, name)]
    return tuple(found)


def distances(rows: Sequence[Row], name: str) -> Block:
    """Figure 10: the Frechet distance over the steps, with intervals over seeds."""
    lines = []
    for size, some in by_size(rows).items():
        values = torch.tensor([row["result"]["averaged"]["frechet"] for row in some], dtype=torch.float64)
        found = [estimate(column) for column in values.T]
        whole = all(one.low is not None for one in found)
        ends = ([one.low for one in found], [one.high for one in found]) if whole else (None, None)
        steps = some[0]["result"]["steps"]
        lines.append(Curve(f"P = {size}", steps, [one.value for one in found], *ends))
    return curves(
        lines,
        x_label="step",
        y_label="Frechet distance to test pictures",
        log_x=True,
        log_y=True,
        caption=f"{name}: Frechet distance in features of a classifier, averaged weights, 95 % intervals over seeds.",
        alt="Frechet distance over training steps, one line for each size of the training set.",
    )


def moments(rows: Sequence[Row], name: str) -> Table:
    """When what happens, at every size."""
    times = (lowest("validation"), onset_of(parted(name)), lowest("frechet"), onset_of(COPYING))
    cells: list[tuple[str | Estimate | float | None, ...]] = [
        (str(size), *(geometric([math.log(time(row)) for row in some]) for time in times))
        for size, some in by_size(rows).items()
    ]
    words = (
        "P",
        "test loss smallest",
        f"onset by {parted(name).words}",
        "Frechet distance smallest",
        COPYING.words,
    )
    columns = (Column(words[0]), *(Column(one, quantity) for one in words[1:]))
    caption = f"{name}: steps, geometric means over seeds; an onset outside the checkpoints counts as at the nearest"
    return Table(columns, tuple(cells), caption)


def samples(rows: Sequence[Row], name: str) -> list[Block]:
    """Figures 1, right, and 11: samples at the stopping time and at the end, with their nearest training pictures."""
    groups = []
    for row in largest(rows):
        album = row["result"]["album"] or {}
        for key, words in (("stop", "at the stopping time"), ("end", "at the end of training")):
            kept = album.get(key)
            if kept is not None:
                shown = zip(kept["samples"], kept["nearest"], kept["copies"], strict=True)
                pictures = [
                    picture
                    for one, other, copy in shown
                    for picture in (
                        Picture(read(one, kept["shape"]), "copy" if copy else "sample"),
                        Picture(read(other, kept["shape"]), "nearest"),
                    )
                ]
                groups.append(Exhibit(tuple(pictures), words))
    words = (
        f"{name}, largest P: first samples of the first seed, each followed by its nearest training picture"
    )
    return [Gallery(tuple(groups), words, each=32)] if groups else []
