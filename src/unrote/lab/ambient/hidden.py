"""Copies that a rule by distance does not see: samples that keep noise or hidden pixels, and are drawn to a source.

A sample of a model that learned from noisy copies alone keeps about as much noise as they had, and is then too far
from its source to be called a copy. Here it is asked to which of as many training and held-out pictures each sample is
nearest: half of them to a training picture, if nothing was learned by heart.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from unrote.contracts import Estimate
from unrote.lab.ambient.remedies import REMEDIES, Remedy, at_noise
from unrote.lab.claims import FAILED, HELD, PARTLY, Claim, Experiment, Row, ends
from unrote.lab.study import MLP_SMALL, copied, drawn_from, geometry_of, material, network_of, trained
from unrote.lab.wild_middle.gap_figures import over_seeds, present
from unrote.lab.wild_middle.gap_rules import change, last
from unrote.lab.wild_middle.gap_runs import options_of
from unrote.measure.estimate import estimate
from unrote.measure.neighbors import neighbors
from unrote.report.blocks import Block, Column, Table
from unrote.report.format import percent, quantity

SEEDS = (0, 1, 2, 3, 4)
STEPS = {"smoke": 16, "laptop": 1200, "paper": 12_000}
SAMPLES = {"smoke": 64, "laptop": 1024, "paper": 10_000}
NOISY = ("noisy only 0.25", "noisy only 0.5")
NAMES = ("baseline", *NOISY, "ambient 0.5, rows first", "ambient 1, rows first", "masking 0.5")
"""The remedies of `ambient/front` that copy least by distance, and what they are held against."""
KNOWN: dict[str, Remedy] = {**REMEDIES, NOISY[1]: Remedy(at_noise(0.5))}


def configurations(scale: str) -> Sequence[Mapping[str, Any]]:
    """Every remedy at every seed."""
    seeds = SEEDS[:1] if scale == "smoke" else SEEDS
    return [
        {
            "set": "digits",
            "class": None,
            "side": 8,
            "images": 32,
            "test": 512,
            "network": MLP_SMALL,
            "batch": 64,
            "learning_rate": 1e-3,
            "warmup": 100,
            "ema": 0.998,
            "cure": name,
            "seed": seed,
            "samples": SAMPLES[scale],
            "at": [STEPS[scale]],
        }
        for seed in seeds
        for name in NAMES
    ]


def drawn_to(
    samples: Float[Tensor, "n C H W"],
    training: Float[Tensor, "N C H W"],
    held_out: Float[Tensor, "M C H W"],
) -> float:
    """The share of samples that are nearer to a training picture than to any of as many held-out ones.

    Mean over all whole blocks of N held-out pictures; 1/2 for samples that know neither.
    """
    n = len(training)
    blocks = held_out[: len(held_out) // n * n].split(n)
    mine = neighbors(samples, training, 1).distance[:, 0]
    shares = [(mine < neighbors(samples, block, 1).distance[:, 0]).double().mean() for block in blocks]
    return float(torch.stack(shares).mean())


def run(asked: Mapping[str, Any]) -> Mapping[str, Any]:
    """Train with one remedy; copies by distance, and the share drawn to training pictures."""
    seed, remedy = int(asked["seed"]), KNOWN[asked["cure"]]
    made = material(asked, seed)
    g = torch.Generator().manual_seed(seed + 9)
    change_of = None if remedy.made is None else remedy.made(geometry_of(made, seed), g)
    options = replace(options_of(asked), **(remedy.options or {}))
    network = network_of({**asked["network"], **(remedy.network or {})})
    *_, last_one = trained(made.train, network, options, seed, asked["at"], change_of, hidden=remedy.hidden)
    samples = drawn_from(last_one, made.train.shape[1:], asked["samples"], seed)
    return {
        "steps": list(asked["at"]),
        "copies": [float(copied(samples, made.train).double().mean())],
        "drawn": [drawn_to(samples, made.train, made.test)],
        "fresh": drawn_to(made.test[:256], made.train, made.test[256:]),
    }


def show(rows: Sequence[Row]) -> tuple[Block, ...]:
    """Both measures side by side."""
    cells = tuple(
        (name, over_seeds(rows, name, "copies")[-1], over_seeds(rows, name, "drawn")[-1])
        for name in present(rows)
    )
    columns = (
        Column("remedy"),
        Column("copies by distance", quantity),
        Column("nearer to a training picture", quantity),
    )
    fresh = sum(row["result"]["fresh"] for row in rows) / len(rows)
    words = (
        "Means over seeds, 95 % intervals. Nearer to one of the training pictures than to any of as many held-out "
        f"ones: of fresh pictures {percent(fresh)} are."
    )
    return (Table(columns, cells, words),)


def hides(name: str) -> Callable[[Sequence[Row]], tuple[Estimate, str]]:
    """Judge whether samples with few copies by distance are drawn to training pictures more than fresh ones are."""

    def judged(rows: Sequence[Row]) -> tuple[Estimate, str]:
        fresh = [row["result"]["fresh"] for row in rows if row["configuration"]["cure"] == name]
        excess = [a - b for a, b in zip(last(rows, name, "drawn"), fresh, strict=True)]
        found = estimate(torch.tensor(excess, dtype=torch.float64))
        assert found.value is not None
        return found, HELD if ends(found)[0] > 0 else PARTLY if found.value > 0 else FAILED

    return judged


def least(rows: Sequence[Row]) -> tuple[Estimate, str]:
    """Judge whether noisy copies of .25 alone are less drawn to training pictures than ambient training at 1."""
    found = change(rows, NOISY[0], "drawn", "ambient 1, rows first")
    assert found.value is not None
    return found, HELD if ends(found)[1] < 0 else PARTLY if found.value < 0 else FAILED


TESTED = (
    "32 digits of 8x8, each seed its own, 512 held-out digits in blocks of 32; residual MLP 3x512, 1,200 steps of 64, "
    "averaged weights, 1,024 samples; seeds 0 to 4"
)
CLAIMS = (
    *(
        Claim(
            f"hidden-{name.replace(', ', '-').replace(' ', '-')}",
            "unrote",
            "Table 2 of 003",
            f"{name}: more samples are nearest to a training picture, among as many training as held-out ones, than "
            "fresh pictures are.",
            TESTED,
            "share of samples minus share of fresh digits, mean over seeds: held if the 95 % interval is above 0, "
            "partly if the mean is",
            hides(name),
        )
        for name in NAMES
    ),
    Claim(
        "hidden-noisy-only-least",
        "003",
        "Table 2",
        "Noisy copies alone (.25) draw samples to training pictures less than ambient training at 1 does.",
        TESTED,
        "difference of the shares, mean over seeds: held if the 95 % interval is below 0, partly if the mean is",
        least,
    ),
)

EXPERIMENT = Experiment(
    name="ambient/hidden",
    about="Copies that a rule by distance does not see: noisy copies alone, ambient training and masking on digits.",
    scale="laptop",
    configurations=configurations,
    run=run,
    claims=CLAIMS,
    show=show,
)
