"""Does the recommended gap cut copying on data sets that had no part in its calibration?

The thresholds of `recommended_gap` come from every second data set of wild_middle/forecast; here networks are trained
with that gap on the others.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from unrote.contracts import Estimate
from unrote.geometry.advice import recommended_gap
from unrote.geometry.regimes import Zone, share_removed
from unrote.jobs.measuring import LAW
from unrote.lab.claims import FAILED, HELD, PARTLY, Claim, Experiment, Row
from unrote.lab.ratios import SEVERAL, geometric, log_ratios, several_fold
from unrote.lab.study import (
    copied,
    geometry_of,
    loss_on,
    material,
    network_of,
    samples_of,
    trained,
)
from unrote.lab.wild_middle import forecast
from unrote.lab.wild_middle.forecasts import name_of
from unrote.lab.wild_middle.gap_runs import weight
from unrote.report.blocks import Block, Column, Table
from unrote.report.format import number, percent, quantity
from unrote.train.interventions import GapRule, gap, reject, skip
from unrote.train.loop import Options

SEEDS = (0, 1)
LARGEST = 12
"""Side of the largest pictures that are trained on here."""
RULES: dict[str, GapRule | None] = {"baseline": None, "reject": reject, "skip": skip}


def configurations(scale: str) -> Sequence[Mapping[str, Any]]:
    """Every data set that did not calibrate, with and without the gap, at every seed."""
    every = [one for one in forecast.configurations(scale) if one["seed"] in SEEDS]
    kinds = len(forecast.SMOKE if scale == "smoke" else forecast.SETTINGS)
    tested = [one for i, one in enumerate(every) if i % kinds % 2 == 1 and one["pictures"]["side"] <= LARGEST]
    return [
        {k: v for k, v in one.items() if k != "noised"} | {"rule": rule} for one in tested for rule in RULES
    ]


def run(asked: Mapping[str, Any]) -> Mapping[str, Any]:
    """Train with or without the gap; copies among samples and the loss on fresh pictures."""
    seed = int(asked["seed"])
    made = material(asked["pictures"], seed)
    advice = recommended_gap(geometry_of(made, seed))
    zone, rule = advice.zone, RULES[asked["rule"]]
    assert zone is not None, advice.why
    remedy = None if rule is None else gap(zone.low, zone.high, rule)
    *_, last = trained(
        made.train, network_of(asked["network"]), Options(**asked["training"]), seed, [asked["steps"]], remedy
    )
    drawn = samples_of(last.denoiser, made.train.shape[1:], asked["samples"], seed)
    return {
        "gap": [zone.low, zone.high],
        "share": share_removed(Zone(zone.low, zone.high), LAW),
        "copies": float(copied(drawn, made.train).double().mean()),
        "held_out": loss_on(last.denoiser, weight, made.test, seed),
    }


def of_set(rows: Sequence[Row]) -> dict[str, dict[str, list[Row]]]:
    """Runs by data set and rule, in the order of their seeds."""
    found: dict[str, dict[str, list[Row]]] = {}
    for row in sorted(rows, key=lambda row: row["configuration"]["seed"]):
        kinds = found.setdefault(name_of(row["configuration"]), {})
        kinds.setdefault(row["configuration"]["rule"], []).append(row)
    return found


def log_left(kinds: Mapping[str, Sequence[Row]], rule: str, key: str = "copies") -> float:
    """Mean over seeds of log (with the gap / without); no copies at all count as half a copy."""
    with_gap, without = ([row["result"][key] for row in kinds[name]] for name in (rule, "baseline"))
    logs = log_ratios(with_gap, without, kinds[rule][0]["configuration"]["samples"])
    return sum(logs) / len(logs)


def over_sets(rows: Sequence[Row], rule: str, key: str = "copies") -> Estimate:
    """Geometric mean over data sets of what the gap leaves, with its interval."""
    return geometric([log_left(kinds, rule, key) for kinds in of_set(rows).values()])


def cuts(rule: str) -> Callable[[Sequence[Row]], tuple[Estimate, str]]:
    """Judge what is left of the copies: held if the interval ends at or below a third, partly if below 1."""

    def judged(rows: Sequence[Row]) -> tuple[Estimate, str]:
        found = over_sets(rows, rule)
        return found, several_fold(found)

    return judged


def costs(rule: str) -> Callable[[Sequence[Row]], tuple[Estimate, str]]:
    """Judge the held-out loss against the baseline's: held if the interval ends at or below 1."""

    def judged(rows: Sequence[Row]) -> tuple[Estimate, str]:
        found = over_sets(rows, rule, "held_out")
        assert found.low is not None and found.high is not None
        return found, HELD if found.high <= 1 else PARTLY if found.low <= 1 else FAILED

    return judged


def show(rows: Sequence[Row]) -> tuple[Block, ...]:
    """Every data set: the gap, its share of the law, what it leaves."""
    cells = []
    for name, kinds in of_set(rows).items():
        if set(kinds) != set(RULES):
            continue
        gaps = [row["result"]["gap"] for row in kinds["baseline"]]
        share = [row["result"]["share"] for row in kinds["baseline"]]
        low, high = (sum(g[end] for g in gaps) / len(gaps) for end in (0, 1))
        copies = [sum(row["result"]["copies"] for row in kinds[rule]) / len(kinds[rule]) for rule in RULES]
        loss = [math.exp(log_left(kinds, rule, "held_out")) for rule in ("reject", "skip")]
        cells.append((name, f"{number(low)} to {number(high)}", sum(share) / len(share), *copies, *loss))
    columns = (
        Column("data set"),
        Column("recommended gap, sigma"),
        Column("share of the law", percent),  # type: ignore[arg-type]
        *(Column(f"copies, {rule}", percent) for rule in RULES),  # type: ignore[arg-type]
        *(Column(f"held-out loss / baseline's, {rule}", quantity) for rule in ("reject", "skip")),
    )
    return (Table(columns, tuple(cells), "Means over seeds, on data sets that did not calibrate the gap"),)


def sets(scale: str) -> tuple[str, ...]:
    """The picture sets that are read."""
    names = {one["pictures"]["set"] for one in configurations(scale)}
    return tuple(sorted(names - {"digits", "templates"}))


TESTED = (
    "data sets of wild_middle/forecast that did not calibrate the gap, up to 12x12 pixels; small U-Net, 1,000 to 1,600 "
    f"steps of 64, averaged weights, 512 samples, seeds {SEEDS[0]} and {SEEDS[-1]}, runs with and without the gap "
    "paired"
)
CLAIMS = tuple(
    claim
    for rule, words in (
        ("reject", "updates inside it go to other levels"),
        ("skip", "updates inside it are dropped"),
    )
    for claim in (
        Claim(
            f"recommended-gap-cuts-{rule}",
            "unrote",
            "001 section 5",
            f"The recommended gap cuts copying several-fold on data sets that it was not calibrated on ({words}).",
            TESTED,
            "copies / copies of the baseline, geometric mean over seeds, then over data sets, none counts as half a "
            f"copy: held if its 95 % interval over data sets ends at or below {SEVERAL:.2g}, partly if below 1",
            cuts(rule),
        ),
        Claim(
            f"recommended-gap-costs-{rule}",
            "unrote",
            "001 section 5",
            f"It does not raise the loss on held-out pictures over all levels ({words}).",
            TESTED,
            "held-out loss / the baseline's, geometric means as above: held if the 95 % interval ends at or below 1, "
            "failed if it begins above",
            costs(rule),
        ),
    )
)

EXPERIMENT = Experiment(
    name="wild_middle/recommended",
    about="Training with the recommended gap on data sets that had no part in its calibration.",
    scale="laptop",
    configurations=configurations,
    run=run,
    claims=CLAIMS,
    show=show,
    sets=sets,
)
