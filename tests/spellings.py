"""One set of images in every form in which DATA is read, for tests that hold for all of them."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image

CLASSES = ("cat", "dog", "owl")


def png(pixels: np.ndarray, level: int = 6) -> bytes:
    """An image file; level 0 packs nothing."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=level)
    return file.getvalue()


def file_names(count: int) -> list[str]:
    return [f"{i // 4:05d}/img{i:08d}.png" for i in range(count)]


def as_table(pixels: np.ndarray, labels: Sequence[int], level: int = 6) -> pa.Table:
    """The images as Hugging Face's `datasets` holds them."""
    images = [
        {"bytes": png(p, level), "path": name}
        for p, name in zip(pixels, file_names(len(pixels)), strict=True)
    ]
    features = {"image": {"_type": "Image"}, "label": {"names": list(CLASSES), "_type": "ClassLabel"}}
    table = pa.table({"image": images, "label": pa.array(labels, pa.int64())})
    return table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})


def save_stream(table: pa.Table, path: Path, batch: int = 3) -> None:
    """An Arrow stream, as `datasets` writes it."""
    with path.open("wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table, max_chunksize=batch)


def npy(place: Path, pixels: np.ndarray, labels: Sequence[int]) -> str:
    np.save(place / "x.npy", pixels)
    return str(place / "x.npy")


def npz(place: Path, pixels: np.ndarray, labels: Sequence[int]) -> str:
    """As guided diffusion's sampling writes it."""
    np.savez(place / "x.npz", pixels if pixels.ndim == 4 else pixels[..., None], np.array(labels))
    return str(place / "x.npz")


def packed_npz(place: Path, pixels: np.ndarray, labels: Sequence[int]) -> str:
    np.savez_compressed(place / "packed.npz", images=pixels, labels=labels)
    return str(place / "packed.npz")


def pt(place: Path, pixels: np.ndarray, labels: Sequence[int]) -> str:
    torch.save({"images": torch.from_numpy(pixels), "labels": torch.tensor(labels)}, place / "x.pt")
    return str(place / "x.pt")


def folder(place: Path, pixels: np.ndarray, labels: Sequence[int]) -> str:
    """With classes in a metadata.csv."""
    root = place / "folder"
    for name, image in zip(file_names(len(pixels)), pixels, strict=True):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(png(image))
    with (root / "metadata.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["file_name", "label"])
        rows.writerows(zip(file_names(len(pixels)), (CLASSES[i] for i in labels), strict=True))
    return str(root)


def stylegan_folder(place: Path, pixels: np.ndarray, labels: Sequence[int]) -> str:
    root = place / "stylegan"
    for name, image in zip(file_names(len(pixels)), pixels, strict=True):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(png(image))
    (root / "dataset.json").write_text(dataset_json(labels))
    return str(root)


def dataset_json(labels: Sequence[int]) -> str:
    return json.dumps({"labels": [list(pair) for pair in zip(file_names(len(labels)), labels, strict=True)]})


def edm_zip(place: Path, pixels: np.ndarray, labels: Sequence[int], packing: int = zipfile.ZIP_STORED) -> str:
    """As EDM's dataset_tool writes it; the order in the archive is another than that of the names."""
    path = place / f"edm{packing}.zip"
    with zipfile.ZipFile(path, "w", packing) as archive:
        for name, image in reversed(list(zip(file_names(len(pixels)), pixels, strict=True))):
            archive.writestr(name, png(image))
        archive.writestr("dataset.json", dataset_json(labels))
    return str(path)


def deflated_zip(place: Path, pixels: np.ndarray, labels: Sequence[int]) -> str:
    return edm_zip(place, pixels, labels, zipfile.ZIP_DEFLATED)


def parquet(place: Path, pixels: np.ndarray, labels: Sequence[int]) -> str:
    pq.write_table(as_table(pixels, labels), place / "x.parquet", row_group_size=4)
    return str(place / "x.parquet")


def clone(place: Path, pixels: np.ndarray, labels: Sequence[int]) -> str:
    """As a repository on the hub, in two files, with another configuration beside."""
    root = place / "clone"
    for config in ("plain", "turned"):
        (root / config).mkdir(parents=True)
        for i, rows in enumerate((slice(0, 5), slice(5, None))):
            table = as_table((pixels if config == "plain" else 255 - pixels)[rows], labels[rows])
            pq.write_table(table, root / config / f"train-{i:05d}-of-00002.parquet")
    (root / "README.md").write_text(
        "---\nconfigs:\n- config_name: plain\n  data_files:\n  - split: train\n    path: plain/train-*\n"
        "- config_name: turned\n  data_files:\n  - split: train\n    path: turned/train-*\n---\n# A set\n"
    )
    return f"{root}:train?config=plain"


def saved(place: Path, pixels: np.ndarray, labels: Sequence[int]) -> str:
    """As `DatasetDict.save_to_disk` writes it."""
    inner = place / "saved" / "train"
    inner.mkdir(parents=True)
    (place / "saved" / "dataset_dict.json").write_text('{"splits": ["train"]}')
    save_arrow(inner, pixels, labels)
    return f"{place / 'saved'}:train"


def save_arrow(inner: Path, pixels: np.ndarray, labels: Sequence[int]) -> None:
    """As `Dataset.save_to_disk` writes it, in two files."""
    names = [f"data-{i:05d}-of-00002.arrow" for i in range(2)]
    for name, rows in zip(names, (slice(0, 5), slice(5, None)), strict=True):
        save_stream(as_table(pixels[rows], labels[rows]), inner / name)
    (inner / "state.json").write_text(json.dumps({"_data_files": [{"filename": name} for name in names]}))


Writer = Callable[[Path, np.ndarray, Sequence[int]], str]

WRITERS: dict[str, Writer] = {
    write.__name__: write
    for write in (
        npy,
        npz,
        packed_npz,
        pt,
        folder,
        stylegan_folder,
        edm_zip,
        deflated_zip,
        parquet,
        clone,
        saved,
    )
}


def add(spec: str, limit: str = "", label: str = "") -> str:
    """A spelling with a limit and labels, which may already have a question mark."""
    path, mark, query = spec.partition("?")
    pieces = [*([f"label={label}"] if label else []), *([query] if mark else [])]
    return f"{path}{limit}" + (f"?{'&'.join(pieces)}" if pieces else "")
