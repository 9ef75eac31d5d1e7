"""`unrote geometry`: before anyone trains, at which noise levels will a model copy this training set?"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unrote.contracts import InputError
from unrote.geometry.posterior import weight_curve
from unrote.geometry.shells import Shell, coverage, coverage_without_test, nearest_distances, nearest_others
from unrote.jobs.audit_page import groups_of
from unrote.jobs.checking import check_apart, check_options
from unrote.jobs.comparing import origin
from unrote.jobs.geometry_page import geometry_page
from unrote.jobs.geometry_verdict import (
    Findings,
    conclude,
    named_levels,
    notes_on,
    recommendation,
    results_of,
    sentence,
)
from unrote.jobs.ground import Ground, check_levels, grid, read_ground
from unrote.jobs.options import GeometryOptions
from unrote.jobs.output import (
    check_free,
    document,
    progress,
    settings_of,
    workspace,
    write_document,
)
from unrote.noise.levels import log_levels
from unrote.noise.schedule import units
from unrote.report.format import quantity
from unrote.report.page import write

PILOT = 64
"""Images on which the range of levels is looked for."""
NOISES = 128
"""Noises at every level, at least, over all images."""
CALM = 0.01
"""Coverage below, and posterior weight above its floor by less than this, end the range of levels."""


@dataclass(frozen=True)
class Curves:
    """What was measured at every level.

    Args:
        levels: sigma, ascending (T,).
        weight: largest posterior weight of noised training images (T,n).
        own: posterior weight of the image that was noised (T,n).
        covered: whether noised fresh images lie in a shell (T,q).
        left_out: the same for training images held against all others, where fresh ones were given (T,n); or None.
    """

    levels: Tensor
    weight: Tensor
    own: Tensor
    covered: Tensor
    left_out: Tensor | None


@dataclass(frozen=True)
class Survey:
    """The result of a geometry.

    Args:
        ground: the images that were surveyed.
        curves: what was measured, image by image.
        findings: zone, regimes and recommendations.
        notes: what the reader should know first.
        content: what result.json holds.
        out: the folder with everything.
    """

    ground: Ground
    curves: Curves
    findings: Findings
    notes: tuple[str, ...]
    content: dict[str, Any]
    out: Path

    @property
    def levels(self) -> Tensor:
        """Sigma, ascending (T,)."""
        return self.curves.levels

    def as_json(self) -> dict[str, Any]:
        """The content of result.json."""
        return self.content

    def summary(self) -> str:
        """The zone, what to do, and every level that has a name."""
        rows = []
        for name, level in named_levels(self.findings).items():
            step = None if level.value is None else units(level.value).ddpm_linear_timestep
            said = "" if step is None else f"DDPM timestep {step:.0f}"
            rows.append(f"  {name:<27} {quantity(level).split(', n = ')[0]:<26} {said}".rstrip())
        groups = self.ground.reference.groups.groups
        return "\n".join(
            [
                sentence(self.ground, self.findings),
                recommendation(self.ground, self.findings),
                "",
                f"  {'':<27} {'sigma, pixels -1 to 1':<26}".rstrip(),
                *rows,
                f"  {'near-duplicates':<27} {groups_of(len(groups))}, {sum(map(len, groups)):,} training images",
                *(f"  note: {note}" for note in self.notes),
                "",
                *(f"  {line}" for line in self.findings.commands),
                "",
                f"report: {self.out / 'report.html'}",
            ]
        )


def geometry(options: GeometryOptions) -> Survey:
    """Survey a training set; writes result.json and report.html.

    Raises:
        InputError: if an input cannot be used.
    """
    check_options(options)
    check_levels(options)
    check_free(options.out, options.overwrite)
    check_apart(options.out, options.train, options.test)
    ground = read_ground(options)
    inputs = {"train": asdict(origin(ground.reference.images))}
    if ground.fresh is not None:
        inputs["test"] = asdict(origin(ground.fresh))
    identity = {"settings": settings_of(options), "seed": options.seed, "train": inputs["train"]["sha256"]}
    with workspace(options.out, options.overwrite, identity) as folder:
        with progress("curves", 3 if ground.test is None else 4) as advance:
            levels = choose_levels(ground, options)
            advance(1)
            curves = measure(ground, levels, options, advance)
        findings = conclude(curves, ground, options)
        notes = notes_on(ground, curves, findings, options)
        content = document("geometry", inputs, options, results_of(ground, curves, findings, notes))
        made = Survey(ground, curves, findings, notes, content, options.out)
        write(geometry_page(made, options), folder / "report.html")
        write_document(content, folder)
    return made


def choose_levels(ground: Ground, options: GeometryOptions) -> Tensor:
    """The levels that were asked for, or those between which both curves do what they do, ascending (T,).

    Raises:
        InputError: if the one end that was asked for lies beyond the other, which the data choose.
    """
    if options.low is not None and options.high is not None:
        return grid(options.low, options.high, options.levels)
    low, high = reach(ground, options.seed, options.memory * 2**20)
    if options.low is not None and options.low >= high:
        raise InputError(
            f"--low {options.low:g} lies above every level that matters: from {high:.3g} on no training image holds "
            "any weight. Lower it, or give --high too."
        )
    if options.high is not None and options.high <= low:
        raise InputError(
            f"--high {options.high:g} lies below every level that matters: up to {low:.3g} no fresh image looks like a "
            "training image. Raise it, or give --low too."
        )
    return grid(options.low or low, options.high or high, options.levels)


def reach(ground: Ground, seed: int, memory: int) -> tuple[float, float]:
    """The levels between which coverage rises and the posterior weight falls, by a few images and a wide grid."""
    x, shell = ground.x, Shell(ground.x[0].numel())
    g = torch.Generator().manual_seed(seed)
    some = torch.randperm(len(x), generator=g)[:PILOT]
    far = float((x[some] - x.mean(0)).double().flatten(1).norm(dim=1).max())
    if ground.test is None:
        fresh, near = None, nearest_others(x, some, memory=memory)
    else:
        fresh = ground.test[torch.randperm(len(ground.test), generator=g)[:PILOT]]
        near = nearest_distances(x, fresh, memory=memory)
    overlap = math.sqrt(
        shell.outer**2 - shell.dimension
    )  # in units of sigma, where half of two shells overlaps
    wide = log_levels(float(near.min()) / (4 * overlap), 40 * far, 64)
    weight = weight_curve(x, wide, g, base=PILOT, memory=memory).maximum.mean(1)
    if fresh is None:
        covered = coverage_without_test(x, wide, shell, g, base=PILOT, memory=memory).mean(1)
    else:
        covered = coverage(x, fresh, wide, shell, g, memory=memory).mean(1)
    floor = 1 / len(x)
    rising = (covered > CALM).nonzero()[:, 0]
    ruling = ((weight - floor) / (1 - floor) > CALM).nonzero()[:, 0]
    first = max(0, int(rising[0]) - 1) if len(rising) else 0
    last = min(len(wide) - 1, int(ruling[-1]) + 1) if len(ruling) else len(wide) - 1
    low, high = float(wide[first]) / 2, float(wide[last])  # a few images see the first 2 % late
    return low, max(high, 2 * low)


def measure(ground: Ground, levels: Tensor, options: GeometryOptions, tell: Callable[[int], None]) -> Curves:
    """Both curves; every part has a stream of random numbers of its own."""
    x, shell, memory = ground.x, Shell(ground.x[0].numel()), options.memory * 2**20

    def stream(k: int) -> torch.Generator:
        return torch.Generator().manual_seed(4 * options.seed + k)

    again = draws(min(len(x), options.points))
    found = weight_curve(x, levels, stream(0), base=options.points, draws=again, memory=memory)
    tell(1)
    left_out = coverage_without_test(
        x, levels, shell, stream(1), base=options.points, draws=again, memory=memory
    )
    tell(1)
    if ground.test is None:
        return Curves(levels, found.maximum, found.own, left_out, None)
    chosen = torch.randperm(len(ground.test), generator=stream(2))[: options.points]
    covered = coverage(x, ground.test[chosen], levels, shell, stream(3), draws(len(chosen)), memory=memory)
    tell(1)
    return Curves(levels, found.maximum, found.own, covered, left_out)


def draws(points: int) -> int:
    """How often an image is noised at every level: more than once where there are few images."""
    return max(1, NOISES // points)
