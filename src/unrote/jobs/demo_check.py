"""The third act of the demonstration: does the model copy where its geometry said, and what did the cure change?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unrote.contracts import Denoiser, Estimate
from unrote.data.pixels import to_unit
from unrote.data.sources import Images
from unrote.denoise.exact import Empirical
from unrote.geometry.regimes import Zone
from unrote.jobs.auditing import Audit
from unrote.jobs.comparing import Reference
from unrote.jobs.demo_diagnosis import gap_of
from unrote.jobs.measuring import Measurement, copies_of
from unrote.jobs.output import curve
from unrote.jobs.probing import LevelCurves
from unrote.jobs.surveying import Survey
from unrote.measure.copies import grouped_neighbors, is_copy
from unrote.measure.denoising import denoise_at
from unrote.measure.estimate import bootstrap, normal_quantile, wilson
from unrote.measure.fidelity import frechet

REPEATS = 500
"""Sets of noised digits drawn anew for the interval of the level of most copying."""
SHOWN = 9
"""Samples of each model on the small set that the page shows beside their nearest training images."""
PROBED = 512
"""Fresh digits that are noised at every level of the geometry, at most."""


@dataclass(frozen=True)
class Trained:
    """One of the models: what it was trained on, and what was found.

    Args:
        count: training images.
        history: losses and copies over training.
        samples: what was audited, one for each seed.
        audited: the audit of its samples.
        model, empirical: copies and errors level by level.
    """

    count: int
    history: tuple[Measurement, ...]
    samples: Images
    audited: Audit
    model: LevelCurves
    empirical: LevelCurves


@dataclass(frozen=True)
class Pairs:
    """Samples in the order of their seeds, each with its nearest training image.

    Args:
        pixels: of the samples, as they are compared (n,C,H,W).
        nearest: rows of the training set (n,).
        ratio: nearest distance to second-nearest (n,).
        copied: which are copies (n,).
    """

    pixels: Tensor
    nearest: Tensor
    ratio: Tensor
    copied: Tensor


@dataclass(frozen=True)
class Check:
    """What the geometry said, held against what training did.

    Args:
        levels: of the geometry, ascending (T,).
        copied: which of the same noised fresh digits one denoising step turns into copies, by denoiser (T,n).
        peak: the level at which the model copies most; without a value if it copies at none.
        height: the share of copies at that level.
        at_crossing: the share of copies at the level where the curves of the geometry cross.
        danger, gap: the levels of the danger zone, and those that the cure left out; None if there are none.
        difference: copies among samples with the gap minus those without it, same seeds; None without a gap.
        stopped: the model without the gap where its loss on held-out digits is lowest.
        distance: squared Frechet distance of samples from held-out digits, by model (`stopped` for the last), and of
            other real digits (`real`), pixels in [-1, 1]; None where there are too few samples.
        pairs: the first samples of the models on the small set, by model.
    """

    levels: Tensor
    copied: dict[str, Tensor]
    peak: Estimate
    height: Estimate
    at_crossing: Estimate | None
    danger: Zone | None
    gap: Zone | None
    difference: Estimate | None
    stopped: Measurement
    distance: Mapping[str, Estimate | None]
    pairs: Mapping[str, Pairs]

    def ratios(self, name: str) -> list[Estimate]:
        """The share of copies of one denoiser at every level."""
        return [wilson(int(row.sum()), len(row)) for row in self.copied[name]]

    def as_json(self) -> dict[str, Any]:
        """What result.json holds of the check."""
        return {
            "levels": self.levels.tolist(),
            "copy_ratio": {name: curve(self.ratios(name)) for name in self.copied},
            "most_copying_at": self.peak,
            "copy_ratio_there": self.height,
            "copy_ratio_at_crossing": self.at_crossing,
            "inside_danger_zone": inside(self.danger, self.peak),
            "interval_meets_danger_zone": meets(self.danger, self.peak),
            "inside_gap": inside(self.gap, self.peak),
            "copies_with_gap_minus_without": self.difference,
            "stopped_early": {
                "step": self.stopped.step,
                "validation_loss": self.stopped.validation_loss,
                "copy_ratio": self.stopped.copy_ratio,
            },
            "frechet_distance": self.distance,
        }


def check_of(
    survey: Survey,
    denoisers: Mapping[str, Denoiser],
    models: Mapping[str, Trained],
    stopped: Images,
    seed: int,
) -> Check:
    """Probe models on the levels of the geometry, find the level of most copying, count copies with and without gap.

    Args:
        survey: the geometry of the images that the models were trained on.
        denoisers: small, and gap if there is one.
        models: the same, and large.
        stopped: samples of small as it was when its held-out loss was lowest.
        seed: of the noise, of the bootstrap and of what is drawn at random.
    """
    ground, levels, found = survey.ground, survey.levels, survey.findings
    assert ground.test is not None
    chosen = torch.randperm(len(ground.test), generator=_stream(seed))[:PROBED]
    fresh = ground.test[chosen]
    copied = {
        name: probe_at(denoiser, fresh, ground.reference, levels, seed)
        for name, denoiser in (*denoisers.items(), ("optimum", Empirical(ground.x)))
    }
    peak = most_copying(levels, copied["small"], _stream(seed))
    middle, gap = found.regimes.crossing.value, gap_of(survey)
    nowhere = Estimate(None, None, None, len(fresh))
    main = {name: model.audited.findings.main.copied for name, model in models.items()}
    samples = {name: model.samples for name, model in models.items()} | {"stopped": stopped}
    real = samples | {"real": models["large"].audited.reference.images}
    return Check(
        levels,
        copied,
        peak,
        nowhere if peak.value is None else ratio_at(levels, copied["small"], peak.value),
        None if middle is None else ratio_at(levels, copied["small"], middle),
        found.regimes.danger,
        None if gap is None else Zone(*gap),
        paired_difference(main["gap"], main["small"]) if "gap" in main else None,
        lowest_loss(models["small"].history),
        {name: distance_to(ground.test, to_unit(i.pixels, i.value_range), seed) for name, i in real.items()},
        {
            name: pairs_of(samples[name].pixels[:SHOWN], ground.reference)
            for name in ("small", "gap", "stopped")
            if name in samples
        },
    )


def distance_to(fresh: Tensor, samples: Tensor, seed: int) -> Estimate | None:
    """The squared Frechet distance of samples from held-out images, or None for fewer samples than 2 for each pixel.

    Args:
        fresh, samples: images in [-1, 1] (m,C,H,W), (n,C,H,W); as many of both are taken, at random.
        seed: draws them.

    Source: as `unrote.measure.fidelity.frechet`, with pixels as features, which see noise and blur and no more.
    """
    g, n = _stream(seed), min(len(fresh), len(samples))
    a, b = (x[torch.randperm(len(x), generator=g)[:n]].flatten(1) for x in (samples, fresh))
    return frechet(a, b, g).distance if n >= 2 * a.shape[1] else None


def _stream(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def ratio_at(levels: Tensor, copied: Tensor, level: float) -> Estimate:
    """The share of copies at the nearest of some levels."""
    row = copied[int((levels.log() - math.log(level)).abs().argmin())]
    return wilson(int(row.sum()), len(row))


def probe_at(denoiser: Denoiser, fresh: Tensor, reference: Reference, levels: Tensor, seed: int) -> Tensor:
    """Which noised images one denoising step turns into copies, at every level (T,n); image i keeps its noise.

    Args:
        denoiser: in evaluation mode.
        fresh: images in [-1, 1] that were not trained on (n,C,H,W).
        reference: training images.
        levels: sigma (T,).
        seed: of the noise.
    """
    return torch.stack(
        [
            copies_of(denoise_at(denoiser, fresh, level, torch.Generator().manual_seed(seed)), reference)
            for level in levels.tolist()
        ]
    )


def most_copying(levels: Tensor, copied: Tensor, generator: torch.Generator) -> Estimate:
    """The level with most copies, with the percentile bootstrap interval over images; no value without copies.

    argmax over levels of the mean over images; the lowest one of several.

    Args:
        levels: sigma, ascending (T,).
        copied: decisions (T,n).
        generator: draws images.

    Source: Efron 1979 for the interval, which is no finer than the levels.
    """
    n = copied.shape[1]
    if not bool(copied.any()):
        return Estimate(None, None, None, n)

    def highest(rows: Tensor) -> float:
        return float(levels[int(rows.mean(0).argmax())])

    return bootstrap(copied.T.double(), highest, generator, REPEATS)


def paired_difference(first: Tensor, second: Tensor, confidence: float = 0.95) -> Estimate:
    """The share of first minus the share of second among the same cases, with an interval that knows the pairs.

    With b cases true in the first alone and c in the second alone, the value is (b - c)/n. The interval is Wald's
    after half a case was added to each of the four cells, so that it has a width where no pair differs:
    d +- z sqrt((b' + c')/n' - d^2) / sqrt(n'), b' = b + 1/2, c' = c + 1/2, n' = n + 2, d = (b' - c')/n'.

    Args:
        first, second: decisions about the same cases (n,).

    Raises:
        ValueError: for no cases, or different numbers of them.

    Source: Agresti and Min, "Simple improved confidence intervals for comparing matched proportions", 2005.
    """
    n = len(first)
    if n == 0 or n != len(second):
        raise ValueError(f"pairs are needed, got {n} and {len(second)} decisions")
    b, c = int((first & ~second).sum()), int((second & ~first).sum())
    more = n + 2
    centre = (b - c) / more
    half = normal_quantile(confidence) * math.sqrt(((b + c + 1) / more - centre**2) / more)
    return Estimate((b - c) / n, max(-1.0, centre - half), min(1.0, centre + half), n)


def pairs_of(pixels: Tensor, reference: Reference) -> Pairs:
    """Samples with their nearest training images.

    Args:
        pixels: of the samples, as they are compared (n,C,H,W).
    """
    found = grouped_neighbors(pixels, reference.pixels, reference.groups.group)
    first, second = found.distance[:, 0], found.distance[:, 1]
    return Pairs(pixels, found.index[:, 0], first / second, is_copy(first, second))


def lowest_loss(history: Sequence[Measurement]) -> Measurement:
    """The measurement at which the loss on held-out images is lowest, where training would have been stopped."""
    return min(
        history, key=lambda m: math.inf if m.validation_loss.value is None else m.validation_loss.value
    )


def inside(zone: Zone | None, level: Estimate) -> bool | None:
    """Whether a level lies in a zone; None where one of both is not known."""
    if zone is None or level.value is None:
        return None
    return zone.low <= level.value <= zone.high


def meets(zone: Zone | None, level: Estimate) -> bool | None:
    """Whether the interval of a level has a part in a zone; None where one of both is not known."""
    if zone is None or level.low is None or level.high is None:
        return None
    return level.low <= zone.high and zone.low <= level.high
