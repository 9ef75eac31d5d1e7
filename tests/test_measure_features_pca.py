"""Principal components against their closed forms and scikit-learn."""

from __future__ import annotations

import pytest
import torch

from unrote.contracts import InputError
from unrote.measure.features import pca
from unrote.measure.features.pca import Components, fit_components


def eight_bit(digits) -> torch.Tensor:
    return ((digits + 1) * 127.5).round().to(torch.uint8).reshape(-1, 1, 8, 8)


def test_components_equal_scikit_learns(digits, generator):
    from sklearn.decomposition import PCA

    x = eight_bit(digits)
    flat = x.flatten(1).numpy() / 255
    for whiten in (False, True):
        reference = PCA(10, svd_solver="full", whiten=whiten).fit(flat)
        found = fit_components(x, 10, generator)
        expected = torch.tensor(reference.transform(flat)).float()
        features = found.feature_map(whiten)(x)
        signs = (expected * features).sum(0).sign()
        torch.testing.assert_close(features, expected * signs, rtol=0, atol=1e-4 if whiten else 2e-5)
    assert found.explained == pytest.approx(reference.explained_variance_ratio_.sum(), abs=1e-6)
    torch.testing.assert_close(
        found.variance, torch.tensor(reference.explained_variance_).double(), rtol=1e-5, atol=0
    )


def test_more_pixels_than_images_goes_through_the_gram_matrix(digits, monkeypatch, generator):
    x = eight_bit(digits)[:50]
    exact = fit_components(x, 5, generator)
    monkeypatch.setattr(pca, "EXACT", 63)
    found = fit_components(x, 5, generator)
    torch.testing.assert_close(found.directions, exact.directions, rtol=0, atol=1e-5)
    torch.testing.assert_close(found.variance, exact.variance, rtol=1e-5, atol=0)


def test_large_sets_are_iterated_to_the_same_directions(digits, monkeypatch, generator):
    x = eight_bit(digits)
    exact = fit_components(x, 5, generator)
    monkeypatch.setattr(pca, "EXACT", 10)
    found = fit_components(x, 5, generator)
    torch.testing.assert_close(found.directions, exact.directions, rtol=0, atol=1e-3)
    torch.testing.assert_close(found.variance, exact.variance, rtol=1e-5, atol=0)
    assert found.explained == pytest.approx(exact.explained, abs=1e-6)


def test_whitened_features_of_the_training_set_have_unit_covariance(digits, generator):
    x = eight_bit(digits)
    y = fit_components(x, 12, generator).feature_map(whiten=True)(x).double()
    torch.testing.assert_close(y.T.cov(), torch.eye(12, dtype=torch.float64), rtol=0, atol=1e-4)
    assert float(y.mean(0).abs().max()) < 1e-4


def test_all_directions_keep_all_distances(digits, generator):
    x = eight_bit(digits)[:60]
    y = fit_components(x, 59, generator).feature_map()(x).double()
    plain = x.flatten(1).double() / 255
    torch.testing.assert_close(torch.pdist(y), torch.pdist(plain), rtol=0, atol=1e-5)


def test_the_sign_does_not_depend_on_the_library(digits, generator):
    found = fit_components(eight_bit(digits), 20, generator)
    largest = found.directions.gather(1, found.directions.abs().argmax(1, keepdim=True))
    assert bool((largest > 0).all())


def test_tensors_hold_all_of_it(digits, generator):
    found = fit_components(eight_bit(digits), 7, generator)
    again = Components.of(found.tensors())
    assert again.feature_map(True).hash == found.feature_map(True).hash != found.feature_map().hash
    assert again.explained == found.explained and again.shape == found.shape


def test_what_cannot_be_fitted_is_refused(digits, generator):
    x = eight_bit(digits)
    with pytest.raises(InputError, match="1,797 images of 64 pixels vary in at most 64"):
        fit_components(x, 65, generator)
    with pytest.raises(InputError, match="at most 4"):
        fit_components(x[:5], 5, generator)
    with pytest.raises(InputError, match="All training images are alike"):
        fit_components(x[:1].expand(9, -1, -1, -1), 2, generator)
    constant = fit_components(x, 64, generator)  # three pixels of the digits are always black
    with pytest.raises(InputError, match="fewer than 64 directions"):
        constant.feature_map(whiten=True)
