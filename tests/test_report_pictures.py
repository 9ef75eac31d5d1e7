"""Pictures reach the page pixel by pixel, and no more of them than were paid for."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
import torch
from PIL import Image
from report_pages import picture

from unrote.report import Exhibit, Picture
from unrote.report.pictures import draw, draw_within


def decoded(source: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(source.split(",")[1]))))


@pytest.mark.parametrize("size", [1, 8, 28, 32, 64])
@pytest.mark.parametrize("channels", [1, 3])
def test_small_pictures_keep_every_pixel(size, channels):
    original = picture(0, size, channels)
    drawn = draw(original)
    pixels = decoded(drawn.source).reshape(size, size, channels).transpose(2, 0, 1)
    assert np.array_equal(pixels, original.pixels.numpy())
    assert drawn.exact
    assert drawn.width % size == 0  # whole multiples: every pixel is equally large on the screen


def test_oblong_pictures_keep_their_shape():
    drawn = draw(Picture(torch.zeros(1, 16, 48, dtype=torch.uint8)))
    assert drawn.width == 3 * drawn.height
    assert decoded(drawn.source).shape == (16, 48)


def test_large_pictures_are_reduced_and_say_so():
    ramp = torch.arange(512).div(2, rounding_mode="floor").to(torch.uint8).expand(3, 512, 512)
    drawn = draw(Picture(ramp.contiguous()))
    pixels = decoded(drawn.source).astype(float)
    assert not drawn.exact
    assert pixels.shape == (160, 160, 3)
    assert np.abs(pixels[80, :, 0] - np.linspace(0, 255, 160)).max() < 8
    assert len(drawn.source) < 12_000


def test_only_pictures_are_pictures():
    for shape in ((2, 8, 8), (4, 8, 8), (3, 0, 8)):
        with pytest.raises(ValueError, match="1 or 3 channels"):
            Picture(torch.zeros(shape, dtype=torch.uint8))


def test_budget_bounds_the_bytes_and_keeps_the_order():
    exhibits = [Exhibit((picture(i, 32, 3), picture(i + 1, 32, 3)), str(i)) for i in range(20)]
    one = sum(len(p.source) for p in draw_within(exhibits[:1], 1)[0].pictures)
    drawn = draw_within(exhibits, 5 * one + one // 2)
    assert [exhibit.caption for exhibit in drawn] == ["0", "1", "2", "3", "4"]
    assert len(draw_within(exhibits, 0)) == 1
    assert draw_within([], 100) == []


def test_large_groups_say_how_many_pictures_are_unseen():
    (drawn,) = draw_within([Exhibit(tuple(picture(i) for i in range(30)))], 10**6, each=12)
    assert len(drawn.pictures) == 12
    assert drawn.unseen == 18
