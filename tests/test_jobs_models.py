"""Models of others through the commands: probed, trained on, refused in one paragraph."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
from commands import SHORT
from safetensors.torch import load_file, save_file
from strangers import forget_program, install_program, save_pipeline, save_snapshot, unet

from unrote.contracts import InputError
from unrote.data.images import load_images
from unrote.data.pixels import to_unit
from unrote.denoise.exact import Empirical
from unrote.denoise.foreign import from_function
from unrote.jobs import ProbeOptions, TrainOptions, probe, train
from unrote.jobs.models import read_model, trivial_error

pytest_plugins = ("refusals",)

PROBE = ["probe", "--train", "digits@64", "--test", "digits@99", "--points", 8, "--levels", 3]
TRAIN = ["train", "--train", "digits@64", *SHORT[:2], *SHORT[6:]]
"""As SHORT, without the size of the network."""


@pytest.fixture(scope="session")
def saved(tmp_path_factory) -> Path:
    return save_pipeline(tmp_path_factory.mktemp("models") / "pipeline")


@pytest.fixture
def folder(saved, place) -> Path:
    return Path(shutil.copytree(saved, "pipeline"))


def test_a_pipeline_is_probed_in_one_command(call, folder) -> None:
    status, out, told = call(*PROBE, "--model", "pipeline", "--json")
    assert status == 0, told
    result = json.loads(out)
    model = result["inputs"]["model"]
    assert model["kind"] == "diffusers UNet2DModel with DDPMScheduler (epsilon)"
    assert model["shape"] == [1, 8, 8]
    assert model["levels"] == {"low": pytest.approx(0.01, abs=1e-4), "high": pytest.approx(157.4, abs=0.1)}
    assert len(model["sha256"]) == 64
    levels = result["results"]["levels"]
    # Below its first timestep the network was not trained: the grid ends there, and this is said.
    assert levels[0] == 80.0
    assert levels[-1] == model["levels"]["low"]
    notes = " ".join(result["results"]["notes"])
    assert "levels run from 0.01 to 80" in notes
    assert "clip_sample" in notes
    assert "denoise training images better" in notes  # its weights are random
    assert "levels run from" in Path("probe/report.html").read_text()


def test_any_function_can_be_probed_and_the_empirical_optimum_is_its_own_equal(place) -> None:
    x = to_unit(load_images("digits@64").pixels, (0, 255))
    options = ProbeOptions(
        model=Path("my function"), train="digits@64", test="digits@99", points=16, levels=5
    )
    made = probe(options, Empirical(x))
    assert made.model == made.empirical
    assert made.notes == ()
    said = made.content["inputs"]["model"]
    assert (said["spec"], said["kind"]) == ("my function", "a denoiser made in Python")


def test_a_denoiser_that_does_nothing_is_told_to_be_untrained(place) -> None:
    options = ProbeOptions(model=Path("nothing"), train="digits@64", test="digits@99", points=16, levels=5)
    (note,) = probe(options, from_function(lambda x, sigma: x)).notes
    assert "mean and variance" in note


def test_the_trivial_error_is_the_one_of_the_best_linear_denoiser() -> None:
    g = torch.Generator().manual_seed(0)
    mean = torch.rand(1, 3, generator=g)
    x = mean + 0.7 * torch.randn(50_000, 3, generator=g)
    for sigma, expected in zip(
        (0.1, 1.0, 10.0), trivial_error(x, torch.tensor([0.1, 1.0, 10.0])).tolist(), strict=True
    ):
        noisy = x + sigma * torch.randn(x.shape, generator=g)
        best = mean + 0.49 / (0.49 + sigma**2) * (noisy - mean)
        assert float((best - x).square().mean()) == pytest.approx(expected, rel=0.02)


def test_the_probe_of_a_snapshot(call, place, monkeypatch) -> None:
    install_program(place / "program")
    forget_program()
    monkeypatch.syspath_prepend(str(place / "program"))
    save_snapshot(Path("network.pkl"))
    monkeypatch.setattr(sys, "snapshot_program_ran", False, raising=False)
    status, _, told = call(*PROBE, "--model", "network.pkl")
    assert status == 2
    assert "runs whatever programs" in told
    assert "unrote convert --model network.pkl --out network.safetensors" in told
    assert len(told.splitlines()) == 1
    assert not sys.snapshot_program_ran
    status, out, _ = call("convert", "--model", "network.pkl", "--out", "network.safetensors")
    assert status == 0
    assert "training.networks:EDMPrecond" in out
    assert not sys.snapshot_program_ran
    status, out, told = call(*PROBE, "--model", "network.safetensors", "--json")
    assert status == 0, told
    safe = json.loads(out)
    status, out, told = call(*PROBE, "--model", "network.pkl", "--unsafe-pickle", "--json", "--overwrite")
    assert status == 0, told
    assert json.loads(out)["results"]["train_error"] == safe["results"]["train_error"]
    assert json.loads(out)["inputs"]["model"]["sha256"] == safe["inputs"]["model"]["sha256"]
    forget_program()


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--out", "a.pt"], "names no safetensors file"),
        (["--out", "train.safetensors", "--model", "train.npy"], "not a snapshot"),
        (["--out", "a.safetensors", "--model", "nowhere.pkl"], "not a snapshot"),
    ],
)
def test_conversions_that_cannot_be_made(refused, flags, says) -> None:
    assert says in refused("convert", *([] if "--model" in flags else ["--model", "train.npy"]), *flags)


# Labels


def labelled(n: int, classes: int, name: str) -> str:
    """A folder of n digits with one subfolder for each class."""
    from PIL import Image

    images = load_images("digits")
    for i in range(n):
        place = Path(name) / str(i % classes)
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(images.pixels[i, 0].numpy()).save(place / f"{i}.png")
    return name


def test_conditional_models_need_labels_that_they_know(call, refused, place) -> None:
    save_pipeline(Path("three"), unet(num_class_embeds=3))
    few, many = labelled(30, 3, "few"), labelled(30, 4, "many")
    told = refused("probe", "--model", "three", "--train", few, "--test", "samples.npy")
    assert "12x12" in told  # the sizes are looked at first
    import numpy as np

    np.save("plain.npy", load_images("digits@40").pixels.numpy())
    told = refused("probe", "--model", "three", "--train", few, "--test", "plain.npy")
    assert "conditional (it has 3 classes)" in told
    assert "--test" in told
    told = refused("probe", "--model", "three", "--train", many, "--test", few)
    assert "numbered 0 to 2" in told
    assert "labels from 0 to 3" in told
    status, _, told = call("probe", "--model", "three", "--train", few, "--test", few, "--levels", 2)
    assert status == 0, told


# Training from a model


def test_training_starts_from_the_weights_of_a_pipeline_and_the_run_is_a_model(call, folder) -> None:
    status, _, told = call(*TRAIN, "--from", "pipeline", "--out", "run")
    assert status == 0, told
    said = json.loads(Path("run/run.json").read_text())
    assert said["network"]["kind"] == "diffusers"
    assert json.loads(Path("run/result.json").read_text())["inputs"]["model"]["kind"].startswith("diffusers")
    before = load_file(folder / "unet" / "diffusion_pytorch_model.safetensors")
    after = load_file(max(Path("run").glob("step-*")))
    change = {n: float((after[f"raw/network.unet.{n}"] - t).abs().max()) for n, t in before.items()}
    # Twenty updates of Adam move a weight by at most twenty learning rates.
    assert 0 < max(change.values()) < 20 * 1e-3
    # The folder that it came from is not needed again.
    shutil.rmtree(folder)
    status, out, told = call(*PROBE, "--model", "run", "--json")
    assert status == 0, told
    result = json.loads(out)
    assert result["results"]["levels"][-1] == pytest.approx(0.01, abs=1e-4)
    assert result["inputs"]["model"]["spec"].endswith("step-000000020.safetensors")
    status, _, told = call(*TRAIN, "--from", "run", "--out", "again")
    assert status == 0, told


def test_a_run_goes_on_from_a_run_at_the_loss_where_that_one_ended(call, run) -> None:
    status, _, told = call(*TRAIN, "--from", "run", "--out", "more", "--learning-rate", 1e-7)
    assert status == 0, told
    ended = json.loads(Path("run/history.json").read_text())[-1]["train_loss"]["value"]
    begun = json.loads(Path("more/history.json").read_text())[0]["train_loss"]["value"]
    assert begun == pytest.approx(ended, rel=1e-3)


def test_the_same_start_is_part_of_what_makes_two_runs_the_same(folder, tmp_path, monkeypatch) -> None:
    from unrote.jobs import fitting

    def stop(state, path):
        save(state, path)
        raise KeyboardInterrupt

    save = fitting.save
    given = {"train": "digits@64", "steps": 20, "samples": 8, "checkpoints": 2, "device": "cpu"}
    monkeypatch.setattr(fitting, "save", stop)
    with pytest.raises(KeyboardInterrupt):
        train(TrainOptions(**given, from_model=folder, out=tmp_path / "run"))
    monkeypatch.setattr(fitting, "save", save)
    made = train(TrainOptions(**given, from_model=folder, out=tmp_path / "run"))
    whole = train(TrainOptions(**given, from_model=folder, out=tmp_path / "whole"))
    assert [m.train_loss for m in made.history] == [m.train_loss for m in whole.history]


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--from", "nowhere"], "--from nowhere is neither a file or folder"),
        (["--from", "pipeline", "--width", 16], "--width would be ignored"),
        (["--from", "pipeline", "--network", "unet", "--depth", 2], "--network, --depth would be ignored"),
        (["--from", "pipeline", "--conditional"], "has no classes"),
        (["--from", "three"], "add --conditional"),
        (["--from", "pipeline", "--resize", 16], "shape (1, 8, 8)"),
        (["--from", "pipeline", "--out", "pipeline", "--overwrite"], "pipeline"),
        (["--from", "three", "--conditional"], "numbered 0 to 2"),
    ],
)
def test_models_that_training_cannot_start_from(refused, folder, flags, says) -> None:
    save_pipeline(Path("three"), unet(num_class_embeds=3))
    assert says in refused(*TRAIN, *([] if "--out" in flags else ["--out", "run"]), *flags)


# Refusals


def spoil(name: str, change) -> None:
    path = Path("pipeline") / name
    if path.suffix == ".json":
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))
    else:
        weights = load_file(path)
        change(weights)
        save_file(weights, path, metadata={"format": "pt"})


WEIGHTS = "unet/diffusion_pytorch_model.safetensors"


@pytest.mark.parametrize(
    ("file", "change", "says"),
    [
        (
            "model_index.json",
            lambda c: c.update(text_encoder=["transformers", "CLIPTextModel"]),
            "not probed",
        ),
        (
            "scheduler/scheduler_config.json",
            lambda c: c.update(_class_name="FlowMap"),
            "known are DDPMScheduler",
        ),
        (WEIGHTS, lambda w: w["conv_in.weight"].fill_(float("nan")), "not finite"),
        (WEIGHTS, lambda w: w.pop("conv_in.weight"), "1 missing"),
        (WEIGHTS, lambda w: w.update({"conv_in.weight": torch.zeros(1)}), "conv_in.weight"),
        ("unet/config.json", lambda c: c.update(sample_size=16), "shape (1, 16, 16)"),
        ("unet/config.json", lambda c: c.update(num_class_embeds=4), "class_embedding"),
    ],
)
def test_spoilt_pipelines_are_one_paragraph(refused, folder, file, change, says) -> None:
    spoil(file, change)
    assert says in refused(*PROBE, "--model", "pipeline")


def test_names_that_are_no_models(refused, place, monkeypatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(place / "cache"))
    assert "hf download someone/model" in refused(*PROBE, "--model", "someone/model")
    assert "is neither a file or folder" in refused(*PROBE, "--model", "nowhere")
    Path("empty").mkdir()
    assert "unrote train" in refused(*PROBE, "--model", "empty")


def test_a_model_without_a_size_takes_the_size_of_the_images(call, refused, place) -> None:
    save_pipeline(Path("free"), unet(sample_size=None))
    status, _, told = call(*PROBE, "--model", "free")
    assert status == 0, told
    assert "cannot be run" in refused(
        "probe", "--model", "free", "--train", "digits@64", "--test", "digits@99", "--resize", 7, "--out", "b"
    )


def test_one_function_reads_every_model(folder, run) -> None:
    for spelling in ("pipeline", Path("pipeline"), "run", max(Path("run").glob("step-*"))):
        denoiser, said = read_model(spelling)
        with torch.no_grad():
            assert denoiser(torch.zeros(1, 1, 8, 8), torch.ones(1)).shape == (1, 1, 8, 8)
        assert said.card.shape == (1, 8, 8)
    with pytest.raises(InputError, match="neither"):
        read_model("nowhere")


def test_raw_and_averaged_weights_of_a_checkpoint(folder, tmp_path) -> None:
    unet(1).save_pretrained(folder / "checkpoint-1" / "unet")
    unet(2).save_pretrained(folder / "checkpoint-1" / "unet_ema")
    given = {
        "train": "digits@64",
        "test": "digits@80",
        "points": 4,
        "levels": 2,
        "model": folder / "checkpoint-1",
    }
    averaged = probe(ProbeOptions(**given, out=tmp_path / "a"))
    raw = probe(ProbeOptions(**given, raw=True, out=tmp_path / "b"))
    assert averaged.content["inputs"]["model"]["sha256"] != raw.content["inputs"]["model"]["sha256"]
    assert averaged.model.test_error != raw.model.test_error
