"""`unrote train --recipe A,B`: several recipes on the same data, with the same seeds, and one page about them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from unrote.contracts import Estimate
from unrote.jobs.fitting import Plan, read_run
from unrote.jobs.measuring import draw
from unrote.jobs.options import TrainOptions
from unrote.jobs.output import document, plain, write_document
from unrote.jobs.training import Training, Workshop, settle, train_one
from unrote.jobs.training_page import COUNTED
from unrote.report.format import percent, quantity, ratio
from unrote.report.page import write
from unrote.train.checkpoints import checkpoint_path
from unrote.train.loop import Diverged

SHOWN = 24
"""Samples of every run on the page."""
ONCE = (
    "Each recipe was trained once. Intervals are over samples and over images, not over runs: which recipe is better "
    "takes several seeds of each."
)


@dataclass(frozen=True)
class Runs:
    """Several recipes, trained on the same data.

    Args:
        runs: by the name of the recipe, in the order in which they were asked for.
        samples: of each run, in [-1, 1] (n,C,H,W); the same noise starts sample i of all.
        content: what result.json holds.
        out: the folder, in which every run has its own.
        fail_on: which end of an interval --fail-above looks at.
    """

    runs: Mapping[str, Training]
    samples: Mapping[str, Tensor]
    content: dict[str, Any]
    out: Path
    fail_on: str

    @property
    def copy_ratio(self) -> Estimate:
        """That of the run that copies most, by the end of the interval that is looked at."""
        return max(
            (run.copy_ratio for run in self.runs.values()), key=lambda e: getattr(e, self.fail_on) or 0.0
        )

    def as_json(self) -> dict[str, Any]:
        """The content of result.json."""
        return self.content

    def summary(self) -> str:
        """The verdict, and for each run what came of it and what was done."""
        each = []
        for said, run in zip(run_sentences(self.runs), self.runs.values(), strict=True):
            each += [f"  {said}", *(f"    {done}" for done in run.done)]
        return "\n".join(
            [
                *self.content["results"]["verdict"],
                "",
                *each,
                "",
                ONCE,
                "",
                f"report: {self.out / 'report.html'}",
            ]
        )


def train_each(
    plans: Mapping[str, Plan],
    shop: Workshop,
    options: TrainOptions,
    folder: Path,
    advance: Callable[[int], None],
) -> Runs:
    """Train one recipe after the other, each in a folder of its name; those that are done are not trained again.

    The data, the seeds of weights, of training and of samples, and the held-out noise are the same for all. Networks
    with a class more have other weights.

    Raises:
        Diverged: naming the recipe.
    """
    from unrote.jobs.training_runs_page import runs_page

    runs, samples = {}, {}
    for name, plan in plans.items():
        place = folder / name
        place.mkdir(exist_ok=True)
        try:
            runs[name] = train_one(plan, shop, _alone(options, name, plan), place, advance)
        except Diverged as error:
            raise Diverged(f"Recipe {name}: {error}") from error
        samples[name] = _drawn(checkpoint_path(place, runs[name].kept.step), plan, shop)
    results = {
        "verdict": list(verdict(runs)),
        "sentences": dict(zip(runs, run_sentences(runs), strict=True)),
        "runs": {name: run.content["results"] for name, run in runs.items()},
    }
    content = document("train", shop.inputs, options, plain(results))
    made = Runs(runs, samples, content, options.out, options.fail_on)
    write(runs_page(made, shop.data.copied_from, options), folder / "report.html")
    write_document(content, folder)
    for (
        name,
        run,
    ) in runs.items():  # at the end: a run that is thinned out would be trained again after a kill
        settle(run, folder / name)
    return made


def _alone(options: TrainOptions, name: str, plan: Plan) -> TrainOptions:
    """The options of one run, without flags of the others."""
    cures = plan.cures
    return replace(
        options,
        recipe=name,
        out=options.out / name,
        gap=cures.gap,
        gap_rule="reject" if cures.gap is None else options.gap_rule,
        ambient=cures.noisy,
        ambient_rule="rows-first" if cures.ambient is None else options.ambient_rule,
        hidden=None if cures.hidden is None else options.hidden,
    )


def _drawn(checkpoint: Path, plan: Plan, shop: Workshop) -> Tensor:
    """The first of the samples that the run was measured on."""
    denoiser, *_ = read_run(checkpoint)
    denoiser.to(shop.device)
    return draw(denoiser, shop.data, min(SHOWN, plan.samples), plan.seed, shop.device, plan.known)


@dataclass(frozen=True)
class Measure:
    """A number by which runs are compared; less is better.

    Args:
        name: what it is.
        of: its value at the end of a run.
        show: how it is written.
    """

    name: str
    of: Callable[[Training], Estimate | None]
    show: Callable[[Any], str]


COPIES = Measure("copying", lambda run: run.copy_ratio, ratio)
LOSS = Measure("loss on held-out images", lambda run: run.kept.validation_loss, quantity)
FRECHET = Measure("Frechet distance", lambda run: run.kept.frechet_distance, quantity)


def measures_of(runs: Mapping[str, Training]) -> tuple[Measure, ...]:
    """Those that were measured, copies first."""
    return tuple(m for m in (COPIES, LOSS, FRECHET) if all(m.of(run) is not None for run in runs.values()))


def least(measure: Measure, runs: Mapping[str, Training]) -> str | None:
    """The run whose interval lies below those of all others, if there is one."""
    found = {name: measure.of(run) for name, run in runs.items()}
    for name, mine in found.items():
        others = [other for key, other in found.items() if key != name]
        if all(_below(mine, other) for other in others):
            return name
    return None


def _below(one: Estimate | None, other: Estimate | None) -> bool:
    if one is None or other is None or one.high is None or other.low is None:
        return False
    return one.high < other.low


def verdict(runs: Mapping[str, Training]) -> tuple[str, ...]:
    """One sentence for each measure: which run has the least, or which cannot be told apart from the least."""
    said = []
    for measure in measures_of(runs):
        name, best = measure.name, least(measure, runs)
        if best is not None:
            said.append(f"Least {name}: {best}, {_bare(measure.show(measure.of(runs[best])))}.")
            continue
        lowest = measure.of(runs[min(runs, key=lambda key: _value(measure.of(runs[key])))])
        alike = [key for key, run in runs.items() if not _below(lowest, measure.of(run))]
        if len(alike) == len(runs):
            said.append(f"No recipe has clearly less {name} than the others: the intervals overlap.")
        else:
            said.append(f"Least {name}: {_listed(alike)}, whose intervals overlap; the others have more.")
    if any(run.kept.as_stored is not None for run in runs.values()):
        said.append(COUNTED)
    return tuple(said)


def run_sentences(runs: Mapping[str, Training]) -> tuple[str, ...]:
    """What became of every run, in one sentence each."""
    said = []
    for name, run in runs.items():
        parts = [
            f"{'copies' if m is COPIES else m.name} {_bare(m.show(m.of(run)))}" for m in measures_of(runs)
        ]
        removed = run.content["results"]["share_removed"]
        without = f", with {percent(removed)} of the training law left out" if removed else ""
        said.append(f"{name}: {', '.join(parts)} after {run.kept.step:,} steps{without}.")
    return tuple(said)


def _bare(shown: str) -> str:
    return shown.split(", n = ", maxsplit=1)[0]


def _value(found: Estimate | None) -> float:
    return float("inf") if found is None or found.value is None else found.value


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
