"""The weighting that makes the crossover fit measured transitions: eq (15), smoothed as in H.3 (eq 30)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from unrote.lab.crossover.settings import TIMES

TEMPERATURE, ENTROPY = 1 / 20, 1e-3
"""tau and beta_sparsity of H.3."""
CONSTANT = 1.0
"""C of the partially memorizing loss; the authors' program has 1, the caption of Figure 1 says 2."""


SHARPNESS = 10.0
"""Sum of the weights at the start, which makes the softmax over M neither flat nor one-hot."""


@dataclass(frozen=True)
class Weighting:
    """A fitted weighting of the 26 times.

    Args:
        weight: lambda-tilde, not normalised (26,).
        spread: E[t^2] under it, all that the crossover depends on.
        predicted: M*/N = 1 - E[t^2]/C.
        train, test: mean squared errors of the nearest M to the crossover, over N, as in the paper.
    """

    weight: Float[Tensor, " T"]
    spread: float
    predicted: float
    train: float
    test: float


@dataclass(frozen=True)
class Target:
    """One (N, d, K) with its measured transition."""

    N: int
    K: int
    half: float


def sizes_of(target: Target) -> Float[Tensor, " M"]:
    """All model sizes of a tuple."""
    return torch.arange(target.K, target.N + 1, dtype=torch.float64)


def gap(weight: Float[Tensor, " T"], share: Float[Tensor, "*S"]) -> Float[Tensor, "*S"]:
    """sum_l lambda_l (partial - generalising loss) over d sigma*^2, for sizes M/N = share.

    Both are the approximations of Theorems 3.1 and 3.2 (variance 1, so that 1/(1 + psi) = t^2), divided by
    their common factor: the paper's "normalized approximate losses". With C (1 - M/N) - t^2 in the sum only
    sum lambda and sum lambda t^2 matter, and for the crossover only their ratio: the degeneracy.
    """
    return CONSTANT * weight.sum() * (1 - share) - (weight * TIMES.square()).sum()


def objective(
    weight: Float[Tensor, " T"],
    share: Float[Tensor, "R M"],
    there: Float[Tensor, "R M"],
    half: Float[Tensor, " R"],
) -> Float[Tensor, ""]:
    """Eq (30): squared error of the softened crossover, plus the entropy of the softmax over M.

    Args:
        weight: lambda-tilde.
        share: M/N of every size of every tuple, padded.
        there: 0 for sizes, -inf for padding.
        half: measured M_pt/N.
    """
    log_p = torch.log_softmax(-gap(weight, share).square() / TEMPERATURE + there, 1)
    p = log_p.exp()
    soft = (p * share).sum(1)
    return (soft - half).square().sum() - ENTROPY * (p * log_p.clamp(min=-1e3)).sum()


def fit(
    train: Sequence[Target], test: Sequence[Target], start: Float[Tensor, " T"], steps: int = 3000
) -> Weighting:
    """Minimise eq (30) by Adam on the logarithms of the weights, which stay positive; the rate falls to 0."""
    share = torch.nn.utils.rnn.pad_sequence([sizes_of(t) / t.N for t in train], batch_first=True)
    there = torch.where(share > 0, 0.0, -torch.inf).double()
    half = torch.tensor([t.half / t.N for t in train], dtype=torch.float64)
    theta = (start * (SHARPNESS / start.sum())).log().clone().requires_grad_(True)
    engine = torch.optim.Adam([theta], lr=0.02)
    for step in range(steps):
        engine.param_groups[0]["lr"] = 0.02 * (1 - step / steps)
        engine.zero_grad()
        objective(theta.exp(), share, there, half).backward()  # type: ignore[no-untyped-call]
        engine.step()
    weight = theta.detach().exp()
    spread = float((weight * TIMES.square()).sum() / weight.sum())
    return Weighting(weight, spread, 1 - spread / CONSTANT, error(weight, train), error(weight, test))


def error(weight: Float[Tensor, " T"], targets: Sequence[Target]) -> float:
    """Mean squared error over targets of the size nearest to the crossover, over N (eq 15)."""
    wrong = []
    for target in targets:
        place = gap(weight, sizes_of(target) / target.N).square().argmin()
        wrong.append((float(sizes_of(target)[place]) - target.half) ** 2 / target.N**2)
    return sum(wrong) / len(wrong)


def starts() -> dict[str, Float[Tensor, " T"]]:
    """Three starts that have nothing in common: flat, all weight at small times, all weight at large times."""
    return {
        "flat": torch.ones_like(TIMES),
        "small times": torch.exp(-10 * TIMES),
        "large times": torch.exp(10 * (TIMES - 1)),
    }
