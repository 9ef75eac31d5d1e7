"""What a geometry comes to: zone, regimes, gap, ambient level, and the words for them."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from unrote.contracts import Estimate, InputError
from unrote.geometry.advice import Recommendation, recommended_ambient_level, recommended_gap
from unrote.geometry.regimes import Regimes, Zone, regimes, share_removed
from unrote.jobs.audit_page import groups_of
from unrote.jobs.cure_checks import check_cures
from unrote.jobs.cures import Cures
from unrote.jobs.ground import Ground, flat_images
from unrote.jobs.options import GeometryOptions
from unrote.jobs.output import curve
from unrote.measure.estimate import estimate, wilson
from unrote.noise.levels import LogNormal
from unrote.noise.schedule import units
from unrote.report.format import number, percent

if TYPE_CHECKING:
    from unrote.jobs.surveying import Curves

LAW = LogNormal()
"""EDM's law of training levels."""
SMALL = 16
"""Side of images up to which a residual MLP will do."""
FEW = 100
"""Training images below which 1/N is not small beside 0.05."""
UNSURE = 0.5
"""Height of the crossing below which copying is less likely than not at every level."""
APART = 0.1
"""Largest difference between the two coverages that needs no word."""


@dataclass(frozen=True)
class Findings:
    """What a survey comes to; a level that could not be found has no value, and a reason.

    Args:
        regimes: crossing, danger zone, calm ends.
        gap: levels to leave out of training.
        ambient: level of noise to add to every image once.
        zone_share, gap_share: probability of zone and gap under EDM's law of training levels.
        commands: what to run next.
    """

    regimes: Regimes
    gap: Recommendation
    ambient: Recommendation
    zone_share: float | None
    gap_share: float | None
    commands: tuple[str, str]


def regimes_of(curves: Curves, ground: Ground, seed: int) -> Regimes:
    """Where both measured curves meet, with a bootstrap of that seed."""
    return regimes(
        curves.levels,
        curves.weight,
        curves.covered,
        count=len(ground.rows),
        generator=torch.Generator().manual_seed(seed),
    )


def conclude(curves: Curves, ground: Ground, options: GeometryOptions) -> Findings:
    """Zone, regimes and recommendations from both curves."""
    found = regimes_of(curves, ground, options.seed)
    gap = recommended_gap(found)
    return Findings(
        found,
        gap,
        recommended_ambient_level(found),
        None if found.danger is None else share_removed(found.danger, LAW),
        None if gap.zone is None else share_removed(gap.zone, LAW),
        commands(ground, gap, options),
    )


def means(values: Tensor) -> tuple[Estimate, ...]:
    """The mean over images at every level, with Student's interval, within 0 and 1.

    Args:
        values: between 0 and 1 (T,n).
    """
    return tuple(_within(estimate(row)) for row in values)


def shares(values: Tensor) -> tuple[Estimate, ...]:
    """The same for decisions, or shares of a few decisions each: Wilson's interval where none are mixed.

    Args:
        values: between 0 and 1 (T,n).
    """
    decided = ((values == 0) | (values == 1)).all(1).tolist()
    return tuple(
        wilson(int(row.sum()), len(row)) if sure else _within(estimate(row))
        for row, sure in zip(values, decided, strict=True)
    )


def _within(e: Estimate) -> Estimate:
    low, high = (None if end is None else min(1.0, max(0.0, end)) for end in (e.low, e.high))
    return Estimate(e.value, low, high, e.n)


def notes_on(ground: Ground, curves: Curves, found: Findings, options: GeometryOptions) -> tuple[str, ...]:
    """What a reader must know before believing the numbers."""
    train = ground.reference.images
    n, groups = len(ground.rows), ground.reference.groups.groups
    notes = [*train.notes, *(ground.fresh.notes if ground.fresh else ())]
    if flat := flat_images(train):
        notes.append(f"{flat:,} of {len(train):,} training images have one colour in all their pixels.")
    if ground.doubled:
        notes.append(
            f"{sum(map(len, groups)):,} training images form {groups_of(len(groups))} of near-duplicates, and a group "
            f"counts as one image: the curves are those of {n:,} images. Pairs would bend both curves, since two "
            "images would share one posterior; copying of the pairs themselves reaches to higher levels than the zone."
        )
    if 2 * ground.doubled > len(train):
        notes.append(
            f"More than half of the training images are near-duplicates within {options.duplicate_threshold:g}. If "
            "they do not look alike to you (see the groups on the page), lower --duplicate-threshold."
        )
    if n < FEW:
        notes.append(
            f"{n:,} training images are few: the posterior weight cannot fall below 1/{n} = {percent(1 / n)}, so it is "
            "compared above that floor, and all levels are uncertain. A network of any size can learn so few by rote."
        )
    if n > curves.weight.shape[1]:
        notes.append(
            f"The posterior weight rests on {curves.weight.shape[1]:,} of {n:,} training images drawn at random, each "
            "held against all; the intervals hold what that adds (--points sets how many)."
        )
    if ground.test is None:
        notes.append(
            "No held-out images were given (--test), so coverage was measured by leaving training images out one by "
            "one. That is right if fresh images are drawn like the training set, and it is too high where the set "
            "holds several versions of one image."
        )
    notes += _on_test(ground, curves)
    if options.levels is not None and len(curves.levels) > 1:
        per_e = 1 / float((curves.levels[1] / curves.levels[0]).log())
        if per_e < 12:
            notes.append(
                f"{per_e:.1f} levels per factor e are few; zone and crossing are interpolated between them."
            )
    return tuple(dict.fromkeys(notes))


def _on_test(ground: Ground, curves: Curves) -> list[str]:
    """Held-out images that are not fresh, and held-out images that are not of the same kind."""
    if ground.fresh is None or curves.left_out is None:
        return []
    notes = []
    if ground.leaked:
        notes.append(
            f"{ground.leaked:,} of {len(ground.fresh):,} held-out images, near-duplicates of training images, were "
            "left out of the coverage."
        )
    if len(ground.rows) < FEW:
        return notes
    fresh, known = shares(curves.covered), shares(curves.left_out)
    at = int((curves.covered.mean(1) - curves.left_out.mean(1)).abs().argmax())
    difference = (fresh[at].value or 0.0) - (known[at].value or 0.0)
    if abs(difference) > APART + sum(((e.high or 1.0) - (e.low or 0.0)) / 2 for e in (fresh[at], known[at])):
        notes.append(
            f"Held-out images are covered {'less' if difference < 0 else 'more'} than training images left out: "
            f"{percent(fresh[at].value)} against {percent(known[at].value)} at sigma = "
            f"{number(float(curves.levels[at]))}. They may be of another kind than the training set."
        )
    return notes


def sentence(ground: Ground, found: Findings) -> str:
    """Where copying is to be expected, in one sentence."""
    zone = found.regimes.danger
    if zone is None:
        reasons = [found.regimes.reasons.get(key, "") for key in ("crossing", "danger_low", "danger_high")]
        why = next((reason for reason in reasons if reason), "The curves do not cross on the grid.")
        return f"On these levels no danger zone was found, which does not mean that there is none. {why}"
    height = found.regimes.height.value
    if height is not None and height < UNSURE:
        return (
            "No noise level is clearly dangerous: nowhere do posterior weight and coverage both exceed "
            f"{percent(height, 0)}. If a model copies, look at sigma = {number(zone.low)} to {number(zone.high)}"
            f"{timesteps(zone)} first."
        )
    images = f"{len(ground.rows):,} {'different ' if ground.doubled else ''}images"
    return (
        f"A model trained on these {images} is in danger of copying at noise levels sigma = {number(zone.low)} to "
        f"{number(zone.high)}{timesteps(zone)}: there one training image holds the posterior, and fresh images look "
        f"like training images, both to {percent(found.regimes.level, 0)} or more."
    )


def timesteps(zone: Zone) -> str:
    """The same levels as timesteps of DDPM's linear schedule, in brackets."""
    low, high = (units(end).ddpm_linear_timestep for end in (zone.low, zone.high))
    return "" if low is None or high is None else f" (DDPM timesteps {low:.0f} to {high:.0f})"


def recommendation(ground: Ground, found: Findings) -> str:
    """What to do, in one sentence, with the command to run next."""
    first = "Remove the near-duplicates, then train" if ground.doubled else "Train"
    gap = trained_gap(found.gap)
    if gap is None:
        return f"{first}, and watch copying start: `{found.commands[0]}`."
    return (
        f"{first} with the levels {number(gap[0])} to {number(gap[1])} left out, the recommended gap: "
        f"`{found.commands[0]}`. Without --recipe and --gap it shows what happens with all levels."
    )


def trained_gap(gap: Recommendation) -> tuple[float, float] | None:
    """The recommended gap with three digits, as `unrote train` takes it; None where there is none that it takes."""
    if gap.zone is None:
        return None
    ends = float(f"{gap.zone.low:.3g}"), float(f"{gap.zone.high:.3g}")
    try:
        check_cures(Cures(ends), LAW)
    except InputError:
        return None
    return ends


def commands(ground: Ground, gap: Recommendation, options: GeometryOptions) -> tuple[str, str]:
    """What to run next: training with the recommended gap, where there is one, and a probe of what was trained."""
    side = max(ground.reference.images.shape[1:])
    train = shlex.quote(options.train)
    network = "" if side <= SMALL else " --network unet --width 64 --depth 3"
    resize = "" if options.resize is None else f" --resize {options.resize}"
    test = "" if options.test is None else f" --test {shlex.quote(options.test)}"
    ends = trained_gap(gap)
    recipe = "" if ends is None else f" --recipe gap --gap {ends[0]:g} {ends[1]:g}"
    return (
        f"unrote train --train {train}{test}{network}{resize}{recipe} --out run",
        f"unrote probe --model run --train {train}{test or ' --test HELD-OUT'}{resize}",
    )


def named_levels(found: Findings) -> dict[str, Estimate]:
    """Every level that has a name, as a reader meets them from calm to calm, then the recommendations."""
    r = found.regimes
    return {
        "small-noise regime ends": r.small_below,
        "danger zone begins": r.danger_low,
        "crossing": r.crossing,
        "danger zone ends": r.danger_high,
        "large-noise regime begins": r.large_above,
        "recommended gap begins": found.gap.low,
        "recommended gap ends": found.gap.high,
        "recommended ambient level": found.ambient.low,
    }


def results_of(ground: Ground, curves: Curves, found: Findings, notes: tuple[str, ...]) -> dict[str, Any]:
    """The keys of result.json that other programs may rely on, and more beside them."""
    r, reasons = found.regimes, found.regimes.reasons
    groups = ground.reference.groups.groups
    tree = _levels(found)
    in_units: dict[str, Any] = {"levels": [asdict(units(level)) for level in curves.levels.tolist()]}
    in_units |= {key: _in_units(value) for key, value in tree.items()}
    tree["danger_zone"] |= {"level": r.level, "asked": r.asked, "share_of_training_levels": found.zone_share}
    tree["recommended_gap"] |= {
        "level": found.gap.level,
        "weight_level": found.gap.weight,
        "share_of_training_levels": found.gap_share,
        "why": found.gap.why,
    }
    tree["recommended_ambient_level"]["why"] = found.ambient.why
    return {
        "verdict": sentence(ground, found),
        "recommendation": recommendation(ground, found),
        "commands": list(found.commands),
        "levels": curves.levels.tolist(),
        "posterior_weight": curve(list(means(curves.weight))),
        "self_weight": curve(list(means(curves.own))),
        "coverage": curve(list(shares(curves.covered))),
        "coverage_of": "training images left out" if ground.test is None else "held-out images",
        "coverage_without_test": None if curves.left_out is None else curve(list(shares(curves.left_out))),
        **tree,
        "crossing_height": _said(r.height, reasons, "height"),
        "units": in_units,
        "pixel_range": [-1.0, 1.0],
        "training_law": {"name": "EDM, log sigma normal", "mean": LAW.mean, "std": LAW.std},
        "images": len(ground.rows),
        "duplicate_groups": len(groups),
        "duplicate_images": sum(map(len, groups)),
        "held_out_duplicates": ground.leaked,
        "notes": list(notes),
    }


def _levels(found: Findings) -> dict[str, dict[str, Any]]:
    """Every level that was found, by its key in result.json."""
    r, gap = found.regimes, found.gap
    return {
        "crossing": _said(r.crossing, r.reasons, "crossing"),
        "danger_zone": {
            "low": _said(r.danger_low, r.reasons, "danger_low"),
            "high": _said(r.danger_high, r.reasons, "danger_high"),
        },
        "regimes": {
            name: _said(getattr(r, name), r.reasons, name) for name in ("small_below", "large_above")
        },
        "recommended_gap": {"low": _or(gap.low, gap.why), "high": _or(gap.high, gap.why)},
        "recommended_ambient_level": _or(found.ambient.low, found.ambient.why),
    }


def _said(e: Estimate, reasons: Mapping[str, str], key: str) -> dict[str, Any]:
    return _or(e, reasons.get(key, ""))


def _or(e: Estimate, reason: str) -> dict[str, Any]:
    """An estimate as JSON, with the reason where it has no value."""
    return e.as_dict() | ({"reason": reason} if e.value is None else {})


def _in_units(value: dict[str, Any]) -> dict[str, Any] | None:
    """A level, or a pair of levels, in every unit; None where there is no level."""
    if "value" not in value:
        return {key: _in_units(part) for key, part in value.items()}
    return None if value["value"] is None else asdict(units(value["value"]))
