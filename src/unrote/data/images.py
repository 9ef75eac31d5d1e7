"""Images from DATA: `open_images` streams them, `load_images` has them, `disjoint_splits` parts them."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from unrote.contracts import InputError
from unrote.data.arrayfiles import Stored, read_npy, read_npz, read_pt
from unrote.data.arrays import open_array
from unrote.data.configs import one_file
from unrote.data.decode import MAX_PIXELS
from unrote.data.folders import list_files
from unrote.data.hub import open_clone, open_hub
from unrote.data.parquet import open_parquet
from unrote.data.pixels import BYTES, ContentHash, Range
from unrote.data.saved import is_saved, open_saved
from unrote.data.sources import Images, Source, check_memory, provenance
from unrote.data.spelling import ACCEPTED, DIGITS, Spelling, parse, refuse_config, refuse_split
from unrote.data.zips import open_zip

_ARRAYS: dict[str, Callable[[Spelling], Stored]] = {
    ".npy": read_npy,
    ".npz": read_npz,
    ".pt": read_pt,
    ".pth": read_pt,
}


def open_images(
    spec: str | os.PathLike[str], *, resize: int | None = None, value_range: Range | None = None
) -> Source:
    """Open DATA, to read its images block by block.

    `spec` is `digits`; a folder of images or a .zip of them; a .npy, .npz or .pt file; a Parquet file or a
    folder of them; a folder that Hugging Face's `save_to_disk` wrote; or ``hf:owner/name``. Then, in this
    order, ``:split``, ``@limit`` or ``@start:stop`` (in order; counted after the label filter) and
    ``?label=name-or-number``, several with commas. A path that exists as it is written is taken whole.

    Args:
        spec: the DATA argument.
        resize: side in pixels to which all images are brought with Pillow's LANCZOS filter, without
            cropping; None keeps them, and then all must have one size.
        value_range: (low, high) of an array's numbers; None infers it by `RANGE_RULE`.

    Raises:
        InputError: where this is not DATA, or a setting does not apply to it.
    """
    if resize is not None and not 1 <= resize <= math.isqrt(MAX_PIXELS):
        raise InputError(
            f"Images cannot be resized to {resize} pixels. The side is a whole number from 1 to "
            f"{math.isqrt(MAX_PIXELS)}; give the size that the model was trained at."
        )
    spelling = parse(spec)
    if spelling.download and not spelling.on_hub:
        raise InputError(
            f"'{spelling}' says download=yes, but the data is on this machine. Only hf:owner/name is ever "
            "downloaded: leave it out."
        )
    path, suffix = Path(spelling.path), Path(spelling.path).suffix.lower()
    if spelling.says_text or (suffix == ".txt" and path.is_file()):
        raise InputError(
            f"'{spelling}' is text, and images are needed here. Of the commands, `unrote audit` reads text, if --train "
            "and --samples both are."
        )
    if spelling.path == DIGITS:
        _refuse_range(spelling, value_range)
        refuse_config(spelling, "the digits are one set")
        return open_array(spelling, _digits(spelling), resize)
    if suffix in _ARRAYS and path.is_file():
        refuse_config(spelling, "an array file has none")
        return open_array(spelling, _ARRAYS[suffix](spelling), resize, value_range)
    _refuse_range(spelling, value_range)
    if spelling.on_hub:
        return open_hub(spelling, resize)
    if path.is_dir():
        return _open_dir(spelling, resize)
    if suffix == ".parquet" and path.is_file():
        refuse_config(spelling, "one file has none")
        return open_parquet(spelling, [one_file(path)], resize)
    if suffix == ".zip" and path.is_file():
        return open_zip(spelling, resize)
    raise InputError(
        f"'{spelling}' is a file of a kind that is not read. {ACCEPTED}. Unpack other archives into a folder, and "
        "put single images into one."
    )


def load_images(
    spec: str | os.PathLike[str], *, resize: int | None = None, value_range: Range | None = None
) -> Images:
    """Read all of DATA into memory; arguments as for `open_images`.

    Raises:
        InputError: as `open_images`, and where an image cannot be used or the set is larger than the memory.
    """
    source = open_images(spec, resize=resize, value_range=value_range)
    size = len(source) * math.prod(source.shape) * source.dtype.itemsize
    check_memory(source.spec, size, "take fewer images with @limit, or smaller ones with resize")
    whole = source.read(0, len(source))
    content = ContentHash(source.value_range)
    content.update(whole.pixels)
    return Images(
        spec=whole.spec,
        pixels=whole.pixels,
        value_range=whole.value_range,
        names=whole.names,
        labels=whole.labels,
        label_names=whole.label_names,
        provenance=provenance(source, content),
        notes=source.notes + whole.notes,
    )


def disjoint_splits(
    n: int, sizes: Sequence[int], generator: torch.Generator
) -> tuple[Int64[Tensor, " _"], ...]:
    """Part 0 ... n-1 at random into disjoint index sets, for training and held-out images.

    One random order is cut into pieces, so each set is in random order, and a set's first images are a
    random subset too.

    Args:
        n: number of images.
        sizes: size of each set; together at most n.
        generator: the only source of randomness.

    Raises:
        InputError: where the sizes are negative or need more than n images.
    """
    if any(size < 0 for size in sizes) or sum(sizes) > n:
        raise InputError(
            f"Sets of {', '.join(f'{size:,}' for size in sizes)} images were asked for, and there are "
            f"{n:,}. The sets share no image, so their sizes are at least 0 and add up to at most {n}: "
            "lower them or give more images."
        )
    order = torch.randperm(n, generator=generator)
    return tuple(order[: sum(sizes)].split(list(sizes)))


def _refuse_range(spelling: Spelling, value_range: Range | None) -> None:
    if value_range is not None and value_range != BYTES:
        raise InputError(
            f"A value range of {value_range[0]:g},{value_range[1]:g} was stated for '{spelling}', whose "
            "pixels are 8-bit and always 0,255. State a range for arrays only."
        )


def _digits(spelling: Spelling) -> Stored:
    """scikit-learn's 1,797 digits as 8-bit images of 8x8 pixels; 17 grey levels are spread over 0 ... 255."""
    from sklearn.datasets import load_digits

    refuse_split(spelling, "the digits are one set")
    found = load_digits()
    pixels = torch.from_numpy(np.rint(found.images * (255 / 16)).astype(np.uint8))
    return Stored(
        kind="digits",
        shape=tuple(pixels.shape),
        dtype="uint8 (grey levels 0 to 16, times 255/16 and rounded)",
        whole=True,
        take=lambda rows: pixels[rows],
        labels=found.target.astype(np.int64),
        label_names=tuple(map(str, found.target_names)),
    )


def _open_dir(spelling: Spelling, resize: int | None) -> Source:
    if is_saved(Path(spelling.path)):
        return open_saved(spelling, resize)
    return open_clone(spelling, Path(spelling.path), list_files(spelling.path), resize)
