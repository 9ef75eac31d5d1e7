"""DINOv2 and CLIP from local folders, through transformers; nothing is downloaded."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unrote.contracts import InputError
from unrote.measure.features.maps import FeatureMap, probe
from unrote.measure.features.profiles import CLIP, DINOV2, Profile
from unrote.measure.features.weights import (
    CLIP_MODELS,
    DINOV2_MODELS,
    TORCHSCRIPT,
    Published,
    check_file,
    missing,
    open_torchscript,
)

_WEIGHTS = ("*.safetensors", "pytorch_model*.bin")
"""Files of weights, the first kind that is there; the second is read with weights only."""


def open_dinov2(
    spelling: str,
    path: Path,
    profile: Profile | None,
    shape: tuple[int, int, int],
    device: torch.device,
    sha256: str | None = None,
) -> FeatureMap:
    """DINOv2's class token after the last layer norm, from a folder of transformers; arguments as for TorchScript.

    Raises:
        InputError: where transformers, the folder or weights are missing, or do not fit each other.

    Source: Oquab and others 2023. Deviation of transformers that is undone here: see `positions`.
    """
    profile = DINOV2 if profile is None else profile
    config, weights = _described(spelling, path, DINOV2_MODELS, ("dinov2",), sha256)
    patch = int(config.get("patch_size", 14))
    _check_patch(spelling, profile, patch, shape)
    model = _loaded(spelling, path, lambda t: t.Dinov2Model)
    if profile.position_offset:
        table = model.embeddings.position_embeddings
        model.embeddings.interpolate_pos_encoding = functools.partial(
            _positions_of, table.detach().to(device), patch, profile.position_offset
        )
    model = model.to(device)

    def network(x: Tensor) -> Tensor:
        return model(pixel_values=x).last_hidden_state[:, 0]

    return FeatureMap(
        name=f"dinov2:{path.name}",
        profile=profile,
        weights=weights,
        dimension=probe(spelling, profile, network, shape, device),
        network=network,
        device=device,
        notes=_recognised(path, DINOV2_MODELS, sha256),
    )


def open_clip(
    spelling: str,
    path: Path,
    profile: Profile | None,
    shape: tuple[int, int, int],
    device: torch.device,
    sha256: str | None = None,
) -> FeatureMap:
    """CLIP's image embedding (after the projection), from a folder of transformers; arguments as for TorchScript.

    A folder that holds a vision tower without a projection gives the pooled output, and says so.

    Raises:
        InputError: as for `open_dinov2`.

    Source: Radford and others 2021.
    """
    profile = CLIP if profile is None else profile
    config, weights = _described(spelling, path, CLIP_MODELS, ("clip", "clip_vision_model"), sha256)
    vision = config.get("vision_config", config)
    _check_patch(spelling, profile, int(vision.get("patch_size", 32)), shape)
    notes = _recognised(path, CLIP_MODELS, sha256)
    embed, lacking = _clip_parts(spelling, path, config, device)
    if lacking:
        notes += (f"{path.name} holds no projection, so features are the vision tower's pooled output.",)

    return FeatureMap(
        name=f"clip:{path.name}",
        profile=profile,
        weights=weights,
        dimension=probe(spelling, profile, embed, shape, device),
        network=embed,
        device=device,
        notes=notes,
    )


def _clip_parts(
    spelling: str, path: Path, config: dict[str, Any], device: torch.device
) -> tuple[Callable[[Tensor], Tensor], bool]:
    """Images -> embeddings, and whether a projection is lacking."""
    if config["model_type"] == "clip":
        # The configuration of the vision tower alone may state another width of the projection.
        whole = _loaded(spelling, path, lambda t: t.CLIPModel)
        tower, projection = whole.vision_model.to(device), whole.visual_projection.to(device)
        return lambda x: projection(tower(pixel_values=x).pooler_output), False
    if "CLIPVisionModelWithProjection" in (config.get("architectures") or []):
        projected = _loaded(spelling, path, lambda t: t.CLIPVisionModelWithProjection).to(device)
        return lambda x: projected(pixel_values=x).image_embeds, False
    alone = _loaded(spelling, path, lambda t: t.CLIPVisionModel).to(device)
    return lambda x: alone(pixel_values=x).pooler_output, True


def open_inception(
    spelling: str,
    path: Path,
    profile: Profile | None,
    shape: tuple[int, int, int],
    device: torch.device,
    sha256: str | None = None,
) -> FeatureMap:
    """Inception as FID uses it: a TorchScript file, or a folder that holds exactly one; arguments as there.

    Raises:
        InputError: where there is no such file, or the folder is one of transformers, whose Inception has other
            weights and whose features are not comparable.
    """
    options = tuple(option for option in TORCHSCRIPT if option.file.startswith("inception"))
    if not path.exists():
        raise missing(spelling, path, options)
    if path.is_file():
        return open_torchscript(spelling, path, profile, shape, device, sha256)
    files = sorted(file for suffix in ("*.pt", "*.ts", "*.torchscript") for file in path.glob(suffix))
    if len(files) != 1:
        held = f"{len(files)} TorchScript files" if files else "no TorchScript file"
        raise InputError(
            f"'{spelling}' is a folder with {held}, and one is needed. Inception folders of transformers (through "
            "timm) hold ImageNet's weights in another architecture, whose features are not those of FID. Fetch "
            f"FID's with: {options[0].fetch(str(path / options[0].file))}."
        )
    return open_torchscript(spelling, files[0], profile, shape, device, sha256)


def positions(
    table: Float[Tensor, "1 P F"], rows: int, columns: int, offset: float
) -> Float[Tensor, "1 p F"]:
    """DINOv2's position embeddings for another number of patches, as its authors' program makes them.

    The grid of M x M patches is interpolated (bicubic) with the scale (rows + offset) / M, which also tells
    where each patch lies: patch i at (i + 1/2) M / (rows + offset) - 1/2. The authors use offset = 0.1;
    transformers uses 0, which shifts the last of 5 patches by 0.65 patches of the table.

    Args:
        table: class token first, then M x M patches.
        rows, columns: patches of the images.
        offset: added to both.

    Source: the authors' released vision transformer, interpolate_pos_encoding.
    """
    side = round((table.shape[1] - 1) ** 0.5)
    if (rows, columns) == (side, side):
        return table
    grid = table[:, 1:].float().reshape(1, side, side, -1).permute(0, 3, 1, 2)
    scale = [(rows + offset) / side, (columns + offset) / side]
    grid = nn.functional.interpolate(grid, scale_factor=scale, mode="bicubic", align_corners=False)
    return torch.cat([table[:, :1], grid.permute(0, 2, 3, 1).flatten(1, 2)], dim=1)


def _positions_of(
    table: Tensor, patch: int, offset: float, embeddings: Tensor, height: int, width: int
) -> Tensor:
    return positions(table, height // patch, width // patch, offset).to(embeddings.dtype)


def _check_patch(spelling: str, profile: Profile, patch: int, shape: tuple[int, int, int]) -> None:
    if profile.patch and profile.patch != patch:
        raise InputError(
            f"The profile '{profile.name}' is made for patches of {profile.patch} pixels, and '{spelling}' has "
            f"patches of {patch}. Use the weights that it is made for ({profile.source}), or another profile."
        )
    height, width = profile.prepare(torch.zeros(1, *shape, dtype=torch.uint8)).shape[2:]
    if height % patch or width % patch:
        raise InputError(
            f"The profile '{profile.name}' makes images of {width}x{height} pixels, and '{spelling}' cuts them into "
            f"patches of {patch}: the rest would be left out. Choose a profile that resizes or fills up to a "
            f"multiple of {patch}."
        )


def _described(
    spelling: str, path: Path, options: tuple[Published, ...], kinds: tuple[str, ...], sha256: str | None
) -> tuple[dict[str, Any], str]:
    """The configuration of a folder and the SHA-256 of all its weights."""
    if not path.is_dir():
        raise missing(spelling, path, options)
    if not (path / "config.json").is_file():
        raise InputError(
            f"'{spelling}' names {path}, which has no config.json and so is no folder of transformers. Fetch one "
            f"with: {options[0].fetch(str(path))}."
        )
    try:
        raw = (path / "config.json").read_bytes()
        config = json.loads(raw)
        kind = str(config["model_type"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path / 'config.json'} is damaged ({type(error).__name__}). Fetch it again with: "
            f"{options[0].fetch(str(path))}."
        ) from error
    if kind not in kinds:
        raise InputError(
            f"'{spelling}' names a folder with a network of type '{kind}'; needed is {' or '.join(kinds)}, for "
            f"example {options[0].url} at revision {options[0].revision}."
        )
    files = _weight_files(path)
    if not files:
        raise InputError(
            f"'{spelling}' names {path}, which has a config.json and no weights ({' or '.join(_WEIGHTS)}). Fetch "
            f"them with: {options[0].fetch(str(path))}."
        )
    only = len(files) == 1
    total = hashlib.sha256(raw)
    for file in files:
        total.update(check_file(file, None, sha256 if only else None).encode())
    if sha256 and not only:
        raise InputError(
            f"'{spelling}' has {len(files)} files of weights, so one SHA-256 cannot be expected."
        )
    return config, total.hexdigest()


def _weight_files(path: Path) -> list[Path]:
    return next((files for pattern in _WEIGHTS if (files := sorted(path.glob(pattern)))), [])


def _recognised(path: Path, options: tuple[Published, ...], sha256: str | None) -> tuple[str, ...]:
    """What the size of the weights says of where they come from."""
    size = sum(file.stat().st_size for file in _weight_files(path))
    for option in options:
        if option.bytes == size:
            return (f"{path.name} has the size of the published {option.url}.",)
    if sha256:
        return ()
    return (f"{path.name} was not compared with published weights; its SHA-256 stands in the result.",)


def _loaded(spelling: str, path: Path, kind: Callable[[Any], Any]) -> Any:
    """A network with all of its weights, in float32, for inference."""
    try:
        import transformers
    except ImportError as error:
        raise InputError(
            f"'{spelling}' needs transformers, which is not installed: pip install 'unrote[features]'."
        ) from error
    safe = _weight_files(path)[0].suffix == ".safetensors"
    try:
        with _quiet(transformers.utils.logging):
            model, report = kind(transformers).from_pretrained(
                str(path),
                local_files_only=True,
                use_safetensors=safe,
                weights_only=True,
                output_loading_info=True,
            )
    except Exception as error:
        # Every reader behind transformers has its own errors for damaged files.
        line = next((part for part in str(error).splitlines() if part.strip()), type(error).__name__)
        raise InputError(
            f"'{spelling}': the weights in {path} cannot be loaded ({line.strip()}). They are damaged, cut short, or "
            "do not belong to the config.json beside them: fetch the folder again."
        ) from error
    lacking = sorted(map(str, [*report["missing_keys"], *report.get("mismatched_keys", [])]))
    if lacking:
        raise InputError(
            f"'{spelling}': the weights in {path} lack {len(lacking)} of the network's tensors (for example "
            f"{lacking[0]}), which would be filled with random numbers. They belong to another architecture than "
            "config.json says: fetch the folder again."
        )
    return model.float().eval().requires_grad_(False)


@contextmanager
def _quiet(logging: Any) -> Iterator[None]:
    """No progress bars and no advice of transformers while it loads."""
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
