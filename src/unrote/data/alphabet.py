"""The alphabet of text8 as tokens: its characters, its rule, and what to say about others."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Integer, UInt8
from torch import Tensor

from unrote.contracts import InputError
from unrote.data.spelling import printable

ALPHABET = "abcdefghijklmnopqrstuvwxyz "
"""The tokens 0..26, in MD4's order: letters first, space last."""
VOCABULARY = len(ALPHABET)
MASK = VOCABULARY
"""Token of a masked character, and of what is missing at the end of a line that is too short."""

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

_CAPITALS = {ord(c): c.lower() for c in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}
_SPELLED = {ord(str(i)): f" {word} " for i, word in enumerate(DIGITS)}
_OUTSIDE = re.compile("[^a-z ]")
_NAMED = 4
"""Kinds of unknown characters that an error names one by one."""

Normalization = Callable[[str], str]


def normalize(text: str) -> str:
    """Bring text to text8's alphabet by text8's rule.

    Each digit becomes its English word with a space on either side, A-Z become a-z, and then every run of other
    characters (letters with accents too) becomes one space, at the ends as well. Text that is in the alphabet
    already stays as it is.

    Source: wikifil.pl by Matt Mahoney, which made text8, without its removal of markup.
    """
    return _reduced(text.translate(_SPELLED) if _OUTSIDE.search(text) else text)


def normalize_without_digits(text: str) -> str:
    """As `normalize`, but digits become a space like all other characters."""
    return _reduced(text)


def _reduced(text: str) -> str:
    return re.sub("[^a-z]+", " ", text.translate(_CAPITALS)) if _OUTSIDE.search(text) else text


def encode(text: str) -> UInt8[Tensor, " n"]:
    """Characters of the alphabet as tokens 0..26.

    Raises:
        InputError: for other characters; it says which, how many, and where the first of each stands.
    """
    check_alphabet(text, "The text")
    table = np.zeros(256, dtype=np.uint8)
    table[np.frombuffer(ALPHABET.encode(), dtype=np.uint8)] = np.arange(VOCABULARY, dtype=np.uint8)
    return torch.from_numpy(table[np.frombuffer(text.encode("ascii"), dtype=np.uint8)])


def decode(tokens: Integer[Tensor, " n"]) -> str:
    """Tokens as characters; a mask is shown as ``_``.

    Raises:
        InputError: for tokens outside 0..27.
    """
    if tokens.numel() and not 0 <= int(tokens.min()) <= int(tokens.max()) <= MASK:
        raise InputError(
            f"Tokens of text are 0..{VOCABULARY - 1} (a to z, then the space), and {MASK} for a mask; these reach "
            f"from {int(tokens.min())} to {int(tokens.max())}. Are they tokens of another alphabet?"
        )
    signs = np.frombuffer((ALPHABET + "_").encode(), dtype=np.uint8)
    return signs[tokens.cpu().numpy()].tobytes().decode("ascii")


def outside(text: str) -> int:
    """How many characters are not in the alphabet."""
    return len(_OUTSIDE.findall(text))


def check_alphabet(text: str, name: str, *, breaks: bool = False) -> None:
    """That all characters are in the alphabet.

    Args:
        text: the characters.
        name: what to call it in a message.
        breaks: whether line breaks may stand between them.

    Raises:
        InputError: if not; it names the commonest others, how many there are, and where the first of each stands.
    """
    found = Counter(_OUTSIDE.findall(text))
    if breaks:
        del found["\n"]
    if not found:
        return
    kinds = [
        f"{_spoken(sign)} {'once' if times == 1 else f'{times:,} times'} ({_place(text, text.index(sign))})"
        for sign, times in found.most_common(_NAMED)
    ]
    more = f" and {len(found) - _NAMED:,} kinds more" if len(found) > _NAMED else ""
    count = sum(found.values())
    raise InputError(
        f"{name} holds {count:,} character{'s' if count > 1 else ''} outside the alphabet, which is a to z and the "
        f"space: {', '.join(kinds)}{more}; in brackets is where the first of a kind stands. Have the text normalized "
        "by text8's rule (on the command line --normalize spell or --normalize drop, for digits), or correct it."
    )


def _spoken(sign: str) -> str:
    if sign in "\n\r":
        return "line breaks"
    if sign.isprintable():
        return f"'{sign}'"
    return unicodedata.name(sign, printable(sign)).lower()


def _place(text: str, at: int) -> str:
    before = text.rfind("\n", 0, at)
    return f"line {text.count(chr(10), 0, at) + 1:,}, column {at - before:,}"
