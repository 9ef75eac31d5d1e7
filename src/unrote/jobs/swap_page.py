"""The page of a swap: which levels flip copying, what the samples look like, the map of all windows."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from unrote.contracts import Estimate
from unrote.data.pixels import UNIT, to_bytes
from unrote.jobs.audit_page import settings_blocks
from unrote.jobs.options import SwapOptions
from unrote.jobs.swap_verdict import Direction, Drawn, details, sentence, span, steps
from unrote.jobs.swap_windows import THIRDS
from unrote.report import blocks, plots
from unrote.report.format import Number, Value, number, percent, quantity, ratio
from unrote.report.heat import heat
from unrote.sample.windows import Window

if TYPE_CHECKING:
    from unrote.jobs.swapping import Swap

HOW = (
    "A sample is drawn along the noise levels of the schedule, the highest first. In a window of levels it is denoised "
    "by the other model, elsewhere by its own. Every window starts from the same noise.",
    "Copying flips where the interval of the copy ratio lies on the other model's side of the middle between A alone "
    "and B alone, and stays where it lies on its own side; otherwise it is open. Intervals are Wilson's and speak of "
    "samples from these two models: other training runs would give other ratios.",
)
COUNTED = (
    'The paper\'s medium window is "steps 7-13" of 18, and it does not say from where they are counted, so both are '
    "here. Steps in the tables are counted from 0, the highest level being step 0."
)


def swap_page(made: Swap, options: SwapOptions) -> blocks.Page:
    """The whole page."""
    sections = [
        blocks.Section("Windows", windows_blocks(made)),
        blocks.Section("Samples", (gallery(made),)),
    ]
    if options.map:
        sections.append(blocks.Section("Every window of the schedule", map_blocks(made)))
    sections.append(blocks.Section("Settings and versions", settings_blocks(made.content)))
    if made.notes:
        sections.insert(0, blocks.Section("Read this first", (blocks.Notes(made.notes),)))
    spec = made.reference.images.spec
    return blocks.Page(
        title="Swap of two models",
        lead=f"A is {options.model}, B is {options.other}; copies of {len(made.reference.images):,} training images "
        f"from {spec}",
        verdict=verdict(made),
        sections=tuple(sections),
        footer=(f"unrote {made.content['versions']['unrote']}",),
    )


def verdict(made: Swap) -> blocks.Verdict:
    """The sentence, the same for other parts of the schedule, and the numbers that carry it."""
    first, second = made.directions
    figures = [
        blocks.KeyFigure("copies, A alone", first.drawn[None].ratio),
        blocks.KeyFigure("copies, B alone", second.drawn[None].ratio),
    ]
    if made.calibration is not None:
        figures.append(blocks.KeyFigure("the same rule on fresh real images", made.calibration))
    tone = blocks.Tone.NEUTRAL if first.contrast else blocks.Tone.CAUTION
    return blocks.Verdict(
        sentence(made.windows, made.levels, made.directions),
        tone,
        details(made.windows, made.levels, made.directions),
        tuple(figures),
    )


def windows_blocks(made: Swap) -> tuple[blocks.Block, ...]:
    """Copies of the paper's windows as bars, all windows as a table, and their quality."""
    sources = list(dict.fromkeys(w.source for w in made.windows))
    parts = (blocks.Part(f"{s[0].upper()}{s[1:]}", (copies_table(made, s),)) for s in sources)
    found = (bars(made), blocks.Text((*HOW, COUNTED)), *parts)
    if made.quality is None:
        return found
    words = [
        f"Quality is the squared Frechet distance between {len(made.quality.fresh):,} samples and as many held-out "
        f"images in features '{made.quality.map.name}'; less is better."
    ]
    if made.quality.real is not None:
        words[0] += f" Two halves of the held-out images have {quantity(made.quality.real)}."
    if made.quality.map.name == "pixels":
        words.append(
            "In pixels the distance sees means and covariances of pixels and nothing else, so it is a footnote: name "
            "features with `--features` to say more."
        )
    return (*found, blocks.Part("Quality", (quality_table(made), blocks.Text(tuple(words)))))


def bars(made: Swap) -> blocks.Figure:
    """Both models, with each third of the schedule swapped."""
    named = [w for w in made.windows if w.source == made.windows[0].source]
    values: dict[str, Estimate] = {}
    for direction in made.directions:
        outside, inside = direction.names
        values[f"{outside} alone"] = direction.drawn[None].ratio
        for n in named:
            values[f"{outside} with {inside} at the {n.name} levels"] = direction.drawn[n.window].ratio
    parts = ", ".join(f"{n.name} {span(n.window, made.levels)}" for n in named)
    return plots.bars(
        values,
        x_label="copies among the samples",
        caption=f"Copy ratio of both models, and with one part of the schedule denoised by the other "
        f"({named[0].source}; sigma: {parts}).",
        alt="Copy ratios of both models with windows of each other's levels",
    )


def copies_table(made: Swap, source: str) -> blocks.Table:
    """The windows of one partition of the schedule with their copies in both directions."""
    columns = [blocks.Column("window"), blocks.Column("sigma"), blocks.Column("steps")]
    for direction in made.directions:
        outside, inside = direction.names
        columns += [blocks.Column(f"{outside} with {inside} there", _without_count), blocks.Column("copying")]
    rows = [
        (name, *place, *_copies(made.directions, window)) for name, _, *place, window in _rows(made, source)
    ]
    n = len(made.directions[0].drawn[None].copied)
    caption = f"Copies among {n:,} samples, the window's levels denoised by the other model"
    return blocks.Table(tuple(columns), tuple(rows), caption, sortable=False)


def quality_table(made: Swap) -> blocks.Table:
    """Every window with the quality of its samples in both directions."""
    columns = [blocks.Column("window"), blocks.Column("of"), blocks.Column("sigma")]
    columns += [
        blocks.Column(f"{d.names[0]} with {d.names[1]} there", quantity_alone) for d in made.directions
    ]
    rows = [
        (name, source, where, *(d.drawn[window].quality for d in made.directions))
        for name, source, where, _, window in _rows(made)
    ]
    caption = "Frechet distance of the same samples to held-out images"
    return blocks.Table(tuple(columns), tuple(rows), caption, sortable=False)


def _rows(made: Swap, source: str | None = None) -> list[tuple[str, str, str, str, Window | None]]:
    """Name, source, levels and steps of no window, of those of one source or of all, and of the whole schedule."""
    full = made.directions[0].full
    chosen = [w for w in made.windows if source is None or w.source == source]
    rows: list[tuple[str, str, str, str, Window | None]] = [("none", "", "", "", None)]
    rows += [(w.name, w.source, span(w.window, made.levels), steps(w.window), w.window) for w in chosen]
    return [*rows, ("all", "", span(full, made.levels), steps(full), full)]


def _copies(directions: Iterable[Direction], window: Window | None) -> tuple[Value, ...]:
    cells: list[Value] = []
    for d in directions:
        alone = window is None or window == d.full
        cells += [d.drawn[window].ratio, "" if alone or window is None else d.verdict(window).value]
    return tuple(cells)


def _without_count(value: Value) -> str:
    """A share with its interval; the caption says of how many."""
    return ratio(value).split(", n = ")[0]


def quantity_alone(value: Value) -> str:
    """A number with its interval; the words below say of how many."""
    return quantity(value).split(", n = ")[0]


def gallery(made: Swap) -> blocks.Evidence:
    """The same seeds for every window of the paper and those asked for, each sample above its nearest neighbour."""
    named = [w for w in made.windows if w.source == made.windows[0].source or w.name not in THIRDS]
    rows = []
    for direction in made.directions:
        outside, inside = direction.names
        rows.append(_exhibit(made, direction.drawn[None], f"{outside} alone"))
        for n in named:
            where = f"the {n.name} levels, sigma" if n.name in THIRDS else "sigma"
            caption = f"{outside} with {inside} at {where} {span(n.window, made.levels)}"
            rows.append(_exhibit(made, direction.drawn[n.window], caption))
    caption = (
        "Samples, each above its nearest training image. The noise is the same in every frame: that of the first seeds "
        "at which A alone copies, and of the first others where these are few, so A's own frame is no fair draw."
    )
    return blocks.Evidence(tuple(rows), caption, shown=len(rows))


def _exhibit(made: Swap, drawn: Drawn, caption: str) -> blocks.Exhibit:
    train = made.reference.images
    pictures = tuple(
        blocks.Picture(
            stacked(to_bytes(x, UNIT), to_bytes(train.pixels[nearest], train.value_range)),
            "copy" if bool(copied) else "",
        )
        for x, nearest, copied in zip(
            drawn.shown, drawn.nearest.tolist(), drawn.shown_copied.tolist(), strict=True
        )
    )
    return blocks.Exhibit(pictures, f"{caption}: {_without_count(drawn.ratio)} copies")


def stacked(above: Tensor, below: Tensor) -> Tensor:
    """Two pictures (C,H,W) as one, with a grey line between them."""
    line = above.new_full((above.shape[0], max(1, above.shape[1] // 16), above.shape[2]), 128)
    return torch.cat([above, line, below], dim=1)


def map_blocks(made: Swap) -> tuple[blocks.Block, ...]:
    """Copy ratio and quality of every window, in both directions."""
    found: list[blocks.Block] = []
    top = max(d.ratio.value or 0.0 for each in made.directions for d in each.drawn.values()) or 1.0
    for direction in made.directions:
        outside, inside = direction.names
        figures: list[blocks.Block] = [
            _map(
                made,
                {w: d.ratio.value for w, d in direction.drawn.items() if w is not None},
                f"Copy ratio of {outside} in percent, with the levels from row to column denoised by {inside}. The "
                f"diagonal swaps one level, the top right corner all; {outside} alone copies "
                f"{ratio(direction.drawn[None].ratio)}. The fullest colour is {percent(top)}.",
                "copy ratio",
                (0.0, top),
            )
        ]
        if made.quality is not None:
            values = {
                w: None if d.quality is None else d.quality.value
                for w, d in direction.drawn.items()
                if w is not None
            }
            figures.append(
                _map(
                    made,
                    values,
                    f"Frechet distance of the same samples to held-out images ({made.quality.map.name}); less is "
                    "better.",
                    "Frechet distance",
                    None,
                )
            )
        found.append(blocks.Part(f"{outside} with windows of {inside}", tuple(figures)))
    return tuple(found)


def _map(
    made: Swap,
    values: dict[Window, Number | None],
    caption: str,
    value_label: str,
    limits: tuple[Number, Number] | None,
) -> blocks.Figure:
    names = [number(level) for level in made.levels.tolist()]
    shares = limits is not None
    return heat(
        {(w.last, w.first): value for w, value in values.items()},
        across=names,
        down=names,
        x_label="last level of the window, sigma",
        y_label="first level, sigma",
        caption=caption,
        alt=f"{value_label} by first and last level of the window",
        value_label=value_label,
        limits=limits,
        write=(lambda v: f"{100 * v:.0f}") if shares else (lambda v: f"{v:.2g}"),
        show=percent if shares else quantity,  # type: ignore[arg-type]
    )
