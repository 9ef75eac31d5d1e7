"""Classes of image files: from their folders, StyleGAN's dataset.json, or Hugging Face's metadata files."""

from __future__ import annotations

import csv
import io
import json
import os
import posixpath
import re
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from unrote.contracts import InputError
from unrote.data.spelling import Spelling, printable

DATASET_JSON = "dataset.json"
METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")

MAX_CLASSES = 1_000_000
"""Class numbers lie below this; larger ones are something else, such as identifiers."""

_FILE_COLUMN = "file_name"
_LABEL_COLUMNS = ("label", "labels")


@dataclass(frozen=True)
class Labels:
    """Classes of some images.

    Args:
        numbers: class of each image (N,), int64, -1 where unknown; or None.
        names: name of class i at place i; empty where classes have numbers only.
        notes: sentences on where they come from.
    """

    numbers: np.ndarray | None = None
    names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def from_folders(paths: Sequence[str]) -> Labels:
    """First-level folders as classes, in the order of their bytes; none unless all images lie in folders."""
    tops = [path.split("/", 1)[0] for path in paths if "/" in path]
    if not tops or len(tops) < len(paths):
        return Labels()
    classes = sorted(set(tops), key=os.fsencode)
    place = {name: i for i, name in enumerate(classes)}
    numbers = np.array([place[top] for top in tops], dtype=np.int64)
    return Labels(numbers, tuple(printable(name) for name in classes))


def from_dataset_json(
    spelling: Spelling, data: bytes, paths: Sequence[str], chosen: Sequence[str]
) -> Labels | None:
    """Classes as StyleGAN and EDM store them: {"labels": [[path, class], ...]}, or null for none.

    Args:
        spelling: the DATA argument.
        data: the file's contents.
        paths: all images beside it, relative to it.
        chosen: those of them whose classes are wanted.

    Returns:
        None where the file is of another kind, as many sets have a dataset.json of their own.

    Raises:
        InputError: where the file is not JSON, names images that are not there, leaves some out, or has
            labels that are not class numbers.
    """
    held = _json(spelling, DATASET_JSON, data)
    if not isinstance(held, dict) or "labels" not in held:
        return None
    if held["labels"] is None:
        return Labels(notes=(f"{DATASET_JSON} says that there are no labels",))
    pairs = held["labels"]
    if not isinstance(pairs, list) or not all(
        isinstance(p, list) and len(p) == 2 and isinstance(p[0], str) for p in pairs
    ):
        raise InputError(
            f"'{spelling}': the labels in {DATASET_JSON} are not a list of pairs. They are "
            '{"labels": [["00000/img00000000.png", 6], ...]} or {"labels": null}; write the set again with its '
            "authors' tool, or leave the file out."
        )
    names = [name.replace("\\", "/") for name, _ in pairs]
    _check_names(spelling, DATASET_JSON, names, paths)
    label = dict(zip(names, (value for _, value in pairs), strict=True))
    lacking = [path for path in paths if path not in label]
    if lacking:
        raise InputError(
            f"'{spelling}': {DATASET_JSON} has no label for {len(lacking):,} of {len(paths):,} images, such as "
            f"{printable(lacking[0])}. It names every image or says null for all; write it again."
        )
    if all(isinstance(value, list) for value in label.values()):
        return Labels(
            notes=(f"the labels in {DATASET_JSON} are vectors and not classes, so no labels are used",)
        )
    return Labels(_numbers(spelling, DATASET_JSON, [label[path] for path in chosen]))


def from_metadata(
    spelling: Spelling,
    files: Sequence[str],
    read: Callable[[str], bytes],
    paths: Sequence[str],
    chosen: Sequence[str],
) -> Labels | None:
    """Classes from metadata.csv, .jsonl or .parquet files with the columns file_name and label (or labels).

    Whole numbers are class numbers; words become class names in alphabetical order. Images that no row
    names have the class -1.

    Args:
        spelling: the DATA argument.
        files: the metadata files.
        read: their contents.
        paths: all images of the set.
        chosen: those whose classes are wanted.

    Returns:
        None where no file has a column of labels.

    Raises:
        InputError: where a file cannot be read, has no column file_name, or names images that are not there.
    """
    label: dict[str, Any] = {}
    for file in files:
        rows = _rows(spelling, file, read(file))
        if rows and not all(_FILE_COLUMN in row for row in rows):
            raise InputError(
                f"'{spelling}': {printable(file)} has no column {_FILE_COLUMN} in every row (its columns: "
                f"{', '.join(map(printable, map(str, rows[0])))}). It says which image a row is about, relative "
                "to the file; add it, or leave the file out."
            )
        base = posixpath.dirname(file)
        names = [posixpath.normpath(posixpath.join(base, str(row[_FILE_COLUMN]))) for row in rows]
        _check_names(spelling, file, names, paths)
        column = next((c for c in _LABEL_COLUMNS if any(_is_given(row.get(c)) for row in rows)), None)
        if column is None:
            continue
        if not all(_is_class(row[column]) for row in rows if _is_given(row.get(column))):
            note = f"the column '{column}' of {printable(file)} does not hold classes, so no labels are used"
            return Labels(notes=(note,))
        label |= {
            name: row[column] for name, row in zip(names, rows, strict=True) if _is_given(row.get(column))
        }
    if not label:
        return None
    values = [label.get(path) for path in chosen]
    used = [file for file in files if any(path.startswith(posixpath.dirname(file)) for path in chosen)]
    notes = [f"labels are those of {', '.join(printable(file) for file in used[:3])}"]
    if unknown := sum(value is None for value in values):
        notes.append(f"{unknown:,} of {len(values):,} images have no label there")
    return _classes(spelling, files[0], values, set(label.values()), tuple(notes))


def _is_given(value: Any) -> bool:
    return value is not None and value != ""


def _is_class(value: Any) -> bool:
    return isinstance(value, str | int) and not isinstance(value, bool)


def _classes(
    spelling: Spelling, file: str, values: Sequence[Any], known: Set[Any], notes: tuple[str, ...]
) -> Labels:
    """Class numbers of some images; names are numbered over all images, so that every split has the same."""
    if all(isinstance(v, int) or (isinstance(v, str) and re.fullmatch("[0-9]{1,9}", v)) for v in known):
        whole = [None if value is None else int(value) for value in values]
        return Labels(_numbers(spelling, file, whole, missing=True), notes=notes)
    if not all(isinstance(value, str) for value in known):
        raise InputError(
            f"'{spelling}': the labels in {printable(file)} are neither all whole numbers nor all words, such as "
            f"{printable(repr(next(v for v in known if not isinstance(v, str))))}. Make them one or the other."
        )
    names = sorted(known)
    place = {name: i for i, name in enumerate(names)}
    numbers = np.array([-1 if value is None else place[value] for value in values], dtype=np.int64)
    return Labels(numbers, tuple(printable(name) for name in names), notes)


def _numbers(spelling: Spelling, file: str, values: Sequence[Any], missing: bool = False) -> np.ndarray:
    bad = [
        value
        for value in values
        if not (missing and value is None)
        and not (isinstance(value, int) and not isinstance(value, bool) and 0 <= value < MAX_CLASSES)
    ]
    if bad:
        raise InputError(
            f"'{spelling}': {len(bad):,} of {len(values):,} labels in {printable(file)} are out of range, such as "
            f"{printable(repr(bad[0]))[:40]}. A label is the number of a class, a whole number from 0 to "
            f"{MAX_CLASSES - 1:,}: correct them, or leave all of them out."
        )
    return np.array([-1 if value is None else value for value in values], dtype=np.int64)


def _check_names(spelling: Spelling, file: str, names: Sequence[str], paths: Sequence[str]) -> None:
    there = set(paths)
    gone = [name for name in names if name not in there]
    if gone:
        raise InputError(
            f"'{spelling}': {printable(file)} names {len(gone):,} images that are not there, such as "
            f"{printable(gone[0])}. A set must be whole, or copies of the missing part go unseen: get the missing "
            "files, or correct the names."
        )
    if len(set(names)) < len(names):
        seen = set[str]()
        first = next(name for name in names if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise InputError(
            f"'{spelling}': {printable(file)} names {printable(first)} more than once. Every image has one row; "
            "remove the others."
        )


def _rows(spelling: Spelling, file: str, data: bytes) -> list[dict[str, Any]]:
    """The rows of a metadata file."""
    ending = PurePosixPath(file).suffix
    try:
        if ending == ".csv":
            return list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline="")))
        if ending == ".parquet":
            import pyarrow.parquet as pq

            parquet = pq.ParquetFile(io.BytesIO(data))
            wanted = [c for c in (_FILE_COLUMN, *_LABEL_COLUMNS) if c in parquet.schema_arrow.names]
            return list(parquet.read(columns=wanted or None).to_pylist())
        rows = [json.loads(line) for line in data.decode("utf-8-sig").splitlines() if line.strip()]
        if not all(isinstance(row, dict) for row in rows):
            raise ValueError("a line is not an object in braces")
        return rows
    except Exception as error:  # readers of broken files raise nearly anything
        raise _unreadable(spelling, file, error) from error


def _json(spelling: Spelling, file: str, data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise _unreadable(spelling, file, error) from error


def _unreadable(spelling: Spelling, file: str, error: Exception) -> InputError:
    first = printable((str(error).splitlines() or [type(error).__name__])[0])
    return InputError(
        f"'{spelling}': {printable(file)} cannot be read: {first}. It tells the classes of the images; repair it, "
        "or leave it out to read the images without."
    )
