"""Small sets of images with known copies, as files that a user would have."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor


def faces(n: int, seed: int, side: int = 12) -> Tensor:
    """Smooth random grey images (n,1,side,side) uint8: near to each other as photographs are, never alike."""
    g = torch.Generator().manual_seed(seed)
    coarse = torch.rand(n, 1, 4, 4, generator=g)
    fine = torch.rand(n, 1, side, side, generator=g)
    smooth = torch.nn.functional.interpolate(coarse, (side, side), mode="bilinear")
    return ((0.8 * smooth + 0.2 * fine) * 255).round().to(torch.uint8)


def save_array(pixels: Tensor, path: Path) -> str:
    """(N,1,H,W) as .npy; returns the DATA argument."""
    np.save(path, pixels.numpy())
    return str(path)


def save_folder(pixels: Tensor, folder: Path, names: list[str] | None = None) -> str:
    """(N,1,H,W) uint8 as PNG files; returns the DATA argument."""
    folder.mkdir(parents=True, exist_ok=True)
    for i, image in enumerate(pixels):
        name = f"{i:05d}.png" if names is None else names[i]
        Image.fromarray(image[0].numpy()).save(folder / name, format="PNG")
    return str(folder)
