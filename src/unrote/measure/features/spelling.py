"""From a spelling such as `dinov2:FOLDER@ambient-dinov2` to a feature map."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from unrote.contracts import InputError
from unrote.measure.features.cache import Cache
from unrote.measure.features.classifier import Classifier, train_classifier
from unrote.measure.features.extract import Block, as_pixels, content_key
from unrote.measure.features.maps import FeatureMap, pixels
from unrote.measure.features.pca import Components, fit_components
from unrote.measure.features.pretrained import open_clip, open_dinov2, open_inception
from unrote.measure.features.profiles import PROFILES, Profile, profile_named
from unrote.measure.features.weights import open_torchscript

FORMS = (
    "pixels; pca:64 or pca:64+white; classifier; torchscript:FILE; sscd:FILE; inception:FILE; dinov2:FOLDER; "
    "clip:FOLDER; a profile is named after FILE or FOLDER with @NAME"
)
"""What --features takes, in words."""


@runtime_checkable
class Labelled(Block, Protocol):
    """A training set in memory: images with their range and, maybe, labels."""

    @property
    def labels(self) -> Tensor | None:
        """Class of each image (N,), -1 where unknown; or None."""
        ...


@dataclass(frozen=True)
class Request:
    """What a map is opened for.

    Args:
        spelling: as the user wrote it.
        rest: what stands after the first colon, without the profile.
        profile: the profile's name, empty for the usual one.
        shape: (C,H,W) of one image.
        train: what is fitted or trained on; None where there is nothing.
        generator: for what is fitted or trained.
        device: where networks run.
        cache: where what was fitted is kept.
        sha256: what the file of weights must have, or None.
    """

    spelling: str
    rest: str
    profile: str
    shape: tuple[int, int, int]
    train: Labelled | None
    generator: torch.Generator
    device: torch.device
    cache: Cache | None
    sha256: str | None


def open_features(
    spelling: str,
    shape: tuple[int, int, int],
    generator: torch.Generator,
    *,
    train: Labelled | None = None,
    device: torch.device | str = "cpu",
    cache: Cache | None = None,
    sha256: str | None = None,
) -> FeatureMap:
    """The feature map of a spelling, ready for images of a shape.

    What is fitted (`pca`) or trained (`classifier`) is kept in the cache under the content of the training set
    and a seed drawn from the generator, so that it is the same whether it was remembered or not.

    Args:
        spelling: see `FORMS`.
        shape: (C,H,W) of one image.
        generator: for `pca` and `classifier`; one number is drawn from it by these two.
        train: the training set in memory, for `pca` and `classifier`.
        device: where networks run.
        cache: where what was fitted is kept; None for nowhere.
        sha256: what a single file of weights must have.

    Raises:
        InputError: for spellings, files, profiles or labels that cannot be used.
    """
    kind, colon, rest = spelling.partition(":")
    if kind not in _KINDS or bool(colon and rest) is not _KINDS[kind].takes_more:
        raise InputError(f"--features '{spelling}' is not understood. It takes: {FORMS}.")
    profile = ""
    if kind in _FILES:
        rest, profile = _cut_profile(rest)
    elif sha256 is not None:
        raise InputError(f"The features '{spelling}' are read from no file, so no SHA-256 can be expected.")
    request = Request(spelling, rest, profile, shape, train, generator, torch.device(device), cache, sha256)
    return _KINDS[kind].open(request)


def _cut_profile(rest: str) -> tuple[str, str]:
    """A path and the profile named after it; a path that exists with its @ is left alone."""
    path, at, name = rest.rpartition("@")
    if not at or (name not in PROFILES and Path(rest).exists()):
        return rest, ""
    return path, name


Opener = Callable[[str, Path, Profile | None, tuple[int, int, int], torch.device, str | None], FeatureMap]


def _file(architecture: str, opener: Opener, usual: str = "") -> Callable[[Request], FeatureMap]:
    def opened(request: Request) -> FeatureMap:
        name = request.profile or usual
        profile = profile_named(name, architecture) if name else None
        return opener(
            request.spelling,
            Path(request.rest).expanduser(),
            profile,
            request.shape,
            request.device,
            request.sha256,
        )

    return opened


def _pixels(request: Request) -> FeatureMap:
    return pixels(request.shape)


def _pca(request: Request) -> FeatureMap:
    number, plus, white = request.rest.partition("+")
    if not (number.isascii() and number.isdigit()) or (plus and white != "white"):
        raise InputError(
            f"--features '{request.spelling}' is not understood: after pca: stands the number of components, and "
            "maybe +white, for example pca:64 or pca:64+white."
        )
    train = _training(request)
    images, seed = as_pixels(train), _seed(request)
    key = _key("pca", number, str(seed), content_key(images))
    known = None if request.cache is None else request.cache.fitted(key)
    if known is not None:
        return Components.of(known).feature_map(bool(plus))
    components = fit_components(images, int(number), torch.Generator().manual_seed(seed))
    if request.cache is not None:
        request.cache.keep_fitted(key, components.tensors())
    return components.feature_map(bool(plus))


def _classifier(request: Request) -> FeatureMap:
    train = _training(request)
    images, seed = as_pixels(train), _seed(request)
    told = "none" if train.labels is None else content_key(train.labels[:, None, None, None])
    key = _key("classifier", told, str(seed), content_key(images))
    known = None if request.cache is None else request.cache.fitted(key)
    if known is not None:
        return Classifier.of(known).feature_map(request.device)
    classifier = train_classifier(images, train.labels, torch.Generator().manual_seed(seed))
    if request.cache is not None:
        request.cache.keep_fitted(key, classifier.tensors())
    return classifier.feature_map(request.device)


def _training(request: Request) -> Labelled:
    if request.train is None:
        raise InputError(
            f"The features '{request.spelling}' are fitted to a training set, and none was given. Name one, or use "
            "features that need none, for example dinov2:FOLDER."
        )
    return request.train


def _seed(request: Request) -> int:
    drawn = torch.randint(2**62, (1,), generator=request.generator, device=request.generator.device)
    return int(drawn)


def _key(*parts: str) -> str:
    return hashlib.sha256(" ".join(("1", *parts)).encode()).hexdigest()


@dataclass(frozen=True)
class _Kind:
    takes_more: bool
    open: Callable[[Request], FeatureMap]


_FILES = {
    "torchscript": _file("torchscript", open_torchscript),
    "sscd": _file("torchscript", open_torchscript, "sscd"),
    "inception": _file("torchscript", open_inception),
    "dinov2": _file("dinov2", open_dinov2),
    "clip": _file("clip", open_clip),
}
_KINDS = {
    "pixels": _Kind(False, _pixels),
    "pca": _Kind(True, _pca),
    "classifier": _Kind(False, _classifier),
    **{name: _Kind(True, opener) for name, opener in _FILES.items()},
}
