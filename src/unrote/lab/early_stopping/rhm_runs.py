"""One run on a random grammar: a tree U-Net learns P strings, and everything known is measured on the way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from unrote.data.grammar import Shape
from unrote.denoise.token_networks import Tree
from unrote.lab.early_stopping.tokens_study import by_masks, by_uniform, corpus, study
from unrote.train.loop import Options

WAYS = {"uniform": by_uniform(), "masked": by_masks()}
"""Processes by name."""
DONE = (0.4, 0.08)
"""A run may end with more copies and fewer errors than these shares."""


def run(asked: Mapping[str, Any]) -> Mapping[str, Any]:
    """Draw the rules and the strings of a seed, train, and measure raw and averaged weights."""
    seed, samples = int(asked["seed"]), int(asked["samples"])
    shape = Shape(**asked["shape"])
    made = corpus(shape, asked["trained"], asked["held"], seed, seed)
    most, least = DONE[0] * samples, DONE[1] * samples

    def enough(seen: Mapping[str, float]) -> bool:
        return seen["copies"] > most and seen[f"errors_{shape.layers}"] < least

    options, at = Options(**asked["options"]), list(asked["at"])
    network = Tree(asked["width"])
    return study(made, WAYS[asked["way"]], network, options, at, samples, seed, True, enough)
