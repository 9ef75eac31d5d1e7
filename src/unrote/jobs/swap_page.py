"""The page of a swap: which levels flip copying, what the samples look like, the map of all windows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from unrote.contracts import Estimate
from unrote.data.pixels import UNIT, to_bytes
from unrote.jobs.audit_page import picture, settings_blocks
from unrote.jobs.options import SwapOptions
from unrote.jobs.swap_verdict import Direction, Drawn, details, sentence, span, steps
from unrote.jobs.swap_windows import Named
from unrote.report import blocks, plots
from unrote.report.format import Number, Value, number, percent, quantity, ratio
from unrote.report.heat import heat

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
    """Copies of the paper's windows as bars, and a table for every partition of the schedule."""
    sources = list(dict.fromkeys(w.source for w in made.windows))
    found: list[blocks.Block] = [bars(made), blocks.Text(HOW)]
    found += [
        blocks.Part(f"{s[0].upper()}{s[1:]}", (_table(made, [w for w in made.windows if w.source == s]),))
        for s in sources
    ]
    words = [COUNTED]
    if made.quality is not None:
        real = made.quality.real
        words.append(
            f"Quality is the squared Frechet distance between {len(made.quality.fresh):,} samples and as many held-out "
            f"images in {made.quality.map.name}; less is better. "
            + ("" if real is None else f"Two halves of the held-out images have {quantity(real)}.")
        )
        if made.quality.map.name == "pixels":
            words.append(
                "In pixels the distance sees means and covariances of pixels and nothing else, so it is a footnote: "
                "name features with --features to say more."
            )
    return (*found, blocks.Text(tuple(words)))


def bars(made: Swap) -> blocks.Figure:
    """Both models, with each third of the schedule swapped."""
    named = [w for w in made.windows if w.source == made.windows[0].source]
    values: dict[str, Estimate] = {}
    for direction in made.directions:
        outside, inside = direction.names
        values[f"{outside} alone"] = direction.drawn[None].ratio
        for n in named:
            values[f"{outside}, {inside} at {n.name} levels"] = direction.drawn[n.window].ratio
    return plots.bars(
        values,
        x_label="copies among the samples",
        caption=f"Copy ratio of both models, and with one part of the schedule denoised by the other ({named[0].source}"
        f": {', '.join(f'{n.name} {span(n.window, made.levels)}' for n in named)}).",
        alt="Copy ratios of both models with windows of each other's levels",
        limits=(0.0, 1.0),
    )


def _table(made: Swap, named: Sequence[Named]) -> blocks.Table:
    """Windows with copies and quality in both directions."""
    measured = made.quality is not None
    columns = [blocks.Column("window"), blocks.Column("sigma"), blocks.Column("steps")]
    for direction in made.directions:
        outside, inside = direction.names
        columns += [blocks.Column(f"{outside} with {inside} there", _without_count), blocks.Column("copying")]
        columns += [blocks.Column("quality", quantity_alone)] if measured else []
    full = made.directions[0].full
    rows = [("none", "", "", *_cells(made.directions, None, measured))]
    rows += [
        (n.name, span(n.window, made.levels), steps(n.window), *_cells(made.directions, n.window, measured))
        for n in named
    ]
    rows.append(("all", span(full, made.levels), steps(full), *_cells(made.directions, full, measured)))
    n = len(made.directions[0].drawn[None].copied)
    caption = f"Copies among {n:,} samples with the levels of each window denoised by the other model"
    return blocks.Table(tuple(columns), tuple(rows), caption, sortable=False)


def _cells(directions: Iterable[Direction], window: object, measured: bool) -> tuple[Value, ...]:
    cells: list[Value] = []
    for direction in directions:
        drawn = direction.drawn[window]  # type: ignore[index]
        alone = window is None or window == direction.full
        cells += [drawn.ratio, "" if alone else direction.verdict(window).value]  # type: ignore[arg-type]
        cells += [drawn.quality] if measured else []
    return tuple(cells)


def _without_count(value: Value) -> str:
    """A share with its interval; the caption says of how many."""
    return ratio(value).split(", n = ")[0]


def quantity_alone(value: Value) -> str:
    """A number with its interval; the words below say of how many."""
    return quantity(value).split(", n = ")[0]


def gallery(made: Swap) -> blocks.Evidence:
    """The samples of the first seeds for every window of the first partition, each with its nearest training image."""
    named = [w for w in made.windows if w.source == made.windows[0].source or w.name == "asked for"]
    rows = []
    for direction in made.directions:
        outside, inside = direction.names
        rows.append(_exhibit(made, direction.drawn[None], f"{outside} alone"))
        rows += [
            _exhibit(
                made,
                direction.drawn[n.window],
                f"{outside} with {inside} at {'the ' + n.name + ' levels' if n.name != 'asked for' else n.source}, "
                f"sigma {span(n.window, made.levels)}",
            )
            for n in named
        ]
    caption = (
        "Samples of the first seeds, each followed by its nearest training image. Samples at the same place start from "
        "the same noise."
    )
    return blocks.Evidence(tuple(rows), caption, shown=len(rows))


def _exhibit(made: Swap, drawn: Drawn, caption: str) -> blocks.Exhibit:
    train, pictures = made.reference.images, []
    for i, (x, nearest) in enumerate(zip(drawn.shown, drawn.nearest.tolist(), strict=True)):
        pictures.append(blocks.Picture(to_bytes(x, UNIT), "copy" if bool(drawn.copied[i]) else "sample"))
        pictures.append(picture(train, nearest, "nearest", ""))
    return blocks.Exhibit(tuple(pictures), f"{caption}: {ratio(drawn.ratio)} copies")


def map_blocks(made: Swap) -> tuple[blocks.Block, ...]:
    """Copy ratio and quality of every window, in both directions."""
    found: list[blocks.Block] = []
    for direction in made.directions:
        outside, inside = direction.names
        figures: list[blocks.Block] = [
            _map(
                made,
                {w: d.ratio.value for w, d in direction.drawn.items() if w is not None},
                f"Copy ratio of {outside} in percent, with the levels from row to column denoised by {inside}. The "
                f"diagonal swaps one level, the top right corner all; {outside} alone copies "
                f"{ratio(direction.drawn[None].ratio)}.",
                "copy ratio",
                (0.0, 1.0),
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
    made: Swap, values: dict, caption: str, value_label: str, limits: tuple[Number, Number] | None
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
