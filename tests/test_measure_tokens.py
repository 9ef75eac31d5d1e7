"""Copies lose their chance, errors their layers' order, and distances between distributions have closed forms."""

from __future__ import annotations

import math

import pytest
import torch

from unrote.contracts import InputError, Neighbors
from unrote.measure.estimate import wilson
from unrote.measure.hamming import hamming_neighbors
from unrote.measure.tokens import (
    chance_of_copying,
    copy_ratio,
    excess_over_fresh,
    hellinger,
    is_token_copy,
    new_rule_errors,
    rule_errors,
    symbol_errors,
    uniformity,
)


def decisions(yes: int, n: int) -> torch.Tensor:
    return torch.arange(n) < yes


def test_a_copy_differs_in_at_most_so_many_tokens() -> None:
    train = torch.tensor([[0, 1, 2, 3], [3, 3, 3, 3]])
    found = hamming_neighbors(torch.tensor([[0, 1, 2, 3], [0, 1, 2, 2], [3, 0, 0, 3]]), train)
    assert is_token_copy(found).tolist() == [True, False, False]
    assert is_token_copy(found, 1).tolist() == [True, True, False]
    with pytest.raises(ValueError, match="-1"):
        is_token_copy(Neighbors(found.distance, found.index), -1)


def test_the_chance_of_copying_is_the_share_of_the_language() -> None:
    assert chance_of_copying(256, 1024) == 0.25
    assert chance_of_copying(10**20, 10**40) == 1e-20
    for trained, strings in ((0, 5), (6, 5)):
        with pytest.raises(InputError, match="are impossible"):
            chance_of_copying(trained, strings)


def test_a_perfect_model_has_no_excess_and_one_that_recalls_has_its_share(generator: torch.Generator) -> None:
    # 1,000 strings, 200 of them trained on; a model recalls 30 % and draws the rest from the language.
    held = 0
    for seed in range(200):
        g = torch.Generator().manual_seed(seed)
        fresh = torch.randint(1000, (400,), generator=g) < 200
        recalled = torch.rand(400, generator=g) < 0.3
        perfect, model = copy_ratio(fresh, 0.2), copy_ratio(fresh | recalled, 0.2)
        assert perfect.excess.low is not None and perfect.excess.high is not None
        held += perfect.excess.low <= 0 <= perfect.excess.high
        assert model.excess.low > 0 and abs(model.rote.value - 0.3) < 0.15
    assert 180 <= held <= 199


def test_excess_and_rote_are_the_ratio_moved(generator: torch.Generator) -> None:
    found = copy_ratio(decisions(50, 100), 0.25)
    plain = wilson(50, 100)
    assert found.ratio == plain
    assert found.excess.value == 0.25 and found.excess.low == pytest.approx(plain.low - 0.25)
    assert found.rote.value == pytest.approx(1 / 3) and found.rote.high == pytest.approx(
        (plain.high - 0.25) / 0.75
    )
    assert copy_ratio(decisions(0, 100), 0.25).rote.value == 0
    none = copy_ratio(decisions(0, 0), 0.25)
    assert none.excess.value is None and none.rote.low == 0 and none.rote.high == 1
    for chance in (-0.1, 1.0, math.nan):
        with pytest.raises(InputError, match="chance of copying"):
            copy_ratio(decisions(1, 2), chance)


def test_near_copies_are_compared_with_fresh_strings() -> None:
    assert excess_over_fresh(decisions(30, 100), decisions(10, 100)).value == pytest.approx(0.2)


def test_errors_are_told_apart_by_layer() -> None:
    # Of 100 samples 60 obey layer 1, 30 layers 1 and 2, and 15 all three.
    valid = torch.stack([decisions(60, 100), decisions(30, 100), decisions(15, 100)], 1)
    assert [error.value for error in rule_errors(valid)] == [0.4, 0.7, 0.85]
    assert [(error.value, error.n) for error in new_rule_errors(valid)] == [(0.4, 100), (0.5, 60), (0.5, 30)]
    lost = new_rule_errors(torch.zeros(5, 2, dtype=torch.bool))
    assert lost[1].value is None and lost[1].n == 0
    with pytest.raises(ValueError, match="without those below"):
        rule_errors(valid.flip(1))


def test_shares_of_symbols_have_an_interval_over_samples(generator: torch.Generator) -> None:
    broken = torch.rand(500, 2, generator=generator, dtype=torch.float64)
    first, _ = symbol_errors(broken)
    assert first.value == pytest.approx(float(broken[:, 0].mean()))
    assert (first.high - first.low) / 2 == pytest.approx(1.965 * (1 / 12) ** 0.5 / 500**0.5, rel=0.05)


def test_total_variation_of_known_samples() -> None:
    every = torch.arange(10).repeat(20)
    assert uniformity(every, 10).distance.value == pytest.approx(0, abs=1e-15)
    assert uniformity(torch.zeros(50, dtype=torch.int64), 10).distance.value == pytest.approx(0.9)
    assert uniformity(torch.full((50,), -1), 10).distance.value == pytest.approx(1)
    half = torch.cat([every, torch.full((200,), -1)])
    assert uniformity(half, 10).distance.value == pytest.approx(0.5)


@pytest.mark.parametrize(("n", "strings"), [(30, 100), (100, 100), (250, 100), (5000, 24), (7, 2)])
def test_a_perfect_model_shows_what_is_foretold(n: int, strings: int, generator: torch.Generator) -> None:
    drawn = [uniformity(torch.randint(strings, (n,), generator=generator), strings) for _ in range(400)]
    values = torch.tensor([one.distance.value for one in drawn])
    assert abs(float(values.mean()) - drawn[0].perfect) < 4 * float(values.std()) / 20 + 1e-9
    assert all(one.distance.low == 0 for one in drawn)


def test_the_interval_holds_the_distance_of_the_model(generator: torch.Generator) -> None:
    # Half of the samples are string 0 of 20: the distance is 0.5 (1 - 1/20).
    for n in (50, 500, 20_000):
        index = torch.randint(20, (n,), generator=generator)
        index[torch.rand(n, generator=generator) < 0.5] = 0
        found = uniformity(index, 20).distance
        assert found.low <= 0.475 <= found.high
    assert found.low > 0.43 and found.high < 0.49


def test_numbers_of_another_language_are_refused() -> None:
    with pytest.raises(InputError, match=r"numbers them 0..9.*got 0 to 10"):
        uniformity(torch.tensor([0, 10]), 10)
    with pytest.raises(ValueError, match="at least one sample"):
        uniformity(torch.tensor([], dtype=torch.int64), 10)


def test_the_hellinger_distance_of_known_distributions() -> None:
    p = torch.tensor([[[1.0, 0.0], [0.5, 0.5]], [[0.2, 0.8], [0.2, 0.8]]]).log()
    q = torch.tensor([[[0.0, 1.0], [0.5, 0.5]], [[0.2, 0.8], [0.8, 0.2]]]).log()
    crossed = math.sqrt(1 - 2 * math.sqrt(0.16))
    assert hellinger(p, q).tolist() == pytest.approx([0.5, crossed / 2])
    assert hellinger(p, p).tolist() == [0, 0]
    # Nearly equal ones keep their digits.
    near = (p.double().exp() * torch.tensor([1.0, 1.0]) + torch.tensor([-1e-9, 1e-9])).clamp(min=0).log()
    assert 0 < float(hellinger(p[1:].double(), near[1:])) < 1e-8
    with pytest.raises(ValueError, match="one shape"):
        hellinger(p, q[:1])
