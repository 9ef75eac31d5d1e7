"""`unrote train` of text, end to end on a made-up language."""

from __future__ import annotations

import itertools
import json
import math
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import tyro
from safetensors.torch import load_file
from texts import put, words

from unrote.contracts import InputError
from unrote.data.alphabet import VOCABULARY, decode
from unrote.denoise.tokens import TokenEmpirical
from unrote.jobs import AuditOptions, ProbeOptions, TrainOptions, audit, fitting, probe, train
from unrote.jobs.measuring import read_history
from unrote.jobs.paired_losses import in_bands
from unrote.jobs.text_evidence import compared
from unrote.jobs.training import asked_of
from unrote.jobs.training_sizes import TEXT, sizes_of
from unrote.jobs.training_text import plan_of_text
from unrote.jobs.training_text_data import WINDOW, TextSet, read_windows
from unrote.jobs.training_text_page import audit_command
from unrote.jobs.training_text_run import (
    EDGES,
    UNTRAINED,
    build,
    draw,
    pairs_for,
    read_samples,
    read_text_run,
    row_bits,
)
from unrote.noise.tokens import Masked
from unrote.train.token_losses import LEAST, masked_recipe, masked_rest

SMALL = {"window": 8, "width": 32, "depth": 1, "heads": 2, "learning_rate": 5e-3, "device": "cpu"}
SHORT = {"steps": 160, "samples": 40, "checkpoints": 4, "batch_size": 16, "ema_decay": 0.98}
PARTING = {"steps": 100, "stop_gap": 0.5, "batch_size": 128}


@pytest.fixture(scope="module")
def text(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("text")
    put(folder / "train.txt", words(1, 2000))
    put(folder / "test.txt", words(2, 800))
    put(folder / "easy.txt", *(letter * 8 for letter in "abcde"))
    return folder


@pytest.fixture(scope="module")
def options(text) -> TrainOptions:
    return TrainOptions(train=f"{text}/easy.txt", test=f"{text}/test.txt", out=text / "run", **SMALL, **SHORT)


@pytest.fixture(scope="module")
def made(options):
    return train(options)


@pytest.fixture
def parting(options, text, tmp_path) -> TrainOptions:
    """A run whose losses part on its way."""
    return replace(options, train=f"{text}/train.txt@6", out=tmp_path / "run", **PARTING)


def data_of(text: Path, **given: object) -> TextSet:
    return read_windows(TrainOptions(**{"train": f"{text}/train.txt", "window": 8} | given))[0]


def result(folder: Path) -> dict:
    return json.loads((folder / "result.json").read_text())["results"]


def test_a_small_model_learns_a_few_windows_by_heart_and_the_result_says_so(made) -> None:
    said, last = result(made.out), made.history[-1]
    assert made.copy_ratio.low > 0.2
    assert said["unit"] == "bits per character"
    assert said["window"] == {"length": 8, "stride": 8, "count": 5}
    assert said["held_out"] == {"windows": 100, "split_off": False}
    assert said["steps"][-1] == said["stopped_at"] == 160
    assert last.train_loss.value < last.validation_loss.value
    assert said["loss_gap"]["low"][-1] > 0
    assert [band["high"] for band in said["bands"]] == [*EDGES, None]
    assert {"train_loss", "validation_loss", "loss_gap", "bands"} <= set(said["raw"])
    onset = {one["threshold"]: one for one in said["onset"]["by_copies"]}[0.05]
    assert 0 < onset["low"] <= onset["value"] <= onset["high"]


def test_the_page_and_the_summary_tell_copies_from_windows_of_text(made, text) -> None:
    page, summary = (made.out / "report.html").read_text(), made.summary()
    assert "of the samples are copies" in summary
    assert "on held-out windows" in summary
    assert "images" not in summary
    for words_of_page in (
        "Copied text beside its source",
        "One sample on the way",
        "What to do next",
        "Train for fewer steps",
        "losses apart, ",
        f"unrote audit --train {text}/easy.txt --samples {made.out}/samples.txt --test {text}/test.txt",
    ):
        assert words_of_page in page


def test_an_audit_of_the_samples_finds_the_same_copies(made, options, text) -> None:
    command = shlex.split(audit_command(read_windows(options)[0], options))
    asked = tyro.cli(AuditOptions, args=[*command[2:], "--out", str(text / "audit")])
    assert audit(asked).copy_ratio == made.copy_ratio


def test_samples_are_those_of_the_weights_that_were_kept(made) -> None:
    denoiser, said = read_text_run(made.out)
    again = draw(denoiser, said["length"], 40, 0)
    assert "".join(decode(row) + "\n" for row in again) == (made.out / "samples.txt").read_text()
    assert torch.equal(draw(denoiser, said["length"], 3, 0), again[:3])  # whatever the batch
    raw, _ = read_text_run(made.out, averaged=False)
    assert not torch.equal(draw(raw, said["length"], 40, 0), again)
    assert [path.name for path in sorted((made.out / "samples").iterdir())] == [
        f"step-{step:09d}.txt" for step in result(made.out)["steps"]
    ]


@pytest.mark.parametrize("stops", [False, True])
def test_a_killed_run_ends_with_the_same_bits(made, options, parting, tmp_path, monkeypatch, stops) -> None:
    asked = parting if stops else replace(options, out=tmp_path / "run")
    whole = train(replace(asked, out=tmp_path / "whole")) if stops else made
    count, save = itertools.count(), fitting.save

    def save_and_die(state, path):
        save(state, path)
        if next(count) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(fitting, "save", save_and_die)
    with pytest.raises(KeyboardInterrupt):
        train(asked)
    monkeypatch.setattr(fitting, "save", save)
    again = train(asked)
    assert result(again.out) == result(whole.out)
    assert read_history(again.out) == read_history(whole.out)
    assert (again.out / "samples.txt").read_text() == (whole.out / "samples.txt").read_text()
    name = f"step-{again.kept.step:09d}.safetensors"
    one, other = load_file(again.out / name), load_file(whole.out / name)
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_a_run_ends_where_its_losses_have_parted(parting) -> None:
    ended = train(parting)
    assert ended.stop.ended is not None
    assert ended.stop.ended < 100
    assert ended.stop.expected is None  # how losses and copies go together is known of images alone
    assert ended.kept.step == ended.stop.kept
    assert ended.stop.because in ended.summary()
    assert not ended.copy_ratio.value


def test_the_lowest_held_out_loss_is_kept_where_that_is_asked_for(options, made, tmp_path) -> None:
    early = train(replace(options, stop_early=True, out=tmp_path / "run"))
    assert early.kept == min(made.history, key=lambda m: m.validation_loss.value)
    assert early.kept.step < 160
    _, said = read_text_run(early.out)
    samples = read_samples(early.out / "samples.txt")
    copied = compared(samples, read_windows(options)[0].train).copied
    assert float(copied.double().mean()) == early.copy_ratio.value
    assert said["network"]["kind"] == "transformer"


def test_both_weights_are_sampled_where_that_is_asked_for(options, tmp_path) -> None:
    both = train(replace(options, both_weights=True, steps=40, checkpoints=2, out=tmp_path / "run"))
    assert all(m.raw.copy_ratio.n == 40 for m in both.history)


def test_a_model_that_says_nothing_pays_for_every_hidden_character(text) -> None:
    data = data_of(text)
    pairs = pairs_for(data, recipe_of(data), 0, 50, 200)
    found, fresh = row_bits(pairs, build(plan_of_text(options_of(text), True).network, 8, 0))
    hidden = (torch.special.ndtr(pairs.probe.z.double()) < pairs.probe.sigma[:, None].double()).double()
    weight = (1 - LEAST) / pairs.probe.sigma.double()
    paid = weight * hidden.mean(1) * UNTRAINED + masked_rest(VOCABULARY, LEAST) / math.log(2)
    assert torch.allclose(found, paid, rtol=1e-5)
    assert torch.equal(found, fresh)  # the masks of a pair are the same


def test_windows_learned_by_heart_cost_the_logarithm_of_their_number(text) -> None:
    data = data_of(text, train=f"{text}/train.txt@32", test=f"{text}/test.txt", window=16)
    assert len(data.train.tokens.unique(dim=0)) == 32
    pairs = pairs_for(data, recipe_of(data), 0, 32, 4000)
    bits = in_bands(pairs, *row_bits(pairs, TokenEmpirical(data.train.tokens, Masked(VOCABULARY))), EDGES)
    assert bits.train_loss.value == pytest.approx(math.log2(32) / 16, rel=0.05)


def recipe_of(data: TextSet):
    from unrote.contracts import Examples

    return masked_recipe(Examples(data.x, torch.zeros(len(data.x))), VOCABULARY)


def options_of(text: Path) -> TrainOptions:
    return TrainOptions(train=f"{text}/train.txt", **SMALL)


@pytest.mark.parametrize("stride", [None, 3, 8, 20])
def test_the_end_is_held_out_and_no_character_of_it_is_trained_on(text, stride) -> None:
    data = data_of(text, stride=stride)
    first, end = int(data.held_out.start[0]), int(data.train.start[-1]) + 8
    assert end <= first
    assert first - end < max(stride or 8, 8) + 8
    assert data.held_out.start.diff().tolist() == [8] * (len(data.held_out) - 1)
    assert len(data.held_out) == pytest.approx(2000 / 8 / 10, rel=0.1)
    assert torch.equal(data.x.long(), data.train.tokens)
    assert "are not trained on" in data.split


def test_losses_are_measured_on_windows_that_share_nothing(text) -> None:
    data = data_of(text, stride=3)
    starts = data.train.start[::3]
    assert torch.equal(data.apart, data.train.text.tokens[starts[:, None] + torch.arange(8)].long())
    assert int(starts.diff().min()) >= 8
    assert any("begin 3 characters apart" in note for note in data.notes)
    assert not any("overlap" in note for note in data_of(text).notes)


def test_lines_of_one_length_are_windows_and_their_copies_in_held_out_text_are_told(text, tmp_path) -> None:
    lines = [words(seed, 12) for seed in range(3, 33)]
    train_set = put(tmp_path / "lines.txt", *lines)
    held = put(tmp_path / "held.txt", *lines[:2], *(words(seed, 12) for seed in range(40, 60)))
    data = read_windows(TrainOptions(train=train_set, test=held))[0]
    assert data.train.length == 12
    assert any("of 22 held-out windows would themselves be called copies" in note for note in data.notes)
    assert any("2 of them equal one in every character" in note for note in data.notes)
    assert len(read_windows(TrainOptions(train=train_set))[0].held_out) == 3


def test_few_held_out_windows_are_told(text) -> None:
    assert any("Only 2 windows are held out" in n for n in data_of(text, train=f"{text}/train.txt@9").notes)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"train": "digits"}, "--window is for text, and these data are images"),
        ({"train": "digits", "window": None, "heads": 2}, "--heads is for text"),
        (
            {"train": "digits", "window": None, "network": "transformer"},
            "--network transformer cannot learn images",
        ),
        ({"network": "unet"}, "--network unet cannot learn text, which take transformer"),
        ({"flip": True}, "--flip is for images, and these data are text; leave it out"),
        ({"recipe": "gap", "gap": (0.1, 0.2)}, "--recipe is for images"),
        ({"from_model": Path("run")}, "--from is for images"),
        ({"resize": 8}, "--resize is for images"),
        ({"features": "pca:4"}, "--features is for images"),
        ({"test": "digits"}, "is text, and --test digits is not"),
        ({"window": 5000}, "is longer than"),
        ({"train": "{text}/train.txt@9000"}, "9,000 were asked for"),
        ({"train": "{text}/train.txt@4"}, "two would be held out and 2 left to train on"),
        ({"train": "{text}/train.txt@2", "test": "{text}/test.txt"}, "holds 2 windows .* at least 3"),
        ({"test": "{text}/test.txt@1"}, "--test .* holds 1 window of 8 characters, and at least 2"),
        ({"stride": 0}, "--stride 0 cannot be used"),
        ({"heads": 5}, "even number of channels for each of its heads"),
        ({"heads": 0}, "positive sizes"),
        ({"stop_gap": 0.0}, "held-out windows may be above"),
        ({"stop_gap": 1.0, "stop_early": True}, "lowest loss on held-out windows"),
        ({"train": "{text}/none.txt"}, "none.txt' does not exist"),
        ({"samples": 0}, "--samples 0 cannot be used"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_sentence(text, tmp_path, given, says) -> None:
    asked = {"train": f"{text}/train.txt", "out": tmp_path / "run", **SMALL, "width": None} | given
    asked = {k: v.replace("{text}", str(text)) if isinstance(v, str) else v for k, v in asked.items()}
    if asked["train"] == "digits":
        asked = {"heads": None} | {k: v for k, v in asked.items() if k != "heads" or "heads" in given}
    with pytest.raises(InputError, match=says):
        train(TrainOptions(**asked))
    assert not (tmp_path / "run").exists()


def test_other_characters_are_refused_or_brought_to_the_alphabet(tmp_path) -> None:
    spec = put(tmp_path / "loud.txt", "It's 3 o'clock! " * 40)
    with pytest.raises(InputError, match="normalize"):
        read_windows(TrainOptions(train=spec, window=8))
    data, _ = read_windows(TrainOptions(train=spec, window=8, normalize="spell"))
    assert decode(data.train.tokens[0]) == "it s thr"
    assert any("was normalized" in note for note in data.notes)


def test_a_run_on_text_is_no_model_of_images(made, tmp_path) -> None:
    with pytest.raises(InputError, match="learned text, and a model of images is needed"):
        probe(ProbeOptions(model=made.out, train="digits@32", test="digits@100:120", out=tmp_path / "probe"))
    with pytest.raises(InputError, match="is not a run of `unrote train`"):
        read_text_run(tmp_path)


def test_what_is_not_given_depends_on_the_kind_of_data(text) -> None:
    images, texts = TrainOptions(train="digits"), TrainOptions(train=f"{text}/train.txt")
    assert vars(sizes_of(images)) == {
        "network": "mlp",
        "width": 512,
        "depth": 3,
        "steps": 2000,
        "batch_size": 64,
        "samples": 512,
    }
    assert sizes_of(replace(texts, width=24)) == replace(TEXT, width=24)
    assert not {"window", "stride", "normalize", "heads"} & set(asked_of(images))
    assert len(read_windows(texts)[0].train.tokens[0]) == WINDOW
