"""K-subspaces and coloured templates: recovery, descent, closed forms, the training loss by brute force."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from unrote.contracts import InputError
from unrote.train.mixtures.kmeans import ward
from unrote.train.mixtures.reduction import flat, noise_prediction
from unrote.train.mixtures.subspaces import Subspaces, coloured, subspace_start, subspaces

LEVELS = torch.tensor([0.05, 0.2, 0.5, 1.5], dtype=torch.float64)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def templated(
    n: int = 60, k: int = 4, pixels: int = 12, dirt: float = 0.0, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Coloured templates and which template each point has."""
    g = generator(seed)
    templates = torch.randn(k, pixels, generator=g, dtype=torch.float64)
    label = torch.arange(n) % k
    colour = torch.randn(n, 3, generator=g, dtype=torch.float64)
    x = torch.einsum("nc,np->ncp", colour, templates[label])
    return x + dirt * torch.randn(x.shape, generator=g, dtype=torch.float64), label


def by_ward(x: Tensor, count: int) -> Tensor:
    (found,) = ward(x.flatten(1), [count])
    return found.assignment


def one_hot_loss(
    x: Tensor, directions: Tensor, colours: Tensor, variances: Tensor, assignment: Tensor, weighting=flat
) -> float:  # type: ignore[no-untyped-def]
    """The loss of the own component's linear denoiser, from dense matrices."""
    total, c = 0.0, x.shape[1]
    identity = torch.eye(x[0].numel(), dtype=torch.float64)
    for k in assignment.unique():
        e = directions[k] / torch.linalg.vector_norm(directions[k])
        covariance = variances[k] * torch.kron(torch.eye(c, dtype=torch.float64), torch.outer(e, e))
        away = x[assignment == k].flatten(1) - torch.kron(colours[k], e)
        for sigma, weight in zip(LEVELS, weighting(LEVELS), strict=True):
            shrink = covariance @ torch.linalg.inv(covariance + sigma**2 * identity)
            bias = away @ (identity - shrink)
            total += float(weight * (bias.square().sum() + len(away) * sigma**2 * shrink.square().sum()))
    return total / len(x) / len(LEVELS)


def training_loss(x: Tensor, model: Subspaces, sigma: float, z: Tensor) -> float:
    """The mixture denoiser's own loss, 000 Lemma 2.1, with dense covariances."""
    flat_x = x.flatten(1)
    covariance = model.factors @ model.factors.transpose(1, 2)
    full = covariance + sigma**2 * torch.eye(flat_x.shape[1], dtype=torch.float64)
    inverse, logdet = torch.linalg.inv(full), torch.logdet(full)
    noisy = flat_x + sigma * z
    away = noisy[..., None, :] - model.means
    pulled = torch.einsum("rnkd,kde->rnke", away, inverse)
    p = (-(logdet + (pulled * away).sum(-1)) / 2).softmax(-1)
    denoised = noisy - sigma**2 * (p[..., None] * pulled).sum(-2)
    return float((denoised - flat_x).square().sum(-1).mean())


def test_templates_are_recovered_from_coloured_points() -> None:
    x, label = templated()
    found = subspaces(x, subspace_start(x, 4, generator()))
    assert found.residual == pytest.approx(0, abs=1e-12)
    assert all(len(found.assignment[label == k].unique()) == 1 for k in range(4))
    for k in range(4):
        own = x[found.assignment == k]
        assert torch.allclose(torch.outer(own[0] @ found.directions[k], found.directions[k])[0], own[0, 0])
        assert float(found.variances[k]) == pytest.approx(float(own.square().sum((1, 2)).mean()) / 3)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 30), st.integers(1, 6))
def test_subspaces_descend_to_leading_singular_vectors_and_best_templates(
    seed: int, n: int, count: int
) -> None:
    x = normal(n, 2, 5, seed=seed)
    count = min(n, count)
    found = subspaces(x, subspace_start(x, count, generator(seed)))
    assert all(b <= a + 1e-12 for a, b in pairwise(found.history))
    explained = (x @ found.directions.T).square().sum(1)
    assert torch.allclose(explained.gather(1, found.assignment[:, None])[:, 0], explained.amax(1), atol=1e-9)
    for k in range(count):
        rows = x[found.assignment == k].flatten(0, 1)
        top = float(torch.linalg.svdvals(rows)[0])
        assert float(torch.linalg.vector_norm(rows @ found.directions[k])) == pytest.approx(top)
        assert float(found.directions[k][found.directions[k].abs().argmax()]) > 0
    assert found.residual == pytest.approx(
        float((x.square().sum((1, 2)) - explained.amax(1)).mean()), abs=1e-12
    )


def test_as_many_templates_as_points_of_rank_one_explain_all() -> None:
    x, _ = templated(n=20, k=20)
    assert subspaces(x, subspace_start(x, 20, generator())).residual == pytest.approx(0, abs=1e-12)


def test_a_template_without_points_takes_the_worst_explained() -> None:
    x, _ = templated(n=30, k=3)
    twice = subspace_start(x, 1, generator()).repeat(3, 1)
    found = subspaces(x, twice)
    assert (torch.bincount(found.assignment, minlength=3) > 0).all()
    assert all(b <= a + 1e-12 for a, b in pairwise(found.history))


def test_starts_reach_every_template_before_any_twice() -> None:
    x, label = templated(n=40, k=5)
    for seed in range(5):
        start = subspace_start(x, 5, generator(seed))
        explained = (x @ start.T).square().sum(1) / x.square().sum((1, 2))[:, None]
        assert sorted(label[(explained[:, k] > 1 - 1e-9)].unique().item() for k in range(5)) == list(range(5))


@pytest.mark.parametrize("weighting", [flat, noise_prediction])
@pytest.mark.parametrize("count", [1, 4, 15, 60])
def test_coloured_training_descends_and_minimises_the_one_hot_loss(weighting, count: int) -> None:  # type: ignore[no-untyped-def]
    x, _ = templated(dirt=0.1, pixels=6)
    found = coloured(x, by_ward(x, count), LEVELS, weighting)
    model = (found.directions, found.colours, found.variances)
    assert all(b <= a * (1 + 1e-12) for a, b in pairwise(found.history))
    least = one_hot_loss(x, *model, found.assignment, weighting)
    assert found.history[-1] == pytest.approx(least, rel=1e-9)
    for seed in range(4):
        for change in range(3):
            size = [0.02, 0.05, 0.1 * found.variances[:, None]][change]
            other = list(model)
            step = size * normal(*(other[change].reshape(count, -1)).shape, seed=seed)
            other[change] = other[change] + step.reshape(other[change].shape)
            other[2] = other[2].clamp(min=0)
            assert one_hot_loss(x, *other, found.assignment, weighting) >= least * (1 - 1e-9)


def test_no_point_would_be_better_off_elsewhere() -> None:
    x, _ = templated(dirt=0.2, n=30, pixels=5)
    found = coloured(x, by_ward(x, 6), LEVELS)
    model = (found.directions, found.colours, found.variances)
    least = one_hot_loss(x, *model, found.assignment)
    for n in range(30):
        for k in range(6):
            other = found.assignment.clone()
            other[n] = k
            assert one_hot_loss(x, *model, other) >= least - 1e-9


def test_the_closed_forms_are_the_training_loss_where_the_softmax_is_one_hot() -> None:
    x, label = templated(n=20, k=2, pixels=30, seed=3)
    found = coloured(x, label, LEVELS)
    z = normal(400, 20, 90)
    z = torch.cat([z, -z])
    for sigma in (0.02, 0.1):
        tau = found.variances[found.assignment]
        reduced = found.residual + float((3 * tau * sigma**2 / (tau + sigma**2)).mean())
        assert training_loss(x, found, sigma, z) == pytest.approx(reduced, rel=0.03)


def test_one_component_is_the_linear_gaussian_denoiser() -> None:
    x, _ = templated(n=40, k=1)
    found = coloured(x, torch.zeros(40, dtype=torch.int64), LEVELS)
    coefficient = x @ found.directions[0]
    assert torch.allclose(found.colours[0], coefficient.mean(0))
    assert float(found.variances[0]) == pytest.approx(float(coefficient.var(0, correction=0).mean()))
    assert found.residual == pytest.approx(0, abs=1e-12)


def test_a_component_for_every_point_has_no_loss_and_remembers_the_points() -> None:
    x, _ = templated(n=15)
    found = coloured(x, torch.arange(15), LEVELS)
    assert found.history[-1] == pytest.approx(0, abs=1e-12)
    assert torch.allclose(found.means, x.flatten(1)) and torch.allclose(
        found.factors, torch.zeros(15, 36, 3).double()
    )


def test_more_components_never_cost_more_when_split_from_fewer() -> None:
    x, _ = templated(dirt=0.05)
    found = coloured(x, by_ward(x, 6), LEVELS)
    split = found.assignment.clone()
    big = int(torch.bincount(split).argmax())
    members = (split == big).nonzero()[:, 0]
    split[members[: len(members) // 2]] = 6
    assert coloured(x, split, LEVELS).history[-1] <= found.history[-1] + 1e-12


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda x: subspace_start(x, 11, generator()), "11 clusters"),
        (lambda x: subspaces(x, torch.zeros(2, 4)), "zero or not finite"),
        (lambda x: subspaces(x, torch.ones(2, 3)), "templates of 4 numbers"),
        (lambda x: subspaces(x, torch.ones(11, 4)), "11 clusters"),
        (lambda x: subspaces(x, torch.ones(2, 4), rounds=0), "at least 1"),
        (lambda x: subspaces(x * math.nan, torch.ones(2, 4)), "NaN or infinite"),
        (lambda x: coloured(x, torch.tensor([0, 2] * 5), LEVELS), "each component a point"),
        (lambda x: coloured(x, torch.zeros(9, dtype=torch.int64), LEVELS), "partition of 9 points"),
        (lambda x: coloured(x, torch.full((10,), -1), LEVELS), "each point needs"),
        (lambda x: coloured(x, torch.arange(10), -LEVELS), "positive finite"),
    ],
)
def test_bad_input_is_one_paragraph(call, says) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError, match=says) as caught:
        call(normal(10, 3, 4))
    assert "\n" not in str(caught.value)
