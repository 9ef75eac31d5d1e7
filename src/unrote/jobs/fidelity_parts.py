"""Quality of samples in the features of an audit: each measure with its interval and what real data get."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

from unrote.contracts import Estimate, InputError
from unrote.jobs.options import AuditOptions
from unrote.measure.data_copying import DataCopying, data_copying
from unrote.measure.fidelity import GROUPS, Fidelity, fidelity
from unrote.measure.manifolds import Manifolds, manifolds

NEIGHBOURS = 5
"""Which neighbour the balls of precision and recall reach to."""

CELLS, EACH = 5, 100
"""Cells of the test for data-copying: one for so many of the smaller set, up to five."""

LARGEST = 2048
"""Features of which a Frechet distance is computed; the time grows with their third power."""

SPREAD = ("precision", "recall", "density", "coverage")

NOT_ASKED = "Not asked for; --fidelity measures it in pixels, --features in features."


@dataclass(frozen=True)
class Quality:
    """How good samples are; where a measure cannot be had, the reason.

    Args:
        frechet, frechet_reason: distances of generated from real and of real from real images.
        against: which real images the latter are.
        spread, fresh_spread, spread_reason: precision, recall, density, coverage of samples, and of held-out
            images in their place.
        copying, copying_reason: the test for data-copying.
    """

    frechet: Fidelity | None
    frechet_reason: str | None
    against: str
    spread: Manifolds | None
    fresh_spread: Manifolds | None
    spread_reason: str | None
    copying: DataCopying | None
    copying_reason: str | None

    def as_json(self) -> dict[str, Any]:
        """Every key that `unmeasured` has, and more."""
        found = unmeasured()
        if self.frechet is not None:
            found["frechet_distance"] = self.frechet.generated.distance
            found["frechet_baseline"] = self.frechet.baseline.distance
            found["frechet_at_n"] = self.frechet.generated.at_n
            found["frechet_baseline_at_n"] = self.frechet.baseline.at_n
            found["frechet_baseline_from"] = self.against
        found["frechet_reason"] = self.frechet_reason
        for name in SPREAD:
            found[name] = part_of_spread(self.spread, name)
            found[f"{name}_baseline"] = part_of_spread(self.fresh_spread, name)
        found["precision_reason"] = self.spread_reason
        found["data_copying"] = None if self.copying is None else _told(self.copying)
        found["data_copying_reason"] = self.copying_reason
        return found


def unmeasured() -> dict[str, Any]:
    """The keys of quality where it was not asked for."""
    found: dict[str, Any] = {"frechet_distance": None, "frechet_baseline": None, "frechet_reason": NOT_ASKED}
    found |= dict.fromkeys(SPREAD)
    return found | {"precision_reason": NOT_ASKED, "data_copying": None, "data_copying_reason": NOT_ASKED}


def part_of_spread(spread: Manifolds | None, name: str) -> Estimate | None:
    """One of the four measures, by its name."""
    if spread is None:
        return None
    return dict(zip(SPREAD, (spread.precision, spread.recall, spread.density, spread.coverage), strict=True))[
        name
    ]


def _told(found: DataCopying) -> dict[str, Any]:
    return {
        "statistic": found.statistic,
        "z": found.z,
        "p_value": found.p_value,
        "closer": found.closer,
        "cells": len(found.cells),
        "cells_tested": sum(cell.z is not None for cell in found.cells),
    }


T = TypeVar("T")


def attempt(measure: Callable[[], T]) -> tuple[T | None, str | None]:
    """A measure, or the reason why these data do not allow it: it must not end the audit."""
    try:
        return measure(), None
    except InputError as error:
        return None, str(error)


def quality(generated: Tensor, train: Tensor, held_out: Tensor | None, options: AuditOptions) -> Quality:
    """All measures of quality in one kind of features.

    Precision and the like are taken of equally many samples and held-out images, drawn at random of the larger
    set, so that their values can be compared.

    Args:
        generated: features of the samples (n,F).
        train: of the training images (N,F).
        held_out: of held-out images (M,F), or None.
    """
    dimension = train.shape[1]
    enough = held_out is not None and len(held_out) >= 2 * dimension
    other = held_out if enough else None
    distance, distance_reason = attempt(lambda: _frechet(generated, train, other, options))
    n = len(generated) if held_out is None else min(len(generated), len(held_out))
    spread, spread_reason = attempt(lambda: _spread(_drawn(generated, n, options), train, options))
    fresh = None
    if held_out is not None:
        fresh, _ = attempt(lambda: _spread(_drawn(held_out, n, options), train, options))
    copying, copying_reason = attempt(lambda: _copying(generated, train, held_out, options))
    return Quality(
        distance,
        distance_reason,
        "held-out images" if enough else "one half of the training images against the other",
        spread,
        fresh,
        spread_reason,
        copying,
        copying_reason,
    )


def _generator(options: AuditOptions) -> torch.Generator:
    """The same for every measure, so that none depends on which others were asked for."""
    return torch.Generator().manual_seed(options.seed)


def _drawn(x: Tensor, n: int, options: AuditOptions) -> Tensor:
    """n of the rows, in their order."""
    if len(x) == n:
        return x
    return x[torch.randperm(len(x), generator=_generator(options))[:n].sort().values]


def _frechet(generated: Tensor, train: Tensor, other: Tensor | None, options: AuditOptions) -> Fidelity:
    dimension = train.shape[1]
    if dimension > LARGEST:
        raise InputError(
            f"The Frechet distance of {dimension:,} features is not computed: its time grows with their third power "
            f"(at most {LARGEST:,}), and it needs {2 * dimension:,} images on each side. Name fewer features, for "
            "example --features pca:64."
        )
    groups = GROUPS if dimension <= 512 else 10 if dimension <= 1024 else 5
    return fidelity(
        generated, train, _generator(options), other, groups=groups, confidence=options.confidence
    )


def _spread(generated: Tensor, train: Tensor, options: AuditOptions) -> Manifolds:
    return manifolds(
        generated, train, NEIGHBOURS, memory=options.memory * 2**20, confidence=options.confidence
    )


def _copying(generated: Tensor, train: Tensor, held_out: Tensor | None, options: AuditOptions) -> DataCopying:
    if held_out is None:
        raise InputError(
            "The test for data-copying compares samples with real images that were not trained on; give some with "
            "--test."
        )
    cells = max(1, min(CELLS, min(len(generated), len(held_out)) // EACH))
    return data_copying(
        generated, held_out, train, _generator(options), cells=cells, confidence=options.confidence
    )
