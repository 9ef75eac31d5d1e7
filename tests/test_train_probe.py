from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from unrote.contracts import Examples, InputError
from unrote.noise.levels import LogNormal
from unrote.train.probe import probe_of, split_off, untouched


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def examples_of(values: Tensor, label: Tensor | None = None) -> Examples:
    """Rows that are constant, so that each can be told from all others."""
    return Examples(values.float()[:, None].expand(-1, 3).contiguous(), torch.zeros(len(values)), label)


def inverse(sigma: Tensor) -> Tensor:
    return 1 / sigma


def test_the_losses_are_those_of_the_closed_form():
    # D = 0 errs by x itself: l_j = mean_k x_kj^2 / sigma_kj.
    train, validation = examples_of(torch.arange(1, 9)), examples_of(torch.arange(20, 60))
    probe = probe_of(train, validation, LogNormal(), inverse, seeded(), 8, 3)
    found = probe.losses(lambda x, sigma, condition=None: torch.zeros_like(x), batch_size=5)
    for losses, rows in zip(found, (probe.train, probe.validation), strict=True):
        expected = (rows[:, 0].double().square() / probe.sigma.double()).reshape(3, 8).mean(0)
        assert losses.dtype == torch.float64
        assert torch.allclose(losses, expected, rtol=1e-5)


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 40), st.integers(2, 40), st.integers(2, 20), st.integers(1, 5))
def test_pairs_share_their_noise_and_nothing_else(p, m, pairs, draws):
    train, validation = examples_of(torch.arange(p)), examples_of(100 + torch.arange(m))
    probe = probe_of(train, validation, LogNormal(), torch.ones_like, seeded(), pairs, draws)
    n = min(p, m, pairs)
    assert probe.pairs == n
    assert probe.rows == 2 * n * draws
    asked: list[tuple[Tensor, Tensor]] = []

    def spy(x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
        asked.append((x, sigma))
        return x

    probe.losses(spy, batch_size=10**6)
    (one, level), (two, same) = asked
    assert torch.equal(level, same)
    noise = (one - probe.train) / level[:, None], (two - probe.validation) / level[:, None]
    assert torch.allclose(*noise, atol=1e-2 / float(level.min()) * 1e-3)
    for rows, count, start in ((probe.train, p, 0), (probe.validation, m, 100)):
        value = rows[:, 0].reshape(draws, n)
        mine = [set(value[:, j].tolist()) for j in range(n)]
        # No example is in two pairs, and draws take as many others as there are.
        assert len(set().union(*mine)) == sum(map(len, mine))
        assert all(len(found) == min(draws, count // n) for found in mine)
        assert all(start <= v < start + count for found in mine for v in found)


class Noisy(nn.Module):
    """A network that draws random numbers while it trains."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.dropout = nn.Dropout(0.5)
        self.frozen = nn.Dropout(0.5).eval()

    def forward(self, x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
        torch.rand(1)
        return self.scale * self.dropout(x)


@pytest.mark.parametrize("as_module", [True, False])
def test_a_check_leaves_no_trace(as_module):
    network = Noisy().train()
    network.frozen.eval()
    probe = probe_of(
        examples_of(torch.arange(9)), examples_of(torch.arange(9)), LogNormal(), torch.ones_like, seeded()
    )
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    given = (network,) if as_module else (lambda x, sigma, condition=None: network(x, sigma), [network])
    first, second = probe.losses(*given), probe.losses(*given)
    assert torch.equal(first[0], second[0]) and torch.equal(first[1], second[1])
    assert not first[0].requires_grad
    assert torch.equal(torch.rand(2), expected)
    assert network.training and network.dropout.training and not network.frozen.training
    assert network.scale.requires_grad and torch.is_grad_enabled()


def test_modes_come_back_after_a_failure():
    network = Noisy().train()
    with pytest.raises(RuntimeError, match="on purpose"), untouched([network]):
        raise RuntimeError("on purpose")
    assert network.training


def test_labels_stay_with_their_rows():
    label = torch.arange(8)
    probe = probe_of(
        examples_of(label, label), examples_of(label, label), LogNormal(), torch.ones_like, seeded()
    )
    for rows, classes in ((probe.train, probe.train_label), (probe.validation, probe.validation_label)):
        assert torch.equal(rows[:, 0].long(), classes)
    seen = []

    def spy(x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
        seen.append(condition)
        return x

    probe.to("cpu").losses(spy)
    assert torch.equal(seen[0], probe.train_label)


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 60), st.floats(0.01, 0.99), st.integers(1, 30), st.integers(0, 5))
def test_a_split_parts_whole_groups_and_loses_nothing(n, share, groups, seed):
    group = torch.randint(groups, (n,), generator=seeded(seed))
    if len(group.unique()) < 2:
        group[0] = groups
    label = torch.arange(n) % 3
    split = split_off(examples_of(torch.arange(n), label), share, seeded(seed), group)
    train, held = split.train.x[:, 0].long(), split.validation.x[:, 0].long()
    assert sorted([*train.tolist(), *held.tolist()]) == list(range(n))
    assert len(train) > 0 and len(held) > 0
    assert not set(group[train].tolist()) & set(group[held].tolist())
    assert torch.equal(split.train.label, label[train])
    # At most one group more than was asked for, unless training would be left with none.
    largest = int(group.unique(return_counts=True)[1].max())
    assert len(held) <= max(1, share * n) + largest
    assert f"{len(held):,} of {n:,}" in split.words and f"leaves {len(train):,}" in split.words


def test_a_split_without_groups_has_the_share_that_was_asked_for():
    for share, held in ((0.1, 10), (0.25, 25), (0.001, 1), (0.999, 99)):
        split = split_off(examples_of(torch.arange(100)), share, seeded())
        assert len(split.validation.x) == held
    again = [split_off(examples_of(torch.arange(100)), 0.1, seeded(s)).validation.x for s in (0, 0, 1)]
    assert torch.equal(again[0], again[1]) and not torch.equal(again[0], again[2])


FINE = examples_of(torch.arange(4))
NOISY = Examples(torch.zeros(4, 3), torch.tensor([0.0, 0.5, 0.0, 0.5]))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: probe_of(FINE, examples_of(torch.arange(0)), LogNormal(), inverse, seeded()), "split_off"),
        (
            lambda: probe_of(FINE, examples_of(torch.arange(1)), LogNormal(), inverse, seeded()),
            "at least two",
        ),
        (lambda: probe_of(NOISY, FINE, LogNormal(), inverse, seeded()), "2 of 4 examples hold noise"),
        (
            lambda: probe_of(
                FINE, Examples(torch.zeros(4, 5), torch.zeros(4)), LogNormal(), inverse, seeded()
            ),
            "shape",
        ),
        (
            lambda: probe_of(
                FINE, examples_of(torch.arange(4), torch.arange(4)), LogNormal(), inverse, seeded()
            ),
            "without labels and validation examples .* with labels",
        ),
        (lambda: probe_of(FINE, FINE, LogNormal(), inverse, seeded(), 1), "1 pairs"),
        (lambda: probe_of(FINE, FINE, LogNormal(), inverse, seeded(), 4, 0), "0 draws"),
        (lambda: split_off(FINE, 0.0, seeded()), "A share of 0"),
        (lambda: split_off(FINE, 0.5, seeded(), torch.zeros(4, dtype=torch.int64)), "in 1 groups"),
        (lambda: split_off(examples_of(torch.arange(1)), 0.5, seeded()), "off 1 examples"),
        (lambda: split_off(NOISY, 0.5, seeded()), "hold noise"),
    ],
)
def test_bad_input_is_told_in_one_paragraph(call, words):
    with pytest.raises(InputError, match=words) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_a_group_for_every_example():
    with pytest.raises(ValueError, match="4 examples need as many group numbers, got 3"):
        split_off(FINE, 0.5, seeded(), torch.arange(3))
