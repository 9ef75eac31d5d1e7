"""Schedulers of diffusers, translated: what a network was trained on, without how it is sampled."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, final

from jaxtyping import Float
from torch import Tensor

from unrote.contracts import InputError
from unrote.denoise.compose import Coefficients, Scaling, edm, vp_eps, vp_v, x0
from unrote.noise.schedule import sigma_of_alpha_bar, timestep

SLACK = 1e-6
"""Relative distance by which a level may lie outside a table: levels arrive in float32."""


@final
@dataclass(frozen=True)
class Translation:
    """A scheduler in this library's coordinate.

    Args:
        coefficients: of the preconditioning that its network was trained under.
        low, high: the levels that it knows.
        notes: sentences about what does not survive the translation.
    """

    coefficients: Coefficients
    low: float
    high: float
    notes: tuple[str, ...] = ()


def table_clock(alpha_bars: Float[Tensor, " T"], whole: bool = False) -> Callable[[Tensor], Tensor]:
    """The (fractional) timestep of a level, for networks that were trained on a table of alpha-bar.

    Between two timesteps log sigma is interpolated linearly (`unrote.noise.schedule.timestep`).

    Args:
        alpha_bars: alpha-bar at timesteps 0..T-1, decreasing.
        whole: round to the nearest timestep, for networks that know no other.

    Raises:
        InputError: when a level outside the table is asked for.
    """
    table = alpha_bars.double()
    ends = sigma_of_alpha_bar(table[[0, -1]])
    low, high = float(ends[0]), float(ends[1])

    def time(sigma: Tensor) -> Tensor:
        inside = sigma.double().clamp(low, high)
        check_levels(sigma, inside, low, high)
        step = timestep(inside, table.to(sigma.device))
        return step.round() if whole else step

    return time


def check_levels(sigma: Tensor, inside: Tensor, low: float, high: float) -> None:
    """Refuse levels that a model was not trained at.

    Raises:
        InputError: with the levels that it knows.
    """
    if bool(((sigma - inside).abs() > SLACK * sigma).any()):
        raise InputError(
            f"The model was asked for noise levels from {float(sigma.min()):g} to {float(sigma.max()):g}, and its "
            f"schedule knows sigma = {low:.4g} to {high:.4g}; keep levels within them."
        )


PREDICTIONS: dict[str, Callable[[Callable[[Tensor], Tensor]], Coefficients]] = {
    "epsilon": vp_eps,
    "v_prediction": vp_v,
    "sample": x0,
}
"""What a scheduler calls a prediction, and its preconditioning as a function of the clock."""

TABLES = (
    "DDPMScheduler",
    "DDIMScheduler",
    "DDPMParallelScheduler",
    "DDIMParallelScheduler",
    "PNDMScheduler",
    "EulerDiscreteScheduler",
    "EulerAncestralDiscreteScheduler",
    "HeunDiscreteScheduler",
    "LMSDiscreteScheduler",
    "DPMSolverMultistepScheduler",
    "DPMSolverSinglestepScheduler",
    "DEISMultistepScheduler",
    "UniPCMultistepScheduler",
)
"""Schedulers whose network was trained on a table of betas."""

CONTINUOUS = ("EDMEulerScheduler", "EDMDPMSolverMultistepScheduler")
"""Schedulers whose network was trained under EDM's preconditioning."""

KNOWN = f"{', '.join((*TABLES, *CONTINUOUS))}, with prediction types {', '.join(PREDICTIONS)}"


def translate(scheduler: Any, whole: bool = False) -> Translation:
    """A diffusers scheduler as a preconditioning and the levels it knows.

    How a scheduler samples (order, clipping, spacing) is no part of its network and is left behind;
    what the network was trained on (betas, prediction type, sigma_data) is kept.

    Args:
        scheduler: an object of diffusers.
        whole: whether the network knows whole timesteps only.

    Raises:
        InputError: for a scheduler or a prediction type that is not known.
    """
    name, config = type(scheduler).__name__, scheduler.config
    if name in CONTINUOUS:
        return _continuous(name, config)
    if name not in TABLES or config.get("use_flow_sigmas", False):
        raise InputError(
            f"The scheduler {name} is not known; known are {KNOWN}. If the network was trained with one of them, "
            "save that one beside it."
        )
    prediction = config.get("prediction_type", "epsilon")
    if prediction not in PREDICTIONS:
        raise InputError(
            f"The scheduler {name} has prediction type {prediction!r}; known are {', '.join(PREDICTIONS)}."
        )
    if config.get("timestep_type") == "continuous" and prediction == "v_prediction":
        low, high = float(scheduler.sigmas[-2]), float(scheduler.sigmas[0])
        return Translation(vp_v(_log_clock), low, high, ())
    alpha_bars, notes = _decreasing(scheduler.alphas_cumprod)
    ends = sigma_of_alpha_bar(alpha_bars[[0, -1]])
    if whole:
        notes += ("The network knows whole timesteps only: each level is rounded to the nearest.",)
    coefficients = PREDICTIONS[prediction](table_clock(alpha_bars, whole))
    return Translation(coefficients, float(ends[0]), float(ends[1]), (*notes, *_clipping(config)))


def _decreasing(alpha_bars: Tensor) -> tuple[Tensor, tuple[str, ...]]:
    """alpha-bar in float64 up to the last timestep that has a level, and a note if that is not the last."""
    table = alpha_bars.detach().double().cpu()
    kept = table[table > 0]
    notes = (
        (f"Timesteps from {len(kept)} on are pure noise (zero terminal SNR), which no level names.",)
        if len(kept) < len(table)
        else ()
    )
    if len(kept) < 2 or not bool((kept.diff() < 0).all()) or not 0 < float(kept[0]) < 1:
        raise InputError(
            f"The scheduler's betas give no noise levels that rise from one timestep to the next ({len(kept)} with "
            "alpha-bar above 0); betas lie between 0 and 1. Check its configuration."
        )
    return kept, notes


def _clipping(config: Mapping[str, Any]) -> tuple[str, ...]:
    for name in ("thresholding", "clip_sample"):
        if config.get(name):
            return (
                f"The scheduler samples with {name}, which changes its own steps; what is measured here is the "
                "network's estimate as it is.",
            )
    return ()


def _log_clock(sigma: Tensor) -> Tensor:
    return sigma.log() / 4


def _continuous(name: str, config: Mapping[str, Any]) -> Translation:
    same = edm(float(config["sigma_data"]))

    def negative(sigma: Tensor) -> Scaling:
        c = same(sigma)
        return replace(c, out=-c.out)

    # EDM's own network predicts what diffusers calls epsilon; its v has the other sign.
    kinds: dict[str, Coefficients] = {"epsilon": same, "v_prediction": negative}
    prediction = config.get("prediction_type", "epsilon")
    if prediction not in kinds:
        raise InputError(
            f"The scheduler {name} has prediction type {prediction!r}; under EDM's preconditioning known are "
            f"{', '.join(kinds)}."
        )
    return Translation(kinds[prediction], float(config["sigma_min"]), float(config["sigma_max"]))


def scheduler_of(config: Mapping[str, Any]) -> Any:
    """The scheduler that a configuration names.

    Raises:
        InputError: if it is not known, or its configuration is not one.
    """
    import diffusers

    name = config.get("_class_name")
    if name not in (*TABLES, *CONTINUOUS):
        raise InputError(
            f"The scheduler {name} is not known; known are {KNOWN}. If the network was trained with one of them, "
            "save that one beside it."
        )
    try:
        return getattr(diffusers, name).from_config(dict(config))
    except (TypeError, ValueError, ImportError, NotImplementedError) as error:
        raise InputError(
            f"The configuration of the scheduler {name} cannot be used ({type(error).__name__}: {error})."
        ) from error


def plain(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration without the names of places and of defaults."""
    left_out = {"_name_or_path", "_use_default_values", "_diffusers_version", "_class_name"}
    return {k: list(v) if isinstance(v, tuple) else v for k, v in config.items() if k not in left_out}


def named(scheduler: Any) -> dict[str, Any]:
    """A scheduler as JSON values, from which `scheduler_of` makes it again."""
    values = {k: v.tolist() if hasattr(v, "tolist") else v for k, v in plain(scheduler.config).items()}
    return {"_class_name": type(scheduler).__name__, **values}
