"""First look: does a small training set get copied where a large one does not, over several seeds?

The experiment behind the demonstration, with its thresholds and rules fixed before its runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from unrote.contracts import Estimate
from unrote.jobs.demonstration import configuration, count_copies
from unrote.lab.claims import FAILED, HELD, PARTLY, Claim, Experiment, Row
from unrote.measure.estimate import newcombe, wilson
from unrote.report.format import ratio

SMALL, LARGE, SHARE = 32, 1024, 0.25
SEEDS = (0, 1, 2, 3, 4)
STEPS = {"smoke": 100, "laptop": 2000, "paper": 2000}
SAMPLES = {"smoke": 32, "laptop": 512, "paper": 10_000}


def configurations(scale: str) -> Sequence[Mapping[str, Any]]:
    """Both sizes at every seed; one seed is enough to see that it runs."""
    seeds = SEEDS[:1] if scale == "smoke" else SEEDS
    return [
        configuration(images, LARGE, STEPS[scale], SAMPLES[scale], seed)
        for seed in seeds
        for images in (SMALL, LARGE)
    ]


def of_size(rows: Sequence[Row], images: int) -> list[Mapping[str, Any]]:
    """The results of one training set size, in the order of their seeds."""
    mine = [row for row in rows if row["configuration"]["images"] == images]
    return [row["result"] for row in sorted(mine, key=lambda row: row["configuration"]["seed"])]


def over_seeds(results: Sequence[Mapping[str, Any]]) -> Estimate:
    """The mean copy ratio over seeds: Student's t interval, or Wilson's of all samples where that is wider.

    If every seed gives the same ratio (none at all, say) the spread over seeds is 0 and says nothing of what
    more samples would show; the samples of all seeds together do.
    """
    import torch

    from unrote.measure.estimate import estimate

    ratios = torch.tensor([r["copies"] / r["samples"] for r in results], dtype=torch.float64)
    spread = estimate(ratios)
    pooled = wilson(sum(r["copies"] for r in results), sum(r["samples"] for r in results))
    assert spread.low is not None and spread.high is not None
    assert pooled.low is not None and pooled.high is not None
    low, high = max(0.0, min(spread.low, pooled.low)), min(1.0, max(spread.high, pooled.high))
    return Estimate(spread.value, low, high, spread.n)


def small_is_copied(rows: Sequence[Row]) -> tuple[Estimate, str]:
    """Mean copy ratio at the small size against a quarter."""
    found = over_seeds(of_size(rows, SMALL))
    assert found.value is not None and found.low is not None
    if found.low >= SHARE:
        return found, HELD
    return found, PARTLY if found.value >= SHARE else FAILED


def large_is_not(rows: Sequence[Row]) -> tuple[Estimate, str]:
    """Copies at the large size against fresh digits, seed by seed."""
    results = of_size(rows, LARGE)
    found = over_seeds(results)
    more = [newcombe(r["copies"], r["samples"], r["fresh_copies"], r["fresh"]) for r in results]
    above = sum(1 for difference in more if difference.low is not None and difference.low > 0)
    return found, HELD if above == 0 else PARTLY if above < len(more) else FAILED


def they_differ(rows: Sequence[Row]) -> tuple[Estimate, str]:
    """At how many seeds the Wilson intervals of the two sizes lie apart; the number is the share of seeds."""
    pairs = list(zip(of_size(rows, SMALL), of_size(rows, LARGE), strict=True))
    apart = 0
    for a, b in pairs:
        low, high = wilson(a["copies"], a["samples"]).low, wilson(b["copies"], b["samples"]).high
        apart += low is not None and high is not None and low > high
    return wilson(apart, len(pairs)), HELD if apart == len(pairs) else PARTLY if apart else FAILED


TESTED = (
    f"scikit-learn's digits (8x8), residual MLP 3x512 under EDM's preconditioning, {STEPS['laptop']:,} steps of 64, "
    f"averaged weights; {SAMPLES['laptop']} samples by Heun's 18 steps; seeds {SEEDS[0]} to {SEEDS[-1]}, each with "
    "its own split, weights and samples; copy: d1 < d2/3, duplicates as one neighbour"
)

CLAIMS = (
    Claim(
        "small-set-is-copied",
        "002",
        "Figure 1, in kind",
        "Trained long enough on few images, a diffusion model copies them.",
        f"{SMALL} images; {TESTED}",
        f"held if the 95 % interval of the mean over seeds lies above {SHARE:g}; partly if only the mean does",
        small_is_copied,
        ratio,
    ),
    Claim(
        "large-set-is-not",
        "002",
        "Figure 1, in kind",
        "Trained for as many steps on many images, the same model does not copy.",
        f"{LARGE} images; {TESTED}",
        "held if at no seed Newcombe's 95 % interval of copies minus copies among fresh digits lies above 0; partly "
        "if it does at some seeds",
        large_is_not,
        ratio,
    ),
    Claim(
        "size-decides",
        "002",
        "Figure 1, in kind",
        "At the same number of steps the size of the training set decides whether there are copies.",
        f"{SMALL} against {LARGE} images; {TESTED}",
        "held if at every seed the Wilson intervals of the two sizes do not overlap; partly if at some seeds",
        they_differ,
        ratio,
    ),
)

EXPERIMENT = Experiment(
    name="first-look",
    about="The same network on 32 and on 1,024 digits: does size decide whether samples are copies?",
    scale="laptop",
    configurations=configurations,
    run=count_copies,
    claims=CLAIMS,
)
