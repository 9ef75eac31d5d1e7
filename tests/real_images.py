"""Chosen rows of the real image sets beside the checkout, as vectors in [-1, 1]."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import torch
from torch import Tensor


def rows_of(folder: Path, split: str, rows: np.ndarray) -> Tensor:
    """Images of a Parquet file, decoded by Pillow, pixels u/127.5 - 1 (n,D) float32."""
    from PIL import Image
    from pyarrow import parquet

    (file,) = folder.glob(f"{split}-*.parquet")
    held = parquet.read_table(file, columns=["image"])["image"].take(rows).to_pylist()
    x = np.stack([np.asarray(Image.open(io.BytesIO(row["bytes"]))) for row in held])
    return torch.from_numpy(x.reshape(len(x), -1)).float() / 127.5 - 1
