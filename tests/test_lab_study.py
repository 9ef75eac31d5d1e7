"""Laws of studies: parts that share no picture, paired runs, samples that stand alone, closed forms by level."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from unrote.contracts import InputError
from unrote.denoise.exact import Empirical
from unrote.denoise.networks import MLP
from unrote.lab import study
from unrote.noise.levels import log_levels
from unrote.sample.steps import euler
from unrote.train.loop import Options
from unrote.train.masking import masking
from unrote.train.recipe import Recipe

ASKED = {"set": "numbered", "class": None, "side": 4, "images": 20, "test": 30}
NETWORK, OPTIONS = MLP(width=16, depth=1), Options(batch_size=8, warmup_steps=2, cpu=True)


@pytest.fixture
def numbered(monkeypatch: pytest.MonkeyPatch) -> torch.Tensor:
    """90 pictures that are all different, of three classes."""
    x = torch.randint(256, (90, 1, 4, 4), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    x[:, 0, 0, 0] = torch.arange(90)
    monkeypatch.setattr(study, "prepared", lambda name, side: (x, torch.arange(90) % 3))
    return x


def numbers(x: torch.Tensor) -> list[int]:
    return study.as_pixels(x)[:, 0, 0, 0].tolist()


@pytest.mark.parametrize("kind", [None, 1])
def test_no_two_parts_share_a_picture_and_the_rows_apart_are_those_of_every_seed(numbered, kind) -> None:
    asked = ASKED | {"class": kind, "images": 5, "test": 8}
    apart, rest = study.parted(asked)
    seen = []
    for seed in (0, 1):
        made = study.material(asked, seed)
        parts = [apart.tolist(), numbers(made.test), numbers(made.many)]
        assert len(set().union(*parts)) == sum(map(len, parts))
        assert set(parts[1]) | set(parts[2]) == set(rest.tolist())
        assert numbers(made.many)[:5] == numbers(made.train)
        seen.append(numbers(made.train))
        assert kind is None or all(n % 3 == kind for n in parts[1] + parts[2])
    assert seen[0] != seen[1]


def test_more_pictures_than_there_are_is_refused_with_the_numbers(numbered) -> None:
    with pytest.raises(InputError, match=r"numbered has 60 pictures.*31 training and 30 test"):
        study.material(ASKED | {"images": 31}, 0)


def test_pixels_survive_the_way_to_numbers_and_back() -> None:
    every = torch.arange(256).to(torch.uint8).reshape(1, 1, 16, 16)
    assert torch.equal(study.as_pixels(study.as_unit(every)), every)
    assert study.as_pixels(torch.tensor([[[[-9.0, 9.0]]]])).flatten().tolist() == [0, 255]


def test_smaller_sides_are_means_over_squares_and_larger_ones_are_refused() -> None:
    whole, label = study.prepared("digits", 8)
    half, same = study.prepared("digits", 4)
    squares = whole.float().reshape(-1, 1, 4, 2, 4, 2).mean((3, 5))
    assert torch.equal(half, squares.round().to(torch.uint8))
    assert torch.equal(label, same)
    with pytest.raises(InputError, match="would enlarge"):
        study.prepared("digits", 9)


def weights(**given: object) -> torch.Tensor:
    """What a short run has learned, as an answer; and the run is given what it asks for."""
    x = study.as_unit(study.prepared("digits", 8)[0][:20])
    how = {"seed": 3, "at": (4,)} | given
    last = list(study.trained(x, NETWORK, OPTIONS, **how))[-1]  # type: ignore[arg-type]
    return last.denoiser(x, torch.full((20,), 0.5))


def test_runs_are_the_same_bits_with_a_remedy_that_changes_nothing_and_differ_by_seed() -> None:
    plain = weights()
    assert torch.equal(plain, weights(remedy=lambda recipe: recipe))
    assert torch.equal(plain, weights(at=(2, 4)))  # looking in between changes nothing
    assert not torch.equal(plain, weights(seed=4))


def test_runs_that_differ_in_a_remedy_meet_the_same_rows_levels_and_noise() -> None:
    def watched(factor: float) -> list[torch.Tensor]:
        seen: list[torch.Tensor] = []

        def remedy(recipe: Recipe) -> Recipe:
            def loss(denoiser, batch):  # type: ignore[no-untyped-def]
                seen.extend((batch.x, batch.sigma, batch.z))
                return factor * recipe.loss(denoiser, batch)

            return replace(recipe, loss=loss)

        weights(remedy=remedy)
        return seen

    ours, theirs = watched(1.0), watched(0.1)
    assert len(ours) == len(theirs) == 12
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_checkpoints_come_at_the_steps_that_were_asked_for() -> None:
    x = study.as_unit(study.prepared("digits", 8)[0][:20])
    found = [check.step for check in study.trained(x, NETWORK, OPTIONS, 0, (2, 6, 8))]
    assert found == [2, 6, 8]


def test_a_conditional_denoiser_as_one_class_is_told_that_class() -> None:
    x, label = study.prepared("digits", 8)
    data = study.as_unit(x[:40])
    best = Empirical(data, label=label[:40])
    noisy, sigma = data[:6] + 0.4, torch.full((6,), 0.7)
    assert torch.equal(study.of_class(best, 2)(noisy, sigma), best(noisy, sigma, torch.full((6,), 2)))


def test_samples_do_not_depend_on_how_many_are_drawn() -> None:
    x = study.as_unit(study.prepared("digits", 8)[0][:30])
    few, many = (study.samples_of(Empirical(x), (1, 8, 8), n, 5, euler, 8) for n in (3, 7))
    assert torch.allclose(few, many[:3], atol=1e-6)
    assert bool(study.copied(many, x).all())  # the optimum draws training pictures


def test_a_training_picture_is_a_copy_and_the_middle_of_two_is_none() -> None:
    x = study.as_unit(study.prepared("digits", 8)[0][:30])
    assert bool(study.copied(x, x).all())
    assert not bool(study.copied((x[:10] + x[10:20]) / 2, x[:20]).any())


def made() -> study.Material:
    return study.material({"set": "digits", "class": None, "side": 8, "images": 16, "test": 40}, 0)


def test_by_level_of_the_optimum_and_of_a_constant_are_closed_forms() -> None:
    data, levels = made(), log_levels(0.01, 1000.0, 2)
    best = study.by_level(Empirical(data.train), data, levels, 0)
    assert best.copies == [1.0, 0.0]  # the nearest training picture; then the mean of all
    assert best.train_error[0] == pytest.approx(0, abs=1e-12)
    variance = float((data.train.double() - data.train.double().mean(0)).square().mean())
    flat = study.by_level(
        lambda x, sigma, condition=None: data.train.mean(0).expand(x.shape), data, levels, 0
    )
    assert flat.train_error == pytest.approx([variance] * 2, rel=0.1)  # 40 rows take 16 unevenly
    test = float((data.test.double() - data.train.double().mean(0)).square().mean())
    assert flat.test_error == pytest.approx([test] * 2, rel=1e-6)
    assert best.test_error[1] == pytest.approx(test, rel=0.02)


def test_the_loss_of_a_denoiser_that_knows_the_picture_is_zero() -> None:
    one = made().test[:1]
    knows = study.loss_on(lambda x, sigma, condition=None: one.expand(x.shape), lambda s: 1 / s**2, one, 0)
    assert knows == 0


def test_equal_sets_have_no_distance_and_features_do_not_know_the_parts() -> None:
    asked = {"set": "digits", "class": None, "side": 8, "images": 16, "test": 300}
    data, features = study.material(asked, 0), study.features_of(asked)
    assert study.quality(data.test, data.test, features).at_n == pytest.approx(0, abs=1e-3)
    assert features is study.features_of(asked | {"images": 20})  # one classifier for all seeds and sizes
    assert study.quality(data.test.flip(3), data.test, features).at_n > 1


def test_the_geometry_orders_its_levels() -> None:
    found = study.geometry_of(
        study.material({"set": "digits", "class": None, "side": 8, "images": 64, "test": 100}, 0), 0
    )
    assert found.danger is not None and found.medium is not None and found.crossing.value is not None
    order = [found.medium.low, found.danger.low, found.crossing.value, found.danger.high, found.medium.high]
    assert order == sorted(order)
    assert all(math.isfinite(level) for level in order)


def test_runs_that_differ_in_the_seed_alone_are_one_setting() -> None:
    assert study.key(ASKED | {"seed": 1}) == study.key({"seed": 2} | ASKED)
    assert study.key(ASKED | {"seed": 1}) != study.key(ASKED | {"seed": 1, "images": 21})


def test_a_mirrored_training_picture_counts_as_copied_where_it_is_asked_for() -> None:
    g = torch.Generator().manual_seed(0)
    x = torch.rand(12, 1, 6, 6, generator=g) * 2 - 1
    fresh = torch.rand(5, 1, 6, 6, generator=g) * 2 - 1
    shown = torch.cat([x[:3], x[3:7].flip(-1), fresh])
    assert study.copied(shown, x).tolist() == [True] * 3 + [False] * 9
    assert study.copied_or_mirrored(shown, x).tolist() == [True] * 7 + [False] * 5


def test_masked_samples_have_masks_of_their_own_whatever_batch_they_ride_in() -> None:
    x = torch.rand(10, 1, 4, 4, generator=torch.Generator().manual_seed(0)) * 2 - 1
    remedy = masking(0.5, torch.Generator().manual_seed(1))
    (one,) = study.trained(x, NETWORK, OPTIONS, 0, [4], remedy, hidden=0.5)
    many = study.drawn_from(one, (1, 4, 4), 6, 0)
    assert torch.allclose(study.drawn_from(one, (1, 4, 4), 3, 0), many[:3], atol=1e-5)
    assert one.masked is not None
    common = study.samples_of(one.denoiser, (1, 4, 4), 6, 0)
    assert not torch.allclose(common, many, atol=1e-3)  # under one mask for all
