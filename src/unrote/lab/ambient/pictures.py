"""Figure 3, and Figures 4 to 6 in kind: denoised pictures by level, and samples beside their nearest training pictures.

Networks of one seed start from the same weights: one learns from all pictures that are left, the baseline and two
ambient ones from the same few. The exact optimum of the few stands beside them. Pictures are digits, or clothes of
Fashion-MNIST; never photographs.

Known before the rules were fixed, of seeds 100 and 101: the baseline copies 58 and 59 %, ambient training 40 %
(one seed) at sigma_n = .5 and 7 and 15 % at 1. Overconfidence above sigma_n, beyond that of the much-data model:
baseline .14 to .18, ambient .84 at sigma_n = .5 and 2.5 at 1, because just above sigma_n its outputs are wild (squared
error 1, where the variance of pictures is .3). So what Figure 3 says of ambient training is expected to fail here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from unrote.contracts import Denoiser, Estimate
from unrote.denoise.exact import Empirical
from unrote.lab.ambient.paper import CIFAR_OPTIONS, NETWORK
from unrote.lab.ambient.pictures_figures import BEST, MUCH, PLAIN, few, show
from unrote.lab.claims import FAILED, HELD, PARTLY, Claim, Experiment, Row, at_least, at_most, ends, inside
from unrote.lab.ratios import geometric
from unrote.lab.study import (
    MLP_SMALL,
    Material,
    as_pixels,
    copied,
    material,
    network_of,
    samples_of,
    trained,
)
from unrote.lab.wild_middle.gap_rules import Judged
from unrote.lab.wild_middle.gap_runs import PAIRS, pairs, written
from unrote.lab.wild_middle.paper import options_of
from unrote.measure.denoising import denoised_levels
from unrote.measure.estimate import estimate
from unrote.noise.levels import log_levels
from unrote.train.interventions import ambient
from unrote.train.recipe import Intervention, levels_first

SEEDS = (0, 1, 2, 3, 4)
IMAGES, MORE = 32, (100, 300)
"""Pictures of the claims and of Figure 3; the other sizes of Figures 4 to 6, for the first seed alone."""
LEVELS = (0.05, 20.0, 24)
"""Lowest and highest level of the curves, and how many."""
SIGMA_N = (0.5, 1.0)
"""Of ambient training: in `ambient/front` the first left quality as it was, the second copied least."""
SHOWN_LEVELS = (10.0, 5.0, 3.0, 2.0, 1.2, 0.7, 0.4, 0.2)
SHOWN = 4
"""Test pictures that are shown at each of these levels."""
HIGHEST = 10.0
"""Up to where claims look above sigma_n: beyond it every denoiser gives about the mean of what it learned from."""

SMALL: dict[str, Any] = {
    "set": "digits",
    "class": None,
    "side": 8,
    "images": IMAGES,
    "test": 500,
    "network": MLP_SMALL,
    "options": {"steps": 1200, "learning_rate": 1e-3, "warmup_steps": 100, "ema_decay": 0.998},
    "sigma_n": list(SIGMA_N),
    "samples": 256,
}
PAPER: dict[str, Any] = SMALL | {
    "set": "fashion_mnist",
    "side": 28,
    "network": NETWORK,
    "options": CIFAR_OPTIONS,
    "samples": 1024,
}
"""The paper's numbers of pictures, with pictures that a page may show in place of CIFAR-10's and FFHQ's."""


def configurations(scale: str) -> Sequence[Mapping[str, Any]]:
    """The few pictures at every seed, more of them at the first."""
    if scale == "smoke":
        little = {"samples": 16, "test": 40, "options": SMALL["options"] | {"steps": 8}}
        return [SMALL | little | {"seed": 0, "shown": True}]
    if scale == "paper":
        return [PAPER | {"images": n, "seed": 0, "shown": True} for n in (300, 1000, 3000)]
    runs = [SMALL | {"seed": seed, "shown": seed == SEEDS[0]} for seed in SEEDS]
    return [*runs, *(SMALL | {"images": n, "seed": SEEDS[0], "shown": True} for n in MORE)]


def sets(scale: str) -> tuple[str, ...]:
    """What the runs read."""
    return ("fashion_mnist",) if scale == "paper" else ("digits",)


def named(sigma_n: float) -> str:
    """The name of ambient training at a level."""
    return f"ambient {sigma_n:g}"


def denoisers_of(asked: Mapping[str, Any], made: Material) -> dict[str, Denoiser]:
    """The networks, averaged weights, and the exact optimum of the few pictures."""
    options, seed = options_of(asked["options"]), asked["seed"]
    plans: dict[str, tuple[Tensor, Intervention | None]] = {
        MUCH: (made.many, None),
        PLAIN: (made.train, None),
    }
    for level in asked["sigma_n"]:
        cure = ambient(level, torch.Generator().manual_seed(seed + 9), levels_first)
        plans[named(level)] = (made.train, cure)
    found: dict[str, Denoiser] = {}
    for name, (x, remedy) in plans.items():
        network = network_of(asked["network"])
        *_, last = trained(x, network, options, seed, (options.steps,), remedy)
        found[name] = last.denoiser
    return found | {BEST: Empirical(made.train)}


def run(asked: Mapping[str, Any]) -> Mapping[str, Any]:
    """Train the networks, denoise fresh pictures at every level with all denoisers, and draw samples."""
    made, seed = material(asked, asked["seed"]), asked["seed"]
    denoisers = denoisers_of(asked, made)
    levels = log_levels(*LEVELS)
    outputs = {name: at_levels(denoiser, made.test, levels, seed) for name, denoiser in denoisers.items()}
    middle = made.many.mean(0)
    return {
        "levels": levels.tolist(),
        "apart": {name: by_level(out, outputs[MUCH]) for name, out in outputs.items() if name != MUCH},
        "error": {name: by_level(out, made.test[None]) for name, out in outputs.items()},
        "overconfidence": {
            name: [overconfidence(one, made.test, middle) for one in out] for name, out in outputs.items()
        },
        "copies": {name: [share(one, made) for one in out] for name, out in outputs.items()},
        "samples": {
            name: sampled(one, made, asked) for name, one in denoisers.items() if name not in (MUCH, BEST)
        },
        "shown": shown(denoisers, made, seed) if asked["shown"] else None,
    }


def at_levels(
    denoiser: Denoiser, x0: Float[Tensor, "n C H W"], levels: Float[Tensor, " T"], seed: int
) -> Float[Tensor, "T n C H W"]:
    """Pictures noised to every level and denoised once; the same noise at every level and for every denoiser."""
    return torch.stack(list(denoised_levels(denoiser, x0, levels, torch.Generator().manual_seed(seed + 7))))


def by_level(a: Float[Tensor, "T n C H W"], b: Float[Tensor, "S n C H W"]) -> list[float]:
    """Mean squared difference per number at every level."""
    found: list[float] = (a.double() - b.double()).square().flatten(1).mean(1).tolist()
    return found


def overconfidence(
    out: Float[Tensor, "n C H W"], x0: Float[Tensor, "n C H W"], middle: Float[Tensor, "C H W"]
) -> float:
    """How much more a denoiser ventures than it knows: 0 for a conditional mean, as a share of the pictures' variance.

    2 E<D - m, D - x0> / E|x0 - m|^2 = (E|D - m|^2 + E|D - x0|^2) / E|x0 - m|^2 - 1 for any constant picture m: what
    D = E[x0 | x] departs from m is what its error is smaller by. Blurry outputs depart little.
    """
    d, x, m = out.double(), x0.double(), middle.double()
    return float(2 * ((d - m) * (d - x)).mean() / (x - m).square().mean())


def share(out: Float[Tensor, "n C H W"], made: Material) -> float:
    """The share of pictures that are copies of training pictures."""
    return float(copied(out, made.train).double().mean())


def sampled(denoiser: Denoiser, made: Material, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Copies among samples, and the first ones with their nearest training pictures."""
    samples = samples_of(denoiser, made.train.shape[1:], asked["samples"], asked["seed"])
    kept = pairs(samples[:PAIRS], made.train) if asked["shown"] else None
    return {"copies": share(samples, made), "pairs": kept}


def shown(denoisers: Mapping[str, Denoiser], made: Material, seed: int) -> dict[str, Any]:
    """Figure 3: a few test pictures noised and denoised at a few levels, as 8-bit pixels in hexadecimal."""
    clean, levels = made.test[:SHOWN], torch.tensor(SHOWN_LEVELS)

    def noise(x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
        """The state itself, pressed into the scale of pictures."""
        return x / (1 + 2 * sigma[:, None, None, None])

    columns = {"noised": noise, **denoisers}
    return {
        "levels": list(SHOWN_LEVELS),
        "shape": list(clean.shape[1:]),
        "clean": written(as_pixels(clean)),
        "columns": {
            name: [written(as_pixels(out)) for out in at_levels(one, clean, levels, seed)]
            for name, one in columns.items()
        },
    }


def places(row: Row, low: float, high: float) -> list[int]:
    """Which levels of a run lie above one and not above the other."""
    return [i for i, level in enumerate(row["result"]["levels"]) if low < level <= high]


def above(row: Row, sigma_n: float) -> list[int]:
    """The levels that ambient training learned from noisy copies, as far as claims look."""
    return places(row, sigma_n, HIGHEST)


def below(row: Row, sigma_n: float) -> list[int]:
    """The levels that it learned from the clean pictures, as the baseline did."""
    return places(row, 0.0, sigma_n)


def log_apart(row: Row, sigma_n: float, where: Sequence[int]) -> float:
    """log of ambient's over the baseline's squared distance from the model of much data, mean over levels."""
    ours, theirs = (row["result"]["apart"][name] for name in (named(sigma_n), PLAIN))
    return fmean(math.log(ours[i] / theirs[i]) for i in where)


def beyond(row: Row, name: str, sigma_n: float) -> float:
    """Overconfidence beyond that of the model of much data, mean over the levels above sigma_n."""
    ours, much = (row["result"]["overconfidence"][one] for one in (name, MUCH))
    return fmean(ours[i] - much[i] for i in above(row, sigma_n))


def nearer(sigma_n: float) -> Judged:
    """How far ambient training is from the model of much data above sigma_n, over how far the baseline is."""

    def judged(rows: Sequence[Row]) -> tuple[Estimate, str]:
        found = geometric([log_apart(row, sigma_n, above(row, sigma_n)) for row in few(rows)])
        return found, at_most(found, 0.5, 1.0)

    return judged


def alike_below(sigma_n: float) -> Judged:
    """Whether both are equally far from it below sigma_n."""

    def judged(rows: Sequence[Row]) -> tuple[Estimate, str]:
        found = geometric([log_apart(row, sigma_n, below(row, sigma_n)) for row in few(rows)])
        return found, inside(found, 0.8, 1.25)

    return judged


def ventures(sigma_n: float) -> Judged:
    """How much more overconfident the baseline is than the model of much data above sigma_n."""

    def judged(rows: Sequence[Row]) -> tuple[Estimate, str]:
        found = estimate(
            torch.tensor([beyond(row, PLAIN, sigma_n) for row in few(rows)], dtype=torch.float64)
        )
        return found, at_least(found, 0.1, 0.0)

    return judged


def blurry(sigma_n: float) -> Judged:
    """How much more overconfident ambient training is than the model of much data, against the baseline's surplus.

    The number is its own surplus. Held if it surely is at most half of the baseline's, partly if it surely is smaller.
    """

    def judged(rows: Sequence[Row]) -> tuple[Estimate, str]:
        pairs_of = [[beyond(row, name, sigma_n) for name in (named(sigma_n), PLAIN)] for row in few(rows)]
        ours, theirs = torch.tensor(pairs_of, dtype=torch.float64).T
        half, whole = (ends(estimate(ours - part * theirs))[1] for part in (0.5, 1.0))
        return estimate(ours), HELD if half <= 0 else PARTLY if whole < 0 else FAILED

    return judged


TESTED = (
    f"{IMAGES} digits of 8x8, each seed its own, {SMALL['test']} test digits; the model of much data learns from all "
    f"others but those kept apart; residual MLP 3x512, {SMALL['options']['steps']:,} steps of 64 each, averaged "
    "weights; ambient training by the authors' rule; the same noise for all; seeds 0 to 4, paired"
)


def claims_of(sigma_n: float) -> tuple[Claim, ...]:
    """What Figure 3 says, at one level of ambient training."""
    where = f"levels above sigma_n = {sigma_n:g} up to {HIGHEST:g}, equally spaced in log sigma"
    return (
        Claim(
            f"pictures-{sigma_n:g}-as-much-data",
            "003",
            "Figure 3",
            "At high levels ambient training denoises more like a model of much more data than the baseline does.",
            TESTED,
            f"{where}: squared distance of denoised test pictures from the much-data model's, ambient / baseline, "
            "geometric mean over levels and seeds: held if the 95 % interval over seeds ends at or below .5, partly if "
            "at or below 1",
            nearer(sigma_n),
        ),
        Claim(
            f"pictures-{sigma_n:g}-overconfident",
            "003",
            "Figure 3",
            "Trained on few pictures, the baseline is overconfident even for very noisy inputs.",
            TESTED,
            f"{where}: overconfidence 2 E<D - m, D - x0> / E|x0 - m|^2 on test pictures, m the mean picture, which is "
            "0 for a conditional mean; baseline less much-data model, mean over levels: held if the 95 % interval over "
            "seeds begins at or above .1, partly if at or above 0",
            ventures(sigma_n),
        ),
        Claim(
            f"pictures-{sigma_n:g}-blurry",
            "003",
            "Figure 3",
            "Ambient training is as blurry as the model of much data.",
            TESTED,
            f"{where}: overconfidence beyond the much-data model's; held if it is at most half of the baseline's (the "
            "95 % interval over seeds of the difference ends at or below 0), partly if it is smaller (so too)",
            blurry(sigma_n),
        ),
        Claim(
            f"pictures-{sigma_n:g}-alike-below",
            "unrote",
            "003 Figure 3",
            "Below sigma_n, where both learn from the same clean pictures, both are equally far from the much-data "
            "model.",
            TESTED,
            f"levels up to sigma_n = {sigma_n:g}: the same ratio of squared distances as above it: held if the 95 % "
            "interval lies within .8 and 1.25, failed if it lies outside",
            alike_below(sigma_n),
        ),
    )


CLAIMS = tuple(claim for sigma_n in SIGMA_N for claim in claims_of(sigma_n))

EXPERIMENT = Experiment(
    name="ambient/pictures",
    about="What ambient training does to denoised pictures, level by level, and to samples: to look at and in numbers.",
    scale="laptop",
    configurations=configurations,
    run=run,
    claims=CLAIMS,
    show=show,
    sets=sets,
)
