"""Folders that save_to_disk wrote: what `datasets` holds, mapped into memory, and nothing outside."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from spellings import CLASSES, WRITERS, as_table, png, save_arrow, save_stream

from unrote.contracts import InputError
from unrote.data.images import load_images, open_images
from unrote.data.saved import ArrowTable

PIXELS = np.random.default_rng(12).integers(0, 256, (9, 5, 4, 3), dtype=np.uint8)
LABELS = [2, 0, 1, 2, 2, 0, 1, 1, 2]
WHOLE = torch.from_numpy(PIXELS).permute(0, 3, 1, 2)


@pytest.fixture(scope="module")
def datasets():
    import datasets

    datasets.disable_progress_bars()
    return datasets


def made(datasets):
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=list(CLASSES))}
    )
    images = [{"bytes": png(pixels), "path": None} for pixels in PIXELS]
    return datasets.Dataset.from_dict({"image": images, "label": LABELS}, features=features)


@pytest.mark.parametrize("shards", [1, 2, 9])
def test_what_datasets_saves_is_what_is_read(tmp_path, datasets, shards):
    made(datasets).save_to_disk(tmp_path / "set", num_shards=shards)
    images = load_images(tmp_path / "set")
    assert torch.equal(images.pixels, WHOLE)
    assert images.labels.tolist() == LABELS
    assert images.label_names == CLASSES
    assert images.names == tuple(f"row {i}" for i in range(9))
    assert images.provenance.kind == "saved by datasets"


def test_splits_and_chosen_rows_as_datasets_saves_them(tmp_path, datasets):
    whole = made(datasets)
    parts = {"train": whole.select([5, 3, 3]), "test": whole.filter(lambda row: row["label"] == 1)}
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "set")
    assert torch.equal(load_images(f"{tmp_path / 'set'}:train").pixels, WHOLE[[5, 3, 3]])
    assert torch.equal(load_images(f"{tmp_path / 'set'}:test").pixels, WHOLE[[2, 6, 7]])
    assert torch.equal(load_images(tmp_path / "set" / "test").pixels, WHOLE[[2, 6, 7]])
    with pytest.raises(InputError, match=r"several splits: train, test\. Choose one, for example '.*:train'"):
        open_images(tmp_path / "set")
    with pytest.raises(InputError, match="split 'val', but what is there is: train, test"):
        open_images(f"{tmp_path / 'set'}:val")
    with pytest.raises(InputError, match="split 'val', but the folder holds one set"):
        open_images(f"{tmp_path / 'set' / 'test'}:val")


def saved(place: Path) -> Path:
    WRITERS["saved"](place, PIXELS, LABELS)
    return place / "saved"


@pytest.mark.parametrize(
    "name", ["../../secret.arrow", "/etc/passwd", "..", "C:x", "a/b.arrow", "", 3, None, "a\\b"]
)
def test_a_description_never_leads_out_of_its_folder(tmp_path, name):
    root = saved(tmp_path)
    (root / "train" / "state.json").write_text(json.dumps({"_data_files": [{"filename": name}]}))
    with pytest.raises(InputError, match="does not lie in its folder: "):
        open_images(root)
    (root / "dataset_dict.json").write_text(json.dumps({"splits": [name]}))
    with pytest.raises(InputError, match="does not lie in its folder: "):
        open_images(root)


def test_missing_parts_are_named(tmp_path):
    root = saved(tmp_path)
    (root / "train" / "data-00001-of-00002.arrow").unlink()
    with pytest.raises(InputError, match=r"lacks data-00001-of-00002\.arrow.*copy or save it again"):
        open_images(root)
    shutil.rmtree(root / "train")
    with pytest.raises(InputError, match="lacks train"):
        open_images(root)


@pytest.mark.parametrize("text", ["", "[", "[1]", "null", "\xff"])
def test_descriptions_that_cannot_be_read(tmp_path, text):
    root = saved(tmp_path)
    (root / "train" / "state.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=r"state\.json cannot be read"):
        open_images(root)
    (root / "train" / "state.json").write_text("{}")
    with pytest.raises(InputError, match="names no data files"):
        open_images(root)
    (root / "train" / "state.json").write_text('{"_data_files": [], "_indices_data_files": [1]}')
    with pytest.raises(InputError, match="old version"):
        open_images(root)


@pytest.mark.parametrize("keep", [0, 8, 0.3, 0.6, 0.9, 0.999])
def test_files_that_were_cut_short_are_refused(tmp_path, keep):
    file = saved(tmp_path) / "train" / "data-00000-of-00002.arrow"
    data = file.read_bytes()
    file.write_bytes(data[: int(keep * len(data)) if keep < 1 else int(keep)])
    with pytest.raises(
        InputError, match=r"data-00000-of-00002\.arrow' of .* cannot be read: .*corrupt, truncated"
    ):
        open_images(tmp_path / "saved")


def test_a_file_cut_between_two_batches_is_noticed(tmp_path):
    table, whole, half = as_table(PIXELS, LABELS), tmp_path / "whole", tmp_path / "half"
    save_stream(table, whole, batch=3)
    save_stream(table.slice(0, 6), half, batch=3)
    cut = whole.read_bytes()[: half.stat().st_size - 8]
    assert cut == half.read_bytes()[:-8]
    whole.write_bytes(cut)
    with pytest.raises(InputError, match="its end is missing"):
        ArrowTable("x", [whole])


def test_no_flipped_byte_ends_the_process(tmp_path):
    """Offsets in a damaged file lead outside of it, and reading there would end the process."""
    root = saved(tmp_path) / "train"
    file = root / "data-00000-of-00002.arrow"
    data, rng = file.read_bytes(), np.random.default_rng(0)
    refused = 0
    for _ in range(150):
        spoiled = bytearray(data)
        for place in rng.integers(0, len(data) - 8, 2):
            spoiled[place] = rng.integers(0, 256)
        file.unlink()  # the file before is still mapped
        file.write_bytes(spoiled)
        try:
            load_images(root)
        except InputError as error:
            assert len(str(error).splitlines()) == 1  # noqa: PT017
            refused += 1
    assert refused > 100


def test_files_of_different_columns_are_refused(tmp_path):
    root = saved(tmp_path) / "train"
    table = as_table(PIXELS[5:], LABELS[5:]).rename_columns(["image", "fine"])
    save_stream(table, root / "data-00001-of-00002.arrow")
    with pytest.raises(InputError, match="other image or label columns or classes than data-00000"):
        open_images(root)


def test_images_that_are_only_paths_are_never_followed(tmp_path):
    (tmp_path / "secret.png").write_bytes(png(PIXELS[0]))
    table = as_table(PIXELS[:2], LABELS[:2])
    rows = [{"bytes": None, "path": str(tmp_path / "secret.png")}] * 2
    import pyarrow as pa

    image = pa.array(rows, table.schema.field("image").type)
    inner = tmp_path / "set"
    inner.mkdir()
    save_stream(table.set_column(0, "image", image), inner / "data.arrow")
    (inner / "state.json").write_text('{"_data_files": [{"filename": "data.arrow"}]}')
    with pytest.raises(InputError, match="no image bytes in this row"):
        open_images(inner)


def test_folders_of_any_name_are_read(tmp_path):
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    try:
        odd.mkdir()
    except OSError:
        pytest.skip("this file system holds UTF-8 names only")
    save_arrow(odd, PIXELS, LABELS)
    assert torch.equal(load_images(odd).pixels, WHOLE)


def test_no_rows_at_all(tmp_path):
    (tmp_path / "set").mkdir()
    save_stream(as_table(PIXELS, LABELS).slice(0, 0), tmp_path / "set" / "data.arrow")
    (tmp_path / "set" / "state.json").write_text('{"_data_files": [{"filename": "data.arrow"}]}')
    with pytest.raises(InputError, match="holds no images"):
        open_images(tmp_path / "set")
