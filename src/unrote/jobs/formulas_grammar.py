"""The numbers of a Random Hierarchy Model: options in, `Outcome` out."""

from __future__ import annotations

import math
from typing import Any

from unrote.contracts import InputError
from unrote.data.grammar import Shape
from unrote.jobs.calculating import Outcome
from unrote.jobs.calculators_clock import GrammarOptions
from unrote.jobs.formulas_clock import CLOCK
from unrote.measure.tokens import chance_of_copying

LONGEST = 300
"""Digits of a number that is written out; a larger one has its logarithm alone."""


def grammar(options: GrammarOptions) -> Outcome:
    """002 section 4.1 and 4.2: the number of strings is exact, however large."""
    shape = Shape(options.vocabulary, options.rules, options.layers, options.branching, options.classes)
    digits = shape.log_strings / math.log(10)
    written = digits < LONGEST
    largest = math.log10(shape.vocabulary) + (shape.layers + 1) * math.log10(shape.rules)
    if largest >= LONGEST:
        raise InputError(
            f"P* = v m^(L + 1) has {largest:,.0f} digits, more than anyone can train on; lower --rules or --layers."
        )
    value: dict[str, Any] = {
        "strings": shape.strings if written else None,
        "threshold": shape.thresholds[-1],
        "layer_thresholds": shape.thresholds,
    }
    more: dict[str, Any] = {
        "length": shape.length,
        "rules_in_all": shape.roots * shape.rules + (shape.layers - 1) * shape.vocabulary * shape.rules,
        "log10_strings": digits,
    }
    if options.trained is not None:
        more["chance_of_copying"] = _chance(options.trained, shape)
    return Outcome(
        value,
        "strings = n_c m^((s^L - 1)/(s - 1)),  P*_l = v m^(l + 1) for the layers l = 1..L, P* the last of them"
        + (",  chance of copying P / strings" if options.trained is not None else ""),
        f"{CLOCK}, sections 4.1 and 4.2",
        more,
    )


def _chance(trained: int, shape: Shape) -> float:
    if shape.log_strings < LONGEST * math.log(10):
        return chance_of_copying(trained, shape.strings)
    return math.exp(math.log(trained) - shape.log_strings)
