"""`unrote audit`: are these samples copies of the training set? Which, of what, how sure?"""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from unrote.contracts import Estimate
from unrote.data.decode import sum_up
from unrote.data.images import load_images, open_images
from unrote.data.pixels import ContentHash, outside
from unrote.data.sources import Images, Provenance, Source, check_compatible, provenance, stream
from unrote.jobs.audit_features import check_features, open_map
from unrote.jobs.audit_notes import notes_on
from unrote.jobs.audit_page import audit_page, groups_of
from unrote.jobs.audit_table import Blocks, Distances, HeldOut, columns_of, concatenate, write_table
from unrote.jobs.audit_verdict import Findings, bounds, conclude, missed
from unrote.jobs.audit_views import Instruments, Views, contradictions, instruments, look
from unrote.jobs.checking import check_apart, check_options, check_sets
from unrote.jobs.comparing import Reference, origin
from unrote.jobs.options import AuditOptions
from unrote.jobs.output import (
    check_free,
    document,
    progress,
    settings_of,
    workspace,
    write_document,
)
from unrote.jobs.searching import Searches
from unrote.report.format import ratio
from unrote.report.page import write

if TYPE_CHECKING:
    from unrote.jobs.audit_text_result import TextAudit
    from unrote.jobs.comparison import Comparison

BLOCK = 1024
"""Samples that are read and measured at once, at most; also what an interrupted audit repeats at most."""


HELD_OUT_BLOCKS, SAMPLE_BLOCKS = "held-out-blocks", "sample-blocks"


@dataclass(frozen=True)
class Audit:
    """The result of an audit.

    Args:
        reference: the training set with its groups of duplicates.
        samples: where the samples are read from.
        provenance: which samples they are.
        names: what each sample is called.
        distances: the per-sample table.
        held_out: the calibration, or None.
        findings: definitions, verdict, copied training images.
        views: authenticity, and where asked for similarity in features and quality.
        notes: what the reader should know about the input.
        content: what result.json holds.
        out: the folder with everything.
    """

    reference: Reference
    samples: Source | Images
    provenance: Provenance
    names: tuple[str, ...]
    distances: Distances
    held_out: HeldOut | None
    findings: Findings
    views: Views
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
        main = self.findings.main
        lines = [self.findings.sentence, "", f"  copy ratio          {ratio(main.ratio)}"]
        if main.calibration is not None:
            lines.append(f"  fresh real images   {ratio(main.calibration)}")
        lines.append(f"  training set copied {ratio(self.findings.copied.share)}")
        lines += self.views.summary()
        groups = self.reference.groups.groups
        lines.append(
            f"  near-duplicates     {groups_of(len(groups))}, {sum(map(len, groups)):,} training images"
        )
        if not bool(main.copied.any()):
            need = self.content["results"]["samples_for_upper_bound"]["0.001"]
            lines.append(f"  to bound it at 0.1 % {need:,} samples without a copy are needed")
        lines += [f"  note: {note}" for note in self.notes]
        return "\n".join([*lines, "", f"report: {self.out / 'report.html'}"])


def audit(options: AuditOptions) -> Audit | Comparison | TextAudit:
    """Compare samples with a training set; writes samples.parquet, result.json and report.html.

    Returns:
        An `Audit` of one set of samples, a `Comparison` of several, a `TextAudit` of text.

    Raises:
        InputError: if an input cannot be used.
    """
    from unrote.jobs.audit_text import audit_text
    from unrote.jobs.audit_text_input import wants_text
    from unrote.jobs.comparison import compare

    check_options(options)
    check_sets(options.sets, options.names)
    if wants_text(options):
        return audit_text(options)
    check_features(options)
    check_free(options.out, options.overwrite)
    check_apart(options.out, options.train, *options.sets, options.test)
    train = load_images(options.train, resize=options.resize, value_range=options.train_range)
    sets = [open_images(s, resize=options.resize, value_range=options.samples_range) for s in options.sets]
    fresh = None
    if options.test is not None:
        fresh = load_images(options.test, resize=options.resize, value_range=options.train_range)
        check_compatible(train, fresh)
    for samples in sets:
        check_compatible(train, samples)
    chosen = open_map(options, train)
    reference = Reference.of(train, options.duplicate_threshold, options.memory * 2**20)
    identity = {
        "settings": settings_of(options),
        "seed": options.seed,
        "train": origin(train).sha256,
        "test": None if fresh is None else origin(fresh).sha256,
    }
    queries = sum(map(len, sets)) + (0 if fresh is None else len(fresh))
    searches = Searches(reference, options.memory * 2**20, queries)
    with workspace(options.out, options.overwrite, identity) as folder:
        held_out = None
        if fresh is not None:
            held_out = measure_held_out(fresh, reference, options, folder, searches)
        tools = instruments(searches, chosen, held_out, options)
        result: Audit | Comparison
        if len(sets) == 1:
            result = examine(sets[0], reference, held_out, options, folder, tools)
        else:
            result = compare(sets, reference, held_out, options, folder, tools)
        clear_blocks(folder)
        write_document(result.content, folder)
    return result


def clear_blocks(folder: Path) -> None:
    """Remove what only an interrupted audit needs."""
    for place in (folder / HELD_OUT_BLOCKS, *folder.glob(f"{SAMPLE_BLOCKS}*")):
        shutil.rmtree(place, ignore_errors=True)


def measure_held_out(
    fresh: Images,
    reference: Reference,
    options: AuditOptions,
    folder: Path,
    searches: Searches | None = None,
) -> HeldOut | None:
    """Distances of held-out images, without those that are near-duplicates of training images.

    Returns:
        None if nothing is left to calibrate with.
    """
    searches = searches or Searches(reference, options.memory * 2**20, len(fresh))
    pixels, size = reference.comparable(fresh), block_size(fresh.shape, options)
    limit = reference.radius(options.absolute_threshold)
    near = torch.cat(
        [searches.straight(part, reference.pixels, 1).distance[:, 0] <= limit for part in pixels.split(size)]
    )
    kept = (~near).nonzero().flatten()
    blocks = Blocks(folder / HELD_OUT_BLOCKS)
    parts = []
    with progress("held-out images", len(kept)) as advance:
        for number, rows in enumerate(kept.split(size)):
            if len(rows):
                parts.append(blocks.measure(number, pixels[rows], searches))
            advance(len(rows))
    return HeldOut(fresh, kept, concatenate(parts)) if parts else None


def examine(
    samples: Source | Images,
    reference: Reference,
    held_out: HeldOut | None,
    options: AuditOptions,
    folder: Path,
    tools: Instruments | None = None,
) -> Audit:
    """Measure samples block by block, conclude, and write table and page into a folder."""
    if tools is None:
        searches = Searches(reference, options.memory * 2**20, len(samples))
        tools = instruments(searches, open_map(options, reference.images), held_out, options)
    made = assess(samples, held_out, options, folder / SAMPLE_BLOCKS, tools)
    write_table(columns_of(made), folder / "samples.parquet")
    write(audit_page(made, options), folder / "report.html")
    return made


def assess(
    samples: Source | Images,
    held_out: HeldOut | None,
    options: AuditOptions,
    kept: Path,
    tools: Instruments,
) -> Audit:
    """Measure one set of samples and conclude; measured blocks are kept in a folder."""
    reference = tools.searches.reference
    read = _measured(samples, options, Blocks(kept), tools.searches)
    distances = read.distances
    findings = conclude(distances, held_out.distances if held_out else None, reference, options)
    views = look(samples, distances, tools, options)
    if views.likeness is not None:
        findings = replace(findings, definitions=(*findings.definitions, views.likeness.definition))
    notes = notes_on(reference, samples, read.source, held_out, distances, options, read.clipped)
    notes += sum_up(list(read.notes)) + missed(findings) + contradictions(findings, views, options.confidence)
    if views.lens is not None:
        notes += views.lens.map.notes
    inputs = {"train": reference.images.provenance, "samples": read.source}
    if held_out is not None:
        inputs["test"] = held_out.images.provenance
    results = results_of(findings, reference, held_out, options) | views.as_json() | {"notes": notes}
    content = document("audit", inputs, options, results)
    if len(options.sets) == 1:
        content["settings"]["samples"] = content["settings"]["samples"][0]
    return Audit(
        reference,
        samples,
        read.source,
        read.names,
        distances,
        held_out,
        findings,
        views,
        tuple(notes),
        content,
        options.out,
    )


@dataclass(frozen=True)
class _Read:
    """What one pass over samples gives: their names, distances, provenance, notes, and the share of clipped pixels."""

    names: tuple[str, ...]
    distances: Distances
    source: Provenance
    notes: tuple[str, ...]
    clipped: float


def _measured(samples: Source | Images, options: AuditOptions, blocks: Blocks, searches: Searches) -> _Read:
    content = ContentHash(samples.value_range)
    parts: list[Distances] = []
    names: list[str] = []
    notes: list[str] = []
    beyond = total = 0
    with progress("samples", len(samples)) as advance:
        for number, block in enumerate(_blocks(samples, block_size(samples.shape, options))):
            content.update(block.pixels)
            beyond += outside(block.pixels, block.value_range)
            total += block.pixels.numel()
            names += block.names
            notes += () if block is samples else block.notes
            parts.append(blocks.measure(number, searches.reference.comparable(block), searches))
            advance(len(block))
    source = origin(samples) if isinstance(samples, Images) else provenance(samples, content)
    return _Read(tuple(names), concatenate(parts), source, tuple(notes), beyond / total)


def block_size(shape: tuple[int, int, int], options: AuditOptions) -> int:
    """Images that are measured at once: fewer of large ones, which are held as bytes and as float32."""
    return max(1, min(BLOCK, options.memory * 2**20 // (8 * math.prod(shape))))


def _blocks(samples: Source | Images, size: int) -> Iterator[Images]:
    if isinstance(samples, Images):
        yield samples
    else:
        yield from stream(samples, size)


def results_of(
    findings: Findings, reference: Reference, held_out: HeldOut | None, options: AuditOptions
) -> dict[str, Any]:
    """The keys of result.json that other programs may rely on, and more beside them."""
    main, copied, groups = findings.main, findings.copied, reference.groups.groups
    results = {
        "verdict": findings.sentence,
        "copies_found": findings.alarming,
        "copy_ratio": main.ratio,
        "copied_train_share": copied.share,
        "copied_train_share_with_unseen": copied.unseen,
        "most_copied": [
            {"index": int(i), "name": reference.images.names[int(i)], "times": int(c)}
            for i, c in zip(copied.index[:20], copied.count[:20], strict=True)
        ],
        "duplicate_groups": len(groups),
        "duplicate_images": sum(map(len, groups)),
        "definitions": {d.key: d.as_json() for d in findings.definitions},
        "samples_for_upper_bound": bounds(main, options.confidence),
    }
    if held_out is not None:
        results["calibration_ratio"] = main.calibration
        results["excess_over_calibration"] = main.excess
        results["calibrated_threshold"] = findings.threshold
    return results
