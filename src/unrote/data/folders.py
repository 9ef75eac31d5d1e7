"""Images in a folder and its subfolders."""

from __future__ import annotations

import functools
import os
from pathlib import Path

from unrote.contracts import InputError
from unrote.data.decode import MAX_BYTES, UnusableError
from unrote.data.members import Held, Listing, open_members, sort_out
from unrote.data.sources import Source
from unrote.data.spelling import Spelling, printable


def list_files(root: str) -> Listing:
    """All files under a folder; hidden ones are left out, links are followed, every folder is read once.

    Raises:
        InputError: where a folder cannot be read, or holds images in a format that is not read.
    """
    files: list[str] = []
    seen: set[tuple[int, int]] = set()
    links = hidden = 0
    plain, linked = [""], list[str]()
    while plain or linked:
        # Links come after all real folders, so that a folder is found under its own name if it has one.
        place = plain.pop() if plain else linked.pop(0)
        try:
            here = Path(root, place).stat()
            if (here.st_dev, here.st_ino) in seen:
                links += 1
                continue
            seen.add((here.st_dev, here.st_ino))
            with os.scandir(Path(root, place)) as entries:
                for entry in sorted(entries, key=lambda e: os.fsencode(e.name)):
                    path = f"{place}/{entry.name}" if place else entry.name
                    if entry.name.startswith("."):
                        hidden += not _is_dir(entry)
                    elif _is_dir(entry):
                        (linked if entry.is_symlink() else plain).append(path)
                    else:
                        files.append(path)
        except OSError as error:
            raise InputError(
                f"The folder '{printable(str(Path(root, place)))}' cannot be read: {error.strerror}. All "
                "folders of a set must be readable; change its permissions or move it elsewhere."
            ) from error
    return sort_out(printable(root), files, hidden, links)


def _is_dir(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def open_folder(
    spelling: Spelling, root: Path, listing: Listing, resize: int | None, kind: str = "folder of images"
) -> Source:
    """Images of a folder, as `open_members` has it.

    Args:
        spelling: the DATA argument.
        root: the folder.
        listing: what it holds.
        resize: side to which images are resized, or None.
        kind: what holds the images, in words.

    Raises:
        InputError: where there are no images, the split is unknown, or the first image cannot be used.
    """
    return open_members(spelling, Held(kind, listing, functools.partial(_load_from, root)), resize)


def _load_from(folder: Path, name: str) -> bytes:
    return load_file(folder / name)


def load_file(path: Path) -> bytes:
    """The bytes of an image file; pipes and devices are never opened."""
    try:
        if not path.is_file() and path.exists():
            raise UnusableError("not a regular file", "remove it")
        if path.stat().st_size > MAX_BYTES:
            raise UnusableError(f"file of more than {MAX_BYTES:,} bytes", "make it smaller")
        return path.read_bytes()
    except OSError as error:
        raise UnusableError(f"cannot be read: {error.strerror}", "replace or remove it") from error
