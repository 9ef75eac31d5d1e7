"""How DATA is spelled: ``PATH[:split][@limit][?label=name]``, the same in every command."""

from __future__ import annotations

import os
import re
import unicodedata
from dataclasses import dataclass

import numpy as np

from unrote.contracts import InputError

DIGITS = "digits"

ACCEPTED = (
    "DATA is `digits` (scikit-learn's), a folder of images, a Parquet file or folder in the Hugging Face "
    "image layout, or an array file (.npy, .npz, .pt), followed by any of :split, @limit and ?label=, in "
    "this order"
)

# From the right, in the order in which they are taken off. A split holds no slash, so that neither
# C:\data nor https://host is read as one; a label may hold anything, for it stands last.
_SUFFIXES = (
    ("label", re.compile(r"(.+)\?label=(.*)", re.DOTALL)),
    ("limit", re.compile(r"(.+)@([^/\\?]*)", re.DOTALL)),
    ("split", re.compile(r"(.+):([\w.\-]+)", re.DOTALL)),
)


@dataclass(frozen=True)
class Spelling:
    """One DATA argument, taken apart.

    Args:
        text: the argument as it was given.
        path: the file or folder, or `digits`.
        split, limit, label: the suffixes, None where there is none.
    """

    text: str
    path: str
    split: str | None = None
    limit: int | None = None
    label: str | None = None

    def __str__(self) -> str:
        return printable(self.text)


def printable(text: str) -> str:
    """A file name as text that is safe in any UTF-8 output and keeps to its line.

    Bytes that are not UTF-8 (held by Python as lone surrogates) become ``\\xNN``; control and format
    characters and line separators become escapes too.
    """
    if text.isascii() and text.isprintable():  # as most of a hundred thousand names are
        return text
    return "".join(_escape(c) if _unsafe(c) else c for c in text)


def _unsafe(character: str) -> bool:
    category = unicodedata.category(character)
    return category[0] == "C" or category in {"Zl", "Zp"}


def _escape(character: str) -> str:
    if "\udc80" <= character <= "\udcff":  # a byte that is not UTF-8, see os.fsdecode
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")


def parse(data: str | os.PathLike[str]) -> Spelling:
    """Take a DATA argument apart; of several readings, the one with the longest path that exists.

    Raises:
        InputError: where the path does not exist, is a spelling that is not read, or the limit is
            not a whole number of at least 1.
    """
    text = os.fspath(data)
    readings: list[tuple[str, dict[str, str]]] = [(text, {})]
    for name, pattern in _SUFFIXES:
        matches = [(pattern.fullmatch(path), found) for path, found in readings]
        readings += [(match[1], {**found, name: match[2]}) for match, found in matches if match]
    possible = [reading for reading in readings if _exists(reading[0])]
    if not possible:
        raise InputError(_missing(text))
    path, found = max(possible, key=lambda reading: len(reading[0]))
    return Spelling(text, path, found.get("split"), _limit(text, found.get("limit")), found.get("label"))


def _exists(path: str) -> bool:
    return path == DIGITS or os.path.exists(path)  # noqa: PTH110  (False, and no error, for a NUL byte)


def _missing(text: str) -> str:
    for start, what in (("hf:", "Hub names"), ("http://", "Addresses"), ("https://", "Addresses")):
        if text.startswith(start):
            return (
                f"'{printable(text)}' cannot be read. {what} are not read: {ACCEPTED}. Download the set "
                "first and give the folder."
            )
    return (
        f"'{printable(text)}' does not exist, neither as it is written nor without suffixes. {ACCEPTED}. "
        "Check the spelling and the folder that the command is run in."
    )


def _limit(text: str, digits: str | None) -> int | None:
    if digits is None:
        return None
    if not re.fullmatch("[0-9]{1,18}", digits) or int(digits) < 1:
        raise InputError(
            f"'{printable(text)}' asks for the limit '{printable(digits)}'. A limit is a whole number of at "
            "least 1: @100 takes the first 100 images. Write the suffixes in the order "
            "PATH:split@limit?label=name."
        )
    return int(digits)


def refuse_split(spelling: Spelling, why: str) -> None:
    """Refuse a ``:split`` suffix on data that has no splits.

    Raises:
        InputError: where the spelling names a split.
    """
    if spelling.split is not None:
        raise InputError(
            f"'{spelling}' asks for the split '{spelling.split}', but {why}. Leave ':{spelling.split}' out."
        )


def choose(
    spelling: Spelling, count: int, labels: np.ndarray | None, label_names: tuple[str, ...]
) -> np.ndarray:
    """The rows that a spelling names: those of its label, and of them the first `limit`, in order.

    Args:
        spelling: the DATA argument.
        count: how many images the data holds.
        labels: class of each image (N,), or None.
        label_names: name of class i at place i; may be empty.

    Returns:
        indices of rows, increasing (n,), int64.

    Raises:
        InputError: for a label that does not occur, or a limit beyond the size.
    """
    rows = np.arange(count)
    if spelling.label is not None:
        rows = np.flatnonzero(_class(spelling, labels, label_names) == labels)
    of = "" if spelling.label is None else f" with the label '{printable(spelling.label)}'"
    if len(rows) == 0:
        raise InputError(
            f"'{spelling}' holds no images{of}. At least one is needed; name a label that has images."
        )
    if spelling.limit is not None and spelling.limit > len(rows):
        raise InputError(
            f"'{spelling}' asks for {spelling.limit:,} images, but there are {len(rows):,}{of}. "
            f"Lower the limit to at most {len(rows)} or leave it out."
        )
    return rows[: spelling.limit]


def _class(spelling: Spelling, labels: np.ndarray | None, label_names: tuple[str, ...]) -> int:
    wanted = spelling.label or ""
    if labels is None:
        raise InputError(
            f"'{spelling}' asks for the label '{printable(wanted)}', but this data has no labels. "
            "Leave '?label=' out, or give the images in one subfolder for each class."
        )
    if wanted in label_names:  # a name goes before a number: class folders may be called 7 and 9
        return label_names.index(wanted)
    present = np.unique(labels)
    if re.fullmatch("-?[0-9]{1,18}", wanted) and int(wanted) in present:
        return int(wanted)
    known = [printable(label_names[i]) if 0 <= i < len(label_names) else str(i) for i in present]
    more = f" and {len(known) - 20} more" if len(known) > 20 else ""
    raise InputError(
        f"'{spelling}' asks for the label '{printable(wanted)}', which does not occur. The labels here are "
        f"{', '.join(known[:20])}{more}. Name one of them; '?label=' stands last, after @limit."
    )
