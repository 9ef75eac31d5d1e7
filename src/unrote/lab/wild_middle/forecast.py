"""Does the zone computed before training tell at which noise levels a trained network will copy, over many data sets?

For every data set: the geometry of its training pictures, then a network trained on them, probed level by level. The
geometry is held against two baselines that know no geometry, each fitted on the other data sets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from unrote.contracts import Estimate
from unrote.geometry.crossings import ends
from unrote.geometry.regimes import Regimes
from unrote.lab.claims import FAILED, HELD, PARTLY, Claim, Experiment, Row
from unrote.lab.study import (
    UNET_SMALL,
    Material,
    copied,
    geometry_of,
    material,
    nearest_distance,
    network_of,
    samples_of,
    trained,
)
from unrote.lab.wild_middle.forecast_figures import show
from unrote.lab.wild_middle.forecasts import (
    FACTOR,
    HELD_OUT,
    LEVELS,
    THRESHOLDS,
    calibrated,
    compared,
    errors,
    jaccards,
    paired,
    settings_of,
)
from unrote.measure.denoising import denoised_levels
from unrote.measure.estimate import estimate, percentile
from unrote.noise.levels import log_levels
from unrote.report.format import quantity
from unrote.train.loop import Options

SEEDS = (0, 1, 2)
"""Of pictures, weights and training; the data sets are what intervals run over."""
SETTINGS: tuple[tuple[str, int | None, int, int, int], ...] = (
    ("digits", None, 8, 32, 1000),
    ("fashion_mnist", None, 8, 32, 1200),
    ("cifar10", 1, 8, 32, 1000),
    ("lfw_faces_32", None, 8, 64, 1200),
    ("tiny_imagenet_32", None, 8, 32, 1000),
    ("templates", None, 8, 32, 1400),
    ("digits", None, 8, 64, 1600),
    ("fashion_mnist", 0, 8, 32, 1200),
    ("cifar10", 7, 8, 32, 1000),
    ("lfw_faces_32", None, 12, 32, 1000),
    ("cifar10", 8, 12, 32, 1000),
    ("fashion_mnist", None, 14, 32, 1400),
    ("cifar10", None, 8, 64, 1600),
    ("tiny_imagenet_32", None, 16, 32, 2000),
)
"""Set, class, side, training pictures, steps. Every second one, from the first, calibrates; the others test."""
SMOKE = (("digits", None, 8, 16, 40), ("templates", None, 8, 16, 40), ("digits", None, 8, 24, 40))
TRAINING = {"learning_rate": 2e-3, "warmup_steps": 100, "ema_decay": 0.995}


def configurations(scale: str) -> Sequence[Mapping[str, Any]]:
    """Every data set at every seed."""
    chosen, seeds = (SMOKE, SEEDS[:1]) if scale == "smoke" else (SETTINGS, SEEDS)
    noised = {"smoke": 100, "laptop": 4000, "paper": 20_000}[scale]
    return [
        {
            "pictures": {
                "set": name,
                "class": label,
                "side": side,
                "images": images,
                "test": 100 if scale == "smoke" else 500 if name == "digits" else 1000,
            },
            "network": UNET_SMALL,
            "training": TRAINING,
            "steps": steps,
            "samples": 32 if scale == "smoke" else 512,
            "noised": noised,
            "seed": seed,
        }
        for seed in seeds
        for name, label, side, images, steps in chosen
    ]


def sets(scale: str) -> tuple[str, ...]:
    """The picture sets that are read."""
    if scale == "smoke":
        return ()
    return tuple(sorted({name for name, *_ in SETTINGS} - {"digits", "templates"}))


def run(asked: Mapping[str, Any]) -> Mapping[str, Any]:
    """The geometry of the pictures, a network trained on them, and what it copies at each level."""
    seed = int(asked["seed"])
    made = material(asked["pictures"], seed)
    foretold = told_before(made, geometry_of(made, seed))
    *_, last = trained(
        made.train, network_of(asked["network"]), Options(**asked["training"]), seed, [asked["steps"]]
    )
    drawn = samples_of(last.denoiser, made.train.shape[1:], asked["samples"], seed)
    return foretold | {
        "sample_copies": int(copied(drawn, made.train).sum()),
        "copies": level_copies(last.denoiser, made, asked["noised"], seed),
    }


def told_before(made: Material, found: Regimes) -> dict[str, Any]:
    """What is known before training: the crossing, both curves' passings, and the distance to the nearest picture."""
    at = {p: ends(found.samples, torch.full_like(found.samples.covered[0], p)) for p in THRESHOLDS}
    return {
        "crossing": found.crossing.value,
        "height": found.height.value,
        "covered_at": [at[p][0].value for p in THRESHOLDS],
        "weight_at": [at[p][1].value for p in THRESHOLDS],
        "nearest": nearest_distance(made),
    }


def level_copies(denoiser: Any, made: Material, noised: int, seed: int) -> list[int]:
    """How many of the noised test pictures one denoising step turns into a copy, at every level."""
    test = made.test[torch.arange(noised) % len(made.test)]
    g = torch.Generator().manual_seed(seed + 7)
    outputs = denoised_levels(denoiser, test, log_levels(*LEVELS), g)
    return [int(copied(out, made.train).sum()) for out in outputs]


def crossing_beats(rows: Sequence[Row]) -> tuple[Estimate, str]:
    """Judge the crossing, times a constant of the other sets, against both baselines: median |log| error."""
    found = settings_of(rows)
    ours, *others = (errors(found, of) for of in ("crossing", "level", "nearest"))
    return compared(ours, others)


def crossing_is_near(rows: Sequence[Row]) -> tuple[Estimate, str]:
    """Judge the crossing itself, nothing fitted: median |log(crossing / measured peak)| with its interval."""
    found = percentile(errors(settings_of(rows), "crossing", fitted=False), 0.5)
    assert found.low is not None and found.high is not None
    bound = float(torch.tensor(FACTOR).log())
    return found, HELD if found.high <= bound else PARTLY if found.low <= bound else FAILED


def zone_beats(rows: Sequence[Row]) -> tuple[Estimate, str]:
    """Judge the zone calibrated on the other sets against both baselines: mean Jaccard index, leave one set out."""
    found = settings_of(rows)
    ours, *others = (jaccards(found, of) for of in ("zone", "level", "nearest"))
    gains = [paired(ours, base) for base in others]
    least = min(gains, key=lambda gain: gain.value or 0.0)
    low = [gain.low or 0.0 for gain in gains]
    mean = [gain.value or 0.0 for gain in gains]
    return least, HELD if min(low) > 0 else PARTLY if min(mean) > 0 else FAILED


def zone_holds(rows: Sequence[Row]) -> tuple[Estimate, str]:
    """Judge the zone calibrated on every second set by its mean Jaccard index on the others."""
    found = settings_of(rows)
    rule = calibrated(found[0::2])
    index = torch.tensor([one.jaccard(one.zone(*rule)) for one in found[1::2]], dtype=torch.float64)
    mean = estimate(index)
    assert mean.low is not None and mean.high is not None
    return mean, HELD if mean.low >= HELD_OUT else PARTLY if mean.high >= HELD_OUT else FAILED


def danger_holds(rows: Sequence[Row]) -> tuple[Estimate, str]:
    """Judge the danger zone as the geometry prints it, p = .95: mean Jaccard index, nothing fitted."""
    found = settings_of(rows)
    index = [one.jaccard(one.zone(0.95, 0.95)) for one in found]
    mean = estimate(torch.tensor(index, dtype=torch.float64))
    assert mean.low is not None and mean.high is not None
    return mean, HELD if mean.low >= HELD_OUT else PARTLY if mean.high >= HELD_OUT else FAILED


TESTED = (
    f"{len(SETTINGS)} data sets (digits, Fashion-MNIST, CIFAR-10 classes, grey faces, tiny ImageNet, coloured "
    "templates; 8x8 to 16x16, 32 or 64 training pictures), small U-Net, 1,000 to 2,000 steps of 64, "
    f"seeds {SEEDS[0]} to {SEEDS[-1]}; copies after one denoising step of 4,000 noised test pictures at {LEVELS[2]} "
    "levels, pooled over seeds; the peak is the top of their smoothed curve, the measured zone is where it is at "
    "least half as high"
)
CLAIMS = (
    Claim(
        "zone-peak",
        "001",
        "sections 3 and 4.2",
        "The level where posterior weight and coverage cross is the level at which a trained network copies most.",
        TESTED,
        f"median of |log(crossing / measured peak)| over data sets, nothing fitted: held if its 95 % interval ends at "
        f"or below log {FACTOR}, failed if it begins above",
        crossing_is_near,
        quantity,
    ),
    Claim(
        "zone-peak-baselines",
        "unrote",
        "a test of 001",
        "The crossing, times one constant, predicts the level of most copying better than a constant level and than a "
        "constant times the median distance to the nearest training picture.",
        TESTED,
        "|log error| with the constant fitted on all other data sets; gain over the nearer baseline, mean over data "
        "sets: held if both gains' 95 % intervals are above 0 and both medians improve, partly if both medians improve",
        crossing_beats,
        quantity,
    ),
    Claim(
        "danger-zone-measured",
        "001",
        "section 4.2",
        "The danger zone (both curves at .95) is where a trained network copies.",
        TESTED,
        f"mean Jaccard index of the danger zone and the measured zone, nothing fitted: held if its 95 % interval is "
        f"at or above {HELD_OUT}, failed if below",
        danger_holds,
        quantity,
    ),
    Claim(
        "zone-baselines",
        "unrote",
        "a test of 001",
        "A zone between two thresholds of the curves, calibrated on other data sets, covers the measured zone better "
        "than a constant zone and than constants times the median distance to the nearest training picture.",
        TESTED,
        "Jaccard index, both rules fitted on all other data sets; gain over the nearer baseline, mean over data sets: "
        "held if both gains' 95 % intervals are above 0, partly if both means are",
        zone_beats,
        quantity,
    ),
    Claim(
        "zone-calibrated",
        "unrote",
        "a test of 001",
        "A zone calibrated on half of the data sets covers the measured zone on the other half.",
        TESTED,
        f"mean Jaccard index on the other half: held if its 95 % interval is at or above {HELD_OUT}, failed if below",
        zone_holds,
        quantity,
    ),
)

EXPERIMENT = Experiment(
    name="wild_middle/forecast",
    about="The zone computed before training against the levels at which trained networks copy, over many data sets.",
    scale="laptop",
    configurations=configurations,
    run=run,
    claims=CLAIMS,
    show=show,
    sets=sets,
)
