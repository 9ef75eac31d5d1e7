"""One run on a random grammar under an optimizer, until copies have come and the losses have parted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from unrote.data.grammar import Shape
from unrote.denoise.token_networks import Tree
from unrote.lab.early_stopping.tokens_study import by_uniform, corpus, study
from unrote.train.loop import Options

DONE = (0.6, 1.5)
"""A run may end with a larger share of copies and losses farther apart than these."""


def run(asked: Mapping[str, Any]) -> Mapping[str, Any]:
    """Draw the rules and the strings of a seed, train, and measure raw and averaged weights."""
    seed, samples = int(asked["seed"]), int(asked["samples"])
    shape = Shape(**asked["shape"])
    made = corpus(shape, asked["trained"], asked["held"], seed, seed)

    def enough(seen: Mapping[str, float]) -> bool:
        return seen["copies"] > DONE[0] * samples and seen["validation"] - seen["train"] > DONE[1]

    options, at = Options(**asked["options"]), list(asked["at"])
    network = Tree(asked["width"], shape.branching)
    return study(made, by_uniform(), network, options, at, samples, seed, True, enough)
