"""Gaussian shells in closed form: their radii, and how often a noisy copy of one point lies in the shell of another.

x + sigma Z lies in sigma r_- <= |y - x| <= sigma r_+ with probability at least 1 - 2 exp(-t).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from unrote import likelihoods
from unrote.contracts import InputError

LEAST = 1e-30
"""Probabilities below this are given as 0."""

NODES = 512
"""Points of the table from which probabilities are interpolated; its relative error is below 1e-8."""


@dataclass(frozen=True)
class Shell:
    """The shell that holds standard normal noise in d dimensions, up to a probability 2 exp(-t).

    r_-^2 = max(d - 2 sqrt(d t), 0),  r_+^2 = d + 2 sqrt(d t) + 2 t.

    Args:
        dimension: d, at least 1.
        tail: t > 0; the paper's 0.9865 is t = 5.

    Raises:
        InputError: for a dimension below 1 or a tail that is not positive.

    Source: 001 Lemma 4.5 and eq. 6; Laurent and Massart 2000, Lemma 1.
    """

    dimension: int
    tail: float = 5.0

    def __post_init__(self) -> None:
        if self.dimension < 1 or not 0 < self.tail < math.inf:
            raise InputError(
                f"A shell needs a dimension of at least 1 and a positive tail, got {self.dimension} and {self.tail}."
            )

    @property
    def inner(self) -> float:
        """r_-, in units of sigma."""
        return math.sqrt(max(self.dimension - 2 * math.sqrt(self.dimension * self.tail), 0.0))

    @property
    def outer(self) -> float:
        """r_+, in units of sigma."""
        return math.sqrt(self.dimension + 2 * math.sqrt(self.dimension * self.tail) + 2 * self.tail)

    @property
    def probability(self) -> float:
        """Pr(r_- <= |Z| <= r_+), exactly; `bound` is what the lemma promises."""
        return float(_exact(torch.zeros(1, dtype=torch.float64), self)[0])

    @property
    def bound(self) -> float:
        """1 - 2 exp(-t), at most `probability`."""
        return 1 - 2 * math.exp(-self.tail)

    @property
    def half_overlap(self) -> float:
        """The ratio |x - x'| / sigma at which `two_shell` is 1/2; about sqrt(2 sqrt(d t) + 2 t).

        Raises:
            InputError: for a tail so short that the shell holds less than half of the noise.
        """
        if self.probability <= 0.5:
            raise InputError(
                f"The shell of tail {self.tail:g} holds only {self.probability:.3g} of the noise, so that no two "
                "shells overlap by half; use a longer tail, such as 5."
            )
        low, high = 0.0, _table(self).reach
        for _ in range(60):
            middle = (low + high) / 2
            above = float(_exact(torch.tensor([middle], dtype=torch.float64), self)[0]) > 0.5
            low, high = (middle, high) if above else (low, middle)
        return (low + high) / 2


def two_shell(ratio: Float[Tensor, "*S"], shell: Shell) -> Float[Tensor, "*S"]:
    """The probability that a noisy copy of one point lies in the shell of another, exactly.

    c(r) = Pr(r_- <= |Z + v| <= r_+),  |v| = r = |x - x'| / sigma,  |Z + v|^2 noncentral chi-square: c = sum_k
    Poisson(k; r^2/2) Pr(r_-^2 <= chi^2_{d+2k} <= r_+^2), whose terms are positive, so that small values keep their
    relative accuracy.  It falls from `shell.probability` at 0.  It is interpolated from a table of log c, with a
    relative error below 1e-8 where c > 1e-12; values below 1e-30 are given as 0.

    Args:
        ratio: distances in units of sigma, not negative, of any shape.
        shell: with dimension and tail.

    Raises:
        ValueError: for negative or undefined ratios.

    Source: 001 Definition 4.7, which is a Monte Carlo estimate there.
    """
    wide = ratio.double()
    if not bool((wide >= 0).all()):
        raise ValueError("distances between points, in units of sigma, must not be negative or NaN")
    return _table(shell)(wide)


@dataclass(frozen=True)
class _Table:
    """log c on an even grid, as a cubic polynomial between each two of its points.

    Args:
        reach: the ratio at which c falls below `LEAST`.
        step: of the grid.
        coefficients: of 1, u, u^2, u^3 in each interval (n,4), u from 0 to 1.
    """

    reach: float
    step: float
    coefficients: Float[Tensor, "n 4"]

    def __call__(self, ratio: Float[Tensor, "*S"]) -> Float[Tensor, "*S"]:
        place = (ratio / self.step).clamp_max(len(self.coefficients))
        index = place.long().clamp_max(len(self.coefficients) - 1)
        u = place - index
        c0, c1, c2, c3 = self.coefficients.to(ratio.device).unbind(1)
        log = c0[index] + u * (c1[index] + u * (c2[index] + u * c3[index]))
        return torch.where(ratio < self.reach, log.exp(), torch.zeros_like(log))


@lru_cache(maxsize=64)
def _table(shell: Shell) -> _Table:
    one = torch.ones(1, dtype=torch.float64)
    low, high = 0.0, math.sqrt(2 * math.sqrt(shell.dimension * shell.tail) + 2 * shell.tail)
    while float(_exact(high * one, shell)[0]) > LEAST:
        low, high = high, 1.25 * high
    for _ in range(12):
        middle = (low + high) / 2
        low, high = (middle, high) if float(_exact(middle * one, shell)[0]) > LEAST else (low, middle)
    step = low / NODES
    node = torch.arange(NODES + 2, dtype=torch.float64) * step
    log = _exact(node, shell).log()
    log = torch.cat([log[1:2], log])  # c is even in r
    before, here, after, last = (log[i : i + NODES] for i in range(4))
    # The cubic through four neighbouring points, in the middle interval.
    c1 = -before / 3 - here / 2 + after - last / 6
    c2 = before / 2 - here + after / 2
    c3 = -before / 6 + here / 2 - after / 2 + last / 6
    return _Table(low, step, torch.stack([here, c1, c2, c3], 1))


def _exact(ratio: Float[Tensor, " n"], shell: Shell) -> Float[Tensor, " n"]:
    """c(r) by its Poisson mixture of central chi-squares."""
    half = ratio.square() / 2
    most = float(half.max())
    between = _between(shell, int(most + 12 * math.sqrt(most) + 40))
    k = torch.arange(len(between), dtype=torch.float64)
    factorial = torch.lgamma(k + 1)
    out = torch.empty_like(half)
    for part in torch.arange(len(half)).split(max(1, likelihoods.CHUNK // len(k))):
        mean = half[part, None]
        log = torch.xlogy(k, mean) - mean - factorial
        out[part] = log.exp() @ between
    return out


@lru_cache(maxsize=256)
def _between(shell: Shell, terms: int) -> Float[Tensor, " K"]:
    """Pr(r_-^2 <= chi^2_{d+2k} <= r_+^2) for k = 0..terms."""
    return _below(shell, shell.outer, terms) - _below(shell, shell.inner, terms)


def _below(shell: Shell, radius: float, terms: int) -> Float[Tensor, " K"]:
    """Pr(chi^2_{d+2k} <= radius^2), by adding up from the far tail, which keeps small values accurate."""
    if radius == 0:
        return torch.zeros(terms + 1, dtype=torch.float64)
    x, a = radius**2 / 2, shell.dimension / 2
    last = max(terms, int(max(x - a, 0) + 40 * math.sqrt(x) + 40))
    order = a + torch.arange(last + 1, dtype=torch.float64)
    log = order * math.log(x) - x - torch.lgamma(order + 1)
    return log.exp().flip(0).cumsum(0).flip(0)[: terms + 1]
