"""The page of a geometry: where copying is to be expected, the curves, what the levels look like, what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from unrote.data.pixels import UNIT, to_bytes
from unrote.geometry.regimes import Zone
from unrote.jobs.audit_page import groups_of, picture, settings_blocks
from unrote.jobs.geometry_verdict import means, named_levels, recommendation, sentence, shares
from unrote.jobs.options import GeometryOptions
from unrote.jobs.training_page import estimate_curve
from unrote.noise.schedule import units
from unrote.report import blocks, plots
from unrote.report.canvas import Interval, Line
from unrote.report.format import number, percent, plain, quantity

if TYPE_CHECKING:
    from unrote.jobs.surveying import Survey

GROUPS = 100
"""Groups of near-duplicates on the page."""
STRIPS = 3
"""Images that are shown noised."""

RANGE = (
    "sigma is that of x = x0 + sigma z with pixels from -1 to 1, as EDM has them. Every threshold scales with the "
    "pixels: for pixels from 0 to 1 halve it, for 0 to 255 multiply it by 127.5, and for pixels divided by a "
    "standard deviation s (in -1 to 1) divide it by s."
)
NOT_WHETHER = (
    "This is the geometry of the data and of the empirical optimum, computed before anyone trains. It says at which "
    "noise levels a model that learns the training set by rote will do so. Whether it does is a matter of its size "
    "and of how long it trains; `unrote train` watches that, and `unrote probe` shows it level by level."
)


def geometry_page(made: Survey, options: GeometryOptions) -> blocks.Page:
    """The whole page."""
    train = made.ground.reference.images
    sections = [
        blocks.Section("The two curves", (curves_figure(made), blocks.Text(_how_to_read(made)))),
        blocks.Section("What the levels look like", (strip(made, options.seed),)),
        blocks.Section("The levels in every unit", _units(made)),
        blocks.Section("What to do", _what_to_do(made)),
        blocks.Section("Duplicates in the training set", _duplicates(made, options)),
        blocks.Section("Settings and versions", settings_blocks(made.content)),
    ]
    if made.notes:
        sections.insert(0, blocks.Section("Read this first", (blocks.Notes(made.notes),)))
    against = f"held-out images from {made.ground.fresh.spec}" if made.ground.fresh else "each other"
    return blocks.Page(
        title="Geometry of a training set",
        lead=f"{len(train):,} training images from {train.spec}, held against {against}",
        verdict=verdict(made),
        sections=tuple(sections),
        footer=(f"unrote {made.content['versions']['unrote']}",),
    )


def verdict(made: Survey) -> blocks.Verdict:
    """The zone in one sentence, what to run next, and the numbers that carry it."""
    found, figures = made.findings, []
    for name, zone, share in (
        ("danger zone, sigma", found.regimes.danger, found.zone_share),
        ("recommended gap, sigma", found.gap.zone, found.gap_share),
    ):
        if zone is not None:
            note = f"{percent(share)} of EDM's training levels"
            figures.append(blocks.KeyFigure(name, between(zone), plain, note))
    figures.append(
        blocks.KeyFigure("near-duplicates", made.ground.doubled, plain, "training images left out")
    )
    tone = blocks.Tone.NEUTRAL if found.regimes.danger is None else blocks.Tone.CAUTION
    words = recommendation(made.ground, found)
    return blocks.Verdict(sentence(made.ground, found), tone, (words,), tuple(figures))


def between(zone: Zone) -> str:
    """Two levels as a range."""
    return f"{number(zone.low)} to {number(zone.high)}"


def curves_figure(made: Survey) -> blocks.Figure:
    """Posterior weight and coverage over the levels, with zone and gap shaded."""
    found, curves = made.findings, made.curves
    x = curves.levels.tolist()
    alone = curves.left_out is None
    lines = [
        estimate_curve("posterior weight", x, means(curves.weight)),
        estimate_curve("coverage, leaving one out" if alone else "coverage", x, shares(curves.covered)),
    ]
    if curves.left_out is not None:
        lines.append(estimate_curve("coverage, leaving one out", x, shares(curves.left_out)))
    named = (("danger zone", found.regimes.danger), ("recommended gap", found.gap.zone))
    intervals = [Interval(zone.low, zone.high, name) for name, zone in named if zone is not None]
    ends = (
        ("small noise ends", found.regimes.small_below),
        ("large noise begins", found.regimes.large_above),
    )
    marks = [Line(at.value, name) for name, at in ends if at.value is not None]
    return plots.curves(
        lines,
        x_label="noise level sigma",
        y_label="share",
        caption="How much one training image rules the posterior (falling), and how much of fresh data looks like "
        "noised training images (rising), with 95 % intervals. Copying needs both.",
        alt="Posterior weight falls and shell coverage rises with the noise level; the danger zone is where both are "
        "high",
        log_x=True,
        y_limits=(0.0, 1.02),
        show_y=percent,
        lines=marks,
        intervals=intervals,
    )


def _how_to_read(made: Survey) -> tuple[str, ...]:
    found = made.findings.regimes
    fresh = (
        "held-out images"
        if made.ground.test is not None
        else "training images, each held against all others,"
    )
    floor = " above its floor of 1/N" if found.rescaled else ""
    words = [
        "Posterior weight: the largest weight that one training image has in the best possible denoiser of this set, "
        "for training images noised to the level. At 1 the best answer is that image, and nothing else.",
        f"Coverage: the share of {fresh} that, noised to the level, lie in the shell of noise around some training "
        "image. At 1 a network meets such inputs in training, and what it learned by rote it also does on fresh ones.",
    ]
    if found.level is not None and found.level < found.asked:
        words.append(
            f"The curves cross at {percent(found.height.value)}, below {percent(found.asked, 0)}, so the danger zone "
            f"is where both are at least 0.95 of that, {percent(found.level)}."
        )
    if found.small_below.value is not None:
        words.append(
            f"Below sigma = {number(found.small_below.value)} fewer than 1 in 20 noised fresh images look like a "
            "noised training image: what a network learned by rote there is not asked of it while it generates."
        )
    if found.large_above.value is not None:
        words.append(
            f"Above sigma = {number(found.large_above.value)} the likeliest training image holds less than a "
            f"twentieth of the posterior on average{floor}: the best answer is a mean of many images."
        )
    return tuple(words)


def strip(made: Survey, seed: int) -> blocks.Evidence:
    """The same images at calm, dangerous and again calm levels, with the same noise; danger is framed."""
    found, x = made.findings.regimes, made.ground.x
    chosen = [
        ("", "calm: small noise ends", found.small_below.value),
        ("danger", "begins", found.danger_low.value),
        ("danger", "the curves cross", found.crossing.value),
        ("danger", "ends", found.danger_high.value),
        ("", "calm: large noise begins", found.large_above.value),
    ]
    there = [(mark, name, level) for mark, name, level in chosen if level is not None]
    if not there:
        there = [("", "", float(made.levels[i])) for i in (0, len(made.levels) // 2, len(made.levels) - 1)]
    g = torch.Generator().manual_seed(seed)
    rows = torch.randperm(len(x), generator=g)[:STRIPS]
    z = torch.randn(len(rows), *x.shape[1:], generator=g)
    names = [made.ground.reference.images.names[int(made.ground.rows[row])] for row in rows]
    exhibits = tuple(
        blocks.Exhibit(
            tuple(_noised(x[row], z[i], level, names[i]) for i, row in enumerate(rows.tolist())),
            f"{name}{', ' if name else ''}sigma {number(level)}",
            mark,
        )
        for mark, name, level in [("", "without noise", 0.0), *there]
    )
    caption = (
        f"{len(rows)} training images at levels of each regime, each with the same noise throughout; x0 + sigma z is "
        "divided by 1 + 2 sigma to fit the scale."
    )
    return blocks.Evidence(exhibits, caption)


def _noised(x: Tensor, z: Tensor, level: float, name: str) -> blocks.Picture:
    shown = (x + level * z) / (1 + 2 * level)
    return blocks.Picture(to_bytes(shown, UNIT), "", name)


def _units(made: Survey) -> tuple[blocks.Block, ...]:
    columns = (
        blocks.Column("level"),
        blocks.Column("sigma", _without_count),
        blocks.Column("VP time"),
        blocks.Column("alpha-bar"),
        blocks.Column("log-SNR"),
        blocks.Column("DDPM, linear", _rounded),
        blocks.Column("DDPM, cosine", _rounded),
    )
    rows = []
    for name, level in named_levels(made.findings).items():
        u = None if level.value is None else units(level.value)
        rest: tuple[float | None, ...] = (None,) * 5
        if u is not None:
            rest = (u.vp_time, u.alpha_bar, u.log_snr, u.ddpm_linear_timestep, u.ddpm_cosine_timestep)
        rows.append((name, level, *rest))
    caption = (
        "Levels by name, with 95 % intervals from resampled images; DDPM timesteps are those of 0 to 999"
    )
    table = blocks.Table(columns, tuple(rows), caption, sortable=False)
    missing = tuple(dict.fromkeys(made.findings.regimes.reasons.values()))
    out: tuple[blocks.Block, ...] = (table, blocks.Text((RANGE,)))
    return (*out, blocks.Notes(missing, blocks.Tone.NEUTRAL)) if missing else out


def _rounded(value: Any) -> str:
    return f"{value:.0f}" if isinstance(value, float) else plain(value)


def _without_count(value: Any) -> str:
    return quantity(value).split(", n = ")[0]


def _what_to_do(made: Survey) -> tuple[blocks.Block, ...]:
    found, words = made.findings, []
    if made.ground.doubled:
        words.append(
            "Duplicates first: a model copies what it sees twice most readily, and at more levels than the zone. "
            "Remove them, or expect these images to be given back."
        )
    if found.gap_share is not None and found.zone_share is not None:
        words.append(
            f"Gap. {found.gap.why} It holds {percent(found.gap_share)} of EDM's training levels (log sigma normal, "
            f"mean -1.2, standard deviation 1.2), the danger zone alone {percent(found.zone_share)}. "
            "`unrote train --recipe gap --gap LOW HIGH` leaves it out."
        )
    if found.ambient.low.value is not None:
        words.append(
            f"Ambient noise, another remedy. {found.ambient.why} `unrote train --recipe ambient --ambient LEVEL` "
            "does it."
        )
    words.append("Train and look at which levels the model copies:")
    return (blocks.Text(tuple(words)), blocks.Code("\n".join(found.commands)), blocks.Text((NOT_WHETHER,)))


def _duplicates(made: Survey, options: GeometryOptions) -> tuple[blocks.Block, ...]:
    found, train = made.ground.reference.groups, made.ground.reference.images
    words = (
        f"Training images within a root-mean-square pixel distance of {options.duplicate_threshold:g} (pixels 0 to 1) "
        "of all others in their group. Of each group the first image was kept in the curves: one pair more and the "
        "posterior is shared, one pair more and a fresh image is covered."
    )
    if not found.groups:
        return (blocks.Text((words, "There are none.")),)
    exhibits = tuple(
        blocks.Exhibit(
            tuple(picture(train, int(i), "", train.names[int(i)]) for i in group[:12]),
            f"{len(group):,} images",
        )
        for group in found.groups[:GROUPS]
    )
    shown = (
        f"{groups_of(len(found.groups))} with {sum(map(len, found.groups)):,} images, the largest first"
        + (f"; the first {GROUPS} are here" if len(found.groups) > GROUPS else "")
    )
    return (blocks.Text((words,)), blocks.Gallery(exhibits, shown, shown=12))
