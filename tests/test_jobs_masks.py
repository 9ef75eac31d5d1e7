"""Masking on the command line: hidden pixels leave no trace, samples have masks of their own, runs go on exactly."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from unrote.contracts import Examples, InputError
from unrote.denoise.foreign import Card
from unrote.jobs import TrainOptions, train
from unrote.jobs.cures import Cures, recipes_of
from unrote.jobs.dummies import RealImages
from unrote.jobs.fitting import CURES, Plan, fit, read_run
from unrote.jobs.masks import Inpainter, losses_of, mask_seeds, matching, one_by_one
from unrote.jobs.measuring import LAW, TrainingSet, draw
from unrote.jobs.models import read_model
from unrote.jobs.training import plan_of, read_data
from unrote.jobs.training_start import check_hidden
from unrote.train.recipe import baseline

OPTIONS = TrainOptions(
    train="digits@40",
    test="digits@1000:1040",
    recipe="masking",
    width=16,
    depth=1,
    steps=12,
    samples=6,
    checkpoints=3,
    device="cpu",
)


@pytest.fixture(scope="module")
def data() -> TrainingSet:
    return read_data(OPTIONS)[0]


def planned(**given: object) -> Plan:
    options = replace(OPTIONS, **given)
    return replace(plan_of(options, cpu=True), cures=recipes_of(options)[options.recipe])


def fitted(data: TrainingSet, plan: Plan, folder: Path) -> dict[str, Tensor]:
    folder.mkdir()
    fit(data, plan, folder, lambda n: None)
    return load_file(max(folder.glob("step-*.safetensors")))


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def shown_of(data: TrainingSet, plan: Plan) -> Tensor:
    """The pixels of every training image that its mask shows (N,1,H,W)."""
    recipe = baseline(Examples(data.x, torch.zeros(len(data.x))), LAW, torch.ones_like)
    rows = plan.cures.intervention(plan.seed + CURES)(recipe).examples.x
    return rows[: len(data.x), -1:]


@pytest.mark.parametrize(
    "given", [{}, {"flip": True, "hidden": 0.3}, {"recipe": "masking+gap", "gap": (0.3, 0.9)}]
)
def test_hidden_pixels_never_touch_a_weight(data, tmp_path, given):
    plan = planned(**given)
    shown = shown_of(data, plan)
    other = replace(data, x=torch.where(shown == 1, data.x, -data.x))
    assert not torch.equal(other.x, data.x)
    one = fitted(data, plan, tmp_path / "one")
    assert same(one, fitted(other, plan, tmp_path / "two"))
    seen = replace(data, x=torch.where(shown == 0, data.x, -data.x))
    assert not same(one, fitted(seen, plan, tmp_path / "three"))


def test_a_sample_is_the_same_alone_and_in_a_batch_and_under_a_mask_of_its_own(data, tmp_path):
    denoiser = fit(data, planned(), tmp_path, lambda n: None).denoiser
    assert isinstance(denoiser, Inpainter)
    few, more = draw(denoiser, data, 2, 5), draw(denoiser, data, 6, 5)
    torch.testing.assert_close(few, more[:2], rtol=1e-4, atol=1e-5)
    seeds = mask_seeds(5, 6)
    masks = denoiser.masks(seeds)
    assert len(masks.flatten(1).unique(dim=0)) == 6
    assert all(torch.equal(masks[i], denoiser.masks([seeds[i]])[0]) for i in range(6))
    numbered, numbers = one_by_one(denoiser, seeds, None)
    x, sigma = torch.randn(6, 1, 8, 8, generator=torch.Generator().manual_seed(1)), torch.full((6,), 0.5)
    told, back = numbered(x, sigma, numbers), torch.arange(5, -1, -1)
    torch.testing.assert_close(numbered(x[back], sigma, numbers[back])[back], told, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(numbered(x + 9 * (1 - masks), sigma, numbers), told)


@pytest.mark.parametrize("given", [{}, {"recipe": "masking+dummy", "flip": True}, {"conditional": True}])
def test_a_run_folder_makes_the_samples_that_the_run_was_measured_on(tmp_path, given):
    options = replace(OPTIONS, **given)
    data, plan = read_data(options)[0], planned(**given)
    run = fit(data, plan, tmp_path, lambda n: None)
    denoiser, history = run.denoiser, run.history
    read, card, said, _ = read_run(tmp_path)
    assert said["masking"] == {"hidden": 0.5, "further": 0.1, "seed": 9}
    assert card.classes == data.classes
    assert "one mask" in card.notes[0]
    if "dummy" not in options.recipe:  # there `fit` gives a denoiser that knows noise images, too
        assert torch.equal(draw(read, data, 4, 0), draw(denoiser, data, 4, 0))
    again, _ = read_model(tmp_path)
    x, label = data.x[:3], None if data.label is None else data.label[:3]
    assert torch.equal(again(x, torch.full((3,), 0.4), label), read(x, torch.full((3,), 0.4), label))
    assert history[-1].train_loss.value == pytest.approx(1, abs=0.8)


class Stopped(Exception):
    pass


def test_an_interrupted_run_goes_on_to_the_same_bits_and_not_with_other_masks(data, tmp_path):
    given = {"recipe": "masking+dummy", "flip": True}
    plan, partly = planned(**given), tmp_path / "partly"
    whole = fitted(data, plan, tmp_path / "whole")
    partly.mkdir()

    def stop_after_a_checkpoint(n: int) -> None:
        if list(partly.glob("step-*.safetensors")):
            raise Stopped

    with pytest.raises(Stopped):
        fit(data, plan, partly, stop_after_a_checkpoint)
    for other in ({"hidden": 0.4}, {"flip": False}):
        with pytest.raises(InputError, match="another run"):
            fit(data, planned(**{**given, **other}), partly, lambda n: None)
    fit(data, plan, partly, lambda n: None)
    assert same(load_file(max(partly.glob("step-*.safetensors"))), whole)


def test_losses_are_those_of_the_pixels_that_a_mask_shows():
    g = torch.Generator().manual_seed(0)
    x, z = torch.randn(50, 2, 6, 5, generator=g), torch.randn(50, 2, 6, 5, generator=g)
    sigma = torch.rand(50, generator=g) + 0.1
    # It returns its state as it came: the error is the noise of the pixels that are shown.
    idle = Inpainter(Idle(), (2, 6, 5), 0.4, 0.1, 0)
    seeds = mask_seeds(3, 50)
    m = idle.masks(seeds)
    told = losses_of(idle, seeds, x, sigma, z, lambda s: s**-2, None, 16)
    torch.testing.assert_close(told, (m * z.square()).flatten(1).sum(1) / (2 * m.flatten(1).sum(1)))
    other = losses_of(idle, seeds, x + 7 * (1 - m), sigma, z, lambda s: s**-2, None, 16)
    assert torch.equal(told, other)


class Idle(torch.nn.Module):
    """A masked denoiser that leaves everything as it is."""

    def forward(self, x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
        return x


def test_masks_that_hide_everything_are_refused_before_anything_is_trained(data, tmp_path):
    check_hidden(planned(hidden=0.8), data)
    check_hidden(planned(recipe="baseline"), data)
    for recipe in ("masking", "baseline,masking+dummy"):
        with pytest.raises(
            InputError, match=r"--hidden 0.97 is too much for images of 8 x 8 pixels.*show no pixel"
        ):
            train(replace(OPTIONS, recipe=recipe, hidden=0.97, out=tmp_path / "run"))
    assert not list(tmp_path.iterdir())
    few = replace(data, x=data.x[:1])  # the only training image shows some, the masks of samples do not
    with pytest.raises(InputError, match=r"--hidden 0.94 is too much.*masks hide everything"):
        check_hidden(planned(hidden=0.94), few)


def test_a_run_starts_from_a_model_of_its_own_kind_alone(data, tmp_path):
    made = train(replace(OPTIONS, out=tmp_path / "masked"))
    train(replace(OPTIONS, recipe="baseline", out=tmp_path / "plain"))
    on = replace(OPTIONS, from_model=tmp_path / "masked", steps=4, width=512, depth=3)
    again = train(replace(on, hidden=0.3, out=tmp_path / "again"))
    assert json.loads((again.out / "run.json").read_text())["masking"]["hidden"] == 0.3
    assert made.done != again.done
    with pytest.raises(
        InputError, match=r"was trained by masking.*one channel more.*Add masking to --recipe"
    ):
        train(replace(on, recipe="baseline", out=tmp_path / "no"))
    with pytest.raises(
        InputError, match=r"was not trained by masking.*one channel more.*Start from a run of masking"
    ):
        train(replace(on, from_model=tmp_path / "plain", out=tmp_path / "no"))
    assert not (tmp_path / "no").exists()


def test_a_model_goes_on_as_what_is_below_its_mask():
    inner = RealImages(Idle(), None, 2)
    denoiser, card = Inpainter(inner, (1, 3, 3), 0.5, 0.1, 0), Card("a run", notes=("one", "of its mask"))
    found, known = matching(denoiser, card, 0.5, "run")
    assert found is inner
    assert known.notes == ("one",)
    assert matching(inner, card, None, "run") == (inner, card)


def test_what_excludes_masking_is_told_with_the_way_to_compare():
    for noisy in ("ambient", "noisy-only"):
        with pytest.raises(InputError, match=rf"one of the two.*--recipe masking,{noisy}"):
            recipes_of(replace(OPTIONS, recipe=f"masking+{noisy}", ambient=0.5))
    assert recipes_of(replace(OPTIONS, hidden=0.2)) == {"masking": Cures(hidden=0.2)}
    assert recipes_of(OPTIONS) == {"masking": Cures(hidden=0.5)}
