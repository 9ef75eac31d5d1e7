"""The demonstration: its diagnosis is that of `unrote geometry`, its words follow from its numbers."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from unrote.contracts import Estimate
from unrote.denoise.exact import Empirical
from unrote.geometry.regimes import Zone
from unrote.jobs import DemoOptions, GeometryOptions, demo, demonstration, surveying
from unrote.jobs import demo_page as page_of
from unrote.jobs.cures import Cures
from unrote.jobs.demo_check import (
    distance_to,
    inside,
    lowest_loss,
    meets,
    most_copying,
    paired_difference,
    pairs_of,
    probe_at,
)
from unrote.jobs.demo_diagnosis import diagnose, gap_of, prediction
from unrote.jobs.demo_words import brief, cure, forecast, losses, remarks, stopping
from unrote.jobs.demonstration import DUPLICATES, Demo, configuration, digits, plan_of, runs_of
from unrote.jobs.measuring import Measurement
from unrote.report.page import write
from unrote.sweeps import key_of, sweep

RUN = configuration(32, 1024, 2000, 512, 0)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Demo:
    out = tmp_path_factory.mktemp("demo") / "demo"
    with (
        pytest.MonkeyPatch.context() as patched
    ):  # loading PyTorch in three processes takes longer than training
        patched.setattr(demonstration, "sweep", lambda f, runs, store, workers: sweep(f, runs, store, 1))
        return demo(DemoOptions(out=out, steps=100, samples=160, large=128))


def known(value: float, half: float = 0.0) -> Estimate:
    return Estimate(value, value - half, value + half, 100)


def grid(*levels: float) -> torch.Tensor:
    return torch.tensor(levels, dtype=torch.float64)


# What is trained


def test_what_the_laboratory_knows_its_runs_by_has_not_changed() -> None:
    assert key_of(RUN) == "1b7e7166ceba51a5"
    assert plan_of(RUN).cures == Cures()


def test_only_the_gap_tells_the_cured_run_from_the_other(tmp_path) -> None:
    runs = runs_of(DemoOptions(), (0.5, 1.8), tmp_path)
    assert list(runs) == ["small", "gap", "large"]
    one, other = (plan_of(runs[name]) for name in ("small", "gap"))
    assert other == replace(one, cures=Cures(gap=(0.5, 1.8)))
    assert torch.equal(digits(runs["small"])[0].pixels, digits(runs["gap"])[0].pixels)
    assert list(runs_of(DemoOptions(), None, tmp_path)) == ["small", "large"]


def test_few_digits_are_part_of_many_and_both_have_the_same_held_out() -> None:
    (few, fresh), (many, same) = digits(RUN), digits(RUN | {"images": 1024})
    assert torch.equal(few.pixels, many.pixels[:32])
    assert torch.equal(fresh.pixels, same.pixels)


# Diagnosis


def test_the_diagnosis_is_the_one_of_the_command(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(surveying, "geometry_page", lambda made, options: None)
    monkeypatch.setattr(surveying, "write", lambda page, path: None)
    reference, fresh = digits(RUN)
    found = diagnose(reference, fresh, DUPLICATES, 3, tmp_path)
    for name, images in (("train", reference.images), ("test", fresh)):
        np.save(tmp_path / f"{name}.npy", images.pixels.numpy())
    told = surveying.geometry(
        GeometryOptions(
            train=str(tmp_path / "train.npy"),
            test=str(tmp_path / "test.npy"),
            out=tmp_path / "geometry",
            duplicate_threshold=DUPLICATES,
            seed=3,
        )
    ).content["results"]
    said = json.loads(
        json.dumps({k: v for k, v in told.items() if k not in {"commands", "recommendation", "notes"}})
    )
    mine = {k: v for k, v in plain(found.content).items() if k != "notes"}
    assert mine == said
    assert not {"commands", "recommendation"} & set(found.content)
    # An interrupted demonstration finds its runs again by the gap.
    assert gap_of(diagnose(reference, fresh, DUPLICATES, 3, tmp_path)) == gap_of(found)


def plain(content: dict) -> dict:
    from unrote.jobs import output

    return json.loads(json.dumps(output.plain(content)))


# Check


def test_an_optimum_copies_at_little_noise_and_not_at_much() -> None:
    reference, fresh = digits(RUN)
    x, y = (images.pixels.float() / 127.5 - 1 for images in (reference.images, fresh))
    copied = probe_at(Empirical(x), y[:20], reference, grid(0.01, 80.0), seed=0)
    assert copied[0].all()
    assert not copied[1].any()


def test_the_level_of_most_copying_has_an_interval_over_images(generator) -> None:
    levels = grid(0.1, 1.0, 10.0)
    sure = torch.tensor([[False] * 40, [True] * 40, [True] * 20 + [False] * 20])
    found = most_copying(levels, sure, generator)
    assert (found.value, found.low, found.high, found.n) == (1.0, 1.0, 1.0, 40)
    close = torch.rand(3, 40, generator=generator) < torch.tensor([[0.05], [0.5], [0.5]])
    found = most_copying(levels, close, generator)
    assert (found.low, found.high) == (1.0, 10.0)
    assert most_copying(levels, torch.zeros(3, 40, dtype=torch.bool), generator) == Estimate(
        None, None, None, 40
    )


def test_a_difference_of_pairs_is_the_published_one() -> None:
    # Agresti, Categorical Data Analysis: 1,600 voters asked twice, 150 and 86 of whom changed their minds
    first = torch.tensor([True] * 150 + [False] * 86 + [True] * 794 + [False] * 570)
    second = torch.tensor([False] * 150 + [True] * 86 + [True] * 794 + [False] * 570)
    found = paired_difference(first, second)
    assert found.value == pytest.approx(64 / 1600)
    assert (found.low, found.high) == pytest.approx((0.021, 0.059), abs=1e-3)
    turned = paired_difference(second, first)
    assert (turned.value, turned.low, turned.high) == pytest.approx((-found.value, -found.high, -found.low))


def test_pairs_that_never_differ_leave_a_doubt() -> None:
    none = torch.zeros(50, dtype=torch.bool)
    found = paired_difference(none, none)
    assert found.value == 0
    assert found.low < 0 < found.high
    assert found.high == pytest.approx(1.96 * math.sqrt(1 / 52 / 52), rel=1e-3)
    with pytest.raises(ValueError, match="pairs"):
        paired_difference(none, none[:3])


def test_the_interval_of_a_difference_of_pairs_covers(generator) -> None:
    covered = 0
    for _ in range(300):
        u = torch.rand(200, generator=generator)
        a, b = u < 0.5, (u < 0.3) | (u > 0.9)
        found = paired_difference(a, b)
        covered += found.low <= 0.1 <= found.high
    assert covered >= 270  # 285 are expected


def test_a_distance_grows_with_noise_and_needs_enough_samples() -> None:
    g = torch.Generator().manual_seed(0)
    fresh, same = (torch.randn(400, 1, 4, 4, generator=g) for _ in range(2))
    noisy = same + torch.randn(same.shape, generator=g)
    near, far = distance_to(fresh, same, 0), distance_to(fresh, noisy, 0)
    assert near is not None and far is not None
    assert near.low == 0
    assert far.low <= 16 * (math.sqrt(2) - 1) ** 2 <= far.high
    assert distance_to(fresh, same[:31], 0) is None


def test_pairs_show_the_nearest_training_image() -> None:
    reference, _ = digits(RUN)
    mixed = (0.9 * reference.pixels[:4].float() + 0.1 * reference.pixels[4:8].float()).round().byte()
    found = pairs_of(torch.cat([reference.pixels[:4], mixed]), reference)
    assert found.nearest.tolist() == [0, 1, 2, 3] * 2
    assert found.copied.all()
    assert found.ratio[:4].tolist() == [0.0] * 4


def test_a_level_is_inside_a_zone_or_reaches_it_or_neither() -> None:
    zone = Zone(1.0, 2.0)
    assert inside(zone, known(1.5)) and meets(zone, known(1.5))
    assert not inside(zone, known(0.8, 0.3)) and meets(zone, known(0.8, 0.3))
    assert not inside(zone, known(0.8, 0.1)) and not meets(zone, known(0.8, 0.1))
    assert inside(None, known(1.0)) is None
    assert meets(zone, Estimate(None, None, None, 9)) is None


# The whole


def test_a_demonstration_that_shows_nothing_says_so(made) -> None:
    found = json.loads((made.out / "result.json").read_text())["results"]
    assert found["copying_shown"] is False
    assert "did not appear" in found["verdict"]
    assert "did not appear" in made.summary()
    assert "did not appear" in (made.out / "report.html").read_text()


def test_the_result_holds_what_it_held_and_diagnosis_cure_and_check(made) -> None:
    found = json.loads((made.out / "result.json").read_text())["results"]
    assert {"verdict", "copying_shown", "copy_ratio", "small", "large"} <= set(found)
    for name, count in (("small", 32), ("gap", 32), ("large", 128)):
        model = found[name]
        assert model["training_images"] == count
        assert len(model["levels"]) == len(model["copy_ratio"]["value"]) == 18
        assert found["copy_ratio"][name] == model["audit"]["copy_ratio"]
    zone, (gap,) = found["geometry"]["recommended_gap"], found["gap"]["interventions"]
    for end in ("low", "high"):
        assert gap[end] == pytest.approx(zone[end]["value"], rel=5e-3)
    assert gap["share_removed"] == pytest.approx(zone["share_of_training_levels"], abs=5e-3)
    check = found["check"]
    assert check["levels"] == found["geometry"]["levels"]
    difference = found["copy_ratio"]["gap"]["value"] - found["copy_ratio"]["small"]["value"]
    assert check["copies_with_gap_minus_without"]["value"] == pytest.approx(difference)
    assert check["stopped_early"]["step"] in found["small"]["steps"]
    assert check["frechet_distance"]["real"]["value"] < check["frechet_distance"]["small"]["value"]


def test_the_folder_holds_three_models_and_no_rubbish(made) -> None:
    for name in ("small", "gap", "large"):
        assert len(list((made.out / name).glob("step-*.safetensors"))) == 1
        assert (made.out / name / "samples.parquet").exists()
    assert json.loads((made.out / "gap" / "run.json").read_text())["interventions"][0]["name"] == "gap"
    assert json.loads((made.out / "small" / "run.json").read_text())["interventions"] == []
    assert not (made.out / "runs").exists()


def test_the_page_tells_it_in_three_acts(made) -> None:
    page = (made.out / "report.html").read_text()
    headings = [
        "Act 1, diagnosis",
        "Act 2, cure",
        "Act 3, check",
        "Trained with the gap",
        "Audit: trained on",
    ]
    places = [page.rindex(heading) for heading in headings]
    assert places == sorted(places)
    assert "calm: small noise ends" in page


def test_a_set_without_a_recommended_gap_is_told_without_a_cure(made, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(page_of, "_audit", lambda model: ())
    check = made.check
    two = {name: model for name, model in made.models.items() if name != "gap"}
    bare = replace(
        check,
        gap=None,
        difference=None,
        copied={name: c for name, c in check.copied.items() if name != "gap"},
        distance={name: d for name, d in check.distance.items() if name != "gap"},
        pairs={name: p for name, p in check.pairs.items() if name != "gap"},
    )
    found = replace(made.survey.findings.gap, low=Estimate(None, None, None, 3))
    survey = replace(made.survey, findings=replace(made.survey.findings, gap=found, gap_share=None))
    assert "not tried" in prediction(survey)
    told = replace(made, models=two, check=bare, survey=survey)
    assert "gap" not in " ".join(remarks(two, bare))
    write(page_of.demo_page(told), Path(tmp_path / "report.html"))
    page = (tmp_path / "report.html").read_text()
    assert "no cure" in page
    assert "32 images, gap" not in page


# Words


def test_the_forecast_says_where_the_model_copies_most(made) -> None:
    zone, wider = Zone(1.0, 2.0), Zone(0.5, 4.0)

    def said(peak: Estimate, danger: Zone | None = zone) -> str:
        at = Estimate(0.2, 0.1, 0.3, 100)
        return forecast(replace(made.check, peak=peak, height=at, danger=danger, gap=wider))

    assert "That is inside the danger zone, 1 to 2." in said(known(1.5, 0.1))
    reaching = said(known(0.9, 0.2))
    assert "below the danger zone, 1 to 2, which its interval reaches, and inside the wider gap" in reaching
    beyond = said(known(8.0, 0.2))
    assert "above the danger zone, 1 to 2, and outside the wider gap" in beyond
    assert "named no danger zone" in said(known(1.5), None)
    assert "no level to hold against" in said(Estimate(None, None, None, 9))


def test_the_cure_is_called_what_it_was(made) -> None:
    small, cured = made.models["small"], made.models["gap"]

    def said(difference: Estimate) -> str:
        return cure(small, cured, difference, Zone(0.5, 2.0))

    assert "The gap cuts copying and no more are left than among fresh digits." in said(known(-0.3, 0.1))
    assert "made copying worse" in said(known(0.3, 0.1))
    assert "cannot be told" in said(known(-0.05, 0.1))
    assert "−30.0 [−40.0, −20.0] percentage points" in said(known(-0.3, 0.1))


def test_losses_are_compared_only_where_their_intervals_are_apart(made) -> None:
    def ending(loss: float, half: float):
        model = made.models["gap"]
        last = replace(model.history[-1], validation_loss=known(loss, half))
        return replace(model, history=(*model.history[:-1], last))

    assert "lower with it" in losses(ending(2.0, 0.1), ending(1.0, 0.1))
    assert "higher with it" in losses(ending(1.0, 0.1), ending(2.0, 0.1))
    assert "overlap" in losses(ending(1.0, 0.6), ending(2.0, 0.6))


def test_stopping_early_is_a_remedy_only_where_it_was(made) -> None:
    def at(step: int, loss: float, copies: float) -> Measurement:
        return Measurement(step, known(loss, 0.01), known(loss, 0.01), known(copies, 0.02))

    def said(early: Measurement, last: Measurement, cured: Measurement, far: float) -> str:
        models = {
            n: replace(m, history=(early, h))
            for (n, m), h in zip(made.models.items(), (last, cured, last), strict=True)
        }
        best = lowest_loss(models["small"].history)
        distance = {**made.check.distance, "gap": known(1.0, 0.1), "stopped": known(far, 0.1)}
        check = replace(made.check, stopped=best, distance=distance)
        assert stopping(models["small"], check, models["gap"]) == brief(models, check)[-1]
        return stopping(models["small"], check, models["gap"])

    early, last, cured = at(10, 1.0, 0.03), at(100, 2.0, 0.8), at(100, 1.5, 0.5)
    good = said(early, last, cured, 3.0)
    assert (
        "Stopping there is a remedy, in this run with fewer copies and a lower held-out loss than the gap"
        in good
    )
    assert "further from fresh digits than those with the gap" in good
    assert "nearer to" in said(early, last, cured, 0.1)
    assert "about as far from fresh digits as" in said(early, last, cured, 1.1)
    assert "more copies and a higher held-out loss" in said(at(10, 1.0, 0.3), last, at(100, 0.5, 0.01), 1.0)
    assert "neither it nor the gap" in said(early, last, at(100, 1.0, 0.03), 1.0)
    assert "cannot be told" in said(at(10, 1.0, 0.79), last, cured, 1.0)
    assert "no reason to stop" in said(at(10, 3.0, 0.0), last, cured, 1.0)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_demonstration_shows_copying_at_other_seeds(tmp_path, seed) -> None:
    result = demo(DemoOptions(out=tmp_path / "demo", seed=seed)).content["results"]
    small, large = result["copy_ratio"]["small"], result["copy_ratio"]["large"]
    assert small["value"] >= 0.25
    assert small["low"] > large["high"]
    assert result["large"]["audit"]["excess_over_calibration"]["low"] <= 0
    assert result["copying_shown"] is True
    assert result["check"]["copies_with_gap_minus_without"]["high"] < 0
