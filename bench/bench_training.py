"""The training loop with the demo's settings against a bare PyTorch loop doing the same work.

Both train the same residual MLP on digits (same batch, law, weight, fused AdamW, foreach EMA); what is
compared is CPU time on one thread per update, interleaved, median of five. Target: within 10 %.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import time

import torch
from torch import Tensor, nn

from unrote.contracts import Examples, over
from unrote.denoise.compose import Precondition, edm
from unrote.denoise.networks import MLP
from unrote.noise.levels import LogNormal
from unrote.train.loop import Options, train
from unrote.train.recipe import baseline

TARGET = 1.10


def digits(n: int) -> Tensor:
    from sklearn.datasets import load_digits

    return torch.tensor(load_digits().data[:n], dtype=torch.float32) / 8 - 1


def denoiser() -> Precondition:
    return Precondition(MLP().build((64,), None, torch.Generator().manual_seed(0)), edm())


def ours(x: Tensor, steps: int) -> None:
    model = denoiser()
    recipe = baseline(Examples(x, torch.zeros(len(x))), LogNormal(), model.weight)
    for _ in train(model, recipe, torch.Generator().manual_seed(1), Options(steps=steps, cpu=True)):
        pass


def bare(x: Tensor, steps: int) -> None:
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


def cpu_ms(run: object, x: Tensor, steps: int) -> float:
    start = time.process_time()
    run(x, steps)  # type: ignore[operator]
    return (time.process_time() - start) / steps * 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    x = digits(32)
    times: dict[str, list[float]] = {"bare PyTorch loop": [], "unrote.train": []}
    for repeat in range(arguments.repeats + 1):
        for name, run in (("bare PyTorch loop", bare), ("unrote.train", ours)):
            spent = cpu_ms(run, x, arguments.steps)
            if repeat:  # the first round pays for imports and warm caches
                times[name].append(spent)
    median = {name: statistics.median(values) for name, values in times.items()}
    ratio = median["unrote.train"] / median["bare PyTorch loop"]
    parameters = sum(p.numel() for p in nn.Module.parameters(denoiser()))
    print(f"| training, {parameters:,} weights, batch 64, one thread | CPU ms per update | ratio |")
    print("|---|---|---|")
    for name, value in median.items():
        print(f"| {name} | {value:.2f} | {value / median['bare PyTorch loop']:.3f} |")
    print(
        json.dumps(
            {
                "benchmark": "training",
                "cpu_ms_per_update": median,
                "all": times,
                "ratio": ratio,
                "target": TARGET,
                "reached": ratio <= TARGET,
            }
        )
    )


if __name__ == "__main__":
    main()
