"""Folders that Hugging Face's `save_to_disk` wrote, and Arrow files in general, mapped into memory."""

from __future__ import annotations

import json
import mmap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from unrote.contracts import InputError
from unrote.data.decode import UnusableError
from unrote.data.sources import Source
from unrote.data.spelling import Spelling, printable, refuse_config
from unrote.data.tables import describe, name_of, numbers, open_rows

_STATE, _SPLITS = "state.json", "dataset_dict.json"
_END = b"\xff\xff\xff\xff\x00\x00\x00\x00"
"""The last bytes of an Arrow stream that was written to its end."""


def is_saved(folder: Path) -> bool:
    """Whether a folder is one that `save_to_disk` wrote."""
    return (folder / _STATE).is_file() or (folder / _SPLITS).is_file()


def open_saved(spelling: Spelling, resize: int | None) -> Source:
    """Images of a `Dataset` or `DatasetDict` that was saved to disk; read by memory map, never run as code.

    Raises:
        InputError: where the split is unknown, a file is missing, damaged or outside the folder, or the
            first image cannot be used.
    """
    refuse_config(spelling, "a set that was saved to disk has none")
    folder = Path(spelling.path)
    if (folder / _SPLITS).is_file():
        folder = _pick_split(spelling, folder)
    elif spelling.split is not None:
        told = _read_json(spelling, folder / _STATE).get("_split")
        if told != spelling.split:
            raise InputError(
                f"'{spelling}' asks for the split '{spelling.split}', but the folder holds one set"
                f"{f', the split {printable(told)}' if isinstance(told, str) else ''}. Leave ':{spelling.split}' out."
            )
    state = _read_json(spelling, folder / _STATE)
    names = [
        entry.get("filename") if isinstance(entry, dict) else None for entry in _listed(state, "_data_files")
    ]
    if state.get("_indices_data_files"):
        raise InputError(
            f"'{spelling}' was saved by an old version of `datasets`, with a separate order of its rows, which is not "
            "read. Load it with `datasets` and save it again with save_to_disk."
        )
    files = [_inside(spelling, folder, name) for name in names]
    if not files:
        raise InputError(f"'{spelling}' holds no images: {_STATE} names no data files. Save the set again.")
    return open_rows(spelling, "saved by datasets", ArrowTable(str(spelling), files), resize)


def _pick_split(spelling: Spelling, folder: Path) -> Path:
    splits = _listed(_read_json(spelling, folder / _SPLITS), "splits")
    listed = ", ".join(printable(str(split)) for split in splits) or "none"
    if spelling.split is None and len(splits) != 1:
        raise InputError(
            f"'{spelling}' holds several splits: {listed}. Choose one, for example "
            f"'{printable(spelling.path)}:{printable(str(splits[0])) if splits else 'train'}'."
        )
    wanted = splits[0] if spelling.split is None else spelling.split
    if wanted not in splits:
        raise InputError(
            f"'{spelling}' asks for the split '{printable(wanted)}', but what is there is: {listed}. Name one "
            "of these, or leave the suffix out where there is only one."
        )
    return _inside(spelling, folder, wanted)


def _inside(spelling: Spelling, folder: Path, name: Any) -> Path:
    """A file or folder that a description names, which must lie in the folder itself."""
    if not isinstance(name, str) or name in {"", ".", ".."} or set(name) & {"/", "\\", "\0", ":"}:
        raise InputError(
            f"'{spelling}' names a part of itself that does not lie in its folder: '{printable(str(name))}'. "
            "Parts are plain names without '..' or folders, so the set was damaged or made to do harm: save it again."
        )
    if not (folder / name).exists():
        raise InputError(
            f"'{spelling}' lacks {printable(name)}, which its description names. A set must be whole, or copies of "
            "the missing part go unseen: copy or save it again."
        )
    return folder / name


def _read_json(spelling: Spelling, file: Path) -> dict[str, Any]:
    try:
        held = json.loads(file.read_bytes())
        if not isinstance(held, dict):
            raise ValueError("it is not an object in braces")
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(
            f"'{spelling}': {printable(file.name)} cannot be read: {printable(str(error).splitlines()[0])}. It says "
            "which files make the set; save the set again with save_to_disk."
        ) from error
    return held


def _listed(held: dict[str, Any], key: str) -> list[Any]:
    found = held.get(key)
    return found if isinstance(found, list) else []


class ArrowTable:
    """Random access to the rows of several Arrow stream files, mapped into memory.

    Args:
        spec: the DATA argument, printable.
        files: in order.
        load_path: gives the bytes of an image of which a row holds only the path; None refuses such rows.
    """

    def __init__(
        self, spec: str, files: Sequence[Path], load_path: Callable[[str], bytes] | None = None
    ) -> None:
        import pyarrow as pa

        self._load_path = load_path
        tables = [_mapped(spec, file) for file in files]
        shown = [f"The Arrow file '{printable(str(file))}'" for file in files]
        self.columns = describe(tables[0].schema, shown[0])
        for table, told in zip(tables, shown, strict=True):
            if describe(table.schema, told) != self.columns:
                raise InputError(
                    f"{told} of '{spec}' has other image or label columns or classes than "
                    f"{printable(files[0].name)}. All files of a set need the same; save it again."
                )
        names = [name for name in (self.columns.image, self.columns.label) if name is not None]
        for table, file in zip(tables, files, strict=True):
            try:
                for name in names:
                    table.column(name).validate(full=True)  # damaged offsets would lead outside of the file
            except (pa.ArrowException, ValueError) as error:
                raise _broken(spec, file, error) from error
        pieces = [table.column(self.columns.image) for table in tables]
        self._label = [table.column(name) for table in tables for name in names[1:]]
        self._chunks = [chunk for piece in pieces for chunk in piece.chunks if len(chunk)]
        self._ends = np.cumsum([len(chunk) for chunk in self._chunks], dtype=np.int64)
        self.count = int(self._ends[-1]) if self._chunks else 0

    def labels(self) -> np.ndarray | None:
        """Class of every row (N,), -1 where unknown; None where no row has one."""
        return None if self.columns.label is None else numbers(self._label)

    def _cell(self, row: int, field: str) -> Any:
        place = int(np.searchsorted(self._ends, row, side="right"))
        chunk = self._chunks[place]
        return chunk[row - int(self._ends[place]) + len(chunk)].get(field)

    def load(self, row: int) -> bytes:
        """Encoded image of a row."""
        data = self._cell(row, "bytes")
        if data is not None and data.is_valid:
            return bytes(data.as_buffer())
        path = self._cell(row, "path")
        if self._load_path is not None and path is not None and path.is_valid:
            return self._load_path(path.as_py())
        raise UnusableError("no image bytes in this row", "store the files themselves in the column")

    def name(self, row: int) -> str:
        """Path that the row states, or its number."""
        return name_of(self._cell(row, "path"), row)


def _mapped(spec: str, file: Path) -> Any:
    import pyarrow as pa

    try:
        with file.open("rb") as opened:  # pyarrow itself opens only names that are UTF-8
            held = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
        if held[-len(_END) :] != _END:
            raise ValueError("its end is missing")
        return pa.ipc.open_stream(pa.py_buffer(held)).read_all()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _broken(spec, file, error) from error


def _broken(spec: str, file: Path, error: Exception) -> InputError:
    return InputError(
        f"The Arrow file '{printable(str(file))}' of '{spec}' cannot be read: "
        f"{printable((str(error).splitlines() or [''])[0])}. It is corrupt, truncated or not Arrow; copy or write it "
        "again."
    )
