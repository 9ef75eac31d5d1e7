"""Image files by their names, whether they lie in a folder or in an archive: splits, classes, order."""

from __future__ import annotations

import functools
import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import torch

from unrote.contracts import InputError
from unrote.data.choosing import choose, selection_notes
from unrote.data.decode import RESIZED, Encoded, UnusableError, probe, read_encoded
from unrote.data.labels import DATASET_JSON, METADATA, Labels, from_dataset_json, from_folders, from_metadata
from unrote.data.pixels import BYTES
from unrote.data.sources import Source
from unrote.data.spelling import ACCEPTED, Spelling, printable, refuse_config

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
    """Files of a set, as paths relative to it with '/', in the order of their bytes.

    Args:
        images: files with an image's ending.
        parquet: files ending in .parquet that are not metadata.
        metadata: files that tell the classes of images: dataset.json at the top, metadata.csv and the like.
        others: how many other files there are, by ending.
        links: links to folders that were skipped since their target is read already.
    """

    images: tuple[str, ...]
    parquet: tuple[str, ...]
    metadata: tuple[str, ...]
    others: Counter[str]
    links: int = 0


@dataclass(frozen=True)
class Held:
    """A set of image files.

    Args:
        kind: what holds them, in words.
        listing: their names.
        load: bytes of a file; raises UnusableError.
    """

    kind: str
    listing: Listing
    load: Callable[[str], bytes]


def sort_out(spec: str, files: Sequence[str], hidden: int = 0, links: int = 0) -> Listing:
    """What the files of a set are, by their names.

    Args:
        spec: the set, printable.
        files: paths relative to it, without hidden ones.
        hidden, links: how many hidden files and links were left out.

    Raises:
        InputError: where there are images in a format that is not read.
    """
    files = sorted(files, key=os.fsencode)
    unread = [path for path in files if ending(path) in OTHER_IMAGE_ENDINGS]
    if unread:
        raise InputError(
            f"'{spec}' holds {len(unread):,} images in formats that are not read, such as "
            f"{printable(unread[0])}. Read are {', '.join(sorted(IMAGE_ENDINGS))}; convert them to PNG or "
            "move them out of the folder, so that none is left out unseen."
        )
    images = tuple(path for path in files if ending(path) in IMAGE_ENDINGS)
    known = {path for path in files if path == DATASET_JSON or PurePosixPath(path).name in METADATA}
    # A metadata.parquet beside no image may be a part of a set of Parquet files.
    known = {path for path in known if ending(path) != ".parquet" or images}
    parquet = tuple(path for path in files if ending(path) == ".parquet" and path not in known)
    used = {*images, *parquet, *(known if images else ())}
    others = Counter(ending(path) or "no ending" for path in files if path not in used)
    if hidden:
        others["hidden"] = hidden
    return Listing(images, parquet, tuple(path for path in files if path in known), others, links)


def ending(path: str) -> str:
    """The ending of a file's name, in small letters and with its dot."""
    return PurePosixPath(path).suffix.lower()


def open_members(spelling: Spelling, held: Held, resize: int | None) -> Source:
    """Image files, sorted by the bytes of their relative paths.

    Classes are told by dataset.json or metadata files where there are such; otherwise they are the
    subfolders of the first level, in the same order, if all images lie in subfolders.

    Raises:
        InputError: where there are no images, the split is unknown, or the first image cannot be used.
    """
    refuse_config(spelling, "image files have none")
    inside, paths = _pick_split(spelling, held.listing.images)
    if not paths:
        raise InputError(_no_images(spelling, held.listing))
    full = [inside + path for path in paths]
    labels = _labels(spelling, held, paths, full)
    rows = choose(spelling, len(paths), labels.numbers, labels.names)
    encoded = Encoded(
        spec=str(spelling),
        rows=rows,
        name=lambda row: printable(paths[row]),
        load=lambda row: held.load(full[row]),
        resize=resize,
    )
    shape = probe(encoded)
    return Source(
        spec=str(spelling),
        kind=held.kind,
        shape=shape,
        dtype=torch.uint8,
        value_range=BYTES,
        rows=rows,
        fetch=functools.partial(read_encoded, encoded, shape),
        labels=None if labels.numbers is None else torch.from_numpy(labels.numbers[rows]),
        label_names=labels.names,
        notes=(
            *_notes(held.listing, resize),
            *labels.notes,
            *selection_notes(spelling, rows, labels.numbers, labels.names),
        ),
    )


def _labels(spelling: Spelling, held: Held, paths: Sequence[str], full: Sequence[str]) -> Labels:
    """Classes of some images by what is told, and by their folders where nothing is."""

    def read(file: str) -> bytes:
        try:
            return held.load(file)
        except UnusableError as error:
            raise InputError(
                f"'{spelling}': {printable(file)} cannot be read: {error.reason}. It tells the classes of the "
                f"images; {error.remedy}, or leave it out."
            ) from error

    told = notes = None
    tables = [file for file in held.listing.metadata if file != DATASET_JSON]
    if DATASET_JSON in held.listing.metadata:
        told = from_dataset_json(spelling, read(DATASET_JSON), held.listing.images, full)
        notes = (f"{DATASET_JSON} holds no labels as StyleGAN and EDM write them; it was left out",)
    if told is None and tables:
        told = from_metadata(spelling, tables, read, held.listing.images, full)
    if told is not None:
        return told
    plain = from_folders(paths)
    return Labels(plain.numbers, plain.names, notes or ())


def _pick_split(spelling: Spelling, paths: Sequence[str]) -> tuple[str, list[str]]:
    """What all paths begin with and what follows: a subfolder where the set is cut into splits."""
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
            return "", list(paths)
        wanted = splits[0]
    if wanted not in tops:
        found = f"its splits are {', '.join(splits)}" if splits else "it is not cut into splits"
        raise InputError(
            f"'{spelling}' asks for the split '{wanted}', but {found}. A split is a subfolder of that name; "
            "name one that exists or leave the suffix out."
        )
    start = wanted + "/"
    return start, [path.removeprefix(start) for path in paths if path.startswith(start)]


def _no_images(spelling: Spelling, listing: Listing) -> str:
    held = ", ".join(f"{n:,} {printable(ending)}" for ending, n in listing.others.most_common(5))
    return (
        f"'{spelling}' holds no images{f', but other files: {held}' if held else ''}. Images end "
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
