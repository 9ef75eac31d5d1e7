"""Token processes draw what their likelihoods say, and likelihoods are those of every token one by one."""

from __future__ import annotations

import math

import pytest
import torch

from unrote.contracts import InputError, Process
from unrote.noise.tokens import PENALTY, Masked, Uniform, agreements, evidence, token_means

PROCESSES = [Uniform(5), Masked(5)]


@pytest.mark.parametrize("process", PROCESSES)
def test_token_processes_are_processes(process) -> None:
    assert isinstance(process, Process)


@pytest.mark.parametrize("t", [0.0, 0.2, 0.7, 1.0])
def test_uniform_noise_has_the_promised_frequencies(t: float, generator: torch.Generator) -> None:
    x0 = torch.full((4000, 5), 2)
    x = Uniform(5).noise(x0, torch.full((4000,), t), generator)
    share = torch.bincount(x.flatten(), minlength=5) / x.numel()
    wanted = torch.full((5,), t / 5)
    wanted[2] += 1 - t
    assert (share - wanted).abs().max() < 0.012  # four standard deviations
    assert math.isclose(float(wanted.sum()), 1.0, rel_tol=1e-6)


@pytest.mark.parametrize("t", [0.0, 0.3, 1.0])
def test_masks_hide_the_promised_share_and_change_nothing_else(t: float, generator: torch.Generator) -> None:
    x0 = torch.randint(5, (4000, 5), generator=generator)
    process = Masked(5)
    x = process.noise(x0, torch.full((4000,), t), generator)
    hidden = x == process.mask
    assert abs(float(hidden.double().mean()) - t) < 0.014
    assert torch.equal(x[~hidden], x0[~hidden])


@pytest.mark.parametrize("process", PROCESSES)
def test_a_row_with_its_own_stream_does_not_depend_on_its_batch(process) -> None:
    x0 = torch.arange(40).reshape(8, 5) % 5
    level = torch.linspace(0.1, 0.9, 8)
    streams = [torch.Generator().manual_seed(seed) for seed in range(8)]
    whole = process.noise(x0, level, streams)
    alone = process.noise(x0[3:4], level[3:4], [torch.Generator().manual_seed(3)])
    assert torch.equal(whole[3:4], alone)
    with pytest.raises(ValueError, match="8 rows, 2 generators"):
        process.noise(x0, level, streams[:2])


def test_the_uniform_likelihood_is_a_product_over_tokens(generator: torch.Generator) -> None:
    x, x0 = (torch.randint(5, (n, 6), generator=generator) for n in (7, 9))
    t = torch.linspace(1e-6, 1, 7, dtype=torch.float64)
    same, other = 1 - t + t / 5, t / 5
    each = torch.where(x[:, None] == x0[None], same[:, None, None], other[:, None, None]).log().sum(2)
    torch.testing.assert_close(Uniform(5).log_likelihood(x, x0, t), each, rtol=1e-12, atol=1e-12)


def test_likelihoods_sum_to_one_over_all_noisy_strings() -> None:
    x0 = torch.tensor([[0, 2, 1]])
    every = torch.cartesian_prod(*[torch.arange(3)] * 3)
    total = Uniform(3).log_likelihood(every, x0, torch.full((27,), 0.4)).exp().sum()
    assert float(total) == pytest.approx(1, abs=1e-7)  # float32 levels
    # Given where the mask is, what is seen is certain.
    seen = torch.tensor([[3, 2, 1], [3, 3, 3], [0, 2, 1], [0, 0, 1]])
    found = Masked(3).log_likelihood(seen, x0, torch.full((4,), 0.4))
    assert found[:, 0].tolist() == [0, 0, 0, -PENALTY]


def test_without_noise_the_fewest_disagreements_win() -> None:
    x0 = torch.tensor([[0, 0, 0], [1, 1, 1], [0, 1, 2]])
    x = torch.tensor([[0, 0, 0], [2, 1, 1], [2, 2, 2]])
    for process in (Uniform(3), Masked(3)):
        weights = torch.softmax(process.log_likelihood(x, x0, torch.zeros(3)), 1)
        assert weights.tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
    limit = torch.softmax(Uniform(3).log_likelihood(x, x0, torch.full((3,), 1e-30, dtype=torch.float64)), 1)
    torch.testing.assert_close(limit, weights, rtol=0, atol=1e-15)


@pytest.mark.parametrize("memory", [1, 2**12, 2**29])
def test_agreements_are_counted_exactly_in_blocks_of_any_size(
    memory: int, generator: torch.Generator
) -> None:
    x, x0 = (torch.randint(n, (40, 11), generator=generator) for n in (8, 7))
    wanted = (x[:, None] == x0[None]).sum(2).double()
    assert torch.equal(agreements(x.to(torch.int16), x0, 7, memory=memory), wanted)


def test_evidence_is_the_likelihood_of_strings_of_length_one() -> None:
    x, t = torch.tensor([[0, 2], [1, 3]]), torch.tensor([0.5, 0.25], dtype=torch.float64)
    found = evidence(Masked(3), x, t)
    assert found[0].tolist() == [[0, -PENALTY, -PENALTY], [-PENALTY, -PENALTY, 0]]
    assert found[1, 1].tolist() == [0, 0, 0]
    uniform = evidence(Uniform(4), x, t)
    assert uniform.exp()[1, 1].tolist() == pytest.approx([0.0625, 0.0625, 0.0625, 0.8125])


def test_means_are_frequencies_of_tokens() -> None:
    x0 = torch.tensor([[0, 1], [0, 2], [2, 2]])
    found = token_means(torch.tensor([[0.5, 0.25, 0.25]], dtype=torch.float64), x0, 3)
    assert found.tolist() == [[[0.75, 0, 0.25], [0, 0.5, 0.5]]]


@pytest.mark.parametrize("process", PROCESSES)
def test_levels_and_tokens_out_of_range_are_refused(process, generator: torch.Generator) -> None:
    x0 = torch.zeros(2, 3, dtype=torch.int64)
    for t in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match=r"in \[0, 1\]"):
            process.noise(x0, torch.full((2,), t), generator)
        with pytest.raises(ValueError, match=r"in \[0, 1\]"):
            process.log_likelihood(x0, x0, torch.full((2,), t))
    with pytest.raises(InputError, match="1 tokens are unknown, the first of them 6 in string 1, place 2"):
        process.log_likelihood(torch.tensor([[0, 0, 0], [0, 0, 6]]), x0, torch.ones(2))
    with pytest.raises(InputError, match="5 in string 0, place 0"):
        process.noise(x0 + 5, torch.ones(2), generator)
    with pytest.raises(ValueError, match="3 and of 2 tokens"):
        process.log_likelihood(x0, x0[:, :2], torch.ones(2))
