"""What the settings of several commands have in common; no slow imports here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import UseAppendAction, arg

Repeated = UseAppendAction[Annotated[str | tuple[str, ...], arg(constructor=tuple[str, ...])]]
"""A flag that may be given several times; in Python one value or several."""

DATA = (
    "digits, a folder or .zip of images, .npy/.npz/.pt arrays, Parquet, a save_to_disk folder, or hf:owner/name; "
    ":split, @limit, ?label= as suffixes"
)


@dataclass(frozen=True, kw_only=True)
class Common:
    """What every command takes."""

    out: Path
    """Folder for the results; it must not exist yet, or hold an interrupted run of the same command."""
    overwrite: bool = False
    """Replace what is in --out."""
    json: bool = False
    """Print the result, and nothing else, as JSON on standard output."""

    def __post_init__(self) -> None:
        # In Python a path is as often a string.
        object.__setattr__(self, "out", Path(self.out))


@dataclass(frozen=True, kw_only=True)
class Seeded:
    """For commands that draw random numbers."""

    seed: int = 0
    """Seed of everything random."""


@dataclass(frozen=True, kw_only=True)
class Device:
    """For commands that run a network."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the network runs."""


@dataclass(frozen=True, kw_only=True)
class Gate:
    """Exit status 3 when copying is above a limit, for use in continuous integration."""

    fail_above: float | None = None
    """Exit with status 3 if the copy ratio is above this number (0.01 means one percent)."""
    fail_on: Literal["low", "value", "high"] = "low"
    """Which end of the copy ratio's interval --fail-above looks at."""
