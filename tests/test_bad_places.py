"""Places where results cannot go, and disks that are full: one paragraph, and nothing lost or left behind."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from commands import FRESH, SHORT, TRAIN, audit, probe
from scenes import save_folder

from unrote.jobs import audit_table, auditing, demonstration, output, probing, training

pytest_plugins = ("refusals",)


# Places for results


def test_places_that_hold_something_else(refused, call, place) -> None:
    Path("thesis").mkdir()
    Path("thesis/chapter.tex").write_text("years of work")
    Path("file").write_text("x")
    assert "add --overwrite" in refused(*audit(out="thesis"))
    assert "has no result.json" in refused(*audit(out="thesis"), "--overwrite")
    assert "is a file" in refused(*audit(out="file"))
    assert "is a file" in refused(*audit(out="file"), "--overwrite")
    Path("link").symlink_to("nowhere-at-all")
    assert "is a file" in refused(*audit(out="link"))
    for out in (".", "", place, "..", "/"):
        assert "the folder that the command is run in" in refused(*audit(out=out), "--overwrite")


@pytest.mark.parametrize(
    "out",
    ["/dev/null/x", "train.npy/x", "/proc/nothing/x", "x" * 250, "x" * 5000, "a\0b", "loop/x"],
)
@pytest.mark.parametrize("command", ["audit", "train", "demo"])
def test_places_that_cannot_be_written_to(refused, out, command) -> None:
    Path("loop").symlink_to("loop")
    arguments = {"audit": audit(), "train": ["train", "--train", "digits@64", *SHORT], "demo": ["demo"]}
    told = refused(*arguments[command], "--out", out)
    assert "--out" in told
    assert "name a" in told


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission(refused) -> None:
    Path("locked").mkdir(mode=0o500)
    assert "can be written to" in refused(*audit(out="locked/out"))


def test_what_stands_where_the_work_is_done_is_not_touched(refused, call, place) -> None:
    for name in ("out.partial", "out.old"):
        Path(name).mkdir()
        Path(name, "mine").write_text("do not delete")
    assert "something else is there" in refused(*audit())
    shutil.rmtree("out.partial")
    Path("out.partial").mkdir()  # as left by a kill in its first moment
    for flags in ([], ["--overwrite"]):
        status, _, told = call(*audit(), *flags)
        assert status == 0, told
        assert sorted(p.name for p in Path("out").iterdir()) == [
            "report.html",
            "result.json",
            "samples.parquet",
        ]
        assert not Path("out.partial").exists()
    assert Path("out.old/mine").read_text() == "do not delete"


def test_a_partial_folder_whose_stamp_is_damaged_is_made_anew(call, place) -> None:
    Path("out.partial").mkdir()
    Path("out.partial/identity.json").write_text("{")
    assert call(*audit())[0] == 0
    assert not Path("out.partial").exists()


def test_results_never_land_among_the_images_nor_replace_them(refused, call, place) -> None:
    save_folder(TRAIN, Path("photos/all"))
    save_folder(FRESH, Path("made/new"))
    for out in ("photos/all", "photos/all/audit", "photos/audit", "made/audit/deep"):
        told = refused(*audit(train="photos", samples="made", out=out))
        assert "photos" in told or "made" in told
    assert call(*audit(train="photos/all", samples="made", out="photos/audit"))[0] == 0
    save_folder(FRESH, Path("photos/audit/again"))
    told = refused(
        *audit(train="photos/all", samples="photos/audit/again", out="photos/audit"), "--overwrite"
    )
    assert "never replace what they rest on" in told
    assert "photos/audit" in refused("train", "--train", "photos", *SHORT, "--out", "photos/audit/run")


def test_a_link_to_a_folder_keeps_being_one(call, place) -> None:
    Path("disk/out").mkdir(parents=True)
    Path("out").symlink_to("disk/out")
    for flags in ([], ["--overwrite"]):
        assert call(*audit(), *flags)[0] == 0
        assert Path("out").is_symlink()
        assert Path("disk/out/result.json").is_file()


# A full disk


FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def full(*_: object, **__: object) -> None:
    raise FULL


WRITERS = [
    (audit_table.np, "savez"),
    (pq, "write_table"),
    (auditing, "write"),
    (output, "write_atomic"),
    (auditing, "write_document"),
    (os, "fsync"),
]


@pytest.mark.parametrize(("module", "name"), WRITERS)
@pytest.mark.parametrize("kept", [False, True])
def test_a_disk_that_fills_up_during_an_audit(refused, call, monkeypatch, module, name, kept) -> None:
    if kept:
        assert call(*audit(out="made/out"))[0] == 0
    monkeypatch.setattr(module, name, full)
    flags = ["--overwrite"] if kept else []
    assert "is full" in refused(*audit(out="made/out"), *flags)


def test_a_disk_that_fills_up_while_a_file_is_half_written(refused, monkeypatch) -> None:
    savez = np.savez

    def half(file, **arrays):
        savez(file, **arrays)
        file.truncate(100)
        full()

    monkeypatch.setattr(audit_table.np, "savez", half)
    assert "is full" in refused(*audit())


@pytest.mark.parametrize("module", [training, probing, demonstration])
@pytest.mark.parametrize("name", ["write", "write_document"])
def test_a_disk_that_fills_up_at_the_end_of_other_commands(call, monkeypatch, run, module, name) -> None:
    if module is demonstration:
        monkeypatch.setattr(demonstration, "sweep", full)
    monkeypatch.setattr(module, name, full)
    command = {
        training: ["train", "--train", "digits@64", *SHORT, "--out", "out"],
        probing: probe(out="out"),
        demonstration: ["demo", "--steps", 100, "--out", "out"],
    }[module]
    status, _, told = call(*command)
    assert status == 2
    assert "is full" in told
    assert len(told.splitlines()) == 1
    assert not Path("out").exists()
    # A run that has made a checkpoint is kept, so that the same command goes on.
    assert Path("out.partial").exists() == (module is training)


def test_a_disk_that_is_too_small_for_the_first_checkpoint(refused, monkeypatch) -> None:
    import safetensors.torch

    monkeypatch.setattr(safetensors.torch, "save_file", full)
    assert "could not be written" in refused("train", "--train", "digits@64", *SHORT)


@pytest.fixture
def disk(place) -> Iterator[Callable[[str], Path]]:
    """A real file system of a given size; needs root and the right to mount."""
    at = place / "disk"
    at.mkdir()

    def mount(size: str) -> Path:
        made = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(at)], check=False, capture_output=True
        )
        if made.returncode:
            pytest.skip("a small file system cannot be mounted here")
        return at

    if os.geteuid() or shutil.which("mount") is None:
        pytest.skip("only root mounts file systems")
    yield mount
    subprocess.run(["umount", str(at)], check=False, capture_output=True)


@pytest.mark.parametrize("size", ["4k", "16k", "48k", "64k", "96k"])
def test_a_disk_that_is_really_full(refused, disk, size) -> None:
    at = disk(size)
    assert "is full" in refused(*audit(out=at / "out"))
    assert not list(at.iterdir())


@pytest.mark.parametrize("size", ["4k", "64k"])
def test_a_disk_that_is_really_too_small_for_a_run(refused, disk, size) -> None:
    at = disk(size)
    told = refused("train", "--train", "digits@64", *SHORT, "--width", 128, "--out", at / "out")
    assert "free some space" in told.lower()
    assert not list(at.iterdir())
