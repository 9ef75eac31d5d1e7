"""Spellings: every one opens, and what is wrong with another is said in one paragraph."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from feature_files import Means, save_dinov2, save_script

from unrote.contracts import InputError
from unrote.data.sources import Images
from unrote.measure.features import FORMS, PROFILES, Cache, extract, open_features
from unrote.measure.features.profiles import AMBIENT_DINOV2, DINOV2

SHAPE = (1, 8, 8)


@pytest.fixture
def train() -> Images:
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(0, 256, (80, *SHAPE), dtype=torch.uint8, generator=generator)
    names = tuple(map(str, range(80)))
    return Images("train", x, (0.0, 255.0), names, labels=torch.arange(80) % 2)


def opened(spelling: str, shape=SHAPE, seed: int = 0, **more):
    return open_features(spelling, shape, torch.Generator().manual_seed(seed), **more)


@pytest.mark.parametrize(
    ("spelling", "dimension"), [("pixels", 64), ("pca:5", 5), ("pca:5+white", 5), ("classifier", 128)]
)
def test_maps_without_files_open(spelling, dimension, train):
    found = opened(spelling, train=train)
    assert found.name == spelling and found.dimension == dimension
    assert extract(found, [train]).values.shape == (80, dimension)


def test_pixel_distances_are_distances_of_pixels(train):
    y = opened("pixels")(train.pixels)
    expected = (train.pixels[0].float() - train.pixels[1].float()).norm() / 255
    torch.testing.assert_close((y[0] - y[1]).norm(), expected)


@pytest.mark.parametrize("spelling", ["pca:5", "classifier"])
def test_what_was_fitted_is_remembered_and_the_generator_moves_on_alike(
    spelling, train, tmp_path, monkeypatch
):
    cache, after = Cache(tmp_path), []
    found = []
    for _ in range(2):
        generator = torch.Generator().manual_seed(3)
        found.append(open_features(spelling, SHAPE, generator, train=train, cache=cache))
        after.append(torch.rand(1, generator=generator))
        monkeypatch.setattr("unrote.measure.features.spelling.fit_components", None)
        monkeypatch.setattr("unrote.measure.features.spelling.train_classifier", None)
    assert found[0].hash == found[1].hash and found[0].facts == found[1].facts
    assert torch.equal(after[0], after[1])


def test_another_seed_or_other_labels_are_another_classifier(train, tmp_path):
    cache = Cache(tmp_path)
    relabelled = Images("train", train.pixels, train.value_range, train.names, labels=1 - train.labels)
    hashes = {
        opened("classifier", train=train, cache=cache).hash,
        opened("classifier", seed=1, train=train, cache=cache).hash,
        opened("classifier", train=relabelled, cache=cache).hash,
    }
    assert len(hashes) == 3


def test_profiles_are_cut_off_at_the_last_at(tmp_path):
    folder = save_dinov2(tmp_path / "model@main")
    assert opened(f"dinov2:{folder}").profile is DINOV2
    assert opened(f"dinov2:{folder}@ambient-dinov2", shape=(3, 32, 32)).profile is AMBIENT_DINOV2
    with pytest.raises(InputError, match="no profile 'ambient'"):
        opened(f"dinov2:{folder}@ambient")


@pytest.mark.parametrize(
    "spelling", ["", "inception-v3", "pixels:3", "classifier:x", "pca", "pca:", "dinov2", "sscd:", "DINOV2:x"]
)
def test_other_spellings_are_answered_with_all_that_are_understood(spelling):
    with pytest.raises(InputError, match=r"not understood.*pca:64.*dinov2:FOLDER"):
        opened(spelling)


@pytest.mark.parametrize("spelling", ["pca:x", "pca:5+whiten", "pca:-3", "pca:5+", "pca:²"])
def test_components_are_counted_in_digits(spelling, train):
    with pytest.raises(InputError, match=r"pca:64 or pca:64\+white"):
        opened(spelling, train=train)


def test_what_is_fitted_needs_a_training_set(train):
    for spelling in ("pca:5", "classifier"):
        with pytest.raises(InputError, match="fitted to a training set"):
            opened(spelling)
    with pytest.raises(InputError, match="read from no file"):
        opened("pixels", sha256="0" * 64)


def test_profiles_for_other_networks_are_refused(tmp_path):
    path = save_script(Means(), tmp_path / "means.pt")
    with pytest.raises(InputError, match="meant for clip, torchscript"):
        opened(f"dinov2:{path}@clip")
    with pytest.raises(InputError, match=r"no profile 'sscd2'"):
        opened(f"sscd:{path}@sscd2")


def test_the_documentation_names_every_profile_and_every_form():
    told = (Path(__file__).parents[1] / "docs" / "features.md").read_text(encoding="utf-8")
    for profile in PROFILES:
        assert f"`{profile}`" in told, profile
    for form in FORMS.split("; ")[:-1]:
        for spelling in form.split(" or "):
            assert f"`{spelling}`" in told, spelling
