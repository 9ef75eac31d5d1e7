"""The alphabet: characters and tokens are two spellings of one text, and the rule is that of text8."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unrote.contracts import InputError
from unrote.data.alphabet import (
    ALPHABET,
    MASK,
    VOCABULARY,
    check_alphabet,
    decode,
    encode,
    normalize,
    normalize_without_digits,
    outside,
)


@given(st.text(alphabet=ALPHABET, max_size=60))
@settings(max_examples=50, deadline=None)
def test_tokens_and_characters_are_two_spellings_of_one_text(text: str) -> None:
    assert decode(encode(text)) == text
    assert normalize(text) == text  # what is in the alphabet stays, double spaces and all


@given(st.text(max_size=60))
@settings(max_examples=100, deadline=None)
def test_normalized_text_is_in_the_alphabet_and_normalizing_twice_is_once(text: str) -> None:
    for rule in (normalize, normalize_without_digits):
        once = rule(text)
        assert set(once) <= set(ALPHABET)
        assert rule(once) == once


def test_the_rule_is_that_of_text8() -> None:
    # what wikifil.pl makes of it: digits as words, ASCII capitals alone are lowered, the rest is one space
    assert normalize("In 1984, Ünsal's  CAFÉ\nopened.") == "in one nine eight four nsal s caf opened "
    assert normalize_without_digits("In 1984, Ünsal's") == "in nsal s"
    assert normalize("\u212aelvin 7") == " elvin seven "  # no letter outside ASCII becomes one inside


def test_letters_come_first_and_the_space_last() -> None:
    assert encode("az ").tolist() == [0, 25, 26]
    assert decode(torch.tensor([7, 8, MASK])) == "hi_"
    with pytest.raises(InputError, match=r"reach from 3 to 28"):
        decode(torch.tensor([3, 28]))


def test_other_characters_are_counted_and_named() -> None:
    assert outside("a B\n9z") == 3 and VOCABULARY == len(set(ALPHABET)) == MASK
    with pytest.raises(InputError, match="zero width space once"):
        check_alphabet("a\u200b", "it")
    check_alphabet("a\nb", "it", breaks=True)
    with pytest.raises(InputError, match="3 kinds more"):
        encode("ABCDEFG")
