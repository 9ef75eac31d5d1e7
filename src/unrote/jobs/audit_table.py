"""The per-sample table of an audit: distances by every definition, filled block by block."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from unrote.data.sources import Images, Source
from unrote.jobs.comparing import part_of, plain_and_grouped
from unrote.jobs.searching import Searches
from unrote.measure import copies

if TYPE_CHECKING:
    from unrote.jobs.auditing import Audit


@dataclass(frozen=True)
class Distances:
    """What was measured of each of n images; indices are rows of the training set.

    Args:
        nearest, second, d1, d2: nearest training image, and nearest outside its group of duplicates.
        plain_second, plain_d2: second nearest training image whatever its group.
        aligned_nearest, aligned_d1, aligned_d2: best over mirror image, shifts, gain and offset.
    """

    nearest: Tensor
    second: Tensor
    d1: Tensor
    d2: Tensor
    plain_second: Tensor
    plain_d2: Tensor
    aligned_nearest: Tensor
    aligned_d1: Tensor
    aligned_d2: Tensor

    def __len__(self) -> int:
        return len(self.d1)

    @property
    def ratio(self) -> Tensor:
        """d1/d2 with groups: the statistic of the verdict."""
        return copies.distance_ratio(self.d1, self.d2)

    def take(self, rows: Tensor) -> Distances:
        """Some of the rows."""
        return Distances(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})


@dataclass(frozen=True)
class HeldOut:
    """Real images that were not trained on: what fresh data looks like to the same rules.

    Args:
        images: as they were read.
        kept: rows that are no near-duplicates of training images (M,).
        distances: of the kept rows.
    """

    images: Images
    kept: Tensor
    distances: Distances


def measure(pixels: Tensor, searches: Searches) -> Distances:
    """All distances of comparable pixels (n,C,H,W) to the training set."""
    training, group = searches.reference.pixels, searches.reference.groups.group
    plain, grouped = plain_and_grouped(searches.straight, pixels, training, group)
    best = copies.grouped_neighbors(pixels, training, group, search=searches.aligned)
    return Distances(
        nearest=grouped.index[:, 0],
        second=grouped.index[:, 1],
        d1=grouped.distance[:, 0],
        d2=grouped.distance[:, 1],
        plain_second=plain.index[:, 1],
        plain_d2=plain.distance[:, 1],
        aligned_nearest=best.index[:, 0],
        aligned_d1=best.distance[:, 0],
        aligned_d2=best.distance[:, 1],
    )


def concatenate(parts: Sequence[Distances]) -> Distances:
    """Blocks of rows as one table."""
    return Distances(**{f.name: torch.cat([getattr(p, f.name) for p in parts]) for f in fields(Distances)})


class Blocks:
    """Measured blocks in a folder, so that an interrupted audit does not measure them again.

    A block belongs to the pixels whose SHA-256 it carries; other pixels are measured anew.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)

    def measure(self, number: int, pixels: Tensor, searches: Searches) -> Distances:
        """The distances of one block, read from the folder or measured and put there."""
        path = self.folder / f"{number:06d}.npz"
        digest = hashlib.sha256(np.ascontiguousarray(pixels.numpy()).data).hexdigest()
        if path.exists():
            with np.load(path, allow_pickle=False) as held:
                if str(held["digest"]) == digest:
                    return Distances(
                        **{f.name: torch.from_numpy(held[f.name].copy()) for f in fields(Distances)}
                    )
        found = measure(pixels, searches)
        part = path.with_suffix(".part")
        with part.open("wb") as file:
            arrays = {f.name: getattr(found, f.name).numpy() for f in fields(Distances)}
            np.savez(file, digest=np.array(digest), **arrays)
        part.replace(path)
        return found


def pictures(source: Source | Images, rows: Sequence[int]) -> Mapping[int, Images]:
    """Single images of a set by row, each read once."""
    if isinstance(source, Images):
        return {row: part_of(source, torch.tensor([row])) for row in sorted(set(rows))}
    return {row: source.read(row, row + 1) for row in sorted(set(rows))}


def columns_of(made: Audit) -> dict[str, Any]:
    """The columns of samples.parquet: one row for each sample, every definition side by side."""
    d, reference = made.distances, made.reference
    names = reference.images.names
    columns: dict[str, Any] = {
        "sample": range(len(d)),
        "nearest": d.nearest.numpy(),
        "second": d.second.numpy(),
        "d1": d.d1.numpy(),
        "d2": d.d2.numpy(),
        "ratio": d.ratio.numpy(),
        "copy": made.findings.main.copied.numpy(),
        "sample_name": list(made.names),
        "nearest_name": [names[i] for i in d.nearest.tolist()],
        "class": classes_of(made.reference.images, d.nearest),
        "plain_second": d.plain_second.numpy(),
        "plain_d2": d.plain_d2.numpy(),
        "root_mean_square": reference.root_mean_square(d.d1).numpy(),
        "aligned_nearest": d.aligned_nearest.numpy(),
        "aligned_d1": d.aligned_d1.numpy(),
        "aligned_d2": d.aligned_d2.numpy(),
    }
    return columns | made.findings.columns() | made.views.columns()


def write_table(columns: Mapping[str, Any], path: Path) -> None:
    """Write samples.parquet."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with path.open("wb") as file:  # pyarrow itself opens only names that are UTF-8
        pq.write_table(pa.table({name: pa.array(values) for name, values in columns.items()}), file)


def classes_of(train: Images, rows: Tensor) -> list[str | None]:
    """The class name of training images, or None where the set has no labels."""
    if train.labels is None:
        return [None] * len(rows)
    numbers = train.labels[rows].tolist()
    known = train.label_names
    return [known[i] if 0 <= i < len(known) else (str(i) if i >= 0 else None) for i in numbers]
