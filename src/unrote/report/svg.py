"""Drawings made for a page: colours that follow its theme, text as text, ids that never collide."""

from __future__ import annotations

import re

# Colours that no drawing uses for themselves: each stands for a variable of the page's theme. The second
# value is drawn where the variable is unknown.
INK, MUTED, GRID, PAPER = "#000001", "#000002", "#000003", "#000004"
SERIES = tuple(f"#0000a{i}" for i in range(1, 7))
_THEME = {
    INK: ("--ink", "#1c2126"),
    MUTED: ("--muted", "#59626c"),
    GRID: ("--rule", "#dfe2e6"),
    PAPER: ("--paper", "#ffffff"),
} | {
    place: (f"--series-{i}", colour)
    for i, (place, colour) in enumerate(
        zip(SERIES, ("#1b67ad", "#b8480a", "#0b7659", "#8747a8", "#75640b", "#59626c"), strict=True), start=1
    )
}


def themed(svg: str) -> str:
    """Turn matplotlib's SVG file into an element for a page.

    The prologue, metadata, global style and unused ids go; placeholder colours become variables of the
    theme; fonts become the page's own.
    """
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style[^>]*>.*?</style>|<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\s(?:xmlns(?::\w+)?|version)="[^"]*"', "", svg).replace("xlink:href", "href")
    svg = re.sub(r'^<svg\s[^>]*?(viewBox="[^"]*")[^>]*>', r"<svg \1>", svg)
    svg = re.sub(r"font: ([^;\"]*?)(\d+(?:\.\d+)?px)[^;\"]*", r"font: \1\2 var(--sans, sans-serif)", svg)
    svg = re.sub(r"#0000[0-9a-f]{2}", _variable, svg)
    used = set(re.findall(r'url\(#([^)]+)\)|href="#([^"]+)"', svg))
    names = {name for pair in used for name in pair if name}
    svg = re.sub(r'\sid="([^"]*)"', lambda m: m.group() if m.group(1) in names else "", svg)
    return re.sub(r">\s+<", "><", svg).strip()


def with_prefix(svg: str, prefix: str) -> str:
    """Give every id and every reference to one a prefix: drawings on one page share a name space."""
    svg = re.sub(r'(\sid=")([^"]+")', rf"\1{prefix}-\2", svg)
    svg = re.sub(r"(url\(#)([^)]+\))", rf"\1{prefix}-\2", svg)
    return re.sub(r'(href="#)([^"]+")', rf"\1{prefix}-\2", svg)


def _variable(match: re.Match[str]) -> str:
    name, fallback = _THEME.get(match.group(), (None, match.group()))
    return f"var({name}, {fallback})" if name else fallback
