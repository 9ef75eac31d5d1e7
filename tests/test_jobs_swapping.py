"""Swaps through the command: laws with denoisers that are known, the contract of the result, refusals."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from commands import SHORT

from unrote.contracts import InputError
from unrote.data.images import load_images
from unrote.data.pixels import to_unit
from unrote.denoise.exact import Empirical
from unrote.denoise.foreign import Card
from unrote.jobs import SwapOptions, swap

pytest_plugins = ("refusals",)

OPTIONS = SwapOptions(
    model=Path("few"),
    other=Path("many"),
    train="digits@40",
    test="digits@1200:1797",
    samples=144,
    levels=6,
    device="cpu",
)


def optimum(spec: str) -> Empirical:
    return Empirical(to_unit(load_images(spec).pixels, (0, 255)))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The optimum of the training set against that of other digits, at every window of 6 levels."""
    out = tmp_path_factory.mktemp("swaps") / "out"
    options = replace(OPTIONS, out=out, map=True, window=((0.05, 2.0),))
    return swap(options, optimum("digits@40"), optimum("digits@100:300"))


def test_the_optimum_of_the_training_set_copies_and_that_of_others_does_not(made) -> None:
    results = made.content["results"]
    assert results["model"]["copy_ratio"]["value"] > 0.95
    assert results["other"]["copy_ratio"]["value"] == 0
    assert results["calibration_ratio"]["n"] > 500


def test_what_ends_with_the_optimum_is_its_training_image(made) -> None:
    """The optimum at the lowest levels gives back one of its images, whatever came before: no network does that."""
    down, up = made.directions
    for window, drawn in up.drawn.items():
        if window is not None and window.last == 5:
            assert drawn.ratio.value > 0.9
    for window, drawn in down.drawn.items():
        if window is not None and window.last == 5:
            assert drawn.ratio.value == 0


def test_both_directions_meet_at_their_ends(made) -> None:
    """No window of one direction is the window of all levels of the other, sample by sample."""
    down, up = made.directions
    for first, second in ((down, up), (up, down)):
        assert torch.equal(first.drawn[None].copied, second.drawn[second.full].copied)
        assert torch.equal(first.drawn[None].shown, second.drawn[second.full].shown)
        assert first.drawn[None].quality == second.drawn[second.full].quality


def test_the_result_is_the_contract(made) -> None:
    results = json.loads((made.out / "result.json").read_text())["results"]
    for row in results["windows"]:
        assert {"from", "to", "copy_ratio", "quality", "name", "source", "direction", "copying"} <= set(row)
        assert row["from"] >= row["to"] > 0
        assert set(row["copy_ratio"]) == set(row["quality"]) == {"value", "low", "high", "n"}
        assert row["copy_ratio"]["n"] == 144
    assert len(results["map"]) == 2 * 21
    assert {row["direction"] for row in results["map"]} == {"other in model", "model in other"}
    names = {(row["source"], row["name"]) for row in results["windows"]}
    assert {("paper, steps from 0", "medium"), ("paper, steps from 1", "medium")} <= names
    assert ("--window 0.05 2", "asked for") in names
    assert results["quality_measure"]["features"]["name"] == "pixels"


def test_quality_is_nearer_to_fresh_images_for_more_training_images(made) -> None:
    results = made.content["results"]
    assert results["other"]["quality"]["high"] < results["model"]["quality"]["low"]
    assert results["quality_measure"]["real_images"]["low"] < results["other"]["quality"]["value"]


def test_the_page_has_every_part(made) -> None:
    page = (made.out / "report.html").read_text()
    for part in ("Paper, steps from 1", "Quality", "Every window of the schedule", "A with windows of B"):
        assert part in page
    assert "flips" in made.summary()


def test_without_held_out_images_quality_is_null_and_said_so(place) -> None:
    options = replace(OPTIONS, test=None, samples=16, levels=4)
    made = swap(options, optimum("digits@40"), optimum("digits@100:300"))
    results = made.content["results"]
    assert results["quality_measure"] is None
    assert results["calibration_ratio"] is None
    assert all(row["quality"] is None for row in results["windows"])
    assert any("--test" in note for note in made.notes)


def test_too_few_samples_for_a_distance_are_said_so(place) -> None:
    made = swap(replace(OPTIONS, samples=100, levels=3), optimum("digits@40"), optimum("digits@100:300"))
    assert made.quality is None
    assert any("takes 128 samples" in note and "pca:50" in note for note in made.notes)


def test_samples_are_the_same_whatever_else_is_asked(place) -> None:
    few, many = optimum("digits@40"), optimum("digits@100:300")
    plain = replace(OPTIONS, samples=12, levels=5, test=None, sampler="heun")
    one = swap(plain, few, many)
    more = swap(replace(plain, out=Path("more"), map=True, window=((0.01, 1.0),)), few, many)
    assert one.content["results"]["windows"] == more.content["results"]["windows"][: 2 * len(one.windows)]


def test_two_runs_are_swapped_in_one_command(call, run) -> None:
    assert call("train", "--train", "digits@64", *SHORT, "--seed", 5, "--out", "second")[0] == 0
    status, out, told = call(
        *("swap", "--model", "run", "--other", "second", "--train", "digits@64", "--samples", 8),
        *("--levels", 4, "--steps-window", 2, 3, "--index-base", 1, "--device", "cpu", "--json"),
    )
    assert status == 0, told
    result = json.loads(out)
    assert result["inputs"]["other"]["spec"].startswith("second")
    (asked,) = {(r["first"], r["last"]) for r in result["results"]["windows"] if r["name"] == "asked for"}
    assert asked == (1, 2)
    assert "do not differ" in result["results"]["verdict"]


SWAP = ["swap", "--train", "digits@64", "--samples", 8, "--levels", 4, "--device", "cpu"]


def test_a_model_is_not_swapped_with_itself(refused, run) -> None:
    assert "are the same model, weight by weight" in refused(*SWAP, "--model", "run", "--other", "run")
    shutil.copytree("run", "copy")
    assert "are the same model" in refused(*SWAP, "--model", "run", "--other", "copy")


def test_a_model_of_another_resolution_is_refused(refused, run) -> None:
    shutil.copytree("run", "wide")
    said = json.loads(Path("wide/run.json").read_text())
    Path("wide/run.json").write_text(json.dumps(said | {"shape": [1, 12, 12]}))
    told = refused(*SWAP, "--model", "run", "--other", "wide")
    assert "wide" in told


def test_models_that_differ_in_shape_or_classes_are_refused() -> None:
    from unrote.jobs.models import Description
    from unrote.jobs.pairs import check_alike

    small = Description("small", "", Card("", shape=(1, 8, 8)), "")
    large = Description("large", "", Card("", shape=(1, 16, 16)), "")
    told = Description("told", "", Card("", shape=(1, 8, 8), classes=10), "")
    with pytest.raises(InputError, match=r"\(1, 8, 8\).*large of shape \(1, 16, 16\)"):
        check_alike(small, large)
    with pytest.raises(InputError, match="takes no labels and --other told takes labels of 10 classes"):
        check_alike(small, told)
    check_alike(small, small)


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--other", "nowhere"], "--other nowhere is neither"),
        (["--other", "run", "--window", 5, 0.1], "the lower first"),
        (["--other", "run", "--features", "pixels"], "name held-out images with --test"),
        (["--other", "run", "--index-base", 1], "none is given"),
        (["--other", "run", "--levels", 41, "--map"], "861 windows"),
    ],
)
def test_flags_that_fit_nothing_are_refused(refused, run, flags, says) -> None:
    assert says in refused(*SWAP, "--model", "run", *flags)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"steps_window": ((3, 6),)}, "numbered 0 to 5"),
        ({"test": "digits@40"}, "is the training set"),
        ({"features": "pca:3x"}, "not understood"),
    ],
)
def test_what_is_refused_once_the_models_are_read(place, changed, says) -> None:
    with pytest.raises(InputError, match=says):
        swap(replace(OPTIONS, **changed), optimum("digits@40"), optimum("digits@100:200"))
    assert not Path("swap").exists()
