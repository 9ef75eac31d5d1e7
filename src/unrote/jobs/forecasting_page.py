"""The page of a forecast: copies over steps for each image, onsets over the number of images, the pilots in a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from unrote.contracts import Estimate
from unrote.jobs.audit_page import settings_blocks
from unrote.jobs.forecasting_clock import Answer, Clock, growth, number, plainly
from unrote.measure.onset import Onset
from unrote.measure.power_law import over_seeds
from unrote.report import blocks, plots
from unrote.report.canvas import Line
from unrote.report.format import MISSING, Value, percent, quantity

Pilot = tuple[Mapping[str, Any], Mapping[str, Any]]
"""Configuration and result."""
PLACES = 40
"""Points of a drawn law: so many that none is marked as if it had been measured."""
LINES = 6
"""Sizes that are drawn at most."""


def forecast_page(answer: Answer, pilots: Sequence[Pilot], content: Mapping[str, Any]) -> blocks.Page:
    """The whole page."""
    results = content["results"]
    said = answer.copies.said
    assert said is not None
    verdict = blocks.Verdict(
        answer.sentence(),
        blocks.Tone.CAUTION if answer.copies.held_out is None or answer.copies.bends else blocks.Tone.NEUTRAL,
        tuple(line.strip() for line in answer.evidence()),
        (
            blocks.KeyFigure("steps before copying", said, _whole),
            *(
                ()
                if answer.losses.said is None
                else (blocks.KeyFigure("steps before losses part", answer.losses.said, _whole),)
            ),
            blocks.KeyFigure("exponent of the onset", _exponent(answer.copies), quantity),
        ),
    )
    counted = "`unrote train` counts copies on its way."
    run = (
        f"{answer.safe_steps:,} steps are the forecast, which has no interval: more or fewer may be right. {counted}"
        if said.low is None
        else f"{answer.safe_steps:,} steps are the lower end of the interval: a run that ends there has most likely "
        f"fewer than {plainly(answer.share)} copies. {counted}",
    )
    return blocks.Page(
        title="Forecast",
        lead=f"{answer.images:,} images like {content['settings']['train']}, from {len(pilots)} pilots",
        verdict=verdict,
        sections=(
            blocks.Section("How far to trust it", (blocks.Notes(tuple(results["notes"])),)),
            blocks.Section("What to run", (blocks.Text(run), blocks.Code(results["command"]))),
            blocks.Section("Onsets", (onset_figure(answer), law_table(answer))),
            blocks.Section("Pilots", (*curve_figures(answer, pilots), pilot_table(answer, pilots))),
            blocks.Section("How it was made", (blocks.Text(reading(answer)),)),
            blocks.Section("Settings and versions", settings_blocks(dict(content))),
        ),
        footer=(f"unrote {content['versions']['unrote']}",),
    )


def _exponent(clock: Clock) -> Estimate:
    """The exponent of a clock that has a law."""
    assert clock.law is not None
    return clock.law.exponent


def _whole(value: Value) -> str:
    """Steps, three digits, with their interval."""
    if not isinstance(value, Estimate) or value.value is None:
        return MISSING
    if value.low is None or value.high is None:
        return number(value.value)
    return f"{number(value.value)} [{number(value.low)}, {number(value.high)}]"


def onset_figure(answer: Answer) -> blocks.Figure:
    """Onsets over the number of images, with the law out to what was asked about."""
    sizes = sorted(set(answer.copies.sizes))
    low, high = min(sizes[0], answer.images), max(sizes[-1], answer.images)
    grid = [low * (high / low) ** (k / (PLACES - 1)) for k in range(PLACES)]
    lines = []
    for name, clock in (("copies", answer.copies), ("losses part", answer.losses)):
        if clock.law is None:
            continue
        told = [(p, clock.told(p)) for p in grid]
        drawn = [(p, one) for p, one in told if one is not None]
        banded = all(one.low is not None and one.high is not None for _, one in drawn)
        lines.append(
            plots.Curve(
                f"{name}, law",
                [p for p, _ in drawn],
                [one.value for _, one in drawn],
                [one.low for _, one in drawn] if banded else None,
                [one.high for _, one in drawn] if banded else None,
            )
        )
        seen = [(size, over_seeds(_at(clock, size))) for size in sizes]
        known = [(size, one.value) for size, one in seen if one.value is not None]
        lines.append(plots.Curve(f"{name}, pilots", [p for p, _ in known], [tau for _, tau in known]))
    said = answer.copies.said
    assert said is not None
    lines.append(plots.Curve("forecast", [answer.images], [said.value]))
    return plots.curves(
        lines,
        x_label="training images P",
        y_label="step",
        log_x=True,
        log_y=True,
        lines=(Line(float(answer.images), f"your {answer.images:,}"),),
        caption="When copying begins and when losses part, over the number of training images: pilots (means over "
        "those of a size), the fitted law with the 95 % interval of one new run, and the forecast. Averaged weights.",
        alt="Onset over the number of training images on logarithmic axes, with the fitted law.",
    )


def _at(clock: Clock, size: int) -> list[Onset]:
    return [onset for p, onset in zip(clock.sizes, clock.onsets, strict=True) if p == size]


def law_table(answer: Answer) -> blocks.Table:
    """Both laws in numbers, one column for each."""
    clocks = (answer.copies, answer.losses)
    rows = (
        ("exponent b", *(_shown(None if c.law is None else c.law.exponent) for c in clocks)),
        ("a, steps at P = 1", *(_shown(None if c.law is None else c.law.constant) for c in clocks)),
        ("pilots with a known onset", *(f"{len(c.onsets) - c.missing} of {len(c.onsets)}" for c in clocks)),
        (
            "held out: largest size / its forecast",
            *(_shown(None if c.held_out is None else c.held_out.factor) for c in clocks),
        ),
        (f"at {answer.images:,} images", *(_whole(c.said) for c in clocks)),
        ("the same by the two largest sizes alone", *(_whole(c.by_end) for c in clocks)),
        ("the same if b were 1", *(_whole(c.proportional) for c in clocks)),
    )
    columns = (
        blocks.Column(""),
        blocks.Column(f"copies: {plainly(answer.share)} of the samples"),
        blocks.Column(f"losses: a factor {1 + answer.gap:g} apart"),
    )
    return blocks.Table(
        columns, rows, "The law tau = a P^b of both onsets, with 95 % intervals", sortable=False
    )


def _shown(value: Estimate | None) -> str:
    return quantity(value).split(", n = ")[0]


def curve_figures(answer: Answer, pilots: Sequence[Pilot]) -> tuple[blocks.Figure, ...]:
    """Copies, and the gap of the losses, over the steps for each image."""
    shown = [middle_pilot(answer, pilots, size) for size in sorted(set(answer.copies.sizes))[-LINES:]]
    copies, gaps = [], []
    for asked, result in shown:
        name, each = f"P = {asked['images']:,}", [step / asked["images"] for step in result["steps"]]
        copies.append(plots.Curve(name, each, [count / result["samples"] for count in result["copies"]]))
        gap = [v / t - 1 for v, t in zip(result["validation"], result["train"], strict=True)]
        gaps.append(plots.Curve(name, each, gap))
    which = (
        "One pilot of each size, the one with the middle onset; the curves fall together as far as b is 1."
    )
    return (
        plots.curves(
            copies,
            x_label="steps / P",
            y_label="samples that are copies",
            log_x=True,
            y_limits=(0.0, None),
            show_y=percent,
            caption=f"Copies among samples over the steps for each training image. {which}",
            alt="Copy ratio over steps divided by the number of images, one line for each size.",
        ),
        plots.curves(
            gaps,
            x_label="steps / P",
            y_label="relative gap of the losses",
            log_x=True,
            y_limits=(0.0, None),
            show_y=percent,
            caption=f"How far the loss on held-out images is above that on training images, in pairs with the same "
            f"noise. {which}",
            alt="Gap between losses over steps divided by the number of images, one line for each size.",
        ),
    )


def middle_pilot(answer: Answer, pilots: Sequence[Pilot], size: int) -> Pilot:
    """Of the pilots of one size the one whose onset is the middle one."""
    mine = [
        (onset.value or onset.high, pilot)
        for pilot, onset in zip(pilots, answer.copies.onsets, strict=True)
        if pilot[0]["images"] == size
    ]
    return sorted(mine, key=lambda one: one[0])[len(mine) // 2][1]


def pilot_table(answer: Answer, pilots: Sequence[Pilot]) -> blocks.Table:
    """Every pilot in a line."""
    rows = tuple(
        (
            asked["images"],
            asked["number"] + 1,
            by_copies.words,
            by_losses.words,
            result["steps"][-1],
            result["fresh_copies"] / result["fresh"],
        )
        for (asked, result), by_copies, by_losses in zip(
            pilots, answer.copies.onsets, answer.losses.onsets, strict=True
        )
    )
    columns = (
        blocks.Column("images"),
        blocks.Column("pilot"),
        blocks.Column("copies begin"),
        blocks.Column("losses part"),
        blocks.Column("steps trained"),
        blocks.Column("fresh copies", percent),  # type: ignore[arg-type]
    )
    caption = "All pilots; fresh copies are held-out images that the rule for copies calls copies"
    return blocks.Table(columns, rows, caption)


def reading(answer: Answer) -> tuple[str, ...]:
    """How the numbers came about."""
    return (
        "Each pilot is trained plainly on its own random images, weights and noise, with the network and settings that "
        "were asked for, and measured at steps in geometric progression: losses of training and held-out images in "
        "pairs with the same noise, and copies among samples from the same noise. It ends as soon as it has both "
        "onsets, or at its limit; an onset that was not seen counts as a bound.",
        "A copy is a sample three times nearer to one training image than to the next. An onset is interpolated over "
        "the logarithm of the step.",
        f"Onset by copies: {growth(answer.copies)}. The interval of the forecast is for one new run: the uncertainty "
        "of the line and the spread between runs.",
    )
