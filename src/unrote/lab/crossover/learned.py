"""Learned denoisers of every size, and what they generate: the measurement behind all figures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from unrote.contracts import Denoiser, Estimate, InputError
from unrote.data.mixtures import GaussianMixture, isotropic
from unrote.denoise.mixture import MixtureDenoiser
from unrote.lab.crossover.settings import LEVELS, stream
from unrote.measure.neighbors import neighbors
from unrote.sample.steps import euler, trajectory, vp_start
from unrote.train.mixtures.kmeans import Clusters, lloyd, ward

FACTORS = (2.0, 3.0, 4.0, 5.0)
"""A sample is a copy when its second neighbour is this many times farther; the paper's c = 1/9 is 3."""
CRITERION = 3.0


@dataclass(frozen=True)
class Transition:
    """Model sizes at which the memorization ratio first reaches 0.1, 0.5 and 0.9 (section 4), interpolated."""

    start: Estimate
    half: Estimate
    end: Estimate


def by_lloyd(x: Float[Tensor, "N d"], sizes: Sequence[int], seed: int) -> Iterator[Clusters]:
    """What the paper's optimiser finds: Lloyd's iteration from its start, M training points.

    The points of a smaller model are kept by every larger one, so that a curve over M is paired; the paper
    draws them anew for every M.
    """
    order = torch.randperm(len(x), generator=stream(seed, f"start {tuple(x.shape)}"))
    return (lloyd(x, x[order[:size]]) for size in sizes)


def by_ward(x: Float[Tensor, "N d"], sizes: Sequence[int], seed: int) -> Iterator[Clusters]:
    """What the objective wants: the least distortion known, from one linkage and single-point moves."""
    return ward(x, sizes)


SOLVERS: dict[str, Callable[..., Iterator[Clusters]]] = {"lloyd": by_lloyd, "ward": by_ward}


def fitted(clusters: Clusters) -> GaussianMixture:
    """The mixture of a k-means solution: equal weights, shared variance D2 / d (docs/kmeans.md)."""
    return isotropic(clusters.means, clusters.distortion / clusters.means.shape[1])


@torch.no_grad()
def generated(
    denoiser: Denoiser, count: int, dimension: int, seed: int, levels: Float[Tensor, " T"] = LEVELS
) -> Float[Tensor, "n d"]:
    """Samples of DDIM, by default on the paper's 26 times: N(0, I) at t = 0.999, the end at t = 0.001 (H.2).

    DDIM is Euler's step in sigma, and the noise is the same for every model of a seed.
    """
    z = torch.randn(count, dimension, generator=stream(seed, f"samples {dimension}"), dtype=torch.float64)
    *_, last = trajectory(euler, denoiser, vp_start(z, float(levels[0])), levels)
    return last


def copies(samples: Float[Tensor, "n d"], x: Float[Tensor, "N d"]) -> list[int]:
    """How many samples are copies by each of FACTORS: d1 < d2 / factor (Definition 2.2 with c = 1/factor^2)."""
    distance = neighbors(samples, x, 2).distance
    first, second = distance[:, 0], distance[:, 1]
    return [int(((first < second / factor) | (first == 0)).sum()) for factor in FACTORS]


def transition(sizes: Sequence[int], counts: Sequence[int], samples: int, seed: int = 0) -> Transition:
    """Start, middle and end of the transition from the copies that models of every size made.

    The ratios are projected on those that do not fall as M grows, and read between sizes; intervals come
    from 200 redraws of every count from its binomial law. The paper takes the first size on its grid.
    """
    ratio = torch.tensor(counts, dtype=torch.float64) / samples
    redraw = torch.binomial(
        torch.full((200, len(sizes)), float(samples), dtype=torch.float64),
        ratio.expand(200, -1).contiguous(),
        generator=stream(seed, "redraws"),
    )
    curves = rising(torch.cat([ratio[None], redraw / samples]))
    at = [crossing(torch.tensor(sizes, dtype=torch.float64), curves, height) for height in (0.1, 0.5, 0.9)]
    return Transition(*(interval(found, samples * len(sizes)) for found in at))


def rising(curves: Float[Tensor, "R S"]) -> Float[Tensor, "R S"]:
    """The nearest curves that do not fall (isotonic least squares)."""
    from sklearn.isotonic import isotonic_regression

    return torch.stack([torch.from_numpy(isotonic_regression(row.numpy())) for row in curves])


def crossing(sizes: Float[Tensor, " S"], curves: Float[Tensor, "R S"], height: float) -> Float[Tensor, " R"]:
    """Where rising curves reach a height, linear between sizes; nan where they do not, or start above it."""
    above = curves >= height
    first = above.int().argmax(1).clamp(min=1)
    low, high = (curves.gather(1, (first - k)[:, None])[:, 0] for k in (1, 0))
    part = (height - low) / (high - low)
    place = sizes[first - 1] + part * (sizes[first] - sizes[first - 1])
    return place.where(above.any(1) & ~above[:, 0], torch.nan)


def interval(found: Float[Tensor, " R"], n: int) -> Estimate:
    """The first value with the 95 % range of the others; no value where the curve does not cross."""
    redrawn = found[1:][~found[1:].isnan()]
    if bool(found[0].isnan()) or len(redrawn) < 0.95 * (len(found) - 1):
        return Estimate(None, None, None, n)
    low, high = torch.quantile(redrawn, torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    value = float(found[0])
    return Estimate(value, min(low, value), max(high, value), n)


def measured(
    x: Float[Tensor, "N d"], solver: str, sizes: Sequence[int], samples: int, seed: int
) -> Mapping[str, Any]:
    """Fit every size, sample, count copies; JSON: distortions, counts by factor, the transition by factor.

    Raises:
        InputError: for sizes that are not between 1 and N: more components than points repeat points, and then
            every sample has two nearest neighbours at one place.
    """
    if not 1 <= min(sizes) <= max(sizes) <= len(x):
        raise InputError(
            f"A learned mixture has from 1 to N = {len(x)} components, got sizes from {min(sizes)} to {max(sizes)}."
        )
    distortions, counts = [], []
    for clusters in SOLVERS[solver](x, sizes, seed):
        denoiser = MixtureDenoiser(fitted(clusters))
        counts.append(copies(generated(denoiser, samples, x.shape[1], seed), x))
        distortions.append(clusters.distortion)
    return {
        "sizes": list(sizes),
        "distortion": distortions,
        "copies": counts,
        "samples": samples,
        "transition": [
            as_json(transition(sizes, [c[k] for c in counts], samples)) for k in range(len(FACTORS))
        ],
    }


def as_json(found: Transition) -> Mapping[str, Any]:
    """A transition as it stands in a result file."""
    return {"start": found.start.as_dict(), "half": found.half.as_dict(), "end": found.end.as_dict()}


def half(result: Mapping[str, Any], factor: float = CRITERION) -> Estimate:
    """M_pt of a measured curve by one criterion."""
    return Estimate(**result["transition"][FACTORS.index(factor)]["half"])
