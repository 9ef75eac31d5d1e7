"""Principal components of a training set's pixels as features: no network, no labels, fitted in seconds."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float32, Float64, Shaped
from torch import Tensor

from unrote.contracts import InputError
from unrote.measure.features.maps import FeatureMap, digest
from unrote.measure.features.profiles import PIXELS

EXACT = 4096
"""Up to this many pixels, or images, the components are exact; beyond, they are iterated."""

_BLOCK = 1024
_SPARE, _ROUNDS = 16, 12  # extra directions and rounds of the iteration


@dataclass(frozen=True, eq=False)
class Components:
    """The k directions of largest variance of a training set.

    Args:
        mean: of the training set (D,), pixels from 0 to 1.
        directions: orthonormal, one a row (k,D), largest variance first; the largest entry of each is positive.
        variance: of the training set along each (k,), with N - 1.
        explained: share of the total variance.
        shape: (C,H,W) of one image.
    """

    mean: Float32[Tensor, " D"]
    directions: Float32[Tensor, "k D"]
    variance: Float64[Tensor, " k"]
    explained: float
    shape: tuple[int, int, int]

    def feature_map(self, whiten: bool = False) -> FeatureMap:
        """y = V (x - mean), divided by the standard deviation along each direction if whitened.

        Raises:
            InputError: where a direction without variance would be whitened.
        """
        scale = torch.ones(len(self.directions))
        if whiten:
            if float(self.variance.min()) <= 1e-12 * float(self.variance.max()):
                raise InputError(
                    f"The training set varies in fewer than {len(self.variance)} directions, so they cannot be "
                    "brought to equal variance. Ask for fewer components, or leave out the whitening."
                )
            scale = self.variance.rsqrt().float()
        matrix = self.directions * scale[:, None]
        return FeatureMap(
            name=f"pca:{len(self.directions)}" + ("+white" if whiten else ""),
            profile=PIXELS,
            weights=digest([self.mean, matrix]),
            dimension=len(matrix),
            network=lambda x: (x.flatten(1) - self.mean) @ matrix.T,
            batch=_BLOCK,
            kept=False,
            facts={"explained_variance": self.explained},
        )

    def tensors(self) -> dict[str, Tensor]:
        """All of it as tensors, for `Components.of`."""
        return {
            "mean": self.mean,
            "directions": self.directions,
            "variance": self.variance,
            "explained": torch.tensor(self.explained, dtype=torch.float64),
            "shape": torch.tensor(self.shape),
        }

    @staticmethod
    def of(tensors: dict[str, Tensor]) -> Components:
        """The inverse of `tensors`."""
        channels, height, width = tensors["shape"].tolist()
        return Components(
            tensors["mean"],
            tensors["directions"],
            tensors["variance"],
            float(tensors["explained"]),
            (channels, height, width),
        )


def fit_components(images: Shaped[Tensor, "N C H W"], k: int, generator: torch.Generator) -> Components:
    """The leading k eigenvectors of the covariance sum (x - mean)(x - mean)^T / (N - 1).

    With up to 4,096 pixels or images they come from an eigendecomposition of the smaller of covariance and
    Gram matrix, in float64; beyond, from 12 rounds of subspace iteration with 16 spare directions.

    Args:
        images: uint8, or float in [0,1].
        k: number of components.
        generator: starts the iteration of large sets.

    Raises:
        InputError: for a k that is not between 1 and the number of directions there can be.

    Source: Pearson 1901; the iteration is Halko, Martinsson and Tropp 2011, algorithm 4.4.
    """
    n, pixels = len(images), math.prod(images.shape[1:])
    most = min(n - 1, pixels)
    if not 1 <= k <= most:
        raise InputError(
            f"{k} principal components were asked for. {n:,} images of {pixels:,} pixels vary in at most {most:,} "
            "directions: ask for a number from 1 to that, for example pca:64."
        )
    mean = (torch.stack([x.sum(0) for x in _blocks(images)]).sum(0) / n).float()
    total = sum(float((x - mean).square().sum()) for x in _blocks(images))
    if not total > 0:
        raise InputError("All training images are alike, so they have no principal components.")
    if pixels <= EXACT:
        squares, directions = _top(_covariance(images, mean), k)
    elif n <= EXACT:
        centred = torch.cat([x - mean for x in _blocks(images)])
        squares, columns = _top(centred @ centred.T, k)
        directions = columns @ centred
    else:
        squares, directions = _iterated(images, mean, k, generator)
    directions = torch.nn.functional.normalize(directions, dim=1)
    largest = directions.gather(1, directions.abs().argmax(1, keepdim=True))
    return Components(
        mean=mean,
        directions=(directions * largest.sign()).float().contiguous(),
        variance=squares.clamp_min(0) / (n - 1),
        explained=min(1.0, float(squares.clamp_min(0).sum()) / total),
        shape=(images.shape[1], images.shape[2], images.shape[3]),
    )


def _blocks(images: Tensor) -> Iterator[Float[Tensor, "n D"]]:
    for block in images.split(_BLOCK):
        yield PIXELS.prepare(block).flatten(1).double()


def _covariance(images: Tensor, mean: Tensor) -> Tensor:
    total = torch.zeros(len(mean), len(mean), dtype=torch.float64)
    for block in _blocks(images):
        # One block's sums in float32 are off by 1e-6 of the variance, a quarter of the time of float64.
        centred = (block - mean).float()
        total += (centred.T @ centred).double()
    return total


def _top(matrix: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest eigenvalues of a symmetric matrix, largest first, and their eigenvectors as rows."""
    values, columns = torch.linalg.eigh(matrix)
    return values.flip(0)[:k], columns.flip(1)[:, :k].T


def _iterated(images: Tensor, mean: Tensor, k: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    width = k + _SPARE
    basis = torch.randn(len(mean), width, generator=generator, device=generator.device).cpu()
    for _ in range(_ROUNDS):
        basis, _ = torch.linalg.qr(_applied(images, mean, basis))
    small = basis.double().T @ _applied(images, mean, basis).double()
    squares, rows = _top((small + small.T) / 2, k)
    return squares, rows @ basis.double().T


def _applied(images: Tensor, mean: Tensor, basis: Tensor) -> Tensor:
    """The covariance (times N - 1) times a matrix, without ever holding the covariance."""
    total = torch.zeros(basis.shape, dtype=torch.float64)
    for block in _blocks(images):
        centred = (block - mean).float()
        total += (centred.T @ (centred @ basis)).double()
    return total.float()
