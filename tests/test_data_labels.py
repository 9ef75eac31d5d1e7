"""Classes of image files: told by dataset.json or metadata files, and whole or refused."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from spellings import png

from unrote.contracts import InputError
from unrote.data.images import load_images, open_images

RNG = np.random.default_rng(9)
NAMES = ["a/0.png", "a/1.png", "b/2.png"]
IMAGES = {
    name: png(pixels) for name, pixels in zip(NAMES, RNG.integers(0, 256, (3, 4, 4), np.uint8), strict=True)
}


def write(place: Path, files: dict[str, str | bytes], top: str = "") -> list[str]:
    """The images and some more files, as a folder and as a zip: two DATA arguments."""
    held = {
        name: data.encode() if isinstance(data, str) else data for name, data in {**IMAGES, **files}.items()
    }
    for name, data in held.items():
        path = place / "folder" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    with zipfile.ZipFile(place / "set.zip", "w") as archive:
        for name, data in held.items():
            archive.writestr(top + name, data)
    return [str(place / "folder"), str(place / "set.zip")]


def labels_of(spec: str) -> list[int] | None:
    labels = open_images(spec).labels
    return None if labels is None else labels.tolist()


def pairs(*labels: object, names: list[str] = NAMES) -> str:
    return json.dumps({"labels": [[name, label] for name, label in zip(names, labels, strict=True)]})


def refused(spec: str, says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        open_images(spec)
    assert "\n" not in str(caught.value)


def test_without_anything_told_folders_are_classes(tmp_path):
    for spec in write(tmp_path, {}):
        assert labels_of(spec) == [0, 0, 1]
        assert open_images(spec).label_names == ("a", "b")


def test_dataset_json_tells_classes_whatever_the_folders(tmp_path):
    for spec in write(tmp_path, {"dataset.json": pairs(7, 0, 7)}):
        source = open_images(spec)
        assert source.labels.tolist() == [7, 0, 7]
        assert source.label_names == source.notes == ()
        assert load_images(f"{spec}?label=7").names == ("a/0.png", "b/2.png")
    for spec in write(
        tmp_path, {"dataset.json": pairs(7, 0, 7, names=[n.replace("/", "\\") for n in NAMES])}
    ):
        assert labels_of(spec) == [7, 0, 7]


def test_no_labels_and_vectors_are_said(tmp_path):
    for spec in write(tmp_path, {"dataset.json": '{"labels": null}'}):
        assert labels_of(spec) is None
        assert open_images(spec).notes == ("dataset.json says that there are no labels",)
        refused(f"{spec}?label=a", "this data has no labels")
    for spec in write(tmp_path, {"dataset.json": pairs([0.5, 1], [1, 0], [0, 1])}):
        assert labels_of(spec) is None
        assert "vectors and not classes" in open_images(spec).notes[0]


def test_a_dataset_json_of_another_kind_is_left_out_and_said(tmp_path):
    for text in ('{"name": "my set"}', "[1, 2]", '"labels"'):
        for spec in write(tmp_path, {"dataset.json": text}):
            assert labels_of(spec) == [0, 0, 1]
            assert "was left out" in open_images(spec).notes[0]


BAD_JSON = [
    ('{"labels": [', r"dataset\.json cannot be read: .*repair it, or leave it out"),
    ("[" * 100_000, r"dataset\.json cannot be read"),
    ('{"labels": {"a/0.png": 1}}', "not a list of pairs"),
    ('{"labels": [["a/0.png", 1, 2]]}', "not a list of pairs"),
    ('{"labels": [["a/0.png", 1]]}', r"no label for 2 of 3 images, such as a/1\.png"),
    (
        pairs(1, 2, 3, 4, names=[*NAMES, "c/gone.png"]),
        r"names 1 images that are not there, such as c/gone\.png",
    ),
    (pairs(1, 2, 3, 4, names=[*NAMES, "../../etc/passwd"]), r"not there, such as \.\./\.\./etc/passwd"),
    (pairs(1, 2, 3, 4, names=[*NAMES, NAMES[0]]), r"names a/0\.png more than once"),
    (pairs(1, -1, 2), r"1 of 3 labels in dataset\.json are out of range, such as -1\. .*from 0 to 999,999"),
    (pairs(1, 10**30, 2), r"out of range, such as 1000"),
    (pairs(1, True, 2), r"out of range, such as True"),
    (pairs(1, "cat", 2), r"out of range, such as 'cat'"),
    (pairs(1, [1, 0], 2), r"out of range, such as \[1, 0\]"),
    (pairs(1, 0.5, None), r"2 of 3 labels in dataset\.json are out of range"),
]


@pytest.mark.parametrize(("text", "says"), BAD_JSON)
def test_a_dataset_json_that_cannot_be_right_is_refused(tmp_path, text, says):
    for spec in write(tmp_path, {"dataset.json": text}):
        refused(spec, says)


def jsonl(*rows: dict) -> str:
    return "\n".join(map(json.dumps, rows)) + "\n"


def as_parquet(**columns) -> bytes:
    file = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), file)
    return file.getvalue().to_pybytes()


TABLES = [
    ("metadata.csv", 'file_name,label\na/1.png,owl\nb/2.png,cat\na/0.png,"dog, wet"\n'),
    ("metadata.csv", '\ufefflabels,file_name\r\nowl,./a/1.png\r\ncat,b/2.png\r\n"dog, wet",a/x/../0.png\r\n'),
    (
        "metadata.jsonl",
        jsonl(
            {"file_name": "a/0.png", "label": "dog, wet", "more": [1]},
            {"file_name": "a/1.png", "label": "owl"},
            {"file_name": "b/2.png", "label": "cat"},
        ),
    ),
    ("metadata.parquet", as_parquet(file_name=NAMES, label=["dog, wet", "owl", "cat"])),
]


@pytest.mark.parametrize(("file", "data"), TABLES)
def test_metadata_files_tell_class_names(tmp_path, file, data):
    for spec in write(tmp_path, {file: data}):
        source = open_images(spec)
        assert source.labels.tolist() == [1, 2, 0]
        assert source.label_names == ("cat", "dog, wet", "owl")
        assert source.notes == (f"labels are those of {file}",)
        assert load_images(f"{spec}?label=dog, wet,owl").names == ("a/0.png", "a/1.png")
        assert load_images(f"{spec}?label=cat,dog, wet").names == ("a/0.png", "b/2.png")


@pytest.mark.parametrize("quote", ["", '"'])
def test_whole_numbers_are_class_numbers_and_missing_ones_are_unknown(tmp_path, quote):
    rows = f"file_name,label\na/0.png,{quote}12{quote}\na/1.png,\n"
    for spec in write(tmp_path, {"metadata.csv": rows}):
        source = open_images(spec)
        assert source.labels.tolist() == [12, -1, -1]
        assert source.label_names == ()
        assert source.notes[1] == "2 of 3 images have no label there"
        assert len(open_images(f"{spec}?label=12")) == 1


def test_metadata_lies_beside_its_images_and_numbers_every_split_alike(tmp_path):
    split = {
        "train/c/0.png": IMAGES["a/0.png"],
        "test/c/0.png": IMAGES["a/1.png"],
        "test/1.png": IMAGES["b/2.png"],
    }
    tables = {
        "train/metadata.csv": "file_name,label\nc/0.png,zebra\n",
        "test/metadata.jsonl": jsonl(
            {"file_name": "c/0.png", "label": "ape"}, {"file_name": "1.png", "label": "yak"}
        ),
    }
    root = tmp_path / "set"
    for name, data in (split | tables).items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data.encode() if isinstance(data, str) else data)
    assert open_images(f"{root}:train").label_names == ("ape", "yak", "zebra")
    assert labels_of(f"{root}:train") == [2]
    assert labels_of(f"{root}:test") == [1, 0]
    assert open_images(f"{root}:test").notes == ("labels are those of test/metadata.jsonl",)


def test_metadata_without_labels_leaves_the_folders(tmp_path):
    for spec in write(tmp_path, {"metadata.csv": "file_name,text\na/0.png,a cat\n"}):
        assert labels_of(spec) == [0, 0, 1]


def test_labels_that_are_no_classes_are_not_used_and_said(tmp_path):
    for value in ([1, 2], 0.5, True, {"x": 1}):
        rows = jsonl(*({"file_name": name, "label": value} for name in NAMES))
        for spec in write(tmp_path, {"metadata.jsonl": rows}):
            assert labels_of(spec) is None
            assert "does not hold classes" in open_images(spec).notes[0]


BAD_TABLES = [
    (
        "metadata.csv",
        "name,label\na/0.png,cat\n",
        "no column file_name in every row .its columns: name, label",
    ),
    (
        "metadata.csv",
        "file_name,label\ngone.png,cat\n",
        r"names 1 images that are not there, such as gone\.png",
    ),
    ("metadata.csv", "file_name,label\na/0.png,1\na/0.png,2\n", r"names a/0\.png more than once"),
    ("metadata.csv", "file_name,label\na/0.png,1234567\n", r"out of range, such as 1234567"),
    ("metadata.csv", b"file_name,label\n\xff\xfe.png,1\n", r"metadata\.csv cannot be read: "),
    ("metadata.csv", b"file_name,label\n\x00.png,1\n", r"(cannot be read|not there, such as \\x00\.png)"),
    ("metadata.csv", 'file_name,label\n"' + "x" * 200_000 + '",1\n', r"cannot be read: field larger"),
    ("metadata.jsonl", '{"file_name": "a/0.png"\n', r"metadata\.jsonl cannot be read: "),
    ("metadata.jsonl", "[1]\n", r"cannot be read: a line is not an object"),
    ("metadata.jsonl", jsonl({"file_name": "a/0.png", "label": "x"}, {"label": "y"}), "no column file_name"),
    (
        "metadata.jsonl",
        jsonl({"file_name": "a/0.png", "label": "x"}, {"file_name": "a/1.png", "label": 3}),
        "neither all whole numbers nor all words, such as 3",
    ),
    ("metadata.parquet", b"PAR1 and no more", r"metadata\.parquet cannot be read: "),
]


@pytest.mark.parametrize(("file", "data", "says"), BAD_TABLES)
def test_metadata_that_cannot_be_right_is_refused(tmp_path, file, data, says):
    for spec in write(tmp_path, {file: data}):
        refused(spec, says)


def test_dataset_json_goes_before_metadata(tmp_path):
    for spec in write(tmp_path, {"dataset.json": pairs(3, 2, 1), "metadata.csv": TABLES[0][1]}):
        assert labels_of(spec) == [3, 2, 1]


def test_metadata_without_images_is_no_label(tmp_path):
    (tmp_path / "metadata.csv").write_text("file_name,label\n")
    refused(str(tmp_path), r"holds no images, but other files: 1 \.csv")
