"""The paper's size: its numbers, networks that build, step, are saved and go on; rules on made runs; the stand-in."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from unrote.contracts import Examples
from unrote.denoise.networks import from_description
from unrote.jobs.fitting import LAW, build
from unrote.lab.ambient import cifar, classes, paper, pictures
from unrote.lab.claims import FAILED, HELD, UNTESTED, judge
from unrote.lab.wild_middle.paper import options_of
from unrote.train.checkpoints import checkpoint_path, save
from unrote.train.interventions import ambient
from unrote.train.loop import Options, train
from unrote.train.recipe import baseline, levels_first


def rows(left: dict[int, float], frechet: float = 19.0) -> list[dict[str, Any]]:
    """Runs in which every level leaves a share of the copies, by number of images."""
    made = []
    for i, asked in enumerate(cifar.configurations("paper")):
        plain, jitter = asked["cure"] == cifar.PLAIN, 1 + 0.01 * (i % 3)
        copies = 0.5 * (1.0 if plain else left[asked["images"]]) * jitter
        values = {"copies": copies, cifar.STRICT: copies, "frechet": 20.0 if plain else frechet}
        made.append({"configuration": asked, "result": {key: [value] for key, value in values.items()}})
    return made


def test_the_numbers_are_the_papers() -> None:
    options = options_of(paper.CIFAR_OPTIONS)
    assert (options.steps, options.batch_size, options.learning_rate) == (30_000, 256, 1e-4)
    told = options_of(paper.CLASSES_OPTIONS)
    assert (told.steps, told.batch_size) == (80_000, 512)
    for made in (options, told):  # half a million images halve an old weight's share
        assert made.ema_decay ** (500_000 / made.batch_size) == pytest.approx(0.5, abs=0.01)
    asked = cifar.configurations("paper")
    assert len(asked) == len(cifar.SIZES) * len(cifar.CURES) * len(cifar.SEEDS)
    assert {(one["images"], cifar.CURES[one["cure"]]) for one in asked} == {
        (n, level) for n in (300, 1000, 3000) for level in (0.0, 0.5, 1.0, 2.0)
    }
    assert max(one["at"][-1] for one in asked) == options.steps
    few, more = classes.FEW, classes.MORE
    assert [n * classes.PAPER["classes"] for n in (few, more)] == [1000, 3000]


def test_below_the_papers_size_nothing_is_decided() -> None:
    for scale in ("smoke", "laptop"):
        assert {one["set"] for one in cifar.configurations(scale)} == {"digits"}
        assert cifar.sets(scale) == ("digits",)
        assert all(one["verdict"] == UNTESTED for one in judge(cifar.EXPERIMENT, scale, ()))


def test_the_claims_of_made_runs() -> None:
    found = judge(cifar.EXPERIMENT, "paper", rows({300: 0.2, 1000: 0.6, 3000: 0.9}))
    assert all(claim["verdict"] == HELD for claim in found)
    worse = judge(cifar.EXPERIMENT, "paper", rows({300: 0.9, 1000: 0.6, 3000: 0.2}, frechet=30.0))
    assert all(claim["verdict"] == FAILED for claim in worse if "equal-quality" in claim["id"])
    assert {claim["verdict"] for claim in worse if "shrinks" in claim["id"]} == {FAILED}


@pytest.mark.slow
def test_the_stand_in_runs_and_is_drawn() -> None:
    made = [{"configuration": one, "result": cifar.run(one)} for one in cifar.configurations("smoke")]
    assert all(len(row["result"]["copies"]) == 2 for row in made)
    assert made[0]["result"]["thresholds"] == made[1]["result"]["thresholds"]
    assert len(cifar.EXPERIMENT.show(made)) == 3


def step(
    asked: dict[str, Any], shape: tuple[int, int, int], options: Options, resume: Path | None = None
) -> Any:
    """One more step of ambient training from nothing, or from a checkpoint."""
    classes_of = asked.get("classes")
    denoiser = build(from_description(asked["network"]), shape, classes_of, 0)
    x = torch.rand(4, *shape, generator=torch.Generator().manual_seed(1)) * 2 - 1
    label = None if classes_of is None else torch.arange(4)
    recipe = baseline(Examples(x, torch.zeros(4), label), LAW, denoiser.weight)
    recipe = ambient(1.0, torch.Generator().manual_seed(3), levels_first)(recipe)
    return list(train(denoiser, recipe, torch.Generator().manual_seed(2), options, resume))[-1].state


@pytest.mark.slow
@pytest.mark.parametrize(
    ("asked", "shape"),
    [(cifar.PAPER, (3, 32, 32)), (classes.PAPER, (3, 32, 32)), (pictures.PAPER, (1, 28, 28))],
    ids=["cifar", "classes", "pictures"],
)
def test_a_step_is_made_saved_and_gone_on_from(
    tmp_path: Path, asked: dict[str, Any], shape: tuple[int, int, int]
) -> None:
    whole = replace(
        options_of(asked["options"]),
        batch_size=2,
        steps=2,
        tick_every=1,
        mixed_precision="no",
        cpu=True,
        warmup_steps=0,
    )
    save(step(asked, shape, replace(whole, steps=1)), checkpoint_path(tmp_path, 1))
    resumed = step(asked, shape, whole, checkpoint_path(tmp_path, 1)).ema.state_dict()
    direct = step(asked, shape, whole).ema.state_dict()
    assert all(torch.equal(value, resumed[key]) for key, value in direct.items())
    assert bool(direct["network.unet.conv_out.weight"].any())  # it began at zero
