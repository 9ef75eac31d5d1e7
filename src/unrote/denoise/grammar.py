"""The exact Bayes denoiser of a grammar: what every model of its strings tries to learn."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from jaxtyping import Float, Int, Integer
from torch import Tensor, nn

from unrote.contracts import InputError, Randomness, uniform
from unrote.data.grammar import Grammar
from unrote.denoise.grammar_belief import (
    Algebra,
    Logarithmic,
    Scaled,
    Upward,
    downward,
    draw_down,
    posterior,
    tree_of,
    upward,
)
from unrote.noise.tokens import PENALTY, TokenProcess, evidence

COLUMNS = 2**15
"""Tokens that are worked on at a time: more of them leave the cache, fewer wait for the interpreter."""


class GrammarDenoiser(nn.Module):
    """The posterior of a grammar's strings under noise, exact, by belief propagation.

    p(x0_l = a | x), all strings being equally likely before; equal to an enumeration of all strings, at a cost of
    d v m s for each x. Results are float64 without gradients, where the strings are. Where no string can have
    become x (masked strings with impossible tokens, or t = 0) it is the limit in which fewest disagreements win.

    Args:
        grammar: the rules.
        process: how strings are destroyed; its vocabulary is that of the grammar.

    Raises:
        ValueError: if the process has another vocabulary.

    Source: 002 section 4.2; Mezard and Montanari, "Information, physics, and computation", 2009, chapter 14.
    """

    def __init__(self, grammar: Grammar, process: TokenProcess) -> None:
        super().__init__()
        if process.vocabulary != grammar.shape.vocabulary:
            raise ValueError(
                f"the process has {process.vocabulary} tokens and the grammar {grammar.shape.vocabulary}"
            )
        self.grammar, self.process = grammar, process
        self.tree = tree_of(grammar)

    @torch.no_grad()
    def forward(
        self, x: Integer[Tensor, "B L"], t: Float[Tensor, " B"], condition: Int[Tensor, " B"] | None = None
    ) -> Float[Tensor, "B L V"]:
        """log p(x0_l = a | x), -inf for what is impossible.

        Args:
            x: noisy strings (B,L).
            t: the probability with which each row's tokens were destroyed (B,).
            condition: the class of each string (B,), or None if it is unknown.

        Raises:
            InputError: for strings of another length, unknown tokens or unknown classes.
            ValueError: for a level outside [0, 1].
        """
        return self._layer(x, t, condition, 0)

    @torch.no_grad()
    def symbols(
        self,
        x: Integer[Tensor, "B L"],
        t: Float[Tensor, " B"],
        layer: int,
        condition: Int[Tensor, " B"] | None = None,
    ) -> Float[Tensor, "B n symbols"]:
        """log p(symbol = a | x) for the s^(L - layer) symbols of a layer; layer L has the class alone.

        Args:
            x, t, condition: as for the tokens.
            layer: 0..L.

        Raises:
            InputError, ValueError: as for the tokens.
        """
        return self._layer(x, t, condition, layer)

    @torch.no_grad()
    def log_evidence(
        self, x: Integer[Tensor, "B L"], t: Float[Tensor, " B"], condition: Int[Tensor, " B"] | None = None
    ) -> Float[Tensor, " B"]:
        """log p(x), the exact log-likelihood of noisy strings in nats; -inf for what cannot be.

        For masked strings it is that of the visible tokens, given which are masked. At t = 0 and for strings
        without masks it is minus the logarithm of the number of strings, or -inf.

        Args:
            x, t, condition: as for the denoiser.

        Raises:
            InputError, ValueError: as for the denoiser.
        """
        result = torch.empty(len(x), dtype=torch.float64, device=x.device)
        for rows, seen, prior in self._blocks(x, t, condition):
            up = upward(self.tree, seen, prior, Scaled())
            value, weak = up.log_evidence, up.weak
            if bool(weak.any()):
                again = upward(self.tree, seen[..., weak], prior[:, weak], Logarithmic()).log_evidence
                hard = (seen[..., weak] <= -PENALTY).any(0).any(0)
                value[weak] = again.masked_fill(hard & (again < -PENALTY / 2), -math.inf)
            result[rows] = value
        return result

    @torch.no_grad()
    def sample(
        self,
        x: Integer[Tensor, "B L"],
        t: Float[Tensor, " B"],
        generator: Randomness,
        condition: Int[Tensor, " B"] | None = None,
    ) -> Integer[Tensor, "B L"]:
        """Whole strings x0 ~ p(x0 | x), jointly and exactly; at t = 1 strings of the grammar.

        The class is drawn from its posterior, then a rule of m at each symbol from the top down, with
        probability proportional to prod_k nu_k(r_k).

        Args:
            x, t, condition: as for the denoiser.
            generator: of all rows, or one per row.

        Returns:
            Strings (B,L) in the type of x.

        Raises:
            InputError, ValueError: as for the denoiser.
        """
        result = torch.empty_like(x)
        u = uniform((len(x), 1 + self.grammar.shape.nodes), generator, x.device)
        order = self.tree.order(0).to(x.device)
        for rows, seen, prior in self._blocks(x, t, condition):
            drawn, weak = self._draw(seen, prior, u[rows].mT, Scaled())
            if bool(weak.any()):
                drawn[:, weak] = self._draw(seen[..., weak], prior[:, weak], u[rows][weak].mT, Logarithmic())[
                    0
                ]
            result[rows] = drawn[order].mT.to(x.dtype)
        return result

    def _draw(self, seen: Tensor, prior: Tensor, u: Tensor, algebra: Algebra) -> tuple[Tensor, Tensor]:
        up = upward(self.tree, seen, prior, algebra)
        return draw_down(self.tree, up, u, algebra), up.weak

    def _layer(self, x: Tensor, t: Tensor, condition: Tensor | None, layer: int) -> Tensor:
        shape = self.grammar.shape
        result = torch.empty(
            len(x), shape.width(layer), shape.symbols(layer), dtype=torch.float64, device=x.device
        )
        order = self.tree.order(layer).to(x.device)
        for rows, seen, prior in self._blocks(x, t, condition):
            found, weak = self._posterior(seen, prior, layer, Scaled())
            if bool(weak.any()):
                found[..., weak] = self._posterior(seen[..., weak], prior[:, weak], layer, Logarithmic())[0]
            result[rows] = found[:, order].permute(2, 1, 0)
        return result

    def _posterior(self, seen: Tensor, prior: Tensor, layer: int, algebra: Algebra) -> tuple[Tensor, Tensor]:
        up: Upward = upward(self.tree, seen, prior, algebra)
        return posterior(up, downward(self.tree, up, prior, algebra), layer, algebra)

    def _blocks(
        self, x: Tensor, t: Tensor, condition: Tensor | None
    ) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """Rows, what is seen of them (V,d,b) in the tree's order, and the logarithms of the prior (classes,b)."""
        shape = self.grammar.shape
        if x.shape[1] != shape.length:
            raise InputError(
                f"Strings of this grammar have {shape.length} tokens, got strings of {x.shape[1]}."
            )
        prior = torch.full(
            (shape.roots, len(x)), -math.log(shape.roots), dtype=torch.float64, device=x.device
        )
        if condition is not None:
            if len(x) and not 0 <= int(condition.min()) <= int(condition.max()) < shape.roots:
                raise InputError(
                    f"The classes of this grammar are 0..{shape.roots - 1}, got {int(condition.min())} to "
                    f"{int(condition.max())}; ask for one of these, or for no condition."
                )
            prior = prior.fill_(-math.inf).scatter_(0, condition.long()[None], 0.0)
        order = self.tree.order(0).to(x.device)
        size = max(1, COLUMNS // shape.length)
        for start in range(0, len(x), size):
            rows = slice(start, start + size)
            seen = evidence(self.process, x[rows][:, order], t[rows])
            yield rows, seen.permute(2, 1, 0).contiguous(), prior[:, rows]
