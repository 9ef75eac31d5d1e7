"""`unrote probe`: at which noise levels does this model copy, and what would the empirical optimum do?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from unrote.contracts import Denoiser, Estimate
from unrote.data.pixels import to_unit
from unrote.denoise.exact import Empirical
from unrote.denoise.foreign import Card
from unrote.jobs.audit_page import settings_blocks
from unrote.jobs.checking import check_apart, check_options
from unrote.jobs.comparing import Reference, origin, read_others, read_reference
from unrote.jobs.fitting import copies_of
from unrote.jobs.levels import GRID, at_once, grid_within
from unrote.jobs.models import check_fits, describe_given, labels_for, read_model, trivial_error
from unrote.jobs.options import ProbeOptions
from unrote.jobs.output import (
    check_free,
    curve,
    device_of,
    document,
    progress,
    settings_of,
    workspace,
    write_document,
)
from unrote.jobs.training import estimate_curve
from unrote.measure.denoising import denoise_at
from unrote.measure.estimate import estimate, wilson
from unrote.noise.schedule import units
from unrote.report import blocks, plots
from unrote.report.format import percent, ratio
from unrote.report.page import write


@dataclass(frozen=True)
class LevelCurves:
    """One denoiser, level by level.

    Args:
        copy_ratio: share of noised test images that one denoising step turns into a copy.
        train_error, test_error: squared error per dimension on training and on test images.
    """

    copy_ratio: tuple[Estimate, ...]
    train_error: tuple[Estimate, ...]
    test_error: tuple[Estimate, ...]

    def as_json(self) -> dict[str, Any]:
        """Three curves."""
        return {
            "copy_ratio": curve(list(self.copy_ratio)),
            "train_error": curve(list(self.train_error)),
            "test_error": curve(list(self.test_error)),
        }


@dataclass(frozen=True)
class Probe:
    """The result of a probe: a model beside the empirical optimum of its training set."""

    levels: Tensor
    model: LevelCurves
    empirical: LevelCurves
    notes: tuple[str, ...]
    content: dict[str, Any]
    out: Path

    def as_json(self) -> dict[str, Any]:
        """The content of result.json."""
        return self.content

    def summary(self) -> str:
        """A line for each level."""
        rows = [
            f"  {sigma:>9.4f}  {ratio(m):<42}  {ratio(e)}"
            for sigma, m, e in zip(
                self.levels.tolist(), self.model.copy_ratio, self.empirical.copy_ratio, strict=True
            )
        ]
        head = f"  {'sigma':>9}  {'copies by the model':<42}  copies by the empirical optimum"
        return "\n".join(
            [
                sentence(self.levels, self.model),
                "",
                head,
                *rows,
                "",
                *(f"note: {note}" for note in self.notes),
                f"report: {self.out / 'report.html'}",
            ]
        )


def probe(options: ProbeOptions, denoiser: Any = None, card: Card | None = None) -> Probe:
    """Noise training and test images at every level, denoise them once, and see what comes out.

    Args:
        options: what and how; with a denoiser given, its `model` is no more than a name in the result.
        denoiser: D(x, sigma, condition) for images in [-1, 1], in place of the model that options name.
        card: what is known of that denoiser; by default it takes any level and no labels.

    Raises:
        InputError: if an input cannot be used.
    """
    check_options(options)
    check_free(options.out, options.overwrite)
    check_apart(options.out, options.train, options.test, model=options.model)
    device = device_of(options.device)
    if denoiser is None:
        denoiser, said = read_model(options.model, not options.raw, options.unsafe_pickle)
    else:
        said = describe_given(str(options.model), denoiser, card)
    if isinstance(denoiser, nn.Module):
        denoiser.to(device)
    reference = read_reference(
        options.train, options.duplicate_threshold, options.resize, options.train_range, 2**29
    )
    check_fits(denoiser, said.card, reference, device)
    fresh = read_others(options.test, reference, options.resize, options.train_range)
    label = labels_for(said.card, {"--train": reference.images, "--test": fresh})
    x = to_unit(reference.images.pixels, reference.images.value_range)
    test = to_unit(fresh.pixels, fresh.value_range)
    levels = grid_within(options.levels, said.known)
    inputs = {
        "model": said.as_json(),
        "train": asdict(origin(reference.images)),
        "test": asdict(origin(fresh)),
    }
    identity = {"settings": settings_of(options), "seed": options.seed, "train": inputs["train"]["sha256"]}
    with workspace(options.out, options.overwrite, identity) as folder:
        with progress("levels", 2 * len(levels)) as advance:
            chosen = choose(x, test, label["--train"], label["--test"], options.points, options.seed)
            model = level_curves(denoiser, chosen, reference, levels, options.seed, advance, device)
            optimum = level_curves(
                Empirical(x).to(device), chosen.unlabelled(), reference, levels, options.seed, advance, device
            )
        notes = notes_on(said.card, levels, model, trivial_error(x, levels))
        results = results_of(levels, model, optimum) | {"notes": list(notes)}
        content = document("probe", inputs, options, results)
        write(_page(levels, model, optimum, notes, content, options), folder / "report.html")
        write_document(content, folder)
    return Probe(levels, model, optimum, notes, content, options.out)


def notes_on(card: Card, levels: Tensor, model: LevelCurves, trivial: Tensor) -> tuple[str, ...]:
    """What a reader should know of the model: what was read and assumed, and whether it denoises at all.

    Args:
        trivial: error of a denoiser that knows the pixels' mean and variance alone, at every level.
    """
    notes = card.notes
    low, high = float(levels.min()), float(levels.max())
    if (low, high) != GRID:
        notes += (
            f"The model knows sigma = {card.low:.4g} to {card.high:.4g}, so the levels run from {low:.4g} to "
            f"{high:.4g} and not from {GRID[0]:g} to {GRID[1]:g}.",
        )
    better = [
        e.value is not None and e.value < t for e, t in zip(model.train_error, trivial.tolist(), strict=True)
    ]
    if not any(better):
        notes += (
            "At no level does the model denoise training images better than their mean and variance alone would. It is "
            "untrained, or was trained on other images, on pixels in another range than [-1, 1], or under another "
            "scheduler than the one that came with it; its copies mean nothing then.",
        )
    return notes


@dataclass(frozen=True)
class Points:
    """The images that are noised: (n,C,H,W) each in [-1, 1], with labels if the model takes any."""

    train: Tensor
    test: Tensor
    train_label: Tensor | None = None
    test_label: Tensor | None = None

    def unlabelled(self) -> Points:
        """The same images for a denoiser that takes no labels."""
        return Points(self.train, self.test)


def choose(
    train: Tensor, test: Tensor, train_label: Tensor | None, test_label: Tensor | None, n: int, seed: int
) -> Points:
    """n images of each set at random (all, if there are fewer)."""
    g = torch.Generator().manual_seed(seed)
    a, b = (torch.randperm(len(x), generator=g)[:n] for x in (train, test))
    if test_label is None or train_label is None:
        return Points(train[a], test[b])
    return Points(train[a], test[b], train_label[a], test_label[b])


def level_curves(
    denoiser: Denoiser,
    points: Points,
    reference: Reference,
    levels: Tensor,
    seed: int,
    tell: Callable[[int], None],
    device: torch.device | str = "cpu",
) -> LevelCurves:
    """Copies and errors at every level; image i meets the same noise at every level and by every denoiser."""
    copied, train_error, test_error = [], [], []
    for level in levels.tolist():
        seen = [
            denoise_at(
                denoiser,
                x,
                level,
                torch.Generator().manual_seed(seed + k),
                label,
                device,
                batch=at_once(x, 256),
            )
            for k, (x, label) in enumerate(
                ((points.train, points.train_label), (points.test, points.test_label))
            )
        ]
        errors = [
            (out.double() - x.double()).square().flatten(1).mean(1)
            for out, x in zip(seen, (points.train, points.test), strict=True)
        ]
        found = copies_of(seen[1], reference)
        copied.append(wilson(int(found.sum()), len(found)))
        train_error.append(estimate(errors[0]))
        test_error.append(estimate(errors[1]))
        tell(1)
    return LevelCurves(tuple(copied), tuple(train_error), tuple(test_error))


def results_of(levels: Tensor, model: LevelCurves, optimum: LevelCurves) -> dict[str, Any]:
    """The keys of result.json."""
    return {
        "levels": levels.tolist(),
        "units": [asdict(units(level)) for level in levels.tolist()],
        **model.as_json(),
        "empirical": optimum.as_json(),
    }


def sentence(levels: Tensor, model: LevelCurves) -> str:
    """Where the model copies most, in one sentence."""
    values = [e.value or 0.0 for e in model.copy_ratio]
    best = max(range(len(values)), key=values.__getitem__)
    if values[best] == 0:
        return "At no level does one denoising step turn a noised test image into a copy of a training image."
    return (
        f"The model copies most at sigma = {float(levels[best]):.3g}, where one denoising step turns "
        f"{ratio(model.copy_ratio[best])} noised test images, into copies of training images."
    )


def level_copies(levels: Tensor, curves: dict[str, LevelCurves]) -> blocks.Figure:
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


def level_errors(levels: Tensor, curves: dict[str, LevelCurves]) -> blocks.Figure:
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


def _page(
    levels: Tensor,
    model: LevelCurves,
    optimum: LevelCurves,
    notes: tuple[str, ...],
    content: dict[str, Any],
    options: ProbeOptions,
) -> blocks.Page:
    rows = tuple(
        (level, m, e, a, b)
        for level, m, e, a, b in zip(
            levels.tolist(),
            model.copy_ratio,
            optimum.copy_ratio,
            model.train_error,
            model.test_error,
            strict=True,
        )
    )
    columns = (
        blocks.Column("sigma"),
        blocks.Column("copies, model", ratio),
        blocks.Column("copies, empirical optimum", ratio),
        blocks.Column("error, training images"),
        blocks.Column("error, test images"),
    )
    both = {"model": model, "optimum": optimum}
    alarm = any((e.low or 0.0) > 0 and e.value for e in model.copy_ratio)
    return blocks.Page(
        title="Probe of a model",
        lead=f"{options.model}, one denoising step at {len(levels)} noise levels",
        verdict=blocks.Verdict(
            sentence(levels, model), blocks.Tone.CAUTION if alarm else blocks.Tone.CALM, notes
        ),
        sections=(
            blocks.Section("Copies by noise level", (level_copies(levels, both),)),
            blocks.Section("Errors by noise level", (level_errors(levels, both),)),
            blocks.Section("All levels", (blocks.Table(columns, rows, "One row for each level"),)),
            blocks.Section("Settings and versions", settings_blocks(content)),
        ),
        footer=(f"unrote {content['versions']['unrote']}",),
    )
