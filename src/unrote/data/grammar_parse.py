"""Reading strings of a grammar upwards: which symbols they derive from, and how far up the rules hold.

A layer's symbols are found from those of the layer below; where s of these belong to no rule there is no
symbol, and none above it either. A string is of the grammar if it has a symbol at layer L.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int, Integer
from torch import Tensor

from unrote.contracts import InputError
from unrote.data.grammar import Derivation, Grammar

BLOCK = 2**20
"""Tokens that are parsed at a time."""


@dataclass(frozen=True, eq=False)
class Parse:
    """What strings derive from, for the layers l = 1..L; -1 stands where there is nothing.

    Args:
        symbols: symbols of layer l (N, s^(L - l)), lowest layer first, int32.
        rules: the rule of each, as symbol m + choice.
    """

    symbols: tuple[Int[Tensor, "N _n"], ...]
    rules: tuple[Int[Tensor, "N _n"], ...]

    @property
    def broken(self) -> Float[Tensor, "N layers"]:
        """The share of a string's symbols of each layer that are missing, for whatever reason."""
        return torch.stack([(one < 0).double().mean(1) for one in self.symbols], 1)

    @property
    def valid(self) -> Bool[Tensor, "N layers"]:
        """Whether a string obeys all rules of the layers 1..l; the last column says that it is of the grammar."""
        return torch.stack([(one >= 0).all(1) for one in self.symbols], 1)

    @property
    def deepest(self) -> Int[Tensor, " N"]:
        """The layer up to which all rules hold, 0 to L."""
        return self.valid.sum(1)


def parse(grammar: Grammar, x: Integer[Tensor, "N L"]) -> Parse:
    """Symbols and rules that strings derive from, layer by layer.

    Args:
        grammar: its rules.
        x: tokens (N,L) in 0..v - 1, of any integer type.

    Raises:
        InputError: for strings of another length, and for tokens that the grammar does not know.
    """
    check_strings(grammar, x)
    tables = [_Layer(table.to(x.device)) for table in grammar.rules]
    rows = max(1, BLOCK // grammar.shape.length)
    blocks = [_parse_block(grammar, tables, part) for part in x.split(rows)] or [
        _parse_block(grammar, tables, x)
    ]
    layers = range(grammar.shape.layers)
    return Parse(
        tuple(torch.cat([symbols[layer] for symbols, _ in blocks]) for layer in layers),
        tuple(torch.cat([rules[layer] for _, rules in blocks]) for layer in layers),
    )


def deepest_layer(grammar: Grammar, x: Integer[Tensor, "N L"]) -> Int[Tensor, " N"]:
    """The layer up to which all rules hold in each string, 0 to L, without keeping the symbols.

    Args:
        grammar, x: as for `parse`.

    Raises:
        InputError: as for `parse`.

    Source: 002 section 4.4 (data that are compatible with the rules at layer l).
    """
    check_strings(grammar, x)
    tables = [_Layer(table.to(x.device)) for table in grammar.rules]
    deepest = torch.zeros(len(x), dtype=torch.int64, device=x.device)
    rows = max(1, BLOCK // grammar.shape.length)
    for start in range(0, len(x), rows):
        part = slice(start, start + rows)
        for symbols in _parse_block(grammar, tables, x[part])[0]:
            deepest[part] += (symbols >= 0).all(1)
    return deepest


def derivation_of(grammar: Grammar, x: Integer[Tensor, "N L"]) -> Derivation:
    """The derivation of each string, the inverse of `strings_of`.

    Raises:
        InputError: if a string is not of the grammar; as for `parse`.
    """
    found = parse(grammar, x)
    wrong = (~found.valid[:, -1]).nonzero()[:, 0].tolist()
    if wrong:
        raise InputError(
            f"{len(wrong)} of {len(x)} strings are not of this grammar and have no derivation, among them number "
            f"{wrong[0]}, which obeys its rules up to layer {int(found.deepest[wrong[0]])} of "
            f"{grammar.shape.layers}. Leave them out: parse(grammar, x).valid[:, -1] says which."
        )
    choice = torch.cat([one % grammar.shape.rules for one in reversed(found.rules)], 1)
    return Derivation(found.symbols[-1][:, 0].long(), choice.long())


def check_strings(grammar: Grammar, x: Integer[Tensor, "N L"]) -> None:
    """That strings have the grammar's length and tokens.

    Raises:
        InputError: if not, with the place of the first token that is unknown.
    """
    v, length = grammar.shape.vocabulary, grammar.shape.length
    if x.shape[1] != length:
        raise InputError(f"Strings of this grammar have {length} tokens, got strings of {x.shape[1]}.")
    if not x.numel():
        return
    if int(x.min()) < 0 or int(x.max()) >= v:
        unknown = ((x < 0) | (x >= v)).nonzero()
        row, place = unknown[0].tolist()
        raise InputError(
            f"{len(unknown)} tokens are unknown to this grammar, whose tokens are 0..{v - 1}: the first is "
            f"{int(x[row, place])}, string {row}, place {place}. If it is the mask, the samples are unfinished; "
            "else they come from another grammar."
        )


class _Layer:
    """The rules of a layer as a search: each symbol read narrows down the rules that begin so."""

    def __init__(self, table: Tensor) -> None:
        self.m = table.shape[1]
        rules = table.flatten(0, 1).long()  # (R, s)
        self.number = (rules[:, 0] >= 0).nonzero()[:, 0]
        rules = rules[self.number]
        self.base = int(rules.max()) + 1 if len(rules) else 1
        self.codes: list[Tensor] = []
        state = rules[:, 0]
        for column in rules[:, 1:].unbind(1):
            codes, state = (state * self.base + column).unique(return_inverse=True)
            self.codes.append(codes)
        # Rules are unambiguous, so that the last state is one rule.
        order = torch.empty_like(self.number)
        order[state] = self.number
        self.number = torch.cat([order, order.new_tensor([-1])])

    def __call__(self, below: Tensor) -> Tensor:
        """(N, n, s) symbols -> (N, n) rules, -1 where there is none."""
        state = below[..., 0].long()
        lost = (below < 0).any(-1) | (below >= self.base).any(-1)
        for codes, column in zip(self.codes, below.unbind(-1)[1:], strict=True):
            code = state * self.base + column
            state = torch.searchsorted(codes, code).clamp_(max=len(codes) - 1)
            lost |= codes[state] != code
        return self.number[state.masked_fill_(lost, len(self.number) - 1)]


def _parse_block(
    grammar: Grammar, tables: list[_Layer], x: Tensor
) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    symbols, rules = [], []
    below = x
    for table in tables:
        found = table(below.unflatten(1, (-1, grammar.shape.branching)).long())
        below = torch.div(found, grammar.shape.rules, rounding_mode="floor")  # -1 stays -1
        symbols.append(below.int())
        rules.append(found.int())
    return tuple(symbols), tuple(rules)
