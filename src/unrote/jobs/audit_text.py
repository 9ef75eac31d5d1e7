"""`unrote audit` of text: are these samples copies of the training text? Which, of what, how sure?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from unrote.contracts import InputError
from unrote.data.text import Windows
from unrote.jobs.audit_table import write_table
from unrote.jobs.audit_text_input import Given, read
from unrote.jobs.audit_text_page import text_page
from unrote.jobs.audit_text_result import TextAudit, TextDistances, columns_of
from unrote.jobs.audit_verdict import Findings, Words, alarming, bounds, define, sentence
from unrote.jobs.checking import check_apart
from unrote.jobs.options import AuditOptions
from unrote.jobs.output import check_free, document, progress, settings_of, workspace, write_document
from unrote.jobs.text_evidence import SHARE
from unrote.measure import copies
from unrote.measure.estimate import estimate, wilson
from unrote.measure.text import copy_threshold, longest_passages, uncovered, window_neighbors
from unrote.report.format import ratio
from unrote.report.page import write

PASSAGE = 64
"""A copied passage has at least so many characters, or three quarters of a shorter window's."""

BLOCK = 1024
"""Samples that are measured at once."""

TEXT = Words("the training text", "windows of fresh text", "held-out text")


def audit_text(options: AuditOptions) -> TextAudit:
    """Compare samples with windows of a training text; writes samples.parquet, result.json and report.html.

    Raises:
        InputError: if an input cannot be used.
    """
    check_free(options.out, options.overwrite)
    check_apart(options.out, options.train, *options.sets, options.test)
    given = read(options)
    identity = {
        "settings": settings_of(options),
        "seed": options.seed,
        "train": given.train.provenance.sha256,
        "test": None if given.fresh is None else given.fresh.provenance.sha256,
    }
    with workspace(options.out, options.overwrite, identity) as folder:
        distances = measure("samples", given.samples, given.train)
        fresh = None
        if given.fresh is not None:
            fresh = measure("held-out text", given.fresh.tokens, given.train)
        findings = conclude(distances, fresh, given, options)
        notes = (*given.notes, *notes_on(given, distances, fresh, findings, options.confidence))
        inputs = {"train": given.train.provenance, "samples": given.provenance}
        if given.fresh is not None:
            inputs["test"] = given.fresh.provenance
        results = results_of(given, distances, fresh, findings, options) | {"notes": notes}
        content = document("audit", inputs, options, results)
        content["settings"]["samples"] = content["settings"]["samples"][0]
        made = TextAudit(
            given.train,
            given.samples,
            given.provenance,
            given.names,
            distances,
            fresh,
            findings,
            notes,
            content,
            options.out,
        )
        write_table(columns_of(made), folder / "samples.parquet")
        write(text_page(made, options), folder / "report.html")
        write_document(content, folder)
    return made


def measure(label: str, query: Tensor, train: Windows) -> TextDistances:
    """Nearest windows and longest passages of rows of text (n,L)."""
    parts = []
    if train.running:
        first = int(train.start[0])
        reference = train.text.tokens[None, first : int(train.start[-1]) + train.length]
    else:
        first, reference = 0, train.tokens
    with progress(label, len(query)) as advance:
        for rows in query.split(BLOCK):
            near = window_neighbors(rows, train.text.tokens, train.start)
            shared = longest_passages(rows, reference)
            source = shared.source + first if train.running else train.start[shared.row] + shared.source
            parts.append(
                TextDistances(
                    near.index[:, 0],
                    near.index[:, 1],
                    near.distance[:, 0],
                    near.distance[:, 1],
                    shared.length,
                    shared.place,
                    source,
                    uncovered(shared, train.length),
                )
            )
            advance(len(rows))
    names = [field.name for field in fields(TextDistances)]
    return TextDistances(**{name: torch.cat([getattr(part, name) for part in parts]) for name in names})


Rule = Callable[[TextDistances], Tensor]


def most_of(length: int, options: AuditOptions) -> int:
    """In how many characters a copy may differ at most."""
    return copy_threshold(length, SHARE if options.hamming_threshold is None else options.hamming_threshold)


def rules_of(
    fresh: TextDistances | None, length: int, options: AuditOptions
) -> list[tuple[str, str, str, Rule]]:
    """Key, title, words and rule of every definition that applies."""
    most = copy_threshold(length, SHARE if options.hamming_threshold is None else options.hamming_threshold)
    passage = options.passage_threshold or min(PASSAGE, max(1, 3 * length // 4))
    if passage > length:
        raise InputError(
            f"--passage-threshold {passage:,} is longer than a window, which has {length:,} characters, so that "
            "nothing could be a copy; lower it."
        )

    def passages(d: TextDistances) -> Tensor:
        return d.passage >= passage

    rules: list[tuple[str, str, str, Rule]] = [
        (
            "hamming",
            "characters in place",
            f"at most {most:,} of {length:,} characters differ from the nearest training window (Hamming distance)",
            lambda d: d.d1 <= most,
        ),
        ("exact", "exact", "it equals a training window in every character", lambda d: d.d1 == 0),
        (
            "passage",
            "passage",
            f"it shares a passage of at least {passage:,} characters with the training text, wherever it stands",
            passages,
        ),
    ]
    if fresh is None:
        return rules
    share = f"{100 * options.false_positives:g} %"
    limit = copies.calibrated_threshold(fresh.d1, options.false_positives)
    bound = copies.calibrated_threshold(fresh.uncovered, options.false_positives)
    if limit is not None and bound is not None:
        words = (
            f"fewer than {limit:,.0f} characters differ, as in at most {share} of the windows of fresh text"
        )
        rules.insert(2, ("calibrated", "calibrated characters", words, lambda d: copies.below(d.d1, limit)))
        words = (
            f"it shares a passage longer than {length * (1 - bound):,.0f} characters, as at most {share} of the "
            "windows of fresh text do"
        )
        rule: Rule = lambda d: copies.below(d.uncovered, bound)  # noqa: E731
        rules.append(("calibrated_passage", "calibrated passage", words, rule))
    return rules


def conclude(
    samples: TextDistances, fresh: TextDistances | None, given: Given, options: AuditOptions
) -> Findings:
    """Apply every definition, then state the verdict by the first."""
    definitions = tuple(
        define(key, title, words, rule(samples), None if fresh is None else rule(fresh), options.confidence)
        for key, title, words, rule in rules_of(fresh, given.train.length, options)
    )
    main = definitions[0]
    generator = torch.Generator().manual_seed(options.seed)
    return Findings(
        definitions,
        None if fresh is None else copies.rank_p_value(samples.d1, fresh.d1),
        None if fresh is None else copies.calibrated_threshold(fresh.d1, options.false_positives),
        copies.copied_training(
            samples.nearest, main.copied, groups_of(given.train), generator, confidence=options.confidence
        ),
        sentence(main, options.confidence, TEXT),
        alarming(main),
    )


def groups_of(train: Windows) -> Tensor:
    """The first of the windows with which each counts as one: equal ones, or of overlapping ones its neighbours."""
    if overlap(train):
        key = (train.start - train.start[0]) // train.length
    else:
        key = torch.unique(train.tokens.to(torch.uint8), dim=0, return_inverse=True)[1]
    first = torch.full((int(key.max()) + 1,), len(train))
    first.scatter_reduce_(0, key, torch.arange(len(train)), "amin")
    return first[key]


def notes_on(
    given: Given, samples: TextDistances, fresh: TextDistances | None, findings: Findings, confidence: float
) -> list[str]:
    """What a reader must know before believing the numbers."""
    notes = []
    train = given.train
    if overlap(train):
        apart = "1 character" if train.stride == 1 else f"{train.stride:,} characters"
        notes.append(
            f"Training windows overlap; they begin {apart} apart, and every block of {train.length:,} "
            "characters counts as one piece of training text."
        )
    exact = float((samples.d1 == 0).double().mean())
    if given.provenance.sha256 == train.provenance.sha256:
        notes.append("The samples ARE the training windows: both hold the same characters in the same order.")
    elif exact > 0.5:
        notes.append(
            f"{exact:.0%} of the samples equal a training window in every character; check that they were generated."
        )
    if fresh is not None and findings.main.calibration is not None:
        called = findings.main.calibration.value or 0.0
        if called > 0.05:
            notes.append(
                f"{called:.0%} of the windows of held-out text are themselves copies of the training text by the "
                "verdict's definition. Held-out text must be independent of the training text; check --test."
            )
    notes += _moved(findings, overlap(given.train), confidence)
    return notes


def _moved(findings: Findings, overlapping: bool, confidence: float) -> list[str]:
    """A sentence if more samples than by chance hold a passage that the verdict does not look at."""
    passage = next(d for d in findings.definitions if d.key == "passage")
    only = passage.copied & ~findings.main.copied
    more = wilson(int(only.sum()), len(only), confidence)
    chance = 0.0 if passage.calibration is None else passage.calibration.high
    assert more.low is not None and chance is not None
    if not bool(only.any()) or more.low <= chance:
        return []
    fresh = "" if passage.calibration is None else f" (of fresh text, {ratio(passage.calibration)} do)"
    words = (
        f"{int(only.sum()):,} more samples share a long passage with the training text{fresh}, which the verdict does "
        "not count, since it stands at another place or the rest differs. Read 'Passages in other places'"
    )
    return [words + ("." if overlapping else "; --stride 1 compares every place of the training text.")]


def overlap(train: Windows) -> bool:
    """Whether training windows overlap."""
    return train.stride is not None and train.stride < train.length


def results_of(
    given: Given,
    samples: TextDistances,
    fresh: TextDistances | None,
    findings: Findings,
    options: AuditOptions,
) -> dict[str, Any]:
    """The keys of result.json: those of every audit, and those of text."""
    main, copied, train = findings.main, findings.copied, given.train
    group = groups_of(train)
    sizes = group.unique(return_counts=True)[1]
    repeated = sizes[:0] if overlap(train) else sizes[sizes > 1]
    results: dict[str, Any] = {
        "verdict": findings.sentence,
        "copies_found": findings.alarming,
        "copy_ratio": main.ratio,
        "copied_train_share": copied.share,
        "copied_train_share_with_unseen": copied.unseen,
        "most_copied": [
            {"index": int(i), "character": int(train.start[i]), "times": int(c)}
            for i, c in zip(copied.index[:20], copied.count[:20], strict=True)
        ],
        "duplicate_groups": len(repeated),
        "duplicate_windows": int(repeated.sum()),
        "hamming_threshold": most_of(train.length, options),
        "definitions": {d.key: d.as_json() for d in findings.definitions},
        "samples_for_upper_bound": bounds(main, options.confidence),
        "window": {"length": train.length, "stride": train.stride, "count": len(train)},
        "hamming_distance": estimate(samples.d1 / train.length, options.confidence),
        "longest_passage": estimate(samples.passage.double(), options.confidence),
    }
    if fresh is not None:
        results |= {
            "calibration_ratio": main.calibration,
            "excess_over_calibration": main.excess,
            "calibrated_threshold": findings.threshold,
            "hamming_distance_calibration": estimate(fresh.d1 / train.length, options.confidence),
            "longest_passage_calibration": estimate(fresh.passage.double(), options.confidence),
        }
    return results
