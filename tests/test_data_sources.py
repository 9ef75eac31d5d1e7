"""Sources larger than memory: what is held does not grow with what is read, whatever the files are."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from spellings import CLASSES, as_table, dataset_json, file_names, png, save_stream

COUNT, SHAPE = 300, (224, 224, 3)
SIZE = COUNT * 224 * 224 * 3

MEASURE = """
import sys, threading
import torch
from unrote.data import ContentHash, open_images, provenance, stream

torch.set_num_threads(1)

def held():
    rows = dict(row.split(":") for row in open("/proc/self/status"))
    return int(rows["RssAnon"].split()[0]) * 1024

def read(source):
    content = ContentHash(source.value_range)
    for block in stream(source, 8):
        content.update(block.pixels)
    return provenance(source, content).sha256

for spec in sys.argv[1:]:
    read(open_images(spec + "@16"))  # loads what is loaded once
    seen, over = [held()], threading.Event()
    def watch():
        while not over.wait(0.002):
            seen.append(held())
    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    sha = read(open_images(spec))
    over.set()
    thread.join()
    print(spec, max(seen) - seen[0], sha, flush=True)
"""


def write_all(place: Path) -> list[str]:
    """45 megabytes of images in every form that streams; the encoded ones are not compressed."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (COUNT, *SHAPE), dtype=np.uint8)
    labels, names = [i % len(CLASSES) for i in range(COUNT)], file_names(COUNT)
    np.save(place / "x.npy", pixels)
    np.savez(place / "x.npz", pixels, labels)
    torch.save({"images": torch.from_numpy(pixels), "labels": torch.tensor(labels)}, place / "x.pt")
    table = as_table(pixels, labels, level=0)
    pq.write_table(table, place / "x.parquet", row_group_size=10, compression="none")
    (place / "saved").mkdir()
    save_stream(table, place / "saved" / "data.arrow", batch=100)
    (place / "saved" / "state.json").write_text(json.dumps({"_data_files": [{"filename": "data.arrow"}]}))
    with zipfile.ZipFile(place / "x.zip", "w") as archive:
        for name, image in zip(names, pixels, strict=True):
            data = png(image, level=0)
            archive.writestr(name, data)
            (place / "folder" / name).parent.mkdir(parents=True, exist_ok=True)
            (place / "folder" / name).write_bytes(data)
        archive.writestr("dataset.json", dataset_json(labels))
    return ["x.npy", "x.npz", "x.pt", "x.parquet", "saved", "x.zip", "folder"]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from Linux's /proc")
def test_forty_megabytes_are_read_with_a_few(tmp_path) -> None:
    specs = write_all(tmp_path)
    # glibc keeps freed memory by a rule that adapts; a fixed one makes the peak repeatable.
    calm = os.environ | {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": "65536", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", MEASURE, *specs]
    told = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=300, env=calm
    )
    rows = [row.split() for row in told.stdout.splitlines()]
    assert [row[0] for row in rows] == specs
    assert len({row[2] for row in rows}) == 1, rows
    growth = {row[0]: int(row[1]) for row in rows}
    assert max(growth.values()) < 0.3 * SIZE, growth
