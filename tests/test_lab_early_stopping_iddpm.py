"""Improved DDPM in small: rules on made runs, samples that are kept at the stop, a run at smoke scale."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from unrote.lab.claims import FAILED, HELD, PARTLY, UNTESTED, judge
from unrote.lab.early_stopping import iddpm
from unrote.lab.early_stopping.iddpm_rules import definitions, exceeds, lowest, onset_of, parted, within
from unrote.lab.early_stopping.iddpm_runs import HYBRID, SIMPLE, begun, drawn, keep
from unrote.lab.ratios import geometric
from unrote.lab.study import Material, as_unit, material


def rows(power: float = 1.0, best: float = 12.0, later: float = 1.3) -> list[dict[str, Any]]:
    """Runs whose losses part from 3 P^power steps on, copied from 14 a picture on, best at so many steps a picture."""
    made = []
    for asked in iddpm.configurations("laptop"):
        size, steps = asked["pictures"]["images"], asked["at"]
        unit = size**power * 128 ** (1 - power) * (1 + 0.02 * asked["seed"])
        apart = [max(0.0, step / unit - 3) / 10 for step in steps]
        worse = [1 + abs(step / size / best - 1) for step in steps]
        worse[-1] *= later
        seen = {
            "train": [0.2] * len(steps),
            "validation": [0.2 + 0.2 * gap + 0.05 / step for gap, step in zip(apart, steps, strict=True)],
            "gap": apart,
            "gap_low": [0.9 * gap for gap in apart],
            "copies": [256 * min(0.8, max(0.0, step / unit - 14) / 20) for step in steps],
            "frechet": worse,
        }
        result = {"steps": steps, "fresh": 1, "raw": seen, "averaged": seen, "album": None}
        made.append({"configuration": asked, "result": result})
    return made


def verdicts(made: list[dict[str, Any]]) -> dict[str, str]:
    return {one["id"]: one["verdict"] for one in judge(iddpm.EXPERIMENT, "laptop", made)}


def test_runs_in_which_all_goes_as_in_the_paper_hold() -> None:
    found = verdicts(rows())
    wanted = ("parts-first", "turns-first", "stopped-clean", "best-at-copies", "gets-worse")
    judged = {
        f"{short}-{word}": found[f"iddpm-{short}-{word}"] for short in iddpm.SHORT.values() for word in wanted
    }
    assert judged == dict.fromkeys(judged, HELD)
    assert found["iddpm-digits-gap-0.1-averaged"] == HELD
    assert found["iddpm-fashion-copies-0.1-raw"] == HELD


def test_each_rule_can_fail() -> None:
    assert verdicts(rows(power=0.5))["iddpm-digits-copies-0.1-averaged"] == FAILED
    worse = verdicts(rows(best=28.0, later=0.1))
    for word in ("best-at-gap", "gets-worse", "stopped-best"):
        assert worse[f"iddpm-digits-{word}"] == FAILED
    early = rows()
    for row in early:  # copies before anything else
        row["result"]["averaged"] = row["result"]["averaged"] | {
            "copies": [200.0] * len(row["result"]["steps"])
        }
    found = verdicts(early)
    assert {found[f"iddpm-fashion-{word}"] for word in ("parts-first", "stopped-clean")} == {FAILED}
    assert found["iddpm-fashion-copies-0.1-averaged"] == FAILED


def test_runs_without_an_onset_are_judged_and_hold_nothing() -> None:
    made = rows()
    for row in made:
        flat = [0.2] * len(row["result"]["steps"])
        seen = row["result"]["averaged"] | {"train": flat, "validation": flat, "copies": [0.0] * len(flat)}
        row["result"] |= {"averaged": seen, "raw": seen}
    found = verdicts(made)
    assert {found[f"iddpm-digits-{d.name}"] for d in definitions("digits")} == {FAILED}
    assert found["iddpm-digits-parts-first"] == FAILED  # both counted as at the last checkpoint


def test_intervals_decide_between_held_and_partly() -> None:
    sure, value, none = geometric([0.5, 0.55]), geometric([0.5, -0.1]), geometric([])
    assert [exceeds(one) for one in (sure, value, none)] == [HELD, PARTLY, FAILED]
    assert [within(one, 2.0) for one in (geometric([0.1, 0.15]), value, none)] == [HELD, PARTLY, FAILED]
    assert within(geometric([1.0, 1.1]), 2.0) == FAILED
    assert exceeds(geometric([0.3])) == PARTLY  # one run has no interval


def test_times_of_a_run() -> None:
    row = rows()[0]
    steps = row["result"]["steps"]
    assert lowest("frechet")(row) == min(steps, key=lambda step: abs(step - 12 * 32))
    flat = row["result"]["averaged"] | {"validation": row["result"]["averaged"]["train"]}
    never = row | {"result": row["result"] | {"averaged": flat}}
    assert onset_of(parted("digits"))(never) == steps[-1]
    apart = flat | {"validation": [1.0] * len(steps)}
    assert onset_of(parted("digits"))(row | {"result": row["result"] | {"averaged": apart}}) == steps[0]


def test_samples_are_kept_at_the_last_clean_checkpoint_and_at_the_end() -> None:
    g = torch.Generator().manual_seed(0)
    blocks = torch.randint(256, (4, 8, 1, 2, 2), generator=g, dtype=torch.uint8)
    train = as_unit(blocks[0])
    made, album = Material(train, train, train), {}
    told = ((0.2, 0.1), (0.9, 0.7), (1.5, 1.1), (0.8, 0.6))
    for block, (gap, low) in zip(blocks, told, strict=True):
        keep(album, {"gap": gap, "gap_low": low}, as_unit(block), made, 3)
    written = [["".join(f"{v:02x}" for v in one.flatten().tolist()) for one in block[:3]] for block in blocks]
    assert album["stop"]["samples"] == written[1] and album["end"]["samples"] == written[3]


@pytest.mark.parametrize(("name", "objective"), [("simple", SIMPLE), ("hybrid", HYBRID)])
def test_samples_of_both_objectives_are_pictures_and_do_not_know_their_number(name, objective) -> None:
    asked = iddpm.configurations("smoke")[0] | {"objective": name}
    made = material(asked["pictures"], 0)
    trained, recipe = begun(asked, made)
    trained.eval()
    few = drawn(trained, asked, (1, 8, 8), 2)
    torch.testing.assert_close(drawn(trained, asked, (1, 8, 8), 5)[:2], few)
    assert few.shape == (2, 1, 8, 8) and float(few.abs().max()) <= 1
    x, sigma = made.test[:3], recipe.law(3, torch.Generator().manual_seed(0))
    assert objective.mean(trained)(x, sigma).shape == x.shape
    torch.testing.assert_close(recipe.weight(sigma), sigma**-2)


@pytest.mark.slow
def test_it_runs_at_smoke_scale_is_drawn_and_decides_nothing() -> None:
    made = [{"configuration": one, "result": iddpm.run(one)} for one in iddpm.configurations("smoke")]
    found = judge(iddpm.EXPERIMENT, "smoke", made)
    assert {one["verdict"] for one in found} == {UNTESTED}
    assert len(iddpm.EXPERIMENT.show(made)) == 8
    for claim in (one for one in iddpm.EXPERIMENT.claims if "digits" in one.id):
        claim.measure(made)  # no claim trips over few runs
    assert len(iddpm.EXPERIMENT.show(rows())) == 16  # made runs keep no samples
