"""Drawings of one training run: copies and losses of both sets of weights, and where by level the losses part."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from unrote.contracts import Estimate
from unrote.jobs.measuring import Band, Measurement, Raw
from unrote.jobs.onsets import SAID
from unrote.jobs.training_page import estimate_curve
from unrote.report import blocks, plots
from unrote.report.canvas import Line
from unrote.report.format import percent

if TYPE_CHECKING:
    from unrote.jobs.training import Training
    from unrote.jobs.training_stop import Stopping


def run_copies(made: Training) -> blocks.Figure:
    """Copies of the averaged weights, and of the raw ones where samples of them were drawn."""
    steps, lines = [m.step for m in made.history], [("samples", [m.copy_ratio for m in made.history])]
    raw = [m.raw.copy_ratio for m in made.history if m.raw is not None and m.raw.copy_ratio is not None]
    if len(raw) == len(steps):
        lines = [("averaged weights", lines[0][1]), ("raw weights", raw)]
    whose = "" if len(raw) == len(steps) else ", averaged weights"
    return plots.curves(
        [estimate_curve(name, steps, values) for name, values in lines],
        x_label="training step",
        y_label="copies among samples",
        caption=f"Share of samples that are copies{whose}, with 95 % intervals; the same seeds at every step.",
        alt="Copy ratio over training steps",
        log_x=True,
        y_limits=(0.0, None),
        show_y=percent,
        lines=(*_marks(made.stop), *_onset(made, "by_copies", SAID[1], f"{percent(SAID[1])} copies")),
    )


def run_losses(made: Training) -> blocks.Figure:
    """Training and held-out loss of both sets of weights."""
    steps, raw, words = [m.step for m in made.history], _raw(made.history), made.words
    own = "averaged, " if raw else ""
    lines = [
        estimate_curve(f"{own}held-out {words.things}", steps, [m.validation_loss for m in made.history]),
        estimate_curve(f"{own}training {words.things}", steps, [m.train_loss for m in made.history]),
    ]
    # Without their intervals: four bands would hide each other.
    for name, of in (("held-out", _held_out), ("training", _train)) if raw else ():
        lines.append(plots.Curve(f"raw, {name} {words.things}", list(steps), [of(m).value for m in raw]))
    return plots.curves(
        lines,
        x_label="training step",
        y_label=words.loss,
        caption=f"{words.measured}, of the averaged weights"
        + (" (with 95 % intervals) and of the raw ones, which the average lags behind" if raw else "")
        + f". {words.parts}",
        alt="Training and held-out loss over training steps",
        log_x=True,
        log_y=True,
        lines=(*_marks(made.stop), *_onset(made, "by_loss_gap", SAID[0], "losses apart")),
    )


def run_bands(made: Training) -> tuple[blocks.Figure, ...]:
    """How far the losses are apart at each band of levels; nothing where no bands were measured."""
    edges = {tuple((band.low, band.high) for band in m.bands) for m in made.history}
    if len(edges) != 1 or edges == {()}:
        return ()
    steps, lines = [m.step for m in made.history], []
    for i, (low, high) in enumerate(edges.pop()):
        seen = [_times(m.bands[i]) for m in made.history]
        if any(value is not None for value in seen):
            lines.append(plots.Curve(_levels(low, high), list(steps), seen))
    if not lines:
        return ()
    figure = plots.curves(
        lines,
        x_label="training step",
        y_label="held-out over training loss",
        caption=made.words.bands,
        alt="Held-out over training loss over training steps, for bands of noise levels",
        log_x=True,
        log_y=True,
        lines=_marks(made.stop),
    )
    return (figure,)


def _levels(low: float, high: float | None) -> str:
    if high is None:
        return f"{low:g} and more"
    return f"below {high:g}" if low == 0 else f"{low:g} to {high:g}"


def _times(band: Band) -> float | None:
    gap = None if band.loss_gap is None else band.loss_gap.value
    return None if gap is None else 1 + gap


def _raw(history: Sequence[Measurement]) -> list[Raw]:
    raw = [m.raw for m in history if m.raw is not None]
    return raw if len(raw) == len(history) else []


def _train(seen: Raw) -> Estimate:
    return seen.train_loss


def _held_out(seen: Raw) -> Estimate:
    return seen.validation_loss


def _marks(stop: Stopping | None) -> tuple[Line, ...]:
    """Where training was ended and what was kept."""
    if stop is None or stop.ended is None or stop.kept is None:
        return ()
    return tuple(Line(float(x), f"{word}, {x:,}") for x, word in ((stop.kept, "kept"), (stop.ended, "ended")))


def _onset(made: Training, by: str, threshold: float, word: str) -> tuple[Line, ...]:
    """Where the onset of the averaged weights is, in runs whose drawings mark it."""
    found = made.content["results"]["onset"][by] if made.words.marked else []
    steps = [one["value"] for one in found if one["threshold"] == threshold and one["value"] is not None]
    return tuple(Line(float(step), f"{word}, {step:,.0f}") for step in steps)
