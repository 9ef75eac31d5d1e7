"""What reading gives: `Images` in memory, a `Source` to stream them from, and where they come from."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32, Int64, UInt8
from torch import Tensor

from unrote.contracts import InputError
from unrote.data.pixels import ContentHash, Range


@dataclass(frozen=True)
class Provenance:
    """Which pixels a result rests on.

    Args:
        spec: the DATA argument, printable.
        kind: what it is: "digits", "folder of images", "Parquet", "npy", "npz" or "pt".
        count: number of images N.
        shape: (C,H,W) of one image.
        dtype: "uint8" or "float32".
        value_range: the numbers that mean black and white.
        sha256: hash of the decoded pixels in order, see `ContentHash`.
    """

    spec: str
    kind: str
    count: int
    shape: tuple[int, int, int]
    dtype: str
    value_range: Range
    sha256: str


@dataclass(frozen=True, eq=False)
class Images:
    """Images in memory: a whole set, or one block of a stream.

    Args:
        spec: the DATA argument, printable.
        pixels: (N,C,H,W), uint8, or float32 in units of `value_range`; C is 1 or 3.
        value_range: the numbers that mean black and white.
        names: what to call each image: path in the folder or Parquet file, or row in the array; printable.
        labels: class of each image (N,), -1 where unknown; or None.
        label_names: name of class i at place i; empty where classes have numbers only.
        provenance: of a whole set; None for a block.
        notes: sentences for the reader about assumptions made and changes applied.
    """

    spec: str
    pixels: UInt8[Tensor, "N C H W"] | Float32[Tensor, "N C H W"]
    value_range: Range
    names: tuple[str, ...]
    labels: Int64[Tensor, " N"] | None = None
    label_names: tuple[str, ...] = ()
    provenance: Provenance | None = None
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C,H,W) of one image."""
        channels, height, width = self.pixels.shape[1:]
        return channels, height, width


@dataclass(frozen=True)
class Block:
    """What a kind of source gives for some of its rows: pixels (n,C,H,W), names, and notes on just these."""

    pixels: UInt8[Tensor, "n C H W"] | Float32[Tensor, "n C H W"]
    names: tuple[str, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Source:
    """Images that are read when they are asked for, so that a set may be larger than the memory.

    Args:
        spec: the DATA argument, printable.
        kind: what it is, in words.
        shape: (C,H,W) of one image.
        dtype: torch.uint8 or torch.float32.
        value_range: the numbers that mean black and white.
        rows: which images of the underlying data are meant, in order (N,).
        fetch: gives the block of some rows.
        labels, label_names: as in `Images`.
        notes: what holds for all images; notes on single images come with their block.
    """

    spec: str
    kind: str
    shape: tuple[int, int, int]
    dtype: torch.dtype
    value_range: Range
    rows: np.ndarray
    fetch: Callable[[np.ndarray], Block]
    labels: Int64[Tensor, " N"] | None = None
    label_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, start: int, stop: int) -> Images:
        """Images start ... stop-1.

        Raises:
            InputError: where one of them cannot be used; the message lists all that cannot.
            ValueError: where the block is not within the source.
        """
        if not 0 <= start < stop <= len(self):
            raise ValueError(
                f"a block lies within 0 ... {len(self)} and is not empty, got {start} ... {stop}"
            )
        block = self.fetch(self.rows[start:stop])
        labels = None if self.labels is None else self.labels[start:stop]
        return Images(
            spec=self.spec,
            pixels=block.pixels,
            value_range=self.value_range,
            names=block.names,
            labels=labels,
            label_names=self.label_names,
            notes=block.notes,
        )


def stream(source: Source, size: int) -> Iterator[Images]:
    """All images of a source in order, `size` at a time; the last block may be smaller.

    Raises:
        ValueError: where size is below 1.
    """
    if size < 1:
        raise ValueError(f"a block holds at least 1 image, got size {size}")
    for start in range(0, len(source), size):
        yield source.read(start, min(start + size, len(source)))


def provenance(source: Source, content: ContentHash) -> Provenance:
    """Where streamed pixels come from, once all of them went through `content`.

    Raises:
        ValueError: where fewer or more images were hashed than the source holds.
    """
    if content.count != len(source):
        raise ValueError(f"the source holds {len(source)} images, {content.count} were hashed")
    return Provenance(
        spec=source.spec,
        kind=source.kind,
        count=len(source),
        shape=source.shape,
        dtype=str(source.dtype).removeprefix("torch."),
        value_range=source.value_range,
        sha256=content.hexdigest(),
    )


def check_memory(spec: str, size: int, remedy: str) -> None:
    """Refuse what cannot fit into this machine's memory, before it is tried.

    Args:
        spec: the DATA argument, printable.
        size: bytes that are needed.
        remedy: what to do instead.

    Raises:
        InputError: where more bytes are needed than the machine has.
    """
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # not a POSIX machine
        return
    if 0 < memory < size:
        raise InputError(
            f"'{spec}' needs {size / 1e9:,.1f} GB of memory as pixels, and this machine has "
            f"{memory / 1e9:,.1f} GB. A set that is read whole must fit: {remedy}."
        )


_COLOURS = {1: "grey", 3: "colour"}


def check_compatible(a: Images | Source, b: Images | Source) -> None:
    """Check that distances between the images of two sources mean something.

    Raises:
        InputError: where size or number of channels differ.
    """
    if a.shape == b.shape:
        return
    what = " and ".join(
        f"'{x.spec}' holds {_COLOURS[x.shape[0]]} images of {x.shape[2]}x{x.shape[1]} pixels" for x in (a, b)
    )
    remedies = []
    if a.shape[0] != b.shape[0]:
        remedies.append("convert one of them so that both are grey or both are colour")
    if a.shape[1:] != b.shape[1:]:
        remedies.append(f"bring both to one size (resize={min(a.shape[1:])}, on the command line --resize)")
    raise InputError(
        f"{what}. Images are compared pixel by pixel, so both need the same size and "
        f"channels: {' and '.join(remedies)}."
    )
