"""Folders of images: every image once, in one order, and nothing left out unseen."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from unrote.contracts import InputError
from unrote.data.images import load_images, open_images
from unrote.data.sources import stream

RNG = np.random.default_rng(1)


def paint(path: Path, pixels: np.ndarray | None = None) -> np.ndarray:
    """Save an image of random colours, and return its pixels."""
    pixels = RNG.integers(0, 256, (5, 4, 3), dtype=np.uint8) if pixels is None else pixels
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return pixels


def as_array(pixels: torch.Tensor) -> np.ndarray:
    return pixels.permute(0, 2, 3, 1).numpy()


def test_images_come_by_the_bytes_of_their_paths_whatever_their_ending(tmp_path):
    names = ["b/1.png", "a.PNG", "B.bmp", "a/10.tif", "a/9.webp", "é.png", "a/deep/er/x.gif", "a-b.ppm"]
    few = RNG.integers(0, 2, (5, 4, 3), dtype=np.uint8) * 255  # few enough colours for a palette
    pixels = {name: paint(tmp_path / name) for name in names if Path(name).suffix not in {".webp", ".gif"}}
    Image.fromarray(few).save(tmp_path / "a/9.webp", lossless=True)
    (tmp_path / "a/deep/er").mkdir(parents=True)
    Image.fromarray(few).quantize(16).save(tmp_path / "a/deep/er/x.gif")
    images = load_images(tmp_path)
    order = ["B.bmp", "a-b.ppm", "a.PNG", "a/10.tif", "a/9.webp", "a/deep/er/x.gif", "b/1.png", "é.png"]
    assert list(images.names) == order
    for i, name in enumerate(order):
        assert np.array_equal(as_array(images.pixels)[i], pixels.get(name, few))
    assert images.labels is None
    assert images.notes == ("1 image had a palette; its colours were written out, without loss",)


def test_classes_are_first_level_folders_if_all_images_lie_in_folders(tmp_path):
    for name in ("dog/1.png", "cat/2.png", "dog/sub/0.png", "Ant/0.png"):
        paint(tmp_path / name)
    images = load_images(tmp_path)
    assert images.names == ("Ant/0.png", "cat/2.png", "dog/1.png", "dog/sub/0.png")
    assert images.label_names == ("Ant", "cat", "dog")
    assert images.labels is not None
    assert images.labels.tolist() == [0, 1, 2, 2]
    dogs = load_images(f"{tmp_path}@1?label=dog")
    assert torch.equal(dogs.pixels, images.pixels[2:3])
    assert dogs.labels is not None
    assert dogs.labels.tolist() == [2]
    paint(tmp_path / "loose.png")
    assert load_images(tmp_path).labels is None


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
def test_blocks_of_any_size_make_the_whole(tmp_path, size):
    for i in range(7):
        paint(tmp_path / "ab"[i % 2] / f"{i}.png")
    whole, source = load_images(tmp_path), open_images(tmp_path)
    blocks = list(stream(source, size))
    assert torch.equal(torch.cat([block.pixels for block in blocks]), whole.pixels)
    assert sum((block.names for block in blocks), ()) == whole.names
    assert torch.equal(torch.cat([b.labels for b in blocks if b.labels is not None]), whole.labels)
    assert [len(block) for block in blocks] == [min(size, 7 - i) for i in range(0, 7, size)]


def test_splits_are_subfolders_and_several_need_a_choice(tmp_path):
    kept = paint(tmp_path / "train" / "cat" / "0.png")
    paint(tmp_path / "test" / "dog" / "1.png")
    with pytest.raises(InputError, match=r"several splits: test, train\. Choose one, for example '.*:test'"):
        open_images(tmp_path)
    images = load_images(f"{tmp_path}:train")
    assert np.array_equal(as_array(images.pixels)[0], kept)
    assert images.names == ("cat/0.png",)
    assert images.label_names == ("cat",)
    with pytest.raises(InputError, match=r"split 'val', but its splits are test, train"):
        open_images(f"{tmp_path}:val")
    with pytest.raises(InputError, match="it is not cut into splits"):
        open_images(f"{tmp_path / 'train'}:test")


def test_a_single_split_needs_no_suffix(tmp_path):
    paint(tmp_path / "train" / "cat" / "0.png")
    paint(tmp_path / "train" / "dog" / "0.png")
    assert open_images(tmp_path).label_names == ("cat", "dog")
    assert load_images(tmp_path).provenance.sha256 == load_images(f"{tmp_path}:train").provenance.sha256


def test_other_files_are_left_out_and_said(tmp_path):
    paint(tmp_path / "0.png")
    for name in ("notes.txt", "more.txt", ".DS_Store", ".hidden.png", "sheet.csv"):
        (tmp_path / name).write_text("no image")
    paint(tmp_path / ".cache" / "1.png")
    source = open_images(tmp_path)
    assert len(source) == 1
    assert source.notes == ("files that are not images were left out: 2 .txt, 2 hidden, 1 .csv",)


def test_images_in_formats_that_are_not_read_are_not_left_out(tmp_path):
    paint(tmp_path / "0.png")
    (tmp_path / "1.heic").write_bytes(b"?")
    with pytest.raises(InputError, match=r"1 images in formats that are not read, such as 1\.heic"):
        open_images(tmp_path)


def test_an_empty_folder_and_one_of_other_things_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"holds no images\..*\.png"):
        open_images(tmp_path)
    (tmp_path / "x.npz").write_bytes(b"")
    with pytest.raises(InputError, match=r"holds no images, but other files: 1 \.npz.*array file"):
        open_images(tmp_path)


def test_loops_of_links_end_and_each_folder_is_read_once(tmp_path):
    paint(tmp_path / "b" / "0.png")
    paint(tmp_path / "c" / "1.png")
    (tmp_path / "b" / "up").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "b" / "over").symlink_to(tmp_path / "c", target_is_directory=True)
    (tmp_path / "c" / "over").symlink_to(tmp_path / "b", target_is_directory=True)
    (tmp_path / "a").symlink_to(tmp_path / "c", target_is_directory=True)
    source = open_images(tmp_path)
    assert source.read(0, 2).names == ("b/0.png", "c/1.png")
    assert source.notes == ("4 links to folders that are read already were left out",)


def test_links_lead_to_images_outside(tmp_path):
    pixels = paint(tmp_path / "outside" / "x.png")
    set_ = tmp_path / "set"
    (set_ / "plain").mkdir(parents=True)
    (set_ / "linked").symlink_to(tmp_path / "outside", target_is_directory=True)
    (set_ / "plain" / "y.png").symlink_to(tmp_path / "outside" / "x.png")
    images = load_images(set_)
    assert images.names == ("linked/x.png", "plain/y.png")
    assert np.array_equal(as_array(images.pixels), np.stack([pixels, pixels]))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes")
def test_what_is_no_file_is_never_opened(tmp_path):
    paint(tmp_path / "0.png")
    os.mkfifo(tmp_path / "1.png")
    (tmp_path / "2.png").symlink_to(tmp_path / "2.png")
    (tmp_path / "3.png").symlink_to(tmp_path / "gone.png")
    (tmp_path / "4.png").mkdir()  # a folder, whatever it is called
    with pytest.raises(InputError) as caught:
        load_images(tmp_path)
    assert str(caught.value).startswith(
        f"3 of 4 images of '{tmp_path}' cannot be used: 1.png (not a regular file), 2.png"
    )


def test_names_that_are_not_utf8_are_read_and_shown_safely(tmp_path):
    raw = os.fsencode(tmp_path) + b"/\xff\n<b>.png"
    pixels = paint(tmp_path / "plain.png")
    try:
        (tmp_path / "plain.png").rename(os.fsdecode(raw))
    except OSError:
        pytest.skip("this file system holds UTF-8 names only")
    images = load_images(tmp_path)
    assert images.names == ("\\xff\\n<b>.png",)
    assert np.array_equal(as_array(images.pixels)[0], pixels)
    Path(os.fsdecode(raw)).write_bytes(b"broken")
    with pytest.raises(InputError, match=r"\\xff\\n<b>\.png \(not readable"):
        load_images(tmp_path)
    inner = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xfe"))
    paint(inner / "0.png")
    assert load_images(inner).spec.endswith("/\\xfe")


def test_a_bad_file_in_a_late_block_is_found_there_and_all_are_listed(tmp_path):
    for i in range(6):
        paint(tmp_path / f"{i}.png")
    for i in (3, 5):
        (tmp_path / f"{i}.png").write_bytes((tmp_path / f"{i}.png").read_bytes()[:60])
    blocks = stream(open_images(tmp_path), 2)
    assert len(next(blocks)) == 2
    with pytest.raises(InputError, match=r"cannot be used: 3\.png \(corrupt.*5\.png \(corrupt"):
        next(blocks)
    assert len(load_images(f"{tmp_path}@3")) == 3  # a limit keeps away from them


def test_two_kinds_in_one_folder_are_refused(tmp_path):
    paint(tmp_path / "0.png")
    (tmp_path / "train.parquet").write_bytes(b"")
    with pytest.raises(InputError, match=r"image files \(0\.png\) and Parquet files \(train\.parquet\)"):
        open_images(tmp_path)
