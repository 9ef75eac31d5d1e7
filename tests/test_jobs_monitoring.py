"""What a run says of itself: two sets of weights by name, histories of earlier versions, what measuring costs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from unrote.contracts import Estimate, InputError
from unrote.jobs import TrainOptions, fitting, train
from unrote.jobs.measuring import AVERAGED, Measurement, draw, ratio_of, read_history, write_history
from unrote.jobs.monitoring import measure, monitor_of
from unrote.jobs.paired_losses import losses_on
from unrote.jobs.training import asked_of, plan_of, read_data
from unrote.jobs.training_results import cost_sentence
from unrote.train.stopping import PASSES

OPTIONS = TrainOptions(
    train="digits@64",
    test="digits@1000:1064",
    width=32,
    depth=1,
    steps=60,
    samples=16,
    checkpoints=3,
    device="cpu",
    both_weights=True,
)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return train(replace(OPTIONS, out=tmp_path_factory.mktemp("monitor") / "run"))


def test_every_number_is_that_of_the_weights_it_is_said_to_belong_to(made) -> None:
    data, _ = read_data(OPTIONS)
    seen = made.history[-1]
    assert seen.weights == AVERAGED
    for averaged, found in ((True, seen), (False, seen.raw)):
        denoiser, *_ = fitting.read_run(made.out, averaged)
        monitor = monitor_of(data, denoiser.weight, 16, OPTIONS.seed)
        losses = losses_on(monitor.pairs, denoiser)
        assert (losses.train_loss, losses.validation_loss) == (found.train_loss, found.validation_loss)
        assert (losses.loss_gap, losses.bands) == (found.loss_gap, found.bands)
        assert ratio_of(draw(denoiser, data, 16, OPTIONS.seed), data.reference) == found.copy_ratio
    assert seen.raw.train_loss != seen.train_loss


def test_the_result_names_the_weights_and_holds_curves_of_both(made) -> None:
    said = json.loads((made.out / "result.json").read_text())["results"]
    assert (said["weights"], said["raw"]["weights"]) == ("moving average", "raw")
    steps = len(said["steps"])
    for part in (said, said["raw"]):
        for key in ("train_loss", "validation_loss", "loss_gap", "copy_ratio"):
            assert len(part[key]["value"]) == steps
        assert [(band["low"], band["high"]) for band in part["bands"]] == [
            (0.0, 0.1),
            (0.1, 0.2),
            (0.2, 0.4),
            (0.4, 0.8),
            (0.8, None),
        ]
        assert all(len(band["loss_gap"]["value"]) == steps for band in part["bands"])
    assert said["onset"]["weights"] == "moving average"
    assert set(said["onset"]["raw"]) == {"by_loss_gap", "by_copies"}
    rows = json.loads((made.out / "history.json").read_text())
    assert all(row["weights"] == "moving average" and row["raw"]["bands"] for row in rows)


def test_the_intervals_of_losses_are_over_images(made) -> None:
    said = made.content["results"]
    assert said["train_loss"]["n"] == said["validation_loss"]["n"] == [64] * 3
    assert said["loss_gap"]["n"] == [64] * 3


def test_samples_of_raw_weights_are_drawn_only_where_they_are_asked_for(tmp_path) -> None:
    made = train(replace(OPTIONS, both_weights=False, steps=20, out=tmp_path / "run"))
    raw = made.content["results"]["raw"]
    assert "copy_ratio" not in raw and "loss_gap" in raw
    assert set(made.content["results"]["onset"]["raw"]) == {"by_loss_gap"}
    assert made.history[-1].raw.copy_ratio is None


def test_what_measuring_costs_is_what_goes_through_the_network(tmp_path) -> None:
    rows: list[int] = []
    options = replace(OPTIONS, stop_gap=5.0, features="pca:4")
    data, plan = read_data(options)[0], plan_of(options, cpu=True)
    build = fitting.build

    def counted(*given):
        denoiser = build(*given)

        def note(module, given):
            if not torch.is_grad_enabled():
                rows.append(len(given[0]))

        denoiser.register_forward_pre_hook(note)
        return denoiser

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fitting, "build", counted)
        made = fitting.fit(data, plan, tmp_path, lambda steps: None)
    # the averaged weights are a copy of the network with its hook
    assert sum(rows) == made.passes * len(made.history) + made.stop.passes


def test_the_cost_is_said_where_it_is_a_tenth_or_more(made) -> None:
    cost = made.content["results"]["monitoring"]
    passes = 4 * 512 + 2 * 35 * 16
    assert cost["share"] == pytest.approx(3 * passes / (PASSES * 64 * 60))
    again = 3 * passes / (PASSES * 64 * cost["below_tenth_from"])
    assert 0.1 - 1 / cost["below_tenth_from"] < again <= 0.1 + 1e-9
    assert f"below 10 % from {cost['below_tenth_from']:,} steps on" in made.summary()
    assert cost_sentence(cost | {"share": 0.09}) == ""


def old(row: dict) -> dict:
    """A row as earlier versions wrote it."""
    names = ("step", "train_loss", "validation_loss", "copy_ratio", "frechet_distance", "as_stored")
    return {name: row[name] for name in names}


def test_histories_of_earlier_versions_are_read_and_their_runs_go_on(made, tmp_path, monkeypatch) -> None:
    save = fitting.save

    def save_then_stop(state, path):
        save(state, path)
        raise KeyboardInterrupt

    options = replace(OPTIONS, both_weights=False, out=tmp_path / "run")
    with monkeypatch.context() as patch:
        patch.setattr(fitting, "save", save_then_stop)
        with pytest.raises(KeyboardInterrupt):
            train(options)
    place = tmp_path / "run.partial" / "history.json"
    rows = [old(row) for row in json.loads(place.read_text())]
    place.write_text(json.dumps(rows))
    first = read_history(place.parent)[0]
    assert (first.loss_gap, first.bands, first.raw, first.weights) == (None, (), None, AVERAGED)
    again = train(options)
    assert again.history[0] == first
    assert again.history[-1] == replace(made.history[-1], raw=replace(made.history[-1].raw, copy_ratio=None))
    said = again.content["results"]
    assert "bands" not in said and "raw" not in said  # not known at every step
    assert said["onset"]["by_loss_gap"][0]["n"] == 1


def test_flags_that_are_off_make_no_other_run_of_it() -> None:
    plain = asked_of(replace(OPTIONS, both_weights=False))
    assert not {"both_weights", "stop_gap"} & set(plain)
    assert asked_of(replace(OPTIONS, stop_gap=0.5))["stop_gap"] == 0.5
    assert asked_of(OPTIONS)["both_weights"] is True


def test_a_history_reads_as_it_was_written(made, tmp_path) -> None:
    write_history(made.history, tmp_path)
    assert tuple(read_history(tmp_path)) == made.history


def test_a_run_whose_measured_losses_are_not_finite_is_told_as_diverged(made) -> None:
    data, _ = read_data(OPTIONS)
    plan = plan_of(OPTIONS, cpu=True)

    def broken(x, sigma, condition=None):
        return torch.full_like(x, float("nan"))

    monitor = monitor_of(data, torch.ones_like, 4, 0)
    losses = losses_on(monitor.pairs, broken)
    end = replace(made.history[-1], **vars(losses))
    with pytest.raises(InputError, match=r"diverged: at step 60 the loss on training images is not finite"):
        fitting.check_converging(end, plan)
    huge = replace(made.history[-1], train_loss=Estimate(2e3, None, None, 4))
    with pytest.raises(InputError, match="is 2e\\+03, where"):
        fitting.check_converging(huge, plan)


def test_fewer_images_than_a_batch_are_drawn_with_replacement(tmp_path) -> None:
    options = replace(OPTIONS, train="digits@3", batch_size=64, steps=5, both_weights=False)
    data, plan = read_data(options)[0], plan_of(options, cpu=True)
    made = fitting.fit(data, plan, tmp_path, lambda steps: None)
    assert len(data.x) == 3
    assert made.history[-1].step == 5


def test_a_measurement_of_one_set_of_weights_has_no_raw_ones(made) -> None:
    data, _ = read_data(OPTIONS)
    denoiser, *_ = fitting.read_run(made.out)
    seen = measure(monitor_of(data, denoiser.weight, 4, 0), 7, denoiser, weights="as given")
    assert isinstance(seen, Measurement)
    assert (seen.raw, seen.weights, seen.step) == (None, "as given", 7)
    assert Path(made.out, "history.json").exists()


@pytest.mark.parametrize(("trained", "held", "each"), [(32, 797, 768), (10, 60, 520), (400, 1300, 800)])
def test_a_larger_set_is_used_as_far_as_whole_rounds_go(trained, held, each) -> None:
    data, _ = read_data(replace(OPTIONS, train=f"digits@{trained}", test=f"digits@{1797 - held}:1797"))
    pairs = monitor_of(data, torch.ones_like, 4, 0).pairs
    assert len(pairs.probe.sigma) == each
    assert len(pairs.held_out_image.unique()) == min(each, held)
    assert len(pairs.train_image.unique()) == trained
