"""Claims and their verdicts: what a paper says, how it is tested, and the rule fixed before the run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from unrote.contracts import Estimate
from unrote.report.blocks import Block
from unrote.report.format import Value, quantity
from unrote.sweeps import key_of

HELD, PARTLY, FAILED, UNTESTED = "held", "partly", "failed", "not tested at this scale"

Row = Mapping[str, Any]
"""One run: {"configuration": ..., "result": ...}."""


@dataclass(frozen=True)
class Claim:
    """One statement that a run can refute.

    Args:
        id: its name in the ledger.
        paper: 000 to 003, or "unrote" for a statement of our own.
        source: figure, table or section.
        says: the statement.
        tested: data, model, sizes: what is run.
        rule: when the verdict is held, partly or failed, in words.
        measure: the runs of all seeds -> the measured number and its verdict.
        show: how the measured number is written.
    """

    id: str
    paper: str
    source: str
    says: str
    tested: str
    rule: str
    measure: Callable[[Sequence[Row]], tuple[Estimate, str]]
    show: Callable[[Value], str] = quantity


def inside(found: Estimate, low: float, high: float) -> str:
    """Held where an interval lies within bounds, failed where it lies outside, partly where it crosses one."""
    first, last = ends(found)
    if first >= low and last <= high:
        return HELD
    return PARTLY if first <= high and last >= low else FAILED


def ends(found: Estimate) -> tuple[float, float]:
    """Both ends of an interval that is known."""
    assert found.low is not None and found.high is not None
    return found.low, found.high


def at_most(found: Estimate, held: float, partly: float) -> str:
    """Held where an interval ends at or below one bound, partly where it does below a weaker one."""
    high = ends(found)[1]
    return HELD if high <= held else PARTLY if high <= partly else FAILED


def at_least(found: Estimate, held: float, partly: float) -> str:
    """Held where an interval begins at or above one bound, partly where it does above a weaker one."""
    low = ends(found)[0]
    return HELD if low >= held else PARTLY if low >= partly else FAILED


def nothing(rows: Sequence[Row]) -> tuple[Block, ...]:
    """No figures: the claims and the runs say all."""
    return ()


def no_sets(scale: str) -> tuple[str, ...]:
    """No picture sets: the data is synthetic or ships with a dependency."""
    return ()


@dataclass(frozen=True)
class Experiment:
    """Runs over seeds, and the claims that they decide.

    Args:
        name: what `unrote reproduce` calls it.
        about: one line.
        scale: the scale at which the claims are decided.
        configurations: scale -> one JSON configuration for each run, seeds included.
        run: configuration -> result, both JSON.
        claims: what the runs decide.
        show: figures and words made of whatever runs there are.
        sets: scale -> names of the picture sets and texts that its runs read.
    """

    name: str
    about: str
    scale: str
    configurations: Callable[[str], Sequence[Mapping[str, Any]]]
    run: Callable[[Mapping[str, Any]], Mapping[str, Any]]
    claims: tuple[Claim, ...]
    show: Callable[[Sequence[Row]], tuple[Block, ...]] = nothing
    sets: Callable[[str], tuple[str, ...]] = no_sets

    def specification(self) -> str:
        """A hash of everything that is fixed before the runs: configurations, statements and rules."""
        words = [[c.id, c.paper, c.source, c.says, c.tested, c.rule] for c in self.claims]
        return key_of({"runs": list(self.configurations(self.scale)), "claims": words})


def judge(experiment: Experiment, scale: str, rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The verdict of every claim of an experiment on some runs.

    A claim is decided only at its own scale and only when the runs of all its seeds are there.
    """
    wanted = {key_of(c) for c in experiment.configurations(experiment.scale)}
    counted = [row for row in rows if key_of(row["configuration"]) in wanted]
    complete = scale == experiment.scale and {key_of(r["configuration"]) for r in counted} == wanted
    table = []
    for claim in experiment.claims:
        measured, verdict = claim.measure(counted) if complete else (None, UNTESTED)
        table.append(
            {
                "id": claim.id,
                "paper": claim.paper,
                "source": claim.source,
                "says": claim.says,
                "tested": claim.tested,
                "rule": claim.rule,
                "measured": None if measured is None else measured.as_dict(),
                "number": "" if measured is None else claim.show(measured),
                "runs": len(counted),
                "scale": scale,
                "verdict": verdict,
            }
        )
    return table
