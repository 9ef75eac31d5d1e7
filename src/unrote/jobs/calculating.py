"""`unrote theory NAME`: evaluate one formula, and say which one it was and where it comes from."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from importlib import import_module
from typing import Any

from unrote.contracts import InputError
from unrote.jobs.calculators import CALCULATORS, Formula
from unrote.jobs.output import document

LIMITS: dict[str, tuple[float, float]] = {
    "alpha_bar": (1e-12, 1 - 1e-12),
    "branching": (2, 10**6),
    "classes": (1, 10**9),
    "clusters": (1, 10**5),
    "coefficient": (1e-12, 1e12),
    "components": (1, 10**7),
    "constant": (1e-9, 1e9),
    "count": (2, 10**9),
    "counts": (0, 10**9),
    "data_sets": (2, 10**5),
    "dimension": (1, 10**6),
    "distance": (1, 10**6),
    "draws": (1, 10**9),
    "epsilon": (1e-9, 1),
    "examples": (1, 10**9),
    "exponent": (0, 20),
    "factor": (1 + 1e-9, 10**6),
    "farthest": (1e-12, 1e12),
    "gap": (0, 1e12),
    "group": (1, 10**7),
    "kept": (1, 10**6),
    "layers": (1, 10**3),
    "least": (1, 10**6),
    "linear_timestep": (0, 999),
    "cosine_timestep": (0, 999),
    "log_snr": (-60, 60),
    "margin_inner": (1e-9, 1e3),
    "margin_norm": (1e-9, 1e3),
    "nearest": (1e-12, 1e12),
    "norm": (0, 1e12),
    "nu": (1e-3, 20),
    "order": (1, 16),
    "picks": (2, 10**5),
    "points": (1, 10**12),
    "power": (0, 100),
    "radius": (0, 1e12),
    "rate": (1e-12, 1e12),
    "ratio": (0, 1e12),
    "rules": (1, 10**9),
    "samples": (2, 10**6),
    "seed": (0, 2**32 - 1),
    "sigma": (1e-12, 1e12),
    "simulate": (2, 10**6),
    "size": (2, 10**6),
    "spread": (1e-9, 1e9),
    "steps": (1, 10**5),
    "tail": (1e-6, 1e4),
    "tau": (1e-9, 1 - 1e-9),
    "theta": (1e-300, 0.5),
    "trained": (1, 10**18),
    "vocabulary": (2, 10**9),
    "time": (1e-12, 1 - 1e-12),
    "time_low": (0, 1),
    "time_high": (0, 1),
    "weights": (0, 1),
}
"""The least and the largest value of every flag with a number."""

Value = float | Sequence[float] | Mapping[str, Any]


@dataclass(frozen=True)
class Outcome:
    """What a calculator says.

    Args:
        value: a number, a list, or a table with named columns.
        formula: that was evaluated.
        source: where it comes from.
        more: named numbers that stand beside the value.
        content: the whole result as JSON, filled in by `theory`.
    """

    value: Value
    formula: str
    source: str
    more: Mapping[str, Any] = field(default_factory=dict)
    content: Mapping[str, Any] = field(default_factory=dict)

    def as_json(self) -> Mapping[str, Any]:
        """Schema, settings and results: value, formula, source, and what stands beside them."""
        return self.content

    def summary(self) -> str:
        """The value, then its formula and source."""
        rows = [("value", self.value), *self.more.items()]
        width = max(len(name) for name, _ in rows)
        lines = [line for name, value in rows for line in shown(name.replace("_", " "), value, width)]
        return "\n".join([*lines, "", f"formula  {self.formula}", f"source   {self.source}"])


def theory(options: Formula) -> Outcome:
    """Evaluate the calculator that these options belong to.

    Raises:
        InputError: for numbers that it cannot use.
    """
    chosen = next((c for c in CALCULATORS if type(options) is c.options), None)
    if chosen is None:
        raise ValueError(f"{type(options).__name__} are not the options of a calculator")
    check(options)
    module, function = chosen.place.split(":")
    outcome: Outcome = getattr(import_module(module), function)(options)
    results = {"value": outcome.value, "formula": outcome.formula, "source": outcome.source, **outcome.more}
    content = document(f"theory {chosen.name}", {}, options, results)
    return Outcome(outcome.value, outcome.formula, outcome.source, outcome.more, content)


def check(options: Formula) -> None:
    """Refuse numbers outside `LIMITS`, and empty lists where a number is needed."""
    for each in fields(options):
        given = getattr(options, each.name)
        if given == () and each.default is MISSING:
            raise InputError(f"{flag(each.name)} needs one or more numbers.")
        low, high = LIMITS.get(each.name, (-math.inf, math.inf))
        for value in given if isinstance(given, tuple) else (given,):
            if isinstance(value, bool) or not isinstance(value, int | float) or low <= value <= high:
                continue
            raise InputError(
                f"{flag(each.name)} {value:g} cannot be used; it lies between {low:g} and {high:g}."
            )


def exactly_one(options: Formula, *names: str) -> str:
    """The one name of several that was given a value.

    Raises:
        InputError: if none or more than one was.
    """
    given = [name for name in names if getattr(options, name) not in (None, ())]
    if len(given) == 1:
        return given[0]
    came = " and ".join(map(flag, given)) if given else "none of them"
    raise InputError(f"Exactly one of {', '.join(map(flag, names))} is needed; {came} came.")


def flag(name: str) -> str:
    """How an option is spelled on the command line."""
    return "--" + name.replace("_", "-")


def shown(name: str, value: Any, width: int) -> list[str]:
    """A named value as aligned lines."""
    if isinstance(value, Mapping):
        columns = {key: v if isinstance(v, list) else [v] for key, v in value.items()}
        if all(len(v) == 1 for v in columns.values()):
            widest = max(map(len, columns))
            return [f"{key.replace('_', ' '):<{widest}}  {text(v[0])}" for key, v in columns.items()]
        cells = [[key.replace("_", " "), *map(text, v)] for key, v in columns.items()]
        widths = [max(map(len, column)) for column in cells]
        return [
            "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip()
            for row in zip(*cells, strict=True)
        ]
    return [f"{name:<{width}}  {text(value)}"]


def text(value: Any) -> str:
    """A number with eight significant digits, several with commas, yes and no, or - where there is none."""
    if isinstance(value, tuple):
        return ", ".join(map(text, value))
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value + 0.0:.8g}" if isinstance(value, float) else str(value)
