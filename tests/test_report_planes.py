"""The plane shows every point, and its ends with their intervals."""

from __future__ import annotations

import pytest

from unrote.contracts import Estimate
from unrote.report.planes import Track, plane

WORDS = {"x_label": "loss", "y_label": "copies", "place_label": "step", "caption": "c", "alt": "a"}


def at(value: float, half: float = 0.1) -> Estimate:
    return Estimate(float(value), value - half, value + half, 9)


def track(name: str, *points, end: int = -1) -> Track:
    x, y = zip(*points, strict=True)
    return Track(name, [at(v) for v in x], [at(v) for v in y], list(range(len(x))), end)


def test_the_table_lists_every_point_in_its_order():
    figure = plane([track("a", (3, 0.2), (1, 0.5)), track("b", (2, 0.3))], **WORDS)
    assert figure.data is not None
    assert figure.data.rows == (
        ("a", 0, at(3), at(0.2)),
        ("a", 1, at(1), at(0.5)),
        ("b", 0, at(2), at(0.3)),
    )


def test_intervals_are_drawn_of_the_end_alone_and_of_none_that_is_unknown():
    def bars(figure) -> int:
        return figure.svg.count("stroke-width: 1.6")

    alone = plane([track("a", (1, 0.5))], **WORDS)
    longer = plane([track("a", (3, 0.2), (2, 0.3), (1, 0.5))], **WORDS)
    assert bars(alone) == bars(longer) > 0
    without = Track("a", [Estimate(1.0, None, None, 1)], [Estimate(0.5, None, None, 1)], [0])
    assert bars(plane([without], **WORDS)) == 0
    assert plane([track("a", (3, 0.2), (1, 0.5), end=0)], **WORDS).svg != longer.svg


def test_a_plane_of_nothing_and_parts_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="at least one track"):
        plane([], **WORDS)
    with pytest.raises(ValueError, match="different lengths"):
        Track("a", [at(1)], [], [0])
