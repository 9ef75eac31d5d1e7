"""Samples of text beside the training windows that are nearest to them, character under character."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from jaxtyping import Bool, Float, Int, Integer
from torch import Tensor

from unrote.data.alphabet import decode
from unrote.data.text import Windows
from unrote.measure.text import copy_threshold, window_neighbors
from unrote.report import blocks

SHARE = 0.25
"""A copy differs from its window in at most this share of its characters, unless the user says otherwise."""

EXHIBITS = 96
"""Samples that are shown beside their source."""
LETTERS = 1024
"""Characters of one text that are shown."""


@dataclass(frozen=True)
class Compared:
    """Texts held against training windows.

    Args:
        nearest: the nearest window to each (Q,).
        differ: in how many characters it differs (Q,).
        copied: whether these are few enough for a copy (Q,).
    """

    nearest: Int[Tensor, " Q"]
    differ: Float[Tensor, " Q"]
    copied: Bool[Tensor, " Q"]


def compared(texts: Integer[Tensor, "Q L"], train: Windows) -> Compared:
    """The nearest window of each text in Hamming distance, and whether it is a copy of it, as `unrote audit` says."""
    found = window_neighbors(texts, train.text.tokens, train.start, 1)
    differ = found.distance[:, 0]
    return Compared(found.index[:, 0], differ, differ <= copy_threshold(train.length, SHARE))


def pieces(text: str, marked: list[bool]) -> tuple[tuple[str, bool], ...]:
    """A text in runs of marked and unmarked characters."""
    runs = groupby(zip(text, marked, strict=True), key=lambda pair: pair[1])
    return tuple(("".join(sign for sign, _ in run), mark) for mark, run in runs)


def source_text(train: Windows, window: int) -> str:
    """One training window in characters."""
    first = int(train.start[window])
    return decode(train.text.tokens[first : first + train.length])


def where(train: Windows, first: int) -> str:
    """Where a training window stands that begins at a character."""
    if train.text.line is not None:
        return f"line {first // train.text.line + 1:,}"
    return f"from character {first:,}"


def evidence(
    samples: Tensor, names: Sequence[str], train: Windows, nearest: Tensor, differ: Tensor, copied: Tensor
) -> blocks.Collations:
    """The most suspicious samples beside their nearest window, differences marked, copies framed.

    Args:
        samples: as tokens (Q,L).
        names: what each is called.
        train: windows of L characters.
        nearest: the nearest of them to each sample (Q,).
        differ: in how many characters it differs (Q,).
        copied: whether it is a copy (Q,).
    """
    rows: list[blocks.Collation] = []
    for i in torch.argsort(differ, stable=True)[:EXHIBITS].tolist():
        if not bool(copied[i]) and len(rows) >= 3 and rows[-1].mark == "":
            break  # what is no copy differs nearly everywhere: a few are enough
        rows.append(beside(samples[i], names[i], train, int(nearest[i]), int(differ[i]), bool(copied[i])))
    caption = (
        "Samples beside their nearest training window, the most suspicious first. Characters that differ are marked. "
        "Framed samples are copies."
    )
    if "_" in "".join(piece for row in rows for piece, _ in row.readings[0].pieces):
        caption += " A sample that is too short ends in `_`."
    return blocks.Collations(tuple(rows), caption)


def beside(
    sample: Tensor, name: str, train: Windows, window: int, differ: int, copied: bool
) -> blocks.Collation:
    """One sample (L,) and a training window, with their differences marked."""
    length = train.length
    text, source = decode(sample)[:LETTERS], source_text(train, window)[:LETTERS]
    marks = [a != b for a, b in zip(text, source, strict=True)]
    said = f"{differ:,} of {length:,} characters differ" if differ else "equal in every character"
    cut = f"; the first {LETTERS:,} are here" if length > LETTERS else ""
    readings = (
        blocks.Reading("sample", pieces(text, marks)),
        blocks.Reading("training text", pieces(source, marks), where(train, int(train.start[window]))),
    )
    return blocks.Collation(readings, said + cut, "copy" if copied else "", name)
