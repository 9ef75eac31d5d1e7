"""Laws of the twins: what is measured of made networks, rules on made runs, and the paper's size for two steps."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from unrote.contracts import Examples
from unrote.denoise.networks import from_description
from unrote.jobs.fitting import LAW, build
from unrote.lab.claims import FAILED, HELD, PARTLY, judge
from unrote.lab.early_stopping import twins
from unrote.lab.early_stopping.twins_rules import (
    Missing,
    apart_at_high,
    best,
    column,
    copying_level,
    crossing,
    first_parted,
    loss_onset,
    onset_by_copies,
    typical,
)
from unrote.lab.early_stopping.twins_runs import (
    FIRST,
    OTHERS,
    PAIRS,
    SECOND,
    Seen,
    alike,
    compared,
    halves_of,
    nearness,
    relative_difference,
    run,
    strips,
    whitening,
)
from unrote.lab.study import as_unit, material
from unrote.lab.wild_middle.gap_runs import read
from unrote.lab.wild_middle.paper import options_of
from unrote.measure.onset import Onset
from unrote.noise.levels import log_levels
from unrote.train.loop import train
from unrote.train.recipe import baseline

DIGITS: dict[str, Any] = {"set": "digits", "class": None, "side": 8, "images": 32, "test": 40}
LEVELS = log_levels(0.05, 20.0, 14).tolist()


def made(
    parts: float = 1.0,
    start: float = 0.0,
    nearly: float = 0.95,
    trace: float = 0.0,
    where: float = 0.5,
    noisy: float = 0.05,
    many: float = 0.1,
) -> list[dict[str, Any]]:
    """Runs whose losses part at step 300 and whose twins part `parts` times as late; copies come at step 900."""
    found = []
    for asked in twins.configurations("laptop"):
        steps, jitter = asked["at"], 1 + 0.01 * asked["seed"]
        more = many if asked["pictures"]["images"] == 2 * twins.MANY else 0.0
        cross = 300 * parts * jitter
        begun = [1.0 + max(0.0, math.log(150 / step)) for step in steps]
        late = [min(1.0, max(0.0, math.log(step / 200) / math.log(12))) for step in steps]
        fall = (0.6 - nearly) / (cross - 200)
        alike_ = [max(0.0, nearly + fall * max(0, step - 200)) + more for step in steps]
        own = [0.6] * len(steps)
        single = {
            "train": begun,
            "validation": [a + max(0.0, step - 250) / 125 for a, step in zip(begun, steps, strict=True)],
            "copies": [256 * min(1.0, max(0.0, step / jitter - 800) / 1000) for step in steps],
            "own": own,
            "other": [0.6 - trace] * len(steps),
            **dict.fromkeys([f"own {share:g}" for share in OTHERS], own),
        }
        difference = [
            [0.5 * x * math.exp(-abs(math.log(level / where))) + noisy for level in LEVELS] for x in late
        ]
        pairs = {
            name: {"similarity": [value + plus for value in alike_], "unrelated": [0.0] * len(steps)}
            | {"difference": difference}
            | dict.fromkeys([f"similarity {share:g}" for share in OTHERS], alike_)
            for name, plus in (("twins", 0.0), ("same start", start), ("same data", 0.3))
            if name == "twins" or len(asked["networks"]) == 3
        }
        result = {
            "steps": steps,
            "levels": LEVELS,
            "fresh": 0.6,
            "fresh_copies": 0.0,
            "networks": dict.fromkeys(asked["networks"], single),
            "pairs": pairs,
            "ending": [[0.1 * (0.3 < level < 0.9) for level in LEVELS]] * 2,
            "zone": 0.5 * jitter,
            "shown": None,
        }
        found.append({"configuration": asked, "result": result})
    return found


def verdicts(rows: list[dict[str, Any]]) -> dict[str, str]:
    return {
        one["id"].removeprefix("twins-"): one["verdict"] for one in judge(twins.EXPERIMENT, "laptop", rows)
    }


def test_twins_as_the_paper_has_them_hold_every_claim() -> None:
    found = verdicts(made())
    by_copies = {f"{name}-parts-at-onset-by-copies" for name in twins.SHORT.values()}
    assert {key for key, verdict in found.items() if verdict != HELD} == by_copies  # three times as late


@pytest.mark.parametrize(
    ("changed", "key", "verdict"),
    [
        ({"nearly": 0.8}, "digits-nearly-identical", PARTLY),
        ({"nearly": 0.55}, "faces-nearly-identical", FAILED),
        ({"nearly": 0.55}, "faces-alike-before", FAILED),
        (
            {"nearly": 0.55},
            "faces-parts-at-onset-by-losses",
            FAILED,
        ),  # never more alike than that: no crossing
        ({"parts": 40.0}, "fashion-parted-after", FAILED),
        ({"parts": 40.0}, "fashion-parts-at-onset-by-losses", FAILED),
        ({"parts": 2.9}, "fashion-parts-at-onset-by-copies", HELD),
        ({"parts": 2.9}, "fashion-parts-at-onset-by-losses", FAILED),
        ({"trace": 0.04}, "digits-no-trace-before", PARTLY),
        ({"trace": 0.1}, "digits-no-trace-before", FAILED),
        ({"where": 5.0}, "digits-part-first-in-the-danger-zone", FAILED),
        ({"where": 5.0}, "digits-part-first-where-copying-is", FAILED),
        ({"noisy": 0.15}, "digits-agree-at-high-noise", PARTLY),
        ({"noisy": 0.25}, "digits-agree-at-high-noise", FAILED),
        ({"start": 0.2}, "digits-start-does-not-matter", FAILED),
        ({"start": 0.4}, "digits-pictures-matter", HELD),
        ({"many": -0.1}, "digits-more-alike-with-more-pictures", FAILED),
        ({"many": -0.1}, "digits-more-alike-at-best-with-more-pictures", FAILED),
    ],
)
def test_a_claim_fails_where_runs_say_otherwise(changed: dict[str, float], key: str, verdict: str) -> None:
    judged = next(one for one in twins.EXPERIMENT.claims if one.id == f"twins-{key}")
    assert judged.measure(made(**changed))[1] == verdict


def test_what_is_missing_weakens_a_verdict_and_breaks_nothing() -> None:
    rows = made()
    rows[0]["result"]["pairs"]["twins"] = rows[0]["result"]["pairs"]["twins"] | {
        "similarity": [None] * len(rows[0]["result"]["steps"])
    }
    name = twins.SHORT[rows[0]["configuration"]["pictures"]["set"]]
    found = verdicts(rows)
    assert found[f"{name}-alike-before"] == PARTLY  # four seeds of five
    assert found[f"{name}-part-first-in-the-danger-zone"] == HELD  # asks for something else
    bare = [
        {**one, "result": one["result"] | {"networks": {}, "pairs": {}, "zone": None, "fresh": None}}
        for one in made()
    ]
    assert set(verdicts(bare).values()) == {FAILED}
    empty = [
        {**one, "result": {"steps": one["result"]["steps"], "levels": [], "networks": {}, "pairs": {}}}
        for one in made()
    ]
    assert set(verdicts(empty).values()) == {FAILED}
    for claim in twins.EXPERIMENT.claims:
        assert claim.measure([])[1] == FAILED
        assert claim.measure(made()[:1])[1] == FAILED  # one seed decides nothing
        assert isinstance(claim.show(claim.measure([])[0]), str)


def test_places_of_a_run() -> None:
    row = made()[0]
    steps = row["result"]["steps"]
    cross = crossing(row)
    assert cross.low <= 300 <= cross.high and cross.value == pytest.approx(300, rel=0.03)
    assert abs(math.log(steps[best(row)] / 150)) < math.log(1.4)
    assert loss_onset(row, FIRST).high < 400
    assert typical(row, onset_by_copies) == pytest.approx(900, rel=0.05)
    assert first_parted(row) == pytest.approx(0.5, rel=0.3)
    assert apart_at_high([row]) < 0.1
    assert copying_level(row) == pytest.approx(0.5, rel=0.1)
    row["result"]["networks"]["second"] = row["result"]["networks"]["second"] | {"copies": [0.0] * len(steps)}
    assert typical(row, onset_by_copies) is None
    with pytest.raises(Missing, match="no networks third"):
        column(made()[1], "networks", "third", "own")


def test_the_relative_difference_of_denoisers() -> None:
    g = torch.Generator().manual_seed(0)
    x = torch.randn(50, 1, 8, 8, generator=g)
    errors = torch.randn(2, 3, 50, 1, 8, 8, generator=g)
    a, b = x + errors[0], x + errors[1]
    assert torch.equal(relative_difference(a, a, x), torch.zeros(3).double())
    assert torch.allclose(
        relative_difference(a, b, x), torch.ones(3).double(), atol=0.06
    )  # nothing in common
    assert torch.allclose(relative_difference(a, 2 * x - a, x), torch.full((3,), 2.0).double())  # opposite
    both = x + (errors[0] + errors[1]) / math.sqrt(2)  # half of the squared error in common
    assert torch.allclose(
        relative_difference(a, both, x), torch.full((3,), 1 - math.sqrt(0.5)).double(), atol=0.06
    )
    assert torch.allclose(relative_difference(a, b, x), relative_difference(b, a, x))


def test_similarities_of_made_samples() -> None:
    halves = halves_of(material(DIGITS, 0))
    white = whitening(DIGITS)
    assert list(white) == [0.95, *OTHERS]
    one, other = halves.parts
    assert not any(torch.equal(a, b) for a in one for b in other)
    assert nearness(one, one, white[0.95]) == pytest.approx(1)  # copies
    assert nearness(one, other, white[0.95]) < 0.9
    assert nearness(halves.test, one, white[0.95]) < nearness(
        halves.test, torch.cat([one, other]), white[0.95]
    )
    outputs = halves.test.expand(14, -1, -1, -1, -1)
    same, apart = Seen(one, outputs), Seen(one.roll(3, 0), outputs + 0.1)
    found = compared(same, same, halves, white)
    assert found["similarity"] == pytest.approx(1) and abs(found["unrelated"]) < 0.3
    assert found["difference"] != found["difference"] or not any(
        found["difference"][:0]
    )  # 0/0 without an error
    found = compared(apart, same, halves, white)
    assert abs(found["similarity"]) < 0.3
    assert found["difference"] == pytest.approx([1.0] * 14)  # one of both has all the error
    assert alike(one, one, white[0.8]) == pytest.approx(1)
    assert white[0.99](one).shape[1] > white[0.8](one).shape[1]


def test_strips_show_the_nearest_picture_of_the_own_half() -> None:
    halves = halves_of(material(DIGITS, 0))
    white = whitening(DIGITS)[0.95]
    kept = [{FIRST: halves.parts[0][:3], SECOND: halves.parts[1][2:5]}] * 5
    single = {name: {"validation": [3.0, 1.0, 2.0, 4.0, 5.0]} for name in (FIRST, SECOND)}
    found = strips(kept, [8, 16, 32, 64, 128], single, halves, white)
    assert [one["step"] for one in found["steps"]] == [8, 16, 32, 128]
    assert [one["best"] for one in found["steps"]] == [False, True, False, False]
    rows = found["steps"][0]["rows"]
    for name in (FIRST, SECOND):
        assert rows[name] == rows[f"nearest of {name}"]  # copies are their own neighbours
    back = as_unit(read(rows[SECOND][0], found["shape"])[None])
    assert torch.allclose(back, halves.parts[1][2:3], atol=1 / 127)


def test_an_onset_before_the_first_checkpoint_goes_to_the_level_most_apart() -> None:
    row = made()[0]
    table = [[0.3] * len(LEVELS) for _ in row["result"]["steps"]]
    table[0][4] = 0.4
    row["result"]["pairs"]["twins"] = row["result"]["pairs"]["twins"] | {"difference": table}
    assert first_parted(row) == LEVELS[4]
    row["result"]["pairs"]["twins"] = row["result"]["pairs"]["twins"] | {
        "difference": [[0.1] * len(LEVELS) for _ in table]
    }
    assert first_parted(row) is None
    assert isinstance(crossing(row), Onset)


@pytest.mark.slow
def test_the_smoke_runs_are_paired_judged_and_drawn() -> None:
    rows = [{"configuration": one, "result": run(one)} for one in twins.configurations("smoke")]
    found = rows[0]["result"]
    assert set(found["pairs"]) == set(PAIRS)
    start = found["pairs"]["same start"]["similarity"], found["pairs"]["twins"]["similarity"]
    assert min(start[0][0], start[1][0]) > 0.9  # hardly trained, all make the same of the same noise
    assert max(map(abs, found["pairs"]["twins"]["unrelated"])) < 0.5
    assert rows[1]["result"]["shown"] is None or rows[1]["configuration"]["shown"]
    for claim in twins.EXPERIMENT.claims:
        assert claim.measure(rows)[1] == FAILED
    assert len(twins.EXPERIMENT.show(rows)) == 1
    short = twins.configurations("smoke")[1] | {"at": [8], "samples": 16}
    assert run(short) == run(short)


@pytest.mark.slow
def test_the_papers_network_makes_two_steps() -> None:
    asked = twins.configurations("paper")[0]
    options = options_of(asked["options"])
    assert (asked["pictures"]["images"], asked["at"][-1]) == (2 * 2048, 262_144)
    assert (options.batch_size, options.learning_rate) == (128, 1e-4)
    denoiser = build(from_description(asked["network"]), (3, 32, 32), None, 0)
    x = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1
    recipe = baseline(Examples(x, torch.zeros(4)), LAW, denoiser.weight)
    small = replace(options, batch_size=2, steps=2, tick_every=1, mixed_precision="no", cpu=True)
    ticks = train(denoiser, recipe, torch.Generator().manual_seed(2), small)
    losses = [tick.train_loss for tick in ticks]
    assert len(losses) == 2 and all(map(math.isfinite, losses))
    assert bool(denoiser.state_dict()["network.unet.conv_out.weight"].any())  # it began at zero
