"""Images in a folder and its subfolders."""

from __future__ import annotations

import functools
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import torch

from unrote.contracts import InputError
from unrote.data.decode import MAX_BYTES, RESIZED, Encoded, UnusableError, probe, read_encoded
from unrote.data.pixels import BYTES
from unrote.data.sources import Source
from unrote.data.spelling import ACCEPTED, Spelling, choose, printable

IMAGE_ENDINGS = frozenset(
    [
        ".png",
        ".apng",
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".webp",
        ".bmp",
        ".gif",
        ".tif",
        ".tiff",
        ".ppm",
        ".pgm",
        ".pbm",
        ".pnm",
    ]
)
"""Files with these endings, in any case, must be readable images."""

OTHER_IMAGE_ENDINGS = frozenset(
    (".avif", ".heic", ".heif", ".jp2", ".j2k", ".jxl", ".exr", ".hdr", ".psd", ".tga", ".dds")
)
"""Images too, but of formats that are not read: leaving them out in silence would change a ratio."""

SPLITS = ("train", "training", "validation", "valid", "val", "dev", "test", "testing", "eval")
"""Names of subfolders that are splits and not classes."""


@dataclass(frozen=True)
class Listing:
    """Files under a folder, as paths relative to it with '/', in the order of their bytes.

    Args:
        images: files with an image's ending.
        parquet: files ending in .parquet.
        others: how many other files there are, by ending.
        links: links to folders that were skipped since their target is read already.
    """

    images: tuple[str, ...]
    parquet: tuple[str, ...]
    others: Counter[str]
    links: int


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
    return _sorted_out(root, sorted(files, key=os.fsencode), links, hidden)


def _is_dir(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def _ending(path: str) -> str:
    return PurePosixPath(path).suffix.lower()


def _sorted_out(root: str, files: list[str], links: int, hidden: int) -> Listing:
    unread = [path for path in files if _ending(path) in OTHER_IMAGE_ENDINGS]
    if unread:
        raise InputError(
            f"'{printable(root)}' holds {len(unread):,} images in formats that are not read, such as "
            f"{printable(unread[0])}. Read are {', '.join(sorted(IMAGE_ENDINGS))}; convert them to PNG or "
            "move them out of the folder, so that none is left out unseen."
        )
    images = tuple(path for path in files if _ending(path) in IMAGE_ENDINGS)
    parquet = tuple(path for path in files if _ending(path) == ".parquet")
    others = Counter(_ending(path) or "no ending" for path in files)
    for ending in (*IMAGE_ENDINGS, ".parquet"):
        del others[ending]
    if hidden:
        others["hidden"] = hidden
    return Listing(images, parquet, others, links)


def open_folder(spelling: Spelling, listing: Listing, resize: int | None) -> Source:
    """Images of a folder, sorted by the bytes of their relative paths.

    Classes are the subfolders of the first level, in the same order, if all images lie in subfolders.

    Raises:
        InputError: where there are no images, the split is unknown, or the first image cannot be used.
    """
    folder, paths = _pick_split(spelling, listing.images)
    if not paths:
        raise InputError(_no_images(spelling, listing))
    tops = [path.split("/", 1)[0] for path in paths if "/" in path]
    classes = sorted(set(tops), key=os.fsencode) if len(tops) == len(paths) else []
    place = {name: i for i, name in enumerate(classes)}
    labels = np.array([place[top] for top in tops], dtype=np.int64) if classes else None
    label_names = tuple(printable(name) for name in classes)
    rows = choose(spelling, len(paths), labels, label_names)
    encoded = Encoded(
        spec=str(spelling),
        rows=rows,
        name=lambda row: printable(paths[row]),
        load=lambda row: _load(folder / paths[row]),
        resize=resize,
    )
    shape = probe(encoded)
    return Source(
        spec=str(spelling),
        kind="folder of images",
        shape=shape,
        dtype=torch.uint8,
        value_range=BYTES,
        rows=rows,
        fetch=functools.partial(read_encoded, encoded, shape),
        labels=None if labels is None else torch.from_numpy(labels[rows]),
        label_names=label_names,
        notes=_notes(listing, resize),
    )


def _pick_split(spelling: Spelling, paths: Sequence[str]) -> tuple[Path, list[str]]:
    """The folder that is meant, and the paths in it: a subfolder where the set is cut into splits."""
    tops = {path.split("/", 1)[0] if "/" in path else "" for path in paths}
    splits = sorted(tops) if tops and all(top.lower() in SPLITS for top in tops) else []
    wanted = spelling.split
    if wanted is None:
        if len(splits) > 1:
            raise InputError(
                f"'{spelling}' holds several splits: {', '.join(splits)}. Choose one, for example "
                f"'{printable(spelling.path)}:{splits[0]}'."
            )
        if not splits:
            return Path(spelling.path), list(paths)
        wanted = splits[0]
    if wanted not in tops:
        found = f"its splits are {', '.join(splits)}" if splits else "it is not cut into splits"
        raise InputError(
            f"'{spelling}' asks for the split '{wanted}', but {found}. A split is a subfolder of that name; "
            "name one that exists or leave the suffix out."
        )
    inner = [path.removeprefix(wanted + "/") for path in paths if path.startswith(wanted + "/")]
    return Path(spelling.path, wanted), inner


def _no_images(spelling: Spelling, listing: Listing) -> str:
    held = ", ".join(f"{n:,} {printable(ending)}" for ending, n in listing.others.most_common(5))
    return (
        f"The folder '{spelling}' holds no images{f', but other files: {held}' if held else ''}. Images end "
        f"in {', '.join(sorted(IMAGE_ENDINGS))}; {ACCEPTED}. Name the folder, or the array file, that holds "
        "them."
    )


def _notes(listing: Listing, resize: int | None) -> tuple[str, ...]:
    notes = [] if resize is None else [RESIZED.format(resize)]
    if listing.others:
        kinds = ", ".join(f"{n:,} {printable(ending)}" for ending, n in listing.others.most_common(5))
        notes.append(f"files that are not images were left out: {kinds}")
    if listing.links:
        notes.append(f"{listing.links:,} links to folders that are read already were left out")
    return tuple(notes)


def _load(path: Path) -> bytes:
    """The bytes of an image file; pipes and devices are never opened."""
    try:
        if not path.is_file() and path.exists():
            raise UnusableError("not a regular file", "remove it")
        if path.stat().st_size > MAX_BYTES:
            raise UnusableError(f"file of more than {MAX_BYTES:,} bytes", "make it smaller")
        return path.read_bytes()
    except OSError as error:
        raise UnusableError(f"cannot be read: {error.strerror}", "replace or remove it") from error
