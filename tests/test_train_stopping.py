from __future__ import annotations

import json
import math
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from unrote.contracts import Estimate, Examples, InputError
from unrote.denoise.compose import Precondition, edm
from unrote.denoise.networks import build_mlp
from unrote.measure.gaps import relative_gap
from unrote.measure.online import expected_words
from unrote.measure.onset import gap_onset
from unrote.noise.levels import LogNormal
from unrote.train.checkpoints import checkpoint_path, latest_checkpoint, save
from unrote.train.loop import Options, train
from unrote.train.probe import Probe, probe_of
from unrote.train.recipe import baseline
from unrote.train.stopping import PASSES, EarlyStopping, affordable

PAIR = torch.ones(4)


def scripted(values: list[float], half: float = 0.02):
    """A gap function that says one value after the other, whatever the losses are."""
    left = iter(values)

    def gap(train: Tensor, validation: Tensor) -> Estimate:
        value = next(left)
        return Estimate(value, value - half, value + half, len(train))

    return gap


def run(stopper: EarlyStopping, count: int, first: int = 1):
    return [stopper.update(10 * k, PAIR, PAIR) for k in range(first, first + count)]


def test_clean_is_kept_doubt_is_not_and_a_sure_gap_stops(tmp_path: Path):
    def keep(step: int) -> None:
        (tmp_path / str(step)).touch()

    def forget(step: int) -> None:
        (tmp_path / str(step)).unlink()

    gap = scripted([0.0, 0.09, 0.11, 0.1, 0.119, 0.13, 0.01])
    stopper = EarlyStopping(gap, 0.1, keep=keep, forget=forget, watched="the averaged weights")
    made = run(stopper, 7)
    assert [d.clean for d in made] == [True, True, False, True, False, False, True]
    assert [d.stop for d in made] == [False] * 5 + [True, True]
    # After the stop nothing is kept, though the gap closes again.
    assert [d.kept for d in made] == [10, 20, 20, 40, 40, 40, 40]
    assert [p.name for p in tmp_path.iterdir()] == ["40"]
    assert (stopper.stopped, stopper.kept) == (60, 40)
    for part in (
        "Stopped at step 60",
        "averaged weights",
        "13.0 % [11.0, 15.0]",
        "4 pairs",
        "10 %",
        "clean step is 40",
    ):
        assert part in made[-1].because
    assert made[-1].because == stopper.because


def test_the_sentence_before_the_stop_and_without_a_clean_step():
    stopper = EarlyStopping(scripted([0.05, 0.11]), 0.1)
    assert "No check" in stopper.because
    (first, second) = run(stopper, 2)
    assert "a clean one" in first.because and "not surely" in second.because
    early = EarlyStopping(scripted([0.5]), 0.1)
    (only,) = run(early, 1)
    assert only.stop and only.kept is None and "check earlier" in only.because


def test_what_is_expected_is_said_beside_what_was_found():
    seen = []

    def expected(steps, gaps):
        seen.append((list(steps), list(gaps)))
        return f"Copies come at step {steps[-1] * 2}."

    stopper = EarlyStopping(scripted([0.05, 0.4, 0.9]), 0.1, expected=expected)
    assert "Copies" not in stopper.because  # nothing is known without a check
    made = run(stopper, 3)
    assert made[0].because.endswith("counts as clean. Copies come at step 20.")
    assert made[1].because.endswith("the last clean step is 10. Copies come at step 40.")
    # After the stop it stays what was expected then.
    assert made[2].because == made[1].because and seen[-1] == ([10, 20], [0.05, 0.4])


def test_the_sentence_of_a_calibrated_stop_names_the_copies_to_come():
    stopper = EarlyStopping(scripted([0.1, 0.5, 1.2], 0.1), expected=expected_words)
    first, _, last = run(stopper, 3)
    assert first.because.endswith("The losses do not say yet when 5 % of the samples will be copies.")
    assert last.stop and "expected to be copies at about step" in last.because


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0, 0.2), min_size=1, max_size=12), st.data())
def test_a_resumed_run_decides_as_the_uninterrupted_one(values, data):
    cut = data.draw(st.integers(0, len(values)))
    whole = run(EarlyStopping(scripted(values), 0.1), len(values))
    first = EarlyStopping(scripted(values[:cut]), 0.1)
    run(first, cut)
    second = EarlyStopping(scripted(values[cut:]), 0.1)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert run(second, len(values) - cut, cut + 1) == whole[cut:]
    assert [check.gap.value for check in second.history] == values


def test_what_keep_saves_of_the_state_goes_on_from_there():
    saved = {}
    values = [0.01, 0.02, 1.5]
    stopper = EarlyStopping(scripted(values), keep=lambda step: saved.update({step: stopper.state_dict()}))
    whole = run(stopper, 3)
    again = EarlyStopping(scripted(values[2:]))
    again.load_state_dict(saved[20])
    assert again.kept == 20
    assert again.update(30, PAIR, PAIR) == whole[2]


def test_a_checkpoint_that_cannot_be_saved_changes_nothing():
    forgotten: list[int] = []

    def keep(step: int) -> None:
        if step == 20:
            raise OSError("the disk is full")

    stopper = EarlyStopping(scripted([0.0, 0.0, 0.0]), keep=keep, forget=forgotten.append)
    run(stopper, 1)
    before = stopper.state_dict()
    with pytest.raises(OSError, match="full"):
        stopper.update(20, PAIR, PAIR)
    assert stopper.state_dict() == before
    assert forgotten == []
    assert stopper.update(20 + 1, PAIR, PAIR).kept == 21
    assert forgotten == [10]


@settings(max_examples=30, deadline=None)
@given(
    st.integers(2, 2000), st.integers(1, 512), st.floats(0.001, 0.1), st.floats(1.0, 2.0), st.integers(1, 50)
)
def test_checks_never_cost_more_than_their_share(rows, batch, share, factor, grid):
    when, checked = affordable(rows, batch, share, factor), []
    for step in range(grid, 400 * grid, grid):
        if when(checked, step):
            assert not checked or step >= factor * checked[-1]
            checked.append(step)
        assert len(checked) * rows <= share * PASSES * batch * step * (1 + 1e-9)


def test_checks_come_as_soon_as_they_are_paid_for_and_then_in_geometric_progression():
    when, checked = affordable(rows=192, batch_size=64, share=0.01, factor=1.1), []
    for step in range(1, 20_001):
        if when(checked, step):
            checked.append(step)
    assert checked[:5] == [100, 200, 300, 400, 500]
    late = [step for step in checked if step > 2000]
    assert all(b == math.ceil(1.1 * a) for a, b in pairwise(late))


def test_a_step_is_due_once():
    stopper = EarlyStopping(scripted([0.0, 0.0]))
    assert stopper.due(10)
    stopper.update(10, PAIR, PAIR)
    assert not stopper.due(10) and not stopper.due(9) and stopper.due(11)
    with pytest.raises(ValueError, match="does not come after step 10"):
        stopper.update(10, PAIR, PAIR)


@pytest.mark.parametrize(
    ("train_losses", "validation_losses", "words"),
    [
        (PAIR, torch.zeros(0), "no validation losses.*split_off"),
        (PAIR, torch.ones(3), "4 training and 3 validation losses"),
        (
            torch.tensor([1.0, math.nan, math.inf, 1.0]),
            PAIR,
            "2 of 4 training losses and 0 of 4.*clean step is 10",
        ),
        (PAIR, torch.full((4,), math.nan), "0 of 4 training losses and 4 of 4"),
        (torch.ones(1), torch.ones(1), "at least two pairs"),
        (-PAIR, PAIR, "positive"),
    ],
)
def test_bad_losses_are_told_and_change_nothing(train_losses, validation_losses, words):
    stopper = EarlyStopping(relative_gap)
    stopper.update(10, PAIR, PAIR)
    before = stopper.state_dict()
    with pytest.raises(InputError, match=words) as caught:
        stopper.update(20, train_losses, validation_losses)
    assert "\n" not in str(caught.value)
    assert stopper.state_dict() == before


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: EarlyStopping(relative_gap, 0.0), "is 0; it must be above 0"),
        (lambda: EarlyStopping(relative_gap, math.nan), "is nan"),
        (lambda: EarlyStopping(relative_gap, forget=print), "give keep too"),
        (lambda: affordable(0, 64), "0 rows"),
        (lambda: affordable(10, 64, factor=0.5), "factor of 0.5"),
        (lambda: EarlyStopping(relative_gap).load_state_dict({}), "KeyError"),
        (
            lambda: EarlyStopping(relative_gap, 0.2).load_state_dict(
                EarlyStopping(relative_gap).state_dict()
            ),
            "0.9 and",
        ),
        (
            lambda: EarlyStopping(relative_gap).load_state_dict(
                EarlyStopping(relative_gap).state_dict() | {"kept": 7}
            ),
            "another run",
        ),
    ],
)
def test_bad_settings_are_told_in_one_paragraph(call, words):
    with pytest.raises(InputError, match=words) as caught:
        call()
    assert "\n" not in str(caught.value)


OPTIONS = Options(
    steps=400, batch_size=8, tick_every=5, warmup_steps=5, learning_rate=5e-3, ema_decay=0.9, cpu=True
)


def few(count: int, seed: int) -> Examples:
    x = torch.randn(count, 4, generator=torch.Generator().manual_seed(seed)) / 2
    return Examples(x, torch.zeros(count))


def beginning() -> tuple[Precondition, Probe, Examples]:
    """A network, three examples to train on (fewer than a batch), and a probe."""
    g = torch.Generator().manual_seed(0)
    denoiser = Precondition(build_mlp((4,), g, width=32, depth=2, dropout=0.1), edm())
    examples = few(3, 1)
    probe = probe_of(
        examples, few(60, 2), LogNormal(), denoiser.weight, torch.Generator().manual_seed(3), draws=20
    )
    return denoiser, probe, examples


def in_our_loop(folder: Path, resume: Path | None = None, until: int = 10**9) -> EarlyStopping:
    denoiser, probe, examples = beginning()

    def keep(step: int) -> None:
        save(tick.state, checkpoint_path(folder, step))
        (folder / "stopping.json").write_text(json.dumps(stopper.state_dict()))

    def forget(step: int) -> None:
        checkpoint_path(folder, step).unlink()

    # Three examples may be easier than others from the start: only twice the loss is memorization here.
    when = affordable(probe.rows, OPTIONS.batch_size, share=0.5)
    stopper = EarlyStopping(relative_gap, 1.0, when=when, keep=keep, forget=forget)
    if resume is not None:
        stopper.load_state_dict(json.loads((folder / "stopping.json").read_text()))
    recipe = baseline(examples, LogNormal(), denoiser.weight)
    for tick in train(denoiser, recipe, torch.Generator().manual_seed(1), OPTIONS, resume):
        if tick.step > until:
            break
        if stopper.due(tick.step) and stopper.update(tick.step, *probe.losses(tick.state.network)).stop:
            break
    return stopper


def test_it_stops_our_loop_on_fewer_examples_than_a_batch_and_resumes_exactly(tmp_path: Path):
    # Rows are drawn with replacement: three examples fill a batch of eight.
    folders = tmp_path / "whole", tmp_path / "killed"
    for folder in folders:
        folder.mkdir()
    whole = in_our_loop(folders[0])
    assert whole.stopped is not None and whole.kept is not None
    assert latest_checkpoint(folders[0]) == checkpoint_path(folders[0], whole.kept)
    assert len(list(folders[0].glob("*.safetensors"))) == 1
    kept = [check.step for check in whole.history if check.step <= whole.kept]
    assert len(kept) >= 2
    in_our_loop(folders[1], until=kept[len(kept) // 2])
    resumed = in_our_loop(folders[1], resume=latest_checkpoint(folders[1]))
    assert resumed.state_dict() == whole.state_dict()
    # The online estimate is the onset of the curve that was checked: between the last clean step and the stop.
    steps = [check.step for check in whole.history]
    onset = gap_onset(
        steps, [0.0] * len(steps), [check.gap.value for check in whole.history], whole.threshold
    )
    assert whole.kept <= onset.value <= whole.stopped


def test_checks_do_not_disturb_training():
    def weights(checks: bool) -> list[Tensor]:
        denoiser, probe, examples = beginning()
        recipe = baseline(examples, LogNormal(), denoiser.weight)
        for tick in train(denoiser, recipe, torch.Generator().manual_seed(1), OPTIONS):
            if checks:
                probe.losses(tick.state.network)
            if tick.step == 40:
                break
        return list(denoiser.state_dict().values())

    assert all(torch.equal(a, b) for a, b in zip(weights(True), weights(False), strict=True))
