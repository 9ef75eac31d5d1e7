"""Figure 1: training losses of the two surrogates against the paper's approximations and the exact ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from unrote.contracts import Estimate
from unrote.lab.claims import FAILED, HELD, PARTLY, Claim, Experiment, Row, inside
from unrote.lab.crossover.losses_figures import show
from unrote.lab.crossover.settings import LEVELS, SHOWN, problem, setting
from unrote.lab.crossover.surrogates import surrogates
from unrote.measure.estimate import estimate
from unrote.theory.surrogates import expected_nearest_kept

N, D, K = 200, 50, 12
SIZES = tuple(range(10, 201, 10))
SEEDS = (0, 1, 2, 3, 4)
GENERAL, EXACT = 0.02, 0.01
"""Relative errors up to which the generalising approximation and the nearest-kept loss count as right."""


def configurations(scale: str) -> Sequence[Mapping[str, Any]]:
    """The paper's setting at every seed."""
    seeds, draws = {"smoke": (SEEDS[:1], 2), "laptop": (SEEDS, 500), "paper": (SEEDS, 5000)}[scale]
    return [setting(N, D, K, seed) | {"draws": draws} for seed in seeds]


def run(configuration: Mapping[str, Any]) -> Mapping[str, Any]:
    """Losses of the memorizing, the generalising and the partially memorizing denoisers at all 26 levels."""
    drawn = problem(configuration)
    made = surrogates(drawn, SIZES, int(configuration["seed"]), int(configuration["draws"]))
    partial = made.partial.mean(0).T
    return {
        "levels": LEVELS.tolist(),
        "sizes": list(SIZES),
        "memorizing": partial[-1].tolist(),
        "generalising": made.generalising.mean(0).tolist(),
        "partial": partial.tolist(),
        "nearest_kept": expected_nearest_kept(drawn.x, torch.tensor(SIZES)).mean(0).tolist(),
    }


def excess(rows: Sequence[Row], key: str) -> Float[Tensor, "R ..."]:
    """Loss above the memorizing denoiser's at the level shown, one row for each seed."""
    found = []
    for row in rows:
        loss = torch.tensor(row["result"][key], dtype=torch.float64)[..., SHOWN]
        found.append(loss - row["result"]["memorizing"][SHOWN])
    return torch.stack(found)


def near(ratio: Float[Tensor, " R"], tolerance: float) -> tuple[Estimate, str]:
    """Held where the 95 % interval of a ratio over seeds lies within 1 +- tolerance, failed where outside."""
    found = estimate(ratio)
    return found, inside(found, 1 - tolerance, 1 + tolerance)


def general_is_right(rows: Sequence[Row]) -> tuple[Estimate, str]:
    """Measured over approximated generalising excess."""
    said = D / (1 / float(LEVELS[SHOWN]) ** 2 + 1)
    return near(excess(rows, "generalising") / said, GENERAL)


def constants(rows: Sequence[Row]) -> Float[Tensor, "R S"]:
    """C of the partially memorizing excess C (1 - M/N) d, at every size below N."""
    size = torch.tensor(SIZES[:-1], dtype=torch.float64)
    return excess(rows, "partial")[:, :-1] / (D * (1 - size / N))


def constant_is_bounded(rows: Sequence[Row]) -> tuple[Estimate, str]:
    """The largest C over sizes against the paper's range from 1 to 2."""
    found = constants(rows)
    most, least = estimate(found.amax(1)), estimate(found.amin(1))
    assert most.low is not None and most.high is not None
    assert least.low is not None and least.high is not None
    if most.high <= 2 and least.low >= 1:
        return most, HELD
    return most, FAILED if most.low > 2 or least.high < 1 else PARTLY


def kept_is_exact(rows: Sequence[Row]) -> tuple[Estimate, str]:
    """Measured partial loss over the mean squared distance to the nearest kept point; the worst size counts."""
    ratios = []
    for row in rows:
        loss = torch.tensor(row["result"]["partial"], dtype=torch.float64)[:-1, SHOWN]
        ratios.append(loss / torch.tensor(row["result"]["nearest_kept"], dtype=torch.float64)[:-1])
    table = torch.stack(ratios)
    worst = (table.mean(0) - 1).abs().argmax()
    return near(table[:, worst], EXACT)


TESTED = (
    f"N = {N}, d = {D}, K = {K}, variance 1, t = 0.360 (psi = 6.70); 500 random choices of what is kept; seeds "
    f"{SEEDS[0]} to {SEEDS[-1]}"
)
CLAIMS = (
    Claim(
        "generalising-loss",
        "000",
        "Figure 1, Theorem 3.1",
        "The generalising denoiser's excess training loss is d / (1 + psi).",
        TESTED,
        f"measured / approximated: held if the 95 % interval over seeds lies within 1 +- {GENERAL:g}, failed if "
        "outside",
        general_is_right,
    ),
    Claim(
        "partial-constant-at-most-2",
        "000",
        "Figure 1, Theorem 3.2",
        "The partially memorizing denoiser's excess is C (1 - M/N) d with C between 1 and 2 at every M.",
        f"M = {SIZES[0]}, {SIZES[1]}, ..., {SIZES[-2]}; {TESTED}",
        "largest C over sizes: held if its interval over seeds ends at or below 2 and the least C is at least 1; "
        "failed if it begins above 2",
        constant_is_bounded,
    ),
    Claim(
        "nearest-kept-is-exact",
        "unrote",
        "docs/crossover.md",
        "The partially memorizing loss is the mean squared distance to the nearest kept point.",
        f"M = {SIZES[0]} to {SIZES[-2]}; {TESTED}",
        f"measured / closed form at the worst M: held if the interval over seeds lies within 1 +- {EXACT:g}, failed "
        "if outside",
        kept_is_exact,
    ),
)

EXPERIMENT = Experiment(
    name="crossover/losses",
    about="Figure 1: losses of the generalising and the partially memorizing denoiser against their approximations.",
    scale="laptop",
    configurations=configurations,
    run=run,
    claims=CLAIMS,
    show=show,
)
