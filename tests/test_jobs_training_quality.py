"""The Frechet distance of samples to held-out images, and when there is none."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from unrote.contracts import InputError
from unrote.jobs import TrainOptions
from unrote.jobs.swap_quality import check_features
from unrote.jobs.training import read_data
from unrote.jobs.training_quality import quality_of
from unrote.measure.fidelity import gaussian_frechet, moments

OPTIONS = TrainOptions(train="digits@400", test="digits@1000:1400", features="pca:5", samples=300)


def test_held_out_images_are_near_themselves_and_far_from_noise():
    data, _ = read_data(OPTIONS)
    measured = quality_of(data, OPTIONS)
    assert measured is not None
    real = measured(data.x[:300])
    noise = measured(torch.rand(300, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1)
    assert real.n == noise.n == 300
    assert real.high < noise.low
    assert measured(data.x[:300]) == real


def test_in_pixels_it_is_the_distance_of_the_images_that_were_drawn():
    options = replace(OPTIONS, features="pixels", test="digits@1000:1300")
    data, _ = read_data(options)
    measured = quality_of(data, options)
    assert measured is not None
    whole = gaussian_frechet(
        moments((data.x[:300].flatten(1) + 1) / 2), moments((data.held_out.flatten(1) + 1) / 2)
    )
    found = measured(data.x[:300])
    assert found.value == pytest.approx(whole, rel=0.5)  # less its bias
    assert found.value < whole


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"test": None}, "there is none"),
        ({"features": "pixels", "samples": 100}, r"takes 128 samples.*--features pca:50"),
        ({"features": "pixel"}, "not understood"),
    ],
)
def test_what_cannot_be_measured_is_refused(given, words):
    options = replace(OPTIONS, **given)
    data = read_data(options)[0]

    def asked() -> None:
        check_features(options)
        quality_of(data, options)

    with pytest.raises(InputError, match=words):
        asked()


def test_nothing_is_measured_that_was_not_asked_for():
    options = replace(OPTIONS, features=None)
    assert quality_of(read_data(options)[0], options) is None
