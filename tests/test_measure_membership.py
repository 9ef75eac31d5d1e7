"""Membership attacks: Gaussian scores in closed form, ties, rates that cannot be known, choices on other data."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score, roc_curve

from unrote.contracts import InputError
from unrote.measure.membership import (
    attack,
    best_level,
    combined_levels,
    level_attacks,
    loss_attack,
    others_needed,
    roc,
    true_positive_rate,
)

NORMAL = NormalDist()
scores = st.lists(st.integers(0, 6), min_size=1, max_size=30)


@settings(max_examples=60, deadline=None)
@given(scores, scores)
def test_the_curve_and_its_area_are_those_of_scikit_learn_with_ties(
    members: list[int], others: list[int]
) -> None:
    a, b = torch.tensor(members, dtype=torch.float64), torch.tensor(others, dtype=torch.float64)
    found = roc(a, b)
    label = [1] * len(a) + [0] * len(b)
    false, true, threshold = roc_curve(label, members + others, drop_intermediate=False)
    assert found.false_positive.tolist() == pytest.approx(false.tolist())
    assert found.true_positive.tolist() == pytest.approx(true.tolist())
    assert found.threshold.tolist() == pytest.approx(threshold.tolist())
    area = torch.trapezoid(found.true_positive, found.false_positive)
    made = attack(a, b, rate=0.25)
    assert (
        made.auc.value == pytest.approx(float(area)) == pytest.approx(roc_auc_score(label, members + others))
    )
    allowed = found.true_positive[found.false_positive <= 0.25].max()
    if len(b) >= 4:
        assert made.true_positive.value == pytest.approx(float(allowed))
    else:
        assert made.true_positive.value is None
    assert 0 <= made.true_positive.low <= made.true_positive.high <= 1


@pytest.mark.parametrize("shift", [0.0, 1.0, 3.0])
def test_gaussian_scores_have_a_closed_form(shift: float, generator: torch.Generator) -> None:
    truth = NORMAL.cdf(shift / math.sqrt(2))
    power = NORMAL.cdf(shift - NORMAL.inv_cdf(0.99))
    made = [
        attack(
            torch.randn(1000, generator=generator) + shift, torch.randn(2000, generator=generator), rate=0.01
        )
        for _ in range(80)
    ]
    assert np.mean([m.auc.value for m in made]) == pytest.approx(truth, abs=0.004)
    assert np.mean([m.auc.low <= truth <= m.auc.high for m in made]) > 0.9
    assert np.mean([m.true_positive.low <= power <= m.true_positive.high for m in made]) > 0.94
    assert np.mean([m.true_positive.value for m in made]) == pytest.approx(power, abs=0.02)


def test_a_rate_below_one_in_m_is_not_defined() -> None:
    members, others = torch.linspace(0, 2, 500), torch.linspace(0, 1, 999)
    found = true_positive_rate(members, others)
    assert found.value is None
    assert found.low == 0
    assert true_positive_rate(members, torch.linspace(0, 1, 1000)).value == pytest.approx(250 / 500, abs=0.01)
    needed = others_needed()
    assert needed == 4381 - 1 == math.ceil(math.log(0.0125) / math.log(0.999))
    assert true_positive_rate(members, torch.linspace(0, 1, needed - 1)).low == 0
    assert true_positive_rate(members, torch.linspace(0, 1, needed)).low > 0.4


def test_equal_scores_are_accepted_together_or_not_at_all() -> None:
    others = torch.tensor([1.0] * 3 + [0.0] * 97)
    members = torch.tensor([1.0] * 50 + [0.0] * 50)
    assert true_positive_rate(members, others, 0.02).value == 0
    assert true_positive_rate(members, others, 0.03).value == 0.5
    assert true_positive_rate(members, others, 0.99).value == 0.5


def test_small_errors_speak_for_members(generator: torch.Generator) -> None:
    errors = torch.rand(3, 400, generator=generator) + 0.5
    members, others = 0.5 * errors[:, :200], errors[:, 200:]
    assert loss_attack(members, others).auc.low > 0.9
    by_level = level_attacks(members, others)
    assert len(by_level) == 3
    only = loss_attack(members, others, torch.tensor([0.0, 2.0, 0.0]))
    assert only.auc == by_level[1].auc
    assert loss_attack(others, members).auc.high < 0.1


def test_the_chosen_level_is_judged_on_rows_that_did_not_choose_it() -> None:
    # 40 levels without any signal: the best on its own half looks good, on the other half it is chance
    fitted, judged = [], []
    for seed in range(60):
        g = torch.Generator().manual_seed(seed)
        e = torch.rand(40, 120, generator=g)
        found = best_level(e[:, :60], e[:, 60:], g)
        assert len({*found.member_rows.tolist()}) == 30
        fitted.append(found.fitted.auc.value)
        judged.append(found.attack.auc)
    assert np.mean(fitted) > 0.62
    assert np.mean([e.value for e in judged]) == pytest.approx(0.5, abs=0.04)
    assert np.mean([e.low <= 0.5 <= e.high for e in judged]) > 0.88


def test_the_level_with_the_signal_is_found_and_levels_together_beat_it(generator: torch.Generator) -> None:
    e = torch.rand(6, 1200, generator=generator) + 0.2
    signal = torch.ones(6, 1)
    signal[2], signal[4] = 0.6, 0.75
    members, others = signal * e[:, :600], e[:, 600:]
    best = best_level(members, others, torch.Generator().manual_seed(0))
    assert best.weight.tolist() == [0, 0, 1, 0, 0, 0]
    truth = level_attacks(members, others)[2].auc
    assert truth.low < best.attack.auc.value < truth.high
    together = combined_levels(members, others, torch.Generator().manual_seed(0))
    assert together.attack.auc.value > best.attack.auc.value
    assert together.weight.argmax() == 2


def test_fishers_discriminant_reaches_the_closed_form(generator: torch.Generator) -> None:
    # log errors with unit variance and correlation 0.8, shifted by 1 in the first level alone
    mix = torch.linalg.cholesky(torch.tensor([[1.0, 0.8], [0.8, 1.0]]))
    log = mix @ torch.randn(2, 8000, generator=generator)
    log[0, :4000] -= 1
    e = log.exp()
    found = combined_levels(e[:, :4000], e[:, 4000:], generator)
    best = NORMAL.cdf(math.sqrt(1 / (1 - 0.64) / 2))
    assert found.attack.auc.value == pytest.approx(best, abs=0.02)
    assert found.attack.auc.value > NORMAL.cdf(1 / math.sqrt(2)) + 0.05


def test_what_is_no_attack_is_refused(generator: torch.Generator) -> None:
    e = torch.rand(2, 8)
    with pytest.raises(InputError, match="false-positive rate is 0"):
        true_positive_rate(e[0], e[1], 0.0)
    with pytest.raises(ValueError, match="NaN"):
        roc(torch.tensor([math.nan]), e[0])
    with pytest.raises(ValueError, match="2 and 1 levels"):
        loss_attack(e, e[:1])
    with pytest.raises(ValueError, match="not all 0"):
        loss_attack(e, e, torch.zeros(2))
    with pytest.raises(InputError, match="There are 1 members"):
        best_level(e[:, :1], e, generator)
    with pytest.raises(InputError, match="at least 4"):
        combined_levels(e, e[:, :3], generator)
    assert true_positive_rate(e[0], e[0, :0]).as_dict() == {"value": None, "low": 0, "high": 1, "n": 8}
