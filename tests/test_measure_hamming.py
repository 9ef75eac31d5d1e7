"""Neighbours in packed words are those of a plain comparison, for every alphabet and length."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unrote.contracts import InputError
from unrote.measure import hamming
from unrote.measure.hamming import hamming_neighbors


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from([1, 2, 3, 5, 16, 27, 300, 2**33]),
    st.integers(1, 70),
    st.integers(1, 60),
    st.integers(1, 4),
    st.integers(0, 10**6),
)
def test_neighbours_are_those_of_a_plain_comparison(v: int, length: int, n: int, k: int, seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    q, x = (torch.randint(v, (rows, length), generator=g) - 1 for rows in (9, n))
    q[0] = x[-1]
    k = min(k, n)
    found = hamming_neighbors(q, x, k)
    distance, index = (q[:, None] != x[None]).sum(2).double().sort(dim=1, stable=True)
    assert torch.equal(found.distance, distance[:, :k])
    assert torch.equal(found.index, index[:, :k])
    assert found.distance[0, 0] == 0


def test_blocks_keep_the_lower_index_of_equals(
    monkeypatch: pytest.MonkeyPatch, generator: torch.Generator
) -> None:
    q, x = (torch.randint(2, (n, 6), generator=generator) for n in (20, 500))
    whole = hamming_neighbors(q, x, 5)
    monkeypatch.setattr(hamming, "BLOCK", 7)
    parts = hamming_neighbors(q, x, 5)
    assert torch.equal(parts.distance, whole.distance) and torch.equal(parts.index, whole.index)


def test_windows_of_text_may_be_longer_than_a_byte_counts(generator: torch.Generator) -> None:
    x = torch.randint(27, (50, 1000), generator=generator)
    far = (x[:3] + 1) % 27
    assert hamming_neighbors(far[:1], x[:1]).distance.item() == 1000
    near = x[7:8].clone()
    near[0, ::2] = (near[0, ::2] + 1) % 27
    found = hamming_neighbors(near, x, 1)
    assert found.distance.item() == 500 and found.index.item() == 7


def test_types_of_tokens_do_not_matter(generator: torch.Generator) -> None:
    q, x = (torch.randint(200, (n, 12), generator=generator) for n in (5, 40))
    one, other = hamming_neighbors(q, x, 2), hamming_neighbors(q.to(torch.uint8), x.short(), 2)
    assert torch.equal(one.distance, other.distance) and torch.equal(one.index, other.index)


def test_what_cannot_be_compared_is_refused() -> None:
    x = torch.zeros(3, 4, dtype=torch.int64)
    with pytest.raises(InputError, match="4 tokens cannot be compared with training strings of 3"):
        hamming_neighbors(x, x[:, :3])
    for k in (0, 4):
        with pytest.raises(InputError, match=f"{k} nearest strings.*ask for 1 to 3"):
            hamming_neighbors(x, x, k)
    assert hamming_neighbors(x[:0], x, 2).distance.shape == (0, 2)
