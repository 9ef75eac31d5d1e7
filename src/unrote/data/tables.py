"""Tables in the Hugging Face image layout: image = struct{bytes, path}, label = int64."""

from __future__ import annotations

import functools
import json
import os
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch

from unrote.contracts import InputError
from unrote.data.choosing import choose, selection_notes
from unrote.data.decode import RESIZED, Encoded, probe, read_encoded
from unrote.data.pixels import BYTES
from unrote.data.sources import Source
from unrote.data.spelling import Spelling, printable

_IMAGE_NAMES = ("image", "img")
_LABEL_NAMES = ("label", "labels")


@dataclass(frozen=True)
class Columns:
    """Which columns are read, and what the classes are called.

    Args:
        image, label: their names; label is None where there is none.
        label_names: name of class i at place i; empty where classes have numbers only.
        notes: sentences on labels that are not used.
    """

    image: str
    label: str | None
    label_names: tuple[str, ...]
    notes: tuple[str, ...]


@runtime_checkable
class Rows(Protocol):
    """Random access to the rows of a table that may be larger than the memory."""

    @property
    def columns(self) -> Columns:
        """Which columns are read."""
        ...

    @property
    def count(self) -> int:
        """How many rows there are."""
        ...

    def labels(self) -> np.ndarray | None:
        """Class of every row (N,), -1 where unknown; None where no row has one."""
        ...

    def load(self, row: int) -> bytes:
        """Encoded image of a row; raises UnusableError."""
        ...

    def name(self, row: int) -> str:
        """Path that the row states, or its number; printable."""
        ...


def open_rows(
    spelling: Spelling, kind: str, table: Rows, resize: int | None, notes: tuple[str, ...] = ()
) -> Source:
    """Images of a table, in the order of its rows.

    Args:
        spelling: the DATA argument.
        kind: what holds the table, in words.
        table: its rows.
        resize: side to which images are resized, or None.
        notes: sentences for the reader.

    Raises:
        InputError: for a label or limit that does not fit, or where the first image cannot be used.
    """
    labels, names = table.labels(), table.columns.label_names
    rows = choose(spelling, table.count, labels, names)
    encoded = Encoded(spec=str(spelling), rows=rows, name=table.name, load=table.load, resize=resize)
    shape = probe(encoded)
    notes += table.columns.notes + (() if resize is None else (RESIZED.format(resize),))
    return Source(
        spec=str(spelling),
        kind=kind,
        shape=shape,
        dtype=torch.uint8,
        value_range=BYTES,
        rows=rows,
        fetch=functools.partial(read_encoded, encoded, shape),
        labels=None if labels is None else torch.from_numpy(labels[rows]),
        label_names=names,
        notes=notes + selection_notes(spelling, rows, labels, names),
    )


def describe(schema: Any, file: str) -> Columns:
    """The columns of a table that hold images and classes.

    Args:
        schema: of the table, pyarrow's.
        file: where it is from, in words, for the message.

    Raises:
        InputError: where there is no image column, or several.
    """
    features = _features(schema.metadata)
    try:
        image = _image_column(schema, file)
        label, notes = _label_column(schema, features)
    except UnicodeDecodeError as error:  # pyarrow decodes a name when it is asked for
        raise InputError(
            f"{file} is damaged: the names of its columns are not text. Download or write it again."
        ) from error
    names = features.get(label, {}).get("names") if label is not None else None
    return Columns(image, label, tuple(printable(str(name)) for name in names or ()), notes)


def name_of(path: Any, row: int) -> str:
    """What to call an image: the path that its row states, or the row's number; printable.

    Args:
        path: an Arrow scalar, or None.
        row: the row.
    """
    import pyarrow as pa

    if (
        path is None
        or not path.is_valid
        or not (pa.types.is_string(path.type) or pa.types.is_large_string(path.type))
    ):
        return f"row {row}"
    return printable(os.fsdecode(bytes(path.as_buffer())))


def numbers(columns: list[Any]) -> np.ndarray | None:
    """Arrow columns of classes as one array (N,), -1 where unknown; None where no row has one."""
    parts = [column.fill_null(-1).to_numpy().astype(np.int64) for column in columns]
    labels = np.concatenate(parts) if parts else np.empty(0, np.int64)
    return labels if (labels >= 0).any() else None


def _features(metadata: dict[bytes, bytes] | None) -> dict[str, Any]:
    """Hugging Face's description of the columns; empty where there is none."""
    try:
        found = json.loads((metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
        return {name: feature for name, feature in found.items() if isinstance(feature, dict)}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}


def _image_column(schema: Any, file: str) -> str:
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
        f"{file} has "
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
