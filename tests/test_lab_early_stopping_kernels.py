"""Laws of the kernel experiment: its network, its closed form, and its rules on runs made up for them."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from unrote.lab.claims import FAILED, HELD, PARTLY, UNTESTED, judge
from unrote.lab.early_stopping import kernels, kernels_figures
from unrote.lab.early_stopping.kernels_runs import (
    ON_DIAGONAL,
    Adam,
    Descent,
    begin,
    lazy,
    mean_field,
    points,
    run,
)
from unrote.lab.early_stopping.kernels_settings import configurations, flow, network
from unrote.theory.kernels import relu_ntk

SMALL: dict[str, Any] = {"d": 8, "points": 16, "sigma": 0.3}


def streams(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_gradients_are_those_of_autograd() -> None:
    net = begin(12, 5, lazy, streams())
    x, u = torch.randn(2, 7, 5, generator=streams(1))
    net.out += 0.1 * torch.randn(12, 5, generator=streams(2))
    inner, out = net.gradients(x, u)
    for weight in (net.inner, net.out):
        weight.requires_grad_()
    loss = (net(x) - u).square().sum(1).mean() / 2
    told = torch.autograd.grad(loss, (net.inner, net.out))
    assert torch.allclose(inner, told[0], atol=1e-6) and torch.allclose(out, told[1], atol=1e-6)


def test_the_first_step_moves_both_regimes_by_the_tangent_kernel() -> None:
    d, width = 6, 40_000
    x, u = torch.randn(2, 1, d, generator=streams(1))
    y = torch.randn(3, d, generator=streams(2))
    moved = []
    for regime, rate in ((lazy, 1e-2), (mean_field, 1e-3)):
        net = begin(width, d, regime, streams(3))
        assert float(net(y).abs().max()) < 1e-4  # twins cancel
        Descent(rate)(net, *net.gradients(x, u))
        moved.append(net(y) / rate)
    told = relu_ntk(y, x).float() * u
    for seen in moved:
        assert float((seen - told).norm() / told.norm()) < 0.05


def test_adam_moves_every_weight_by_its_rate_at_first() -> None:
    net = begin(8, 4, lazy, streams())
    before = net.out.clone()
    x, u = torch.randn(2, 9, 4, generator=streams(1))
    Adam(0.01)(net, *net.gradients(x, u))
    step = (net.out - before).abs()
    assert torch.allclose(step[step > 1e-6], torch.tensor(0.01), rtol=1e-2)


def test_the_closed_form_says_when_the_losses_of_a_lazy_network_part() -> None:
    wide: dict[str, Any] = {"d": 16, "points": 16, "sigma": 0.2}
    told = run(flow("ntk", 99, decades=5, fresh=128, **wide))["parted"]["0.2"]
    seen = run(network("lazy", 99, rate=0.5, steps=2000, **wide) | {"width": 1024})
    assert seen["parted"]["0.2"] * 0.5 == pytest.approx(told, rel=0.15)
    assert seen["last_step"] < 2000 and seen["training"][0] == pytest.approx(1, abs=0.05)


def test_runs_repeat_and_one_that_is_too_short_is_censored() -> None:
    asked = network("mean field", 99, steps=20, batch=8, **SMALL) | {"width": 64}
    first, again = run(asked), run(asked)
    assert first == again
    assert first["parted"]["0.2"] is None and first["last_step"] == 20


def test_closed_forms_start_at_one_and_hold_the_kernels_scale() -> None:
    for kernel in ("ntk", "features"):
        found = run(flow(kernel, 99, decades=2, **SMALL))
        assert found["training"][0] > 0.7
        assert found["largest"] < 2 * ON_DIAGONAL[kernel]
        assert found["rayleigh"] > 0 and found["predicted"] > 0
    assert torch.equal(points(3, 4, 5, "train"), points(3, 4, 5, "train"))


def made_up(
    exponents: dict[str, float], seeds_differ: float = 0.01, reached: bool = True
) -> list[dict[str, Any]]:
    """Runs of every configuration whose times are powers of what they were asked for."""
    rows = []
    for at, asked in enumerate(configurations("laptop")):
        size = math.prod(asked[key] ** power for key, power in exponents.items() if key in asked)
        jitter = 1 + seeds_differ * math.sin(3 * at)
        time = 1e4 * size * jitter
        steps = time / asked.get("rate", 1.0)
        late = not reached and asked.get("points") == 512
        result = {
            "parted": dict.fromkeys(("0.05", "0.1", "0.2", "0.5"), None if late else steps),
            "learned": dict.fromkeys(("0.1", "0.25", "0.5"), 3 * steps),
            "last_step": steps,
            "rayleigh": math.log(2) / (6 * time),
            "predicted": math.log(2) / (6 * time) / 1.1,
            "times": [1.0, 1e9],
            "steps": [1.0, steps],
            "training": [1.0, 0.9],
            "test": [1.0, 1.1],
        }
        rows.append({"configuration": asked, "result": result})
    return rows


def verdicts(rows: list[dict[str, Any]]) -> dict[str, str]:
    return {c["id"].removeprefix("kernels-"): c["verdict"] for c in judge(kernels.EXPERIMENT, "laptop", rows)}


def test_rules_hold_for_runs_that_keep_the_law_and_fail_for_others() -> None:
    seen = verdicts(made_up({"points": 1.0, "sigma": -1.0, "d": 1.0}))
    assert {name for name, verdict in seen.items() if verdict == HELD} == {
        *(f"{regime}-{part}" for regime in ("lazy", "mean-field") for part in ("points", "noise", "batch")),
        *(f"ntk-{part}" for part in ("rate", "constant", "rate-is-the-time", "halving-noise", "gap-noise")),
        *(f"ntk-{part}" for part in ("dimension", "halving-points", "gap-points")),
        *(f"features-{part}" for part in ("constant", "rate-is-the-time", "dimension")),
        "adam-points",
        "closed-form-0.08945",
        "closed-form-0.1789",
    }
    assert seen["features-rate"] == seen["features-gap-noise"] == seen["features-halving-noise"] == FAILED
    other = verdicts(made_up({"points": 0.8, "sigma": -2.0}))
    assert other["lazy-points"] == PARTLY and other["lazy-noise"] == FAILED
    assert other["features-gap-noise"] == HELD
    other = verdicts(made_up({"batch": 0.2}))
    assert other["lazy-batch"] == other["mean-field-batch"] == other["lazy-noise"] == FAILED


def test_runs_that_never_got_there_count_as_late_and_missing_seeds_decide_nothing() -> None:
    law = {"points": 1.0, "sigma": -1.0}
    rows = made_up(law, reached=False)  # the losses of P = 512 have not parted
    claim = next(c for c in kernels.EXPERIMENT.claims if c.id == "kernels-lazy-points")
    found, verdict = claim.measure(rows)
    assert verdict in (HELD, PARTLY) and found.n == 15 and found.value > 0.98
    (table,) = kernels_figures.censored(rows)
    assert "not reached" in str(table) and len(table.rows) == 10
    drawn = kernels.EXPERIMENT.show([row for row in rows if row["configuration"].get("kernel") == "features"])
    assert [block.heading for block in drawn] == ["Rates of the kernels", "More points, more dimensions"]
    assert set(verdicts(rows[1:]).values()) == {UNTESTED}
    broken = made_up(law)
    for row in broken:
        row["result"]["parted"] = dict.fromkeys(row["result"]["parted"])
    seen = verdicts(broken)
    assert seen["lazy-points"] == seen["closed-form-0.1789"] == FAILED


def test_every_run_is_asked_for_once_and_small_scales_are_small() -> None:
    for scale in ("smoke", "laptop", "paper"):
        asked = [str(sorted(c.items(), key=str)) for c in configurations(scale)]
        assert len(set(asked)) == len(asked)
    assert len(configurations("smoke")) <= 12
    assert {c["width"] for c in configurations("paper") if c["part"] == "network"} == {8192}
