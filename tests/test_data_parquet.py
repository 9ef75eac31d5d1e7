"""Parquet in the Hugging Face layout: equal to a folder of the same files, and whole."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from unrote.contracts import InputError
from unrote.data.images import load_images, open_images
from unrote.data.sources import stream

RNG = np.random.default_rng(2)
PIXELS = RNG.integers(0, 256, (9, 4, 6, 3), dtype=np.uint8)
LABELS = [2, 0, 1, 2, 2, 0, 1, 1, 2]
NAMES = ["cat", "dog", "owl"]


def encode(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def save(path: Path, rows: range = range(9), groups: int = 4, column: str = "image", **settings) -> Path:
    """Some of the images, as Hugging Face's `datasets` would write them."""
    images = [settings.get("data", encode(PIXELS[i])) for i in rows]
    struct = pa.StructArray.from_arrays(
        [pa.array(images, pa.binary()), pa.array([f"{i:02d}.png" for i in rows])], ["bytes", "path"]
    )
    labels = pa.array(
        [settings.get("labels", LABELS)[i] for i in rows], settings.get("label_type", pa.int64())
    )
    table = pa.table({column: struct, settings.get("label", "label"): labels})
    features = {
        column: {"_type": "Image"},
        settings.get("label", "label"): {"names": NAMES, "_type": "ClassLabel"},
    }
    about = {"huggingface": json.dumps({"info": {"features": features}})}
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table.replace_schema_metadata(about), path, row_group_size=groups)
    return path


def test_parquet_equals_the_folder_of_the_same_images(tmp_path):
    for i, pixels in enumerate(PIXELS):
        (tmp_path / "folder").mkdir(exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / "folder" / f"{i:02d}.png")
    parquet, folder = load_images(save(tmp_path / "set.parquet")), load_images(tmp_path / "folder")
    assert parquet.provenance.sha256 == folder.provenance.sha256
    assert torch.equal(parquet.pixels, torch.from_numpy(PIXELS).permute(0, 3, 1, 2))
    assert parquet.names == folder.names
    assert parquet.labels.tolist() == LABELS
    assert parquet.label_names == tuple(NAMES)


@pytest.mark.parametrize("size", [1, 2, 4, 5, 9])
@pytest.mark.parametrize("groups", [1, 4, 9])
def test_blocks_across_row_groups_and_shards_make_the_whole(tmp_path, size, groups):
    save(tmp_path / "train-00000-of-00003.parquet", range(4), groups)
    save(tmp_path / "train-00001-of-00003.parquet", range(4, 4), groups)
    save(tmp_path / "train-00002-of-00003.parquet", range(4, 9), groups)
    blocks = list(stream(open_images(tmp_path), size))
    assert np.array_equal(torch.cat([b.pixels for b in blocks]).permute(0, 2, 3, 1).numpy(), PIXELS)
    assert torch.cat([b.labels for b in blocks]).tolist() == LABELS


def test_label_and_limit_pick_rows_across_groups(tmp_path):
    path = save(tmp_path / "set.parquet")
    owls = load_images(f"{path}?label=owl")
    assert np.array_equal(owls.pixels.permute(0, 2, 3, 1).numpy(), PIXELS[[0, 3, 4, 8]])
    assert load_images(f"{path}@2?label=1").names == ("02.png", "06.png")


def test_splits_are_read_from_file_and_folder_names(tmp_path):
    save(tmp_path / "a" / "data" / "train-00000-of-00002-0123abcd.parquet", range(3))
    save(tmp_path / "a" / "data" / "train-00001-of-00002-4567cdef.parquet", range(3, 5))
    save(tmp_path / "a" / "data" / "test-00000-of-00001.parquet", range(5, 9))
    save(tmp_path / "b" / "train" / "0000.parquet", range(5))
    save(tmp_path / "b" / "test" / "0000.parquet", range(5, 9))
    save(tmp_path / "c" / "train.parquet", range(5))
    save(tmp_path / "c" / "test.parquet", range(5, 9))
    for name in "abc":
        with pytest.raises(
            InputError, match=r"several splits: test, train\. Choose one, for example '.*:test'"
        ):
            open_images(tmp_path / name)
        assert load_images(f"{tmp_path / name}:train").names == tuple(f"{i:02d}.png" for i in range(5))
        assert load_images(f"{tmp_path / name}:test").labels.tolist() == LABELS[5:]
        with pytest.raises(InputError, match=r"split 'validation', but what is there is: test, train"):
            open_images(f"{tmp_path / name}:validation")


def test_files_that_name_no_split_are_one(tmp_path):
    save(tmp_path / "part-1.parquet", range(5, 9))
    save(tmp_path / "part-0.parquet", range(5))
    assert load_images(tmp_path).labels.tolist() == LABELS


def test_a_missing_shard_is_refused_but_one_file_may_be_named(tmp_path):
    one = save(tmp_path / "train-00001-of-00003.parquet", range(5))
    with pytest.raises(
        InputError, match="lacks 2 of the Parquet files of its split 'train', first number 00000 of 00003"
    ):
        open_images(tmp_path)
    assert len(open_images(one)) == 5
    assert len(open_images(f"{one}:train")) == 5
    with pytest.raises(InputError, match="split 'test', but what is there is: train"):
        open_images(f"{one}:test")


def test_versions_of_one_set_beside_each_other_are_refused(tmp_path):
    save(tmp_path / "plain" / "train-00000-of-00001.parquet")
    save(tmp_path / "cropped" / "train-00000-of-00001.parquet")
    with pytest.raises(InputError, match="in several folders: cropped, plain"):
        open_images(tmp_path)


def test_other_column_names_are_found_where_they_are_plain(tmp_path):
    renamed = load_images(save(tmp_path / "a.parquet", column="img", label="fine"))
    assert renamed.labels.tolist() == LABELS
    assert renamed.label_names == tuple(NAMES)
    plain = pq.read_table(save(tmp_path / "b.parquet")).replace_schema_metadata(None)
    pq.write_table(plain, tmp_path / "b.parquet")
    assert load_images(tmp_path / "b.parquet").label_names == ()
    assert load_images(f"{tmp_path / 'b.parquet'}?label=2").labels.tolist() == [2] * 4


def test_labels_that_are_missing_or_unclear(tmp_path):
    half = load_images(save(tmp_path / "half.parquet", labels=[1, None, 2, *[None] * 6]))
    assert half.labels.tolist() == [1, -1, 2, *[-1] * 6]
    assert load_images(save(tmp_path / "none.parquet", labels=[None] * 9)).labels is None
    words = open_images(save(tmp_path / "words.parquet", labels=list("abcabcabc"), label_type=pa.string()))
    assert words.labels is None
    assert words.notes == ("the column 'label' does not hold whole numbers, so no labels are used",)
    with pytest.raises(InputError, match="has no labels"):
        open_images(f"{tmp_path / 'words.parquet'}?label=a")


def test_two_label_columns_are_not_chosen_between(tmp_path):
    table = pq.read_table(save(tmp_path / "x.parquet", label="fine"))
    features = {c: {"names": NAMES, "_type": "ClassLabel"} for c in ("fine", "coarse")}
    about = {"huggingface": json.dumps({"info": {"features": features}})}
    table = table.append_column("coarse", table["fine"]).replace_schema_metadata(about)
    pq.write_table(table, tmp_path / "x.parquet")
    source = open_images(tmp_path / "x.parquet")
    assert source.labels is None
    assert source.notes == ("several label columns (fine, coarse), so no labels are used",)


def test_paths_that_are_not_utf8_or_not_text_are_shown_safely(tmp_path):
    table = pq.read_table(save(tmp_path / "x.parquet"))
    for paths, shown in (
        (pa.array([b"caf\xe9\n.png"] * 9, pa.binary()).view(pa.string()), "caf\\xe9\\n.png"),
        (pa.array(range(9), pa.int64()), "row 0"),
    ):
        image = pa.StructArray.from_arrays(
            [table["image"].combine_chunks().field("bytes"), paths], ["bytes", "path"]
        )
        pq.write_table(table.set_column(0, "image", image), tmp_path / "x.parquet")
        assert load_images(tmp_path / "x.parquet").names[0] == shown


def test_no_image_column_and_two_of_them(tmp_path):
    pq.write_table(pa.table({"x": [1, 2], "image": ["a.png", "b.png"]}), tmp_path / "paths.parquet")
    with pytest.raises(InputError, match=r"no image column \(its columns: x, image\).*struct of bytes"):
        open_images(tmp_path / "paths.parquet")
    table = pq.read_table(save(tmp_path / "x.parquet", column="left"))
    pq.write_table(table.append_column("right", table["left"]), tmp_path / "x.parquet")
    with pytest.raises(InputError, match="several image columns"):
        open_images(tmp_path / "x.parquet")


def test_shards_of_different_classes_are_refused(tmp_path):
    save(tmp_path / "train-00000-of-00002.parquet", range(5))
    table = pq.read_table(save(tmp_path / "train-00001-of-00002.parquet", range(5, 9)))
    pq.write_table(table.replace_schema_metadata(None), tmp_path / "train-00001-of-00002.parquet")
    with pytest.raises(InputError, match="different image or label columns or classes"):
        open_images(tmp_path)


@pytest.mark.parametrize("keep", [0, 3, 100, 0.5, 0.9])
def test_broken_files_are_refused(tmp_path, keep):
    data = save(tmp_path / "x.parquet").read_bytes()
    (tmp_path / "x.parquet").write_bytes(data[: int(keep * len(data)) if keep < 1 else int(keep)])
    with pytest.raises(
        InputError, match=r"'.*x\.parquet' cannot be read: .*corrupt, truncated or not Parquet"
    ):
        open_images(tmp_path / "x.parquet")


def test_damage_inside_a_file_is_found_when_it_is_read(tmp_path):
    path = save(tmp_path / "x.parquet", groups=9)
    data = bytearray(path.read_bytes())
    start = data.index(b"IDAT") + 8
    data[start : start + 8] = bytes(8)
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"cannot be (used|read)"):
        load_images(path)


def test_rows_without_bytes_and_with_broken_ones_are_listed(tmp_path):
    path = save(tmp_path / "x.parquet", data=None)
    with pytest.raises(
        InputError, match=r"9 of 9 images .*00\.png \(no image bytes in this row\).* and 4 more"
    ):
        open_images(path)
    with pytest.raises(InputError, match=r"9 of 9 images .*\(not readable"):
        open_images(save(tmp_path / "y.parquet", data=b"junk"))


def test_no_rows_at_all(tmp_path):
    with pytest.raises(InputError, match="holds no images"):
        open_images(save(tmp_path / "x.parquet", range(0)))


@pytest.mark.shared_data
def test_cars_are_cars(shared_data):
    train = load_images(shared_data / "cifar10_cars" / "train-00000-of-00001.parquet")
    assert train.pixels.shape == (5000, 3, 32, 32)
    assert train.label_names[1] == "automobile"
    assert train.labels.unique().tolist() == [1]
    assert train.names[0] == "train/automobile/0000.jpg"
    whole = load_images(f"{shared_data / 'cifar10'}:test?label=automobile")
    assert load_images(f"{shared_data / 'cifar10_cars'}:test").provenance.sha256 == whole.provenance.sha256


@pytest.mark.shared_data
def test_fashion_keeps_its_grey_levels_and_class_names(shared_data):
    images = load_images(f"{shared_data / 'fashion_mnist'}:test@1000")
    assert images.shape == (1, 28, 28)
    assert images.label_names[images.labels[0]] == "Ankle boot"
    assert images.pixels[0].long().sum() == 33456


@pytest.mark.shared_data
def test_faces_stream_as_they_load(shared_data):
    spec = f"{shared_data / 'lfw_faces_32'}:test"
    blocks = list(stream(open_images(spec), 777))
    assert torch.equal(torch.cat([block.pixels for block in blocks]), load_images(spec).pixels)
    assert blocks[0].shape == (1, 32, 32)
