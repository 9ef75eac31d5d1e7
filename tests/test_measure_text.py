"""Nearest windows and longest passages equal what plain loops find, in blocks of any size."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unrote.contracts import InputError
from unrote.measure.hamming import hamming_neighbors
from unrote.measure.text import (
    copy_threshold,
    is_passage_copy,
    longest_passages,
    uncovered,
    window_neighbors,
)


def longest(query: list[int], rows: list[list[int]], alphabet: int) -> int:
    """The length of the longest common substring, by trying everything."""
    found = 0
    for row in rows:
        for i in range(len(query)):
            for j in range(len(row)):
                k = 0
                while (
                    i + k < len(query)
                    and j + k < len(row)
                    and query[i + k] == row[j + k]
                    and query[i + k] < alphabet
                ):
                    k += 1
                found = max(found, k)
    return found


@given(
    st.integers(0, 10**6),
    st.integers(1, 17),
    st.integers(1, 30),
    st.integers(1, 4),
    st.sampled_from([2, 3, 27]),
    st.sampled_from([1, 5, 16, 2**20]),
)
@settings(max_examples=60, deadline=None)
def test_passages_are_the_longest_common_substrings(seed, length, width, rows, alphabet, block) -> None:
    g = torch.Generator().manual_seed(seed)
    query = torch.randint(0, alphabet + 1, (4, length), generator=g)  # the last token counts for nothing
    reference = torch.randint(0, alphabet, (rows, width), generator=g)
    found = longest_passages(query, reference, alphabet=alphabet, block=block)
    for i, sample in enumerate(query.tolist()):
        size = int(found.length[i])
        assert size == longest(sample, reference.tolist(), alphabet)
        place, row, source = int(found.place[i]), int(found.row[i]), int(found.source[i])
        assert sample[place : place + size] == reference[row, source : source + size].tolist()


def test_a_passage_is_found_wherever_it_was_moved() -> None:
    g = torch.Generator().manual_seed(1)
    text = torch.randint(0, 27, (5000,), generator=g)
    sample = torch.randint(0, 27, (256,), generator=g)
    sample[100:180] = text[3210:3290]
    sample[99], sample[180] = (text[3209] + 1) % 27, (text[3290] + 1) % 27
    for block in (2**20, 300):
        found = longest_passages(sample[None], text[None], block=block)
        assert (int(found.length), int(found.place), int(found.source)) == (80, 100, 3210)
    assert float(uncovered(found, 256)) == pytest.approx(1 - 80 / 256)
    assert bool(is_passage_copy(found, 80)) and not bool(is_passage_copy(found, 81))
    # windows that are not joined share no passage across their border
    apart = longest_passages(sample[None], text[: 16 * 312].reshape(312, 16))
    assert int(apart.length) == 16


@given(st.integers(0, 10**6), st.integers(1, 9), st.integers(1, 3), st.sampled_from([1, 3, 7, 2**16]))
@settings(max_examples=40, deadline=None)
def test_nearest_windows_are_those_of_all_windows_at_once(seed, length, step, block) -> None:
    g = torch.Generator().manual_seed(seed)
    text = torch.randint(0, 3, (40,), generator=g)
    start = torch.arange(0, 40 - length + 1, step)
    query = torch.randint(0, 3, (5, length), generator=g)
    whole = hamming_neighbors(query, text[start[:, None] + torch.arange(length)], 3)
    found = window_neighbors(query, text, start, 3, block=block)
    assert torch.equal(whole.distance, found.distance)
    assert torch.equal(whole.index, found.index)  # of equally near ones, the first


def test_the_threshold_is_a_whole_number_of_characters() -> None:
    assert [copy_threshold(100, share) for share in (0.0, 0.29, 0.999)] == [0, 29, 99]
    for share in (-0.1, 1.0):
        with pytest.raises(InputError, match="share of"):
            copy_threshold(100, share)


def test_what_cannot_be_measured_is_refused() -> None:
    text = torch.zeros(10, dtype=torch.int64)
    with pytest.raises(InputError, match="3 nearest windows were asked for among 2"):
        window_neighbors(text[None, :4], text, torch.tensor([0, 4]), 3)
    with pytest.raises(ValueError, match="leaves the text"):
        window_neighbors(text[None, :4], text, torch.tensor([0, 7]))
    with pytest.raises(InputError, match="at least 1 character"):
        is_passage_copy(longest_passages(text[None], text[None]), 0)
    with pytest.raises(ValueError, match="at least one character"):
        longest_passages(text[None, :0], text[None])
