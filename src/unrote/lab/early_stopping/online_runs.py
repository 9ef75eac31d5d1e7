"""One run under early stopping, trained on past its stop: what was kept, what was said of the copies, what came."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unrote.contracts import Denoiser, Examples
from unrote.denoise.exact import Empirical
from unrote.jobs.fitting import build
from unrote.jobs.measuring import LAW
from unrote.lab.early_stopping.law_runs import GRID, columns, paired
from unrote.lab.early_stopping.online_calibration import FIRST
from unrote.lab.study import Material, copied, from_cpu, material, network_of, quality, samples_of
from unrote.lab.wild_middle.gap_runs import measured_in
from unrote.measure.features import FeatureMap
from unrote.measure.gaps import relative_gap
from unrote.measure.online import expected_onset
from unrote.noise.levels import log_levels
from unrote.train.loop import Options, train
from unrote.train.losses import held_out_loss
from unrote.train.probe import Probe, probe_of, untouched
from unrote.train.recipe import baseline
from unrote.train.stopping import Check, EarlyStopping, affordable

BANDS = 3
"""Bands of levels with a gap of their own, equally full."""
RECALLED = 512
"""Noised training pictures that a denoiser is asked to find again."""
SURE = 0.95
"""They are noised as much as the best denoiser of the training set can find so many of them again."""


def run(asked: Mapping[str, Any]) -> Mapping[str, Any]:
    """Train with early stopping on the averaged weights; go on after it; measure copies and quality on the way.

    Returns:
        checkpoints with copies, Frechet distance, losses by level, low levels first, and recall; every check with its
        gap and with what was then expected of the onset; the step that was stopped at, and the one that was kept with
        what it generates.
    """
    seed, at = int(asked["seed"]), list(asked["at"])
    made = material(asked["pictures"], seed)
    denoiser = build(network_of(asked["network"]), made.train.shape[1:], None, seed)
    rows, fresh = (Examples(x, torch.zeros(len(x))) for x in (made.train, made.test))
    g = torch.Generator().manual_seed(seed + 2)
    probe = probe_of(rows, fresh, LAW, denoiser.weight, g)
    measuring = paired(rows, fresh, denoiser.weight, seed + 1)
    noised = noised_training(made.train, seed)
    kept: dict[int, nn.Module] = {}

    def keep(step: int) -> None:
        kept[step] = copy.deepcopy(tick.state.ema)

    options = replace(Options(**asked["options"]), steps=at[-1], tick_every=GRID)
    when = affordable(probe.rows, options.batch_size)
    stopper = EarlyStopping(relative_gap, when=when, keep=keep, forget=kept.pop)
    features, table = measured_in(asked["pictures"]), []
    said: list[dict[str, float | None]] = []
    recipe = baseline(rows, LAW, denoiser.weight)
    for tick in train(denoiser, recipe, torch.Generator().manual_seed(seed + 1), options):
        if stopper.due(tick.step):
            stopper.update(tick.step, *probe.losses(tick.state.ema))
            said.append(told(stopper))
        if tick.step in at:
            seen = drawn(from_cpu(tick.state.ema), made, features, asked)
            found = recalled(from_cpu(tick.state.ema), made.train, *noised)
            table.append(seen | by_band(tick.state.ema, measuring) | {"recalled": found})
    return {
        "steps": at,
        "fresh": int(copied(made.test, made.train).sum()),
        "averaged": columns(table),
        "checks": {name: [row[name] for row in said] for name in said[0]} if said else {},
        "rows": probe.rows,
        "stopped": stopper.stopped,
        "kept": stopper.kept,
        "at_kept": [drawn(from_cpu(model), made, features, asked) for model in kept.values()],
    }


def told(stopper: EarlyStopping) -> dict[str, float | None]:
    """The last check, and the onset that was expected after it."""
    history = stopper.history
    expected = expected_onset([check.step for check in history], [gap_of(check) for check in history], FIRST)
    last = history[-1]
    return {
        "step": float(last.step),
        "gap": last.gap.value,
        "gap_low": last.gap.low,
        "onset": expected.value,
        "onset_low": expected.low,
        "onset_high": expected.high,
    }


def gap_of(check: Check) -> float:
    """The relative gap of a check."""
    assert check.gap.value is not None
    return check.gap.value


def drawn(
    denoiser: Denoiser, made: Material, features: FeatureMap, asked: Mapping[str, Any]
) -> dict[str, float]:
    """Copies among the samples of a denoiser, and their Frechet distance to the test pictures."""
    samples = samples_of(denoiser, made.train.shape[1:], asked["samples"], int(asked["seed"]))
    value = quality(samples, made.test, features).distance.value
    assert value is not None
    return {"copies": float(copied(samples, made.train).sum()), "frechet": value}


def noised_training(x: Float[Tensor, "P C H W"], seed: int) -> tuple[Float[Tensor, "R C H W"], float]:
    """Training pictures with noise, and its level: the largest at which the best denoiser still knows which is which.

    The best denoiser of a finite set takes the mean of its pictures weighted by likelihood.
    """
    rows = x[torch.arange(RECALLED) % len(x)]
    z = torch.randn(rows.shape, generator=torch.Generator().manual_seed(seed + 3))
    best = Empirical(x)
    levels = log_levels(0.05, 10.0, 60)
    sure = [s for s in levels.tolist() if recalled(best, x, rows + s * z, s) >= SURE]
    level = max(sure)
    return rows + level * z, level


def recalled(
    denoiser: Denoiser, x: Float[Tensor, "P C H W"], noised: Float[Tensor, "R C H W"], level: float
) -> float:
    """The share of noised training pictures that one step of a denoiser turns into copies."""
    with torch.no_grad():
        found = denoiser(noised, torch.full((len(noised),), level))
    return float(copied(found, x).double().mean())


def by_band(model: nn.Module, probe: Probe) -> dict[str, float]:
    """Mean losses of both kinds, over all levels and in each band, the lowest levels first."""
    with untouched([model]):
        rows = [
            held_out_loss(model, x, probe.sigma, probe.z, probe.weight).double()
            for x in (probe.train, probe.validation)
        ]
    order = probe.sigma.argsort()
    parts = {"": order, **{f"_{i}": part for i, part in enumerate(order.tensor_split(BANDS))}}
    return {
        f"{name}{band}": float(loss[part].mean())
        for band, part in parts.items()
        for name, loss in zip(("train", "validation"), rows, strict=True)
    }
