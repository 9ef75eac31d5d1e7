"""What one front says: the choice, its command, what weakens it, and the words for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from unrote.contracts import InputError
from unrote.jobs.advising_data import Yours, command, how_far, same_data, training_options
from unrote.jobs.advising_fronts import HIDES
from unrote.jobs.advising_rule import Choice, bare_quantity, bare_ratio, table_rows


@dataclass(frozen=True)
class Answer:
    """What one front says.

    Args:
        choice: what the rule made of it.
        command: what to run, or None.
        no_command: why there is none.
        far: how far the setting is from the user's data, in words; empty where none is given.
        levels: that the levels of the command are those of other data; else empty.
    """

    choice: Choice
    command: str | None
    no_command: str
    far: str
    levels: str = ""

    def notes(self) -> tuple[str, ...]:
        """What weakens the answer, most important first."""
        parts = [self.far, *self.choice.cautions(), self.no_command, self.levels, hidden_note(self.choice)]
        point = self.choice.point
        if self.command is not None and point is not None and point.stopped:
            parts.append(
                f"Step {point.step:,} was measured on {self.choice.front.setting.data}. On other data copying starts "
                "at other steps: watch the copies that `unrote train` counts on its way."
            )
        return tuple(part for part in parts if part)

    def lines(self) -> list[str]:
        """The answer in full, for a terminal."""
        front = self.choice.front
        rows = [("", "", "copies", front.setting.measure, "of the baseline's", ""), *table_rows(self.choice)]
        return [
            front.title,
            f"  {self.choice.sentence()}",
            *([f"  {self.command}"] if self.command else []),
            "",
            *columned(rows),
            *(f"  note: {note}" for note in self.notes()),
        ]


def line(answer: Answer) -> tuple[str, ...]:
    """One front in a line: where, what was chosen, copies, quality against the baseline."""
    choice, point = answer.choice, answer.choice.point
    if point is None:
        return choice.front.title, "nothing can be judged", "", ""
    said = point.name if choice.chosen else f"none surely; nearest {point.name}"
    return choice.front.title, said, bare_ratio(point.copies), bare_quantity(point.worse)


def columned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Rows as lines in which columns stand below each other."""
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    return ["  " + "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows]


def answer_of(choice: Choice, yours: Yours | None) -> Answer:
    """A choice with its command, where the flags of `unrote train` spell it."""
    far = "" if yours is None else how_far(choice.front, yours)
    if choice.point is None:
        return Answer(choice, None, "", far)
    try:
        asked = training_options(choice.front, choice.point, yours)
    except InputError as error:
        return Answer(choice, None, str(error), far)
    return Answer(choice, command(asked), "", far, unplaced(choice, yours))


def unplaced(choice: Choice, yours: Yours | None) -> str:
    """That levels could not be brought to the user's data, where that is so."""
    setting, point = choice.front.setting, choice.point
    if yours is None or point is None or not point.treatment.levels():
        return ""
    if setting.gap is not None or same_data(setting, yours):
        return ""
    return (
        "The levels of the command are those of the measured data, whose recommended gap is not known; your own "
        "geometry may want others."
    )


def hidden_note(choice: Choice) -> str:
    """The points that are not considered, with the reason; empty where there are none."""
    ends = [p for p in choice.hidden if not p.stopped]
    if not ends:
        return ""
    measure = choice.front.setting.measure
    some = "; ".join(
        f"{p.name} (copies {bare_ratio(p.copies)}, {measure} {bare_quantity(p.quality)})" for p in ends
    )
    return f"Not considered: {some}. {HIDES}"
