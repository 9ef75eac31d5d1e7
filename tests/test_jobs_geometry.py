"""`unrote geometry`, end to end on digits and on sets whose geometry is known."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from scenes import save_array

from unrote.data.pixels import to_bytes
from unrote.jobs import GeometryOptions, geometry, surveying
from unrote.jobs.geometry_verdict import means, shares
from unrote.jobs.surveying import Survey
from unrote.noise.levels import LogNormal
from unrote.noise.schedule import linear_alpha_bars, sigma_of_timestep

pytest_plugins = ("refusals",)


@pytest.fixture(scope="module")
def survey(tmp_path_factory) -> Survey:
    out = tmp_path_factory.mktemp("geometry") / "out"
    return geometry(GeometryOptions(train="digits@300", test="digits@300:600", out=out))


@pytest.fixture
def numbers(place, monkeypatch) -> None:
    """A folder in which surveys draw no page, which takes longer than all their numbers."""
    monkeypatch.setattr(surveying, "geometry_page", lambda made, options: None)
    monkeypatch.setattr(surveying, "write", lambda page, path: None)


def results(made: Survey) -> dict:
    return json.loads((made.out / "result.json").read_text())["results"]


def cloud(n: int, side: int, spread: float, seed: int) -> torch.Tensor:
    """Grey images (n,1,side,side), pixels N(0, spread^2) in [-1, 1]."""
    g = torch.Generator().manual_seed(seed)
    return (spread * torch.randn(n, 1, side, side, generator=g)).clamp(-1, 1)


def saved(x: torch.Tensor, name: str) -> str:
    """An array file of images in [-1, 1]."""
    save_array(x, Path(name))
    return name


def look(train: str, out: str, **options: object) -> Survey:
    """A survey; array files hold images in [-1, 1]."""
    given = {"train_range": (-1.0, 1.0)} if train.endswith(".npy") else {}
    return geometry(GeometryOptions(train=train, out=Path(out), **given | options))


def low_high(found: dict) -> tuple[float, float]:
    return found["low"]["value"], found["high"]["value"]


# What comes out


def test_the_keys_that_programs_rely_on(survey) -> None:
    found = results(survey)
    t = len(found["levels"])
    for key in ("posterior_weight", "self_weight", "coverage", "coverage_without_test"):
        curve = found[key]
        assert [len(curve[part]) for part in ("value", "low", "high", "n")] == [t] * 4
        for low, value, high in zip(curve["low"], curve["value"], curve["high"], strict=True):
            assert 0 <= low <= value <= high <= 1
    levels = [found["crossing"], found["recommended_ambient_level"]]
    levels += [found[key][end] for key in ("danger_zone", "recommended_gap") for end in ("low", "high")]
    levels += [found["regimes"][key] for key in ("small_below", "large_above")]
    for level in levels:
        assert level["low"] <= level["value"] <= level["high"]
        assert level["n"] > 0
        assert "reason" not in level
    assert found["pixel_range"] == [-1, 1]


def test_the_levels_are_as_dense_as_promised_and_reach_from_calm_to_calm(survey) -> None:
    found = results(survey)
    levels = found["levels"]
    ratios = [b / a for a, b in itertools.pairwise(levels)]
    assert max(ratios) <= math.exp(1 / 12) * (1 + 1e-9)
    assert found["coverage"]["value"][0] < 0.05 < found["regimes"]["small_below"]["value"]
    assert found["posterior_weight"]["value"][-1] < 0.05
    assert found["posterior_weight"]["value"][0] > 0.999
    assert found["coverage"]["value"][-1] > 0.95


def test_zone_crossing_and_gap_lie_inside_each_other(survey) -> None:
    found = results(survey)
    low, high = low_high(found["danger_zone"])
    gap = low_high(found["recommended_gap"])
    outer = found["regimes"]["small_below"]["value"], found["regimes"]["large_above"]["value"]
    assert outer[0] < low
    assert gap[0] < outer[0]  # networks copy below the level of 5 % coverage
    assert low < found["crossing"]["value"] < high
    assert found["crossing"]["value"] < gap[1] < outer[1]
    law = LogNormal()
    assert found["danger_zone"]["share_of_training_levels"] == pytest.approx(law.probability(low, high))
    assert found["recommended_gap"]["share_of_training_levels"] == pytest.approx(law.probability(*gap))


def test_every_level_is_given_in_every_unit(survey) -> None:
    found = results(survey)
    given = found["units"]
    assert [u["sigma"] for u in given["levels"]] == found["levels"]
    pairs = [(given["crossing"], found["crossing"])]
    pairs += [
        (given[key][end], found[key][end])
        for key in ("danger_zone", "recommended_gap")
        for end in ("low", "high")
    ]
    pairs += [(given["regimes"][key], found["regimes"][key]) for key in ("small_below", "large_above")]
    pairs += [(given["recommended_ambient_level"], found["recommended_ambient_level"])]
    for u, level in pairs:
        sigma = level["value"]
        assert u["sigma"] == sigma
        assert u["vp_time"] == pytest.approx(sigma / math.sqrt(1 + sigma**2))
        assert u["alpha_bar"] == pytest.approx(1 / (1 + sigma**2))
        assert u["log_snr"] == pytest.approx(-2 * math.log(sigma))
        step = torch.tensor([u["ddpm_linear_timestep"]], dtype=torch.float64)
        assert float(sigma_of_timestep(step, linear_alpha_bars())) == pytest.approx(sigma, rel=1e-3)
        assert u["ddpm_cosine_timestep"] is not None


def test_the_page_and_the_terminal_say_the_same(survey) -> None:
    page = (survey.out / "report.html").read_text()
    found = results(survey)
    assert found["verdict"] in survey.summary()
    for part in ("The two curves", "What the levels look like", "danger zone begins", "recommended gap"):
        assert part in page
    assert found["verdict"].split(":")[0] in page
    assert all(command in page for command in found["commands"])
    assert page.count('<strong class="mark">') == 3


def test_the_commands_that_it_recommends_exist(survey, place, call) -> None:
    for command in results(survey)["commands"]:
        _, name, *flags = command.split()
        status, out, _ = call(name, "--help")
        assert status == 0
        assert {flag for flag in flags if flag.startswith("--")} <= set(re.findall(r"--[a-z-]+", out))


def test_the_training_that_it_recommends_leaves_the_recommended_gap_out(survey) -> None:
    found = results(survey)
    (low, high) = re.findall(r"--recipe gap --gap (\S+) (\S+) ", found["commands"][0])[0]
    assert (float(low), float(high)) == pytest.approx(low_high(found["recommended_gap"]), rel=5e-3)
    assert f"`{found['commands'][0]}`" in found["recommendation"]


def test_the_program_in_the_document_leaves_the_gap_out(place) -> None:
    text = (Path(__file__).parents[1] / "docs" / "geometry-command.md").read_text(encoding="utf-8")
    (program,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    names: dict = {}
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(compile(program, "geometry-command.md", "exec"), names)
    assert printed.getvalue() == "0\n"
    assert names["gap"].low < names["gap"].high
    assert bool((names["levels"] <= names["gap"].low).any() and (names["levels"] > names["gap"].high).any())


def test_the_same_seed_gives_the_same_numbers_and_another_seed_others(numbers, tmp_path) -> None:
    made = [
        geometry(GeometryOptions(train="digits@60", out=tmp_path / str(i), seed=seed))
        for i, seed in enumerate((1, 1, 2))
    ]
    assert results(made[0]) == results(made[1])
    assert results(made[0])["crossing"] != results(made[2])["crossing"]


# Laws


def test_thresholds_scale_with_the_pixels(numbers) -> None:
    x = cloud(120, 5, 0.2, seed=0)
    grids = {"low": 0.02, "high": 4.0}
    one = look(saved(x, "one.npy"), "a", duplicate_threshold=0.0, **grids)
    half = {key: value / 2 for key, value in grids.items()}
    other = look(saved(x / 2, "half.npy"), "b", duplicate_threshold=0.0, **half)
    a, b = results(one), results(other)
    for key in ("crossing", "recommended_ambient_level"):
        assert b[key]["value"] == pytest.approx(a[key]["value"] / 2, rel=1e-4)
    assert low_high(b["danger_zone"]) == pytest.approx(
        [end / 2 for end in low_high(a["danger_zone"])], rel=1e-4
    )


def test_the_pixel_range_of_a_file_does_not_matter(numbers) -> None:
    x = cloud(60, 4, 0.5, seed=1)
    one = look(saved(x, "one.npy"), "a")
    other = look(saved((x + 1) / 2, "two.npy"), "b", train_range=(0.0, 1.0))
    assert results(other)["crossing"]["value"] == pytest.approx(results(one)["crossing"]["value"], rel=1e-4)


def test_more_images_move_the_zone_to_smaller_noise(numbers) -> None:
    crossings = [
        results(look(saved(cloud(n, 5, 0.3, seed=2), f"{n}.npy"), str(n)))["crossing"] for n in (30, 500)
    ]
    assert crossings[1]["high"] < crossings[0]["low"]


def test_doubles_count_as_one_image(numbers) -> None:
    x = cloud(50, 4, 0.5, seed=3)
    alone = look(saved(x, "x.npy"), "a")
    doubled = saved(torch.cat([x, x[:20] + 0.001]), "doubled.npy")
    twice = look(doubled, "b")
    a, b = results(alone), results(twice)
    for key in ("levels", "posterior_weight", "coverage", "danger_zone", "recommended_gap"):
        assert a[key] == b[key]
    assert (b["duplicate_groups"], b["duplicate_images"], b["images"]) == (20, 40, 50)
    assert any("40 training images form 20 groups" in note for note in b["notes"])
    assert "Remove the near-duplicates" in b["recommendation"]
    kept = look(doubled, "c", duplicate_threshold=0.0)
    assert results(kept)["danger_zone"] != a["danger_zone"]


def test_held_out_doubles_are_left_out_of_the_coverage(numbers) -> None:
    x, fresh = cloud(60, 4, 0.5, seed=4), cloud(40, 4, 0.5, seed=5)
    train = saved(x, "x.npy")
    clean = look(train, "a", test=saved(fresh, "fresh.npy"))
    mixed = saved(torch.cat([x[:25], fresh]), "mixed.npy")
    leaked = look(train, "b", test=mixed)
    a, b = results(clean), results(leaked)
    assert b["held_out_duplicates"] == 25
    assert a["coverage"] == b["coverage"]
    assert any("25 of 65 held-out images" in note for note in b["notes"])


def test_without_a_test_set_images_left_out_stand_for_fresh_ones(numbers) -> None:
    x = cloud(400, 4, 0.4, seed=6)
    train = saved(x[:200], "train.npy")
    alone = results(look(train, "a"))
    given = results(look(train, "b", test=saved(x[200:], "test.npy")))
    assert alone["coverage_of"] == "training images left out"
    assert alone["coverage_without_test"] is None
    assert any("No held-out images were given" in note for note in alone["notes"])
    assert not any("another kind" in note for note in given["notes"])
    assert alone["danger_zone"]["low"]["value"] == pytest.approx(
        given["danger_zone"]["low"]["value"], rel=0.2
    )


def test_held_out_images_of_another_kind_are_noticed(numbers) -> None:
    train, test = (
        saved(cloud(200, 4, 0.3, seed=7), "train.npy"),
        saved(cloud(100, 4, 0.9, seed=8), "test.npy"),
    )
    notes = results(look(train, "a", test=test))["notes"]
    assert any("covered less than training images left out" in note for note in notes)


def test_few_images_are_measured_above_the_floor_and_said_to_be_few(numbers) -> None:
    found = results(look("digits@5", "a"))
    assert found["posterior_weight"]["value"][-1] == pytest.approx(0.2, abs=0.02)
    assert found["regimes"]["large_above"]["value"] is not None
    assert any("5 training images are few" in note for note in found["notes"])


# Levels that were asked for


def test_levels_that_were_asked_for(numbers) -> None:
    found = results(look("digits@40", "a", low=0.1, high=5.0, levels=9))
    assert found["levels"] == pytest.approx(np.geomspace(0.1, 5.0, 9).tolist())
    assert any("levels per factor e are few" in note for note in found["notes"])
    found = results(look("digits@40", "b", low=0.1))
    assert found["levels"][0] == pytest.approx(0.1)


@pytest.mark.parametrize(("low", "high"), [(2.0, 6.0), (0.01, 0.1)])
def test_what_is_not_on_the_levels_is_null_with_a_reason(numbers, low, high) -> None:
    made = look("digits@300", "a", low=low, high=high)
    found = results(made)
    assert found["crossing"]["value"] is None
    assert f"from {low:g} to {high:g}" in found["crossing"]["reason"]
    nothing = [found["danger_zone"], found["recommended_gap"]]
    assert any(
        pair[end]["value"] is None and pair[end]["reason"] for pair in nothing for end in ("low", "high")
    )
    assert found["units"]["crossing"] is None
    assert "no danger zone was found" in found["verdict"]
    assert "reason" in json.dumps(found["regimes"])


def test_fewer_points_give_wider_intervals(numbers) -> None:
    widths = []
    for points in (10, 200):
        made = look("digits@300", str(points), points=points, low=0.1, high=5.0)
        curve = results(made)["posterior_weight"]
        assert set(curve["n"]) == {points}
        assert any(f"rests on {points} of 300" in note for note in made.notes)
        widths.append(max(b - a for a, b in zip(curve["low"], curve["high"], strict=True)))
    assert widths[0] > 2 * widths[1]


def test_certain_curves_keep_an_interval() -> None:
    decided = shares(torch.tensor([[0.0, 0.0, 0.0], [0.0, 1.0, 1.0], [0.5, 1.0, 1.0]]))
    assert decided[0].high == pytest.approx(0.5615, abs=1e-3)  # Wilson: z^2 / (n + z^2)
    assert decided[2].high == 1.0
    exact = means(torch.full((1, 4), 0.25))[0]
    assert (exact.low, exact.value, exact.high) == (0.25, 0.25, 0.25)


# What cannot be used


def folder_of(place: Path) -> None:
    """Sets without a geometry."""
    one, other = (to_bytes(cloud(1, 4, 0.5, seed=k), (-1, 1)).expand(5, 1, 4, 4) for k in (0, 1))
    saved(one.clone(), "same.npy")
    saved(torch.cat([one, other]), "two.npy")
    saved(torch.arange(9, dtype=torch.uint8)[:, None, None, None].expand(9, 1, 4, 4) * 20, "flat.npy")


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ("--train digits@2", "holds 2 images"),
        ("--train same.npy", "are the same image, pixel by pixel"),
        ("--train flat.npy", "has one colour in all its pixels"),
        ("--train two.npy", "near-duplicates of 2 images"),
        ("--train digits@50 --test digits@50", "is the training set"),
        ("--train digits@50 --test digits@20", "20 of the 20 held-out images"),
        ("--train digits@50 --test train.npy", "--resize"),
        ("--train digits@50 --low 0", "--low 0 is not a noise level"),
        ("--train digits@50 --low -1", "--low -1 is not a noise level"),
        ("--train digits@50 --high nan", "--high nan is not a noise level"),
        ("--train digits@50 --high inf", "--high inf is not a noise level"),
        ("--train digits@50 --low 5 --high 2", "--low 5 is not below --high 2"),
        ("--train digits@50 --low 2 --high 2", "--low 2 is not below --high 2"),
        ("--train digits@50 --low 900", "--low 900 lies above every level that matters"),
        ("--train digits@50 --high 0.001", "--high 0.001 lies below every level that matters"),
        ("--train digits@50 --levels 1", "--levels 1"),
        ("--train digits@50 --points 2", "--points 2 are too few"),
        ("--train digits@50 --duplicate-threshold -1", "--duplicate-threshold -1"),
        ("--train digits@50 --duplicate-threshold 1", "lower --duplicate-threshold"),
        ("--train digits@50 --memory 1", "--memory 1"),
        ("--train digits@50 --seed -1", "--seed -1"),
        ("--train digits@50 --out .", "--out ."),
        ("", "--train"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_paragraph(refused, place, flags, says) -> None:
    folder_of(place)
    assert says in refused("geometry", *flags.split())


def test_images_of_which_some_are_flat_are_surveyed_with_a_note(numbers) -> None:
    x = cloud(30, 4, 0.5, seed=9)
    x[:2] = torch.tensor([-1.0, 1.0])[:, None, None, None]
    notes = results(look(saved(x, "x.npy"), "a"))["notes"]
    assert any("2 of 30 training images have one colour" in note for note in notes)


def test_json_on_standard_output_is_the_result(call, place) -> None:
    status, out, _ = call("geometry", "--train", "digits@40", "--json", "--out", "a")
    assert status == 0
    assert json.loads(out) == json.loads(Path("a/result.json").read_text())
