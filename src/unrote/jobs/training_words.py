"""How a training run is spoken of: what is learned, what its loss is, and what a level is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Words:
    """Words that differ between images and text.

    Args:
        things: what is learned, in the plural.
        loss: a name for the axis of losses.
        measured: how losses are measured, the beginning of a caption.
        parts: what it means where the losses part.
        bands: what the drawing by level shows.
        title: of the page.
        levels: the heading of the drawing by level.
        marked: whether drawings mark the onset.
    """

    things: str
    loss: str
    measured: str
    parts: str
    bands: str
    title: str
    levels: str
    marked: bool = False


IMAGES = Words(
    "images",
    "denoising loss",
    "Denoising loss on fixed levels and noise",
    "Where the lines part, the model knows its training images better than others of their kind.",
    "Loss on held-out images over the one on training images, averaged weights, at the noise levels sigma of each "
    "line. Where a line leaves 1, the model knows its training images at these levels. Images and noise are the same "
    "at every step; intervals are in `result.json`.",
    "Training run",
    "Losses by noise level",
)
WINDOWS = Words(
    "windows",
    "bits per character",
    "Bits per character (the bound of masked diffusion) under fixed masks",
    "Where the lines part, the model knows its training text better than other text of its kind.",
    "Bits for each hidden character of held-out windows over those of training windows, averaged weights, where the "
    "share t of the characters that are hidden is that of each line. Where a line leaves 1, the model knows its "
    "training text at this share. Windows and masks are the same at every step; intervals are in `result.json`.",
    "Training run on text",
    "Losses by the share that is hidden",
    marked=True,
)
