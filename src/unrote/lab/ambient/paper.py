"""Training at the paper's size: what its text and the authors' program say, and where this program's loop differs.

The authors' script is one for FFHQ at 64x64; their flags for CIFAR-10 and Tiny ImageNet are not released, and the text
has EDM's defaults.
"""

from __future__ import annotations

from typing import Any

from unrote.lab.wild_middle.paper import EDM_UNET

NETWORK: dict[str, Any] = EDM_UNET | {"dropout": 0.05}  # their script's; EDM's on CIFAR-10 is .13
"""EDM's U-Net. Their pictures are flipped and augmented anew at each access; here they are taken as they are."""
CIFAR_OPTIONS: dict[str, Any] = {
    "steps": 30_000,  # stated; their script's 30 million images would be 117,188 steps of 256
    "batch_size": 256,  # stated
    "learning_rate": 1e-4,  # stated
    "warmup_steps": 10_000,  # a third of the run, as in their script (ten of 30 million images)
    "weight_decay": 0.0,  # theirs, .01, is added to the gradient; this loop's is decoupled, which is another thing
    "ema_decay": 0.99965,  # their half-life of half a million images, without its ramp over the first 5 %
    "tick_every": 500,
    "mixed_precision": "bf16",  # theirs is float32
}
"""Training on CIFAR-10, by the text where it says something; betas and epsilon of Adam are those stated."""
CLASSES_OPTIONS: dict[str, Any] = CIFAR_OPTIONS | {
    "steps": 80_000,  # stated
    "batch_size": 512,  # stated
    "warmup_steps": 26_667,  # a third of the run
    "ema_decay": 0.99929,  # half a million images
}
"""Training on Tiny ImageNet with classes."""
