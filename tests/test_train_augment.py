"""Augmentations become rows before noise is frozen: no two targets of an image differ by something free of noise."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from unrote.contracts import Examples, InputError
from unrote.noise.levels import LogNormal
from unrote.train.augment import augmented, flip
from unrote.train.interventions import ambient, compose, gap, noisy_only
from unrote.train.recipe import Recipe, baseline

LEVEL = 0.5


def recipe_of(x: Tensor, label: Tensor | None = None) -> Recipe:
    return baseline(Examples(x, torch.zeros(len(x)), label), LogNormal(), torch.ones_like)


def images(digits: Tensor, n: int = 400) -> Tensor:
    return digits[:n].reshape(n, 1, 8, 8)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def targets(digits: Tensor, *order) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Clean image and flip, and their noisy targets, as a composition of interventions makes them."""
    rows = compose(*order)(recipe_of(images(digits))).examples
    noisy = rows.x[rows.level > 0]
    return (*rows.x[rows.level == 0].chunk(2), *noisy.chunk(2))


def correlation(a: Tensor, b: Tensor) -> float:
    return float(torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1])


def test_rows_levels_and_labels_of_every_augmentation(digits):
    x, label = images(digits, 5), torch.tensor([3, 1, 4, 1, 5])
    rows = augmented([flip, torch.neg])(recipe_of(x, label)).examples
    assert torch.equal(rows.x, torch.cat([x, x.flip(-1), -x]))
    assert torch.equal(rows.label, label.repeat(3))
    assert torch.equal(rows.level, torch.zeros(15))
    assert torch.equal(flip(flip(x)), x)


def test_the_released_programs_targets_differ_by_the_image_minus_its_flip_without_any_noise(digits):
    """Noise belongs to the image there, and the flip is drawn anew before it is added."""
    x0 = images(digits)
    noise = LEVEL * torch.randn(x0.shape, generator=seeded())
    difference = (x0 + noise) - (flip(x0) + noise)
    torch.testing.assert_close(difference, x0 - flip(x0), rtol=0, atol=1e-6)
    # All of an image but its mirror-symmetric part: two fifths of the variance of digits, at any level of noise.
    spread = (x0 - x0.mean(0)).square().sum()
    lost = (difference - difference.mean(0)).square().sum() / 4
    assert 0.35 < float(lost / spread) < 0.5


def test_here_every_difference_of_two_targets_of_an_image_holds_the_noise_of_two_draws(digits):
    x0, flipped, one, two = targets(digits, augmented([flip]), ambient(LEVEL, seeded()))
    assert torch.equal(flipped, flip(x0))
    n = x0.numel()
    for left, right, clean in ((one, two, x0 - flipped), (one, flip(two), torch.zeros_like(x0))):
        rest = (left - right) - clean
        assert float(rest.var() / (2 * LEVEL**2)) == pytest.approx(1, abs=4 * (2 / n) ** 0.5)
        # ... in every single image, by the law of chi-squared: 64 numbers, none free of noise.
        each = rest.square().flatten(1).mean(1) / (2 * LEVEL**2)
        assert float(each.min()) > 0.3
    a, b = one - x0, two - flipped
    for other in (b, flip(b)):
        assert abs(correlation(a, other)) < 4 / n**0.5


def test_a_flip_of_the_noisy_copy_is_the_same_look_from_the_other_side(digits):
    x0, _, one, two = targets(digits, ambient(LEVEL, seeded()), augmented([flip]))
    # Rows come as image, copy, flipped image, flipped copy; the clean ones are image and flip again.
    assert torch.equal(two, flip(one))
    noise = one - x0
    rest = (one - two) - (x0 - flip(x0))
    torch.testing.assert_close(rest, noise - flip(noise), rtol=0, atol=1e-5)
    assert float(rest.var() / (2 * LEVEL**2)) == pytest.approx(1, abs=4 * (4 / x0.numel()) ** 0.5)


@pytest.mark.parametrize("noisy", [ambient, noisy_only])
def test_other_transforms_of_rows_that_hold_noise_are_refused(digits, noisy):
    def halved(x: Tensor) -> Tensor:
        return x / 2

    def shifted(x: Tensor) -> Tensor:
        return torch.nn.functional.pad(x, (1, 0))[..., :-1]

    for transform in (halved, shifted):
        with pytest.raises(InputError, match=rf"{transform.__name__} changes numbers.*before the noise"):
            compose(noisy(LEVEL, seeded()), augmented([transform]))(recipe_of(images(digits, 4)))
        rows = compose(augmented([transform]), noisy(LEVEL, seeded()))(recipe_of(images(digits, 4))).examples
        assert bool((rows.level.unique() <= LEVEL).all())


def test_it_composes_with_a_gap_in_either_order(digits):
    one, two = (
        compose(*order)(recipe_of(images(digits, 6)))
        for order in ((augmented([flip]), gap(0.2, 0.4)), (gap(0.2, 0.4), augmented([flip])))
    )
    assert torch.equal(one.examples.x, two.examples.x)
    for a, b in zip(one.redraw(one)(200, seeded()), two.redraw(two)(200, seeded()), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize(
    "transform", [lambda x: x[..., 1:], lambda x: x * float("inf"), lambda x: x.double(), lambda x: x[:2]]
)
def test_transforms_that_change_the_shape_or_make_nonsense_are_refused(digits, transform):
    with pytest.raises(InputError, match="shape and type must stay"):
        augmented([transform])(recipe_of(images(digits, 4)))


def test_no_transform_at_all_is_refused():
    with pytest.raises(InputError, match="at least one transform"):
        augmented([])
