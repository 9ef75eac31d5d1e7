"""The denoiser of a finite set of strings is its enumerated posterior; losses obey the laws of entropy."""

from __future__ import annotations

import math

import pytest
import torch
from grammars import reference_grammar

from unrote.contracts import InputError, TokenDenoiser
from unrote.data.grammar_counts import all_strings
from unrote.denoise.exact import posterior_weights
from unrote.denoise.grammar import GrammarDenoiser
from unrote.denoise.tokens import TokenEmpirical, bayes_loss, excess_loss
from unrote.noise.tokens import Masked, Uniform

STRINGS = torch.tensor([[0, 1, 2], [0, 0, 2], [1, 1, 0], [2, 2, 2]])


def levels(n: int, t: float) -> torch.Tensor:
    return torch.full((n,), t, dtype=torch.float64)


def test_the_posterior_is_bayes_rule_string_by_string() -> None:
    x, t = torch.tensor([[0, 1, 0]]), 0.3
    weight = torch.tensor(
        [
            math.prod((1 - t) * (a == b) + t / 3 for a, b in zip(row, [0, 1, 0], strict=True))
            for row in STRINGS.tolist()
        ],
        dtype=torch.float64,
    )
    model = TokenEmpirical(STRINGS, Uniform(3))
    assert isinstance(model, TokenDenoiser)
    assert float(model.log_evidence(x, levels(1, t)).exp()) == pytest.approx(float(weight.mean()), rel=1e-12)
    weight = weight / weight.sum()
    # What images and tokens share: the posterior over the data set.
    torch.testing.assert_close(posterior_weights(Uniform(3), x, STRINGS, levels(1, t)), weight[None])
    wanted = [[float(weight[STRINGS[:, place] == a].sum()) for a in range(3)] for place in range(3)]
    torch.testing.assert_close(
        model(x, levels(1, t)).exp()[0], torch.tensor(wanted, dtype=torch.float64), rtol=0, atol=1e-14
    )


def test_what_is_masked_is_filled_from_strings_that_agree() -> None:
    model = TokenEmpirical(STRINGS, Masked(3))
    x = torch.tensor([[0, 3, 3], [3, 3, 3], [3, 1, 3], [2, 2, 2]])
    p = model(x, levels(4, 0.5)).exp()
    assert p[0].tolist() == [[1, 0, 0], [0.5, 0.5, 0], [0, 0, 1]]
    assert p[1].tolist() == [[0.5, 0.25, 0.25], [0.25, 0.5, 0.25], [0.25, 0, 0.75]]
    assert p[2].tolist() == [[0.5, 0.5, 0], [0, 1, 0], [0.5, 0, 0.5]]
    assert p[3].tolist() == [[0, 0, 1]] * 3
    wanted = [math.log(0.5), 0, math.log(0.5), math.log(0.25)]
    assert model.log_evidence(x, levels(4, 0.5)).tolist() == pytest.approx(wanted, abs=1e-15)


def test_strings_that_no_data_agree_with_get_the_nearest_ones() -> None:
    model = TokenEmpirical(STRINGS, Masked(3))
    x = torch.tensor([[1, 2, 3], [0, 1, 0]])
    p = model(x, levels(2, 0.5)).exp()
    # One disagreement: with the third and with the fourth string; with the first and with the third.
    assert p[0].tolist() == [[0, 0.5, 0.5], [0, 0.5, 0.5], [0.5, 0, 0.5]]
    assert p[1].tolist() == [[0.5, 0.5, 0], [0, 1, 0], [0.5, 0, 0.5]]
    assert model.log_evidence(x, levels(2, 0.5)).tolist() == [-math.inf] * 2
    # Long strings are very unlikely under little noise, and possible.
    long = TokenEmpirical(torch.zeros(1, 400, dtype=torch.int64), Uniform(3))
    found = long.log_evidence(torch.ones(1, 400, dtype=torch.int64), levels(1, 1e-9))
    assert float(found) == pytest.approx(400 * math.log(1e-9 / 3), rel=1e-12)


@pytest.mark.parametrize("process", [Uniform(3), Masked(3)])
def test_a_condition_is_the_data_set_of_its_class(process, generator: torch.Generator) -> None:
    label = torch.tensor([0, 1, 0, 1])
    x, t = process.noise(STRINGS, levels(4, 0.6), generator), levels(4, 0.6)
    model = TokenEmpirical(STRINGS, process, label=label)
    for which in (0, 1):
        part = TokenEmpirical(STRINGS[label == which], process)
        condition = torch.full((4,), which)
        torch.testing.assert_close(model(x, t, condition), part(x, t), rtol=0, atol=1e-12)
        torch.testing.assert_close(
            model.log_evidence(x, t, condition), part.log_evidence(x, t), rtol=0, atol=1e-12
        )


@pytest.mark.parametrize("process", [Uniform(3), Masked(3)])
def test_blocks_change_nothing(process, generator: torch.Generator) -> None:
    x, t = process.noise(STRINGS.repeat(5, 1), levels(20, 0.6), generator), levels(20, 0.6)
    torch.testing.assert_close(
        TokenEmpirical(STRINGS, process, memory=1)(x, t),
        TokenEmpirical(STRINGS, process)(x, t),
        rtol=0,
        atol=1e-14,
    )


def test_the_bayes_loss_is_the_cross_entropy_of_the_exact_denoiser(generator: torch.Generator) -> None:
    grammar = reference_grammar()
    for process in (Uniform(3), Masked(3)):
        exact, t = GrammarDenoiser(grammar, process), levels(20_000, 0.5)
        x0 = all_strings(grammar).x.repeat(834, 1)[:20_000]
        entropy = bayes_loss(exact, process, x0, t, torch.Generator().manual_seed(1))
        x = process.noise(x0, t, torch.Generator().manual_seed(1))
        cross = -exact(x, t).gather(2, x0[..., None])[..., 0].mean(1)
        error = float((entropy - cross).std()) / math.sqrt(len(t))
        assert abs(float(entropy.mean() - cross.mean())) < 4 * error
        assert float(entropy.var()) < float(cross.var())


@pytest.mark.parametrize("process", [Uniform(3), Masked(3)])
def test_the_bayes_loss_rises_from_nothing_to_the_prior(process, generator: torch.Generator) -> None:
    grammar = reference_grammar()
    exact, every = GrammarDenoiser(grammar, process), all_strings(grammar).x
    curve = [
        float(bayes_loss(exact, process, every.repeat(20, 1), levels(480, t), generator).mean())
        for t in (0.0, 0.2, 0.5, 0.8, 1.0)
    ]
    assert curve == sorted(curve) and curve[0] == 0
    share = torch.stack([torch.bincount(column, minlength=3) for column in every.unbind(1)]) / 24
    assert curve[-1] == pytest.approx(float(torch.special.entr(share).sum(1).mean()), abs=1e-6)


def test_excess_is_what_a_model_loses_and_zero_for_the_exact_one(generator: torch.Generator) -> None:
    grammar, process = reference_grammar(), Uniform(3)
    exact, every = GrammarDenoiser(grammar, process), all_strings(grammar).x
    listed = TokenEmpirical(every, process)
    t = levels(24, 0.5)
    assert excess_loss(listed, exact, process, every, t, generator).abs().max() < 1e-12
    memorized = TokenEmpirical(every[:6], process)
    few = excess_loss(memorized, exact, process, every, levels(24, 0.9), generator)
    assert (few >= 0).all() and float(few.mean()) > 0.01

    # Against a model that knows nothing, the excess is what is known: log 3 less the entropy.
    def ignorant(x: torch.Tensor, t: torch.Tensor, condition: torch.Tensor | None = None) -> torch.Tensor:
        return torch.full((*x.shape, 3), -math.log(3), dtype=torch.float64)

    lost = excess_loss(ignorant, exact, process, every, t, torch.Generator().manual_seed(3))
    known = math.log(3) - bayes_loss(exact, process, every, t, torch.Generator().manual_seed(3))
    torch.testing.assert_close(lost, known, rtol=0, atol=1e-12)
    # Strings outside the set are ruled out by a model that has memorized it.
    assert excess_loss(memorized, exact, process, every, levels(24, 0.0), generator).isinf().any()


def test_what_cannot_be_answered_is_refused() -> None:
    model = TokenEmpirical(STRINGS, Uniform(3), label=torch.tensor([0, 0, 1, 1]))
    x, t = STRINGS[:1], levels(1, 0.5)
    with pytest.raises(InputError, match=r"No string has the class 7.*\[0, 1\]"):
        model(x, t, torch.tensor([7]))
    with pytest.raises(InputError, match="have 3 tokens, got strings of 2"):
        model(x[:, :2], t)
    with pytest.raises(ValueError, match="no labels"):
        TokenEmpirical(STRINGS, Uniform(3))(x, t, torch.tensor([0]))
    with pytest.raises(ValueError, match="4 strings and 3 labels"):
        TokenEmpirical(STRINGS, Uniform(3), label=torch.tensor([0, 0, 1]))
    with pytest.raises(ValueError, match="at least one string"):
        TokenEmpirical(STRINGS[:0], Uniform(3))
    with pytest.raises(InputError, match="unknown"):
        TokenEmpirical(STRINGS, Uniform(2))
