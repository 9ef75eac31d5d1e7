"""Measured fronts: what remedies leave of the copies, at what price in quality, with intervals over seeds."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from unrote.contracts import Estimate
from unrote.measure.estimate import estimate, wilson
from unrote.noise.schedule import units
from unrote.report.format import number

BASELINE = "baseline"
FEW = 5
"""Seeds below which nothing is said about training."""
HIDES = (
    "Samples of a model that learned from noisy copies alone keep about as much noise as the copies had, and those of "
    "one that learned from images with hidden pixels are blurred there. A copy with noise or blur is too far from its "
    "source for a rule that counts by distance: few copies by that rule are no evidence that little was learned by "
    "heart, so neither is recommended on the copy ratio."
)


@dataclass(frozen=True)
class Treatment:
    """What was done against copying, as flags of `unrote train` spell it.

    Args:
        recipe: its --recipe.
        gap: the levels that were left out, geometric means over seeds.
        ambient: noise of the noisy copies, geometric mean over seeds.
        more: other options of `TrainOptions`, names with values.
        only_python: what no flag spells, in words; empty where the flags spell everything.
        hides: whether copies of it are hidden from a rule that counts by distance.
    """

    recipe: str = BASELINE
    gap: tuple[float, float] | None = None
    ambient: float | None = None
    more: tuple[tuple[str, Any], ...] = ()
    only_python: str = ""
    hides: bool = False

    def levels(self) -> str:
        """The noise levels of the remedy in words, in two units; empty where there are none."""
        parts = []
        if self.gap is not None:
            parts.append(f"left out: {spelled(*self.gap)}")
        if self.ambient is not None:
            parts.append(f"noisy copies: {spelled(self.ambient)}")
        return "; ".join(parts)


def spelled(*levels: float) -> str:
    """Levels as sigma and as VP noise: sigma 0.5 (VP 0.447)."""
    vp = [number(units(level).vp_time) if level > 0 else "0" for level in levels]
    return f"sigma {' to '.join(map(number, levels))} (VP {' to '.join(vp)})"


@dataclass(frozen=True)
class Run:
    """One network that was trained with one remedy at one seed.

    Args:
        remedy: its name for users.
        seed: of everything random.
        treatment: what was done.
        samples: how many were looked at, at each step.
        steps: where it was measured, ascending.
        copies: share of copies at each step.
        quality: at each step; less is better, and an interval, where there is one, is not over seeds.
    """

    remedy: str
    seed: int
    treatment: Treatment
    samples: int
    steps: Sequence[int]
    copies: Sequence[float]
    quality: Sequence[Estimate]

    def __post_init__(self) -> None:
        if not len(self.steps) == len(self.copies) == len(self.quality) > 0:
            raise ValueError(f"a run of {self.remedy} has parts of different lengths, or no step")


@dataclass(frozen=True)
class Setting:
    """Where a front was measured.

    Args:
        data: the training images in words.
        images: N.
        shape: (C,H,W) of one.
        kind: "mlp" or "unet", as --network spells it.
        network: the network in words.
        steps: of the whole training.
        measure: what quality is; less is better.
        options: fields of `TrainOptions` in which the training differs from the defaults.
        gap: the recommended gap of its training images, geometric mean over seeds, if it is known.
        sha256: hash of the training images, for runs of the user.
        source: what was run, or which folders.
    """

    data: str
    images: int
    shape: tuple[int, int, int]
    kind: str
    network: str
    steps: int
    measure: str
    options: Mapping[str, Any]
    gap: tuple[float, float] | None = None
    sha256: str | None = None
    source: str = ""

    @property
    def dimension(self) -> int:
        """Numbers in one image."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Seen:
    """What one run showed at one step."""

    copies: float
    samples: int
    quality: Estimate


@dataclass(frozen=True)
class Point:
    """A remedy after some steps.

    Args:
        remedy: its name for users.
        step: after how many.
        stopped: whether training went on.
        copies: share of copies among samples, over seeds.
        quality: over seeds; less is better.
        worse: quality / that of the baseline at its end, paired by seed.
        left: copies / those of the baseline at its end, paired by seed; none counts as half a copy.
        treatment: what was done.
        by_seed: what each run showed, in the order of the seeds.
    """

    remedy: str
    step: int
    stopped: bool
    copies: Estimate
    quality: Estimate
    worse: Estimate
    left: Estimate
    treatment: Treatment
    by_seed: tuple[tuple[int, Seen], ...]

    @property
    def name(self) -> str:
        """The remedy, and where it was stopped."""
        return f"{self.remedy}, stopped at step {self.step:,}" if self.stopped else self.remedy

    @property
    def seeds(self) -> int:
        """How many runs stand behind the numbers."""
        return self.quality.n


@dataclass(frozen=True)
class Front:
    """All remedies that were measured in one setting.

    Args:
        setting: where.
        points: every remedy at every step, the baseline first.
        seeds: how many runs of the baseline.
    """

    setting: Setting
    points: tuple[Point, ...]
    seeds: int

    @property
    def title(self) -> str:
        """The setting in a few words."""
        s = self.setting
        return f"{s.data}, {s.network}, {s.steps:,} steps, {counted(self.seeds, 'seed')}"

    @property
    def baseline(self) -> Point:
        """The baseline at its end."""
        return next(p for p in self.points if p.remedy == BASELINE and not p.stopped)


def front_of(setting: Setting, runs: Sequence[Run]) -> Front | None:
    """Pool runs over seeds; None without a baseline.

    A remedy at a step holds every seed once: where two runs are of the same remedy, seed and step, the first counts.
    """
    found: dict[str, dict[int, dict[int, Seen]]] = {}
    treatments: dict[str, list[Treatment]] = {}
    for run in runs:
        treatments.setdefault(run.remedy, []).append(run.treatment)
        at = found.setdefault(run.remedy, {})
        for step, copies, quality in zip(run.steps, run.copies, run.quality, strict=True):
            at.setdefault(step, {}).setdefault(run.seed, Seen(copies, run.samples, quality))
    if BASELINE not in found:
        return None
    plain = found[BASELINE][max(found[BASELINE])]
    points = [
        _point(name, step, step < max(found[name]), found[name][step], plain, pooled(treatments[name]))
        for name in sorted(found, key=lambda name: name != BASELINE)
        for step in sorted(found[name])
    ]
    return Front(setting, tuple(points), len(plain))


def _point(
    name: str, step: int, stopped: bool, seen: Mapping[int, Seen], plain: Mapping[int, Seen], done: Treatment
) -> Point:
    mine, base = tuple(sorted(seen.items())), tuple(sorted(plain.items()))
    same = all(plain.get(seed) is one for seed, one in mine)
    exactly = Estimate(1.0, 1.0, 1.0, len(mine))
    return Point(
        name,
        step,
        stopped,
        copies_over([(one.copies, one.samples) for _, one in mine]),
        quality_over([one.quality for _, one in mine]),
        exactly if same else quality_ratio(mine, base),
        exactly if same else copies_left(mine, base),
        done,
        mine,
    )


BySeed = Sequence[tuple[int, Seen]]
"""What runs of several seeds showed."""


def paired(one: BySeed, other: BySeed) -> list[tuple[Seen, Seen]]:
    """What both showed at the same seeds."""
    there = dict(other)
    return [(mine, there[seed]) for seed, mine in one if seed in there]


def copies_left(one: BySeed, other: BySeed) -> Estimate:
    """Copies / copies, paired by seed: the geometric mean with Student's interval; none counts as half a copy."""
    logs = []
    for a, b in paired(one, other):
        least = 0.5 / min(a.samples, b.samples)
        logs.append(math.log(max(a.copies, least) / max(b.copies, least)))
    return _geometric(logs)


def pooled(treatments: Sequence[Treatment]) -> Treatment:
    """One treatment for all seeds: levels, which may follow from the images of a seed, as geometric means."""
    first = treatments[0]
    gaps = [t.gap for t in treatments if t.gap is not None]
    noisy = [t.ambient for t in treatments if t.ambient is not None]
    return Treatment(
        first.recipe,
        (middle([low for low, _ in gaps]), middle([high for _, high in gaps])) if gaps else None,
        middle(noisy) if noisy else None,
        first.more,
        first.only_python,
        first.hides,
    )


def middle(values: Sequence[float]) -> float:
    """The geometric mean of levels; 0 where one is 0, and the common value where they are alike."""
    if min(values) <= 0 or min(values) == max(values):
        return min(values)
    return math.exp(sum(map(math.log, values)) / len(values))


def copies_over(seen: Sequence[tuple[float, int]]) -> Estimate:
    """The mean copy ratio over seeds, with an interval that cannot leave [0, 1].

    Student's interval of logit((k + 1/2)/(n + 1)) over seeds, brought back, widened to hold Wilson's interval of all
    samples together: seeds without a single copy do not differ, and still are not certain. One seed has Wilson's.

    Args:
        seen: (share of copies, samples) of each seed.
    """
    counts = [(round(share * n), n) for share, n in seen]
    together = wilson(sum(k for k, _ in counts), sum(n for _, n in counts))
    mean = sum(share for share, _ in seen) / len(seen)
    if len(seen) == 1:
        return together
    logits = [math.log((k + 0.5) / (n - k + 0.5)) for k, n in counts]
    over = estimate(torch.tensor(logits, dtype=torch.float64))
    assert over.low is not None and over.high is not None
    assert together.low is not None and together.high is not None
    low, high = (1 / (1 + math.exp(-end)) for end in (over.low, over.high))
    return Estimate(mean, min(low, together.low), max(high, together.high), len(seen))


def quality_over(seen: Sequence[Estimate]) -> Estimate:
    """The mean over seeds with Student's interval; one seed keeps its own interval, which is over images."""
    if len(seen) == 1:
        return Estimate(seen[0].value, seen[0].low, seen[0].high, 1)
    return estimate(torch.tensor([one.value for one in seen], dtype=torch.float64))


def quality_ratio(one: BySeed, other: BySeed) -> Estimate:
    """Quality / quality, paired by seed: the geometric mean with Student's interval of the logarithms.

    One seed has an interval from the ends of both, which is wider than a paired one would be. Nothing is known where
    a number is not positive, as estimates of a distance can be.
    """
    pairs = [(a.quality, b.quality) for a, b in paired(one, other)]
    values = [(a.value or 0.0, b.value or 0.0) for a, b in pairs]
    if not pairs or any(min(both) <= 0 for both in values):
        return Estimate(None, None, None, len(pairs))
    found = _geometric([math.log(a / b) for a, b in values])
    if len(pairs) > 1:
        return found
    a, b = pairs[0]
    if a.low is None or a.high is None or b.low is None or b.high is None or b.low <= 0:
        return found
    return Estimate(found.value, max(0.0, a.low) / b.high, a.high / b.low, 1)


def _geometric(logs: Sequence[float]) -> Estimate:
    """exp of the mean of some logarithms, with its interval where there are several."""
    found = estimate(torch.tensor(logs, dtype=torch.float64))
    value, low, high = (None if e is None else math.exp(e) for e in (found.value, found.low, found.high))
    return Estimate(value, low, high, found.n)


def undominated(
    points: Sequence[Point], x: Callable[[Point], Estimate], y: Callable[[Point], Estimate]
) -> tuple[Point, ...]:
    """Points that no other one matches or beats in both means and beats in one, in the order of the first."""

    def of(p: Point) -> tuple[float, float]:
        a, b = x(p).value, y(p).value
        return (math.inf if a is None else a), (math.inf if b is None else b)

    kept = [p for p in points if not any(_beats(of(q), of(p)) for q in points)]
    return tuple(sorted(kept, key=of))


def _beats(one: tuple[float, float], other: tuple[float, float]) -> bool:
    return one[0] <= other[0] and one[1] <= other[1] and one != other


def counted(n: int, noun: str) -> str:
    """1 seed, 5 seeds."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"
