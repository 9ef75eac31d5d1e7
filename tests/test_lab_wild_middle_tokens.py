"""Rules of the danger zone of strings on made-up rows, places of gaps, and small real runs."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

from unrote.contracts import Examples
from unrote.geometry.regimes import Zone
from unrote.lab.claims import FAILED, HELD, PARTLY, judge
from unrote.lab.wild_middle import tokens
from unrote.lab.wild_middle.tokens_figures import show
from unrote.lab.wild_middle.tokens_rules import (
    around_peak,
    at_equal_copies,
    jaccard,
    left,
    measured,
    of,
    turn,
)
from unrote.lab.wild_middle.tokens_runs import LEVELS, PLAIN, TURNS, WAYS, shifted

LEFT = {"zone reject": 0.3, "zone skip": 0.2, "below reject": 0.9, "above reject": 0.8, "images reject": 0.3}


def rows(
    low: float = 0.3, high: float = 0.8, seen: tuple[float, float] = (0.35, 0.8), better: float = 0.1
) -> list[Any]:
    """Runs in which everything happens between two levels, and gaps leave `LEFT` of the copies.

    Args:
        low, high: where the language's weight and coverage are one half.
        seen: where the model knows more than half of its peak.
        better: how much nearer to the exact denoiser a model with a gap is than the stopped baseline.
    """
    made = []
    for asked in tokens.configurations("laptop"):
        steps, n, unit = asked["at"], asked["samples"], 1 + 0.02 * asked["seed"]
        t = LEVELS.tolist()
        middle, width = sum(seen) / 2, seen[1] - seen[0]
        known = [max(0.0, 1 - abs(x - middle) / width) for x in t]
        part = dict.fromkeys(("own", "maximum", "covered", "language"), known)
        result: dict[str, Any] = {
            "geometry": {
                "levels": t,
                **part,
                "half": {"weight": high, "covered": high, "language": low},
                "crossing": high,
                "height": 0.97 * unit if asked["seed"] < 1 else 0.97,
                "danger": [low, high],
                "images": [high - 0.1, high],
            },
            "gap": None if asked["cure"] == PLAIN else [low, high],
            "share": 0.0 if asked["cure"] == PLAIN else high - low,
            "steps": steps,
        }
        full = 0.5 * n * unit
        if asked["cure"] == PLAIN:
            copies = [full * step / steps[-1] for step in steps]
            excess = [2 * c / n for c in copies]
            result["probe"] = {"levels": t, "known": known, "most": known, "model": known, "exact": known} | {
                "heart": known
            }
            result["swap"] = swap(full, n, low, high)
        else:
            copies = [full * LEFT[asked["cure"]] / 2, full * LEFT[asked["cure"]]]
            excess = [2 * c / n - better for c in copies]
        result |= {"copies": copies, "excess": excess, "valid": [n / 2] * len(steps)}
        made.append({"configuration": asked, "result": result})
    return made


def swap(full: float, n: int, low: float, high: float) -> dict[str, Any]:
    def falling(at: float) -> list[list[float]]:
        return [[full * min(1.0, max(0.0, 0.5 - 5 * (t - at))), float(n)] for t in TURNS]

    rising = [[full - one[0], float(n)] for one in falling(high)]
    kept, gone = [0.9 * full, float(n)], [0.02 * full, float(n)]
    return {
        "count": n,
        "turns": list(TURNS),
        "none": [full, float(n)],
        "above": falling(low),
        "below": rising,
        "away": {"low": kept, "zone": gone, "high": kept},
        "into": {"low": gone, "zone": kept, "high": gone},
    }


def verdicts(made: list[Any]) -> dict[str, str]:
    return {one["id"]: one["verdict"] for one in judge(tokens.EXPERIMENT, "laptop", made)}


def test_what_is_made_is_held_and_what_is_made_otherwise_fails() -> None:
    found = verdicts(rows())
    assert set(found.values()) == {HELD}, found
    wide = verdicts(rows(seen=(0.0, 0.2)))
    assert wide["tokens-masked-zone-foretold"] == FAILED
    assert wide["tokens-masked-calm-low"] in {FAILED, PARTLY}
    assert wide["tokens-uniform-calm-high"] == HELD
    assert verdicts(rows(better=-0.1))["tokens-masked-gap-beats-stopping"] == FAILED


def test_swaps_are_judged_against_the_levels_of_the_geometry() -> None:
    made = rows()
    for row in made:
        if "swap" in row["result"]:
            row["result"]["geometry"]["half"] = {"weight": 0.8, "covered": 0.5, "language": 0.42}
            row["result"]["swap"]["into"]["low"] = row["result"]["swap"]["none"]
    found = verdicts(made)
    assert found["tokens-masked-decided-above"] == PARTLY
    assert found["tokens-masked-decided-below"] == FAILED
    assert found["tokens-masked-zone-needed"] == HELD
    assert found["tokens-masked-zone-alone-flips"] == PARTLY


def test_levels_are_read_between_those_that_were_measured() -> None:
    row = of(rows(), "uniform")[2]
    assert turn(row, "above") == pytest.approx(0.3)
    assert turn(row, "below") == pytest.approx(0.8)
    found = measured(row)
    assert found is not None
    assert found == pytest.approx((0.35, 0.8), abs=0.03)
    assert around_peak([0.0, 0.5, 1.0], [0.0, 1.0, 0.0]) == pytest.approx((0.25, 0.75))
    assert around_peak([0.0, 0.5, 1.0], [1.0, 0.8, 0.0]) == pytest.approx((0.0, 0.6875))
    assert around_peak([0.0, 1.0], [-1.0, 0.0]) is None
    assert jaccard([0.0, 0.5], [0.25, 1.0]) == pytest.approx(0.25)
    assert jaccard([0.0, 0.2], [0.5, 1.0]) == 0
    assert jaccard(None, [0.5, 1.0]) is None


def test_copies_are_paired_by_seed_and_the_baseline_is_stopped_at_as_many() -> None:
    made = rows()
    assert left(made, "masked", "zone reject").value == pytest.approx(0.3)
    assert left(made, "masked", "zone reject", "below reject").value == pytest.approx(1 / 3)
    plain = of(made, "masked")[0]
    n = plain["configuration"]["samples"]
    assert at_equal_copies(plain, 0.2 * n, "excess") == pytest.approx(0.4)
    assert at_equal_copies(plain, 0.0, "excess") == pytest.approx(plain["result"]["excess"][0])
    assert at_equal_copies(plain, float(n), "excess") == pytest.approx(plain["result"]["excess"][-1])


def test_rows_without_numbers_fail_and_never_crash() -> None:
    made = copy.deepcopy(rows())
    for row in made:
        seen = row["result"]
        seen["geometry"] |= {"danger": None, "images": None, "crossing": None, "height": None}
        seen["geometry"]["half"] = {"weight": None, "covered": None, "language": None}
        seen["copies"] = [0.0] * len(seen["copies"])
        if "swap" in seen:
            del seen["swap"]["away"], seen["swap"]["into"]
            seen["swap"]["none"] = [0.0, 0.0]
            seen["probe"]["known"] = seen["probe"]["model"] = [0.0] * len(LEVELS)
    found = verdicts(made)
    assert HELD not in found.values(), {k: v for k, v in found.items() if v == HELD}
    assert len(show(made)) > 6


def test_a_gap_beside_the_zone_has_its_share_of_the_law() -> None:
    strings = torch.randint(8, (4, 8), generator=torch.Generator().manual_seed(0))

    zone = Zone(0.2, 0.6)
    for way in WAYS.values():
        recipe = way.recipe(Examples(strings, torch.zeros(4)), 8)
        law = recipe.law(65_535, torch.Generator().manual_seed(1)).double()
        below, inside, above = (
            float(((law > one.low) & (law <= one.high)).double().mean())
            for one in (shifted(zone, recipe, False), zone, shifted(zone, recipe, True))
        )
        assert below == pytest.approx(inside, abs=0.01)
        assert above == pytest.approx(inside, abs=0.01)
        assert shifted(zone, recipe, False).low < zone.low
        assert shifted(zone, recipe, True).high > zone.high
    masked = WAYS["masked"].recipe(Examples(strings, torch.zeros(4)), 8)
    # There is not as much below it: it begins at 0.
    assert shifted(zone, masked, False).low == 0
    assert shifted(zone, masked, False).high == pytest.approx(0.4, abs=0.01)
    assert shifted(Zone(0.3, 0.5), masked, True).low == pytest.approx(0.5, abs=0.01)


def test_paper_scale_builds() -> None:
    asked = tokens.configurations("paper")
    assert len(asked) == 60
    assert asked[0]["shape"]["vocabulary"] == 16


@pytest.mark.slow
@pytest.mark.parametrize("way", tokens.WAYS)
def test_small_runs_measure_what_is_known(way: str) -> None:
    mine = [one for one in tokens.configurations("smoke") if one["way"] == way]
    made = [{"configuration": one, "result": tokens.EXPERIMENT.run(one)} for one in mine]
    plain, zone, above = (row["result"] for row in made)
    assert plain["gap"] is None
    assert zone["gap"] == plain["geometry"]["danger"]
    assert zone["share"] == pytest.approx(above["share"], abs=0.01)
    for known, most in zip(plain["probe"]["known"], plain["probe"]["most"], strict=True):
        assert known <= most + 1e-9
    # By heart, one look at next to no noise gives a copy where a training string is nearest.
    assert plain["probe"]["exact"][0] == 0 <= plain["probe"]["heart"][0]
    assert set(plain["swap"]["away"]) == {"low", "zone", "high"}
    assert len(plain["copies"]) == 8
    assert len(show(made)) > 3
