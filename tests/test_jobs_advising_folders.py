"""Folders of the user as fronts: pooled over seeds, refused where they are something else; the command as a whole."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from unrote.contracts import InputError
from unrote.jobs import TrainOptions
from unrote.jobs.advising_folders import read_fronts
from unrote.jobs.output import settings_of

pytest_plugins = ["refusals"]


def run_said(copies: float, quality: float, features: bool = True) -> dict:
    """The results of one run at steps 100 and 200."""

    def curve(*values: float, wide: float = 0.1, n: int = 256) -> dict:
        lists = {"value": values, "low": [v - wide for v in values], "high": [v + wide for v in values]}
        return {key: list(part) for key, part in lists.items()} | {"n": [n] * len(values)}

    said = {
        "steps": [100, 200],
        "copy_ratio": curve(0.0, copies),
        "validation_loss": curve(2 * quality, quality),
    }
    return said | ({"frechet_distance": curve(4 * quality, quality)} if features else {})


def write(
    folder: Path, seed: int = 0, recipe: str = "baseline,gap,noisy-only", features: bool = True, **more
) -> Path:
    """The folder of a comparison: the gap halves copies and adds a half to the quality of 1 + seed."""
    options = TrainOptions(
        train="digits@32",
        recipe=recipe,
        gap=(0.3, 0.9) if "gap" in recipe else None,
        gap_rule="skip" if "gap" in recipe else "reject",
        ambient=0.5 if "noisy" in recipe else None,
        steps=200,
        seed=seed,
        width=64,
        features="pca:16" if features else None,
        **more,
    )
    numbers = {"baseline": (0.5, 1.0 + seed), "gap": (0.25, 1.5 * (1 + seed)), "noisy-only": (0.0, 0.5)}
    runs = {name: run_said(*numbers[name], features) for name in recipe.split(",")}
    train = {"spec": "digits@32", "count": 32, "shape": [1, 8, 8], "sha256": "abc"}
    content = {
        "schema": 1,
        "command": "train",
        "inputs": {"train": train, "test": None},
        "settings": settings_of(options),
        "seed": seed,
        "results": {"runs": runs},
    }
    folder.mkdir()
    (folder / "result.json").write_text(json.dumps(content))
    return folder


def test_one_folder_is_a_front_of_one_seed_with_its_own_intervals(tmp_path) -> None:
    (front,) = read_fronts([write(tmp_path / "a")])
    assert front.seeds == 1
    assert [p.name for p in front.points if p.remedy == "gap"] == ["gap, stopped at step 100", "gap"]
    assert front.baseline.quality.low == pytest.approx(0.9)
    assert front.setting.images == 32 - 3  # a tenth was held out
    assert front.setting.measure == "Frechet distance in pca:16"
    gap, noisy = (next(p for p in front.points if p.name == name) for name in ("gap", "noisy-only"))
    assert (gap.treatment.gap, gap.treatment.more) == ((0.3, 0.9), (("gap_rule", "skip"),))
    assert gap.treatment.ambient is None
    assert (noisy.treatment.hides, gap.treatment.hides) == (True, False)
    assert front.setting.options == {"train": "digits@32", "width": 64, "features": "pca:16"}


def test_folders_that_differ_in_the_seed_are_pooled_and_others_are_not(tmp_path) -> None:
    folders = [write(tmp_path / str(seed), seed) for seed in range(3)]
    other = write(tmp_path / "longer", 0, batch_size=32)
    pooled, alone = read_fronts([*folders[:2], other, folders[2]])
    assert (pooled.seeds, alone.seeds) == (3, 1)
    gap = next(p for p in pooled.points if p.name == "gap")
    assert gap.quality.value == pytest.approx(3.0)  # 1.5, 3 and 4.5
    assert gap.quality.high == pytest.approx(3.0 + 4.302653 * 1.5 / math.sqrt(3))
    assert (gap.worse.value, gap.worse.high) == pytest.approx((1.5, 1.5))
    assert gap.left.value == pytest.approx(0.5)


def test_without_features_quality_is_the_held_out_loss(tmp_path) -> None:
    (front,) = read_fronts([write(tmp_path / "a", features=False)])
    assert front.setting.measure == "loss on held-out images"
    assert front.points[0].quality.value == 2.0


def spoiled(folder: Path, **changes) -> Path:
    """The folder with other parts of its result."""
    path = folder / "result.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return folder


def test_what_is_no_comparison_is_refused(tmp_path) -> None:
    def why(folder: Path) -> str:
        with pytest.raises(InputError) as told:
            read_fronts([folder])
        return str(told.value)

    assert "is no folder" in why(tmp_path / "nothing")
    assert "no result.json" in why(tmp_path)
    assert "single training run" in why(spoiled(write(tmp_path / "a"), results={"steps": [1]}))
    assert "unrote audit" in why(spoiled(write(tmp_path / "b"), command="audit"))
    assert "no baseline" in why(write(tmp_path / "c", recipe="gap,noisy-only"))
    assert "missing" in why(spoiled(write(tmp_path / "d"), settings={}))
    assert "missing" in why(spoiled(write(tmp_path / "e"), results={"runs": {"baseline": {}}}))
    (write(tmp_path / "f") / "result.json").write_text("{")
    assert "no JSON" in why(tmp_path / "f")
    (tmp_path / "f" / "result.json").write_text("[]")
    assert "another program" in why(tmp_path / "f")


def test_a_seed_that_is_there_twice_is_refused(tmp_path) -> None:
    folder = write(tmp_path / "a")
    with pytest.raises(InputError, match="same seed"):
        read_fronts([folder, folder])


def test_the_command_answers_from_the_ledger_alone(call, place) -> None:
    status, out, told = call("advise")
    assert status == 0, told
    assert "32 digits, 8x8, residual MLP" in out
    assert "unrote train --train DATA" in out
    content = json.loads((place / "advice" / "result.json").read_text())
    assert content["results"]["limit"] == 0.01
    found = [front for front in content["results"]["fronts"] if front["chosen"]]
    assert found
    for front in found:
        chosen = next(p for p in front["points"] if p["name"] == front["chosen"])
        assert chosen["copy_ratio"]["high"] < 0.01
        assert not chosen["copies_hidden_from_rule"]
    assert "noisy copies" in (place / "advice" / "report.html").read_text()


def test_own_data_and_own_front_come_first_with_the_levels_of_the_run(call, place) -> None:
    write(place / "mine")
    status, out, told = call("advise", "--front", "mine", "--train", "digits@12", "--worse", "0.6", "--json")
    assert status == 0, told
    content = json.loads(out)["results"]
    assert content["your_data"]["images"] == 12
    first = content["fronts"][0]
    assert first["source"] == "mine"
    assert "One seed" in " ".join(first["notes"])
    assert "noisy-only" in " ".join(first["notes"])


def test_input_that_cannot_be_used_is_refused_in_one_paragraph(refused, place) -> None:
    assert "two questions" in refused("advise", "--copies", 0.1, "--worse", 0.1)
    assert "between 0 and 1" in refused("advise", "--copies", 7)
    assert "is no folder" in refused("advise", "--front", "nothing")
    assert "ignored without --train" in refused("advise", "--test", "samples.npy")
    write(place / "mine")
    assert "read from" in refused("advise", "--front", "mine", "--out", "mine", "--overwrite")
