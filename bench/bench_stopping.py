"""Early stopping at its default cadence against the same training without it.

The demonstration's network on digits, batch 64, on one thread. Two numbers: passes forward, counted, of which an update
takes three for each row; and CPU time of the checks, choice of pairs and decisions included, over the CPU time of the
updates beside them. Nothing is saved, since what a checkpoint costs is the caller's. Target: below 1 % each.
"""

from __future__ import annotations

import argparse
import json
import time

import torch
from bench_training import denoiser, digits
from torch import Tensor, nn

from unrote.contracts import Examples
from unrote.measure.gaps import relative_gap
from unrote.noise.levels import LogNormal
from unrote.train.loop import Options, train
from unrote.train.probe import probe_of
from unrote.train.recipe import baseline
from unrote.train.stopping import PASSES, EarlyStopping, affordable

TARGET = 0.01
BATCH = 64
NEVER = 1e9  # a gap at which no run stops, so that all are equally long


def counted(model: nn.Module) -> list[int]:
    """A list that gets the rows of each call of a module without gradients."""
    rows: list[int] = []

    def note(module: nn.Module, given: tuple[Tensor, ...]) -> None:
        if not torch.is_grad_enabled():
            rows.append(len(given[0]))

    model.register_forward_pre_hook(note)
    return rows


def measured(images: int, steps: int) -> dict[str, float]:
    """Shares of the cost of one run that its checks were."""
    x = digits(1797)
    clean = [Examples(part, torch.zeros(len(part))) for part in (x[:images], x[images:])]
    model = denoiser()
    start = time.process_time()
    probe = probe_of(*clean, LogNormal(), model.weight, torch.Generator().manual_seed(2))
    stopper = EarlyStopping(relative_gap, NEVER, when=affordable(probe.rows, BATCH))
    checking = time.process_time() - start
    options = Options(steps=steps, batch_size=BATCH, tick_every=10, cpu=True)
    rows = counted(model)
    whole = time.process_time()
    for tick in train(
        model, baseline(clean[0], LogNormal(), model.weight), torch.Generator().manual_seed(1), options
    ):
        start = time.process_time()
        if stopper.due(tick.step):
            stopper.update(tick.step, *probe.losses(tick.state.network))
        checking += time.process_time() - start
    updating = time.process_time() - whole - checking
    return {
        "images": images,
        "pairs": probe.pairs,
        "first": stopper.history[0].step,
        "checks": len(stopper.history),
        "passes": sum(rows) / (PASSES * BATCH * steps),
        "time": checking / updating,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=2000)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    relative_gap(torch.rand(4), torch.rand(4))  # SciPy is imported once for all
    runs = [measured(images, arguments.steps) for images in (32, 1024)]
    print(
        "| early stopping, batch 64, one thread | pairs | first check | checks | passes forward | CPU time | target |"
    )
    print("|---|---|---|---|---|---|---|")
    for run in runs:
        print(
            f"| {run['images']} digits, {arguments.steps} steps | {run['pairs']} | {run['first']} | {run['checks']} | "
            f"{run['passes']:.2%} | {run['time']:.2%} | {TARGET:.0%} |"
        )
    worst = max(max(run["passes"], run["time"]) for run in runs)
    print(
        json.dumps(
            {
                "benchmark": "stopping",
                "runs": runs,
                "worst": worst,
                "target": TARGET,
                "reached": worst <= TARGET,
            }
        )
    )


if __name__ == "__main__":
    main()
