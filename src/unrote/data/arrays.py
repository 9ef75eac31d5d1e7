"""Images in arrays: dtype, layout and value range made plain, streamed from mapped files."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from unrote.contracts import InputError
from unrote.data.arrayfiles import Stored
from unrote.data.choosing import choose, selection_notes
from unrote.data.decode import RESIZED
from unrote.data.pixels import BYTES, RANGE_RULE, Range, check_range, infer_range, outside
from unrote.data.sources import Block, Source
from unrote.data.spelling import Spelling

_SCAN = 1 << 22
"""Numbers looked at in one step of a scan."""

_CHANNELS = (1, 3)

_LAYOUTS = "Arrays of images have the layout N,H,W or N,H,W,C or N,C,H,W with C = 1 (grey) or 3 (colour)"


@dataclass(frozen=True)
class _Layout:
    """How the axes of an array become N,C,H,W."""

    name: str
    shape: tuple[int, int, int]
    arrange: Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class _Numbers:
    """What the numbers of an array mean: dtype and range after reading, extremes before."""

    dtype: torch.dtype
    value_range: Range
    low: float | int
    high: float | int
    notes: tuple[str, ...]


def open_array(
    spelling: Spelling, stored: Stored, resize: int | None, value_range: Range | None = None
) -> Source:
    """Images of a stored array, in order.

    Whole numbers must lie in 0 ... 255 and become uint8; floats become float32 in units of their value
    range, which is inferred by `RANGE_RULE` from the images that are asked for, or stated. With a stated
    range other than (0, 255), whole numbers are treated as floats.

    Raises:
        InputError: for layouts, dtypes, numbers or ranges that are not images.
    """
    layout = _layout(spelling, stored.shape)
    rows = choose(spelling, stored.shape[0], stored.labels, stored.label_names)
    numbers = _numbers(spelling, stored, rows, value_range)
    notes = (
        f"an array {stored.shape} of {stored.dtype} is read as {layout.name}",
        *stored.notes,
        *numbers.notes,
    )
    channels, height, width = layout.shape
    if resize is not None:
        height = width = resize
        notes += (RESIZED.format(resize),)
    notes += selection_notes(spelling, rows, stored.labels, stored.label_names)

    def fetch(wanted: np.ndarray) -> Block:
        pixels = layout.arrange(stored.take(wanted)).to(numbers.dtype).contiguous()
        if resize is not None and pixels.shape[2:] != (resize, resize):
            pixels = _resized(pixels, resize).clamp_(numbers.low, numbers.high)
        return Block(pixels, tuple(f"row {row}" for row in wanted))

    return Source(
        spec=str(spelling),
        kind=stored.kind,
        shape=(channels, height, width),
        dtype=numbers.dtype,
        value_range=numbers.value_range,
        rows=rows,
        fetch=fetch,
        labels=None if stored.labels is None else torch.from_numpy(stored.labels[rows]),
        label_names=stored.label_names,
        notes=notes,
    )


def _layout(spelling: Spelling, shape: tuple[int, ...]) -> _Layout:
    def refuse(why: str, remedy: str) -> InputError:
        return InputError(f"'{spelling}' holds an array of shape {shape}, {why}. {_LAYOUTS}; {remedy}.")

    if len(shape) not in {3, 4}:
        raise refuse(f"which has {len(shape)} axes", "reshape it, images first")
    if 0 in shape:
        raise refuse("which is empty", "store at least one image")
    if len(shape) == 3:
        if shape[2] in _CHANNELS:
            raise refuse("which may be a single image or N,H,W", "add the missing axis, for example x[None]")
        return _Layout("N,H,W", (1, shape[1], shape[2]), lambda x: x[:, None])
    first, last = shape[1] in _CHANNELS, shape[3] in _CHANNELS
    if first and last:
        raise refuse("whose channels may stand second or last", "store grey images as N,H,W")
    if first:
        return _Layout("N,C,H,W", (shape[1], shape[2], shape[3]), lambda x: x)
    if last:
        return _Layout("N,H,W,C", (shape[3], shape[1], shape[2]), lambda x: x.movedim(3, 1))
    remedy = "drop the alpha channel" if 4 in {shape[1], shape[3]} else "reshape it"
    raise refuse("which has no axis of 1 or 3 channels", remedy)


def _numbers(spelling: Spelling, stored: Stored, rows: np.ndarray, stated: Range | None) -> _Numbers:
    if stored.whole and (stated is None or stated == BYTES):
        if stored.take(rows[:1]).dtype == torch.uint8:
            return _Numbers(torch.uint8, BYTES, 0, 255, ())
        low, high = _extremes(spelling, stored, rows)
        if low < 0 or high > 255:
            raise InputError(
                f"'{spelling}' holds {stored.dtype} numbers from {low:g} to {high:g}. Whole numbers are "
                "read as 8-bit pixels, 0 to 255: store them as uint8, or as floats with a value_range "
                "stated."
            )
        note = f"{stored.dtype} numbers from {low:g} to {high:g} are read as 8-bit pixels, [0, 255]"
        return _Numbers(torch.uint8, BYTES, 0, 255, (note,))
    low, high = _extremes(spelling, stored, rows)
    try:
        if stated is None:
            value_range = infer_range(low, high)
            because = f"; the rule: {RANGE_RULE}"
        else:
            check_range(stated, low, high)
            value_range = (float(stated[0]), float(stated[1]))
            because = ", as stated"
    except InputError as error:
        raise InputError(f"'{spelling}': {error}") from error
    bottom, top = value_range
    notes = [f"{stored.dtype} numbers from {low:g} to {high:g} are read in [{bottom:g}, {top:g}]{because}"]
    if low < bottom or high > top:
        beyond = sum(outside(x, value_range) for x in _steps(stored, rows))
        share = beyond / (len(rows) * np.prod(stored.shape[1:]))
        notes.append(f"{beyond:,} values ({share:.2%}) overshoot the range [{bottom:g}, {top:g}]")
    if high - low < 0.05 * (top - bottom):
        notes.append(
            f"the numbers fill only {(high - low) / (top - bottom):.2%} of their range: is it the right one?"
        )
    return _Numbers(torch.float32, value_range, low, high, tuple(notes))


def _steps(stored: Stored, rows: np.ndarray) -> Iterator[Tensor]:
    step = max(1, _SCAN // int(np.prod(stored.shape[1:])))
    for start in range(0, len(rows), step):
        x = stored.take(rows[start : start + step])
        yield x if stored.whole else x.float()


def _extremes(spelling: Spelling, stored: Stored, rows: np.ndarray) -> tuple[float, float]:
    """Least and largest number; both are NaN or infinite if any number is."""
    low, high, broken, start = np.inf, -np.inf, list[int](), 0
    for x in _steps(stored, rows):
        least, largest = (float(value) for value in torch.aminmax(x))
        if not np.isfinite([least, largest]).all():
            bad = ~torch.isfinite(x).flatten(1).all(1)
            broken += rows[start : start + len(x)][bad.numpy()].tolist()
        low, high, start = min(low, least), max(high, largest), start + len(x)
    if broken:
        shown = ", ".join(map(str, broken[:5])) + (", ..." if len(broken) > 5 else "")
        raise InputError(
            f"'{spelling}' holds NaN or infinite numbers in {len(broken):,} of {len(rows):,} images (rows "
            f"{shown}). Pixels are finite float32 numbers: remove these images or repair what wrote them."
        )
    return low, high


def _resized(pixels: Tensor, side: int) -> Tensor:
    """Pillow's LANCZOS filter on every channel: (n,C,H,W) -> (n,C,side,side)."""
    from PIL import Image

    shrink = functools.partial(Image.Image.resize, size=(side, side), resample=Image.Resampling.LANCZOS)
    planes = [np.array(shrink(Image.fromarray(plane))) for plane in pixels.flatten(0, 1).numpy()]
    return torch.from_numpy(np.stack(planes)).unflatten(0, tuple(pixels.shape[:2]))
