"""A class of noise images: the network has it, samples do not, and models without room for it are refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from unrote.contracts import InputError
from unrote.jobs import ProbeOptions, TrainOptions, probe, train
from unrote.jobs.cures import Cures
from unrote.jobs.dummies import RealImages
from unrote.jobs.fitting import Start, fit, read_run
from unrote.jobs.measuring import draw, read_history
from unrote.jobs.training import plan_of, read_data

OPTIONS = TrainOptions(
    train="digits@40",
    recipe="dummy",
    width=16,
    depth=1,
    steps=40,
    samples=8,
    checkpoints=3,
    device="cpu",
)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    train(replace(OPTIONS, out=out))
    return out


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "plain"
    train(replace(OPTIONS, recipe="baseline", out=out))
    return out


def test_the_network_has_one_class_more_than_its_samples(run):
    said = json.loads((run / "run.json").read_text())
    assert (said["classes"], said["real_classes"]) == (2, None)
    denoiser, card, *_ = read_run(run)
    assert isinstance(denoiser, RealImages)
    assert card.classes is None
    x, sigma = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(0)), torch.full((3,), 0.7)
    real, noise = (denoiser.denoiser(x, sigma, torch.full((3,), label)) for label in (0, 1))
    assert torch.equal(denoiser(x, sigma), real)
    assert not torch.equal(real, noise)
    with pytest.raises(ValueError, match="no classes"):
        denoiser(x, sigma, torch.zeros(3, dtype=torch.int64))


def test_what_is_measured_on_the_way_is_what_the_run_folder_gives(run):
    from unrote.jobs.measuring import copies_of

    data, _ = read_data(OPTIONS)
    denoiser, *_ = read_run(run)
    copied = copies_of(draw(denoiser, data, 8, 0), data.reference)
    assert float(copied.double().mean()) == read_history(run)[-1].copy_ratio.value


def test_classes_of_real_images_stay_what_they_are(tmp_path):
    train(replace(OPTIONS, conditional=True, out=tmp_path / "run"))
    said = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (said["classes"], said["real_classes"]) == (11, 10)
    denoiser, card, *_ = read_run(tmp_path / "run")
    assert card.classes == 10
    x, sigma, label = torch.zeros(2, 1, 8, 8), torch.ones(2), torch.tensor([3, 9])
    assert torch.equal(denoiser(x, sigma, label), denoiser.denoiser(x, sigma, label))
    with pytest.raises(ValueError, match="needs labels"):
        denoiser(x, sigma)


def test_the_noise_images_are_trained_on(tmp_path):
    """Of its own class the network learns to give noise back, which one that never saw it does not."""
    options = replace(OPTIONS, steps=300, width=64, learning_rate=3e-3)
    data, _ = read_data(options)
    plan = replace(plan_of(options, cpu=True), cures=Cures(dummies=True))
    denoiser = fit(data, plan, tmp_path, lambda n: None).denoiser
    x0 = 2 * torch.rand(200, 1, 8, 8, generator=torch.Generator().manual_seed(9)) - 1
    z = torch.randn(x0.shape, generator=torch.Generator().manual_seed(8))
    x, sigma = x0 + 0.3 * z, torch.full((200,), 0.3)
    errors = [float((denoiser(x, sigma, torch.full((200,), label)) - x0).square().mean()) for label in (0, 1)]
    assert errors[1] < 0.8 * errors[0]


def test_a_model_with_a_dummy_class_is_probed_as_one_of_real_images(run, tmp_path):
    made = probe(
        ProbeOptions(
            model=run, train="digits@40", test="digits@300:340", out=tmp_path / "probe", points=16, levels=3
        )
    )
    assert len(made.content["results"]["levels"]) == 3


def test_a_run_goes_on_from_a_model_with_a_class_to_spare_and_from_no_other(run, plain, tmp_path):
    start = {"width": 512, "depth": 3}  # the model's own, not asked for
    again = train(replace(OPTIONS, from_model=run, out=tmp_path / "again", **start))
    assert again.content["results"]["stopped_at"] == 40
    said = json.loads((tmp_path / "again" / "run.json").read_text())
    assert (said["classes"], said["real_classes"]) == (2, None)
    denoiser, *_ = read_run(tmp_path / "again")
    assert isinstance(denoiser, RealImages)
    for model, recipe, words in (
        (plain, "dummy", "has no classes, and --recipe dummy takes 2.*one to spare"),
        (run, "baseline", "class of noise images.*add dummy"),
        (run, "baseline,dummy", "class of noise images"),
    ):
        with pytest.raises(InputError, match=words):
            train(replace(OPTIONS, recipe=recipe, from_model=model, out=tmp_path / "no", **start))
    with pytest.raises(InputError, match="has 2 classes, and --recipe dummy takes 11"):
        train(replace(OPTIONS, conditional=True, from_model=run, out=tmp_path / "no", **start))
    assert not (tmp_path / "no").exists()


def test_a_start_with_more_classes_than_needed_keeps_them(tmp_path):
    train(replace(OPTIONS, conditional=True, recipe="baseline", out=tmp_path / "ten"))
    denoiser, card, *_ = read_run(tmp_path / "ten")
    data, _ = read_data(OPTIONS)
    plan = replace(
        plan_of(OPTIONS, cpu=True),
        cures=Cures(dummies=True),
        start=Start(denoiser, replace(card, classes=10)),
    )
    place = tmp_path / "on"
    place.mkdir()
    fit(data, plan, place, lambda n: None)
    assert read_run(place)[0].total == 10
