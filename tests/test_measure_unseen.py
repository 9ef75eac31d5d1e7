"""Classes that samples did not show: published examples, coverage, and what cannot be known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from unrote.measure.estimate import bootstrap, wilson
from unrote.measure.unseen import chao1, distinct, fewest_classes

Z = 1.959963984540054


@pytest.mark.parametrize(
    ("counts", "value", "low", "high"),
    [  # EstimateS, for the same counts; where no class was seen twice it gives 17.27, and we no end
        ([0, 1, 1, 4, 2, 5, 2, 4, 1, 2], 9.75, 9.07, 17.45),
        ([0, 1, 1, 4, 5, 0, 0], 5.0, 4.08, None),
    ],
)
def test_chao_gives_the_intervals_of_a_program_for_ecologists(
    counts: list[int], value: float, low: float, high: float | None
) -> None:
    # That program leaves the factor (n - 1)/n out, and keeps its ends where pairs are few.
    found = chao1(torch.tensor(counts), 10**12)
    assert found.value == pytest.approx(value, abs=1e-6)
    assert found.low == min(math.floor(low), fewest_classes(sum(c > 0 for c in counts), sum(counts)))
    assert found.high is None if high is None else found.high >= high - 5e-3


@pytest.mark.parametrize(("seen", "draws"), [(2, 2), (5, 5), (23, 23), (9, 11), (4, 30), (40, 45)])
def test_the_fewest_classes_are_those_that_a_simulation_does_not_exclude(seen: int, draws: int) -> None:
    found = fewest_classes(seen, draws, 0.9)
    rng = np.random.default_rng(0)

    def chance(classes: int) -> float:
        shown = rng.integers(classes, size=(40000, draws))
        shown.sort(axis=1)
        return float(((np.diff(shown, axis=1) > 0).sum(1) + 1 >= seen).mean())

    error = 4 * math.sqrt(0.05 * 0.95 / 40000)
    assert chance(found) > 0.05 - error
    assert found == seen or chance(found - 1) < 0.05 + error


def test_birthdays() -> None:
    # 23 different birthdays: with 366 - k days more probable than 1/2 until k is large
    days = next(k for k in range(23, 400) if math.prod(1 - i / k for i in range(23)) >= 0.025)
    assert fewest_classes(23, 23) == days
    assert fewest_classes(1, 1) == fewest_classes(1, 50) == 1
    assert fewest_classes(0, 0) == 0
    with pytest.raises(ValueError, match="cannot show"):
        fewest_classes(3, 2)


@pytest.mark.parametrize(("classes", "draws"), [(50, 20), (300, 20), (300, 40), (1000, 150), (5000, 150)])
def test_few_pairs_do_not_make_chao_sure(classes: int, draws: int) -> None:
    rng = np.random.default_rng(1)
    found = [
        chao1(torch.tensor(np.bincount(rng.integers(classes, size=draws))), 10 * draws) for _ in range(60)
    ]
    assert np.mean([e.low > classes for e in found]) < 0.07
    assert np.mean([e.high is not None and e.high < classes for e in found]) < 0.1


def test_where_every_class_was_seen_once_there_is_a_lower_bound_alone() -> None:
    found = chao1(torch.ones(40, dtype=torch.int64), 100)
    assert (found.value, found.low, found.high) == (None, fewest_classes(40, 40), None)
    assert 200 < found.low < 230


def test_chao_covers_the_truth_where_hardly_a_class_is_rare() -> None:
    found = [(c, chao1(c, 150)) for c in _draw(np.full(20, 0.9 / 20), 150, 3, 300)]
    complete = [e for c, e in found if (c == 1).sum() < 2]
    assert len(complete) > 200
    assert all(e.low >= e.value for e in complete)
    assert np.mean([e.low <= 20 <= e.high for e in complete]) > 0.93


def test_chao_of_tropical_trees() -> None:
    # Barro Colorado Island, first hectare: 93 species, 31 seen once, 18 twice; estimate 117.473684
    counts = torch.tensor([1] * 31 + [2] * 18 + [7] * 44)
    assert chao1(counts, 10**12).value == pytest.approx(117.473684, abs=1e-5)


def _draw(probability: np.ndarray, n: int, seed: int, repeats: int) -> list[torch.Tensor]:
    whole = np.append(probability, 1 - probability.sum())
    return [torch.tensor(x[:-1]) for x in np.random.default_rng(seed).multinomial(n, whole, size=repeats)]


def test_chao_covers_equally_likely_classes_and_is_a_lower_bound_for_unequal_ones() -> None:
    equal = np.full(200, 0.3 / 200)
    found = [chao1(c, 300) for c in _draw(equal, 300, 0, 400)]
    assert np.mean([e.low <= 200 <= e.high for e in found]) > 0.9
    assert np.mean([e.value for e in found]) == pytest.approx(200, rel=0.1)
    zipf = 0.5 / np.arange(1, 501) / (1 / np.arange(1, 501)).sum()
    assert np.mean([chao1(c, 400).low <= 500 for c in _draw(zipf, 400, 1, 200)]) == 1
    assert np.mean([chao1(c, 400).value for c in _draw(zipf, 400, 1, 200)]) < 400


def test_with_no_class_seen_chao_gives_no_upper_end() -> None:
    assert chao1(torch.zeros(4, dtype=torch.int64), 50).as_dict() == {
        "value": 0.0,
        "low": 0.0,
        "high": None,
        "n": 50,
    }
    with pytest.raises(ValueError, match="not above 3 samples"):
        chao1(torch.tensor([2, 2]), 3)


@pytest.mark.parametrize(
    ("probability", "n"),
    [
        (np.full(200, 0.3 / 200), 300),
        (np.full(5000, 0.9 / 5000), 500),
        (0.5 / np.arange(1, 501) / (1 / np.arange(1, 501)).sum(), 400),
    ],
)
def test_distinct_covers_the_expected_number_of_classes(
    probability: np.ndarray, n: int, generator: torch.Generator
) -> None:
    expected = (1 - (1 - probability) ** n).sum()
    found = [distinct(c, n, generator, repeats=100) for c in _draw(probability, n, 2, 100)]
    assert np.mean([e.low <= expected <= e.high for e in found]) > 0.86
    width, spread = np.mean([e.high - e.low for e in found]), np.std([e.value for e in found])
    assert width == pytest.approx(2 * Z * spread, rel=0.25)


def test_the_plain_bootstrap_misses_the_number_of_distinct_classes_that_distinct_finds() -> None:
    shown = torch.arange(60)
    plain = bootstrap(shown, lambda rows: float(len(rows.unique())), torch.Generator().manual_seed(0))
    found = distinct(torch.ones(60, dtype=torch.int64), 60, torch.Generator().manual_seed(0))
    assert plain.high < 50
    assert found.low > 50
    assert found.high == 60


def test_distinct_without_a_class_is_bounded_by_wilson() -> None:
    found = distinct(torch.zeros(0, dtype=torch.int64), 497, torch.Generator())
    assert (found.value, found.low, found.n) == (0, 0, 497)
    assert found.high == pytest.approx(497 * wilson(0, 497).high)
