"""From an encoded image file to pixels, whole or not at all."""

from __future__ import annotations

import io
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from unrote.contracts import InputError
from unrote.data.sources import Block
from unrote.data.spelling import printable

if TYPE_CHECKING:
    from PIL import Image

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
"""Formats that are tried; others that Pillow knows may run programs or lose depth."""

MAX_PIXELS = 1 << 26
"""Pixels of one image as its header states them, beyond which it is not decoded (64 megapixels)."""

MAX_BYTES = 1 << 29
"""Size of one encoded image beyond which it is not opened."""

LFS_POINTER = b"version https://git-lfs"
"""How a file begins that was cloned without its contents."""

SURVEY = 20_000
"""After the first image that cannot be used, how many are looked at to list the others."""

RESIZED = "images are resized to {0}x{0} pixels with Pillow's LANCZOS filter, without cropping"

_ORIENTATION = 0x0112  # EXIF tag
_JPEG_SCAN, _JPEG_END = b"\xff\xda", b"\xff\xd9"  # of a file filled up with zeros Pillow makes half an image
_OPAQUE = "had an alpha channel that is opaque everywhere; it was dropped"
_PALETTE = "had a palette; its colours were written out, without loss"
_TURNED = "were turned as their EXIF orientation says"


class UnusableError(Exception):
    """One image cannot be used.

    Args:
        reason: what is wrong with it.
        remedy: what to do about it.
    """

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.remedy = remedy


@dataclass(frozen=True)
class Encoded:
    """Image files that have still to be decoded.

    Args:
        spec: the DATA argument, printable.
        rows: which of them are meant, in order (N,).
        name: printable name of a row.
        load: bytes of a row; raises UnusableError.
        resize: side to which images are resized, or None.
    """

    spec: str
    rows: np.ndarray
    name: Callable[[int], str]
    load: Callable[[int], bytes]
    resize: int | None


def decode(data: bytes, resize: int | None = None) -> tuple[np.ndarray, tuple[str, ...]]:
    """Pixels of one image file (H,W,C), uint8, C = 1 or 3, and what was done to get them.

    The stored numbers are taken as they are: colour profiles and gamma are not applied; EXIF orientation is.
    Damage is found where the format shows it: a bit flipped in a BMP or a JPEG's scan does not.

    Raises:
        UnusableError: where the file is broken, animated, deeper than 8 bits, too large, transparent
            anywhere, or neither grey nor RGB.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    if not data:
        raise UnusableError("empty file", "replace it")
    if data.startswith(LFS_POINTER):
        raise UnusableError("a pointer of Git LFS and not the file itself", "run `git lfs pull`")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            _check_header(image)
            if image.format == "JPEG" and data.rfind(_JPEG_END) < data.rfind(_JPEG_SCAN):
                raise UnusableError(
                    "corrupt or truncated: the end of the JPEG is missing", "replace or remove it"
                )
            by_tag = getattr(image, "tag_v2", {}).get(_ORIENTATION, 1) in range(
                2, 9
            )  # TIFF turns while it loads
            image.load()  # before any metadata is read: that may load too, and a second load hides an error
            turned = by_tag or _is_turned(image)
            upright = ImageOps.exif_transpose(image) if turned else image
            plain, done = _plain(upright)
            if resize is not None and plain.size != (resize, resize):
                plain = plain.resize((resize, resize), Image.Resampling.LANCZOS)
            pixels = np.asarray(plain)
    except UnusableError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_large() from error
    except UnidentifiedImageError as error:
        raise UnusableError(f"not readable as any of {', '.join(FORMATS)}", "replace or remove it") from error
    except Exception as error:  # decoders of broken files raise nearly anything
        raise UnusableError(
            f"corrupt or truncated: {printable(str(error))}", "replace or remove it"
        ) from error
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    return pixels, done + ((_TURNED,) if turned else ())


def _is_turned(image: Image.Image) -> bool:
    try:
        return image.getexif().get(_ORIENTATION, 1) in range(2, 9)
    except Exception:  # metadata that cannot be read says nothing about the pixels
        return False


def _too_large() -> UnusableError:
    return UnusableError(f"more than {MAX_PIXELS:,} pixels", "make it smaller")


def _check_header(image: Image.Image) -> None:
    """Refuse what the header already shows, before any pixel is decoded."""
    if image.width * image.height > MAX_PIXELS:
        raise _too_large()
    frames = getattr(image, "n_frames", 1)
    if frames > 1:
        raise UnusableError(f"animated or of several pages: {frames} frames", "save the frame that is meant")
    # Pillow calls a 16-bit colour PNG "RGB" and drops the low bytes; only the tile's raw mode tells.
    depths = [tile[3] if isinstance(tile[3], tuple) else (tile[3],) for tile in getattr(image, "tile", [])]
    deep = any(";16" in str(x) or (isinstance(x, int) and x > 255) for args in depths for x in args[:2])
    if image.mode[0] in "IF" or deep:
        raise UnusableError(
            "more than 8 bits per channel", "convert it to 8 bits, or give an array of floats"
        )
    if image.mode not in {"1", "L", "LA", "P", "PA", "RGB", "RGBA"}:
        raise UnusableError(f"colour mode {image.mode}", "convert it to RGB")


def _plain(image: Image.Image) -> tuple[Image.Image, tuple[str, ...]]:
    """The image in mode L or RGB, without loss, and what was done."""
    done: tuple[str, ...] = (_PALETTE,) if image.mode[0] == "P" else ()
    colour = "RGB" if image.mode[0] in "PR" else "L"
    if image.has_transparency_data:
        image = image.convert(colour + "A")
        lowest = image.getchannel("A").getextrema()[0]
        if lowest != 255:
            raise UnusableError("transparent pixels", "put it on the background that is meant")
        done += (_OPAQUE,)
    return image if image.mode == colour else image.convert(colour), done


def probe(encoded: Encoded) -> tuple[int, int, int]:
    """(C,H,W) of the first image, which all others must share.

    Raises:
        InputError: where it cannot be used; the message lists others too.
    """
    with _quiet():
        try:
            height, width, channels = _look(encoded, int(encoded.rows[0]))[0].shape
        except UnusableError as error:
            raise InputError(_complaint(encoded, 0)) from error
    return channels, height, width


def read_encoded(encoded: Encoded, shape: tuple[int, int, int], rows: np.ndarray) -> Block:
    """Decode some rows into one block (n,C,H,W), uint8.

    Raises:
        InputError: where an image cannot be used or has another shape than the first; the message
            lists the first few such images and how many there are.
    """
    pixels = np.empty((len(rows), *shape), dtype=np.uint8)
    names = tuple(encoded.name(int(row)) for row in rows)
    events = Counter[str]()
    with _quiet():
        for i, row in enumerate(rows):
            try:
                image, done = _look(encoded, int(row))
            except UnusableError as error:
                raise InputError(_complaint(encoded, int(np.searchsorted(encoded.rows, row)))) from error
            if (image.shape[2], *image.shape[:2]) != shape:
                raise InputError(_complaint(encoded, int(np.searchsorted(encoded.rows, row))))
            pixels[i] = image.transpose(2, 0, 1)
            events.update(done)
    return Block(torch.from_numpy(pixels), names, _counted(events))


def _counted(events: Counter[str]) -> tuple[str, ...]:
    return tuple(f"{n:,} image{'s' * (n > 1)} {event}" for event, n in sorted(events.items()))


def sum_up(notes: Sequence[str]) -> list[str]:
    """The notes of several blocks as those of all their images: what happened to 3 and to 4 happened to 7."""
    events = Counter[str]()
    for note in notes:
        count, _, event = note.split(" ", 2)
        events[event] += int(count.replace(",", ""))
    return list(_counted(events))


def _look(encoded: Encoded, row: int) -> tuple[np.ndarray, tuple[str, ...]]:
    return decode(encoded.load(row), encoded.resize)


@contextmanager
def _quiet() -> Iterator[None]:
    """Pillow's remarks on odd metadata are dropped, its warning of a decompression bomb is an error."""
    from PIL import Image, ImageFile

    if ImageFile.LOAD_TRUNCATED_IMAGES:
        raise InputError(
            "PIL.ImageFile.LOAD_TRUNCATED_IMAGES is True in this process, so broken images would be half "
            "decoded without a word. Only False is allowed here; set it to False before reading."
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def _complaint(encoded: Encoded, first: int) -> str:
    """One paragraph on all that is wrong, from a survey that starts at position `first` of the rows."""
    bad: list[tuple[str, UnusableError]] = []
    shapes: dict[tuple[int, ...], list[str]] = {}
    looked = [0, *range(max(first, 1), len(encoded.rows))][:SURVEY]  # the first image sets the shape
    for position in looked:
        row = int(encoded.rows[position])
        try:
            shapes.setdefault(_look(encoded, row)[0].shape, []).append(encoded.name(row))
        except UnusableError as error:
            bad.append((encoded.name(row), error))
    if bad:
        # Those before `first` were read without a complaint: sets are read in order.
        whole = max(first, 1) + SURVEY > len(encoded.rows)
        return _list_bad(encoded.spec, bad, len(encoded.rows), whole)
    return _list_shapes(encoded.spec, shapes)


def _list_bad(spec: str, bad: list[tuple[str, UnusableError]], count: int, whole: bool) -> str:
    shown = ", ".join(f"{name} ({error.reason})" for name, error in bad[:5])
    more = f", and {len(bad) - 5:,} more" if len(bad) > 5 else ""
    at_least = "" if whole else "At least "
    remedies = dict.fromkeys(f"{error.reason.split(':')[0]}: {error.remedy}" for _, error in bad)
    return (
        f"{at_least}{len(bad):,} of {count:,} images of '{spec}' cannot be used: {shown}{more}. Allowed are whole, "
        f"still, opaque 8-bit grey or RGB images. What to do: {'; '.join(remedies)}."
    )


def _list_shapes(spec: str, shapes: dict[tuple[int, ...], list[str]]) -> str:
    (shape, names), (other, others), *_ = shapes.items()
    if shape[2] != other[2]:
        grey, colour = (names, others) if shape[2] == 1 else (others, names)
        return (
            f"'{spec}' holds grey and colour images: {grey[0]} is grey ({len(grey):,} images looked at "
            f"are), {colour[0]} is in colour ({len(colour):,} are). All images of a set need the same "
            "channels: convert all of them to grey or all of them to RGB."
        )
    return (
        f"'{spec}' holds images of {len(shapes)} sizes: {names[0]} is {shape[1]}x{shape[0]} pixels, "
        f"{others[0]} is {other[1]}x{other[0]}. All images of a set need one size: "
        f"resize={min(*shape[:2], *other[:2])} (on the command line --resize) brings them to one square "
        "size with Pillow's LANCZOS filter."
    )
