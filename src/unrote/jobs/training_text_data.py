"""What `unrote train` of text learns from: windows of a file, and windows that are held out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from unrote.contracts import InputError
from unrote.data.text import Text, Windows, load_text, windows
from unrote.jobs.audit_text_input import RULES
from unrote.jobs.kinds import all_text, refuse_given
from unrote.jobs.measuring import MONITORED
from unrote.jobs.options import TrainOptions
from unrote.jobs.text_evidence import compared
from unrote.jobs.training_split import HELD

WINDOW = 32
"""Characters of a window: a clause. 32 of them are learned by heart in minutes on one core. An update costs in
proportion to the window, and more of them are needed, so that 256, as in paper 002, takes hours."""
LEFT = 3
"""Training windows, at least."""
FEW = 8
"""Fewer held-out windows than this leave their losses uncertain."""

OF_TEXT = ("window", "stride", "normalize", "heads")
"""Options of training that mean something for text only."""
OF_IMAGES = (
    "recipe",
    "gap",
    "gap_rule",
    "ambient",
    "ambient_rule",
    "hidden",
    "flip",
    "from_model",
    "conditional",
    "features",
    "duplicate_threshold",
    "resize",
    "train_range",
)
"""Options of training that mean something for images only."""


def wants_text(options: TrainOptions) -> bool:
    """Whether text is to be learned, and not images.

    Raises:
        InputError: where one of the data is text and the other is not, or an option is for the other kind.
    """
    text = all_text([("--train", options.train), ("--test", options.test)])
    refuse_given(options, OF_IMAGES if text else OF_TEXT, text)
    if options.network is not None and (options.network == "transformer") != text:
        kind, fitting = ("text", "transformer") if text else ("images", "mlp or unet")
        raise InputError(
            f"--network {options.network} cannot learn {kind}, which take {fitting}; leave --network out, or name "
            "other data."
        )
    return text


@dataclass(frozen=True, eq=False)
class TextSet:
    """What a run learns from and what it is held against.

    Args:
        train: windows that are learned.
        held_out: windows of text of the same kind, side by side.
        split: what the user is told where these were taken from the training text, else empty.
        notes: on what was read.
    """

    train: Windows
    held_out: Windows
    split: str = ""
    notes: tuple[str, ...] = ()

    @property
    def x(self) -> UInt8[Tensor, "P L"]:
        """Training windows as tokens, a byte each: overlapping ones hold every character many times."""
        return rows_of(self.train)

    @property
    def apart(self) -> Int64[Tensor, "P L"]:
        """Training windows that share no character, on which losses are measured as if each stood for itself."""
        stride = self.train.stride or self.train.length
        return rows_of(self.train)[:: -(-self.train.length // stride)].long()


def rows_of(cut: Windows) -> UInt8[Tensor, "P L"]:
    """Windows in order as tokens."""
    first, step = int(cut.start[0]), cut.stride or cut.length
    return cut.text.tokens[first:].unfold(0, cut.length, step)[: len(cut)].contiguous()


def read_windows(options: TrainOptions) -> tuple[TextSet, dict[str, Mapping[str, Any] | None]]:
    """Training and held-out windows; without --test the last tenth of the training text is held out.

    Returns:
        what is learned, and what was read, as result.json says it.

    Raises:
        InputError: if the text cannot be read, or holds too few windows.
    """
    rule = RULES[options.normalize]
    text = load_text(options.train, normalization=rule)
    whole = windows(text, options.window or text.line or WINDOW, stride=options.stride)
    if options.test is None:
        data = split_end(whole)
        inputs: dict[str, Mapping[str, Any] | None] = {"train": asdict(whole.provenance), "test": None}
    else:
        data = given(whole, load_text(options.test, normalization=rule))
        inputs = {"train": asdict(whole.provenance), "test": asdict(data.held_out.provenance)}
    return replace(data, notes=tuple(dict.fromkeys((*text.notes, *data.notes, *notes_on(data))))), inputs


def given(train: Windows, text: Text) -> TextSet:
    """Held-out windows from a text of their own."""
    held_out = windows(text, train.length)
    for flag, cut, least in (("--train", train, LEFT), ("--test", held_out, 2)):
        if len(cut) < least:
            raise InputError(
                f"{flag} {cut.text.spec} holds {len(cut)} window{'s' * (len(cut) != 1)} of {cut.length:,} characters, "
                f"and at least {least} are needed; give a longer text, or a smaller --window."
            )
    return TextSet(train, held_out, notes=text.notes)


def split_end(whole: Windows) -> TextSet:
    """Hold out the last tenth of a text, two windows at least, side by side.

    Neighbouring windows share sentences, and overlapping ones characters, so that windows taken at random would hold
    what is trained on. Training windows that reach into the part that is held out are left out.

    Raises:
        InputError: if fewer than three windows are left to train on.
    """
    length, first, end = whole.length, int(whole.start[0]), int(whole.start[-1]) + whole.length
    held = max(2, int((end - first) // length * HELD))
    begin = end - held * length
    kept = whole.start[whole.start + length <= begin]
    if len(kept) < LEFT:
        raise InputError(
            f"'{whole.text.spec}' has {len(whole):,} windows of {length:,} characters, of which two would be held out "
            f"and {len(kept)} left to train on, where {LEFT} are needed; give held-out text with --test, a longer "
            "text, or a smaller --window."
        )
    overlap = len(kept) < len(whole) - held
    reach = ", those left out that reach into the held-out part" if overlap else ""
    words = (
        f"No --test was given: the last {held:,} windows side by side ({held * length:,} characters) are held out and "
        f"are not trained on, which leaves {len(kept):,} of {len(whole):,} training windows{reach}."
    )
    there = begin + torch.arange(held) * length
    return TextSet(replace(whole, start=kept), Windows(whole.text, there, length, length), words)


def notes_on(data: TextSet) -> list[str]:
    """What a reader must know of these windows before believing the numbers."""
    notes, train, held = [], data.train, len(data.held_out)
    if train.stride is not None and train.stride < train.length:
        notes.append(
            f"Training windows overlap: they begin {train.stride:,} characters apart. Losses are measured on "
            f"{len(data.apart):,} of them that do not."
        )
    if held < FEW:
        notes.append(
            f"Only {held} windows are held out, which leaves their losses uncertain; give held-out text with --test."
        )
    fresh = data.held_out.tokens[:MONITORED]
    found = compared(fresh, train)
    same = int((found.differ == 0).sum())
    near = int(found.copied.sum())
    if near:
        notes.append(
            f"{near:,} of {len(fresh):,} held-out windows would themselves be called copies of training windows"
            f"{f', {same:,} of them equal one in every character' if same else ''}: the held-out loss is lower for "
            "it, and that many copies among samples are chance."
        )
    return notes
