"""The settings of `unrote forecast`; no slow imports here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from unrote.jobs.options_common import Common, Device, Seeded


@dataclass(frozen=True, kw_only=True)
class ForecastOptions(Seeded, Device, Common):
    """How long may I train before the network copies my images? By pilot runs on a few of them."""

    train: str
    """The training set (see `unrote --help`)."""
    test: str | None = None
    """Held-out real images of the same kind; else a tenth of the training set is held out."""
    out: Path = Path("forecast")
    images: int | None = None
    """How many different images you will train on; those of --train unless given."""
    sizes: str = "64,128,256"
    """How many images the pilots are trained on, two numbers or more with commas between."""
    seeds: int = 3
    """Pilots of every size; each has its own images, weights and noise."""
    steps_per_image: int = 40
    """A pilot that shows no copies ends after so many steps for each of its images."""
    copy_share: float = 0.05
    """Copying has begun when this share of the samples are copies."""
    loss_gap: float = 1.0
    """Losses have parted when that on held-out images is above that on training images by this share of it; 1 is twice
    as high."""
    samples: int = 256
    """Samples drawn at every measured step of a pilot."""
    network: Literal["mlp", "unet"] = "mlp"
    """The network you will train, as for `unrote train`: a residual MLP, or diffusers' U-Net."""
    width: int = 512
    """Width of the MLP, or channels of the U-Net's first level."""
    depth: int = 3
    """Residual blocks of the MLP, or levels of the U-Net."""
    dropout: float = 0.0
    """Dropout probability inside the network."""
    conditional: bool = False
    """Train on the labels of the data set."""
    batch_size: int = 64
    """Images a step."""
    learning_rate: float = 1e-3
    """Adam's learning rate."""
    ema_decay: float = 0.998
    """Decay of the averaged weights, to which all numbers belong."""
    weight_decay: float = 0.0
    """Decoupled weight decay."""
    precision: Literal["no", "bf16", "fp16"] = "no"
    """Mixed precision on a GPU; on a CPU it is slower."""
    duplicate_threshold: float = 0.08
    """Training images are near-duplicates within this root-mean-square pixel distance (pixels 0 to 1)."""
    resize: int | None = None
    """Resize every image to this many pixels a side (Lanczos)."""
    train_range: tuple[float, float] | None = None
    """The pixel range of float arrays, where it cannot be told from the values."""
    workers: int = 2
    """Processes; each trains one pilot at a time, on one core."""
