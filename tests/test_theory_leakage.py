"""What draws tell about training data: closed forms, direct densities, enumeration, and the bounds around them."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unrote.theory.leakage import (
    ambient_leakage,
    ambient_set_bounds,
    ddpm_leakage,
    ddpm_set_bound,
    expected_distinct,
    printed_leakage,
    remaining_error,
    simulate_ambient_set,
    simulate_ddpm_set,
    simulate_looks,
)
from unrote.theory.merging import label_information

HALF = math.sqrt(1 / 3)
"""sigma of VP time 0.5."""


def reals(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def whole(*values: int) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.int64)


def test_values_of_a_worked_example() -> None:
    found = ddpm_leakage(reals(1, 2, 4), reals(HALF), whole(1, 2, 5, 100))[:, 0]
    torch.testing.assert_close(
        found, reals(2.94857693, 3.8648676656925254, 5.15872, 9.598307510682034), rtol=1e-5, atol=0
    )
    printed = printed_leakage(reals(1, 2, 4), reals(HALF), whole(2, 100))[:, 0]
    torch.testing.assert_close(printed, reals(5.8971538676367405, 294.857693381837), rtol=1e-12, atol=0)


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.floats(0, 50), min_size=1, max_size=4),
    st.floats(0.05, 20),
    st.integers(1, 40),
)
def test_it_is_the_log_determinant_of_the_joint_covariance(
    spectrum: list[float], sigma: float, m: int
) -> None:
    values = reals(*spectrum)
    found = float(ddpm_leakage(values, reals(sigma), whole(m)))
    copies = values[:, None, None] * torch.ones(m, m, dtype=torch.float64) + sigma**2 * torch.eye(
        m, dtype=torch.float64
    )
    direct = (torch.logdet(copies).sum() - len(values) * m * math.log(sigma**2)) / 2
    assert found == pytest.approx(float(direct), rel=1e-9, abs=1e-9)
    one = float(ambient_leakage(values, reals(sigma)))
    assert one - 1e-12 <= found <= m * one + 1e-12
    # m copies are one copy at sigma / sqrt(m)
    assert found == pytest.approx(float(ambient_leakage(values, reals(sigma / math.sqrt(m)))), rel=1e-12)


def test_it_grows_with_draws_and_falls_with_noise_and_the_error_is_its_slope() -> None:
    values, sigma, m = reals(0.3, 2, 9), torch.logspace(-2, 2, 40, dtype=torch.float64), torch.arange(1, 60)
    table = ddpm_leakage(values, sigma, m)
    assert bool((table.diff(dim=0) > 0).all())
    assert bool((table.diff(dim=1) < 0).all())
    assert bool((table.diff(n=2, dim=0) < 0).all())  # every further draw tells less
    slope = (
        ddpm_leakage(values, reals(0.7), whole(10**6 + 1))
        - ddpm_leakage(values, reals(0.7), whole(10**6 - 1))
    ) / 2
    error = remaining_error(values, reals(0.7), whole(10**6))
    torch.testing.assert_close(2 * 0.7**2 * slope, error, rtol=1e-5, atol=0)
    far = remaining_error(values, reals(0.7), whole(10**9)) * 10**9
    assert float(far) == pytest.approx(3 * 0.7**2, rel=1e-6)


@pytest.mark.parametrize("m", [1, 4, 60])
def test_simulated_looks_have_the_closed_form_as_their_mean(m: int, generator) -> None:
    found = simulate_looks(reals(1, 2, 4), HALF, m, generator, 4000)
    said = float(ddpm_leakage(reals(1, 2, 4), reals(HALF), whole(m)))
    assert abs(float(found.mean()) - said) < 4.5 * float(found.std()) / math.sqrt(4000)


def test_distinct_copies_against_enumeration() -> None:
    for n, m in itertools.product((1, 2, 3, 4), (1, 2, 5)):
        ways = [len(set(w)) for w in itertools.product(range(n), repeat=m)]
        assert float(expected_distinct(n, whole(m))) == pytest.approx(sum(ways) / len(ways), rel=1e-13)
    assert float(expected_distinct(10, whole(100))) == pytest.approx(9.999734386011124, rel=1e-12)
    assert float(expected_distinct(10**9, whole(10))) == pytest.approx(10 - 45e-9, rel=1e-14)


def test_the_bound_for_ordinary_training_against_enumeration() -> None:
    values, sigma, n = reals(1, 3), reals(0.4, 2.0), 3
    for m in (1, 2, 5):
        total = torch.zeros(2, dtype=torch.float64)
        for w in itertools.product(range(n), repeat=m):
            counts = torch.tensor([w.count(j) for j in range(n)])
            total += ddpm_leakage(values, sigma, counts).sum(0)
        found = ddpm_set_bound(values, sigma, n, whole(m))[0]
        torch.testing.assert_close(found, total / n**m, rtol=1e-12, atol=0)
    one = ddpm_set_bound(values, sigma, 1, whole(7))
    torch.testing.assert_close(one, ddpm_leakage(values, sigma, whole(7)))
    many = ddpm_set_bound(values, sigma, 1000, whole(10**8))[0]
    torch.testing.assert_close(many, 1000 * ddpm_leakage(values, sigma, whole(10**5))[0], rtol=1e-5, atol=0)


@pytest.mark.parametrize(("sigma", "m"), [(0.15, 2), (0.15, 6), (1.0, 4), (4.0, 6)])
def test_simulated_sets_lie_between_their_bounds(sigma: float, m: int, generator) -> None:
    values, n = reals(1, 1, 2), 4
    found = simulate_ambient_set(values, sigma, n, m, generator, 1500)
    low, high = (float(end) for end in ambient_set_bounds(values, reals(sigma), n, whole(m)))
    error = 4.5 * float(found.std()) / math.sqrt(1500)
    assert low - error < float(found.mean()) < high + error
    fresh = simulate_ddpm_set(values, sigma, n, m, generator, 400)
    above = float(ddpm_set_bound(values, reals(sigma), n, whole(m)))
    assert float(fresh.mean()) < above + 4.5 * float(fresh.std()) / 20


def test_labels_that_are_known_anyway_cost_nothing_but_themselves(generator) -> None:
    """Without confusion a set of copies tells E[k] I_1 less the entropy of the labels, exactly."""
    values, n, sigma = torch.ones(40, dtype=torch.float64), 4, 0.1
    for m in (1, 3):
        found = simulate_ambient_set(values, sigma, n, m, generator, 2000)
        one = float(ambient_leakage(values, reals(sigma)))
        counts = [len(set(w)) for w in itertools.product(range(n), repeat=m)]
        said = sum(k * one - math.log(math.perm(n, k)) for k in counts) / len(counts)
        assert abs(float(found.mean()) - said) < 4.5 * float(found.std()) / math.sqrt(2000)


def test_one_point_and_one_draw_are_the_same_in_every_simulation() -> None:
    def stream() -> torch.Generator:
        return torch.Generator().manual_seed(5)

    values = reals(1, 2)
    a = simulate_ambient_set(values, 0.5, 1, 1, stream(), 300)
    b = simulate_ddpm_set(values, 0.5, 1, 1, stream(), 300)
    said = float(ambient_leakage(values, reals(0.5)))
    for found in (a, b):
        assert abs(float(found.mean()) - said) < 4.5 * float(found.std()) / math.sqrt(300)


def test_the_density_of_a_mixture_of_data_sets_against_brute_force(generator) -> None:
    """p(D) over all maps of draws to points, with Gaussian densities of whole groups."""
    from unrote.theory.leakage import _log_blocks, _log_permanent, _log_ways

    values, sigma, n, m = reals(1.5, 0.3), 0.6, 3, 4
    y = torch.randn(2, m, 2, generator=generator, dtype=torch.float64)

    def together(rows: torch.Tensor) -> float:
        total = 0.0
        for d, v in enumerate(values.tolist()):
            cov = v * torch.ones(len(rows), len(rows)).double() + sigma**2 * torch.eye(len(rows)).double()
            law = torch.distributions.MultivariateNormal(torch.zeros(len(rows)).double(), cov)
            total += float(law.log_prob(rows[:, d]))
        return total

    for r in range(2):
        single = sum(together(y[r, i : i + 1]) for i in range(m))
        terms = []
        for w in itertools.product(range(n), repeat=m):
            groups = [[i for i in range(m) if w[i] == j] for j in range(n)]
            terms.append(sum(together(y[r, g]) for g in groups if g) - single)
        direct = float(torch.logsumexp(reals(*terms), 0))
        assert float(_log_ways(_log_blocks(y, values, sigma), n)[r]) == pytest.approx(direct, rel=1e-9)
    entry = torch.randn(3, 2, 4, generator=generator, dtype=torch.float64)
    direct = sum(entry[:, 0, i].exp() * entry[:, 1, j].exp() for i, j in itertools.permutations(range(4), 2))
    torch.testing.assert_close(_log_permanent(entry), direct.log())


def test_what_a_copy_tells_about_which_of_many_points_is_at_most_their_number(generator) -> None:
    points = torch.randn(20, 5, generator=generator, dtype=torch.float64)
    even = torch.full((20,), 0.05, dtype=torch.float64)
    found = label_information(points, even, reals(1e-3, 1.0, 1e3), generator, 0.0, 4000).mean(0)
    assert float(found[0]) == pytest.approx(math.log(20), rel=1e-9)
    assert 0 < float(found[2]) < 1e-4
    # points are less than a Gaussian of their covariance can be
    spectrum = torch.linalg.eigvalsh(points.T.cov(correction=0))
    assert float(found[1]) < float(ambient_leakage(spectrum, reals(1.0)))


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="positive"):
        ambient_leakage(reals(1), reals(0))
    with pytest.raises(ValueError, match="none below 0"):
        ambient_leakage(reals(-1), reals(1))
    with pytest.raises(ValueError, match="at least 0"):
        ddpm_leakage(reals(1), reals(1), whole(-1))
    with pytest.raises(ValueError, match="up to 12 points"):
        simulate_ambient_set(reals(1), 1.0, 13, 1, torch.Generator())
    with pytest.raises(ValueError, match="up to 12 draws"):
        simulate_ddpm_set(reals(1), 1.0, 3, 13, torch.Generator())
