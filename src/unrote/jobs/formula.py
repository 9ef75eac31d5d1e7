"""What every calculator of `unrote theory` has: options, a name, a place."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Formula:
    """What every calculator takes; nothing is written."""

    json: bool = False
    """Print the result, and nothing else, as JSON on standard output."""


@dataclass(frozen=True)
class Calculator:
    """One formula.

    Args:
        name: on the command line.
        options: what it takes.
        place: `module:function`, loaded when it is used.
        summary: one line.
    """

    name: str
    options: type[Formula]
    place: str
    summary: str
