"""Judging variants of training: the exponent of each, and its onsets over those of the same pictures without it."""

from __future__ import annotations

import math
from collections.abc import Sequence

from unrote.contracts import Estimate
from unrote.lab.claims import FAILED, Row, inside
from unrote.lab.early_stopping.law_rules import Definition, judged_law, law_of
from unrote.lab.ratios import geometric
from unrote.lab.wild_middle.gap_rules import Judged

SAME = 1.25
"""Onsets within this factor are the same."""


def of_variant(rows: Sequence[Row], name: str) -> list[Row]:
    """The runs of one variant."""
    return [row for row in rows if row["configuration"]["variant"] == name]


def survives(name: str, definition: Definition) -> Judged:
    """Judge the exponent of one variant by one definition."""

    def judged(rows: Sequence[Row]) -> tuple[Estimate, str]:
        return judged_law(law_of(of_variant(rows, name), definition))

    return judged


def over_base(rows: Sequence[Row], name: str, definition: Definition) -> Estimate:
    """Onset of a variant over that of the base with the same pictures, geometric mean, interval over seeds.

    Pairs of which one onset was not reached say nothing; a seed without any pair is left out.
    """
    base = {_key(row): definition.onset(row).value for row in of_variant(rows, "base")}
    by_seed: dict[int, list[float]] = {}
    for row in of_variant(rows, name):
        mine, other = definition.onset(row).value, base.get(_key(row))
        if mine is not None and other is not None:
            by_seed.setdefault(row["configuration"]["seed"], []).append(math.log(mine / other))
    if not by_seed:
        return Estimate(None, None, None, 0)
    return geometric([sum(logs) / len(logs) for logs in by_seed.values()])


def is_same(name: str, definition: Definition) -> Judged:
    """Judge whether onsets of a variant are those of the base."""

    def judged(rows: Sequence[Row]) -> tuple[Estimate, str]:
        found = over_base(rows, name, definition)
        return found, FAILED if found.low is None else inside(found, 1 / SAME, SAME)

    return judged


def _key(row: Row) -> tuple[int, int]:
    asked = row["configuration"]
    return asked["pictures"]["images"], asked["seed"]
