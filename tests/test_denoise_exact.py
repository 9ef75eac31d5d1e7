from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
import torch
from jaxtyping import config
from torch import Tensor

from unrote.contracts import Denoiser, InputError, Randomness
from unrote.denoise.exact import Empirical, posterior_weights
from unrote.likelihoods import gaussian_log_likelihood
from unrote.noise.process import Gaussian


def level(sigma: float, x: Tensor) -> Tensor:
    return torch.full((len(x),), sigma, dtype=torch.float64)


@dataclass(frozen=True)
class Erasing:
    """A process that leaves no trace of x0 above level 0.5 and the exact x0 below it."""

    def noise(self, x0: Tensor, level: Tensor, generator: Randomness) -> Tensor:
        return torch.where(level[:, None] > 0.5, torch.zeros_like(x0), x0)

    def log_likelihood(self, x: Tensor, x0: Tensor, level: Tensor) -> Tensor:
        different = (x[:, None] != x0).any(2)
        return torch.where(different & (level <= 0.5)[:, None], -torch.inf, 0.0).double()

    def mix(self, weights: Tensor, x0: Tensor) -> Tensor:
        return weights @ x0.double()


def test_weights_are_the_softmax_of_the_likelihood(digits: Tensor, generator: torch.Generator) -> None:
    x0 = digits[:100].double()
    x = x0[:5] + 0.8 * torch.randn(5, 64, generator=generator, dtype=torch.float64)
    weights = posterior_weights(Gaussian(), x, x0, level(0.8, x))
    unnormalised = torch.exp(-torch.cdist(x, x0).square() / (2 * 0.8**2))
    torch.testing.assert_close(
        weights, unnormalised / unnormalised.sum(1, keepdim=True), rtol=1e-9, atol=1e-10
    )
    torch.testing.assert_close(weights.sum(1), torch.ones(5, dtype=torch.float64), rtol=0, atol=1e-14)


def test_one_data_point_is_certain() -> None:
    x0, x = torch.tensor([[1.0, 2.0]]), torch.randn(3, 2, generator=torch.Generator().manual_seed(0))
    assert torch.equal(posterior_weights(Gaussian(), x, x0, level(0.3, x)), torch.ones(3, 1).double())
    assert torch.equal(Empirical(x0)(x, level(0.3, x)), x0.expand(3, 2))


def test_two_points_on_a_line_give_a_hyperbolic_tangent() -> None:
    # Data -1 and 1: E[x0 | x] = tanh(x / sigma^2).
    x = torch.linspace(-2, 2, 21, dtype=torch.float64)[:, None]
    denoiser = Empirical(torch.tensor([[-1.0], [1.0]], dtype=torch.float64))
    torch.testing.assert_close(denoiser(x, level(0.7, x)), torch.tanh(x / 0.49), rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_small_noise_returns_the_nearest_point_bit_for_bit(
    dtype: torch.dtype, digits: Tensor, generator: torch.Generator
) -> None:
    x0 = digits.to(dtype).reshape(-1, 1, 8, 8)
    x = x0[:50] + 0.3 * torch.randn(50, 1, 8, 8, generator=generator, dtype=dtype)
    nearest = torch.cdist(x.double().flatten(1), x0.double().flatten(1)).argmin(1)
    assert torch.equal(Empirical(x0)(x, level(0.002, x)), x0[nearest])


def test_large_noise_returns_the_mean(digits: Tensor) -> None:
    found = Empirical(digits)(digits[:4], level(1e5, digits[:4]))
    torch.testing.assert_close(found, digits.mean(0).expand(4, 64), rtol=0, atol=1e-5)


def test_tweedie_the_denoiser_is_the_gradient_of_the_log_density(
    digits: Tensor, generator: torch.Generator
) -> None:
    # (D(x) - x) / sigma^2 = grad log p_sigma(x), by central differences along random directions.
    x0 = digits[:200].double()
    for sigma in (0.3, 1.0, 4.0):
        x = x0[:6] + sigma * torch.randn(6, 64, generator=generator, dtype=torch.float64)
        direction = torch.randn(6, 64, generator=generator, dtype=torch.float64)
        direction /= direction.norm(dim=1, keepdim=True)
        step = 1e-4 * sigma
        ends = [
            gaussian_log_likelihood(x + sign * step * direction, x0, level(sigma, x)).logsumexp(1)
            for sign in (1, -1)
        ]
        score = (Empirical(x0)(x, level(sigma, x)) - x) / sigma**2
        slope = (ends[0] - ends[1]) / (2 * step)
        torch.testing.assert_close((score * direction).sum(1), slope, rtol=1e-6, atol=1e-6)


def test_posterior_mean_has_the_least_error(digits: Tensor, generator: torch.Generator) -> None:
    # E|D(x) - x0|^2 <= E|f(x) - x0|^2 for any f, here D moved by a little in any direction.
    x0 = digits[:50]
    origin = torch.randint(50, (4000,), generator=generator)
    x = x0[origin] + 1.5 * torch.randn(4000, 64, generator=generator)
    best = Empirical(x0)(x, level(1.5, x))
    error = (best - x0[origin]).square().sum(1).mean()
    for other in (0.98 * best, best + 0.02 * (x - best), best + 0.02 * (x0[0] - best)):
        assert error < (other - x0[origin]).square().sum(1).mean()


def test_a_class_is_denoised_as_if_it_were_the_whole_data_set(
    digits: Tensor, generator: torch.Generator
) -> None:
    label = torch.randint(3, (len(digits),), generator=generator)
    denoiser = Empirical(digits, label=label)
    x = digits[:20] + torch.randn(20, 64, generator=generator)
    condition = torch.randint(3, (20,), generator=generator)
    found = denoiser(x, level(1.0, x), condition)
    for which in range(3):
        rows = condition == which
        alone = Empirical(digits[label == which])(x[rows], level(1.0, x[rows]))
        torch.testing.assert_close(found[rows], alone, rtol=0, atol=2e-6)
    torch.testing.assert_close(
        denoiser(x, level(1.0, x)), Empirical(digits)(x, level(1.0, x)), rtol=0, atol=2e-6
    )


def test_condition_must_fit_the_data(digits: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    x, one = digits[:2], torch.tensor([1, 7])
    with pytest.raises(ValueError, match="no labels"):
        Empirical(digits)(x, level(1.0, x), one)
    labelled = Empirical(digits[:4], label=torch.tensor([1, 0, 1, 2]))
    with pytest.raises(InputError, match=r"No data point has the label 7.*\[0, 1, 2\]"):
        labelled(x, level(1.0, x), one)
    with pytest.raises(ValueError, match="one label per point"):
        Empirical(digits[:4], label=one)
    with pytest.raises(ValueError, match="at least one data point"):
        Empirical(digits[:0])
    monkeypatch.setattr(config, "jaxtyping_disable", True)  # what a user meets without shape checks
    with pytest.raises(ValueError, match="one class per row"):
        labelled(x, level(1.0, x), one[:1])


def test_memory_budget_and_batch_do_not_change_the_result(digits: Tensor, generator: torch.Generator) -> None:
    sigma = torch.tensor([0.01, 0.3, 1.0, 5.0, 20.0])
    x = digits[:5] + sigma[:, None] * torch.randn(5, 64, generator=generator)
    whole = Empirical(digits)(x, sigma)
    tiny = Empirical(digits, Gaussian(memory=1), memory=1)(x, sigma)
    single = torch.cat([Empirical(digits)(x[b : b + 1], sigma[b : b + 1]) for b in range(5)])
    torch.testing.assert_close(whole, tiny, rtol=0, atol=1e-5)
    torch.testing.assert_close(whole, single, rtol=0, atol=1e-5)


def test_any_process_has_its_posterior(generator: torch.Generator) -> None:
    x0 = torch.randn(6, 3, generator=generator)
    denoiser = Empirical(x0, Erasing())
    sigma = torch.tensor([0.1, 0.9])
    x = Erasing().noise(x0[:2], sigma, generator)
    torch.testing.assert_close(denoiser(x, sigma), torch.stack([x0[0], x0.mean(0)]))


def test_it_is_a_denoiser_that_moves_with_its_data(digits: Tensor) -> None:
    denoiser = Empirical(digits[:10], label=torch.arange(10) % 2)
    assert isinstance(denoiser, Denoiser)
    assert {name: len(b) for name, b in denoiser.named_buffers()} == {"x0": 10, "label": 10}
    wide = denoiser.double()
    assert wide(digits[:1].double(), level(1.0, digits[:1])).dtype == torch.float64
    assert denoiser(torch.zeros(0, 64), torch.ones(0)).shape == (0, 64)


def test_partial_memory_is_the_denoiser_of_a_part(digits: Tensor) -> None:
    # At vanishing noise a denoiser of the first points maps a later point to the nearest of the first.
    x = digits[100:120]
    nearest = torch.cdist(x, digits[:100]).argmin(1)
    assert torch.equal(Empirical(digits[:100])(x, level(math.sqrt(1e-5), x)), digits[:100][nearest])
