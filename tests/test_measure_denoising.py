"""One denoising step: closed forms of its error, and the exact optimum's copies."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import torch

from unrote.contracts import normal
from unrote.denoise.exact import Empirical
from unrote.measure.copies import grouped_neighbors, is_copy
from unrote.measure.denoising import denoise_at, denoised_levels, denoising_error, one_step_copies
from unrote.measure.duplicates import duplicate_groups

LEVELS = torch.tensor([0.1, 0.7, 3.0])


def _seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _identity(x: torch.Tensor, sigma: torch.Tensor, condition: torch.Tensor | None = None) -> torch.Tensor:
    return x


def _gaussian(x: torch.Tensor, sigma: torch.Tensor, condition: torch.Tensor | None = None) -> torch.Tensor:
    """The optimum for standard normal data."""
    return x / (1 + sigma[:, None] ** 2)


def test_the_error_of_doing_nothing_is_the_noise(digits: torch.Tensor) -> None:
    x0 = digits[:30].double()
    error = denoising_error(_identity, x0, LEVELS, _seeded(4))
    z = normal(x0.shape, _seeded(4), torch.float64)
    assert torch.allclose(error, LEVELS.double()[:, None] ** 2 * z.square().mean(1), rtol=1e-6)


def test_the_error_of_the_gaussian_optimum_is_the_closed_form() -> None:
    x0 = torch.randn(4000, 10, generator=_seeded(1))
    error = denoising_error(_gaussian, x0, LEVELS, _seeded(2)).mean(1)
    expected = LEVELS**2 / (1 + LEVELS**2)
    assert torch.allclose(error.float(), expected, rtol=0.02)


def test_rows_do_not_depend_on_the_batch_they_rode_in(digits: torch.Tensor) -> None:
    denoiser = Empirical(digits[:100])
    streams = [[_seeded(i) for i in range(20)] for _ in range(3)]
    whole = denoising_error(denoiser, digits[200:220], LEVELS, streams[0])
    assert torch.allclose(
        denoising_error(denoiser, digits[200:220], LEVELS, streams[1], batch=3), whole, rtol=1e-5
    )
    assert torch.allclose(
        denoising_error(denoiser, digits[205:207], LEVELS, streams[2][5:7]), whole[:, 5:7], rtol=1e-5
    )
    one = denoising_error(_identity, digits[:20], LEVELS, _seeded(), batch=7)
    assert torch.equal(one, denoising_error(_identity, digits[:20], LEVELS, _seeded(), batch=256))


def test_noise_is_common_to_all_levels_only_if_asked(digits: torch.Tensor) -> None:
    x0 = digits[:20].double()
    common = denoising_error(_identity, x0, LEVELS, _seeded()) / LEVELS.double()[:, None] ** 2
    assert torch.allclose(common, common[:1].expand_as(common), rtol=1e-5)
    fresh = denoising_error(_identity, x0, LEVELS, _seeded(), common_noise=False)
    fresh = fresh / LEVELS.double()[:, None] ** 2
    assert torch.allclose(fresh[0], common[0], rtol=1e-5)
    assert not torch.isclose(fresh[1], common[1], rtol=1e-2).all()


def test_conditions_travel_with_their_rows() -> None:
    def shifted(x: torch.Tensor, sigma: torch.Tensor, condition: torch.Tensor | None = None) -> torch.Tensor:
        assert condition is not None
        return torch.zeros_like(x) + condition[:, None]

    label = torch.arange(9)
    out = denoise_at(shifted, torch.zeros(9, 2), 1.0, _seeded(), label, batch=4)
    assert torch.equal(out, label[:, None].expand(9, 2).float())
    with pytest.raises(ValueError, match="9 rows need one condition each, got 3"):
        denoise_at(shifted, torch.zeros(9, 2), 1.0, _seeded(), label[:3])


def test_denoised_levels_are_single_levels_one_after_the_other(digits: torch.Tensor) -> None:
    denoiser = Empirical(digits[:100])
    outputs = list(denoised_levels(denoiser, digits[200:210], LEVELS, _seeded(8)))
    for level, out in zip(LEVELS.tolist(), outputs, strict=True):
        assert torch.equal(out, denoise_at(denoiser, digits[200:210], level, _seeded(8)))
        assert not out.requires_grad


def test_at_low_noise_the_empirical_optimum_returns_training_points_and_errs_by_their_distance(
    digits: torch.Tensor,
) -> None:
    training, test = digits[:300], digits[300:360]
    denoiser, levels = Empirical(training), torch.tensor([0.01])
    assert float(denoising_error(denoiser, training[:50], levels, _seeded()).max()) < 1e-12
    nearest = torch.cdist(test.double(), training.double()).amin(1)
    error = denoising_error(denoiser, test, levels, _seeded())[0]
    assert torch.allclose(error, nearest**2 / 64, rtol=0.2)
    assert one_step_copies(denoiser, test, training, levels, _seeded()).all()


def test_at_high_noise_the_empirical_optimum_returns_the_mean_and_no_copies(digits: torch.Tensor) -> None:
    training, test = digits[:300], digits[300:360]
    levels = torch.tensor([100.0])
    denoiser = Empirical(training)
    error = denoising_error(denoiser, test, levels, _seeded())[0]
    from_mean = (test.double() - training.double().mean(0)).square().mean(1)
    assert torch.allclose(error, from_mean, rtol=0.05)
    assert not one_step_copies(denoiser, test, training, levels, _seeded()).any()


def test_one_step_copies_follow_the_rule_of_copies_with_and_without_groups(digits: torch.Tensor) -> None:
    training = torch.cat([digits[:200], digits[:200] + 0.005])
    test, levels = digits[300:400], torch.tensor([0.2, 0.6, 1.2])
    denoiser = Empirical(training)
    plain = one_step_copies(denoiser, test, training, levels, _seeded())
    group = duplicate_groups(training, 0.1).group
    grouped = one_step_copies(denoiser, test, training, levels, _seeded(), group=group)
    assert grouped[0].double().mean() > 0.9
    assert plain[0].double().mean() < 0.1
    outputs = denoised_levels(denoiser, test, levels, _seeded())
    for out, row in zip(outputs, grouped, strict=True):
        d = grouped_neighbors(out, training, group).distance
        assert torch.equal(is_copy(d[:, 0], d[:, 1]), row)
    strict = one_step_copies(denoiser, test, training, levels, _seeded(), group=group, factor=30.0)
    assert (strict <= grouped).all()
    assert strict.sum() < grouped.sum()


def test_without_levels_there_is_nothing_to_report(digits: torch.Tensor) -> None:
    none = torch.zeros(0)
    assert denoising_error(_identity, digits[:4], none, _seeded()).shape == (0, 4)
    assert one_step_copies(_identity, digits[:4], digits, none, _seeded()).shape == (0, 4)


@pytest.mark.shared_data
def test_the_empirical_optimum_of_1000_photographs_errs_and_copies_as_computed_before(
    shared_data: Path,
) -> None:
    import numpy as np
    import pyarrow.parquet as pq
    from PIL import Image

    def some(file: str, count: int, seed: int) -> torch.Tensor:
        column = pq.read_table(shared_data / "cifar10" / file, columns=["image"])["image"]
        rows = np.random.default_rng(seed).choice(len(column), count, replace=False)
        images = [np.asarray(Image.open(io.BytesIO(r["bytes"]))) for r in column.take(rows).to_pylist()]
        return torch.tensor(np.stack(images)).float().flatten(1) / 127.5 - 1

    training = some("train-00000-of-00001.parquet", 1000, 0)
    test = some("test-00000-of-00001.parquet", 400, 1)
    levels = torch.tensor([1.0, 3.0, 5.0, 10.0, 20.0])
    denoiser = Empirical(training)
    known = denoising_error(denoiser, training[:400], levels, _seeded()).mean(1)
    fresh = denoising_error(denoiser, test, levels, _seeded()).mean(1)
    expected = torch.tensor([[0.0, 0.0007, 0.0245, 0.147, 0.211], [0.1513, 0.1532, 0.1588, 0.176, 0.209]])
    assert torch.allclose(known, expected[0].double(), rtol=0.1, atol=0.002)
    assert torch.allclose(fresh, expected[1].double(), rtol=0.1)
    copied = one_step_copies(denoiser, test, training, levels, _seeded()).double().mean(1)
    assert torch.allclose(copied, torch.tensor([0.944, 0.550, 0.204, 0.008, 0.0]).double(), atol=0.07)
