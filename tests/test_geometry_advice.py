"""Laws of the advice: ends where each curve passes its own threshold, reasons where there are none."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from unrote.contracts import InputError
from unrote.geometry.advice import COVERED, WEIGHT, recommended_ambient_level, recommended_gap
from unrote.geometry.regimes import Regimes, regimes
from unrote.noise.levels import log_levels

GRID = log_levels(0.01, 100.0, 81)


def line(low: float, high: float) -> Tensor:
    """A curve that rises from 0 at one level to 1 at another, linear in log sigma (81,1)."""
    x = (GRID.log() - math.log(low)) / math.log(high / low)
    return x.clamp(0, 1)[:, None]


def known(weight: Tensor, covered: Tensor) -> Regimes:
    """Regimes of curves without any spread."""
    g = torch.Generator().manual_seed(0)
    return regimes(GRID, weight.expand(-1, 5), covered.expand(-1, 4), count=1000, generator=g, repeats=2)


def test_ends_are_where_each_curve_passes_its_own_threshold() -> None:
    found = known(1 - line(1.0, 100.0), line(0.01, 1.0))
    gap = recommended_gap(found, 0.25, 0.75)
    assert gap.zone is not None
    assert gap.zone.low == pytest.approx(0.01 * 100**0.25)
    assert gap.zone.high == pytest.approx(100**0.25)
    assert (gap.level, gap.weight) == (0.25, 0.75)
    usual = recommended_gap(found)
    assert usual.zone is not None
    assert usual.zone.low == pytest.approx(0.01 * 100**COVERED, rel=1e-6)
    assert usual.zone.high == pytest.approx(100 ** (1 - WEIGHT), rel=1e-6)


def test_the_ambient_level_is_where_half_is_covered() -> None:
    found = known(1 - line(1.0, 100.0), line(0.01, 1.0))
    assert recommended_ambient_level(found).low.value == pytest.approx(0.1)
    assert recommended_ambient_level(found, COVERED).low == recommended_gap(found).low


def test_a_lower_threshold_gives_a_wider_gap() -> None:
    found = known(1 - line(0.5, 50.0), line(0.02, 2.0))
    wide, narrow = recommended_gap(found, 0.1, 0.6).zone, recommended_gap(found, 0.3, 0.9).zone
    assert wide is not None and narrow is not None
    assert wide.low < narrow.low < narrow.high < wide.high


def test_without_a_crossing_of_both_there_is_no_gap_and_a_reason() -> None:
    apart = recommended_gap(known(1 - line(0.02, 0.1), line(1.0, 10.0)))
    assert apart.zone is None
    assert "nothing to leave out" in apart.why
    always = torch.ones(81, 1, dtype=torch.float64)
    endless = recommended_gap(known(0.99 * always, line(0.01, 1.0)))
    assert endless.zone is None
    assert "let them reach higher" in endless.why
    never = recommended_ambient_level(known(1 - line(1.0, 100.0), 0 * always))
    assert never.zone is None
    assert "does not reach" in never.why


def test_thresholds_are_shares() -> None:
    found = known(1 - line(1.0, 100.0), line(0.01, 1.0))
    for covered, weight in ((0.0, 0.8), (0.05, 1.0), (math.nan, 0.8)):
        with pytest.raises(InputError, match="between 0 and 1"):
            recommended_gap(found, covered, weight)
    with pytest.raises(InputError, match="between 0 and 1"):
        recommended_ambient_level(found, 1.5)
