"""Pixel arithmetic: exact where it can be, and never a range that was guessed."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unrote.contracts import InputError
from unrote.data.pixels import (
    BYTES,
    POSITIVE,
    UNIT,
    ContentHash,
    check_range,
    from_unit,
    infer_range,
    outside,
    to_bytes,
    to_unit,
)

EIGHT_BITS = torch.arange(256, dtype=torch.uint8)


@pytest.mark.parametrize("value_range", [BYTES, UNIT, POSITIVE, (0, 16), (-3.0, 5.0)])
def test_ends_of_the_range_are_minus_one_and_one_exactly(value_range):
    assert to_unit(torch.tensor(value_range), value_range).tolist() == [-1, 1]
    assert from_unit(torch.tensor([-1.0, 1.0]), value_range).tolist() == list(value_range)
    assert to_bytes(torch.tensor(value_range), value_range).tolist() == [0, 255]


@pytest.mark.parametrize("value_range", [BYTES, UNIT, POSITIVE, (0, 16)])
def test_eight_bits_survive_every_range(value_range):
    stored = from_unit(to_unit(EIGHT_BITS, BYTES), value_range)
    assert torch.equal(to_bytes(stored, value_range), EIGHT_BITS)
    assert torch.allclose(to_unit(stored, value_range), to_unit(EIGHT_BITS, BYTES), rtol=0, atol=2e-7)


def test_unit_pixels_are_not_touched():
    x = torch.tensor([1e-30, -0.1, 0.30000001, 1.04])
    assert torch.equal(to_unit(x, UNIT), x)
    assert torch.equal(from_unit(x, UNIT), x)


def test_bytes_are_the_nearest_and_what_is_clipped_is_counted():
    x = torch.tensor([-0.2, 0.49 / 255, 0.51 / 255, 1.0, 1.2, 1.3])
    assert to_bytes(x, POSITIVE).tolist() == [0, 0, 1, 255, 255, 255]
    assert outside(x, POSITIVE) == 3
    assert to_bytes(torch.tensor([0.5, 1.5, 2.5]), BYTES).tolist() == [0, 2, 2]


@pytest.mark.parametrize(
    ("low", "high", "value_range"),
    [
        (0, 1, POSITIVE),
        (-0.003, 1.04, POSITIVE),
        (0.2, 0.6, POSITIVE),
        (-1, 1, UNIT),
        (-1.08, 1.09, UNIT),
        (-0.9, -0.2, UNIT),
        (0, 255, BYTES),
        (-4, 260, BYTES),
        (3, 129, BYTES),
    ],
)
def test_ranges_that_are_plain(low, high, value_range):
    assert infer_range(low, high) == value_range


@pytest.mark.parametrize(
    ("low", "high"),
    [
        (-0.05, 1.05),
        (-0.3, 0.9),
        (-2.1, 2.6),
        (0, 16),
        (0, 1.2),
        (-1.2, 1),
        (0, 0),
        (-1, 255),
        (0, 300),
        (0, 127),
    ],
)
def test_ranges_that_are_not_plain_are_refused_with_the_flag(low, high):
    if (low, high) == (-1, 255):  # a little below black: still 8-bit
        assert infer_range(low, high) == BYTES
        return
    with pytest.raises(InputError, match=r"value_range, for example 0,1.*--train-range or --samples-range"):
        infer_range(low, high)


def test_a_stated_range_tolerates_a_twentieth_of_its_width():
    check_range((0, 1), -0.05, 1.05)
    check_range((-1, 1), -1.1, 1.1)
    with pytest.raises(InputError, match="5% outside the stated value range 0,1"):
        check_range((0, 1), -0.051, 1)
    with pytest.raises(InputError, match="is not a range"):
        check_range((1, 0), 0, 1)
    with pytest.raises(InputError, match="is not a range"):
        check_range((0, float("inf")), 0, 1)


def _hash(pixels: torch.Tensor, cuts: list[int], value_range=BYTES) -> str:
    content = ContentHash(value_range)
    for block in pixels.tensor_split(sorted(cuts)):
        content.update(block)
    return content.hexdigest()


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 7), max_size=5))
def test_the_hash_does_not_depend_on_the_cuts(cuts):
    pixels = torch.arange(7 * 3 * 2 * 2, dtype=torch.uint8).reshape(7, 3, 2, 2)
    assert _hash(pixels, cuts) == _hash(pixels, [])


def test_the_hash_sees_order_shape_dtype_range_and_count():
    pixels = torch.arange(16, dtype=torch.uint8).reshape(4, 1, 2, 2)
    other = [
        _hash(pixels.flip(0), []),
        _hash(pixels.reshape(4, 1, 1, 4), []),
        _hash(pixels.reshape(2, 1, 2, 4), []),
        _hash(pixels.float(), []),
        _hash(pixels, [], (0, 16)),
        _hash(pixels[:3], []),
        _hash(torch.cat([pixels, pixels[:1]]), []),
    ]
    assert len({_hash(pixels, []), *other}) == 8
    assert _hash(pixels.transpose(2, 3).contiguous().transpose(2, 3), []) == _hash(pixels, [])


def test_one_hash_takes_one_shape():
    content = ContentHash(BYTES)
    content.update(torch.zeros(1, 1, 2, 2, dtype=torch.uint8))
    with pytest.raises(ValueError, match="one dtype, shape and range"):
        content.update(torch.zeros(1, 1, 2, 3, dtype=torch.uint8))
