"""`unrote swap`: which noise levels cause the copying? Some levels of one model are denoised by another."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from unrote.contracts import Denoiser, Estimate, InputError, Step
from unrote.denoise.foreign import Card
from unrote.jobs.checking import check_apart, check_options
from unrote.jobs.comparing import Reference, origin, read_others, read_reference
from unrote.jobs.ground import Ground, check_fresh, ground_of
from unrote.jobs.levels import at_once, grid_within
from unrote.jobs.measuring import as_compared
from unrote.jobs.models import Description, check_fits, labels_for
from unrote.jobs.options import SwapOptions
from unrote.jobs.output import (
    check_free,
    device_of,
    document,
    progress,
    settings_of,
    workspace,
    write_document,
)
from unrote.jobs.pairs import common, read_pair
from unrote.jobs.swap_page import swap_page
from unrote.jobs.swap_quality import QUICK, Quality, check_features, quality_against
from unrote.jobs.swap_verdict import Direction, Drawn, details, sentence, table_lines
from unrote.jobs.swap_windows import Named, asked_windows, check_spelling, geometry_windows, paper_windows
from unrote.measure.copies import grouped_neighbors, is_copy
from unrote.measure.estimate import wilson
from unrote.measure.fidelity import GROUPS
from unrote.noise.levels import end_at_zero
from unrote.noise.schedule import units
from unrote.report.page import write
from unrote.sample.steps import euler, heun
from unrote.sample.windows import Window, all_windows, swapped

STEPS: Mapping[str, Step] = {"euler": euler, "heun": heun}
"""Samplers by name."""
SHOWN = 5
"""Samples of every window on the page."""
MOST = 40
"""Levels of which every window is swapped, at most."""
MEMORY = 2**29
"""Bytes that a search may take beyond the images themselves."""


@dataclass(frozen=True)
class Swap:
    """The result of a swap.

    Args:
        levels: sigma, decreasing (T,), without the closing 0.
        windows: what was swapped, with names.
        directions: A with windows of B, and B with windows of A.
        reference: the training set.
        calibration: copies among held-out images, or None.
        quality: what quality is measured against, or None.
        notes: what a reader should know first.
        content: what result.json holds.
        out: the folder with everything.
    """

    levels: Tensor
    windows: tuple[Named, ...]
    directions: tuple[Direction, Direction]
    reference: Reference
    calibration: Estimate | None
    quality: Quality | None
    notes: tuple[str, ...]
    content: dict[str, Any]
    out: Path

    def as_json(self) -> dict[str, Any]:
        """The content of result.json."""
        return self.content

    def summary(self) -> str:
        """The verdict, and a line for each window."""
        return "\n".join(
            [
                sentence(self.windows, self.levels, self.directions),
                *details(self.windows, self.levels, self.directions),
                "",
                *table_lines(self.windows, self.levels, self.directions),
                "",
                *(f"note: {note}" for note in self.notes),
                f"report: {self.out / 'report.html'}",
            ]
        )


def swap(options: SwapOptions, model: Any = None, other: Any = None, card: Card | None = None) -> Swap:
    """Sample from two models with windows of the other's levels, in both directions, and count copies.

    Args:
        options: what and how; with denoisers given, its `model` and `other` are no more than their names.
        model, other: D(x, sigma, condition) for images in [-1, 1], in place of the models that options name.
        card: what is known of both given denoisers; by default they take any level and no labels.

    Raises:
        InputError: if an input cannot be used.
        ValueError: if one denoiser is given without the other.

    Source: 001 section 3, Table 1 and Figure 10.
    """
    check_settings(options)
    device = device_of(options.device)
    pair, said = read_pair(options, model, other, card)
    ground = read_sets(options)
    reference = ground.reference
    for denoiser, known in zip(pair, said, strict=True):
        if isinstance(denoiser, nn.Module):
            denoiser.to(device)
        check_fits(denoiser, known.card, reference, device)
    label = labels_for(said[0].card, {"--train": reference.images})["--train"]
    levels = end_at_zero(grid_within(options.levels, common(said)))
    asked = asked_windows(levels, options)
    inputs = {
        "model": said[0].as_json(),
        "other": said[1].as_json(),
        "train": asdict(origin(reference.images)),
        "test": None if ground.fresh is None else asdict(origin(ground.fresh)),
    }
    identity = {"settings": settings_of(options), "seed": options.seed, "inputs": inputs}
    with workspace(options.out, options.overwrite, identity) as folder:
        by_geometry, why = geometry_windows(levels, ground, options)
        quality, poor = quality_against(ground.test, reference, options)
        windows = (*paper_windows(levels), *by_geometry, *asked)
        studio = Studio(reference, quality, levels, label, options, device)
        directions = both(pair, windows, studio)
        calibration = None if ground.test is None else calibrated(ground.test, reference)
        notes = notes_on(said, [why, poor])
        results = results_of(windows, levels, directions, studio, calibration) | {"notes": list(notes)}
        content = document("swap", inputs, options, results)
        made = Swap(
            levels[:-1], windows, directions, reference, calibration, quality, notes, content, options.out
        )
        write(swap_page(made, options), folder / "report.html")
        write_document(content, folder)
    return made


def read_sets(options: SwapOptions) -> Ground:
    """The training set and the held-out images, near-duplicates taken out.

    Raises:
        InputError: if one of them cannot be used.
    """
    reference = read_reference(
        options.train, options.duplicate_threshold, options.resize, options.train_range, MEMORY
    )
    if options.test is None:
        return ground_of(reference, None, MEMORY)
    fresh = read_others(options.test, reference, options.resize, options.train_range)
    check_fresh(reference.images, fresh)
    return ground_of(reference, fresh, MEMORY)


def check_settings(options: SwapOptions) -> None:
    """Refuse what can be refused before anything is read.

    Raises:
        InputError: naming the flag.
    """
    check_options(options)
    check_spelling(options)
    check_features(options)
    if options.map and options.levels > MOST:
        count = len(all_windows(options.levels))
        raise InputError(
            f"--map with {options.levels} levels would sample {count:,} windows in both directions; take at most "
            f"{MOST} levels (--levels), or name windows with --window."
        )
    check_free(options.out, options.overwrite)
    check_apart(options.out, options.train, options.test, model=options.model)
    check_apart(options.out, model=options.other)


@dataclass(frozen=True)
class Studio:
    """What every window is sampled and judged with."""

    reference: Reference
    quality: Quality | None
    levels: Tensor
    label: Tensor | None
    options: SwapOptions
    device: torch.device

    def draw(
        self, model: Denoiser, other: Denoiser, windows: Sequence[Window | None]
    ) -> Iterator[tuple[Window | None, Tensor]]:
        """Samples of every window; the same noise and labels in both directions."""
        options, n = self.options, self.options.samples
        condition = None
        if self.label is not None:
            g = torch.Generator().manual_seed(options.seed + 3)
            condition = self.label[torch.randint(len(self.label), (n,), generator=g)]
        pixels = self.reference.pixels
        return swapped(
            model,
            other,
            tuple(pixels.shape[1:]),
            [1_000_003 * (options.seed + 1) + i for i in range(n)],
            self.levels,
            windows,
            STEPS[options.sampler],
            at_once(pixels, 512),
            self.device,
            condition,
        )

    def judge(self, samples: Tensor, groups: int, shown: Tensor) -> Drawn:
        """Copies, quality, and the samples that are shown.

        Args:
            groups: of the jackknife.
            shown: their rows (k,).
        """
        if not torch.isfinite(samples).all():
            raise InputError(
                "A model made samples that are not finite numbers; its weights are damaged, or it does not denoise the "
                "levels of the schedule. Probe it with `unrote probe`."
            )
        seen = as_compared(samples, self.reference)
        found = grouped_neighbors(seen, self.reference.pixels, self.reference.groups.group)
        copied = is_copy(found.distance[:, 0], found.distance[:, 1])
        good = None if self.quality is None else self.quality.of(samples, self.reference, groups)
        return Drawn(copied, good, samples[shown], found.index[shown, 0], copied[shown])

    def rows_to_show(self, model: Denoiser, other: Denoiser) -> Tensor:
        """The first samples that are copies if drawn from the model alone, and the first others where these are few."""
        ((_, samples),) = self.draw(model, other, [None])
        copied = self.judge(samples, QUICK, torch.arange(0)).copied
        return copied.int().argsort(descending=True, stable=True)[:SHOWN].sort().values


def both(
    pair: tuple[Denoiser, Denoiser], named: Sequence[Named], studio: Studio
) -> tuple[Direction, Direction]:
    """A with windows of B, and B with windows of A."""
    count = len(studio.levels) - 1
    full = Window(0, count - 1)
    wanted = {n.window for n in named} | {full}
    every = set(all_windows(count)) if studio.options.map else set()
    windows: list[Window | None] = [None, *sorted(wanted | every)]
    rows = studio.rows_to_show(*pair)
    with progress("windows", 2 * len(windows)) as advance:
        found = [
            Direction(key, names, full, _judged(studio.draw(*models, windows), studio, wanted, rows, advance))
            for key, names, models in (
                ("other in model", ("A", "B"), pair),
                ("model in other", ("B", "A"), pair[::-1]),
            )
        ]
    return found[0], found[1]


def _judged(
    drawn: Iterator[tuple[Window | None, Tensor]],
    studio: Studio,
    wanted: set[Window],
    rows: Tensor,
    advance: Callable[[int], None],
) -> dict[Window | None, Drawn]:
    found = {}
    for window, samples in drawn:
        groups = GROUPS if window is None or window in wanted else QUICK
        found[window] = studio.judge(samples, groups, rows)
        advance(1)
    return found


def calibrated(test: Tensor, reference: Reference) -> Estimate:
    """Copies among held-out images by the same rule."""
    found = grouped_neighbors(as_compared(test, reference), reference.pixels, reference.groups.group)
    copied = is_copy(found.distance[:, 0], found.distance[:, 1])
    return wilson(int(copied.sum()), len(copied))


def notes_on(said: Sequence[Description], reasons: Sequence[str | None]) -> tuple[str, ...]:
    """What a reader should know first: of the models, and what could not be had."""
    notes = [f"{name}: {note}" for name, s in zip("AB", said, strict=True) for note in s.card.notes]
    notes += [reason for reason in reasons if reason is not None]
    return tuple(notes)


def results_of(
    windows: Sequence[Named],
    levels: Tensor,
    directions: Sequence[Direction],
    studio: Studio,
    calibration: Estimate | None,
) -> dict[str, Any]:
    """The keys of result.json."""
    quality = studio.quality

    def row(direction: Direction, window: Window) -> dict[str, Any]:
        drawn = direction.drawn[window]
        high, low = float(levels[window.first]), float(levels[window.last])
        return {
            "from": high,
            "to": low,
            "first": window.first,
            "last": window.last,
            "direction": direction.key,
            "copy_ratio": drawn.ratio,
            "quality": drawn.quality,
        }

    full = directions[0].full
    return {
        "levels": levels[:-1].tolist(),
        "units": [asdict(units(level)) for level in levels[:-1].tolist()],
        "model": _told(directions[0].drawn[None]),
        "other": _told(directions[0].drawn[full]),
        "windows": [
            row(d, n.window) | {"name": n.name, "source": n.source, "copying": d.verdict(n.window).value}
            for n in windows
            for d in directions
        ],
        "map": [row(d, w) for d in directions for w in all_windows(len(levels) - 1)]
        if studio.options.map
        else None,
        "calibration_ratio": calibration,
        "quality_measure": None
        if quality is None
        else {
            "name": "squared Frechet distance to held-out images",
            "features": quality.map.as_dict(),
            "n": len(quality.fresh),
            "real_images": quality.real,
        },
        "verdict": sentence(windows, levels, directions),
    }


def _told(drawn: Drawn) -> dict[str, Any]:
    return {"copy_ratio": drawn.ratio, "quality": drawn.quality}
