"""Laws of the variants: exponents and onsets over those of the base in made runs, and that every variant is one."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from unrote.lab.claims import FAILED, HELD, PARTLY, judge
from unrote.lab.early_stopping import variants
from unrote.lab.early_stopping.variants_figures import show
from unrote.lab.early_stopping.variants_rules import of_variant, over_base
from unrote.lab.early_stopping.variants_runs import labels
from unrote.lab.study import Material


def rows(slower: dict[str, float] | None = None, power: float = 1.0) -> list[dict[str, Any]]:
    """Losses part at 5 P^power steps and copies come at 20, times what a variant is slower."""
    made = []
    for asked in variants.configurations("laptop"):
        unit = asked["pictures"]["images"] ** power * (1 + 0.01 * asked["seed"])
        unit *= (slower or {}).get(asked["variant"], 1.0)
        steps = [step for step in asked["at"] if step < 60 * unit]
        gap = [0.2 * step / unit for step in steps]
        seen = {"train": [1.0] * len(steps), "validation": [1 + one for one in gap], "gap": gap}
        copies = [256 * min(0.5, max(0.0, step / unit - 10) / 100) for step in steps]
        result = {"steps": steps, "fresh": 0, "raw": seen, "averaged": seen | {"copies": copies}}
        made.append({"configuration": asked, "result": result})
    return made


def verdicts(made: list[dict[str, Any]]) -> dict[str, str]:
    return {one["id"]: one["verdict"] for one in judge(variants.EXPERIMENT, "laptop", made)}


def test_every_variant_changes_one_thing_and_has_its_claims() -> None:
    base = variants.configuration("base", 24, 0, "laptop")
    for name in variants.VARIANTS:
        other = variants.configuration(name, 24, 0, "laptop")
        changed = [key for key in base if key != "variant" and base[key] != other[key]]
        assert len(changed) == (name != "base"), name
    names = set(verdicts(rows()))
    assert len(names) == 2 * len(variants.VARIANTS) + 2 * (len(variants.VARIANTS) - 1)


def test_onsets_over_those_of_the_base() -> None:
    made = rows({"batch-16": 2.0, "decay": 1.1})
    for d in (variants.BY_LOSSES, variants.BY_COPIES):
        assert over_base(made, "batch-16", d).value == pytest.approx(2, rel=0.05)
    found = verdicts(made)
    assert found["variants-batch-16-same-copies"] == FAILED
    assert found["variants-decay-same-copies"] == HELD
    assert found["variants-batch-16-copies"] == HELD  # twice as late at every size is the same law


def test_the_law_of_a_variant_is_judged() -> None:
    assert verdicts(rows())["variants-told-relative"] == HELD
    assert verdicts(rows(power=0.7))["variants-told-relative"] in {FAILED, PARTLY}


def test_runs_that_never_begin_fail_and_are_drawn() -> None:
    made = rows()
    for row in of_variant(made, "dropout"):
        n = len(row["result"]["steps"])
        quiet = {"train": [1.0] * n, "validation": [1.0] * n, "gap": [0.0] * n}
        row["result"] = row["result"] | {"raw": quiet, "averaged": quiet | {"copies": [0.0] * n}}
    found = verdicts(made)
    assert {
        found[f"variants-dropout-{end}"] for end in ("relative", "copies", "same-relative", "same-copies")
    } == {FAILED}
    assert len(show(made)) == 7


def test_samples_are_told_classes_in_the_proportions_of_the_training_pictures() -> None:
    x = torch.zeros(4, 1, 2, 2)
    label = labels(Material(x, x, x, torch.tensor([3, 3, 3, 7]), torch.zeros(4, dtype=torch.int64)), 4000, 0)
    assert set(label.tolist()) == {3, 7}
    assert float((label == 3).double().mean()) == pytest.approx(0.75, abs=0.03)
