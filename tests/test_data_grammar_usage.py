"""The usage of rules, measured over all strings, is what the recursion says; samples agree within their noise."""

from __future__ import annotations

import pytest
import torch
from grammars import named, reference_grammar, small_grammars, without_some_symbols

from unrote.data.grammar import Shape, random_grammar
from unrote.data.grammar_counts import all_strings, random_strings
from unrote.data.grammar_parse import parse
from unrote.data.grammar_usage import expected_usage, rule_counts, rule_usage, usage_errors


@pytest.mark.parametrize("grammar", small_grammars(), ids=named)
def test_expected_usage_is_that_of_all_strings(grammar) -> None:
    measured = rule_usage(grammar.shape, parse(grammar, all_strings(grammar).x))
    expected = expected_usage(grammar)
    torch.testing.assert_close(measured.mean, expected.mean, rtol=0, atol=1e-12)
    torch.testing.assert_close(measured.covariance, expected.covariance, rtol=0, atol=1e-12)
    assert (usage_errors(measured, expected).abs() < 1e-4).all()


def test_expected_usage_holds_where_symbols_have_no_rules() -> None:
    shape = Shape(8, 2, 3)
    grammar = without_some_symbols(shape)
    measured = rule_usage(shape, parse(grammar, all_strings(grammar).x))
    torch.testing.assert_close(measured.covariance, expected_usage(grammar).covariance, rtol=0, atol=1e-12)


def test_counts_add_up_to_the_symbols_that_were_found() -> None:
    grammar = reference_grammar()
    found = parse(grammar, torch.tensor([[0, 0, 0, 0], [0, 0, 1, 0], [1, 1, 0, 0]]))
    counts = rule_counts(grammar.shape, found)
    assert counts[:, :6].tolist() == [[2, 0, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0], [1, 1, 0, 0, 0, 0]]
    assert counts[:, 6:].sum(1).tolist() == [1, 0, 1]


def test_samples_of_a_large_grammar_deviate_as_their_standard_errors_say(generator: torch.Generator) -> None:
    grammar = random_grammar(Shape(16, 4, 3), generator)
    usage = rule_usage(grammar.shape, parse(grammar, random_strings(grammar, 4000, generator).x))
    z = usage_errors(usage, expected_usage(grammar))
    assert 0.8 < z.square().mean().sqrt() < 1.2
    # A model that always takes the first rule is found out.
    first = torch.zeros(4000, 7, dtype=torch.int64)
    from unrote.data.grammar import Derivation, strings_of

    x = strings_of(grammar, Derivation(torch.randint(16, (4000,), generator=generator), first))
    worst = usage_errors(rule_usage(grammar.shape, parse(grammar, x)), expected_usage(grammar))
    assert worst.abs().max() > 20


def test_nothing_is_said_about_no_strings() -> None:
    grammar = reference_grammar()
    with pytest.raises(ValueError, match="at least one string"):
        rule_usage(grammar.shape, parse(grammar, torch.empty(0, 4, dtype=torch.int64)))
    with pytest.raises(ValueError, match="measured"):
        usage_errors(expected_usage(grammar), expected_usage(grammar))
