"""Aligned neighbours: mirror, shift, gain and offset leave the distance at zero, and nothing else does."""

from __future__ import annotations

import pytest
import torch

from unrote.contracts import InputError
from unrote.measure.alignment import aligned_index, aligned_neighbors


@pytest.fixture
def upsampled(digits: torch.Tensor) -> torch.Tensor:
    """Digits as 16 x 16 images with two unlike channels: (300, 2, 16, 16)."""
    x = torch.nn.functional.interpolate(digits[:300].reshape(-1, 1, 8, 8), 16, mode="bilinear")
    return torch.cat([x, x.square()], 1)


def moved(images: torch.Tensor, down: int, right: int, fill: float) -> torch.Tensor:
    """Shift by whole pixels; what comes in from outside has one grey value."""
    out = torch.full_like(images, fill)
    height, width = images.shape[2:]
    target = out[:, :, max(0, down) : height + min(0, down), max(0, right) : width + min(0, right)]
    target.copy_(
        images[:, :, max(0, -down) : height + min(0, -down), max(0, -right) : width + min(0, -right)]
    )
    return out


def by_definition(sample: torch.Tensor, image: torch.Tensor, shift: int) -> float:
    """sqrt(2 - 2 max correlation), by numpy's correlation coefficient of every crop."""
    import numpy as np

    size = sample.shape[1] - 2 * shift
    target = image[:, shift : shift + size, shift : shift + size].flatten()
    best = -1.0
    for view in (sample, sample.flip(2)):
        for a in range(2 * shift + 1):
            for b in range(2 * shift + 1):
                crop = view[:, a : a + size, b : b + size].flatten()
                best = max(best, np.corrcoef(crop.double().numpy(), target.double().numpy())[0, 1])
    return (2 - 2 * best) ** 0.5


def test_it_is_the_best_correlation_over_all_crops(upsampled: torch.Tensor) -> None:
    samples, training = upsampled[:4], upsampled[4:30]
    found = aligned_neighbors(samples, training, 3, shift=1)
    table = torch.tensor([[by_definition(s, t, 1) for t in training] for s in samples], dtype=torch.float64)
    value, index = table.topk(3, largest=False)
    assert torch.equal(found.index, index)
    torch.testing.assert_close(found.distance, value, rtol=1e-9, atol=0)


@pytest.mark.parametrize(("down", "right"), [(0, 0), (2, -1), (-2, -2), (0, 2)])
@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("fill", [-1.0, 40.0])
def test_copies_are_found_behind_mirror_shift_gain_and_offset(
    down: int, right: int, mirror: bool, fill: float, upsampled: torch.Tensor
) -> None:
    source = upsampled[:40]
    samples = moved(source.flip(3) if mirror else source, down, right, fill)
    same = aligned_neighbors(samples, upsampled)
    assert torch.equal(same.index[:, 0], torch.arange(40))
    assert same.distance[:, 0].max() < 1e-14
    brighter = aligned_neighbors(1.7 * samples + 0.3, upsampled)
    assert torch.equal(brighter.index[:, 0], torch.arange(40))
    assert brighter.distance[:, 0].max() < 1e-6
    assert (brighter.distance[:, 0] < brighter.distance[:, 1] / 3).all()


def test_copies_in_eight_bits_pass_the_ratio_rule(upsampled: torch.Tensor) -> None:
    training = (upsampled * 60 + 100).clamp(0, 255).round().to(torch.uint8)
    samples = moved(training[:40].flip(3).float() * 0.8 + 20, 1, 2, 0.0).round().to(torch.uint8)
    found = aligned_neighbors(samples, training)
    assert torch.equal(found.index[:, 0], torch.arange(40))
    assert (found.distance[:, 0] < found.distance[:, 1] / 3).float().mean() > 0.9
    assert aligned_neighbors(training[:5], training).distance[:, 0].max() == 0


def test_a_longer_shift_a_negative_gain_and_other_images_are_not_copies(upsampled: torch.Tensor) -> None:
    training = upsampled[40:]
    far = aligned_neighbors(moved(training[:30], 3, 0, -1.0), training)
    negative = aligned_neighbors(-training[:30], training)
    fresh = aligned_neighbors(upsampled[:30], training)
    for found in (far, negative, fresh):
        assert found.distance[:, 0].min() > 0.05


def test_flat_images_are_at_distance_one_from_all_others_and_zero_from_flat_ones(
    upsampled: torch.Tensor,
) -> None:
    training = torch.cat([upsampled[:20], torch.full((1, 2, 16, 16), 0.1)])
    samples = torch.stack([torch.full((2, 16, 16), 0.7), torch.zeros(2, 16, 16)])
    found = aligned_neighbors(samples, training)
    assert found.index[:, 0].tolist() == [20, 20]
    torch.testing.assert_close(found.distance, torch.tensor([[0.0, 1.0]] * 2, dtype=torch.float64))


@pytest.mark.parametrize("memory", [1, 2**20])
def test_the_memory_budget_changes_nothing_even_for_pure_noise(
    memory: int, upsampled: torch.Tensor, generator: torch.Generator
) -> None:
    samples = torch.cat([upsampled[:3], torch.randn(3, 2, 16, 16, generator=generator)])
    training = upsampled[2:150]
    usual, small = aligned_neighbors(samples, training), aligned_neighbors(samples, training, memory=memory)
    assert torch.equal(usual.index, small.index)
    assert torch.equal(usual.distance, small.distance)
    each = [aligned_neighbors(samples[i : i + 1], training) for i in range(6)]
    assert torch.equal(torch.cat([e.distance for e in each]), usual.distance)


def test_images_that_cannot_be_aligned_are_refused_with_a_remedy(upsampled: torch.Tensor) -> None:
    with pytest.raises(InputError, match="shift of at most 1"):
        aligned_neighbors(upsampled[:2, :, :7, :7], upsampled[:5, :, :7, :7])
    with pytest.raises(InputError, match="resize"):
        aligned_neighbors(upsampled[:2, :1], upsampled)
    with pytest.raises(InputError, match="NaN"):
        aligned_neighbors(upsampled[:2] / 0, upsampled)
    with pytest.raises(InputError, match="at most"):
        aligned_neighbors(upsampled[:2], upsampled[:1])
    with pytest.raises(ValueError, match="shift"):
        aligned_neighbors(upsampled[:2], upsampled, shift=-1)
    assert aligned_neighbors(upsampled[:0], upsampled).index.shape == (0, 2)
    smallest = aligned_neighbors(upsampled[:2, :, :7, :7], upsampled[:5, :, :7, :7], shift=1)
    assert smallest.distance[:, 0].tolist() == [0.0, 0.0]


def test_an_index_that_is_kept_changes_nothing() -> None:
    training = torch.rand(40, 3, 10, 10, generator=torch.Generator().manual_seed(0))
    samples = torch.cat(
        [training[:5].flip(3), torch.rand(5, 3, 10, 10, generator=torch.Generator().manual_seed(1))]
    )
    fresh = aligned_neighbors(samples, training, shift=1)
    kept = aligned_neighbors(samples, training, shift=1, index=aligned_index(training, shift=1))
    assert torch.equal(fresh.index, kept.index)
    assert torch.equal(fresh.distance, kept.distance)
