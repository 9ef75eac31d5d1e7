"""Forecasts: exact where onsets are exact, pilots run once, bounds count as bounds, and the words hold the numbers."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

from unrote.contracts import InputError
from unrote.jobs import ForecastOptions, forecasting, forecasting_runs
from unrote.jobs.forecasting import configurations, forecast, material_of
from unrote.jobs.forecasting_clock import clock_of, number, rounded_down
from unrote.jobs.forecasting_runs import FACTOR, chosen, measured_steps, read_material, run
from unrote.measure.onset import at_step, not_reached
from unrote.measure.power_law import fit_power_law
from unrote.measure.power_law import forecast as by_law
from unrote.train.loop import Diverged

EACH = {"copies": 13.0, "losses": 6.0}
"""Steps for each image at which made-up pilots have their onsets."""


def asked(out, **changes) -> ForecastOptions:
    usual = {
        "train": "digits@400",
        "test": "digits@1000:1200",
        "out": out,
        "sizes": "16,32,64",
        "seeds": 2,
        "workers": 1,
    }
    return ForecastOptions(**(usual | changes))


def rising(step: float, onset: float) -> float:
    """1 at the onset, straight over the logarithm of the step."""
    return max(0.0, 1 + math.log(step / onset) / math.log(40))


def made_up(copies=lambda p: EACH["copies"] * p, losses=lambda p: EACH["losses"] * p):
    """Pilots without networks, with onsets at known steps; lists the pilots that were run."""
    done = []

    def pilot(configuration):
        p, samples = configuration["images"], configuration["samples"]
        done.append((p, configuration["number"]))
        found = {"steps": [], "train": [], "validation": [], "copies": [], "reached": False}
        for step in configuration["at"]:
            found["steps"].append(step)
            found["train"].append(0.5)
            found["validation"].append(0.5 * (1 + configuration["gap"] * rising(step, losses(p))))
            found["copies"].append(samples * configuration["share"] * rising(step, copies(p)))
            if step >= max(copies(p), losses(p)):
                found["reached"] = True
                break
        return found | {"samples": samples, "fresh_copies": 0, "fresh": 200}

    pilot.done = done
    return pilot


@pytest.fixture
def pilots(monkeypatch):
    """Replaces training by what is made up."""

    def use(pilot, drawn=False):
        monkeypatch.setattr(forecasting, "run", pilot)
        if not drawn:  # drawings take most of the time
            monkeypatch.setattr(forecasting, "forecast_page", lambda *_: None)
            monkeypatch.setattr(forecasting, "write", lambda *_: None)
        return pilot

    return use


def test_proportional_onsets_are_forecast_exactly(tmp_path, pilots) -> None:
    pilots(made_up(), drawn=True)
    made = forecast(asked(tmp_path / "out", images=16_384))
    results = made.content["results"]
    for which, each in EACH.items():
        said = results[which]
        assert said["forecast"]["value"] == pytest.approx(each * 16_384)
        assert said["forecast"]["low"] == pytest.approx(each * 16_384)
        assert said["exponent"]["value"] == pytest.approx(1)
        assert said["held_out"]["images"] == 64
        assert said["held_out"]["factor"]["value"] == pytest.approx(1)
        assert said["if_proportional"]["value"] == pytest.approx(each * 16_384)
    assert made.answer.sentence() == (
        "You may train 213,000 steps (95 %: 213,000 to 213,000) on your 16,384 images before 5 % of the samples are "
        "copies; the losses part after 98,300 steps (95 %: 98,300 to 98,300), where that on held-out images is 2 times "
        "that on training images."
    )
    assert results["command"].endswith(f"--steps {rounded_down(said['forecast']['low'] * 13 / 6)}")
    assert any("256 times as many as in the largest pilot" in note for note in results["notes"])
    assert results["times_largest_pilot"] == 256
    assert made.answer.sentence() in made.summary()
    page = (tmp_path / "out" / "report.html").read_text()
    assert "213,000 steps" in page and results["command"] in page
    assert json.loads((tmp_path / "out" / "result.json").read_text())["results"] == results


def test_an_exponent_surely_not_1_is_told_with_what_proportion_would_give(tmp_path, pilots) -> None:
    pilots(made_up(copies=lambda p: 40 * p**0.7))
    made = forecast(asked(tmp_path / "out"))
    said = made.content["results"]["copies"]
    assert said["exponent"]["value"] == pytest.approx(0.7)
    assert said["forecast"]["value"] == pytest.approx(40 * made.answer.images**0.7)
    assert said["if_proportional"]["value"] > said["forecast"]["value"]
    assert any("surely not 1" in note for note in made.content["results"]["notes"])


def test_what_is_interpolated_is_not_called_far(tmp_path, pilots) -> None:
    pilots(made_up())
    notes = forecast(asked(tmp_path / "out", images=40)).content["results"]["notes"]
    assert any("40 images lie within the pilots, 16 to 64" in note for note in notes)
    assert any("name your 40 with --train" in note for note in notes)


@pytest.mark.parametrize(("factor", "word"), [(2.5, "later"), (0.4, "earlier")])
def test_a_law_that_bends_is_told_with_what_its_end_says(tmp_path, pilots, factor, word) -> None:
    pilots(made_up(copies=lambda p: 13 * p * (factor if p == 64 else 1), losses=lambda p: 2 * p))
    made = forecast(asked(tmp_path / "out", images=128))
    notes = " ".join(made.content["results"]["notes"])
    assert f"copied at {factor:.2f} times the step" in notes and f"copies {word} than is said" in notes
    by_end = made.content["results"]["copies"]["by_two_largest_sizes"]
    assert by_end["exponent"]["value"] == pytest.approx(1 + math.log2(factor))
    onset = 13 * 128 * factor**2
    assert by_end["forecast"]["value"] == pytest.approx(onset)
    assert made.answer.safe_steps <= onset


def test_an_interrupted_command_repeats_no_pilot_and_says_the_same(tmp_path, pilots) -> None:
    whole = forecast_with(pilots, tmp_path / "whole", made_up(copies=uneven))
    first = made_up(copies=uneven)

    def killed(configuration):
        if len(first.done) == 3:
            raise KeyboardInterrupt
        return first(configuration)

    pilots(killed)
    with pytest.raises(KeyboardInterrupt):
        forecast(asked(tmp_path / "out"))
    second = made_up(copies=uneven)
    resumed = forecast_with(pilots, tmp_path / "out", second)
    assert len(first.done) == len(second.done) == 3
    assert not set(first.done) & set(second.done)
    assert resumed.content["results"] == whole.content["results"]


def uneven(p: int) -> float:
    """Onsets that lie on no line."""
    return 13 * p * (1 + 0.1 * math.sin(p))


def forecast_with(pilots, out, pilot, **changes):
    pilots(pilot)
    return forecast(asked(out, **changes))


def test_a_higher_limit_repeats_no_pilot_that_had_ended(tmp_path, pilots) -> None:
    def slow(p):
        return 13 * p if p == 16 else 30 * p

    with pytest.raises(
        InputError, match=r"at 16 images alone.*raise --steps-per-image, which is 20, to 80.*are kept"
    ):
        forecast_with(pilots, tmp_path / "out", made_up(copies=slow), steps_per_image=20)
    again = made_up(copies=slow)
    made = forecast_with(pilots, tmp_path / "out", again, steps_per_image=40)
    assert sorted(set(again.done)) == [(32, 0), (32, 1), (64, 0), (64, 1)]
    fresh = forecast_with(pilots, tmp_path / "fresh", made_up(copies=slow), steps_per_image=40)
    assert made.content["results"] == fresh.content["results"]


def test_other_settings_of_training_keep_nothing(tmp_path, pilots) -> None:
    def slow(p):
        return 30 * p

    with pytest.raises(InputError, match="in none"):
        forecast_with(pilots, tmp_path / "out", made_up(copies=slow), steps_per_image=20)
    again = made_up()
    forecast_with(pilots, tmp_path / "out", again, learning_rate=2e-3)
    assert len(again.done) == 6


def test_pilots_that_never_copied_count_as_bounds(tmp_path, pilots) -> None:
    made = forecast_with(
        pilots, tmp_path / "out", made_up(copies=lambda p: 13 * p if p < 64 else 1e9), sizes="16,32,64"
    )
    last = measured_steps(64, 40)[-1]
    onsets = [at_step(13 * 16)] * 2 + [at_step(13 * 32)] * 2 + [not_reached(last)] * 2
    law = fit_power_law([16, 16, 32, 32, 64, 64], onsets)
    assert law.exponent.value is not None and law.exponent.value > 1  # left out, they would give exactly 1
    said, expected = made.answer.copies.said, by_law(law, made.answer.images)
    assert said is not None and said.value == pytest.approx(expected.value)
    assert any("2 of 6 pilots have no onset by copies" in note for note in made.content["results"]["notes"])
    assert "none was seen to" in "".join(made.answer.evidence())


def test_losses_that_never_part_leave_the_answer_about_copies(tmp_path, pilots) -> None:
    made = forecast_with(pilots, tmp_path / "out", made_up(losses=lambda p: 1e9))
    assert made.content["results"]["losses"]["forecast"] is None
    assert "is not known, since they did so in too few pilots" in made.answer.sentence()
    assert made.answer.copies.said.value == pytest.approx(13 * made.answer.images)


def test_two_pilots_have_no_interval_and_say_so(tmp_path, pilots) -> None:
    made = forecast_with(pilots, tmp_path / "out", made_up(), sizes="16,32", seeds=1)
    notes = " ".join(made.content["results"]["notes"])
    assert "(no interval)" in made.answer.sentence()
    assert "One pilot of each size" in notes and "The exponent has no interval" in notes
    assert "No size could be held against a forecast" in notes
    assert made.answer.safe_steps == rounded_down(13 * made.answer.images)


def test_the_rule_for_copies_is_held_against_held_out_images(tmp_path, pilots) -> None:
    usual = made_up()
    pilots(lambda configuration: usual(configuration) | {"fresh_copies": 8})
    notes = forecast(asked(tmp_path / "out")).content["results"]["notes"]
    assert any("up to 4.0 % count as copies" in note for note in notes)


def test_a_clock_without_onsets_has_no_law() -> None:
    clock = clock_of([16, 32], [not_reached(100), not_reached(200)], 64)
    assert clock.law is None and clock.said is None and clock.held_out is None
    assert clock.proportional.value is None and clock.missing == 2


def test_measured_steps_are_in_proportion_and_a_higher_limit_adds_to_them() -> None:
    for p in (16, 64, 256):
        steps = measured_steps(p, 40)
        assert steps[0] == p and 40 <= steps[-1] / p < 40 * FACTOR
        assert steps == measured_steps(p, 100)[: len(steps)]
    large, small = (np.array(measured_steps(p, 40)) / p for p in (6400, 640))
    assert np.abs(large / small - 1).max() < 0.01


def test_numbers_of_steps_keep_three_digits() -> None:
    assert [number(v) for v in (7.4, 999.6, 1234, 41_049, 2e12)] == [
        "7",
        "1,000",
        "1,230",
        "41,000",
        "2.0e+12",
    ]
    assert [rounded_down(v) for v in (7.9, 999.9, 1239, 41_999, 1e300)] == [7, 999, 1230, 41_900, 10**9]


SMALL = {"width": 16, "depth": 1, "samples": 16, "batch_size": 8, "sizes": "8,16"}


def small_pilot(tmp_path, images=8, **changes):
    options = asked(tmp_path / "out", **(SMALL | changes))
    made = configurations(options, (8, 16), material_of(options), "cpu")
    return next(one for one in made if one["images"] == images)


def test_a_pilot_is_the_same_again_and_longer_ones_begin_alike(tmp_path) -> None:
    short, long = (small_pilot(tmp_path, steps_per_image=each) for each in (2, 4))
    one, two, more = run(short), run(short), run(long)
    assert one == two
    assert len(one["steps"]) < len(more["steps"])
    for key in ("steps", "train", "validation", "copies"):
        assert more[key][: len(one[key])] == one[key]
    assert not one["reached"] and one["steps"] == short["at"]


def test_a_pilot_ends_with_both_onsets(tmp_path, monkeypatch) -> None:
    counts = iter([0, 0, 16, 16])
    monkeypatch.setattr(forecasting_runs, "copies_of", lambda x, _: torch.arange(len(x)) < next(counts))
    parted = small_pilot(tmp_path, steps_per_image=4) | {"gap": -1.0}  # from the first step on
    found = run(parted)
    assert found["copies"] == [0, 0, 16] and found["reached"]
    assert found["steps"] == parted["at"][:3]


def test_pilots_have_images_of_their_own_and_one_of_each_group(tmp_path) -> None:
    g = torch.Generator().manual_seed(0)
    x = torch.randint(0, 256, (40, 1, 8, 8), generator=g, dtype=torch.uint8)
    np.save(tmp_path / "twice.npy", torch.cat([x, x]).numpy())
    options = asked(tmp_path / "out", train=str(tmp_path / "twice.npy"), test=None, **SMALL)
    material = read_material(material_of(options))
    assert len(material.fresh) == 8 and "8 of 80 (10%) were split off" in material.words
    assert len(material.pool) == 36 and material.trained == 72  # twins go together
    made = configurations(options, (8, 16), material_of(options), "cpu")
    sets = [chosen(one) for one in made]
    for one in sets:
        rows = one.x.flatten(1)
        assert len(rows.unique(dim=0)) == len(rows)
        assert not (torch.cdist(rows, one.held_out.flatten(1)) == 0).any()
    assert not torch.equal(sets[0].x, sets[1].x)
    assert len({one["run_seed"] for one in made}) == len(made)


def test_a_pilot_that_diverges_is_named(tmp_path) -> None:
    with pytest.raises(Diverged, match="The pilot on 8 images, number 1: Training diverged"):
        run(small_pilot(tmp_path, learning_rate=1e12, steps_per_image=40))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sizes": "16"}, "two different sizes"),
        ({"sizes": "16,many"}, "no list of whole numbers"),
        ({"sizes": "2,16"}, "8 images or more"),
        ({"sizes": "32,512"}, r"512 images, and digits@400 has 4\d\d|512 images, and digits@400 has 39\d"),
        ({"seeds": 0}, "--seeds 0"),
        ({"images": 2}, "--images 2"),
        ({"copy_share": 0.0}, "--copy-share 0.0"),
        ({"loss_gap": -1.0}, "--loss-gap -1.0"),
        ({"steps_per_image": 1}, "--steps-per-image 1 cannot"),
        ({"workers": 0}, "--workers 0"),
        ({"learning_rate": -1.0}, "learning_rate = -1.0"),
        ({"test": "digits@400"}, "is the training set"),
        ({"train": "nowhere"}, "does not exist"),
        ({"network": "unet", "depth": 9}, "depth 9 cannot be built"),
        ({"conditional": True, "train": "UNLABELLED", "test": None}, "needs labels"),
        ({"train": "UNLABELLED"}, "shape|channels|8x8|compare"),
    ],
)
def test_bad_input_is_told_before_anything_is_trained(tmp_path, pilots, changes, words) -> None:
    def never(configuration):
        raise AssertionError("a pilot was run")

    pilots(never)
    x = np.random.default_rng(0).integers(0, 256, (80, 10, 10), dtype=np.uint8)
    np.save(tmp_path / "ten.npy", x)
    changes = {k: str(tmp_path / "ten.npy") if v == "UNLABELLED" else v for k, v in changes.items()}
    with pytest.raises(InputError, match=words):
        forecast(asked(tmp_path / "out", **changes))
    assert not (tmp_path / "out").exists() and not (tmp_path / "out.partial").exists()


def test_copies_at_the_first_step_ask_for_larger_pilots(tmp_path, pilots) -> None:
    with pytest.raises(InputError, match=r"6 had copied at the first measured step.*take larger --sizes"):
        forecast_with(pilots, tmp_path / "out", made_up(copies=lambda p: 0.5 * p))


def test_the_cost_is_told_first(tmp_path, pilots, capsys) -> None:
    forecast_with(pilots, tmp_path / "out", made_up())
    most = 2 * sum(measured_steps(p, 40)[-1] for p in (16, 32, 64))
    assert f"6 pilots, one after the other: at most {most:,} steps in all" in capsys.readouterr().err


def test_material_is_read_once(tmp_path) -> None:
    options = asked(tmp_path / "out")
    assert read_material(material_of(options)) is read_material(material_of(options))
    assert forecasting_runs.FIRST <= 1
