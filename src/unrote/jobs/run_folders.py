"""Run folders of `unrote train`: what they say of themselves, and the checkpoint that is meant."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from unrote.contracts import InputError
from unrote.jobs.checking import check_name

Built = TypeVar("Built")


def opened(
    model: Path,
    rebuild: Callable[[Mapping[str, Any]], Built],
    refuse: Callable[[Mapping[str, Any]], None] | None = None,
) -> tuple[Built, dict[str, Any], Path]:
    """What a run folder (with its last checkpoint) or one checkpoint file in it is built of.

    Args:
        rebuild: the content of run.json -> what it describes, with weights of its own.
        refuse: raises for runs of another kind.

    Returns:
        what was built, the content of run.json, and the checkpoint that holds its weights.

    Raises:
        InputError: if there is no run, or no checkpoint.
    """
    check_name("--model", model)
    folder = model if model.is_dir() else model.parent
    # The last one by its name: a damaged one is told and not passed over, for it is the one that is meant.
    checkpoint = max(folder.glob("step-*.safetensors"), default=None) if model.is_dir() else model
    try:
        said = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _no_run(model, folder, error) from error
    if refuse is not None and isinstance(said, dict):
        refuse(said)
    try:
        built = rebuild(said)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _no_run(model, folder, error) from error
    if checkpoint is None:
        raise InputError(
            f"{model} holds no checkpoint (step-*.safetensors); train longer, or name another run."
        )
    return built, said, checkpoint


def refuse_text(said: Mapping[str, Any]) -> None:
    """Refuse a run on text where a model of images is needed.

    Args:
        said: the content of run.json.

    Raises:
        InputError: if it is one.
    """
    if "alphabet" in said:
        raise InputError(
            "This run of `unrote train` learned text, and a model of images is needed; name another run. In Python "
            "`unrote.jobs.training_text_run.read_text_run` reads it."
        )


def _no_run(model: Path, folder: Path, error: Exception) -> InputError:
    return InputError(
        f"{model} is not a run of `unrote train`: {folder / 'run.json'} cannot be read, or does not say how "
        f"the network is built ({type(error).__name__}). Name the folder given to --out of `unrote train`, or "
        "a step-*.safetensors file in it."
    )
