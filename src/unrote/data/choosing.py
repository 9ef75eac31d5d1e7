"""Which rows of a set a spelling names: some classes, and of them some in order."""

from __future__ import annotations

import re

import numpy as np

from unrote.contracts import InputError
from unrote.data.spelling import Spelling, printable


def choose(
    spelling: Spelling, count: int, labels: np.ndarray | None, label_names: tuple[str, ...]
) -> np.ndarray:
    """The rows that a spelling names: those of its labels, and of them the first `limit` from `start` on.

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
        wanted = _classes(spelling, labels, label_names)
        rows = np.flatnonzero(np.isin(np.asarray(labels), wanted))
    of = "" if spelling.label is None else f" with the label '{printable(spelling.label)}'"
    if len(rows) == 0:
        raise InputError(
            f"'{spelling}' holds no images{of}. At least one is needed; name a label that has images."
        )
    stop = spelling.start + (spelling.limit or 1)
    if stop > len(rows):
        asked = f"{stop:,} images" if spelling.start == 0 else f"image {stop - 1:,} (the first is number 0)"
        raise InputError(
            f"'{spelling}' asks for {asked}, but there are {len(rows):,}{of}. "
            f"Lower the limit to at most {len(rows)} or leave it out."
        )
    return rows[spelling.start : None if spelling.limit is None else stop]


def selection_notes(
    spelling: Spelling, rows: np.ndarray, labels: np.ndarray | None, label_names: tuple[str, ...]
) -> tuple[str, ...]:
    """What a reader should know of a limit: that it left out whole classes, since the set lies class by class.

    Nothing is said where the classes are mixed and a small number of images misses some by chance.

    Args:
        spelling, labels, label_names: as for `choose`.
        rows: what it gave.
    """
    if labels is None or (spelling.limit is None and spelling.start == 0) or len(rows) < 2:
        return ()
    allowed = (
        labels if spelling.label is None else labels[np.isin(labels, _classes(spelling, labels, label_names))]
    )
    there, taken = np.unique(allowed), np.unique(labels[rows])
    runs = 1 + int((np.diff(allowed) != 0).sum())
    if len(taken) == len(there) or (len(taken) > 1 and runs > 2 * len(there)):
        return ()
    names = ", ".join(f"'{name}'" for name in _shown(taken, label_names)[:5])
    which = f"class {names}" if len(taken) == 1 else f"classes {names}{', ...' if len(taken) > 5 else ''}"
    by_class = ": the set lies class by class" if runs <= 2 * len(there) else ""
    return (
        f"the limit of '{spelling}' takes {len(taken):,} of {len(there):,} classes, only {which}{by_class}; "
        "name classes with ?label=, or shuffle the set first, if this is not meant",
    )


def _shown(classes: np.ndarray, label_names: tuple[str, ...]) -> list[str]:
    return [printable(label_names[i]) if 0 <= i < len(label_names) else str(i) for i in classes.tolist()]


def _classes(spelling: Spelling, labels: np.ndarray | None, label_names: tuple[str, ...]) -> list[int]:
    """The classes of ``?label=a,b``; a name that holds commas itself is found as the longest that fits."""
    wanted = spelling.label or ""
    if labels is None:
        raise InputError(
            f"'{spelling}' asks for the label '{printable(wanted)}', but this data has no labels. "
            "Leave '?label=' out, or give the images in one subfolder for each class."
        )
    present = np.unique(labels)
    pieces, place, found = wanted.split(","), 0, list[int]()
    while place < len(pieces):
        for end in range(len(pieces), place, -1):
            classes = _class(",".join(pieces[place:end]), present, label_names)
            if classes:
                found, place = found + classes, end
                break
        else:
            known = _shown(present, label_names)
            more = f" and {len(known) - 20} more" if len(known) > 20 else ""
            raise InputError(
                f"'{spelling}' asks for the label '{printable(pieces[place])}', which does not occur. The labels "
                f"here are {', '.join(known[:20])}{more}. Name one of them, or several with commas; '?label=' "
                "stands last, after @limit."
            )
    return found


def _class(word: str, present: np.ndarray, label_names: tuple[str, ...]) -> list[int]:
    """The classes of one name or number; empty where there is none."""
    for form in dict.fromkeys((printable(word), printable(word.strip()))):
        if form in label_names:  # a name goes before a number: class folders may be called 7 and 9
            return [i for i, name in enumerate(label_names) if name == form]
    if re.fullmatch("-?[0-9]{1,18}", word.strip()) and int(word) in present:
        return [int(word)]
    return []
