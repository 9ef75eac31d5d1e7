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
    svg = re.sub(r'^<svg\s[^>]*?(viewBox="[^"]*")[^>]*>', r"<svg \1>", svg)
    names = set(re.findall(r'<[^>]*(?:url\(#|href="#)([^)"]+)', svg))

    def tag(match: re.Match[str]) -> str:
        text = match.group().replace("xlink:href", "href")
        # two spellings of the same font, by the version of matplotlib
        text = re.sub(r'(font: [^;"]*?\d+(?:\.\d+)?px)[^;"]*', r"\1 var(--sans, sans-serif)", text)
        text = re.sub(r'font-family: [^;"]*', "font-family: var(--sans, sans-serif)", text)
        text = re.sub(r"#0000[0-9a-f]{2}", _variable, text)
        return re.sub(r'\sid="([^"]*)"', lambda m: m.group() if m.group(1) in names else "", text)

    return re.sub(r">\s+<", "><", re.sub(r"<[^>]+>", tag, svg)).strip()


def with_prefix(svg: str, prefix: str) -> str:
    """Give every id and every reference to one a prefix: drawings on one page share a name space."""

    def tag(match: re.Match[str]) -> str:
        return re.sub(r'(\sid="|url\(#|href="#)', rf"\1{prefix}-", match.group())

    return re.sub(r"<[^>]+>", tag, svg)


def _variable(match: re.Match[str]) -> str:
    name, fallback = _THEME.get(match.group(), (None, match.group()))
    return f"var({name}, {fallback})" if name else fallback
