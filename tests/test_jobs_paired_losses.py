"""Laws of losses in pairs: one image counts once, a pair is under one noise, bands add up to the whole."""

from __future__ import annotations

import math

import pytest
import torch

from unrote.contracts import Examples, InputError
from unrote.denoise.exact import Empirical
from unrote.denoise.foreign import from_function
from unrote.jobs.measuring import LAW, MONITORED
from unrote.jobs.paired_losses import (
    EDGES,
    clustered,
    in_pairs,
    losses_on,
    pairs_of,
    row_losses,
)
from unrote.measure.estimate import estimate
from unrote.measure.gaps import relative_gap
from unrote.train.probe import probe_of


def images(n: int, seed: int = 0) -> Examples:
    x = torch.randn(n, 1, 2, 2, generator=torch.Generator().manual_seed(seed))
    return Examples(x, torch.zeros(n))


def nothing(x, sigma, condition=None):
    return torch.zeros_like(x)


def ones(sigma):
    return torch.ones_like(sigma)


@pytest.mark.parametrize(("trained", "held"), [(5, 300), (300, 5), (40, 30), (2, 2), (600, 700)])
def test_images_of_rows_are_those_that_the_probe_dealt(trained, held) -> None:
    train, held_out = images(trained), images(held, 1)
    pairs = pairs_of(train, held_out, ones, seed=3)
    rows = len(pairs.probe.sigma)
    assert min(512, MONITORED) <= rows <= MONITORED
    for x, image in (
        (pairs.probe.train, pairs.train_image),
        (pairs.probe.validation, pairs.held_out_image),
    ):
        _, which = x.flatten(1).unique(dim=0, return_inverse=True)
        # Two rows hold one image if and only if they have one number.
        same = which[:, None] == which[None]
        assert torch.equal(same, image[:, None] == image[None])
        # and no image is in two pairs
        assert all(len(pairs.pair[image == i].unique()) == 1 for i in image.unique())


def test_the_losses_of_the_pairs_are_those_of_a_probe() -> None:
    train, held_out, denoiser = images(12), images(30, 1), Empirical(images(12).x)
    pairs = pairs_of(train, held_out, ones, seed=3, rows=60)
    g = torch.Generator().manual_seed(5)
    probe = probe_of(train, held_out, LAW, ones, g, 12, 5)
    for mine, theirs in zip(row_losses(pairs, denoiser), probe.losses(denoiser), strict=True):
        torch.testing.assert_close(in_pairs(pairs, mine), theirs)
    found = losses_on(pairs, denoiser)
    assert found.loss_gap == pytest.approx(relative_gap(*probe.losses(denoiser)))
    assert found.loss_gap.value == pytest.approx(found.validation_loss.value / found.train_loss.value - 1)


def test_an_image_counts_once_however_many_levels_it_has() -> None:
    x = torch.randn(7, generator=torch.Generator().manual_seed(0)).double()
    alone = estimate(x)
    again = clustered(x.repeat(9), torch.arange(7).repeat(9))
    assert again.n == 7
    assert (again.value, again.low, again.high) == pytest.approx((alone.value, alone.low, alone.high))


def test_the_interval_over_images_holds_the_truth_where_one_over_rows_does_not() -> None:
    g, held, naive, runs = torch.Generator().manual_seed(1), 0, 0, 400
    for _ in range(runs):
        count = torch.randint(1, 20, (12,), generator=g)
        image = torch.arange(12).repeat_interleave(count)
        own = torch.randn(12, generator=g)
        values = (own[image] + 0.3 * torch.randn(len(image), generator=g)).double()
        found, other = clustered(values, image), estimate(values)
        held += found.low <= 0 <= found.high
        naive += other.low <= 0 <= other.high
    assert held / runs > 0.88  # 12 images of unequal weight
    assert naive / runs < 0.6


def test_bands_part_the_rows_and_add_up_to_the_whole() -> None:
    pairs = pairs_of(images(64), images(64, 1), ones, seed=0)
    ignorant = from_function(nothing)
    found = losses_on(pairs, ignorant)
    assert [(band.low, band.high) for band in found.bands] == list(
        zip((0.0, *EDGES), (*EDGES, None), strict=True)
    )
    sigma = pairs.probe.sigma
    shares = [
        float(((sigma >= band.low) & (sigma < (band.high or math.inf))).double().mean())
        for band in found.bands
    ]
    assert sum(shares) == pytest.approx(1)
    assert min(shares) > 0.1
    whole = sum(share * band.train_loss.value for share, band in zip(shares, found.bands, strict=True))
    assert whole == pytest.approx(found.train_loss.value)


def test_a_band_that_the_model_does_not_know_is_left_out() -> None:
    pairs = pairs_of(images(32), images(32, 1), ones, seed=0, known=(0.5, 10.0))
    assert float(pairs.probe.sigma.min()) == 0.5
    bands = losses_on(pairs, from_function(nothing)).bands
    assert [band.low for band in bands] == [0.4, 0.8]


def test_a_memorizer_is_apart_at_low_levels_and_not_at_high_ones() -> None:
    train = images(16)
    found = losses_on(pairs_of(train, images(200, 1), ones, seed=0), Empirical(train.x))
    lowest, *_, highest = found.bands
    assert lowest.train_loss.value < 1e-6  # so that there is no share, but a loss of others
    assert lowest.validation_loss.value > 0.1
    assert 0 < highest.loss_gap.value < 3


def test_losses_that_are_not_finite_have_no_value() -> None:
    pairs = pairs_of(images(16), images(16, 1), ones, seed=0)
    found = losses_on(pairs, from_function(lambda x, sigma: torch.full_like(x, math.nan)))
    assert (found.train_loss.value, found.loss_gap) == (None, None)
    assert found.train_loss.n == 16


def test_two_images_of_a_kind_are_needed() -> None:
    with pytest.raises(InputError, match="at least two"):
        pairs_of(images(16), images(1, 1), ones, seed=0)
