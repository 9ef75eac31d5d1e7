"""Windows part nothing but the levels they name: the ends are the two models, and sharing changes no bit."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unrote.contracts import over
from unrote.denoise.compose import Switch
from unrote.noise.levels import edm_levels, end_at_zero
from unrote.sample.steps import churn, euler, generate, heun
from unrote.sample.windows import Window, all_windows, swapped, window_within

SHAPE, SEEDS = (2, 3), range(7)
LEVELS = end_at_zero(edm_levels(6, 0.01, 20.0))


def few(x, sigma, condition=None):
    """The posterior mean of standard normal numbers: a model that is cheap to ask."""
    return x / over(1 + sigma**2, x)


def many(x, sigma, condition=None):
    """The posterior mean of signs: another one."""
    return torch.tanh(x / over(sigma, x) ** 2)


STEPS = [euler, heun, churn(euler, 6.0, steps=6), churn(heun, 6.0, steps=6)]
NAMES = ["euler", "heun", "churned euler", "churned heun"]


class Counting:
    """A denoiser that counts how many rows it was asked for."""

    def __init__(self, denoiser) -> None:
        self.denoiser, self.rows = denoiser, 0

    def __call__(self, x, sigma, condition=None):
        self.rows += len(x)
        return self.denoiser(x, sigma, condition)


def every(step, windows, model=few, other=many, **more):
    return dict(swapped(model, other, SHAPE, SEEDS, LEVELS, windows, step, batch_size=3, **more))


def alone(step, denoiser):
    return generate(denoiser, SHAPE, SEEDS, LEVELS, step, batch_size=3)


@pytest.mark.parametrize("step", STEPS, ids=NAMES)
def test_no_window_is_the_model_and_the_full_window_the_other(step) -> None:
    full = Window(0, len(LEVELS) - 2)
    drawn = every(step, [None, full])
    assert torch.equal(drawn[None], alone(step, few))
    assert torch.equal(drawn[full], alone(step, many))
    assert not torch.equal(drawn[None], drawn[full])


@pytest.mark.parametrize("step", STEPS, ids=NAMES)
def test_sharing_changes_no_bit(step) -> None:
    """All windows at once, and each by itself."""
    windows = [None, *all_windows(len(LEVELS) - 1)]
    together = every(step, windows)
    assert set(together) == set(windows)
    for window in windows:
        assert torch.equal(together[window], every(step, [window])[window])


@pytest.mark.parametrize("step", [euler, heun], ids=["euler", "heun"])
def test_a_window_is_a_switch_by_level(step) -> None:
    """The other model between edges halfway to the neighbouring levels."""
    middle = (LEVELS[:-1] * LEVELS[1:]).sqrt().clamp(min=0.001).tolist()
    edges = [math.inf, *middle]
    for window, samples in every(step, all_windows(len(LEVELS) - 1)).items():
        ends = [edges[window.last + 1], edges[window.first]]
        parts = [few, many, few] if ends[1] < math.inf else [few, many]
        switch = Switch(ends[: len(parts) - 1], parts)
        assert torch.equal(samples, alone(step, switch))


@pytest.mark.parametrize("step", STEPS, ids=NAMES)
def test_a_model_swapped_with_itself_stays(step) -> None:
    plain = alone(step, few)
    for samples in every(step, all_windows(3), other=few).values():
        assert torch.equal(samples, plain)


@settings(max_examples=8, deadline=None)
@given(st.lists(st.sampled_from([None, *all_windows(6)]), min_size=1, max_size=5), st.integers(1, 7))
def test_neither_order_nor_repetition_nor_batch_matters(windows, batch) -> None:
    drawn = dict(swapped(few, many, SHAPE, SEEDS, LEVELS, windows, batch_size=batch))
    assert set(drawn) == set(windows)
    for window, samples in drawn.items():
        torch.testing.assert_close(samples, every(euler, [window])[window], rtol=1e-5, atol=1e-5)


def test_all_windows_cost_a_third_of_each_by_itself() -> None:
    """Euler's 18 levels: what starts alike is computed once, every branch once more."""
    levels, n = end_at_zero(edm_levels(18)), 2
    first, second = (Counting(lambda x, sigma, condition: x) for _ in range(2))
    windows = all_windows(18)
    for _ in swapped(first, second, SHAPE, range(n), levels, windows):
        pass
    shared = 18 - 1 + sum(18 - start for start in range(18)) + sum(17 - last for _, last in pairs(windows))
    assert first.rows + second.rows == n * shared
    assert shared < 0.4 * 18 * len(windows)


def pairs(windows):
    return [(w.first, w.last) for w in windows]


def test_conditions_reach_both() -> None:
    def told(scale):
        return lambda x, sigma, condition=None: scale * condition[:, None, None].expand_as(x)

    label = torch.arange(7.0)
    drawn = every(euler, [None, Window(5, 5)], told(1.0), told(2.0), condition=label)
    assert torch.equal(drawn[None][:, 0, 0], label)
    assert torch.equal(drawn[Window(5, 5)][:, 0, 0], 2 * label)


def test_windows_by_level() -> None:
    levels = end_at_zero(edm_levels(18))
    assert len(all_windows(18)) == len(set(all_windows(18))) == 171
    assert window_within(levels, 0.0, math.inf) == Window(0, 17)
    assert window_within(levels, 0.13, 5.4) == Window(7, 13)  # steps 7 to 13 counted from 0
    assert window_within(levels, 0.29, 8.5) == Window(6, 12)  # and counted from 1
    assert window_within(levels, 81.0, 90.0) is None
    assert window_within(levels, 0.0, 0.001) is None


def test_windows_outside_the_schedule_are_refused() -> None:
    with pytest.raises(ValueError, match="schedule of 6 levels"):
        every(euler, [Window(2, 6)])
    with pytest.raises(ValueError, match="first <= last"):
        Window(3, 2)
    with pytest.raises(ValueError, match="decrease"):
        next(swapped(few, many, SHAPE, SEEDS, LEVELS.flip(0), [None]))


def test_no_seeds_no_samples() -> None:
    drawn = dict(swapped(few, many, SHAPE, [], LEVELS, [None, Window(0, 1)]))
    assert [tuple(x.shape) for x in drawn.values()] == [(0, 2, 3)] * 2
