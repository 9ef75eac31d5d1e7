"""Lemmas 4.5 and A.4 to A.6 by simulation: when noise makes subpopulations one, and what that does to singletons."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from unrote.contracts import Estimate
from unrote.lab.ambient.merging_figures import show
from unrote.lab.claims import FAILED, HELD, PARTLY, Claim, Experiment, Row, inside
from unrote.lab.crossover.settings import stream
from unrote.measure.estimate import estimate
from unrote.theory.merging import (
    label_information,
    merged_from,
    mode_groups,
    modes,
    printed_level,
    separated_up_to,
    tree,
)
from unrote.theory.subpopulations import (
    coefficients,
    listed,
    merge,
    norm_above,
    represented,
    smoothed_single,
    zipf,
)

D = 16
GAPS, EPSILONS = (1.0, 2.0, 4.0, 10.0), (0.05, 0.1)
N, EXAMPLES, SCATTER = 500, 500, 8.0
"""Subpopulations, examples, and standard deviation of the means of the mixture that merges."""
GROUPS = (500, 250, 100, 25, 5)
MERGED = 25
"""Groups at which the merged mixture is compared with the whole one."""
PICTURE = (0.0, 3.0, 4.0, 9.0, 20.0)
"""Means of the mixture in the picture, on a line."""
CURVE = torch.logspace(-0.3, 2.3, 40, dtype=torch.float64)
LONG, COPIES, RADIUS = (10, 100, 784), 5, 0.5
SEEDS = (0, 1, 2, 3, 4)
EXACT, SLACK = 0.01, 0.01


def configurations(scale: str) -> Sequence[Mapping[str, Any]]:
    """One run for each seed."""
    draws = {"smoke": 2000, "laptop": 40_000, "paper": 400_000}[scale]
    seeds = SEEDS[:1] if scale == "smoke" else SEEDS
    return [
        {"d": D, "N": N, "n": EXAMPLES, "scatter": SCATTER, "draws": draws, "seed": seed} for seed in seeds
    ]


def run(configuration: Mapping[str, Any]) -> Mapping[str, Any]:
    """Total variation at the levels of the lemmas, lengths of noise, and a mixture that merges."""
    seed, draws = int(configuration["seed"]), int(configuration["draws"])
    pairs = []
    for gap in GAPS:
        for epsilon in EPSILONS:
            g = torch.tensor([gap], dtype=torch.float64)
            levels = {
                "merged": merged_from(g, epsilon),
                "separated": separated_up_to(g, epsilon),
                "printed_merged": printed_level(g, epsilon),
                "printed_separated": printed_level(g, 2 * epsilon),
            }
            seen = {
                name: seen_variation(gap, float(level), stream(seed, f"{gap} {epsilon} {name}"), draws)
                for name, level in levels.items()
            }
            pairs.append({"gap": gap, "epsilon": epsilon, "seen": seen})
    return {
        "pairs": pairs,
        "long": {str(d): noise_lengths(d, stream(seed, f"long {d}"), draws // 8) for d in LONG},
        "merging": merging_mixture(seed),
        "picture": picture(seed, draws),
    }


def seen_variation(gap: float, sigma: float, generator: torch.Generator, draws: int) -> float:
    """How much better than chance two noisy components are told apart by the likelihood: Pr(right) 2 - 1.

    Points of both components are drawn in d dimensions and given to the nearer mean.
    """
    direction = torch.randn(D, generator=generator, dtype=torch.float64)
    means = torch.stack([torch.zeros(D, dtype=torch.float64), gap * direction / direction.norm()])
    label = torch.arange(draws) % 2
    x = means[label] + torch.randn(draws, D, generator=generator, dtype=torch.float64)
    x = x + sigma * torch.randn(draws, D, generator=generator, dtype=torch.float64)
    right = torch.cdist(x, means).argmin(1) == label
    return 2 * float(right.double().mean()) - 1


def noise_lengths(dimension: int, generator: torch.Generator, draws: int) -> dict[str, float]:
    """How often noise is longer than the proof of Lemma A.4 says, and copies of one point further apart."""
    z = torch.randn(draws // COPIES, COPIES, dimension, generator=generator, dtype=torch.float64)
    square = z.square().sum(2)
    widest = torch.cdist(z, z).amax((1, 2))
    sigma = RADIUS / math.sqrt(2 * (dimension + 3 * math.sqrt(2 * dimension)))
    return {
        "above_d": float((square > dimension).double().mean()),
        "claimed": math.exp(-dimension / 2),
        "exact": norm_above(dimension, 1.0),
        "above_3.4_d": float((square > (2 + math.sqrt(2)) * dimension).double().mean()),
        "within": float((sigma * widest <= RADIUS).double().mean()),
        "within_at_least": smoothed_single(COPIES, dimension, sigma, RADIUS),
    }


def merging_mixture(seed: int) -> dict[str, list[float]]:
    """tau_1, singletons and their share of the population as 500 subpopulations with Zipf's frequencies merge."""
    means = SCATTER * torch.randn(N, D, generator=stream(seed, "means"), dtype=torch.float64)
    shares = zipf(N)[torch.randperm(N, generator=stream(seed, "order"))]
    joined = tree(means, EPSILONS[1])
    one = torch.ones(1, dtype=torch.int64)
    found: dict[str, list[float]] = {
        "sigma": [],
        "groups": [],
        "tau_1": [],
        "number": [],
        "mass": [],
        "told": [],
    }
    for count in GROUPS:
        sigma = float(joined.level[N - count - 1]) if count < N else 0.0
        group = joined.groups(sigma)
        prior = listed(merge(shares, group))
        number, mass = represented(prior, EXAMPLES, one)
        level = torch.tensor([sigma], dtype=torch.float64)
        told = label_information(means, shares, level, stream(seed, "told"), 1.0, 400)
        tau = coefficients(prior, EXAMPLES, one)
        values = (sigma, float(group.max()) + 1, *map(float, (tau, number, mass, told.mean())))
        for name, value in zip(found, values, strict=True):
            found[name].append(value)
    return found


def picture(seed: int, draws: int) -> dict[str, Any]:
    """Hills, groups and components that can be told apart, of five components on a line."""
    means = torch.tensor(PICTURE, dtype=torch.float64)[:, None]
    even = torch.full((len(PICTURE),), 1 / len(PICTURE), dtype=torch.float64)
    hills = modes(means, even, CURVE)
    told = label_information(means, even, CURVE, stream(seed, "picture"), 1.0, draws // 20)
    return {
        "levels": CURVE.tolist(),
        "hills": hills[:, :, 0].tolist(),
        "modes": [
            int(mode_groups(found, 1 + level**2).max()) + 1
            for found, level in zip(hills, CURVE.tolist(), strict=True)
        ],
        "groups": tree(means, EPSILONS[1]).counts(CURVE).tolist(),
        "told": told.mean(0).exp().tolist(),
    }


def variations(rows: Sequence[Row], name: str) -> list[tuple[float, Tensor]]:
    """epsilon and the measured total variation of every seed, for every pair."""
    found = []
    for i, cell in enumerate(rows[0]["result"]["pairs"]):
        seen = [row["result"]["pairs"][i]["seen"][name] for row in rows]
        found.append((cell["epsilon"], torch.tensor(seen, dtype=torch.float64)))
    return found


def shown_pair(rows: Sequence[Row], name: str) -> Estimate:
    """The pair that is four standard deviations apart, epsilon = 0.1."""
    at = GAPS.index(4.0) * len(EPSILONS) + EPSILONS.index(0.1)
    return estimate(variations(rows, name)[at][1])


def merged_as_printed(rows: Sequence[Row]) -> tuple[Estimate, str]:
    """TV at most epsilon at the printed level."""
    found = [(epsilon, estimate(seen)) for epsilon, seen in variations(rows, "printed_merged")]
    above = [e.low is not None and e.low > epsilon + SLACK for epsilon, e in found]
    below = [e.high is not None and e.high <= epsilon + SLACK for epsilon, e in found]
    return shown_pair(rows, "printed_merged"), HELD if all(below) else FAILED if any(above) else PARTLY


def separated_as_printed(rows: Sequence[Row]) -> tuple[Estimate, str]:
    """TV at least 2 epsilon at the printed level."""
    found = [(epsilon, estimate(seen)) for epsilon, seen in variations(rows, "printed_separated")]
    above = [e.low is not None and e.low >= 2 * epsilon - SLACK for epsilon, e in found]
    below = [e.high is not None and e.high < 2 * epsilon - SLACK for epsilon, e in found]
    return shown_pair(rows, "printed_separated"), HELD if all(above) else FAILED if any(below) else PARTLY


def levels_are_exact(rows: Sequence[Row]) -> tuple[Estimate, str]:
    """TV less epsilon and less 2 epsilon at the two exact levels: the mean over pairs."""
    away = [seen - epsilon for epsilon, seen in variations(rows, "merged")]
    away += [seen - 2 * epsilon for epsilon, seen in variations(rows, "separated")]
    found = estimate(torch.stack(away).mean(0))
    worst = max(abs(float(a.mean())) for a in away)
    return found, inside(found, -EXACT, EXACT) if worst <= 3 * EXACT else FAILED


def of_mixture(rows: Sequence[Row], name: str) -> Float[Tensor, "R G"]:
    """Runs and numbers of groups."""
    return torch.tensor([row["result"]["merging"][name] for row in rows], dtype=torch.float64)


def falls(name: str, needed: float) -> Callable[[Sequence[Row]], tuple[Estimate, str]]:
    """Judge whether a number falls as groups merge."""

    def judged(rows: Sequence[Row]) -> tuple[Estimate, str]:
        table = of_mixture(rows, name)
        found = estimate(table[:, GROUPS.index(MERGED)] / table[:, 0])
        assert found.low is not None and found.high is not None
        monotone = bool((table.diff(dim=1) <= 0).all())
        if found.high <= needed:
            return found, HELD if monotone else PARTLY
        return found, FAILED if found.low > needed else PARTLY

    return judged


def noise_is_short(rows: Sequence[Row]) -> tuple[Estimate, str]:
    """How often |z| > sqrt d, against exp(-d/2), in the least dimension."""
    shares = {
        d: estimate(
            torch.tensor([row["result"]["long"][str(d)]["above_d"] for row in rows], dtype=torch.float64)
        )
        for d in LONG
    }
    above = [e.low is not None and e.low > math.exp(-d / 2) for d, e in shares.items()]
    below = [e.high is not None and e.high <= math.exp(-d / 2) for d, e in shares.items()]
    return shares[LONG[-1]], HELD if all(below) else FAILED if all(above) else PARTLY


def copies_stay_together(rows: Sequence[Row]) -> tuple[Estimate, str]:
    """Measured less promised probability that copies lie within a distance; the least over dimensions."""
    gaps = {}
    for d in LONG:
        cells = [row["result"]["long"][str(d)] for row in rows]
        gaps[d] = estimate(
            torch.tensor([c["within"] - c["within_at_least"] for c in cells], dtype=torch.float64)
        )
    worst = min(gaps.values(), key=lambda e: e.value or 0.0)
    longer = max(row["result"]["long"][str(d)]["above_3.4_d"] * math.exp(d / 2) for row in rows for d in LONG)
    kept = all(e.high is not None and e.high >= 0 for e in gaps.values()) and longer <= 1
    return worst, HELD if kept else FAILED


PAIRS = (
    f"two Gaussians of unit covariance in {D} dimensions, {', '.join(f'{g:g}' for g in GAPS)} apart; epsilon = "
    f"{' and '.join(map(str, EPSILONS))}; 40,000 points told apart by the nearer mean; seeds {SEEDS[0]} to {SEEDS[-1]}"
)
MIXTURE = (
    f"N = {N} Gaussians in {D} dimensions with Zipf's frequencies in random order, n = {EXAMPLES}; groups any two of "
    f"which have TV <= 0.1; {', '.join(map(str, GROUPS))} groups; seeds {SEEDS[0]} to {SEEDS[-1]}"
)
NOISE = f"d = {', '.join(map(str, LONG))}; 5,000 draws; seeds {SEEDS[0]} to {SEEDS[-1]}"
CLAIMS = (
    Claim(
        "merged-from-the-printed-level",
        "003",
        "Lemma 4.5, high noise",
        "Two components are epsilon-merged (TV <= epsilon) from sigma_t = sqrt(1 - (epsilon/C)^2) on.",
        PAIRS,
        f"measured TV at that level: held if every 95 % interval over seeds ends at or below epsilon + {SLACK:g}, "
        "failed if one begins above; the number is the one for 4 apart, epsilon = 0.1",
        merged_as_printed,
    ),
    Claim(
        "separated-up-to-the-printed-level",
        "003",
        "Lemma 4.5, low noise",
        "Two components are epsilon-separated (TV > 2 epsilon) up to sigma_t = sqrt(1 - (2 epsilon/C)^2).",
        PAIRS,
        f"measured TV at that level: held if every 95 % interval over seeds begins at or above 2 epsilon - {SLACK:g}, "
        "failed if one ends below; the number is the one for 4 apart, epsilon = 0.1",
        separated_as_printed,
    ),
    Claim(
        "exact-levels",
        "unrote",
        "docs/theory.md",
        "TV is epsilon, and 2 epsilon, where sigma^2 = (gap / (2 Phi^-1((1 + TV)/2)))^2 - 1.",
        PAIRS,
        f"measured less exact TV, mean over pairs and both levels: held if its 95 % interval over seeds lies within +-"
        f"{EXACT:g} and no pair is {3 * EXACT:g} off on average, failed if outside or one is",
        levels_are_exact,
    ),
    Claim(
        "merging-lowers-tau-1",
        "003",
        "section 4.2.3",
        "As noise merges subpopulations their frequencies become lighter-tailed and tau_1 becomes small.",
        MIXTURE,
        f"tau_1 with {MERGED} groups over tau_1 without noise: held if its 95 % interval over seeds ends at or below 1 "
        "and tau_1 falls at every step and seed, failed if it begins above 1, else partly",
        falls("tau_1", 1.0),
    ),
    Claim(
        "merging-empties-singletons",
        "unrote",
        "docs/theory.md",
        "What becomes small is the share of the population in singletons.",
        MIXTURE,
        f"share with {MERGED} groups over share without noise: held if its 95 % interval over seeds ends at or below "
        "1/2 and the share falls at every step and seed, failed if it begins above 1/2, else partly",
        falls("mass", 0.5),
    ),
    Claim(
        "noise-is-no-longer-than-root-d",
        "003",
        "proof of Lemma A.4",
        "P(|z| > sqrt(d)) <= exp(-d/2).",
        NOISE,
        "share of draws: held if every 95 % interval over seeds ends at or below exp(-d/2), failed if all begin above; "
        f"the number is the one of d = {LONG[-1]}",
        noise_is_short,
    ),
    Claim(
        "copies-stay-together",
        "unrote",
        "docs/theory.md",
        f"{COPIES} noisy copies of one point lie within {RADIUS:g} of each other at least as often as exact "
        "chi-squares say, and P(|z|^2 > (2 + sqrt 2) d) <= exp(-d/2).",
        f"sigma = {RADIUS:g} / sqrt(2 (d + 3 sqrt(2 d))); {NOISE}",
        "measured less promised: held if no 95 % interval over seeds ends below 0 and no share of long noise is above "
        "its bound, else failed; the number is the least difference",
        copies_stay_together,
    ),
)

EXPERIMENT = Experiment(
    name="ambient/merging",
    about="Lemmas 4.5 and A.4 to A.6: merging and separation of components along the noise levels.",
    scale="laptop",
    configurations=configurations,
    run=run,
    claims=CLAIMS,
    show=show,
)
