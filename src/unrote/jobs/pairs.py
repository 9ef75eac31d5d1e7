"""Two models for the same images: read, and checked against each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from unrote.contracts import InputError
from unrote.denoise.foreign import Card
from unrote.jobs.models import Description, describe_given, read_model
from unrote.jobs.options import SwapOptions


def read_pair(
    options: SwapOptions, model: Any, other: Any, card: Card | None
) -> tuple[tuple[Any, Any], tuple[Description, Description]]:
    """Both models, checked against each other.

    Raises:
        InputError: for models of different shape or classes, or the same model twice.
    """
    if (model is None) != (other is None):
        raise ValueError("a swap takes two denoisers, or none and the names of two models in options")
    if model is None:
        read = [
            read_model(name, not options.raw, options.unsafe_pickle, flag)
            for name, flag in ((options.model, "--model"), (options.other, "--other"))
        ]
        pair = read[0][0], read[1][0]
        said = read[0][1], read[1][1]
    else:
        pair = model, other
        said = (
            describe_given(str(options.model), model, card),
            describe_given(str(options.other), other, card),
        )
    check_alike(*said)
    if pair[0] is pair[1] or (said[0].sha256 and said[0].sha256 == said[1].sha256):
        raise InputError(
            f"--model {said[0].spec} and --other {said[1].spec} are the same model, weight by weight, so a swap of "
            "their levels changes nothing. Name a model that copies and one that does not, such as one trained on "
            "more images."
        )
    return pair, said


def check_alike(first: Description, second: Description) -> None:
    """Refuse two models whose images or labels differ.

    Raises:
        InputError: naming both.
    """
    a, b = first.card, second.card
    sides = [x == y or x is None or y is None for x, y in zip(a.shape, b.shape, strict=True)]
    if not all(sides):
        raise InputError(
            f"--model {first.spec} makes images of shape {_shape(a)} (channels, height, width) and --other "
            f"{second.spec} of shape {_shape(b)}; they are held against each other on the same images, so both must "
            "make the same. Name two models trained at one resolution."
        )
    if a.classes != b.classes:
        told = [
            "takes no labels" if c.classes is None else f"takes labels of {c.classes} classes" for c in (a, b)
        ]
        raise InputError(
            f"--model {first.spec} {told[0]} and --other {second.spec} {told[1]}; both must be told the same. Name two "
            "models with the same classes, or two without."
        )


def _shape(card: Card) -> str:
    return str(tuple(card.shape)).replace("None", "any")


def common(said: Sequence[Description]) -> tuple[float, float]:
    """The lowest and the highest level that all models know."""
    return max(s.known[0] for s in said), min(s.known[1] for s in said)
