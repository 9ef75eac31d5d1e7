"""Weightings against their definitions in time, and means over levels against closed integrals."""

from __future__ import annotations

import math

import pytest
import torch

from unrote.noise.levels import vp_levels
from unrote.noise.schedule import sigma_of_vp_time, vp_time
from unrote.theory.levels import (
    NAMED,
    Levels,
    capped,
    flat,
    inverse,
    on_grid,
    probabilities,
    spread_evenly,
    training,
)

T = {
    "flat": torch.ones_like,
    "psi": lambda t: (1 - t**2) / t**2,
    "1-t^2": lambda t: 1 - t**2,
    "t^2": lambda t: t**2,
    "min(psi,1)": lambda t: ((1 - t**2) / t**2).clamp(max=1),
    "min(psi,5)": lambda t: ((1 - t**2) / t**2).clamp(max=5),
    "1/psi": lambda t: t**2 / (1 - t**2),
}


@pytest.mark.parametrize("name", NAMED)
def test_weightings_are_what_they_are_called_in_time(name: str) -> None:
    t = torch.linspace(0.001, 0.999, 26, dtype=torch.float64)
    torch.testing.assert_close(NAMED[name](sigma_of_vp_time(t)), T[name](t), rtol=1e-11, atol=0)


@pytest.mark.parametrize(
    ("weighting", "low", "high", "mean"),
    [  # E[w t^2] / E[w] for t uniform on [low, high], by hand
        (NAMED["flat"], 0.0, 1.0, 1 / 3),
        (NAMED["1-t^2"], 0.0, 1.0, 1 / 5),
        (NAMED["t^2"], 0.0, 1.0, 3 / 5),
        (NAMED["psi"], 1e-3, 0.999, 0.000666998999000001),
        (
            capped(1.0),
            0.0,
            1.0,
            (math.sqrt(0.5) ** 3 / 3 + 2 / 3 - 5 / (6 * math.sqrt(2))) / (2 * math.sqrt(2) - 2),
        ),
    ],
)
def test_means_over_a_continuum_are_the_integrals(weighting, low: float, high: float, mean: float) -> None:
    law = spread_evenly(low, high, sigma_of_vp_time)
    smooth = 1e-12 if weighting in NAMED.values() else 1e-4  # the corner of a cap costs accuracy
    assert float(law.mean(vp_time(law.sigma) ** 2, weighting)) == pytest.approx(mean, rel=smooth)


def test_a_fine_grid_tends_to_the_continuum() -> None:
    law, fine = spread_evenly(0.001, 0.999, sigma_of_vp_time), on_grid(vp_levels(200_000))
    for weighting in (flat, capped(5.0), inverse):
        continuum = float(law.mean(1 / (1 + law.sigma), weighting))
        assert float(fine.mean(1 / (1 + fine.sigma), weighting)) == pytest.approx(continuum, rel=5e-3)


def test_only_the_shape_of_a_weighting_counts() -> None:
    law = on_grid(vp_levels())
    values = torch.stack([law.sigma, law.sigma**2])
    scaled = law.mean(values, lambda s: 1e300 * training(s) / 1e10)
    torch.testing.assert_close(scaled, law.mean(values, training), rtol=1e-13, atol=0)
    torch.testing.assert_close(law.mean(values, training(law.sigma)), law.mean(values, training))
    torch.testing.assert_close(law.mean(torch.ones(26), training), torch.tensor(1.0).double())


def test_laws_and_weightings_that_are_none_are_refused() -> None:
    with pytest.raises(ValueError, match="positive finite"):
        on_grid(torch.tensor([1.0, 0.0]))
    with pytest.raises(ValueError, match="positive finite"):
        on_grid(torch.tensor([]))
    with pytest.raises(ValueError, match="sum to one"):
        Levels(torch.ones(2), torch.ones(2))
    law = on_grid(vp_levels())
    with pytest.raises(ValueError, match="26 levels"):
        law.weights(torch.ones(3))
    with pytest.raises(ValueError, match="not all zero"):
        law.weights(torch.zeros(26))
    with pytest.raises(ValueError, match="low < high"):
        spread_evenly(1.0, 0.0, sigma_of_vp_time)
    with pytest.raises(ValueError, match="positive"):
        capped(0.0)


def test_weights_of_clusters_are_made_to_sum_to_one() -> None:
    assert float(probabilities(torch.tensor([0.1] * 10)).sum()) == pytest.approx(1, abs=1e-15)
    for wrong in ([0.5, 0.4], [1.5, -0.5], []):
        with pytest.raises(ValueError, match="sum to one"):
            probabilities(torch.tensor(wrong))
