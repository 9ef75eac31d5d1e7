"""First cures: do a gap at the recommended levels and noisy copies cut copying, at equal steps, over several seeds?

A small experiment on digits with what `unrote geometry` recommends before training; the comparison of all cures on
quality and copying, on more data and other networks, is another one.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unrote.contracts import Estimate
from unrote.geometry.posterior import weight_curve
from unrote.geometry.regimes import Zone, regimes, share_removed, zone_at, zone_of
from unrote.geometry.shells import Shell, coverage
from unrote.jobs.cures import Cures
from unrote.jobs.demonstration import configuration, digits, plan_of
from unrote.jobs.fitting import fit
from unrote.jobs.training import training_set
from unrote.lab.claims import FAILED, HELD, PARTLY, Claim, Experiment, Row
from unrote.lab.ratios import SEVERAL, geometric, log_ratios, several_fold
from unrote.measure.estimate import estimate
from unrote.noise.levels import LogNormal, log_levels
from unrote.report.blocks import Block, Column, Table
from unrote.report.format import percent, quantity

IMAGES, POOL = 32, 1024
SEEDS = (0, 1, 2, 3, 4)
STEPS = {"smoke": 100, "laptop": 2000, "paper": 2000}
SAMPLES = {"smoke": 32, "laptop": 512, "paper": 10_000}

CURES: dict[str, Callable[[Zone], Cures]] = {
    "baseline": lambda zone: Cures(),
    "gap": lambda zone: Cures(gap=(zone.low, zone.high)),
    "ambient": lambda zone: Cures(ambient=zone.low),
    "gap+ambient": lambda zone: Cures(gap=(zone.low, zone.high), ambient=zone.low),
}


def configurations(scale: str) -> Sequence[Mapping[str, Any]]:
    """Every cure at every seed; one seed is enough to see that it runs."""
    seeds = SEEDS[:1] if scale == "smoke" else SEEDS
    return [
        configuration(IMAGES, POOL, STEPS[scale], SAMPLES[scale], seed) | {"cure": cure}
        for seed in seeds
        for cure in CURES
    ]


def recommended(x: Tensor, fresh: Tensor, seed: int) -> Zone:
    """What the geometry of these images recommended to leave out when this was fixed: the zone of level .5."""
    levels = log_levels(0.05, 20.0, 72)
    g = torch.Generator().manual_seed(seed)
    weight = weight_curve(x, levels, g, base=None, draws=32).maximum
    covered = coverage(x, fresh, levels, Shell(x[0].numel()), g)
    low, high, _, _ = zone_at(regimes(levels, weight, covered, count=len(x), generator=g, repeats=2), 0.5)
    zone = zone_of(low, high)
    assert zone is not None
    return zone


def run(asked: Mapping[str, Any]) -> Mapping[str, Any]:
    """Train with one cure; copies and losses over the steps."""
    reference, fresh = digits(asked)
    data = training_set(reference, fresh, False)
    assert data.held_out is not None
    zone = recommended(data.x, data.held_out, asked["seed"])
    plan = replace(plan_of(asked), cures=CURES[asked["cure"]](zone))
    with tempfile.TemporaryDirectory() as place:
        history = fit(data, plan, Path(place), lambda steps: None).history
    return {
        "gap": [zone.low, zone.high],
        "share_removed": share_removed(zone, LogNormal()),
        "steps": [m.step for m in history],
        "copies": [m.copy_ratio.value for m in history],
        "held_out_loss": [m.validation_loss.value for m in history],
    }


def last(rows: Sequence[Row], cure: str, key: str) -> list[float]:
    """The last measurement of every seed, in their order."""
    mine = [row for row in rows if row["configuration"]["cure"] == cure]
    return [row["result"][key][-1] for row in sorted(mine, key=lambda row: row["configuration"]["seed"])]


def left_over(cure: str) -> Callable[[Sequence[Row]], tuple[Estimate, str]]:
    """Judge which share of the baseline's copies a cure leaves: geometric mean over seeds, paired."""

    def judged(rows: Sequence[Row]) -> tuple[Estimate, str]:
        copies = last(rows, cure, "copies"), last(rows, "baseline", "copies")
        found = geometric(log_ratios(*copies, SAMPLES["laptop"]))
        return found, several_fold(found)

    return judged


def better_than_stopping(cure: str) -> Callable[[Sequence[Row]], tuple[Estimate, str]]:
    """Judge a cure against the baseline at its lowest held-out loss: fewer copies at no higher loss?"""

    def judged(rows: Sequence[Row]) -> tuple[Estimate, str]:
        wins = []
        plain = sorted(
            (row for row in rows if row["configuration"]["cure"] == "baseline"),
            key=lambda row: row["configuration"]["seed"],
        )
        ends = zip(last(rows, cure, "copies"), last(rows, cure, "held_out_loss"), strict=True)
        for (copies, loss), row in zip(ends, plain, strict=True):
            losses = row["result"]["held_out_loss"]
            best = losses.index(min(losses))
            wins.append(copies < row["result"]["copies"][best] and loss <= losses[best])
        found = estimate(torch.tensor(wins))
        return found, HELD if all(wins) else PARTLY if sum(wins) > len(wins) / 2 else FAILED

    return judged


def show(rows: Sequence[Row]) -> tuple[Block, ...]:
    """Every run: what was left out, copies and loss at the end, and the baseline at its lowest held-out loss."""
    cells = []
    for row in rows:
        found = row["result"]
        best = found["held_out_loss"].index(min(found["held_out_loss"]))
        cells.append(
            (
                f"{row['configuration']['cure']}, seed {row['configuration']['seed']}",
                f"{found['gap'][0]:.3g} to {found['gap'][1]:.3g}",
                found["share_removed"],
                found["copies"][-1],
                found["held_out_loss"][-1],
                found["steps"][best],
                found["copies"][best],
                found["held_out_loss"][best],
            )
        )
    columns = (
        Column("run"),
        Column("recommended gap, sigma"),
        Column("share of the law", percent),  # type: ignore[arg-type]
        Column("copies at the end", percent),  # type: ignore[arg-type]
        Column("held-out loss", quantity),
        Column("best step"),
        Column("copies there", percent),  # type: ignore[arg-type]
        Column("held-out loss there", quantity),
    )
    return (
        Table(columns, tuple(cells), "Cures on 32 digits; the best step is that of the lowest held-out loss"),
    )


TESTED = (
    f"{IMAGES} of scikit-learn's digits, residual MLP 3x512, {STEPS['laptop']:,} steps of 64, averaged weights, "
    f"{SAMPLES['laptop']} samples; the gap is `recommended_gap` of the training images, computed before training, the "
    f"ambient level its lower end; seeds {SEEDS[0]} to {SEEDS[-1]}, each with its own images"
)
CUT = (
    f"copies / copies of the baseline, geometric mean over seeds: held if its 95 % interval ends at or below "
    f"{SEVERAL:.2g}, partly if it ends below 1"
)
CLAIMS = (
    Claim(
        "gap-cuts-copying",
        "001",
        "Figure 4, in kind",
        "A gap over the levels that the geometry recommends cuts copying several-fold.",
        TESTED,
        CUT,
        left_over("gap"),
    ),
    Claim(
        "ambient-cuts-copying",
        "003",
        "Figure 1, in kind",
        "Learning high levels from one noisy copy of each image cuts copying several-fold.",
        TESTED,
        CUT,
        left_over("ambient"),
    ),
    Claim(
        "both-cut-copying",
        "unrote",
        "001 and 003 together",
        "Gap and noisy copies together cut copying several-fold.",
        TESTED,
        CUT,
        left_over("gap+ambient"),
    ),
    Claim(
        "cures-beat-stopping",
        "unrote",
        "001 and 003 against 002",
        "Both together copy less, at no higher held-out loss, than the baseline stopped at its lowest held-out loss.",
        TESTED,
        "share of seeds at which both are true: held if all, partly if most",
        better_than_stopping("gap+ambient"),
    ),
)

EXPERIMENT = Experiment(
    name="first-cures",
    about="A gap, noisy copies, and both, at levels recommended before training, on 32 digits.",
    scale="laptop",
    configurations=configurations,
    run=run,
    claims=CLAIMS,
    show=show,
)
