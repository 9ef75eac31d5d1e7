"""What a training run is at one moment: two sets of weights, the optimizer, its stream of random numbers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any, final

import torch
from torch import Tensor, nn


@final
@dataclass(eq=False, repr=False)
class TrainState:
    """A run in memory; it moves on when the next tick is asked for.

    Args:
        network: the raw weights; in evaluation mode when a tick is given out.
        ema: the averaged weights, a module of its own; in evaluation mode when a tick is given out.
        step: updates done.
        optimizer: AdamW as Accelerate prepared it.
        stream: the only source of the run's random numbers.
        loss_sum, loss_count: training loss since the last multiple of `tick_every`.
        fingerprint: what the run is made of, flat.
        accelerator: devices, precision, processes.
    """

    network: nn.Module
    ema: nn.Module
    step: int
    optimizer: Any
    stream: torch.Generator
    loss_sum: float
    loss_count: int
    fingerprint: dict[str, Any]
    accelerator: Any  # accelerate.Accelerator, whose import is slow

    @property
    def device(self) -> torch.device:
        """Where both networks live."""
        return self.accelerator.device


def named_weights(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and persistent buffers by name, each tensor once although it may be shared."""
    kept = module.state_dict().keys()
    return {n: t for n, t in chain(module.named_parameters(), module.named_buffers()) if n in kept}


def trainable(module: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """Names and parameters that the optimizer moves, in its order."""
    return ((name, p) for name, p in module.named_parameters() if p.requires_grad)
