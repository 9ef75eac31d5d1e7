"""Drawings of the twins: similarities over steps, outputs level by level, the third network, samples side by side."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch

from unrote.contracts import Estimate
from unrote.lab.claims import Row
from unrote.lab.early_stopping.twins_rules import (
    COPIES,
    GAP,
    Group,
    Missing,
    Number,
    best,
    both,
    copying_level,
    crossing,
    differences,
    first_parted,
    geometrical,
    groups,
    half,
    known,
    last,
    level_of_fresh,
    loss_onset,
    main,
    onset_by_copies,
    own,
    plain,
    twins,
    two_sizes,
    typical,
)
from unrote.lab.early_stopping.twins_runs import FIRST, OTHERS, SAME_DATA, SAME_START, SECOND, SHARE, TWINS
from unrote.lab.wild_middle.gap_figures import curve
from unrote.lab.wild_middle.gap_runs import read
from unrote.report.blocks import Block, Column, Part, Picture, Table
from unrote.report.canvas import Line
from unrote.report.format import number, quantity
from unrote.report.heat import heat
from unrote.report.plots import Curve, curves

AXIS = "step"


def show(rows: Sequence[Row]) -> tuple[Block, ...]:
    """Every set with its curves, levels, numbers and pictures; then the third network and the second pair."""
    parts: list[Block] = []
    for name in dict.fromkeys(row["configuration"]["pictures"]["set"] for row in rows):
        mine = main(rows, name)
        blocks = [similarities(mine, name), levels(mine, name), table(mine, name), shares(mine, name)]
        blocks += [*third(mine, name), *sizes(groups(rows, name), name), *strips(mine)]
        parts.append(Part(name, tuple(blocks)))
    return tuple(parts)


def over_seeds(some: Sequence[Group], take: Callable[[Row], Sequence[float]]) -> list[Estimate]:
    """The mean of a curve over seeds at every checkpoint."""
    values = torch.tensor([list(take(group[0])) for group in some], dtype=torch.float64)
    return [plain(column) for column in values.T.tolist()]


def line(some: Sequence[Group], name: str, take: Callable[[Row], Sequence[float]]) -> Curve:
    """A curve over steps: mean and interval over seeds."""
    return curve(name, some[0][0]["result"]["steps"], over_seeds(some, take))


def share_of_copies(row: Row) -> list[float]:
    """Copies among the samples of both twins."""
    return [count / row["configuration"]["samples"] for count in both(row, "copies")]


def steps_of(some: Sequence[Group]) -> list[Line]:
    """The least test loss and both onsets, geometric means over the seeds that reached them."""
    wanted: list[tuple[str, Number]] = [
        ("least test loss", lambda group: float(group[0]["result"]["steps"][best(group[0])])),
        (f"loss gap {GAP:g}", lambda group: typical(group[0], loss_onset)),
        (f"{100 * COPIES:.0f} % copies", lambda group: typical(group[0], onset_by_copies)),
    ]
    found = []
    for words, step in wanted:
        values = [value for group in some if (value := known(step, group)) is not None]
        if values:
            found.append(Line(math.exp(sum(map(math.log, values)) / len(values)), words))
    return found


def similarities(some: Sequence[Group], name: str) -> Block:
    """Figure 2."""
    level = sum(level_of_fresh(group[0]) for group in some) / len(some)
    steps = some[0][0]["result"]["steps"]
    return curves(
        [
            line(some, "twins", twins),
            line(some, "own half", own),
            line(some, "other half", lambda row: both(row, "other")),
            Curve("fresh pictures", steps, [level] * len(steps)),
            line(some, "share of copies", share_of_copies),
        ],
        x_label=AXIS,
        y_label="cosine of whitened pictures",
        log_x=True,
        lines=steps_of(some),
        caption=f"{name}, P = {half(some[0][0])}: how alike samples of both twins from the same noise are; how near "
        "samples are to the nearest picture that their network learned from, and to the nearest of the other half; "
        "what fresh pictures reach; copies among samples. Averaged weights, means over seeds with 95 % intervals.",
        alt="Cosines between samples of twins and to their nearest training pictures over training steps.",
    )


def levels(some: Sequence[Group], name: str) -> Block:
    """Figure 5(b) in kind: how far apart the twins' outputs are, by step and level."""
    table = torch.tensor([differences(group[0]) for group in some], dtype=torch.float64).mean(0)
    steps, sigma = (some[0][0]["result"][key] for key in ("steps", "levels"))
    top = len(sigma) - 1  # the highest level on top
    cells = {(x, top - y): float(table[y, x]) for x in range(len(steps)) for y in range(len(sigma))}
    places = [value for group in some if (value := group[0]["result"]["zone"]) is not None]
    where = f" Weight and coverage cross at {number(geometrical(places).value)}." if places else ""
    return heat(
        cells,
        across=[number(step) for step in steps],
        down=[number(one) for one in reversed(sigma)],
        x_label=AXIS,
        y_label="level sigma",
        value_label="relative difference of the twins' outputs",
        write=lambda value: f"{value:.2f}".lstrip("0"),
        limits=(0.0, 0.35),
        caption=f"{name}: squared difference of the twins' outputs on noised fresh pictures over the sum of their "
        f"squared errors, means over seeds: 0 if they agree, 1 if their errors have nothing in common.{where}",
        alt="Difference of the twins' outputs by training step and noise level.",
    )


def table(some: Sequence[Group], name: str) -> Table:
    """Similarities at the least test loss and at the end, and when and where the twins part."""

    def at(take: Callable[[Row], Sequence[float]]) -> tuple[Estimate, ...]:
        return tuple(plain([take(group[0])[place(group[0])] for group in some]) for place in (best, last))

    found: list[tuple[Any, ...]] = [
        ("twins", *at(twins)),
        ("own half", *at(own)),
        ("other half", *at(lambda row: both(row, "other"))),
        ("test loss", *at(lambda row: both(row, "validation"))),
        ("training loss", *at(lambda row: both(row, "train"))),
        ("share of copies", *at(share_of_copies)),
    ]
    single: list[tuple[str, Number]] = [
        ("step of the least test loss", lambda group: float(group[0]["result"]["steps"][best(group[0])])),
        ("step at which samples are nearer to their own half", lambda group: crossing(group[0]).value),
        (f"onset by loss gap {GAP:g}", lambda group: typical(group[0], loss_onset)),
        (f"onset by share of copies {COPIES:g}", lambda group: typical(group[0], onset_by_copies)),
        ("level at which outputs part first", lambda group: first_parted(group[0])),
        ("level at which single steps copy in the end", lambda group: copying_level(group[0])),
        ("level at which weight and coverage cross", lambda group: group[0]["result"]["zone"]),
    ]
    for words, value in single:
        seen = [one for group in some if (one := known(value, group)) is not None]
        found.append((words, geometrical(seen) if seen else None, None))
    columns = (
        Column(""),
        Column("at the least test loss, or of the run", quantity),
        Column("at the end", quantity),
    )
    return Table(
        columns, tuple(found), f"{name}: means over seeds with 95 % intervals, of places geometric", False
    )


def shares(some: Sequence[Group], name: str) -> Table:
    """What the choice of directions does: the step at which the curves cross, and how far apart they are."""
    found: list[tuple[Any, ...]] = []
    for share in sorted((SHARE, *OTHERS)):
        word = "" if share == SHARE else f" {share:g}"
        cross = [value for group in some if (value := known(crossing_at(word), group)) is not None]
        ahead = [
            plain([twins(row, word)[place(row)] - own(row, word)[place(row)] for (row, *_) in some])
            for place in (best, last)
        ]
        found.append((f"{100 * share:.0f} %", geometrical(cross) if cross else None, *ahead))
    columns = (
        Column("variance kept"),
        Column("step at which the curves cross", quantity),
        Column("twins less own half, least test loss", quantity),
        Column("at the end", quantity),
    )
    words = f"{name}: in how many directions pictures are whitened; the claims take {100 * SHARE:.0f} %"
    return Table(columns, tuple(found), words, False)


def crossing_at(share: str) -> Number:
    """The step at which the curves cross, for a share of the variance."""
    return lambda group: crossing(group[0], share).value


def third(some: Sequence[Group], name: str) -> list[Block]:
    """What start weights and what pictures do, where a third network was trained."""

    def of(pair: str) -> Callable[[Row], Sequence[float]]:
        return lambda row: row["result"]["pairs"][pair]["similarity"]

    if any(SAME_START not in group[0]["result"]["pairs"] for group in some):
        return []
    return [
        curves(
            [
                line(some, "same pictures, other start", of(SAME_DATA)),
                line(some, "other pictures, same start", of(SAME_START)),
                line(some, "both different: twins", of(TWINS)),
            ],
            x_label=AXIS,
            y_label="cosine of whitened samples",
            log_x=True,
            lines=steps_of(some),
            caption=f"{name}: samples of two networks from the same noise, by what the networks have in common.",
            alt="Similarity of samples over training steps for three pairs of networks.",
        )
    ]


def sizes(some: Sequence[Group], name: str) -> list[Block]:
    """Twins with few and with many pictures, where both were trained."""
    try:
        pairs = [two_sizes(group) for group in some]
    except Missing:
        return []
    found = []
    for which in (0, 1):
        rows = [(pair[which],) for pair in pairs]
        found += [
            line(rows, f"twins, P = {half(rows[0][0])}", twins),
            line(rows, f"own half, P = {half(rows[0][0])}", own),
        ]
    return [
        curves(
            found,
            x_label=AXIS,
            y_label="cosine of whitened pictures",
            log_x=True,
            caption=f"{name}: the same with fewer and with more pictures.",
            alt="Similarity of twins and nearness to their own halves over steps, for two numbers of pictures.",
        )
    ]


def strips(some: Sequence[Group]) -> list[Block]:
    """Samples of both twins from the same noise and their nearest training pictures, at a few steps."""
    kept = next((group[0]["result"]["shown"] for group in some if group[0]["result"]["shown"]), None)
    if kept is None:
        return []
    blocks: list[Block] = []
    for one in kept["steps"]:
        order = (f"nearest of {FIRST}", FIRST, SECOND, f"nearest of {SECOND}")
        rows: list[tuple[Any, ...]] = [
            (words, *(Picture(read(text, kept["shape"])) for text in one["rows"][words])) for words in order
        ]
        columns = (Column("network"), *(Column(f"noise {i + 1}") for i in range(len(rows[0]) - 1)))
        words = f"Step {one['step']:,}" + (" (the least test loss)" if one["best"] else "")
        blocks.append(
            Table(
                columns,
                tuple(rows),
                f"{words}: samples of both twins between their nearest training pictures",
                False,
            )
        )
    return blocks
