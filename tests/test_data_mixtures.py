from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from unrote.contracts import InputError
from unrote.data.mixtures import (
    CHUNK,
    Covariance,
    Draw,
    Full,
    GaussianMixture,
    Isotropic,
    LowRank,
    coloured_templates,
    draw,
    isotropic,
    points,
    sphere_means,
)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def shapes(count: int, dimension: int) -> list[Covariance]:
    a = torch.randn(count, dimension, dimension, generator=seeded(5), dtype=torch.float64)
    return [
        Isotropic(torch.linspace(0.2, 1.5, count, dtype=torch.float64)),
        LowRank(a[:, :, :2].clone()),
        Full(a @ a.mT + 0.1 * torch.eye(dimension, dtype=torch.float64)),
    ]


def dense(covariance: Covariance, dimension: int) -> Tensor:
    if isinstance(covariance, Isotropic):
        return covariance.variance[:, None, None] * torch.eye(dimension, dtype=torch.float64)
    return covariance.factor @ covariance.factor.mT if isinstance(covariance, LowRank) else covariance.matrix


@pytest.mark.parametrize("which", [0, 1, 2])
def test_draws_have_the_moments_of_the_mixture(which: int) -> None:
    means = 3 * torch.randn(3, 4, generator=seeded(1), dtype=torch.float64)
    weights = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)
    covariance = shapes(3, 4)[which]
    drawn = draw(GaussianMixture(weights, means, covariance), 60_000, seeded(2))
    for k in range(3):
        rows = drawn.x[drawn.label == k]
        assert abs(len(rows) / 60_000 - float(weights[k])) < 4 * math.sqrt(0.25 / 60_000)
        matrix = dense(covariance, 4)[k]
        torch.testing.assert_close(
            rows.mean(0), means[k], rtol=0, atol=4 * float(matrix.trace()) ** 0.5 / len(rows) ** 0.5
        )
        error = (torch.cov(rows.mT) - matrix).norm() / matrix.norm()
        assert error < 8 / len(rows) ** 0.5


@pytest.mark.parametrize("which", [0, 1, 2])
def test_a_row_does_not_depend_on_how_many_are_drawn(which: int) -> None:
    mixture = GaussianMixture(torch.full((3,), 1 / 3), torch.randn(3, 4).double(), shapes(3, 4)[which])
    long, after_long = seeded(3), seeded(3)
    whole = draw(mixture, 3 * CHUNK + 5, long)
    for count in (0, 1, CHUNK, CHUNK + 1, 3 * CHUNK):
        part = draw(mixture, count, after_long.manual_seed(3))
        assert torch.equal(part.x, whole.x[:count])
        assert torch.equal(part.label, whole.label[:count])
        assert torch.equal(torch.randn(3, generator=after_long), torch.randn(3, generator=seeded_after(long)))


def seeded_after(generator: torch.Generator) -> torch.Generator:
    copy = torch.Generator()
    copy.set_state(generator.get_state())
    return copy


def test_components_of_weight_zero_are_never_drawn() -> None:
    weights = torch.tensor([0.0, 0.5, 0.0, 0.5, 0.0])
    mixture = isotropic(torch.arange(5.0)[:, None], 0.0, weights)
    drawn = draw(mixture, 5000, seeded(0))
    assert set(drawn.label.tolist()) == {1, 3}
    assert torch.equal(drawn.x[:, 0], drawn.label.float())
    assert drawn.x.dtype == torch.float32


def test_sphere_means_have_norm_sqrt_d_and_no_direction() -> None:
    means = sphere_means(4000, 7, seeded(0))
    torch.testing.assert_close(
        means.norm(dim=1), torch.full((4000,), math.sqrt(7), dtype=torch.float64), rtol=1e-12, atol=0
    )
    assert means.mean(0).norm() < 4 * math.sqrt(7 / 4000)
    torch.testing.assert_close(
        means.mT @ means / 4000, torch.eye(7, dtype=torch.float64), rtol=0, atol=4 / math.sqrt(4000)
    )


def test_points_are_a_mixture_of_equal_weights_without_spread() -> None:
    x = torch.randn(6, 3, generator=seeded(0))
    mixture = points(x)
    assert isinstance(mixture.covariance, Isotropic)
    assert mixture.covariance.variance.eq(0).all()
    assert torch.equal(mixture.means, x)
    assert (mixture.count, mixture.dimension) == (6, 3)
    drawn = draw(mixture, 100, seeded(1))
    assert torch.equal(drawn.x, x[drawn.label])


def test_coloured_templates_are_kronecker_products() -> None:
    x = torch.rand(3, 2, 2, generator=seeded(0), dtype=torch.float64)
    colour = torch.randn(3, 3, generator=seeded(1), dtype=torch.float64)
    mixture = coloured_templates(x, variance=0.7, colour=colour)
    assert isinstance(mixture.covariance, LowRank)
    for k in range(3):
        flat = x[k].flatten()
        torch.testing.assert_close(mixture.means[k], torch.kron(colour[k], flat))
        torch.testing.assert_close(
            mixture.covariance.factor[k] @ mixture.covariance.factor[k].mT,
            0.7 * torch.kron(torch.eye(3, dtype=torch.float64), torch.outer(flat, flat)),
        )
    # Every channel of a draw is a multiple of its template.
    drawn = draw(mixture, 20, seeded(2))
    c = torch.einsum("bcn,bn->bc", drawn.x.reshape(20, 3, 4), x.flatten(1)[drawn.label])
    c = c / x.flatten(1).square().sum(1)[drawn.label, None]
    torch.testing.assert_close(
        drawn.x.reshape(20, 3, 4), torch.einsum("bc,bn->bcn", c, x.flatten(1)[drawn.label])
    )
    listed = coloured_templates([x[0], x[1], x[2]], variance=0.7, colour=colour)
    assert torch.equal(listed.means, mixture.means)
    assert coloured_templates(x, weights=torch.tensor([0.5, 0.25, 0.25])).weights[0] == 0.5


def eye(count: int, dimension: int) -> Tensor:
    return torch.eye(dimension).repeat(count, 1, 1)


ONE_NOT_SYMMETRIC = eye(2, 2) + torch.tensor([[[0.0, 0.0], [0.0, 0.0]], [[0.0, 0.1], [0.0, 0.0]]])
INDEFINITE = torch.tensor([[[1.0, 0.0], [0.0, 1.0]], [[1.0, 2.0], [2.0, 1.0]]])
SINGULAR = torch.tensor([[[1.0, 1.0], [1.0, 1.0]], [[1.0, 0.0], [0.0, 1.0]]])


@pytest.mark.parametrize(
    ("weights", "means", "covariance", "says"),
    [
        ([0.5, 0.6], torch.zeros(2, 2), Isotropic(torch.ones(2)), r"sum of 1\.1"),
        ([1.5, -0.5], torch.zeros(2, 2), Isotropic(torch.ones(2)), r"smallest weight of -0\.5"),
        ([math.nan, 1.0], torch.zeros(2, 2), Isotropic(torch.ones(2)), "sum of nan"),
        ([1.0], torch.zeros(2, 2), Isotropic(torch.ones(2)), "needs 2 weights"),
        ([0.5, 0.5], torch.full((2, 2), math.inf), Isotropic(torch.ones(2)), "means .* finite"),
        ([0.5, 0.5], torch.zeros(2, 0), Isotropic(torch.ones(2)), "at least one dimension"),
        ([0.5, 0.5], torch.zeros(2, 2), Isotropic(torch.ones(3)), r"shape \(2,\), got shape \(3,\)"),
        ([0.5, 0.5], torch.zeros(2, 2), Isotropic(-torch.ones(2)), "variance must be at least 0"),
        ([0.5, 0.5], torch.zeros(2, 2), Isotropic(torch.tensor([1.0, math.nan])), "covariance .* finite"),
        ([0.5, 0.5], torch.zeros(2, 2), LowRank(torch.ones(2, 3, 1)), r"shape \(2, 2, R\)"),
        ([0.5, 0.5], torch.zeros(2, 2), LowRank(torch.ones(2, 2, 0)), r"shape \(2, 2, R\)"),
        ([0.5, 0.5], torch.zeros(2, 2), Full(torch.ones(2, 3, 3)), r"shape \(2, 2, 2\)"),
        ([0.5, 0.5], torch.zeros(2, 2), Full(ONE_NOT_SYMMETRIC), r"\[1\] are not symmetric"),
        ([0.5, 0.5], torch.zeros(2, 2), Full(INDEFINITE), r"\[1\] are not positive definite"),
        ([0.5, 0.5], torch.zeros(2, 2), Full(SINGULAR), r"\[0\] are not positive definite"),
    ],
)
def test_bad_mixtures_are_refused_with_a_reason(
    weights: list[float], means: Tensor, covariance: Covariance, says: str
) -> None:
    with pytest.raises(InputError, match=says):
        GaussianMixture(torch.tensor(weights), means, covariance)


def test_bad_draws_spheres_and_templates_are_refused_with_a_reason() -> None:
    with pytest.raises(InputError, match="0 or more"):
        draw(points(torch.zeros(2, 2)), -1, seeded(0))
    with pytest.raises(InputError, match="at least 2, got 1"):
        sphere_means(3, 1, seeded(0))
    with pytest.raises(InputError, match="at least 1"):
        sphere_means(0, 5, seeded(0))
    with pytest.raises(InputError, match="at least one component"):
        points(torch.zeros(0, 3))
    with pytest.raises(InputError, match="2 sizes"):
        coloured_templates([torch.ones(2, 2), torch.ones(3, 3)])
    with pytest.raises(InputError, match="at least one template"):
        coloured_templates([])
    with pytest.raises(InputError, match=r"templates \[1\] are zero"):
        coloured_templates(torch.tensor([[1.0, 2.0], [0.0, 0.0]]))
    with pytest.raises(InputError, match="positive variance"):
        coloured_templates(torch.ones(2, 3), variance=0.0)
    with pytest.raises(InputError, match=r"\(2, 3\), got \(3, 3\)"):
        coloured_templates(torch.ones(2, 3), colour=torch.ones(3, 3))
    with pytest.raises(ValueError, match="one label each"):
        Draw(torch.zeros(3, 2), torch.zeros(2, dtype=torch.int64))
