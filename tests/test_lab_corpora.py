"""Named texts: where they are looked for, what is said where they are not, and a text that needs no file."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from unrote.contracts import InputError
from unrote.data.alphabet import decode
from unrote.lab import corpora
from unrote.lab.corpora import Part, made_text, spelling, text_of
from unrote.lab.pictures import FOLDER


def test_a_text_is_found_below_the_folder_under_either_name(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv(FOLDER, str(tmp_path))
    (tmp_path / "text8").write_text("a b c")
    assert spelling("text8") == f"text:{tmp_path}/text8"
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "text8.txt").write_text("a b c")
    assert spelling("text8_test") == f"text:{tmp_path}/text/text8.txt"  # the first of them


def test_what_is_missing_is_named_with_its_origin(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.delenv(FOLDER, raising=False)
    with pytest.raises(InputError, match=r"text8.zip(.|\n)*--data FOLDER"):
        spelling("text8")
    monkeypatch.setenv(FOLDER, str(tmp_path))
    with pytest.raises(InputError, match="there is no text/wikitext2_az_train"):
        text_of("wikitext2")


def test_parts_of_a_file_do_not_meet(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv(FOLDER, str(tmp_path))
    (tmp_path / "one.txt").write_text("abcdefgh")
    parts = {"front": Part("one.txt", "here", 0, 5), "back": Part("one.txt", "here", 5, 7)}
    monkeypatch.setattr(corpora, "TEXTS", parts | {"beyond": Part("one.txt", "here", 5, 9)})
    assert decode(text_of("front").tokens) == "abcde" and decode(text_of("back").tokens) == "fg"
    with pytest.raises(InputError, match="is the file whole"):
        text_of("beyond")


def test_a_made_text_is_a_language_of_few_words_in_an_order_of_its_own() -> None:
    one, other = (decode(made_text(seed).tokens) for seed in (0, 1))
    assert one == decode(text_of("made").tokens) and one != other
    words = [set(text.split(" ")) for text in (one, other)]
    assert max(map(len, words)) <= corpora.LEXICON and len(words[0] & words[1]) > 0.9 * len(words[0])
    count = torch.tensor(sorted((one.split(" ").count(word) for word in words[0]), reverse=True))
    assert count[0] > 5 * count[20]


@pytest.mark.shared_data
def test_the_texts_at_laptop_scale_are_in_the_alphabet(shared_data: Path, monkeypatch) -> None:
    monkeypatch.setenv(FOLDER, str(shared_data))
    assert len(text_of("wikitext2")) > 1_900_000 and len(text_of("wikitext2_test")) > 200_000
