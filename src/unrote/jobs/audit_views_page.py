"""The section 'Quality and other views' of an audit's page: what each measure found, can say and cannot."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from unrote.contracts import Estimate
from unrote.data.pixels import to_bytes
from unrote.jobs.audit_features import Likeness
from unrote.jobs.audit_table import pictures
from unrote.jobs.audit_views import signals
from unrote.jobs.fidelity_parts import NOT_ASKED, SPREAD, Quality, part_of_spread
from unrote.jobs.options import AuditOptions
from unrote.report import blocks, plots
from unrote.report.canvas import Line
from unrote.report.format import Value, number, quantity, ratio

if TYPE_CHECKING:
    from unrote.jobs.auditing import Audit

EXHIBITS = 48
"""Samples on the page that only features call copies."""

AUTHENTICITY = (
    "Authentic: a sample is authentic if it is further from its nearest training image than that image is from its "
    "own nearest neighbour. It needs no threshold. What share is usual depends on the data (of fresh real images "
    "often far more than half), so only the difference from fresh images says something; a model that copies one "
    "image in a hundred does not show in it."
)
FRECHET = (
    "Frechet distance: how far the samples as a whole are from real images, in the mean and covariance of their "
    "features; 0 is best, and the value means something only beside that of real against real images. It says "
    "nothing about single images, and a model that copies everything gets the best value."
)
SPREADS = (
    "Precision: the share of samples that lie among real images; recall: the share of training images that lie "
    "among samples. Density and coverage are their sturdier forms. They measure quality and variety against the "
    "training set; copies count as perfect."
)
COPYING = (
    "Test for data-copying: whether samples lie nearer to the training set than fresh real images do, in cells of "
    "similar images. Above 50 % speaks of copying, below of samples that miss the data. It sees a general pull "
    "towards the training set, also where no single sample is a copy, and misses a few copies among many samples."
)
SIMILARITY = (
    "Similarity in features: the cosine between a sample and its most similar training image. It sees what pixels do "
    "not (crops, recoloured or redrawn parts), and also calls alike what only looks alike to this network. Its "
    "numbers mean nothing under another network or profile; what fresh images and the training images themselves "
    "reach stands beside them."
)


def views_blocks(made: Audit, options: AuditOptions) -> tuple[blocks.Block, ...]:
    """All blocks of the section."""
    views = made.views
    rows = _rows(made)
    table = blocks.Table(
        (
            blocks.Column("measure"),
            blocks.Column("samples"),
            blocks.Column("fresh real images"),
            blocks.Column("what it says of copying"),
        ),
        tuple(rows),
        "Other views; the verdict does not rest on them",
        sortable=False,
    )
    told = [AUTHENTICITY]
    if views.likeness is not None:
        told.append(SIMILARITY)
    if views.quality is not None:
        told += [FRECHET, SPREADS, COPYING]
    else:
        told.append(
            "Quality (Frechet distance, precision, recall, coverage) and the test for data-copying were not asked "
            "for: `--fidelity` measures them in pixels, `--features` in features."
        )
    return (
        table,
        *_agreement(made, options),
        *_map(made),
        blocks.Text(tuple(told)),
        *([] if views.likeness is None else _similarity(made, views.likeness)),
    )


def _agreement(made: Audit, options: AuditOptions) -> tuple[blocks.Block, ...]:
    """Where the views and the verdict say different things."""
    found = signals(made.views, options.confidence)
    if made.findings.alarming:
        silent = [s.name for s in found if s.copying is False]
        if not silent:
            return ()
        words = (
            f"The verdict finds copies and this does not show in: {'; '.join(silent)}. That is no contradiction: "
            "copies that are single images among many others do not move these."
        )
        return (blocks.Text((words,)),)
    louder = tuple(
        f"{s.name} speaks of copying where the verdict does not: it {s.says}. The verdict counts samples that are "
        "much nearer to one training image than to all others; this view may see weaker or other copying, or a "
        "difference between the held-out and the training images. Look at the most suspicious samples."
        for s in found
        if s.copying
    )
    return (blocks.Notes(louder),) if louder else ()


SAYS = {True: "more copying than fresh data", False: "no more than fresh data", None: "not known"}


def _rows(made: Audit) -> list[tuple[Value, ...]]:
    views, confidence = made.views, float(made.content["settings"]["confidence"])
    judged = {s.name: SAYS[s.copying] for s in signals(views, confidence)}
    rows: list[tuple[Value, ...]] = [
        ("authentic", ratio(views.authenticity.share), _or_none(views.fresh), judged["Authenticity"])
    ]
    if views.likeness is not None:
        rule = views.likeness.definition
        words = f"more similar than {views.likeness.scale.threshold:.3g} to a training image"
        rows.append((words, ratio(rule.ratio), _or_none(rule.calibration), judged["Similarity in features"]))
    elif views.likeness_reason is not None and views.likeness_reason != NOT_ASKED:
        rows.append(("similarity in features", views.likeness_reason, "", SAYS[None]))
    return rows if views.quality is None else rows + _quality_rows(views.quality, judged)


def _quality_rows(found: Quality, judged: dict[str, str]) -> list[tuple[Value, ...]]:
    nothing = "does not see copies"
    rows: list[tuple[Value, ...]] = []
    if found.copying is None:
        rows.append(("test for data-copying", found.copying_reason or "", "", ""))
    else:
        shown = (
            f"{ratio(found.copying.closer)}, z = {number(found.copying.z)}, p = {found.copying.p_value:.2g}"
        )
        words = "nearer to the training set than a fresh image (test for data-copying)"
        rows.append((words, shown, "50 %", judged["The test for data-copying"]))
    if found.frechet is None:
        rows.append(("Frechet distance", found.frechet_reason or "", "", nothing))
    else:
        distance, real = found.frechet.generated, found.frechet.baseline
        rows.append(
            (
                f"Frechet distance (n = {found.frechet.n:,} on each side)",
                f"{_short(distance.distance)}; as published {number(distance.at_n)}",
                f"{_short(real.distance)}; as published {number(real.at_n)} ({found.against})",
                nothing,
            )
        )
    if found.spread is None:
        rows.append(("precision, recall", found.spread_reason or "", "", nothing))
        return rows
    for name in SPREAD:
        show = quantity if name == "density" else ratio
        mine, fresh = part_of_spread(found.spread, name), part_of_spread(found.fresh_spread, name)
        rows.append((name, show(mine), "–" if fresh is None else show(fresh), nothing))
    return rows


def _short(found: Estimate) -> str:
    return quantity(found).split(", n = ")[0]


def _or_none(found: Estimate | None) -> str:
    return "not known (--test)" if found is None else ratio(found)


def _map(made: Audit) -> tuple[blocks.Block, ...]:
    """Which features were used, so that the numbers can be compared with others."""
    if made.views.lens is None:
        return ()
    facts = tuple((key, str(value)) for key, value in made.content["results"]["features"].items())
    name = made.views.lens.map.name
    return (blocks.Details(f"features: {name}", (blocks.Facts(facts),)),)


def _similarity(made: Audit, found: Likeness) -> tuple[blocks.Block, ...]:
    """Shares above thresholds, the histogram, and what only features call copies."""
    scale, name = found.scale, made.views.lens.map.name if made.views.lens is not None else ""
    sets = [("samples", found.found), ("training images to each other", scale.own)]
    if scale.fresh is not None:
        sets.insert(1, ("fresh real images", scale.fresh))
    rows: list[tuple[Value, ...]] = [
        (f"share above {threshold:g}", *(ratio(s.above[i][1]).split(", n")[0] for _, s in sets))
        for i, (threshold, _) in enumerate(found.found.above)
    ]
    rows += [
        (f"{100 * share:g}th percentile", *(_short(s.percentiles[i][1]) for _, s in sets))
        for i, (share, _) in enumerate(found.found.percentiles)
    ]
    table = blocks.Table(
        (blocks.Column("cosine similarity"), *(blocks.Column(title) for title, _ in sets)),
        tuple(rows),
        f"Similarity to the most similar training image in features '{name}'",
        sortable=False,
    )
    figure = plots.histogram(
        {title: s.value.tolist() for title, s in sets},
        x_label="cosine similarity to the most similar training image",
        caption=f"A sample right of the line is a copy by this definition ({scale.source}).",
        alt=f"Histogram of the similarities of {len(found.nearest):,} samples",
        lines=(Line(scale.threshold, "copies"),),
    )
    return (table, figure, *_only_here(made, found))


def _only_here(made: Audit, found: Likeness) -> tuple[blocks.Block, ...]:
    """Samples that only features call copies, to be judged by eye."""
    train = made.reference.images
    only = (found.definition.copied & ~made.findings.main.copied).nonzero()[:, 0]
    if not len(only):
        return ()
    order = only[torch.argsort(found.found.value[only], descending=True, stable=True)][:EXHIBITS].tolist()
    read = pictures(made.samples, order)
    rows = []
    for i in order:
        j, mine = int(found.nearest[i]), read[i]
        rows.append(
            blocks.Exhibit(
                (
                    blocks.Picture(to_bytes(mine.pixels[0], mine.value_range), "sample", made.names[i]),
                    blocks.Picture(
                        to_bytes(train.pixels[j], train.value_range), "most similar", train.names[j]
                    ),
                ),
                f"similarity {float(found.found.value[i]):.3f}",
            )
        )
    caption = (
        "Samples that only their features call copies, beside the training image that is most similar: the verdict "
        "does not count them."
    )
    return (blocks.Evidence(tuple(rows), caption, shown=12),)
