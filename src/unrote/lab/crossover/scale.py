"""Sizes that nobody could train before: does M_pt/N stay where it is as N, d and K grow?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from unrote.contracts import Estimate
from unrote.lab.claims import FAILED, HELD, PARTLY, Claim, Experiment, Row
from unrote.lab.crossover.learned import CRITERION, half, measured
from unrote.lab.crossover.prediction import NEAR, geometric, half_of
from unrote.lab.crossover.scale_figures import show
from unrote.lab.crossover.settings import problem, setting
from unrote.measure.estimate import estimate
from unrote.train.mixtures.kmeans import ward

STEPS = ((200, 50, 12), (1000, 100, 25), (5000, 200, 50))
LARGEST = (20_000, 500, 100)
PARTS = (0.3, 0.5, 0.6, 0.66, 0.7, 0.72, 0.74, 0.76, 0.78, 0.8, 0.82, 0.84, 0.86, 0.88, 0.9, 0.95, 1.0)
"""Model sizes as shares of N."""
SEEDS = (0, 1, 2, 3, 4)
FEW = (0, 1, 2)
"""Seeds of the largest size."""
STAYS = 0.05


def configurations(scale: str) -> Sequence[Mapping[str, Any]]:
    """Growing problems at every seed; at paper scale every size has all seeds."""
    if scale == "smoke":
        return [setting(*STEPS[0], seed=0) | {"generated": 50}]
    samples = {"laptop": 200, "paper": 2000}[scale]
    many = [(size, seed) for size in STEPS for seed in SEEDS]
    many += [(LARGEST, seed) for seed in (FEW if scale == "laptop" else SEEDS)]
    return [setting(*size, seed=seed) | {"generated": samples} for size, seed in many]


def run(configuration: Mapping[str, Any]) -> Mapping[str, Any]:
    """The transition of the best known solution, and what the geometry of its clusters foretells."""
    x = problem(configuration).x
    sizes = [round(part * len(x)) for part in PARTS]
    found = dict(measured(x, "ward", sizes, int(configuration["generated"]), int(configuration["seed"])))
    curve = geometric(x, ward(x, sizes), CRITERION)
    return {"ward": found | {"foretold": curve.tolist(), "geometry": half_of(sizes, curve)}}


def places(rows: Sequence[Row], samples: int) -> list[float]:
    """M_pt/N of every seed at one N."""
    mine = [row for row in rows if row["configuration"]["N"] == samples]
    found = [half(row["result"]["ward"]).value for row in mine]
    return [value / samples for value in found if value is not None]


def it_stays(rows: Sequence[Row]) -> tuple[Estimate, str]:
    """M_pt/N at the largest size, and its distance from that at the smallest for every size."""
    first = places(rows, STEPS[0][0])
    means = {n: places(rows, n) for n, _, _ in (*STEPS, LARGEST)}
    here = estimate(torch.tensor(means[LARGEST[0]], dtype=torch.float64))
    far = [abs(sum(v) / len(v) - sum(first) / len(first)) if v else 1.0 for v in means.values()]
    return here, HELD if max(far) <= STAYS else PARTLY if sorted(far)[1] <= STAYS else FAILED


def it_is_foretold(rows: Sequence[Row]) -> tuple[Estimate, str]:
    """Error of the geometry's prediction over all runs."""
    wrong = []
    for row in rows:
        said, seen = row["result"]["ward"]["geometry"], half(row["result"]["ward"]).value
        wrong.append(1.0 if said is None or seen is None else abs(said - seen) / row["configuration"]["N"])
    found = estimate(torch.tensor(wrong, dtype=torch.float64))
    assert found.high is not None and found.value is not None
    return found, HELD if found.high <= NEAR else PARTLY if found.value <= NEAR else FAILED


TESTED = (
    f"(N, d, K) = {', '.join(map(str, (*STEPS, LARGEST)))}; Ward's tree and single-point moves; {len(PARTS)} sizes, "
    f"200 samples each; seeds {SEEDS[0]} to {SEEDS[-1]} ({FEW[0]} to {FEW[-1]} at the largest)"
)
CLAIMS = (
    Claim(
        "transition-stays",
        "unrote",
        "docs/crossover.md",
        "M_pt/N does not move as N, d and K grow a hundredfold, tenfold and eightfold.",
        TESTED,
        f"mean over seeds: held if at every size it lies within {STAYS:g} of that at N = 200; partly if at some other "
        "size; the number is M_pt/N at the largest",
        it_stays,
    ),
    Claim(
        "geometry-foretells-at-scale",
        "unrote",
        "docs/crossover.md",
        "The geometry of the clusters foretells M_pt at every size without a sampler.",
        TESTED,
        f"|foretold - measured| M/N over all runs: held if the 95 % interval of its mean ends at or below {NEAR:g}; "
        "partly if the mean does",
        it_is_foretold,
    ),
)

EXPERIMENT = Experiment(
    name="crossover/scale",
    about="The transition at N up to 20,000 and d up to 500: does M_pt/N stay where it is?",
    scale="laptop",
    configurations=configurations,
    run=run,
    claims=CLAIMS,
    show=show,
)
