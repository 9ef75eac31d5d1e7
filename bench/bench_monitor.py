"""What `unrote train` spends on watching itself, against the updates of the same run.

The default network on digits, batch 64, 10 measured steps with 512 samples each, and `--stop-gap` at a gap that no run
reaches, on one thread; checkpoints stand apart. CPU time of each part over the CPU time of everything else (updates,
ticks, the choice of batches); and passes forward, of which an update takes three for each row, as result.json counts
them. Measuring costs the same however long the run is, so that its share at 20,000 steps is a tenth of the one at
2,000; --whole trains that long. Targets: measuring below 10 % of a run of 20,000 steps, the online estimate below 1 %
of any.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from unrote.jobs import TrainOptions, fitting, training_stop
from unrote.jobs.training import plan_of, read_data
from unrote.jobs.training_results import cost_of
from unrote.measure.gaps import relative_gap

MONITORING, ONLINE = 0.10, 0.01
LONG = 20_000
NEVER = 1e9  # a gap at which no run stops, so that all are equally long


@contextmanager
def timed(spent: defaultdict[str, float], place: Any, name: str, part: str) -> Iterator[None]:
    """Add the CPU time of a function to one part of the cost."""
    plain: Callable[..., Any] = getattr(place, name)

    def measured(*given: Any, **named: Any) -> Any:
        start = time.process_time()
        try:
            return plain(*given, **named)
        finally:
            spent[part] += time.process_time() - start

    setattr(place, name, measured)
    try:
        yield
    finally:
        setattr(place, name, plain)


def run(images: int, steps: int, both: bool) -> dict[str, Any]:
    """The shares of one run."""
    test = f"digits@{max(images, 1000)}:1797"
    options = TrainOptions(
        train=f"digits@{images}", test=test, steps=steps, stop_gap=NEVER, both_weights=both, device="cpu"
    )
    data, plan = read_data(options)[0], plan_of(options, cpu=True)
    spent: defaultdict[str, float] = defaultdict(float)
    with (
        tempfile.TemporaryDirectory() as place,
        timed(spent, fitting, "measure", "measuring"),
        timed(spent, training_stop.GapStop, "check", "checking"),
        timed(spent, training_stop.GapStop, "_keep", "keeping"),
        timed(spent, training_stop.GapStop, "_forget", "keeping"),
        timed(spent, fitting, "save", "saving"),
    ):
        start = time.process_time()
        made = fitting.fitted(data, plan, Path(place), lambda done: None)
        whole = time.process_time() - start
    assert made.stop is not None
    spent["checking"] -= spent["keeping"]
    updates = whole - sum(spent.values())
    passes = cost_of(made, plan.options)
    return {
        "images": images,
        "steps": steps,
        "both": both,
        "measuring": spent["measuring"] / updates,
        "saving": (spent["saving"] + spent["keeping"]) / updates,
        "online": spent["checking"] / updates,
        "passes": passes["share"],
        "online_passes": passes["stopping_share"],
        "checks": len(made.stop.steps),
        "update_ms": 1000 * updates / steps,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--whole", action="store_true", help=f"also train {LONG:,} steps")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    relative_gap(torch.rand(4), torch.rand(4))  # SciPy is imported once for all
    run(32, 20, False)  # and so is Accelerate
    asked = [(32, arguments.steps, False), (1000, arguments.steps, False), (1000, arguments.steps, True)]
    runs = [run(*given) for given in asked + ([(1000, LONG, False)] if arguments.whole else [])]
    print(
        f"| watching a run, batch 64, one thread | measuring, CPU | the same at {LONG:,} steps | in passes | online, "
        "CPU | in passes | checks | saving checkpoints, CPU |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for one in runs:
        one["long"] = one["measuring"] * one["steps"] / LONG
        name = f"{one['images']:,} digits, {one['steps']:,} steps{', --both-weights' if one['both'] else ''}"
        print(
            f"| {name} | {one['measuring']:.1%} | {one['long']:.1%} | {one['passes']:.1%} | {one['online']:.2%} | "
            f"{one['online_passes']:.2%} | {one['checks']} | {one['saving']:.1%} |"
        )
    plain = [one for one in runs if not one["both"]]
    worst = {"long": max(one["long"] for one in plain), "online": max(one["online"] for one in runs)}
    found = {
        "benchmark": "monitor",
        "runs": runs,
        "worst": worst,
        "targets": {"long": MONITORING, "online": ONLINE},
        "reached": worst["long"] <= MONITORING and worst["online"] <= ONLINE,
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
