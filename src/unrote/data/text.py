"""Character-level text as tokens: files of a user, cut into windows of one length."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from unrote.contracts import InputError
from unrote.data.alphabet import ALPHABET, MASK, Normalization, check_alphabet, encode, outside
from unrote.data.spelling import Spelling, parse, refuse_config, refuse_split


@dataclass(frozen=True, eq=False)
class Text:
    """A text in the alphabet, whole.

    Args:
        spec: the DATA argument, printable.
        tokens: its characters (n,).
        line: the length of its lines, if it is a list of lines of one length, which are then its windows.
        chosen: which windows the suffix of DATA means: how many are passed over, and how many are taken.
        notes: sentences for the reader about assumptions made and changes applied.
    """

    spec: str
    tokens: UInt8[Tensor, " n"]
    line: int | None = None
    chosen: tuple[int, int | None] = (0, None)
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.tokens)


@dataclass(frozen=True)
class TextProvenance:
    """Which characters a result rests on.

    Args:
        spec: the DATA argument, printable.
        kind: "text" or "lines of text".
        count: number of windows P.
        length: characters in each.
        stride: how far apart they begin, None if they were drawn at random.
        characters: of the whole text.
        alphabet: the tokens in order.
        sha256: hash of the windows in order.
    """

    spec: str
    kind: str
    count: int
    length: int
    stride: int | None
    characters: int
    alphabet: str
    sha256: str


@dataclass(frozen=True, eq=False)
class Windows:
    """Windows of one length in a text.

    Args:
        text: where they are.
        start: the place of each one's first character (P,).
        length: characters in each.
        stride: how far apart they begin, None if they were drawn at random.
    """

    text: Text
    start: Int64[Tensor, " P"]
    length: int
    stride: int | None

    def __len__(self) -> int:
        return len(self.start)

    @property
    def tokens(self) -> Int64[Tensor, "P L"]:
        """The windows as tokens."""
        return self.text.tokens[self.start[:, None] + torch.arange(self.length)].long()

    @property
    def running(self) -> bool:
        """Whether a text goes on from one window to the next, and not only inside each."""
        return self.text.line is None and self.stride is not None and self.stride <= self.length

    @property
    def provenance(self) -> TextProvenance:
        """Where they come from, with their hash."""
        sha = hashlib.sha256(f"{ALPHABET} {self.length} {len(self)}".encode())
        for part in self.start.split(2**16):
            sha.update(part.numpy().astype("<i8").tobytes())
            sha.update(self.text.tokens[int(part.min()) : int(part.max()) + self.length].numpy().tobytes())
        kind = "text" if self.text.line is None else "lines of text"
        return TextProvenance(
            self.text.spec,
            kind,
            len(self),
            self.length,
            self.stride,
            len(self.text),
            ALPHABET,
            sha.hexdigest(),
        )


def is_text(data: str | os.PathLike[str]) -> bool:
    """Whether a DATA argument is spelled like text: text:FILE, or a file that ends in .txt, with any suffixes."""
    spec = os.fspath(data)
    return spec.startswith("text:") or bool(
        re.search(r"\.txt(?:[:@?].*)?$", spec, re.DOTALL | re.IGNORECASE) and not Path(spec).is_dir()
    )


def load_text(data: str | os.PathLike[str], *, normalization: Normalization | None = None) -> Text:
    """Read a file of text: text:FILE or FILE.txt, then @P or @start:stop, which count windows.

    A file with at least two lines, all of one length, is a list of windows. In any other, line breaks are
    characters, except at its end; none is in the alphabet.

    Args:
        data: the DATA argument; the file is UTF-8.
        normalization: `normalize`, `normalize_without_digits` or a rule of your own; None refuses characters
            outside the alphabet.

    Raises:
        InputError: where the file cannot be read, is empty or not UTF-8, or holds characters outside the alphabet.
    """
    spelling, whole = _read(data)
    lines = whole.split("\n")
    if len(lines) > 1 and len(lines[0]) > 0 and len({len(line) for line in lines}) == 1:
        found, notes = _lines(spelling, lines, normalization)
        if len({len(line) for line in found}) == 1:
            said = f"'{spelling}' is read as {len(found):,} windows, one a line, since all its lines have one length."
            joined = encode("".join(found))
            return Text(
                str(spelling), joined, len(found[0]), (spelling.start, spelling.limit), (*notes, said)
            )
    text, notes = _within(whole, spelling, normalization)
    return Text(str(spelling), encode(text), None, (spelling.start, spelling.limit), notes)


def load_lines(
    data: str | os.PathLike[str], *, normalization: Normalization | None = None
) -> tuple[Text, Int64[Tensor, "Q L"]]:
    """Read a file with one sample a line; lines that are shorter than the longest are filled with masks.

    Args:
        data, normalization: as for `load_text`; @Q takes the first lines. Each line is normalized by itself.

    Returns:
        The characters of all lines joined, and the samples.

    Raises:
        InputError: as there, and for empty lines.
    """
    spelling, whole = _read(data)
    found, notes = _lines(spelling, whole.split("\n"), normalization)
    first, last = _chosen(
        spelling.start, spelling.limit, len(found), f"'{spelling}' holds {len(found):,} lines"
    )
    found = found[first:last]
    length = max(map(len, found))
    short = sum(len(line) < length for line in found)
    if short:
        words = f"{short:,} of {len(found):,} samples" if short > 1 else f"1 of {len(found):,} samples"
        notes += (
            f"{words} in '{spelling}' {'are' if short > 1 else 'is'} shorter than {length:,} characters; what is "
            "missing at their ends counts as different.",
        )
    text = encode("".join(found))
    rows = torch.full((len(found), length), MASK)
    size = torch.tensor([len(line) for line in found])
    rows[torch.arange(length) < size[:, None]] = text.long()
    return Text(str(spelling), text, length, (0, None), notes), rows


def count_lines(data: str | os.PathLike[str]) -> int:
    """How many lines a file of text has, those without a character at its end aside.

    Raises:
        InputError: where it is no file of text.
    """
    return _read(data)[1].count("\n") + 1


def windows(
    text: Text,
    length: int,
    *,
    stride: int | None = None,
    start: int | None = None,
    count: int | None = None,
    generator: torch.Generator | None = None,
) -> Windows:
    """Windows of one length, in order or drawn at random; without overlap unless a smaller stride is given.

    Window i begins at character i stride; what is left at the end of the text, shorter than a window, belongs to
    none.

    Args:
        text: where to cut.
        length: L, characters in a window.
        stride: how far apart windows begin; the length unless given.
        start: how many windows are passed over; as the suffix of DATA says unless given.
        count: P, how many are taken; as the suffix of DATA says, else all, unless given.
        generator: draws the P windows at random without replacement, instead of taking the first ones.

    Raises:
        InputError: where windows are longer than the text or fewer than asked for, or length or stride are below 1.

    Source: 002 appendix B trains on P x 256 characters of text8; MD4's own program trains on overlapping windows
    (stride 1).
    """
    step = length if stride is None else stride
    if length < 1 or step < 1:
        raise InputError(
            f"Windows of {length:,} characters that begin {step:,} apart cannot be cut; both numbers are at least 1."
        )
    if text.line is not None and (length != text.line or step != length):
        raise InputError(
            f"'{text.spec}' is a list of windows of {text.line:,} characters, one a line, and cannot be cut into "
            f"windows of {length:,} that begin {step:,} apart; put the text on one line, or leave these numbers out."
        )
    if len(text) < length:
        raise InputError(
            f"A window of {length:,} characters is longer than '{text.spec}', which has {len(text):,}; give a longer "
            "text or shorter windows."
        )
    there = (len(text) - length) // step + 1
    began, taken = text.chosen
    began = began if start is None else start
    taken = taken if count is None else count
    apart = "" if step == length else f" that begin {step:,} apart"
    said = f"'{text.spec}' has {len(text):,} characters, which are {there:,} windows of {length:,}{apart}"
    first, last = _chosen(began, taken, there, said)
    if generator is None:
        return Windows(text, torch.arange(first, last) * step, length, step)
    some = torch.randperm(there - first, generator=generator)[: last - first] + first
    return Windows(text, some * step, length, None)


def _read(data: str | os.PathLike[str]) -> tuple[Spelling, str]:
    """The file as one string, with \\n as its line breaks and without those at its end."""
    spelling = parse(data)
    refuse_split(spelling, "a text has no splits; name the file of each")
    refuse_config(spelling, "a text has none")
    if spelling.label is not None or spelling.download:
        raise InputError(
            f"'{spelling}' has a suffix for images; after a text only @P or @start:stop may stand."
        )
    path = Path(spelling.path)
    if not path.is_file():  # a pipe would wait for a writer
        raise InputError(f"'{spelling}' cannot be read as text: it is no file; name a file of text in UTF-8.")
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise InputError(
            f"'{spelling}' cannot be read as text ({error.strerror}); name a file of text in UTF-8."
        ) from error
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"'{spelling}' is not UTF-8: byte {error.start:,}, in line {raw.count(10, 0, error.start) + 1:,}, is "
            f"0x{raw[error.start]:02x}. Convert the file, for example with iconv -f latin1 -t utf-8."
        ) from error
    text = text.replace("\r\n", "\n").rstrip("\n")
    if not text:
        raise InputError(f"'{spelling}' holds no text; check that this is the right file.")
    return spelling, text


def _within(text: str, spelling: Spelling, rule: Normalization | None) -> tuple[str, tuple[str, ...]]:
    """A text brought to the alphabet, if a rule is given, and what to say about it."""
    if rule is None:
        check_alphabet(text, f"'{spelling}'")
        return text, ()
    others = outside(text)
    changed = rule(text)
    if not changed.strip():
        raise InputError(
            f"Nothing of '{spelling}' is left once it is normalized to a-z; is this the right file?"
        )
    check_alphabet(changed, f"'{spelling}', normalized,")
    if not others:
        return changed, ()
    return changed, (
        f"'{spelling}' was normalized: {others:,} of its {len(text):,} characters are outside the alphabet (a to z "
        f"and the space), and {len(changed):,} characters are left.",
    )


def _lines(
    spelling: Spelling, lines: list[str], rule: Normalization | None
) -> tuple[list[str], tuple[str, ...]]:
    """Lines brought to the alphabet one by one, so that a change in one leaves the others where they are."""
    empty = next((i for i, line in enumerate(lines) if not line), None)
    if empty is not None:
        raise InputError(
            f"Line {empty + 1:,} of '{spelling}' is empty, and each line is a sample; remove it, or put the text on "
            "one line."
        )
    if rule is None:
        check_alphabet("\n".join(lines), f"'{spelling}'", breaks=True)
        return lines, ()
    others = sum(map(outside, lines))
    changed = [rule(line) for line in lines]
    check_alphabet("\n".join(changed), f"'{spelling}', normalized,", breaks=True)
    said = f"'{spelling}' was normalized line by line: {others:,} characters were outside the alphabet."
    return changed, (said,) if others else ()


def _chosen(start: int, count: int | None, there: int, said: str) -> tuple[int, int]:
    """First and last + 1 of what is taken."""
    last = there if count is None else start + count
    if not 0 <= start < last <= there:
        asked = f"number {start:,} to {last - 1:,}" if start else f"{last - start:,}"
        raise InputError(f"{said}; {asked} were asked for. Ask for fewer, or give a longer text.")
    return start, last
