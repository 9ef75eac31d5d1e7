"""Zip archives of images: the same as the folder they were packed from."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from spellings import png

from unrote.contracts import InputError
from unrote.data.images import load_images, open_images

RNG = np.random.default_rng(10)


def save(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(png(RNG.integers(0, 256, (5, 4, 3), dtype=np.uint8)))
    return folder


def alike(a: str | Path, b: str | Path) -> None:
    one, other = load_images(a), load_images(b)
    assert torch.equal(one.pixels, other.pixels)
    assert one.names == other.names
    assert one.label_names == other.label_names
    assert (one.labels is None) == (other.labels is None)
    assert one.labels is None or torch.equal(one.labels, other.labels)
    assert one.notes == other.notes


NAMES = [
    "b/1.png",
    "a.png",
    "B.png",
    "a/10.png",
    "a/9.png",
    "é.png",
    "a-b.png",
    "a/deep/er/x.png",
    "Z/ü/0.png",
]


@pytest.mark.parametrize("names", [NAMES, ["cat/1.png", "dog/2.png", "dog/sub/0.png", "Ant/0.png"]])
def test_a_zip_is_the_folder_that_was_packed(tmp_path, names):
    folder = save(tmp_path / "set", *names)
    (folder / "notes.txt").write_text("no image")
    inside = shutil.make_archive(str(tmp_path / "inside"), "zip", folder)
    around = shutil.make_archive(str(tmp_path / "around"), "zip", tmp_path, "set")
    alike(folder, inside)
    alike(folder, around)


def test_splits_in_a_zip_are_those_of_the_folder(tmp_path):
    folder = save(tmp_path / "set", "train/cat/0.png", "train/dog/0.png", "test/cat/0.png")
    inside = shutil.make_archive(str(tmp_path / "inside"), "zip", folder)
    around = shutil.make_archive(str(tmp_path / "around"), "zip", tmp_path, "set")
    for archive in (inside, around):
        alike(f"{folder}:train", f"{archive}:train")
        with pytest.raises(InputError, match="several splits: test, train"):
            open_images(archive)
    only = shutil.make_archive(str(tmp_path / "only"), "zip", folder, "train")
    alike(f"{folder}:train", only)


def test_hidden_files_and_those_of_a_mac_are_left_out_and_said(tmp_path):
    folder = save(tmp_path / "set", "0.png")
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        archive.write(folder / "0.png", "set/0.png")
        archive.writestr("__MACOSX/set/._0.png", b"?")
        archive.writestr("set/.DS_Store", b"?")
    images = load_images(tmp_path / "set.zip")
    assert len(images) == 1
    assert images.notes == ("files that are not images were left out: 2 hidden",)


@pytest.mark.parametrize(
    ("names", "says"),
    [
        ([], "holds no images"),
        (["notes.txt"], r"holds no images, but other files: 1 \.txt"),
        (["data/train.parquet", "0.png"], "holds Parquet files"),
        (["1.heic"], "formats that are not read"),
        (["0.png", "bad.png"], r"bad\.png \(not readable"),
    ],
)
def test_what_is_no_archive_of_images_is_refused(tmp_path, names, says):
    folder = save(tmp_path / "set", "0.png")
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for name in names:
            archive.writestr(name, (folder / "0.png").read_bytes() if name == "0.png" else b"?")
    with pytest.raises(InputError, match=says):
        load_images(tmp_path / "set.zip")


def test_mixed_shapes_name_both(tmp_path):
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        archive.writestr("0.png", png(np.zeros((5, 4), np.uint8)))
        archive.writestr("1.png", png(np.zeros((4, 4), np.uint8)))
    with pytest.raises(InputError, match=r"0\.png is 4x5 pixels, 1\.png is 4x4"):
        load_images(tmp_path / "set.zip")
    assert load_images(tmp_path / "set.zip", resize=4).shape == (1, 4, 4)


def test_an_archive_that_goes_while_it_is_read_is_one_paragraph(tmp_path):
    folder = save(tmp_path / "set", *(f"{i}.png" for i in range(4)))
    path = Path(shutil.make_archive(str(tmp_path / "set"), "zip", folder))
    source = open_images(path)
    path.unlink()
    with pytest.raises(InputError, match=r"4 of 4 images .*cannot be read: No such file"):
        source.read(0, 4)


def test_archives_of_any_name_are_read(tmp_path):
    folder = save(tmp_path / "set", "0.png")
    path = Path(shutil.make_archive(str(tmp_path / "a:b@3?label=x"), "zip", folder)).rename(
        tmp_path / "Odd:1@2.ZIP"
    )
    assert len(open_images(path)) == 1
    assert len(open_images(f"{path}@1")) == 1
