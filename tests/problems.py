"""Closed forms that tests compare with: a Gaussian with its exact denoiser, flow and loss."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from unrote.contracts import over


@dataclass(frozen=True)
class GaussianData:
    """Data x0 ~ N(mean, spread^2 I); everything about it is known.

    D(x, sigma) = (spread^2 x + sigma^2 mean) / (spread^2 + sigma^2). Along the probability flow
    (x - mean) / sqrt(spread^2 + sigma^2) is constant.
    """

    mean: float = 0.3
    spread: float = 0.7

    def denoise(self, x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
        s2, n2 = self.spread**2, over(sigma, x) ** 2
        return (s2 * x + n2 * self.mean) / (s2 + n2)

    def flow(self, x: Tensor, sigma: float, next_sigma: float) -> Tensor:
        ratio = ((self.spread**2 + next_sigma**2) / (self.spread**2 + sigma**2)) ** 0.5
        return self.mean + ratio * (x - self.mean)

    def sample(self, n: int, dimension: int, generator: torch.Generator) -> Tensor:
        return self.mean + self.spread * torch.randn(n, dimension, generator=generator)
