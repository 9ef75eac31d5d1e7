"""The best denoiser of a finite set of strings, and the losses of denoisers of tokens, free of the noise of x0.

A denoiser that has memorized its training strings is the first; with all strings of a grammar it is the grammar's
own, found by enumeration.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int, Integer
from torch import Tensor, nn

from unrote import likelihoods
from unrote.contracts import InputError, Randomness, TokenDenoiser
from unrote.noise.tokens import PENALTY, TokenProcess, check_tokens, evidence


class TokenEmpirical(nn.Module):
    """The best denoiser of a finite set of strings: p(x0_l = a | x) = sum_n w_n(x, t) 1[x0_nl = a].

    w_n is proportional to q(x | x0_n). Results are float64 without gradients. Where no string can have become x,
    it is the limit in which fewest disagreements win.

    Args:
        x0: the strings (N,L), a buffer that moves with ``.to(device)``.
        process: how strings are destroyed.
        label: the class of each string (N,), needed for denoising under a condition.
        memory: bytes for the weights of a block of queries.

    Raises:
        InputError: for tokens that the process does not know.
        ValueError: if there is no string, or if there is not one label per string.

    Source: 001 eqs. (2) and (3), for tokens.
    """

    x0: Tensor
    label: Tensor | None

    def __init__(
        self,
        x0: Integer[Tensor, "N L"],
        process: TokenProcess,
        *,
        label: Int[Tensor, " M"] | None = None,
        memory: int = likelihoods.DEFAULT_MEMORY,
    ) -> None:
        super().__init__()
        if len(x0) == 0 or (label is not None and len(label) != len(x0)):
            raise ValueError(
                f"TokenEmpirical needs at least one string and one label per string, got {len(x0)} strings and "
                f"{'no' if label is None else len(label)} labels"
            )
        check_tokens(x0, process.vocabulary)
        self.register_buffer("x0", x0)
        self.register_buffer("label", label)
        self.process, self.memory = process, memory

    @torch.no_grad()
    def forward(
        self, x: Integer[Tensor, "B L"], t: Float[Tensor, " B"], condition: Int[Tensor, " B"] | None = None
    ) -> Float[Tensor, "B L V"]:
        """log p(x0_l = a | x), -inf for tokens that no possible string has.

        Args:
            x: noisy strings (B,L).
            t: the probability with which each row's tokens were destroyed (B,).
            condition: a class per row (B,), or None for all strings.

        Raises:
            InputError: for unknown tokens, strings of another length, or a class that no string has.
            ValueError: for a condition without labels, or a level outside [0, 1].
        """
        result = torch.empty(*x.shape, self.process.vocabulary, dtype=torch.float64, device=x.device)
        for rows in self._rows(x):
            joint = self._joint(x[rows], t[rows], None if condition is None else condition[rows])
            result[rows] = self.process.mix(torch.softmax(joint, 1), self.x0).clamp_(max=1).log_()
        return result

    @torch.no_grad()
    def log_evidence(
        self, x: Integer[Tensor, "B L"], t: Float[Tensor, " B"], condition: Int[Tensor, " B"] | None = None
    ) -> Float[Tensor, " B"]:
        """log p(x) = log (1/N) sum_n q(x | x0_n) in nats, -inf for what cannot be.

        For masked strings it is that of the visible tokens, given which are masked.

        Args:
            x, t, condition: as for the denoiser.

        Raises:
            InputError, ValueError: as for the denoiser.
        """
        result = torch.empty(len(x), dtype=torch.float64, device=x.device)
        for rows in self._rows(x):
            joint = self._joint(x[rows], t[rows], None if condition is None else condition[rows])
            count = (joint > -math.inf).sum(1)
            # Only where a disagreement is impossible can it cost so much.
            hard = (evidence(self.process, x[rows], t[rows]) <= -PENALTY).any(2).any(1)
            lost = hard & (joint.amax(1) <= -PENALTY)
            result[rows] = (joint.logsumexp(1) - count.double().log()).masked_fill(lost, -math.inf)
        return result

    def _rows(self, x: Tensor) -> list[slice]:
        if x.shape[1] != self.x0.shape[1]:
            raise InputError(f"These strings have {self.x0.shape[1]} tokens, got strings of {x.shape[1]}.")
        # Weights, their softmax and a copy inside the mean.
        size = max(1, self.memory // (24 * len(self.x0)))
        return [slice(start, start + size) for start in range(0, len(x), size)]

    def _joint(self, x: Tensor, t: Tensor, condition: Tensor | None) -> Tensor:
        """log q(x | x0_n), -inf for strings of another class (B,N)."""
        joint = self.process.log_likelihood(x, self.x0, t)
        if condition is None:
            return joint
        if self.label is None:
            raise ValueError("a condition was given, but these strings have no labels: pass label=...")
        other = self.label[None] != condition[:, None]
        empty = other.all(1).nonzero()[:, 0].tolist()
        if empty:
            raise InputError(
                f"No string has the class {int(condition[empty[0]])}. The classes of these strings are "
                f"{self.label.unique().tolist()[:20]}; ask for one of these, or for no condition."
            )
        return joint.masked_fill_(other, -math.inf)


@torch.no_grad()
def bayes_loss(
    denoiser: TokenDenoiser,
    process: TokenProcess,
    x0: Integer[Tensor, "N L"],
    t: Float[Tensor, " N"],
    generator: Randomness,
) -> Float[Tensor, " N"]:
    """The loss that no model can beat, a value per string, nats per token: the entropy of the exact posterior.

    H_n = -(1/L) sum_l sum_a p(x0_l = a | x) log p(x0_l = a | x), whose mean over x is that of the cross-entropy
    -(1/L) sum_l log p(x0_l | x), with less noise; places without doubt, such as unmasked ones, count as 0.

    Args:
        denoiser: an exact one; of another, this is the entropy alone.
        process: how strings are destroyed.
        x0: strings of the distribution (N,L).
        t: a level per string (N,).
        generator: of the noise, or one per row.

    Source: Cover and Thomas, "Elements of information theory", 2006, chapter 2 (conditional entropy).
    """
    log_p = denoiser(process.noise(x0, t, generator), t).double()
    return torch.special.entr(log_p.exp()).sum(2).mean(1)


@torch.no_grad()
def excess_loss(
    denoiser: TokenDenoiser,
    exact: TokenDenoiser,
    process: TokenProcess,
    x0: Integer[Tensor, "N L"],
    t: Float[Tensor, " N"],
    generator: Randomness,
) -> Float[Tensor, " N"]:
    """What a model loses to the exact denoiser, a value per string, nats per token, at least 0.

    (1/L) sum_l KL(p_exact(x0_l | x) | p_model(x0_l | x)), whose mean over x is the difference of the mean
    cross-entropies: no noise of x0 is in it. It is infinite where the model rules out what is possible.

    Args:
        denoiser: the model.
        exact: the distribution's own denoiser.
        process, x0, t, generator: as for `bayes_loss`.

    Source: Cover and Thomas, as there.
    """
    x = process.noise(x0, t, generator)
    log_p, log_q = exact(x, t).double(), denoiser(x, t).double()
    p = log_p.exp()
    return torch.where(p > 0, p * (log_p - log_q), 0.0).sum(2).mean(1)
