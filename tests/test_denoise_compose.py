"""Every preconditioning is the same denoiser in other words; a switch sends rows to their level."""

from __future__ import annotations

import pytest
import torch
from problems import GaussianData
from torch import nn

from unrote.contracts import over
from unrote.denoise import compose
from unrote.noise.schedule import sigma_of_vp_time

PROBLEM = GaussianData()


class Exact(nn.Module):
    """A 'network' that predicts eps, v or x0 of the VP state exactly, from the closed form."""

    def __init__(self, read: str) -> None:
        super().__init__()
        self.read = read

    def forward(self, x_t, time, condition=None):
        sigma = sigma_of_vp_time(time)
        t = over(time, x_t)
        alpha = torch.sqrt(1 - t**2)
        clean = PROBLEM.denoise(x_t / alpha, sigma)
        noise = (x_t - alpha * clean) / t
        return {"eps": noise, "v": alpha * noise - t * clean, "x0": clean}[self.read]


@pytest.mark.parametrize(
    ("coefficients", "read"), [(compose.vp_eps(), "eps"), (compose.vp_v(), "v"), (compose.x0(), "x0")]
)
def test_noise_v_and_x0_prediction_are_one_denoiser(coefficients, read, generator) -> None:
    x = torch.randn(9, 4, generator=generator, dtype=torch.float64) * 3
    sigma = torch.logspace(-2, 1, 9, dtype=torch.float64)
    denoiser = compose.Precondition(Exact(read), coefficients)
    torch.testing.assert_close(denoiser(x, sigma), PROBLEM.denoise(x, sigma), rtol=1e-9, atol=1e-9)


def test_edm_preconditioning_gives_input_target_and_output_unit_variance(generator) -> None:
    spread = 0.5
    sigma = torch.logspace(-2, 1.5, 40_000, dtype=torch.float64)
    c = compose.edm(spread)(sigma)
    x0 = spread * torch.randn(40_000, generator=generator, dtype=torch.float64)
    x = x0 + sigma * torch.randn(40_000, generator=generator, dtype=torch.float64)
    assert float((c.input * x).var()) == pytest.approx(1, abs=0.03)
    assert float(((x0 - c.skip * x) / c.out).var()) == pytest.approx(1, abs=0.03)


def test_the_weight_turns_the_error_of_the_denoiser_into_that_of_its_network() -> None:
    sigma = torch.tensor([0.1, 1.0, 5.0])
    for coefficients in (compose.edm(), compose.vp_eps(), compose.vp_v(), compose.x0()):
        denoiser = compose.Precondition(nn.Identity(), coefficients)
        torch.testing.assert_close(denoiser.weight(sigma) * coefficients(sigma).out ** 2, torch.ones(3))
    # EDM's published weight.
    torch.testing.assert_close(
        compose.Precondition(nn.Identity(), compose.edm(0.5)).weight(sigma),
        (sigma**2 + 0.25) / (sigma * 0.5) ** 2,
    )


def test_a_switch_between_equals_changes_nothing_and_edges_belong_above() -> None:
    x = torch.arange(6.0).reshape(3, 2)
    sigma = torch.tensor([0.5, 1.0, 2.0])
    same = compose.Switch((1.0, 1.5), (PROBLEM.denoise,) * 3)
    torch.testing.assert_close(same(x, sigma), PROBLEM.denoise(x, sigma))
    parts = compose.Switch((1.0,), (lambda x, s, c=None: x * 0, lambda x, s, c=None: x * 0 + s[:, None]))
    assert parts(x, sigma).tolist() == [[0, 0], [1, 1], [2, 2]]


def test_a_switch_passes_each_row_its_own_condition() -> None:
    def labelled(x, sigma, condition=None):
        return x * 0 + condition[:, None]

    switch = compose.Switch((1.0,), (labelled, labelled))
    got = switch(torch.zeros(3, 1), torch.tensor([2.0, 0.5, 3.0]), torch.tensor([7, 8, 9]))
    assert got.flatten().tolist() == [7, 8, 9]


def test_a_switch_wants_one_denoiser_more_than_edges() -> None:
    with pytest.raises(ValueError, match="one denoiser more"):
        compose.Switch((1.0, 0.5), (PROBLEM.denoise,) * 3)
