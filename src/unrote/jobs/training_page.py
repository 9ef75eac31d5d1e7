"""The page of one training run: copies and losses over steps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from unrote.contracts import Estimate
from unrote.jobs.audit_page import settings_blocks
from unrote.jobs.measuring import Measurement
from unrote.jobs.onsets import onset_sentence
from unrote.jobs.options import TrainOptions
from unrote.jobs.training_words import IMAGES, Words
from unrote.report import blocks, plots
from unrote.report.format import Value, percent, plain, ratio

if TYPE_CHECKING:
    from unrote.jobs.training import Training
    from unrote.jobs.training_stop import Stopping


BOTH = "training images and their mirror images"
"""What copies are counted against in runs with --flip."""
COUNTED = (
    f'Copies are counted against {BOTH}; "as stored" are copies by the same rule of training images alone.'
)
"""The same for a reader of both ratios."""


def sentence(
    history: Sequence[Measurement], kept: Measurement, stop: Stopping | None = None, words: Words = IMAGES
) -> str:
    """What the run did, in one sentence."""
    found = next((m.step for m in history if m.copy_ratio.value), None)
    after = f"After {kept.step:,} steps"
    if stop is not None and stop.ended is not None:
        after = f"After {kept.step:,} of {stop.ended:,} steps, the last at which the losses had not parted,"
    elif kept is not history[-1]:
        after += f" of {history[-1].step:,}, where the loss on held-out {words.things} was lowest,"
    if not kept.copy_ratio.value:
        later = "" if found is None else f"; later, at step {found:,}, some were"
        if found is not None and found < kept.step:
            later = f"; at step {found:,} some were"
        return f"{after} no sample is a copy: {ratio(kept.copy_ratio)}{later}."
    of = "" if kept.as_stored is None else f" of {BOTH}"
    return f"{after} {ratio(kept.copy_ratio)} of the samples are copies{of}; the first were seen at step {found:,}."


def loss_figure(runs: Mapping[str, Sequence[Measurement]]) -> blocks.Figure:
    """Training and held-out loss of one or more runs."""
    lines = []
    for name, history in runs.items():
        for which, part in (("training images", "train_loss"), ("held-out images", "validation_loss")):
            values: list[Estimate] = [getattr(m, part) for m in history]
            label = f"{name}, {which}" if name else which
            lines.append(estimate_curve(label, [m.step for m in history], values))
    return plots.curves(
        lines,
        x_label="training step",
        y_label="denoising loss",
        caption="Denoising loss on fixed levels and noise, averaged weights. Where the lines part, the model knows "
        "its training images better than others of their kind.",
        alt="Training and held-out loss over training steps",
        log_x=True,
        log_y=True,
    )


def copy_figure(runs: Mapping[str, Sequence[Measurement]]) -> blocks.Figure:
    """Copy ratio over training steps."""
    lines = [
        estimate_curve(name or "samples", [m.step for m in history], [m.copy_ratio for m in history])
        for name, history in runs.items()
    ]
    return plots.curves(
        lines,
        x_label="training step",
        y_label="copies among samples",
        caption="Share of samples that are copies, with 95 % intervals; the same seeds at every step.",
        alt="Copy ratio over training steps",
        log_x=True,
        y_limits=(0.0, None),
        show_y=percent,
    )


def estimate_curve(name: str, x: Sequence[int] | Sequence[float], values: Sequence[Estimate]) -> plots.Curve:
    """Estimates as a line with its band."""
    low, high = [v.low for v in values], [v.high for v in values]
    whole = all(v is not None and math.isfinite(v) for v in (*low, *high))
    return plots.Curve(
        name,
        list(map(float, x)),
        [v.value for v in values],
        low if whole else None,
        high if whole else None,
    )


def training_page(made: Training, options: TrainOptions) -> blocks.Page:
    """The whole page of a run on images."""
    lead = f"{options.from_model or options.network} on {options.train}, recipe {options.recipe}"
    return run_page(made, lead)


def run_page(made: Training, lead: str, *more: blocks.Section) -> blocks.Page:
    """The whole page of a run, with sections that only some runs have after those on copies and losses."""
    from unrote.jobs.training_curves import run_bands, run_copies, run_losses

    history, content, kept, words = made.history, made.content, made.kept, made.words
    mirrored = history[-1].as_stored is not None
    alarm = bool(kept.copy_ratio.low and kept.copy_ratio.low > 0 and kept.copy_ratio.value)
    verdict = blocks.Verdict(
        sentence(history, kept, made.stop, words),
        blocks.Tone.ALARM if alarm else blocks.Tone.CALM,
        (
            *made.done,
            *((COUNTED,) if mirrored else ()),
            *(() if made.stop is None else (made.stop.because,)),
            onset_sentence(history),
            "Numbers are those of the averaged weights unless they are called raw. Audit samples with `unrote audit`.",
            *made.notes,
        ),
        (
            blocks.KeyFigure(
                "copies at the end" if kept is history[-1] else "copies, as kept", kept.copy_ratio
            ),
        ),
    )
    measured = history[-1].frechet_distance is not None
    gap = all(m.loss_gap is not None for m in history)
    rows = tuple(
        (m.step, m.train_loss, m.validation_loss)
        + ((m.loss_gap,) if gap else ())
        + (m.copy_ratio,)
        + ((m.as_stored,) if mirrored else ())
        + ((m.frechet_distance,) if measured else ())
        for m in history
    )
    columns = (
        blocks.Column("step"),
        blocks.Column(f"loss on training {words.things}"),
        blocks.Column(f"loss on held-out {words.things}"),
        *((blocks.Column("gap", _shares),) if gap else ()),
        blocks.Column("copies", ratio),
        *((blocks.Column("copies as stored", ratio),) if mirrored else ()),
        *((blocks.Column("Frechet distance"),) if measured else ()),
    )
    measurements = (
        f"All measurements; the gap is by what share the loss on held-out {words.things} is above the other"
    )
    return blocks.Page(
        title=words.title,
        lead=lead,
        verdict=verdict,
        sections=(
            blocks.Section("Copies", (run_copies(made),)),
            blocks.Section("Losses", (run_losses(made),)),
            *(blocks.Section(words.levels, (figure,)) for figure in run_bands(made)),
            *more,
            blocks.Section("Measurements", (blocks.Table(columns, rows, measurements),)),
            blocks.Section("Settings and versions", settings_blocks(content)),
        ),
        footer=(f"unrote {content['versions']['unrote']}",),
    )


def _shares(value: Value) -> str:
    """A share that may be above one or below zero, with its interval."""
    if not isinstance(value, Estimate) or value.value is None:
        return plain(value)
    ends = (
        ""
        if value.low is None
        else f" [{percent(value.low, 0)}, {percent(value.high, 0)}]".replace(" %,", ",")
    )
    return f"{percent(value.value, 0)}{ends}".replace(" %]", "]")
