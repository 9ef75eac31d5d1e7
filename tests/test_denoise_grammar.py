"""Belief propagation is the enumeration of all strings, draws from it, and knows its limits."""

from __future__ import annotations

import math

import pytest
import torch
from grammars import named, reference_grammar, small_grammars, without_some_symbols

from unrote.contracts import InputError, TokenDenoiser
from unrote.data.grammar import Grammar, Shape, random_grammar
from unrote.data.grammar_counts import all_strings, index_of, random_strings
from unrote.data.grammar_parse import deepest_layer, derivation_of, parse
from unrote.denoise import grammar as module
from unrote.denoise.grammar import GrammarDenoiser
from unrote.denoise.grammar_belief import Logarithmic, Scaled, downward, posterior, tree_of, upward
from unrote.denoise.tokens import TokenEmpirical
from unrote.noise.tokens import Masked, TokenProcess, Uniform, evidence

LEVELS = [0.0, 1e-12, 1e-3, 0.2, 0.5, 0.9, 1.0]


def processes(grammar: Grammar) -> list[TokenProcess]:
    return [Uniform(grammar.shape.vocabulary), Masked(grammar.shape.vocabulary)]


def queries(
    grammar: Grammar, process: TokenProcess, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Noisy strings and strings that no noise explains, at all levels."""
    t = torch.tensor(LEVELS, dtype=torch.float64).repeat_interleave(12)
    noisy = process.noise(random_strings(grammar, len(t), generator).x, t, generator)
    # Tokens at random, half of the places destroyed: impossible for most masked strings.
    tokens = torch.randint(grammar.shape.vocabulary, noisy.shape, generator=generator)
    tokens = process.noise(tokens, torch.full((len(t),), 0.5), generator)
    return torch.cat([noisy, tokens]), t.repeat(2)


@pytest.mark.parametrize("grammar", small_grammars(), ids=named)
def test_posteriors_are_those_of_all_strings_enumerated(grammar: Grammar, generator: torch.Generator) -> None:
    every = all_strings(grammar)
    for process in processes(grammar):
        x, t = queries(grammar, process, generator)
        exact = GrammarDenoiser(grammar, process)
        listed = TokenEmpirical(every.x, process, label=every.label)
        some = torch.randint(grammar.shape.roots, (len(x),), generator=generator)
        for condition in (None, some):
            difference = exact(x, t, condition).exp() - listed(x, t, condition).exp()
            assert difference.abs().max() < 1e-10
            ours, theirs = exact.log_evidence(x, t, condition), listed.log_evidence(x, t, condition)
            assert torch.equal(ours.isinf(), theirs.isinf())
            possible = ~ours.isinf()
            torch.testing.assert_close(ours[possible], theirs[possible], rtol=1e-12, atol=1e-10)


def test_posteriors_are_those_of_an_independent_program() -> None:
    exact = GrammarDenoiser(reference_grammar(), Uniform(3))
    x, t = torch.tensor([[0, 0, 1, 1]]), torch.tensor([0.4], dtype=torch.float64)
    assert float(exact.log_evidence(x, t).exp()) == pytest.approx(0.019879012345679, abs=1e-15)
    tokens, low, root = (exact.symbols(x, t, layer).exp()[0] for layer in (0, 1, 2))
    assert root[0].tolist() == pytest.approx([0.67490581, 0.1625471, 0.1625471], abs=1e-7)
    assert low[0].tolist() == pytest.approx([0.78147642, 0.1625471, 0.05597648], abs=1e-7)
    assert tokens[0].tolist() == pytest.approx([0.89400903, 0.03361901, 0.07237196], abs=1e-7)
    assert tokens[1].tolist() == pytest.approx([0.80383389, 0.05001449, 0.14615162], abs=1e-7)


@pytest.mark.parametrize("grammar", small_grammars(1), ids=named)
def test_symbols_of_every_layer_have_the_posterior_of_all_derivations(
    grammar: Grammar, generator: torch.Generator
) -> None:
    every, process = all_strings(grammar), Uniform(grammar.shape.vocabulary)
    x, t = queries(grammar, process, generator)
    weights = torch.softmax(process.log_likelihood(x, every.x, t), 1)
    layers = parse(grammar, every.x).symbols
    for layer, symbols in enumerate(layers, 1):
        hot = torch.nn.functional.one_hot(symbols.long(), grammar.shape.symbols(layer)).double()
        wanted = torch.einsum("bn,nka->bka", weights, hot)
        found = GrammarDenoiser(grammar, process).symbols(x, t, layer)
        assert (found.exp() - wanted).abs().max() < 1e-10


@pytest.mark.parametrize("grammar", small_grammars(1), ids=named)
def test_no_noise_is_certainty_and_nothing_but_noise_is_the_prior(grammar: Grammar) -> None:
    every = all_strings(grammar).x
    x, shape = every[:20], grammar.shape
    prior = torch.nn.functional.one_hot(every, shape.vocabulary).double().mean(0)
    for process in processes(grammar):
        exact = GrammarDenoiser(grammar, process)
        assert isinstance(exact, TokenDenoiser)
        clean = exact(x, torch.zeros(len(x))).exp()
        assert torch.equal(clean, torch.nn.functional.one_hot(x, shape.vocabulary).double())
        nothing = exact(
            process.noise(x, torch.ones(len(x)), torch.Generator().manual_seed(0)), torch.ones(len(x))
        )
        torch.testing.assert_close(nothing.exp(), prior.expand_as(nothing), rtol=0, atol=1e-12)
        certain = exact.log_evidence(x, torch.zeros(len(x)))
        torch.testing.assert_close(certain, torch.full_like(certain, -shape.log_strings), rtol=0, atol=1e-10)


@pytest.mark.parametrize("length_of_tree", [2, 3])
def test_the_likelihood_is_a_distribution_over_noisy_strings(length_of_tree: int) -> None:
    grammar = (
        reference_grammar()
        if length_of_tree == 2
        else random_grammar(Shape(2, 2, 3), torch.Generator().manual_seed(0))
    )
    v, d = grammar.shape.vocabulary, grammar.shape.length
    every = torch.cartesian_prod(*[torch.arange(v)] * d)
    t = torch.full((len(every),), 0.35, dtype=torch.float64)
    assert float(GrammarDenoiser(grammar, Uniform(v)).log_evidence(every, t).exp().sum()) == pytest.approx(
        1, abs=1e-12
    )
    # Of masked strings, those with one mask pattern are a distribution.
    every[:, [0, d - 1]] = v
    seen = every.unique(dim=0)
    found = GrammarDenoiser(grammar, Masked(v)).log_evidence(seen, t[: len(seen)])
    assert float(found.exp().sum()) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("grammar", small_grammars(1)[:3], ids=named)
def test_draws_have_the_posterior_of_whole_strings(grammar: Grammar) -> None:
    every = all_strings(grammar)
    for process, t in ((processes(grammar)[0], 0.6), (processes(grammar)[1], 0.7)):
        n = 20_000
        x = process.noise(every.x[5:6], torch.tensor([t]), torch.Generator().manual_seed(3)).expand(n, -1)
        level = torch.full((n,), t, dtype=torch.float64)
        drawn = GrammarDenoiser(grammar, process).sample(x, level, torch.Generator().manual_seed(1))
        number = torch.tensor(index_of(grammar.shape, derivation_of(grammar, drawn)))
        share = torch.bincount(number, minlength=grammar.shape.strings) / n
        weights = torch.softmax(process.log_likelihood(x[:1], every.x, level[:1]), 1)[0]
        error = (weights * (1 - weights) / n).sqrt()
        assert ((share - weights).abs() < 5 * error + 1e-12).all()


@pytest.mark.parametrize("process", [Uniform(16), Masked(16)])
def test_draws_from_nothing_are_strings_and_agree_with_marginals_in_a_large_grammar(
    process: TokenProcess, generator: torch.Generator
) -> None:
    grammar = random_grammar(Shape(16, 4, 5), generator)
    exact, n = GrammarDenoiser(grammar, process), 4000
    x0 = random_strings(grammar, 1, generator).x
    for t in (0.5, 1.0):
        level = torch.full((n,), t, dtype=torch.float64)
        x = process.noise(x0, level[:1], generator).expand(n, -1)
        drawn = exact.sample(x, level, generator)
        assert (deepest_layer(grammar, drawn) == 5).all()
        share = torch.nn.functional.one_hot(drawn, 16).double().mean(0)
        p = exact(x[:1], level[:1])[0].exp()
        assert ((share - p).abs() < 5 * (p * (1 - p) / n).sqrt() + 1e-9).all()


def test_a_row_with_its_own_stream_does_not_depend_on_its_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    grammar = random_grammar(Shape(8, 2, 3), torch.Generator().manual_seed(0))
    exact, x = GrammarDenoiser(grammar, Masked(8)), torch.full((9, 8), 8)
    t, condition = torch.ones(9), torch.arange(9) % 8
    whole = exact.sample(x, t, [torch.Generator().manual_seed(s) for s in range(9)], condition)
    alone = exact.sample(x[4:5], t[:1], [torch.Generator().manual_seed(4)], condition[4:5])
    assert torch.equal(whole[4:5], alone)
    assert torch.equal(derivation_of(grammar, whole).label, condition)
    x = Masked(8).noise(whole, torch.full((9,), 0.5), torch.Generator().manual_seed(1))
    together = exact(x, t)
    monkeypatch.setattr(module, "COLUMNS", 16)
    torch.testing.assert_close(exact(x, t), together, rtol=0, atol=1e-14)


@pytest.mark.parametrize("grammar", small_grammars(1), ids=named)
def test_probabilities_and_their_logarithms_say_the_same(
    grammar: Grammar, generator: torch.Generator
) -> None:
    tree, process = tree_of(grammar), Uniform(grammar.shape.vocabulary)
    x = random_strings(grammar, 30, generator).x
    t = torch.linspace(0.05, 1, 30, dtype=torch.float64)
    order = tree.order(0)
    seen = evidence(process, process.noise(x, t, generator)[:, order], t).permute(2, 1, 0)
    prior = torch.full((grammar.shape.roots, 30), -math.log(grammar.shape.roots), dtype=torch.float64)
    found = []
    for algebra in (Scaled(), Logarithmic()):
        up = upward(tree, seen, prior, algebra)
        down = downward(tree, up, prior, algebra)
        layers = [posterior(up, down, layer, algebra) for layer in range(grammar.shape.layers + 1)]
        assert not any(bool(weak.any()) for _, weak in layers)
        found.append((up.log_evidence, *(p for p, _ in layers)))
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a.exp(), b.exp(), rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("layers", [6, 8])
def test_rows_that_underflow_are_found_and_done_in_logarithms(layers: int) -> None:
    g = torch.Generator().manual_seed(layers)
    grammar = random_grammar(Shape(6, 2, layers), g)
    tree, process, n = tree_of(grammar), Uniform(6), 40
    # From all rows safe to all rows lost, with those in between that lose some digits only.
    t = torch.logspace(-1, -300, n, dtype=torch.float64)
    x = process.noise(
        random_strings(grammar, n, g).x, torch.linspace(0, 1, n)[torch.randperm(n, generator=g)], g
    )
    prior = torch.full((6, n), -math.log(6), dtype=torch.float64)
    seen = evidence(process, x[:, tree.order(0)], t).permute(2, 1, 0)
    up = upward(tree, seen, prior, Logarithmic())
    wanted, _ = posterior(up, downward(tree, up, prior, Logarithmic()), 0, Logarithmic())
    scaled = upward(tree, seen, prior, Scaled())
    weak = posterior(scaled, downward(tree, scaled, prior, Scaled()), 0, Scaled())[1]
    assert 0 < int(weak.sum()) < n
    found = GrammarDenoiser(grammar, process)(x, t)
    wanted = wanted[:, tree.order(0)].permute(2, 1, 0)
    torch.testing.assert_close(found.exp(), wanted.exp(), rtol=0, atol=1e-10)
    torch.testing.assert_close(
        GrammarDenoiser(grammar, process).log_evidence(x, t), up.log_evidence, rtol=1e-12, atol=0
    )


def test_long_strings_far_from_the_grammar_do_not_underflow(generator: torch.Generator) -> None:
    # 512 tokens at random, next to no noise: evidence of about exp(-5,000).
    grammar = random_grammar(Shape(6, 2, 9), generator)
    exact = GrammarDenoiser(grammar, Uniform(6))
    x = torch.randint(6, (2, 512), generator=generator)
    x = torch.cat([x, random_strings(grammar, 1, generator).x])
    t = torch.full((3,), 1e-14, dtype=torch.float64)
    log_p, evidence_of = exact(x, t), exact.log_evidence(x, t)
    assert not log_p.isnan().any()
    torch.testing.assert_close(
        log_p.exp().sum(2), torch.ones(3, 512, dtype=torch.float64), rtol=0, atol=1e-10
    )
    assert float(evidence_of[0]) < -4000 and float(evidence_of[2]) == pytest.approx(
        -grammar.shape.log_strings
    )
    assert (deepest_layer(grammar, exact.sample(x, t, generator)) == 9).all()


def test_symbols_without_rules_change_nothing(generator: torch.Generator) -> None:
    shape = Shape(8, 2, 3)
    grammar = without_some_symbols(shape)
    every = all_strings(grammar)
    for process in processes(grammar):
        x, t = queries(grammar, process, generator)
        difference = (
            GrammarDenoiser(grammar, process)(x, t).exp() - TokenEmpirical(every.x, process)(x, t).exp()
        )
        assert difference.abs().max() < 1e-10


def test_what_does_not_fit_is_refused(generator: torch.Generator) -> None:
    grammar = reference_grammar()
    exact = GrammarDenoiser(grammar, Masked(3))
    x, t = torch.zeros(2, 4, dtype=torch.int64), torch.ones(2)
    with pytest.raises(InputError, match="have 4 tokens, got strings of 3"):
        exact(x[:, :3], t)
    with pytest.raises(InputError, match=r"classes of this grammar are 0..2, got 0 to 3"):
        exact.sample(x, t, generator, torch.tensor([0, 3]))
    with pytest.raises(InputError, match="the first of them 4"):
        exact(x + 4, t)
    with pytest.raises(ValueError, match="in \\[0, 1\\]"):
        exact(x, t + 1)
    with pytest.raises(ValueError, match="5 tokens and the grammar 3"):
        GrammarDenoiser(grammar, Uniform(5))


@pytest.mark.parametrize("grammar", small_grammars(1), ids=named)
def test_draws_of_what_no_string_can_have_become_disagree_with_it_least(
    grammar: Grammar, generator: torch.Generator
) -> None:
    every, v = all_strings(grammar).x, grammar.shape.vocabulary
    x = torch.randint(v + 1, (64, grammar.shape.length), generator=generator)
    drawn = GrammarDenoiser(grammar, Masked(v)).sample(x, torch.full((64,), 0.5), generator)
    seen = x != v
    least = ((x[:, None] != every) & seen[:, None]).sum(2).amin(1)
    assert torch.equal(((x != drawn) & seen).sum(1), least)
    assert bool((least > 0).any())
