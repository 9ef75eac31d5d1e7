"""Layers may ask for a part of the learning rate, in the optimizer's order; nothing changes for those that do not."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from unrote.contracts import Examples
from unrote.denoise.compose import Precondition, edm
from unrote.denoise.networks import build_mlp
from unrote.noise.levels import LogNormal
from unrote.train.checkpoints import checkpoint_path, save
from unrote.train.loop import Options, train
from unrote.train.recipe import baseline
from unrote.train.state import rate_groups, trainable

QUICK = Options(steps=6, batch_size=8, learning_rate=1e-3, tick_every=3, warmup_steps=0, cpu=True)


class Scaled(nn.Module):
    """A linear denoiser whose parts learn at their own rates."""

    def __init__(self, factors: dict[str, float]) -> None:
        super().__init__()
        g = torch.Generator().manual_seed(0)
        self.one, self.two, self.three = (nn.Parameter(torch.randn(3, 3, generator=g)) for _ in range(3))
        self.rate_factors = factors

    def forward(self, x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
        return x @ (self.one + self.two + self.three)


def rows() -> Examples:
    return Examples(torch.randn(30, 3, generator=torch.Generator().manual_seed(7)), torch.zeros(30))


def trained(denoiser: nn.Module, options: Options = QUICK) -> nn.Module:
    recipe = baseline(rows(), LogNormal(), torch.ones_like)
    *_, tick = train(denoiser, recipe, torch.Generator().manual_seed(1), options)
    return tick.state.network


def test_adams_first_step_is_the_rate_times_the_factor():
    # g / sqrt(g^2) is 1 for every weight.
    denoiser = Scaled({"two": 0.25, "three": 4.0})
    before = [p.detach().clone() for p in denoiser.parameters()]
    trained(denoiser, replace(QUICK, steps=1))
    moved = [
        float((a - b).detach().abs().median()) for a, b in zip(denoiser.parameters(), before, strict=True)
    ]
    assert moved == pytest.approx([1e-3, 0.25e-3, 4e-3], rel=1e-3)


def test_descent_has_factors_of_its_own_or_those_of_adam():
    class Both(Scaled):
        @property
        def descent_factors(self) -> dict[str, float]:
            return {"one": 3.0}

    def moved(denoiser: nn.Module) -> list[Tensor]:
        before = [p.detach().clone() for p in denoiser.parameters()]
        trained(denoiser, replace(QUICK, steps=1, momentum=0.9))
        return [(a - b).detach() for a, b in zip(denoiser.parameters(), before, strict=True)]

    # The three have one gradient.
    one, two, three = moved(Scaled({"two": 0.25, "three": 4.0}))
    assert torch.allclose(two, one / 4, rtol=1e-2, atol=1e-6)
    assert torch.allclose(three, 4 * one, rtol=1e-2, atol=1e-6)
    one, two, three = moved(Both({"two": 0.25, "three": 4.0}))
    assert torch.allclose(one, 3 * two, rtol=1e-2, atol=1e-6)
    assert torch.allclose(two, three, rtol=1e-2, atol=1e-6)


def test_factors_of_one_change_no_bit():
    weights = [
        [p.detach() for p in trained(Scaled(factors)).parameters()]
        for factors in ({}, {"one": 1.0, "two": 1.0, "three": 1.0})
    ]
    assert all(torch.equal(a, b) for a, b in zip(*weights, strict=True))
    other = list(trained(Scaled({"two": 0.5})).parameters())
    assert not torch.equal(other[0].detach(), weights[0][0])  # gradients are of all together


def test_denoisers_without_factors_are_one_group():
    denoiser = Precondition(build_mlp((3,), torch.Generator().manual_seed(0), width=8, depth=1), edm())
    (group,) = rate_groups(denoiser)
    assert group["factor"] == 1.0
    assert all(a is b for a, (_, b) in zip(group["params"], trainable(denoiser), strict=True))


def test_groups_keep_the_order_of_the_parameters_and_training_resumes_to_the_bit(tmp_path):
    factors = {"one": 0.5, "three": 0.5}
    groups = rate_groups(Scaled(factors))
    assert [group["factor"] for group in groups] == [0.5, 1.0, 0.5]
    recipe = baseline(rows(), LogNormal(), torch.ones_like)
    ticks = train(Scaled(factors), recipe, torch.Generator().manual_seed(1), QUICK)
    path = checkpoint_path(tmp_path, 3)
    save(next(ticks).state, path)
    *_, end = ticks
    *_, again = train(Scaled(factors), recipe, torch.Generator().manual_seed(1), QUICK, resume=path)
    pairs = zip(end.state.network.parameters(), again.state.network.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("factors", [{"four": 1.0}, {"one": 0.0}, {"one": -1.0}, {"one": math.inf}])
def test_impossible_factors_are_refused(factors):
    with pytest.raises(ValueError, match="learning rate"):
        rate_groups(Scaled(factors))
