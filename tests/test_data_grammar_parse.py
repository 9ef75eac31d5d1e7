"""Parsing inverts spelling out, finds every break where it is, and knows what is no token."""

from __future__ import annotations

import pytest
import torch
from grammars import named, reference_grammar, small_grammars

from unrote.contracts import InputError
from unrote.data.grammar import Grammar, Shape, random_grammar, strings_of
from unrote.data.grammar_counts import all_strings, index_of, random_strings
from unrote.data.grammar_parse import deepest_layer, derivation_of, parse


def climbed(grammar: Grammar, row: list[int]) -> int:
    """The deepest valid layer of one string, rule by rule in plain Python."""
    s = grammar.shape.branching
    for layer, table in enumerate(grammar.rules):
        words = {tuple(word): a for a, rules in enumerate(table.tolist()) for word in rules if word[0] >= 0}
        row = [words.get(tuple(row[i : i + s]), -1) for i in range(0, len(row), s)]
        if -1 in row:
            return layer
    return grammar.shape.layers


@pytest.mark.parametrize("grammar", small_grammars(), ids=named)
def test_derivations_are_found_again(grammar: Grammar) -> None:
    every = all_strings(grammar)
    found = derivation_of(grammar, every.x)
    assert index_of(grammar.shape, found) == list(range(grammar.shape.strings))
    assert torch.equal(strings_of(grammar, found), every.x)


@pytest.mark.parametrize("grammar", small_grammars(1), ids=named)
def test_random_tokens_are_parsed_as_far_as_a_plain_program_parses_them(
    grammar: Grammar, generator: torch.Generator
) -> None:
    v, length = grammar.shape.vocabulary, grammar.shape.length
    x = torch.randint(v, (300, length), generator=generator)
    # Strings with one changed token break somewhere above it.
    near = random_strings(grammar, 300, generator).x
    near[:, 0] = (near[:, 0] + 1) % v
    both = torch.cat([x, near]).to(torch.uint8)
    wanted = [climbed(grammar, row) for row in both.tolist()]
    assert deepest_layer(grammar, both).tolist() == wanted
    assert parse(grammar, both).deepest.tolist() == wanted


@pytest.mark.parametrize("grammar", small_grammars(1)[:3], ids=named)
def test_exactly_the_strings_of_the_grammar_are_valid(grammar: Grammar) -> None:
    shape = grammar.shape
    if shape.vocabulary**shape.length > 10**5:
        pytest.skip("too many strings of tokens to try all")
    every = torch.cartesian_prod(*[torch.arange(shape.vocabulary)] * shape.length)
    assert int(parse(grammar, every).valid[:, -1].sum()) == shape.strings


def test_a_symbol_without_rules_is_never_found() -> None:
    shape = Shape(8, 2, 3)
    seeds = range(30)
    grammars = [random_grammar(shape, torch.Generator().manual_seed(s), every_symbol=False) for s in seeds]
    partial = [one for one in grammars if any(bool((table < 0).any()) for table in one.rules)]
    assert partial
    for grammar in partial[:3]:
        x = torch.randint(8, (1000, 8), generator=torch.Generator().manual_seed(0))
        assert deepest_layer(grammar, x).tolist() == [climbed(grammar, row) for row in x.tolist()]
        assert derivation_of(grammar, all_strings(grammar).x[:100]).label.unique().tolist() == [0]


def test_what_is_broken_is_counted_layer_by_layer() -> None:
    # [0, 0] is symbol 0, [1, 0] none: half of layer 1 is missing, and all of layer 2.
    found = parse(reference_grammar(), torch.tensor([[0, 0, 1, 0], [0, 0, 0, 0], [0, 0, 1, 2]]))
    assert found.symbols[0].tolist() == [[0, -1], [0, 0], [0, 2]]
    assert found.broken.tolist() == [[0.5, 1.0], [0.0, 0.0], [0.0, 1.0]]
    assert found.valid.tolist() == [[False, False], [True, True], [True, False]]
    assert found.deepest.tolist() == [0, 2, 1]
    assert found.rules[0].tolist() == [[0, -1], [0, 0], [0, 4]]


def test_no_strings_give_no_symbols() -> None:
    found = parse(reference_grammar(), torch.empty(0, 4, dtype=torch.int64))
    assert found.valid.shape == (0, 2) and found.deepest.shape == (0,)


@pytest.mark.parametrize("token", [3, -1, 1000])
def test_unknown_tokens_are_refused_with_their_place(token: int) -> None:
    x = torch.zeros(3, 4, dtype=torch.int64)
    x[1, 2] = x[2, 0] = token
    with pytest.raises(InputError, match=f"2 tokens are unknown.*{token}, string 1, place 2"):
        parse(reference_grammar(), x)


def test_strings_of_another_length_or_grammar_are_refused() -> None:
    grammar = reference_grammar()
    with pytest.raises(InputError, match="have 4 tokens, got strings of 5"):
        deepest_layer(grammar, torch.zeros(1, 5, dtype=torch.int64))
    with pytest.raises(
        InputError, match=r"1 of 2 strings are not of this grammar.*number 1.*up to layer 0 of 2"
    ):
        derivation_of(grammar, torch.tensor([[0, 0, 0, 0], [0, 0, 1, 0]]))
