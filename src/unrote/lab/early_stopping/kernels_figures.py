"""Drawings of the kernel experiment: losses that part, and times over P, level, batch and dimension."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from unrote.lab.claims import Row
from unrote.lab.early_stopping.kernels_rules import Measured, learned, of, parted, rayleigh, typical
from unrote.lab.early_stopping.kernels_settings import (
    by_batch,
    by_dimension,
    by_level,
    by_points,
    flow_by_level,
    flow_by_points,
)
from unrote.measure.onset import Onset, at_step
from unrote.report.blocks import Block, Column, Part, Table
from unrote.report.format import Value, plain, quantity
from unrote.report.plots import Curve, curves

REGIMES = ("lazy", "mean field")
KERNELS = {"ntk": "tangent kernel", "features": "random features"}
MEAN = "Geometric mean over seeds, and the range of all."


def show(rows: Sequence[Row]) -> tuple[Block, ...]:
    """Every figure that the runs at hand allow."""
    return (
        *example(rows),
        *trained(rows),
        *rates(rows),
        *followed(rows),
        *censored(rows),
    )


def example(rows: Sequence[Row]) -> tuple[Block, ...]:
    """Training and test loss of the first seed's lazy networks, over P."""
    lines = []
    there = sorted(of(rows, seed=0, **by_points("lazy")), key=lambda row: row["configuration"]["points"])
    for row in {id(row): row for row in (*there[:1], *there[-1:])}.values():
        asked = row["configuration"]
        for name in ("training", "test"):
            lines.append(Curve(f"{name}, P = {asked['points']}", row["result"]["steps"], row["result"][name]))
    return drawn(
        lines,
        "step",
        "loss / loss at the start",
        "Lazy network, first seed: what noise is left unexplained around training points and around others.",
        "Training and test loss over steps for several numbers of points.",
        log_y=False,
    )


def trained(rows: Sequence[Row]) -> tuple[Block, ...]:
    """tau of trained networks over P, sigma and batch."""
    found: list[Block] = []
    for key, family, label in (
        ("points", by_points, "number of training points P"),
        ("sigma", by_level, "noise level sigma"),
        ("batch", by_batch, "batch size B"),
    ):
        lines = [
            *(over(rows, key, family(regime), parted("0.2"), f"{regime}, gap .2") for regime in REGIMES),
            *(over(rows, key, family(regime), parted("0.1"), f"{regime}, gap .1") for regime in REGIMES),
        ]
        found += drawn(
            lines,
            label,
            "tau, steps",
            f"When the losses of trained networks have parted. {MEAN}",
            f"tau over {label}.",
        )
    return (Part("Trained networks", tuple(found)),) if found else ()


def rates(rows: Sequence[Row]) -> tuple[Block, ...]:
    """The kernels' own Rayleigh quotients and equation (22), and times, over sigma."""
    found: list[Block] = []
    for kernel, words in KERNELS.items():
        family = flow_by_level(kernel)
        lines = [
            over(rows, "sigma", family, rayleigh, "1 / Rayleigh quotient"),
            over(rows, "sigma", family, predicted, "1 / equation (22)"),
            over(rows, "sigma", family, learned("0.5"), "half the training loss"),
            over(rows, "sigma", family, parted("0.2"), "gap .2"),
        ]
        found += drawn(
            lines,
            "noise level sigma",
            "time",
            f"{words.capitalize()}, closed form: the rate of the trial functions against the formula, and when "
            f"losses part and fall. {MEAN}",
            f"Times of the {words} over sigma.",
        )
    return (Part("Rates of the kernels", tuple(found)),) if found else ()


def followed(rows: Sequence[Row]) -> tuple[Block, ...]:
    """Closed forms over P and d."""
    points = [
        over(rows, "points", flow_by_points(), learned("0.5"), "half the training loss"),
        over(rows, "points", flow_by_points(), parted("0.2"), "gap .2"),
        over(rows, "points", flow_by_points(), predicted, "1 / equation (22)"),
    ]
    wide = [
        line
        for kernel, words in KERNELS.items()
        for line in (
            over(rows, "d", by_dimension(kernel), parted("0.2"), f"{words}, gap .2"),
            over(rows, "d", by_dimension(kernel), learned("0.5"), f"{words}, half the loss"),
        )
    ]
    found = [
        *drawn(
            points,
            "number of training points P",
            "time",
            f"Tangent kernel, closed form. {MEAN}",
            "Times over P.",
        ),
        *drawn(wide, "dimension d", "time", f"Closed form at fixed P and level. {MEAN}", "Times over d."),
    ]
    return (Part("More points, more dimensions", tuple(found)),) if found else ()


def predicted(row: Row) -> Onset:
    """1 / lambda by equation (22)."""
    return at_step(1 / row["result"]["predicted"])


def over(
    rows: Sequence[Row], key: str, family: Mapping[str, Any], measured: Measured, name: str
) -> Curve | None:
    """A time over one setting: geometric mean and range; None without two places where all runs got there."""
    mine = of(rows, **family)
    places = sorted({row["configuration"][key] for row in mine})
    found = [
        typical([row for row in mine if row["configuration"][key] == place], measured) for place in places
    ]
    if sum(value is not None for value, _, _ in found) < 2:
        return None
    return Curve(name, places, *([part[i] for part in found] for i in range(3)))


def drawn(
    lines: Sequence[Curve | None], x: str, y: str, caption: str, alt: str, log_y: bool = True
) -> tuple[Block, ...]:
    """A figure of the lines that there are."""
    there = [line for line in lines if line is not None]
    if not there:
        return ()
    return (curves(there, x_label=x, y_label=y, caption=caption, alt=alt, log_x=True, log_y=log_y),)


def censored(rows: Sequence[Row]) -> tuple[Block, ...]:
    """Trainings that ended before their losses had parted."""
    missing: list[tuple[Value, ...]] = []
    for row in of(rows, part="network"):
        asked, result = row["configuration"], row["result"]
        if asked["gap"] > 0 and result["parted"][f"{asked['gap']:g}"] is None:
            missing.append(
                (
                    asked["regime"],
                    asked["points"],
                    asked["sigma"],
                    asked["batch"],
                    asked["seed"],
                    result["last_step"],
                )
            )
    if not missing:
        return ()
    names = ("regime", "P", "sigma", "batch", "seed", "not reached within (steps)")
    columns = tuple(Column(name, quantity if name == "sigma" else plain) for name in names)
    return (
        Table(columns, tuple(missing), "Trainings whose losses had not parted by the gap when they ended."),
    )
