"""Laws of the phase diagram: lines of made runs, quality before the border, places on the grid."""

from __future__ import annotations

from typing import Any

import pytest

from unrote.lab.claims import FAILED, HELD, PARTLY, judge
from unrote.lab.early_stopping import phase
from unrote.lab.early_stopping.phase_figures import diagram, place_of, route, show, size_at
from unrote.lab.early_stopping.phase_rules import learned, line_of, off_line
from unrote.report.blocks import Figure


def rows(power: float = 1.0, gain: float = 0.5, learning: float = 0.0) -> list[dict[str, Any]]:
    """Losses part at 5 P^power steps, copies come three times as late; samples are good after 150 P^learning steps."""
    made = []
    for asked in phase.configurations("laptop"):
        size = asked["pictures"]["images"]
        unit = size**power * (1 + 0.02 * asked["seed"])
        copies = [512 * min(0.8, max(0.0, step / unit - 14) / 20) for step in asked["at"]]
        kept = next((k + 1 for k, count in enumerate(copies) if count >= 0.4 * 512), len(copies))
        steps = asked["at"][:kept]
        gap = [0.2 * step / unit for step in steps]
        best = 10 * (64 / size) ** gain
        seen = {
            "train": [1.0] * kept,
            "validation": [1 + one for one in gap],
            "gap": gap,
            "gap_low": [0.9 * one for one in gap],
            "copies": copies[:kept],
            "frechet": [best + (30 - best) * (150 * size**learning / step) ** 2 for step in steps],
        }
        result = {"steps": steps, "fresh": 0, "floor": 1.0, "raw": seen, "averaged": seen}
        made.append({"configuration": asked, "result": result})
    return made


def reached_of(made: list[dict[str, Any]]) -> list[list[int]]:
    """Checkpoints that all seeds of a size reached."""
    sizes = {row["configuration"]["pictures"]["images"] for row in made}
    steps = {
        size: [row["result"]["steps"] for row in made if row["configuration"]["pictures"]["images"] == size]
        for size in sizes
    }
    return [min(some, key=len) for some in steps.values()]


def verdicts(made: list[dict[str, Any]]) -> dict[str, str]:
    return {one["id"]: one["verdict"] for one in judge(phase.EXPERIMENT, "laptop", made)}


def test_proportional_borders_hold_and_others_fail() -> None:
    held, other = verdicts(rows()), verdicts(rows(0.7))
    for name in ("relative-1-averaged", "copies-0.05-averaged"):
        assert held[f"phase-border-{name}"] == held[f"phase-foretold-{name}"] == HELD
        assert other[f"phase-border-{name}"] == FAILED
    # (P / 64)^-0.3 around the mean of the sizes beyond 64, and the bend of the line itself
    assert other["phase-foretold-relative-1-averaged"] == FAILED


def test_the_line_goes_through_the_small_sizes() -> None:
    mine = [row for row in rows() if row["configuration"]["seed"] == 0]
    definition = phase.BY_LOSSES[1]
    assert line_of(mine, definition) == pytest.approx(5, rel=0.05)
    assert off_line(mine, definition).value == pytest.approx(1, rel=0.05)


def test_the_time_to_learn_is_met_between_checkpoints() -> None:
    for row in rows():
        assert learned(row).value == pytest.approx(150, rel=0.03)
    assert verdicts(rows())["phase-learning-time"] == HELD
    assert verdicts(rows(learning=0.3))["phase-learning-time"] == FAILED


def test_quality_before_the_border_is_compared() -> None:
    assert verdicts(rows())["phase-window-frechet"] == HELD
    # With a distance that does not depend on P all that is left is the rest of learning.
    assert verdicts(rows(gain=-0.3))["phase-window-frechet"] in {FAILED, PARTLY}


def test_runs_without_any_border_fail_and_are_drawn() -> None:
    made = rows()
    for row in made:
        n = len(row["result"]["steps"])
        flat = {"gap": [0.0] * n, "gap_low": [-0.1] * n, "copies": [0.0] * n, "validation": [1.0] * n}
        row["result"] = row["result"] | {
            "averaged": row["result"]["averaged"] | flat | {"frechet": [99.0] * n}
        }
    found = verdicts(made)
    assert {found[name] for name in found if "border" in name or "foretold" in name} == {FAILED}
    assert found["phase-learning-time"] == FAILED
    assert len(show(made)) == 5


def test_a_line_of_the_diagram_is_where_its_steps_are() -> None:
    steps, top = [32, 64, 128, 256], {64: 0, 32: 1, 16: 2}
    assert place_of(64, steps) == 1 and place_of(181.02, steps) == pytest.approx(2.5, abs=1e-3)
    assert size_at(0, top) == 64 and size_at(2, top) == pytest.approx(16)
    line = route("tau = 2 P", 2.0, 1, steps, top)
    assert line is not None
    for x, y in zip(line.x, line.y, strict=True):
        assert 32 * 2**x == pytest.approx(2 * 64 * 2**-y)
    assert route("never", None, 1, steps, top) is None
    drawn = diagram(rows())
    assert isinstance(drawn, Figure) and drawn.data is not None
    assert len(drawn.data.rows) == sum(len(steps) for steps in reached_of(rows()))
