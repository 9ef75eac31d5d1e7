"""A zip archive of images, as StyleGAN and EDM write them or as a folder is packed."""

from __future__ import annotations

from pathlib import Path

from unrote.contracts import InputError
from unrote.data.archives import Member, directory, nested, read_member
from unrote.data.decode import UnusableError
from unrote.data.labels import DATASET_JSON, METADATA
from unrote.data.members import SPLITS, Held, open_members, sort_out
from unrote.data.sources import Source
from unrote.data.spelling import Spelling, printable


def open_zip(spelling: Spelling, resize: int | None) -> Source:
    """Images of a zip archive, in the order that the same folder would have; unpacked one at a time, in memory.

    Raises:
        InputError: where the archive could do harm or is damaged, holds archives or no images, or as for
            a folder.
    """
    held = {member.name: member for member in directory(spelling.path, str(spelling))}
    seen = [name for name in held if not any(part.startswith((".", "__MACOSX")) for part in name.split("/"))]
    if inner := nested(seen):
        raise InputError(
            f"The archive '{spelling}' holds {len(inner):,} archives or array files, such as "
            f"'{printable(inner[0])}'. Only images, with dataset.json or metadata files beside them, are read "
            "from an archive: take these out and give them by themselves."
        )
    top = _common_top(seen)
    listing = sort_out(str(spelling), [name.removeprefix(top) for name in seen], hidden=len(held) - len(seen))
    if listing.parquet:
        raise InputError(
            f"The archive '{spelling}' holds Parquet files, such as '{printable(listing.parquet[0])}'. Only images "
            "are read from an archive: unpack it into a folder and give that."
        )
    return open_members(spelling, Held("zip of images", listing, _Reader(spelling.path, top, held)), resize)


def _common_top(names: list[str]) -> str:
    """The one folder that an archive was packed from, which is no class; empty where there is none."""
    told = {name.rsplit("/", 1)[-1] for name in names} & {DATASET_JSON, *METADATA}
    tops = {name.split("/", 1)[0] if "/" in name else "" for name in names}
    top = next(iter(tops)) if len(tops) == 1 else ""
    inner = any(name.count("/") > 1 for name in names)
    return f"{top}/" if top and (inner or told) and top.lower() not in SPLITS else ""


class _Reader:
    """Reads single files of an archive, which is opened for each, so that no two readers share a place in it."""

    def __init__(self, path: str, top: str, held: dict[str, Member]) -> None:
        self._path = Path(path)
        self._top = top
        self._held = held

    def __call__(self, name: str) -> bytes:
        try:
            with self._path.open("rb", buffering=0) as file:
                return read_member(file, self._held[self._top + name])
        except OSError as error:
            raise UnusableError(
                f"cannot be read: {error.strerror}", "replace or remove the archive"
            ) from error
