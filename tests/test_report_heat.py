"""Squares for numbers: as many as numbers, fuller where larger, with the number in them where there is room."""

from __future__ import annotations

import re

import pytest

from unrote.report.heat import PALEST, Layer, Route, heat, layers

WORDS = {"x_label": "last", "y_label": "first", "caption": "c", "alt": "a", "value_label": "copies"}


def made(cells, n=3, **more):
    names = [f"n{i}" for i in range(n)]
    return heat(cells, across=names, down=names, **WORDS, **more)


def strengths(svg: str) -> list[float]:
    """How full the squares are, in the order in which they are drawn."""
    return [
        float(found) for found in re.findall(r"fill-opacity: ([\d.]+)", svg) if not found.startswith("0.07")
    ]


def test_a_square_for_every_number_and_none_for_what_is_missing() -> None:
    figure = made({(0, 0): 0.0, (1, 0): 0.5, (1, 1): 1.0, (2, 2): None, (2, 1): float("nan")})
    found = strengths(figure.svg)
    assert found[0] == pytest.approx(PALEST)
    assert found[1] == pytest.approx((1 + PALEST) / 2)
    assert len(found) + figure.svg.count("fill-opacity: 1;") >= 2
    assert figure.data is not None
    assert [row[2] for row in figure.data.rows] == [0.0, 0.5, 1.0]
    assert figure.data.rows[1][:2] == ("n0", "n1")  # row, then column


def test_limits_hold_for_numbers_beyond_them() -> None:
    inside, beyond = (made({(0, 0): v, (1, 1): 0.25}, limits=(0.0, 0.5)).svg for v in (0.5, 9.0))
    assert strengths(inside) == strengths(beyond)


def test_numbers_stand_in_squares_that_are_wide_enough() -> None:
    few, many = made({(0, 0): 7.0}, 3), made({(0, 0): 7.0}, 60)
    assert ">7<" in few.svg
    assert ">7<" not in many.svg


def test_equal_numbers_have_a_colour() -> None:
    assert made({(0, 0): 2.0, (1, 1): 2.0}).svg


def test_the_same_numbers_make_the_same_bytes() -> None:
    assert made({(0, 0): 1.0, (1, 0): 2.0}).svg == made({(0, 0): 1.0, (1, 0): 2.0}).svg


def test_nothing_to_draw_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one number"):
        made({(0, 0): None})
    with pytest.raises(ValueError, match="beyond"):
        made({(3, 0): 1.0})


def test_the_strength_of_a_layer_runs_between_its_limits_either_way() -> None:
    falling = Layer(
        "distance", {(0, 0): 200.0, (1, 0): 2.0, (2, 0): 20.0, (3, 0): 0.5, (4, 0): None}, (200.0, 2.0), True
    )
    assert falling.strength((0, 0)) == 0 and falling.strength((1, 0)) == falling.strength((3, 0)) == 1
    assert falling.strength((2, 0)) == pytest.approx(0.5)
    assert falling.strength((4, 0)) is None and falling.strength((9, 9)) is None
    rising = Layer("share", {(0, 0): 0.1, (1, 0): 0.9}, (0.0, 0.4))
    assert rising.strength((0, 0)) == pytest.approx(0.25) and rising.strength((1, 0)) == 1


def test_layers_draw_what_is_known_and_list_both_numbers() -> None:
    below = Layer("distance", {(0, 0): 10.0, (1, 0): 5.0, (1, 1): None}, (20.0, 1.0))
    above = Layer("share", {(1, 0): 0.25}, (0.0, 1.0))
    words = {
        "across": ["1", "2"],
        "down": ["a", "b"],
        "x_label": "step",
        "y_label": "size",
        "caption": "c",
        "alt": "a",
    }
    found = layers(below, above, **words, routes=[Route("the line", [0.0, 1.0], [0.0, 1.0])])
    assert found.data is not None and found.data.rows == (("a", "1", 10.0, None), ("a", "2", 5.0, 0.25))
    assert "the line" in found.svg
    with pytest.raises(ValueError, match="at least one number"):
        layers(Layer("nothing", {}, (0.0, 1.0)), above, **words)
