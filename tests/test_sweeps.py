"""A sweep repeats nothing, loses nothing, and gives the same results whatever runs it."""

from __future__ import annotations

import json

import pytest

from unrote.sweeps import key_of, stored, sweep, write_atomic


def square(configuration):
    return {"square": configuration["x"] ** 2}


def fail_at_three(configuration):
    if configuration["x"] == 3:
        raise RuntimeError("three")
    return square(configuration)


def never(configuration):
    raise AssertionError("a stored result was computed again")


def test_keys_ignore_order_and_tell_values_apart() -> None:
    assert key_of({"a": 1, "b": [1, 2]}) == key_of({"b": [1, 2], "a": 1})
    assert key_of({"a": 1}) != key_of({"a": 2})
    with pytest.raises(ValueError, match="JSON"):
        key_of({"a": float("nan")})


def test_an_interrupted_sweep_goes_on_where_it_was(tmp_path) -> None:
    configurations = [{"x": x} for x in range(6)]
    with pytest.raises(RuntimeError, match="three"):
        list(sweep(fail_at_three, configurations, tmp_path))
    assert stored({"x": 2}, tmp_path) == {"square": 4}
    assert stored({"x": 3}, tmp_path) is None
    got = {c["x"]: r["square"] for c, r in sweep(square, configurations, tmp_path)}
    assert got == {x: x * x for x in range(6)}
    assert len(list(sweep(never, configurations, tmp_path))) == 6


def test_processes_give_the_results_of_one_process(tmp_path) -> None:
    configurations = [{"x": x} for x in range(4)] * 2
    one = sorted(r["square"] for _, r in sweep(square, configurations, tmp_path / "one"))
    two = sorted(r["square"] for _, r in sweep(square, configurations, tmp_path / "two", workers=2))
    assert one == two == [0, 1, 4, 9]


def test_a_file_is_the_old_one_or_the_new_one(tmp_path) -> None:
    path = tmp_path / "a.json"
    write_atomic(path, "[1]")
    with pytest.raises(UnicodeEncodeError):
        write_atomic(path, "[2]\udcff")
    assert json.loads(path.read_text()) == [1]
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]
