"""Drawings of single denoising steps by level, and the steps themselves as pictures (digits alone)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from unrote.lab.claims import Row
from unrote.lab.crossover.drawing import over_seeds, seeds_in_words
from unrote.lab.wild_middle.levels_claims import of, peak
from unrote.lab.wild_middle.pairs import WORDS, unpacked
from unrote.report.blocks import Block, Column, Evidence, Exhibit, Part, Picture, Table
from unrote.report.canvas import Interval
from unrote.report.format import percent, quantity
from unrote.report.plots import Curve, curves

WHO = {"few": "network of few", "many": "network of many", "optimum": "empirical optimum"}


def names_of(rows: Sequence[Row]) -> list[str]:
    """The pairs that were run, in the order in which they were asked for."""
    return list(dict.fromkeys(row["configuration"]["name"] for row in rows))


def words_of(name: str) -> str:
    """A pair in words."""
    return WORDS.get(name, name)


def zones(rows: Sequence[Row]) -> tuple[Interval, ...]:
    """The medium regime and the danger zone, ends averaged over seeds; a zone that a seed lacks is left out."""
    drawn = []
    for key, label in (("medium", "medium regime"), ("danger", "danger zone")):
        found = [row["result"]["geometry"][key] for row in rows]
        if all(zone is not None for zone in found):
            low, high = torch.tensor(found, dtype=torch.float64).log().mean(0).exp().tolist()
            drawn.append(Interval(low, high, label))
    return tuple(drawn)


def line(rows: Sequence[Row], who: str, what: str, name: str) -> Curve:
    """One curve over levels: the mean over seeds, with the range of all."""
    values = torch.tensor([row["result"]["levels"][who][what] for row in rows], dtype=torch.float64)
    return over_seeds(name, rows[0]["result"]["levels"]["sigma"], values)


def copies(rows: Sequence[Row], words: str) -> Block:
    """Figure 2 for one pair."""
    return curves(
        [
            *(line(rows, who, "copies", name) for who, name in WHO.items()),
            line(rows, "own", "copies", "network of many, of its own"),
        ],
        x_label="sigma",
        y_label="copies after one step",
        log_x=True,
        show_y=percent,
        intervals=zones(rows),
        caption=f"{words}: the share of noised test pictures that one denoising step turns into a copy of one of the "
        f"few pictures (last line: of the many). {seeds_in_words(len(rows))}; zones averaged over seeds.",
        alt="Copies after one step over the noise level for two networks and the empirical optimum.",
    )


def errors(rows: Sequence[Row], words: str) -> Block:
    """Figure 1 for one pair."""
    series = [
        line(rows, who, what, f"{name}, {kind}")
        for who, name in WHO.items()
        for what, kind in (("train_error", "training"), ("test_error", "test"))
    ]
    floored = [
        Curve(c.name, c.x, [max(float(y or 0.0), 1e-6) for y in c.y]) for c in series
    ]  # the optimum's error vanishes, and a logarithm cannot show that
    return curves(
        floored,
        x_label="sigma",
        y_label="squared error per pixel",
        log_x=True,
        log_y=True,
        intervals=zones(rows),
        caption=f"{words}: error of one denoising step on the few training pictures and on test pictures, at least "
        f"10^-6. Means over {len(rows)} seed{'s' if len(rows) > 1 else ''}.",
        alt="Training and test error over the noise level for two networks and the empirical optimum.",
    )


def summary(rows: Sequence[Row]) -> Block:
    """Every run in a line: zones, the peak of single steps, copies among samples."""
    cells = []
    for row in rows:
        found = row["result"]
        sigma, top = peak(row)
        count = found["samples"]["count"]
        zone = found["geometry"]["danger"]
        cells.append(
            (
                f"{words_of(row['configuration']['name'])}, seed {row['configuration']['seed']}",
                found["geometry"]["crossing"],
                None if zone is None else f"{zone[0]:.2f} to {zone[1]:.2f}",
                sigma,
                top,
                *(
                    found["samples"][f"{who}, {step}"] / count
                    for who in ("few", "many", "own")
                    for step in ("euler", "heun")
                ),
                found["fresh"]["few"],
            )
        )
    shares = (
        "copies at the peak",
        *(
            f"{who}, {step}"
            for who in ("samples of few", "of many", "of many: own")
            for step in ("Euler", "Heun")
        ),
        "test pictures",
    )
    columns = (
        Column("run"),
        Column("crossing", quantity),
        Column("danger zone"),
        Column("peak at", quantity),
        *(Column(name, percent) for name in shares),  # type: ignore[arg-type]
    )
    return Table(
        columns, tuple(cells), "Geometry, single steps and samples; the last column are copies by chance"
    )


def exhibit(entry: dict[str, Any]) -> Exhibit:
    """One row of Figures 11 to 16: the picture, its noisy form, and each output beside its nearest neighbour."""
    pictures = [Picture(unpacked(entry["clean"]), "test"), Picture(unpacked(entry["noisy"]), "noisy")]
    copied = []
    for who, name in WHO.items():
        one = entry[who]
        pictures += [
            Picture(unpacked(one["out"]), name.replace("network of ", "").replace("empirical ", "")),
            Picture(unpacked(one["nearest"]), "nearest"),
        ]
        copied += [name] if one["copy"] else []
    told = f"copied by: {', '.join(copied)}" if copied else "no copy"
    return Exhibit(tuple(pictures), f"sigma {entry['level']:.3g}; {told}", "copy" if copied else "")


def gallery(rows: Sequence[Row], words: str) -> tuple[Block, ...]:
    """Single steps as pictures, from the run that kept them."""
    shown = [row["result"]["shown"] for row in rows if "shown" in row["result"]]
    if not shown:
        return ()
    return (
        Evidence(
            tuple(exhibit(entry) for entry in shown[0]),
            f"{words}: one denoising step from the same noise at six levels. Each output stands before its nearest "
            "training picture: of the few, of the many for the network of many.",
        ),
    )


def show(rows: Sequence[Row]) -> tuple[Block, ...]:
    """Curves, summary and pictures of every pair."""
    found: list[Block] = [summary(rows)]
    for name in names_of(rows):
        mine, words = of(rows, name), words_of(name)
        found.append(
            Part(f"Levels: {words}", (copies(mine, words), errors(mine, words), *gallery(mine, words)))
        )
    return tuple(found)
