"""Watching copying start inside a training program of one's own: two plain methods and no loop to adopt.

``watch = Watch(denoiser, card, train, held_out, WatchOptions(out="watch"))`` once, ``watch.on_step(step)`` after
every update. Nearly all calls return at once; at steps in geometric progression samples are drawn and held
against the training set, and the losses on training and on held-out images are taken on fixed levels and noise.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor, nn

from unrote.contracts import Denoiser, InputError
from unrote.data.images import load_images
from unrote.data.pixels import BYTES, UNIT, to_unit
from unrote.data.sources import Images
from unrote.denoise.compose import edm
from unrote.denoise.foreign import Card
from unrote.jobs.comparing import Reference
from unrote.jobs.fitting import SIGMA_DATA
from unrote.jobs.measuring import AVERAGED, MONITORED, Measurement, TrainingSet, read_history, write_history
from unrote.jobs.models import check_fits, labels_for
from unrote.jobs.monitoring import Monitor, measure, monitor_of
from unrote.jobs.onsets import onsets_of
from unrote.sweeps import write_atomic
from unrote.train.probe import untouched

AS_GIVEN = "as given"
"""Weights of a denoiser that is watched alone: the program knows whether they are averaged."""
MEMORY = 2**29
"""Bytes that the search for near-duplicates may take."""


@dataclass(frozen=True)
class WatchOptions:
    """When and how a training program is watched.

    Args:
        out: folder that gets history.json, onset.json and watch.json; made if it is not there.
        first: the first step that is measured.
        factor: every further one is at least this many times the one before.
        samples: samples drawn at each measurement, always from the same seeds.
        seed: of levels, noise and samples.
        duplicate_threshold: training images are near-duplicates within this root-mean-square pixel distance
            (pixels 0 to 1).

    Raises:
        InputError: if a number is out of its range.
    """

    out: Path
    first: int = 100
    factor: float = 1.5
    samples: int = 512
    seed: int = 0
    duplicate_threshold: float = 0.08

    def __post_init__(self) -> None:
        object.__setattr__(self, "out", Path(self.out))
        right = {
            "first": self.first >= 1,
            "factor": 1 < self.factor < math.inf,
            "samples": self.samples >= 1,
            "seed": 0 <= self.seed < 2**32,
            "duplicate_threshold": 0 <= self.duplicate_threshold <= 1,
        }
        wrong = [f"{name} = {getattr(self, name)}" for name, fine in right.items() if not fine]
        if wrong:
            raise InputError(
                f"Watching cannot use {', '.join(wrong)}: first and samples are at least 1, factor is above 1, seed is "
                "a whole number below 2^32, and duplicate_threshold lies between 0 and 1."
            )


@final
class Watch:
    """Watches a denoiser while another program trains it.

    The denoiser shares its weights with the network in training (`unrote.denoise.foreign.from_diffusers`,
    `from_module`), so that each measurement sees them as they are; pass one around the averaged weights to watch
    those, or both: `averaged` then has the numbers, and the losses of the denoiser stand beside them as `raw`.
    During a measurement modules are in evaluation mode and torch's streams of random numbers are
    others; afterwards both are as they were. In a program of several processes all of them may call, or the
    first alone: the first one measures, on weights that all of them share.

    Args:
        denoiser: D(x, sigma, condition) for images in [-1, 1].
        card: what is known of it, as `from_diffusers` returns it; ``Card("a function")`` for any f(x, sigma).
        train: the training set: DATA as on the command line, or a tensor (N,C,H,W), uint8 or float in [-1, 1].
        held_out: images of the same kind that are not trained on, in the same way.
        options: when and how.
        label, held_out_label: classes (N,) of tensors, for a model with classes; DATA brings its own.
        weight: sigma (B,) -> weight of the loss (B,); the denoiser's own where it has one, else EDM's.
        modules: what to put into evaluation mode beside the denoisers, where these are functions.
        averaged: the same denoiser around averaged weights, or None.

    Raises:
        InputError: if the images do not fit each other or the model, or out holds another watch.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        card: Card,
        train: str | Tensor,
        held_out: str | Tensor,
        options: WatchOptions,
        label: Tensor | None = None,
        held_out_label: Tensor | None = None,
        weight: Callable[[Tensor], Tensor] | None = None,
        modules: Sequence[nn.Module] = (),
        averaged: Denoiser | None = None,
    ) -> None:
        self.options = options
        self._denoiser, self._averaged, self._card = denoiser, averaged, card
        own = [part for part in (denoiser, averaged) if isinstance(part, nn.Module)]
        self._modules = [*own, *modules]
        self._weight = weight or getattr(denoiser, "weight", None) or _edm_weight
        self._history: list[Measurement] = []
        self._made: dict[
            int, Measurement
        ] = {}  # by this program, which may have resumed from an earlier step
        self._measures = is_first()
        if not self._measures:
            return
        images = [_images(train, label, "train"), _images(held_out, held_out_label, "held_out")]
        self._data = _training_set(images[0], images[1], card, options.duplicate_threshold)
        with untouched(self._modules):
            check_fits(denoiser, card, self._data.reference, self.device)
        self._monitor = self._monitored()
        self._open(images)

    @property
    def device(self) -> torch.device:
        """Where the denoiser's weights are."""
        weights = (p for module in self._modules for p in module.parameters())
        return next((p.device for p in weights), torch.device("cpu"))

    @property
    def history(self) -> tuple[Measurement, ...]:
        """All measurements so far, with intervals; empty in every process but the first."""
        return tuple(self._history)

    @property
    def onset(self) -> dict[str, Any]:
        """When memorization began, by the gap between losses and by copies, as `unrote train` says it.

        Empty before the first measurement. Where nothing was reached, `low` is the last measured step.
        """
        return onsets_of(self._history, self.options.seed) if self._history else {}

    def on_step(self, step: int) -> Measurement | None:
        """Call after every update; measures if the step is due.

        Args:
            step: updates done; steps may be left out, and a resumed program goes on where its checkpoint was.

        Returns:
            what was measured, or None.
        """
        return self._measure(step) if self._measures and self._due(step) else None

    def on_checkpoint(self, step: int, folder: Path | str | None = None) -> Measurement | None:
        """Call where a checkpoint is written; measures whatever the step is.

        Args:
            step: updates done.
            folder: the checkpoint's folder, which gets copies.json; None for none.

        Returns:
            what was measured, or None in every process but the first.
        """
        if not self._measures:
            return None
        made = self._made.get(step) or self._measure(step)
        if folder is not None:
            write_atomic(Path(folder) / "copies.json", json.dumps(asdict(made), indent=1))
        return made

    def _due(self, step: int) -> bool:
        before = [m.step for m in self._history if m.step < step]
        return step not in self._made and step >= max(
            self.options.first, self.options.factor * before[-1] if before else 0
        )

    def _monitored(self) -> Monitor:
        known = self._card.low, self._card.high
        return monitor_of(
            self._data, self._weight, self.options.samples, self.options.seed, self.device, known
        )

    def _measure(self, step: int) -> Measurement:
        monitor = replace(self._monitor, device=self.device)  # the network may have moved
        with untouched(self._modules):
            if self._averaged is None:
                made = measure(monitor, step, self._denoiser, weights=AS_GIVEN)
            else:
                made = measure(monitor, step, self._averaged, self._denoiser, AVERAGED)
        self._made[step] = made
        self._history = [*(m for m in self._history if m.step < step), made]
        write_history(self._history, self.options.out)
        write_atomic(self.options.out / "onset.json", json.dumps(self.onset, indent=1))
        return made

    def _open(self, images: Sequence[Images]) -> None:
        """Make the folder, or go on with the history of the same watch."""
        out = self.options.out
        said = {key: value for key, value in asdict(self.options).items() if key != "out"}
        said["images"] = [[len(i), *i.shape, float(i.pixels.double().sum())] for i in images]
        place = out / "watch.json"
        try:
            out.mkdir(parents=True, exist_ok=True)
            if place.exists() and json.loads(place.read_text(encoding="utf-8")) != said:
                raise InputError(
                    f"{out} holds the history of another watch (other images or options); name another folder, or "
                    "remove it."
                )
            write_atomic(place, json.dumps(said, indent=1))
            self._history = read_history(out)
        except (OSError, ValueError, KeyError, TypeError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(
                f"The history of a watch cannot be kept in {out} ({error}); name another folder."
            ) from error


def is_first() -> bool:
    """Whether this is the only process, or the first of several."""
    distributed = torch.distributed
    return not (distributed.is_available() and distributed.is_initialized()) or distributed.get_rank() == 0


def _edm_weight(sigma: Tensor) -> Tensor:
    return edm(SIGMA_DATA)(sigma).out ** -2


def _images(data: str | Tensor, label: Tensor | None, name: str) -> Images:
    if isinstance(data, str):
        if label is not None:
            raise InputError(
                f"{name} is DATA, which brings its own labels; labels are given with tensors only."
            )
        return load_images(data)
    pixels = data.detach().cpu()
    eight_bit = pixels.dtype == torch.uint8
    fine = pixels.ndim == 4 and (eight_bit or (pixels.is_floating_point() and bool(pixels.isfinite().all())))
    if not fine or (not eight_bit and float(pixels.abs().max()) > 1.1):
        raise InputError(
            f"{name} is a tensor of {pixels.dtype} and shape {tuple(pixels.shape)}, from {float(pixels.min()):g} to "
            f"{float(pixels.max()):g}; images are (N,C,H,W), uint8, or finite floats in [-1, 1]."
        )
    return Images(
        spec=name,
        pixels=pixels if eight_bit else pixels.float(),
        value_range=BYTES if eight_bit else UNIT,
        names=tuple(map(str, range(len(pixels)))),
        labels=None if label is None else label.detach().cpu().long(),
    )


def _training_set(train: Images, held_out: Images, card: Card, threshold: float) -> TrainingSet:
    if train.shape != held_out.shape:
        raise InputError(
            f"The training images have shape {train.shape} and the held-out images {held_out.shape}; give both as the "
            "model sees them."
        )
    labels = labels_for(card, {"train": train, "held_out": held_out})

    # Losses are taken on a part; the rest would only be held as floats. It is spread evenly, for sets in order.
    rows = [_spread(len(images)) for images in (train, held_out)]
    x = [
        to_unit(part.pixels[chosen], part.value_range)
        for part, chosen in zip((train, held_out), rows, strict=True)
    ]
    given = [labels["train"], labels["held_out"]]
    label = [None if part is None else part[chosen] for part, chosen in zip(given, rows, strict=True)]
    reference = Reference.of(train, threshold, MEMORY)
    return TrainingSet(x[0], x[1], reference, label[0], label[1], card.classes)


def _spread(n: int) -> Tensor:
    return torch.linspace(0, n - 1, min(n, MONITORED), dtype=torch.float64).round().long()
