"""Pictures inside the page: pixels as data URIs, and no more of them than a mail can carry."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from unrote.report.blocks import Exhibit, Picture

EXACT = 64  # longest side up to which every pixel is kept
REDUCED = 160  # longest side of larger pictures on the page
TARGET = 128  # about how wide a small picture is drawn, in CSS pixels


@dataclass(frozen=True)
class Drawn:
    """A picture ready for an <img>: source, size on the screen, words.

    Args:
        source: data URI.
        width, height: size in CSS pixels.
        label, note: the words under it.
        alt: the words instead of it.
        exact: whether each pixel is shown (and should stay sharp when enlarged).
    """

    source: str
    width: int
    height: int
    label: str
    note: str
    alt: str
    exact: bool


@dataclass(frozen=True)
class DrawnExhibit:
    """An exhibit ready for the template.

    Args:
        pictures: those that are drawn.
        caption, mark, name: as in the exhibit.
        unseen: how many pictures of it are not drawn.
    """

    pictures: tuple[Drawn, ...]
    caption: str
    mark: str
    name: str
    unseen: int


def draw(picture: Picture) -> Drawn:
    """Encode one picture: PNG with every pixel up to 64 pixels a side, a reduced JPEG above."""
    from PIL import Image

    image = Image.fromarray(_rows(picture.pixels))
    longest = max(image.size)
    exact = longest <= EXACT
    buffer = io.BytesIO()
    if exact:
        image.save(buffer, "PNG", optimize=True)
        factor = max(1, round(TARGET / longest))
        size = (image.width * factor, image.height * factor)
    else:
        if longest > REDUCED:
            image.thumbnail((REDUCED, REDUCED), Image.Resampling.LANCZOS)
        image.save(buffer, "JPEG", quality=90)
        scale = TARGET / max(image.size)
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    kind = "png" if exact else "jpeg"
    source = f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"
    alt = ": ".join(word for word in (picture.label, picture.note) if word) or "picture"
    return Drawn(source, *size, picture.label, picture.note, alt, exact)


def draw_within(exhibits: Sequence[Exhibit], budget: int, each: int | None = None) -> list[DrawnExhibit]:
    """Encode exhibits in order until the budget (bytes) is spent; at least one is drawn.

    Args:
        exhibits: in order of importance.
        budget: bytes of encoded pictures.
        each: how many pictures of one exhibit are drawn at most.
    """
    drawn: list[DrawnExhibit] = []
    spent = 0
    for exhibit in exhibits:
        pictures = tuple(draw(picture) for picture in exhibit.pictures[:each])
        spent += sum(len(picture.source) for picture in pictures)
        if drawn and spent > budget:
            break
        unseen = len(exhibit.pictures) - len(pictures)
        drawn.append(DrawnExhibit(pictures, exhibit.caption, exhibit.mark, exhibit.name, unseen))
    return drawn


def _rows(pixels: Tensor) -> np.ndarray:
    """(C,H,W) -> (H,W) for grey, (H,W,3) for colour."""
    array = pixels.detach().cpu().numpy()
    return np.ascontiguousarray(array[0] if len(array) == 1 else array.transpose(1, 2, 0))
