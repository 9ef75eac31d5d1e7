"""Parquet files in the Hugging Face image layout, read row group by row group."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from unrote.contracts import InputError
from unrote.data.configs import Shards
from unrote.data.decode import LFS_POINTER, UnusableError
from unrote.data.sources import Source
from unrote.data.spelling import Spelling, printable
from unrote.data.tables import Columns, describe, name_of, numbers, open_rows


def open_parquet(
    spelling: Spelling,
    splits: list[Shards],
    resize: int | None,
    kind: str = "Parquet",
    notes: tuple[str, ...] = (),
) -> Source:
    """Images of one split, in the order of its files and rows; read row group by row group.

    Args:
        spelling: the DATA argument.
        splits: what there is.
        resize: side to which images are resized, or None.
        kind: what holds the files, in words.
        notes: sentences for the reader.

    Raises:
        InputError: where the split is unknown, a file is not Parquet or has no image column, or the
            first image cannot be used.
    """
    return open_rows(spelling, kind, _Table(spelling, pick(spelling, splits).files), resize, notes)


def pick(spelling: Spelling, splits: list[Shards]) -> Shards:
    """The split that is asked for, or the only one.

    Raises:
        InputError: where one has to be named or there is none of that name.
    """
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
        self._sizes = sizes
        self._ends = np.cumsum(sizes, dtype=np.int64)
        self.count = int(self._ends[-1]) if sizes else 0
        self._held: tuple[int, Any, Any] | None = None

    def _open(self, file: Path) -> Any:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            # As text, a name must be UTF-8.
            return pq.ParquetFile(pa.OSFile(os.fsencode(file)), page_checksum_verification=True)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise self._broken(file, error) from error

    def _broken(self, file: Path, error: Exception) -> InputError:
        with file.open("rb") as opened:
            if opened.read(len(LFS_POINTER)) == LFS_POINTER:
                return InputError(
                    f"The Parquet file '{printable(str(file))}' is a pointer of Git LFS and not the file itself. The "
                    "set was cloned without its data: run `git lfs pull` in its folder."
                )
        return InputError(
            f"The Parquet file '{printable(str(file))}' cannot be read: "
            f"{printable((str(error).splitlines() or [''])[0])}. It is corrupt, truncated or not Parquet; download or "
            "write it again."
        )

    def _describe(self, file: Path) -> Columns:
        return describe(self._open(file).schema_arrow, f"The Parquet file '{printable(str(file))}'")

    def labels(self) -> np.ndarray | None:
        """Class of every row (N,), -1 where unknown; None where no row has one."""
        import pyarrow as pa

        if self.columns.label is None:
            return None
        parts = []
        for file in self._files:
            try:
                column = self._open(file).read(columns=[self.columns.label]).column(0)
            except (pa.ArrowException, OSError, ValueError) as error:
                raise self._broken(file, error) from error
            parts.append(column)
        if sum(map(len, parts)) != self.count:
            raise self._broken(self._files[0], ValueError("its columns have different lengths"))
        return numbers(parts)

    def _cell(self, row: int) -> tuple[Any, Any]:
        """(bytes, path) of a row, each an Arrow scalar."""
        import pyarrow as pa

        place = int(np.searchsorted(self._ends, row, side="right"))
        if self._held is None or self._held[0] != place:
            self._held = None  # the group before is let go before the next is read
            i, group = self._groups[place]
            try:
                table = self._open(self._files[i]).read_row_group(group, columns=[self.columns.image])
            except (pa.ArrowException, OSError, ValueError) as error:
                raise self._broken(self._files[i], error) from error
            column = table.column(0).combine_chunks()
            if len(column) != self._sizes[place]:
                raise self._broken(self._files[i], ValueError("a row group has another length than is said"))
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
        return name_of(self._cell(row)[1], row)
