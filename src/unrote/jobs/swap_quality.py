"""How good swapped samples are: their Frechet distance to held-out images, in features or in pixels."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from unrote.contracts import Estimate, InputError
from unrote.jobs.comparing import Reference
from unrote.jobs.fidelity_parts import LARGEST
from unrote.jobs.measuring import as_compared
from unrote.jobs.options import SwapOptions, TrainOptions
from unrote.measure.features import Cache, FeatureMap, open_features
from unrote.measure.fidelity import GROUPS, frechet

QUICK = 5
"""Parts of the jackknife on a map, whose many windows are drawn without their intervals."""
WITHOUT_TEST = "No held-out images were given (--test), so the quality of the samples was not measured."


@dataclass(frozen=True)
class Quality:
    """What samples are held against.

    Args:
        map: the features.
        fresh: of held-out images, n rows (n,F).
        real: the distance between two halves of all held-out images, or None where they are too few.
        seed: of the parts of the jackknife.
    """

    map: FeatureMap
    fresh: Tensor
    real: Estimate | None
    seed: int

    def of(self, samples: Tensor, reference: Reference, groups: int = GROUPS) -> Estimate:
        """The squared Frechet distance of samples in [-1, 1] to held-out images, as many of each."""
        features = features_of(self.map, samples[: len(self.fresh)], reference)
        return frechet(features, self.fresh, self._generator(), groups=groups).distance

    def _generator(self) -> torch.Generator:
        return torch.Generator().manual_seed(self.seed)


def features_of(chosen: FeatureMap, x: Tensor, reference: Reference) -> Tensor:
    """Features of images in [-1, 1], rounded as the training set is (n,F)."""
    seen = as_compared(x, reference)
    return chosen(seen if seen.dtype == torch.uint8 else ((seen + 1) / 2).clamp(0, 1))


def check_features(options: SwapOptions | TrainOptions) -> None:
    """Refuse features that nothing would be measured in.

    Raises:
        InputError: saying what is missing.
    """
    if options.features is not None and options.test is None:
        raise InputError(
            f"--features {options.features} says in which features samples are held against --test, and there is none; "
            "name held-out images with --test, or leave --features out."
        )


def quality_against(
    test: Tensor | None, reference: Reference, options: SwapOptions
) -> tuple[Quality | None, str | None]:
    """What samples are held against, or why there is nothing.

    Args:
        test: held-out images in [-1, 1] that are no near-duplicates of training images, or None.

    Raises:
        InputError: for features that cannot be used.
    """
    if test is None:
        return None, WITHOUT_TEST
    g = torch.Generator().manual_seed(options.seed)
    shape = reference.images.shape
    chosen = open_features(options.features or "pixels", shape, g, train=reference.images, cache=Cache())
    n, dimension = min(len(test), options.samples), chosen.dimension
    if n < 2 * dimension or dimension > LARGEST:
        few = max(1, min(n // 2, LARGEST))
        return None, (
            f"Quality was not measured: the Frechet distance of {dimension:,} numbers for each image ({chosen.name}) "
            f"takes {2 * dimension:,} samples and held-out images and at most {LARGEST:,} numbers, and there are "
            f"{n:,} of each. Give more images, or at most {few:,} features, for example --features pca:"
            f"{min(few, 64)}."
        )
    held = features_of(chosen, test, reference)[torch.randperm(len(test), generator=g)]
    half = len(held) // 2
    real = None
    if half >= 2 * dimension:
        real = frechet(held[:half], held[half : 2 * half], g).distance
    return Quality(chosen, held[:n], real, options.seed), None
