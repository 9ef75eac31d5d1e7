"""Exact optima: the rules decide what they say, and the samplers do what the claims are about."""

from __future__ import annotations

import pytest
import torch

from unrote.contracts import over
from unrote.lab.ambient import optima
from unrote.lab.claims import FAILED, HELD, PARTLY, UNTESTED, judge
from unrote.noise.levels import edm_levels, end_at_zero
from unrote.sample.steps import heun, trajectory

CONFIGURATIONS = optima.configurations("laptop")
PLACES = len(optima.LEVELS)


def rows(**changes: list[float]) -> list[dict]:
    """Runs as the claims expect them, with some lists replaced at every run."""
    usual = {
        "samples": 300,
        "copies": 300,
        "distinct": 1.0,
        "landing": [1e-4] * PLACES,
        "chi_squared": [1.0] * PLACES,
        "copies_ambient": [300] * PLACES,
        "copies_switch": [300] * PLACES,
        "own": [300] * 5 + [0] * (PLACES - 5),
        "distinct_ambient": [1.0] * PLACES,
        "self_weight": [0.99] * 5 + [0.5] * (PLACES - 5),
        "best_guess": [1.0] * PLACES,
        "smooth_ambient": [0.5] * PLACES,
        "smooth_plain": [0.5] * PLACES,
    }
    found = []
    for configuration in CONFIGURATIONS:
        # Seeds differ a little, so that intervals have a width.
        own = {
            **usual,
            **changes,
            "chi_squared": [c + 0.01 * configuration["seed"] for c in usual["chi_squared"]],
        }
        found.append({"configuration": configuration, "result": own | changes})
    return found


def verdicts(table: list[dict]) -> dict[str, str]:
    return {claim["id"]: claim["verdict"] for claim in judge(optima.EXPERIMENT, "laptop", table)}


def test_exact_optima_that_copy_everywhere_refute_the_conjecture_and_hold_all_else():
    found = verdicts(rows())
    assert found.pop("conjecture-of-4.1-with-exact-optima") == FAILED
    assert set(found.values()) == {HELD}


@pytest.mark.parametrize(
    ("name", "changes", "verdict"),
    [
        ("ambient-optimum-ends-on-noisy-copies", {"landing": [0.02] * PLACES}, FAILED),
        ("ambient-optimum-ends-on-noisy-copies", {"landing": [0.02] + [1e-4] * (PLACES - 1)}, PARTLY),
        ("ambient-optimum-ends-on-all-copies-alike", {"chi_squared": [3.0] * PLACES}, FAILED),
        ("exact-optima-still-copy", {"copies_ambient": [100] * PLACES}, FAILED),
        ("exact-optima-still-copy", {"copies_ambient": [300] * (PLACES - 1) + [200]}, PARTLY),
        ("conjecture-of-4.1-with-exact-optima", {"copies_switch": [300] * (PLACES - 1) + [20]}, HELD),
        ("conjecture-of-4.1-with-exact-optima", {"copies_switch": [240] * PLACES}, PARTLY),
        ("stored-noise-changes-no-average", {"smooth_ambient": [0.4] * PLACES}, FAILED),
        ("concentrated-copies-return-to-their-image", {"own": [200] * PLACES}, FAILED),
        ("concentrated-copies-return-to-their-image", {"own": [300] * 4 + [200] * (PLACES - 4)}, PARTLY),
        ("concentrated-copies-return-to-their-image", {"self_weight": [0.5] * PLACES}, FAILED),
    ],
)
def test_every_rule_can_fail(name, changes, verdict):
    assert verdicts(rows(**changes))[name] == verdict


def test_one_run_less_decides_nothing():
    assert set(verdicts(rows()[:-1]).values()) == {UNTESTED}


def test_the_smooth_flow_is_the_flow_of_the_gaussian_with_the_images_moments(generator):
    pool = torch.randn(40, 1, 2, 2, generator=generator, dtype=torch.float64)
    flat = pool.flatten(1)
    mean, covariance = flat.mean(0), torch.cov(flat.T)

    def denoise(x, sigma, condition=None):
        inner = torch.linalg.inv(covariance + float(sigma[0]) ** 2 * torch.eye(4, dtype=torch.float64))
        return (mean + (x.flatten(1) - mean) @ (covariance @ inner).T).reshape(x.shape)

    level = 0.8
    x = pool[:5] + over(torch.full((5,), level, dtype=torch.float64), pool[:5]) * 0.5
    *_, slow = trajectory(heun, denoise, x, end_at_zero(edm_levels(400, 1e-4, level)))
    torch.testing.assert_close(optima.smooth_flow(pool)(x, level), slow, rtol=0, atol=2e-4)


def test_a_small_run_on_digits_lands_on_copies_and_returns_to_their_images():
    configuration = {"set": "digits", "images": 8, "samples": 20, "levels": [0.2, 1.0], "seed": 7}
    found = optima.run(configuration)
    assert found["copies"] == 20
    assert max(found["landing"]) < optima.NEAR
    assert found["copies_ambient"] == found["copies_switch"] == [20, 20]
    assert found["own"][0] == 20
    assert found["self_weight"][0] > 0.999 > found["self_weight"][1]
    assert optima.run(configuration) == found


def test_figures_and_table_are_drawn_of_whatever_runs_there_are():
    blocks = optima.EXPERIMENT.show(rows())
    assert len(blocks) == 5
    assert len(blocks[-1].rows) == 6 * PLACES
    one = [{**row, "result": row["result"]} for row in rows()[:1]]
    assert len(optima.EXPERIMENT.show(one)) == 3
