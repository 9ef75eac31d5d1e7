"""The second definition of a copy: cosine similarity in features, beside distances between pixels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unrote.contracts import InputError
from unrote.data.sources import Images, Source, stream
from unrote.jobs.audit_table import HeldOut
from unrote.jobs.audit_verdict import Definition, define
from unrote.jobs.comparing import Reference, part_of
from unrote.jobs.options import AuditOptions
from unrote.jobs.output import progress
from unrote.measure.copies import calibrated_threshold
from unrote.measure.features import PROFILES, Cache, FeatureMap, as_pixels, extract, open_features
from unrote.measure.similarity import Similarities, background, most_similar, similarity, summarized
from unrote.report.format import percent

BLOCK = 1024
"""Images that are read at once; also what an interrupted extraction repeats at most."""

PUBLISHED = {"dcr-sscd": (0.5, "the threshold of Somepalli and others 2023")}
"""Thresholds that belong to a profile, and whose they are."""


def check_features(options: AuditOptions) -> None:
    """Refuse flags about features where none are asked for, and profiles that are named twice.

    Raises:
        InputError: naming the flag.
    """
    for flag, value in (
        ("--profile", options.profile),
        ("--similarity-threshold", options.similarity_threshold),
    ):
        if value is not None and options.features is None:
            raise InputError(
                f"{flag} {value} says how features are used, and none are asked for; name them with --features, or "
                f"leave {flag} out."
            )
    _, at, named = (options.features or "").rpartition("@")
    if options.profile is not None and at and named in PROFILES:
        raise InputError(
            f"The profile is named twice, in --features {options.features} and as --profile {options.profile}; leave "
            "one of them out."
        )


def open_map(options: AuditOptions, train: Images) -> FeatureMap | None:
    """The map that --features names, that of pixels where --fidelity stands alone, None where neither is asked.

    Raises:
        InputError: for spellings, files, profiles or labels that cannot be used.
    """
    if options.features is None and not options.fidelity:
        return None
    spelling = "pixels" if options.features is None else options.features
    if options.profile is not None:
        spelling += f"@{options.profile}"
    generator = torch.Generator().manual_seed(options.seed)
    return open_features(spelling, train.shape, generator, train=train, cache=Cache())


@dataclass(frozen=True)
class Scale:
    """What similarities mean in one map: those of fresh images, of training images, and where copies begin.

    Args:
        fresh: held-out images to the training set, or None.
        own: training images to each other, outside their groups of near-duplicates.
        threshold: samples more similar than this are copies by this definition.
        source: where the threshold comes from, in words.
    """

    fresh: Similarities | None
    own: Similarities
    threshold: float
    source: str


@dataclass(frozen=True)
class Lens:
    """A feature map with what it makes of training and held-out images.

    Args:
        map: the map.
        reference: the training set.
        train: features of the training images (N,F).
        held_out: of held-out images that are no near-duplicates of training images (M,F), or None.
        scale: of similarities; None where features were not asked for, or similarities are not defined.
        reason: why there is no scale although features were asked for.
    """

    map: FeatureMap
    reference: Reference
    train: Tensor
    held_out: Tensor | None
    scale: Scale | None
    reason: str | None

    def features(self, images: Source | Images, label: str) -> Tensor:
        """Features of a set (n,F), read block by block."""
        blocks = parts(images) if isinstance(images, Images) else stream(images, BLOCK)
        return seen(self.map, blocks, len(images), self.reference, label)

    def as_json(self) -> dict[str, Any]:
        """What result.json says of the map."""
        return self.map.as_dict()


def parts(images: Images) -> Iterator[Images]:
    """A set in memory, block by block."""
    for rows in torch.arange(len(images)).split(BLOCK):
        yield part_of(images, rows)


def seen(
    chosen: FeatureMap, blocks: Iterable[Images], count: int, reference: Reference, label: str
) -> Tensor:
    """Features of blocks of images, of the pixels that distances are taken of."""
    eight_bit = reference.pixels.dtype == torch.uint8
    with progress(f"features of {label}", count) as advance:
        pixels = reference.comparable if eight_bit else as_pixels
        return extract(chosen, blocks, cache=Cache(), pixels=pixels, advance=advance).values


def look_through(
    chosen: FeatureMap, reference: Reference, held_out: HeldOut | None, options: AuditOptions
) -> Lens:
    """Features of the training and the held-out images, and what similarities among them mean."""
    train = seen(chosen, parts(reference.images), len(reference.images), reference, "training images")
    fresh = None
    if held_out is not None:
        kept = part_of(held_out.images, held_out.kept)
        fresh = seen(chosen, parts(kept), len(kept), reference, "held-out images")
    scale = reason = None
    if options.features is not None:
        try:
            scale = _scale(chosen, train, fresh, reference, options)
        except InputError as error:
            reason = str(error)
    return Lens(chosen, reference, train, fresh, scale, reason)


def _scale(
    chosen: FeatureMap, train: Tensor, fresh: Tensor | None, reference: Reference, options: AuditOptions
) -> Scale:
    memory, confidence = options.memory * 2**20, options.confidence
    own = background(train, reference.groups.group, memory=memory)
    found = None
    if fresh is not None:
        found = similarity(most_similar(fresh, train, 1, memory=memory).distance[:, 0])
    threshold, source = _threshold(chosen, own, found, options)
    return Scale(
        None if found is None else summarized(found, confidence=confidence),
        summarized(own, confidence=confidence),
        threshold,
        source,
    )


def _threshold(
    chosen: FeatureMap, own: Tensor, fresh: Tensor | None, options: AuditOptions
) -> tuple[float, str]:
    """Where copies begin: as asked, as published, or where few real images lie."""
    if options.similarity_threshold is not None:
        return options.similarity_threshold, "as asked for"
    if chosen.profile.name in PUBLISHED:
        return PUBLISHED[chosen.profile.name]
    share = percent(options.false_positives)
    if fresh is not None:
        limit = calibrated_threshold(-fresh, options.false_positives)
        if limit is not None:
            return -limit, f"as of at most {share} of fresh real images"
    limit = calibrated_threshold(-own, options.false_positives)
    if limit is None:
        return float(own.max()), "as of no training image to another one"
    return -limit, f"as of at most {share} of the training images to another one"


@dataclass(frozen=True)
class Likeness:
    """Samples by their similarity to training images.

    Args:
        nearest: the most similar training image of every sample (n,).
        found: similarities to it, with shares and percentiles.
        scale: what they are compared with.
        definition: the second definition of a copy.
    """

    nearest: Tensor
    found: Similarities
    scale: Scale
    definition: Definition

    def as_json(self) -> dict[str, Any]:
        """Shares above thresholds and percentiles: of the samples, of held-out and of training images."""
        fresh = self.scale.fresh
        return {
            **_told(self.found),
            "held_out": None if fresh is None else _told(fresh),
            "training": _told(self.scale.own),
            "threshold": self.scale.threshold,
            "threshold_source": self.scale.source,
            "copy_ratio": self.definition.ratio,
            "calibration_ratio": self.definition.calibration,
            "excess": self.definition.excess,
        }


def _told(found: Similarities) -> dict[str, Any]:
    return {
        "above": {f"{threshold:g}": share for threshold, share in found.above},
        "percentiles": {f"{share:g}": value for share, value in found.percentiles},
    }


def likeness(features: Tensor, lens: Lens, scale: Scale, options: AuditOptions) -> Likeness:
    """How similar samples are to training images, and which are copies by that.

    Args:
        features: of the samples (n,F).

    Raises:
        InputError: where similarities are not defined.
    """
    nearest = most_similar(features, lens.train, 1, memory=options.memory * 2**20)
    found = summarized(similarity(nearest.distance[:, 0]), confidence=options.confidence)
    profile = lens.map.profile.name
    words = (
        f"cosine similarity to a training image above {scale.threshold:.3g} in features '{lens.map.name}' (profile "
        f"{profile}), {scale.source}"
    )
    fresh = None if scale.fresh is None else scale.fresh.exceeds(scale.threshold)
    definition = define(
        "features",
        "similarity in features",
        words,
        found.exceeds(scale.threshold),
        fresh,
        options.confidence,
    )
    return Likeness(nearest.index[:, 0], found, scale, definition)
