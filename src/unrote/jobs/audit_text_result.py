"""The result of an audit of text: what was measured of each sample, and what follows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from unrote.contracts import Estimate
from unrote.data.alphabet import decode
from unrote.data.text import TextProvenance, Windows
from unrote.jobs.audit_verdict import Definition, Findings
from unrote.jobs.text_evidence import source_text
from unrote.measure import copies
from unrote.report.format import ratio


@dataclass(frozen=True)
class TextDistances:
    """What was measured of each of n texts.

    Args:
        nearest, second: training windows.
        d1, d2: in how many characters they differ.
        passage: characters of the longest passage that is shared with the training text.
        place, source: where it begins in the sample and in the training text.
        uncovered: the share of the sample that it leaves.
    """

    nearest: Tensor
    second: Tensor
    d1: Tensor
    d2: Tensor
    passage: Tensor
    place: Tensor
    source: Tensor
    uncovered: Tensor

    def __len__(self) -> int:
        return len(self.d1)


@dataclass(frozen=True)
class TextAudit:
    """The result of an audit of text.

    Args:
        train: windows of the training text.
        samples: as tokens (Q,L).
        provenance: which samples they are.
        names: what each sample is called.
        distances: the per-sample table.
        fresh: the same of windows of held-out text, or None.
        findings: definitions, verdict, copied training windows.
        notes: what the reader should know about the input.
        content: what result.json holds.
        out: the folder with everything.
    """

    train: Windows
    samples: Tensor
    provenance: TextProvenance
    names: tuple[str, ...]
    distances: TextDistances
    fresh: TextDistances | None
    findings: Findings
    notes: tuple[str, ...]
    content: dict[str, Any]
    out: Path

    @property
    def copy_ratio(self) -> Estimate:
        """The share of samples that are copies, by the definition of the verdict."""
        return self.findings.main.ratio

    def as_json(self) -> dict[str, Any]:
        """The content of result.json."""
        return self.content

    def summary(self) -> str:
        """The verdict and the numbers behind it, for a terminal."""
        main, passage = self.findings.main, definition(self, "passage")
        lines = [self.findings.sentence, "", f"  copy ratio           {ratio(main.ratio)}"]
        if main.calibration is not None:
            lines.append(f"  fresh text           {ratio(main.calibration)}")
        lines.append(f"  with a long passage  {ratio(passage.ratio)}")
        if passage.calibration is not None:
            lines.append(f"  fresh text           {ratio(passage.calibration)}")
        lines.append(f"  training set copied  {ratio(self.findings.copied.share)}")
        words = f"{len(self.train):,} of {self.train.length:,} characters"
        lines.append(f"  training windows     {words}")
        if not bool(main.copied.any()):
            need = self.content["results"]["samples_for_upper_bound"]["0.001"]
            lines.append(f"  to bound it at 0.1 % {need:,} samples without a copy are needed")
        lines += [f"  note: {note}" for note in self.notes]
        return "\n".join([*lines, "", f"report: {self.out / 'report.html'}"])


def definition(made: TextAudit, key: str) -> Definition:
    """One of the definitions by its key."""
    return next(d for d in made.findings.definitions if d.key == key)


def columns_of(made: TextAudit) -> dict[str, Any]:
    """The columns of samples.parquet: one row for each sample, every definition side by side."""
    d = made.distances
    columns: dict[str, Any] = {
        "sample": range(len(d)),
        "nearest": d.nearest.numpy(),
        "second": d.second.numpy(),
        "d1": d.d1.numpy(),
        "d2": d.d2.numpy(),
        "ratio": copies.distance_ratio(d.d1, d.d2).numpy(),
        "copy": made.findings.main.copied.numpy(),
        "sample_name": list(made.names),
        "text": [decode(row) for row in made.samples],
        "nearest_text": [source_text(made.train, int(i)) for i in d.nearest],
        "nearest_character": made.train.start[d.nearest].numpy(),
        "passage": d.passage.numpy(),
        "passage_in_sample": d.place.numpy(),
        "passage_character": d.source.numpy(),
    }
    return columns | made.findings.columns()
