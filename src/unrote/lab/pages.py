"""The page of a reproduction: claims with their rules and verdicts, the figures, every run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from unrote.lab.claims import FAILED, HELD, PARTLY, UNTESTED, Experiment, Row
from unrote.report import blocks

Made = tuple[Experiment, Sequence[Mapping[str, Any]], Sequence[Row]]
"""An experiment, its judged claims, its runs."""
LONGEST = 600
"""Characters of a run's numbers on the page; result.json has all."""


def page(name: str, scale: str, made: Sequence[Made]) -> blocks.Page:
    """One section for each experiment: its figures, its claims, its runs."""
    claims = [claim for _, judged, _ in made for claim in judged]
    counts = {
        verdict: sum(c["verdict"] == verdict for c in claims) for verdict in (HELD, PARTLY, FAILED, UNTESTED)
    }
    words = ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count)
    tone = blocks.Tone.CAUTION if counts[FAILED] else blocks.Tone.NEUTRAL
    return blocks.Page(
        title=f"{name}, {scale} scale",
        lead="; ".join(one.about for one, _, _ in made) if len(made) == 1 else f"{len(made)} experiments",
        verdict=blocks.Verdict(f"{len(claims)} claims: {words}" if claims else "No claims", tone),
        sections=tuple(section(*one, told=len(made) == 1) for one in made),
    )


def section(
    chosen: Experiment, claims: Sequence[Mapping[str, Any]], rows: Sequence[Row], told: bool = False
) -> blocks.Section:
    """What one experiment shows, what it decides, and on which runs; `told` if the page says already what it is."""
    words = () if told else (blocks.Text((chosen.about,)),)
    every = blocks.Details("Every run", (runs(rows),))
    return blocks.Section(chosen.name, (*words, *chosen.show(rows), verdicts(claims), every))


def verdicts(claims: Sequence[Mapping[str, Any]]) -> blocks.Table:
    """Claims with what was measured and the rule that was fixed before the runs."""
    columns = (
        *map(blocks.Column, ("claim", "source", "says")),
        *map(blocks.Column, ("measured", "verdict", "rule")),
    )
    cells = tuple(
        (
            claim["id"],
            f"{claim['paper']} {claim['source']}",
            claim["says"],
            claim["number"] or None,
            claim["verdict"],
            claim["rule"],
        )
        for claim in claims
    )
    return blocks.Table(columns, cells, "Claims, with the rule that was fixed before the runs")


def runs(rows: Sequence[Row]) -> blocks.Table:
    """Every run: what was asked, and the beginning of what came out."""
    cells = tuple((json.dumps(row["configuration"]), cut(json.dumps(row["result"]))) for row in rows)
    columns = (blocks.Column("configuration"), blocks.Column("result"))
    return blocks.Table(columns, cells, "Every run; result.json has all numbers", sortable=False)


def cut(text: str) -> str:
    """The beginning of a long text."""
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} ..."
