"""The page of a probe: copies and errors by level, of the model beside others, and one step to look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from unrote.contracts import Estimate
from unrote.jobs.audit_page import settings_blocks
from unrote.jobs.comparing import Reference
from unrote.jobs.options import ProbeOptions
from unrote.jobs.probe_gallery import Gallery, gallery_blocks
from unrote.jobs.training_page import estimate_curve
from unrote.report import blocks, plots
from unrote.report.format import Value, percent, ratio

if TYPE_CHECKING:
    from unrote.jobs.probing import LevelCurves, Probe


def sentence(levels: Tensor, model: LevelCurves) -> str:
    """Where the model copies most, in one sentence."""
    values = [e.value or 0.0 for e in model.copy_ratio]
    best = max(range(len(values)), key=values.__getitem__)
    if values[best] == 0:
        return "At no level does one denoising step turn a noised test image into a copy of a training image."
    return (
        f"The model copies most at sigma = {float(levels[best]):.3g}, where one denoising step turns "
        f"{without_count(model.copy_ratio[best])} of {model.copy_ratio[best].n:,} noised test images into copies of "
        "training images."
    )


def level_copies(levels: Tensor, curves: Mapping[str, LevelCurves]) -> blocks.Figure:
    """Copies by level, of several denoisers."""
    return plots.curves(
        [_line(name, levels, c.copy_ratio) for name, c in curves.items()],
        x_label="noise level sigma",
        y_label="copies after one step",
        caption="Share of noised test images that one denoising step turns into a copy of a training image.",
        alt="Copy ratio of one denoising step against the noise level",
        log_x=True,
        y_limits=(0.0, 1.02),
        show_y=percent,
    )


def level_errors(levels: Tensor, curves: Mapping[str, LevelCurves]) -> blocks.Figure:
    """Errors by level, of several denoisers, on training and on test images."""
    return plots.curves(
        [
            _line(f"{name}: {which}", levels, part)
            for name, c in curves.items()
            for which, part in (("training", c.train_error), ("test", c.test_error))
        ],
        x_label="noise level sigma",
        y_label="squared error per pixel",
        caption="Error of one denoising step on training and on test images; below one in a million it is not "
        "drawn.",
        alt="Denoising error on training and test images against the noise level",
        log_x=True,
        log_y=True,
        y_limits=(1e-6, None),
    )


def _line(name: str, levels: Tensor, values: Sequence[Estimate]) -> plots.Curve:
    return estimate_curve(name, levels.flip(0).tolist(), list(reversed(values)))


def probe_page(made: Probe, gallery: Gallery, reference: Reference, options: ProbeOptions) -> blocks.Page:
    """The whole page."""
    curves = {name: c for name, c in made.curves.items() if c is not None}
    rows = tuple(
        (
            level,
            *(c.copy_ratio[t] for c in curves.values()),
            made.model.train_error[t],
            made.model.test_error[t],
        )
        for t, level in enumerate(made.levels.tolist())
    )
    columns = (
        blocks.Column("sigma"),
        *(blocks.Column(f"copies, {LONG.get(name, name)}", without_count) for name in curves),
        blocks.Column("error, training images"),
        blocks.Column("error, test images"),
    )
    caption = f"One row for each level, {made.model.copy_ratio[0].n:,} test images each"
    alarm = any((e.low or 0.0) > 0 and e.value for e in made.model.copy_ratio)
    beside = "" if options.other is None else f", beside {options.other}"
    return blocks.Page(
        title="Probe of a model",
        lead=f"{options.model}{beside}, one denoising step at {len(made.levels)} noise levels",
        verdict=blocks.Verdict(
            sentence(made.levels, made.model),
            blocks.Tone.CAUTION if alarm else blocks.Tone.CALM,
            made.notes,
        ),
        sections=(
            blocks.Section("Copies by noise level", (level_copies(made.levels, curves),)),
            blocks.Section("Errors by noise level", (level_errors(made.levels, curves),)),
            blocks.Section("One step to look at", gallery_blocks(gallery, reference)),
            blocks.Section("All levels", (blocks.Table(columns, rows, caption),)),
            blocks.Section("Settings and versions", settings_blocks(made.content)),
        ),
        footer=(f"unrote {made.content['versions']['unrote']}",),
    )


def without_count(value: Value) -> str:
    """A share with its interval, where words beside it say of how many."""
    return ratio(value).split(", n = ")[0]


LONG = {"optimum": "empirical optimum"}
"""Names of denoisers where there is room."""
