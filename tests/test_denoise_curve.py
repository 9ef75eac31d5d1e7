from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import config
from torch import Tensor

from unrote import likelihoods
from unrote.denoise.curve import PosteriorWeights, posterior_curve
from unrote.denoise.exact import Empirical, posterior_weights
from unrote.noise.process import Gaussian

LEVELS = torch.linspace(80 ** (1 / 7), 0.002 ** (1 / 7), 18, dtype=torch.float64) ** 7


def with_twins(x0: Tensor, generator: torch.Generator) -> Tensor:
    """The first half of the data a second time, at a distance of about 0.05."""
    half = x0[: len(x0) // 2]
    return torch.cat([half, half + 0.05 / 8 * torch.randn(half.shape, generator=generator, dtype=x0.dtype)])


def naive(x0: Tensor, base: Tensor, z: Tensor, sigma: float) -> Tensor:
    x = base.double() + sigma * z.double()
    squared = torch.stack([(x0.double() - row).flatten(1).square().sum(1) for row in x])
    return torch.softmax(-squared / (2 * sigma**2), dim=1)


def entropy(weights: Tensor) -> Tensor:
    return torch.special.entr(weights.double()).sum(1)


@pytest.fixture
def scene(digits: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Digits with near-duplicates and a large common offset; queries on and off the data; their noise."""
    x0 = with_twins(digits, generator) + 20
    base = torch.cat([x0[:25], digits[900:910] + 20.0, x0[5:10] + 0.1])
    return x0, base, torch.randn(base.shape, generator=generator)


@pytest.mark.parametrize(("dtype", "allowed"), [(torch.float32, 1e-6), (torch.float64, 1e-10)])
def test_every_level_equals_direct_float64_and_posterior_weights(
    dtype: torch.dtype, allowed: float, scene: tuple[Tensor, Tensor, Tensor]
) -> None:
    x0, base, z = (t.to(dtype) for t in scene)
    sparse = []
    for found in posterior_curve(x0, base, z, LEVELS):
        sigma = float(LEVELS[found.index])
        weights, truth = found.dense(), naive(x0, base, z, sigma)
        assert float((weights - truth).abs().max()) < allowed
        x = base.double() + sigma * z.double()
        assert float((weights - posterior_weights(Gaussian(), x, x0, found.level)).abs().max()) < allowed
        assert torch.equal(found.level, torch.full((len(base),), sigma, dtype=torch.float64))
        torch.testing.assert_close(found.maximum, truth.amax(1), rtol=0, atol=allowed)
        torch.testing.assert_close(found.entropy, entropy(truth), rtol=0, atol=20 * allowed)
        sparse.append(found.columns is not None)
    assert sparse == sorted(sparse)  # sparse below some level, and only below
    assert sparse[0] is False
    assert sparse[-1] is True


def test_float32_alone_fails_where_the_curve_holds(scene: tuple[Tensor, Tensor, Tensor]) -> None:
    x0, base, z = scene
    ours, alone = 0.0, 0.0
    for found in posterior_curve(x0, base, z, LEVELS):
        sigma = float(LEVELS[found.index])
        truth = naive(x0, base, z, sigma)
        logits = -torch.cdist(base + sigma * z, x0).square() / (2 * sigma**2)
        ours = max(ours, float((found.dense() - truth).abs().max()))
        alone = max(alone, float((logits.softmax(1) - truth).abs().max()))
    assert ours < 1e-6
    assert alone > 1e-3


def test_order_of_levels_does_not_matter(scene: tuple[Tensor, Tensor, Tensor]) -> None:
    x0, base, z = scene
    down = {float(LEVELS[w.index]): w for w in posterior_curve(x0, base, z, LEVELS)}
    up = LEVELS.flip(0)
    for found in posterior_curve(x0, base, z, up):
        other = down[float(up[found.index])]
        torch.testing.assert_close(found.dense().double(), other.dense().double(), rtol=0, atol=1e-6)


def test_blocks_under_a_small_budget_give_the_same_weights(scene: tuple[Tensor, Tensor, Tensor]) -> None:
    x0, base, z = scene
    levels = LEVELS[[3, 9, 15]]
    whole = list(posterior_curve(x0, base, z, levels))
    assert [(w.index, w.rows) for w in whole] == [(i, slice(0, len(base))) for i in range(3)]
    pieces = list(posterior_curve(x0, base, z, levels, memory=2**17))
    assert len(pieces) > 6
    for index in range(3):
        mine = [w for w in pieces if w.index == index]
        assert [w.rows.start for w in mine] == [0, *(w.rows.stop for w in mine[:-1])]
        joined = torch.cat([w.dense().double() for w in mine])
        torch.testing.assert_close(joined, whole[index].dense().double(), rtol=0, atol=1e-6)


def test_parts_that_fit_the_cache_give_the_same_weights(
    scene: tuple[Tensor, Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = list(posterior_curve(*scene, LEVELS))
    monkeypatch.setattr(likelihoods, "CHUNK", 3 * len(scene[0]))
    for one, many in zip(whole, posterior_curve(*scene, LEVELS), strict=True):
        torch.testing.assert_close(one.dense().double(), many.dense().double(), rtol=0, atol=1e-6)
        torch.testing.assert_close(one.entropy, many.entropy, rtol=0, atol=1e-5)


def test_self_weight_is_at_most_the_largest_weight(scene: tuple[Tensor, Tensor, Tensor]) -> None:
    x0, base, z = scene
    own = torch.arange(25)
    for found in posterior_curve(x0, base[:25], z[:25], LEVELS):
        assert bool((found.of(own) <= found.maximum).all())
        torch.testing.assert_close(found.of(own), found.dense()[own, own].double(), rtol=0, atol=0)


def test_self_weight_of_two_points_is_logistic(generator: torch.Generator) -> None:
    # x = x1 + sigma z: w_1 = 1 / (1 + exp(-(|x1 - x2|^2 + 2 sigma <z, x1 - x2>) / (2 sigma^2))).
    x0 = torch.randn(2, 5, generator=generator, dtype=torch.float64)
    z = torch.randn(1, 5, generator=generator, dtype=torch.float64)
    gap = x0[0] - x0[1]
    for found in posterior_curve(x0, x0[:1], z, LEVELS):
        sigma = float(LEVELS[found.index])
        w = torch.sigmoid((gap @ gap + 2 * sigma * (z[0] @ gap)) / (2 * sigma**2))
        torch.testing.assert_close(found.of(torch.tensor([0]))[0], w, rtol=0, atol=1e-10)
        pair = torch.stack([w, 1 - w])[None]
        torch.testing.assert_close(found.entropy, entropy(pair), rtol=0, atol=1e-9)
        torch.testing.assert_close(found.maximum[0], torch.maximum(w, 1 - w), rtol=0, atol=1e-10)


def test_limits_of_weight_and_entropy(digits: Tensor, generator: torch.Generator) -> None:
    x0, n = digits[:200], 200
    z = torch.randn(10, 64, generator=generator)
    small, large = posterior_curve(x0, x0[:10], z, torch.tensor([1e-3, 1e6], dtype=torch.float64))
    assert torch.equal(small.maximum, torch.ones(10, dtype=torch.float64))
    assert torch.equal(small.mean(x0), x0[:10])
    torch.testing.assert_close(large.maximum, torch.full((10,), 1 / n).double(), rtol=1e-4, atol=0)
    torch.testing.assert_close(large.entropy, torch.full((10,), math.log(n)).double(), rtol=0, atol=1e-5)
    torch.testing.assert_close(large.mean(x0), x0.mean(0).expand(10, 64), rtol=0, atol=1e-5)


def test_one_point_has_all_the_weight() -> None:
    x0 = torch.ones(1, 3)
    for found in posterior_curve(x0, torch.zeros(2, 3), torch.ones(2, 3), LEVELS):
        assert torch.equal(found.dense().double(), torch.ones(2, 1).double())
        torch.testing.assert_close(found.entropy, torch.zeros(2).double(), rtol=0, atol=1e-15)


def test_means_are_those_of_the_empirical_denoiser(scene: tuple[Tensor, Tensor, Tensor]) -> None:
    x0, base, z = scene
    denoiser = Empirical(x0)
    for found in posterior_curve(x0, base, z, LEVELS):
        x = base.double() + float(LEVELS[found.index]) * z.double()
        expected = found.dense().double() @ x0.double()
        torch.testing.assert_close(found.mean(x0).double(), expected, rtol=0, atol=1e-4)
        torch.testing.assert_close(found.mean(x0).double(), denoiser(x, found.level), rtol=0, atol=1e-4)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10**6), n=st.integers(1, 40), spread=st.floats(0.01, 100))
def test_random_data_and_levels_equal_direct_float64(seed: int, n: int, spread: float) -> None:
    g = torch.Generator().manual_seed(seed)
    x0 = spread * torch.randn(n, 3, generator=g)
    x0[n // 2 :] = x0[: n - n // 2] * (1 + 1e-4 * torch.randn(n - n // 2, 1, generator=g))
    base, z = spread * torch.randn(4, 3, generator=g), torch.randn(4, 3, generator=g)
    levels = spread * 10 ** (4 * torch.rand(5, generator=g, dtype=torch.float64) - 3)
    for found in posterior_curve(x0, base, z, levels):
        truth = naive(x0, base, z, float(levels[found.index]))
        assert float((found.dense() - truth).abs().max()) < 1e-6
        torch.testing.assert_close(found.entropy, entropy(truth), rtol=0, atol=2e-5)


def test_images_and_vectors_are_the_same(scene: tuple[Tensor, Tensor, Tensor]) -> None:
    x0, base, z = scene
    images = [t.reshape(-1, 1, 8, 8) for t in scene]
    both = zip(posterior_curve(x0, base, z, LEVELS), posterior_curve(*images, LEVELS), strict=True)
    for flat, image in both:
        assert torch.equal(flat.values, image.values)
        assert torch.equal(flat.mean(x0).reshape(-1, 1, 8, 8), image.mean(images[0]))


def test_what_cannot_be_answered_is_refused_at_once(digits: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    z = torch.zeros(2, 64)
    with pytest.raises(ValueError, match="every sigma"):
        posterior_curve(digits, digits[:2], z, torch.tensor([1.0, 0.0]))
    assert list(posterior_curve(digits, digits[:0], z[:0], torch.ones(3))) == []
    monkeypatch.setattr(config, "jaxtyping_disable", True)  # what a user meets without shape checks
    with pytest.raises(ValueError, match="must have one shape"):
        posterior_curve(digits, digits[:2], z[:, :63], torch.ones(1))


def test_columns_outside_the_list_have_no_weight() -> None:
    one = torch.ones(1, dtype=torch.float64)
    values, columns = torch.tensor([[0.75, 0.25, 0.0]]).double(), torch.tensor([[4, 1, 0]])
    weights = PosteriorWeights(one, 0, slice(0, 1), 6, values, columns, 0.75 * one, one)
    assert weights.dense().tolist() == [[0.0, 0.25, 0.0, 0.0, 0.75, 0.0]]
    assert weights.of(torch.tensor([1])).item() == 0.25
    assert weights.of(torch.tensor([3])).item() == 0.0
    x0 = torch.arange(6, dtype=torch.float64)[:, None]
    assert weights.mean(x0).item() == 0.75 * 4 + 0.25
