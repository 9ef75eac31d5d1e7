"""Levels and swaps of pairs: rules on made-up runs, windows that part the schedule, and a whole run."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from unrote.denoise.exact import Empirical
from unrote.geometry.regimes import Zone
from unrote.jobs import ReproduceOptions
from unrote.lab import runs
from unrote.lab.claims import FAILED, HELD, PARTLY, UNTESTED
from unrote.lab.study import as_pixels, material
from unrote.lab.wild_middle import levels_claims, pairs, swap
from unrote.lab.wild_middle.levels import EXPERIMENT
from unrote.noise.levels import edm_levels
from unrote.sample.windows import Window, all_windows

SIGMA = [0.02, 0.04, 0.5, 0.7, 8.0, 15.0, 30.0]


def row(seed: int, **changed: Any) -> dict[str, Any]:
    """A run in which everything that the paper says is true; `changed` replaces parts by their path."""
    flat = [0.1] * len(SIGMA)
    result: dict[str, Any] = {
        "geometry": {"crossing": 0.7, "danger": [0.65, 0.75], "medium": [0.25, 6.0]},
        "fresh": {"few": 0.0, "many": 0.01},
        "levels": {
            "sigma": SIGMA,
            "few": {"copies": [0.0, 0.0, 0.1, 0.08, 0.0, 0.0, 0.0], "train_error": flat, "test_error": flat},
            "many": {"copies": [0.0] * 7, "train_error": flat, "test_error": flat},
            "own": {"copies": [0.01] * 7, "train_error": flat, "test_error": flat},
            "optimum": {
                "copies": [1.0, 1.0, 0.9, 0.5, 0.0, 0.0, 0.0],
                "train_error": [0.0, 0.0, 0.0, 0.01, 0.1, 0.1, 9.0],  # beyond the highest level that counts
                "test_error": [0.3, 0.3, 0.3, 0.3, 0.1, 0.1, 0.1],
            },
        },
    }
    kept, gone = {"copies": 256, "distance": {"value": 5.0}}, {"copies": 4, "distance": {"value": 2.0}}
    windows = {name: {p: list(w) for p, w in parts.items()} for name, parts in pairs.PAPER_WINDOWS.items()}
    away = dict.fromkeys(("0-6", "14-17", "0-5", "13-17", "none"), kept) | {"7-13": gone, "6-12": gone}
    into = dict.fromkeys(("0-6", "14-17", "0-5", "13-17", "none"), gone) | {"7-13": kept, "6-12": kept}
    result["swap"] = {"count": 512, "windows": windows, "away": away, "into": into}
    crossing = Window(9, 11)  # 1.92 down to 0.30
    held = [w.first <= crossing.first and w.last >= crossing.last for w in all_windows(18)]
    result["map"] = {
        "count": 256,
        "away": {"none": [200, None]}
        | {
            pairs.window_key(w): [5 if good else 150, None]
            for w, good in zip(all_windows(18), held, strict=True)
        },
    }
    for path, value in changed.items():
        at = result
        *way, last = path.split("/")
        for part in way:
            at = at[part]
        at[last] = value
    return {"configuration": {"name": "unet", "seed": seed}, "result": result}


def verdict(judged: Any, **changed: Any) -> str:
    said: str = judged([row(seed, **changed) for seed in range(5)])[1]
    return said


def test_everything_the_paper_says_is_held_where_it_is_true() -> None:
    for claim in EXPERIMENT.claims:
        if claim.id.endswith("-unet") and "regimes" not in claim.id:
            assert claim.measure([row(seed) for seed in range(5)])[1] == HELD, claim.id


@pytest.mark.parametrize(
    ("judged", "changed", "said"),
    [
        (levels_claims.middle, {"levels/few/copies": [0.03, 0.04, 0.1, 0.08, 0.0, 0.0, 0.0]}, PARTLY),
        (levels_claims.middle, {"levels/few/copies": [0.2, 0.2, 0.1, 0.08, 0.0, 0.0, 0.0]}, FAILED),
        (levels_claims.middle, {"levels/few/copies": [0.0] * 7}, FAILED),
        (levels_claims.middle, {"geometry/medium": [0.6, 6.0]}, FAILED),  # the peak is below
        (levels_claims.optimum_copies, {"levels/optimum/copies": [0.6] * 7}, PARTLY),
        (levels_claims.nowhere, {"levels/own/copies": [0.2] * 7}, FAILED),
        (levels_claims.nowhere, {"levels/many/copies": [0.0, 0.0, 0.1, 0.0, 0.0, 0.0, 0.0]}, FAILED),
        (levels_claims.agree, {"levels/few/test_error": [0.1] * 4 + [0.115] * 3}, PARTLY),
        (levels_claims.agree, {"levels/few/test_error": [0.1] * 4 + [0.3] * 3}, FAILED),
        (levels_claims.generalizes, {"levels/own/train_error": [0.01] * 7}, FAILED),
        (levels_claims.generalizes, {"levels/many/test_error": [0.29] * 7}, FAILED),
        (swap.quality_hinges, {"swap/away/7-13/distance": {"value": 9.0}}, FAILED),
        (swap.shortest_meets_danger, {"geometry/danger": [5.0, 6.0]}, FAILED),
        (swap.shortest_meets_danger, {"geometry/danger": None}, FAILED),
    ],
)
def test_verdicts_fail_where_a_part_is_untrue(judged: Any, changed: dict[str, Any], said: str) -> None:
    assert verdict(judged("unet"), **changed) == said


def test_a_flip_needs_the_middle_in_both_directions_and_calm_ends_for_more() -> None:
    judged = swap.flips("unet", "from 0")
    some = {"copies": 100, "distance": None}
    assert verdict(judged, **{"swap/away/0-6": some}) == PARTLY  # an end matters too
    assert verdict(judged, **{"swap/into/7-13": some}) == FAILED
    assert verdict(judged, **{"swap/away/7-13": some}) == FAILED
    assert verdict(swap.flips("unet", "regimes")) == FAILED  # no regime is known: nothing is swapped


def test_the_shortest_window_is_found_and_its_reach_ends_where_the_next_level_begins() -> None:
    found = swap.shortest(row(0))
    assert found == Window(9, 11)
    levels = edm_levels(18).tolist()
    assert swap.reach(found) == (levels[12], levels[9])
    assert swap.reach(Window(17, 17)) == (0.0, levels[17])
    assert swap.meets(found, [0.2, 0.31]) and not swap.meets(found, [2.0, 3.0])
    # Of the 16 windows of three levels, those that reach .65 to .75 begin at levels 8, 9 and 10.
    assert swap.by_chance(row(0)) == 3 / 16


def test_a_network_that_copies_nothing_has_no_window_that_stops_it() -> None:
    none = row(0, **{"map/away/none": [0, None]})
    assert swap.shortest(none) is None
    assert not swap.meets(None, [0.1, 1.0])


def test_the_papers_windows_part_the_schedule_however_they_are_counted() -> None:
    for parts in pairs.PAPER_WINDOWS.values():
        inside = [i for first, last in parts.values() for i in range(first, last + 1)]
        assert inside == list(range(pairs.STEPS))
    zero, one = (pairs.PAPER_WINDOWS[name]["medium"] for name in ("from 0", "from 1"))
    assert [i + 1 for i in one] == list(zero) == [7, 13]


def test_windows_of_the_regimes_part_the_schedule() -> None:
    parts = pairs.windows_of(Zone(0.27, 5.8))["regimes"].values()
    inside = [i for w in parts if w is not None for i in range(w.first, w.last + 1)]
    assert inside == list(range(pairs.STEPS))
    assert set(pairs.windows_of(None)) == set(pairs.PAPER_WINDOWS)


def test_pictures_survive_being_kept_as_text() -> None:
    x = torch.rand(1, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    assert torch.equal(pairs.unpacked(pairs.packed(x)), as_pixels(x[None])[0])


def test_faces_are_never_kept_as_pictures_and_smoke_needs_no_set() -> None:
    assert pairs.sets("smoke") == ()
    assert pairs.sets("laptop") == ("lfw_faces_32",)
    assert pairs.sets("paper") == ("cifar10",)


def test_swap_is_another_name_for_the_experiment_that_trains_the_pairs() -> None:
    assert runs.named("wild_middle/swap") == [EXPERIMENT]
    assert len({claim.id for claim in EXPERIMENT.claims}) == len(EXPERIMENT.claims)


def test_a_swap_of_all_levels_is_the_other_network_and_sets_without_labels_have_no_distance() -> None:
    made = material(pairs.DIGITS | {"images": 20, "test": 40}, 0)
    pair = pairs.Pair(made, Empirical(made.train), Empirical(made.many), 0)
    told = pairs.swaps(pair, {"all": {"whole": Window(0, pairs.STEPS - 1), "nothing": None}}, 24, None)
    assert told["windows"] == {"all": {"whole": [0, 17], "nothing": None}}
    assert told["away"]["0-17"] == told["into"]["none"]
    assert told["into"]["0-17"] == told["away"]["none"] == {"copies": 24, "distance": None}


@pytest.mark.slow
def test_the_experiment_runs_at_smoke_scale_and_draws_its_page(tmp_path) -> None:
    made = runs.reproduce(ReproduceOptions(experiment="wild_middle/swap", scale="smoke", out=tmp_path / "r"))
    assert {claim["verdict"] for claim in made.claims} == {UNTESTED}
    found = made.content["results"]["runs"][0]["result"]
    told = found["swap"]
    assert set(told["away"]) == set(told["into"])
    assert len(found["map"]["away"]) == 172
    # The same windows in the map and in the table start from the same noise: the fewer are among the more.
    assert found["map"]["away"]["none"][0] <= told["away"]["none"]["copies"]
    page = (tmp_path / "r" / "report.html").read_text()
    for words in ("danger zone", "shortest window", "samples of every swap", "one denoising step"):
        assert words in page
