"""Strings are listed, numbered both ways and drawn without repetition, also where 64 bits cannot count them."""

from __future__ import annotations

import pytest
import torch
from grammars import named, small_grammars
from hypothesis import given, settings
from hypothesis import strategies as st

from unrote.contracts import InputError
from unrote.data import grammar_counts
from unrote.data.grammar import Shape, random_grammar
from unrote.data.grammar_counts import (
    all_strings,
    derivation_at,
    distinct_strings,
    index_of,
    random_strings,
)


@pytest.mark.parametrize("grammar", small_grammars(), ids=named)
def test_all_strings_are_as_many_as_counted_and_different(grammar) -> None:
    every = all_strings(grammar)
    assert every.x.shape == (grammar.shape.strings, grammar.shape.length)
    assert len(every.x.unique(dim=0)) == len(every.x)
    assert index_of(grammar.shape, every.derivation) == list(range(len(every.x)))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 16 * 4**63 - 1))
def test_numbers_beyond_64_bits_lead_to_a_derivation_and_back(number: int) -> None:
    shape = Shape(16, 4, 6)
    assert index_of(shape, derivation_at(shape, [number, 0, shape.strings - 1])) == [
        number,
        0,
        shape.strings - 1,
    ]


def test_a_number_is_class_then_choices_most_significant_first() -> None:
    found = derivation_at(Shape(3, 2, 2), torch.tensor([0, 1, 2, 8, 23]))
    assert found.label.tolist() == [0, 0, 0, 1, 2]
    assert found.choice.tolist() == [[0, 0, 0], [0, 0, 1], [0, 1, 0], [0, 0, 0], [1, 1, 1]]


@pytest.mark.parametrize("shape", [Shape(3, 2, 2), Shape(8, 2, 3), Shape(16, 4, 5)], ids=str)
def test_distinct_strings_are_distinct_and_the_first_do_not_depend_on_their_number(shape: Shape) -> None:
    grammar = random_grammar(shape, torch.Generator().manual_seed(0))
    most = min(shape.strings, 5000)
    x = distinct_strings(grammar, most, torch.Generator().manual_seed(1)).x
    assert len(x.unique(dim=0)) == most
    few = distinct_strings(grammar, most // 3, torch.Generator().manual_seed(1)).x
    assert torch.equal(few, x[: most // 3])


def test_drawing_one_by_one_leaves_repetitions_out(monkeypatch: pytest.MonkeyPatch) -> None:
    # 24 strings, all of them, with the method for large grammars.
    monkeypatch.setattr(grammar_counts, "PERMUTED", 1)
    monkeypatch.setattr(grammar_counts, "CHUNK", 7)
    grammar = random_grammar(Shape(3, 2, 2), torch.Generator().manual_seed(0))
    drawn = distinct_strings(grammar, 24, torch.Generator().manual_seed(1))
    assert sorted(index_of(grammar.shape, drawn.derivation)) == list(range(24))
    few = distinct_strings(grammar, 5, torch.Generator().manual_seed(1))
    assert torch.equal(few.x, drawn.x[:5])


def test_random_strings_are_uniform_and_do_not_depend_on_their_number(generator: torch.Generator) -> None:
    grammar = random_grammar(Shape(3, 2, 2), generator)
    drawn = random_strings(grammar, 24_000, torch.Generator().manual_seed(2))
    count = torch.bincount(torch.tensor(index_of(grammar.shape, drawn.derivation)), minlength=24)
    assert (count - 1000).abs().max() < 130  # standard deviation 31
    assert torch.equal(random_strings(grammar, 10, torch.Generator().manual_seed(2)).x, drawn.x[:10])


@pytest.mark.parametrize("many", [25, -1, 10**30])
def test_more_strings_than_there_are_are_refused(many: int, generator: torch.Generator) -> None:
    grammar = random_grammar(Shape(3, 2, 2), generator)
    with pytest.raises(InputError, match="this grammar has 24"):
        distinct_strings(grammar, many, generator)


def test_no_strings_may_be_asked_for(generator: torch.Generator) -> None:
    for shape in (Shape(3, 2, 2), Shape(16, 4, 5)):
        grammar = random_grammar(shape, generator)
        assert distinct_strings(grammar, 0, generator).x.shape == (0, shape.length)
        assert random_strings(grammar, 0, generator).x.shape == (0, shape.length)
    with pytest.raises(InputError, match="-1 strings"):
        random_strings(grammar, -1, generator)


@pytest.mark.parametrize("number", [24, -1, 10**40])
def test_numbers_that_no_string_has_are_refused(number: int) -> None:
    with pytest.raises(InputError, match=f"24 strings, numbered from 0.*{number}"):
        derivation_at(Shape(3, 2, 2), [0, number])


def test_lists_that_are_too_long_are_refused(generator: torch.Generator) -> None:
    with pytest.raises(InputError, match=r"about 10\^20 strings of 32 tokens, too many to list"):
        all_strings(random_grammar(Shape(16, 4, 5), generator))
    with pytest.raises(InputError, match=r"about 10\^617 strings"):
        derivation_at(Shape(16, 4, 10), [-1])
