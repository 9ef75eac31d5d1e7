"""More samples than memory: they are read in blocks, and an audit's memory does not grow with their number."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scenes import faces, save_array, save_folder

from unrote.data.sources import Source
from unrote.jobs import AuditOptions, audit, auditing

TRAIN, FRESH = faces(40, seed=1), faces(100, seed=2)
SAMPLES = torch.cat([TRAIN[:17], FRESH[:60]])


@pytest.fixture
def asked(monkeypatch) -> list[tuple[str, int]]:
    """Everything that is read from a source: its name and how many images at once."""
    calls: list[tuple[str, int]] = []
    read = Source.read

    def counted(self, start, stop):
        calls.append((self.spec, stop - start))
        return read(self, start, stop)

    monkeypatch.setattr(Source, "read", counted)
    return calls


def options(tmp_path: Path, samples: str, **more) -> AuditOptions:
    train = save_array(TRAIN, tmp_path / "train.npy")
    test = save_array(FRESH[60:], tmp_path / "test.npy")
    return AuditOptions(train=train, samples=samples, test=test, out=tmp_path / "out", **more)


@pytest.mark.parametrize("kind", ["npy", "npz", "pt", "folder"])
def test_samples_are_never_asked_for_more_than_a_block(tmp_path, monkeypatch, asked, kind) -> None:
    monkeypatch.setattr(auditing, "BLOCK", 10)
    path = tmp_path / f"samples.{kind}"
    if kind == "npy":
        save_array(SAMPLES, path)
    elif kind == "npz":
        np.savez(path, x=SAMPLES.numpy())
    elif kind == "pt":
        torch.save(SAMPLES, path)
    else:
        save_folder(SAMPLES, path)
    made = audit(options(tmp_path, str(path)))
    mine = [count for spec, count in asked if spec == str(path)]
    assert max(mine) == 10
    assert mine[:8] == [10] * 7 + [7]
    assert set(mine[8:]) == {1}  # single images for the page, none read twice
    assert len(mine[8:]) == min(len(SAMPLES), 96)
    assert made.copy_ratio.value == pytest.approx(17 / 77)


def test_the_number_of_images_in_a_block_changes_no_number(tmp_path, monkeypatch) -> None:
    samples = save_array(SAMPLES, tmp_path / "samples.npy")
    whole = audit(options(tmp_path, samples)).content["results"]
    for block in (1, 7, 76, 77):
        monkeypatch.setattr(auditing, "BLOCK", block)
        chosen = replace(options(tmp_path, samples), out=tmp_path / f"out-{block}")
        assert audit(chosen).content["results"] == whole


@pytest.mark.parametrize(
    ("shape", "memory", "count"),
    [((3, 32, 32), 1024, 1024), ((3, 512, 512), 1024, 170), ((3, 4096, 4096), 64, 1), ((1, 8, 8), 64, 1024)],
)
def test_large_images_come_in_smaller_blocks(shape, memory, count) -> None:
    assert auditing.block_size(shape, AuditOptions(train="", samples="", memory=memory)) == count


MEASURE = """
import sys, threading, time
from pathlib import Path
import pyarrow.parquet, scipy.stats, torch
from unrote.jobs import AuditOptions, audit

torch.set_num_threads(1)

def held():
    rows = dict(row.split(":") for row in open("/proc/self/status"))
    return int(rows["RssAnon"].split()[0]) * 1024

def peak_of(samples, out):
    seen, over = [held()], threading.Event()
    def watch():
        while not over.wait(0.005):
            seen.append(held())
    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    made = audit(AuditOptions(train="train.npy", samples=samples, out=Path(out), memory=64))
    over.set()
    thread.join()
    return max(seen), made.copy_ratio.n

peak_of("samples.npy@1100", "first")  # loads what is loaded once
before = peak_of("samples.npy@1100", "second")[0]  # two blocks
after, count = peak_of("samples.npy", "third")
print(before, after, count)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from Linux's /proc")
def test_two_hundred_megabytes_of_samples_need_no_more_memory_than_twenty(tmp_path) -> None:
    # Images of 7 rows are not shifted by the alignment, which would take minutes for so many bytes.
    count, shape = 10_000, (7, 1000, 3)
    rng = np.random.default_rng(0)
    np.save(tmp_path / "train.npy", rng.integers(0, 256, (3, *shape), dtype=np.uint8))
    file = np.lib.format.open_memmap(tmp_path / "samples.npy", "w+", np.uint8, (count, *shape))
    some = rng.integers(0, 256, (500, *shape), dtype=np.uint8)
    for i in range(0, count, 500):
        file[i : i + 500] = some ^ np.uint8(i // 500)
    file.flush()
    del file
    # glibc keeps freed memory by a rule that adapts; a fixed one makes the peak repeatable.
    calm = os.environ | {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": "65536", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", MEASURE]
    told = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=400, env=calm
    )
    before, after, audited = map(int, told.stdout.split())
    size = (tmp_path / "samples.npy").stat().st_size
    assert size > 200e6
    assert audited == count
    assert after - before < 0.2 * size, (before, after)
    result = json.loads((tmp_path / "third" / "result.json").read_text())
    assert result["inputs"]["samples"]["count"] == count
