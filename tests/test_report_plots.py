"""Drawings show the numbers they were given, in the page's colours, under ids of their own."""

from __future__ import annotations

import re
from itertools import pairwise

import numpy as np
import pytest
from report_pages import HOSTILE, figures

from unrote.contracts import Estimate
from unrote.report.canvas import Interval, Line, _apart, label
from unrote.report.plots import Curve, bars, clouds, curves, histogram
from unrote.report.svg import themed, with_prefix

WORDS = {"caption": "caption", "alt": "alt"}


def test_histogram_counts_every_finite_value_once():
    values = {"a": [0.1, 0.2, 0.25, 5.0, -3.0, float("nan")], "b": [0.5]}
    figure = histogram(values, x_label="x", bins=10, limits=(0, 1), **WORDS)
    assert figure.data is not None
    assert [column.heading for column in figure.data.columns[2:]] == ["a (n = 5)", "b (n = 1)"]
    columns = list(zip(*figure.data.rows, strict=True))
    assert sum(columns[2]) == pytest.approx(1)
    assert sum(columns[3]) == pytest.approx(1)
    assert columns[2][0] == pytest.approx(1 / 5)  # what lies beyond an end is counted there
    assert columns[2][-1] == pytest.approx(1 / 5)


def test_histogram_of_one_value_and_of_logarithms():
    (row, *_) = histogram({"a": [2.0, 2.0]}, x_label="x", bins=1, **WORDS).data.rows
    assert row[0] < 2.0 < row[1]
    rows = histogram({"a": [0.01, 1.0]}, x_label="x", bins=2, log_x=True, **WORDS).data.rows
    assert [row[1] for row in rows] == pytest.approx([0.1, 1.0])
    with pytest.raises(ValueError, match="above 0"):
        histogram({"a": [0.0, 1.0]}, x_label="x", log_x=True, **WORDS)
    with pytest.raises(ValueError, match="finite"):
        histogram({"a": [float("nan")]}, x_label="x", **WORDS)


def test_curve_table_holds_every_point_and_joins_places():
    first = Curve("first", (1, 2, 4), (0.1, None, 0.3), (0.0, None, 0.2), (0.2, None, 0.4))
    second = Curve("second", (2, 3), (5.0, 6.0))
    figure = curves((first, second), x_label="x", y_label="y", **WORDS)
    assert figure.data is not None
    assert figure.data.rows == (
        (1, Estimate(0.1, 0.0, 0.2, 0), None),
        (2, Estimate(None, None, None, 0), Estimate(5.0, None, None, 0)),
        (3, None, Estimate(6.0, None, None, 0)),
        (4, Estimate(0.3, 0.2, 0.4, 0), None),
    )


def test_clouds_draw_and_list_every_point_that_was_measured():
    first, second = Curve("first", (3, 1, 1), (0.3, None, 0.1)), Curve("second", (2,), (0.2,))
    figure = clouds((first, second), x_label="x", y_label="y", diagonal=True, **WORDS)
    assert figure.data is not None
    assert figure.data.rows == (("first", 3, 0.3), ("first", 1, 0.1), ("second", 2, 0.2))
    more = clouds(
        (first, Curve("second", (2, 2), (0.2, 0.25))), x_label="x", y_label="y", diagonal=True, **WORDS
    )
    assert more.svg.count("<use ") == figure.svg.count("<use ") + 1
    with pytest.raises(ValueError, match="at least one point"):
        clouds((Curve("none", (1,), (None,)),), x_label="x", y_label="y", **WORDS)


def test_drawn_points_lie_where_the_axes_say():
    """The path of a straight line is straight, and its ends lie at the ends of the scale."""
    figure = curves(
        (Curve("line", (0, 5, 10), (0.0, 0.5, 1.0)),), x_label="x", y_label="y", y_limits=(0, None), **WORDS
    )
    path = re.search(r'<path d="([^"]*)"[^>]*stroke: var\(--series-1[^>]*stroke-width: 1.8', figure.svg)
    assert path is not None
    (x0, y0), (x1, y1), (x2, y2) = np.array(re.findall(r"[\d.]+", path.group(1)), dtype=float).reshape(-1, 2)
    assert x1 - x0 == pytest.approx(x2 - x1, abs=1e-3)
    assert y1 - y0 == pytest.approx(y2 - y1, abs=1e-3)
    assert y2 < y0  # SVG counts downwards


def test_curves_refuse_what_cannot_be_drawn():
    with pytest.raises(ValueError, match="different lengths"):
        Curve("x", (1, 2), (1.0,))
    with pytest.raises(ValueError, match="one end"):
        Curve("x", (1,), (1.0,), low=(0.5,))
    with pytest.raises(ValueError, match="at least one point"):
        curves((Curve("x", (1,), (None,)),), x_label="x", y_label="y", **WORDS)
    line = Curve("x", (1, 2), (1.0, 2.0))
    with pytest.raises(ValueError, match="no place"):
        curves((line,), x_label="x", y_label="y", log_x=True, lines=(Line(0, "start"),), **WORDS)
    with pytest.raises(ValueError, match="at least one estimate"):
        bars({}, x_label="x", **WORDS)


def test_interval_beyond_the_axis_does_not_stretch_it():
    line = Curve("x", (1, 2), (1.0, 2.0))
    plain = curves((line,), x_label="x", y_label="y", **WORDS)
    marked = curves((line,), x_label="x", y_label="y", intervals=(Interval(50, 60, "far"),), **WORDS)
    assert "far" not in marked.svg
    assert plain.svg == marked.svg


def test_estimates_without_value_or_interval_can_be_drawn():
    figure = bars(
        {"bound": Estimate(None, None, 0.01, 9), "bare": Estimate(0.2, None, None, 9)}, x_label="x", **WORDS
    )
    assert "at most 1.0 %, n = 9" in figure.svg
    assert "20.0 %, n = 9" in figure.svg


def test_drawings_are_the_same_every_time():
    once, again = ([(f.svg, f.narrow) for f in figures()] for _ in range(2))
    assert once == again


def test_drawings_hold_no_colour_of_their_own_and_no_address():
    for figure in figures():
        for svg in (figure.svg, figure.narrow):
            assert svg is not None
            bare = re.sub(r"var\(--[\w-]+, #[0-9a-f]{6}\)", "", svg)
            assert re.findall(r"#[0-9a-f]{3,8}\b(?![\w)])(?<!url\()", re.sub(r"[(\"]#\w+", "", bare)) == []
            assert "http" not in svg
            assert "DejaVu" not in svg
            assert "<text" in svg


def test_ids_are_unique_after_prefixing_and_references_hold():
    drawn = "".join(
        with_prefix(f.svg, f"a{i}") + with_prefix(f.narrow or "", f"b{i}") for i, f in enumerate(figures())
    )
    ids = re.findall(r'\sid="([^"]+)"', drawn)
    references = set(re.findall(r'(?:url\(#|href="#)([^)"]+)', drawn))
    assert len(ids) == len(set(ids)) > 0
    assert references == set(ids)


def test_names_in_drawings_are_escaped_and_unchanged_by_the_theme():
    name = 'id="x" url(#y) #0000a1 <b>'
    figure = curves((Curve(name, (1, 2), (1.0, 2.0)),), x_label="$x$", y_label="y", **WORDS)
    shown = with_prefix(figure.svg, "p")
    assert 'id="x" url(#y) #0000a1 &lt;b&gt;' in shown.replace("&quot;", '"')
    assert "<b>" not in shown
    assert ">$x$<" in shown  # not read as mathematics


@pytest.mark.parametrize("name", [*HOSTILE, "_hidden", ""])
def test_any_name_can_be_drawn(name):
    figure = histogram({name: [1.0, 2.0]}, x_label=name, **WORDS)
    assert figure.svg.encode()
    assert "<script" not in figure.svg
    if name == "_hidden":
        assert "_hidden (n = 2)" in figure.svg


def test_long_labels_are_cut_in_the_middle():
    cut = label("a" * 100 + ".png")
    assert len(cut) <= 44
    assert cut.endswith(".png")
    assert label("two\n lines") == "two lines"


@pytest.mark.parametrize("places", [[0.0], [5.0, 5.0, 5.0], [0.0, 99.0, 100.0], [50.0, 51.0, 90.0]])
def test_labels_keep_apart_in_order_and_inside(places):
    moved = _apart(places, 15.0, 100.0)
    assert all(b - a >= 15 - 1e-9 for a, b in pairwise(moved))
    assert max(moved) <= 100
    if len(places) == 1:
        assert moved == places


def test_both_spellings_of_fonts_become_the_pages_own():
    texts = (
        "font: bold 12px 'DejaVu Sans', sans-serif; text-anchor: end",
        "font-size: 11px; font-family: 'DejaVu Sans', Arial, sans-serif; text-anchor: middle",
    )
    for text in texts:
        svg = themed(f'<?xml?><svg width="1pt" viewBox="0 0 1 1"><text style="{text}">a</text></svg>')
        assert "DejaVu" not in svg
        assert "var(--sans, sans-serif); text-anchor" in svg
        assert svg.startswith('<svg viewBox="0 0 1 1">')
