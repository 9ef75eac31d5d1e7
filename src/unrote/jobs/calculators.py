"""The formulas of `unrote theory`: one entry for each, with its options; no slow imports here.

A new calculator is three things: its options below, a function of them in a module of `unrote.jobs` that returns an
`Outcome`, and a row of `CALCULATORS`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from unrote.jobs.calculators_ambient import AMBIENT
from unrote.jobs.calculators_clock import CLOCK
from unrote.jobs.formula import Calculator
from unrote.jobs.formula import Formula as Formula  # noqa: PLC0414  (part of this module's words)


@dataclass(frozen=True, kw_only=True)
class CrossoverOptions(Formula):
    """At which share M*/N of kept samples does memorizing them cost no more than generalising?"""

    weighting: str = "flat"
    """How noise levels are weighted: flat, psi (noise prediction), 1-t^2, t^2, min(psi,C) or 1/psi, where
    psi = 1/sigma^2 and t is VP time."""
    spread: float = 1.0
    """Variance sigma*^2 of a cluster."""
    constant: float | None = None
    """C of the partial excess, between 1 and 2 in the paper; without it 1, 1.5 and 2 are tabulated."""
    samples: int | None = None
    """N: with --dimension and --clusters, the exact constant of finite dimension replaces --constant."""
    dimension: int | None = None
    """d, see --samples."""
    clusters: int | None = None
    """K, see --samples; equal weights, means on the sphere of radius sqrt(d)."""
    data_sets: int | None = None
    """With --samples: draw so many data sets and compare whole losses at every level, overlap of clusters included,
    rather than their limit of small noise."""
    seed: int | None = None
    """Seed of --data-sets, 0 unless given."""
    continuum: bool = False
    """VP times uniform between the lowest and the highest, rather than the paper's grid of equal steps."""
    steps: int | None = None
    """Steps of the grid, 25 unless given."""
    time_low: float = 0.001
    """Lowest VP time; --continuum may reach 0 where the integral converges."""
    time_high: float = 0.999
    """Highest VP time; --continuum may reach 1 where the integral converges."""


@dataclass(frozen=True, kw_only=True)
class NearestKeptOptions(Formula):
    """How far is the nearest of m samples of one Gaussian cluster, in units of d sigma*^2?"""

    kept: tuple[int, ...]
    """m, how many samples of the cluster were kept; one or more numbers."""
    dimension: int
    """d."""


@dataclass(frozen=True, kw_only=True)
class PartialExcessOptions(Formula):
    """What does memorizing M of N samples cost beyond memorizing all?"""

    kept: int
    """M, how many samples were kept."""
    samples: int
    """N."""
    dimension: int
    """d."""
    spread: float = 1.0
    """Variance sigma*^2 of a cluster."""
    constant: float | None = None
    """The paper's C, between 1 and 2."""
    clusters: int | None = None
    """K: the exact constant of finite dimension, averaged over who was kept; replaces --constant."""


@dataclass(frozen=True, kw_only=True)
class GeneralisingExcessOptions(Formula):
    """What does the true mixture's denoiser lose on training data beyond one that has memorized them?"""

    dimension: int
    """d."""
    spread: float = 1.0
    """Variance sigma*^2 of a cluster."""
    sigma: tuple[float, ...] = ()
    """Noise levels of x = x0 + sigma z, one or more; or --time."""
    time: tuple[float, ...] = ()
    """Noise levels as VP time, one or more; or --sigma."""


@dataclass(frozen=True, kw_only=True)
class CoverageOptions(Formula):
    """How likely is it that every cluster has kept samples? (the coupon collector)"""

    kept: int
    """M, how many samples were kept."""
    clusters: int | None = None
    """K clusters of equal weight; or --weights."""
    weights: tuple[float, ...] = ()
    """The weights of the clusters, which sum to one; or --clusters."""
    least: int = 1
    """How many samples every cluster needs."""
    dimension: int | None = None
    """d: also print (1 + log d) K log K, the condition that Theorem 3.2 needs and does not state (--clusters)."""


@dataclass(frozen=True, kw_only=True)
class ConcentrationOptions(Formula):
    """How near to their means are squared norms in d dimensions? Bounds, and exact values where there are any."""

    dimension: int
    """d."""
    epsilon: float
    """Relative deviation, above 0 and at most 1."""
    count: int = 2
    """n, how many Gaussian vectors the bound on softmax averages is for."""
    spread: float = 1.0
    """Variance sigma*^2 of those vectors."""


@dataclass(frozen=True, kw_only=True)
class CopyingDistortionOptions(Formula):
    """Below which k-means distortion are samples near a training point copies of it?"""

    kept: int
    """How many other training samples its cluster has."""
    dimension: int
    """d."""
    spread: float = 1.0
    """Variance sigma*^2 of a cluster."""
    factor: float = 3.0
    """A copy is nearer than the second neighbour's distance divided by this factor."""


@dataclass(frozen=True, kw_only=True)
class WassersteinFloorOptions(Formula):
    """At least how far, in squared Wasserstein distance, are N samples of a Gaussian from it?"""

    samples: tuple[int, ...]
    """N, one or more numbers."""
    dimension: int
    """d."""
    spread: float = 1.0
    """Variance sigma*^2."""


@dataclass(frozen=True, kw_only=True)
class NoiseUnitsOptions(Formula):
    """One noise level in every unit; give exactly one."""

    sigma: float | None = None
    """Standard deviation of the noise in x = x0 + sigma z."""
    time: float | None = None
    """VP time t = sigma / sqrt(1 + sigma^2), between 0 and 1."""
    alpha_bar: float | None = None
    """1 / (1 + sigma^2), between 0 and 1."""
    log_snr: float | None = None
    """-2 log sigma."""
    linear_timestep: float | None = None
    """DDPM timestep, 0 to 999, of the 1,000-step schedule with betas linear in the index."""
    cosine_timestep: float | None = None
    """DDPM timestep, 0 to 999, of the 1,000-step cosine schedule."""


@dataclass(frozen=True, kw_only=True)
class ShellProbabilityOptions(Formula):
    """How often does a noisy copy of one point lie in the Gaussian shell of another?"""

    radius: tuple[float, ...]
    """r = |x - x'| / sigma, the distance of the two points in units of the noise; one or more numbers."""
    dimension: int
    """d."""
    tail: float = 5.0
    """t: the shell holds the noise with probability 1 - 2 exp(-t) or more."""


@dataclass(frozen=True, kw_only=True)
class PosteriorThresholdsOptions(Formula):
    """Up to which level does a training point keep weight tau, and from which has it at most tau?"""

    distances: Path | None = None
    """File of distances from a training point to all others: .npy, or text with one line for each point (or one number
    on each line for one point)."""
    nearest: float | None = None
    """Without a file: the distance to the nearest other point, with --farthest and --samples."""
    farthest: float | None = None
    """The distance to the farthest."""
    samples: int | None = None
    """N, all points together."""
    tau: float = 0.95
    """Weight, between 1/N and 1."""
    epsilon: float = 0.05
    """Probability with which the statement may fail."""


@dataclass(frozen=True, kw_only=True)
class CosineBoundOptions(Formula):
    """How well is flow matching's best velocity aligned with the velocity towards one training point?"""

    ratio: float | None = None
    """eta / r alone: the bound on the error over the length of the velocity; replaces all flags below."""
    time: float | None = None
    """t in x_t = t x + (1 - t) Z, between 0 (noise) and 1 (data); sigma = (1 - t) / t."""
    norm: float | None = None
    """Length of the training point."""
    dimension: int | None = None
    """d."""
    distances: Path | None = None
    """File of distances from the training point to all others, as for posterior-thresholds."""
    nearest: float | None = None
    """Without a file: the distance to the nearest other point, with --farthest and --samples."""
    farthest: float | None = None
    """The distance to the farthest."""
    samples: int | None = None
    """N, all points together."""
    tau: float = 0.99
    """Weight, between 1/N and 1."""
    margin_inner: float = 3.0
    """c1, standard deviations of the inner product of point and noise."""
    margin_norm: float = 5.0
    """c2, in the tail exp(-c2) of the squared length of the noise."""


@dataclass(frozen=True, kw_only=True)
class LocalityBoundOptions(Formula):
    """How fast does the sensitivity of the linear denoiser decay with distance, for stationary data?"""

    sigma: float
    """Noise level."""
    size: int | None = None
    """n, points around the cycle, with the spectrum (1 + min(k, n - k))^-power."""
    power: float = 2.0
    """See --size."""
    spectrum: Path | None = None
    """File of eigenvalues in the order of the discrete Fourier transform, .npy or text; replaces --size."""
    distance: tuple[int, ...] = (1, 2, 4, 8)
    """Distances around the cycle to show, up to n/2."""
    order: int = 1
    """How often the sum is taken by parts; 1 is the theorem."""


_EDGE = "unrote.jobs.formulas_edge"
_CALM = "unrote.jobs.formulas_calm"

CALCULATORS = (
    Calculator(
        "crossover",
        CrossoverOptions,
        f"{_EDGE}:crossover",
        "model size at which memorizing beats generalising",
    ),
    Calculator(
        "nearest-kept-constant",
        NearestKeptOptions,
        f"{_EDGE}:nearest_kept",
        "distance to the nearest of m samples of a cluster",
    ),
    Calculator(
        "partial-excess", PartialExcessOptions, f"{_EDGE}:partial", "loss of memorizing M of N samples"
    ),
    Calculator(
        "generalising-excess",
        GeneralisingExcessOptions,
        f"{_EDGE}:generalising",
        "training loss of the true distribution's denoiser",
    ),
    Calculator(
        "coverage-of-clusters",
        CoverageOptions,
        f"{_EDGE}:coverage",
        "probability that every cluster has kept samples",
    ),
    Calculator(
        "concentration", ConcentrationOptions, f"{_EDGE}:concentration", "squared norms in d dimensions"
    ),
    Calculator(
        "copying-distortion",
        CopyingDistortionOptions,
        f"{_EDGE}:copying",
        "k-means distortion below which samples are copies",
    ),
    Calculator(
        "wasserstein-floor",
        WassersteinFloorOptions,
        f"{_EDGE}:wasserstein",
        "how far N samples are from their distribution",
    ),
    Calculator(
        "shell-probability",
        ShellProbabilityOptions,
        f"{_CALM}:shell_probability",
        "overlap of two Gaussian shells",
    ),
    Calculator(
        "posterior-thresholds",
        PosteriorThresholdsOptions,
        f"{_CALM}:posterior_thresholds",
        "levels up to which a training point is recognised",
    ),
    Calculator(
        "cosine-bound", CosineBoundOptions, f"{_CALM}:alignment", "flow matching's velocity towards one point"
    ),
    Calculator("locality-bound", LocalityBoundOptions, f"{_CALM}:decay", "how far a linear denoiser looks"),
    *AMBIENT,
    *CLOCK,
    Calculator("noise-units", NoiseUnitsOptions, f"{_EDGE}:noise_units", "one noise level in every unit"),
)


def listing() -> str:
    """Every calculator with one line."""
    width = max(len(c.name) for c in CALCULATORS)
    lines = [f"  {c.name:<{width}}  {c.summary}" for c in CALCULATORS]
    return "\n".join(
        ["usage: unrote theory NAME [flags]      (unrote theory NAME --help lists the flags)", "", *lines]
    )
