"""The drawings of Figures 4 and 5."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from unrote.lab.claims import Row
from unrote.lab.crossover.drawing import over_seeds, seeds_in_words
from unrote.lab.crossover.learned import CRITERION, FACTORS
from unrote.report.blocks import Block, Exhibit, Gallery, Part, Picture
from unrote.report.format import percent
from unrote.report.plots import curves

NAMES = {
    "lloyd": "Lloyd, one variance",
    "ward": "Ward, one variance",
    "separate": "Lloyd, own variances",
}
SIDE = 15


def show(rows: Sequence[Row]) -> tuple[Block, ...]:
    """Pictures, then ratio and losses for every number of templates."""
    blocks: list[Block] = [gallery(rows[0])]
    for count in sorted({row["configuration"]["K"] for row in rows}):
        mine = [row for row in rows if row["configuration"]["K"] == count]
        blocks.append(Part(f"{count} templates", (ratio_figure(mine), *loss_figures(mine))))
    return tuple(blocks)


def gallery(row: Row) -> Block:
    """Figure 4: coloured samples beside their templates; colours below 0 are cut off."""
    found, groups = row["result"], []
    for pixels, label in zip(found["coloured"], found["label"], strict=True):
        template = torch.tensor(found["templates"][label], dtype=torch.uint8).reshape(1, SIDE, SIDE)
        picture = torch.tensor(pixels).clamp(0, 255).to(torch.uint8).reshape(3, SIDE, SIDE)
        groups.append(Exhibit((Picture(template, "template"), Picture(picture, "coloured"))))
    words = "Templates and training pictures drawn from them (values below 0 are shown as 0)"
    return Gallery(tuple(groups), words, shown=8)


def ratio_figure(rows: Sequence[Row]) -> Block:
    """Figure 5, left."""
    at = FACTORS.index(CRITERION)
    share = [size / 100 for size in rows[0]["result"]["sizes"]]
    lines = []
    for name, words in NAMES.items():
        found = [row["result"][name] for row in rows]
        table = torch.tensor(
            [[c[at] / f["samples"] for c in f["copies"]] for f in found], dtype=torch.float64
        )
        lines.append(over_seeds(words, share, table))
    return curves(
        lines,
        x_label="model size M / N",
        y_label="samples that are copies",
        show_y=percent,
        y_limits=(0, 1),
        caption=f"{seeds_in_words(len(rows))}. With one colour variance for all "
        "components memorization comes late; where each component may have its own, a component with one picture "
        "has none, and copies come as soon as there are such components.",
        alt="Memorization ratio over model size for three ways of training.",
    )


def loss_figures(rows: Sequence[Row]) -> tuple[Block, ...]:
    """Figure 5, middle and right."""
    share, drawn = [size / 100 for size in rows[0]["result"]["sizes"]], []
    for which, words in enumerate(("training", "test")):

        def flat(key: str, which: int = which) -> torch.Tensor:
            return torch.tensor(
                [[row["result"][key][which]] * len(share) for row in rows], dtype=torch.float64
            )

        def curve(pairs: Sequence[Sequence[Sequence[float]]], which: int = which) -> torch.Tensor:
            return torch.tensor([[pair[which] for pair in row] for row in pairs], dtype=torch.float64)

        lines = [
            over_seeds(f"learned, {name}", share, curve([row["result"][name]["losses"] for row in rows]))
            for name in ("lloyd", "ward")
        ]
        lines += [
            over_seeds("true law", share, flat("law")),
            over_seeds("memorizing", share, flat("memorizing")),
        ]
        lines += [over_seeds("law, without factor c", share, flat("law_without_factor"))]
        lines += [
            over_seeds("partially memorizing", share, curve([row["result"]["partial"] for row in rows]))
        ]
        drawn.append(
            curves(
                lines,
                x_label="model size M / N",
                y_label=f"{words} loss at t = 0.360",
                log_y=True,
                caption=f"{words.capitalize()} loss at t = 0.360.",
                alt=f"{words} loss over the model size for learned, true, memorizing and partially memorizing models.",
            )
        )
    return tuple(drawn)
