"""A folder of cars with known copies, audited as a user would: exact ones found, others told apart."""

from __future__ import annotations

import io
import json

import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from unrote.data import load_images
from unrote.jobs import AuditOptions, audit

PART = 200


def jpeg(pixels: torch.Tensor) -> bytes:
    """(3,H,W) uint8 as a JPEG of quality 90."""
    buffer = io.BytesIO()
    Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def altered(pixels: torch.Tensor, i: int) -> torch.Tensor:
    """Shifted by up to 2 pixels (edges repeated), or brighter, or darker."""
    if i % 2:
        gain, offset = (1.2, 10) if i % 4 == 1 else (0.75, -5)
        return (pixels.float() * gain + offset).clamp(0, 255).round().to(torch.uint8)
    down, right = (i // 2) % 5 - 2, (i // 10) % 5 - 2
    right = right or (0 if down else 1)
    rows = (torch.arange(32) + down).clamp(0, 31)
    columns = (torch.arange(32) + right).clamp(0, 31)
    return pixels[:, rows][:, :, columns]


@pytest.fixture(scope="module")
def cars(tmp_path_factory):
    from conftest import SHARED_DATA

    if not SHARED_DATA.is_dir():
        pytest.skip("the real data sets are not beside this checkout")
    train = load_images(str(SHARED_DATA / "cifar10_cars") + ":train")
    test = load_images(str(SHARED_DATA / "cifar10_cars") + ":test")
    g = torch.Generator().manual_seed(0)
    chosen = torch.randperm(len(train), generator=g)[: 2 * PART]
    fresh = torch.randperm(len(test), generator=g)
    folder = tmp_path_factory.mktemp("trial")
    (folder / "samples").mkdir()
    for i, row in enumerate(chosen.tolist()):
        name, pixels = (
            ("altered", altered(train.pixels[row], i)) if i >= PART else ("exact", train.pixels[row])
        )
        (folder / "samples" / f"{name}-{i:03d}.jpg").write_bytes(jpeg(pixels))
    for i, row in enumerate(fresh[:PART].tolist()):
        (folder / "samples" / f"fresh-{i:03d}.jpg").write_bytes(jpeg(test.pixels[row]))
    (folder / "test").mkdir()
    for i, row in enumerate(fresh[PART:].tolist()):
        (folder / "test" / f"{i:03d}.jpg").write_bytes(jpeg(test.pixels[row]))
    made = audit(
        AuditOptions(
            train=str(SHARED_DATA / "cifar10_cars") + ":train",
            samples=str(folder / "samples"),
            test=str(folder / "test"),
            out=folder / "audit",
        )
    )
    return made, pq.read_table(folder / "audit" / "samples.parquet").to_pandas()


def share(table, kind: str, column: str) -> float:
    return float(table[table["sample_name"].str.startswith(kind)][column].mean())


@pytest.mark.shared_data
def test_re_encoded_training_images_are_found(cars) -> None:
    _, table = cars
    assert share(table, "exact", "copy") > 0.98
    assert share(table, "exact", "copy_aligned") > 0.98


@pytest.mark.shared_data
def test_shifted_and_brightened_ones_are_seen_by_alignment_and_the_page_says_that_the_verdict_misses_them(
    cars,
) -> None:
    made, table = cars
    assert share(table, "altered", "copy_aligned") > 0.9
    assert share(table, "altered", "copy") < share(table, "altered", "copy_aligned")
    result = json.loads((made.out / "result.json").read_text())["results"]["definitions"]
    assert result["aligned"]["copy_ratio"]["value"] > result["by_groups"]["copy_ratio"]["value"] + 0.1
    assert any("best alignment" in note for note in made.notes)


@pytest.mark.shared_data
def test_fresh_cars_are_not_called_copies(cars) -> None:
    made, table = cars
    for column in ("copy", "copy_aligned", "copy_absolute", "copy_calibrated"):
        assert share(table, "fresh", column) <= 0.02, column
    assert made.findings.alarming
