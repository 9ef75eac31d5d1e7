"""What the curves of strings are in closed form: of two strings, of random ones, and what no set can exceed.

Telling P strings apart by what noise left of them is decoding a code of P words: masks are the erasure channel,
replaced tokens the symmetric channel of v letters. So the weight falls near the level where L C(t) = log P, C the
capacity of a token in nats.
"""

from __future__ import annotations

import math
from typing import assert_never

import torch
from jaxtyping import Float, Int
from torch import Tensor

from unrote.contracts import InputError
from unrote.geometry.tokens import token_levels
from unrote.noise.tokens import Masked, TokenProcess, Uniform


def pair_weight(process: TokenProcess, differ: int, levels: Float[Tensor, " T"]) -> Float[Tensor, " T"]:
    """The mean weight of the own string where there are two, which differ in k tokens.

    Masks: 1 - t^k / 2. Replaced: E 1/(1 + rho^(a - b)), a and b of the k places with one's own and the other's token,
    rho = (t/v) / (1 - t + t/v).

    Args:
        process: how strings are destroyed.
        differ: k, at least 0.
        levels: t in (0, 1] (T,).

    Raises:
        InputError: for a negative k, or levels outside (0, 1] or not ascending.

    Source: 001 Definition 4.1 by enumeration.
    """
    t = _checked(differ, levels)
    if isinstance(process, Masked):
        return 1 - t**differ / 2
    a, b, p = _shown(process, differ, t)
    log_rho = torch.log(t / process.vocabulary) - torch.log1p(-t * (1 - 1 / process.vocabulary))
    return (p * torch.sigmoid((b - a) * log_rho[:, None])).sum(1)


def pair_cover(process: TokenProcess, differ: int, levels: Float[Tensor, " T"]) -> Float[Tensor, " T"]:
    """How often a string explains the noisy version of another, k tokens away, as well as that one does.

    c(k) = t^k for masks, Pr(b >= a) for replaced tokens, a and b as in `pair_weight`: falling in k from c(0) = 1.

    Args:
        process, differ, levels: as there.

    Raises:
        InputError: as there.

    Source: 001 Definition 4.7 with the rule of `unrote.geometry.tokens.token_coverage`.
    """
    t = _checked(differ, levels)
    if isinstance(process, Masked):
        return t**differ
    a, b, p = _shown(process, differ, t)
    return (p * (b >= a)).sum(1)


def token_coverage_bounds(
    process: TokenProcess,
    nearest: Int[Tensor, " Q"],
    pairs: Int[Tensor, " M"],
    count: int,
    levels: Float[Tensor, " T"],
) -> tuple[Float[Tensor, "T Q"], Float[Tensor, " T"]]:
    """Bounds of the coverage from Hamming distances alone: E c(D_NN) <= Cov <= min(1, P E c(D)).

    Args:
        process: how strings are destroyed.
        nearest: of each fresh string to its nearest training string (Q,).
        pairs: between fresh and training strings (M,).
        count: P.
        levels: t, ascending in (0, 1] (T,).

    Returns:
        The lower bound for each fresh string, and the upper one.

    Raises:
        InputError: for negative distances, or levels outside (0, 1] or not ascending.

    Source: 001 Theorem 4.8: the nearest string is one of them, and a union is at most the sum.
    """
    kinds, back = nearest.unique(return_inverse=True)
    low = torch.stack([pair_cover(process, k, levels) for k in kinds.tolist()], 1)[:, back]
    kinds, often = pairs.unique(return_counts=True)
    each = torch.stack([pair_cover(process, k, levels) for k in kinds.tolist()], 1)
    return low, (count * (each @ (often / len(pairs)).to(each))).clamp(max=1)


def random_masked_curves(
    vocabulary: int, length: int, count: int, levels: Float[Tensor, " T"]
) -> tuple[Float[Tensor, " T"], Float[Tensor, " T"]]:
    """Weight and coverage of P random strings under masks, averaged over the strings.

    With m visible tokens, m ~ Bin(L, 1 - t), another string agrees with probability q = v^-m:
    W = E (1 - (1 - q)^P) / (P q) and Cov = E 1 - (1 - q)^P, the latter for a fresh string. Both are decided where
    P q is about 1, with log P / log v tokens visible.

    Args:
        vocabulary, length, count: v, L and P.
        levels: t, ascending in (0, 1] (T,).

    Raises:
        InputError: for sizes below 1, or levels outside (0, 1] or not ascending.

    Source: E 1/(1 + B) for binomial B, Chao and Strawderman 1972.
    """
    if min(vocabulary, length, count) < 1:
        raise InputError(
            f"Random strings need a vocabulary, a length and a number of at least 1, got {vocabulary}, {length} and "
            f"{count}."
        )
    t = token_levels(levels)
    m = torch.arange(length + 1, dtype=torch.float64)
    choose = math.lgamma(length + 1) - torch.lgamma(m + 1) - torch.lgamma(length - m + 1)
    seen = (choose + torch.xlogy(m, 1 - t[:, None]) + torch.xlogy(length - m, t[:, None])).exp()
    q = torch.exp(-m * math.log(vocabulary))
    q = torch.where(q < 1e-290, 0.0, q)
    missed = torch.where(q < 1, torch.log1p(-q.clamp(max=1 - 1e-16)), -torch.inf)
    met = -torch.expm1(count * missed)
    # Where q is too small for a float no other string agrees.
    weight = torch.where(q > 0, met / (count * q.clamp(min=1e-300)), 1.0)
    return seen @ weight, seen @ met


def capacity(process: TokenProcess, levels: Float[Tensor, " T"]) -> Float[Tensor, " T"]:
    """The most that a noisy token can say about the clean one, nats: C(t), falling from log v to 0.

    Masks: (1 - t) log v. Replaced: log v + (1 - p) log(1 - p) + p log(p/(v - 1)), p = t (v - 1)/v.

    Args:
        process: how strings are destroyed.
        levels: t in (0, 1] (T,).

    Source: Shannon 1948; Cover and Thomas, "Elements of information theory", 2006, section 7.1.
    """
    t, v = token_levels(levels), process.vocabulary
    if isinstance(process, Masked):
        return (1 - t) * math.log(v)
    if isinstance(process, Uniform):
        p = t * (v - 1) / v
        return math.log(v) + torch.xlogy(1 - p, 1 - p) + torch.xlogy(p, p / max(1, v - 1))
    assert_never(process)


def capacity_level(process: TokenProcess, length: int, count: int) -> float:
    """The level at which L C(t) = log P: of random strings, the weight is near 1 below and near 0 above.

    For masks t = 1 - log P / (L log v). It says where the weight of long random strings falls; strings of a language
    say less by each token, and theirs falls below. 0 where log P >= L log v, as many strings as there can be.

    Args:
        process: how strings are destroyed.
        length: L.
        count: P, at least 1.

    Raises:
        InputError: for sizes below 1.

    Source: the coding theorem, Shannon 1948; Cover and Thomas 2006, theorem 7.7.1.
    """
    if length < 1 or count < 1:
        raise InputError(f"A code needs at least one token and one string, got {length} and {count}.")
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        enough = length * float(capacity(process, torch.tensor([middle]).double())) >= math.log(count)
        low, high = (middle, high) if enough else (low, middle)
    return low


def most_weight(
    process: TokenProcess, length: int, count: int, levels: Float[Tensor, " T"]
) -> Float[Tensor, " T"]:
    """What the mean largest weight of any P strings cannot exceed at a level, by Fano's inequality.

    The mean largest weight is how often the likeliest string is the right one, s; and
    log P - L C(t) <= h(s) + (1 - s) log(P - 1).

    Args:
        process: how strings are destroyed.
        length, count: L and P, P at least 2.
        levels: t, ascending in (0, 1] (T,).

    Raises:
        InputError: for fewer than two strings, or levels outside (0, 1] or not ascending.

    Source: Fano 1961; Cover and Thomas 2006, theorem 2.10.1.
    """
    if length < 1 or count < 2:
        raise InputError(f"Telling strings apart needs two of them and a token, got {count} and {length}.")
    least = math.log(count) - length * capacity(process, levels)
    # h(s) + (1 - s) log(P - 1) falls from log P at s = 1/P to 0 at s = 1.
    low, high = torch.full_like(least, 1 / count), torch.ones_like(least)
    for _ in range(60):
        middle = (low + high) / 2
        doubt = (
            torch.special.entr(middle) + torch.special.entr(1 - middle) + (1 - middle) * math.log(count - 1)
        )
        low, high = torch.where(doubt >= least, middle, low), torch.where(doubt >= least, high, middle)
    return high


def _shown(process: Uniform, differ: int, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Numbers of places (M,) that show one's own and the other's token, of k, and their probabilities (T,M)."""
    grid = torch.cartesian_prod(*2 * [torch.arange(differ + 1, dtype=torch.float64)])
    a, b = grid[grid.sum(1) <= differ].unbind(1)
    rest = differ - a - b
    v = process.vocabulary
    other = (t / v)[:, None]
    neither = ((v - 2) * t / v).clamp(min=0)[:, None]
    ways = math.lgamma(differ + 1) - torch.lgamma(a + 1) - torch.lgamma(b + 1) - torch.lgamma(rest + 1)
    own = 1 - t[:, None] * (1 - 1 / v)
    return a, b, (ways + torch.xlogy(a, own) + torch.xlogy(b, other) + torch.xlogy(rest, neither)).exp()


def _checked(differ: int, levels: Tensor) -> Tensor:
    if differ < 0:
        raise InputError(f"Two strings differ in 0 tokens or more, got {differ}.")
    return token_levels(levels)
