"""How good the samples of a run are: their Frechet distance to held-out images, in features."""

from __future__ import annotations

import torch
from torch import Tensor

from unrote.contracts import Estimate, InputError
from unrote.jobs.fidelity_parts import LARGEST
from unrote.jobs.measuring import Quality, TrainingSet
from unrote.jobs.options import TrainOptions
from unrote.jobs.swap_quality import features_of
from unrote.jobs.training_sizes import sizes_of
from unrote.measure.features import Cache, open_features
from unrote.measure.fidelity import frechet

GROUPS = 10
"""Parts of the jackknife: each measured step costs two eigendecompositions for each."""


def quality_of(data: TrainingSet, options: TrainOptions) -> Quality | None:
    """The Frechet distance of samples to the held-out images in --features; None where they were not asked for.

    Equally many samples and held-out images are compared, at every step with the same images and the same parts of
    the jackknife.

    Raises:
        InputError: for features that cannot be used, or too few images for them.
    """
    if options.features is None:
        return None
    reference, g = data.reference, torch.Generator().manual_seed(options.seed)
    shape = reference.images.shape
    chosen = open_features(options.features, shape, g, train=reference.images, cache=Cache())
    drawn = sizes_of(options).samples
    n, dimension = min(len(data.held_out), drawn), chosen.dimension
    if n < 2 * dimension or dimension > LARGEST:
        few = max(1, min(n // 2, 64))
        raise InputError(
            f"The Frechet distance in --features {options.features}, which have {dimension:,} numbers, takes "
            f"{2 * dimension:,} samples and as many held-out images, and at most {LARGEST:,} numbers; there are "
            f"{drawn:,} and {len(data.held_out):,}. Give more of them (--samples, --test), or name fewer "
            f"features, for example --features pca:{few}."
        )
    rows = torch.randperm(len(data.held_out), generator=g)[:n]
    fresh = features_of(chosen, data.held_out[rows], reference)

    def measured(samples: Tensor) -> Estimate:
        parts = torch.Generator().manual_seed(options.seed)
        return frechet(features_of(chosen, samples[:n], reference), fresh, parts, groups=GROUPS).distance

    return measured
