"""Precision, recall, density and coverage: which argument is generated, all pairs by hand, and their laws."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unrote.contracts import InputError
from unrote.measure.manifolds import expected_coverage, manifolds


def _by_hand(generated: torch.Tensor, real: torch.Tensor, k: int) -> tuple[torch.Tensor, ...]:
    def far(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return torch.linalg.vector_norm(a.double()[:, None] - b.double(), dim=-1)

    def radius(x: torch.Tensor) -> torch.Tensor:
        return far(x, x).fill_diagonal_(math.inf).sort(1).values[:, k - 1]

    d = far(generated, real)
    inside = d <= radius(real)
    return inside.any(1), inside.sum(1).double() / k, (d <= radius(generated)[:, None]).any(0), inside.any(0)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(7, 40), st.integers(7, 40), st.integers(1, 6), st.booleans())
def test_decisions_are_those_of_all_pairs_with_ties(seed: int, n: int, m: int, k: int, whole: bool) -> None:
    g = torch.Generator().manual_seed(seed)
    a, b = 2 * torch.randn(n, 2, generator=g), 2 * torch.randn(m, 2, generator=g)
    if whole:
        a, b = a.round().to(torch.int16), b.round().to(torch.int16)
    found = manifolds(a, b, k)
    precise, density, recalled, covered = _by_hand(a, b, k)
    assert torch.equal(found.precise, precise)
    assert torch.equal(found.density_of, density)
    assert torch.equal(found.recalled, recalled)
    assert torch.equal(found.covered, covered)


def test_the_first_argument_is_generated(generator: torch.Generator) -> None:
    # real: two modes; generated: one of them. What is generated is real (precision 1), half of what is real is lost.
    modes = torch.tensor([[0.0, 0.0], [100.0, 0.0]]).repeat_interleave(200, 0)
    real = modes + torch.randn(400, 2, generator=generator)
    generated = torch.randn(400, 2, generator=generator)
    collapsed = manifolds(generated, real)
    assert collapsed.precision.value > 0.9
    assert 0.4 < collapsed.recall.value <= 0.5
    assert 0.4 < collapsed.coverage.value <= 0.5
    turned = manifolds(real, generated)
    assert turned.precision.value == collapsed.recall.value
    assert turned.recall.value == collapsed.precision.value
    assert not collapsed.covered[200:].any()


def test_a_blurred_model_has_high_density_and_low_coverage(generator: torch.Generator) -> None:
    real = torch.randn(300, 8, generator=generator)
    blurred = manifolds(0.2 * torch.randn(300, 8, generator=generator), real)
    fresh = manifolds(torch.randn(300, 8, generator=generator), real)
    assert blurred.density.low > 2 * fresh.density.high
    assert blurred.coverage.high < fresh.coverage.low
    assert fresh.density.value == pytest.approx(1, abs=0.25)


def test_an_exact_copy_lies_in_the_ball_even_where_the_ball_is_a_point() -> None:
    real = torch.cat([torch.zeros(4, 2), torch.eye(2)])
    found = manifolds(torch.cat([torch.zeros(1, 2), 9 + torch.arange(8.0).view(4, 2)]), real, 3)
    assert found.precise.tolist() == [True, False, False, False, False]
    assert found.covered[:4].all()


def test_coverage_of_one_distribution_has_a_closed_form_and_its_interval_catches_it() -> None:
    g = torch.Generator().manual_seed(0)
    for n, m in ((200, 200), (60, 200)):
        found = [
            manifolds(torch.randn(n, 6, generator=g), torch.randn(m, 6, generator=g)).coverage
            for _ in range(80)
        ]
        truth = expected_coverage(n, m)
        values = torch.tensor([e.value for e in found])
        assert float(values.mean()) == pytest.approx(truth, abs=4 * float(values.std()) / math.sqrt(80))
        assert sum(e.low <= truth <= e.high for e in found) / 80 > 0.9
    assert expected_coverage(10**7, 10**7) == pytest.approx(1 - 2**-5, rel=1e-5)


def test_the_decisions_of_digits_do_not_depend_on_units_or_memory(digits: torch.Tensor) -> None:
    a, b = digits[:300], digits[300:700]
    found, scaled = manifolds(a, b), manifolds(a * 2.0**30, b * 2.0**30, memory=2**18)
    assert torch.equal(found.precise, scaled.precise)
    assert torch.equal(found.density_of, scaled.density_of)
    assert torch.equal(found.recalled, scaled.recalled)
    assert torch.equal(found.covered, scaled.covered)
    pixels = ((digits + 1) * 8).to(torch.uint8)
    assert torch.equal(manifolds(pixels[:300], pixels[300:700]).density_of, found.density_of)


def test_too_few_points_are_refused() -> None:
    with pytest.raises(InputError, match="below the number of points"):
        manifolds(torch.randn(5, 2), torch.randn(9, 2), 5)
    with pytest.raises(ValueError, match="below the number of real points"):
        expected_coverage(5, 5, 5)
