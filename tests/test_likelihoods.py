from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from unrote import likelihoods
from unrote.likelihoods import gaussian_log_likelihood, mix, mix_columns

LEVELS = torch.linspace(80 ** (1 / 7), 0.002 ** (1 / 7), 18, dtype=torch.float64) ** 7


def naive(x: Tensor, x0: Tensor, sigma: Tensor) -> Tensor:
    """-|x - x0|^2 / (2 sigma^2) by direct float64 differences."""
    rows = [(x0.double() - row.double()).flatten(1).square().sum(1) for row in x]
    return -torch.stack(rows) / (2 * sigma.double()[:, None] ** 2)


def float32_alone(x: Tensor, x0: Tensor, sigma: Tensor) -> Tensor:
    """The same from one float32 product: |x0|^2/2 - <x, x0>."""
    x, x0 = x.float().flatten(1), x0.float().flatten(1)
    return (x @ x0.T - x0.square().sum(1) / 2) / sigma.float()[:, None] ** 2


def images(n: int, generator: torch.Generator, size: int = 1024) -> Tensor:
    """Smooth vectors with a spectrum and norms like those of images."""
    spectrum = torch.arange(1, 41) ** -0.8
    turn = torch.linalg.qr(torch.randn(size, 40, generator=generator))[0].T
    return torch.randn(n, 40, generator=generator) * (26 * spectrum / spectrum.norm()) @ turn


def twins(x0: Tensor, generator: torch.Generator, distance: float = 0.05) -> Tensor:
    """Every row a second time, at a small distance."""
    noise = torch.randn(x0.shape, generator=generator, dtype=x0.dtype)
    return torch.cat([x0, x0 + distance / math.sqrt(x0[0].numel()) * noise])


def worst(x: Tensor, x0: Tensor, sigma: Tensor) -> float:
    ours = gaussian_log_likelihood(x, x0, sigma).softmax(1)
    return float((ours - naive(x, x0, sigma).softmax(1)).abs().max())


def queries(x0: Tensor, sigma: float, generator: torch.Generator, n: int = 12) -> tuple[Tensor, Tensor]:
    z = torch.randn(n, *x0.shape[1:], generator=generator, dtype=x0.dtype)
    return x0[:n] + sigma * z, torch.full((n,), sigma, dtype=torch.float64)


def test_value_is_minus_half_the_squared_distance_over_sigma_squared() -> None:
    x = torch.tensor([[3.0, 4.0], [0.0, 0.0]])
    x0 = torch.tensor([[0.0, 0.0], [3.0, 0.0], [3.0, 4.0]])
    found = gaussian_log_likelihood(x, x0, torch.tensor([1.0, 0.5]))
    expected = torch.tensor([[-12.5, -8.0, 0.0], [0.0, -18.0, -50.0]], dtype=torch.float64)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@settings(deadline=None, max_examples=25)
@given(a=st.floats(-3, 3), b=st.floats(-3, 3), x=st.floats(-5, 5), sigma=st.floats(0.05, 10))
def test_two_points_give_a_logistic_function_of_the_difference(
    a: float, b: float, x: float, sigma: float
) -> None:
    x0 = torch.tensor([a, b], dtype=torch.float64)
    weights = gaussian_log_likelihood(
        torch.tensor([x], dtype=torch.float64), x0, torch.tensor([sigma], dtype=torch.float64)
    ).softmax(1)
    difference = torch.tensor(((x - b) ** 2 - (x - a) ** 2) / (2 * sigma**2), dtype=torch.float64)
    torch.testing.assert_close(weights[0, 0], torch.sigmoid(difference), rtol=0, atol=1e-10)


def test_float32_data_is_as_good_as_float64_at_every_level_where_float32_alone_is_not(
    generator: torch.Generator,
) -> None:
    x0 = twins(images(150, generator), generator) + 20  # near-duplicates and a large common offset
    ours, alone = [], []
    for sigma in LEVELS.tolist():
        x, level = queries(x0, sigma, generator)
        ours.append(worst(x, x0, level))
        truth = naive(x, x0, level).softmax(1)
        alone.append(float((float32_alone(x, x0, level).softmax(1) - truth).abs().max()))
    assert max(ours) < 1e-6
    assert max(alone) > 1e-2


def test_float64_data_agrees_with_direct_differences(generator: torch.Generator) -> None:
    x0 = twins(images(60, generator).double(), generator)
    for sigma in LEVELS.tolist():
        assert worst(*queries(x0, sigma, generator)[:1], x0, torch.full((12,), sigma)) < 1e-10


@pytest.mark.parametrize(
    "make",
    [
        lambda g: torch.cat([-torch.ones(200, 256), images(100, g, 256)]),
        lambda g: torch.cat([-1 + 1e-3 * torch.randn(200, 256, generator=g), images(100, g, 256)]),
        lambda g: torch.cat([images(100, g, 256) + 50, images(100, g, 256) - 50]),
        lambda g: (
            torch.randn(300, 1, generator=g) * torch.ones(256) + 1e-3 * torch.randn(300, 256, generator=g)
        ),
        lambda g: 1000 + 1e-3 * torch.randn(2000, 1, generator=g),
        lambda g: 255 * torch.rand(200, 3, 8, 8, generator=g),
        lambda g: 0.3 * torch.ones(100, 64),
    ],
    ids=["half equal", "half nearly equal", "two clusters", "flat", "one number", "bytes", "all equal"],
)
def test_hard_data_is_within_a_millionth(make: object, generator: torch.Generator) -> None:
    x0 = make(generator)  # type: ignore[operator]
    for sigma in LEVELS[::2].tolist():
        x, level = queries(x0, sigma, generator, 6)
        assert worst(x, x0, level) < 1e-6


def test_sums_in_low_precision_are_noticed_and_made_good(
    generator: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    x0 = images(120, generator, 256)
    plain = likelihoods.inner_products

    def coarse(query: Tensor, data: Tensor, centre: Tensor, memory: int) -> tuple[Tensor, Tensor]:
        products, half = plain(query, data, centre, memory)
        return (products.bfloat16().float() if centre.dtype == torch.float32 else products), half

    monkeypatch.setattr(likelihoods, "inner_products", coarse)
    for sigma in (0.02, 1.0, 5.0):
        x, level = queries(x0, sigma, generator)
        assert worst(x, x0, level) < 1e-5


@pytest.mark.parametrize("offset", [0.0, 30.0])
def test_estimated_rounding_error_is_not_exceeded(offset: float, generator: torch.Generator) -> None:
    data = twins(images(300, generator), generator) + offset
    centre = likelihoods.middle(data)
    for query in (data[:50].double() - centre.double(), torch.randn(50, 1024, generator=generator).double()):
        products, half = likelihoods.inner_products(query, data, centre, 2**24)
        error = (products.double() - query @ (data.double() - centre.double()).T).abs().amax(1)
        radius = float((2 * half.max()).sqrt())
        assert bool((error <= likelihoods.rounding(products, query, data, centre, radius)).all())


@pytest.mark.parametrize(("dtype", "allowed"), [(torch.float32, 1e-6), (torch.float64, 1e-12)])
def test_memory_budget_and_batch_do_not_change_weights(
    dtype: torch.dtype, allowed: float, generator: torch.Generator
) -> None:
    x0 = twins(images(70, generator, 96).to(dtype), generator).reshape(140, 3, 4, 8)
    sigma = torch.tensor([0.01, 0.3, 2.0, 5.0, 20.0, 0.1, 8.0])
    x = x0[:7] + sigma.to(dtype).reshape(7, 1, 1, 1) * torch.randn(
        7, 3, 4, 8, generator=generator, dtype=dtype
    )
    whole = gaussian_log_likelihood(x, x0, sigma).softmax(1)
    tiny = gaussian_log_likelihood(x, x0, sigma, memory=1).softmax(1)
    single = torch.cat([gaussian_log_likelihood(x[b : b + 1], x0, sigma[b : b + 1]) for b in range(7)])
    assert float((whole - tiny).abs().max()) < allowed
    assert float((whole - single.softmax(1)).abs().max()) < allowed


class _Large(TorchDispatchMode):
    """Addresses of all tensors above a size that operations make."""

    def __init__(self, size: int, known: list[Tensor]) -> None:
        super().__init__()
        self.size, self.known = size, {t.untyped_storage().data_ptr() for t in known}
        self.found: set[int] = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        out = function(*args, **(kwargs or {}))
        for t in out if isinstance(out, tuple | list) else [out]:
            if isinstance(t, Tensor) and t.untyped_storage().nbytes() > self.size:
                self.found |= {t.untyped_storage().data_ptr()} - self.known
        return out


def test_no_temporary_exceeds_the_memory_budget(
    generator: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(likelihoods, "CHUNK", 2**14)
    budget, x0 = 2**20, images(4000, generator, 64)
    x, level = queries(x0, 5.0, generator, 200)
    with _Large(budget, [x0, x]) as seen:
        weights = gaussian_log_likelihood(x, x0, level, memory=budget)
    assert seen.found == {weights.data_ptr()}
    with _Large(budget, [x0, weights]) as seen:
        mix(weights, x0, memory=budget)
    assert not seen.found


@pytest.mark.parametrize("sigma", [0.0, -1.0, math.nan, math.inf])
def test_level_must_be_positive(sigma: float) -> None:
    with pytest.raises(ValueError, match="every sigma must be a finite number above 0"):
        gaussian_log_likelihood(torch.zeros(1, 2), torch.zeros(3, 2), torch.tensor([sigma]))


def test_data_must_be_there_and_of_the_shape_of_the_queries() -> None:
    with pytest.raises(ValueError, match="at least one data point"):
        gaussian_log_likelihood(torch.zeros(1, 2), torch.zeros(0, 2), torch.ones(1))
    with pytest.raises(ValueError, match="one level per query"):
        likelihoods.check(torch.zeros(2, 3), torch.zeros(4, 3), torch.ones(1))
    with pytest.raises(ValueError, match="queries of 3 numbers"):
        likelihoods.check(torch.zeros(2, 3), torch.zeros(4, 5), torch.ones(2))


def test_a_query_that_is_not_a_number_spoils_only_its_own_row(generator: torch.Generator) -> None:
    x0 = images(50, generator, 64)
    x, level = queries(x0, 0.5, generator, 3)
    clean = gaussian_log_likelihood(x, x0, level).softmax(1)
    x[1, 0] = math.nan
    spoilt = gaussian_log_likelihood(x, x0, level).softmax(1)
    torch.testing.assert_close(spoilt[[0, 2]], clean[[0, 2]], rtol=0, atol=1e-6)
    assert bool(spoilt[1].isnan().all())
    assert bool(mix(spoilt, x0)[1].isnan().any())


@pytest.mark.parametrize("shape", [(40, 3), (5000, 256)], ids=["product", "gather"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_one_hot_weights_return_their_row_bit_for_bit(
    shape: tuple[int, int], dtype: torch.dtype, generator: torch.Generator
) -> None:
    x0 = torch.randn(*shape, generator=generator, dtype=dtype)
    rows = torch.tensor([3, 0, 39, 3])
    weights = torch.nn.functional.one_hot(rows, shape[0]).double()
    assert torch.equal(mix(weights, x0), x0[rows])
    columns = torch.stack([rows, torch.zeros(4, dtype=torch.int64)], dim=1)
    assert torch.equal(mix_columns(torch.tensor([[1.0, 0.0]] * 4).double(), columns, x0), x0[rows])


@pytest.mark.parametrize(("dtype", "allowed"), [(torch.float32, 2e-6), (torch.float64, 1e-14)])
@pytest.mark.parametrize("temperature", [0.1, 1.0, 30.0], ids=["wide", "middling", "narrow"])
def test_mean_equals_the_weighted_sum(
    dtype: torch.dtype, allowed: float, temperature: float, generator: torch.Generator
) -> None:
    x0 = torch.rand(6000, 4, 50, generator=generator, dtype=dtype)
    weights = (temperature * torch.randn(5, 6000, generator=generator, dtype=torch.float64)).softmax(1)
    expected = torch.einsum("bn,nij->bij", weights, x0.double())
    for memory in (1, likelihoods.DEFAULT_MEMORY):
        found = mix(weights, x0, memory=memory)
        assert found.dtype == dtype
        assert float((found - expected).abs().max()) < allowed


def test_weights_need_not_sum_to_one_and_repeated_columns_count_twice(generator: torch.Generator) -> None:
    x0 = torch.randn(5, 2, generator=generator)
    torch.testing.assert_close(mix(2 * torch.ones(1, 5), x0), 2 * x0.sum(0, keepdim=True))
    twice = mix_columns(torch.tensor([[0.25, 0.5]]), torch.tensor([[4, 4]]), x0)
    torch.testing.assert_close(twice, 0.75 * x0[4:])
    assert torch.equal(mix(torch.zeros(2, 5), x0), torch.zeros(2, 2))


def test_no_queries_and_results_without_gradient() -> None:
    x0 = torch.randn(4, 3)
    assert gaussian_log_likelihood(torch.zeros(0, 3), x0, torch.ones(0)).shape == (0, 4)
    x = torch.zeros(2, 3, requires_grad=True)
    assert not gaussian_log_likelihood(x, x0, torch.ones(2)).requires_grad
