"""The ratio rule, groups of duplicates and calibration, by their laws."""

from __future__ import annotations

import io
import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unrote.contracts import InputError, Neighbors
from unrote.measure.copies import (
    CLOSE,
    below,
    calibrated_threshold,
    copied_training,
    distance_ratio,
    grouped_neighbors,
    is_copy,
    rank_p_value,
    root_mean_square,
    second_outside_group,
)
from unrote.measure.duplicates import duplicate_groups, radius
from unrote.measure.estimate import wilson
from unrote.measure.neighbors import neighbors


def _seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _by_hand(query: torch.Tensor, reference: torch.Tensor, group: torch.Tensor) -> Neighbors:
    """Nearest, and nearest outside its group, from all distances."""
    d = torch.linalg.vector_norm(query.double()[:, None] - reference.double(), dim=-1)
    d1, first = d.min(1)
    d2, second = d.masked_fill(group == group[first][:, None], math.inf).min(1)
    return Neighbors(torch.stack([d1, d2], 1), torch.stack([first, second], 1))


def test_the_rule_is_strict_and_an_exact_copy_is_always_one() -> None:
    d1 = torch.tensor([0.9, 1.0, 1.1, 0.0, 0.0])
    d2 = torch.tensor([3.0, 3.0, 3.0, 5.0, 0.0])
    assert is_copy(d1, d2).tolist() == [True, False, False, True, True]
    assert distance_ratio(d1, d2).tolist() == pytest.approx([0.3, 1 / 3, 1.1 / 3, 0.0, 0.0])
    with pytest.raises(ValueError, match="factor"):
        is_copy(d1, d2, 0.5)


@settings(max_examples=50, deadline=None)
@given(st.floats(0, 10), st.floats(0, 10), st.floats(1, 9), st.integers(-8, 8))
def test_the_rule_is_the_same_on_squares_and_at_every_scale(
    first: float, gap: float, factor: float, power: int
) -> None:
    d1 = torch.tensor([first], dtype=torch.float64)
    d2 = d1 + gap
    scaled = is_copy(d1 * 2.0**power, d2 * 2.0**power, factor)
    assert torch.equal(scaled, is_copy(d1, d2, factor))
    if abs(first * factor - float(d2)) > 1e-9 * float(d2) and not 0 < first < 1e-150:
        assert bool(is_copy(d1, d2, factor)) == (first**2 < float(d2) ** 2 / factor**2 or first == 0)


def test_the_ratio_of_a_copy_lies_below_one_third(digits: torch.Tensor) -> None:
    found = neighbors(digits[:300], digits[200:], 2).distance
    ratio = distance_ratio(found[:, 0], found[:, 1])
    assert torch.equal(is_copy(found[:, 0], found[:, 1]), below(ratio, 1 / 3))
    assert ((ratio >= 0) & (ratio <= 1)).all()
    assert is_copy(found[:, 0], found[:, 1])[200:].all()


def test_root_mean_square_is_the_same_in_every_unit(digits: torch.Tensor) -> None:
    a, b = digits[:50], digits[50:100]
    expected = ((a - b) / 2).square().mean(1).sqrt().double()
    signed = torch.linalg.vector_norm(a.double() - b, dim=1)
    assert torch.allclose(root_mean_square(signed, 64, 2.0), expected)
    assert torch.allclose(root_mean_square(signed * 127.5, 64, 255.0), expected)


def test_the_plain_ratio_misses_copies_of_duplicated_images_and_the_grouped_one_finds_them(
    digits: torch.Tensor, generator: torch.Generator
) -> None:
    training = torch.cat([digits[:400], digits[:40], digits[:20] + 0.01])
    noise = 0.02 * torch.randn(40, 64, generator=generator)
    samples = torch.cat([digits[:40] + noise, digits[900:1000]])
    plain = neighbors(samples, training, 2).distance
    missed = is_copy(plain[:, 0], plain[:, 1])
    assert not missed[:40].any()

    group = duplicate_groups(training, 0.5).group
    assert len(group.unique()) == 400
    found = grouped_neighbors(samples, training, group)
    assert is_copy(found.distance[:, 0], found.distance[:, 1])[:40].all()
    assert torch.equal(group[found.index[:40, 0]], torch.arange(40))
    assert not is_copy(found.distance[:, 0], found.distance[:, 1])[40:].any()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 40), st.integers(2, 6))
def test_grouped_neighbors_are_those_found_by_hand(seed: int, n: int, groups: int) -> None:
    g = _seeded(seed)
    reference = torch.randint(0, 4, (n, 3), generator=g, dtype=torch.uint8)
    query = torch.randint(0, 4, (7, 3), generator=g, dtype=torch.uint8)
    group = torch.randint(groups, (n,), generator=g)
    group[:2] = torch.tensor([0, 1])
    found, expected = grouped_neighbors(query, reference, group), _by_hand(query, reference, group)
    assert torch.equal(found.distance, expected.distance)
    assert torch.equal(found.index, expected.index)


def test_grouped_neighbors_see_past_groups_of_every_size(generator: torch.Generator) -> None:
    centres = 20 * torch.randn(4, 5, generator=generator, dtype=torch.float64)
    group = torch.arange(4).repeat_interleave(torch.tensor([1, 10, 90, 300]))
    reference = centres[group] + 0.01 * torch.randn(401, 5, generator=generator, dtype=torch.float64)
    query = centres.repeat(3, 1) + 0.1 * torch.randn(12, 5, generator=generator, dtype=torch.float64)
    asked: list[int] = []

    def search(q: torch.Tensor, x: torch.Tensor, k: int) -> Neighbors:
        asked.append(len(q) * k)
        return neighbors(q, x, k)

    found, expected = (
        grouped_neighbors(query, reference, group, search=search),
        _by_hand(query, reference, group),
    )
    assert torch.equal(found.index, expected.index)
    assert torch.allclose(found.distance, expected.distance)
    assert asked == [12 * 8, 9 * 128, 3]


def test_grouped_neighbors_do_not_depend_on_the_order_or_scale_of_the_training_set(
    digits: torch.Tensor, generator: torch.Generator
) -> None:
    moved = digits[:600] + 0.01 * torch.randn(600, 64, generator=generator)  # digits themselves have ties
    training, samples = moved[:500], moved[500:]
    group = torch.randint(60, (500,), generator=generator)
    found = grouped_neighbors(samples, training, group)
    order = torch.randperm(500, generator=generator)
    permuted = grouped_neighbors(4 * samples, 4 * training[order], group[order])
    assert torch.equal(permuted.distance, 4 * found.distance)
    assert torch.equal(order[permuted.index], found.index)


def test_groups_of_one_give_the_plain_rule(digits: torch.Tensor) -> None:
    plain = neighbors(digits[:50], digits[50:], 2)
    found = grouped_neighbors(digits[:50], digits[50:], torch.arange(len(digits) - 50))
    assert torch.equal(found.distance, plain.distance)
    assert torch.equal(found.index, plain.index)


def test_unresolved_neighbours_are_marked_and_one_group_alone_is_refused(digits: torch.Tensor) -> None:
    group = torch.zeros(6, dtype=torch.int64)
    pair, resolved = second_outside_group(neighbors(digits[6:8], digits[:6], 3), group)
    assert not resolved.any()
    assert pair.index[:, 1].tolist() == [-1, -1]
    assert pair.distance[:, 1].tolist() == [math.inf, math.inf]
    with pytest.raises(InputError, match="All 6 training points are near-duplicates"):
        grouped_neighbors(digits[6:8], digits[:6], group)
    with pytest.raises(ValueError, match="as many group numbers"):
        grouped_neighbors(digits[6:8], digits[:5], group)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 12), min_size=1, max_size=60), st.floats(0.01, 0.6))
def test_below_the_threshold_lie_exactly_the_samples_of_small_p_value(values: list[int], rate: float) -> None:
    held_out = torch.tensor(values, dtype=torch.float64)
    threshold = calibrated_threshold(held_out, rate)
    samples = torch.arange(-1, 14, dtype=torch.float64)
    p = rank_p_value(samples, held_out)
    by_hand = [(1 + sum(v <= s for v in values)) / (len(values) + 1) for s in samples.tolist()]
    assert p.tolist() == pytest.approx(by_hand)
    small = p <= rate + 1e-12
    assert torch.equal(small, below(samples, threshold) if threshold is not None else small & False)
    if threshold is not None:
        assert (held_out < threshold).double().mean() <= rate


@pytest.mark.parametrize(("m", "rate"), [(99, 0.01), (497, 0.01), (60, 0.05)])
def test_calibration_keeps_its_false_positive_rate_on_fresh_data(
    m: int, rate: float, generator: torch.Generator
) -> None:
    rounds = 4000
    held_out = torch.rand(rounds, m, generator=generator, dtype=torch.float64) ** 3
    fresh = torch.rand(rounds, 25, generator=generator, dtype=torch.float64) ** 3
    thresholds = torch.tensor([calibrated_threshold(row, rate) for row in held_out], dtype=torch.float64)
    called = (fresh < thresholds[:, None]).double().mean(1)
    expected = math.floor(rate * (m + 1) + 1e-9) / (m + 1)
    assert expected <= rate
    assert float(called.mean()) == pytest.approx(expected, abs=4 * float(called.std()) / math.sqrt(rounds))


def test_calibrated_digits_are_called_copies_at_the_promised_rate(digits: torch.Tensor) -> None:
    training, fresh = digits[:300], digits[300:]
    d = neighbors(fresh, training, 2).distance
    ratio = distance_ratio(d[:, 0], d[:, 1])
    threshold = calibrated_threshold(ratio[:700], 0.05)
    called = below(ratio[700:], threshold)
    assert wilson(int(called.sum()), len(called)).low < 0.05 < 2 * wilson(int(called.sum()), len(called)).high


def test_too_few_held_out_data_promise_nothing() -> None:
    ratio = torch.linspace(0.4, 1, 98)
    assert calibrated_threshold(ratio, 0.01) is None
    assert calibrated_threshold(torch.linspace(0.4, 1, 99), 0.01) == pytest.approx(0.4)
    with pytest.raises(InputError, match="between 0 and 1"):
        calibrated_threshold(ratio, 0.0)
    with pytest.raises(ValueError, match="NaN"):
        rank_p_value(torch.tensor([math.nan]), ratio)


def test_p_values_of_fresh_data_are_uniform(generator: torch.Generator) -> None:
    held_out, fresh = torch.rand(500, 19, generator=generator), torch.rand(500, 4, generator=generator)
    p = torch.stack([rank_p_value(f, h) for f, h in zip(fresh, held_out, strict=True)])
    for u in (0.05, 0.25, 0.5, 0.9):
        assert float((p <= u + 1e-12).double().mean()) == pytest.approx(u, abs=0.035)


def test_copied_training_counts_groups_and_orders_them() -> None:
    group = torch.tensor([0, 1, 2, 1, 4, 0, 6, 7])
    nearest = torch.tensor([3, 5, 1, 1, 7, 6, 2, 4, 3])
    copied = torch.tensor([True, True, True, False, True, False, False, False, True])
    found = copied_training(nearest, copied, group, _seeded(0))
    assert found.index.tolist() == [1, 0, 7]
    assert found.count.tolist() == [3, 1, 1]
    assert found.share.value == 3 / 6
    assert found.share.n == found.unseen.n == 9
    assert 0 <= found.share.low <= 0.5 <= found.share.high <= 1
    # two groups seen once, none twice, nine samples: 3 + (8/9) 2 1 / 2 groups
    assert found.unseen.value == pytest.approx((3 + 8 / 9) / 6)
    assert found.unseen.high == 1


def test_the_unseen_rest_of_the_training_set_is_estimated(generator: torch.Generator) -> None:
    # 300 of 1,000 images are copied equally often, in 40 % of the samples; 400 samples cannot show them all
    nearest = torch.randint(300, (400,), generator=generator)
    copied = torch.rand(400, generator=generator) < 0.4
    found = copied_training(nearest, copied, torch.arange(1000), generator)
    assert found.share.high < 0.2
    assert found.unseen.low < 0.3 < found.unseen.high
    expected = 0.3 * (1 - (1 - 0.4 / 300) ** 400)
    assert found.share.low < expected < found.share.high


def test_copies_that_were_all_seen_once_bound_the_share_from_below_only(generator: torch.Generator) -> None:
    # 40 different images copied once each out of 300: of 226 equally likely ones, 1 draw in 40 shows that
    found = copied_training(torch.arange(40), torch.ones(40, dtype=torch.bool), torch.arange(300), generator)
    assert found.share.value == 40 / 300
    assert found.unseen.value is None
    assert found.unseen.low == pytest.approx(226 / 300)
    assert found.unseen.high == 1
    mixed = torch.cat([torch.arange(40), torch.full((5,), 40)])  # and one that was copied five times
    found = copied_training(mixed, torch.ones(45, dtype=torch.bool), torch.arange(300), generator)
    assert found.unseen.low < 0.5
    assert found.unseen.high == 1


def test_without_a_copy_the_share_is_bounded_and_the_rest_unknown() -> None:
    found = copied_training(
        torch.zeros(497, dtype=torch.int64), torch.zeros(497, dtype=torch.bool), torch.arange(50), _seeded(0)
    )
    assert found.share.value == 0
    assert found.share.high == pytest.approx(497 * wilson(0, 497).high / 50)
    assert (found.unseen.value, found.unseen.low, found.unseen.high) == (0, 0, 1)
    assert len(found.index) == 0


def _cars(folder: Path, count: int) -> torch.Tensor:
    import numpy as np
    import pyarrow.parquet as pq
    from PIL import Image

    column = pq.read_table(folder / "cifar10_cars" / "train-00000-of-00001.parquet")["image"].slice(0, count)
    return torch.tensor(
        np.stack([np.asarray(Image.open(io.BytesIO(c["bytes"]))) for c in column.to_pylist()])
    )


@pytest.mark.shared_data
def test_compressed_cars_are_copies_within_the_absolute_threshold(shared_data: Path) -> None:
    import numpy as np
    from PIL import Image

    cars = _cars(shared_data, 1500)
    again = []
    for picture in cars[:200].numpy():
        buffer = io.BytesIO()
        Image.fromarray(picture).save(buffer, "JPEG", quality=90)
        again.append(np.asarray(Image.open(buffer)))
    found = neighbors(torch.tensor(np.stack(again)), cars, 2)
    d1, d2 = found.distance.unbind(1)
    assert is_copy(d1, d2).all()
    assert torch.equal(found.index[:, 0], torch.arange(200))
    assert below(root_mean_square(d1, 3072, 255.0), CLOSE).all()
    assert float(distance_ratio(d1, d2).median()) < 0.06


@pytest.mark.shared_data
def test_noisy_copies_of_photographs_that_are_in_the_set_twice_need_groups_to_be_found(
    shared_data: Path,
) -> None:
    cars = _cars(shared_data, 5000)
    groups = duplicate_groups(cars, radius(0.08, 3072, 255.0))
    assert 20 <= len(groups.groups) <= 30, "pairs below 0.08 are shifted repeats of the same photograph"
    assert duplicate_groups(cars, radius(0.05, 3072, 255.0)).groups == ()
    twice = cars[torch.cat(groups.groups)].float()
    noise = 0.03 * 255 * torch.randn(twice.shape, generator=_seeded(0))
    samples = (twice + noise).round().clamp(0, 255).to(torch.uint8)
    plain = neighbors(samples, cars, 2).distance
    grouped = grouped_neighbors(samples, cars, groups.group).distance
    assert is_copy(plain[:, 0], plain[:, 1]).double().mean() < 0.1
    assert is_copy(grouped[:, 0], grouped[:, 1]).double().mean() > 0.85
