"""The page of an audit: verdict, how sure, evidence, definitions, duplicates, what was copied, settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from unrote.contracts import Estimate
from unrote.data.pixels import to_bytes
from unrote.data.sources import Images
from unrote.jobs.audit_table import Distances, classes_of, pictures
from unrote.jobs.audit_verdict import Definition, alarming
from unrote.jobs.audit_views_page import views_blocks
from unrote.jobs.options import AuditOptions
from unrote.report import blocks, plots
from unrote.report.canvas import Line
from unrote.report.format import Value, at_least, fixed, number, ratio

if TYPE_CHECKING:
    from unrote.jobs.auditing import Audit

EXHIBITS = 96
"""Samples in the evidence; the table of all samples is in samples.parquet."""
GROUPS = 200
"""Groups of near-duplicates on the page."""
LISTED = 1000
"""Samples in the page's own table."""

NO_GUARANTEE = (
    "That no copies are found is not a guarantee of privacy. An audit sees pixels: it does not see copies that are "
    "rotated, cropped, recoloured beyond one gain and offset, or copied in part, and it says nothing about "
    "samples that were not drawn."
)


def audit_page(made: Audit, options: AuditOptions) -> blocks.Page:
    """The whole page."""
    findings = made.findings
    train = made.reference.images
    main = findings.main
    figures = [blocks.KeyFigure("copies among the samples", main.ratio)]
    if main.calibration is not None:
        figures.append(blocks.KeyFigure("the same rule on fresh real images", main.calibration))
    figures.append(
        blocks.KeyFigure("training images copied so far", findings.copied.share, note="share of the set")
    )
    verdict = blocks.Verdict(findings.sentence, tone_of(main), (_remedy(made),), tuple(figures))
    sections = [
        blocks.Section("How sure", _how_sure(made, options)),
        blocks.Section("Evidence", (evidence(made, EXHIBITS),)),
        blocks.Section("Definitions side by side", definition_blocks(made)),
        blocks.Section("Quality and other views", views_blocks(made, options)),
        blocks.Section("Training images that were copied", copied_blocks(made)),
        blocks.Section("Duplicates in the training set", _duplicates(made, options)),
        *_classes(made),
        blocks.Section("Every sample", (_table(made),)),
        blocks.Section("Settings and versions", settings_blocks(made.content)),
    ]
    if made.notes:
        sections.insert(0, blocks.Section("Read this first", (blocks.Notes(made.notes),)))
    return blocks.Page(
        title="Audit of samples",
        lead=f"{made.provenance.count:,} samples from {made.provenance.spec}, held against {len(train):,} training "
        f"images from {train.spec}",
        verdict=verdict,
        sections=tuple(sections),
        footer=(NO_GUARANTEE, f"unrote {made.content['versions']['unrote']}"),
    )


def tone_of(main: Definition) -> blocks.Tone:
    """Alarm where copies exceed what fresh data would give, or one in a hundred where that is not known."""
    if main.excess is not None:
        return blocks.Tone.ALARM if alarming(main) else blocks.Tone.CALM
    if not bool(main.copied.any()):
        return blocks.Tone.CALM
    return blocks.Tone.ALARM if (main.ratio.low or 0.0) > 0.01 else blocks.Tone.CAUTION


def _remedy(made: Audit) -> str:
    findings, need = made.findings, made.content["results"]["samples_for_upper_bound"]
    if findings.alarming:
        return (
            "What to do: train for fewer steps or on more images, remove duplicates from the training set, and "
            "audit again. The images below show what was copied."
        )
    if not bool(findings.main.copied.any()):
        return (
            f"To bound the copy ratio at 0.1 %, draw {need['0.001']:,} samples and find no copy among them."
        )
    return "The samples that the rule calls copies are shown below; look at them."


def histogram(made: Audit, factor: float) -> blocks.Figure:
    """Distance ratios of samples and of held-out images, with the line below which a sample is a copy."""
    d, held_out = made.distances, made.held_out
    series = {"samples": d.ratio.tolist()}
    if held_out is not None:
        series["fresh real images"] = held_out.distances.ratio.tolist()
    return plots.histogram(
        series,
        x_label="nearest distance / second-nearest distance",
        caption="A sample left of the line is a copy: it is much nearer to one training image than to any other.",
        alt=f"Histogram of distance ratios of {len(d):,} samples"
        + ("" if held_out is None else f" and {len(held_out.distances):,} held-out images"),
        limits=(0.0, 1.0),
        lines=(Line(1 / factor, "copies"),),
    )


def _how_sure(made: Audit, options: AuditOptions) -> tuple[blocks.Block, ...]:
    words = [
        "Near-duplicates in the training set count as one neighbour: the second neighbour is the nearest training "
        "image outside the first one's group.",
        "Intervals are Wilson's for one ratio and Newcombe's for a difference. They speak of samples from this one "
        "model; another training run would give another ratio.",
    ]
    if made.held_out is None:
        words.append(
            "No held-out images were given (`--test`), so it is not known how many fresh real images the rule "
            "would call copies."
        )
    return (histogram(made, options.factor), blocks.Text(tuple(words)))


def evidence(made: Audit, count: int) -> blocks.Evidence:
    """The most suspicious samples with their neighbours, copies framed."""
    d, train = made.distances, made.reference.images
    order = torch.argsort(d.ratio, stable=True)[:count].tolist()
    read = pictures(made.samples, order)
    copied = made.findings.main.copied
    rows = []
    for i in order:
        nearest, second = int(d.nearest[i]), int(d.second[i])
        rows.append(
            blocks.Exhibit(
                (
                    picture(read[i], 0, "sample", made.names[i]),
                    picture(train, nearest, "nearest", train.names[nearest]),
                    picture(train, second, "second", train.names[second]),
                ),
                f"ratio {float(d.ratio[i]):.3f} = {number(float(d.d1[i]))} / {number(float(d.d2[i]))}",
                "copy" if bool(copied[i]) else "",
            )
        )
    caption = (
        "Samples with their nearest training image and the nearest one outside its group of duplicates, the most "
        "suspicious first. Framed rows are copies."
    )
    return blocks.Evidence(tuple(rows), caption)


def picture(images: Images, row: int, label: str, note: str) -> blocks.Picture:
    """One image of a set for the page."""
    return blocks.Picture(to_bytes(images.pixels[row], images.value_range), label, note)


def definition_blocks(made: Audit) -> tuple[blocks.Block, ...]:
    """All definitions side by side, on how many samples they agree, and what only alignment sees."""
    definitions = made.findings.definitions
    fresh = "" if made.held_out is None else f" and {len(made.held_out.distances):,} fresh real images"
    table = blocks.Table(
        (
            blocks.Column("definition"),
            blocks.Column("a sample is a copy if"),
            blocks.Column("samples", _without_count),
            blocks.Column("fresh real images", _without_count),
            blocks.Column("difference", _without_count),
        ),
        tuple((x.title, x.rule, x.ratio, x.calibration, x.excess) for x in definitions),
        f"Definitions of a copy, for {len(made.distances):,} samples{fresh}; where they disagree, the disagreement "
        "is a result",
        sortable=False,
    )
    first = definitions[0]
    columns = (
        blocks.Column("definition"),
        blocks.Column("also by the first"),
        blocks.Column("only by this one"),
        blocks.Column("only by the first"),
    )
    both = blocks.Table(
        columns,
        tuple(
            (
                x.title,
                int((x.copied & first.copied).sum()),
                int((x.copied & ~first.copied).sum()),
                int((first.copied & ~x.copied).sum()),
            )
            for x in definitions[1:]
        ),
        f"Samples on which the others agree or disagree with the first definition ({first.title})",
        sortable=False,
    )
    words = (
        "The verdict rests on the first definition. The plain ratio misses copies of training images that have a "
        "near-duplicate, since then the second neighbour is as near as the first. The best alignment finds "
        "mirrored, shifted, brightened and darkened copies. The absolute distance also calls a sample a copy where "
        "the training images themselves lie close together."
    )
    return (table, both, blocks.Text((words,)), *_aligned(made))


def _aligned(made: Audit) -> tuple[blocks.Block, ...]:
    """Samples that only the best alignment calls copies, to be judged by eye."""
    findings, d, train = made.findings, made.distances, made.reference.images
    found = next(x for x in findings.definitions if x.key == "aligned")
    only = (found.copied & ~findings.main.copied).nonzero()[:, 0]
    if not len(only):
        return ()
    order = only[torch.argsort((d.aligned_d1 / d.aligned_d2)[only], stable=True)][:EXHIBITS].tolist()
    read = pictures(made.samples, order)
    rows = tuple(
        blocks.Exhibit(
            (
                picture(read[i], 0, "sample", made.names[i]),
                picture(train, int(d.aligned_nearest[i]), "nearest", train.names[int(d.aligned_nearest[i])]),
            ),
            f"ratio {float(d.aligned_d1[i] / d.aligned_d2[i]):.3f}",
        )
        for i in order
    )
    caption = (
        "Samples that only the best alignment calls copies, beside the training image that fits best: the verdict "
        "does not count them."
    )
    return (blocks.Evidence(rows, caption, shown=12),)


def copied_blocks(made: Audit) -> tuple[blocks.Block, ...]:
    """Which training images were copied, how often, and what share of the set that is."""
    copied, train = made.findings.copied, made.reference.images
    if not len(copied.index):
        return (blocks.Text(("None.",)),)
    facts = blocks.Facts(
        (
            ("different training images copied", f"{len(copied.index):,}"),
            ("share of the training set", copied.share),
            ("share if ever more samples were drawn", _limit(copied.unseen)),
        ),
        ratio,
    )
    groups = tuple(
        blocks.Exhibit((picture(train, int(i), "", train.names[int(i)]),), _times(int(c)))
        for i, c in zip(copied.index[:48], copied.count[:48], strict=True)
    )
    words = (
        "The share that would be copied if ever more samples were drawn is Chao's estimate from how many images "
        "were copied once and twice; it is a lower bound of what the model can copy. Where every image was copied only "
        "once, the share is bounded by how unlikely so few repetitions would be. A group of near-duplicates counts "
        "as one training image."
    )
    shown = "Most often copied first"
    if len(copied.index) > len(groups):
        shown += f"; the first {len(groups)} are here"
    return (facts, blocks.Gallery(groups, shown, shown=12), blocks.Text((words,)))


def _limit(share: Estimate) -> Estimate | str:
    """A share, or what bounds it from below where nothing else is known."""
    return at_least(share.low) if share.value is None and share.low is not None else share


def _times(count: int) -> str:
    return {1: "once", 2: "twice"}.get(count, f"{count:,} times")


def _without_count(value: Value) -> str:
    """A share with its interval; the caption says of how many."""
    return ratio(value).split(", n = ")[0]


def _duplicates(made: Audit, options: AuditOptions) -> tuple[blocks.Block, ...]:
    found, train = made.reference.groups, made.reference.images
    words = (
        f"Training images within a root-mean-square pixel distance of {options.duplicate_threshold:g} (pixels 0 to 1) "
        "of all others in their group (complete linkage)."
    )
    if not found.groups:
        return (blocks.Text((words, "There are none.")),)
    exhibits = tuple(
        blocks.Exhibit(
            tuple(picture(train, int(i), "", train.names[int(i)]) for i in group[:12]),
            f"{len(group):,} images" + (", of which 12 are here" if len(group) > 12 else ""),
        )
        for group in found.groups[:GROUPS]
    )
    count = sum(map(len, found.groups))
    shown = f"{groups_of(len(found.groups))} with {count:,} images, the largest first"
    if len(found.groups) > GROUPS:
        shown += f"; the first {GROUPS} are here"
    return (blocks.Text((words,)), blocks.Gallery(exhibits, shown, shown=12))


def groups_of(count: int) -> str:
    """A number of groups in words."""
    return f"{count:,} group{'s' if count != 1 else ''}"


def _classes(made: Audit) -> tuple[blocks.Section, ...]:
    """Per class of the nearest training image: how many samples, how many copies."""
    from unrote.measure.estimate import wilson

    train = made.reference.images
    if train.labels is None:
        return ()
    nearest = classes_of(train, made.distances.nearest)
    inside = classes_of(train, torch.arange(len(train)))
    copied = made.findings.main.copied.tolist()
    rows = []
    for name in sorted({c for c in inside if c is not None}):
        mine = [c for c, of in zip(copied, nearest, strict=True) if of == name]
        rows.append(
            (name, inside.count(name), len(mine), sum(mine), wilson(sum(mine), len(mine)) if mine else None)
        )
    columns = (
        blocks.Column("class"),
        blocks.Column("training images"),
        blocks.Column("samples nearest to it"),
        blocks.Column("copies"),
        blocks.Column("copy ratio", ratio),
    )
    table = blocks.Table(columns, tuple(rows), "Copies by the class of the nearest training image")
    return (blocks.Section("Classes", (table,)),)


def _table(made: Audit) -> blocks.Block:
    d: Distances = made.distances
    train = made.reference.images
    chosen: Tensor = torch.argsort(d.ratio, stable=True)[:LISTED]
    p_value = made.findings.p_value
    columns = [
        blocks.Column("sample"),
        blocks.Column("copy"),
        blocks.Column("ratio", fixed(3)),
        blocks.Column("nearest training image"),
        blocks.Column("distance", fixed(2)),
        blocks.Column("to the second", fixed(2)),
    ]
    columns += [] if p_value is None else [blocks.Column("p-value", fixed(4))]
    rows = []
    for i in chosen.tolist():
        row = [
            made.names[i],
            bool(made.findings.main.copied[i]),
            float(d.ratio[i]),
            train.names[int(d.nearest[i])],
            float(d.d1[i]),
            float(d.d2[i]),
        ]
        rows.append(tuple(row if p_value is None else [*row, float(p_value[i])]))
    more = "" if len(d) <= LISTED else f" ({LISTED:,} of {len(d):,}; samples.parquet has all)"
    caption = f"Samples by ratio{more}"
    return blocks.Table(tuple(columns), tuple(rows), caption, shown=20)


def settings_blocks(content: dict) -> tuple[blocks.Block, ...]:
    """Settings, inputs with their hashes, and versions, as every page shows them."""
    inputs = tuple(
        blocks.Details(
            f"{name}: {said['spec']}",
            (blocks.Facts(tuple((key, str(value)) for key, value in said.items())),),
        )
        for name, said in content["inputs"].items()
        if said is not None
    )
    settings = tuple((key, str(value)) for key, value in content["settings"].items())
    return (
        *inputs,
        blocks.Details("settings", (blocks.Facts((*settings, ("seed", str(content["seed"])))),)),
        blocks.Details("versions", (blocks.Facts(tuple(content["versions"].items())),)),
    )
