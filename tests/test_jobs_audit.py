"""An audit finds what was planted, says how sure it is, and leaves nothing half-written."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from scenes import faces, save_array, save_folder

from unrote.contracts import InputError
from unrote.jobs import AuditOptions, audit, audit_table, auditing
from unrote.jobs.audit_table import Blocks

TRAIN = faces(300, seed=1)
FRESH = faces(200, seed=2)


def run(tmp_path: Path, train, samples, test=None, **more):
    """An audit of arrays."""
    spec = {
        "train": save_array(train, tmp_path / "train.npy"),
        "samples": save_array(samples, tmp_path / "s.npy"),
    }
    if test is not None:
        spec["test"] = save_array(test, tmp_path / "test.npy")
    return audit(AuditOptions(**spec, out=tmp_path / "out", **more))


def test_planted_copies_are_found_and_nothing_else(tmp_path) -> None:
    samples = torch.cat([TRAIN[:40], FRESH[:60]])
    made = run(tmp_path, TRAIN, samples, FRESH[60:])
    result = json.loads((tmp_path / "out" / "result.json").read_text())["results"]
    assert result["copy_ratio"]["value"] == pytest.approx(0.4)
    assert result["copy_ratio"]["low"] < 0.4 < result["copy_ratio"]["high"]
    assert result["copy_ratio"]["n"] == 100
    assert result["calibration_ratio"]["value"] == 0
    assert result["copies_found"] is True
    table = pq.read_table(tmp_path / "out" / "samples.parquet").to_pydict()
    assert table["copy"] == [True] * 40 + [False] * 60
    assert table["nearest"][:40] == list(range(40))
    assert table["d1"][:40] == [0.0] * 40  # exactly, and not a residue of rounding
    assert {"sample", "nearest", "second", "d1", "d2", "ratio", "copy", "class"} <= set(table)
    assert made.copy_ratio.value == pytest.approx(0.4)
    assert "40 of 100" in made.summary()


def test_copied_share_of_the_training_set_counts_images_once(tmp_path) -> None:
    samples = torch.cat([TRAIN[:10], TRAIN[:10], TRAIN[:5], FRESH[:75]])
    result = run(tmp_path, TRAIN, samples).content["results"]
    assert result["copied_train_share"]["value"] == pytest.approx(10 / 300)
    assert result["copied_train_share"]["n"] == 100
    assert result["most_copied"][0]["times"] == 3
    assert result["copied_train_share_with_unseen"]["value"] >= 10 / 300


def test_no_copies_is_an_upper_bound_and_not_a_zero(tmp_path) -> None:
    made = run(tmp_path, TRAIN, FRESH[:97])
    assert "No copies among 97 samples: at most 3.9 %" in made.summary()
    assert made.content["results"]["samples_for_upper_bound"]["0.001"] == 3838
    assert "3,838 samples without a copy" in made.summary()
    assert made.content["results"]["copies_found"] is False
    page = (tmp_path / "out" / "report.html").read_text()
    assert "not a guarantee of privacy" in page


def test_copies_of_duplicated_images_are_missed_by_the_plain_rule_and_found_by_groups(tmp_path) -> None:
    twins = (TRAIN[:20].int() + torch.randint(-2, 3, TRAIN[:20].shape)).clamp(0, 255).to(torch.uint8)
    samples = (TRAIN[:20].int() + torch.randint(-2, 3, TRAIN[:20].shape)).clamp(0, 255).to(torch.uint8)
    result = run(tmp_path, torch.cat([TRAIN, twins]), samples).content["results"]
    assert result["duplicate_groups"] == 20
    assert result["duplicate_images"] == 40
    assert result["definitions"]["plain"]["copy_ratio"]["value"] == 0
    assert result["definitions"]["by_groups"]["copy_ratio"]["value"] == 1


def test_alignment_finds_mirrored_and_brightened_copies(tmp_path) -> None:
    mirrored = TRAIN[:30].flip(3)
    brighter = (TRAIN[30:60].float() * 0.8 + 40).round().to(torch.uint8)
    result = run(tmp_path, TRAIN, torch.cat([mirrored, brighter]), FRESH).content["results"]["definitions"]
    assert result["aligned"]["copy_ratio"]["value"] > 0.95
    assert result["aligned"]["calibration_ratio"]["value"] < 0.05
    assert result["by_groups"]["copy_ratio"]["value"] < 0.5


def test_the_calibrated_threshold_and_p_values_come_from_held_out_images(tmp_path) -> None:
    made = run(tmp_path, TRAIN, torch.cat([TRAIN[:20], FRESH[:80]]), faces(400, seed=5), false_positives=0.05)
    calibrated = made.content["results"]["definitions"]["calibrated"]
    assert calibrated["calibration_ratio"]["value"] <= 0.05
    p = torch.tensor(pq.read_table(tmp_path / "out" / "samples.parquet")["p_value"].to_pylist())
    assert float(p[:20].max()) == pytest.approx(1 / 401)
    assert float(p[20:].mean()) == pytest.approx(0.5, abs=0.1)  # fresh images have uniform p-values


def test_near_duplicates_of_training_images_leave_the_calibration(tmp_path) -> None:
    test = torch.cat([FRESH[:50], TRAIN[:7]])
    made = run(tmp_path, TRAIN, FRESH[60:100], test)
    assert made.content["results"]["calibration_ratio"]["n"] == 50
    assert any("7 of 57 held-out images" in note for note in made.notes)


def test_different_pixel_ranges_are_seen_and_brought_together(tmp_path) -> None:
    train = TRAIN.float() / 127.5 - 1
    samples = torch.cat([TRAIN[:10], FRESH[:30]]).float() / 255
    made = run(tmp_path, train, samples)
    assert made.copy_ratio.value == pytest.approx(0.25)
    assert any("[0, 1]" in note and "[-1, 1]" in note for note in made.notes)


def test_float_samples_are_rounded_to_the_training_set_s_8_bits(tmp_path) -> None:
    samples = (TRAIN[:10].float() + 0.3 * torch.rand(10, 1, 12, 12)) / 127.5 - 1
    made = run(tmp_path, TRAIN, samples)
    assert float(made.distances.d1.max()) == 0.0
    assert any("rounded to 8 bits" in note for note in made.notes)


def test_samples_that_are_the_training_files_are_warned_of(tmp_path) -> None:
    folder = save_folder(TRAIN[:30], tmp_path / "train")
    made = audit(AuditOptions(train=folder, samples=folder, out=tmp_path / "out"))
    assert any("ARE the training images" in note for note in made.notes)
    most = run(tmp_path / "", TRAIN, TRAIN[5:30], overwrite=True)
    assert any("100% of the samples equal a training image" in note for note in most.notes)


def test_folders_arrays_and_parquet_give_the_same_audit(tmp_path) -> None:
    samples = torch.cat([TRAIN[:5], FRESH[:20]])
    first = run(tmp_path, TRAIN, samples).content["results"]
    folders = AuditOptions(
        train=save_folder(TRAIN, tmp_path / "t"),
        samples=save_folder(samples, tmp_path / "s"),
        out=tmp_path / "o2",
    )
    second = audit(folders).content["results"]
    for key in ("copy_ratio", "copied_train_share", "duplicate_groups", "definitions"):
        assert first[key] == second[key]


@pytest.mark.parametrize("count", [1, 2])
def test_one_or_two_training_images_are_too_few(tmp_path, count) -> None:
    with pytest.raises(InputError, match="at least 3"):
        run(tmp_path, TRAIN[:count], FRESH[:5])
    assert not list(tmp_path.glob("out*"))


def test_a_training_set_of_one_image_over_and_over_is_refused(tmp_path) -> None:
    with pytest.raises(InputError, match="near-duplicates of each other"):
        run(tmp_path, TRAIN[:1].repeat(20, 1, 1, 1), FRESH[:5])


def test_different_shapes_are_refused(tmp_path) -> None:
    with pytest.raises(InputError, match=r"--resize"):
        run(tmp_path, TRAIN, faces(5, seed=3, side=16))
    assert not list(tmp_path.glob("out*"))


def test_settings_out_of_range_are_refused(tmp_path) -> None:
    with pytest.raises(InputError, match=r"--factor 0\.5"):
        run(tmp_path, TRAIN, FRESH, factor=0.5)


def test_a_folder_that_holds_something_is_not_overwritten_by_accident(tmp_path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match="--overwrite"):
        run(tmp_path, TRAIN, FRESH)
    with pytest.raises(InputError, match=r"no result\.json"):
        run(tmp_path, TRAIN, FRESH, overwrite=True)
    assert (out / "thesis.tex").read_text() == "years of work"
    (out / "thesis.tex").unlink()
    run(tmp_path, TRAIN, FRESH)
    run(tmp_path, TRAIN, FRESH[:50], overwrite=True)
    assert json.loads((out / "result.json").read_text())["results"]["copy_ratio"]["n"] == 50
    assert sorted(p.name for p in out.iterdir()) == ["report.html", "result.json", "samples.parquet"]


def test_an_interrupted_audit_goes_on_where_it_was(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(auditing, "BLOCK", 32)
    samples = torch.cat([TRAIN[:50], FRESH[:150]])
    whole = run(tmp_path, TRAIN, samples, FRESH[150:])
    calls: list[int] = []
    measure = Blocks.measure

    def stop_at_the_fourth(self, number, *rest):
        if self.folder.name == auditing.SAMPLE_BLOCKS:
            calls.append(number)
            if len(calls) == 4:
                raise KeyboardInterrupt
        return measure(self, number, *rest)

    monkeypatch.setattr(Blocks, "measure", stop_at_the_fourth)
    again = AuditOptions(
        train=str(tmp_path / "train.npy"),
        samples=str(tmp_path / "s.npy"),
        test=str(tmp_path / "test.npy"),
        out=tmp_path / "again",
    )
    with pytest.raises(KeyboardInterrupt):
        audit(again)
    assert not (tmp_path / "again").exists()
    assert len(list((tmp_path / "again.partial" / auditing.SAMPLE_BLOCKS).iterdir())) == 3
    searched: list[int] = []
    monkeypatch.setattr(Blocks, "measure", measure)
    one = audit_table.measure

    def counted(pixels, *rest):
        searched.append(len(pixels))
        return one(pixels, *rest)

    monkeypatch.setattr(audit_table, "measure", counted)
    resumed = audit(again)
    assert len(searched) == 4  # of 7 blocks three were kept
    assert resumed.content["results"] == whole.content["results"]
    assert not list(tmp_path.glob("again.*"))


def test_other_settings_do_not_go_on_with_a_partial_folder(tmp_path, monkeypatch) -> None:
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(auditing, "write_table", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, TRAIN, FRESH)
    monkeypatch.undo()
    made = run(tmp_path, TRAIN, FRESH, factor=2.0)
    assert made.content["settings"]["factor"] == 2.0
    assert not list(tmp_path.glob("out.partial"))


def test_a_full_disk_leaves_nothing_behind(tmp_path, monkeypatch) -> None:
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(auditing, "write_table", full)
    with pytest.raises(InputError, match=r"disk .* is full"):
        run(tmp_path, TRAIN, FRESH)
    assert not list(tmp_path.glob("out*"))


def test_a_corrupt_sample_late_in_the_stream_leaves_nothing_behind(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(auditing, "BLOCK", 16)
    folder = Path(save_folder(FRESH[:40], tmp_path / "samples"))
    (folder / "00035.png").write_bytes((folder / "00035.png").read_bytes()[:40])
    options = AuditOptions(
        train=save_array(TRAIN, tmp_path / "t.npy"), samples=str(folder), out=tmp_path / "out"
    )
    with pytest.raises(InputError, match=r"00035\.png"):
        audit(options)
    assert not list(tmp_path.glob("out*"))


def test_hostile_names_reach_table_and_page_as_text(tmp_path) -> None:
    names = ["<script>alert(1)</script>.png".replace("/", "\u2215"), 'a"b.png', "caf\udce9.png"]
    folder = save_folder(TRAIN[:3], tmp_path / "s", names)
    made = audit(
        AuditOptions(train=save_array(TRAIN, tmp_path / "t.npy"), samples=folder, out=tmp_path / "out")
    )
    page = (made.out / "report.html").read_bytes().decode("utf-8")
    assert "<script>alert(1)" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert len(pq.read_table(made.out / "samples.parquet")) == 3


def test_a_table_per_class_when_there_are_labels(tmp_path) -> None:
    for name, part in (("cats", TRAIN[:100]), ("dogs", TRAIN[100:])):
        save_folder(part, tmp_path / "train" / name)
    samples = save_array(torch.cat([TRAIN[:20], FRESH[:30]]), tmp_path / "s.npy")
    made = audit(AuditOptions(train=str(tmp_path / "train"), samples=samples, out=tmp_path / "out"))
    table = pq.read_table(tmp_path / "out" / "samples.parquet").to_pydict()
    assert table["class"][:20] == ["cats"] * 20
    assert "Copies by the class" in (made.out / "report.html").read_text()
