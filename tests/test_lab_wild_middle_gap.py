"""Gap experiments: windows of equal share, the paper's gaps mapped, and every verdict rule on runs made up for it."""

from __future__ import annotations

import math

import pytest
import torch

from unrote.geometry.regimes import regimes, share_removed
from unrote.jobs.fitting import LAW
from unrote.lab.claims import FAILED, HELD, PARTLY, UNTESTED, judge
from unrote.lab.study import as_pixels, geometry_of, material, network_of
from unrote.lab.wild_middle import gap, gap_mlp
from unrote.lab.wild_middle.gap_cures import (
    CURES,
    EVERYTHING,
    MUCH,
    PLAIN,
    below,
    highest,
    level_at,
    lowest,
    recommended,
    timesteps,
    zone,
)
from unrote.lab.wild_middle.gap_figures import undominated
from unrote.lab.wild_middle.gap_rules import (
    beyond_stopping,
    falling,
    fewer,
    fewer_than_half_trained,
    lower,
    several_fold,
    stopped,
)
from unrote.lab.wild_middle.gap_runs import pairs, read, weight
from unrote.noise.levels import log_levels

BASE = [0.5, 0.4, 0.6, 0.5, 0.4]


def runs(
    copies: dict[str, list[float]], frechet: dict[str, list[float]] | None = None, share: float = 0.0
) -> list:
    """Runs of 2 checkpoints: copies at the end by remedy and seed, at the first a tenth as many."""
    table = []
    for place, (cure, values) in enumerate(copies.items()):
        for seed, value in enumerate(values):
            far = 20.0 if frechet is None else frechet[cure][seed]
            result = {
                "steps": [500, 1000],
                "copies": [0.1 * value, value],
                "frechet": [2 * far, far],
                "held_out": [1.0, 1.0 + value],
                "share": 0.1 * place + share,
            }
            asked = {"cure": cure, "seed": seed, "samples": 512}
            table.insert(0, {"configuration": asked, "result": result})  # the order of rows does not matter
    return table


def times(share: float) -> list[float]:
    return [share * value for value in BASE]


@pytest.fixture(scope="module")
def geometry():
    """Curves that are straight in log sigma: coverage rises from .02 to 5, the weight falls beside it."""
    sigma = log_levels(0.02, 20.0, 60)
    rise = ((sigma / 0.1).log() / math.log(10)).clamp(0, 1)
    fall = 1 - ((sigma / 1.0).log() / math.log(10)).clamp(0, 1)
    g = torch.Generator().manual_seed(0)
    return regimes(
        sigma, fall[:, None].repeat(1, 8), rise[:, None].repeat(1, 8), count=1000, generator=g, repeats=2
    )


def test_zones_are_where_both_curves_are_high(geometry) -> None:
    for p in (0.8, 0.5, 0.2):
        found = zone(p)(geometry)
        assert found.low == pytest.approx(0.1 * 10**p, rel=0.02)
        assert found.high == pytest.approx(10 ** (1 - p), rel=0.02)


def test_windows_elsewhere_have_the_share_of_the_recommended_gap(geometry) -> None:
    there = recommended(geometry)
    share = share_removed(there, LAW)
    for place in (lowest, highest):
        assert share_removed(place(geometry), LAW) == pytest.approx(share, abs=1e-9)
    room = LAW.probability(0.0, there.low)  # where there is less of the law below the gap, all of it
    assert share_removed(below(geometry), LAW) == pytest.approx(min(share, room), abs=1e-9)
    assert below(geometry).high == there.low
    assert lowest(geometry).low == 0.0
    assert highest(geometry).high == EVERYTHING


def test_the_quantile_is_the_inverse_of_the_law() -> None:
    for share in (0.01, 0.3, 0.5, 0.99):
        assert LAW.probability(0.0, level_at(share)) == pytest.approx(share)
    assert level_at(0.0) == 0.0
    assert level_at(1.0) == EVERYTHING


def test_the_papers_gaps_lie_in_the_zone_as_in_the_papers_window(geometry) -> None:
    wide = zone(0.2)(geometry)
    whole = timesteps(100, 350)(geometry)
    assert (whole.low, whole.high) == pytest.approx((wide.low, wide.high))
    short, middle = timesteps(100, 200)(geometry), timesteps(150, 250)(geometry)
    assert wide.low == pytest.approx(short.low)
    assert short.low < middle.low < short.high < middle.high < wide.high
    # sigma(100) = .342, sigma(350) = 1.591 and sigma(125) = .430 on the linear schedule
    part = math.log(0.430 / 0.342) / math.log(1.591 / 0.342)
    found = timesteps(125, 325)(geometry)
    assert math.log(found.low / wide.low) / math.log(wide.high / wide.low) == pytest.approx(part, abs=2e-3)


def test_several_fold_is_a_third_of_the_paired_geometric_mean() -> None:
    for share, verdict in ((0.3, HELD), (0.6, PARTLY), (1.2, FAILED)):
        found, said = several_fold("gap")(runs({PLAIN: BASE, "gap": times(share)}))
        assert found.value == pytest.approx(share)
        assert said == verdict
    found, said = several_fold("gap")(runs({PLAIN: BASE, "gap": [0.0] * 5}))
    assert (said, 0 < (found.value or 0) < 0.01) == (HELD, True)


def test_a_place_is_better_only_if_the_interval_says_so() -> None:
    assert fewer("a", "b")(runs({"a": times(0.8), "b": BASE}))[1] == HELD
    mixed = [b * f for b, f in zip(BASE, (0.5, 1.6, 0.5, 1.6, 0.9), strict=True)]
    assert fewer("a", "b")(runs({"a": mixed, "b": BASE}))[1] == PARTLY
    assert fewer("a", "b")(runs({"a": times(1.01), "b": BASE}))[1] == FAILED


def test_the_dummy_class_is_judged_at_equally_many_real_rows() -> None:
    judged = fewer_than_half_trained("dummy")
    assert judged(runs({PLAIN: BASE, "dummy": times(0.05)}))[1] == HELD
    assert (
        judged(runs({PLAIN: BASE, "dummy": times(0.2)}))[1] == FAILED
    )  # fewer than the end, more than half way


def test_quality_is_a_paired_difference() -> None:
    better = {PLAIN: [20.0, 30.0, 25.0, 20.0, 30.0], "gap": [18.0, 28.5, 23.0, 18.0, 28.0]}
    found, said = lower("gap", "frechet")(runs({PLAIN: BASE, "gap": BASE}, better))
    assert (said, found.value) == (HELD, pytest.approx(-1.9))
    assert lower("gap", "held_out")(runs({PLAIN: BASE, "gap": times(1.1)}))[1] == FAILED


def test_wider_gaps_must_copy_less_step_by_step() -> None:
    cures = ("narrow", "middle", "wide")
    fall = falling(cures)
    found, said = fall(runs({"narrow": times(0.8), "middle": times(0.4), "wide": times(0.2)}))
    assert (said, found.value) == (HELD, pytest.approx(math.log(0.5) / 0.1))
    assert fall(runs({"narrow": times(0.8), "middle": times(0.85), "wide": times(0.1)}))[1] == PARTLY
    assert fall(runs({"narrow": times(0.3), "middle": times(0.3), "wide": times(0.3)}))[1] == FAILED


def test_stopping_early_is_taken_at_the_nearest_quality_that_is_not_worse() -> None:
    row = {"result": {"frechet": [50.0, 30.0, 20.0, 25.0]}}
    assert stopped(row, 40.0) == 1
    assert stopped(row, 30.0) == 1
    assert stopped(row, 26.0) == 3
    assert stopped(row, 10.0) == 2  # never so good: its best one


def test_a_remedy_beats_stopping_if_it_copies_less_at_equal_quality() -> None:
    same = {PLAIN: [20.0] * 5, "gap": [20.0] * 5}
    worse = {PLAIN: [20.0] * 5, "gap": [41.0] * 5}
    assert beyond_stopping("gap")(runs({PLAIN: BASE, "gap": times(0.5)}, same))[1] == HELD
    assert (
        beyond_stopping("gap")(runs({PLAIN: BASE, "gap": times(0.5)}, worse))[1] == FAILED
    )  # .1 at step 500
    assert beyond_stopping("gap")(runs({PLAIN: BASE, "gap": times(0.05)}, worse))[1] == HELD


def test_the_front_holds_what_nothing_beats() -> None:
    points = [(0.1, 30.0), (0.3, 20.0), (0.3, 25.0), (0.5, 20.0), (0.05, 40.0)]
    assert undominated(points) == [True, True, False, False, True]


@pytest.mark.parametrize("module", [gap, gap_mlp])
def test_every_judged_remedy_is_run_at_every_seed_and_nothing_is_run_twice(module) -> None:
    plan = module.configurations("laptop")
    assert {(c["cure"], c["seed"]) for c in plan} == {(c, s) for c in module.CURES for s in gap.SEEDS}
    assert len(plan) == len(module.CURES) * len(gap.SEEDS)
    assert set(module.CURES) <= set(CURES)
    plain = next(c for c in plan if c["cure"] == PLAIN)
    assert max(plain["at"]) // 2 in plain["at"]
    assert {max(c["at"]) for c in plan} == {module.STEPS}
    assert len({claim.id for claim in module.CLAIMS}) == len(module.CLAIMS)
    table = []
    for asked in plan:
        result = {
            "steps": asked["at"],
            "copies": [0.3] * len(asked["at"]),
            "frechet": [20.0] * len(asked["at"]),
            "held_out": [1.0] * len(asked["at"]),
            "share": 0.1 + 0.01 * module.CURES.index(asked["cure"]),
        }
        table.append({"configuration": asked, "result": result})
    assert {claim["verdict"] for claim in judge(module.EXPERIMENT, "laptop", table)} == {FAILED}
    assert {claim["verdict"] for claim in judge(module.EXPERIMENT, "laptop", table[1:])} == {UNTESTED}


def test_at_paper_scale_networks_build_and_configurations_say_all() -> None:
    for asked in gap.configurations("paper"):
        assert asked["cure"] in CURES
        assert asked["pictures"] is False
        network_of(asked["network"])


def test_the_weight_is_that_of_the_denoiser() -> None:
    sigma = torch.tensor([0.1, 0.5, 3.0])
    assert weight(sigma) == pytest.approx(((sigma**2 + 0.25) / (0.5 * sigma) ** 2).tolist())


def test_pictures_are_read_as_they_were_written() -> None:
    g = torch.Generator().manual_seed(0)
    x, y = torch.rand(3, 1, 4, 4, generator=g) * 2 - 1, torch.rand(5, 1, 4, 4, generator=g) * 2 - 1
    kept = pairs(torch.cat([x, y[:1]]), y)
    assert torch.equal(read(kept["samples"][0], kept["shape"]), as_pixels(x)[0])
    assert torch.equal(read(kept["nearest"][3], kept["shape"]), as_pixels(y)[0])
    assert kept["copies"][3] is True


def test_every_window_is_an_interval_of_the_digits() -> None:
    made = material({**gap.SMALL, "images": 32}, 100)
    found = geometry_of(made, 100)
    for name, cure in CURES.items():
        if cure.window is not None:
            there = cure.window(found)
            assert 0 <= there.low < there.high, name
    assert CURES[MUCH].much
    order = [share_removed(zone(p)(found), LAW) for p in (0.95, 0.8, 0.5, 0.2, 0.05)]
    assert order == sorted(order)


@pytest.mark.slow
def test_a_run_measures_at_every_checkpoint_and_its_remedies_are_paired() -> None:
    few = {c["cure"]: gap.run({**c, "seed": 100}) for c in gap_mlp.configurations("smoke")}
    for found in few.values():
        assert len(found["copies"]) == len(found["frechet"]) == len(found["held_out"]) == len(found["steps"])
        assert len(found["levels"]) == len(found["test_error"])
    assert few[PLAIN]["gap"] is None
    skipped = few["recommended skip"]
    assert skipped["gap"][0] < skipped["gap"][1]
    assert skipped["share"] == pytest.approx(LAW.probability(*skipped["gap"]))
    assert gap.show([{"configuration": c, "result": few[c["cure"]]} for c in gap_mlp.configurations("smoke")])
