"""DATA's spelling: suffixes come off from the right, and never off a path that exists."""

from __future__ import annotations

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unrote.contracts import InputError
from unrote.data.spelling import Spelling, parse, printable


@pytest.mark.parametrize("split", [None, "train", "validation.v2"])
@pytest.mark.parametrize("limit", [None, 1, 250])
@pytest.mark.parametrize("label", [None, "7", "T-shirt/top", "a:b@3", ""])
def test_every_mixture_of_suffixes_comes_back(tmp_path, split, limit, label):
    suffix = (
        ("" if split is None else f":{split}")
        + ("" if limit is None else f"@{limit}")
        + ("" if label is None else f"?label={label}")
    )
    for path in (str(tmp_path), "digits"):
        assert parse(path + suffix) == Spelling(path + suffix, path, split, limit, label)


@pytest.mark.parametrize(
    ("suffix", "start", "limit"),
    [("@3:9", 3, 6), ("@:9", 0, 9), ("@4:", 4, None), ("@0:1", 0, 1), ("@5", 0, 5)],
)
def test_a_range_has_a_start_and_a_stop(tmp_path, suffix, start, limit):
    for path in (str(tmp_path), "digits", "hf:owner/name", f"{tmp_path}:train"):
        found = parse(f"{path}{suffix}?label=3")
        assert (found.start, found.limit, found.label) == (start, limit, "3")
        assert found.split == ("train" if path.endswith(":train") else None)


def test_several_things_are_asked_for_with_and():
    text = "hf:owner/na-me.2:train@5?label=a&b,c&config=x y&label=d&download=yes"
    label = "a&b,c,d"
    found = parse(text)
    assert found == Spelling(text, "hf:owner/na-me.2", "train", 5, label, config="x y", download=True)
    assert parse("digits?config=a?b&label=c&other=d").label == "c&other=d"
    for wrong in ("digits?config=a&config=b", "digits?download=yes&download=yes"):
        with pytest.raises(InputError, match=r"twice\. Only labels may be several"):
            parse(wrong)
    with pytest.raises(InputError, match=r"only value is download=yes"):
        parse("hf:owner/name?download=maybe")


def test_a_name_on_the_hub_gives_way_to_a_file_of_that_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert parse("hf:owner/name").on_hub
    assert parse("hf:mnist:test").path == "hf:mnist"
    (tmp_path / "hf:owner" / "name").mkdir(parents=True)
    assert not parse("hf:owner/name").on_hub


@pytest.mark.parametrize("name", ["a:train", "a@5", "a?label=3", "C:x@2?label=y:z", "a b", "ü", "-x"])
def test_a_path_that_exists_is_never_cut_and_takes_suffixes_all_the_same(tmp_path, name):
    path = tmp_path / name
    path.mkdir()
    assert parse(path) == Spelling(str(path), str(path))
    assert parse(f"{path}:test@9") == Spelling(f"{path}:test@9", str(path), "test", 9)


def test_the_longest_path_that_exists_wins(tmp_path):
    for name in ("set", "set:train"):
        (tmp_path / name).mkdir()
    assert parse(f"{tmp_path}/set:train").split is None
    assert parse(f"{tmp_path}/set:test").split == "test"


def test_a_windows_drive_is_no_split(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "C").mkdir()  # so that "C" could be a path with the split "\\sets\\cars"
    with pytest.raises(InputError, match="does not exist"):
        parse("C:\\sets\\cars")
    (tmp_path / "C:\\sets\\cars").mkdir()
    assert parse("C:\\sets\\cars:train@5").path == "C:\\sets\\cars"


@pytest.mark.parametrize(
    "limit", ["0", "-1", "1.5", "", "ten", "1_0", "９", "9" * 5000, ":", "5:5", "9:3", "-1:3", "1:2:3"]
)
def test_a_limit_is_a_whole_number_of_at_least_one(limit):
    with pytest.raises(InputError, match="whole number of at least 1"):
        parse(f"digits@{limit}")


@pytest.mark.parametrize("text", ["", "nowhere", "nowhere:train@3", "nul\0byte", "user@host", "digits/3"])
def test_a_missing_path_is_named_with_what_would_do(text):
    with pytest.raises(InputError, match=r"does not exist.*digits.*\.npz.*@limit"):
        parse(text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("https://host/set.zip", r"Addresses are not read.*Parquet"),
        ("hf:", "not the name of a set on the Hugging Face hub"),
        ("hf:a/b/c", "not the name of a set on the Hugging Face hub"),
        ("hf:../b", "not the name of a set on the Hugging Face hub"),
        ("digits?lable=3", r"ends in '\?lable=', .*Known are \?label=NAME"),
        ("digits:train[:10%]", r"not written in brackets.*@100:200"),
    ],
)
def test_other_spellings_say_what_is_read_instead(text, says):
    with pytest.raises(InputError, match=says):
        parse(text)


def test_names_are_safe_to_print():
    name = os.fsdecode(b"a\xff\n\x1b[31m<b>.png") + "\u202e\u2028"
    assert printable(name) == "a\\xff\\n\\x1b[31m<b>.png\\u202e\\u2028"
    assert printable("Żółw 漢字.png") == "Żółw 漢字.png"


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=20))
def test_any_file_name_prints_as_one_line_of_utf8(raw):
    text = printable(os.fsdecode(raw))
    assert len(text.encode("utf-8").splitlines()) <= 1
    assert text.isprintable() or " " in text.replace("\u3000", " ").replace("\u00a0", " ")
