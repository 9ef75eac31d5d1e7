"""With the exact denoiser samples are the language, alike over its strings, whatever batch they rode in."""

from __future__ import annotations

import math
from collections import Counter
from itertools import pairwise

import pytest
import torch
from scipy.stats import chi2
from torch import Tensor

from unrote.data.grammar import Grammar, Shape, random_grammar
from unrote.data.grammar_counts import index_of
from unrote.data.grammar_parse import derivation_of, parse
from unrote.denoise.grammar import GrammarDenoiser
from unrote.noise.tokens import Masked, Uniform
from unrote.sample.steps import trajectory
from unrote.sample.token_steps import (
    drawn,
    first_hitting,
    generate_tokens,
    likeliest,
    masks_first,
    resample,
    revealing,
    reverse_law,
    uniform_start,
)

MASKS = torch.tensor([1.0, 0.0], dtype=torch.float64)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def language() -> Grammar:
    return random_grammar(Shape(4, 2, 2), seeded())  # 32 strings of 4 tokens


def grid(steps: int) -> Tensor:
    return torch.linspace(1, 0, steps + 1, dtype=torch.float64)


def unevenness(x: Tensor) -> tuple[float, float]:
    """The share of valid strings, and the probability of a chi-square as large as theirs if all are alike."""
    grammar = language()
    valid = parse(grammar, x).valid[:, -1]
    index = torch.tensor(index_of(grammar.shape, derivation_of(grammar, x[valid])))
    count = torch.bincount(index, minlength=32).double()
    expected = len(index) / 32
    return float(valid.double().mean()), float(chi2.sf(float(((count - expected) ** 2 / expected).sum()), 31))


@pytest.mark.parametrize(
    ("process", "step", "levels", "share"),
    [
        (Uniform(4), resample, grid(100), 0.99),
        (Masked(4), revealing(drawn), grid(100), 0.99),
        (Masked(4), first_hitting(4), MASKS, 1.0),
        (Masked(4), first_hitting(4), grid(3), 1.0),
    ],
    ids=["resample", "reveal", "one by one", "one by one in three steps"],
)
def test_samples_of_the_exact_denoiser_are_the_language(process, step, levels, share):
    start = uniform_start if isinstance(process, Uniform) else masks_first
    x = generate_tokens(GrammarDenoiser(language(), process), 4, 4, range(2000), levels, step, start)
    valid, probability = unevenness(x)
    assert valid >= share
    assert probability > 1e-3


def test_few_steps_break_rules_where_tokens_move_together_and_not_one_by_one():
    exact = GrammarDenoiser(language(), Masked(4))
    few = generate_tokens(exact, 4, 4, range(500), grid(2), revealing(drawn), masks_first)
    assert unevenness(few)[0] < 0.7
    assert unevenness(generate_tokens(exact, 4, 4, range(500), MASKS, first_hitting(4), masks_first))[0] == 1


def test_the_reverse_law_is_bayes_rule():
    v, t, s = 3, torch.tensor([0.7], dtype=torch.float64), torch.tensor([0.2], dtype=torch.float64)
    eye = torch.eye(v, dtype=torch.float64)
    below, keep = 0.8 * eye + 0.2 / v, 0.3 / 0.8
    step = keep * eye + (1 - keep) / v
    p = torch.tensor([0.5, 0.2, 0.3], dtype=torch.float64)
    for token in range(v):
        joint = below * step[:, token]  # (a, j): q(j | a) q(x | j)
        expected = p @ (joint / joint.sum(1, keepdim=True))
        found = reverse_law(p.reshape(1, 1, v), torch.tensor([[token]]), t, s)
        torch.testing.assert_close(found[0, 0], expected)
        torch.testing.assert_close(
            reverse_law(p.reshape(1, 1, v), torch.tensor([[token]]), t, 0 * s)[0, 0], p
        )


@pytest.mark.parametrize(
    ("process", "step", "levels"),
    [
        (Uniform(4), resample, grid(5)),
        (Masked(4), revealing(), grid(5)),
        (Masked(4), first_hitting(4), grid(2)),
    ],
    ids=["resample", "reveal", "one by one"],
)
def test_a_sample_does_not_depend_on_its_batch(process, step, levels):
    start = uniform_start if isinstance(process, Uniform) else masks_first
    exact = GrammarDenoiser(language(), process)
    whole = generate_tokens(exact, 4, 4, range(11), levels, step, start)
    parts = generate_tokens(exact, 4, 4, range(11), levels, step, start, batch_size=3)
    assert torch.equal(whole, parts)
    back = generate_tokens(exact, 4, 4, list(reversed(range(11))), levels, step, start)
    assert torch.equal(whole, back.flip(0))


def test_masks_open_at_their_rate_and_stay_open():
    x = torch.full((4000, 6), 2)
    p = torch.tensor([0.25, 0.75]).log()

    def denoiser(x: Tensor, t: Tensor, condition: Tensor | None = None) -> Tensor:
        return p.expand(*x.shape, 2)

    for step in (revealing(), first_hitting(2)):
        paths = list(trajectory(step, denoiser, x, torch.tensor([1.0, 0.6, 0.3, 0.0]), seeded()))
        for level, state in zip((1.0, 0.6, 0.3, 0.0), paths, strict=True):
            spread = 4.5 * math.sqrt(level * (1 - level) / state.numel())
            assert abs(float((state == 2).double().mean()) - level) <= spread
        for before, after in pairwise(paths):
            assert torch.equal(after[before != 2], before[before != 2])
        opened = paths[2][paths[2] != 2].double().mean()
        assert abs(float(opened) - 0.75) < 4.5 * math.sqrt(0.75 * 0.25 / (paths[2] != 2).sum())
    # The number of masks of a string is binomial: they open independently of each other.
    count = (
        list(trajectory(first_hitting(2), denoiser, x, torch.tensor([1.0, 0.25]), seeded(1)))[-1] == 2
    ).sum(1)
    assert abs(float(count.double().var()) - 6 * 0.25 * 0.75) < 0.15


def test_the_last_masks_open_to_the_likeliest_token():
    def denoiser(x: Tensor, t: Tensor, condition: Tensor | None = None) -> Tensor:
        return torch.tensor([0.3, 0.4, 0.3]).log().expand(*x.shape, 3)

    x = torch.full((200, 5), 3)
    *_, end = trajectory(revealing(), denoiser, x, MASKS, seeded())
    assert (end == 1).all()
    *_, end = trajectory(revealing(drawn), denoiser, x, MASKS, seeded())
    assert len(end.unique()) == 3
    assert torch.equal(likeliest(torch.tensor([[0.4, 0.4, 0.2]]), torch.zeros(1)), torch.tensor([0]))


def test_draws_have_their_probabilities_and_never_what_is_impossible():
    p = torch.tensor([0.0, 0.2, 0.0, 0.8, 0.0])
    ends = torch.tensor([0.0, 0.1999, 0.2001, 1 - 2**-53], dtype=torch.float64)
    assert drawn(p.expand(4, 5), ends).tolist() == [1, 1, 3, 3]
    assert drawn(torch.tensor([[0.0, 1e-30, 0.0]]), torch.tensor([0.7])).tolist() == [1]
    count = Counter(drawn(p.expand(5000, 5), torch.rand(5000, generator=seeded())).tolist())
    assert abs(count[1] - 1000) < 4.5 * math.sqrt(5000 * 0.16)


def test_classes_are_told_at_every_step():
    grammar = language()
    label = torch.arange(400) % 4
    for process, step, start, levels in (
        (Uniform(4), resample, uniform_start, grid(100)),
        (Masked(4), first_hitting(4), masks_first, MASKS),
    ):
        exact = GrammarDenoiser(grammar, process)
        x = generate_tokens(exact, 4, 4, range(400), levels, step, start, batch_size=150, condition=label)
        found = parse(grammar, x)
        valid = found.valid[:, -1]
        assert valid.double().mean() > 0.97
        assert (found.symbols[-1][valid, 0] == label[valid]).double().mean() > 0.98


def test_a_step_without_randomness_is_refused():
    exact = GrammarDenoiser(language(), Masked(4))
    for step in (revealing(), first_hitting(4)):
        with pytest.raises(ValueError, match="generator"):
            list(trajectory(step, exact, torch.full((2, 4), 4), MASKS))
    with pytest.raises(ValueError, match="one generator per row"):
        list(trajectory(first_hitting(4), exact, torch.full((2, 4), 4), MASKS, [seeded()]))
