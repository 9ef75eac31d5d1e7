"""A training program in plain PyTorch that watches when its samples become copies.

    python examples/bare_pytorch.py --out watch
    torchrun --nproc_per_node 2 examples/bare_pytorch.py --out watch     # the same numbers

A small network learns 64 of scikit-learn's digits by EDM's loss. Three lines concern unrote: the denoiser is a
function f(x, sigma), `Watch` is told the training set and held-out images, and `on_step` is called after each update.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from unrote.denoise.foreign import Card, from_function
from unrote.jobs.watching import Watch, WatchOptions

SIGMA_DATA = 0.5


class Network(nn.Module):
    """F(x, log sigma / 4) for 8x8 images."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(64 + 2, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 64)
        )

    def forward(self, x: Tensor, noise: Tensor) -> Tensor:
        """(B,1,8,8), (B,) -> (B,1,8,8)."""
        told = torch.stack([noise, noise.square()], 1)
        return self.layers(torch.cat([x.flatten(1), told], 1)).reshape(x.shape)


def denoise(network: nn.Module, x: Tensor, sigma: Tensor) -> Tensor:
    """D(x, sigma) under EDM's preconditioning."""
    s = sigma.reshape(-1, 1, 1, 1)
    total = s**2 + SIGMA_DATA**2
    out = network(x / total.sqrt(), sigma.log() / 4)
    return SIGMA_DATA**2 / total * x + s * SIGMA_DATA / total.sqrt() * out


def main() -> None:
    """Train, watch, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", default="watch")
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--smoke", action="store_true", help="a run of seconds, to see that it works")
    given = parser.parse_args()
    steps, width, samples = (30, 64, 32) if given.smoke else (given.steps, 512, 256)

    several = "RANK" in os.environ
    if several:
        torch.distributed.init_process_group("gloo")
    rank, processes = (
        (torch.distributed.get_rank(), torch.distributed.get_world_size()) if several else (0, 1)
    )

    images = torch.tensor(load_digits().images, dtype=torch.float32).unsqueeze(1) / 8 - 1
    images = images[torch.randperm(len(images), generator=torch.Generator().manual_seed(0))]
    train, held_out = images[:64], images[64:1088]

    torch.manual_seed(0)
    network = Network(width)
    trained = nn.parallel.DistributedDataParallel(network) if several else network
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    watch = Watch(
        from_function(lambda x, sigma: denoise(network, x, sigma)),
        Card("an MLP"),
        train,
        held_out,
        WatchOptions(out=Path(given.out), first=max(1, steps // 40), samples=samples),
        modules=[network],
    )

    for step in range(1, steps + 1):
        # Every process draws the whole batch and takes its share, so that their number changes nothing.
        g = torch.Generator().manual_seed(step)
        rows = torch.randint(len(train), (64,), generator=g)
        sigma = torch.exp(-1.2 + 1.2 * torch.randn(64, generator=g))
        z = torch.randn(64, 1, 8, 8, generator=g)
        x, sigma, z = (whole.tensor_split(processes)[rank] for whole in (train[rows], sigma, z))
        s = sigma.reshape(-1, 1, 1, 1)
        weight = (s**2 + SIGMA_DATA**2) / (s * SIGMA_DATA) ** 2
        loss = (weight * (denoise(trained, x + s * z, sigma) - x).square()).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        watch.on_step(step)
    watch.on_checkpoint(steps)
    for m in watch.history:
        print(
            f"step {m.step:>6,}  loss on training images {m.train_loss.value:.3f}  on held-out images "
            f"{m.validation_loss.value:.3f}  copies {m.copy_ratio.value:.1%}"
        )
    if several:
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
