"""k-means in other metrics: closed forms, descent, and the training loss by brute force."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from unrote.contracts import InputError
from unrote.train.mixtures.kmeans import Clusters, hartigan, lloyd, partial_start, ward
from unrote.train.mixtures.metric import (
    covariance_loss,
    fixed_covariance,
    misassigned,
    scatter,
    shared_covariance,
)
from unrote.train.mixtures.reduction import flat, noise_prediction, reduced_loss

LEVELS = torch.tensor([0.05, 0.2, 0.5, 1.0, 3.0], dtype=torch.float64)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def flattened(n: int = 120, d: int = 6, k: int = 3, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Clusters that are long in half of the directions, and the label of every point."""
    g = generator(seed)
    label = torch.randint(k, (n,), generator=g)
    means = 2 * torch.randn(k, d, generator=g, dtype=torch.float64)
    length = torch.where(torch.arange(d) < d // 2, 6.0, 0.1)
    return means[label] + length * torch.randn(n, d, generator=g, dtype=torch.float64), label


def best(x: Tensor, count: int) -> Clusters:
    (found,) = ward(x, [count])
    return found


def semidefinite(d: int, seed: int) -> Tensor:
    a = normal(d, d, seed=seed)
    return a @ a.T / d


def brute(x: Tensor, means: Tensor, covariance: Tensor, sigma: float, z: Tensor) -> float:
    """Training loss of a mixture with a shared covariance: 000, Lemma 2.1."""
    noisy = x + sigma * z
    inverse = torch.linalg.inv(covariance + sigma**2 * torch.eye(len(covariance), dtype=torch.float64))
    away = noisy[..., None, :] - means
    pulled = away @ inverse
    p = (-(pulled * away).sum(-1) / 2).softmax(-1)
    denoised = noisy - sigma**2 * (p[..., None] * pulled).sum(-2)
    return float((denoised - x).square().sum(-1).mean())


def test_a_round_covariance_is_the_isotropic_case() -> None:
    for s2 in (0.0, 0.3, 4.0):
        round_one = s2 * torch.eye(5, dtype=torch.float64)
        for weighting in (flat, noise_prediction):
            expected = reduced_loss(5 * s2, 5, LEVELS, weighting)
            assert covariance_loss(round_one, LEVELS, weighting) == pytest.approx(expected)
            assert covariance_loss(round_one, LEVELS, weighting, round_one) == pytest.approx(expected)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 6))
def test_the_scatter_is_the_best_covariance_at_every_single_level(seed: int, d: int) -> None:
    within = semidefinite(d, seed)
    for sigma in LEVELS:
        least = covariance_loss(within, sigma[None])
        assert covariance_loss(within, sigma[None], covariance=within) == pytest.approx(least)
        for k in range(3):
            other = 0.9 * within + 0.1 * semidefinite(d, seed + 1 + k)
            assert covariance_loss(within, sigma[None], covariance=other) >= least * (1 - 1e-12)
        assert covariance_loss(within, sigma[None], covariance=1.2 * within) >= least * (1 - 1e-12)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 6))
def test_the_loss_lies_below_its_tangent_in_the_scatter(seed: int, d: int) -> None:
    here, there = semidefinite(d, seed), semidefinite(d, seed + 1)
    identity = torch.eye(d, dtype=torch.float64)
    inverse = [torch.linalg.inv(here + s**2 * identity) for s in LEVELS]
    slope = torch.stack([s**4 * m @ m for s, m in zip(LEVELS, inverse, strict=True)]).mean(0)
    tangent = covariance_loss(here, LEVELS) + float(torch.trace(slope @ (there - here)))
    assert covariance_loss(there, LEVELS) <= tangent + 1e-9
    step = 1e-5 * there
    rise = covariance_loss(here + step, LEVELS) - covariance_loss(here, LEVELS)
    assert rise == pytest.approx(float(torch.trace(slope @ step)), rel=1e-3)


def test_it_is_the_training_loss_where_the_softmax_is_one_hot_and_changes_only_raise_it() -> None:
    label = torch.arange(60) % 3
    x = 40 * normal(3, 4, seed=1)[label] + normal(60, 4, seed=2) @ semidefinite(4, 3)
    found = shared_covariance(x, best(x, 3), LEVELS)
    z = normal(4000, *x.shape, seed=4)
    z = torch.cat([z, -z]) / z.square().mean((0, 1)).sqrt()
    z = z[:, torch.randperm(60, generator=generator(6))]
    for sigma in (0.2, 0.7):
        least = brute(x, found.means, found.covariance, sigma, z[::8])
        reduced = covariance_loss(found.covariance, torch.tensor([sigma]))
        assert least == pytest.approx(reduced, rel=0.01)
        for seed in range(3):
            moved = found.means + 0.15 * normal(3, 4, seed=seed)
            assert brute(x, moved, found.covariance, sigma, z[::8]) > least
            other = 0.8 * found.covariance + 0.2 * semidefinite(4, seed + 20)
            assert brute(x, found.means, other, sigma, z[::8]) > least


def test_every_round_lowers_the_loss_and_the_end_is_a_fixed_point() -> None:
    for seed in range(4):
        x, _ = flattened(seed=seed)
        start = lloyd(x, partial_start(x, 5, generator(seed)))
        found = shared_covariance(x, start, LEVELS)
        assert all(b <= a + 1e-12 for a, b in pairwise(found.history))
        assert found.loss <= covariance_loss(scatter(x, start.means, start.assignment), LEVELS) + 1e-12
        assert torch.allclose(found.covariance, scatter(x, found.means, found.assignment))
        again = shared_covariance(x, Clusters(found.means, found.assignment, 0.0), LEVELS)
        assert (again.assignment == found.assignment).all() and len(again.history) == 1


def test_no_single_move_of_the_end_lowers_the_distortion_in_its_metric() -> None:
    x, _ = flattened(n=40, seed=3)
    found = shared_covariance(x, best(x, 4), LEVELS)
    value, basis = torch.linalg.eigh(found.covariance)
    metric = (LEVELS.square() / (value[:, None] + LEVELS.square())).square().mean(1)
    y = x @ (basis * metric.sqrt())
    least = sum(
        float((y[found.assignment == k] - y[found.assignment == k].mean(0)).square().sum()) for k in range(4)
    )
    for n in range(len(x)):
        for target in range(4):
            other = found.assignment.clone()
            other[n] = target
            parts = [y[other == k] for k in range(4)]
            if all(len(part) for part in parts):
                assert sum(float((part - part.mean(0)).square().sum()) for part in parts) >= least - 1e-8


@pytest.mark.parametrize("seed", range(5))
def test_long_clusters_are_found_by_the_metric_and_missed_by_plain_k_means(seed: int) -> None:
    x, label = flattened(n=300, d=8, seed=seed)

    def agreement(assignment: Tensor) -> float:
        table = torch.zeros(3, 3).index_put_((label, assignment), torch.ones(300), accumulate=True)
        return float(table.amax(0).sum()) / 300

    plain = best(x, 3)
    found = shared_covariance(x, plain, LEVELS, noise_prediction)
    assert agreement(plain.assignment) < 0.7 and agreement(found.assignment) == 1.0
    assert (misassigned(x, found, LEVELS[:3]) == 0).all()


def test_a_fixed_round_covariance_asks_for_plain_k_means() -> None:
    x = normal(80, 5)
    start = lloyd(x, partial_start(x, 10, generator()))
    plain = hartigan(x, start)
    found = fixed_covariance(x, start, 0.5 * torch.eye(5), LEVELS)
    assert (found.assignment == plain.assignment).all() and torch.allclose(found.means, plain.means)
    keep = 0.5 / (0.5 + LEVELS.square())
    expected = ((1 - keep).square() * plain.distortion + 5 * LEVELS.square() * keep.square()).mean()
    assert found.loss == pytest.approx(float(expected))


def test_a_fixed_covariance_hides_the_directions_in_which_it_is_long() -> None:
    x, label = flattened(n=200, seed=2)
    covariance = torch.diag(torch.tensor([36.0] * 3 + [0.01] * 3, dtype=torch.float64))
    start = best(x, 3)
    found = fixed_covariance(x, start, covariance, LEVELS)
    for k in range(3):
        assert len(label[found.assignment == k].unique()) == 1
    assert found.loss < covariance_loss(scatter(x, start.means, start.assignment), LEVELS, flat, covariance)


def test_weights_move_a_point_exactly_when_their_logarithm_beats_its_lead() -> None:
    x = torch.tensor([[-1.0], [1.0]] * 5, dtype=torch.float64) + 0.1 * normal(10, 1)
    clusters = best(x, 2)
    lead = (x - clusters.means[1 - clusters.assignment]).square() - (
        x - clusters.means[clusters.assignment]
    ).square()
    first = clusters.assignment == 0
    for sigma in (0.3, 1.0, 3.0):
        for weight in (0.1, 0.5, 0.99):
            weights = torch.tensor([weight, 1.0], dtype=torch.float64)
            push = 2 * (clusters.variance + sigma**2) * math.log(1 / weight)
            expected = float((first & (lead[:, 0] < push)).double().mean())
            found = misassigned(x, clusters, torch.tensor([sigma]), weights)
            assert float(found) == pytest.approx(expected)


def test_equal_weights_move_nothing_at_a_fixed_point_of_lloyd() -> None:
    x = normal(100, 6)
    for count in (1, 10, 100):
        assert (misassigned(x, best(x, count), LEVELS) == 0).all()
        assert (misassigned(x, best(x, count), LEVELS, torch.full((count,), 3.0)) == 0).all()


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda x, c: fixed_covariance(x, c, torch.eye(4), LEVELS), "must agree"),
        (lambda x, c: fixed_covariance(x, c, torch.ones(3, 2), LEVELS), "not symmetric"),
        (lambda x, c: fixed_covariance(x, c, -torch.eye(3), LEVELS), "negative eigenvalue"),
        (lambda x, c: fixed_covariance(x, c, torch.eye(3).cumsum(0), LEVELS), "not symmetric"),
        (lambda x, c: fixed_covariance(x, c, torch.eye(3) * math.nan, LEVELS), "finite"),
        (lambda x, c: shared_covariance(x, c, LEVELS, rounds=0), "at least 1"),
        (lambda x, c: shared_covariance(x, c, LEVELS * 0), "positive finite"),
        (lambda x, c: misassigned(x, c, LEVELS, torch.ones(3)), "for 2 means"),
    ],
)
def test_bad_input_is_one_paragraph(call, says) -> None:  # type: ignore[no-untyped-def]
    x = normal(10, 3)
    with pytest.raises(InputError, match=says) as caught:
        call(x, best(x, 2))
    assert "\n" not in str(caught.value)
