"""Training the tree U-Net by the loop against a bare PyTorch loop over the same layers.

Both train the same network on strings (same batch, fused AdamW, foreach average of the weights); the bare loop takes a
plain cross-entropy at uniform levels, ours the same, and D3PM's bound. CPU time on one thread per update, in turns of
20 updates, median of seven. Target: the same loss within 10 %.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import time
from collections.abc import Iterator

import torch
from torch import Tensor

from unrote.contracts import Examples
from unrote.denoise.token_networks import TokenPosterior, Tree
from unrote.noise.schedule import linear_alpha_bars
from unrote.noise.tokens import Uniform
from unrote.train.loop import Options, train
from unrote.train.recipe import Recipe
from unrote.train.token_losses import Timesteps, cross_entropy_loss, replaced, token_recipe, uniform_recipe

TARGET = 1.10
CHUNK = 20  # updates between turns
LEVELS = 1 - linear_alpha_bars(1000)


def network(width: int, x: Tensor, v: int) -> torch.nn.Module:
    return Tree(width).build(x.shape[1], v, None, torch.Generator().manual_seed(0))


def bare(width: int, x: Tensor, v: int) -> Iterator[None]:
    model, g = network(width, x, v).train(), torch.Generator().manual_seed(1)
    ema = copy.deepcopy(model).requires_grad_(False)
    raw, averaged = list(model.parameters()), list(ema.parameters())
    optimizer = torch.optim.AdamW(raw, lr=1e-3, weight_decay=0.0, fused=True)
    while True:
        for _ in range(CHUNK):
            x0 = x[torch.randint(len(x), (32,), generator=g)]
            t = torch.rand(32, generator=g)
            other = torch.randint(v, x0.shape, generator=g)
            noisy = torch.where(torch.rand(x0.shape, generator=g) < t[:, None], other, x0)
            loss = -model(noisy, t).gather(2, x0[..., None]).mean()
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            with torch.no_grad():
                torch._foreach_lerp_(averaged, raw, 0.01)
        yield


def ours(model: torch.nn.Module, recipe: Recipe) -> Iterator[None]:
    options = Options(steps=10**6, batch_size=32, tick_every=CHUNK, cpu=True)
    for _ in train(model, recipe, torch.Generator().manual_seed(1), options):
        yield


def side_by_side(width: int, length: int, v: int) -> dict[str, float]:
    """CPU ms per update of runs that take turns, so that a busy machine slows all alike."""
    x = torch.randint(v, (512, length), generator=torch.Generator().manual_seed(2))
    rows = Examples(x, torch.zeros(len(x)))
    plain = token_recipe(rows, Timesteps(LEVELS), torch.ones_like, cross_entropy_loss(replaced(v)))
    runs = {
        "bare loop, cross-entropy": bare(width, x, v),
        "unrote.train, cross-entropy": ours(network(width, x, v), plain),
        "unrote.train, D3PM's bound": ours(
            TokenPosterior(network(width, x, v), Uniform(v)), uniform_recipe(rows, v, LEVELS)
        ),
    }
    spent: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(8):
        for name, run in runs.items():
            start = time.process_time()
            next(run)
            if turn:  # the first one sets things up
                spent[name].append((time.process_time() - start) / CHUNK * 1e3)
    return {name: statistics.median(times) for name, times in spent.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--widths", type=int, nargs="+", default=[128, 256, 512])
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    found = {width: side_by_side(width, 16, 8) for width in asked.widths}
    if asked.json:
        print(json.dumps(found))
        return
    for width, times in found.items():
        least = next(iter(times.values()))
        for name, spent in times.items():
            print(f"width {width:5d}  {name:30s} {spent:7.2f} ms per update  {spent / least:5.2f}")
    print(f"target for the same loss: {TARGET}")


if __name__ == "__main__":
    main()
