"""Data through a feature map, block by block: reading and preparing overlap with the network, results are kept."""

from __future__ import annotations

import hashlib
import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float32, Shaped, UInt8
from torch import Tensor

from unrote.measure.features.cache import Cache
from unrote.measure.features.maps import FeatureMap

AHEAD = 4
"""Prepared batches that wait for the network, at most."""

_PATIENCE = 0.1  # seconds between two looks at whether the reader is still wanted


@runtime_checkable
class Block(Protocol):
    """Images in memory with their range: what reading gives, whole or in blocks."""

    @property
    def pixels(self) -> Tensor:
        """(N,C,H,W), uint8, or float in units of the range."""
        ...

    @property
    def value_range(self) -> tuple[float | int, float | int]:
        """The numbers that mean black and white."""
        ...


B = TypeVar("B", bound=Block)


@dataclass(frozen=True, eq=False)
class Extracted(Generic[B]):
    """A block and its features.

    Args:
        block: as it was read.
        features: one row for each image (N,F).
        remembered: whether they came from the cache.
    """

    block: B
    features: Float32[Tensor, "N F"]
    remembered: bool


@dataclass(frozen=True, eq=False)
class Features:
    """Features of a whole set.

    Args:
        values: one row for each image, in order (N,F).
        map: what a result file says of the map, see `FeatureMap.as_dict`.
        remembered: how many rows came from the cache.
    """

    values: Float32[Tensor, "N F"]
    map: dict[str, Any]
    remembered: int


def as_pixels(block: Block) -> UInt8[Tensor, "N C H W"] | Float32[Tensor, "N C H W"]:
    """The images of a block as feature maps take them: 8-bit ones as they are, others brought to [0,1] and clipped."""
    low, high = block.value_range
    if block.pixels.dtype == torch.uint8 and (low, high) == (0, 255):
        return block.pixels
    return ((block.pixels.float() - low) / (high - low)).clamp_(0, 1)


def feature_blocks(
    feature_map: FeatureMap,
    blocks: Iterable[B],
    *,
    cache: Cache | None = None,
    pixels: Callable[[B], Tensor] = as_pixels,
    ahead: int = AHEAD,
) -> Iterator[Extracted[B]]:
    """Every block with its features, in order.

    A thread reads, prepares and looks into the cache while the network computes; at most `ahead` prepared
    batches wait. Batches never reach across blocks, so a block's features do not depend on its neighbours, and
    what is kept for a block is what would be computed again.

    Args:
        feature_map: the map.
        blocks: what is read, for example `stream(source, 1024)` or `[images]`.
        cache: where features are kept by the block's content, the map and the kind of device, unless the
            map says that they are not worth it; None for nowhere.
        pixels: the images of a block, uint8 or float in [0,1].
        ahead: batches that may wait; 0 does one thing after another.

    Raises:
        InputError: as reading and the map do.
        ValueError: for a negative `ahead`.
    """
    if ahead < 0:
        raise ValueError(f"the number of batches that may wait is at least 0, got {ahead}")
    cache = cache if feature_map.kept else None
    work = _steps(feature_map, blocks, cache, pixels)
    parts: list[Tensor] = []
    try:
        for step in _in_thread(work, ahead) if ahead else work:
            if isinstance(step, Tensor):
                parts.append(feature_map.compute(step))
                continue
            if step.known is not None:
                yield Extracted(step.block, step.known, True)
                continue
            found = torch.cat(parts) if parts else torch.empty(0, feature_map.dimension)
            parts = []
            if cache is not None:
                cache.keep_features(step.key, found)
            yield Extracted(step.block, found, False)
    finally:
        if cache is not None:
            cache.trim()


def extract(
    feature_map: FeatureMap,
    blocks: Iterable[B],
    *,
    cache: Cache | None = None,
    pixels: Callable[[B], Tensor] = as_pixels,
    ahead: int = AHEAD,
    advance: Callable[[int], None] | None = None,
) -> Features:
    """The features of a whole set; arguments as for `feature_blocks`.

    Args:
        advance: called with the number of images of each block that is done.
    """
    values, remembered = [], 0
    for done in feature_blocks(feature_map, blocks, cache=cache, pixels=pixels, ahead=ahead):
        values.append(done.features)
        remembered += len(done.features) if done.remembered else 0
        if advance is not None:
            advance(len(done.features))
    whole = torch.cat(values) if values else torch.empty(0, feature_map.dimension)
    return Features(whole, feature_map.as_dict(), remembered)


def content_key(images: Shaped[Tensor, "N C H W"]) -> str:
    """SHA-256 over type, shape and numbers of images."""
    array = np.ascontiguousarray(images.detach().cpu().numpy())
    total = hashlib.sha256(f"{images.dtype} {tuple(images.shape)}".encode())
    total.update(array.data)
    return total.hexdigest()


@dataclass(frozen=True)
class _End(Generic[B]):
    """All batches of a block were given."""

    block: B
    key: str
    known: Tensor | None


def _steps(
    feature_map: FeatureMap, blocks: Iterable[B], cache: Cache | None, pixels: Callable[[B], Tensor]
) -> Iterator[Tensor | _End[B]]:
    """Prepared batches of every block, and where each block ends."""
    for block in blocks:
        images = pixels(block)
        key, known = "", None
        if cache is not None:
            # Devices add in another order and may round products to fewer bits.
            key = f"{feature_map.hash[:32]}-{feature_map.device.type}/{content_key(images)}"
            known = cache.features(key)
            if known is not None and known.shape != (len(images), feature_map.dimension):
                known = None
        if known is None:
            for part in images.split(feature_map.batch):
                yield feature_map.prepare(part)
        yield _End(block, key, known)


T = TypeVar("T")


@dataclass(frozen=True)
class _Failed:
    error: BaseException


_DONE = object()


def _in_thread(items: Iterator[T], ahead: int) -> Iterator[T]:
    """The same items, drawn by a thread that is at most `ahead` of the one who uses them."""
    waiting: queue.Queue[Any] = queue.Queue(ahead)
    unwanted = threading.Event()

    def give(item: Any) -> bool:
        while not unwanted.is_set():
            try:
                waiting.put(item, timeout=_PATIENCE)
            except queue.Full:
                continue
            return True
        return False

    def read() -> None:
        try:
            for item in items:
                if not give(item):
                    return
            give(_DONE)
        except BaseException as error:  # raised again where the items are used
            give(_Failed(error))

    reader = threading.Thread(target=read, name="unrote-reader", daemon=True)
    reader.start()
    try:
        while (item := waiting.get()) is not _DONE:
            if isinstance(item, _Failed):
                raise item.error
            yield item
    finally:
        unwanted.set()
        reader.join()
