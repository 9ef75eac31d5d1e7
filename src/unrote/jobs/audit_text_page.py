"""The page of an audit of text: verdict, how sure, copied text beside its source, definitions, settings."""

from __future__ import annotations

from typing import Any

import torch

from unrote.contracts import Estimate
from unrote.data.alphabet import decode
from unrote.jobs.audit_page import settings_blocks, tone_of
from unrote.jobs.audit_text_result import TextAudit, definition
from unrote.jobs.options import AuditOptions
from unrote.jobs.text_evidence import EXHIBITS, evidence, pieces, source_text, where
from unrote.report import blocks, plots
from unrote.report.canvas import Line
from unrote.report.format import fixed, quantity, ratio

LISTED = 1000
"""Samples in the page's own table."""
AROUND = 20
"""Characters that are shown before and after a passage."""
OPENING = 80
"""Characters with which a text is named in a table."""

NO_GUARANTEE = (
    "That no copies are found is not a guarantee of privacy. An audit sees characters: it does not see what was "
    "reworded, and it says nothing about samples that were not drawn."
)


def text_page(made: TextAudit, options: AuditOptions) -> blocks.Page:
    """The whole page."""
    findings, main, train = made.findings, made.findings.main, made.train
    figures = [blocks.KeyFigure("copies among the samples", main.ratio)]
    if main.calibration is not None:
        figures.append(blocks.KeyFigure("the same rule on fresh text", main.calibration))
    figures.append(
        blocks.KeyFigure("training windows copied so far", findings.copied.share, note="share of the set")
    )
    sections = [
        blocks.Section("How sure", _how_sure(made)),
        blocks.Section("Copied text beside its source", (_evidence(made),)),
        *_moved(made),
        blocks.Section("Definitions side by side", _definitions(made)),
        blocks.Section("Training windows that were copied", _copied(made)),
        blocks.Section("Every sample", (_table(made),)),
        blocks.Section("Settings and versions", settings_blocks(made.content)),
    ]
    if made.notes:
        sections.insert(0, blocks.Section("Read this first", (blocks.Notes(made.notes),)))
    return blocks.Page(
        title="Audit of text",
        lead=f"{len(made.distances):,} samples from {made.provenance.spec}, held against {len(train):,} windows of "
        f"{train.length:,} characters in {train.text.spec}",
        verdict=blocks.Verdict(findings.sentence, tone_of(main), (_remedy(made),), tuple(figures)),
        sections=tuple(sections),
        footer=(NO_GUARANTEE, f"unrote {made.content['versions']['unrote']}"),
    )


def _remedy(made: TextAudit) -> str:
    if made.findings.alarming:
        return (
            "What to do: train for fewer steps or on more text, remove repeated text from the training set, and audit "
            "again. Below stands what was copied."
        )
    if not bool(made.findings.main.copied.any()):
        need = made.content["results"]["samples_for_upper_bound"]["0.001"]
        return f"To bound the copy ratio at 0.1 %, draw {need:,} samples and find no copy among them."
    return "The samples that the rule calls copies are shown below; read them."


def _how_sure(made: TextAudit) -> tuple[blocks.Block, ...]:
    results = made.content["results"]
    length = made.train.length
    series = {"samples": (made.distances.d1 / length).tolist()}
    if made.fresh is not None:
        series["fresh text"] = (made.fresh.d1 / length).tolist()
    figure = plots.histogram(
        series,
        x_label="share of characters that differ",
        caption="In how many characters samples differ from their nearest training window. Those left of the line are "
        "copies. Fresh text agrees with some training window in a few characters "
        "by chance, in more of them where there are more windows.",
        alt=f"Histogram of Hamming distances of {len(made.distances):,} samples"
        + ("" if made.fresh is None else f" and {len(made.fresh):,} windows of fresh text"),
        limits=(0.0, 1.0),
        lines=(Line(results["hamming_threshold"] / length, "copies"),),
    )
    columns = (
        blocks.Column("on average"),
        blocks.Column("samples", quantity),
        blocks.Column("fresh text", quantity),
    )
    rows = tuple(
        (title, estimate_of(results[key]), estimate_of(results.get(f"{key}_calibration")))
        for title, key in (
            ("share of characters that differ from the nearest window", "hamming_distance"),
            ("characters of the longest shared passage", "longest_passage"),
        )
    )
    words = [
        "Intervals are Wilson's for one ratio, Newcombe's for a difference and Student's for a mean. They speak of "
        "samples from this one model; another training run would give another ratio. Neighbouring windows of fresh "
        "text are taken as independent, which they are only nearly.",
    ]
    if made.fresh is None:
        words.append(
            "No held-out text was given (`--test`), so it is not known how much fresh text the rules would call copies."
        )
    table = blocks.Table(
        columns, rows, "How near samples and fresh text are to the training text", sortable=False
    )
    return (figure, table, blocks.Text(tuple(words)))


def estimate_of(said: dict[str, Any] | None) -> Estimate | None:
    """A number of result.json as it was."""
    return None if said is None else Estimate(**said)


def _evidence(made: TextAudit) -> blocks.Collations:
    d, copied = made.distances, made.findings.main.copied
    return evidence(made.samples, made.names, made.train, d.nearest, d.d1, copied)


def _moved(made: TextAudit) -> tuple[blocks.Section, ...]:
    """Samples with a long passage that the verdict does not count, the passage marked in both."""
    d, train = made.distances, made.train
    only = (definition(made, "passage").copied & ~made.findings.main.copied).nonzero()[:, 0]
    if not len(only):
        return ()
    order = only[torch.argsort(d.passage[only], descending=True, stable=True)][:EXHIBITS].tolist()
    rows = []
    for i in order:
        size, place, source = int(d.passage[i]), int(d.place[i]), int(d.source[i])
        room = min(AROUND, place, source)
        before, after = place - room, min(train.length, place + size + AROUND)
        there = source - room, min(len(train.text), source + size + AROUND)
        sample = decode(made.samples[i, before:after])
        text = decode(train.text.tokens[there[0] : there[1]])
        rows.append(
            blocks.Collation(
                (
                    blocks.Reading(
                        "sample", _passage(sample, place - before, size), f"from character {place:,}"
                    ),
                    blocks.Reading(
                        "training text", _passage(text, source - there[0], size), where(made.train, source)
                    ),
                ),
                f"a passage of {size:,} of {train.length:,} characters",
                "",
                made.names[i],
            )
        )
    caption = (
        "Samples that share a long passage with the training text and are no copies by the verdict's definition, since "
        "the passage stands at another place or the rest differs. The passage is marked."
    )
    return (blocks.Section("Passages in other places", (blocks.Collations(tuple(rows), caption),)),)


def _passage(text: str, place: int, size: int) -> tuple[tuple[str, bool], ...]:
    return pieces(text, [place <= i < place + size for i in range(len(text))])


def _definitions(made: TextAudit) -> tuple[blocks.Block, ...]:
    def bare(value: Any) -> str:
        return ratio(value).split(", n = ")[0]

    fresh = "" if made.fresh is None else f" and {len(made.fresh):,} windows of fresh text"
    table = blocks.Table(
        (
            blocks.Column("definition"),
            blocks.Column("a sample is a copy if"),
            blocks.Column("samples", bare),
            blocks.Column("fresh text", bare),
            blocks.Column("difference", bare),
        ),
        tuple((x.title, x.rule, x.ratio, x.calibration, x.excess) for x in made.findings.definitions),
        f"Definitions of a copy, for {len(made.distances):,} samples{fresh}; where they disagree, the disagreement is "
        "a result",
        sortable=False,
    )
    words = (
        "The verdict rests on the first definition, which compares character by character with whole training windows. "
        "Passages need no alignment: they find a copied sentence that was moved, and do not see copies with a mistake "
        "every few words. A language repeats itself, in lists and names above all: what fresh text has is chance."
    )
    return (table, blocks.Text((words,)))


def _copied(made: TextAudit) -> tuple[blocks.Block, ...]:
    copied, train = made.findings.copied, made.train
    if not len(copied.index):
        return (blocks.Text(("None.",)),)
    rows = tuple(
        (where(made.train, int(train.start[i])), int(c), source_text(train, int(i))[:OPENING])
        for i, c in zip(copied.index[:LISTED].tolist(), copied.count[:LISTED].tolist(), strict=True)
    )
    columns = (
        blocks.Column("training window"),
        blocks.Column("copies of it"),
        blocks.Column("its beginning"),
    )
    words = "Most often copied first; equal windows count as one."
    return (
        blocks.Facts(
            (
                ("different training windows copied", f"{len(copied.index):,}"),
                ("share of the training set", copied.share),
            ),
            ratio,
        ),
        blocks.Table(columns, rows, words, shown=20),
    )


def _table(made: TextAudit) -> blocks.Block:
    d, p_value = made.distances, made.findings.p_value
    order = torch.argsort(d.d1, stable=True)[:LISTED].tolist()
    columns = [
        blocks.Column("sample"),
        blocks.Column("copy"),
        blocks.Column("characters that differ"),
        blocks.Column("from the window"),
        blocks.Column("longest passage"),
    ]
    columns += [] if p_value is None else [blocks.Column("p-value", fixed(4))]
    rows = []
    for i in order:
        row = [
            made.names[i],
            bool(made.findings.main.copied[i]),
            int(d.d1[i]),
            where(made.train, int(made.train.start[d.nearest[i]])),
            int(d.passage[i]),
        ]
        rows.append(tuple(row if p_value is None else [*row, float(p_value[i])]))
    more = "" if len(d) <= LISTED else f" ({LISTED:,} of {len(d):,}; samples.parquet has all)"
    return blocks.Table(tuple(columns), tuple(rows), f"Samples, the most suspicious first{more}", shown=20)
