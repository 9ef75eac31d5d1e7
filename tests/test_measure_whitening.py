"""Laws of whitening: unit covariance, what cosines do not depend on, closed forms, and sets that cannot be whitened."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta

from unrote.contracts import InputError
from unrote.measure.features.pca import Components, fit_components
from unrote.measure.whitening import cosine, holding, nearest_cosine, whitened, whitened_images


def eight_bit(digits: torch.Tensor) -> torch.Tensor:
    return ((digits + 1) * 127.5).round().to(torch.uint8).reshape(-1, 1, 8, 8)


def clouds(n: int, seed: int, d: tuple[int, int, int] = (1, 2, 3)) -> torch.Tensor:
    """Correlated images in [0,1] that vary in every direction."""
    g = torch.Generator().manual_seed(seed)
    size = math.prod(d)
    mixed = torch.randn(n, size, generator=g) @ torch.randn(size, size, generator=g)
    return (0.5 + 0.02 * mixed).reshape(n, *d)


def fitted(images: torch.Tensor, k: int | None = None) -> Components:
    k = math.prod(images.shape[1:]) if k is None else k
    return fit_components(images, k, torch.Generator().manual_seed(0))


def test_the_reference_set_has_unit_covariance_and_mean_zero(digits: torch.Tensor) -> None:
    x = eight_bit(digits)
    kept = holding(fitted(x), 0.95)
    y = whitened(kept, x)
    torch.testing.assert_close(y.T.cov(), torch.eye(len(kept.directions)).double(), rtol=0, atol=1e-4)
    assert float(y.mean(0).abs().max()) < 1e-5
    z = whitened_images(kept, x).flatten(1)  # a projection: 1 in the directions kept, 0 in the others
    axes = kept.directions.double()
    torch.testing.assert_close(z.T.cov(), axes.T @ axes, rtol=0, atol=1e-4)


def test_cosines_do_not_depend_on_any_invertible_change_of_pixels() -> None:
    x, y = clouds(200, 0), clouds(40, 1)
    g = torch.Generator().manual_seed(2)
    change = torch.eye(6) + 0.3 * torch.randn(6, 6, generator=g)

    def changed(images: torch.Tensor) -> torch.Tensor:
        return (0.1 + images.flatten(1) @ change).reshape(images.shape)

    before = whitened(fitted(x), y)
    after = whitened(fitted(changed(x)), changed(y))
    told = cosine(before[:20], before[20:])
    torch.testing.assert_close(cosine(after[:20], after[20:]), told, rtol=0, atol=1e-4)
    plain = cosine(changed(y)[:20] - changed(x).mean(0), changed(y)[20:] - changed(x).mean(0))
    assert float((plain - told).abs().max()) > 0.1


def test_cosines_are_those_of_mahalanobis() -> None:
    x, y = clouds(300, 3), clouds(20, 4)
    mean = x.flatten(1).double().mean(0)
    inverse = x.flatten(1).double().T.cov().inverse()
    a, b = (part.flatten(1).double() - mean for part in y.split(10))
    inner = ((a @ inverse) * b).sum(1)
    told = inner / (((a @ inverse) * a).sum(1) * ((b @ inverse) * b).sum(1)).sqrt()
    found = whitened(fitted(x), y)
    torch.testing.assert_close(cosine(found[:10], found[10:]), told, rtol=0, atol=1e-5)


def test_both_whitenings_have_the_same_cosines_and_the_one_of_images_changes_least(
    digits: torch.Tensor,
) -> None:
    x = eight_bit(digits)
    kept = holding(fitted(x), 0.9)
    flat, images = whitened(kept, x[:200]), whitened_images(kept, x[:200])
    torch.testing.assert_close(
        cosine(flat[:100], flat[100:]), cosine(images[:100], images[100:]), rtol=0, atol=1e-6
    )
    full = fitted(clouds(300, 5))
    y = clouds(300, 5)
    centred = y.flatten(1).double() - full.mean
    zca = float((whitened_images(full, y).flatten(1) - centred).square().sum())
    turn = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(6)).double()).Q
    assert zca < float((whitened_images(full, y).flatten(1) @ turn - centred).square().sum())
    assert zca < float((whitened(full, y) - centred).square().sum())


def test_unrelated_images_have_cosines_around_zero_with_variance_one_over_k() -> None:
    k = 24
    x = 0.5 + 0.05 * torch.randn(4000, 1, 4, 6, generator=torch.Generator().manual_seed(7))
    found = whitened(fitted(x), x)
    apart = cosine(found[:2000], found[2000:])
    assert abs(float(apart.mean())) < 4 / math.sqrt(2000 * k)
    assert float(apart.square().mean()) == pytest.approx(1 / k, rel=0.1)
    near = nearest_cosine(found[:500], found[500:1500])
    c = np.linspace(-1, 1, 20_001)
    below = 0.5 + 0.5 * np.sign(c) * beta.cdf(c**2, 0.5, (k - 1) / 2)  # cos^2 of two directions at random
    assert float(near.mean()) == pytest.approx(1 - np.trapezoid(below**1000, c), abs=0.01)


def test_an_image_is_nearest_to_itself_and_opposite_to_its_mirror_through_the_mean() -> None:
    x = clouds(60, 8)
    parts = fitted(x)
    found = whitened(parts, x)
    torch.testing.assert_close(nearest_cosine(found[:7], found), torch.ones(7).double(), rtol=0, atol=1e-12)
    torch.testing.assert_close(cosine(found, -3 * found), -torch.ones(60).double(), rtol=0, atol=1e-12)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 12), st.integers(1, 30))
def test_the_nearest_is_the_largest_of_all_cosines_whatever_the_memory(seed: int, q: int, n: int) -> None:
    g = torch.Generator().manual_seed(seed)
    a, b = torch.randn(q, 5, generator=g).double(), torch.randn(n, 5, generator=g).double()
    every = torch.stack([cosine(a, row.expand(q, -1)) for row in b], 1)
    for memory in (2**12, 2**29):
        found = nearest_cosine(a, b, memory=memory)
        torch.testing.assert_close(found, every.max(1).values, rtol=0, atol=1e-12)
    assert bool((every.abs() <= 1).all())


def test_the_fewest_components_that_hold_a_share(digits: torch.Tensor) -> None:
    parts = fitted(eight_bit(digits))
    total = parts.variance.sum()
    for share in (0.5, 0.9, 0.95):
        k = len(holding(parts, share).variance)
        assert float(parts.variance[:k].sum() / total) >= share > float(parts.variance[: k - 1].sum() / total)
    whole = holding(parts, 1.0)  # digits have pixels that never vary
    assert len(whole.variance) < 64 and whole.explained == pytest.approx(1, abs=1e-6)
    assert holding(whole, 1.0).variance.equal(whole.variance)
    few = fitted(eight_bit(digits), 10)
    assert len(holding(few, few.explained * 0.99).variance) == len(
        holding(parts, few.explained * 0.99).variance
    )


def test_what_cannot_be_whitened_is_refused(digits: torch.Tensor) -> None:
    x = eight_bit(digits)
    parts = fitted(x)
    with pytest.raises(InputError, match=r"fewer than 64 directions.*0\.95"):
        whitened(parts, x)
    with pytest.raises(InputError, match=r"hold .* of the variance, and 99\.0% was asked for: fit more"):
        holding(fitted(x, 5), 0.99)
    for share in (0.0, 1.1, math.nan):
        with pytest.raises(InputError, match="share of the variance to keep"):
            holding(parts, share)
    with pytest.raises(InputError, match=r"shape \(1, 4, 16\).*fitted to images of shape \(1, 8, 8\)"):
        whitened(holding(parts, 0.9), x.reshape(-1, 1, 4, 16))
    with pytest.raises(InputError, match="Row 1 is 0 or not finite"):
        cosine(torch.tensor([[1.0, 0.0], [0.0, 0.0]]), torch.ones(2, 2))
    with pytest.raises(InputError, match="Row 0 is 0 or not finite"):
        cosine(torch.ones(1, 2), torch.tensor([[math.nan, 1.0]]))
    with pytest.raises(ValueError, match="one shape"):
        cosine(torch.ones(2, 2), torch.ones(2, 3))
    assert whitened(holding(parts, 0.9), x[:0]).shape == (0, len(holding(parts, 0.9).variance))
