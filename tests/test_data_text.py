"""Text: windows where they should begin, hashes of what was read, and errors that say where."""

from __future__ import annotations

import hashlib
import os

import pytest
import torch

from unrote.contracts import InputError
from unrote.data.alphabet import MASK, decode, normalize, normalize_without_digits
from unrote.data.images import open_images
from unrote.data.spelling import parse
from unrote.data.text import count_lines, is_text, load_lines, load_text, windows


def put(tmp_path, content: str | bytes, name: str = "book.txt") -> str:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


def test_windows_lie_side_by_side_and_the_rest_belongs_to_none(tmp_path) -> None:
    text = load_text(put(tmp_path, "abcdefghijk\n"))
    cut = windows(text, 4)
    assert [decode(row) for row in cut.tokens] == ["abcd", "efgh"]
    assert [decode(row) for row in windows(text, 4, stride=3).tokens] == ["abcd", "defg", "ghij"]
    assert len(windows(text, 4, stride=1)) == 8
    assert [decode(row) for row in windows(text, 4, start=1, count=1).tokens] == ["efgh"]
    assert cut.running and cut.provenance.count == 2 and cut.provenance.characters == 11


def test_windows_drawn_at_random_are_different_ones_of_the_grid(tmp_path) -> None:
    text = load_text(put(tmp_path, "abcdefghij" * 10))
    drawn = windows(text, 5, count=15, generator=torch.Generator().manual_seed(0))
    assert len(drawn.start.unique()) == 15 and not (drawn.start % 5).any()
    assert drawn.stride is None and not drawn.running
    assert drawn.start.tolist() != sorted(drawn.start.tolist())
    again = windows(text, 5, count=15, generator=torch.Generator().manual_seed(0))
    assert drawn.provenance == again.provenance


def test_the_suffix_counts_windows(tmp_path) -> None:
    path = put(tmp_path, "abcdefghijk")
    assert len(windows(load_text(f"{path}@1"), 4)) == 1
    assert windows(load_text(f"text:{path}@1:"), 4).start.tolist() == [4]
    assert windows(load_text(f"{path}@1:3"), 2).start.tolist() == [2, 4]
    with pytest.raises(InputError, match=r"2 windows of 4; 3 were asked for"):
        windows(load_text(f"{path}@3"), 4)


def test_equal_windows_have_equal_hashes_in_every_file(tmp_path) -> None:
    running = windows(load_text(put(tmp_path, "abcdefghij")), 4)
    lines = windows(load_text(put(tmp_path, "abcd\r\nefgh\r\n", "lines.txt")), 4)
    other = windows(load_text(put(tmp_path, "ABCD\nEFGH", "loud.txt"), normalization=normalize), 4)
    hashes = {one.provenance.sha256 for one in (running, lines, other)}
    assert hashes == {running.provenance.sha256}
    assert running.provenance.sha256 != windows(load_text(put(tmp_path, "abcdefgi")), 4).provenance.sha256
    assert not lines.running and lines.provenance.kind == "lines of text"
    assert len(running.provenance.sha256) == len(hashlib.sha256().hexdigest())


def test_lines_of_one_length_are_windows_and_cannot_be_cut(tmp_path) -> None:
    text = load_text(put(tmp_path, "abcd\nef h\n"))
    assert text.line == 4 and "one a line" in text.notes[0]
    with pytest.raises(InputError, match="put the text on one line"):
        windows(text, 3)


def test_short_lines_are_filled_with_what_agrees_with_nothing(tmp_path) -> None:
    text, rows = load_lines(put(tmp_path, "abcd\nef\n"))
    assert rows.tolist() == [[0, 1, 2, 3], [4, 5, MASK, MASK]]
    assert "1 of 2 samples" in text.notes[0]
    assert load_lines(put(tmp_path, "abcd\nef\nabc\n") + "@1:")[1].tolist() == [[4, 5, MASK], [0, 1, 2]]
    # a line that is in the alphabet already is not shifted by the rule
    assert load_lines(put(tmp_path, "a  b\nX  y"), normalization=normalize)[1].tolist() == [
        [0, 26, 26, 1],
        [23, 26, 24, MASK],
    ]


def test_characters_outside_the_alphabet_are_named_with_their_places(tmp_path) -> None:
    path = put(tmp_path, "one two\nThree 4 and T\u00e9\u200b")
    with pytest.raises(InputError) as told:
        load_text(path)
    message = str(told.value)
    assert "6 characters outside the alphabet" in message
    assert "'T' 2 times (line 2, column 1)" in message
    assert "line breaks once (line 1, column 8)" in message
    assert "--normalize" in message
    text = load_text(path, normalization=normalize)
    assert decode(text.tokens) == "one two three four and t "
    assert "6 of its 23 characters" in text.notes[0]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "holds no text"),
        (b"\n\n", "holds no text"),
        (b"caf\xe9 au lait", r"not UTF-8: byte 3, in line 1, is 0xe9"),
    ],
)
def test_files_without_text_are_refused(tmp_path, content, told) -> None:
    with pytest.raises(InputError, match=told):
        load_text(put(tmp_path, content))
    with pytest.raises(InputError, match=told):
        load_lines(put(tmp_path, content))


def test_what_cannot_be_cut_or_read_says_so(tmp_path) -> None:
    path = put(tmp_path, "abcdefghijk")
    text = load_text(path)
    with pytest.raises(InputError, match=r"longer than .* which has 11"):
        windows(text, 12)
    with pytest.raises(InputError, match="at least 1"):
        windows(text, 4, stride=0)
    with pytest.raises(InputError, match="no splits"):
        load_text(f"{path}:train")
    with pytest.raises(InputError, match="suffix for images"):
        load_text(f"{path}?label=3")
    with pytest.raises(InputError, match="behind text: stands a file"):
        load_text("text:nothing-here")
    with pytest.raises(InputError, match="cannot be read as text"):
        load_text(f"text:{tmp_path}")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="it is no file"):
        load_text(f"text:{tmp_path / 'pipe'}")
    with pytest.raises(InputError, match=r"Nothing of .* is left"):
        load_text(put(tmp_path, "123", "numbers.txt"), normalization=normalize_without_digits)
    with pytest.raises(InputError, match=r"Line 2 of .* is empty"):
        load_lines(put(tmp_path, "abc\n\nabc"))
    with pytest.raises(InputError, match="is text, and images are needed"):
        open_images(path)


def test_a_mark_of_byte_order_is_no_character(tmp_path) -> None:
    assert decode(load_text(put(tmp_path, b"\xef\xbb\xbfabc")).tokens) == "abc"


def test_what_is_spelled_like_text(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.txt").mkdir()
    for spec in ("text:any", "text:any@5", "book.txt", "book.TXT@3:4", "a/b.txt?label=x", "missing.txt"):
        assert is_text(spec), spec
    for spec in ("digits", "folder.txt", "hf:owner/name", "x.txt.zip", "photos:train"):
        assert not is_text(spec), spec
    (tmp_path / "text:odd").write_text("abc")  # a path that exists is taken as it is written
    assert decode(load_text("text:odd").tokens) == "abc"
    assert not parse("text:odd").says_text


def test_lines_are_counted_without_what_ends_the_last(tmp_path) -> None:
    assert [count_lines(put(tmp_path, text)) for text in ("a", "a\n", "a\nb", "a\r\nb\n\n")] == [1, 1, 2, 2]
