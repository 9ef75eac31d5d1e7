"""eps, v and x0 on one noisy batch are one loss, and the corrected formulas hold where the printed ones fail."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from unrote.contracts import InputError, over
from unrote.denoise.compose import Precondition, edm, vp_eps, vp_v, x0
from unrote.noise.schedule import vp_time
from unrote.theory.ambient_losses import (
    clean_target,
    loss_weights,
    noise_target,
    read_out,
    velocity_target,
)
from unrote.train.losses import Batch, denoising_loss

B, D = 40, 3


def as_tensor(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def denoise(x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
    """Any smooth function of state and level will do."""
    return torch.tanh(0.7 * x + 0.1) + over(torch.log1p(sigma), x) * 0.3 * x.roll(1, -1)


class Predicting(nn.Module):
    """The network whose preconditioned prediction is `denoise`: F = (D - c_skip x)/c_out."""

    def __init__(self, coefficients, sigma: Tensor) -> None:
        super().__init__()
        self.coefficients, self.sigma = coefficients, sigma

    def forward(self, scaled: Tensor, c_noise: Tensor, condition: Tensor | None = None) -> Tensor:
        c = self.coefficients(self.sigma)
        x = scaled / over(c.input, scaled)
        return (denoise(x, self.sigma) - over(c.skip, x) * x) / over(c.out, x)


def batch_of(level: float, seed: int = 0) -> Batch:
    g = torch.Generator().manual_seed(seed)

    def numbers(*size: int) -> Tensor:
        return torch.randn(*size, generator=g, dtype=torch.float64)

    sigma = level * (1 + numbers(B).exp()) if level else numbers(B).exp()
    one = torch.ones(B, dtype=torch.float64)
    return Batch(numbers(B, D), level * one, sigma, numbers(B, D), one)


def in_vp(batch: Batch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Stored copy and state in VP units, with their VP noise."""
    x = batch.x + over((batch.sigma**2 - batch.level**2).sqrt(), batch.x) * batch.z
    keeps_n, keeps_t = (1 + batch.level**2).rsqrt(), (1 + batch.sigma**2).rsqrt()
    return over(keeps_n, x) * batch.x, over(keeps_t, x) * x, vp_time(batch.sigma), vp_time(batch.level)


@pytest.mark.parametrize("level", [0.0, 0.05, 0.6, 3.0])
def test_every_parameterisation_has_the_papers_loss_on_the_same_batch(level):
    batch = batch_of(level)
    x_n, x_t, sigma_t, sigma_n = in_vp(batch)
    weights, r = loss_weights(sigma_t, sigma_n), read_out(sigma_t, sigma_n)
    h = denoise(x_t / over((1 - sigma_t**2).sqrt(), x_t), batch.sigma)
    equation_6 = (over(r.a, h) * h + over(r.b, h) * x_t - x_n).square().mean(1)
    networks = {
        "eps": (vp_eps(), noise_target, weights.noise),
        "v": (vp_v(), velocity_target, weights.velocity),
        "x0": (x0(), clean_target, weights.clean),
    }
    for coefficients, target, weight in networks.values():
        network = Predicting(coefficients, batch.sigma)
        ours = weights.sigma_form * denoising_loss(Precondition(network, coefficients), batch)
        predicted = network(x_t, vp_time(batch.sigma))
        papers = weight * (predicted - target(x_n, x_t, sigma_t, sigma_n)).square().mean(1)
        torch.testing.assert_close(ours, equation_6, rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(papers, equation_6, rtol=1e-10, atol=1e-12)
    coefficients = edm(0.5)
    ours = weights.sigma_form * denoising_loss(
        Precondition(Predicting(coefficients, batch.sigma), coefficients), batch
    )
    torch.testing.assert_close(ours, equation_6, rtol=1e-10, atol=1e-12)


def test_on_clean_rows_the_targets_are_noise_velocity_and_image():
    batch = batch_of(0.0)
    x_n, x_t, sigma_t, sigma_n = in_vp(batch)
    keeps, noise = over((1 - sigma_t**2).sqrt(), x_t), over(sigma_t, x_t)
    for target, expected in (
        (clean_target, batch.x),
        (noise_target, batch.z),
        (velocity_target, keeps * batch.z - noise * batch.x),
    ):
        torch.testing.assert_close(target(x_n, x_t, sigma_t, sigma_n), expected, rtol=1e-10, atol=1e-10)


def test_pathwise_forms_of_the_targets():
    batch = batch_of(0.6)
    x_n, x_t, sigma_t, sigma_n = in_vp(batch)
    r, keeps = read_out(sigma_t, sigma_n), over((1 - sigma_t**2).sqrt(), x_t)
    added = (x_t - keeps / over((1 - sigma_n**2).sqrt(), x_t) * x_n) / over(r.between, x_t)
    torch.testing.assert_close(added, batch.z, rtol=1e-10, atol=1e-10)  # one noise in both coordinates
    noise = noise_target(x_n, x_t, sigma_t, sigma_n)
    torch.testing.assert_close(noise, over(sigma_t / r.between, x_t) * added, rtol=1e-10, atol=1e-10)
    clean = clean_target(x_n, x_t, sigma_t, sigma_n)
    velocity = velocity_target(x_n, x_t, sigma_t, sigma_n)
    torch.testing.assert_close(velocity, keeps * noise - over(sigma_t, x_t) * clean, rtol=1e-10, atol=1e-10)


def moments(sigma_n: float, sigma_t: float, spread: float) -> dict[str, float]:
    """Exact second moments with the state X_t of scalar Gaussian data: X_0, X_n, Z (total), Z' (since the copy)."""
    keeps_n, keeps_t = (1 - sigma_n**2) ** 0.5, (1 - sigma_t**2) ** 0.5
    r = read_out(as_tensor(sigma_t), as_tensor(sigma_n))
    copy = keeps_t / keeps_n * (keeps_n**2 * spread**2 + sigma_n**2)
    return {
        "clean": keeps_t * spread**2,
        "copy": copy,
        "state": keeps_t**2 * spread**2 + sigma_t**2,
        "total": sigma_t,
        "since": float(r.between),
    }


@settings(max_examples=30, deadline=None)
@given(st.floats(0.01, 0.9), st.floats(0.05, 0.95), st.floats(0.2, 5.0))
def test_corrected_lemmas_hold_for_gaussian_data_and_printed_ones_do_not(sigma_n, part, spread):
    """For Gaussian data conditional means are linear: E[A | X_t] = E[B | X_t] iff E[A X_t] = E[B X_t]."""
    sigma_t = sigma_n + part * (0.999 - sigma_n)
    m, r = moments(sigma_n, sigma_t, spread), read_out(as_tensor(sigma_t), as_tensor(sigma_n))
    a, b, between = float(r.a), float(r.b), float(r.between)
    keeps_n, keeps_t = (1 - sigma_n**2) ** 0.5, (1 - sigma_t**2) ** 0.5
    # Lemma B.1
    assert a * m["clean"] + b * m["state"] == pytest.approx(m["copy"], rel=1e-9)
    printed = (keeps_n - a) * m["clean"]  # as printed a is alpha_n
    assert printed > 0
    # Lemma B.2
    clean = (m["copy"] - b * m["state"]) / a
    velocity = keeps_t * m["total"] - sigma_t * m["clean"]
    scaled = keeps_t * sigma_t / between * m["since"] - sigma_t * clean
    assert scaled == pytest.approx(velocity, rel=1e-7, abs=1e-9)
    unscaled = keeps_t * m["since"] - sigma_t * clean
    assert unscaled < velocity


def test_values_at_one_pair_of_levels():
    r = read_out(as_tensor(0.8), as_tensor(0.5))
    assert float(r.a) == pytest.approx(0.70364564, abs=1e-8)
    assert float(r.b) == pytest.approx(0.27063294, abs=1e-8)
    assert float(r.between**2) == pytest.approx(0.52, abs=1e-12)


def test_coefficients_keep_their_digits_just_above_the_copy():
    """a and sigma_{t|n} vanish there; differences of squares would lose them in float32."""
    sigma_n = torch.tensor([0.9], dtype=torch.float32)
    sigma_t = sigma_n + 2**-20
    found = read_out(sigma_t, sigma_n)
    exact = read_out(sigma_t.double(), sigma_n.double())
    torch.testing.assert_close(found.a.double(), exact.a, rtol=1e-5, atol=0)
    torch.testing.assert_close(found.between.double(), exact.between, rtol=1e-5, atol=0)


@pytest.mark.parametrize(
    ("sigma_t", "sigma_n"), [(0.5, 0.5), (0.4, 0.5), (1.0, 0.5), (0.5, -0.1), (2.0, 0.5)]
)
def test_levels_out_of_order_or_in_another_unit_are_refused(sigma_t, sigma_n):
    with pytest.raises(InputError, match=r"0 <= sigma_n < sigma_t < 1.*vp_time"):
        read_out(as_tensor(sigma_t), as_tensor(sigma_n))
