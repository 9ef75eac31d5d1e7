"""Files of weights: what to fetch and from where, whether what is there is whole, and TorchScript."""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unrote.contracts import InputError
from unrote.measure.features.maps import BATCH, FeatureMap, probe
from unrote.measure.features.profiles import (
    CLIP,
    DINOV2,
    INCEPTION_STYLEGAN,
    PROFILES,
    SSCD,
    Profile,
)

_LFS = b"version https://git-lfs"


@dataclass(frozen=True)
class Published:
    """Weights that others publish.

    Args:
        file: name of the file of weights.
        url: the file itself, or the repository that holds it.
        revision: of a repository; empty for a file.
        bytes: size of the file; 0 where it is not known.
        sha256: of the file; empty where it is not known.
        profile: how its authors prepare images.
    """

    file: str
    url: str
    revision: str = ""
    bytes: int = 0
    sha256: str = ""
    profile: Profile = SSCD

    def fetch(self, place: str) -> str:
        """What to type to get it into a place."""
        size = f" ({self.bytes:,} bytes, SHA-256 {self.sha256})" if self.sha256 else ""
        if not self.revision:
            return f"curl -fL -o {place} {self.url}{size}"
        files = f"config.json {self.file}"
        return f"hf download {self.url} {files} --revision {self.revision} --local-dir {place}{size}"


_META = "https://dl.fbaipublicfiles.com/sscd-copy-detection"
_NVIDIA = "https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/metrics"

TORCHSCRIPT = (
    Published("sscd_disc_mixup.torchscript.pt", f"{_META}/sscd_disc_mixup.torchscript.pt"),
    Published("sscd_disc_large.torchscript.pt", f"{_META}/sscd_disc_large.torchscript.pt"),
    Published("sscd_imagenet_mixup.torchscript.pt", f"{_META}/sscd_imagenet_mixup.torchscript.pt"),
    Published(
        "inception-2015-12-05.pt",
        f"{_NVIDIA}/inception-2015-12-05.pt",
        bytes=95_607_719,
        sha256="f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4",
        profile=INCEPTION_STYLEGAN,
    ),
)
"""TorchScript files that people use, and whose profile is known."""

DINOV2_MODELS = (
    Published(
        "model.safetensors",
        "facebook/dinov2-giant",
        "611a9d42f2335e0f921f1e313ad3c1b7178d206d",
        4_546_005_432,
        "917d3c470db999d32a312f8542149be91c7cbac61ee8fb4b67ae3d82b79ce21f",
        DINOV2,
    ),
    Published(
        "model.safetensors",
        "facebook/dinov2-large",
        "47b73eefe95e8d44ec3623f8890bd894b6ea2d6c",
        1_217_522_888,
        "399fba97a95f22c36834418bc69373364a99af3a1153da1c0fb31db567c92e23",
        DINOV2,
    ),
    Published(
        "model.safetensors",
        "facebook/dinov2-base",
        "f9e44c814b77203eaa57a6bdbbd535f21ede1415",
        profile=DINOV2,
    ),
)
"""DINOv2 for transformers; papers use the giant one."""

CLIP_MODELS = (
    Published(
        "model.safetensors",
        "openai/clip-vit-large-patch14",
        "32bd64288804d66eefd0ccbe215aa642df71cc41",
        profile=CLIP,
    ),
    Published(
        "pytorch_model.bin",
        "openai/clip-vit-base-patch16",
        "57c216476eefef5ab752ec549e440a49ae4ae5f3",
        profile=CLIP,
    ),
)
"""CLIP for transformers."""


def missing(spelling: str, place: Path, options: tuple[Published, ...]) -> InputError:
    """The error that names exactly what to fetch and where to put it; nothing is fetched by itself."""
    named = next((option for option in options if option.file == place.name), options[0])
    others = ", ".join(option.url for option in options if option is not named)
    return InputError(
        f"'{spelling}' names {place}, which is not there. Nothing is downloaded by itself. Fetch it with: "
        f"{named.fetch(str(place))}. Others that fit: {others}."
    )


def check_file(path: Path, expected: Published | None, sha256: str | None) -> str:
    """The SHA-256 of a file, which must be what it is expected to be.

    Args:
        path: a file of weights.
        expected: published weights that the file's name claims to be, or None.
        sha256: what the user says that it is, or None.

    Raises:
        InputError: where the file is a Git LFS pointer, cut short, or another one.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(len(_LFS))
    if start == _LFS:
        raise InputError(
            f"{path} holds {size} bytes, which say where Git LFS keeps the file, not the weights. Run `git lfs "
            "pull` in its folder, or download the file itself."
        )
    if expected is not None and expected.bytes and size != expected.bytes:
        raise InputError(
            f"{path} has {size:,} bytes, and the published {expected.file} has {expected.bytes:,}: a download "
            f"that was cut short, or another file. Fetch it again with: {expected.fetch(str(path))}; or give "
            "other weights another name."
        )
    found = file_sha256(path)
    wanted = sha256 or (expected.sha256 if expected is not None else "")
    if wanted and found != wanted.lower():
        raise InputError(
            f"{path} has the SHA-256 {found}, and {wanted.lower()} was expected. It is damaged or another file: "
            "fetch it again, or give other weights another name (and the hash that belongs to them)."
        )
    return found


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def open_torchscript(
    spelling: str,
    path: Path,
    profile: Profile | None,
    shape: tuple[int, int, int],
    device: torch.device,
    sha256: str | None = None,
) -> FeatureMap:
    """A TorchScript file as a feature map.

    A TorchScript file is a program in a small language of tensors, run by PyTorch's own interpreter: it is no
    pickle and cannot run Python, but like any program it is only to be used from a source that one trusts.
    Its hash stands in the result.

    Args:
        spelling: how the user named it, for messages.
        path: the file.
        profile: how images are prepared; None where the file's name says it.
        shape: (C,H,W) of one image.
        device: where it runs.
        sha256: what the file must have, or None.

    Raises:
        InputError: where the file is missing, damaged, a pickle, or does not fit the profile.
    """
    if not path.is_file():
        raise missing(spelling, path, TORCHSCRIPT)
    known = next((option for option in TORCHSCRIPT if option.file == path.name), None)
    weights = check_file(path, known, sha256)
    if profile is None:
        if known is None:
            fitting = ", ".join(name for name, p in PROFILES.items() if "torchscript" in p.architectures)
            raise InputError(
                f"'{spelling}' does not say how images are prepared, and the file's name is not one that is "
                f"known. Name a profile after the file, as in {spelling}@sscd. Profiles: {fitting}."
            )
        profile = known.profile
    module = _load(path, device)
    keywords = dict(profile.keywords)

    def network(x: Tensor) -> Any:
        found = module(x, **keywords)
        return found[0] if isinstance(found, tuple | list) and len(found) == 1 else found

    return FeatureMap(
        name=f"torchscript:{path.name}",
        profile=profile,
        weights=weights,
        dimension=probe(spelling, profile, network, shape, device),
        network=network,
        device=device,
        batch=BATCH,
        notes=(f"{path.name} is a TorchScript program and was run; its SHA-256 is {weights}.",),
    )


def _load(path: Path, device: torch.device) -> torch.jit.ScriptModule:
    refusal = (
        "unpickling runs whatever code the file holds, so it is not read. Export the network with "
        "torch.jit.trace(network.eval(), example).save(FILE), or fetch the TorchScript file of the same weights"
    )
    if not zipfile.is_zipfile(path):
        raise InputError(
            f"{path} is no TorchScript file: it is a pickle, or its end is missing. A pickle is refused, because "
            f"{refusal}."
        )
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            # PyTorch itself does not look at the checksums, and would load a flipped bit as a weight.
            damaged = archive.testzip()
    except (zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"{path} is damaged ({error}). Fetch it again.") from error
    if damaged is not None:
        raise InputError(f"{path} is damaged: its part {damaged} does not have its checksum. Fetch it again.")
    if not any("/code/" in name for name in names):
        raise InputError(f"{path} was written by torch.save and is a pickle: {refusal}.")
    try:
        return torch.jit.load(str(path), map_location=device).eval()
    except (RuntimeError, ValueError, OSError) as error:
        line = next((part for part in str(error).splitlines() if part.strip()), "no reason given")
        raise InputError(
            f"{path} is a TorchScript file that PyTorch {torch.__version__} cannot load ({line.strip()}). It is "
            "damaged, or was made for a much newer PyTorch: fetch it again."
        ) from error
