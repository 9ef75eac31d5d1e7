from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from unrote.contracts import Examples, InputError
from unrote.noise.levels import LogNormal
from unrote.train.recipe import TRIES, Recipe, above, baseline, levels_first, rows_first

LAW = LogNormal(-1.2, 1.2)
RULES = [rows_first, levels_first]


def recipe_of(level: Tensor, **changes: object) -> Recipe:
    rows = torch.arange(len(level), dtype=torch.float32)[:, None]
    return replace(baseline(Examples(rows, level), LAW, torch.ones_like), **changes)


def gap(low: float, high: float):
    """An intervention as a user would write it: no row is trained between two levels."""

    def apply(recipe: Recipe) -> Recipe:
        def allowed(level: Tensor, sigma: Tensor) -> Tensor:
            return recipe.allowed(level, sigma) & ~((sigma > low) & (sigma < high))

        return replace(recipe, allowed=allowed)

    return apply


def ambient(noise: float):
    """Noisy twins of all rows, which serve the levels above theirs; clean rows serve the others."""

    def apply(recipe: Recipe) -> Recipe:
        x, level = recipe.examples.x, recipe.examples.level
        twins = Examples(torch.cat([x, x]), torch.cat([level, torch.full_like(level, noise)]))

        def allowed(level: Tensor, sigma: Tensor) -> Tensor:
            return recipe.allowed(level, sigma) & ((level > 0) == (sigma > noise))

        return replace(recipe, examples=twins, allowed=allowed)

    return apply


def kolmogorov(sigma: Tensor, below) -> float:
    """Distance between the empirical distribution function and a given one, at 200 of the draws."""
    ordered = sigma.double().sort().values
    ranks = torch.arange(0, len(ordered), max(1, len(ordered) // 200))
    expected = torch.tensor([below(s) for s in ordered[ranks].tolist()], dtype=torch.float64)
    return float((ranks / len(ordered) - expected).abs().max())


def tolerance(n: int) -> float:
    return 1.95 / n**0.5  # passed by a true law in 999 of 1,000 draws


@pytest.mark.parametrize("rule", RULES)
@settings(max_examples=15, deadline=None)
@given(st.floats(0.01, 3.0), st.floats(1.05, 4.0), st.integers(0, 1000))
def test_a_forbidden_interval_is_never_drawn_and_no_row_below_its_noise(rule, low, factor, seed):
    recipe = gap(low, low * factor)(recipe_of(torch.tensor([0.0, 0.1, 0.5, 2.0]), redraw=rule))
    rows, sigma = recipe.redraw(recipe)(300, torch.Generator().manual_seed(seed))
    level = recipe.examples.level[rows]
    assert (sigma > level).all()
    assert not ((sigma > low) & (sigma < low * factor)).any()


@pytest.mark.parametrize("rule", RULES)
def test_levels_follow_the_law_given_that_they_are_allowed(rule, generator):
    low, high, n = 0.2, 0.9, 4000
    recipe = gap(low, high)(recipe_of(torch.zeros(7), redraw=rule))
    _, sigma = recipe.redraw(recipe)(n, generator)
    removed = LAW.probability(low, high)

    def below(s: float) -> float:
        inside = LAW.probability(low, min(max(s, low), high))
        return (LAW.probability(0.0, s) - inside) / (1 - removed)

    assert kolmogorov(sigma, below) < tolerance(n)


def test_without_a_rule_to_obey_the_levels_are_the_law_itself(generator):
    recipe = recipe_of(torch.zeros(3))
    rows, sigma = recipe.redraw(recipe)(4000, generator)
    assert kolmogorov(sigma, lambda s: LAW.probability(0.0, s)) < tolerance(4000)
    assert torch.bincount(rows, minlength=3).double().div(4000).sub(1 / 3).abs().max() < 0.03


def test_the_two_rules_share_the_updates_between_clean_and_noisy_rows_as_003_and_its_program_do(generator):
    n = 4000
    shares = {}
    for rule in RULES:
        recipe = replace(ambient(1.0)(recipe_of(torch.zeros(20))), redraw=rule)
        rows, sigma = recipe.redraw(recipe)(n, generator)
        noisy = recipe.examples.level[rows] > 0
        assert torch.equal(noisy, sigma > 1.0)
        shares[rule] = float(noisy.double().mean())
    assert shares[rows_first] == pytest.approx(0.5, abs=0.03)
    assert shares[levels_first] == pytest.approx(LAW.probability(1.0, float("inf")), abs=0.02)


@pytest.mark.parametrize("n", [1, 64])
def test_plain_training_draws_rows_and_levels_once_and_nothing_else(n):
    """Its stream is the one of two calls, bit for bit, whatever other recipes need."""
    recipe = recipe_of(torch.zeros(5))
    used, other = torch.Generator().manual_seed(7), torch.Generator().manual_seed(7)
    draw = recipe.redraw(recipe)
    for _ in range(3):
        rows, sigma = draw(n, used)
        assert torch.equal(rows, torch.randint(5, (n,), generator=other))
        assert torch.equal(sigma, LAW(n, other))
    assert torch.equal(used.get_state(), other.get_state())


def test_a_level_that_is_drawn_again_is_the_first_that_fits():
    """With one row, the candidates of a round are those of the law in its order."""
    recipe = gap(0.1, 3.0)(recipe_of(torch.zeros(1)))
    for seed in range(20):
        used, other = torch.Generator().manual_seed(seed), torch.Generator().manual_seed(seed)
        _, sigma = recipe.redraw(recipe)(1, used)
        torch.randint(1, (1,), generator=other)
        stream = torch.cat([LAW(tries, other) for tries in TRIES[:3]])
        fits = ~((stream > 0.1) & (stream < 3.0))
        assert sigma[0] == stream[fits][0]


def test_rows_first_draws_each_level_from_what_its_row_allows(generator):
    recipe = recipe_of(torch.tensor([0.0, 0.7]))
    rows, sigma = recipe.redraw(recipe)(6000, generator)
    kept = sigma[rows == 1]
    start = LAW.probability(0.0, 0.7)
    assert len(kept) == pytest.approx(3000, abs=120)
    assert kolmogorov(kept, lambda s: (LAW.probability(0.0, s) - start) / (1 - start)) < tolerance(len(kept))


def test_levels_first_leaves_the_law_alone_and_draws_uniformly_among_the_rows_allowed(generator):
    level = torch.tensor([0.5, 0.0, 0.1, 0.5, 0.0, 0.3])
    recipe = recipe_of(level, redraw=levels_first)
    n = 12000
    rows, sigma = recipe.redraw(recipe)(n, generator)
    assert kolmogorov(sigma, lambda s: LAW.probability(0.0, s)) < tolerance(n)
    for low, high in [(0.0, 0.1), (0.1, 0.3), (0.3, 0.5), (0.5, 99.0)]:
        here = rows[(sigma > low) & (sigma <= high)]
        open_rows = level < high
        share = torch.bincount(here, minlength=len(level)).double() / len(here)
        assert (share[~open_rows] == 0).all()
        expected = 1 / int(open_rows.sum())
        noise = 4 * (expected / len(here)) ** 0.5
        assert (share[open_rows] - expected).abs().max() < noise


def test_remedies_compose_in_either_order(generator):
    plain = recipe_of(torch.zeros(10))
    for recipe in (gap(0.5, 2.0)(ambient(1.0)(plain)), ambient(1.0)(gap(0.5, 2.0)(plain))):
        for rule in RULES:
            rows, sigma = rule(recipe)(500, generator)
            noisy = recipe.examples.level[rows] > 0
            assert (sigma[noisy] >= 2.0).all()
            assert (sigma[~noisy] <= 0.5).all()
            assert noisy.any()
            assert (~noisy).any()


@pytest.mark.parametrize("rule", RULES)
def test_a_law_that_cannot_satisfy_a_row_is_an_input_error_that_says_what_to_do(rule, generator):
    recipe = recipe_of(torch.full((4,), 1e6), redraw=rule)
    with pytest.raises(InputError, match=r"65,535 draws.*narrow the gap"):
        recipe.redraw(recipe)(8, generator)


@pytest.mark.parametrize("rule", RULES)
def test_a_rare_but_open_level_is_found(rule, generator):
    recipe = recipe_of(torch.full((4,), 8.0), redraw=rule)  # 0.3 % of the law lies above
    _, sigma = recipe.redraw(recipe)(64, generator)
    assert (sigma > 8.0).all()


@pytest.mark.parametrize("rule", RULES)
def test_the_same_generator_gives_the_same_draw(rule):
    recipe = gap(0.2, 0.4)(recipe_of(torch.tensor([0.0, 0.3]), redraw=rule))
    one, two = (recipe.redraw(recipe)(50, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(one[0], two[0])
    assert torch.equal(one[1], two[1])


def test_the_default_rule_is_strict():
    assert above(torch.tensor([0.0, 1.0, 1.0]), torch.tensor([0.5, 1.0, 1.5])).tolist() == [True, False, True]


@pytest.mark.parametrize(
    "x", [torch.zeros(0, 3), torch.zeros(2, 3, dtype=torch.uint8), torch.tensor([[0.0], [torch.nan]])]
)
def test_examples_that_cannot_be_trained_on_are_refused(x):
    with pytest.raises(InputError, match="finite floating-point"):
        baseline(Examples(x, torch.zeros(len(x))), LAW, torch.ones_like)
