"""`unrote probe`: at which noise levels does this model copy, and what would the empirical optimum do?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from unrote.contracts import Denoiser, Estimate
from unrote.data.pixels import to_unit
from unrote.denoise.exact import Empirical
from unrote.denoise.foreign import Card
from unrote.jobs.checking import check_apart, check_options
from unrote.jobs.comparing import Reference, origin, read_others, read_reference
from unrote.jobs.levels import GRID, at_once, grid_within
from unrote.jobs.measuring import copies_of
from unrote.jobs.models import Description, check_fits, describe_given, labels_for, read_model, trivial_error
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
from unrote.jobs.pairs import check_alike, common
from unrote.jobs.probe_gallery import look
from unrote.jobs.probe_page import level_copies, level_errors, probe_page, sentence
from unrote.measure.denoising import denoise_at
from unrote.measure.estimate import estimate, wilson
from unrote.noise.schedule import units
from unrote.report.format import ratio
from unrote.report.page import write

__all__ = [
    "LevelCurves",
    "Points",
    "Probe",
    "choose",
    "level_copies",
    "level_curves",
    "level_errors",
    "probe",
]


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
    """The result of a probe: a model beside the empirical optimum of its training set, and maybe another model."""

    levels: Tensor
    model: LevelCurves
    empirical: LevelCurves
    notes: tuple[str, ...]
    content: dict[str, Any]
    out: Path
    other: LevelCurves | None = None

    @property
    def curves(self) -> dict[str, LevelCurves]:
        """All denoisers by name, the model first."""
        between = {} if self.other is None else {"other": self.other}
        return {"model": self.model, **between, "optimum": self.empirical}

    def as_json(self) -> dict[str, Any]:
        """The content of result.json."""
        return self.content

    def summary(self) -> str:
        """A line for each level."""
        rows = [
            f"  {sigma:>9.4f}  "
            + "  ".join(f"{ratio(c.copy_ratio[t]):<42}" for c in self.curves.values()).rstrip()
            for t, sigma in enumerate(self.levels.tolist())
        ]
        names = {"model": "the model", "other": "the other", "optimum": "the empirical optimum"}
        head = f"  {'sigma':>9}  " + "  ".join(f"{'copies by ' + names[n]:<42}" for n in self.curves).rstrip()
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


def probe(options: ProbeOptions, denoiser: Any = None, card: Card | None = None, other: Any = None) -> Probe:
    """Noise training and test images at every level, denoise them once, and see what comes out.

    Args:
        options: what and how; with a denoiser given, its `model` is no more than a name in the result.
        denoiser: D(x, sigma, condition) for images in [-1, 1], in place of the model that options name.
        card: what is known of the denoisers that are given; by default they take any level and no labels.
        other: a second denoiser, in place of the other model that options name.

    Raises:
        InputError: if an input cannot be used.

    Source: 001 section 3, Figures 1, 2 and 11 to 16.
    """
    check_options(options)
    check_free(options.out, options.overwrite)
    check_apart(options.out, options.train, options.test, model=options.model)
    check_apart(options.out, model=options.other)
    device = device_of(options.device)
    models = read_models(options, denoiser, other, card)
    said = [told for _, told in models.values()]
    reference = read_reference(
        options.train, options.duplicate_threshold, options.resize, options.train_range, 2**29
    )
    for one, told in models.values():
        if isinstance(one, nn.Module):
            one.to(device)
        check_fits(one, told.card, reference, device)
    fresh = read_others(options.test, reference, options.resize, options.train_range)
    label = labels_for(said[0].card, {"--train": reference.images, "--test": fresh})
    x = to_unit(reference.images.pixels, reference.images.value_range)
    test = to_unit(fresh.pixels, fresh.value_range)
    levels = grid_within(options.levels, common(said))
    inputs = {name: told.as_json() for name, (_, told) in models.items()}
    inputs |= {"train": asdict(origin(reference.images)), "test": asdict(origin(fresh))}
    identity = {"settings": settings_of(options), "seed": options.seed, "train": inputs["train"]["sha256"]}
    with workspace(options.out, options.overwrite, identity) as folder:
        chosen = choose(x, test, label["--train"], label["--test"], options.points, options.seed)
        every = {name: (one, chosen) for name, (one, _) in models.items()}
        every["optimum"] = Empirical(x).to(device), chosen.unlabelled()
        with progress("levels", len(every) * len(levels)) as advance:
            curves = {
                name: level_curves(one, points, reference, levels, options.seed, advance, device)
                for name, (one, points) in every.items()
            }
        gallery = look(
            {name: (one, points.test_label) for name, (one, points) in every.items()},
            chosen.test,
            reference,
            levels,
            options.seed,
            device,
        )
        notes = notes_on(said[0].card, levels, curves["model"], trivial_error(x, levels))
        notes += tuple(f"--other: {note}" for told in said[1:] for note in told.card.notes)
        results = results_of(levels, curves) | {"notes": list(notes)}
        content = document("probe", inputs, options, results)
        made = Probe(
            levels, curves["model"], curves["optimum"], notes, content, options.out, curves.get("other")
        )
        write(probe_page(made, gallery, reference, options), folder / "report.html")
        write_document(content, folder)
    return made


def read_models(
    options: ProbeOptions, denoiser: Any, other: Any, card: Card | None
) -> dict[str, tuple[Any, Description]]:
    """The model, and the other one if there is one, each with what is known of it.

    Raises:
        InputError: if one cannot be read, or they differ in shape or classes.
    """
    found: dict[str, tuple[Any, Description]] = {}
    for name, spec, given in (("model", options.model, denoiser), ("other", options.other, other)):
        if given is not None:
            found[name] = given, describe_given(str(spec or name), given, card)
        elif spec is not None:
            found[name] = read_model(spec, not options.raw, options.unsafe_pickle, f"--{name}")
    if "other" in found:
        check_alike(found["model"][1], found["other"][1])
    return found


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


def results_of(levels: Tensor, curves: Mapping[str, LevelCurves]) -> dict[str, Any]:
    """The keys of result.json."""
    other = {"other": curves["other"].as_json()} if "other" in curves else {}
    return {
        "levels": levels.tolist(),
        "units": [asdict(units(level)) for level in levels.tolist()],
        **curves["model"].as_json(),
        "empirical": curves["optimum"].as_json(),
        **other,
    }
