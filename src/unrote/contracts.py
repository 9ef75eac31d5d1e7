"""The words that every module shares: four protocols, the values that travel, one broadcast.

There is one coordinate, x = x0 + sigma z, and a *level* is always a tensor of shape (B,).
Shape letters: B batch, N data, K components or neighbours, D dimension, L length, V vocabulary,
Q queries, C channels, ``*E`` the shape of one event (an image, a vector).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

Randomness = torch.Generator | Sequence[torch.Generator]
"""One stream for a whole batch, or one stream per row, so that row i does not depend on its batch."""


class InputError(ValueError):
    """The user's input cannot be used; the message says what came, what is allowed, what to do."""


@runtime_checkable
class Process(Protocol):
    """How data is destroyed; level is sigma (Gaussian) or t in [0, 1] (tokens), always (B,)."""

    def noise(self, x0: Tensor, level: Tensor, generator: Randomness) -> Tensor:
        """Draw x ~ q(x | x0) at each row's level: (B,*E), (B,) -> (B,*E)."""
        ...

    def log_likelihood(self, x: Tensor, x0: Tensor, level: Tensor) -> Tensor:
        """log q(x_b | x0_n) + const_b in float64: (B,*E), (N,*E), (B,) -> (B,N)."""
        ...

    def mix(self, weights: Tensor, x0: Tensor) -> Tensor:
        """What a denoiser of this process returns for posterior weights: (B,N), (N,*E) -> (B,...)."""
        ...


@runtime_checkable
class Denoiser(Protocol):
    """E[x0 | x] for x = x0 + sigma z; no alpha, no t, no eps."""

    def __call__(self, x: Tensor, sigma: Tensor, /, condition: Tensor | None = None) -> Tensor:
        """(B,*E), (B,) -> (B,*E); condition is labels (B,), an embedding (B,L,C) or a mask."""
        ...


@runtime_checkable
class TokenDenoiser(Protocol):
    """log p(x0_l = v | x) for tokens destroyed to time t."""

    def __call__(self, x: Tensor, t: Tensor, /, condition: Tensor | None = None) -> Tensor:
        """(B,L) int, (B,) -> (B,L,V)."""
        ...


@runtime_checkable
class Step(Protocol):
    """One move of the reverse process."""

    def __call__(
        self,
        denoiser: Denoiser,
        x: Tensor,
        level: Tensor,
        next_level: Tensor,
        generator: Randomness | None,
    ) -> Tensor:
        """(B,*E) at level (B,) -> (B,*E) at next_level (B,)."""
        ...


@dataclass(frozen=True)
class Estimate:
    """A number with the interval that it stands in.

    Args:
        value: the point estimate, or None where only a bound is known.
        low, high: ends of the confidence interval.
        n: how many independent observations it rests on.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int

    def as_dict(self) -> dict[str, Any]:
        """The form in which every result file holds a number: {value, low, high, n}."""
        return {"value": self.value, "low": self.low, "high": self.high, "n": self.n}


@dataclass(frozen=True)
class Neighbors:
    """The k nearest reference points of every query, nearest first, ties broken by lower index.

    Args:
        distance: Euclidean distance (Q,K), float64; an exact copy has distance 0.0.
        index: row in the reference (Q,K), int64.
    """

    distance: Float[Tensor, "Q K"]
    index: Int[Tensor, "Q K"]


@dataclass(frozen=True)
class Examples:
    """Training rows with the noise that is already inside them.

    Args:
        x: data (N,*E).
        level: noise level inside each row (N,); 0 for clean data.
        label: class of each row (N,) or None.
    """

    x: Tensor
    level: Tensor
    label: Tensor | None = None

    def __post_init__(self) -> None:
        rows = {len(self.x), len(self.level)} | ({len(self.label)} if self.label is not None else set())
        if len(rows) != 1:
            raise ValueError(f"x, level and label must have one length, got lengths {sorted(rows)}")


def over(level: Tensor, x: Tensor) -> Tensor:
    """Reshape a level (B,) so that it broadcasts over the events of x (B,*E): the only broadcast.

    Raises:
        ValueError: if the level is not one number for each row of x.
    """
    if level.ndim != 1 or len(level) != len(x):
        raise ValueError(
            f"a level must hold one number per row, shape ({len(x)},), got shape {tuple(level.shape)}; "
            "use torch.full((len(x),), sigma) for a common level"
        )
    return level.reshape(-1, *(1,) * (x.ndim - 1))


def normal(
    shape: Sequence[int],
    generator: Randomness,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Standard normal numbers of a given shape from one stream, or row by row from one stream each.

    Numbers are drawn on the generator's own device and then moved, so that a CPU seed means the
    same noise on every device.
    """
    if isinstance(generator, torch.Generator):
        return torch.randn(*shape, generator=generator, dtype=dtype, device=generator.device).to(device)
    if len(generator) != shape[0]:
        raise ValueError(f"one generator per row is needed: {shape[0]} rows, {len(generator)} generators")
    rows = [torch.randn(*shape[1:], generator=g, dtype=dtype, device=g.device) for g in generator]
    return torch.stack(rows).to(device)


def uniform(shape: Sequence[int], generator: Randomness, device: torch.device | str = "cpu") -> Tensor:
    """Uniform numbers in [0, 1), float64, from one stream, or row by row from one stream each, as `normal`."""
    if isinstance(generator, torch.Generator):
        return torch.rand(*shape, generator=generator, dtype=torch.float64, device=generator.device).to(
            device
        )
    if len(generator) != shape[0]:
        raise ValueError(f"one generator per row is needed: {shape[0]} rows, {len(generator)} generators")
    rows = [torch.rand(*shape[1:], generator=g, dtype=torch.float64, device=g.device) for g in generator]
    return torch.stack(rows).to(device) if rows else torch.empty(*shape, dtype=torch.float64, device=device)
