"""`unrote advise`: which remedy keeps copying below a limit at the best quality, by what was measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unrote.contracts import InputError
from unrote.jobs.advising_answers import Answer, answer_of, columned, line
from unrote.jobs.advising_data import Yours, command, comparison_options, distance, survey
from unrote.jobs.advising_folders import read_fronts
from unrote.jobs.advising_fronts import HIDES, Front, Point, Run, Setting, Treatment, front_of
from unrote.jobs.advising_rule import Constraint, choose, copies_below, worse_by
from unrote.jobs.checking import check_apart
from unrote.jobs.options import AdviseOptions
from unrote.jobs.output import check_free, document, settings_of, workspace, write_document
from unrote.report.page import write

__all__ = [
    "Advice",
    "Answer",
    "Front",
    "Point",
    "Run",
    "Setting",
    "Treatment",
    "advise",
    "choose",
    "copies_below",
    "front_of",
    "worse_by",
]

COPIES = 0.01
"""The limit where none is given."""


@dataclass(frozen=True)
class Advice:
    """What all fronts say about one constraint.

    Args:
        constraint: what was asked.
        answers: of the fronts, the one that counts most first.
        yours: the user's data, or None.
        content: what result.json holds.
        out: the folder.
    """

    constraint: Constraint
    answers: tuple[Answer, ...]
    yours: Yours | None
    content: dict[str, Any]
    out: Path

    def as_json(self) -> dict[str, Any]:
        """The content of result.json."""
        return self.content

    @property
    def full(self) -> int:
        """How many answers, from the first, are given in full: the user's own fronts, or the nearest to his data."""
        own = sum(answer.choice.front.setting.sha256 is not None for answer in self.answers)
        return max(own, 1) if self.yours is not None else own

    def summary(self) -> str:
        """The answers that count in full, the others in a table with a line for each setting."""
        lines = [f"Asked: {self.constraint.asked}. All numbers were measured; 95 % intervals.", ""]
        if self.yours is not None:
            lines += [self.yours.sentence(), ""]
        for answer in self.answers[: self.full]:
            lines += [*answer.lines(), ""]
        others = self.answers[self.full :]
        if others:
            lines += [
                *columned(
                    [("measured on", "choice", "copies", "of the baseline's quality"), *map(line, others)]
                ),
                "",
            ]
        for answer in others if self.yours is None else ():
            point = answer.choice.chosen
            if answer.command and point is not None:
                levels = point.treatment.levels()
                said = f"{answer.command}  # {levels}" if levels else answer.command
                lines.append(f"  {answer.choice.front.setting.data}: {said}")
        unseen = dict.fromkeys(p.remedy for answer in others for p in answer.choice.hidden)
        if unseen and self.yours is None:
            lines += ["", f"Not considered: {'; '.join(unseen)}. {HIDES}"]
        compare = self.content["results"]["measure"]
        if compare:
            lines += [f"To measure a front of your own, and ask again with --front: {compare}"]
        elif self.yours is None:
            lines += [
                "",
                "With --train DATA the setting nearest to yours comes first, with levels of your data.",
            ]
        return "\n".join([*lines, "", f"report: {self.out / 'report.html'}"])


def advise(options: AdviseOptions, measured: Sequence[Front] = ()) -> Advice:
    """Pick a remedy by measured fronts; writes result.json and report.html.

    Args:
        options: the constraint, and what it is asked about.
        measured: fronts that are known; those of --front come on top.

    Raises:
        InputError: if a setting cannot be used, or there is no front.
    """
    from unrote.jobs.advising_page import advice_page

    constraint = constraint_of(options)
    check_use(options)
    check_free(options.out, options.overwrite)
    for folder in options.front or (None,):
        check_apart(options.out, options.train, options.test, model=folder)
    own = read_fronts(options.front)
    fronts = [*own, *(f for f in measured if options.network in (None, f.setting.kind))]
    if not fronts:
        raise InputError(
            "There is no measured front to choose from"
            + (f" with --network {options.network}" if options.network else "")
            + "; measure one with `unrote train --train DATA --recipe baseline,gap,... --out FOLDER` and name it with "
            "--front FOLDER."
        )
    yours = None if options.train is None else survey(options)
    if yours is not None:
        fronts.sort(key=lambda front: distance(front, yours))
    answers = tuple(answer_of(choose(front, constraint), yours) for front in fronts)
    inputs = {} if yours is None else {"train": yours.provenance}
    identity = {"settings": settings_of(options), "inputs": inputs}
    with workspace(options.out, options.overwrite, identity) as folder:
        content = document("advise", inputs, options, results_of(constraint, answers, yours))
        made = Advice(constraint, answers, yours, content, options.out)
        write(advice_page(made), folder / "report.html")
        write_document(content, folder)
    return made


def constraint_of(options: AdviseOptions) -> Constraint:
    """The constraint that the flags set.

    Raises:
        InputError: for two, or one that is no share.
    """
    if options.copies is not None and options.worse is not None:
        raise InputError(
            f"--copies {options.copies:g} and --worse {options.worse:g} ask two questions: the first limits copies and "
            "wants the best quality, the second limits the loss of quality and wants the fewest copies. Give one."
        )
    for flag, value, example in (("copies", options.copies, "0.01"), ("worse", options.worse, "0.1")):
        if value is not None and not 0 < value < 1:
            raise InputError(
                f"--{flag} {value:g} is no share between 0 and 1; {example} is {100 * float(example):g} %."
            )
    if options.worse is not None:
        return worse_by(options.worse)
    return copies_below(COPIES if options.copies is None else options.copies)


def check_use(options: AdviseOptions) -> None:
    """Refuse flags about data that is not given.

    Raises:
        InputError: naming the flag.
    """
    for flag in ("test", "resize", "train_range"):
        if options.train is None and getattr(options, flag) is not None:
            raise InputError(
                f"--{flag.replace('_', '-')} would be ignored without --train, the training set that is asked about; "
                "give both, or leave it out."
            )


def results_of(constraint: Constraint, answers: Sequence[Answer], yours: Yours | None) -> dict[str, Any]:
    """The keys of result.json."""
    compare = None if yours is None else comparison_options(yours)
    return {
        "asked": constraint.asked,
        "limit": constraint.limit,
        "verdict": [f"{a.choice.front.title}: {a.choice.sentence()}" for a in answers],
        "command": answers[0].command,
        "measure": None if compare is None else command(compare),
        "your_data": None
        if yours is None
        else {
            "images": yours.images,
            "shape": yours.shape,
            "recommended_gap": yours.gap,
            "recommended_ambient_level": yours.ambient,
            "why": yours.why,
        },
        "fronts": [_front_said(answer) for answer in answers],
    }


def _front_said(answer: Answer) -> dict[str, Any]:
    choice, setting = answer.choice, answer.choice.front.setting
    known = {id(p) for p in choice.pareto}
    likely = {id(p) for p in choice.likely}
    return {
        "title": choice.front.title,
        "source": setting.source,
        "images": setting.images,
        "shape": setting.shape,
        "network": setting.kind,
        "steps": setting.steps,
        "quality": setting.measure,
        "recommended_gap": setting.gap,
        "seeds": choice.front.seeds,
        "chosen": None if choice.chosen is None else choice.chosen.name,
        "nearest": None if choice.nearest is None else choice.nearest.name,
        "alike": [p.name for p in choice.alike],
        "sentence": choice.sentence(),
        "command": answer.command,
        "notes": list(answer.notes()),
        "points": [
            {
                "name": p.name,
                "remedy": p.remedy,
                "step": p.step,
                "stopped": p.stopped,
                "copy_ratio": p.copies.as_dict(),
                "copies_left": p.left.as_dict(),
                "quality": p.quality.as_dict(),
                "quality_of_baseline": p.worse.as_dict(),
                "gap": p.treatment.gap,
                "ambient": p.treatment.ambient,
                "surely_within": choice.constraint.surely(p),
                "on_average_within": choice.constraint.surely(p) or id(p) in likely,
                "undominated": id(p) in known,
                "copies_hidden_from_rule": p.treatment.hides,
            }
            for p in choice.front.points
        ],
    }
