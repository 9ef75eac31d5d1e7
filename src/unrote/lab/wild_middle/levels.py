"""Figures 1, 2, 10 to 16 and Table 1: where networks copy level by level, and which levels decide it.

Levels and swaps are asked of the same networks, so both are one experiment.
"""

from __future__ import annotations

from collections.abc import Sequence

from unrote.lab.claims import Experiment, Row
from unrote.lab.wild_middle import levels_claims, levels_figures, swap, swap_figures
from unrote.lab.wild_middle.pairs import configurations, run, sets
from unrote.report.blocks import Block


def show(rows: Sequence[Row]) -> tuple[Block, ...]:
    """Levels first, then swaps."""
    return (*levels_figures.show(rows), *swap_figures.show(rows))


EXPERIMENT = Experiment(
    name="wild_middle/levels",
    about="Figures 1, 2, 10 to 16 and Table 1: copying level by level, and swaps within windows of levels.",
    scale="laptop",
    configurations=configurations,
    run=run,
    claims=(*levels_claims.CLAIMS, *swap.CLAIMS),
    show=show,
    sets=sets,
)
