"""The literal recipe: its grid and schedule, Adam against torch's, bits across a stop, and an honest verdict."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from mixture_modules import Shared
from torch import Tensor, nn

from unrote.contracts import InputError
from unrote.train.mixtures import reference as module
from unrote.train.mixtures.descent import Descent, Look, begin, save, update, verdict
from unrote.train.mixtures.losses import distortion, plain
from unrote.train.mixtures.reference import (
    COLOURED_PAPER,
    COLOURED_PROGRAM,
    QUICK,
    RANDOM_START,
    REFERENCE,
    SHORT_WARMUP,
    Procedure,
    Recipe,
    finish,
    random_start,
    reference,
    reference_denoiser,
    vp_grid,
)

BRIEF = replace(QUICK, procedure=Procedure(draws=2, descent=Descent(steps=60, betas=(0.9, 0.95)), looks=6))


@pytest.fixture
def x() -> Tensor:
    """30 points of 3 clusters in 8 dimensions, float32."""
    g = torch.Generator().manual_seed(0)
    return (3 * torch.randn(3, 8, generator=g)).repeat(10, 1) + torch.randn(30, 8, generator=g)


def test_grid_is_the_papers() -> None:
    sigmas = vp_grid()
    assert len(sigmas) == 26 and sigmas[0] == max(sigmas)
    assert sigmas[16] ** -2 == pytest.approx(6.70406, rel=1e-5)  # psi at the level that the paper shows
    times = [s / math.sqrt(1 + s * s) for s in sigmas]
    assert times[0] == pytest.approx(0.999) and times[-1] == pytest.approx(0.001)
    assert {round(a - b, 9) for a, b in pairwise(times)} == {round(0.998 / 25, 9)}


def test_named_recipes_hold_the_papers_numbers() -> None:
    work = REFERENCE.procedure
    assert (work.draws, work.descent.steps, REFERENCE.deviation) == (100, 50_000, 1e-3)
    assert (work.descent.betas, work.descent.epsilon) == ((0.9, 0.999), 1e-8)
    assert (work.descent.smoothing, work.descent.clip) == (0.99, 1e9)
    rate = work.descent.rate
    assert rate(0) == 0 and rate(2_500) == pytest.approx(5e-4) and rate(5_000) == pytest.approx(1e-3)
    assert rate(27_500) == pytest.approx((1e-3 + 1e-6) / 2) and rate(50_000) == pytest.approx(1e-6)
    assert SHORT_WARMUP.procedure.descent.rate(2_500) == pytest.approx(1e-3)
    assert RANDOM_START.means is random_start and RANDOM_START.procedure == work
    assert COLOURED_PAPER.procedure.descent.rate(10_000) == pytest.approx(1e-3)
    assert COLOURED_PROGRAM.procedure.descent.rate(5_000) == pytest.approx(1e-4)
    assert (COLOURED_PAPER.components, COLOURED_PROGRAM.components) == (4, 6)


def test_starts_are_training_samples_or_know_only_mean_and_spread(x: Tensor) -> None:
    first = REFERENCE.means(x, 12, torch.Generator().manual_seed(3)).float()
    assert {tuple(row) for row in first.tolist()} <= {tuple(row) for row in x.tolist()}
    assert len(first.unique(dim=0)) == 12
    cloud = random_start(10 + 2 * x.repeat(200, 1), 4_000, torch.Generator().manual_seed(3))
    torch.testing.assert_close(cloud.mean(0), 10 + 2 * x.mean(0), rtol=0, atol=0.6)
    torch.testing.assert_close(cloud.std(0), 2 * x.std(0, correction=0), rtol=0.06, atol=0)


@pytest.mark.parametrize("clip", [math.inf, 0.5])
def test_without_smoothing_it_is_torchs_adam(clip: float) -> None:
    g = torch.Generator().manual_seed(1)
    gradients = torch.randn(40, 7, generator=g, dtype=torch.float64)
    descent = Descent(steps=40, peak=0.03, last=0.01, warmup=0.25, smoothing=0.0, clip=clip)
    run = begin(torch.zeros(7, dtype=torch.float64), g, {})
    theirs = nn.Parameter(torch.zeros(7, dtype=torch.float64))
    adam = torch.optim.Adam([theirs], eps=1e-8)
    for k, gradient in enumerate(gradients):
        update(run, descent, gradient)
        theirs.grad = gradient * min(1, clip / float(gradient.norm()))
        adam.param_groups[0]["lr"] = descent.rate(k)
        adam.step()
    torch.testing.assert_close(run.parameters, theirs.detach(), rtol=1e-12, atol=1e-14)


def test_smoothing_averages_updates_and_is_debiased() -> None:
    """With one constant gradient Adam's update is -rate; an average of equal updates is the update itself."""
    descent = Descent(steps=50, peak=0.1, last=0.1, warmup=0.0, epsilon=1e-300)
    run = begin(torch.zeros(2, dtype=torch.float64), torch.Generator(), {})
    for k in range(1, 21):
        update(run, descent, torch.tensor([3.0, -0.2], dtype=torch.float64))
        torch.testing.assert_close(run.parameters, torch.tensor([-0.1 * k, 0.1 * k], dtype=torch.float64))


def test_one_step_is_written_out_in_full(x: Tensor) -> None:
    """The whole second step (the first has rate 0) from the same stream: levels first, then noise."""
    x = x.double()
    start = x[:9].clone()
    recipe = Recipe(Procedure(draws=5, descent=Descent(steps=4, warmup=0.5), looks=2))
    tick = next(reference(x, start, torch.Generator().manual_seed(7), recipe))
    seed = int(torch.randint(2**53, (), generator=torch.Generator().manual_seed(7)))
    stream = torch.Generator().manual_seed(seed)
    gradients = []
    for _ in range(2):
        sigma = torch.tensor(vp_grid(), dtype=x.dtype)[torch.randint(26, (30,), generator=stream)]
        slope = plain(start, 1e-6, x, sigma, torch.randn(30, 5, 8, generator=stream, dtype=x.dtype))
        gradients.append(torch.cat([slope.means.flatten(), x.new_tensor([2e-3 * slope.variance])]))
    a, b = gradients
    m = (0.09 * a + 0.1 * b) / (1 - 0.9**2)
    v = (0.999 * 0.001 * a**2 + 0.001 * b**2) / (1 - 0.999**2)
    step = 0.01 * 5e-4 * m / (v.sqrt() + 1e-8) / (1 - 0.99**2)
    assert tick.fit.steps == 2
    torch.testing.assert_close(tick.fit.means, start - step[:-1].view(9, 8), rtol=0, atol=1e-12)
    assert tick.fit.variance == pytest.approx(float((1e-3 - step[-1]) ** 2), rel=1e-9)


def test_stopped_saved_and_resumed_to_the_same_bits(x: Tensor, tmp_path: Path) -> None:
    start = x[:12]
    whole = list(reference(x, start, torch.Generator().manual_seed(5), BRIEF))
    path = tmp_path / "run.safetensors"
    for number, tick in enumerate(reference(x, start, torch.Generator().manual_seed(5), BRIEF)):
        save(tick.run, path)
        if number == 2:
            break
    rest = list(reference(x, start, torch.Generator().manual_seed(5), BRIEF, resume=path))
    assert [t.fit.steps for t in whole[3:]] == [t.fit.steps for t in rest] == [40, 50, 60]
    for a, b in zip(whole[3:], rest, strict=True):
        assert torch.equal(a.fit.means, b.fit.means)
        assert (a.fit.variance, a.fit.loss, a.fit.note) == (b.fit.variance, b.fit.loss, b.fit.note)
    assert torch.equal(whole[-1].run.moments, rest[-1].run.moments)


def test_a_checkpoint_of_another_run_is_refused(x: Tensor, tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    save(next(reference(x, x[:12], torch.Generator().manual_seed(5), BRIEF)).run, path)
    other = replace(BRIEF, deviation=1e-2)
    for data, start, seed, recipe in (
        (x + 1, x[:12], 5, BRIEF),
        (x, x[1:13], 5, BRIEF),
        (x, x[:12], 6, BRIEF),
        (x, x[:12], 5, other),
    ):
        with pytest.raises(InputError, match="another run"):
            next(reference(data, start, torch.Generator().manual_seed(seed), recipe, resume=path))
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(InputError, match="cannot be read"):
        next(reference(x, x[:12], torch.Generator().manual_seed(5), BRIEF, resume=path))


def test_an_early_stop_is_called_by_its_name_and_the_end_is_settled(x: Tensor) -> None:
    """The trap: early on s has not moved, every mean is a training sample, and it looks memorised."""
    recipe = replace(
        QUICK, procedure=replace(QUICK.procedure, descent=Descent(2_500, betas=(0.9, 0.95)), looks=50)
    )
    start = recipe.means(x, 12, torch.Generator().manual_seed(1)).float()
    ticks = list(reference(x, start, torch.Generator().manual_seed(2), recipe))
    early, end = ticks[1].fit, ticks[-1].fit
    assert not early.settled and "has not left its start" in early.note
    assert early.loss > 10 * end.loss
    assert end.settled, end.note
    # Where k-means says: s^2 = D2/d, in the nearly one-hot regime.
    assert end.variance == pytest.approx(distortion(end.means, x) / 8, rel=0.06)


def test_verdict_wants_all_three() -> None:
    looks = [Look(k, 10.0, 0.5 if k else 1e-3, 0.0, 0.5) for k in range(0, 101, 10)]
    assert verdict(looks) == (True, "settled after 100 steps")

    def spoiled(**changes: float) -> str:
        settled, note = verdict([*looks[:-1], replace(looks[-1], **changes)])
        assert not settled
        return note

    assert "has not left its start" in spoiled(deviation=0.009)
    assert "changed by 1.96%" in spoiled(loss=10.2)
    assert "on their way" in spoiled(elasticity=-0.06)
    assert "changed by" in spoiled(loss=math.nan)
    assert not verdict(looks[:1])[0]
    # Every sample has its own mean: staying small is right.
    assert verdict([replace(look, deviation=1e-3, floor=0.0) for look in looks])[0]


def test_any_denoiser_takes_the_same_steps_with_automatic_gradients(x: Tensor) -> None:
    """The same stream and start: the means, whose gradients do not know how s is parametrised, agree."""
    x = x.double()
    descent = Descent(steps=20, peak=1e-2, warmup=0.0, smoothing=0.5)
    recipe = Recipe(Procedure(draws=3, descent=descent, looks=1), deviation=1.0)
    by_hand = finish(reference(x, x[:9], torch.Generator().manual_seed(3), recipe))
    denoiser = Shared(x[:9], 1.0)
    (tick,) = reference_denoiser(denoiser, x, torch.Generator().manual_seed(3), recipe.procedure)
    # s moves by about rate, log s^2 by about rate as well, so that the two runs drift apart with rate only.
    assert (denoiser.means - by_hand.means).norm() < 0.02 * (by_hand.means - x[:9]).norm()
    assert tick.outcome.steps == 20 and tick.outcome.loss == pytest.approx(by_hand.loss, rel=0.02)


def test_any_denoiser_resumes_to_the_same_bits(x: Tensor, tmp_path: Path) -> None:
    path, deviation = tmp_path / "run.safetensors", lambda d: float((d.log_variance / 2).exp().detach())
    runs = [Shared(x[:9], 1e-6) for _ in range(3)]

    def ticks(denoiser: nn.Module, resume: Path | None = None):
        stream = torch.Generator().manual_seed(4)
        return reference_denoiser(denoiser, x, stream, BRIEF.procedure, deviation, resume)

    whole = list(ticks(runs[0]))
    first = next(iter(ticks(runs[1])))
    assert "has not left its start" in first.outcome.note
    save(first.run, path)
    rest = list(ticks(runs[2], path))
    assert len(rest) == len(whole) - 1 and whole[-1].outcome == rest[-1].outcome
    assert torch.equal(runs[0].means, runs[2].means)


def test_bad_settings_are_refused(x: Tensor) -> None:
    for wrong in (
        lambda: Descent(steps=0),
        lambda: Descent(peak=1e-6, last=1e-3),
        lambda: Descent(warmup=1.0),
        lambda: Procedure(draws=0),
        lambda: Procedure(sigmas=(0.0, 1.0)),
        lambda: Recipe(deviation=0.0),
        lambda: next(reference_denoiser(nn.Identity(), x, torch.Generator(), BRIEF.procedure)),
    ):
        with pytest.raises(InputError):
            wrong()
    hot = replace(BRIEF.procedure, descent=Descent(steps=60, peak=1e20, last=0.0, warmup=0.0, smoothing=0.0))
    with pytest.raises(InputError, match=r"no longer finite|finite and at least 0"):
        list(reference(x, x[:9], torch.Generator(), replace(BRIEF, procedure=hot)))
    assert module.LOOK_DRAWS % 2 == 0  # pairs
