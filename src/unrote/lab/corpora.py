"""Texts that experiments need: named in their configurations, found where the user says they are, or made."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import torch

from unrote.contracts import InputError
from unrote.data.alphabet import ALPHABET, decode, encode
from unrote.data.text import Text, load_text
from unrote.lab.pictures import FOLDER

MILLION = 10**6
LEXICON = 300
"""Words of the made language."""
LONGEST = 8
"""Letters in a word of it, at most."""


@dataclass(frozen=True)
class Part:
    """Where a text stands: characters of a file of a-z and spaces.

    Args:
        file: below the folder, or below its folder `text`.
        origin: where the file comes from if one has none.
        start, stop: its first character and the one after its last; None for the end.
    """

    file: str
    origin: str
    start: int = 0
    stop: int | None = None


WIKITEXT = "WikiText-2, lower case, every other character a space, runs of spaces one"
TEXT8 = "text8.zip of Matt Mahoney's Large Text Compression Benchmark, unpacked"
TEXTS = {
    "wikitext2": Part("wikitext2_az_train.txt", f"{WIKITEXT}: the training split"),
    "wikitext2_test": Part("wikitext2_az_validation.txt", f"{WIKITEXT}: the validation split"),
    "text8": Part("text8.txt", TEXT8, 0, 90 * MILLION),
    "text8_test": Part("text8.txt", TEXT8, 90 * MILLION, 95 * MILLION),
}
"""Names in configurations, and where they are; text8 is parted as usual."""
MADE = {"made": 0, "made_test": 1}
"""Names of texts that need no file, and the seeds of their order of words."""


def spelling(name: str) -> str:
    """The file of a named text as DATA.

    Raises:
        InputError: if its folder is not known, or the file is not there.
    """
    part, folder = TEXTS[name], os.environ.get(FOLDER)
    for below in ("text", "."):
        for file in (part.file, part.file.removesuffix(".txt")):  # the archive of text8 holds a file `text8`
            if folder and (Path(folder) / below / file).is_file():
                return f"text:{Path(folder) / below / file}"
    where = f"there is no text/{part.file} in {folder}" if folder else "no folder is named"
    raise InputError(
        f"This experiment draws on the text {part.file}, and {where}. Name a folder that holds it, itself or below a "
        f"folder `text`, with a to z and single spaces alone (its origin: {part.origin}): unrote reproduce ... "
        f"--data FOLDER, or set {FOLDER}. At smoke scale a made text is used instead."
    )


def text_of(name: str) -> Text:
    """A named text, whole.

    Raises:
        InputError: as `spelling`, or if the file is shorter than its parts, or holds other characters.
    """
    if name in MADE:
        return made_text(MADE[name])
    part, found = TEXTS[name], load_text(spelling(name))
    stop = len(found) if part.stop is None else part.stop
    if stop > len(found):
        raise InputError(
            f"'{found.spec}' has {len(found):,} characters, and {name} reaches to character {stop:,}; is the file "
            f"whole? Its origin: {part.origin}."
        )
    return Text(f"{found.spec}, from character {part.start:,}", found.tokens[part.start : stop])


def made_text(seed: int, words: int = 20_000) -> Text:
    """Words of a made language in random order, common ones often: p(r-th word) ~ 1/r.

    Args:
        seed: of the order; the words are the same for all.
        words: how many.
    """
    g = torch.Generator().manual_seed(0)
    size = torch.randint(1, LONGEST + 1, (LEXICON,), generator=g)
    lexicon = torch.randint(len(ALPHABET) - 1, (LEXICON, LONGEST), generator=g)
    known = [decode(word[:n]) for word, n in zip(lexicon, size, strict=True)]
    chance = 1 / torch.arange(1, LEXICON + 1)
    order = torch.multinomial(chance, words, True, generator=torch.Generator().manual_seed(seed + 1))
    return Text(f"a made text, seed {seed}", encode(" ".join(known[k] for k in order.tolist())))
