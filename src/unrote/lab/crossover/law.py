"""The transition at scale without a sampler: draws from the learned mixtures themselves, and 400 steps beside them.

With 25 steps M_pt/N rises as N, d and K grow (crossover/scale). Here is what the learned laws do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from unrote.contracts import Estimate
from unrote.data.mixtures import draw
from unrote.denoise.mixture import MixtureDenoiser
from unrote.lab.claims import FAILED, HELD, PARTLY, Claim, Experiment, Row, inside
from unrote.lab.crossover.law_figures import show
from unrote.lab.crossover.learned import CRITERION, FACTORS, as_json, copies, fitted, generated, transition
from unrote.lab.crossover.prediction import NEAR, geometric, half_of
from unrote.lab.crossover.scale import FEW, LARGEST, PARTS, SEEDS, STAYS, STEPS
from unrote.lab.crossover.settings import problem, setting, stream
from unrote.measure.estimate import estimate
from unrote.noise.levels import vp_levels
from unrote.train.mixtures.kmeans import ward

FINE = 400
"""Sampling steps, where the sampler runs at all."""
SAMPLED = 5000
"""Up to this N models are sampled with FINE steps, too."""


def configurations(scale: str) -> Sequence[Mapping[str, Any]]:
    """Growing problems at every seed, three seeds of the two largest."""
    if scale == "smoke":
        return [setting(*STEPS[0], seed=0) | {"generated": 50, "steps": 50}]
    samples = {"laptop": 200, "paper": 2000}[scale]
    many = [(size, seed) for size in STEPS[:2] for seed in SEEDS]
    many += [(size, seed) for size in (STEPS[2], LARGEST) for seed in (FEW if scale == "laptop" else SEEDS)]
    most = LARGEST[0] if scale == "paper" else SAMPLED
    return [
        setting(*size, seed=seed) | {"generated": samples, "steps": FINE if size[0] <= most else 0}
        for size, seed in many
    ]


def run(configuration: Mapping[str, Any]) -> Mapping[str, Any]:
    """Copies among draws of every model, among samples of many steps, and what the clusters foretell."""
    x, seed = problem(configuration).x, int(configuration["seed"])
    sizes, samples = [round(part * len(x)) for part in PARTS], int(configuration["generated"])
    fits = list(ward(x, sizes))
    drawn = [copies(draw(fitted(one), 10 * samples, stream(seed, "drawn")).x, x) for one in fits]
    curve, at = geometric(x, fits, CRITERION), FACTORS.index(CRITERION)
    found: dict[str, Any] = {
        "sizes": sizes,
        "law": {
            "copies": [c[at] for c in drawn],
            "samples": 10 * samples,
            **as_json(transition(sizes, [c[at] for c in drawn], 10 * samples)),
        },
        "foretold": curve.tolist(),
        "geometry": half_of(sizes, curve),
    }
    if configuration["steps"]:
        levels = vp_levels(int(configuration["steps"]))
        made = [
            copies(generated(MixtureDenoiser(fitted(one)), samples, x.shape[1], seed, levels), x)[at]
            for one in fits
        ]
        found["fine"] = {"copies": made, "samples": samples, **as_json(transition(sizes, made, samples))}
    return found


def places(rows: Sequence[Row], samples: int, way: str = "law") -> list[float]:
    """M_pt/N of every seed at one N."""
    mine = [row for row in rows if row["configuration"]["N"] == samples and way in row["result"]]
    found = [row["result"][way]["half"]["value"] for row in mine]
    return [value / samples for value in found if value is not None]


def it_stays(rows: Sequence[Row]) -> tuple[Estimate, str]:
    """M_pt/N of the law at the largest size, and its distance from that at the smallest for every size."""
    means = {n: places(rows, n) for n, _, _ in (*STEPS, LARGEST)}
    first = sum(means[STEPS[0][0]]) / max(1, len(means[STEPS[0][0]]))
    far = [abs(sum(v) / len(v) - first) if v else 1.0 for v in means.values()]
    here = estimate(torch.tensor(means[LARGEST[0]], dtype=torch.float64))
    return here, HELD if max(far) <= STAYS else PARTLY if sorted(far)[1] <= STAYS else FAILED


def it_is_foretold(rows: Sequence[Row]) -> tuple[Estimate, str]:
    """Error of the geometry's prediction of the law's M_pt over all runs."""
    wrong = []
    for row in rows:
        said, seen = row["result"]["geometry"], row["result"]["law"]["half"]["value"]
        wrong.append(1.0 if said is None or seen is None else abs(said - seen) / row["configuration"]["N"])
    found = estimate(torch.tensor(wrong, dtype=torch.float64))
    assert found.high is not None and found.value is not None
    return found, HELD if found.high <= NEAR else PARTLY if found.value <= NEAR else FAILED


def steps_reach_it(rows: Sequence[Row]) -> tuple[Estimate, str]:
    """M_pt/N under many steps minus that of the law, run by run."""
    gaps = []
    for row in rows:
        if "fine" not in row["result"]:
            continue
        ends = [row["result"][way]["half"]["value"] for way in ("fine", "law")]
        gaps.append(1.0 if None in ends else (ends[0] - ends[1]) / row["configuration"]["N"])
    found = estimate(torch.tensor(gaps, dtype=torch.float64))
    return found, inside(found, -NEAR, NEAR)


TESTED = (
    f"(N, d, K) = {', '.join(map(str, (*STEPS, LARGEST)))}; Ward's tree and single-point moves; {len(PARTS)} sizes; "
    f"2,000 draws, and 200 samples of {FINE} steps up to N = {SAMPLED:,}; seeds {SEEDS[0]} to {SEEDS[-1]} ({FEW[0]} to "
    f"{FEW[-1]} from N = {SAMPLED:,} on)"
)
CLAIMS = (
    Claim(
        "law-transition-stays",
        "unrote",
        "docs/crossover.md",
        "Among draws from the learned mixtures themselves M_pt/N does not move as N, d and K grow a hundredfold, "
        "tenfold and eightfold.",
        TESTED,
        f"mean over seeds: held if at every size it lies within {STAYS:g} of that at N = 200; partly if at some other "
        "size; the number is M_pt/N at the largest",
        it_stays,
    ),
    Claim(
        "geometry-foretells-the-law",
        "unrote",
        "docs/crossover.md",
        "The geometry of the clusters foretells the M_pt of the learned law at every size.",
        TESTED,
        f"|foretold - measured| M/N over all runs: held if the 95 % interval of its mean ends at or below {NEAR:g}; "
        "partly if the mean does",
        it_is_foretold,
    ),
    Claim(
        "fine-steps-reach-the-law",
        "unrote",
        "docs/crossover.md",
        f"{FINE} sampling steps put the transition where the learned law has it.",
        TESTED,
        f"M_pt/N of {FINE} steps minus that of the law: held if the 95 % interval of its mean lies within +-{NEAR:g}, "
        "failed if outside",
        steps_reach_it,
    ),
)

EXPERIMENT = Experiment(
    name="crossover/law",
    about="The transition at N up to 20,000 without a sampler: the laws of the learned mixtures.",
    scale="laptop",
    configurations=configurations,
    run=run,
    claims=CLAIMS,
    show=show,
)
