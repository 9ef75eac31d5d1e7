"""Training states as files: one safetensors file each, whole or absent, checked when read.

A file holds ``raw/*`` and ``ema/*`` (weights by name), ``adam/*`` (what the optimizer keeps, by parameter and name),
``run/*`` (the stream of random numbers) and a JSON header in its metadata
with the step, the fingerprint of the run and one digest per part. Nothing in it can run code.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from unrote.contracts import InputError
from unrote.train.fingerprint import check_same, digest
from unrote.train.state import TrainState, named_weights, trainable

FORMAT = 1
PATTERN = re.compile(r"step-(\d{9})\.safetensors")


def checkpoint_path(folder: Path, step: int) -> Path:
    """The name under which `latest_checkpoint` finds the state at a step."""
    return folder / f"step-{step:09d}.safetensors"


def save(state: TrainState, path: Path) -> None:
    """Write a state between two ticks, so that the file at `path` is at every moment the old or the new one.

    The bytes go to a temporary file in the same folder, reach the disk, and take the name in one step.
    With several processes all of them call this, and the first one writes.

    Args:
        state: what a tick carries.
        path: file to write; its folder exists.

    Raises:
        InputError: if the file cannot be written; what was at `path` is untouched.
    """
    if state.accelerator.is_main_process:
        write(_tensors_of(state), _header_of(state), path)
    state.accelerator.wait_for_everyone()


def load(state: TrainState, path: Path) -> None:
    """Put a saved state into a fresh one of the same run, bit for bit.

    Args:
        state: a state with the same network, data and settings; changed in place.
        path: file that `save` wrote.

    Raises:
        InputError: if the file is damaged, not of this program, or of another run.
    """
    header, parts = read(path, ("raw", "ema", "adam", "run"))
    check_same(header["fingerprint"], state.fingerprint, f"The checkpoint {path}")
    _copy_weights(parts["raw"], state.network, path)
    _copy_weights(parts["ema"], state.ema, path)
    _restore_optimizer(state, parts["adam"])
    state.stream.set_state(parts["run"]["stream"])
    state.step, state.loss_sum, state.loss_count = header["step"], header["loss_sum"], header["loss_count"]
    if header["scaler"] is not None:
        state.accelerator.scaler.load_state_dict(header["scaler"])


def load_denoiser_weights(denoiser: nn.Module, path: Path, averaged: bool = True) -> None:
    """Put the weights of a checkpoint into a denoiser of the same build, in place.

    Args:
        denoiser: the same kind of module that was trained.
        path: file that `save` wrote.
        averaged: the averaged weights, which samples are drawn with, or the raw ones.

    Raises:
        InputError: if the file is damaged, or holds another network.
    """
    part = "ema" if averaged else "raw"
    _copy_weights(read(path, (part,))[1][part], denoiser, path)


def latest_checkpoint(folder: Path) -> Path | None:
    """The whole checkpoint of the highest step in a folder, or None.

    Names that `checkpoint_path` does not give (temporary files among them) and files that were cut
    short are passed over.
    """
    steps = (
        {int(m[1]): p for p in folder.iterdir() if (m := PATTERN.fullmatch(p.name))}
        if folder.is_dir()
        else {}
    )
    for step in sorted(steps, reverse=True):
        try:
            read(steps[step], ())
        except InputError:
            continue
        return steps[step]
    return None


def read(path: Path, parts: tuple[str, ...]) -> tuple[dict[str, Any], dict[str, dict[str, Tensor]]]:
    """The header and the tensors of some parts, each part checked against its digest.

    Raises:
        InputError: if the file is missing, cut short, changed, or not a checkpoint of this program.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            header = json.loads(metadata["unrote"])
            names = {part: [n for n in file.keys() if n.startswith(f"{part}/")] for part in parts}  # noqa: SIM118
            tensors = {part: {n: file.get_tensor(n) for n in names[part]} for part in parts}
        whole = _sha256(metadata["unrote"]) == metadata["sha256"]
        whole &= all(_digest(tensors[part]) == header["digests"][part] for part in parts)
    except (OSError, SafetensorError, ValueError, KeyError) as error:
        raise InputError(
            f"{path} cannot be read as a checkpoint ({type(error).__name__}: {error}). A checkpoint is one "
            "safetensors file that training wrote; take another of the run folder, or its source again."
        ) from error
    if not whole or header.get("format") != FORMAT:
        raise InputError(
            f"{path} is damaged or of another version: its contents are not what was written (format "
            f"{header.get('format')}, this program reads {FORMAT}). Take another checkpoint of the run."
        )
    return header, {part: {n.split("/", 1)[1]: t for n, t in tensors[part].items()} for part in parts}


def _tensors_of(state: TrainState) -> dict[str, dict[str, Tensor]]:
    adam = {
        f"{name}/{key}": value
        for name, parameter in trainable(state.network)
        for key, value in state.optimizer.optimizer.state[parameter].items()
    }
    run = {"stream": state.stream.get_state()}
    return {"raw": named_weights(state.network), "ema": named_weights(state.ema), "adam": adam, "run": run}


def _header_of(state: TrainState) -> dict[str, Any]:
    scaler = state.accelerator.scaler
    return {
        "format": FORMAT,
        "step": state.step,
        "loss_sum": state.loss_sum,
        "loss_count": state.loss_count,
        "scaler": None if scaler is None else scaler.state_dict(),
        "fingerprint": state.fingerprint,
    }


def write(parts: dict[str, dict[str, Tensor]], header: dict[str, Any], path: Path) -> None:
    """Write named groups of tensors and a header to one file, whole or not at all, with digests of both.

    Raises:
        InputError: if the file cannot be written; what was there before is untouched.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    flat = {
        f"{part}/{name}": tensor.detach().cpu().contiguous()
        for part, tensors in parts.items()
        for name, tensor in tensors.items()
    }
    header["digests"] = {
        part: _digest({n: t for n, t in flat.items() if n.startswith(f"{part}/")}) for part in parts
    }
    # One name per checkpoint: what a killed run leaves is overwritten when it comes to this step again.
    temporary = path.with_name(f".{path.name}.tmp")
    text = json.dumps(header)
    try:
        save_file(flat, temporary, metadata={"unrote": text, "sha256": _sha256(text)})
        _to_disk(temporary)
        temporary.replace(path)
        _to_disk(path.parent)
    except (OSError, SafetensorError) as error:
        raise InputError(
            f"The checkpoint {path} could not be written ({error}); what was there before is untouched. "
            "Free some space or name another folder, and resume from the last checkpoint."
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def _digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of names and contents, in the order of names."""
    names = sorted(tensors)
    return _sha256("\n".join([*names, digest(tensors[name] for name in names)]))


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _to_disk(path: Path) -> None:
    """Wait until a file's bytes, or a folder's names, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@torch.no_grad()
def _copy_weights(found: Mapping[str, Tensor], module: nn.Module, path: Path) -> None:
    expected = named_weights(module)
    shapes = [{name: tuple(t.shape) for name, t in named.items()} for named in (found, expected)]
    names = [name for name in {**found, **expected} if shapes[0].get(name) != shapes[1].get(name)]
    if names:
        in_file, here = (shape.get(names[0], "absent") for shape in shapes)
        raise InputError(
            f"{path} holds the weights of another network: {len(names)} of {len({**found, **expected})} tensors "
            f"differ, first "
            f"{names[0]}, whose shape is {in_file} in the file and {here} here. Build the network as it was "
            "built for that run; a checkpoint is read with the run.json that stands beside it."
        )
    for name, tensor in found.items():
        expected[name].copy_(tensor)


def _restore_optimizer(state: TrainState, adam: Mapping[str, Tensor]) -> None:
    kept: dict[int, dict[str, Tensor]] = {}
    for number, (name, _) in enumerate(trainable(state.network)):
        prefix = f"{name}/"
        kept[number] = {n.removeprefix(prefix): t for n, t in adam.items() if n.startswith(prefix)}
    groups = state.optimizer.optimizer.state_dict()["param_groups"]
    state.optimizer.optimizer.load_state_dict({"state": kept, "param_groups": groups})
