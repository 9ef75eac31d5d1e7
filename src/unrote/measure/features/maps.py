"""Feature maps: images in, one vector each out, and a hash that says which map it was."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Float32, Shaped, UInt8
from torch import Tensor

from unrote.contracts import InputError
from unrote.measure.features.profiles import PIXELS, Profile

CPU = torch.device("cpu")

BATCH = 64
"""Images that a network sees at once, unless a map says otherwise."""

_VERSION = 1  # raised when the same weights and profile begin to give other features

SLACK = 1e-4
"""By which float pixels may lie outside [0,1]."""


@dataclass(frozen=True, eq=False)
class FeatureMap:
    """Images (B,C,H,W) -> features (B,F); vectors of different maps have nothing in common.

    Args:
        name: what it is, printable.
        profile: what is done to images first.
        weights: SHA-256 of all numbers that were learned or fitted.
        dimension: F.
        network: prepared images (B,c,h,w) on `device` -> (B,F) or (B,F,1,1), row by row.
        device: where the network runs.
        batch: images that the network sees at once.
        kept: whether features are worth keeping; pixels are sooner computed than read.
        notes: sentences for the reader.
        facts: more for result files, for example a classifier's accuracy.
    """

    name: str
    profile: Profile
    weights: str
    dimension: int
    network: Callable[[Tensor], Tensor]
    device: torch.device = CPU
    batch: int = BATCH
    kept: bool = True
    notes: tuple[str, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def hash(self) -> str:
        """SHA-256 of weights and profile: features with equal hashes can be compared."""
        told = f"{_VERSION} {self.weights} {self.profile.hash} {self.dimension}"
        return hashlib.sha256(told.encode()).hexdigest()

    def as_dict(self) -> dict[str, Any]:
        """What a result file says of the map."""
        return {
            "name": self.name,
            "profile": self.profile.name,
            "profile_sha256": self.profile.hash,
            "weights_sha256": self.weights,
            "hash": self.hash,
            "dimension": self.dimension,
            **self.facts,
        }

    def __call__(self, images: UInt8[Tensor, "B C H W"] | Float[Tensor, "B C H W"]) -> Float32[Tensor, "B F"]:
        """Features of images that are uint8, or float in [0,1].

        Each row depends on its image alone, up to rounding (about 1e-6 of its length): libraries add in
        another order for another batch size.

        Raises:
            InputError: where images do not fit the profile, or features are not finite.
            ValueError: for float images outside [0,1].
        """
        parts = [self.compute(self.prepare(part)) for part in images.split(self.batch)]
        return torch.cat(parts) if parts else torch.empty(0, self.dimension)

    def prepare(self, images: Shaped[Tensor, "B C H W"]) -> Shaped[Tensor, "B c h w"]:
        """The profile's part of the work, which needs no network."""
        if images.dtype != torch.uint8 and images.numel():
            low, high = (float(value) for value in torch.aminmax(images))
            if not (low >= -SLACK and high <= 1 + SLACK):
                raise ValueError(
                    f"images are uint8, or float from 0 to 1; got {images.dtype} from {low:g} to {high:g}"
                )
        return self.profile.prepare(images)

    @torch.inference_mode()
    def compute(self, prepared: Shaped[Tensor, "B c h w"]) -> Float32[Tensor, "B F"]:
        """The network's part of the work, for at most `batch` images.

        Raises:
            InputError: where features are not finite or not of the map's dimension.
        """
        found = self.network(prepared.to(self.device)).flatten(1).float().cpu()
        if found.shape != (len(prepared), self.dimension):
            raise InputError(
                f"'{self.name}' gave {tuple(found.shape)} numbers for {len(prepared)} images, where one vector of "
                f"{self.dimension} each was expected. All images of a map have one size, and the file must treat "
                "them one by one."
            )
        broken = (~torch.isfinite(found)).any(1)
        if bool(broken.any()):
            raise InputError(
                f"'{self.name}' gave NaN or infinite features for {int(broken.sum())} of {len(found)} images. The "
                f"weights are damaged, or the profile '{self.profile.name}' is not the one that they need: check "
                "the file's hash and its profile."
            )
        if self.profile.unit_length:
            found = torch.nn.functional.normalize(found, dim=1)
        return found.clone()


def pixels(shape: tuple[int, int, int]) -> FeatureMap:
    """The pixels themselves, from 0 to 1, flattened: F = C H W.

    Args:
        shape: (C,H,W) of one image.
    """
    channels, height, width = shape
    return FeatureMap(
        name="pixels",
        profile=PIXELS,
        weights=digest([]),
        dimension=channels * height * width,
        network=lambda x: x.flatten(1),
        batch=1024,
        kept=False,
    )


def digest(tensors: Iterable[Tensor]) -> str:
    """SHA-256 over types, shapes and bytes, in order."""
    total = hashlib.sha256()
    for tensor in tensors:
        plain = tensor.detach().cpu().contiguous()
        total.update(f"{plain.dtype}{tuple(plain.shape)}".encode())
        total.update(plain.reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()


def probe(
    name: str,
    profile: Profile,
    network: Callable[[Tensor], Tensor],
    shape: tuple[int, int, int],
    device: torch.device,
) -> int:
    """The dimension of a network's features, from one grey image of a shape.

    Raises:
        InputError: where the images do not fit the profile, or the network does not take what it prepares.
    """
    prepared = profile.prepare(torch.full((1, *shape), 128, dtype=torch.uint8))
    try:
        with torch.inference_mode():
            found = network(prepared.to(device))
    except (RuntimeError, ValueError, TypeError) as error:
        reason = next((line for line in reversed(str(error).splitlines()) if line.strip()), "no reason given")
        raise InputError(
            f"'{name}' does not take what the profile '{profile.name}' makes of the images, {prepared.dtype} of "
            f"shape {tuple(prepared.shape[1:])}: {reason.strip()} Choose the profile that the file was made for."
        ) from error
    if not isinstance(found, Tensor) or len(found) != 1:
        raise InputError(
            f"'{name}' gives {type(found).__name__} and not one vector for each image; a network that gives "
            "features (B,F) or (B,F,1,1) is needed."
        )
    return found.numel()
