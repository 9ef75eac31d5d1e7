"""Is Lloyd's iteration what the paper's recipe finds? Losses and copies of both from the same starts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from unrote.contracts import Estimate
from unrote.data.mixtures import GaussianMixture, isotropic
from unrote.denoise.mixture import MixtureDenoiser
from unrote.lab.claims import FAILED, HELD, PARTLY, Claim, Experiment, Row
from unrote.lab.crossover.learned import CRITERION, FACTORS, by_ward, copies, fitted, generated
from unrote.lab.crossover.recipe_figures import show
from unrote.lab.crossover.settings import LEVELS, Problem, problem, setting, stream
from unrote.measure.estimate import estimate
from unrote.measure.excess import stein_loss
from unrote.train.mixtures.kmeans import lloyd
from unrote.train.mixtures.reference import FEW_DRAWS, QUICK, REFERENCE, finish, reference

N, D, K = 50, 30, 3
SIZES = (10, 25, 35, 40, 45)
SEEDS = (0, 1, 2, 3, 4)
LOSS, RATIO = 0.015, 0.02
"""How far losses (relative) and memorization ratios may lie apart."""
RECIPES = {"quick": QUICK, "few draws": FEW_DRAWS, "literal": REFERENCE}
"""By scale: smoke, laptop, paper; the literal one has 100 draws, the second 10, both take 50,000 steps."""


def configurations(scale: str) -> Sequence[Mapping[str, Any]]:
    """Every size at every seed; one at smoke scale."""
    name = {"smoke": "quick", "laptop": "few draws", "paper": "literal"}[scale]
    pairs = [(SIZES[-1], SEEDS[0])] if scale == "smoke" else [(m, s) for s in SEEDS for m in SIZES]
    more = {"smoke": 100, "laptop": 4000, "paper": 4000}[scale]
    return [setting(N, D, K, seed) | {"M": size, "recipe": name, "generated": more} for size, seed in pairs]


def run(configuration: Mapping[str, Any]) -> Mapping[str, Any]:
    """Train by the recipe, by Lloyd from the same start, and by Ward; compare on common noise and samples."""
    drawn, seed, size = problem(configuration), int(configuration["seed"]), int(configuration["M"])
    chosen = RECIPES[configuration["recipe"]]
    start = drawn.x[torch.randperm(N, generator=stream(seed, f"start {size}"))[:size]]
    fit = finish(reference(drawn.x.float(), start.float(), stream(seed, "training"), chosen))
    models = {
        "recipe": isotropic(fit.means.double(), float(fit.variance)),
        "lloyd": fitted(lloyd(drawn.x, start)),
        "ward": fitted(next(iter(by_ward(drawn.x, [size], seed)))),
    }
    found: dict[str, Any] = {name: compared(model, drawn, configuration) for name, model in models.items()}
    found["recipe"] |= {"steps": fit.steps, "settled": fit.settled, "note": fit.note}
    return found


def compared(model: GaussianMixture, drawn: Problem, configuration: Mapping[str, Any]) -> dict[str, Any]:
    """Noise-prediction loss over the paper's levels, learned variance, and the share of copies."""
    seed, samples = int(configuration["seed"]), int(configuration["generated"])
    variance = float(model.covariance.variance[0])  # type: ignore[union-attr]
    levels = [
        float(stein_loss(model.means, variance, drawn.x, float(s), stream(seed, f"noise {i}"), 64).mean())
        / float(s) ** 2
        for i, s in enumerate(LEVELS)
    ]
    counts = copies(generated(MixtureDenoiser(model), samples, D, seed), drawn.x)
    return {
        "loss": sum(levels) / len(levels),
        "variance": variance,
        "copies": counts[FACTORS.index(CRITERION)],
        "samples": samples,
    }


def loss_gap(name: str) -> Callable[[Row], float]:
    """(loss of a solver - loss of the recipe) / loss of the recipe."""
    return lambda row: row["result"][name]["loss"] / row["result"]["recipe"]["loss"] - 1


def ratio_gap(row: Row) -> float:
    """Memorization ratio of Lloyd minus that of the recipe."""
    shares = [row["result"][name]["copies"] / row["result"][name]["samples"] for name in ("lloyd", "recipe")]
    return shares[0] - shares[1]


def within(gap: Callable[[Row], float], limit: float) -> Callable[[Sequence[Row]], tuple[Estimate, str]]:
    """Held where every settled run lies within the limit, partly where the mean's interval does."""

    def judged(rows: Sequence[Row]) -> tuple[Estimate, str]:
        gaps = [gap(row) for row in rows if row["result"]["recipe"]["settled"]]
        if len(gaps) < len(rows):
            return Estimate(None, None, None, len(gaps)), FAILED
        found = estimate(torch.tensor(gaps, dtype=torch.float64))
        assert found.low is not None and found.high is not None
        if max(map(abs, gaps)) <= limit:
            return found, HELD
        return found, PARTLY if found.low >= -limit and found.high <= limit else FAILED

    return judged


def ward_is_lower(rows: Sequence[Row]) -> tuple[Estimate, str]:
    """Whether Ward's loss is below the recipe's."""
    gaps = [loss_gap("ward")(row) for row in rows]
    lower = sum(gap < 0 for gap in gaps)
    found = estimate(torch.tensor(gaps, dtype=torch.float64))
    return found, HELD if lower == len(gaps) else PARTLY if lower > len(gaps) / 2 else FAILED


TESTED = (
    f"N = {N}, d = {D}, K = {K}, M = {', '.join(map(str, SIZES))}; the paper's recipe with 10 instead of 100 noise "
    f"draws, all 50,000 steps; common start, noise and sampling noise, 4,000 samples; seeds {SEEDS[0]} to {SEEDS[-1]}"
)
CLAIMS = (
    Claim(
        "lloyd-has-the-recipes-loss",
        "unrote",
        "docs/kmeans.md",
        "Lloyd's iteration from the paper's start reaches the loss of the paper's recipe.",
        TESTED,
        f"(Lloyd - recipe) / recipe: held if every run lies within +-{LOSS:g}, partly if the 95 % interval of the mean "
        "does; failed if a recipe's run has not settled",
        within(loss_gap("lloyd"), LOSS),
    ),
    Claim(
        "lloyd-has-the-recipes-copies",
        "unrote",
        "docs/kmeans.md",
        "It has the recipe's memorization ratio, too.",
        TESTED,
        f"difference of ratios: held if every run lies within +-{RATIO:g}, partly if the 95 % interval of the mean "
        "does; failed if a recipe's run has not settled",
        within(ratio_gap, RATIO),
    ),
    Claim(
        "ward-has-a-lower-loss",
        "unrote",
        "docs/kmeans.md",
        "Ward's tree with single-point moves has a lower training loss than the paper's recipe.",
        TESTED,
        "(Ward - recipe) / recipe: held if below 0 in every run, partly if in most",
        ward_is_lower,
    ),
)

EXPERIMENT = Experiment(
    name="crossover/recipe",
    about="The paper's recipe, 50,000 steps of Adam, against k-means in milliseconds from the same start.",
    scale="laptop",
    configurations=configurations,
    run=run,
    claims=CLAIMS,
    show=show,
)
