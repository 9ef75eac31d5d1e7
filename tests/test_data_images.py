"""DATA as a whole: one set in many spellings, `digits`, disjoint splits."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.datasets import load_digits
from spellings import CLASSES, WRITERS, add

from unrote.contracts import InputError
from unrote.data import (
    ContentHash,
    check_compatible,
    disjoint_splits,
    load_images,
    open_images,
    provenance,
    stream,
    to_unit,
)

PIXELS = np.random.default_rng(5).integers(0, 256, (6, 5, 4, 3), dtype=np.uint8)


def save_folder(path: Path, pixels: np.ndarray) -> Path:
    path.mkdir()
    for i, image in enumerate(pixels):
        Image.fromarray(image).save(path / f"{i:03d}.png")
    return path


MANY = np.random.default_rng(6).integers(0, 256, (9, 5, 4, 3), dtype=np.uint8)
LABELS = [2, 0, 1, 2, 2, 0, 1, 1, 2]


@pytest.mark.parametrize("colour", [True, False])
def test_every_spelling_holds_one_content_in_one_order(tmp_path, colour):
    pixels = MANY if colour else MANY[..., 0].copy()
    found = {name: load_images(write(tmp_path, pixels, LABELS)) for name, write in WRITERS.items()}
    assert len({images.provenance.sha256 for images in found.values()}) == 1
    assert {images.provenance.dtype for images in found.values()} == {"uint8"}
    kinds = {name: images.provenance.kind for name, images in found.items()}
    assert kinds["folder"] == kinds["stylegan_folder"] == "folder of images"
    assert kinds["edm_zip"] == kinds["deflated_zip"] == "zip of images"
    assert (kinds["npz"], kinds["clone"], kinds["saved"]) == ("npz", "Parquet", "saved by datasets")
    for name, images in found.items():
        assert torch.equal(images.pixels, found["npy"].pixels)
        assert (images.labels is None) == (name == "npy")
        assert images.labels is None or images.labels.tolist() == LABELS, name
        assert images.label_names in {(), CLASSES}
    other = load_images(WRITERS["clone"](tmp_path / "again", 255 - pixels, LABELS).replace("plain", "turned"))
    assert other.provenance.sha256 == found["npy"].provenance.sha256


@pytest.mark.parametrize("name", sorted(set(WRITERS) - {"npy"}))
def test_labels_ranges_and_blocks_mean_the_same_in_every_spelling(tmp_path, name):
    spec = WRITERS[name](tmp_path, MANY, LABELS)
    pixels = torch.from_numpy(MANY).permute(0, 3, 1, 2)
    owls = [i for i, label in enumerate(LABELS) if label in {1, 2}]
    assert torch.equal(load_images(add(spec, label="2,1")).pixels, pixels[owls])
    assert torch.equal(load_images(add(spec, limit="@3", label="1,2")).pixels, pixels[owls[:3]])
    assert torch.equal(load_images(add(spec, limit="@2:5", label="1,2")).pixels, pixels[owls[2:5]])
    assert torch.equal(load_images(add(spec, limit="@4:")).pixels, pixels[4:])
    assert torch.equal(load_images(add(spec, limit="@:4")).pixels, pixels[:4])
    if open_images(spec).label_names:
        assert torch.equal(load_images(add(spec, label="owl,dog")).pixels, pixels[owls])
    for size in (1, 2, 4, 9):
        assert torch.equal(torch.cat([block.pixels for block in stream(open_images(spec), size)]), pixels)
    with pytest.raises(InputError, match=r"asks for the label '(7|elk)', which does not occur"):
        open_images(add(spec, label="1,7" if name != "folder" else "dog,elk"))
    with pytest.raises(InputError, match="10 images, but there are 9"):
        open_images(add(spec, limit="@10"))
    with pytest.raises(InputError, match=r"image 9 \(the first is number 0\), but there are 9"):
        open_images(add(spec, limit="@9:"))


@pytest.mark.parametrize("name", sorted(WRITERS))
def test_a_configuration_that_would_be_ignored_is_an_error(tmp_path, name):
    spec = WRITERS[name](tmp_path, MANY, LABELS)
    wrong = spec.replace("plain", "other") if "?" in spec else f"{spec}?config=other"
    with pytest.raises(InputError, match=r"asks for the configuration 'other'"):
        open_images(wrong)
    with pytest.raises(InputError, match=r"says download=yes, but the data is on this machine"):
        open_images(f"{spec}{'&' if '?' in spec else '?'}download=yes")


FILES = {
    "npy": "x.npy",
    "npz": "x.npz",
    "packed_npz": "packed.npz",
    "pt": "x.pt",
    "edm_zip": "edm0.zip",
    "deflated_zip": "edm8.zip",
    "parquet": "x.parquet",
    "saved": "saved/train/data-00000-of-00002.arrow",
}


@pytest.mark.parametrize("name", sorted(FILES))
def test_flipped_bytes_give_images_or_one_paragraph(tmp_path, name):
    spec, file, rng = WRITERS[name](tmp_path, MANY, LABELS), tmp_path / FILES[name], np.random.default_rng(0)
    data, told = file.read_bytes(), list[str]()
    for _ in range(120):
        spoiled = bytearray(data)
        for place in rng.integers(0, len(data), rng.integers(1, 4)):
            spoiled[place] = rng.integers(0, 256)
        file.unlink()  # the one before may still be mapped
        file.write_bytes(spoiled)
        try:
            load_images(spec)
        except InputError as error:
            told.append(str(error))
    assert len(told) > 10
    assert all(len(text.splitlines()) == 1 and text.endswith(".") for text in told)


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 40))
def test_a_stream_has_the_content_of_the_whole(size):
    source, content = open_images("digits@40"), ContentHash((0, 255))
    for block in stream(source, size):
        content.update(block.pixels)
    assert provenance(source, content) == load_images("digits@40").provenance


def test_provenance_needs_the_whole_stream():
    source, content = open_images("digits@40"), ContentHash((0, 255))
    content.update(source.read(0, 39).pixels)
    with pytest.raises(ValueError, match="holds 40 images, 39 were hashed"):
        provenance(source, content)


def test_blocks_lie_within_the_source():
    source = open_images("digits@40")
    for start, stop in ((-1, 3), (3, 3), (5, 4), (0, 41)):
        with pytest.raises(ValueError, match=r"within 0 \.\.\. 40"):
            source.read(start, stop)
    with pytest.raises(ValueError, match="at least 1"):
        next(stream(source, 0))


def test_digits_are_scikit_learns_within_half_a_grey_level_and_in_order():
    images, known = load_images("digits"), load_digits()
    assert images.shape == (1, 8, 8)
    back = images.pixels[:, 0].double().numpy() * 16 / 255
    assert np.abs(back - known.images).max() <= 0.5 * 16 / 255
    assert np.array_equal(np.rint(back), known.images)  # so no two of the 17 levels fall together
    assert np.array_equal(images.labels.numpy(), known.target)
    assert images.label_names == tuple("0123456789")
    assert to_unit(images.pixels, images.value_range).min() == -1
    assert to_unit(images.pixels, images.value_range).max() == 1


def test_digits_take_a_label_and_a_limit_but_no_split(digits):
    sevens = load_images("digits@5?label=7")
    assert sevens.labels.tolist() == [7] * 5
    assert sevens.names == tuple(f"row {i}" for i in np.flatnonzero(load_digits().target == 7)[:5])
    with pytest.raises(InputError, match="the digits are one set"):
        open_images("digits:train")
    with pytest.raises(InputError, match=r"asks for 1,798 images, but there are 1,797"):
        open_images("digits@1798")


def test_a_range_that_would_be_ignored_is_an_error(tmp_path):
    save_folder(tmp_path / "folder", PIXELS)
    for spec in ("digits", tmp_path / "folder"):
        with pytest.raises(InputError, match="always 0,255"):
            open_images(spec, value_range=(-1, 1))
        assert open_images(spec, value_range=(0, 255)).value_range == (0, 255)


@pytest.mark.parametrize("resize", [0, -3, 10_000])
def test_sizes_that_no_image_has(resize):
    with pytest.raises(InputError, match="whole number from 1 to 8192"):
        open_images("digits", resize=resize)


@pytest.mark.parametrize("name", ["x.tar", "x.md", "x.png", "x.pkl", "noending"])
def test_other_files_say_what_is_read(tmp_path, name):
    (tmp_path / name).write_bytes(b"?")
    with pytest.raises(
        InputError, match=r"kind that is not read\. DATA is `digits`.*\.npz.*Unpack other archives"
    ):
        open_images(tmp_path / name)


def test_a_set_larger_than_the_memory_streams_but_does_not_load(tmp_path, monkeypatch):
    save_folder(tmp_path / "folder", PIXELS)
    monkeypatch.setattr("os.sysconf", lambda name: 1 if name == "SC_PHYS_PAGES" else 300)
    assert len(list(stream(open_images(tmp_path / "folder"), 2))) == 3
    with pytest.raises(InputError, match=r"and this machine has 0\.0 GB.*@limit"):
        load_images(tmp_path / "folder")


def test_only_sets_of_one_shape_are_compared(tmp_path):
    colour, grey = save_folder(tmp_path / "colour", PIXELS), save_folder(tmp_path / "grey", PIXELS[..., 0])
    small = save_folder(tmp_path / "small", PIXELS[:, :4])
    check_compatible(load_images(colour), open_images(colour))
    with pytest.raises(
        InputError, match=r"holds colour images of 4x5 pixels .*holds grey .*both are grey or both"
    ):
        check_compatible(load_images(colour), open_images(grey))
    with pytest.raises(InputError, match=r"colour images of 4x5 .*colour images of 4x4 .*resize=4"):
        check_compatible(open_images(colour), open_images(small))
    check_compatible(open_images(colour, resize=4), open_images(small, resize=4))


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_splits_are_disjoint_and_depend_on_the_seed_alone(data):
    sizes = data.draw(st.lists(st.integers(0, 30), max_size=4))
    n = sum(sizes) + data.draw(st.integers(0, 20))
    seed = data.draw(st.integers(0, 5))
    parts = disjoint_splits(n, sizes, torch.Generator().manual_seed(seed))
    assert [len(part) for part in parts] == sizes
    joined = [int(i) for part in parts for i in part]
    assert len(set(joined)) == len(joined)
    assert set(joined) <= set(range(n))
    again = disjoint_splits(n, sizes, torch.Generator().manual_seed(seed))
    assert all(torch.equal(a, b) for a, b in zip(parts, again, strict=True))


def test_every_image_is_as_likely_in_every_split(generator):
    held = torch.zeros(10)
    for _ in range(4000):
        held[disjoint_splits(10, [3, 2], generator)[1]] += 1
    assert (held / 4000 - 0.2).abs().max() < 4 * (0.2 * 0.8 / 4000) ** 0.5


@pytest.mark.parametrize("sizes", [[6, 5], [-1, 3], [11]])
def test_splits_that_do_not_fit(sizes, generator):
    with pytest.raises(InputError, match="add up to at most 10"):
        disjoint_splits(10, sizes, generator)


def test_importing_the_reader_loads_no_slow_library():
    slow = "{'PIL', 'pyarrow', 'sklearn', 'scipy', 'datasets', 'matplotlib'}"
    code = f"import sys; before = set(sys.modules); import unrote.data; print(({slow} & set(sys.modules)) - before)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
