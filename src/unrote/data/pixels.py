"""Numbers of pixels: value ranges, 8-bit rounding, and the hash that says which pixels were read."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import torch
from jaxtyping import Float32, Shaped, UInt8
from torch import Tensor

from unrote.contracts import InputError

Range = tuple[float | int, float | int]
"""The numbers (low, high) that mean black and white."""

BYTES: Range = (0.0, 255.0)
UNIT: Range = (-1.0, 1.0)
POSITIVE: Range = (0.0, 1.0)

OVERSHOOT = 0.05
"""Share of a range's width by which float pixels may lie outside it: networks overshoot a little."""

RANGE_RULE = (
    "floats are read as [0, 1] where all lie in [-1/255, 1.05], as [-1, 1] where the least lies in [-1.1, "
    "-0.5] and none is above 1.1, as [0, 255] where all lie in [-12.75, 267.75] and the largest is above "
    "128"
)


def to_unit(pixels: Shaped[Tensor, "*E"], value_range: Range) -> Float32[Tensor, "*E"]:
    """Pixels on the scale of the network, (p - middle) / half width; values outside the range stay outside.

    Args:
        pixels: any shape, uint8 or float, in units of `value_range`.
        value_range: (low, high), which become -1 and 1 exactly.
    """
    low, high = value_range
    return (pixels.float() - (high + low) / 2) / ((high - low) / 2)


def from_unit(x: Shaped[Tensor, "*E"], value_range: Range) -> Float32[Tensor, "*E"]:
    """The inverse of `to_unit`: x * half width + middle, neither rounded nor clipped."""
    low, high = value_range
    return x.float() * ((high - low) / 2) + (high + low) / 2


def to_bytes(pixels: Shaped[Tensor, "*E"], value_range: Range) -> UInt8[Tensor, "*E"]:
    """8-bit pixels, round(255 (p - low) / (high - low)) clipped to 0 ... 255; ties go to the even number.

    `outside` counts what is clipped. 8-bit pixels with the range (0, 255) are returned as they are.
    """
    if pixels.dtype == torch.uint8 and value_range == BYTES:
        return pixels
    low, high = value_range
    return ((pixels.float() - low) * (255 / (high - low))).round_().clamp_(0, 255).to(torch.uint8)


def outside(pixels: Shaped[Tensor, "*E"], value_range: Range) -> int:
    """How many values lie outside the range, and are clipped by `to_bytes`."""
    low, high = value_range
    return int(((pixels < low) | (pixels > high)).sum())


def infer_range(low: float | int, high: float | int) -> Range:
    """The value range that float pixels between `low` and `high` are read in, by `RANGE_RULE`.

    Raises:
        InputError: where the rule does not decide, as for [-0.05, 1.05], which may be [0, 1] or
            [-1, 1] with little contrast.
    """
    if low >= -12.75 and 128 < high <= 267.75:
        return BYTES
    if -1.1 <= low <= -0.5 and high <= 1.1:
        return UNIT
    if low >= -1 / 255 and 0 < high <= 1.05:
        return POSITIVE
    raise InputError(
        f"The float pixels lie between {low:g} and {high:g}, which does not say what black and white are: "
        f"{RANGE_RULE}. State it with value_range, for example 0,1 "
        "(on the command line --train-range or --samples-range, for example --samples-range 0 1)."
    )


def check_range(value_range: Range, low: float | int, high: float | int) -> None:
    """Check a stated range against the least and the largest value.

    Raises:
        InputError: where the range is empty, or the values lie more than 5 % of its width outside.
    """
    bottom, top = value_range
    if not (math.isfinite(bottom) and math.isfinite(top) and bottom < top):
        raise InputError(
            f"The value range {bottom:g},{top:g} is not a range. It is two numbers, the lower first, "
            "for example 0 and 1, -1 and 1, or 0 and 255."
        )
    slack = OVERSHOOT * (top - bottom)
    if low < bottom - slack or high > top + slack:
        raise InputError(
            f"The pixels lie between {low:g} and {high:g}, which is more than {OVERSHOOT:.0%} outside the "
            f"stated value range {bottom:g},{top:g}. State the range of the numbers as they are stored, or "
            "leave it out to have it inferred."
        )


class ContentHash:
    """SHA-256 of decoded pixels, in order: the same for a file, a folder and any cut into blocks.

    It covers the dtype, the value range, (C,H,W), every pixel (little-endian, N,C,H,W order) and the count.

    Args:
        value_range: the range that the pixels stand in; part of what is hashed.
    """

    def __init__(self, value_range: Range) -> None:
        self._range = tuple(map(float, value_range))
        self._sha = hashlib.sha256()
        self._head: str | None = None
        self._count = 0

    def update(self, pixels: Shaped[Tensor, "N C H W"]) -> None:
        """Add the next images.

        Raises:
            ValueError: where dtype or image shape differ from those added before.
        """
        head = f"{pixels.dtype} {tuple(pixels.shape[1:])} {self._range}"
        if self._head is None:
            self._head = head
            self._sha.update(head.encode())
        if head != self._head:
            raise ValueError(f"one content has one dtype, shape and range: {self._head}, then {head}")
        array = np.ascontiguousarray(pixels.detach().cpu().numpy())
        self._sha.update(array.astype(array.dtype.newbyteorder("<"), copy=False).data)
        self._count += len(pixels)

    @property
    def count(self) -> int:
        """How many images were added."""
        return self._count

    def hexdigest(self) -> str:
        """The hash of all images added so far; more may follow."""
        sha = self._sha.copy()
        sha.update(str(self._count).encode())
        return sha.hexdigest()
