"""Folders that diffusers saves, and names of its hub that are in the local cache, as denoisers.

Nothing is downloaded and nothing is unpickled: weights are safetensors, or .bin files that are read
as tensors alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from unrote.contracts import InputError
from unrote.denoise.compose import Precondition
from unrote.denoise.foreign import Card, from_diffusers
from unrote.denoise.schedulers import scheduler_of

INDEX, CONFIG, SCHEDULER = "model_index.json", "config.json", "scheduler_config.json"
LAYOUT = (
    "A folder of diffusers holds model_index.json with unet/ and scheduler/ (pipeline.save_pretrained), or is the "
    "folder of a UNet2DModel with a scheduler/ in it or beside it"
)
HUB = re.compile(r"(?:hf:)?([\w.-]+/[\w.-]+)")
WEIGHTS = re.compile(r"diffusion_pytorch_model(?:\.(\w+))?\.(safetensors|bin)")


def is_pipeline(folder: Path) -> bool:
    """Whether a folder looks as if diffusers had saved it."""
    return any((folder / name).is_file() for name in (INDEX, CONFIG, f"unet/{CONFIG}", f"unet_ema/{CONFIG}"))


def cached(name: str) -> Path | None:
    """The folder in the local cache of a hub name, owner/name or hf:owner/name; None where it is no such name.

    Raises:
        InputError: if it is one, and is not in the cache; with the command that fetches it.
    """
    match = HUB.fullmatch(name)
    if match is None:
        return None
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(match[1], local_files_only=True))
    except HFValidationError:
        return None
    except (LocalEntryNotFoundError, OSError) as error:
        raise InputError(
            f"There is no file or folder {name}, and no model {match[1]} in the local cache of the Hugging Face hub. "
            f"Nothing is downloaded without being asked for: `hf download {match[1]}` fetches it, then the same "
            "command works. A run of `unrote train`, a folder of diffusers and an EDM snapshot are named by their "
            "paths."
        ) from error


def read_pipeline(folder: Path, averaged: bool = True) -> tuple[Precondition, Card]:
    """A folder of diffusers as a denoiser in evaluation mode, in float32, and what is known of it.

    Args:
        folder: a pipeline, a checkpoint of diffusers' training scripts, or a UNet2DModel with its scheduler.
        averaged: of a checkpoint with unet/ and unet_ema/, whether the averaged weights are meant.

    Raises:
        InputError: if it is something else, or its parts are missing, damaged, unknown or not finite.
    """
    index = _json(folder / INDEX) if (folder / INDEX).is_file() else None
    if index is not None:
        check_pixels(folder, index)
    place, notes = _unet_folder(folder, averaged)
    scheduler = scheduler_of(_json(_scheduler_file(folder, place)))
    config = _json(place / CONFIG)
    if config.get("_class_name") != "UNet2DModel":
        raise InputError(
            f"{place} holds a {config.get('_class_name')}, and networks of diffusers are read as UNet2DModel, without "
            "text and in pixels. In Python any f(x, sigma) can be probed: see docs/models.md."
        )
    unet = _load(place)
    check_finite(unet, str(place))
    denoiser, card = from_diffusers(unet.eval(), scheduler)
    return denoiser.eval(), replace(card, notes=(*notes, *card.notes))


def check_pixels(folder: Path, index: Mapping[str, Any]) -> None:
    """Refuse pipelines whose network is told a text, or works on the codes of another network.

    Raises:
        InputError: naming the part that says so.
    """
    kind = index.get("_class_name")
    parts = {
        name: part[1] for name, part in index.items() if isinstance(part, list) and len(part) == 2 and part[1]
    }
    told = [name for name in parts if name.startswith(("text_encoder", "tokenizer", "prompt", "prior"))]
    if told or "Condition" in str(parts.get("unet")):
        raise InputError(
            f"{folder} is a {kind}, whose network is told a text ({', '.join(told) or parts['unet']}). "
            "Text-conditional models are not probed: generate images with their prompts and hold them against the "
            "training set with `unrote audit`."
        )
    coders = [name for name in parts if name.startswith(("vae", "vq", "movq"))]
    if coders:
        raise InputError(
            f"{folder} is a {kind}, which works on the codes of another network ({', '.join(coders)}); noise levels "
            "are those of pixels here. Generate images with it and use `unrote audit`."
        )
    if "unet" not in parts:
        raise InputError(
            f"{folder} is a {kind} with the parts {', '.join(parts) or 'none'}, and no U-Net; networks of diffusers "
            "are read as UNet2DModel. In Python any f(x, sigma) can be probed: see docs/models.md."
        )


def check_finite(module: nn.Module, name: str) -> None:
    """Refuse weights that are not finite.

    Raises:
        InputError: with the number of tensors concerned and the first of them.
    """
    weights: dict[str, Tensor] = module.state_dict()
    wrong = [key for key, value in weights.items() if not bool(value.isfinite().all())]
    if wrong:
        raise InputError(
            f"{name} has weights that are not finite (NaN or infinite) in {len(wrong)} of {len(weights)} tensors, "
            f"first {wrong[0]}: its training diverged, or the file is damaged. Take an earlier checkpoint."
        )


def _unet_folder(folder: Path, averaged: bool) -> tuple[Path, tuple[str, ...]]:
    both = [folder / name for name in ("unet_ema", "unet") if (folder / name / CONFIG).is_file()]
    if len(both) == 2:
        place = both[0] if averaged else both[1]
        return place, (f"Of the checkpoint's two sets of weights {place.name} is read.",)
    if both:
        return both[0], ()
    if not (folder / CONFIG).is_file():
        raise InputError(f"{folder} has no configuration of a U-Net (unet/{CONFIG}). {LAYOUT}.")
    return folder, ()


def _scheduler_file(folder: Path, unet: Path) -> Path:
    places = dict.fromkeys(
        [
            folder / "scheduler",
            folder,
            unet / "scheduler",
            unet.parent / "scheduler",
            unet.parent.parent / "scheduler",
        ]
    )
    for place in places:
        if (place / SCHEDULER).is_file():
            return place / SCHEDULER
    raise InputError(
        f"{folder} comes without the scheduler that it was trained with, which says what its timesteps and outputs "
        f"mean: {SCHEDULER} was looked for in {', '.join(map(str, places))}. Save it there with "
        "scheduler.save_pretrained."
    )


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as JSON ({error}). {LAYOUT}.") from error
    if not isinstance(found, dict):
        raise InputError(
            f"{path} holds a {type(found).__name__}, where names with values are expected. {LAYOUT}."
        )
    return found


def _variant(folder: Path) -> str | None:
    """The variant of the weights, as fp16, where no others are there.

    Raises:
        InputError: if there are no weights, or several variants to choose from.
    """
    found = {m[1] for path in folder.iterdir() if (m := WEIGHTS.fullmatch(path.name))}
    if None in found or any(folder.glob("diffusion_pytorch_model*.index.json")):
        return None
    if len(found) != 1:
        raise InputError(
            f"{folder} holds {'several variants of the weights' if found else 'no weights'} "
            f"({', '.join(sorted(map(str, found))) or 'diffusion_pytorch_model.safetensors is not there'}); copy the "
            "ones that are meant to diffusion_pytorch_model.safetensors."
        )
    return found.pop()


def _load(folder: Path) -> nn.Module:
    """A UNet2DModel in float32; every weight of it comes from the file, and every weight of the file is used."""
    from diffusers import UNet2DModel

    variant = _variant(folder)
    # Its layers would draw initial weights from the global stream.
    with torch.random.fork_rng(devices=[]), _quiet():
        try:
            unet, seen = UNet2DModel.from_pretrained(
                str(folder),
                local_files_only=True,
                output_loading_info=True,
                torch_dtype=torch.float32,
                variant=variant,
            )
        except (OSError, ValueError, RuntimeError, TypeError, KeyError, AttributeError, EOFError) as error:
            text = (
                re.sub(r"\s+", " ", str(error))
                .split(" If you want to")[0]
                .replace("Cannot load because ", "")
            )
            raise InputError(
                f"The weights in {folder} do not fit the network that its {CONFIG} describes, or are damaged: "
                f"{text[:300].rstrip('.')}. Take both from the same source."
            ) from error
    wrong = {
        kind: seen[f"{kind}_keys"] for kind in ("missing", "unexpected", "mismatched") if seen[f"{kind}_keys"]
    }
    if wrong:
        told = "; ".join(f"{len(names)} {kind}, first {names[0]}" for kind, names in wrong.items())
        raise InputError(
            f"The weights in {folder} are those of another network than its {CONFIG} describes: {told}. Take both "
            "from the same source."
        )
    return unet


@contextmanager
def _quiet() -> Iterator[None]:
    """diffusers says on standard error what is raised here as one paragraph."""
    from diffusers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity(logging.CRITICAL)
    try:
        yield
    finally:
        logging.set_verbosity(before)
