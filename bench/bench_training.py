"""The training loop with the demo's settings against a bare PyTorch loop doing the same work.

Both train the same residual MLP on digits (same batch, law, weight, fused AdamW, foreach EMA); what is
compared is CPU time on one thread per update, in turns of 25 updates, set-up included, median of five.
Target: within 10 %.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import time
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from unrote.contracts import Examples, over
from unrote.denoise.compose import Precondition, edm
from unrote.denoise.networks import MLP
from unrote.noise.levels import LogNormal
from unrote.train.loop import Options, train
from unrote.train.recipe import baseline

TARGET = 1.10
CHUNK = 25  # updates between turns


def digits(n: int) -> Tensor:
    from sklearn.datasets import load_digits

    return torch.tensor(load_digits().data[:n], dtype=torch.float32) / 8 - 1


def denoiser() -> Precondition:
    return Precondition(MLP().build((64,), None, torch.Generator().manual_seed(0)), edm())


def ours(x: Tensor, steps: int) -> Iterator[None]:
    model = denoiser()
    recipe = baseline(Examples(x, torch.zeros(len(x))), LogNormal(), model.weight)
    options = Options(steps=steps, tick_every=CHUNK, cpu=True)
    for _ in train(model, recipe, torch.Generator().manual_seed(1), options):
        yield


def bare(x: Tensor, steps: int) -> Iterator[None]:
    model, law, generator = denoiser(), LogNormal(), torch.Generator().manual_seed(1)
    model.train()
    ema = copy.deepcopy(model).requires_grad_(False)
    averaged, raw = list(ema.parameters()), list(model.parameters())
    optimizer = torch.optim.AdamW(raw, lr=1e-3, weight_decay=0.0, fused=True)
    for step in range(1, steps + 1):
        rows = torch.randint(len(x), (64,), generator=generator)
        sigma, z = law(64, generator), torch.randn(64, 64, generator=generator)
        x0 = x[rows]
        error = model(x0 + over(sigma, x0) * z, sigma) - x0
        loss = (model.weight(sigma) * error.square().flatten(1).mean(1)).mean()
        loss.backward()
        optimizer.param_groups[0]["lr"] = 1e-3 * min(1.0, step / 200)
        optimizer.step()
        optimizer.zero_grad()
        with torch.no_grad():
            torch._foreach_lerp_(averaged, raw, 1 - min(0.998, (1 + step) / (10 + step)))
        if step % CHUNK == 0:
            yield


def side_by_side(x: Tensor, steps: int) -> dict[str, float]:
    """CPU ms per update of two runs that take turns, so that a busy machine slows both alike."""
    runs = {"bare PyTorch loop": bare(x, steps), "unrote.train": ours(x, steps)}
    spent = dict.fromkeys(runs, 0.0)
    for _ in range(steps // CHUNK):
        for name, run in runs.items():
            start = time.process_time()
            next(run)
            spent[name] += time.process_time() - start
    return {name: seconds / steps * 1e3 for name, seconds in spent.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    x = digits(32)
    side_by_side(x, CHUNK)  # pays for imports and warm caches
    rounds = [side_by_side(x, arguments.steps) for _ in range(arguments.repeats)]
    median = {name: statistics.median(r[name] for r in rounds) for name in rounds[0]}
    ratios = [r["unrote.train"] / r["bare PyTorch loop"] for r in rounds]
    ratio = statistics.median(ratios)
    parameters = sum(p.numel() for p in nn.Module.parameters(denoiser()))
    print(f"| training, {parameters:,} weights, batch 64, one thread | CPU ms per update | ratio |")
    print("|---|---|---|")
    print(f"| bare PyTorch loop | {median['bare PyTorch loop']:.2f} | 1 |")
    print(f"| unrote.train | {median['unrote.train']:.2f} | {ratio:.3f} |")
    print(
        json.dumps(
            {
                "benchmark": "training",
                "cpu_ms_per_update": median,
                "ratios": ratios,
                "ratio": ratio,
                "target": TARGET,
                "reached": ratio <= TARGET,
            }
        )
    )


if __name__ == "__main__":
    main()
