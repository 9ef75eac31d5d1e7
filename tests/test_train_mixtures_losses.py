"""The hand-derived loss and slope: against automatic differentiation, brute force and plain Monte Carlo."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from unrote.contracts import InputError
from unrote.train.mixtures import losses
from unrote.train.mixtures.losses import distortion, plain, stein
from unrote.train.mixtures.reference import vp_grid

GRID = torch.tensor(vp_grid(), dtype=torch.float64)


def data(n: int, m: int, d: int, seed: int = 0, shift: float = 3.0) -> tuple[Tensor, Tensor]:
    """Points about `shift`, and means near the first m of them."""
    g = torch.Generator().manual_seed(seed)
    x0 = torch.randn(n, d, generator=g, dtype=torch.float64) * 1.4 + shift
    return x0, x0[:m] + 0.3 * torch.randn(m, d, generator=g, dtype=torch.float64)


def brute(means: Tensor, variance: Tensor, x0: Tensor, sigma: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """Both forms of the loss (N,R), by broadcasting, straight from the definitions."""
    s = sigma[:, None, None]
    x, u = x0[:, None] + s * z, variance + s**2
    p = torch.softmax(-(x[:, :, None] - means).square().sum(-1) / (2 * u), -1)
    m = p @ means
    denoised = (variance * x + s**2 * m) / u
    plain_loss = (denoised - x0[:, None]).square().sum(-1) / sigma[:, None] ** 2
    near, every = (
        (x0[:, None] - m).square().sum(-1),
        (p * (x0[:, None, None] - means).square().sum(-1)).sum(-1),
    )
    s, u, b = s[..., 0], u[..., 0], variance / u[..., 0]
    stein_loss = (s**2 * ((1 - 2 * b) * near + 2 * b * every) + variance**2 * x0.shape[1]) / u**2
    return plain_loss, stein_loss


def automatic(loss: Tensor, means: Tensor, variance: Tensor) -> tuple[Tensor, float]:
    in_means, in_variance = torch.autograd.grad(loss, [means, variance])
    return in_means, float(in_variance)


def draw(n: int, r: int, d: int, seed: int = 1) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    sigma = GRID[torch.randint(len(GRID), (n,), generator=g)]
    return sigma, torch.randn(n, r, d, generator=g, dtype=torch.float64)


@pytest.mark.parametrize("variance", [1e-6, 0.01, 0.3, 2.0])
@pytest.mark.parametrize(("n", "m", "d"), [(30, 12, 7), (9, 1, 3), (12, 12, 1)])
def test_plain_equals_automatic_differentiation(variance: float, n: int, m: int, d: int) -> None:
    x0, means = data(n, m, d)
    sigma, z = draw(n, 4, d)
    mu = means.clone().requires_grad_()
    v = torch.tensor(variance, dtype=torch.float64, requires_grad=True)
    loss = brute(mu, v, x0, sigma, z)[0].mean()
    in_means, in_variance = automatic(loss, mu, v)
    slope = plain(means, variance, x0, sigma, z)
    assert slope.loss == pytest.approx(float(loss.detach()), rel=1e-10)
    assert slope.variance == pytest.approx(in_variance, rel=1e-10)
    assert (slope.means - in_means).abs().max() < 1e-10 * in_means.abs().max()


@pytest.mark.parametrize("variance", [0.01, 0.3, 2.0])
@pytest.mark.parametrize("m", [1, 12])
def test_stein_equals_automatic_differentiation(
    variance: float, m: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(losses, "NATS", 40.0)  # one-hot to the last bit of float64
    monkeypatch.setattr(losses, "REACH", 30.0)
    x0, means = data(30, m, 7)
    slope = stein(means, variance, x0, GRID, torch.Generator().manual_seed(2), draws=2)
    sigma, rows = GRID.repeat(30), torch.arange(30).repeat_interleave(26)
    z = torch.randn(30, 26, 2, 7, generator=torch.Generator().manual_seed(2), dtype=torch.float64).flatten(
        0, 1
    )
    mu = means.clone().requires_grad_()
    v = torch.tensor(variance, dtype=torch.float64, requires_grad=True)
    loss = brute(mu, v, x0[rows], sigma, z)[1].mean()
    in_means, in_variance = automatic(loss, mu, v)
    assert slope.loss == pytest.approx(float(loss.detach()), rel=1e-10)
    assert slope.variance == pytest.approx(in_variance, rel=1e-10)
    assert (slope.means - in_means).abs().max() < 1e-10 * in_means.abs().max()


@pytest.mark.parametrize("variance", [0.05, 0.5])
def test_stein_has_the_mean_of_plain(variance: float) -> None:
    x0, means = data(40, 15, 8, shift=0.0)
    g = torch.Generator().manual_seed(3)
    sigma, rows = GRID.repeat_interleave(40), x0.repeat(26, 1)
    few = [stein(means, variance, x0, GRID, g) for _ in range(100)]
    many = [
        plain(means, variance, rows, sigma, torch.randn(1040, 8, 8, generator=g, dtype=torch.float64))
        for _ in range(100)
    ]

    def table(slopes: list[losses.Slope]) -> Tensor:
        return torch.stack(
            [torch.cat([torch.tensor([s.loss, s.variance]).double(), s.means.flatten()]) for s in slopes]
        )

    a, b = table(few), table(many)
    z = (a.mean(0) - b.mean(0)) / ((a.var(0) + b.var(0)) / len(a)).sqrt()
    assert z[:2].abs().max() < 4.5
    assert z.abs().max() < 5.5 and 0.7 < z.std() < 1.3


def test_stein_is_quieter_than_the_recipe_with_as_many_points() -> None:
    x0, means = data(40, 20, 30, shift=0.0)
    g = torch.Generator().manual_seed(4)
    ours = [stein(means, 0.5, x0, GRID, g) for _ in range(60)]
    theirs = [plain(means, 0.5, x0, *draw(40, 52, 30, seed)) for seed in range(60)]
    loss, in_variance = (
        [[getattr(s, name) for s in one] for one in (ours, theirs)] for name in ("loss", "variance")
    )
    assert torch.tensor(loss[1]).var() > 100 * torch.tensor(loss[0]).var()
    assert torch.tensor(in_variance[1]).var() > 100 * torch.tensor(in_variance[0]).var()
    a, b = (torch.stack([s.means for s in one]).var(0).sum() for one in (ours, theirs))
    assert b > 5 * a


def test_one_hot_regime_is_k_means_and_noise_free() -> None:
    """l = (sigma^2 D2 + s^4 d)/u^2 below every rival, least at s^2 = D2/d at every level at once."""
    g = torch.Generator().manual_seed(5)
    means = 5 * torch.randn(10, 30, generator=g, dtype=torch.float64)
    x0 = means.repeat(5, 1) + torch.randn(50, 30, generator=g, dtype=torch.float64)
    d2 = distortion(means, x0)
    assert d2 == pytest.approx(float(torch.cdist(x0, means).min(1).values.square().mean()), rel=1e-12)
    low = GRID[GRID < 0.1]
    for variance in (0.01, d2 / 30):
        found = stein(means, variance, x0, low, torch.Generator())
        wanted = ((low**2 * d2 + variance**2 * 30) / (variance + low**2) ** 2).mean()
        assert found.loss == pytest.approx(float(wanted), rel=1e-9)
    assert abs(found.variance) * d2 / 30 < 1e-9 * found.loss
    least = (30 * (d2 / 30) / (d2 / 30 + low**2)).mean()
    assert found.loss == pytest.approx(float(least), rel=1e-9)


def test_the_loss_is_the_same_everywhere_in_space_and_in_any_order() -> None:
    x0, means = data(40, 20, 6)
    sigma, z = draw(40, 3, 6)
    here = plain(means, 0.2, x0, sigma, z)
    far = plain(means + 1e5, 0.2, x0 + 1e5, sigma, z)
    assert far.loss == pytest.approx(here.loss, rel=1e-6)
    rows, columns = torch.randperm(40), torch.randperm(20)
    mixed = plain(means[columns], 0.2, x0[rows], sigma[rows], z[rows])
    assert mixed.loss == pytest.approx(here.loss, rel=1e-12)
    torch.testing.assert_close(mixed.means, here.means[columns], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("variance", [1e-6, 0.1])
def test_float32_is_float64_to_its_precision_also_at_the_smallest_level(variance: float) -> None:
    x0, means = data(60, 40, 20)
    sigma, z = draw(60, 5, 20)
    sigma[:20] = GRID[-1]
    exact = plain(
        means.float().double(), variance, x0.float().double(), sigma.float().double(), z.float().double()
    )
    quick = plain(means.float(), variance, x0.float(), sigma.float(), z.float())
    assert quick.loss == pytest.approx(exact.loss, rel=1e-5)
    assert (quick.means - exact.means).norm() < 1e-5 * exact.means.norm()
    assert quick.variance == pytest.approx(exact.variance, rel=1e-4)


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    x0, means = data(40, 20, 6)
    sigma, z = draw(40, 3, 6)
    whole = plain(means, 0.2, x0, sigma, z), stein(means, 0.2, x0, GRID, torch.Generator().manual_seed(0))
    monkeypatch.setattr(losses, "ROWS_TIMES_MEANS", 20 * 7)
    parts = plain(means, 0.2, x0, sigma, z), stein(means, 0.2, x0, GRID, torch.Generator().manual_seed(0))
    assert parts[0].loss == pytest.approx(whole[0].loss, rel=1e-12)
    torch.testing.assert_close(parts[0].means, whole[0].means, rtol=1e-10, atol=1e-12)
    assert parts[1].loss == pytest.approx(whole[1].loss, rel=0.1)  # other draws of the noise


def test_variance_zero_is_the_memorising_denoiser() -> None:
    x0, _ = data(20, 1, 5)
    sigma, z = draw(20, 6, 5)
    wanted = brute(x0, torch.tensor(0.0).double(), x0, sigma, z)[0].mean()
    assert plain(x0, 0.0, x0, sigma, z).loss == pytest.approx(float(wanted), rel=1e-9)


def test_two_equal_means_share_what_one_would_get() -> None:
    x0, means = data(20, 3, 5)
    sigma, z = draw(20, 6, 5)
    one, two = plain(means, 0.3, x0, sigma, z), plain(means.repeat(2, 1), 0.3, x0, sigma, z)
    assert two.loss == pytest.approx(one.loss, rel=1e-10)
    torch.testing.assert_close(two.means[:3] + two.means[3:], one.means)


def test_bad_input_is_refused() -> None:
    x0, means = data(10, 3, 4)
    sigma, z = draw(10, 2, 4)
    for call in (
        lambda: plain(means, -0.1, x0, sigma, z),
        lambda: plain(means, math.nan, x0, sigma, z),
        lambda: plain(means[:0], 0.1, x0, sigma, z),
        lambda: plain(means, 0.1, x0[:, :3], sigma, z),
        lambda: plain(means, 0.1, x0, sigma[1:], z),
        lambda: plain(means, 0.1, x0, sigma, z[1:]),
        lambda: plain(means, 0.1, x0, sigma, z[:, :, :3]),
        lambda: stein(means, 0.1, x0, GRID, torch.Generator(), draws=0),
    ):
        with pytest.raises(InputError):
            call()
