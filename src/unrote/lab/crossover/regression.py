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


@dataclass(frozen=True)
class Table:
    """All that eq (30) needs of the targets: tuples of equal N and K share a row of sizes.

    Args:
        share: M/N of every size of every (N, K), padded with 0 (R,M).
        there: 0 for sizes, -inf for padding (R,M).
        count: targets of each row (R,).
        total, squares: sum of their M_pt/N, and of its squares (R,).
    """

    share: Float[Tensor, "R M"]
    there: Float[Tensor, "R M"]
    count: Float[Tensor, " R"]
    total: Float[Tensor, " R"]
    squares: Float[Tensor, " R"]


def table_of(targets: Sequence[Target]) -> Table:
    """Gather targets by their N and K."""
    rows: dict[tuple[int, int], list[Target]] = {}
    for target in targets:
        rows.setdefault((target.N, target.K), []).append(target)
    sizes = [sizes_of(mine[0]) / mine[0].N for mine in rows.values()]
    share = torch.nn.utils.rnn.pad_sequence(sizes, batch_first=True)
    halves = [torch.tensor([t.half / t.N for t in mine], dtype=torch.float64) for mine in rows.values()]
    return Table(
        share,
        torch.where(share > 0, 0.0, -torch.inf).double(),
        torch.tensor([len(h) for h in halves], dtype=torch.float64),
        torch.stack([h.sum() for h in halves]),
        torch.stack([h.square().sum() for h in halves]),
    )


def objective(weight: Float[Tensor, " T"], known: Table) -> tuple[Float[Tensor, ""], Float[Tensor, " T"]]:
    """Eq (30) and its gradient in lambda: squared error of the softened crossover plus the softmax's entropy.

    With p = softmax_M(-gap^2 / tau), soft = sum p M/N and the entropy H,
        J = sum (soft - M_pt/N)^2 + beta sum H,
    whose gradient goes through the gap alone, which is linear in sum lambda and sum lambda t^2.
    """
    f = gap(weight, known.share)
    log_p = torch.log_softmax(-f.square() / TEMPERATURE + known.there, 1)
    p = log_p.exp()
    log_p = log_p.clamp(min=-1e3)
    soft, entropy = (p * known.share).sum(1), -(p * log_p).sum(1)
    value = (
        known.count * soft.square() - 2 * soft * known.total + known.squares + ENTROPY * known.count * entropy
    )
    miss = 2 * (known.count * soft - known.total)
    by_logit = p * (miss[:, None] * (known.share - soft[:, None]))
    by_logit -= ENTROPY * known.count[:, None] * p * (log_p + entropy[:, None])
    by_gap = by_logit * (-2 / TEMPERATURE) * f
    return value.sum(), CONSTANT * (by_gap * (1 - known.share)).sum() - TIMES.square() * by_gap.sum()


def fit(
    train: Sequence[Target], test: Sequence[Target], start: Float[Tensor, " T"], steps: int = 3000
) -> Weighting:
    """Minimise eq (30) by Adam on the logarithms of the weights, which stay positive; the rate falls to 0."""
    known = table_of(train)
    theta = (start * (SHARPNESS / start.sum())).log().clone().requires_grad_(True)
    engine = torch.optim.Adam([theta], lr=0.02)
    for step in range(steps):
        engine.param_groups[0]["lr"] = 0.02 * (1 - step / steps)
        with torch.no_grad():
            weight = theta.exp()
            theta.grad = weight * objective(weight, known)[1]
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
