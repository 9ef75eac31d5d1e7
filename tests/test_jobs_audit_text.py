"""An audit of text finds planted copies by either definition, and is sure of what it says."""

from __future__ import annotations

import json
import re

import pyarrow.parquet as pq
import pytest
import torch
from texts import damaged, put, words

from unrote.cli.main import main
from unrote.contracts import InputError
from unrote.jobs import AuditOptions, audit
from unrote.jobs.audit_text_page import pieces

LENGTH = 128
TRAIN, FRESH = words(1, 80 * LENGTH), words(2, 200 * LENGTH)
WINDOWS = [TRAIN[i * LENGTH : (i + 1) * LENGTH] for i in range(80)]
NEW = [FRESH[i * LENGTH : (i + 1) * LENGTH] for i in range(60)]


def run(tmp_path, samples: list[str], test: bool = True, **more):
    """An audit of lines against the training text."""
    options = AuditOptions(
        train=put(tmp_path / "train.txt", TRAIN),
        samples=put(tmp_path / "samples.txt", *samples),
        test=put(tmp_path / "test.txt", FRESH[60 * LENGTH :]) if test else None,
        out=tmp_path / "out",
        **more,
    )
    return audit(options)


def test_damaged_copies_are_found_and_nothing_else(tmp_path) -> None:
    planted = [damaged(window, 0.1, seed) for seed, window in enumerate(WINDOWS[:20])]
    made = run(tmp_path, planted + NEW)
    results = json.loads((tmp_path / "out" / "result.json").read_text())["results"]
    assert results["copy_ratio"]["value"] == 0.25 and results["copy_ratio"]["n"] == 80
    assert results["calibration_ratio"]["value"] == 0 and results["calibration_ratio"]["n"] == 140
    assert results["copies_found"] is True and results["excess_over_calibration"]["low"] > 0.1
    assert results["copied_train_share"]["value"] == 20 / 80
    assert results["definitions"]["exact"]["copy_ratio"]["value"] == 0
    assert results["hamming_distance"]["value"] < results["hamming_distance_calibration"]["value"]
    table = pq.read_table(tmp_path / "out" / "samples.parquet").to_pydict()
    assert table["copy"] == [True] * 20 + [False] * 60
    assert table["nearest"][:20] == list(range(20)) and table["nearest_text"][:20] == WINDOWS[:20]
    differ = [sum(a != b for a, b in zip(*pair, strict=True)) for pair in zip(planted, WINDOWS, strict=False)]
    assert table["d1"][:20] == differ
    assert {"sample", "nearest", "second", "d1", "d2", "ratio", "copy", "p_value"} <= set(table)
    assert max(table["p_value"][:20]) == 1 / 141
    assert (
        made.copy_ratio.value == 0.25 and "20 of 80 samples are copies of the training text" in made.summary()
    )


def test_a_moved_passage_is_seen_by_the_definition_that_needs_no_alignment(tmp_path) -> None:
    moved = [NEW[i][:13] + TRAIN[i * 300 + 7 : i * 300 + 97] + NEW[i][103:] for i in range(15)]
    made = run(tmp_path, moved + NEW[20:])
    results = made.content["results"]["definitions"]
    assert results["hamming"]["copy_ratio"]["value"] == 0
    assert results["passage"]["copy_ratio"]["value"] == pytest.approx(15 / 55)
    assert any("15 more samples share a long passage" in note and "--stride 1" in note for note in made.notes)
    assert (made.distances.source[:15] - made.distances.place[:15]).tolist() == [
        i * 300 + 7 - 13 for i in range(15)
    ]
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Passages in other places" in page


def test_every_offset_is_compared_where_windows_overlap(tmp_path) -> None:
    shifted = [TRAIN[i * 500 + 3 : i * 500 + 3 + LENGTH] for i in range(10)]
    assert run(tmp_path, shifted + NEW, test=False).copy_ratio.value == 0
    made = run(tmp_path, shifted + NEW, test=False, stride=1, overwrite=True)
    assert made.copy_ratio.value == pytest.approx(10 / 70)
    assert made.content["results"]["window"] == {"length": LENGTH, "stride": 1, "count": 79 * LENGTH + 1}
    assert made.content["results"]["copied_train_share"]["value"] == pytest.approx(10 / 80)
    assert any("begin 1 character apart" in note for note in made.notes)


def test_the_page_shows_a_copy_beside_its_source_with_differences_marked(tmp_path) -> None:
    sample = "_".join(WINDOWS[3].split("_"))
    sample = ("z" if sample[0] != "z" else "y") + sample[1:]
    run(tmp_path, [sample, *NEW])
    page = (tmp_path / "out" / "report.html").read_text()
    first = page.split('<li class="exhibit')[1].split("</li>")[0]
    assert first.startswith(" marked") and "1 of 128 characters differ" in first and "line 1" in first
    letters = re.findall(r'<p class="letters"[^>]*>(.*?)</p>', first)
    assert letters[0] == f"<mark>{sample[0]}</mark>{sample[1:]}"
    assert letters[1] == f"<mark>{WINDOWS[3][0]}</mark>{WINDOWS[3][1:]}"
    assert pieces("abc", [False, True, True]) == (("a", False), ("bc", True))


def test_no_copies_is_an_upper_bound(tmp_path) -> None:
    made = run(tmp_path, NEW)
    assert "No copies among 60 samples: at most 6.1 %" in made.summary()
    assert "3,838 samples without a copy" in made.summary()
    assert made.content["results"]["copies_found"] is False


def test_short_samples_lose_only_what_is_missing(tmp_path) -> None:
    made = run(tmp_path, [WINDOWS[0][:-5], WINDOWS[1], *NEW])
    assert made.distances.d1[:2].tolist() == [5, 0]
    assert any("1 of 62 samples" in note for note in made.notes)


def test_equal_windows_count_as_one(tmp_path) -> None:
    train = put(tmp_path / "train.txt", *WINDOWS[:10], *WINDOWS[:10])
    samples = put(tmp_path / "samples.txt", *WINDOWS[:5], *WINDOWS[:5], *NEW)
    made = audit(AuditOptions(train=train, samples=samples, out=tmp_path / "out"))
    results = made.content["results"]
    assert results["duplicate_groups"] == 10 and results["duplicate_windows"] == 20
    assert results["copied_train_share"]["value"] == 0.5
    assert [one["times"] for one in results["most_copied"]] == [2] * 5
    assert any("one a line" in note for note in made.notes)


def test_a_long_line_is_cut_into_windows(tmp_path) -> None:
    text = put(tmp_path / "long.txt", "".join(WINDOWS[5:8]) + FRESH[: 3 * LENGTH])
    train = put(tmp_path / "train.txt", TRAIN)
    with pytest.raises(InputError, match="--window"):
        audit(AuditOptions(train=train, samples=text, out=tmp_path / "out"))
    made = audit(AuditOptions(train=train, samples=text, window=LENGTH, out=tmp_path / "out"))
    assert made.copy_ratio.value == 0.5 and made.names[1] == "characters 128 to 255"


def test_samples_that_are_the_training_text_and_test_text_that_is(tmp_path) -> None:
    made = run(tmp_path, WINDOWS)
    assert any("ARE the training windows" in note for note in made.notes)
    assert any("equal a training window" in note for note in run(tmp_path, WINDOWS[1:], overwrite=True).notes)
    train = put(tmp_path / "train.txt", TRAIN)
    made = audit(
        AuditOptions(train=train, samples=str(tmp_path / "samples.txt"), test=train, out=tmp_path / "same")
    )
    assert any("100% of the windows of held-out text" in note for note in made.notes)
    assert not made.findings.alarming


def test_the_gate_ends_with_status_3(tmp_path, capsys) -> None:
    train, samples = put(tmp_path / "train.txt", TRAIN), put(tmp_path / "s.txt", *WINDOWS[:30], *NEW)
    command = ["audit", "--train", f"text:{train}", "--samples", samples, "--out", str(tmp_path / "o")]
    assert main([*command, "--fail-above", "0.1", "--json"]) == 3
    told = json.loads(capsys.readouterr().out)
    assert told["results"]["copy_ratio"]["value"] == pytest.approx(1 / 3)
    assert told["inputs"]["train"]["kind"] == "text" and len(told["inputs"]["samples"]["sha256"]) == 64
    assert main([*command, "--fail-above", "0.5", "--overwrite"]) == 0


def test_what_is_not_in_the_alphabet_is_normalized_on_request(tmp_path) -> None:
    loud = [window.upper() for window in WINDOWS[:4]]
    with pytest.raises(InputError, match=r"outside the alphabet.*--normalize"):
        run(tmp_path, loud + NEW)
    assert not (tmp_path / "out").exists()
    made = run(tmp_path, loud + NEW, normalize="drop")
    assert made.copy_ratio.value == pytest.approx(4 / 64)
    assert any("normalized line by line" in note for note in made.notes)


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"resize": 8}, "--resize is for images"),
        ({"factor": 2.0}, "--factor is for images"),
        ({"passage_threshold": 500}, "longer than a window"),
        ({"window": 100}, "longer than a window of 100"),
        ({"hamming_threshold": 1.0}, "--hamming-threshold 1 cannot be used"),
    ],
)
def test_settings_that_do_not_fit_are_refused(tmp_path, more, told) -> None:
    with pytest.raises(InputError, match=told):
        run(tmp_path, NEW, **more)
    assert not list(tmp_path.glob("out*"))


def test_data_of_two_kinds_and_sets_that_are_too_small_are_refused(tmp_path) -> None:
    train, samples = put(tmp_path / "train.txt", TRAIN), put(tmp_path / "s.txt", *NEW)
    for options, told in (
        ({"train": train, "samples": "digits@5"}, r"is text, and --samples digits@5 is not"),
        ({"train": "digits", "samples": "digits@5", "window": 5}, "--window is for text"),
        ({"train": train, "samples": (samples, train)}, "one set at a time"),
        ({"train": f"{train}@1", "samples": samples}, "holds 1 window"),
        ({"train": f"{train}@81", "samples": samples}, "81 were asked for"),
        ({"train": put(tmp_path / "tiny.txt", "abc"), "samples": samples}, "longer than .* which has 3"),
        ({"train": train, "samples": samples, "test": str(tmp_path / "tiny.txt")}, "longer than"),
    ):
        with pytest.raises(InputError, match=told):
            audit(AuditOptions(**options, out=tmp_path / "out"))


@pytest.mark.shared_data
def test_real_text_is_called_a_copy_by_chance_hardly_ever(tmp_path, shared_data) -> None:
    folder = shared_data / "text"
    made = audit(
        AuditOptions(
            train=f"{folder / 'wikitext2_az_train.txt'}@1024",
            samples=f"{folder / 'wikitext2_az_validation.txt'}@200",
            test=f"{folder / 'wikitext2_az_validation.txt'}@200:",
            window=256,
            out=tmp_path / "out",
        )
    )
    assert made.copy_ratio.value == 0 and made.content["results"]["calibration_ratio"]["value"] == 0
    assert torch.all(made.distances.d1 > 0.75 * 256)
