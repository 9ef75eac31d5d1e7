"""The Random Hierarchy Model: a grammar of random rules in which everything about the data is known.

A class at layer L becomes s symbols of layer L - 1 by one of its m rules, each of these becomes s symbols of
the layer below, and so on down to s^L tokens at layer 0. No two symbols of a layer share a string of symbols,
so that every string of tokens has one derivation, and all strings are equally likely.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from unrote.contracts import InputError

LONGEST = 2**20
"""Tokens in a string, at most."""

TRIES = 10_000
"""How often the rules of one layer are drawn until every symbol of the layer below appears in them."""


@dataclass(frozen=True)
class Shape:
    """The sizes of a grammar.

    Args:
        vocabulary: v, the symbols of every layer below the classes.
        rules: m, in how many ways a symbol is spelled out; m v <= v^s.
        layers: L, the depth of the tree.
        branching: s, how many symbols a symbol becomes, at least 2.
        classes: n_c, the symbols of layer L; v if not given.

    Raises:
        InputError: for sizes that leave no grammar, and for strings longer than 2^20 tokens.

    Source: 002 section 4.1.
    """

    vocabulary: int
    rules: int
    layers: int
    branching: int = 2
    classes: int | None = None

    def __post_init__(self) -> None:
        _check_sizes(self)

    @property
    def length(self) -> int:
        """Tokens in a string, d = s^L."""
        return int(self.branching**self.layers)

    @property
    def roots(self) -> int:
        """Symbols of layer L: n_c, or v."""
        return self.vocabulary if self.classes is None else self.classes

    @property
    def nodes(self) -> int:
        """Symbols above the tokens in one tree, at each of which a rule is chosen: (d - 1)/(s - 1)."""
        return (self.length - 1) // (self.branching - 1)

    @property
    def strings(self) -> int:
        """How many strings there are, exactly: n_c m^((d - 1)/(s - 1))."""
        return int(self.roots * self.rules**self.nodes)

    @property
    def log_strings(self) -> float:
        """The logarithm of the number of strings, which may be too large to be written out."""
        return math.log(self.roots) + self.nodes * math.log(self.rules)

    @property
    def thresholds(self) -> tuple[int, ...]:
        """P*_l = v m^(l + 1), l = 1..L: training strings from which a layer's rules are learned (002 section 4.2)."""
        return tuple(self.vocabulary * self.rules ** (layer + 1) for layer in range(1, self.layers + 1))

    def symbols(self, layer: int) -> int:
        """How many symbols a layer has, 0 being that of the tokens."""
        return self.roots if layer == self.layers else self.vocabulary

    def width(self, layer: int) -> int:
        """How many symbols of a layer stand in one tree, s^(L - layer)."""
        return int(self.branching ** (self.layers - layer))


@dataclass(frozen=True, eq=False)
class Grammar:
    """The rules of one grammar, lowest layer first.

    Args:
        shape: its sizes.
        rules: for the layers 1..L, what a symbol of the layer may become (symbols, m, s); the rows of a symbol
            that no string contains may be -1, for want of rules.

    Raises:
        InputError: if rules do not have their sizes, leave the vocabulary, are shared by two symbols or stand
            twice, or if a string could contain a symbol that has none.
    """

    shape: Shape
    rules: tuple[Int[Tensor, "_N m s"], ...]

    def __post_init__(self) -> None:
        _check_rules(self.shape, self.rules)


@dataclass(frozen=True, eq=False)
class Derivation:
    """How strings came about: their class, and the rule that was chosen at every symbol above the tokens.

    Args:
        label: the class of each string (N,), in 0..n_c - 1.
        choice: which of the m rules at each symbol (N, (d - 1)/(s - 1)): that of the class first, then layer by
            layer, left to right.
    """

    label: Int[Tensor, " N"]
    choice: Int[Tensor, "_N J"]

    def __post_init__(self) -> None:
        if len(self.label) != len(self.choice):
            raise ValueError(f"{len(self.choice)} derivations need one class each, got {len(self.label)}")


def random_grammar(shape: Shape, generator: torch.Generator, *, every_symbol: bool = True) -> Grammar:
    """A grammar with random rules: the m n strings of a layer's n symbols are drawn without replacement.

    Where a layer's rules happen to use only some symbols of the layer below, no string contains the others.
    With ``every_symbol`` such rules are drawn anew, so that all symbols appear; without it the others get no
    rules, as in the authors' program, and `absent_symbols` reports them.

    Args:
        shape: the sizes.
        generator: draws the rules.
        every_symbol: whether every symbol of every layer must appear in some string.

    Raises:
        InputError: if every symbol cannot appear, or did not in 10,000 draws of a layer.

    Source: 002 section 4.1; Cagnetta and others, "How deep neural networks learn compositional data: the
    random hierarchy model", 2024.
    """
    rules: list[Tensor] = []
    present = torch.arange(shape.roots)
    for layer in range(shape.layers, 0, -1):
        drawn = _draw_layer(shape, layer, len(present), generator, every_symbol)
        table = torch.full((shape.symbols(layer), *drawn.shape[1:]), -1, dtype=torch.int64)
        table[present] = drawn
        rules.insert(0, table)
        present = drawn.unique()
    return Grammar(shape, tuple(rules))


def absent_symbols(grammar: Grammar) -> tuple[Int[Tensor, " _N"], ...]:
    """The symbols that no string contains, for the layers 0 (tokens) to L - 1; empty tensors for a full grammar."""
    absent: list[Tensor] = []
    present = torch.arange(grammar.shape.roots, device=grammar.rules[-1].device)
    for table in reversed(grammar.rules):
        present = table[present].unique()
        absent.insert(0, _others(present, grammar.shape.vocabulary))
    return tuple(absent)


def strings_of(grammar: Grammar, derivation: Derivation) -> Int[Tensor, "N L"]:
    """The strings of tokens that derivations spell out, int64.

    Raises:
        InputError: for classes, choices or numbers of choices that the grammar does not have.
    """
    shape = grammar.shape
    _check_derivation(shape, derivation)
    symbols, start = derivation.label[:, None].long(), 0
    for layer in range(shape.layers, 0, -1):
        width = shape.width(layer)
        choice = derivation.choice[:, start : start + width].long()
        symbols = grammar.rules[layer - 1].to(symbols.device)[symbols, choice].flatten(1)
        start += width
    return symbols


def _others(some: Tensor, count: int) -> Tensor:
    every = torch.ones(count, dtype=torch.bool, device=some.device)
    every[some] = False
    return every.nonzero()[:, 0]


def _draw_layer(shape: Shape, layer: int, parents: int, generator: torch.Generator, full: bool) -> Tensor:
    """Rules (parents, m, s) of a layer."""
    count, places = parents * shape.rules, parents * shape.rules * shape.branching
    for _ in range(TRIES):
        if full and places < shape.vocabulary:
            break
        drawn = _distinct_tuples(count, shape.vocabulary, shape.branching, generator)
        if not full or len(drawn.unique()) == shape.vocabulary:
            return drawn.reshape(parents, shape.rules, shape.branching)
    raise InputError(
        f"Not every symbol of layer {layer - 1} can be made to appear: the {count} rules of layer {layer} have "
        f"{places} places for {shape.vocabulary} symbols, and {TRIES:,} draws did not fill them with all of them. "
        "Use a smaller vocabulary or more rules or classes, or accept symbols that no string contains "
        "(every_symbol=False)."
    )


def _distinct_tuples(count: int, base: int, width: int, generator: torch.Generator) -> Tensor:
    """Different rows of digits (count, width), uniform without replacement, in random order."""
    total, place = base**width, generator.device
    if total <= 4 * count:
        code = torch.randperm(total, generator=generator, device=place)[:count]
        digits = [code // base**k % base for k in range(width - 1, -1, -1)]
        return torch.stack(digits, 1).cpu()
    seen: dict[tuple[int, ...], None] = {}
    while len(seen) < count:
        more = torch.randint(base, (count, width), generator=generator, device=place)
        seen |= dict.fromkeys(tuple(row) for row in more.tolist())
    return torch.tensor(list(seen)[:count], dtype=torch.int64)


def _check_sizes(shape: Shape) -> None:
    v, m, layers, s, roots = shape.vocabulary, shape.rules, shape.layers, shape.branching, shape.roots
    sizes = f"v = {v}, m = {m}, L = {layers}, s = {s}, {roots} classes"
    if min(v, m, layers, roots) < 1 or s < 2:
        raise InputError(
            f"A grammar with {sizes} is impossible: it needs at least 1 symbol, 1 rule, 1 layer and 1 class, and a "
            "symbol must become at least 2."
        )
    if layers * math.log2(s) > math.log2(LONGEST) + 1e-9:
        raise InputError(
            f"A grammar with {sizes} has strings of s^L = {s}^{layers} tokens, more than {LONGEST:,}; use fewer "
            "layers or less branching."
        )
    parents = roots if layers == 1 else max(v, roots)
    if parents * m > v**s:
        raise InputError(
            f"A grammar with {sizes} is impossible: {parents} symbols with {m} rules each need {parents * m} "
            f"different strings of {s} symbols, and {v} symbols make only v^s = {v**s}. Use at most "
            f"{v**s // parents} rules for each symbol, or a larger vocabulary."
        )


def _check_rules(shape: Shape, rules: tuple[Tensor, ...]) -> None:
    if len(rules) != shape.layers:
        raise InputError(
            f"A grammar of {shape.layers} layers needs rules for each, got them for {len(rules)}."
        )
    present = torch.arange(shape.roots)
    for layer in range(shape.layers, 0, -1):
        table = rules[layer - 1]
        wanted = (shape.symbols(layer), shape.rules, shape.branching)
        if table.shape != wanted:
            raise InputError(
                f"The rules of layer {layer} must have the shape {wanted} (symbols, rules of each, symbols they "
                f"become), got {tuple(table.shape)}."
            )
        missing = (table == -1).flatten(1).all(1)
        kept = table[~missing]
        if bool(((kept < 0) | (kept >= shape.vocabulary)).any()):
            raise InputError(
                f"The rules of layer {layer} must become symbols 0..{shape.vocabulary - 1}, got "
                f"{int(kept.min())} to {int(kept.max())}."
            )
        pairs = kept.flatten(0, 1)
        if len(pairs.unique(dim=0)) < len(pairs):
            raise InputError(
                f"The rules of layer {layer} are ambiguous: {len(pairs)} rules spell out only "
                f"{len(pairs.unique(dim=0))} different strings. Give every rule a string of its own."
            )
        lost = [one for one in present.tolist() if missing[one]]
        if lost:
            raise InputError(
                f"Strings of this grammar can contain the symbols {lost[:20]} of layer {layer}, which have no "
                "rules; give them rules, or leave them out of the rules above."
            )
        present = table[present.to(table.device)].unique().cpu()


def _check_derivation(shape: Shape, derivation: Derivation) -> None:
    label, choice = derivation.label, derivation.choice
    if choice.shape[1] != shape.nodes:
        raise InputError(
            f"A string of this grammar has {shape.nodes} symbols above its tokens, and a rule is chosen at each; "
            f"got {choice.shape[1]} choices."
        )
    for what, values, count in (("Classes", label, shape.roots), ("Choices of rules", choice, shape.rules)):
        if values.numel() and not 0 <= int(values.min()) <= int(values.max()) < count:
            raise InputError(
                f"{what} of this grammar are 0..{count - 1}, got {int(values.min())} to {int(values.max())}."
            )
