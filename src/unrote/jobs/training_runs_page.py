"""The page of several recipes: copies and losses side by side, over training, in one plane, and their samples."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from unrote.contracts import Estimate
from unrote.data.pixels import UNIT, to_bytes
from unrote.jobs.audit_page import picture, settings_blocks
from unrote.jobs.comparing import Reference
from unrote.jobs.measuring import Measurement, as_compared
from unrote.jobs.options import TrainOptions
from unrote.jobs.training_page import copy_figure, estimate_curve
from unrote.jobs.training_runs import COPIES, ONCE, measures_of, run_sentences
from unrote.measure.copies import grouped_neighbors, is_copy
from unrote.report import blocks, planes, plots
from unrote.report.format import number, quantity, ratio

if TYPE_CHECKING:
    from torch import Tensor

    from unrote.jobs.training import Training
    from unrote.jobs.training_runs import Runs


MASKED = (
    "Losses of masking are those of the pixels that its masks show, denoised without a look at the others: a harder "
    "task than that of the other recipes, so that the two cannot be told apart by loss alone."
)
"""What a reader of losses should know where some recipes hide pixels."""

AT_ONCE = 6
"""Samples of each run that are seen before the reader asks for more."""


def runs_page(made: Runs, reference: Reference, options: TrainOptions) -> blocks.Page:
    """The whole page."""
    runs = made.runs
    said = made.content["results"]["verdict"]
    verdict = blocks.Verdict(
        said[0],
        blocks.Tone.NEUTRAL,  # what copies least may be what is worst otherwise
        (*said[1:], ONCE),
        tuple(blocks.KeyFigure(f"copies, {name}", run.copy_ratio) for name, run in list(runs.items())[:4]),
    )
    done = tuple(
        f"{name}: {' '.join(run.done) or 'nothing is done against copying.'}" for name, run in runs.items()
    )
    samples = tuple(_samples(name, x, reference) for name, x in made.samples.items())
    return blocks.Page(
        title="Training by several recipes",
        lead=f"{options.from_model or options.network} on {options.train}: {', '.join(runs)}",
        verdict=verdict,
        sections=(
            blocks.Section("Side by side", (_table(runs), blocks.Text(run_sentences(runs)))),
            blocks.Section("Quality and copying", _planes(runs)),
            blocks.Section("Over training", _curves(runs)),
            blocks.Section("Where the loss on held-out images was lowest", (_early(runs),)),
            blocks.Section("Samples and their nearest training images", samples),
            blocks.Section("What was done", (blocks.Text(done),)),
            blocks.Section("Settings and versions", settings_blocks(made.content)),
        ),
        footer=(f"unrote {made.content['versions']['unrote']}",),
    )


def _table(runs: Mapping[str, Training]) -> blocks.Table:
    measures = measures_of(runs)
    mirrored = any(run.kept.as_stored is not None for run in runs.values())
    columns = (
        blocks.Column("recipe"),
        *(blocks.Column("copies" if m is COPIES else m.name, _bare(m.show)) for m in measures),
        *((blocks.Column("copies as stored", _bare(ratio)),) if mirrored else ()),
        blocks.Column("training loss", _bare(quantity)),
        blocks.Column("step"),
    )
    rows = tuple(
        (
            name,
            *(m.of(run) for m in measures),
            *((run.kept.as_stored,) if mirrored else ()),
            run.kept.train_loss,
            run.kept.step,
        )
        for name, run in runs.items()
    )
    return blocks.Table(columns, rows, "Every run with the weights that were kept; 95 % intervals")


def _bare(show: Callable[..., str]) -> Callable[..., str]:
    return lambda value: show(value).split(", n = ")[0]


def _planes(runs: Mapping[str, Training]) -> tuple[blocks.Block, ...]:
    """Copies against every measure of quality, with the way there."""
    words = (
        "Thin lines run through the measured steps; large points, with 95 % intervals, are the weights that were kept. "
        "Low and left is better."
    )
    found = []
    for x_label, log, of in (
        ("loss on held-out images", True, lambda m: m.validation_loss),
        ("Frechet distance to held-out images", False, lambda m: m.frechet_distance),
    ):
        if any(of(m) is None for run in runs.values() for m in run.history):
            continue
        tracks = [
            planes.Track(
                name,
                [of(m) for m in run.history],
                [m.copy_ratio for m in run.history],
                [m.step for m in run.history],
                run.history.index(run.kept),
            )
            for name, run in runs.items()
        ]
        found.append(
            planes.plane(
                tracks,
                x_label=x_label,
                y_label="copies among samples",
                place_label="step",
                caption=f"Copies and {x_label}. {words}",
                alt=f"Copies against {x_label} for {len(runs)} recipes",
                log_x=log,
            )
        )
    return (
        *found,
        blocks.Text(
            (
                "The held-out loss is measured at all noise levels, those that a recipe leaves out included, and it is "
                "not the quality of samples: look at these too.",
                *((MASKED,) if any("masking" in name.split("+") for name in runs) else ()),
            )
        ),
    )


def _curves(runs: Mapping[str, Training]) -> tuple[blocks.Block, ...]:
    histories = {name: run.history for name, run in runs.items()}
    figures: list[blocks.Block] = [copy_figure(histories)]
    parts: list[tuple[str, str, Callable[[Measurement], Estimate | None]]] = [
        (
            "loss on held-out images",
            "The same images, levels and noise for all.",
            lambda m: m.validation_loss,
        ),
        ("loss on training images", "The same levels and noise for all.", lambda m: m.train_loss),
        ("Frechet distance to held-out images", "Squared, in features.", lambda m: m.frechet_distance),
    ]
    for name, words, of in parts:
        lines = _lines(histories, of)
        if lines:
            figures.append(
                plots.curves(
                    lines,
                    x_label="training step",
                    y_label=name,
                    caption=f"{name[0].upper()}{name[1:]}, averaged weights, with 95 % intervals. {words}",
                    alt=f"{name} over training steps",
                    log_x=True,
                    log_y="loss" in name,
                )
            )
    return tuple(figures)


def _lines(
    histories: Mapping[str, Sequence[Measurement]], of: Callable[[Measurement], Estimate | None]
) -> list[plots.Curve]:
    lines = []
    for name, history in histories.items():
        values = [value for value in map(of, history) if value is not None]
        if len(values) < len(history):
            return []
        lines.append(estimate_curve(name, [m.step for m in history], values))
    return lines


def _early(runs: Mapping[str, Training]) -> blocks.Table:
    """What stopping early would have given: no run is needed for it."""
    rows = []
    for name, run in runs.items():
        best = run.content["results"]["lowest_validation_loss"]
        rows.append(
            (
                name,
                best["step"],
                Estimate(**best["validation_loss"]),
                Estimate(**best["copy_ratio"]),
            )
        )
    columns = (
        blocks.Column("recipe"),
        blocks.Column("step"),
        blocks.Column("loss on held-out images", _bare(quantity)),
        blocks.Column("copies", _bare(ratio)),
    )
    caption = (
        "Every run at its measured step with the lowest held-out loss: what `--stop-early` keeps. The step was chosen "
        "by the same held-out images that the loss is measured on."
    )
    return blocks.Table(columns, tuple(rows), caption)


def _samples(name: str, x: Tensor, reference: Reference) -> blocks.Part:
    """The first samples of a run with their nearest training images, copies framed."""
    found = grouped_neighbors(as_compared(x, reference), reference.pixels, reference.groups.group)
    copied = is_copy(found.distance[:, 0], found.distance[:, 1]).tolist()
    train = reference.images
    seen = to_bytes(x, UNIT)
    rows = []
    for i in range(len(x)):
        nearest = int(found.index[i, 0])
        d1, d2 = found.distance[i].tolist()
        rows.append(
            blocks.Exhibit(
                (
                    blocks.Picture(seen[i], "sample", f"sample {i}"),
                    picture(train, nearest, "nearest", train.names[nearest]),
                ),
                f"ratio {number(d1 / d2 if d2 else 0.0)}",
                "copy" if copied[i] else "",
            )
        )
    caption = (
        "The first samples, in the order of their seeds and not chosen; sample i of every recipe starts from the same "
        "noise. Framed ones are copies."
    )
    return blocks.Part(name, (blocks.Evidence(tuple(rows), caption, shown=AT_ONCE),))
