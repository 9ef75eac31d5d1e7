"""The page of advice: the choice, the command, and every measured front with its points."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from unrote.contracts import Estimate
from unrote.jobs.advising_answers import Answer, line
from unrote.jobs.advising_fronts import BASELINE, Front, Point, spelled
from unrote.jobs.advising_rule import Choice, bare_quantity, bare_ratio, plainly
from unrote.jobs.audit_page import settings_blocks
from unrote.report import blocks, planes
from unrote.report.canvas import Line
from unrote.report.format import percent

if TYPE_CHECKING:
    from unrote.jobs.advising import Advice

DRAWN = 2
"""Fronts that are drawn at least; a drawing takes a third of a second."""
LINES = 6
"""Remedies that are drawn at most."""
READING = (
    "Only points that were measured are considered: every remedy at its end and wherever else it was measured, which "
    "is what stopping there gives. A point is surely within the constraint if the upper end of its 95 % interval is. "
    "Among those the best counts.",
    "Intervals of copies are over seeds, on the scale of the logit, and at least as wide as those of all samples "
    "together; numbers against the baseline are paired by seed. One seed has intervals over samples and images, which "
    "say nothing about another training.",
    "Copies are samples three times nearer to one training image than to the next. Quality is comparable within a "
    "front, not between fronts.",
)


def advice_page(made: Advice) -> blocks.Page:
    """The whole page."""
    drawn = max(DRAWN, made.full)
    sections = [
        blocks.Section(a.choice.front.setting.data.capitalize(), _front(a, i < drawn))
        for i, a in enumerate(made.answers)
    ]
    commands = _commands(made)
    return blocks.Page(
        title="Advice",
        lead=f"Asked: {made.constraint.asked}",
        verdict=_verdict(made),
        sections=(
            *((blocks.Section("All settings", (_settings(made),)),) if len(made.answers) > 1 else ()),
            *((blocks.Section("What to run", commands),) if commands else ()),
            *sections,
            blocks.Section("How it was chosen", (blocks.Text(READING),)),
            blocks.Section("Settings and versions", settings_blocks(made.content)),
        ),
        footer=(f"unrote {made.content['versions']['unrote']}",),
    )


def _verdict(made: Advice) -> blocks.Verdict:
    """The answer of the one front that counts, or of all where no data says which counts."""
    first = made.answers[0]
    if made.yours is None and len(made.answers) > 1:
        found = sum(a.choice.chosen is not None for a in made.answers)
        some = {0: "In none", len(made.answers): "In each"}.get(found, f"In {found}")
        sentence = (
            f"{some} of {len(made.answers)} measured settings a remedy is surely within the constraint. Add --train "
            "DATA to see which setting is nearest to yours."
        )
        details = tuple(f"{a.choice.front.title}. {a.choice.sentence()}" for a in made.answers[:DRAWN])
        return blocks.Verdict(sentence, blocks.Tone.NEUTRAL, details)
    point = first.choice.point
    tone = blocks.Tone.NEUTRAL if first.choice.chosen is not None else blocks.Tone.CAUTION
    sentence = first.choice.sentence()
    details = (first.far, *((made.yours.sentence(),) if made.yours else ()), *first.choice.cautions())
    if point is None:
        return blocks.Verdict(sentence, tone, tuple(d for d in details if d))
    base = first.choice.front.baseline
    return blocks.Verdict(
        sentence,
        tone,
        tuple(d for d in details if d),
        (
            blocks.KeyFigure("copies", point.copies, bare_ratio),
            blocks.KeyFigure(first.choice.front.setting.measure, point.quality, bare_quantity),
            blocks.KeyFigure("copies of the baseline", base.copies, bare_ratio),
        ),
    )


def _commands(made: Advice) -> tuple[blocks.Block, ...]:
    """What to copy into a terminal."""
    found: list[blocks.Block] = []
    for answer in made.answers if made.yours is None else made.answers[:1]:
        point = answer.choice.chosen if made.yours is None and len(made.answers) > 1 else answer.choice.point
        if answer.command is not None and point is not None:
            if len(made.answers) > 1 and made.yours is None:
                found.append(blocks.Text((f"{answer.choice.front.setting.data}: {point.name}.",)))
            found.append(blocks.Code(answer.command))
        elif answer.no_command:
            found.append(blocks.Text((answer.no_command,)))
    compare = made.content["results"]["measure"]
    if compare:
        found.append(blocks.Text(("To measure a front of your own, and ask again with `--front compared`:",)))
        found.append(blocks.Code(compare))
    return tuple(found)


def _settings(made: Advice) -> blocks.Table:
    """Every front in a line."""
    columns = tuple(map(blocks.Column, ("measured on", "choice", "copies", "of the baseline's quality")))
    return blocks.Table(
        columns, tuple(map(line, made.answers)), f"What is chosen for {made.constraint.asked}"
    )


def _front(answer: Answer, drawn: bool) -> tuple[blocks.Block, ...]:
    """One front: where it was measured, the drawing, the points."""
    choice, setting = answer.choice, answer.choice.front.setting
    gap = "" if setting.gap is None else f" The recommended gap there: {spelled(*setting.gap)}."
    return (
        blocks.Text((f"{choice.front.title}; {setting.source}.{gap}", choice.sentence())),
        blocks.Notes(answer.notes()),
        *((drawing(choice),) if drawn else ()),
        _table(
            choice,
            list(choice.pareto),
            "Points that no other one beats in both means; arrows mark the choice",
        ),
        blocks.Details(
            f"All {len(choice.front.points)} measured points",
            (
                _table(
                    choice,
                    sorted(choice.front.points, key=_copies),
                    "All measured points, fewest copies first",
                ),
            ),
        ),
    )


def drawing(choice: Choice) -> blocks.Figure:
    """Copies against quality: the baseline's path, the choice and others on the front, the limit as a line."""
    front, measure = choice.front, choice.front.setting.measure
    chosen = [] if choice.point is None else [choice.point]
    marked = {p.remedy: p for p in reversed([*chosen, *choice.pareto])}
    names = dict.fromkeys([BASELINE, *(p.remedy for p in [*chosen, *choice.pareto])])
    tracks = [_track(front, name, marked.get(name)) for name in list(names)[:LINES]]
    limited = choice.constraint.bounded(front.baseline) == front.baseline.copies
    return planes.plane(
        tracks,
        x_label="samples that are copies",
        y_label=f"{measure}, less is better",
        place_label="step",
        log_x=True,
        show_x=percent,
        show_y=plain_number,
        lines=(Line(choice.constraint.limit, f"limit {plainly(choice.constraint.limit)}"),)
        if limited
        else (),
        caption=f"Copies against {measure}: lines run through the measured steps, large points are those on the front "
        "(the choice of its remedy), with 95 % intervals over seeds. Left and low is better. None at all is drawn as "
        "half a copy.",
        alt=f"{measure} against copy ratio of {len(tracks)} remedies.",
    )


def _track(front: Front, name: str, marked: Point | None) -> planes.Track:
    points = [p for p in front.points if p.remedy == name]
    end = points.index(marked) if marked is not None else -1
    return planes.Track(
        name, [_drawn(p) for p in points], [p.quality for p in points], [p.step for p in points], end
    )


def _drawn(point: Point) -> Estimate:
    """The copy ratio where a logarithm can show it."""
    least = 0.5 / sum(one.samples for _, one in point.by_seed)
    e = point.copies
    return replace(e, value=max(e.value or 0.0, least), low=max(e.low or 0.0, least))


def _table(choice: Choice, points: list[Point], caption: str) -> blocks.Table:
    measure = choice.front.setting.measure
    columns = (
        blocks.Column("remedy"),
        blocks.Column("step"),
        blocks.Column("copies", bare_ratio),
        blocks.Column(measure, bare_quantity),
        blocks.Column("of the baseline's", bare_quantity),
        blocks.Column("within"),
    )
    rows = tuple(
        (
            f"→ {p.remedy}" if p is choice.chosen else p.remedy,
            p.step,
            p.copies,
            p.quality,
            p.worse,
            _within(choice, p),
        )
        for p in points
    )
    return blocks.Table(columns, rows, caption, shown=30)


def _remedies(front: Front) -> blocks.Table:
    """Every remedy at its end, with its levels."""
    ends = [p for p in front.points if not p.stopped]
    columns = (
        blocks.Column("remedy"),
        blocks.Column("levels, sigma and VP noise"),
        blocks.Column("copies left of the baseline's", bare_quantity),
        blocks.Column("seeds"),
    )
    rows = tuple((p.remedy, p.treatment.levels(), p.left, p.seeds) for p in ends)
    return blocks.Table(
        columns, rows, "Every remedy at its end, against the baseline; levels are means over seeds"
    )


def _within(choice: Choice, point: Point) -> str:
    if point.treatment.hides:
        return "copies hidden from the rule"
    if choice.constraint.surely(point):
        return "surely"
    return "on average" if choice.constraint.on_average(point) else "no"


def _copies(point: Point) -> float:
    return point.copies.value or 0.0


def plain_number(value: float | int) -> str:
    """A number on an axis."""
    return f"{value:g}"
