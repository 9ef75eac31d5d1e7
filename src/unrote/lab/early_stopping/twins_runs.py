"""One run of the twins: networks trained on disjoint halves side by side, and at every checkpoint how alike they are.

Samples of all networks start from the same noise and follow the same deterministic path, so that sample i of one may be
compared with sample i of another.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from unrote.contracts import Denoiser, Examples
from unrote.lab.early_stopping.law_runs import paired
from unrote.lab.study import (
    Checkpoint,
    Material,
    as_pixels,
    copied,
    geometry_of,
    material,
    network_of,
    parted,
    prepared,
    samples_of,
    trained,
)
from unrote.lab.wild_middle.gap_runs import weight, written
from unrote.lab.wild_middle.paper import options_of
from unrote.measure.denoising import denoised_levels
from unrote.measure.features.pca import Components, fit_components
from unrote.measure.similarity import most_similar
from unrote.measure.whitening import cosine, holding, nearest_cosine, whitened
from unrote.noise.levels import log_levels
from unrote.train.probe import Probe

LEVELS = (0.05, 20.0, 14)
"""Where outputs are compared: lowest and highest level, and how many."""
COMPARED = 128
"""Fresh pictures on which they are."""
ELSE = 10_000
"""Added to the seed of a network that shares neither start weights nor training noise with the first."""
SHARE = 0.95
"""Of the variance in the whitened directions."""
OTHERS = (0.8, 0.9, 0.99)
"""Further shares, at which only the two curves are kept."""
STRIP = 6
"""Samples of each network that are shown."""

White = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Trained:
    """What a network is made of.

    Args:
        half: 0 or 1, the half of the pictures that it learns from.
        apart: whether its start weights and its training noise differ from those of the first network.
    """

    half: int
    apart: bool


FIRST, SECOND, THIRD = "first", "second", "third"
NETWORKS = {FIRST: Trained(0, False), SECOND: Trained(1, True), THIRD: Trained(1, False)}
"""The twins, which share nothing but the noise of sampling, and a third network between them."""
TWINS, SAME_START, SAME_DATA = "twins", "same start", "same data"
PAIRS = {TWINS: (FIRST, SECOND), SAME_START: (FIRST, THIRD), SAME_DATA: (SECOND, THIRD)}


@dataclass(frozen=True, eq=False)
class Halves:
    """Disjoint halves of the training pictures, and pictures that no network learns from.

    Args:
        parts: each a training set (P,C,H,W).
        test: fresh pictures (M,C,H,W).
    """

    parts: tuple[Float[Tensor, "P C H W"], Float[Tensor, "P C H W"]]
    test: Float[Tensor, "M C H W"]


def halves_of(made: Material) -> Halves:
    """The first and the second half of the training pictures."""
    half = len(made.train) // 2
    return Halves((made.train[:half], made.train[half:]), made.test)


def whitening(asked: Mapping[str, Any]) -> dict[float, White]:
    """By share, whitening fitted to the pictures kept apart, which no network learns from; the same at every seed."""
    apart, _ = parted(asked)
    x = prepared(asked["set"], asked["side"])[0][apart]
    every = fit_components(x, min(len(x) - 1, x[0].numel()), torch.Generator().manual_seed(0))
    return {share: white_in(holding(every, share)) for share in (SHARE, *OTHERS)}


def white_in(components: Components) -> White:
    """Pictures from -1 to 1, cut to 8 bits, as whitened vectors."""
    return lambda x: whitened(components, as_pixels(x))


def relative_difference(
    a: Float[Tensor, "T n C H W"], b: Float[Tensor, "T n C H W"], clean: Float[Tensor, "n C H W"]
) -> Float[Tensor, " T"]:
    """How far two denoisers are apart at every level, as a share of their errors.

    r = E|A - B|^2 / (E|A - x0|^2 + E|B - x0|^2): 0 if both give the same, 1 if their errors have nothing in common, 2
    if they are opposite. What neither can know is an error that both share.
    """
    a, b, x0 = a.double(), b.double(), clean.double()
    apart, *errors = ((one - other).square().flatten(1).mean(1) for one, other in ((a, b), (a, x0), (b, x0)))
    return apart / (errors[0] + errors[1])


@dataclass(frozen=True, eq=False)
class Seen:
    """One network at one checkpoint: its samples, and fresh pictures denoised by it at every level."""

    samples: Float[Tensor, "n C H W"]
    outputs: Float[Tensor, "T m C H W"]


def run(asked: Mapping[str, Any]) -> Mapping[str, Any]:
    """Train the networks of a configuration in step, and compare them with each other and with their pictures."""
    seed, names = int(asked["seed"]), list(asked["networks"])
    halves = halves_of(material(asked["pictures"], seed))
    white = whitening(asked["pictures"])
    plans = {name: NETWORKS[name] for name in names}
    options, at = options_of(asked["options"]), list(asked["at"])
    runs = [
        trained(
            halves.parts[plan.half],
            network_of(asked["network"]),
            options,
            seed + ELSE * plan.apart,
            at,
        )
        for plan in plans.values()
    ]
    probes = probes_of(halves, seed)
    single: dict[str, dict[str, list[float]]] = {name: {} for name in names}
    pairs: dict[str, dict[str, list[Any]]] = {
        name: {} for name, (a, b) in PAIRS.items() if {a, b} <= set(names)
    }
    kept, last = [], {}
    for together in zip(*runs, strict=True):
        checkpoints = dict(zip(names, together, strict=True))
        last = {name: seen_of(one.denoiser, halves, asked) for name, one in checkpoints.items()}
        for name, one in checkpoints.items():
            grow(single[name], measured(one, last[name], plans[name], halves, probes, white))
        for name, found in pairs.items():
            a, b = PAIRS[name]
            grow(found, compared(last[a], last[b], halves, white))
        kept.append({name: one.samples[:STRIP] for name, one in last.items()})
    return {
        "steps": at,
        "levels": log_levels(*LEVELS).tolist(),
        **fresh(halves, white[SHARE]),
        "networks": single,
        "pairs": pairs,
        "ending": [ending(last[name], plans[name], halves) for name in (FIRST, SECOND)],
        "zone": zone(halves, seed),
        "shown": strips(kept, at, single, halves, white[SHARE]) if asked["shown"] else None,
    }


def grow(table: dict[str, list[Any]], row: Mapping[str, Any]) -> None:
    """Append a row to a table of columns."""
    for name, value in row.items():
        table.setdefault(name, []).append(value)


def probes_of(halves: Halves, seed: int) -> list[Probe]:
    """For each half, pairs of a training and a fresh picture under the same noise."""
    fresh = Examples(halves.test, torch.zeros(len(halves.test)))
    return [paired(Examples(part, torch.zeros(len(part))), fresh, weight, seed) for part in halves.parts]


def seen_of(denoiser: Denoiser, halves: Halves, asked: Mapping[str, Any]) -> Seen:
    """Samples from the noise that all networks share, and fresh pictures under the noise that they share."""
    seed, test = int(asked["seed"]), halves.test[:COMPARED]
    g = torch.Generator().manual_seed(seed + 7)
    return Seen(
        samples_of(denoiser, test.shape[1:], asked["samples"], seed),
        torch.stack(list(denoised_levels(denoiser, test, log_levels(*LEVELS), g))),
    )


def measured(
    checkpoint: Checkpoint,
    seen: Seen,
    plan: Trained,
    halves: Halves,
    probes: Sequence[Probe],
    white: Mapping[float, White],
) -> dict[str, float]:
    """A network alone: losses, copies, and how near its samples are to its own half and to the other one."""
    own, other = halves.parts[plan.half], halves.parts[1 - plan.half]
    train, validation = probes[plan.half].losses(checkpoint.denoiser)
    return {
        "train": float(train.mean()),
        "validation": float(validation.mean()),
        "copies": float(copied(seen.samples, own).sum()),
        "own": nearness(seen.samples, own, white[SHARE]),
        "other": nearness(seen.samples, other, white[SHARE]),
        **{f"own {share:g}": nearness(seen.samples, own, white[share]) for share in OTHERS},
    }


def nearness(x: Float[Tensor, "n C H W"], training: Float[Tensor, "P C H W"], white: White) -> float:
    """The mean over pictures of the largest cosine with a training picture, both whitened."""
    return float(nearest_cosine(white(x), white(training)).mean())


def alike(a: Float[Tensor, "n C H W"], b: Float[Tensor, "n C H W"], white: White) -> float:
    """The mean cosine between pictures of the same number, both whitened."""
    return float(cosine(white(a), white(b)).mean())


def compared(a: Seen, b: Seen, halves: Halves, white: Mapping[float, White]) -> dict[str, Any]:
    """Two networks beside each other: cosines of samples from the same noise, and differences level by level."""
    apart = relative_difference(a.outputs, b.outputs, halves.test[:COMPARED])
    return {
        "similarity": alike(a.samples, b.samples, white[SHARE]),
        "unrelated": alike(a.samples, b.samples.roll(1, 0), white[SHARE]),  # from different noise
        "difference": apart.tolist(),
        **{f"similarity {share:g}": alike(a.samples, b.samples, white[share]) for share in OTHERS},
    }


def fresh(halves: Halves, white: White) -> dict[str, float]:
    """What fresh pictures reach: nearness to a half, and copies of it, means of both halves."""
    near = [nearness(halves.test, part, white) for part in halves.parts]
    copies = [float(copied(halves.test, part).double().mean()) for part in halves.parts]
    return {"fresh": sum(near) / 2, "fresh_copies": sum(copies) / 2}


def ending(seen: Seen, plan: Trained, halves: Halves) -> list[float]:
    """At every level the share of noised fresh pictures that one step of the last network turns into copies."""
    own = halves.parts[plan.half]
    return [float(copied(out, own).double().mean()) for out in seen.outputs]


def zone(halves: Halves, seed: int) -> float | None:
    """Where the curves of posterior weight and coverage cross, before anything is trained; mean in logarithms."""
    found = [geometry_of(Material(part, halves.test, part), seed).crossing.value for part in halves.parts]
    if any(value is None for value in found):
        return None
    return float(torch.tensor(found, dtype=torch.float64).log().mean().exp())


def best_place(single: Mapping[str, Mapping[str, Sequence[float]]]) -> int:
    """The checkpoint of the least test loss, mean of both twins; of equal ones the first."""
    sums = [sum(pair) for pair in zip(*(single[name]["validation"] for name in (FIRST, SECOND)), strict=True)]
    return sums.index(min(sums))


def strips(
    kept: Sequence[Mapping[str, Tensor]],
    at: Sequence[int],
    single: Mapping[str, Mapping[str, Sequence[float]]],
    halves: Halves,
    white: White,
) -> dict[str, Any]:
    """Samples of both twins with their nearest training pictures, as 8-bit pixels in hexadecimal.

    At the first checkpoint, that of the least test loss, the one half-way from there to the last, and the last.
    """
    best = best_place(single)
    places = sorted({0, best, (best + len(at) - 1) // 2, len(at) - 1})
    found = []
    for place in places:
        rows = {}
        for name in (FIRST, SECOND):
            own = halves.parts[NETWORKS[name].half]
            x = kept[place][name]
            near = most_similar(white(x), white(own), 1).index[:, 0]
            rows[name] = written(as_pixels(x))
            rows[f"nearest of {name}"] = written(as_pixels(own[near]))
        found.append({"step": at[place], "best": place == best, "rows": rows})
    return {"shape": list(halves.test.shape[1:]), "steps": found}
