"""The page of a comparison: verdict, one table, one picture, differences from the first set, each set in detail."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unrote.contracts import Estimate
from unrote.jobs.audit_page import (
    NO_GUARANTEE,
    copied_blocks,
    definition_blocks,
    evidence,
    settings_blocks,
)
from unrote.jobs.audit_views_page import views_blocks
from unrote.jobs.comparison import points, sentence
from unrote.jobs.fidelity_parts import SPREAD, part_of_spread
from unrote.jobs.options import AuditOptions
from unrote.report import blocks, plots
from unrote.report.canvas import Line
from unrote.report.format import Value, quantity, ratio

if TYPE_CHECKING:
    from unrote.jobs.auditing import Audit
    from unrote.jobs.comparison import Comparison

EXHIBITS = 24
"""Samples of every set in the evidence."""


def comparison_page(made: Comparison, options: AuditOptions) -> blocks.Page:
    """The whole page."""
    first, train = made.audits[0], made.audits[0].reference.images
    figures = [
        blocks.KeyFigure(f"copies in {name}", one.copy_ratio)
        for name, one in list(zip(made.names, made.audits, strict=True))[:4]
    ]
    alarm = any(one.findings.alarming for one in made.audits)
    verdict = blocks.Verdict(
        sentence(made.names, made.audits),
        blocks.Tone.ALARM if alarm else blocks.Tone.CALM,
        ("Each set is held against the same training set by the same rules.",),
        tuple(figures),
    )
    inside = [
        blocks.Details(f"{name}: {one.findings.sentence}", _set_blocks(one, options))
        for name, one in zip(made.names, made.audits, strict=True)
    ]
    sections = [
        blocks.Section("Side by side", (_table(made), _picture(made), *_quality(made), _words(made))),
        blocks.Section(f"Differences from {made.names[0]}", (_differences(made),)),
        blocks.Section("Each set", tuple(inside)),
        blocks.Section("Settings and versions", settings_blocks(_flat(made))),
    ]
    if made.notes:
        sections.insert(0, blocks.Section("Read this first", (blocks.Notes(made.notes),)))
    return blocks.Page(
        title="Comparison of samples",
        lead=f"{len(made.names)} sets of samples, held against {len(train):,} training images from {train.spec}",
        verdict=verdict,
        sections=tuple(sections),
        footer=(NO_GUARANTEE, f"unrote {first.content['versions']['unrote']}"),
    )


def _table(made: Comparison) -> blocks.Table:
    """Copies: one row for each set, and one for fresh real images."""
    alike = made.audits[0].views.likeness is not None
    columns = [
        blocks.Column("set"),
        blocks.Column("samples"),
        blocks.Column("copies"),
        blocks.Column("copy ratio", _bare),
        blocks.Column("training images copied"),
        blocks.Column("authentic", _bare),
        *([blocks.Column("copies in features", _bare)] if alike else []),
    ]
    rows = [(name, *_row(audited, alike)) for name, audited in zip(made.names, made.audits, strict=True)]
    caption = "Sets of samples and, where known, fresh real images"
    return blocks.Table(tuple(columns), (*rows, *_fresh(made, alike)), caption)


def _row(made: Audit, alike: bool) -> list[Value]:
    main, copied, likeness = made.findings.main, made.findings.copied, made.views.likeness
    row: list[Value] = [len(main.copied), int(main.copied.sum()), main.ratio, len(copied.index)]
    row.append(made.views.authenticity.share)
    if alike:
        row.append(None if likeness is None else likeness.definition.ratio)
    return row


def _fresh(made: Comparison, alike: bool) -> list[tuple[Value, ...]]:
    """The row of fresh real images: what a set that copies nothing would get."""
    main, views = made.audits[0].findings.main, made.audits[0].views
    if main.calibration is None or views.fresh is None:
        return []
    count = round((main.calibration.value or 0.0) * main.calibration.n)
    row: list[Value] = ["fresh real images", main.calibration.n, count, main.calibration, None, views.fresh]
    if alike and views.likeness is not None:
        row.append(views.likeness.definition.calibration)
    return [tuple(row)]


def _quality(made: Comparison) -> tuple[blocks.Block, ...]:
    """Quality, where it was asked for: one row for each set."""
    found = [
        (name, one.views.quality)
        for name, one in zip(made.names, made.audits, strict=True)
        if one.views.quality is not None
    ]
    if not found:
        return ()
    columns = (
        blocks.Column("set"),
        blocks.Column("Frechet distance", _number),
        blocks.Column("of real images", _number),
        *(blocks.Column(name, _number if name == "density" else _bare) for name in SPREAD),
        blocks.Column("nearer than fresh images", _bare),
    )
    rows = tuple(
        (
            name,
            None if q.frechet is None else q.frechet.generated.distance,
            None if q.frechet is None else q.frechet.baseline.distance,
            *(part_of_spread(q.spread, measure) for measure in SPREAD),
            None if q.copying is None else q.copying.closer,
        )
        for name, q in found
    )
    lens = made.audits[0].views.lens
    where = "" if lens is None else f" in features '{lens.map.name}'"
    return (blocks.Table(columns, rows, f"Quality{where}; what each measure can say stands with each set"),)


def _bare(value: Value) -> str:
    return ratio(value).split(", n = ")[0]


def _points(value: Value) -> str:
    return points(value) if isinstance(value, Estimate) else _bare(value)


def _number(value: Value) -> str:
    return quantity(value).split(", n = ")[0]


def _picture(made: Comparison) -> blocks.Figure:
    values = {name: audited.copy_ratio for name, audited in zip(made.names, made.audits, strict=True)}
    fresh: Estimate | None = made.audits[0].findings.main.calibration
    marked = fresh is not None and bool(fresh.value)
    return plots.bars(
        values,
        x_label="copy ratio",
        caption="Copy ratios with their intervals; sets whose intervals do not overlap differ.",
        alt=f"Bars of the copy ratios of {len(values)} sets of samples",
        lines=(Line(fresh.value, "fresh real images"),) if marked and fresh and fresh.value else (),
    )


def _words(made: Comparison) -> blocks.Text:
    sizes = {len(one.distances) for one in made.audits}
    words = [
        "Intervals are Wilson's and stand each by itself: of many sets, a few differ from the first by chance. They "
        "speak of samples from these models; whether one way of training copies less than another takes several "
        "trained models of each.",
    ]
    if len(sizes) > 1:
        words.append(
            "The sets have different sizes: the number of training images copied, the Frechet distance, recall and "
            "coverage depend on how many samples there are, and compare only between sets of one size."
        )
    return blocks.Text(tuple(words))


def _differences(made: Comparison) -> blocks.Table:
    columns = (
        blocks.Column("set"),
        blocks.Column("copy ratio", _points),
        blocks.Column("authentic", _points),
        blocks.Column("copies"),
    )
    rows = tuple((d.name, d.copies, d.authenticity, _compared(d.copies)) for d in made.differences)
    caption = f"Each set minus {made.names[0]}, with Newcombe's interval for a difference of two shares"
    return blocks.Table(columns, rows, caption, sortable=False)


def _compared(difference: Estimate) -> str:
    assert difference.low is not None and difference.high is not None
    if difference.low > 0:
        return "more than the first"
    return "fewer than the first" if difference.high < 0 else "not told apart"


def _set_blocks(made: Audit, options: AuditOptions) -> tuple[blocks.Block, ...]:
    return (
        evidence(made, EXHIBITS),
        *definition_blocks(made),
        *views_blocks(made, options),
        *copied_blocks(made),
    )


def _flat(made: Comparison) -> dict:
    """The content with one input for each set, as settings are shown."""
    inputs = {key: value for key, value in made.content["inputs"].items() if key != "samples"}
    sets = dict(
        zip((f"samples {name}" for name in made.names), made.content["inputs"]["samples"], strict=True)
    )
    return {**made.content, "inputs": inputs | sets}
