"""What no command can use is refused before anything is read: numbers out of range, results among the data."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from unrote.contracts import InputError
from unrote.data.spelling import DIGITS, parse, printable

LIMITS: dict[str, tuple[float, float]] = {
    "seed": (0, 2**32 - 1),
    "fail_above": (0, 1),
    "factor": (1, 10**6),
    "confidence": (0.5, 0.9999),
    "false_positives": (1e-6, 0.5),
    "duplicate_threshold": (0, 1),
    "absolute_threshold": (0, 1),
    "similarity_threshold": (-1, 1),
    "memory": (64, 2**20),
    "steps": (1, 10**9),
    "samples": (1, 10**7),
    "checkpoints": (1, 1000),
    "levels": (2, 1000),
    "points": (1, 10**7),
    "workers": (1, 1024),
    "window": (1, 10**6),
    "stride": (1, 10**6),
    "hamming_threshold": (0, 0.999),
    "passage_threshold": (1, 10**6),
}
"""The least and the largest value of every option that is not checked where it is used."""


def check_options(options: Any) -> None:
    """Refuse numbers that no command can use.

    Raises:
        InputError: naming the first one.
    """
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        low, high = LIMITS.get(field.name, (0, 0))
        if low == high or not isinstance(value, int | float) or low <= value <= high:
            continue
        raise InputError(
            f"--{field.name.replace('_', '-')} {_number(value)} cannot be used; it lies between {_number(low)} and "
            f"{_number(high)}."
        )


def _number(value: float | int) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


def check_name(flag: str, folder: Path) -> None:
    """Refuse a folder of checkpoints whose name, or a name above it, is not text.

    Raises:
        InputError: naming it.
    """
    name = str(folder.resolve())
    if printable(name) != name:
        raise InputError(
            f"{flag} {printable(name)} cannot be used: checkpoints can only be read from folders whose names are "
            "UTF-8 text without control characters; rename it or name another folder."
        )


def check_apart(out: Path, *data: str | None, model: Path | None = None) -> None:
    """Refuse an output folder in a folder of images, where results would be read as data the next time, and one
    that holds what is read, which would be lost when it is replaced.

    Args:
        out: the output folder.
        data: DATA arguments.
        model: a run folder or a checkpoint.

    Raises:
        InputError: naming both.
    """
    place, shown = out.resolve(), f"--out {printable(str(out))}"
    paths = [parse(spec).path for spec in data if spec is not None]
    sources = [Path(path).resolve() for path in paths if path != DIGITS]
    for source in [*sources, *([] if model is None else [model.resolve()])]:
        if place == source or place in source.parents:
            raise InputError(
                f"{shown} holds {printable(str(source))}, which is read from; results never replace what they rest "
                "on, so name another folder."
            )
    for source in sources:
        if source.is_dir() and source in place.parents:
            raise InputError(
                f"{shown} lies in {printable(str(source))}, where results would be read as images the next time; "
                "name a folder outside."
            )


def check_sets(sets: Sequence[str], names: Sequence[str]) -> None:
    """Refuse sets of samples that cannot be told apart, and names that do not fit them.

    Args:
        sets: DATA arguments.
        names: what to call them, or nothing.

    Raises:
        InputError: saying how many there are, or naming what occurs twice.
    """
    if not sets:
        raise InputError("There is nothing to audit; name the generated samples with --samples DATA.")
    if names and len(sets) == 1:
        raise InputError(
            f"--names {' '.join(map(printable, names))} tells several sets of samples apart, and there is one; leave "
            "it out, or give more sets, each with its own --samples."
        )
    if names and len(names) != len(sets):
        raise InputError(
            f"--names holds {len(names)} names ({', '.join(map(printable, names))}) for {len(sets)} sets of samples; "
            "give one for each --samples, in the same order."
        )
    if any(not name.strip() for name in names):
        raise InputError("One of the --names is empty; give every set a name, or leave --names out.")
    for flag, given in (("--names", names), ("--samples", () if names else sets)):
        twice = next((one for one in given if list(given).count(one) > 1), None)
        if twice is not None:
            raise InputError(
                f"{flag} holds '{printable(twice)}' twice, so that the sets cannot be told apart; "
                + ("give different names." if names else "leave one out, or tell them apart with --names.")
            )
