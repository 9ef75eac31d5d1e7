"""Processes that destroy tokens: each is replaced by a random one, or hidden behind a mask.

The level t in [0, 1] is the probability with which a token has been destroyed, so that alpha-bar, the
probability with which it was kept, is 1 - t: 0 is clean, 1 is nothing but noise, and a mask's linear
schedule is t itself. What a table of betas calls a timestep has t = 1 - prod (1 - beta).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Integer
from torch import Tensor

from unrote import likelihoods
from unrote.contracts import InputError, Randomness, over, uniform

PENALTY = 4096.0
"""What a disagreement costs where it is impossible, in nats: more than all else together, and few digits of it.

Where no string agrees with what is seen, the posterior is the limit in which fewest disagreements win.
"""


@dataclass(frozen=True)
class Uniform:
    """Each token is replaced, with probability t, by one drawn from all tokens alike (itself included).

    q(x_l = b | x0_l = a) = (1 - t) 1[a = b] + t / v.

    Args:
        vocabulary: v; tokens are 0..v - 1.
        memory: bytes that the likelihood of a whole data set may take beyond the data.

    Source: 002 eq. (4) in appendix B.3 with alpha-bar = 1 - t.
    """

    vocabulary: int
    memory: int = likelihoods.DEFAULT_MEMORY

    def noise(
        self, x0: Integer[Tensor, "B L"], level: Float[Tensor, " B"], generator: Randomness
    ) -> Integer[Tensor, "B L"]:
        """Draw x ~ q(x | x0); row b uses stream b when one generator per row is given."""
        check_tokens(x0, self.vocabulary)
        u = uniform((len(x0), 2, x0.shape[1]), generator, x0.device)
        other = (u[:, 1] * self.vocabulary).long().clamp_(max=self.vocabulary - 1).to(x0.dtype)
        return torch.where(u[:, 0] < over(_checked(level), x0), other, x0)

    def log_likelihood(
        self, x: Integer[Tensor, "B L"], x0: Integer[Tensor, "N _L"], level: Float[Tensor, " B"]
    ) -> Float[Tensor, "B N"]:
        """sum_l log q(x_bl | x0_nl) in float64, nothing left out; at t = 0 see `PENALTY`."""
        check_tokens(x, self.vocabulary)
        t = _checked(level).double()
        same = torch.log1p(-t * (self.vocabulary - 1) / self.vocabulary)
        other = torch.log(t / self.vocabulary).clamp(min=-PENALTY)
        agree = agreements(x, x0, self.vocabulary, memory=self.memory)
        return agree.mul_((same - other)[:, None]).add_((other * x.shape[1])[:, None])

    def mix(self, weights: Float[Tensor, "B N"], x0: Integer[Tensor, "N L"]) -> Float[Tensor, "B L V"]:
        """Probabilities of every token at every place, sum_n w_n 1[x0_nl = a]."""
        return token_means(weights, x0, self.vocabulary)


@dataclass(frozen=True)
class Masked:
    """Each token is hidden, with probability t, behind a mask; the mask is token v.

    q(x_l | x0_l = a) = 1 - t for x_l = a, t for x_l = v, and 0 for all others.

    Args:
        vocabulary: v; tokens are 0..v - 1, and v is the mask.
        memory: bytes that the likelihood of a whole data set may take beyond the data.

    Source: 002 eq. (3) in appendix B.2 with alpha-bar = 1 - t.
    """

    vocabulary: int
    memory: int = likelihoods.DEFAULT_MEMORY

    @property
    def mask(self) -> int:
        """The token that hides others."""
        return self.vocabulary

    def noise(
        self, x0: Integer[Tensor, "B L"], level: Float[Tensor, " B"], generator: Randomness
    ) -> Integer[Tensor, "B L"]:
        """Draw x ~ q(x | x0); row b uses stream b when one generator per row is given."""
        check_tokens(x0, self.vocabulary)
        u = uniform(tuple(x0.shape), generator, x0.device)
        return x0.masked_fill(u < over(_checked(level), x0), self.mask)

    def log_likelihood(
        self, x: Integer[Tensor, "B L"], x0: Integer[Tensor, "N _L"], level: Float[Tensor, " B"]
    ) -> Float[Tensor, "B N"]:
        """log q(what is seen in x_b | x0_n, what is masked) in float64: 0, or `PENALTY` off per disagreement.

        The probability of the mask itself is left out: it does not depend on x0, nor does what is left on t.
        """
        check_tokens(x, self.vocabulary + 1)
        _checked(level)
        seen = (x != self.mask).sum(1).double()
        agree = agreements(x, x0, self.vocabulary, memory=self.memory)
        return agree.sub_(seen[:, None]).mul_(PENALTY)

    def mix(self, weights: Float[Tensor, "B N"], x0: Integer[Tensor, "N L"]) -> Float[Tensor, "B L V"]:
        """Probabilities of every token at every place, sum_n w_n 1[x0_nl = a]."""
        return token_means(weights, x0, self.vocabulary)


TokenProcess = Uniform | Masked


def agreements(
    x: Integer[Tensor, "B L"],
    x0: Integer[Tensor, "N _L"],
    vocabulary: int,
    *,
    memory: int = likelihoods.DEFAULT_MEMORY,
) -> Float[Tensor, "B N"]:
    """In how many places two strings have the same token 0..v - 1, float64 and exact; a mask agrees with none.

    Args:
        x: strings (B,L), where v may stand for a mask.
        x0: strings (N,L) without masks.
        vocabulary: v.
        memory: bytes to use beyond the data and the result.

    Raises:
        InputError: for unknown tokens in x0.
        ValueError: for strings of different lengths.
    """
    if x.shape[1] != x0.shape[1]:
        raise ValueError(f"strings of {x.shape[1]} and of {x0.shape[1]} tokens cannot be compared")
    check_tokens(x0, vocabulary)
    if x.shape[1] == 1:
        return (x == x0.mT).double()
    result = torch.empty(len(x), len(x0), dtype=torch.float64, device=x.device)
    # Counts below 2^24 are exact in float32. A quarter of the budget for either side, half for the product.
    width = 4 * x.shape[1] * vocabulary
    rows, columns = max(1, memory // (4 * width)), max(1, memory // (4 * width))
    rows = min(rows, max(1, memory // (8 * min(columns, max(1, len(x0))))))
    for first in range(0, len(x0), columns):
        right = _one_hot(x0[first : first + columns], vocabulary).mT
        for start in range(0, len(x), rows):
            part = x[start : start + rows]
            result[start : start + rows, first : first + columns] = _one_hot(part, vocabulary) @ right
    return result


def token_means(
    weights: Float[Tensor, "B N"], x0: Integer[Tensor, "N L"], vocabulary: int
) -> Float[Tensor, "B L V"]:
    """sum_n w_n 1[x0_nl = a], in the type of the weights."""
    total = weights.new_zeros(len(weights), x0.shape[1] * vocabulary)
    step = max(1, likelihoods.DEFAULT_MEMORY // (2 * 8 * x0.shape[1] * vocabulary))
    for start in range(0, len(x0), step):
        part = slice(start, start + step)
        total += weights[:, part] @ _one_hot(x0[part], vocabulary).to(weights.dtype)
    return total.unflatten(1, (x0.shape[1], vocabulary))


def check_tokens(x: Integer[Tensor, "B L"], count: int) -> None:
    """That tokens lie in 0..count - 1.

    Raises:
        InputError: if not, with the first that does not and where it stands.
    """
    if not x.numel() or (int(x.min()) >= 0 and int(x.max()) < count):
        return
    unknown = ((x < 0) | (x >= count)).nonzero()
    row, place = unknown[0].tolist()
    raise InputError(
        f"{len(unknown)} tokens are unknown, the first of them {int(x[row, place])} in string {row}, place {place}: "
        f"here tokens are 0..{count - 1}. A mask belongs in masked strings only; are these the right strings?"
    )


def _checked(level: Tensor) -> Tensor:
    if level.numel() and not (float(level.min()) >= 0 and float(level.max()) <= 1):
        raise ValueError(
            f"the level of tokens is the probability of being destroyed, in [0, 1], got {level.min():g} to "
            f"{level.max():g}"
        )
    return level


def _one_hot(x: Tensor, vocabulary: int) -> Tensor:
    """(N,L) -> (N, L v) float32; a mask is a row of zeros."""
    table = torch.zeros(*x.shape, vocabulary + 1, device=x.device)
    return table.scatter_(2, x.long()[..., None], 1.0)[..., :vocabulary].flatten(1)


def evidence(
    process: TokenProcess, x: Integer[Tensor, "B L"], level: Float[Tensor, " B"]
) -> Float[Tensor, "B L V"]:
    """log q(x_l | x0_l = a) for every token a at every place, float64: a place is a string of length one."""
    tokens = torch.arange(process.vocabulary, device=x.device)[:, None]
    flat = process.log_likelihood(x.reshape(-1, 1), tokens, level.repeat_interleave(x.shape[1]))
    return flat.unflatten(0, tuple(x.shape))
