"""Folders as diffusers saves them, whole and spoilt; nothing is downloaded and nothing is run."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from strangers import save_pipeline, unet

from unrote.contracts import InputError
from unrote.denoise.foreign import from_diffusers
from unrote.denoise.pipelines import cached, is_pipeline, read_pipeline

WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    return save_pipeline(tmp_path_factory.mktemp("pipelines") / "saved")


@pytest.fixture
def folder(saved, tmp_path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "pipeline"))


def answers(folder: Path, averaged: bool = True) -> torch.Tensor:
    denoiser, _ = read_pipeline(folder, averaged)
    x = torch.linspace(-1, 1, 64).reshape(1, 1, 8, 8)
    with torch.no_grad():
        return denoiser(x, torch.tensor([0.7]))


def close(one: torch.Tensor, other: torch.Tensor) -> bool:
    """The same up to rounding: kernels choose their order of sums by where weights lie in memory."""
    return torch.allclose(one, other, atol=1e-5)


def expected(seed: int = 0) -> torch.Tensor:
    from diffusers import DDPMScheduler

    denoiser, _ = from_diffusers(unet(seed), DDPMScheduler())
    x = torch.linspace(-1, 1, 64).reshape(1, 1, 8, 8)
    with torch.no_grad():
        return denoiser(x, torch.tensor([0.7]))


def test_every_layout_gives_the_same_denoiser(folder, tmp_path) -> None:
    assert is_pipeline(folder)
    assert close(answers(folder), expected())
    # The U-Net alone, with its scheduler beside it or within.
    assert close(answers(folder / "unet"), expected())
    inside = Path(shutil.copytree(folder / "unet", tmp_path / "bare"))
    shutil.copytree(folder / "scheduler", inside / "scheduler")
    assert close(answers(inside), expected())
    # Everything in one folder, as the first pipelines were saved.
    flat = Path(shutil.copytree(folder / "unet", tmp_path / "flat"))
    shutil.copy(folder / "scheduler" / "scheduler_config.json", flat)
    shutil.copy(folder / "model_index.json", flat)
    assert close(answers(flat), expected())


def test_a_training_checkpoint_has_raw_and_averaged_weights(folder) -> None:
    checkpoint = folder / "checkpoint-500"
    unet(1).save_pretrained(checkpoint / "unet")
    unet(2).save_pretrained(checkpoint / "unet_ema")
    assert close(answers(checkpoint), expected(2))
    assert close(answers(checkpoint, averaged=False), expected(1))
    assert any("unet_ema" in note for note in read_pipeline(checkpoint)[1].notes)


def test_half_precision_variants_and_tensor_only_bin_files_are_read_in_float32(folder) -> None:
    place = folder / "unet" / WEIGHTS
    weights = load_file(place)
    place.unlink()
    save_file(
        {n: t.half() for n, t in weights.items()},
        folder / "unet" / "diffusion_pytorch_model.fp16.safetensors",
    )
    denoiser, _ = read_pipeline(folder)
    assert {p.dtype for p in denoiser.parameters()} == {torch.float32}
    assert torch.allclose(answers(folder), expected(), atol=1e-2)
    (folder / "unet" / "diffusion_pytorch_model.fp16.safetensors").unlink()
    torch.save(weights, folder / "unet" / "diffusion_pytorch_model.bin")
    assert close(answers(folder), expected())


def test_a_bin_file_cannot_run_anything(folder, tmp_path) -> None:
    class Trap:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    (folder / "unet" / WEIGHTS).unlink()
    with (folder / "unet" / "diffusion_pytorch_model.bin").open("wb") as file:
        pickle.dump({"conv_in.weight": Trap()}, file)
    with pytest.raises(InputError, match="damaged"):
        read_pipeline(folder)
    assert not (tmp_path / "ran").exists()


def test_reading_leaves_the_global_stream_and_standard_error_alone(folder, capfd) -> None:
    torch.manual_seed(7)
    before = torch.rand(2)
    torch.manual_seed(7)
    read_pipeline(folder)
    assert torch.equal(torch.rand(2), before)
    spoil_weights(folder, lambda w: w.pop("conv_in.bias"))
    with pytest.raises(InputError):
        read_pipeline(folder)
    assert capfd.readouterr().err == ""


def spoil_weights(folder: Path, change) -> None:
    weights = load_file(folder / "unet" / WEIGHTS)
    change(weights)
    save_file(weights, folder / "unet" / WEIGHTS, metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda w: w.pop("conv_in.bias"), "1 missing, first conv_in.bias"),
        (lambda w: w.update(extra=torch.zeros(1)), "1 unexpected, first extra"),
        (lambda w: w.update({"conv_in.bias": torch.zeros(3)}), "conv_in.bias"),
        (lambda w: w["conv_in.bias"].fill_(float("nan")), "not finite .* first conv_in.bias"),
        (lambda w: w["conv_out.weight"].fill_(float("inf")), "Take an earlier checkpoint"),
    ],
)
def test_wrong_weights(folder, change, says) -> None:
    spoil_weights(folder, change)
    with pytest.raises(InputError, match=says):
        read_pipeline(folder)


@pytest.mark.parametrize("content", [b"", b"junk", None])
def test_damaged_and_missing_weights(folder, content) -> None:
    place = folder / "unet" / WEIGHTS
    place.unlink()
    if content is not None:
        place.write_bytes(content)
    with pytest.raises(InputError, match=r"damaged|no weights"):
        read_pipeline(folder)


def edit(path: Path, **changes) -> None:
    content = json.loads(path.read_text())
    content.update(changes)
    path.write_text(json.dumps({k: v for k, v in content.items() if v is not None}))


@pytest.mark.parametrize(
    ("file", "changes", "says"),
    [
        (
            "model_index.json",
            {"text_encoder": ["transformers", "CLIPTextModel"]},
            "text_encoder.*unrote audit",
        ),
        ("model_index.json", {"unet": ["diffusers", "UNet2DConditionModel"]}, "Text-conditional"),
        ("model_index.json", {"vqvae": ["diffusers", "VQModel"]}, "codes of another network"),
        ("model_index.json", {"unet": ["diffusers", None]}, "no U-Net"),
        ("unet/config.json", {"_class_name": "UNet1DModel"}, "UNet1DModel.*UNet2DModel"),
        ("unet/config.json", {"block_out_channels": [8, 24]}, "do not fit|another network"),
        ("unet/config.json", {"down_block_types": ["Nothing", "DownBlock2D"]}, "do not fit"),
        (
            "scheduler/scheduler_config.json",
            {"_class_name": "ScoreSdeVeScheduler"},
            "ScoreSdeVeScheduler.*DDIMScheduler",
        ),
        ("scheduler/scheduler_config.json", {"_class_name": None}, "is not known"),
        ("scheduler/scheduler_config.json", {"beta_schedule": "steep"}, "steep"),
        ("scheduler/scheduler_config.json", {"beta_end": 1.5}, "rise from one timestep"),
        ("scheduler/scheduler_config.json", {"prediction_type": "score"}, "'score'.*v_prediction"),
    ],
)
def test_parts_that_cannot_be_used(folder, file, changes, says) -> None:
    edit(folder / file, **changes)
    with pytest.raises(InputError, match=says) as error:
        read_pipeline(folder)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["", "[1", "7", "[]"])
@pytest.mark.parametrize("file", ["model_index.json", "unet/config.json", "scheduler/scheduler_config.json"])
def test_configurations_that_are_none(folder, file, text) -> None:
    (folder / file).write_text(text)
    with pytest.raises(InputError, match="json"):
        read_pipeline(folder)


def test_a_missing_scheduler_says_where_it_was_looked_for(folder) -> None:
    shutil.rmtree(folder / "scheduler")
    with pytest.raises(InputError, match=r"save_pretrained") as error:
        read_pipeline(folder)
    assert str(folder / "scheduler") in str(error.value)


# The hub


def test_a_hub_name_that_is_not_cached_is_told_how_to_fetch_it(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    for name in ("someone/model", "hf:someone/model"):
        with pytest.raises(InputError, match=r"hf download someone/model"):
            cached(name)
    for name in ("model", "a/b/c", "/etc/x", "some one/x"):
        assert cached(name) is None


def test_a_cached_hub_name_is_found_without_a_network(saved, tmp_path, monkeypatch) -> None:
    place = tmp_path / "models--someone--model"
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text("0" * 40)
    shutil.copytree(saved, place / "snapshots" / ("0" * 40))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    found = cached("someone/model")
    assert found is not None
    assert close(answers(found), expected())
