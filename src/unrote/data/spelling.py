"""How DATA is spelled: ``PATH[:split][@limit][?label=name]``, the same in every command."""

from __future__ import annotations

import os
import re
import unicodedata
from dataclasses import dataclass
from typing import Any

from unrote.contracts import InputError

DIGITS = "digits"

HUB = "hf:"

TEXT = "text:"

ACCEPTED = (
    "DATA is `digits` (scikit-learn's), a folder or a .zip of images, an array file (.npy, .npz, .pt), a "
    "Parquet file, a folder of Parquet files, a folder that Hugging Face's `save_to_disk` wrote, hf:owner/name, or for "
    "`unrote audit` and `unrote train` a file of text (FILE.txt or text:FILE), followed by any of :split, @limit (or "
    "@start:stop) and ?label=, in this order"
)

_ORDER = "Write the suffixes in the order PATH:split@limit?label=name."

# From the right, in the order in which they are taken off. A split holds no slash, so that neither
# C:\data nor https://host is read as one; a label may hold anything, for it stands last.
_SUFFIXES = (
    ("query", re.compile(r"(.+)\?((?:label|config|download)=.*)", re.DOTALL)),
    ("limit", re.compile(r"(.+)@([^/\\?]*)", re.DOTALL)),
    ("split", re.compile(r"(.+):([\w.\-]+)", re.DOTALL)),
)
_QUERY = re.compile(r"(?:^|&)(label|config|download)=")
_REPOSITORY = re.compile(r"hf:[A-Za-z0-9][\w.\-]*(?:/[\w.\-]+)?", re.ASCII)


@dataclass(frozen=True)
class Spelling:
    """One DATA argument, taken apart.

    Args:
        text: the argument as it was given.
        path: the file or folder, `digits`, or hf:owner/name.
        split, limit, label: the suffixes, None where there is none; a label may be several, with commas.
        start: how many images are passed over before the limit counts.
        config: which configuration of a Hugging Face repository.
        download: whether files of a Hugging Face repository may be fetched.
        says_text: whether the argument began with text:.
    """

    text: str
    path: str
    split: str | None = None
    limit: int | None = None
    label: str | None = None
    start: int = 0
    config: str | None = None
    download: bool = False
    says_text: bool = False

    def __str__(self) -> str:
        return printable(self.text)

    @property
    def on_hub(self) -> bool:
        """Whether a repository of the Hugging Face hub is meant, and not a path on this machine."""
        return is_hub_name(self.path)


def is_hub_name(path: str) -> bool:
    """Whether a DATA path is hf:owner/name (or hf:name), and no file of that name exists."""
    return bool(_REPOSITORY.fullmatch(path)) and not os.path.exists(path)  # noqa: PTH110


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
    says_text = text.startswith(TEXT) and not _exists(text)
    readings: list[tuple[str, dict[str, str]]] = [(text.removeprefix(TEXT) if says_text else text, {})]
    for name, pattern in _SUFFIXES:
        matches = [(pattern.fullmatch(path), found) for path, found in readings]
        readings += [(match[1], {**found, name: match[2]}) for match, found in matches if match]
    possible = [reading for reading in readings if _exists(reading[0])]
    if not possible:
        raise InputError(_missing(text))
    path, found = max(possible, key=lambda reading: len(reading[0]))
    start, limit = _limit(text, found.get("limit"))
    query = _query(text, found.get("query"))
    return Spelling(text, path, found.get("split"), limit, start=start, says_text=says_text, **query)


def _exists(path: str) -> bool:
    # False, and no error, for a NUL byte
    return path == DIGITS or bool(_REPOSITORY.fullmatch(path)) or os.path.exists(path)  # noqa: PTH110


def _missing(text: str) -> str:
    shown = printable(text)
    for start, what in (("http://", "Addresses"), ("https://", "Addresses")):
        if text.startswith(start):
            return (
                f"'{shown}' cannot be read. {what} are not read: {ACCEPTED}. Download the set first and give "
                "the folder."
            )
    if text.startswith(HUB):
        return (
            f"'{shown}' is not the name of a set on the Hugging Face hub. Such a name is hf:owner/name, then "
            "any of :split, @limit and ?label= (also ?config=, several joined with &), in this order; check "
            "the spelling."
        )
    if text.startswith(TEXT):
        return (
            f"'{shown}' does not exist: behind text: stands a file of text, then @P for its first P windows, or "
            "@start:stop. Check the spelling and the folder that the command is run in."
        )
    if match := re.fullmatch(r"(.+)\?(\w+)=.*", text, re.DOTALL):
        return (
            f"'{shown}' ends in '?{printable(match[2])}=', and '{printable(match[1])}' is not followed by anything "
            "that is known. Known are ?label=NAME and, for Hugging Face repositories, ?config=NAME and "
            f"?download=yes, joined with &; all other suffixes stand before. {_ORDER}"
        )
    if re.search(r":[\w.\-]+\[[^\]]*\]", text):
        return (
            f"'{shown}' cannot be read: parts of a split are not written in brackets. @100 takes the first 100 "
            "images and @100:200 those from 100 to 199, as in PATH:train@100:200."
        )
    return (
        f"'{shown}' does not exist, neither as it is written nor without suffixes. {ACCEPTED}. "
        "Check the spelling and the folder that the command is run in."
    )


def _limit(text: str, asked: str | None) -> tuple[int, int | None]:
    """(start, how many) of ``limit`` or ``start:stop``, of which either side may be left out."""
    if asked is None:
        return 0, None
    if match := re.fullmatch("([0-9]{0,18}):([0-9]{0,18})", asked):
        start, stop = int(match[1] or 0), int(match[2]) if match[2] else None
        if asked != ":" and (stop is None or start < stop):
            return start, None if stop is None else stop - start
    elif re.fullmatch("[0-9]{1,18}", asked) and int(asked) >= 1:
        return 0, int(asked)
    raise InputError(
        f"'{printable(text)}' asks for the limit '{printable(asked)}'. A limit is a whole number of at "
        "least 1, or a range whose end is above its start: @100 takes the first 100 images, @100:200 those "
        f"from 100 to 199. {_ORDER}"
    )


def _query(text: str, query: str | None) -> dict[str, Any]:
    """What stands behind the question mark; a label goes on until another known name= follows."""
    found: dict[str, Any] = {}
    places = list(_QUERY.finditer(query or ""))
    for i, place in enumerate(places):
        end = places[i + 1].start() if i + 1 < len(places) else len(query or "")
        value = (query or "")[place.end() : end]
        if place[1] == "label" and "label" in found:
            value = f"{found['label']},{value}"
        elif place[1] in found:
            raise InputError(
                f"'{printable(text)}' names '{place[1]}=' twice. Only labels may be several; leave one out."
            )
        found[place[1]] = value
    if "download" in found:
        if found["download"] != "yes":
            raise InputError(
                f"'{printable(text)}' asks for 'download={printable(found['download'])}'. The only value is "
                "download=yes, which lets files be fetched from the Hugging Face hub; leave it out otherwise."
            )
        found["download"] = True
    return found


def refuse_split(spelling: Spelling, why: str) -> None:
    """Refuse a ``:split`` suffix on data that has no splits.

    Raises:
        InputError: where the spelling names a split.
    """
    if spelling.split is not None:
        raise InputError(
            f"'{spelling}' asks for the split '{spelling.split}', but {why}. Leave ':{spelling.split}' out."
        )


def refuse_config(spelling: Spelling, why: str) -> None:
    """Refuse ``?config=`` on data that has no configurations.

    Raises:
        InputError: where the spelling names one.
    """
    if spelling.config is not None:
        raise InputError(
            f"'{spelling}' asks for the configuration '{printable(spelling.config)}', but {why}. "
            "Configurations are versions of one set in a repository of Parquet files: leave 'config=' out."
        )
