"""The classifier trained on the spot: it learns, says how well, and is the same for the same seed."""

from __future__ import annotations

import pytest
import torch

from unrote.contracts import InputError
from unrote.measure.features.classifier import Classifier, Schedule, train_classifier

SHORT = Schedule(epochs=3)


def stripes(n: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Noisy images with bright rows (class 5) or bright columns (class 2)."""
    generator = torch.Generator().manual_seed(seed)
    x = 0.4 * torch.rand(n, 1, 8, 8, generator=generator)
    labels = torch.where(torch.rand(n, generator=generator) < 0.5, 5, 2)
    x[labels == 5, :, ::2] += 0.5
    x[labels == 2, :, :, ::2] += 0.5
    return x, labels


def trained(x, labels, seed: int = 0, schedule=SHORT) -> Classifier:
    return train_classifier(x, labels, torch.Generator().manual_seed(seed), schedule)


def test_it_learns_what_can_be_learned_and_measures_it_on_images_never_seen():
    x, labels = stripes(300)
    found = trained(x, labels, schedule=Schedule(epochs=8))
    assert found.accuracy.value is not None and found.accuracy.value > 0.95
    assert found.accuracy.n == len(found.held_out) == 60
    fresh, truth = stripes(200, seed=9)
    named = found.classes[found.network(fresh).argmax(1)]
    assert float((named == truth).double().mean()) > 0.9
    assert found.classes.tolist() == [2, 5]


def test_labels_without_meaning_give_chance_and_say_so():
    x, labels = stripes(300)
    shuffled = labels[torch.randperm(300, generator=torch.Generator().manual_seed(1))]
    found = trained(x, shuffled)
    assert found.accuracy.low is not None and found.accuracy.low <= found.chance
    assert any("not better than" in note for note in found.feature_map().notes)


def test_held_out_images_change_nothing_but_the_accuracy():
    x, labels = stripes(200)
    first = trained(x, labels)
    changed = x.clone()
    changed[first.held_out] = torch.rand(
        len(first.held_out), 1, 8, 8, generator=torch.Generator().manual_seed(3)
    )
    second = trained(changed, labels)
    assert torch.equal(first.held_out, second.held_out)
    assert first.feature_map().weights == second.feature_map().weights
    assert first.accuracy != second.accuracy


def test_the_seed_decides_and_nothing_else():
    x, labels = stripes(120)
    torch.manual_seed(1)
    first = trained(x, labels)
    torch.manual_seed(2)
    state = torch.get_rng_state()
    second = trained(x, labels)
    assert first.feature_map().hash == second.feature_map().hash
    assert torch.equal(torch.get_rng_state(), state)
    assert trained(x, labels, seed=1).feature_map().hash != first.feature_map().hash


def test_features_are_the_last_hidden_layer_of_each_image_alone():
    x, labels = stripes(120)
    found = trained(x, labels)
    feature_map = found.feature_map()
    y = feature_map(x)
    assert y.shape == (120, 128) and bool((y >= 0).all())
    torch.testing.assert_close(found.network.scores(y), found.network(x), rtol=0, atol=1e-5)
    torch.testing.assert_close(feature_map(x[7:9]), y[7:9], rtol=0, atol=1e-5)
    told = feature_map.as_dict()
    assert told["held_out_accuracy"] == found.accuracy and told["classes"] == 2


def test_bytes_and_floats_give_one_classifier():
    x, labels = stripes(100)
    as_bytes = (x * 255).round().to(torch.uint8)
    first, second = trained(as_bytes, labels), trained(as_bytes.float() / 255, labels)
    assert first.feature_map().weights == second.feature_map().weights


def test_images_without_labels_are_left_out():
    x, labels = stripes(150)
    some = labels.clone()
    some[::3] = -1
    found = trained(x, some)
    assert found.accuracy.n == 20  # a fifth of the 100 that have one
    assert not bool((some[found.held_out] < 0).any())


def test_large_and_colour_images_are_taken():
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(0, 256, (60, 3, 48, 40), dtype=torch.uint8, generator=generator)
    found = trained(x, torch.arange(60) % 2, schedule=Schedule(epochs=1))
    assert found.feature_map()(x).shape == (60, 128)


def test_tensors_hold_all_of_it():
    x, labels = stripes(100)
    found = trained(x, labels)
    again = Classifier.of(found.tensors())
    assert again.feature_map().hash == found.feature_map().hash
    assert (again.accuracy, again.chance, again.epochs) == (found.accuracy, found.chance, found.epochs)
    assert torch.equal(again.feature_map()(x), found.feature_map()(x))


def test_sets_that_teach_nothing_are_refused():
    x, labels = stripes(100)
    with pytest.raises(InputError, match="the set has none"):
        trained(x, None)
    with pytest.raises(InputError, match="all 100 labelled images have the label 3"):
        trained(x, torch.full((100,), 3))
    with pytest.raises(InputError, match="at least 40 labelled images, and 30 of 100"):
        trained(x, torch.where(torch.arange(100) < 30, labels, -1))


def test_digits_are_learned_in_seconds(digits):
    from sklearn.datasets import load_digits

    order = torch.randperm(len(digits), generator=torch.Generator().manual_seed(0))
    labels = torch.tensor(load_digits().target)[order]
    found = trained((digits.reshape(-1, 1, 8, 8) + 1) / 2, labels, schedule=Schedule(epochs=12))
    assert found.accuracy.low is not None and found.accuracy.low > 0.85
