"""The formulas of "Does Generation Require Memorization?": options of their calculators; no slow imports here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from unrote.jobs.formula import Calculator, Formula


@dataclass(frozen=True, kw_only=True)
class LeakageOptions(Formula):
    """How much do m generated samples at the noise level of ambient training tell about the training data?"""

    sigma: float | None = None
    """Noise level sigma of the stored copies, x = x0 + sigma z; or --time."""
    time: float | None = None
    """The same level as VP time, which is the paper's sigma_n; or --sigma."""
    dimension: int | None = None
    """d, of data with variance --spread in every direction; or --spectrum."""
    spectrum: Path | None = None
    """File of eigenvalues of the data's covariance, .npy or text; or --dimension."""
    spread: float | None = None
    """Variance of the data in every direction with --dimension, 1 unless given."""
    draws: tuple[int, ...] = (1, 2, 5, 100)
    """m, how many samples are generated; one or more numbers."""
    samples: int | None = None
    """N independent training points instead of one: bounds, and exact where simulated."""
    simulate: int | None = None
    """Also estimate by so many drawn data sets, with intervals; up to 12 --samples and 12 --draws with --samples."""
    seed: int | None = None
    """Seed of --simulate, 0 unless given."""


@dataclass(frozen=True, kw_only=True)
class SubpopulationsOptions(Formula):
    """How much of a population lies in groups that a training set shows once, twice, or not at all?"""

    examples: int
    """n, training examples."""
    components: int | None = None
    """N subpopulations with frequencies in proportion to 1, 2^-s, ..., N^-s; or --frequencies."""
    exponent: float | None = None
    """s with --components: 1 unless given (Zipf), 0 for equal frequencies."""
    frequencies: Path | None = None
    """File of frequencies, .npy or text, scaled to sum to one; or --components."""
    counts: tuple[int, ...] = (0, 1, 2, 3)
    """l, how many examples a subpopulation has; one or more numbers."""
    picks: int | None = None
    """Draw frequencies by the paper's rule, N entries of the list with replacement and scaled: so many draws."""
    group: int | None = None
    """Merge random groups of so many subpopulations first."""
    theta: float | None = None
    """Threshold of Lemma A.3, at most 1/(2n)."""
    seed: int | None = None
    """Seed of --picks and --group, 0 unless given."""


@dataclass(frozen=True, kw_only=True)
class MergingOptions(Formula):
    """At which noise level do components of a mixture become one?"""

    gap: tuple[float, ...] = ()
    """Distances between the means of two components, one or more; or --means."""
    means: Path | None = None
    """File of means, .npy or text with one line for each component; or --gap."""
    weights: tuple[float, ...] = ()
    """Weights of the components of --means, which sum to one; equal unless given."""
    epsilon: float = 0.1
    """Components are merged where their total variation is at most this, separated where it is more than twice it."""
    spread: float = 1.0
    """Variance of a component in every direction."""
    sigma: tuple[float, ...] = ()
    """With --means: noise levels of x = x0 + sigma z to show; or --time, or levels that span all merges."""
    time: tuple[float, ...] = ()
    """With --means: the same as VP time."""


_AMBIENT = "unrote.jobs.formulas_ambient"

AMBIENT = (
    Calculator(
        "leakage", LeakageOptions, f"{_AMBIENT}:leakage", "what generated samples tell about training data"
    ),
    Calculator(
        "subpopulations",
        SubpopulationsOptions,
        f"{_AMBIENT}:subpopulations",
        "how much of a population a training set shows once",
    ),
    Calculator(
        "merging", MergingOptions, f"{_AMBIENT}:merging", "noise levels at which components become one"
    ),
)
