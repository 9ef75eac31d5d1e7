"""Laws of the experiments on geometry: thresholds, curves, subsets, verdicts of known numbers."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unrote.contracts import Estimate, InputError
from unrote.geometry.locality import image_spectrum, reach, sensitivity
from unrote.geometry.overlap import Shell
from unrote.geometry.thresholds import neighbour_radii, weight_low
from unrote.lab.claims import FAILED, HELD, PARTLY, at_least, at_most, judge
from unrote.lab.crossover.settings import stream
from unrote.lab.wild_middle import calm, coverage, weight, zone
from unrote.lab.wild_middle.aligned import alignments
from unrote.lab.wild_middle.local import true_reach
from unrote.lab.wild_middle.subsets import setting, subset, to_others
from unrote.lab.wild_middle.thresholds import CHANCE, Weights, broken, remark
from unrote.noise.schedule import linear_alpha_bars, sigma_of_timestep

EXPERIMENTS = (weight.EXPERIMENT, coverage.EXPERIMENT, zone.EXPERIMENT, calm.EXPERIMENT)


def vectors(size: int, dimension: int, seed: int) -> torch.Tensor:
    return torch.randn(size, dimension, generator=torch.Generator().manual_seed(seed))


def test_weights_of_one_point_are_the_softmax() -> None:
    x, z = vectors(30, 7, 0), vectors(50, 7, 1)
    own = Weights(x[3], torch.cat([x[:3], x[4:]]), z)
    for sigma in (0.05, 0.4, 3.0):
        y = (x[3] + sigma * z).double()
        true = torch.softmax(-torch.cdist(y, x.double()).square() / (2 * sigma**2), 1)[:, 3]
        torch.testing.assert_close(own(sigma).double(), true, rtol=1e-4, atol=1e-5)


def test_the_level_where_a_share_fails_is_found_from_both_sides() -> None:
    x, z = vectors(40, 10, 0), vectors(1000, 10, 1)
    own = Weights(x[0], x[1:], z)
    for above, tau in ((False, 0.9), (True, 0.3)):
        at = own.passing(tau, 0.1, above, 0.01, 100.0)
        assert own.failing(at, tau, above) == pytest.approx(100, abs=3)


@settings(max_examples=3, deadline=None)
@given(st.integers(4, 60), st.integers(2, 40), st.integers(0, 10**6))
def test_no_threshold_is_refuted_on_any_data(size: int, dimension: int, seed: int) -> None:
    x = vectors(size, dimension, seed) * (0.2 + torch.rand(size, 1, generator=stream(seed, "scale")))
    if size < 25:  # thresholds of .05 need 1/N below it
        x = torch.cat([x, 3 + vectors(25, dimension, seed + 1)])
    found = remark(x, 1, 500, stream(seed, "remark"))
    assert found["broken"] == []
    for name, forms in found["mean"].items():
        best = forms["free"] if name.startswith("low") else forms["near_mean"]
        assert (best >= forms["paper"]) if name.startswith("low") else (best <= forms["paper"])


@settings(max_examples=5, deadline=None)
@given(st.integers(3, 40), st.integers(2, 30), st.floats(0.55, 0.95), st.integers(0, 10**6))
def test_one_noise_serves_all_lower_levels(size: int, dimension: int, tau: float, seed: int) -> None:
    """The strengthening of Theorem 4.2: the weight stays at tau or more at all lower levels at once."""
    x = vectors(size, dimension, seed)
    distances, _ = neighbour_radii(x[0], x[1:])
    low = weight_low(distances, tau, 0.1)
    own = Weights(x[0], x[1:], vectors(2000, dimension, seed + 1))
    for sigma in (low.paper, low.every, low.free):
        fails = torch.stack([own(float(sigma) * part) < tau for part in (1.0, 0.9, 0.7, 0.4, 0.1)])
        assert not broken(int(fails.any(0).sum()), 2000, 0.1)


def test_a_bound_is_broken_where_chance_is_below_one_in_a_million() -> None:
    from scipy.stats import binom

    limit = int(binom.isf(CHANCE, 1000, 0.05))
    assert broken(limit + 2, 1000, 0.05)
    assert not broken(limit, 1000, 0.05)
    assert not broken(0, 1000, 0.05)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 100_000), st.floats(0.1, 12))
def test_a_shell_holds_what_the_lemma_promises(dimension: int, tail: float) -> None:
    shell = Shell(dimension, tail)
    assert shell.bound <= shell.probability <= 1 + 1e-12
    assert shell.inner < math.sqrt(dimension) < shell.outer


def test_distances_to_the_others() -> None:
    x, rows = vectors(20, 5, 0), torch.tensor([2, 17])
    found = to_others(x, rows)
    for i, row in enumerate(rows.tolist()):
        others = torch.cat([x[:row], x[row + 1 :]]).double()
        torch.testing.assert_close(found[i], (others - x[row].double()).norm(dim=1), rtol=1e-9, atol=1e-9)


def test_subsets_are_disjoint_repeat_and_differ_by_seed() -> None:
    one, again, other = (subset(setting("digits", 300, 200, seed)) for seed in (0, 0, 1))
    assert torch.equal(one.x, again.x)
    assert not torch.equal(one.x, other.x)
    assert float(one.x.min()) >= -1
    assert float(one.x.max()) == 1
    threes = subset(setting("digits", 100, 50, 0, label=3))
    labels = threes.pool.labels
    assert labels is not None
    known = {row.numpy().tobytes() for row in threes.whole()[labels == 3]}
    drawn = {row.numpy().tobytes() for row in (*threes.x, *threes.fresh)}
    assert drawn <= known
    assert len(drawn) == 150
    with pytest.raises(InputError, match="complete set"):
        subset(setting("digits", 1700, 200, 0))


def test_levels_of_known_curves() -> None:
    grid = [1.0, 2.0, 4.0, 8.0]
    assert weight.falls_to(grid, [1.0, 1.0, 0.0, 0.0], 0.5) == pytest.approx(2 * math.sqrt(2))
    assert coverage.rises_to(grid, [0.0, 0.0, 1.0, 1.0], 0.5) == pytest.approx(2 * math.sqrt(2))
    assert weight.height_at(grid, [0.0, 1.0, 0.0, 0.0], math.sqrt(2)) == pytest.approx(0.5)


def test_what_intervals_share() -> None:
    assert zone.shared((0.0, 2.0), (1.0, 3.0)) == pytest.approx((1 / 3, 1 / 2))
    assert zone.shared((1.0, 2.0), (0.0, 4.0)) == pytest.approx((1 / 4, 1))
    assert zone.shared((0.0, 1.0), (2.0, 3.0)) == (0, 0)
    from_zero, from_one = zone.medium(0), zone.medium(1)
    assert [round(math.exp(v), 2) for v in (*from_zero, *from_one)] == [0.14, 5.32, 0.3, 8.4]
    levels = sigma_of_timestep(torch.tensor([125.0, 325.0], dtype=torch.float64), linear_alpha_bars())
    assert zone.timesteps(levels.tolist()) == pytest.approx([125, 325])


def test_the_order_of_a_power_law_is_found() -> None:
    levels = torch.logspace(0, 4, 30, dtype=torch.float64)
    gap = torch.stack([3 * levels**-2.0, 0.1 * levels**-3.0], 1)
    assert calm.orders(levels, gap).tolist() == pytest.approx([2, 3])


def test_at_large_noise_the_sensitivity_is_the_covariance_itself() -> None:
    """Images whose pixels are sums of four neighbours in a plane: nothing is correlated beyond one pixel."""
    g = torch.Generator().manual_seed(0)
    white = torch.randn(4000, 1, 9, 9, generator=g, dtype=torch.float64)
    summed = white[..., 1:, 1:] + white[..., 1:, :-1] + white[..., :-1, 1:] + white[..., :-1, :-1]
    (far,) = true_reach(summed, [50.0])
    assert 1 <= far <= math.sqrt(2) + 1e-9
    assert reach(sensitivity(image_spectrum(summed), 50.0)) <= 2


def test_alignment_holds_on_small_data_and_says_how_surely() -> None:
    found = alignments(3 * vectors(60, 256, 0).reshape(60, 1, 16, 16), 40, stream(0, "alignment"))
    assert list(found) == ["0.6", "0.5", "0.4"]
    for one in found.values():
        assert one["sharp"] >= one["paper"]
        assert one["probability"] >= one["probability_paper"]
        assert not broken(one["far"], one["points"], min(1.0, one["lemma_fails"]))
        assert not broken(one["off"], one["points"], min(1.0, one["corollary_fails"]))


def test_denoisers_of_no_loss_differ() -> None:
    x = vectors(12, 64, 0).double().reshape(12, 1, 8, 8)
    found = calm.undetermined(x, x[:5] + 4, stream(0, "open"))
    assert set(found["losses"].values()) == {0.0}
    assert found["difference"] > 1
    with pytest.raises(InputError, match="the same"):
        calm.undetermined(torch.cat([x, x[:1]]), x[:5], stream(0, "open"))


def test_verdicts_of_intervals() -> None:
    assert [at_most(Estimate(0.0, 0.0, high, 5), 1.0, 2.0) for high in (1.0, 1.5, 3.0)] == [
        HELD,
        PARTLY,
        FAILED,
    ]
    assert [at_least(Estimate(0.0, low, 9.0, 5), 2.0, 1.0) for low in (2.0, 1.5, 0.0)] == [
        HELD,
        PARTLY,
        FAILED,
    ]


def test_the_worse_of_two_sets_is_the_verdict() -> None:
    rows = [
        {
            "configuration": {"set": "cifar10", "label": label, "seed": seed},
            "result": {"n": value + 0.01 * seed},
        }
        for label, value in ((None, 0.1), (1, 3.0))
        for seed in range(5)
    ]
    found, verdict = coverage.worst(rows, lambda one: one["n"], lambda e: at_most(e, 1.0, 2.0))
    assert verdict == FAILED
    assert found.value == pytest.approx(3.02)
    assert coverage.worst(rows[:5], lambda one: one["n"], lambda e: at_most(e, 1.0, 2.0))[1] == HELD


def zones(width: float, height: float) -> list[dict]:
    """Runs with a zone that begins at 2, weights that fall fourfold and coverage that rises twofold."""
    return [
        {
            "configuration": dict(asked),
            "result": {
                "zone": [2.0, 2.0 * width],
                "height": height,
                "falls": {"0.05": 4 * 2.0 * width, "0.95": 2.0 * width},
                "rises": {"0.05": 1.0, "0.95": 2.0},
                "without_noise": [2.1, 1.9 * width],
            },
        }
        for asked in zone.EXPERIMENT.configurations("laptop")
    ]


def test_verdicts_on_zones() -> None:
    def said(rows: list[dict]) -> dict[str, str]:
        return {claim["id"]: claim["verdict"] for claim in judge(zone.EXPERIMENT, "laptop", rows)}

    narrow = said(zones(2.0, 0.99))
    assert narrow["overlap-is-narrow"] == narrow["both-are-high-at-the-crossing"] == HELD
    assert narrow["weight-falls-sharply"] == narrow["coverage-rises-sharply"] == HELD
    assert narrow["zone-in-the-papers-medium-steps"] == narrow["zone-without-noise-is-inside"] == HELD
    assert narrow["zone-of-faces"] == FAILED  # 2 to 4 lies beyond timestep 325
    wide = said(zones(20.0, 0.5))
    assert wide["overlap-is-narrow"] == wide["both-are-high-at-the-crossing"] == FAILED
    assert wide["zone-in-the-papers-medium-steps"] == FAILED


@pytest.mark.parametrize("chosen", EXPERIMENTS, ids=lambda one: one.name)
def test_every_claim_rests_on_five_seeds_or_more(chosen) -> None:
    seeds = {}
    for asked in chosen.configurations("laptop"):
        seeds.setdefault((asked["set"], asked["label"]), set()).add(asked["seed"])
    assert all(len(found) >= 5 for found in seeds.values())


@pytest.mark.slow
@pytest.mark.parametrize("chosen", EXPERIMENTS, ids=lambda one: one.name)
def test_it_runs_on_digits_and_draws(chosen) -> None:
    rows = [{"configuration": dict(c), "result": chosen.run(c)} for c in chosen.configurations("smoke")]
    assert chosen.show(rows)
    assert all(claim["verdict"] == "not tested at this scale" for claim in judge(chosen, "smoke", rows))
