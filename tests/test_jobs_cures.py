from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from unrote.contracts import Examples, InputError
from unrote.jobs import TrainOptions, train
from unrote.jobs.cure_checks import check_cures, removed, share
from unrote.jobs.cure_words import noisy_updates, sentences, told
from unrote.jobs.cures import Cures, recipes_of
from unrote.jobs.fitting import fit
from unrote.jobs.training import plan_of, read_data
from unrote.noise.levels import LogNormal
from unrote.noise.schedule import linear_alpha_bars, sigma_of_timestep, units
from unrote.train.augment import augmented, flip
from unrote.train.fingerprint import describe
from unrote.train.interventions import ambient, compose, dummy_class, gap, noisy_only, skip
from unrote.train.masking import masking
from unrote.train.recipe import baseline, levels_first, rows_first

LAW = LogNormal()
SMALL = {"width": 16, "depth": 1, "steps": 40, "samples": 8, "checkpoints": 3, "device": "cpu"}


def options(**given: object) -> TrainOptions:
    return TrainOptions(train="digits@40", **{**SMALL, **given})


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"recipe": "gap"}, r"needs --gap LOW HIGH.*unrote geometry --train digits@40.*recommended gap"),
        ({"recipe": "ambient"}, r"needs --ambient LEVEL.*recommended ambient level"),
        ({"recipe": "gap+ambient", "gap": (0.2, 0.5)}, "needs --ambient"),
        ({"gap": (0.2, 0.5)}, "--gap would be ignored by --recipe baseline.*--recipe gap"),
        ({"recipe": "gap", "gap": (0.2, 0.5), "ambient": 0.4}, r"--ambient would be ignored.*gap\+ambient"),
        ({"recipe": "gap", "gap": (0.5, 0.2)}, "no interval"),
        ({"recipe": "gap", "gap": (-1.0, 0.2)}, "no interval"),
        ({"recipe": "gap", "gap": (0.2, float("inf"))}, "no interval"),
        ({"recipe": "gap", "gap": (float("nan"), 0.2)}, "no interval"),
        ({"recipe": "ambient", "ambient": 0.0}, "no noise level"),
        ({"recipe": "ambient", "ambient": float("nan")}, "no noise level"),
        ({"recipe": "gap", "gap": (1e-4, 1e3)}, "next to no training level for clean images"),
        ({"recipe": "gap+ambient", "gap": (0.4, 1e3), "ambient": 0.5}, "noisy copies.*move the ambient"),
        ({"recipe": "gap+ambient", "gap": (1e-4, 0.9), "ambient": 0.5}, "for clean images"),
        ({"recipe": "noisy-only"}, r"needs --ambient LEVEL"),
        ({"recipe": "noisy-only+gap", "gap": (0.4, 1e3), "ambient": 0.5}, "noisy copies.*move the ambient"),
        ({"recipe": "ambient+noisy-only", "ambient": 0.5}, "one of the two"),
        ({"recipe": "dummies"}, "dummies is no recipe.*gap, dummy, ambient, noisy-only.*joined by"),
        ({"recipe": ""}, "nothing is no recipe"),
        ({"recipe": "gap+"}, "nothing is no recipe"),
        ({"recipe": "baseline+gap", "gap": (0.2, 0.5)}, "baseline is no recipe"),
        ({"recipe": "dummy+dummy"}, "a cure twice"),
        ({"recipe": "baseline,baseline"}, "lists baseline twice; leave"),
        (
            {"recipe": "gap+ambient,ambient+gap", "gap": (0.2, 0.5), "ambient": 0.5},
            r"lists ambient\+gap twice, which is gap\+ambient",
        ),
        ({"recipe": "baseline,dummy", "gap": (0.2, 0.5)}, r"--gap would be ignored.*--recipe gap\+dummy"),
        ({"recipe": "baseline,gap"}, "needs --gap"),
        ({"recipe": "dummy", "gap_rule": "skip"}, "--gap-rule skip would be ignored"),
        ({"recipe": "gap", "gap": (0.2, 0.5), "features": "pca:4"}, "there is none"),
        ({"hidden": 0.4}, r"--hidden would be ignored by --recipe baseline.*--recipe masking\."),
        (
            {"recipe": "ambient", "ambient": 0.5, "hidden": 0.4},
            r"--hidden would be.*--recipe ambient,masking\.",
        ),
        ({"recipe": "masking+gap", "gap": (0.2, 0.5), "ambient": 0.5}, r"--recipe gap,masking,ambient\."),
        ({"recipe": "masking", "hidden": 1.0}, "--hidden 1 is no share.*nothing is left"),
        ({"recipe": "masking", "hidden": 0.0}, "--hidden 0 is no share.*nothing is hidden"),
        ({"recipe": "masking", "hidden": float("nan")}, "--hidden nan is no share"),
        ({"recipe": "masking+gap", "gap": (1e-4, 1e3)}, "next to no training level for clean images"),
        ({"recipe": "masking+noisy-only", "ambient": 0.5}, "one of the two.*--recipe masking,noisy-only"),
        (
            {"recipe": "noisy-only", "ambient": 0.5, "ambient_rule": "levels-first"},
            r"--ambient-rule levels-first would be ignored.*--recipe ambient",
        ),
    ],
)
def test_flags_that_do_not_fit_are_refused_before_anything_is_read(tmp_path, given, said):
    with pytest.raises(InputError, match=said):
        train(replace(options(**given), train="digits@40", out=tmp_path / "run"))
    assert not list(tmp_path.iterdir())


def test_numbers_in_another_unit_are_refused_and_translated():
    low, high = sigma_of_timestep(torch.tensor([100.0, 350.0]).double(), linear_alpha_bars()).tolist()
    with pytest.raises(InputError, match=f"DDPM timestep 100 to 350 is sigma {low:.3g} to {high:.3g}"):
        check_cures(Cures(gap=(100.0, 350.0)), LAW)
    with pytest.raises(
        InputError, match=r"one training level in 10,000 above it.*DDPM timestep 250 is sigma"
    ):
        check_cures(Cures(ambient=250.0), LAW)
    with pytest.raises(InputError, match="one training level in 10,000 below it"):
        check_cures(Cures(ambient=0.001), LAW)


def test_shares_are_those_of_the_law_among_the_levels_that_the_model_knows():
    assert share(LAW, 0.2, 0.9) == LAW.probability(0.2, 0.9)
    assert share(LAW, 0.2, 0.9, (0.1, 0.5)) == LAW.probability(0.2, 0.5) / LAW.probability(0.1, 0.5)
    assert share(LAW, 0.6, 0.9, (0.1, 0.5)) == 0


def test_the_result_names_the_interventions_in_every_unit():
    cures = Cures((0.3, 0.9), 0.5)
    cut, noisy = told(cures, LAW)
    assert (cut["name"], cut["low"], cut["high"]) == ("gap", 0.3, 0.9)
    assert cut["share_removed"] == LAW.probability(0.3, 0.9)
    assert cut["units"]["low"]["vp_time"] == units(0.3).vp_time
    assert noisy["share_above"] == LAW.probability(0.5, float("inf"))
    words = " ".join(sentences(cures, LAW))
    for part in (
        "0.3 to 0.9",
        "VP time 0.287 to 0.669",
        "DDPM timesteps",
        "32.0 % of the training law",
        "above sigma = 0.5 (VP time 0.447",
    ):
        assert part in words
    assert told(Cures(), LAW) == []
    assert sentences(Cures((0.0, 0.3)), LAW)[0].startswith(
        "Left out of training: sigma = 0 to 0.3 (VP time 0 to 0.287)"
    )


def test_recipes_are_joined_of_parts_in_any_order_and_listed_by_commas():
    given = options(
        recipe="baseline, ambient+gap+dummy ,noisy-only", gap=(0.2, 0.5), ambient=0.6, gap_rule="skip"
    )
    assert recipes_of(given) == {
        "baseline": Cures(rule=skip),
        "ambient+gap+dummy": Cures((0.2, 0.5), 0.6, True, skip),
        "noisy-only": Cures(rule=skip, noisy_only=0.6),
    }


def test_cures_are_the_interventions_that_they_name():
    x = torch.linspace(-1, 1, 48).reshape(6, 1, 2, 4)
    plain = baseline(Examples(x, torch.zeros(6)), LAW, torch.ones_like)

    def g(seed: int) -> torch.Generator:
        return torch.Generator().manual_seed(seed)

    for cures, parts in (
        (Cures(), ()),
        (Cures((0.2, 0.5), rule=skip), (gap(0.2, 0.5, skip),)),
        (Cures(dummies=True, ambient=0.4), (dummy_class(g(8)), ambient(0.4, g(7)))),
        (Cures(noisy_only=0.4), (noisy_only(0.4, g(7)),)),
        (Cures(ambient=0.4, redraw=levels_first), (ambient(0.4, g(7), levels_first),)),
        (Cures(ambient=0.4, flip=True), (augmented([flip]), ambient(0.4, g(7)))),
        (
            Cures((0.2, 0.5), dummies=True, hidden=0.3, flip=True),
            (gap(0.2, 0.5), dummy_class(g(8)), masking(0.3, g(9)), augmented([flip])),
        ),
    ):
        made, expected = cures.intervention(7)(plain), compose(*parts)(plain)
        assert describe({"recipe": made}) == describe({"recipe": expected})


def test_mirror_images_are_rows_more_with_noise_of_their_own_and_hide_what_their_images_hide():
    x = torch.rand(50, 1, 4, 6, generator=torch.Generator().manual_seed(1)) * 2 - 1
    plain = baseline(Examples(x, torch.zeros(50)), LAW, torch.ones_like)
    rows = Cures(ambient=0.5, flip=True).intervention(7)(plain).examples.x
    image, mirrored, noisy, other = rows.chunk(4)
    assert torch.equal(image, x)
    assert torch.equal(mirrored, x.flip(-1))
    one, two = noisy - x, (other - mirrored).flip(-1)
    assert abs(float(torch.corrcoef(torch.stack([one.flatten(), two.flatten()]))[0, 1])) < 4 / 1200**0.5
    masked = Cures(hidden=0.5, flip=True).intervention(7)(plain).examples.x
    image, mirrored = masked.chunk(2)
    assert torch.equal(mirrored.flip(-1), image)


@pytest.mark.parametrize("cut", [None, (0.3, 0.9), (0.6, 0.9)])
def test_the_share_of_updates_that_noisy_copies_take_is_the_one_that_is_drawn(cut):
    plain = baseline(Examples(torch.zeros(3, 1, 1, 1), torch.zeros(3)), LAW, torch.ones_like)
    for rule in (rows_first, levels_first):
        cures = Cures(cut, 0.5, redraw=rule)
        made = cures.intervention(7)(plain)
        rows, _ = made.redraw(made)(20_000, torch.Generator().manual_seed(0))
        share_of_copies = float((made.examples.level[rows] > 0).double().mean())
        assert noisy_updates(cures, LAW) == pytest.approx(share_of_copies, abs=0.015)
    said = sentences(Cures(cut, 0.5, redraw=levels_first), LAW)[-1]
    assert "levels are drawn before images" in said
    assert "VP time 0.447" in said


def test_the_share_left_out_counts_no_level_twice():
    whole = LAW.probability
    assert removed(Cures(), LAW) == removed(Cures(dummies=True, ambient=0.5), LAW) == 0
    assert removed(Cures((0.3, 0.9), 0.5), LAW) == whole(0.3, 0.9)
    assert removed(Cures(noisy_only=0.5), LAW) == whole(0.0, 0.5)
    for low, high, expected in (
        (0.3, 0.9, whole(0.0, 0.9)),
        (0.1, 0.4, whole(0.0, 0.5)),
        (0.7, 0.9, whole(0.0, 0.5) + whole(0.7, 0.9)),
    ):
        assert removed(Cures((low, high), noisy_only=0.5), LAW) == pytest.approx(expected)


def test_every_cure_is_told_and_said():
    cures = Cures((0.3, 0.9), None, True, skip, 0.5)
    assert [one["name"] for one in told(cures, LAW)] == ["gap", "dummy", "noisy-only"]
    assert told(cures, LAW)[0]["rule"] == "skip"
    assert told(Cures((0.3, 0.9)), LAW)[0]["rule"] == "reject"
    masked = Cures(dummies=True, hidden=0.3, flip=True)
    assert [one["name"] for one in told(masked, LAW)] == ["flip", "dummy", "masking"]
    assert told(masked, LAW)[2]["hidden"] == 0.3
    assert removed(masked, LAW) == 0
    assert "30.0 % of the pixels are hidden for good" in sentences(masked, LAW)[2]
    assert told(Cures(ambient=0.5), LAW)[0]["rule"] == "rows-first"
    assert told(Cures(ambient=0.5, redraw=levels_first), LAW)[0]["rule"] == "levels-first"
    assert told(cures, LAW)[2]["units"]["level"]["vp_time"] == units(0.5).vp_time
    words = sentences(cures, LAW)
    assert "dropped" in words[0]
    assert "half of the updates" in words[1]
    assert "above sigma = 0.5 (VP time 0.447" in words[2]


@pytest.mark.parametrize(
    "given",
    [
        {"recipe": "gap", "gap": (0.3, 0.9)},
        {"recipe": "gap+dummy+ambient", "gap": (0.3, 0.4), "ambient": 0.5},
    ],
)
def test_a_cured_run_says_what_was_done(tmp_path, given):
    made = train(replace(options(**given), out=tmp_path / "run"))
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    said = json.loads((tmp_path / "run" / "run.json").read_text())
    assert [one["name"] for one in result["results"]["interventions"]] == given["recipe"].split("+")
    assert said["interventions"] == result["results"]["interventions"]
    assert result["settings"]["gap"] == list(given["gap"])
    for words in made.done:
        assert words in made.summary()
        assert words.split("(")[0] in (tmp_path / "run" / "report.html").read_text()


class Stopped(Exception):
    pass


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(max(folder.glob("step-*.safetensors")))


def test_a_cured_run_goes_on_to_the_same_bits_and_not_with_another_gap(tmp_path):
    given = options(recipe="gap+ambient", gap=(0.3, 0.4), ambient=0.5)
    data, _ = read_data(given)
    plan = replace(plan_of(given, cpu=True), cures=recipes_of(given)[given.recipe])
    whole, partly = tmp_path / "whole", tmp_path / "partly"
    whole.mkdir()
    partly.mkdir()
    fit(data, plan, whole, lambda n: None)

    done = []

    def stop_after_a_checkpoint(n: int) -> None:
        if list(partly.glob("step-*.safetensors")):
            done.append(n)
            raise Stopped

    with pytest.raises(Stopped):
        fit(data, plan, partly, stop_after_a_checkpoint)
    assert done
    for other in (Cures((0.3, 0.45), 0.5), Cures((0.3, 0.4), 0.6), Cures((0.3, 0.4)), Cures()):
        with pytest.raises(InputError, match="another run"):
            fit(data, replace(plan, cures=other), partly, lambda n: None)
    fit(data, plan, partly, lambda n: None)
    ours, theirs = weights(partly), weights(whole)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
