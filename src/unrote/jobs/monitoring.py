"""Measuring a run at one step: losses of both sets of weights in pairs, copies among samples, their quality."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from unrote.contracts import Denoiser, Estimate, Examples
from unrote.jobs.levels import EVERYWHERE, sampling_levels
from unrote.jobs.measuring import AVERAGED, MONITORED, Measurement, Quality, Raw, TrainingSet, draw, ratio_of
from unrote.jobs.paired_losses import EVALUATIONS, Pairs, losses_on, pairs_of


@dataclass(frozen=True, eq=False)
class Monitor:
    """What is the same at every measured step of a run.

    Args:
        data: what is trained on and held out.
        pairs: what losses are taken on.
        samples: how many are drawn, always from the same seeds.
        seed: of samples and masks.
        device: where the denoisers are.
        known: the lowest and the highest level that they know.
        quality: also measured of the samples.
        both: whether samples of the raw weights are drawn as well.
    """

    data: TrainingSet
    pairs: Pairs
    samples: int
    seed: int
    device: torch.device | str = "cpu"
    known: tuple[float, float] = EVERYWHERE
    quality: Quality | None = None
    both: bool = False

    @property
    def passes(self) -> int:
        """Images that go through a network at one measured step of both sets of weights."""
        heun = 2 * (len(sampling_levels(self.known)) - 1) - 1
        return 2 * self.pairs.probe.rows + (1 + self.both) * heun * self.samples


def monitor_of(
    data: TrainingSet,
    weight: Callable[[Tensor], Tensor],
    samples: int,
    seed: int,
    device: torch.device | str = "cpu",
    known: tuple[float, float] = EVERYWHERE,
    quality: Quality | None = None,
    both: bool = False,
) -> Monitor:
    """Choose images, levels and noise of a run's losses; arguments as of `Monitor` and `pairs_of`.

    Raises:
        InputError: if there are fewer than two images of a kind.
    """
    rows = rows_for(len(data.x), len(data.held_out))
    pairs = pairs_of(*clean(data), weight, seed, known, MONITORED, rows)
    return Monitor(data, pairs, samples, seed, device, known, quality, both)


def rows_for(trained: int, held_out: int) -> int:
    """How many losses of each kind are taken at a measured step, at least, of so many training and held-out examples.

    All of the larger set, as far as whole rounds over the pairs go: it is what its interval rests on.
    """
    smaller, larger = sorted((trained, held_out))
    return max(EVALUATIONS, min(larger, MONITORED) // max(1, smaller) * smaller)


def clean(data: TrainingSet) -> tuple[Examples, Examples]:
    """Training and held-out images as they are, without noise, with their labels."""

    def examples(x: Tensor, label: Tensor | None) -> Examples:
        return Examples(x, torch.zeros(len(x)), label)

    return examples(data.x, data.label), examples(data.held_out, data.held_out_label)


@dataclass(frozen=True)
class Sampled:
    """What samples say, as in `Measurement`."""

    copy_ratio: Estimate
    frechet_distance: Estimate | None
    as_stored: Estimate | None


def measure(
    monitor: Monitor, step: int, denoiser: Denoiser, raw: Denoiser | None = None, weights: str = AVERAGED
) -> Measurement:
    """Losses on fixed levels and noise, and the copy ratio of fresh samples (the same seeds at every step).

    Args:
        denoiser: of images, in evaluation mode, on the monitor's device.
        raw: the same with raw weights, where the first has averaged ones; its losses are measured beside.
        weights: what the first one's are called.
    """
    losses = losses_on(monitor.pairs, denoiser, monitor.device)
    copies = _sampled(monitor, denoiser)
    beside = None
    if raw is not None:
        own = losses_on(monitor.pairs, raw, monitor.device)
        beside = Raw(**vars(own), **(vars(_sampled(monitor, raw)) if monitor.both else {}))
    return Measurement(step, **vars(losses), **vars(copies), raw=beside, weights=weights)


def _sampled(monitor: Monitor, denoiser: Denoiser) -> Sampled:
    data, quality = monitor.data, monitor.quality
    drawn = draw(denoiser, data, monitor.samples, monitor.seed, monitor.device, monitor.known)
    return Sampled(
        ratio_of(drawn, data.copied_from),
        None if quality is None else quality(drawn),
        None if data.looks is None else ratio_of(drawn, data.reference),
    )
