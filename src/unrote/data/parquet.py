"""Parquet in the Hugging Face image layout: image = struct{bytes, path}, label = int64."""

from __future__ import annotations

import functools
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from unrote.contracts import InputError
from unrote.data.decode import RESIZED, Encoded, UnusableError, probe, read_encoded
from unrote.data.folders import SPLITS
from unrote.data.pixels import BYTES
from unrote.data.sources import Source
from unrote.data.spelling import Spelling, choose, printable

_SHARD = re.compile(r"(?P<split>\w+(?:\.\w+)*)-(?P<index>\d{5})-of-(?P<count>\d{5})(?:-\w+)?")
_IMAGE_NAMES = ("image", "img")
_LABEL_NAMES = ("label", "labels")


@dataclass(frozen=True)
class Shards:
    """The Parquet files of one split, in order."""

    split: str
    files: tuple[Path, ...]


@dataclass(frozen=True)
class _Columns:
    """Which columns are read, and what the classes are called."""

    image: str
    label: str | None
    label_names: tuple[str, ...]
    notes: tuple[str, ...]


def split_files(spelling: Spelling, files: tuple[str, ...]) -> list[Shards]:
    """Parquet files (relative paths) by split, as their names tell.

    `train-00000-of-00002.parquet`, `train.parquet` and `train/0000.parquet` belong to "train", and so
    does a file whose name tells nothing.

    Raises:
        InputError: where a shard is missing, or one split lies in several folders.
    """
    found: dict[str, list[str]] = {}
    for file in files:
        found.setdefault(_split_of(file), []).append(file)
    for split, members in found.items():
        folders = sorted({str(Path(member).parent) for member in members})
        if len(folders) > 1:
            raise InputError(
                f"'{spelling}' holds the split '{printable(split)}' in several folders: "
                f"{', '.join(printable(f) for f in folders[:5])}. They may be different versions of one "
                "set, so name one of the folders."
            )
        _check_complete(spelling, split, members)
    return [Shards(split, tuple(Path(spelling.path, m) for m in found[split])) for split in sorted(found)]


def one_file(file: Path) -> Shards:
    """A single Parquet file, which needs no shards beside it."""
    return Shards(_split_of(file.name), (file,))


def _split_of(file: str) -> str:
    path = Path(file)
    if match := _SHARD.fullmatch(path.stem):
        return match["split"]
    told = [name for name in (path.stem, path.parent.name) if name.lower() in SPLITS]
    return told[0] if told else "train"


def _check_complete(spelling: Spelling, split: str, members: list[str]) -> None:
    shards = [match for member in members if (match := _SHARD.fullmatch(Path(member).stem))]
    wanted = {(i, int(m["count"])) for m in shards for i in range(int(m["count"]))}
    missing = sorted(wanted - {(int(m["index"]), int(m["count"])) for m in shards})
    if missing:
        index, count = missing[0]
        raise InputError(
            f"'{spelling}' lacks {len(missing):,} of the Parquet files of its split '{printable(split)}', "
            f"first number {index:05d} of {count:05d}. A set must be whole, or copies of the missing part "
            "go unseen: download it again, or name the files that are there one at a time."
        )


def open_parquet(spelling: Spelling, splits: list[Shards], resize: int | None) -> Source:
    """Images of one split, in the order of its files and rows; read row group by row group.

    Raises:
        InputError: where the split is unknown, a file is not Parquet or has no image column, or the
            first image cannot be used.
    """
    files = _pick(spelling, splits).files
    table = _Table(spelling, files)
    labels = table.labels()
    rows = choose(spelling, table.count, labels, table.columns.label_names)
    encoded = Encoded(
        spec=str(spelling),
        rows=rows,
        name=table.name,
        load=table.load,
        resize=resize,
    )
    shape = probe(encoded)
    notes = table.columns.notes + (() if resize is None else (RESIZED.format(resize),))
    return Source(
        spec=str(spelling),
        kind="Parquet",
        shape=shape,
        dtype=torch.uint8,
        value_range=BYTES,
        rows=rows,
        fetch=functools.partial(read_encoded, encoded, shape),
        labels=None if labels is None else torch.from_numpy(labels[rows]),
        label_names=table.columns.label_names,
        notes=notes,
    )


def _pick(spelling: Spelling, splits: list[Shards]) -> Shards:
    names = [shards.split for shards in splits]
    listed = ", ".join(printable(name) for name in names)
    if spelling.split is None:
        if len(splits) > 1:
            raise InputError(
                f"'{spelling}' holds several splits: {listed}. Choose one, for example "
                f"'{printable(spelling.path)}:{names[0]}'."
            )
        return splits[0]
    if spelling.split not in names:
        raise InputError(
            f"'{spelling}' asks for the split '{spelling.split}', but what is there is: {listed}. Name one "
            "of these, or leave the suffix out where there is only one."
        )
    return splits[names.index(spelling.split)]


class _Table:
    """Random access to the rows of several Parquet files; the last row group read is kept."""

    def __init__(self, spelling: Spelling, files: tuple[Path, ...]) -> None:
        self._spelling = spelling
        self._files = files
        groups: list[tuple[int, int]] = []
        sizes: list[int] = []
        self.columns = self._describe(files[0])
        for i, file in enumerate(files):
            if i and self._describe(file) != self.columns:
                raise InputError(
                    f"The Parquet files {printable(files[0].name)} and {printable(file.name)} of "
                    f"'{spelling}' have different image or label columns or classes. All files of a set "
                    "need the same; name one file."
                )
            metadata = self._open(file).metadata
            groups += [(i, g) for g in range(metadata.num_row_groups)]
            sizes += [metadata.row_group(g).num_rows for g in range(metadata.num_row_groups)]
        self._groups = groups
        self._ends = np.cumsum(sizes, dtype=np.int64)
        self.count = int(self._ends[-1]) if sizes else 0
        self._held: tuple[int, Any, Any] | None = None

    def _open(self, file: Path) -> Any:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            return pq.ParquetFile(pa.OSFile(os.fsencode(file)))  # as text, a name must be UTF-8
        except (pa.ArrowException, OSError) as error:
            raise self._broken(file, error) from error

    def _broken(self, file: Path, error: Exception) -> InputError:
        return InputError(
            f"The Parquet file '{printable(str(file))}' cannot be read: "
            f"{printable(str(error).splitlines()[0])}. It is corrupt, truncated or not Parquet; download or "
            "write it again."
        )

    def _describe(self, file: Path) -> _Columns:
        schema = self._open(file).schema_arrow
        features = _features(schema.metadata)
        image = _image_column(schema, file)
        label, notes = _label_column(schema, features)
        names = features.get(label, {}).get("names") if label is not None else None
        return _Columns(image, label, tuple(printable(str(name)) for name in names or ()), notes)

    def labels(self) -> np.ndarray | None:
        """Class of every row (N,), -1 where unknown; None where no row has one."""
        import pyarrow as pa

        if self.columns.label is None:
            return None
        parts = []
        for file in self._files:
            try:
                column = self._open(file).read(columns=[self.columns.label]).column(0)
            except (pa.ArrowException, OSError) as error:
                raise self._broken(file, error) from error
            parts.append(column.fill_null(-1).to_numpy().astype(np.int64))
        labels = np.concatenate(parts)
        return labels if (labels >= 0).any() else None

    def _cell(self, row: int) -> tuple[Any, Any]:
        """(bytes, path) of a row, each an Arrow scalar."""
        import pyarrow as pa

        place = int(np.searchsorted(self._ends, row, side="right"))
        if self._held is None or self._held[0] != place:
            self._held = None  # the group before is let go before the next is read
            i, group = self._groups[place]
            try:
                table = self._open(self._files[i]).read_row_group(group, columns=[self.columns.image])
            except (pa.ArrowException, OSError) as error:
                raise self._broken(self._files[i], error) from error
            column = table.column(0).combine_chunks()
            fields = dict(zip([field.name for field in column.type], column.flatten(), strict=True))
            self._held = (place, fields["bytes"], fields.get("path"))
        _, data, paths = self._held
        start = int(self._ends[place]) - len(data)
        return data[row - start], None if paths is None else paths[row - start]

    def load(self, row: int) -> bytes:
        """Encoded image of a row."""
        data = self._cell(row)[0]
        if not data.is_valid:
            raise UnusableError("no image bytes in this row", "store the files themselves in the column")
        return bytes(data.as_buffer())

    def name(self, row: int) -> str:
        """Path that the row states, or its number."""
        path = self._cell(row)[1]
        return printable(path.as_py()) if path is not None and path.is_valid else f"row {row}"


def _features(metadata: dict[bytes, bytes] | None) -> dict[str, Any]:
    """Hugging Face's description of the columns; empty where there is none."""
    try:
        found = json.loads((metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
        return {name: feature for name, feature in found.items() if isinstance(feature, dict)}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}


def _image_column(schema: Any, file: Path) -> str:
    import pyarrow as pa

    found = [
        field.name
        for field in schema
        if pa.types.is_struct(field.type)
        and any(f.name == "bytes" and _is_binary(f.type) for f in field.type)
    ]
    named = [name for name in _IMAGE_NAMES if name in found]
    if len(found) == 1 or named:
        return (named or found)[0]
    columns = ", ".join(printable(name) for name in schema.names[:10])
    raise InputError(
        f"The Parquet file '{printable(str(file))}' has "
        f"{'several image columns' if found else 'no image column'} (its columns: {columns}). One column, "
        "called image, must be a struct of bytes (an encoded image file) and path; write it with Hugging "
        "Face `datasets`, or rename the column that is meant."
    )


def _is_binary(kind: Any) -> bool:
    import pyarrow as pa

    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _label_column(schema: Any, features: dict[str, Any]) -> tuple[str | None, tuple[str, ...]]:
    import pyarrow as pa

    whole = [field.name for field in schema if pa.types.is_integer(field.type)]
    classes = [name for name in whole if features.get(name, {}).get("_type") == "ClassLabel"]
    named = [name for name in _LABEL_NAMES if name in whole]
    if named or len(classes) == 1:
        return (named or classes)[0], ()
    if classes:
        return None, (f"several label columns ({', '.join(map(printable, classes))}), so no labels are used",)
    unread = [name for name in _LABEL_NAMES if name in schema.names]
    return None, tuple(
        f"the column '{name}' does not hold whole numbers, so no labels are used" for name in unread
    )
