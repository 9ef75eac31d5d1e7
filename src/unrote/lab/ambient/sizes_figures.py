"""Drawings of the sizes: paths through quality and copying, one figure for each number of pictures, and a table."""

from __future__ import annotations

from collections.abc import Sequence

from unrote.contracts import Estimate
from unrote.lab.claims import Row
from unrote.lab.wild_middle.gap_figures import over_seeds, present, track
from unrote.lab.wild_middle.gap_rules import left
from unrote.report.blocks import Block, Column, Table
from unrote.report.format import quantity
from unrote.report.planes import Track, plane


def sized(rows: Sequence[Row], images: int) -> list[Row]:
    """The runs with some number of training pictures."""
    return [row for row in rows if row["configuration"]["images"] == images]


def sizes(rows: Sequence[Row]) -> list[int]:
    """The numbers of training pictures that were run."""
    return sorted({row["configuration"]["images"] for row in rows})


def show(rows: Sequence[Row]) -> tuple[Block, ...]:
    """A plane of all sizes, one for each size, and all numbers."""
    known = sizes(rows)
    return (together(rows, known), *(one_size(rows, images) for images in known), table(rows, known))


def named(rows: Sequence[Row], images: int) -> list[Track]:
    """The paths of one size, the number of pictures in their names."""
    mine = sized(rows, images)
    paths = [track(mine, name) for name in present(mine)]
    return [Track(f"{images}: {path.name}", path.x, path.y, path.places) for path in paths]


def together(rows: Sequence[Row], known: Sequence[int]) -> Block:
    """The baselines of all sizes, and the highest level with the largest of them."""
    wanted = {f"{images}: baseline" for images in known} | {"300: ambient 4, levels first"}
    tracks = [path for images in known for path in named(rows, images) if path.name in wanted]
    return drawn(tracks, "Baselines of all sizes, and 300 pictures at sigma_n = 4")


def one_size(rows: Sequence[Row], images: int) -> Block:
    """All remedies of one size."""
    return drawn(named(rows, images), f"{images} training pictures")


def drawn(tracks: Sequence[Track], words: str) -> Block:
    """Paths through quality and copying."""
    return plane(
        tracks,
        x_label="Frechet distance to test pictures",
        y_label="samples that are copies",
        place_label="step",
        log_x=True,
        caption=f"{words}: small points are checkpoints, large ones the end. Means over seeds with 95 % intervals.",
        alt="Copy ratio against Frechet distance, one line for each remedy.",
    )


def table(rows: Sequence[Row], known: Sequence[int]) -> Table:
    """The end of every run: means over seeds."""
    columns = (
        Column("pictures"),
        Column("remedy"),
        Column("steps"),
        Column("copies", quantity),
        Column("of the baseline's", quantity),
        Column("Frechet distance", quantity),
        Column("held-out loss", quantity),
    )
    cells: list[tuple[str | Estimate, ...]] = []
    for images in known:
        mine = sized(rows, images)
        for name in present(mine):
            ends = [over_seeds(mine, name, key)[-1] for key in ("copies", "frechet", "held_out")]
            steps = track(mine, name).places[-1]
            cells.append((str(images), name, f"{steps:,}", ends[0], left(mine, name), *ends[1:]))
    return Table(columns, tuple(cells), "At the end of training: means over seeds, 95 % intervals")
