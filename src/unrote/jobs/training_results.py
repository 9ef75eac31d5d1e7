"""What result.json says of a training run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from unrote.contracts import Estimate
from unrote.jobs.fitting import Fitted
from unrote.jobs.measuring import Band, Measurement, Raw
from unrote.jobs.onsets import onsets_of
from unrote.jobs.output import curve
from unrote.jobs.training_page import BOTH
from unrote.jobs.training_stop import Stopping
from unrote.report.format import percent
from unrote.train.loop import Options
from unrote.train.stopping import PASSES

CHEAP = 0.1
"""Share of the cost of training that measuring it should stay below."""


def lowest_held_out(history: Sequence[Measurement]) -> Measurement:
    """The measurement with the lowest loss on held-out images, the first of several."""
    return min(history, key=lambda m: m.validation_loss.value or 0.0)


def results_of(made: Fitted, kept: Measurement, options: Options, things: str = "images") -> dict[str, Any]:
    """The keys of result.json."""
    history = made.history
    found = {"steps": [m.step for m in history], "weights": history[-1].weights} | _losses(history)
    found |= {
        "copy_ratio": curve([m.copy_ratio for m in history]),
        "onset": onsets_of(history),
        "stopped_at": kept.step,
        "stopped_because": _because(history, kept, made.stop, things),
        "lowest_validation_loss": asdict(lowest_held_out(history)),
        "monitoring": cost_of(made, options),
    }
    raw = [m.raw for m in history if m.raw is not None]
    if len(raw) == len(history):
        found["raw"] = {"weights": "raw"} | _losses(raw) | _sampled(raw)
    if made.stop is not None:
        found["stopping"] = _stopping(made.stop, found["weights"])
    if history[-1].as_stored is not None:
        found["copies_of"] = BOTH
    return found | {k: v for k, v in _sampled(history).items() if k != "copy_ratio"}


def _losses(history: Sequence[Measurement | Raw]) -> dict[str, Any]:
    """Losses, and where all of them have one, the gap and the bands."""
    found: dict[str, Any] = {
        "train_loss": curve([m.train_loss for m in history]),
        "validation_loss": curve([m.validation_loss for m in history]),
    }
    gaps = [m.loss_gap for m in history if m.loss_gap is not None]
    if len(gaps) == len(history):
        found["loss_gap"] = curve(gaps)
    edges = {tuple((band.low, band.high) for band in m.bands) for m in history}
    if len(edges) == 1:
        found["bands"] = [_band([m.bands[i] for m in history]) for i in range(len(edges.pop()))]
    return found


def _band(seen: Sequence[Band]) -> dict[str, Any]:
    gaps = [Estimate(None, None, None, 0) if band.loss_gap is None else band.loss_gap for band in seen]
    return {
        "low": seen[0].low,
        "high": seen[0].high,
        "train_loss": curve([band.train_loss for band in seen]),
        "validation_loss": curve([band.validation_loss for band in seen]),
        "loss_gap": curve(gaps),
    }


def _sampled(history: Sequence[Measurement | Raw]) -> dict[str, Any]:
    """What samples said, as far as they were drawn at every step."""
    names = {
        "copy_ratio": "copy_ratio",
        "as_stored": "copy_ratio_as_stored",
        "frechet_distance": "frechet_distance",
    }
    found = {}
    for name, key in names.items():
        values = [value for m in history if (value := getattr(m, name)) is not None]
        if len(values) == len(history):
            found[key] = curve(values)
    return found


def _because(history: Sequence[Measurement], kept: Measurement, stop: Stopping | None, things: str) -> str:
    last = history[-1]
    if stop is not None:
        return stop.because if stop.ended is not None else f"all steps were done. {stop.because}"
    if kept is last:
        return "all steps were done"
    return (
        f"of {len(history)} measured steps the loss on held-out {things} was lowest there; training went on to step "
        f"{last.step}, and what came after was thrown away"
    )


def _stopping(stop: Stopping, weights: str) -> dict[str, Any]:
    return {
        "gap": stop.share,
        "weights": weights,
        "steps": list(stop.steps),
        "loss_gap": curve(list(stop.gap)),
        "ended_at": stop.ended,
        "last_clean_step": stop.kept,
        "because": stop.because,
        "expected_onset_by_copies": None if stop.expected is None else asdict(stop.expected),
    }


def cost_of(made: Fitted, options: Options) -> dict[str, Any]:
    """What measuring cost, as a share of training, in images or windows that go through the network.

    An update takes three passes for each image of its batch. `below_tenth_from` is the number of steps from which on
    as many measurements cost less than a tenth of training.
    """
    update = PASSES * options.batch_size
    passes = made.passes * len(made.history)
    found: dict[str, Any] = {
        "measured": len(made.history),
        "share": passes / (update * made.steps),
        "below_tenth_from": int(passes / (CHEAP * update)) + 1,
    }
    return found | ({} if made.stop is None else {"stopping_share": made.stop.passes / (update * made.steps)})


def cost_sentence(cost: dict[str, Any]) -> str:
    """The same in words, where it is not little; else nothing."""
    if cost["share"] < CHEAP:
        return ""
    return (
        f"Measuring {cost['measured']} times cost {percent(cost['share'], 0)} of what training cost, in passes through "
        f"the network; as often and with as many samples it is below 10 % from {cost['below_tenth_from']:,} steps on."
    )
