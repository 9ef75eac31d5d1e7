"""Flips, stays or open, by which side of the middle an interval lies on; and the sentence for each case."""

from __future__ import annotations

import pytest
import torch

from unrote.jobs.swap_verdict import Copying, Direction, Drawn, details, sentence, span, steps
from unrote.jobs.swap_windows import paper_windows
from unrote.noise.levels import edm_levels
from unrote.sample.windows import Window

LEVELS, FULL = edm_levels(18), Window(0, 17)
WINDOWS = paper_windows(LEVELS)
SOURCE = WINDOWS[:3]


def drawn(copies: int, n: int = 200) -> Drawn:
    none = torch.zeros(0)
    return Drawn(torch.arange(n) < copies, None, none, none.long(), none.bool())


def direction(names: tuple[str, str], alone: int, others: int, *parts: int) -> Direction:
    """Copies of the model, of the other, and of the large, medium and small window, among 200."""
    found = {None: drawn(alone), FULL: drawn(others)}
    found |= {w.window: drawn(k) for w, k in zip(WINDOWS, [*parts, *parts], strict=True)}
    return Direction("", names, FULL, found)


def both(a: int, b: int, off: tuple[int, int, int], on: tuple[int, int, int]) -> tuple[Direction, Direction]:
    return direction(("A", "B"), a, b, *off), direction(("B", "A"), b, a, *on)


@pytest.mark.parametrize(
    ("copies", "verdict"),
    [
        (180, Copying.STAYS),
        (120, Copying.STAYS),
        (100, Copying.OPEN),
        (80, Copying.FLIPS),
        (0, Copying.FLIPS),
    ],
)
def test_the_side_of_the_middle_decides(copies, verdict) -> None:
    down = direction(("A", "B"), 180, 20, copies, copies, copies)
    up = direction(("B", "A"), 20, 180, 200 - copies, 200 - copies, 200 - copies)
    assert down.verdict(SOURCE[0].window) is up.verdict(SOURCE[0].window) is verdict
    assert down.falls
    assert not up.falls


def test_a_window_of_all_levels_flips_and_of_none_stays() -> None:
    for d in both(180, 0, (180, 0, 180), (0, 180, 0)):
        assert d.verdict(FULL) is Copying.FLIPS
        assert Direction(d.key, d.names, d.full, d.drawn | {Window(3, 3): d.drawn[None]}).verdict(
            Window(3, 3)
        ) is (Copying.STAYS)


def test_the_papers_finding_in_words() -> None:
    said = sentence(SOURCE, LEVELS, both(180, 0, (175, 2, 178), (0, 170, 0)))
    assert said.startswith(
        "Only the medium levels (sigma 5.32\u00a0to\u00a00.14) decide: B there flips A's copying"
    )
    assert "90.0 % to 1.0 %" in said
    assert "A there flips B's copying (at most 1.9 % to 85.0 %" in said


def test_other_findings_in_words() -> None:
    said = sentence(SOURCE, LEVELS, both(180, 0, (175, 2, 20), (0, 90, 0)))
    assert "Only" not in said
    assert "B at the medium levels flips A's copying" in said
    assert "B at the small levels flips A's copying" in said
    assert "none of A's windows surely flips B's copying" in said
    assert "with A at the medium levels it is open" in said
    # Large and small levels must stay, not merely be open, for the medium ones to be the only ones.
    assert "Only" not in sentence(SOURCE, LEVELS, both(180, 0, (90, 2, 178), (0, 170, 0)))


def test_models_that_copy_alike_have_nothing_to_flip() -> None:
    same = both(20, 22, (0, 100, 200), (0, 100, 200))
    assert "no window can flip" in sentence(WINDOWS, LEVELS, same)
    assert same[0].verdict(SOURCE[1].window) is Copying.OPEN
    assert details(WINDOWS, LEVELS, same) == ()


def test_other_partitions_are_told_beside() -> None:
    (other,) = details(WINDOWS, LEVELS, both(180, 0, (175, 2, 178), (0, 170, 0)))
    assert other.startswith("Paper, steps from 1: Only the medium levels (sigma 8.4\u00a0to\u00a00.296)")


def test_windows_in_words() -> None:
    assert span(Window(17, 17), LEVELS) == "0.002"
    assert (steps(Window(7, 13)), steps(Window(7, 7)), steps(Window(6, 12), 1)) == ("7–13", "7", "7–13")
