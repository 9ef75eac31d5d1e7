"""Rules are unambiguous, drawn fairly and from a seed; impossible grammars and derivations are refused."""

from __future__ import annotations

import pytest
import torch
from grammars import SHAPES, reference_grammar
from hypothesis import given, settings
from hypothesis import strategies as st

from unrote.contracts import InputError
from unrote.data.grammar import Derivation, Grammar, Shape, absent_symbols, random_grammar, strings_of
from unrote.data.grammar_counts import all_strings


@pytest.mark.parametrize(
    ("shape", "strings", "thresholds"),
    [
        (Shape(16, 4, 3), 262_144, (256, 1024, 4096)),
        (Shape(16, 3, 5), 9_882_774_340_543_152, (144, 432, 1296, 3888, 11664)),
        (Shape(24, 12, 3, 3), 2_567_836_929_097_728, (3456, 41472, 497_664)),
        (Shape(8, 2, 4), 262_144, (32, 64, 128, 256)),
        (Shape(16, 4, 3, classes=5), 5 * 4**7, (256, 1024, 4096)),
    ],
)
def test_numbers_of_strings_and_thresholds_are_the_known_ones(shape, strings, thresholds) -> None:
    assert shape.strings == strings
    assert shape.thresholds == thresholds
    assert shape.log_strings == pytest.approx(torch.tensor(float(strings)).log().item(), rel=1e-6)


def test_there_are_more_strings_than_floats_can_hold() -> None:
    shape = Shape(16, 4, 10)
    assert shape.strings == 16 * 4**1023
    assert shape.strings.bit_length() == 2051


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 9), st.integers(1, 4), st.integers(1, 3), st.integers(2, 3), st.integers(0, 10**6))
def test_rules_have_their_sizes_and_no_two_are_equal(v: int, m: int, layers: int, s: int, seed: int) -> None:
    shape = Shape(v, min(m, v ** (s - 1)), layers, s)
    grammar = random_grammar(shape, torch.Generator().manual_seed(seed), every_symbol=False)
    for table in grammar.rules:
        assert table.shape == (v, shape.rules, s)
        used = table[table[:, 0, 0] >= 0].flatten(0, 1)
        assert len(used.unique(dim=0)) == len(used)


def test_a_seed_means_one_grammar() -> None:
    one, same, other = (
        random_grammar(Shape(16, 4, 3), torch.Generator().manual_seed(seed)) for seed in (3, 3, 4)
    )
    assert all(torch.equal(a, b) for a, b in zip(one.rules, same.rules, strict=True))
    assert not torch.equal(one.rules[0], other.rules[0])


def test_every_pair_is_equally_likely_to_be_a_rule(generator: torch.Generator) -> None:
    # Three of nine pairs, 3,000 times: each about 1,000 times, standard deviation 26.
    shape = Shape(3, 1, 1)
    drawn = torch.cat(
        [random_grammar(shape, generator, every_symbol=False).rules[0].flatten(0, 1) for _ in range(3000)]
    )
    count = torch.bincount(drawn[:, 0] * 3 + drawn[:, 1], minlength=9)
    assert int(count.sum()) == 9000 and (count - 1000).abs().max() < 110
    # With many more pairs than rules they are drawn one by one: the same law.
    first = torch.cat([random_grammar(Shape(12, 1, 1), generator).rules[0].flatten() for _ in range(500)])
    assert (torch.bincount(first) - 1000).abs().max() < 110


def test_every_symbol_appears_where_it_must_and_absent_ones_are_reported() -> None:
    shape, missing = Shape(8, 2, 3), 0
    for seed in range(12):
        full = random_grammar(shape, torch.Generator().manual_seed(seed))
        assert all(len(layer) == 0 for layer in absent_symbols(full))
        free = random_grammar(shape, torch.Generator().manual_seed(seed), every_symbol=False)
        absent = absent_symbols(free)
        missing += sum(len(layer) for layer in absent)
        for layer in range(1, shape.layers):
            without = (free.rules[layer - 1] < 0).flatten(1).all(1).nonzero()[:, 0]
            assert torch.equal(without, absent[layer])
        seen = all_strings(free).x.unique().tolist()
        assert sorted(set(range(8)) - set(seen)) == absent[0].tolist()
    assert missing > 0


def test_a_string_is_spelled_out_rule_by_rule() -> None:
    # Class 1, its second rule [2, 2]; symbol 2 first by its first rule [1, 2], then by its second [2, 0].
    grammar = reference_grammar()
    x = strings_of(grammar, Derivation(torch.tensor([1]), torch.tensor([[1, 0, 1]])))
    assert x.tolist() == [[1, 2, 2, 0]]


@pytest.mark.parametrize("shape", SHAPES)
def test_classes_may_be_fewer_or_more_than_symbols(shape: Shape, generator: torch.Generator) -> None:
    grammar = random_grammar(shape, generator)
    assert len(grammar.rules[-1]) == shape.roots
    assert all_strings(grammar).label.unique().tolist() == list(range(shape.roots))


@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        ((3, 4, 2), "at most 3 rules"),
        ((16, 300, 3), r"v\^s = 256"),
        ((4, 2, 2, 2, 9), "9 symbols with 2 rules"),
        ((0, 1, 2), "impossible"),
        ((3, 0, 2), "impossible"),
        ((3, 1, 0), "impossible"),
        ((3, 1, 2, 1), "at least 2"),
        ((3, 1, 2, 2, 0), "impossible"),
        ((16, 4, 30), "tokens, more than"),
        ((16, 4, 10**9), "tokens, more than"),
    ],
)
def test_impossible_sizes_are_refused(sizes: tuple[int, ...], words: str) -> None:
    with pytest.raises(InputError, match=words):
        Shape(*sizes)


def test_symbols_that_cannot_all_appear_are_refused(generator: torch.Generator) -> None:
    with pytest.raises(InputError, match="8 places for 9 symbols"):
        random_grammar(Shape(9, 2, 2, classes=2), generator)
    assert random_grammar(Shape(9, 2, 2, classes=2), generator, every_symbol=False).shape.strings == 16


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ([[[0, 0], [1, 1]], [[0, 0], [1, 0]]], "ambiguous"),
        ([[[0, 0], [1, 1]], [[0, 2], [1, 0]]], "must become symbols 0..1"),
        ([[[0, 0], [1, 1]], [[-1, -1], [-1, -1]]], "have no rules"),
        ([[[0, 0], [1, 1]]], "must have the shape"),
    ],
)
def test_wrong_rules_are_refused(rules: list, words: str) -> None:
    top = torch.tensor([[[0, 0], [1, 1]], [[0, 1], [1, 0]]])
    with pytest.raises(InputError, match=words):
        Grammar(Shape(2, 2, 2), (torch.tensor(rules), top))


def test_rules_for_another_number_of_layers_are_refused() -> None:
    with pytest.raises(InputError, match="3 layers needs rules for each, got them for 2"):
        Grammar(Shape(3, 2, 3), reference_grammar().rules)


@pytest.mark.parametrize(
    ("label", "choice", "words"),
    [
        ([3], [[0, 0, 0]], "Classes of this grammar are 0..2, got 3"),
        ([0], [[0, 2, 0]], "Choices of rules of this grammar are 0..1, got 0 to 2"),
        ([0], [[0, 0]], "got 2 choices"),
    ],
)
def test_derivations_of_another_grammar_are_refused(label: list, choice: list, words: str) -> None:
    with pytest.raises(InputError, match=words):
        strings_of(reference_grammar(), Derivation(torch.tensor(label), torch.tensor(choice)))
