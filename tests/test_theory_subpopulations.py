"""Coefficients of subpopulations: high precision, enumeration, identities, lemmas on any prior, and where they fail."""

from __future__ import annotations

import itertools
import math
from decimal import Decimal, localcontext
from fractions import Fraction

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from unrote.theory.subpopulations import (
    Frequencies,
    coefficients,
    dirichlet_coefficients,
    every_pick,
    heavy_floor,
    light_tail,
    listed,
    merge,
    norm_above,
    normalised,
    of_draws,
    picked,
    pooled_coefficients,
    posterior_means,
    represented,
    singleton_floor,
    smoothed_single,
    weight,
    zipf,
)


def reals(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def whole(*values: int) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.int64)


@pytest.mark.parametrize(
    ("components", "samples", "said"),
    [
        (1000, 100, (0.00053423, 0.00262644, 0.01013442, 0.02000987)),
        (1000, 1000, (0.00031379, 0.00055881, 0.00113339, 0.00201569)),
        (1000, 10000, (0.00018659, 0.00020507, 0.00023351, 0.00027633)),
        (2000, 1000, (0.00017368, 0.00041290, 0.00106106, 0.00200351)),
    ],
)
def test_values_for_zipf(components: int, samples: int, said: tuple[float, ...]) -> None:
    found = coefficients(listed(zipf(components)), samples, torch.arange(4))
    torch.testing.assert_close(found, reals(*said), rtol=2e-5, atol=0)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 30), min_size=2, max_size=6), st.integers(1, 12))
def test_small_samples_are_exact(parts: list[int], n: int) -> None:
    """Against fractions, every l at once."""
    assume(sum(parts) > 0)
    share = [Fraction(p, sum(parts)) for p in parts]
    prior = listed(reals(*parts))
    found = coefficients(prior, n, torch.arange(n + 1)).tolist()
    number, mass = (part.tolist() for part in represented(prior, n, torch.arange(n + 1)))
    for count in range(n + 1):
        below = sum(a**count * (1 - a) ** (n - count) for a in share)
        above = sum(a ** (count + 1) * (1 - a) ** (n - count) for a in share)
        if below == 0:
            assert math.isnan(found[count])
            continue
        assert found[count] == pytest.approx(float(above / below), rel=1e-13, abs=1e-15)
        assert number[count] == pytest.approx(math.comb(n, count) * float(below), rel=1e-12)
        assert mass[count] == pytest.approx(math.comb(n, count) * float(above), rel=1e-12)


@pytest.mark.parametrize("count", [0, 1, 2, 17, 40_000, 695_000, 5_000_000, 9_999_999, 10_000_000])
def test_ten_million_samples_against_sixty_digits(count: int) -> None:
    n = 10**7
    prior = listed(torch.cat([zipf(60, 1.3), reals(1e-7, 3e-7, 0.004, 0.0695, 0.0696)]))
    with localcontext() as context:
        context.prec, context.Emin = 60, -(10**17)
        share = [Decimal(a) for a in prior.value.tolist()]
        terms = [a**count * (1 - a) ** (n - count) for a in share]
        tau = sum(t * a for t, a in zip(terms, share, strict=True)) / sum(terms)
        number = sum(terms) * math.comb(n, count) if count < 20 else None
    assert float(coefficients(prior, n, whole(count))) == pytest.approx(float(tau), rel=2e-12)
    if number is not None:
        assert float(represented(prior, n, whole(count))[0]) == pytest.approx(float(number), rel=1e-11)


def test_counts_in_the_millions_against_the_binomial_law() -> None:
    prior, n = Frequencies(reals(0.3), reals(1.0), 1), 10**7
    for count in (2_990_000, 3_000_000, 3_004_321):
        said = stats.binom.pmf(count, n, 0.3)
        assert float(represented(prior, n, whole(count))[0]) == pytest.approx(said, rel=1e-8)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.floats(1e-6, 1), min_size=2, max_size=20), st.integers(1, 60))
def test_counts_and_masses_add_up_and_good_turing_holds(parts: list[float], n: int) -> None:
    prior = listed(reals(*parts))
    number, mass = represented(prior, n, torch.arange(n + 1))
    assert float(number.sum()) == pytest.approx(len(parts), rel=1e-11)
    assert float(mass.sum()) == pytest.approx(1, rel=1e-11)
    torch.testing.assert_close(
        mass, coefficients(prior, n, torch.arange(n + 1)) * number, rtol=1e-11, atol=1e-300
    )
    # the share in subpopulations seen l times is (l+1)/(n+1) times how many are seen l+1 times among n+1
    more, _ = represented(prior, n + 1, torch.arange(1, n + 2))
    torch.testing.assert_close(mass, torch.arange(1, n + 2) * more / (n + 1), rtol=1e-9, atol=1e-300)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(1e-5, 1), min_size=2, max_size=12), st.integers(2, 200))
def test_examples_raise_what_a_subpopulation_is_worth_and_more_of_others_lower_it(
    parts: list[float], n: int
) -> None:
    prior = listed(reals(*parts))
    tau = coefficients(prior, n, torch.arange(n + 1))
    assert bool((tau.diff() >= -1e-12).all())
    assert bool((coefficients(prior, n + 1, torch.arange(n + 1)) <= tau + 1e-12).all())
    assert float(tau.max()) <= float(prior.value.max()) + 1e-12
    assert float(tau.min()) >= float(prior.value.min()) - 1e-12


def test_a_beta_prior_in_closed_form_and_by_quadrature() -> None:
    components, b, n = 6, 0.7, 30
    said = dirichlet_coefficients(components, b, n, torch.arange(4))
    rest = (components - 1) * b
    for count in range(4):

        def kernel(a: float, more: int = 0, count: int = count) -> float:
            return a ** (count + more + b - 1) * (1 - a) ** (n - count + rest - 1)

        top, bottom = (integrate.quad(lambda a, m=m: kernel(a, m), 0, 1, limit=200)[0] for m in (1, 0))
        assert float(said[count]) == pytest.approx(top / bottom, rel=1e-6)


def test_picks_of_a_list_against_all_of_them(generator) -> None:
    vectors = every_pick(reals(1, 3, 10), 4)
    assert len(vectors) == 81
    exact = coefficients(of_draws(vectors, vectors.shape[1]), 7, torch.arange(8))
    found, error = pooled_coefficients(normalised(reals(1, 3, 10), 4, generator, 2000), 7, torch.arange(8))
    assert bool(((found - exact).abs() < 5 * error + 1e-12).all())
    drawn = picked(reals(1, 3, 10), 4, generator, 4000)
    torch.testing.assert_close(drawn.sum(1), torch.ones(4000, dtype=torch.float64))
    every = coefficients(of_draws(drawn, 4), 7, torch.arange(8))
    assert bool(((every - exact).abs() < 0.1 * exact).all())


def test_normalising_moves_the_coefficients_as_measured_before(generator) -> None:
    found, error = pooled_coefficients(normalised(zipf(1000), 1000, generator, 400), 1000, torch.arange(3))
    said = reals(0.00031834, 0.0005681, 0.00114059)
    assert bool(((found - said).abs() < 5 * error + reals(3.56e-6, 3.8e-6, 4.4e-6)).all())


@pytest.mark.parametrize("n", [2, 3, 4])
def test_the_coefficient_is_the_mean_over_data_sets_of_what_the_data_say(n: int) -> None:
    """E[D_i | count_i] is the average of E[D_i | all counts], by enumeration of every data set."""
    vectors = every_pick(reals(1, 100), 3)
    tau = coefficients(of_draws(vectors, vectors.shape[1]), n, torch.arange(n + 1))
    total, chance = torch.zeros(n + 1, dtype=torch.float64), torch.zeros(n + 1, dtype=torch.float64)
    for z in itertools.product(range(3), repeat=n):
        counts = torch.tensor([z.count(i) for i in range(3)])
        p = float(torch.xlogy(counts.double(), vectors).sum(1).exp().mean())
        means = posterior_means(vectors, counts)
        total.index_add_(0, counts, p * means)
        chance.index_add_(0, counts, torch.full((3,), p, dtype=torch.float64))
    torch.testing.assert_close(total / chance, tau, rtol=1e-12, atol=0)


def test_for_one_data_set_it_is_not() -> None:
    vectors = every_pick(reals(1, 100), 3)
    assert float(posterior_means(vectors, whole(1, 2, 0))[0]) == pytest.approx(0.41424, abs=5e-6)
    assert float(posterior_means(vectors, whole(1, 1, 1))[0]) == pytest.approx(1 / 3, rel=1e-12)
    assert float(coefficients(of_draws(vectors, vectors.shape[1]), 3, whole(1))) == pytest.approx(
        0.39216, abs=5e-6
    )


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(1e-6, 1), min_size=2, max_size=30), st.integers(3, 500))
def test_a_heavy_tail_makes_singletons_count_whatever_the_prior(parts: list[float], n: int) -> None:
    prior = listed(reals(*parts))
    tau = float(coefficients(prior, n, whole(1)))
    assert tau >= heavy_floor(prior, n) * (1 - 1e-12)
    number = float(represented(prior, n, whole(1))[0])
    assert number >= singleton_floor(prior, n) * (1 - 1e-12)
    assert singleton_floor(prior, n) >= n / math.e * weight(prior, 0.0, 1 / n) * (1 - 1e-12)


def test_half_of_the_tail_are_not_singletons() -> None:
    """The factor 1/2 that is printed: n equal subpopulations have n/e singletons among n examples."""
    prior = listed(zipf(1000, 0.0))
    number = float(represented(prior, 1000, whole(1))[0])
    assert weight(prior, 0.0, 1 / 1000) == pytest.approx(1)
    assert number == pytest.approx(singleton_floor(prior, 1000), rel=1e-12)
    assert number == pytest.approx(368.06, abs=0.01)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 200),
    st.integers(1, 6),
    st.floats(1e-9, 1e-4),
    st.integers(3, 3000),
)
def test_a_light_tail_makes_singletons_worthless(many: int, few: int, theta: float, n: int) -> None:
    rest = (1 - many * theta) / few
    prior = listed(torch.cat([torch.full((many,), theta), torch.full((few,), rest)]).double())
    found = light_tail(prior, n, float(prior.value.min()) * (1 + 1e-12))
    if found.applies:
        assert float(coefficients(prior, n, whole(1))) <= found.ceiling * (1 + 1e-9)


def test_the_light_tail_of_a_worked_example() -> None:
    prior = listed(torch.cat([torch.full((990,), 1e-6), torch.full((10,), 0.0999)]).double())
    found = light_tail(prior, 1000, 1e-6 * 1.0001)
    assert found.applies
    assert float(coefficients(prior, 1000, whole(1))) == pytest.approx(1e-6, rel=1e-3)
    assert not light_tail(prior, 1000, 0.01).applies


def test_merging_raises_the_coefficient_and_empties_the_singletons() -> None:
    shares = zipf(1000)
    order = torch.randperm(1000, generator=torch.Generator().manual_seed(0))
    tau, mass = [], []
    for size in (1, 10, 100):
        prior = listed(merge(shares[order], torch.arange(1000) // size))
        tau.append(float(coefficients(prior, 1000, whole(1))))
        mass.append(float(represented(prior, 1000, whole(1))[1]))
    assert tau[0] < tau[1] < tau[2]
    assert mass[0] == pytest.approx(0.1169, abs=5e-5)
    assert 0.012 < mass[1] < 0.025
    assert mass[2] < 1e-10


def test_copies_of_one_point_stay_together_as_often_as_promised(generator) -> None:
    sigma, d = 0.3, 12
    z = torch.randn(20_000, 3, d, generator=generator, dtype=torch.float64)
    widest = torch.cdist(sigma * z, sigma * z).amax((1, 2))
    for epsilon in (1.0, 1.8, 2.4):
        seen = float((widest <= epsilon).double().mean())
        assert smoothed_single(3, d, sigma, epsilon) <= seen + 0.01
    two = float((torch.linalg.vector_norm(sigma * (z[:, 0] - z[:, 1]), dim=1) <= 1.5).double().mean())
    assert smoothed_single(2, d, sigma, 1.5) == pytest.approx(two, abs=0.015)
    assert smoothed_single(1, d, sigma, 0.1) == 1


def test_long_noise_is_not_rare() -> None:
    for d, said in ((10, 0.44049328506521257), (100, 0.48119168452795674), (3072, 0.496606914746111)):
        assert norm_above(d, 1.0) == pytest.approx(said, rel=1e-10)
        assert norm_above(d, 1.0) > math.exp(-d / 2)
        assert norm_above(d, 2 + math.sqrt(2)) <= math.exp(-d / 2)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="from 0 to 1"):
        Frequencies(reals(1.5), reals(1.0), 1)
    with pytest.raises(ValueError, match="sum to one"):
        Frequencies(reals(0.5), reals(0.5), 1)
    with pytest.raises(ValueError, match="not all 0"):
        listed(reals(0, 0))
    with pytest.raises(ValueError, match="between 0 and n"):
        coefficients(listed(reals(1, 1)), 3, whole(4))
    with pytest.raises(ValueError, match="more than a million"):
        every_pick(reals(1, 2), 30)
    with pytest.raises(ValueError, match="two draws"):
        pooled_coefficients(reals(1, 1)[None] / 2, 3, whole(1))
