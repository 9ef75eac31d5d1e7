"""A probe beside another model: three sets of curves, a gallery whose rows are what the denoisers return."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from unrote.contracts import InputError
from unrote.data.images import load_images
from unrote.data.pixels import to_unit
from unrote.denoise.exact import Empirical
from unrote.denoise.foreign import Card
from unrote.jobs import ProbeOptions, probe
from unrote.jobs.comparing import read_reference
from unrote.jobs.probe_gallery import gallery_blocks, look
from unrote.noise.levels import edm_levels
from unrote.report.blocks import Details, Picture, Table

pytest_plugins = ("refusals",)

OPTIONS = ProbeOptions(
    model=Path("a"), train="digits@64", test="digits@99:300", points=12, levels=4, device="cpu"
)


def optimum(spec: str) -> Empirical:
    return Empirical(to_unit(load_images(spec).pixels, (0, 255)))


def test_the_other_model_stands_beside_under_its_own_key(place) -> None:
    made = probe(replace(OPTIONS, other=Path("b")), optimum("digits@64"), other=optimum("digits@400:600"))
    results = json.loads(Path("probe/result.json").read_text())["results"]
    assert set(results["other"]) == {"copy_ratio", "train_error", "test_error"}
    assert made.model == made.empirical  # the model that was given is the optimum
    assert made.other is not None
    # At the lowest level each optimum gives back its own training images and no others.
    assert results["copy_ratio"]["value"][-1] == 1
    assert results["other"]["copy_ratio"]["value"][-1] < 0.1
    assert results["train_error"]["value"][-1] < 1e-9 < results["other"]["train_error"]["value"][-1]
    page = Path("probe/report.html").read_text()
    assert "copies, other" in page
    assert "One step to look at" in page
    assert "copies by the other" in made.summary()


def test_another_model_changes_no_number_of_the_first(place) -> None:
    alone = probe(OPTIONS, optimum("digits@100"))
    both = probe(replace(OPTIONS, out=Path("both")), optimum("digits@100"), other=optimum("digits@300:400"))
    assert (alone.model, alone.empirical, alone.other) == (both.model, both.empirical, None)
    assert "other" not in alone.content["results"]


def test_the_gallery_spans_the_schedule_with_one_noise() -> None:
    reference = read_reference("digits@64", 0.08, None, None, 2**29)
    test = to_unit(load_images("digits@99:300").pixels, (0, 255))
    levels = edm_levels(18)
    identity = {"model": (lambda x, sigma, condition=None: x, None), "optimum": (optimum("digits@64"), None)}
    made = look(identity, test, reference, levels, seed=3)
    assert (float(made.levels[0]), float(made.levels[-1]), len(made.levels)) == (80.0, 0.002, 6)
    z = (made.noised - made.clean) / made.levels[:, None, None, None, None]
    torch.testing.assert_close(z, z[:1].expand_as(z), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(
        made.outcomes["model"].denoised, made.noised
    )  # what is drawn is what was denoised
    last = made.outcomes["optimum"]
    train = to_unit(reference.images.pixels, (0, 255))
    torch.testing.assert_close(last.denoised[-1], train[last.nearest[-1]])
    assert bool(last.copied[-1].all())


def test_the_gallery_is_a_table_for_each_image() -> None:
    reference = read_reference("digits@64", 0.08, None, None, 2**29)
    test = to_unit(load_images("digits@99:102").pixels, (0, 255))
    best = optimum("digits@64")
    made = look({"model": (best, None), "optimum": (best, None)}, test, reference, edm_levels(3), seed=0)
    _, first, more = gallery_blocks(made, reference)
    assert isinstance(first, Table)
    assert isinstance(more, Details)
    assert len(more.blocks) == 2
    assert [row[0] for row in first.rows] == ["80", "2.52", "0.002"]
    for row in first.rows:
        assert sum(isinstance(cell, Picture) for cell in row) == 5
    assert first.rows[-1][5] == "yes"


def test_another_model_for_other_images_is_refused(place) -> None:
    g = torch.Generator().manual_seed(0)
    wide = Empirical(torch.rand(5, 3, 8, 8, generator=g))
    with pytest.raises(InputError, match=r"shape \(3, 8, 8\)"):
        probe(OPTIONS, optimum("digits@64"), Card("a denoiser made in Python", shape=(3, 8, 8)), other=wide)


def test_another_model_that_is_not_there_is_named(refused, run) -> None:
    told = refused(
        "probe", "--model", "run", "--other", "nowhere", "--train", "digits@64", "--test", "digits@99"
    )
    assert "--other nowhere is neither a file or folder" in told
