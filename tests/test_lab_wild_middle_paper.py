"""Configurations of the paper's size: they build, make a step, are saved, and go on to the same weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from unrote.contracts import Examples
from unrote.denoise.networks import from_description
from unrote.jobs.fitting import LAW, build
from unrote.lab.wild_middle import paper
from unrote.train.checkpoints import checkpoint_path, save
from unrote.train.loop import Options, train
from unrote.train.recipe import baseline

SETTINGS = (("edm", paper.PAIR, 3), ("cars", paper.CARS, 3), ("faces", paper.FACES, 1))


def test_the_settings_are_the_papers_and_train_only_what_they_say() -> None:
    edm, faces = (paper.options_of(asked["options"]) for asked in (paper.CARS, paper.FACES))
    assert (edm.steps, faces.steps, faces.batch_size) == (40_000, 100_000, 512)
    assert (paper.PAIR["images"], paper.CARS["images"], paper.FACES["images"]) == (1000, 2000, 1024)
    for _, asked, _ in SETTINGS:
        assert from_description(asked["network"])


def denoiser_of(asked: dict[str, Any], channels: int) -> torch.nn.Module:
    return build(from_description(asked["network"]), (channels, asked["side"], asked["side"]), None, 0)


@pytest.mark.slow
def test_edms_network_has_the_size_of_ddpm_plus_plus() -> None:
    weights = sum(p.numel() for p in denoiser_of(paper.PAIR, 3).parameters())
    assert 45e6 < weights < 75e6  # DDPM++ has 55.7 million


def step(asked: dict[str, Any], channels: int, options: Options, resume: Path | None = None) -> Any:
    """One more step from nothing, or from a checkpoint."""
    denoiser = denoiser_of(asked, channels)
    x = torch.rand(4, channels, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1
    recipe = baseline(Examples(x, torch.zeros(4)), LAW, denoiser.weight)  # type: ignore[arg-type]
    ticks = list(train(denoiser, recipe, torch.Generator().manual_seed(2), options, resume))
    return ticks[-1].state


@pytest.mark.slow
@pytest.mark.parametrize(("name", "asked", "channels"), [one for one in SETTINGS if one[0] != "cars"])
def test_a_step_is_made_saved_and_gone_on_from(tmp_path, name, asked, channels) -> None:
    whole = replace(
        paper.options_of(asked["options"]),
        batch_size=2,
        steps=2,
        tick_every=1,
        mixed_precision="no",
        cpu=True,
        warmup_steps=0,
    )
    first = step(asked, channels, replace(whole, steps=1))
    save(first, checkpoint_path(tmp_path, 1))
    del first
    resumed = step(asked, channels, whole, checkpoint_path(tmp_path, 1)).ema.state_dict()
    direct = step(asked, channels, whole).ema.state_dict()
    assert all(torch.equal(value, resumed[key]) for key, value in direct.items())
    assert bool(direct["network.unet.conv_out.weight"].any())  # it began at zero
