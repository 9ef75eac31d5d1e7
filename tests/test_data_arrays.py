"""Arrays: every layout and dtype gives the same images, and a range is told, inferred or refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from unrote.contracts import InputError
from unrote.data import arrays
from unrote.data.images import load_images, open_images
from unrote.data.pixels import BYTES, POSITIVE, UNIT, to_bytes
from unrote.data.sources import stream

RNG = np.random.default_rng(3)
COLOUR = RNG.integers(0, 256, (7, 5, 4, 3), dtype=np.uint8)
COLOUR[0, 0, 0], COLOUR[-1, -1, -1] = 0, 255  # so that ranges are plain
PIXELS = torch.from_numpy(COLOUR).permute(0, 3, 1, 2)


def put(tmp_path, array: np.ndarray, name: str = "x.npy") -> str:
    np.save(tmp_path / name, array)
    return str(tmp_path / name)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize("order", ["C", "F"])
def test_layouts_are_told_apart_by_their_channels(tmp_path, channels, last, order):
    wanted = PIXELS[:, :channels]
    array = np.asarray(wanted.movedim(1, 3) if last else wanted, order=order)
    assert torch.equal(load_images(put(tmp_path, array)).pixels, wanted)
    if channels == 1:
        assert torch.equal(load_images(put(tmp_path, np.asarray(wanted[:, 0], order=order))).pixels, wanted)


def test_the_layout_that_was_read_is_said(tmp_path):
    assert open_images(put(tmp_path, COLOUR)).notes == ("an array (7, 5, 4, 3) of uint8 is read as N,H,W,C",)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((64,), "1 axes"),
        ((10, 64), "2 axes"),
        ((2, 3, 4, 5, 6), "5 axes"),
        ((), "0 axes"),
        ((5, 4, 3), "single image"),
        ((7, 3, 4, 3), "second or last"),
        ((7, 5, 4, 4), "no axis of 1 or 3"),
        ((7, 4, 5, 5), "no axis of 1 or 3"),
        ((7, 5, 6, 8), "no axis of 1 or 3"),
        ((0, 5, 4), "empty"),
        ((7, 0, 4), "empty"),
    ],
)
def test_layouts_that_are_not_plain_are_refused(tmp_path, shape, message):
    with pytest.raises(InputError, match=f"{message}.*N,H,W or N,H,W,C or N,C,H,W"):
        open_images(put(tmp_path, np.zeros(shape, np.uint8)))
    if 4 in shape and len(shape) == 4:
        with pytest.raises(InputError, match=r"(drop the alpha channel|grey images as N,H,W)\.$"):
            open_images(put(tmp_path, np.zeros(shape, np.uint8)))


@pytest.mark.parametrize("dtype", ["int16", "int32", "int64", "uint16", "uint32", "uint64", ">i4", ">u2"])
def test_whole_numbers_up_to_255_are_8_bit(tmp_path, dtype):
    images = load_images(put(tmp_path, COLOUR.astype(dtype)))
    assert images.pixels.dtype == torch.uint8
    assert images.value_range == BYTES
    assert torch.equal(images.pixels, PIXELS)
    assert "read as 8-bit pixels" in images.notes[1]


@pytest.mark.parametrize("value", [-1, 256, 70_000])
def test_whole_numbers_beyond_255_are_refused(tmp_path, value):
    array = COLOUR.astype(np.int64)
    array[3, 2, 1, 0] = value
    with pytest.raises(InputError, match=r"int64 numbers from .*0 to 255"):
        open_images(put(tmp_path, array))


@pytest.mark.parametrize("dtype", ["bool", "complex64", "datetime64[s]", "S3", "U2", "i4,f4"])
def test_other_dtypes_are_refused(tmp_path, dtype):
    with pytest.raises(InputError, match=r"holds an array of .*uint8, other whole numbers .*floats"):
        open_images(put(tmp_path, np.zeros((2, 4, 4), dtype)))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ">f4", "longdouble"])
@pytest.mark.parametrize(
    ("value_range", "scale", "shift"), [(BYTES, 1, 0), (POSITIVE, 255, 0), (UNIT, 127.5, 1)]
)
def test_floats_in_any_range_are_the_same_images(tmp_path, dtype, value_range, scale, shift):
    images = load_images(put(tmp_path, (COLOUR.astype("float64") / scale - shift).astype(dtype)))
    assert images.pixels.dtype == torch.float32
    assert images.value_range == value_range
    assert torch.equal(to_bytes(images.pixels, images.value_range), PIXELS)
    assert "the rule: floats are read as [0, 1] where" in images.notes[1]


def test_bfloat16_tensors_are_read(tmp_path):
    torch.save((PIXELS / 255).bfloat16(), tmp_path / "x.pt")
    images = load_images(tmp_path / "x.pt")
    assert torch.equal(images.pixels, (PIXELS / 255).bfloat16().float())


def test_overshoot_is_kept_counted_and_said(tmp_path):
    x = np.linspace(-1, 1, 80, dtype=np.float32).reshape(5, 4, 4)
    x[0, 0, 0], x[4, 3, 2], x[4, 3, 3] = -1.04, 1.01, 1.05
    images = load_images(put(tmp_path, x))
    assert images.value_range == UNIT
    assert np.array_equal(images.pixels[:, 0].numpy(), x)
    assert images.notes[-1] == "3 values (3.75%) overshoot the range [-1, 1]"


@pytest.mark.parametrize(("low", "high"), [(-0.05, 1.05), (-2.0, 2.5), (0, 16)])
def test_a_range_that_is_not_plain_is_refused_until_it_is_stated(tmp_path, low, high):
    path = put(tmp_path, np.linspace(low, high, 80).reshape(5, 4, 4))
    with pytest.raises(
        InputError, match=r"x\.npy': The float pixels lie between .*value_range.*--samples-range"
    ):
        open_images(path)
    stated = open_images(path, value_range=(low, high))
    assert stated.value_range == (low, high)
    assert "as stated" in stated.notes[1]
    with pytest.raises(InputError, match=r"more than 5% outside the stated value range 0\.5,0\.6"):
        open_images(path, value_range=(0.5, 0.6))


def test_whole_numbers_with_a_stated_range_become_floats_in_it(tmp_path):
    path = put(tmp_path, COLOUR // 16)
    images = load_images(path, value_range=(0, 16))
    assert images.pixels.dtype == torch.float32
    assert images.value_range == (0, 16)
    assert torch.equal(images.pixels, (PIXELS // 16).float())
    assert load_images(path, value_range=(0, 255)).pixels.dtype == torch.uint8


def test_a_range_that_is_hardly_used_is_remarked_on(tmp_path):
    source = open_images(put(tmp_path, np.linspace(0, 1, 80).reshape(5, 4, 4)), value_range=(0, 255))
    assert "fill only 0.39% of their range" in source.notes[-1]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("stated", [None, (0, 1)])
def test_nan_and_infinity_are_refused_with_their_rows(tmp_path, monkeypatch, bad, stated):
    monkeypatch.setattr(arrays, "_SCAN", 40)  # two images at a time
    x = RNG.random((7, 5, 4), dtype=np.float32)
    x[[2, 5], 1, 1] = bad
    path = put(tmp_path, x)
    with pytest.raises(InputError, match=r"in 2 of 7 images \(rows 2, 5\)"):
        open_images(path, value_range=stated)
    assert len(load_images(f"{path}@2")) == 2  # rows that are not asked for are not looked at


def test_a_double_too_large_for_float32_is_infinite(tmp_path):
    x = RNG.random((2, 5, 4))
    x[1] = 1e300
    with pytest.raises(InputError, match="infinite"):
        open_images(put(tmp_path, x))


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_the_range_and_the_blocks_do_not_depend_on_how_it_is_streamed(tmp_path, monkeypatch, size):
    monkeypatch.setattr(arrays, "_SCAN", 60 * size)
    path = put(tmp_path, COLOUR / 127.5 - 1)
    source = open_images(path)
    assert source.value_range == UNIT
    assert torch.equal(torch.cat([b.pixels for b in stream(source, size)]), load_images(path).pixels)
    assert sum((b.names for b in stream(source, size)), ()) == tuple(f"row {i}" for i in range(7))


def test_a_mapped_file_is_not_read_before_it_is_asked_for(tmp_path):
    path = tmp_path / "large.npy"
    large = np.lib.format.open_memmap(path, "w+", np.uint8, (1 << 20, 64, 64))  # 4 GB of holes
    large[5, 1, 2], large[-1, 3, 4] = 9, 8
    large.flush()
    source = open_images(path)
    assert len(source) == 1 << 20
    assert source.read(4, 6).pixels[1, 0, 1, 2] == 9
    assert source.read((1 << 20) - 1, 1 << 20).pixels[0, 0, 3, 4] == 8


def test_resizing_arrays_is_what_resizing_files_is(tmp_path):
    from PIL import Image

    (tmp_path / "folder").mkdir()
    row, column = np.arange(5)[:, None, None], np.arange(4)[:, None]
    smooth = (60 + 20 * row + 15 * column + COLOUR // 50).astype(
        np.uint8
    )  # else Pillow clips between its passes
    smooth[0, 0, 0] = 0
    for i, image in enumerate(smooth):
        Image.fromarray(image).save(tmp_path / "folder" / f"{i}.png")
    folder = load_images(tmp_path / "folder", resize=3)
    eight = load_images(put(tmp_path, smooth), resize=3)
    floats = load_images(put(tmp_path, smooth / 255), resize=3)
    assert torch.equal(eight.pixels, folder.pixels)
    assert (to_bytes(floats.pixels, floats.value_range).int() - folder.pixels.int()).abs().max() <= 1
    assert floats.pixels.min() >= 0
    assert floats.pixels.max() <= 1
    for images in (folder, eight, floats):
        assert (
            "images are resized to 3x3 pixels with Pillow's LANCZOS filter, without cropping" in images.notes
        )
