"""What an audit of text reads: windows of a training text, samples, held-out text."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor

from unrote.contracts import InputError
from unrote.data.alphabet import MASK, Normalization, normalize, normalize_without_digits
from unrote.data.text import (
    Text,
    TextProvenance,
    Windows,
    count_lines,
    load_lines,
    load_text,
    windows,
)
from unrote.jobs.kinds import all_text, refuse_given
from unrote.jobs.options import AuditOptions

OF_TEXT = ("window", "stride", "normalize", "hamming_threshold", "passage_threshold")
"""Options that mean something for text only."""
OF_IMAGES = (
    "names",
    "fidelity",
    "features",
    "profile",
    "similarity_threshold",
    "factor",
    "duplicate_threshold",
    "absolute_threshold",
    "resize",
    "train_range",
    "samples_range",
    "memory",
)
"""Options that mean something for images only."""

RULES: dict[str | None, Normalization | None] = {
    None: None,
    "spell": normalize,
    "drop": normalize_without_digits,
}


def wants_text(options: AuditOptions) -> bool:
    """Whether text is to be audited, and not images.

    Raises:
        InputError: where some of the data are text and others are not, or an option is for the other kind.
    """
    data = [
        ("--train", options.train),
        *(("--samples", one) for one in options.sets),
        ("--test", options.test),
    ]
    text = all_text(data)
    refuse_given(options, OF_IMAGES if text else OF_TEXT, text)
    return text


@dataclass(frozen=True)
class Given:
    """What an audit of text compares.

    Args:
        train: windows of the training text.
        samples: as tokens, filled with masks where they are too short (Q,L).
        provenance: which samples they are.
        names: what each is called.
        fresh: windows of held-out text, or None.
        notes: on what was read.
    """

    train: Windows
    samples: Tensor
    provenance: TextProvenance
    names: tuple[str, ...]
    fresh: Windows | None
    notes: tuple[str, ...]


def read(options: AuditOptions) -> Given:
    """Training text, samples and held-out text as windows of one length."""
    if len(options.sets) > 1:
        raise InputError(
            f"{len(options.sets)} sets of samples were given, and text is audited one set at a time; run the command "
            "once for each, with an --out of its own."
        )
    rule = RULES[options.normalize]
    train = load_text(options.train, normalization=rule)
    text, samples, names = samples_of(options.sets[0], options.window or train.line, rule)
    length = samples.shape[1]
    cut = windows(train, length, stride=options.stride)
    if len(cut) < 2:
        raise InputError(
            f"The training text {train.spec} holds {len(cut)} window of {length:,} characters, and at least 2 are "
            "needed; name the whole training text."
        )
    held, notes = None, (*train.notes, *text.notes)
    if options.test is not None:
        whole = load_text(options.test, normalization=rule)
        held, notes = windows(whole, length), (*notes, *whole.notes)
    rows = Text(text.spec, samples.reshape(-1).to(torch.uint8), length)
    origin = dataclasses.replace(windows(rows, length).provenance, kind="samples of text")
    return Given(cut, samples, origin, names, held, tuple(dict.fromkeys(notes)))


def samples_of(
    spec: str, length: int | None, rule: Normalization | None
) -> tuple[Text, Tensor, tuple[str, ...]]:
    """Samples as rows: the lines of a file, or windows of a single one.

    Args:
        spec: the DATA argument.
        length: of the windows, None for that of the longest line.
        rule: how characters outside the alphabet are treated.

    Raises:
        InputError: for lines that are longer than the windows, or one line without a length.
    """
    if count_lines(spec) > 1:
        text, rows = load_lines(spec, normalization=rule)
        size = rows.shape[1]
        if length is not None and size > length:
            long = int((rows[:, length] != MASK).sum())
            raise InputError(
                f"{long:,} of {len(rows):,} samples in '{text.spec}' are longer than a window of {length:,} "
                f"characters, the longest has {size:,}; raise --window, or put the "
                "text on one line to have it cut into windows."
            )
        filled = torch.full((len(rows), length or size), MASK)
        filled[:, :size] = rows
        names = tuple(f"line {i + 1:,}" for i in range(len(rows)))
        return text, filled, names
    text = load_text(spec, normalization=rule)
    if length is None:
        raise InputError(
            f"'{text.spec}' holds one line of {len(text):,} characters. Say with --window how long the windows of the "
            "training text were (256 in the paper) to have it cut, or put one sample on each line."
        )
    cut = windows(text, length)
    return text, cut.tokens, tuple(f"characters {s:,} to {s + length - 1:,}" for s in cut.start.tolist())
