"""`unrote reproduce` and `unrote claims`: run an experiment, judge its claims, keep the ledger.

The rule of the ledger: data, seeds, threshold and verdict rule are committed before a run, every run is
recorded, and a verdict is computed from the recorded runs whenever the ledger is read. Runs of an
earlier specification stay in the file and are counted as such; they decide nothing any more.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

from unrote.contracts import Estimate, InputError
from unrote.jobs.options import ClaimsOptions, ReproduceOptions
from unrote.jobs.output import document, plain, progress, versions, workspace, write_document
from unrote.lab.claims import Experiment, Row, judge
from unrote.report import blocks
from unrote.report.format import ratio
from unrote.report.page import write
from unrote.sweeps import sweep

PLACES = {"first-look": "unrote.lab.first_look"}
"""Experiments by name, and the module whose EXPERIMENT they are."""

LEDGER = Path(__file__).with_name("ledger")


@dataclass(frozen=True)
class Reproduction:
    """Verdicts of one experiment on the runs of this call."""

    claims: list[dict[str, Any]]
    content: dict[str, Any]
    out: Path

    def as_json(self) -> dict[str, Any]:
        """The content of result.json."""
        return self.content

    def summary(self) -> str:
        """The verdicts, one line each."""
        return "\n".join([*map(line, self.claims), f"report: {self.out / 'report.html'}"])


@dataclass(frozen=True)
class Ledger:
    """All claims with the verdicts of the recorded runs."""

    claims: list[dict[str, Any]]

    def as_json(self) -> dict[str, Any]:
        """The ledger as JSON."""
        return {"schema": 1, "claims": self.claims}

    def summary(self) -> str:
        """The ledger, one claim after the other."""
        return "\n\n".join(
            f"{line(claim)}\n    says    {claim['says']}\n    tested  {claim['tested']}\n    rule    {claim['rule']}"
            for claim in self.claims
        )


def line(claim: dict[str, Any]) -> str:
    """One claim in one line: verdict, name, source, the measured number and the number of runs."""
    measured = claim["measured"]
    number = "" if measured is None else ratio(Estimate(**measured))
    where = f"{claim['paper']} {claim['source']}"
    return f"{claim['verdict']:<8} {claim['id']} ({where}, {claim['scale']}): {number or 'no complete set of runs'}"


def experiment(name: str) -> Experiment:
    """An experiment by its name.

    Raises:
        InputError: for a name that is not known.
    """
    if name not in PLACES:
        raise InputError(
            f"There is no experiment called {name!r}; the experiments are {', '.join(PLACES)}. "
            "Run `unrote reproduce NAME --scale smoke`, or laptop, or paper."
        )
    found: Experiment = import_module(PLACES[name]).EXPERIMENT
    return found


def reproduce(options: ReproduceOptions) -> Reproduction:
    """Run an experiment at a scale, judge its claims, write a page; with record, extend the ledger."""
    chosen = experiment(options.experiment)
    configurations = list(chosen.configurations(options.scale))
    identity = {"experiment": chosen.name, "runs": configurations}
    with workspace(options.out, options.overwrite, identity) as folder:
        rows: list[Row] = []
        with progress(chosen.name, len(configurations)) as advance:
            for configuration, result in sweep(chosen.run, configurations, folder / "runs", options.workers):
                rows.append({"configuration": dict(configuration), "result": dict(result)})
                advance(1)
        claims = judge(chosen, options.scale, rows)
        content = document("reproduce", {}, options, {"claims": claims, "runs": rows})
        write(_page(chosen, options.scale, claims, rows), folder / "report.html")
        write_document(content, folder)
        if options.record:
            record(chosen, options.scale, rows)
    return Reproduction(claims, content, options.out)


def record(chosen: Experiment, scale: str, rows: Sequence[Row]) -> None:
    """Append runs to the ledger, each with the specification that it was made under."""
    LEDGER.mkdir(exist_ok=True)
    stamp = {
        "experiment": chosen.name,
        "scale": scale,
        "specification": chosen.specification(),
        "date": datetime.now(UTC).date().isoformat(),
        "versions": versions(),
    }
    with (LEDGER / f"{chosen.name}.jsonl").open("a", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(plain(stamp | dict(row)), allow_nan=False) + "\n")


def recorded(chosen: Experiment) -> tuple[list[Row], int]:
    """The recorded runs of the present specification, and how many others the ledger holds."""
    path = LEDGER / f"{chosen.name}.jsonl"
    rows = (
        [json.loads(text) for text in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []
    )
    present = chosen.specification()
    mine = [row for row in rows if row["specification"] == present and row["scale"] == chosen.scale]
    return mine, len(rows) - len(mine)


def claims(options: ClaimsOptions | None = None) -> Ledger:
    """The ledger: every claim with the verdict that its recorded runs give."""
    table = []
    for name in PLACES:
        chosen = experiment(name)
        rows, others = recorded(chosen)
        for claim in judge(chosen, chosen.scale, rows):
            table.append(claim | {"experiment": name, "other_runs": others})
    return Ledger(table)


def _page(
    chosen: Experiment, scale: str, claims: Sequence[dict[str, Any]], rows: Sequence[Row]
) -> blocks.Page:
    """Claims with verdicts, then every run."""
    verdicts = blocks.Table(
        (
            *map(blocks.Column, ("claim", "source", "says", "rule")),
            blocks.Column("measured", ratio),
            blocks.Column("verdict"),
        ),
        tuple(
            (
                claim["id"],
                f"{claim['paper']} {claim['source']}",
                claim["says"],
                claim["rule"],
                Estimate(**claim["measured"]) if claim["measured"] else None,
                claim["verdict"],
            )
            for claim in claims
        ),
        "Claims, with the rule that was fixed before the runs",
    )
    runs = blocks.Table(
        (blocks.Column("configuration"), blocks.Column("result")),
        tuple((json.dumps(row["configuration"]), json.dumps(row["result"])[:2000]) for row in rows),
        "Every run",
        sortable=False,
    )
    decided = ", ".join(f"{claim['id']}: {claim['verdict']}" for claim in claims)
    return blocks.Page(
        title=f"{chosen.name}, {scale} scale",
        lead=chosen.about,
        verdict=blocks.Verdict(decided),
        sections=(blocks.Section("Claims", (verdicts,)), blocks.Section("Runs", (runs,))),
    )
