from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from unrote.data.mixtures import (
    Covariance,
    Full,
    GaussianMixture,
    Isotropic,
    LowRank,
    draw,
    isotropic,
    points,
    sphere_means,
)
from unrote.denoise.exact import Empirical
from unrote.denoise.mixture import MixtureDenoiser
from unrote.measure import excess
from unrote.measure.estimate import estimate
from unrote.measure.excess import controlled_loss, excess_loss, fixed_level_loss, loss_draws, stein_loss


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def level(sigma: float, x: Tensor) -> Tensor:
    return torch.full((len(x),), sigma, dtype=torch.float64)


def line(nodes: int = 6001) -> tuple[Tensor, Tensor]:
    """The rectangle rule over one-dimensional noise, which is exact to rounding for analytic functions."""
    z = torch.linspace(-9, 9, nodes, dtype=torch.float64)
    w = torch.exp(-z.square() / 2)
    return z, w / w.sum()


def world(seed: int = 0, count: int = 60) -> tuple[GaussianMixture, Tensor]:
    truth = isotropic(sphere_means(3, 8, seeded(seed)), 0.5)
    return truth, draw(truth, count, seeded(seed + 1)).x


def test_one_gaussian_has_the_loss_of_a_shrunk_estimate() -> None:
    # D = (s x + sigma^2 mu) / v: E|D - x0|^2 = (sigma^4 |x0 - mu|^2 + s^2 sigma^2 D) / v^2, without any noise.
    x0, mu = torch.randn(5, 4, generator=seeded(0), dtype=torch.float64), torch.ones(1, 4).double()
    generator = seeded(1)
    found = stein_loss(mu, 0.7, x0, 0.9, generator, 1)
    v = 0.7 + 0.81
    expected = (0.9**4 * (x0 - mu).square().sum(1) + 0.7**2 * 0.81 * 4) / v**2
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)
    assert torch.equal(torch.randn(3, generator=generator), torch.randn(3, generator=seeded(1)))
    plain = fixed_level_loss(MixtureDenoiser(isotropic(mu, 0.7)), x0, 0.9, seeded(2), 800)
    torch.testing.assert_close(plain, expected, rtol=0.15, atol=0)


def test_excess_is_the_difference_of_losses_exactly_in_expectation() -> None:
    # 000 eq. (13) with both expectations as quadratures over the noise.
    x0 = torch.tensor([[-1.0], [-0.2], [0.4], [2.0]], dtype=torch.float64)
    model = MixtureDenoiser(isotropic(torch.tensor([[-0.5], [1.3]], dtype=torch.float64), 0.3))
    memory, (z, w) = Empirical(x0), line()
    for sigma in (0.3, 0.7, 2.0):
        x = (x0 + sigma * z).reshape(-1, 1)

        def mean(values: Tensor) -> float:
            return float((values.reshape(4, -1) @ w).mean())

        target = x0.repeat_interleave(len(z), 0)
        own, best = model(x, level(sigma, x)), memory(x, level(sigma, x))
        gap = mean((own - best).square())
        difference = mean((own - target).square()) - mean((best - target).square())
        assert abs(gap - difference) < 1e-10 * max(1.0, difference)
        # Against another reference than the memorizing denoiser the identity fails.
        other = MixtureDenoiser(points(x0[:2]))(x, level(sigma, x))
        wrong = mean((own - target).square()) - mean((other - target).square())
        assert abs(mean((own - other).square()) - wrong) > 1e-3


def test_excess_is_the_difference_of_losses_within_its_interval() -> None:
    truth, x0 = world()
    model, memory, draws = MixtureDenoiser(truth), MixtureDenoiser(points(x0)), 100
    for sigma in (0.5, 1.2, 3.0):
        own = loss_draws(model, x0, sigma, seeded(3), draws)
        best = loss_draws(memory, x0, sigma, seeded(3), draws)
        noise = seeded(3)
        by_draw = [excess_loss(model, memory, x0, sigma, noise, 1).mean() for _ in range(draws)]
        # The same noises on both sides, and intervals over noises at fixed data.
        gap = estimate((own - best).mean(1) - torch.stack(by_draw), 0.999)
        assert gap.low is not None and gap.high is not None
        assert gap.low <= 0 <= gap.high
        assert gap.high - gap.low < 0.1 * float(best.mean() + own.mean())
    # With the noise integrated out the difference needs no reference draws at all.
    quiet = stein_loss(truth.means, 0.5, x0, 0.5, seeded(4), 50) - stein_loss(x0, 0.0, x0, 0.5, seeded(5), 50)
    plain = excess_loss(model, memory, x0, 0.5, seeded(6), 300)
    assert abs(float(quiet.mean() / plain.mean()) - 1) < 0.03


@pytest.mark.parametrize("variance", [0.0, 0.05, 0.8])
@pytest.mark.parametrize("sigma", [0.4, 1.0, 2.5])
def test_stein_form_is_unbiased_and_quieter_than_plain_draws(variance: float, sigma: float) -> None:
    _, x0 = world(count=40)
    means, draws = x0[::4], 400
    model = MixtureDenoiser(points(means, variance))
    plain = loss_draws(model, x0, sigma, seeded(4), draws).mean(1)
    generator = seeded(5)
    quiet = torch.stack([stein_loss(means, variance, x0, sigma, generator, 1).mean() for _ in range(draws)])
    difference = float(plain.mean() - quiet.mean())
    spread = math.sqrt((float(plain.var()) + float(quiet.var())) / draws)
    assert abs(difference) < 4 * spread + 1e-12
    # Components that are points leave nothing to integrate: only the posterior is noisy.
    assert float(quiet.var()) < float(plain.var()) * (1.0 if variance else 1.2)


def test_stein_form_is_exact_in_expectation(monkeypatch: pytest.MonkeyPatch) -> None:
    # Every node of the quadrature in place of a random draw.
    x0 = torch.tensor([[-0.9], [0.1], [1.7]], dtype=torch.float64)
    means, (z, w) = torch.tensor([[-1.0], [0.5], [0.9]], dtype=torch.float64), line(801)
    for variance, sigma in ((0.4, 0.5), (0.1, 1.0), (0.0, 0.8)):
        x = (x0 + sigma * z).reshape(-1, 1)
        model = MixtureDenoiser(points(means, variance))
        exact = ((model(x, level(sigma, x)).reshape(3, -1) - x0).square()) @ w
        found = torch.zeros(3, dtype=torch.float64)
        for node, weight in zip(z.tolist(), w.tolist(), strict=True):
            noise = torch.full((3, 1), node, dtype=torch.float64)
            monkeypatch.setattr(excess, "normal", lambda *_, noise=noise: noise)
            found += weight * stein_loss(means, variance, x0, sigma, seeded(0), 1)
        torch.testing.assert_close(found, exact, rtol=1e-10, atol=1e-10)


def test_one_hot_levels_cost_no_noise_and_are_exact() -> None:
    truth = isotropic(5 * sphere_means(4, 30, seeded(0)), 1.0)
    x0 = draw(truth, 50, seeded(1)).x
    generator = seeded(2)
    found = stein_loss(truth.means, 1.0, x0, 0.5, generator, 1)
    assert torch.equal(generator.get_state(), seeded(2).get_state())
    nearest = torch.cdist(x0, truth.means).amin(1)
    torch.testing.assert_close(found, (0.5**4 * nearest.square() + 0.25 * 30) / 1.25**2, rtol=1e-12, atol=0)
    # The bound that lets noise be left out holds: forced noise finds the same within rounding.
    plain = loss_draws(MixtureDenoiser(truth), x0, 0.5, seeded(3), 400)
    mean = estimate(plain.mean(1), 0.999)
    assert mean.low is not None and mean.high is not None
    assert mean.low <= float(found.mean()) <= mean.high
    # Memorizing: the nearest mean is the sample itself, and the loss is 0.
    assert torch.equal(stein_loss(x0, 0.0, x0, 0.1, generator, 1), torch.zeros(50, dtype=torch.float64))
    assert torch.equal(generator.get_state(), seeded(2).get_state())
    # A level where nothing is certain does use noise.
    stein_loss(truth.means, 1.0, x0, 20.0, generator, 1)
    assert not torch.equal(generator.get_state(), seeded(2).get_state())


def test_rows_of_the_stein_form_with_their_own_noise_do_not_depend_on_the_batch() -> None:
    _, x0 = world(count=30)
    streams = [seeded(i) for i in range(30)]
    whole = stein_loss(x0[:8], 0.3, x0, 1.5, streams, 3)
    part = stein_loss(x0[:8], 0.3, x0[10:12], 1.5, [seeded(10), seeded(11)], 3)
    torch.testing.assert_close(part, whole[10:12], rtol=1e-12, atol=0)


def shapes() -> dict[str, Covariance]:
    a = torch.randn(3, 8, 8, generator=seeded(9), dtype=torch.float64)
    return {
        "isotropic": Isotropic(torch.tensor([0.2, 0.5, 1.0], dtype=torch.float64)),
        "low-rank": LowRank(a[:, :, :2].clone()),
        "full": Full(a @ a.mT / 8 + 0.05 * torch.eye(8, dtype=torch.float64)),
    }


@pytest.mark.parametrize("name", list(shapes()))
def test_controlled_loss_is_unbiased_and_quieter_than_plain_draws(name: str) -> None:
    weights = torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)
    mix = GaussianMixture(weights, 2 * sphere_means(3, 8, seeded(0)), shapes()[name])
    model, x0, draws = MixtureDenoiser(mix), draw(mix, 40, seeded(1)).x, 200
    for sigma, gain in ((0.3, 1e3), (0.6, 5.0)):
        q = model.responsibilities(x0, level(sigma, x0))
        expected, generator = model.blend_loss(x0, sigma, q), seeded(2)

        def control(x: Tensor, s: Tensor, q: Tensor = q) -> Tensor:
            return model.blend(x, s, q)

        quiet = torch.stack(
            [controlled_loss(model, control, expected, x0, sigma, generator, 1).mean() for _ in range(draws)]
        )
        plain = loss_draws(model, x0, sigma, seeded(3), draws).mean(1)
        spread = math.sqrt((float(plain.var()) + float(quiet.var())) / draws)
        assert abs(float(plain.mean() - quiet.mean())) < 4 * spread
        assert float(quiet.var()) * gain < float(plain.var())
        assert torch.equal(
            controlled_loss(model, control, expected, x0, sigma, generator, 0), expected.double()
        )


@pytest.mark.parametrize("name", list(shapes()))
def test_one_controlled_draw_is_exact_where_the_posterior_is_one_hot(name: str) -> None:
    weights = torch.full((3,), 1 / 3, dtype=torch.float64)
    mix = GaussianMixture(weights, 40 * sphere_means(3, 8, seeded(0)), shapes()[name])
    model, x0 = MixtureDenoiser(mix), draw(mix, 20, seeded(1)).x
    q = model.responsibilities(x0, level(0.4, x0))
    expected = model.blend_loss(x0, 0.4, q)
    found = controlled_loss(model, lambda x, s: model.blend(x, s, q), expected, x0, 0.4, seeded(2), 1)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


def test_values_per_sample_and_per_draw_are_two_views_of_the_same_numbers() -> None:
    truth, x0 = world(count=12)
    model = MixtureDenoiser(truth)
    draws = loss_draws(model, x0, 0.8, seeded(0), 7)
    assert torch.equal(draws.mean(0), fixed_level_loss(model, x0, 0.8, seeded(0), 7))
    # Images are rows like others.
    image = loss_draws(model, x0.reshape(12, 2, 2, 2), 0.8, seeded(0), 7)
    torch.testing.assert_close(image, draws)


def test_bad_input_is_refused_with_a_reason() -> None:
    truth, x0 = world(count=4)
    model = MixtureDenoiser(truth)
    for sigma, draws in ((0.0, 1), (math.nan, 1), (math.inf, 1), (1.0, 0)):
        with pytest.raises(ValueError, match="positive, finite level"):
            fixed_level_loss(model, x0, sigma, seeded(0), draws)
        with pytest.raises(ValueError, match="positive, finite level"):
            excess_loss(model, model, x0, sigma, seeded(0), draws)
        with pytest.raises(ValueError, match="positive, finite level"):
            stein_loss(truth.means, 1.0, x0, sigma, seeded(0), draws)
    with pytest.raises(ValueError, match="variance is at least 0"):
        stein_loss(truth.means, -1.0, x0, 1.0, seeded(0), 1)
    with pytest.raises(ValueError, match="one dimension"):
        stein_loss(truth.means[:, :2].clone(), 1.0, x0, 1.0, seeded(0), 1)
    with pytest.raises(ValueError, match="one expected loss each"):
        controlled_loss(model, model, torch.zeros(3), x0, 1.0, seeded(0), 1)
    with pytest.raises(ValueError, match="at least 0 draws"):
        controlled_loss(model, model, torch.zeros(4), x0, 1.0, seeded(0), -1)
