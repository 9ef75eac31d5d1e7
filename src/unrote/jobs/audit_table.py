"""The per-sample table of an audit: distances by every definition, filled block by block."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from unrote.contracts import Neighbors
from unrote.data.sources import Images, Source
from unrote.jobs.comparing import Reference, part_of, plain_and_grouped
from unrote.measure import copies
from unrote.measure.alignment import aligned_neighbors
from unrote.measure.neighbors import neighbors


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


def measure(pixels: Tensor, reference: Reference, memory: int) -> Distances:
    """All distances of comparable pixels (n,C,H,W) to the training set."""

    def straight(query: Tensor, training: Tensor, k: int) -> Neighbors:
        return neighbors(query, training, k, memory=memory)

    def aligned(query: Tensor, training: Tensor, k: int) -> Neighbors:
        return aligned_neighbors(query, training, k, shift=shift_for(pixels), memory=memory)

    group = reference.groups.group
    plain, grouped = plain_and_grouped(straight, pixels, reference.pixels, group)
    best = copies.grouped_neighbors(pixels, reference.pixels, group, search=aligned)
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


def shift_for(pixels: Tensor) -> int:
    """The largest shift that alignment tries: 2 pixels, 1 for images below 16 pixels, which have few."""
    return 2 if min(pixels.shape[2:]) >= 16 else 1 if min(pixels.shape[2:]) >= 8 else 0


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

    def measure(self, number: int, pixels: Tensor, reference: Reference, memory: int) -> Distances:
        """The distances of one block, read from the folder or measured and put there."""
        path = self.folder / f"{number:06d}.npz"
        digest = hashlib.sha256(np.ascontiguousarray(pixels.numpy()).data).hexdigest()
        if path.exists():
            with np.load(path, allow_pickle=False) as held:
                if str(held["digest"]) == digest:
                    return Distances(
                        **{f.name: torch.from_numpy(held[f.name].copy()) for f in fields(Distances)}
                    )
        found = measure(pixels, reference, memory)
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
