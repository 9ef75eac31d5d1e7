"""Pairs of networks, one trained on few pictures and one on many, with all that is asked of them.

Levels and swaps are asked of the same networks, so that each is trained once: one run is one pair.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from unrote.contracts import Denoiser
from unrote.denoise.exact import Empirical
from unrote.geometry.regimes import Zone
from unrote.lab.study import (
    MLP_SMALL,
    UNET_SMALL,
    ByLevel,
    Material,
    as_pixels,
    by_level,
    copied,
    features_of,
    geometry_of,
    material,
    network_of,
    prepared,
    quality,
    samples_of,
    trained,
)
from unrote.lab.wild_middle.paper import PAIR, options_of
from unrote.measure.features import FeatureMap
from unrote.measure.fidelity import gaussian_frechet, moments
from unrote.measure.neighbors import neighbors
from unrote.noise.levels import edm_levels, end_at_zero, log_levels
from unrote.sample.steps import euler, heun
from unrote.sample.windows import Window, all_windows, swapped, window_within

SEEDS = (0, 1, 2, 3, 4)
IMAGES = 64
"""Pictures that the network of few learns from."""
STEPS = 18
"""Levels of sampling, EDM's, as in the paper."""
LEVELS = (0.02, 40.0, 24)
"""Lowest and highest level of the curves, and how many, equally spaced in log sigma."""
UNET_OPTIONS = {"steps": 1600, "learning_rate": 2e-3, "warmup_steps": 100, "ema_decay": 0.995}
MLP_OPTIONS = {"steps": 2400, "learning_rate": 1e-3, "warmup_steps": 200, "ema_decay": 0.998}
DIGITS = {"set": "digits", "class": None, "side": 8, "images": IMAGES, "test": 500}
FACES = {"set": "lfw_faces_32", "class": None, "side": 8, "images": IMAGES, "test": 500}
KINDS: dict[str, dict[str, Any]] = {
    "unet": DIGITS | {"network": UNET_SMALL, "options": UNET_OPTIONS, "samples": 512, "map": 256},
    "mlp": DIGITS | {"network": MLP_SMALL, "options": MLP_OPTIONS, "samples": 512, "map": 256},
    "faces": FACES | {"network": UNET_SMALL, "options": UNET_OPTIONS, "samples": 512, "map": 0},
}
"""The pairs by name; "map" counts the samples of each window of the full map, 0 for no map."""
WORDS = {"unet": "U-Net, digits", "mlp": "MLP, digits", "faces": "U-Net, faces"}
PAPER_WINDOWS = {
    "from 0": {"large": (0, 6), "medium": (7, 13), "small": (14, 17)},
    "from 1": {"large": (0, 5), "medium": (6, 12), "small": (13, 17)},
}
"""The paper's "steps 7-13" and what is left on both sides, if its steps count from 0, and if they count from 1."""
SHOWN_LEVELS = (8.4, 1.923, 1.088, 0.585, 0.296, 0.06)
"""Levels of EDM's grid at which single denoising steps are shown."""
SHOWN = 3
"""Pictures shown at each level."""
SHOWN_SAMPLES = 8
"""Samples shown of each swap."""


def configurations(scale: str) -> Sequence[Mapping[str, Any]]:
    """Every pair at every seed; on digits at one seed, hardly trained, to see that it runs."""
    if scale == "smoke":
        little = {"samples": 256, "map": 4}
        return [
            KINDS[name]
            | little
            | {"name": name, "seed": 0, "options": KINDS[name]["options"] | {"steps": 40}}
            for name in ("unet", "mlp")
        ]
    if scale == "paper":
        return [PAIR | {"name": "edm", "seed": 0}]
    return [kind | {"name": name, "seed": seed} for name, kind in KINDS.items() for seed in SEEDS]


def sets(scale: str) -> tuple[str, ...]:
    """Picture sets beside the digits that ship with a dependency."""
    return tuple(sorted({asked["set"] for asked in configurations(scale)} - {"digits"}))


@dataclass(frozen=True, eq=False)
class Pair:
    """Both networks of one configuration, trained, and the pictures that they learned from.

    Args:
        made: the pictures; `few` learned from `made.train`, `many` from `made.many`.
        few, many: denoisers with averaged weights.
        seed: of pictures, weights, training and samples.
    """

    made: Material
    few: Denoiser
    many: Denoiser
    seed: int


def pair_of(asked: Mapping[str, Any]) -> Pair:
    """Train both networks of a configuration, equally long and from the same weights."""
    made, options = material(asked, asked["seed"]), options_of(asked["options"])
    few, many = (
        list(trained(x, network_of(asked["network"]), options, asked["seed"], (options.steps,)))[-1].denoiser
        for x in (made.train, made.many)
    )
    return Pair(made, few, many, asked["seed"])


def run(asked: Mapping[str, Any]) -> Mapping[str, Any]:
    """Train one pair and ask both networks and the empirical optimum everything that the claims need."""
    pair = pair_of(asked)
    _, label = prepared(asked["set"], asked["side"])
    features = features_of(asked) if bool(label.any()) else None  # a set without labels has no classifier
    found = geometry_of(pair.made, pair.seed)
    told: dict[str, Any] = {
        "geometry": {
            "crossing": found.crossing.value,
            "danger": ends(found.danger),
            "medium": ends(found.medium),
        },
        "levels": curves_of(pair),
        "fresh": {
            "few": share(pair.made.test, pair.made.train),
            "many": share(pair.made.test, pair.made.many),
        },
        "samples": sampled(pair, asked["samples"]),
        "swap": swaps(pair, windows_of(found.medium), asked["samples"], features),
    }
    if asked["map"]:
        told["map"] = whole_map(pair, asked["map"], features)
    if asked["set"] == "digits" and asked["seed"] == 0:  # pictures of other sets stay with their owners
        told["shown"] = one_step(pair)
        told["shown_samples"] = swapped_samples(pair)
    return told


def ends(zone: Zone | None) -> list[float] | None:
    """A zone as JSON."""
    return None if zone is None else [zone.low, zone.high]


def share(samples: Float[Tensor, "n C H W"], training: Float[Tensor, "N C H W"]) -> float:
    """The share of pictures that are copies."""
    return float(copied(samples, training).double().mean())


def curves_of(pair: Pair) -> dict[str, Any]:
    """Copies and errors by level of both networks and of the empirical optimum; copies are of the few pictures.

    The network of many is also held against its own pictures ("own").
    """
    sigma, made = log_levels(*LEVELS), pair.made
    told: dict[str, Any] = {"sigma": rounded(sigma.tolist())}
    asked = {"few": pair.few, "many": pair.many, "optimum": Empirical(made.train)}
    for name, denoiser in asked.items():
        told[name] = curve(by_level(denoiser, made, sigma, pair.seed))
    own = by_level(pair.many, Material(made.many, made.test, made.many), sigma, pair.seed)
    told["own"] = curve(own)
    return told


def curve(found: ByLevel) -> dict[str, list[float]]:
    """One denoiser's curves as JSON, without the levels."""
    return {
        "copies": rounded(found.copies),
        "train_error": rounded(found.train_error),
        "test_error": rounded(found.test_error),
    }


def rounded(values: Sequence[float]) -> list[float]:
    """Five digits, which a curve needs at most."""
    return [float(f"{value:.5g}") for value in values]


def sampled(pair: Pair, count: int) -> dict[str, Any]:
    """Copies among the samples of both networks along EDM's 18 levels, by Euler's and by Heun's steps."""
    told: dict[str, Any] = {"count": count}
    for name, denoiser in (("few", pair.few), ("many", pair.many)):
        for step in (euler, heun):
            x = samples_of(denoiser, pair.made.train.shape[1:], count, pair.seed, step, STEPS)
            told[f"{name}, {step.__name__}"] = int(copied(x, pair.made.train).sum())
            if name == "many":
                told[f"own, {step.__name__}"] = int(copied(x, pair.made.many).sum())
    return told


def windows_of(medium: Zone | None) -> dict[str, dict[str, Window | None]]:
    """The windows of a swap: the paper's under both ways of counting, and those of the regimes of the geometry.

    Args:
        medium: the medium regime, or None where an end is not known: then there are no windows of regimes.
    """
    windows: dict[str, dict[str, Window | None]] = {
        name: {part: Window(*indices) for part, indices in parts.items()}
        for name, parts in PAPER_WINDOWS.items()
    }
    if medium is not None:
        levels = edm_levels(STEPS)
        windows["regimes"] = {
            "large": window_within(levels, medium.high, float("inf")),
            "medium": window_within(levels, medium.low, medium.high),
            "small": window_within(levels, 0.0, medium.low),
        }
    return windows


def swap_samples(
    pair: Pair, into: bool, windows: Sequence[Window | None], count: int
) -> Iterator[tuple[Window | None, Tensor]]:
    """Samples of one network with a window of the other, Euler's 18 steps; all windows start from the same noise.

    Args:
        into: whether the window is of the network of few, put into samples of the network of many.
    """
    model, other = (pair.many, pair.few) if into else (pair.few, pair.many)
    seeds = [1_000_003 * (pair.seed + 1) + i for i in range(count)]
    levels = end_at_zero(edm_levels(STEPS))
    yield from swapped(model, other, pair.made.train.shape[1:], seeds, levels, windows, euler)


DIRECTIONS = {"away": False, "into": True}
"""Few pictures' network replaced within a window by that of many, and the reverse."""


def swaps(
    pair: Pair, windows: Mapping[str, Mapping[str, Window | None]], count: int, features: FeatureMap | None
) -> dict[str, Any]:
    """Copies and Frechet distance to test pictures of every swap in both directions."""
    wanted = list(dict.fromkeys([None, *(w for parts in windows.values() for w in parts.values())]))
    told: dict[str, Any] = {
        "count": count,
        "windows": {
            name: {part: None if w is None else [w.first, w.last] for part, w in parts.items()}
            for name, parts in windows.items()
        },
    }
    for direction, into in DIRECTIONS.items():
        told[direction] = {}
        for window, x in swap_samples(pair, into, wanted, count):
            distance = None if features is None else quality(x, pair.made.test, features)
            told[direction][window_key(window)] = {
                "copies": int(copied(x, pair.made.train).sum()),
                "distance": None if distance is None else distance.distance.as_dict(),
            }
    return told


def window_key(window: Window | Sequence[int] | None) -> str:
    """A window as the name of an entry: "7-13", or "none"."""
    if window is None:
        return "none"
    first, last = (window.first, window.last) if isinstance(window, Window) else window
    return f"{first}-{last}"


def whole_map(pair: Pair, count: int, features: FeatureMap | None) -> dict[str, Any]:
    """Copies and Frechet distance of every window of the schedule in both directions.

    Distances are plain ones of `count` samples, with the bias that this number brings; they compare with one another
    alone, and are None where the samples are too few for the features.
    """
    told: dict[str, Any] = {"count": count}
    enough = features is not None and 2 * features.dimension <= min(count, len(pair.made.test))
    real = moments(features(as_pixels(pair.made.test[:count]))) if features is not None and enough else None
    for direction, into in DIRECTIONS.items():
        told[direction] = {}
        for window, x in swap_samples(pair, into, [None, *all_windows(STEPS)], count):
            distance = None
            if features is not None and real is not None:
                distance = float(f"{gaussian_frechet(moments(features(as_pixels(x))), real):.5g}")
            told[direction][window_key(window)] = [int(copied(x, pair.made.train).sum()), distance]
    return told


def one_step(pair: Pair) -> list[dict[str, Any]]:
    """Single denoising steps from the same noise: the picture, its noisy form, every output with its neighbour."""
    made, told = pair.made, []
    clean = made.test[:SHOWN]
    z = torch.randn(clean.shape, generator=torch.Generator().manual_seed(pair.seed + 11))
    asked = {"few": pair.few, "many": pair.many, "optimum": Empirical(made.train)}
    for level in SHOWN_LEVELS:
        noisy = clean + level * z
        sigma = torch.full((SHOWN,), level)
        with torch.no_grad():
            outputs = {name: denoiser(noisy, sigma) for name, denoiser in asked.items()}
        for row in range(SHOWN):
            entry: dict[str, Any] = {"level": level, "clean": packed(clean[row]), "noisy": packed(noisy[row])}
            for name, out in outputs.items():
                training = made.many if name == "many" else made.train
                one = out[row : row + 1]
                nearest = neighbors(as_pixels(one), as_pixels(training), 1).index[0, 0]
                entry[name] = {
                    "out": packed(one[0]),
                    "nearest": packed(training[nearest]),
                    "copy": bool(copied(one, made.train)[0]),
                }
            told.append(entry)
    return told


def swapped_samples(pair: Pair) -> dict[str, dict[str, list[str]]]:
    """A few samples of every swap of the paper's windows, counted from 0."""
    parts = {part: Window(*indices) for part, indices in PAPER_WINDOWS["from 0"].items()}
    names = {window_key(window): part for part, window in parts.items()} | {"none": "none"}
    return {
        direction: {
            names[window_key(window)]: [packed(one) for one in x]
            for window, x in swap_samples(pair, into, [None, *parts.values()], SHOWN_SAMPLES)
        }
        for direction, into in DIRECTIONS.items()
    }


def packed(x: Float[Tensor, "C H W"]) -> str:
    """One picture as text: its 8-bit pixels in base 64."""
    return base64.b64encode(as_pixels(x[None]).flatten().numpy().tobytes()).decode()


def unpacked(text: str, side: int = 8) -> Tensor:
    """The pixels of a grey picture that `packed` wrote, uint8 (1,H,W)."""
    pixels = torch.frombuffer(bytearray(base64.b64decode(text)), dtype=torch.uint8)
    return pixels.reshape(1, side, side)
