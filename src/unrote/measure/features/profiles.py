"""Profiles: what is done to images before a network sees them, so that a number can be compared with a paper's.

A profile is a frozen list of steps. Steps that resize with Pillow work on 8-bit images, as the papers' own
programs do; float images are rounded to 8 bits before such a step. Name and hash of a profile stand in every
result: features, and thresholds on them, mean nothing under another profile.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Shaped
from torch import Tensor
from torch.nn import functional as F

from unrote.contracts import InputError

BILINEAR, BICUBIC = 2, 3
"""Pillow's numbers of its filters; both widen when an image shrinks (antialiasing)."""

Step = Callable[[Tensor], Tensor]
"""(B,C,H,W) -> (B,C',H',W'): uint8, or float32 where black is 0 and white 1 until a step says otherwise."""


@dataclass(frozen=True)
class Colour:
    """Grey images become three equal channels, as Pillow's convert("RGB") makes them."""

    def __call__(self, x: Tensor) -> Tensor:
        """(B,1 or 3,H,W) -> (B,3,H,W)."""
        if x.shape[1] not in {1, 3}:
            raise InputError(f"they have {x.shape[1]} channels, and 1 (grey) or 3 (colour) are understood")
        return x.expand(-1, 3, -1, -1)


@dataclass(frozen=True)
class Rounded:
    """Float images become 8-bit: round(255 x)."""

    def __call__(self, x: Tensor) -> Tensor:
        """(B,C,H,W) in [0,1] or uint8 -> uint8."""
        return x if x.dtype == torch.uint8 else (x * 255).round_().clamp_(0, 255).to(torch.uint8)


@dataclass(frozen=True)
class Unit:
    """8-bit images become float32: x / 255."""

    def __call__(self, x: Tensor) -> Tensor:
        """(B,C,H,W) uint8 or in [0,1] -> float32 in [0,1]."""
        return x.float() / 255 if x.dtype == torch.uint8 else x.float()


@dataclass(frozen=True)
class Levels:
    """8-bit images become float32 from 0 to 255."""

    def __call__(self, x: Tensor) -> Tensor:
        """(B,C,H,W) -> float32 in [0,255]."""
        return Rounded()(x).float()


@dataclass(frozen=True)
class ShortSide:
    """Pillow's resize of 8-bit images so that the shorter side has `side` pixels, the longer int(side * ratio)."""

    side: int
    resample: int

    def __call__(self, x: Tensor) -> Tensor:
        """(B,C,H,W) -> (B,C,H',W') uint8."""
        height, width = x.shape[2:]
        if height <= width:
            return _pillow(x, self.side, int(self.side * width / height), self.resample)
        return _pillow(x, int(self.side * height / width), self.side, self.resample)


@dataclass(frozen=True)
class Square:
    """Pillow's resize of 8-bit images to `side` x `side`, whatever their shape."""

    side: int
    resample: int

    def __call__(self, x: Tensor) -> Tensor:
        """(B,C,H,W) -> (B,C,side,side) uint8."""
        return _pillow(x, self.side, self.side, self.resample)


@dataclass(frozen=True)
class CentreCrop:
    """The middle `side` x `side` pixels; odd remainders are split as Python rounds."""

    side: int

    def __call__(self, x: Tensor) -> Tensor:
        """(B,C,H,W) -> (B,C,side,side)."""
        top, left = (round((length - self.side) / 2.0) for length in x.shape[2:])
        if min(top, left) < 0:
            raise InputError(
                f"they are {x.shape[3]}x{x.shape[2]}, smaller than the crop of {self.side}x{self.side}"
            )
        return x[:, :, top : top + self.side, left : left + self.side]


@dataclass(frozen=True)
class ReflectPad:
    """Reflection up to the next multiple of `multiple` pixels, the smaller half above and left."""

    multiple: int

    def __call__(self, x: Tensor) -> Tensor:
        """(B,C,H,W) float -> (B,C,H',W') float."""
        below, right = (-length % self.multiple for length in x.shape[2:])
        top, left = below // 2, right // 2
        padding = (left, right - left, top, below - top)
        if max(padding[:2]) >= x.shape[3] or max(padding[2:]) >= x.shape[2]:
            raise InputError(
                f"they are {x.shape[3]}x{x.shape[2]}, too small to be filled up to a multiple of {self.multiple} "
                "pixels by reflection"
            )
        return F.pad(x, padding, mode="reflect")


@dataclass(frozen=True)
class Normalize:
    """(x - mean) / std, channel by channel, or alike for all channels."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, x: Tensor) -> Tensor:
        """(B,C,H,W) float -> the same."""
        mean, std = (torch.tensor(values).reshape(1, -1, 1, 1) for values in (self.mean, self.std))
        return (x - mean) / std


@dataclass(frozen=True)
class Bilinear:
    """PyTorch's bilinear interpolation to `side` x `side`: pixel centres at half, no antialiasing."""

    side: int

    def __call__(self, x: Tensor) -> Tensor:
        """(B,C,H,W) float -> (B,C,side,side) float."""
        return F.interpolate(x, size=(self.side, self.side), mode="bilinear", align_corners=False)


@dataclass(frozen=True)
class TensorFlowBilinear:
    """TensorFlow 1's bilinear interpolation to `side` x `side`: out[i] lies at i * length / side, no antialiasing."""

    side: int

    def __call__(self, x: Tensor) -> Tensor:
        """(B,C,H,W) float -> (B,C,side,side) float."""
        return _tensorflow(_tensorflow(x, self.side, 2), self.side, 3)


@dataclass(frozen=True)
class Shrink:
    """Means over pixels, down to `side` x `side`, of images that are larger."""

    side: int

    def __call__(self, x: Tensor) -> Tensor:
        """(B,C,H,W) float -> (B,C,H',W') float with H', W' at most `side`."""
        height, width = x.shape[2:]
        if max(height, width) <= self.side:
            return x
        return F.adaptive_avg_pool2d(x, (min(height, self.side), min(width, self.side)))


@dataclass(frozen=True)
class Profile:
    """A named preparation of images, and what else of a measurement lies outside the weights.

    Args:
        name: what it is called in results and on the command line.
        steps: what is done, in order.
        source: whose measurement it is.
        architectures: kinds of networks that it is meant for.
        unit_length: whether features are divided by their Euclidean length.
        patch: patch size that it is made for; 0 for any.
        position_offset: added to the number of patches where DINOv2's positions are interpolated, see
            `pretrained.positions`.
        keywords: what a TorchScript file is called with besides the images.
    """

    name: str
    steps: tuple[Step, ...]
    source: str
    architectures: tuple[str, ...]
    unit_length: bool = False
    patch: int = 0
    position_offset: float = 0.0
    keywords: tuple[tuple[str, bool], ...] = ()

    @property
    def hash(self) -> str:
        """SHA-256 over all that changes features."""
        told = (self.name, self.steps, self.unit_length, self.patch, self.position_offset, self.keywords)
        return hashlib.sha256(repr(told).encode()).hexdigest()

    def prepare(self, images: Shaped[Tensor, "B C H W"]) -> Shaped[Tensor, "B c h w"]:
        """What the network sees of images that are uint8, or float in [0,1].

        Raises:
            InputError: where the images do not fit (channels, size).
        """
        x = images
        try:
            for step in self.steps:
                x = step(x)
        except InputError as error:
            raise InputError(
                f"The images do not fit the profile '{self.name}': {error}. Resize them, or choose another "
                "profile with @NAME."
            ) from error
        return x.contiguous()


_IMAGENET = Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_CLIP = Normalize((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
_DINO = ("dinov2", "torchscript")

PIXELS = Profile("pixels", (Unit(),), "pixels from 0 to 1 as they are", ("pixels", "torchscript"))

SMALL = Profile("small", (Unit(), Shrink(32)), "pixels from 0 to 1, at most 32x32", ("classifier",))

AMBIENT_DINOV2 = Profile(
    "ambient-dinov2",
    (Colour(), Unit(), ReflectPad(14)),
    "paper 003's released program: DINOv2 ViT-g/14, images neither resized nor normalised",
    _DINO,
    unit_length=True,
    patch=14,
    position_offset=0.1,
)
DINOV2 = Profile(
    "dinov2",
    (Colour(), ShortSide(256, BICUBIC), CentreCrop(224), Unit(), _IMAGENET),
    "DINOv2's authors: evaluation transform (256 bicubic, crop 224, ImageNet's mean and deviation)",
    _DINO,
    position_offset=0.1,
)
DINOV2_UNCROPPED = Profile(
    "dinov2-uncropped",
    (Colour(), Square(224, BICUBIC), Unit(), _IMAGENET),
    "Stein and others 2023 (Frechet distance on DINOv2): 224x224 bicubic, nothing cropped",
    _DINO,
    position_offset=0.1,
)
SSCD = Profile(
    "sscd",
    (Colour(), ShortSide(288, BILINEAR), Unit(), _IMAGENET),
    "SSCD's authors: shorter side 288, ImageNet's mean and deviation",
    ("torchscript",),
)
SSCD_320 = Profile(
    "sscd-320",
    (Colour(), Square(320, BILINEAR), Unit(), _IMAGENET),
    "SSCD's authors: 320x320, ImageNet's mean and deviation",
    ("torchscript",),
)
DCR_SSCD = Profile(
    "dcr-sscd",
    (Colour(), ShortSide(256, BILINEAR), CentreCrop(224), Unit(), Normalize((0.5,), (0.5,))),
    "DCR's released program (Somepalli and others 2023): SSCD on 256/224 with mean and deviation 0.5",
    ("torchscript",),
    unit_length=True,
)
CLIP = Profile(
    "clip",
    (Colour(), ShortSide(224, BICUBIC), CentreCrop(224), Unit(), _CLIP),
    "CLIP's authors: 224 bicubic, centre crop, CLIP's mean and deviation",
    ("clip", "torchscript"),
)
INCEPTION_FID = Profile(
    "inception-fid",
    (Colour(), Levels(), TensorFlowBilinear(299), Normalize((128.0,), (128.0,))),
    "the original FID and torch-fidelity: TensorFlow 1's bilinear resize to 299, (x - 128) / 128",
    ("torchscript",),
)
INCEPTION_PYTORCH_FID = Profile(
    "inception-pytorch-fid",
    (Colour(), Unit(), Bilinear(299), Normalize((0.5,), (0.5,))),
    "pytorch-fid: PyTorch's bilinear resize to 299, 2 x - 1",
    ("torchscript",),
)
INCEPTION_STYLEGAN = Profile(
    "inception-stylegan",
    (Colour(), Rounded()),
    "StyleGAN's, EDM's and paper 003's FID: NVIDIA's TorchScript file, which resizes by itself",
    ("torchscript",),
    keywords=(("return_features", True),),
)

PROFILES: dict[str, Profile] = {
    profile.name: profile
    for profile in (
        PIXELS,
        AMBIENT_DINOV2,
        DINOV2,
        DINOV2_UNCROPPED,
        SSCD,
        SSCD_320,
        DCR_SSCD,
        CLIP,
        INCEPTION_FID,
        INCEPTION_PYTORCH_FID,
        INCEPTION_STYLEGAN,
    )
}
"""Profiles that a user may name, by name."""


def profile_named(name: str, architecture: str) -> Profile:
    """The profile of a name, for a kind of network.

    Raises:
        InputError: where there is none of that name, or it is meant for other networks.
    """
    fitting = [known for known, profile in PROFILES.items() if architecture in profile.architectures]
    allowed = f"For '{architecture}' there are: {', '.join(fitting)}."
    if name not in PROFILES:
        raise InputError(f"There is no profile '{name}'. {allowed} Name one after the file, with @NAME.")
    if name not in fitting:
        meant = ", ".join(PROFILES[name].architectures)
        raise InputError(
            f"The profile '{name}' is meant for {meant} ({PROFILES[name].source}), not for '{architecture}'. "
            f"{allowed}"
        )
    return PROFILES[name]


def _pillow(x: Tensor, height: int, width: int, resample: int) -> Tensor:
    from PIL import Image

    grey = x.shape[1] == 1
    arrays = Rounded()(x).movedim(1, 3).contiguous().numpy()
    resized = [
        np.asarray(Image.fromarray(a[:, :, 0] if grey else a).resize((width, height), resample))
        for a in arrays
    ]
    stacked = torch.from_numpy(np.stack(resized))
    return stacked[:, None] if grey else stacked.movedim(3, 1)


def _tensorflow(x: Tensor, side: int, axis: int) -> Tensor:
    """Along one axis of (B,C,H,W)."""
    length = x.shape[axis]
    place = torch.arange(side, dtype=torch.float32) * torch.tensor(length / side, dtype=torch.float32)
    low = place.long()
    high = (low + 1).clamp_max(length - 1)
    weight = (place - low).reshape((-1, 1) if axis == 2 else (-1,))
    return x.index_select(axis, low).lerp_(x.index_select(axis, high), weight)
