"""Pages for tests: one with everything that a page can hold, and with names chosen to break it."""

from __future__ import annotations

import torch

from unrote.contracts import Estimate
from unrote.report import (
    Beside,
    Code,
    Collation,
    Collations,
    Column,
    Details,
    Evidence,
    Exhibit,
    Facts,
    Gallery,
    KeyFigure,
    Notes,
    Page,
    Part,
    Picture,
    Reading,
    Section,
    Table,
    Text,
    Tone,
    Verdict,
    percent,
    plain,
    ratio,
)
from unrote.report.plots import Curve, Interval, Line, bars, curves, histogram

HOSTILE = (
    "<script>alert(1)</script>.png",
    "\"><img src=x onerror='window.hacked=1'>.png",
    "{{ 7 * 7 }} & ` # '.png",
    "عينة\u202egnp.exe",
    "a" * 240 + ".png",
    "caf\udce9.png",
    "bell\x07and\nnewline.png",
    "</title></style></svg>--><b>.png",
)


def picture(seed: int, size: int = 8, channels: int = 1, label: str = "sample", note: str = "") -> Picture:
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (channels, size, size), generator=generator, dtype=torch.uint8)
    return Picture(pixels, label, note)


def exhibit(index: int, name: str) -> Exhibit:
    pictures = tuple(
        picture(3 * index + i, label=label, note=f"train #{index}, d = {index + i / 10:.1f}")
        for i, label in enumerate(("sample", "nearest", "second nearest"))
    )
    return Exhibit(pictures, f"d₁ / d₂ = {index / 100:.2f}", "copy" if index < 40 else "", name)


def class_table() -> Table:
    """Estimates that sort differently as text than as numbers, one of them missing, one only a bound."""
    estimates = (
        Estimate(0.095, 0.05, 0.16, 100),
        None,
        Estimate(0.31, 0.27, 0.35, 512),
        Estimate(0.0, 0.0, 0.0077, 497),
        Estimate(1.0, 0.9, 1.0, 40),
        Estimate(float("nan"), None, None, 0),
        Estimate(0.2, 0.15, 0.26, 200),
    )
    counts = (100, None, 9, 1_000, 20, 3, 10_000)
    rows = tuple(
        (f"class {10 - i}", count, estimate, -0.5 * i)
        for i, (count, estimate) in enumerate(zip(counts, estimates, strict=True))
    )
    columns = (Column("class"), Column("samples"), Column("copy ratio", ratio), Column("shift"))
    return Table(columns, rows, "Copies by class")


def figures() -> tuple:
    values = torch.rand(300, generator=torch.Generator().manual_seed(1)).tolist()
    levels = [0.01 * 2**i for i in range(12)]
    falling = [1 / (1 + level) for level in levels]
    lower, upper = [0.9 * y for y in falling], [min(1.0, 1.1 * y) for y in falling]
    shapes = histogram(
        {"generated": values, HOSTILE[0]: [v**0.5 for v in values]},
        x_label="distance ratio",
        caption="Distance ratios.",
        alt="Two histograms",
        limits=(0, 1),
        lines=(Line(1 / 3, "copy below 1/3"),),
    )
    lines = curves(
        (
            Curve("model", levels, falling, lower, upper),
            Curve(HOSTILE[5], levels[::2], [None, *falling[2::2]]),
        ),
        x_label="noise level",
        y_label="copy ratio",
        caption="Copies by level.",
        alt="Two falling curves",
        log_x=True,
        show_y=percent,
        y_limits=(0, 1),
        intervals=(Interval(0.1, 1.0, "danger zone"),),
    )
    sticks = bars(
        {"generated": Estimate(0.31, 0.27, 0.35, 512), HOSTILE[7]: Estimate(0.0, 0.0, 0.01, 400)},
        x_label="copy ratio",
        caption="Copy ratios.",
        alt="Two bars",
    )
    return shapes, lines, sticks


def texts() -> tuple[Collation, ...]:
    """Eight texts that differ from their source in one character each."""
    letters = "it was a dark and stormy night " * 8
    return tuple(
        Collation(
            (
                Reading("sample", ((letters[:i], False), ("x", True), (letters[i + 1 :], False))),
                Reading(
                    "training text",
                    ((letters[:i], False), (letters[i], True), (letters[i + 1 :], False)),
                    "line 3",
                ),
            ),
            "1 of 248 characters differs",
            "copy" if i < 4 else "",
            HOSTILE[i % len(HOSTILE)],
        )
        for i in range(1, 9)
    )


def full_page(rows: int = 130) -> Page:
    """Every block once, with hostile names wherever a name can stand."""
    names = (*HOSTILE, *(f"sample_{i:04d}.png" for i in range(rows)))[:rows]
    samples = Table(
        (Column("sample"), Column("nearest"), Column("ratio"), Column("copy"), Column("picture")),
        tuple((name, 7 * i % 50, i / 100, i < 40, picture(i)) for i, name in enumerate(names)),
        f"Every sample, from {HOSTILE[0]} on",
    )
    shapes, lines, sticks = figures()
    groups = tuple(
        Exhibit(tuple(picture(100 + i) for i in range(2 + 6 * j)), f"{2 + 6 * j} images") for j in range(3)
    )
    overview = Verdict(
        "31 % of the samples are copies of `train`.",
        Tone.ALARM,
        ("No copies found is no guarantee of privacy.",),
        (
            KeyFigure("copy ratio", Estimate(0.31, 0.27, 0.35, 512)),
            KeyFigure("fresh data", Estimate(0.0, 0.0, 0.0077, 497), note="calibration"),
            KeyFigure("duplicate groups", 7, plain),
        ),
    )
    return Page(
        f"Are these copies? {HOSTILE[1]}",
        overview,
        (
            Section("Ratios", (shapes, sticks)),
            Section(
                "Evidence", (Evidence(tuple(exhibit(i, name) for i, name in enumerate(names)), "Sorted."),)
            ),
            Section("Duplicates", (Notes((HOSTILE[2], "Second.")), Gallery(groups, "Groups."))),
            Section("Texts", (Collations(texts(), "Differences are marked."),)),
            Section("By class", (class_table(),)),
            Section("Levels", (Part("Beside", (Beside((lines, shapes)),)),)),
            Section(HOSTILE[3], (samples,)),
            Section(
                "Settings",
                (
                    Text((f"One `code` and {HOSTILE[0]}.", "A lone ` stays.")),
                    Facts(((HOSTILE[0], HOSTILE[4]), ("seed", 0), ("nothing", None))),
                    Details("How", (Code("unrote audit --train '<x>'"), lines, Evidence((), "Empty."))),
                ),
            ),
        ),
        lead=HOSTILE[7],
        footer=("Made here.",),
    )
