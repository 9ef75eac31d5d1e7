"""Several sets of samples against one training set: one table, one picture, differences from the first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unrote.contracts import Estimate
from unrote.data.sources import Images, Source
from unrote.data.spelling import printable
from unrote.jobs.audit_table import HeldOut, columns_of, write_table
from unrote.jobs.audit_views import Instruments
from unrote.jobs.comparing import Reference
from unrote.jobs.options import AuditOptions
from unrote.jobs.output import document, plain
from unrote.measure.estimate import newcombe
from unrote.report.format import percent, ratio
from unrote.report.page import write

if TYPE_CHECKING:
    from unrote.jobs.auditing import Audit


@dataclass(frozen=True)
class Difference:
    """How a set of samples differs from the first one: its ratio minus that of the first.

    Args:
        name: of the set.
        copies: of copy ratios.
        authenticity: of the shares of authentic samples.
    """

    name: str
    copies: Estimate
    authenticity: Estimate

    def as_json(self, first: str) -> dict[str, Any]:
        """With the set that it is taken from."""
        return {
            "set": self.name,
            "minus": first,
            "copy_ratio": self.copies,
            "authenticity": self.authenticity,
        }


@dataclass(frozen=True)
class Comparison:
    """The result of an audit of several sets of samples.

    Args:
        names: what the sets are called.
        audits: one for each set.
        differences: of each set but the first from the first.
        judged: which end of an interval tells which set is worst: "low", "value" or "high".
        notes: what the reader should know.
        content: what result.json holds.
        out: the folder with everything.
    """

    names: tuple[str, ...]
    audits: tuple[Audit, ...]
    differences: tuple[Difference, ...]
    judged: str
    notes: tuple[str, ...]
    content: dict[str, Any]
    out: Path

    @property
    def worst(self) -> int:
        """The set that copies most, by the end of the interval that is looked at."""
        return _worst([made.copy_ratio for made in self.audits], self.judged)

    @property
    def copy_ratio(self) -> Estimate:
        """The copy ratio of the worst set, by which the exit status is judged."""
        return self.audits[self.worst].copy_ratio

    def as_json(self) -> dict[str, Any]:
        """The content of result.json."""
        return self.content

    def summary(self) -> str:
        """The verdict and one line for each set, for a terminal."""
        first = self.audits[0].findings.main
        named = [(name, made.copy_ratio) for name, made in zip(self.names, self.audits, strict=True)]
        if first.calibration is not None:
            named.append(("fresh real images", first.calibration))
        width = max(len(name) for name, _ in named)
        lines = [sentence(self.names, self.audits), ""]
        lines += [f"  {name:<{width}}  {ratio(share)}" for name, share in named]
        lines += [f"  {d.name} minus {self.names[0]}: {points(d.copies)}" for d in self.differences]
        lines += [f"  note: {note}" for note in self.notes]
        return "\n".join([*lines, "", f"report: {self.out / 'report.html'}"])


def _worst(ratios: Sequence[Estimate], end: str) -> int:
    return max(range(len(ratios)), key=lambda i: (getattr(ratios[i], end), -i))


def points(difference: Estimate) -> str:
    """A difference of two shares in percentage points."""
    low, high = (percent(end).removesuffix(" %") for end in (difference.low, difference.high))
    return f"{percent(difference.value).removesuffix(' %')} points [{low}, {high}]"


def titles(options: AuditOptions) -> tuple[str, ...]:
    """What the sets are called: as asked, else by the last part of their spelling where that tells them apart."""
    if options.names:
        return tuple(printable(name) for name in options.names)
    short = [printable(spec.rstrip("/").rpartition("/")[2]) for spec in options.sets]
    if len(set(short)) == len(short) and all(short):
        return tuple(short)
    return tuple(printable(spec) for spec in options.sets)


def compare(
    sets: Sequence[Source | Images],
    reference: Reference,
    held_out: HeldOut | None,
    options: AuditOptions,
    folder: Path,
    tools: Instruments,
) -> Comparison:
    """Audit every set, compare, and write table and page into a folder."""
    from unrote.jobs.auditing import SAMPLE_BLOCKS, assess
    from unrote.jobs.comparison_page import comparison_page

    names = titles(options)
    audits = tuple(
        assess(samples, held_out, options, folder / f"{SAMPLE_BLOCKS}-{number}", tools)
        for number, samples in enumerate(sets)
    )
    differences = tuple(
        _difference(name, made, audits[0], options.confidence)
        for name, made in zip(names[1:], audits[1:], strict=True)
    )
    notes = gathered(names, audits)
    content = _content(names, audits, differences, notes, reference, held_out, options)
    made = Comparison(names, audits, differences, options.fail_on, notes, content, options.out)
    write_table(columns(names, audits), folder / "samples.parquet")
    write(comparison_page(made, options), folder / "report.html")
    return made


def _difference(name: str, made: Audit, first: Audit, confidence: float) -> Difference:
    def between(mine: Any, other: Any) -> Estimate:
        return newcombe(int(mine.sum()), len(mine), int(other.sum()), len(other), confidence)

    return Difference(
        name,
        between(made.findings.main.copied, first.findings.main.copied),
        between(made.views.authenticity.authentic, first.views.authenticity.authentic),
    )


def gathered(names: Sequence[str], audits: Sequence[Audit]) -> tuple[str, ...]:
    """Notes of all sets, each said once, with the name of the set where it is not said of all."""
    notes: dict[str, list[str]] = {}
    for name, made in zip(names, audits, strict=True):
        for note in made.notes:
            notes.setdefault(note, []).append(name)
    found = [note if len(of) == len(names) else f"{', '.join(of)}: {note}" for note, of in notes.items()]
    seen: dict[str, str] = {}
    for name, made in zip(names, audits, strict=True):
        twin = seen.setdefault(made.provenance.sha256, name)
        if twin != name:
            found.append(f"{twin} and {name} hold the same pixels in the same order.")
    return tuple(found)


def sentence(names: Sequence[str], audits: Sequence[Audit]) -> str:
    """The verdict in one sentence."""
    worst = _worst([made.copy_ratio for made in audits], "value")
    if not any(bool(made.findings.main.copied.any()) for made in audits):
        return f"No copies in any of {len(names)} sets of samples: {'; '.join(_each(names, audits))}."
    found = f"Of {len(names)} sets of samples, {names[worst]} copies most: {_bare(audits[worst].copy_ratio)}"
    if audits[0].findings.main.excess is None:
        return f"{found}; without held-out images it is not known how many fresh real images would be called copies."
    more = [name for name, made in zip(names, audits, strict=True) if made.findings.alarming]
    if not more:
        return f"{found}, and none copies more than fresh real images would seem to."
    return f"{found}. More copies than among fresh real images are in {', '.join(more)}."


def _each(names: Sequence[str], audits: Sequence[Audit]) -> list[str]:
    return [f"{name} {ratio(made.copy_ratio)}" for name, made in zip(names, audits, strict=True)]


def _bare(found: Estimate) -> str:
    return ratio(found).split(", n = ")[0]


def columns(names: Sequence[str], audits: Sequence[Audit]) -> dict[str, Any]:
    """The columns of samples.parquet: those of every set below each other, with the name of the set."""
    tables = [columns_of(made) for made in audits]
    joined: dict[str, Any] = {
        "set": [name for name, made in zip(names, audits, strict=True) for _ in range(len(made.distances))]
    }
    for key in dict.fromkeys(key for table in tables for key in table):
        joined[key] = [
            value
            for table, made in zip(tables, audits, strict=True)
            for value in (table[key] if key in table else [None] * len(made.distances))
        ]
    return joined


def _content(
    names: Sequence[str],
    audits: Sequence[Audit],
    differences: Sequence[Difference],
    notes: Sequence[str],
    reference: Reference,
    held_out: HeldOut | None,
    options: AuditOptions,
) -> dict[str, Any]:
    """What result.json holds: under `sets` what a single audit says of each."""
    groups = reference.groups.groups
    worst = _worst([made.copy_ratio for made in audits], options.fail_on)
    results = {
        "verdict": sentence(names, audits),
        "copies_found": any(made.findings.alarming for made in audits),
        "sets": [
            {"name": name, "input": made.provenance, **made.content["results"]}
            for name, made in zip(names, audits, strict=True)
        ],
        "differences": [d.as_json(names[0]) for d in differences],
        "worst": {"set": names[worst], "copy_ratio": audits[worst].copy_ratio},
        "duplicate_groups": len(groups),
        "duplicate_images": sum(map(len, groups)),
        "notes": list(notes),
    }
    inputs: dict[str, Any] = {
        "train": reference.images.provenance,
        "samples": [made.provenance for made in audits],
    }
    if held_out is not None:
        inputs["test"] = held_out.images.provenance
    return document("audit", inputs, options, plain(results))
