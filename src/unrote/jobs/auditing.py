"""`unrote audit`: are these samples copies of the training set? Which, of what, how sure?"""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unrote.contracts import Estimate
from unrote.data.decode import sum_up
from unrote.data.images import open_images
from unrote.data.pixels import ContentHash, outside
from unrote.data.sources import Images, Provenance, Source, check_compatible, provenance, stream
from unrote.jobs.audit_page import audit_page, groups_of
from unrote.jobs.audit_table import Blocks, Distances, concatenate
from unrote.jobs.audit_verdict import Findings, bounds, conclude, missed
from unrote.jobs.checking import check_apart, check_options
from unrote.jobs.comparing import Reference, origin, read_others, read_reference
from unrote.jobs.options import AuditOptions
from unrote.jobs.output import (
    check_free,
    document,
    progress,
    settings_of,
    workspace,
    write_document,
)
from unrote.measure.duplicates import cross_duplicates
from unrote.report.format import ratio
from unrote.report.page import write

BLOCK = 1024
"""Samples that are read and measured at once, at most; also what an interrupted audit repeats at most."""


HELD_OUT_BLOCKS, SAMPLE_BLOCKS = "held-out-blocks", "sample-blocks"


@dataclass(frozen=True)
class HeldOut:
    """Real images that were not trained on: what fresh data looks like to the same rules.

    Args:
        images: as they were read.
        kept: rows that are no near-duplicates of training images (M,).
        distances: of the kept rows.
    """

    images: Images
    kept: Tensor
    distances: Distances


@dataclass(frozen=True)
class Audit:
    """The result of an audit.

    Args:
        reference: the training set with its groups of duplicates.
        samples: where the samples are read from, and their provenance.
        names: what each sample is called.
        distances: the per-sample table.
        held_out: the calibration, or None.
        findings: definitions, verdict, copied training images.
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
        groups = self.reference.groups.groups
        lines.append(
            f"  near-duplicates     {groups_of(len(groups))}, {sum(map(len, groups)):,} training images"
        )
        if not bool(main.copied.any()):
            need = self.content["results"]["samples_for_upper_bound"]["0.001"]
            lines.append(f"  to bound it at 0.1 % {need:,} samples without a copy are needed")
        lines += [f"  note: {note}" for note in self.notes]
        return "\n".join([*lines, "", f"report: {self.out / 'report.html'}"])


def audit(options: AuditOptions) -> Audit:
    """Compare samples with a training set; writes samples.parquet, result.json and report.html.

    Raises:
        InputError: if an input cannot be used.
    """
    check_options(options)
    check_free(options.out, options.overwrite)
    check_apart(options.out, options.train, options.samples, options.test)
    memory = options.memory * 2**20
    reference = read_reference(
        options.train, options.duplicate_threshold, options.resize, options.train_range, memory
    )
    samples = open_images(options.samples, resize=options.resize, value_range=options.samples_range)
    check_compatible(reference.images, samples)
    fresh = None
    if options.test is not None:
        fresh = read_others(options.test, reference, options.resize, options.train_range)
    identity = {
        "settings": settings_of(options),
        "seed": options.seed,
        "train": origin(reference.images).sha256,
        "test": None if fresh is None else origin(fresh).sha256,
    }
    with workspace(options.out, options.overwrite, identity) as folder:
        held_out = None
        if fresh is not None:
            held_out = measure_held_out(fresh, reference, options, folder)
        result = examine(samples, reference, held_out, options, folder)
        clear_blocks(folder)
        write_document(result.content, folder)
    return result


def clear_blocks(folder: Path) -> None:
    """Remove what only an interrupted audit needs."""
    for name in (HELD_OUT_BLOCKS, SAMPLE_BLOCKS):
        shutil.rmtree(folder / name, ignore_errors=True)


def measure_held_out(
    fresh: Images, reference: Reference, options: AuditOptions, folder: Path
) -> HeldOut | None:
    """Distances of held-out images, without those that are near-duplicates of training images.

    Returns:
        None if nothing is left to calibrate with.
    """
    pixels = reference.comparable(fresh)
    near = cross_duplicates(pixels, reference.pixels, reference.radius(options.absolute_threshold))
    kept = (~near).nonzero().flatten()
    blocks = Blocks(folder / HELD_OUT_BLOCKS)
    parts = []
    with progress("held-out images", len(kept)) as advance:
        for number, rows in enumerate(kept.split(block_size(fresh.shape, options))):
            parts.append(blocks.measure(number, pixels[rows], reference, options.memory * 2**20))
            advance(len(rows))
    return HeldOut(fresh, kept, concatenate(parts)) if parts else None


def examine(
    samples: Source | Images,
    reference: Reference,
    held_out: HeldOut | None,
    options: AuditOptions,
    folder: Path,
) -> Audit:
    """Measure samples block by block, conclude, and write table and page into a folder."""
    blocks = Blocks(folder / SAMPLE_BLOCKS)
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
            pixels = reference.comparable(block)
            parts.append(blocks.measure(number, pixels, reference, options.memory * 2**20))
            advance(len(block))
    distances = concatenate(parts)
    findings = conclude(distances, held_out.distances if held_out else None, reference, options)
    source = _provenance(samples, content)
    notes = _notes(reference, samples, source, held_out, distances, options, beyond / total) + sum_up(notes)
    notes += missed(findings)
    results = results_of(findings, reference, held_out, options)
    inputs = {"train": reference.images.provenance, "samples": source}
    if held_out is not None:
        inputs["test"] = held_out.images.provenance
    made = Audit(
        reference,
        samples,
        source,
        tuple(names),
        distances,
        held_out,
        findings,
        tuple(notes),
        document("audit", inputs, options, results | {"notes": notes}),
        options.out,
    )
    write_table(made, folder / "samples.parquet")
    write(audit_page(made, options), folder / "report.html")
    return made


def block_size(shape: tuple[int, int, int], options: AuditOptions) -> int:
    """Images that are measured at once: fewer of large ones, which are held as bytes and as float32."""
    return max(1, min(BLOCK, options.memory * 2**20 // (8 * math.prod(shape))))


def _blocks(samples: Source | Images, size: int) -> Iterator[Images]:
    if isinstance(samples, Images):
        yield samples
    else:
        yield from stream(samples, size)


def _provenance(samples: Source | Images, content: ContentHash) -> Provenance:
    return origin(samples) if isinstance(samples, Images) else provenance(samples, content)


def _notes(
    reference: Reference,
    samples: Source | Images,
    source: Provenance,
    held_out: HeldOut | None,
    distances: Distances,
    options: AuditOptions,
    clipped: float,
) -> list[str]:
    """What a reader must know before believing the numbers."""
    train = reference.images
    notes = list(dict.fromkeys([*train.notes, *samples.notes]))
    if train.pixels.dtype == torch.uint8 and source.dtype != "uint8":
        notes.append(
            "The training set is 8-bit, so the samples were rounded to 8 bits before they were compared."
        )
    if source.dtype != "uint8" and tuple(samples.value_range) != tuple(train.value_range):
        notes.append(
            f"The samples' pixels lie in {span(samples.value_range)} and the training set's in "
            f"{span(train.value_range)}: both were brought to one scale before they were compared."
        )
    if clipped:
        notes.append(f"{clipped:.2%} of the samples' pixel values lay outside their range and were clipped.")
    exact = float((distances.d1 == 0).double().mean())
    if source.sha256 == origin(train).sha256:
        notes.append("The samples ARE the training images: both hold the same pixels in the same order.")
    elif exact > 0.5:
        notes.append(
            f"{exact:.0%} of the samples equal a training image in every pixel; check that the samples are "
            "generated images and not files of the training set."
        )
    if held_out is None and options.test is not None:
        notes.append(
            "Every held-out image is a near-duplicate of a training image, so nothing could be calibrated."
        )
    elif held_out is not None:
        removed = len(held_out.images) - len(held_out.kept)
        if removed:
            notes.append(
                f"{removed:,} of {len(held_out.images):,} held-out images are near-duplicates of training images "
                "and were left out of the calibration."
            )
        if (len(held_out.kept) + 1) * options.false_positives < 1:
            notes.append(
                f"{len(held_out.kept):,} held-out images are too few for a threshold with "
                f"{options.false_positives:.1%} false positives."
            )
    return notes


def span(value_range: tuple[float, float]) -> str:
    """A pixel range in words."""
    return f"[{value_range[0]:g}, {value_range[1]:g}]"


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


def write_table(made: Audit, path: Path) -> None:
    """samples.parquet: one row for each sample, every definition side by side."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    d, reference = made.distances, made.reference
    names = reference.images.names
    columns: dict[str, Any] = {
        "sample": range(len(d)),
        "nearest": d.nearest.numpy(),
        "second": d.second.numpy(),
        "d1": d.d1.numpy(),
        "d2": d.d2.numpy(),
        "ratio": d.ratio.numpy(),
        "copy": made.findings.main.copied.numpy(),
        "sample_name": list(made.names),
        "nearest_name": [names[i] for i in d.nearest.tolist()],
        "class": classes_of(made.reference.images, d.nearest),
        "plain_second": d.plain_second.numpy(),
        "plain_d2": d.plain_d2.numpy(),
        "root_mean_square": reference.root_mean_square(d.d1).numpy(),
        "aligned_nearest": d.aligned_nearest.numpy(),
        "aligned_d1": d.aligned_d1.numpy(),
        "aligned_d2": d.aligned_d2.numpy(),
    }
    for definition in made.findings.definitions[1:]:
        columns[f"copy_{definition.key}"] = definition.copied.numpy()
    if made.findings.p_value is not None:
        columns["p_value"] = made.findings.p_value.numpy()
    with path.open("wb") as file:  # pyarrow itself opens only names that are UTF-8
        pq.write_table(pa.table({name: pa.array(values) for name, values in columns.items()}), file)


def classes_of(train: Images, rows: Tensor) -> list[str | None]:
    """The class name of training images, or None where the set has no labels."""
    if train.labels is None:
        return [None] * len(rows)
    numbers = train.labels[rows].tolist()
    known = train.label_names
    return [known[i] if 0 <= i < len(known) else (str(i) if i >= 0 else None) for i in numbers]
