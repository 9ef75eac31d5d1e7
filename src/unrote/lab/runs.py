"""`unrote reproduce` and `unrote claims`: run an experiment, judge its claims, keep the ledger.

The rule of the ledger: data, seeds, threshold and verdict rule are committed before a run, every run is
recorded, and a verdict is computed from the recorded runs whenever the ledger is read. Runs of an
earlier specification stay in the file and are counted as such; they decide nothing any more.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from difflib import SequenceMatcher
from importlib import import_module
from pathlib import Path
from typing import Any

from unrote.contracts import InputError
from unrote.jobs.options import ClaimsOptions, ReproduceOptions
from unrote.jobs.output import document, plain, progress, versions, workspace, write_document
from unrote.lab import corpora, pictures
from unrote.lab.claims import Experiment, Row, judge
from unrote.lab.pages import page
from unrote.report.page import write
from unrote.sweeps import key_of, sweep

PLACES = {
    "first-look": "unrote.lab.first_look",
    "first-cures": "unrote.lab.first_cures",
    "crossover/losses": "unrote.lab.crossover.losses",
    "crossover/transition": "unrote.lab.crossover.transition",
    "crossover/sweep": "unrote.lab.crossover.sweep",
    "crossover/prediction": "unrote.lab.crossover.prediction",
    "crossover/colours": "unrote.lab.crossover.colours",
    "crossover/steps": "unrote.lab.crossover.steps",
    "crossover/recipe": "unrote.lab.crossover.recipe",
    "crossover/scale": "unrote.lab.crossover.scale",
    "crossover/law": "unrote.lab.crossover.law",
    "wild_middle/weight": "unrote.lab.wild_middle.weight",
    "wild_middle/coverage": "unrote.lab.wild_middle.coverage",
    "wild_middle/zone": "unrote.lab.wild_middle.zone",
    "wild_middle/calm": "unrote.lab.wild_middle.calm",
    "wild_middle/forecast": "unrote.lab.wild_middle.forecast",
    "wild_middle/recommended": "unrote.lab.wild_middle.recommended",
    "wild_middle/levels": "unrote.lab.wild_middle.levels",
    "wild_middle/gap": "unrote.lab.wild_middle.gap",
    "wild_middle/gap-mlp": "unrote.lab.wild_middle.gap_mlp",
    "wild_middle/tokens": "unrote.lab.wild_middle.tokens",
    "ambient/optima": "unrote.lab.ambient.optima",
    "ambient/front": "unrote.lab.ambient.front",
    "ambient/front-unet": "unrote.lab.ambient.front_unet",
    "ambient/front-faces": "unrote.lab.ambient.front_faces",
    "ambient/level": "unrote.lab.ambient.level",
    "ambient/sizes": "unrote.lab.ambient.sizes",
    "ambient/hidden": "unrote.lab.ambient.hidden",
    "ambient/classes": "unrote.lab.ambient.classes",
    "ambient/pictures": "unrote.lab.ambient.pictures",
    "ambient/cifar": "unrote.lab.ambient.cifar",
    "ambient/leakage": "unrote.lab.ambient.leakage",
    "ambient/subpopulations": "unrote.lab.ambient.subpopulations",
    "ambient/merging": "unrote.lab.ambient.merging",
    "early_stopping/law": "unrote.lab.early_stopping.law",
    "early_stopping/phase": "unrote.lab.early_stopping.phase",
    "early_stopping/variants": "unrote.lab.early_stopping.variants",
    "early_stopping/iddpm": "unrote.lab.early_stopping.iddpm",
    "early_stopping/cifar": "unrote.lab.early_stopping.cifar",
    "early_stopping/twins": "unrote.lab.early_stopping.twins",
    "early_stopping/online": "unrote.lab.early_stopping.online",
    "early_stopping/rhm": "unrote.lab.early_stopping.rhm",
    "early_stopping/rhm-deep": "unrote.lab.early_stopping.rhm_deep",
    "early_stopping/rhm-rates": "unrote.lab.early_stopping.rhm_rates",
    "early_stopping/rhm-usage": "unrote.lab.early_stopping.rhm_usage",
    "early_stopping/rhm-optimizer": "unrote.lab.early_stopping.rhm_optimizer",
    "early_stopping/text": "unrote.lab.early_stopping.text",
    "early_stopping/text-transformer": "unrote.lab.early_stopping.text_transformer",
    "early_stopping/kernels": "unrote.lab.early_stopping.kernels",
}
"""Experiments by name, and the module whose EXPERIMENT they are; what stands before / is a group."""
SAME_RUNS = {"wild_middle/swap": "wild_middle/levels"}
"""Names for a part of an experiment, which is run whole: both parts are asked of the same networks."""
ALIKE = 0.6
"""Names are offered in the place of an unknown one from this similarity on (difflib's own default)."""

LEDGER = Path(__file__).with_name("ledger")


@dataclass(frozen=True)
class Reproduction:
    """Verdicts of one experiment, or of a group, on the runs of this call."""

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
    where = f"{claim['paper']} {claim['source']}"
    number = claim["number"] or "no complete set of runs"
    return f"{claim['verdict']:<8} {claim['id']} ({where}, {claim['scale']}): {number}"


def experiment(name: str) -> Experiment:
    """An experiment by its name.

    Raises:
        InputError: for a name that is not known.
    """
    if name not in PLACES:
        raise InputError(unknown(name))
    found: Experiment = import_module(PLACES[name]).EXPERIMENT
    return found


def unknown(name: str) -> str:
    """What to do about a name that is no experiment's: all of them where none was given, else the nearest."""
    groups = dict.fromkeys(known.partition("/")[0] for known in PLACES if "/" in known)
    how = "`unrote reproduce NAME --scale smoke`, or laptop, or paper"
    if name == ReproduceOptions.experiment:
        known = [*PLACES, *SAME_RUNS]
        alone = [one for one in known if "/" not in one]
        parts = [
            f"{group}/: {', '.join(one[len(group) + 1 :] for one in known if one.startswith(f'{group}/'))}"
            for group in groups
        ]
        return f"Name an experiment or a group: {', '.join(alone)}; {'; '.join(parts)}. Run {how}."
    near = nearest(name)
    guess = f"the nearest name{'s are' if near[1:] else ' is'} {', '.join(near)}, and " if near else ""
    return (
        f"There is no experiment called {name!r}; {guess}the groups are {', '.join(groups)}. `unrote reproduce` alone "
        f"lists all experiments. Run {how}."
    )


def nearest(name: str, most: int = 3) -> list[str]:
    """Names of experiments and groups that are spelled alike, in whole or after the /, the most similar first."""

    def likeness(known: str) -> float:
        ends = known, known.rpartition("/")[2]
        return max(SequenceMatcher(None, name.lower(), end).ratio() for end in ends)

    groups = dict.fromkeys(known.partition("/")[0] for known in PLACES)
    found = sorted({*PLACES, *SAME_RUNS, *groups}, key=lambda known: (-likeness(known), known))
    return [known for known in found if likeness(known) >= ALIKE][:most]


def named(name: str) -> list[Experiment]:
    """The experiment of a name, or all of a group: `crossover` is every crossover/..."""
    group = [known for known in PLACES if known.startswith(f"{name}/")]
    return [experiment(one) for one in group or [SAME_RUNS.get(name, name)]]


def reproduce(options: ReproduceOptions) -> Reproduction:
    """Run an experiment or a group at a scale, judge its claims, write a page; may extend the ledger."""
    chosen = named(options.experiment)
    if options.data is not None:
        os.environ[pictures.FOLDER] = str(options.data.resolve())  # the processes of a sweep inherit it
    for needed in sorted({name for one in chosen for name in one.sets(options.scale)}):
        of_text = needed in corpora.TEXTS
        (corpora if of_text else pictures).spelling(needed)  # before anything runs for minutes
    plans = [list(one.configurations(options.scale)) for one in chosen]
    identity = {"experiment": options.experiment, "runs": plans}
    with workspace(options.out, options.overwrite, identity) as folder:
        made = []
        for one, plan in zip(chosen, plans, strict=True):
            rows = runs_of(one, plan, folder / "runs", options.workers)
            if options.record:
                record(one, options.scale, rows)
            made.append((one, judge(one, options.scale, rows), rows))
        claims = [claim for _, judged, _ in made for claim in judged]
        runs = [dict(row) for _, _, rows in made for row in rows]
        content = document("reproduce", {}, options, {"claims": claims, "runs": runs})
        write(page(options.experiment, options.scale, made), folder / "report.html")
        write_document(content, folder)
    return Reproduction(claims, content, options.out)


def runs_of(chosen: Experiment, plan: Sequence[Mapping[str, Any]], store: Path, workers: int) -> list[Row]:
    """The runs of a plan in its order, those that are stored already included."""
    found = {}
    with progress(chosen.name, len(plan)) as advance:
        for configuration, result in sweep(chosen.run, plan, store, workers):
            found[key_of(configuration)] = {"configuration": dict(configuration), "result": dict(result)}
            advance(1)
    return [found[key_of(configuration)] for configuration in plan]


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
    with (LEDGER / f"{chosen.name.replace('/', '-')}.jsonl").open("a", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(plain(stamp | dict(row)), allow_nan=False) + "\n")


def recorded(chosen: Experiment) -> tuple[list[Row], int]:
    """The recorded runs of the present specification, and how many others the ledger holds."""
    path = LEDGER / f"{chosen.name.replace('/', '-')}.jsonl"
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
