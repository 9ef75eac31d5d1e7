"""What a training run is at one moment: two sets of weights, the optimizer, its stream of random numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, groupby
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
        optimizer: AdamW or gradient descent, as Accelerate prepared it.
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


def adaptive(part: nn.Module) -> Mapping[str, float]:
    """Factors that a layer asks for by `rate_factors`, for steps in which the size of the gradient cancels."""
    return getattr(part, "rate_factors", {})


def plain(part: nn.Module) -> Mapping[str, float]:
    """Factors for steps in proportion to the gradient: `descent_factors` of a layer that has them, else the same."""
    return getattr(part, "descent_factors", adaptive(part))


def rate_groups(
    module: nn.Module, wanted: Callable[[nn.Module], Mapping[str, float]] = adaptive
) -> list[dict[str, Any]]:
    """The trainable parameters for the optimizer, in their order, those with one factor of the learning rate together.

    A layer asks for factors by an attribute, a mapping from names of its own parameters to numbers above 0; all other
    parameters have 1. Weight decay is of the rate that they have.

    Args:
        module: the denoiser.
        wanted: layer -> what it asks for, `adaptive` or `plain`.

    Raises:
        ValueError: for a factor of a parameter that the layer does not have, or that is not positive and finite.
    """
    asked: dict[nn.Parameter, float] = {}
    for name, part in module.named_modules():
        factors = wanted(part)
        own = dict(part.named_parameters(recurse=False))
        wrong = [key for key, factor in factors.items() if key not in own or not 0 < factor < math.inf]
        if wrong:
            raise ValueError(
                f"{name or 'the denoiser'} asks for factors of the learning rate of {wrong}; they must be positive "
                f"and belong to its own parameters {sorted(own)}"
            )
        asked |= {own[key]: factor for key, factor in factors.items()}
    order = ((asked.get(parameter, 1.0), parameter) for _, parameter in trainable(module))
    return [
        {"params": [parameter for _, parameter in group], "factor": factor}
        for factor, group in groupby(order, key=lambda pair: pair[0])
    ]
