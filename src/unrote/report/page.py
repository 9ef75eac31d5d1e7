"""From a page of blocks to one HTML file that needs nothing else, not even a network."""

from __future__ import annotations

import base64
import hashlib
import itertools
import os
import re
import tempfile
from collections.abc import Iterator
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unrote.report.blocks import Block, Page, Picture
from unrote.report.format import headline, printable, sort_key
from unrote.report.pictures import draw, draw_within
from unrote.report.svg import with_prefix

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup


def render(page: Page) -> str:
    """The whole page as HTML text; the same page always gives the same text.

    Everything is inline (style, script, pictures) and a Content-Security-Policy forbids all else.
    """
    script = _asset("page.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    html = (
        _environment()
        .get_template("page.html.j2")
        .render(page=page, style=_asset("page.css"), script=script, script_hash=f"sha256-{digest}")
    )
    return printable(html)


def write(page: Page, path: str | os.PathLike[str]) -> None:
    """Write the page to a file that is either the whole page or what it was before.

    Raises:
        OSError: if the folder cannot be written or the disk is full; no half page is left behind.
    """
    target = Path(path)
    content = render(page).encode()
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o644)
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


@cache
def _asset(name: str) -> str:
    return resources.files("unrote.report").joinpath(name).read_text(encoding="utf-8")


def _environment() -> Environment:
    """Templates with a counter of their own, so that ids are unique on a page and equal between runs."""
    from jinja2 import Environment, FunctionLoader, StrictUndefined
    from markupsafe import Markup

    counter: Iterator[int] = itertools.count(1)
    environment = Environment(
        loader=FunctionLoader(_asset),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )

    def show(block: Block) -> Markup:
        macros: Any = environment.get_template("blocks.html.j2").module
        drawn: Markup = getattr(macros, block.macro)(block)
        return drawn

    environment.globals.update(
        show=show,
        fresh=lambda stem: f"{stem}-{next(counter)}",
        anchor=_anchor,
        inline=_inline,
        unbroken=_unbroken,
        inline_svg=lambda svg, prefix: Markup(with_prefix(svg, prefix)),
        trusted=Markup,
        draw=draw,
        draw_within=draw_within,
        is_picture=lambda value: isinstance(value, Picture),
        is_number=_is_number,
        sort_key=sort_key,
        headline=headline,
    )
    return environment


def _anchor(index: int, heading: str) -> str:
    """A readable fragment for links to a section, unique through its number."""
    words = re.sub(r"[^a-z0-9]+", "-", heading.lower()).strip("-")
    return f"s{index}-{words}".rstrip("-")


def _inline(text: str) -> Markup:
    """Prose with `code`, and with spaces that do not break between a number and its unit."""
    from markupsafe import Markup, escape

    pieces = text.split("`")
    if len(pieces) % 2 == 0:  # an odd backquote is a character like any other
        pieces = [text]
    joined = (
        Markup("<code>{}</code>").format(piece) if index % 2 else escape(_unbroken(piece))
        for index, piece in enumerate(pieces)
    )
    return Markup("").join(joined)


def _unbroken(text: str) -> str:
    """Text whose numbers keep their unit and their letter on one line: 31 %, n = 512."""
    return re.sub(r"(?<=\d) %|\b\w = (?=\d)", lambda match: match.group().replace(" ", "\u00a0"), text)


def _is_number(value: Any) -> bool:
    """Whether a table cell is set to the right; missing values are, for they stand among numbers."""
    return not isinstance(value, str | bool | Picture)
