"""Grammars of several shapes that are small enough to list all their strings."""

from __future__ import annotations

import torch

from unrote.data.grammar import Grammar, Shape, random_grammar

SHAPES = [
    Shape(3, 2, 2),
    Shape(4, 2, 3, classes=3),
    Shape(3, 2, 2, branching=3),
    Shape(2, 1, 3, branching=2, classes=2),
    Shape(5, 3, 1, branching=4, classes=7),
]


def small_grammars(seeds: int = 2) -> list[Grammar]:
    return [
        random_grammar(shape, torch.Generator().manual_seed(seed))
        for shape in SHAPES
        for seed in range(seeds)
    ]


def reference_grammar() -> Grammar:
    """The grammar whose posteriors are known from an independent program."""
    top = [[[0, 0], [1, 2]], [[0, 1], [2, 2]], [[1, 0], [2, 1]]]
    low = [[[0, 0], [1, 1]], [[0, 2], [2, 1]], [[1, 2], [2, 0]]]
    return Grammar(Shape(3, 2, 2), (torch.tensor(low), torch.tensor(top)))


def named(grammar: Grammar) -> str:
    """What a test about a grammar is called."""
    s = grammar.shape
    return f"v{s.vocabulary}m{s.rules}L{s.layers}s{s.branching}c{s.roots}"


def without_some_symbols(shape: Shape) -> Grammar:
    """The first grammar in which a symbol appears above and has no rules below."""
    drawn = (
        random_grammar(shape, torch.Generator().manual_seed(seed), every_symbol=False) for seed in range(99)
    )
    return next(grammar for grammar in drawn if bool(grammar.rules[0].lt(0).any()))
