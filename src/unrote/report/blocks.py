"""The pieces of a page: frozen values that say what is shown and nothing about where it came from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import ClassVar

from jaxtyping import UInt8
from torch import Tensor

from unrote.report.format import Value, plain, ratio


class Tone(Enum):
    """How a message should feel; the value is its word for readers who see no colour."""

    ALARM = "alarm"
    CAUTION = "caution"
    CALM = "calm"
    NEUTRAL = "neutral"


class Block:
    """Anything that a section can hold; ``macro`` names the template that draws it."""

    macro: ClassVar[str]


@dataclass(frozen=True)
class Text(Block):
    """Paragraphs of prose; `backquoted` words are set as code.

    Args:
        paragraphs: one string for each paragraph.
    """

    macro = "text"
    paragraphs: tuple[str, ...]


@dataclass(frozen=True)
class Code(Block):
    """Lines to copy, such as the command that made the page."""

    macro = "code"
    text: str


@dataclass(frozen=True)
class Facts(Block):
    """Names with one value each: settings, versions, sizes.

    Args:
        rows: (name, value) pairs.
        show: how a value is written.
    """

    macro = "facts"
    rows: tuple[tuple[str, Value], ...]
    show: Callable[[Value], str] = plain


@dataclass(frozen=True)
class Notes(Block):
    """Short messages that must not be overlooked, in a frame of their tone."""

    macro = "notes"
    messages: tuple[str, ...]
    tone: Tone = Tone.CAUTION


@dataclass(frozen=True)
class Picture:
    """One small image, pixel by pixel.

    Args:
        pixels: channels first, one channel (grey) or three (RGB).
        label: what it is, in a word or two ("sample", "nearest").
        note: what else to know about it (its file name, its distance).
    """

    pixels: UInt8[Tensor, "C H W"]
    label: str = ""
    note: str = ""

    def __post_init__(self) -> None:
        channels, height, width = self.pixels.shape
        if channels not in (1, 3) or not height or not width:
            raise ValueError(
                f"a picture needs 1 or 3 channels and a pixel, got shape {tuple(self.pixels.shape)}"
            )


@dataclass(frozen=True)
class Exhibit:
    """Pictures that belong together: a sample and its neighbours, a group of duplicates.

    Args:
        pictures: shown side by side in this order.
        caption: what they show together.
        mark: a word such as "copy" that frames the exhibit and stands on its frame; empty for no frame.
        name: the file or row that it is about; kept apart so that no file name can garble the caption.
    """

    pictures: tuple[Picture, ...]
    caption: str = ""
    mark: str = ""
    name: str = ""


@dataclass(frozen=True)
class Evidence(Block):
    """Rows of pictures to judge by eye, the first ones at once and the others on request.

    Args:
        rows: exhibits in the order in which they should be looked at.
        caption: what the rows are and how they are ordered.
        shown: how many are visible before the reader asks for more.
        budget: bytes of encoded pictures; rows beyond it are left out and the page says how many.
    """

    macro = "evidence"
    rows: tuple[Exhibit, ...]
    caption: str = ""
    shown: int = 24
    budget: int = 3_000_000


@dataclass(frozen=True)
class Gallery(Block):
    """Groups of pictures set more densely than evidence, such as duplicates or most-copied images.

    Args:
        groups: exhibits of any number of pictures each.
        caption: what the groups are.
        shown: how many groups are visible before the reader asks for more.
        each: how many pictures of one group are drawn; the rest is given as a number.
        budget: bytes of encoded pictures; groups beyond it are left out and the page says how many.
    """

    macro = "gallery"
    groups: tuple[Exhibit, ...]
    caption: str = ""
    shown: int = 24
    each: int = 12
    budget: int = 750_000


@dataclass(frozen=True)
class Reading:
    """A text of which pieces are marked.

    Args:
        label: what it is, in a word or two ("sample", "training text").
        pieces: the text in order, each piece with whether it is marked.
        note: where it stands.
    """

    label: str
    pieces: tuple[tuple[str, bool], ...]
    note: str = ""


@dataclass(frozen=True)
class Collation:
    """Texts side by side, character under character: a sample and where it comes from.

    Args:
        readings: texts of one length.
        caption: what the marks come to, in words, for readers who do not see them.
        mark: a word such as "copy" that frames the texts and stands on their frame; empty for no frame.
        name: the file or line that it is about.
    """

    readings: tuple[Reading, ...]
    caption: str
    mark: str = ""
    name: str = ""


@dataclass(frozen=True)
class Collations(Block):
    """Texts to compare by eye, the first ones at once and the others on request.

    Args:
        rows: in the order in which they should be read.
        caption: what they are, how they are ordered, and what is marked.
        shown: how many are visible before the reader asks for more.
    """

    macro = "collations"
    rows: tuple[Collation, ...]
    caption: str
    shown: int = 6


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Args:
        heading: its name.
        show: how its values are written; ``ratio`` for fractions.
    """

    heading: str
    show: Callable[[Value], str] = plain


@dataclass(frozen=True)
class Table(Block):
    """Rows of values; the first column names the row.

    Numbers, estimates and missing values sort as what they are, not as what they look like.

    Args:
        columns: headings with their way of writing values.
        rows: one value (or picture) for each column.
        caption: what the table holds; every table has one.
        sortable: whether the headings are buttons that sort.
        shown: how many rows are visible before the reader asks for all.
    """

    macro = "table"
    columns: tuple[Column, ...]
    rows: tuple[tuple[Value | Picture, ...], ...]
    caption: str
    sortable: bool = True
    shown: int = 100

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"a row has {len(row)} values, the table {len(self.columns)} columns")


@dataclass(frozen=True)
class Figure(Block):
    """A drawing with its words and its numbers; ``unrote.report.plots`` makes them.

    Args:
        svg: one <svg> element for wide places.
        caption: what to see in it.
        alt: the same for a reader who cannot see it.
        data: the numbers that are drawn, or None.
        narrow: the same drawing for a phone, or None to scale the wide one.
    """

    macro = "figure"
    svg: str
    caption: str
    alt: str
    data: Table | None = None
    narrow: str | None = None


@dataclass(frozen=True)
class Details(Block):
    """Blocks behind a line that opens them."""

    macro = "details"
    summary: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Part(Block):
    """Blocks under a heading of their own within a section; parts are not nested."""

    macro = "part"
    heading: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Beside(Block):
    """Blocks next to each other where the screen is wide enough, below each other where it is not."""

    macro = "beside"
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class KeyFigure:
    """One number printed large under the verdict.

    Args:
        name: what it is.
        value: the number; an Estimate's interval is printed small below it.
        show: how the number is written.
        note: a few words more.
    """

    name: str
    value: Value
    show: Callable[[Value], str] = ratio
    note: str = ""


@dataclass(frozen=True)
class Verdict:
    """The answer in one sentence, with the few numbers that carry it.

    Args:
        sentence: the answer.
        tone: how it should feel.
        details: paragraphs that qualify it.
        figures: the numbers printed large.
    """

    sentence: str
    tone: Tone = Tone.NEUTRAL
    details: tuple[str, ...] = ()
    figures: tuple[KeyFigure, ...] = ()


@dataclass(frozen=True)
class Section:
    """A heading that the table of contents lists, and what stands under it."""

    heading: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Page:
    """One report: what was asked, the answer, and everything that supports it.

    Args:
        title: names the page.
        verdict: the answer.
        sections: in reading order.
        lead: one line under the title: what was compared with what.
        footer: closing lines, such as program and version.
    """

    title: str
    verdict: Verdict
    sections: tuple[Section, ...]
    lead: str = ""
    footer: tuple[str, ...] = ()
