"""Networks, training and picture sets of the paper's size: made for a GPU, where a step takes a fraction of a second.

What the paper states: EDM on CIFAR-10, 1,000 and 50,000 images; 2,000 cars with 40,000 iterations; 1,024 grey CelebA
images with a DDPM of another work, 100,000 iterations of 512. The rest is completed from the works that it builds on,
and each such number says where it comes from.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from unrote.train.loop import Options

EDM_UNET: dict[str, Any] = {
    "kind": "unet",
    "channels": [256, 256, 256],  # DDPM++: 128 times 2, 2, 2
    "layers": 4,  # EDM's default; the study of copying that the paper follows takes 2
    "attention": [False, True, False],  # at 16x16
    "dropout": 0.13,  # EDM's on CIFAR-10
}
"""EDM's DDPM++ at CIFAR size, as near as this program's U-Net comes: the same widths, blocks and attention.

It lacks what DDPM++ adds to diffusers' blocks (skips scaled by 1/sqrt 2, resampling inside residual blocks).
"""
CELEBA_UNET: dict[str, Any] = {
    "kind": "unet",
    "channels": [32, 64, 128],  # 32 times 1, 2, 4
    "layers": 2,
    "attention": [False, True, True],
    "dropout": 0.1,
}
"""The U-Net of the work whose CelebA setting the paper takes over (Bonnaire and others 2025), for grey 32x32.

Its multiples, attention and dropout are those of that work's program; a base of 32 channels is one of several there.
"""
EDM_OPTIONS: dict[str, Any] = {
    "steps": 40_000,  # stated for the cars
    "batch_size": 512,  # EDM's
    "learning_rate": 1e-3,  # EDM's on CIFAR-10
    "warmup_steps": 19_531,  # EDM's: ten million images
    "ema_decay": 0.99929,  # EDM's half-life of half a million images
    "tick_every": 500,
    "mixed_precision": "bf16",
}
"""Training of EDM's network. Its own length is 200 million images, ten times as long; the cars' is taken for all."""
CELEBA_OPTIONS: dict[str, Any] = {
    "steps": 100_000,  # stated
    "batch_size": 512,  # stated
    "learning_rate": 1e-4,  # the rate usual for Adam in DDPM; the other work mostly uses momentum without Adam
    "warmup_steps": 0,
    "ema_decay": 0.9999,  # DDPM's
    "tick_every": 1000,
    "mixed_precision": "bf16",
}
"""Training on CelebA. The law of levels is this program's, EDM's, and not DDPM's uniform timesteps."""
PAIR: dict[str, Any] = {
    "set": "cifar10",
    "class": None,
    "side": 32,
    "images": 1000,
    "test": 1000,
    "network": EDM_UNET,
    "options": EDM_OPTIONS,
    "samples": 1024,
    "map": 0,
}
"""EDM-1K beside a network of all other images but the test and feature pictures: 45,000 and not 50,000."""
CARS: dict[str, Any] = {
    "set": "cifar10",
    "class": 1,
    "side": 32,
    "images": 2000,
    "test": 1000,
    "network": EDM_UNET,
    "options": EDM_OPTIONS,
    "samples": 1024,
}
"""2,000 cars, the setting of gap training."""
FACES: dict[str, Any] = {
    "set": "lfw_faces_32",
    "class": None,
    "side": 32,
    "images": 1024,
    "test": 1000,
    "network": CELEBA_UNET,
    "options": CELEBA_OPTIONS,
    "samples": 1000,
}
"""1,024 grey faces in place of CelebA's, which are not at hand here."""


def options_of(asked: Mapping[str, Any]) -> Options:
    """Training options of a configuration; what it leaves out is the default of `Options`.

    Raises:
        InputError: if a number is out of its range.
    """
    return Options(**asked)
