"""MODEL in one spelling: a run of this program, a folder of diffusers or its name on the hub, an EDM snapshot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from unrote.contracts import Denoiser, InputError
from unrote.data.sources import Images
from unrote.data.spelling import printable
from unrote.denoise import snapshots
from unrote.denoise.foreign import Card, check_runs
from unrote.denoise.pipelines import cached, is_pipeline, read_pipeline
from unrote.jobs.comparing import Reference
from unrote.jobs.fitting import read_run
from unrote.train.fingerprint import digest
from unrote.train.state import named_weights

MODELS = (
    "a run folder of `unrote train` or one of its step-*.safetensors files, a folder of diffusers (UNet2DModel) or its "
    "name on the hub, or an EDM snapshot"
)


@dataclass(frozen=True)
class Description:
    """Which model a result rests on.

    Args:
        spec: how it was named.
        place: the file or folder that was read.
        card: what is known of it.
        sha256: of its weights, in the order of their names.
        run: of a run of this program, what its run.json says.
    """

    spec: str
    place: str
    card: Card
    sha256: str
    run: dict[str, Any] = field(default_factory=dict)

    @property
    def known(self) -> tuple[float, float]:
        """The lowest and the highest level that it knows."""
        return self.card.low, self.card.high

    def as_json(self) -> dict[str, Any]:
        """As inputs in a result hold it; a model that knows every level has none as its ends."""
        low, high = self.known
        return {
            "spec": self.spec,
            "place": self.place,
            "kind": self.card.kind,
            "shape": list(self.card.shape),
            "classes": self.card.classes,
            "levels": {"low": low, "high": high if high < float("inf") else None},
            "notes": list(self.card.notes),
            "network": self.card.build,
            "sha256": self.sha256,
            **self.run,
        }


def read_model(
    spelling: str | Path, averaged: bool = True, unsafe_pickle: bool = False, flag: str = "--model"
) -> tuple[Any, Description]:
    """A model as a denoiser on the CPU, in evaluation mode, and what is known of it.

    Args:
        spelling: a path, or a name on the hub whose files are in the local cache (owner/name or hf:owner/name).
        averaged: of a model with two sets of weights, whether the averaged ones are meant.
        unsafe_pickle: unpickle an EDM snapshot, which runs the programs in it.
        flag: what the model is called on the command line.

    Raises:
        InputError: if it cannot be used; the message says what can.
    """
    path = Path(spelling)
    if not path.exists():
        found = cached(str(spelling))
        if found is None:
            raise InputError(
                f"{flag} {printable(str(spelling))} is neither a file or folder nor a name on the hub (owner/name); a "
                f"model is {MODELS}."
            )
        path = found
    denoiser: Any
    if path.is_dir() and not (path / "run.json").exists() and is_pipeline(path):
        denoiser, card = read_pipeline(path, averaged)
    elif path.is_file() and path.suffix == ".pkl":
        denoiser, card = _unpickled(path, unsafe_pickle)
    elif path.is_file() and path.suffix == ".safetensors" and snapshots.is_snapshot(path):
        denoiser, card = snapshots.denoiser_of(snapshots.read_snapshot(path), str(path))
    else:
        denoiser, card, run, checkpoint = read_run(path, averaged)
        return denoiser, Description(str(checkpoint), str(checkpoint), card, _hash(denoiser), run)
    return denoiser, Description(printable(str(spelling)), printable(str(path)), card, _hash(denoiser))


def describe_given(name: str, denoiser: Denoiser, card: Card | None) -> Description:
    """The description of a denoiser that a Python program made.

    Args:
        name: what to call it.
        card: what is known of it, or None.
    """
    known = Card("a denoiser made in Python") if card is None else card
    return Description(name, name, known, _hash(denoiser) if isinstance(denoiser, nn.Module) else "")


def _unpickled(path: Path, allowed: bool) -> tuple[Any, Card]:
    if not allowed:
        raise InputError(
            f"{path} is a pickle: opening it runs whatever programs are in it. If you trust whoever made it, add "
            "--unsafe-pickle; otherwise take the weights out, which runs nothing, with "
            f"`unrote convert --model {path} --out {path.with_suffix('.safetensors').name}`, and name the new file."
        )
    return snapshots.unpickle(path)


def _hash(denoiser: nn.Module) -> str:
    weights = named_weights(denoiser)
    return digest(weights[name] for name in sorted(weights))


def check_fits(
    denoiser: Denoiser, card: Card, reference: Reference, device: torch.device | str = "cpu"
) -> None:
    """Refuse a training set that the model cannot have seen, and a model that cannot be run on it.

    Raises:
        InputError: if the images have another shape than the model's, or it cannot be run on them.
    """
    shape = tuple(reference.pixels.shape[1:])
    wanted = tuple(card.shape)
    if any(side is not None and side != here for side, here in zip(wanted, shape, strict=True)):
        told = str(wanted).replace("None", "any")
        raise InputError(
            f"The model makes images of shape {told} (channels, height, width) and the training set "
            f"{reference.images.spec} has {shape}; name the set that the model was trained on, or use --resize."
        )
    check_runs(denoiser, card, shape, device)


def labels_for(card: Card, sets: Mapping[str, Images]) -> dict[str, Tensor | None]:
    """The labels that a model is told of each set of images, None for a model without classes.

    Raises:
        InputError: if a conditional model meets images without labels, or labels that it does not know.
    """
    if card.classes is None:
        return dict.fromkeys(sets)
    for flag, images in sets.items():
        if images.labels is None:
            raise InputError(
                f"The model is conditional (it has {card.classes} classes), and {flag} {images.spec} has no labels; "
                "give a folder with one subfolder for each class, or a Parquet file with a label column."
            )
        check_classes(card, f"{flag} {images.spec}", images.labels)
    return {flag: images.labels for flag, images in sets.items()}


def check_classes(card: Card, name: str, labels: Tensor) -> None:
    """Refuse labels that a conditional model does not know.

    Raises:
        InputError: with the labels that it knows.
    """
    low, high = int(labels.min()), int(labels.max())
    if card.classes is not None and (low < 0 or high >= card.classes):
        raise InputError(
            f"The model has {card.classes} classes, numbered 0 to {card.classes - 1}, and {name} has labels from {low} "
            f"to {high}; give the labels that it was trained with."
        )


def trivial_error(x: Tensor, levels: Tensor) -> Tensor:
    """Error per pixel of the best denoiser that knows the pixels' mean and variance alone.

    e(sigma) = v sigma^2 / (v + sigma^2), v the variance of the pixels around their mean image.
    """
    v = x.double().var(0, unbiased=False).mean()
    square = levels.double() ** 2
    return v * square / (v + square) if float(v) > 0 else torch.zeros_like(square)
