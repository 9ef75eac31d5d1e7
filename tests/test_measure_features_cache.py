"""The cache: whole or absent, whoever writes, and never more than a way to be fast."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from unrote.measure.features.cache import STALE, Cache, cache_folder

VALUES = torch.arange(12.0).reshape(4, 3)


def entries(cache: Cache) -> list[Path]:
    return sorted(path for path in cache.folder.rglob("*") if path.is_file())


def test_what_was_kept_comes_back_and_is_an_npy_file(tmp_path):
    cache = Cache(tmp_path)
    assert cache.features("a/b") is None
    cache.keep_features("a/b", VALUES)
    found = cache.features("a/b")
    assert found is not None and torch.equal(found, VALUES)
    assert np.array_equal(np.load(entries(cache)[0]), VALUES.numpy())
    cache.keep_fitted("c", {"x": VALUES, "n": torch.tensor(3)})
    fitted = cache.fitted("c")
    assert fitted is not None and torch.equal(fitted["x"], VALUES) and int(fitted["n"]) == 3


@pytest.mark.parametrize("kind", ["features", "fitted"])
def test_any_damage_makes_an_entry_absent_and_it_is_removed(tmp_path, kind):
    cache = Cache(tmp_path)

    def keep() -> Path:
        if kind == "features":
            cache.keep_features("k", VALUES)
        else:
            cache.keep_fitted("k", {"x": VALUES})
        return entries(cache)[0]

    whole = keep().read_bytes()
    damaged = [whole[:n] for n in (0, 1, 31, 32, 33, len(whole) // 2, len(whole) - 1)]
    damaged += [whole[:n] + bytes([whole[n] ^ 1]) + whole[n + 1 :] for n in range(0, len(whole), 17)]
    for content in [*damaged, whole + b"x"]:
        keep().write_bytes(content)
        assert getattr(cache, kind)("k") is None
        assert entries(cache) == []


def test_a_write_that_fails_leaves_nothing_and_ends_nothing(tmp_path, monkeypatch):
    cache = Cache(tmp_path)

    def full(self, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    cache.keep_features("k", VALUES)
    assert entries(cache) == [] and cache.features("k") is None


def test_a_place_that_cannot_be_a_folder_is_only_slow(tmp_path):
    (tmp_path / "file").write_text("in the way")
    cache = Cache(tmp_path / "file")
    cache.keep_features("k", VALUES)
    assert cache.features("k") is None and cache.size() == 0 and cache.clear() == 0
    cache.trim()


def test_many_writers_and_readers_see_whole_entries_only(tmp_path):
    cache = Cache(tmp_path)
    wrong: list[object] = []

    def write(value: float) -> None:
        for _ in range(40):
            cache.keep_features("k", torch.full((500, 3), value))

    def read() -> None:
        for _ in range(200):
            found = cache.features("k")
            if found is not None and (found.shape != (500, 3) or not bool((found == found[0, 0]).all())):
                wrong.append(found)

    threads = [threading.Thread(target=write, args=(float(i),)) for i in range(3)]
    threads += [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert len(entries(cache)) == 1 and cache.features("k") is not None


def test_the_limit_removes_what_was_not_used_for_longest(tmp_path):
    cache = Cache(tmp_path)
    for number in range(5):
        cache.keep_features(str(number), VALUES)
        os.utime(tmp_path / "features" / f"{number}.npy", (1000.0 + number, 1000.0 + number))
    one = cache.size() // 5
    assert cache.features("0") is not None  # which is now the latest
    Cache(tmp_path, limit=2 * one).trim()
    left = {path.stem for path in entries(cache)}
    assert left == {"0", "4"}


def test_what_a_killed_process_left_is_removed_and_what_is_being_written_is_not(tmp_path):
    cache = Cache(tmp_path)
    cache.keep_features("k", VALUES)
    killed, writing = (tmp_path / "features" / f".writing-{name}" for name in ("1-a", "2-b"))
    for path in (killed, writing):
        path.write_bytes(b"half")
    long_ago = time.time() - STALE - 1
    os.utime(killed, (long_ago, long_ago))
    cache.trim()
    assert not killed.exists() and writing.exists() and cache.features("k") is not None


def test_clearing_frees_all_of_it_and_nothing_else(tmp_path):
    cache = Cache(tmp_path)
    (tmp_path / "mine.txt").write_text("not the cache's")
    cache.keep_features("a/k", VALUES)
    cache.keep_fitted("k", {"x": VALUES})
    size = cache.size()
    assert size > 0 and cache.clear() == size
    assert [path.name for path in entries(cache)] == ["mine.txt"]


def test_the_folder_is_the_users_choice_then_the_desktops_then_home(monkeypatch, tmp_path):
    monkeypatch.setenv("UNROTE_CACHE", str(tmp_path / "mine"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "mine"
    monkeypatch.delenv("UNROTE_CACHE")
    assert cache_folder() == tmp_path / "xdg" / "unrote"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # which the standard says to ignore
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "unrote"
