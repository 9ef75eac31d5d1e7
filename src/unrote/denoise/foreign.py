"""Models of others as denoisers: any function or module, and U-Nets of diffusers with their schedulers.

Their time steps, scalings and prediction types are translated here, once; behind this file there is
only D(x, sigma) for x = x0 + sigma z with images in [-1, 1].
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from unrote.contracts import Denoiser, InputError
from unrote.denoise.compose import Coefficients, Precondition, Scaling, edm, vp_eps, vp_v, x0
from unrote.noise.schedule import sigma_of_alpha_bar, timestep

SLACK = 1e-6
"""Relative distance by which a level may lie outside a table: levels arrive in float32."""


@final
@dataclass(frozen=True)
class Card:
    """What is known of a model that others trained.

    Args:
        kind: what it is, in words.
        shape: (C, H, W) of one image; None where the model does not say.
        classes: number of classes, or None for a model without labels.
        low, high: the noise levels between which it is defined.
        notes: sentences for the reader about what was read and assumed.
        build: JSON values from which `built` makes the same network; empty where there is no such way.
    """

    kind: str
    shape: tuple[int | None, int | None, int | None] = (None, None, None)
    classes: int | None = None
    low: float = 0.0
    high: float = math.inf
    notes: tuple[str, ...] = ()
    build: dict[str, Any] = field(default_factory=dict)


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


# Functions and modules


def from_function(function: Callable[[Tensor, Tensor], Tensor]) -> Denoiser:
    """Any f(x, sigma) -> x0, (B,*E), (B,) -> (B,*E), as a denoiser without conditions.

    Raises:
        ValueError: when the denoiser is called, if it is given a condition, or f returns another shape.
    """

    def denoiser(x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
        if condition is not None:
            raise ValueError("this denoiser is a function of x and sigma alone: pass condition=None")
        result = function(x, sigma)
        if result.shape != x.shape:
            raise ValueError(f"f(x, sigma) got {tuple(x.shape)} and returned {tuple(result.shape)}")
        return result

    return denoiser


@final
class Told(nn.Module):
    """A module that is called as F(x, time) or, where it has classes, F(x, time, labels)."""

    def __init__(self, module: nn.Module, conditional: bool) -> None:
        super().__init__()
        self.module = module
        self.conditional = conditional

    def forward(
        self, x: Float[Tensor, "B *E"], c_noise: Float[Tensor, " B"], condition: Tensor | None = None
    ) -> Float[Tensor, "B *E"]:
        """(B,*E), (B,), labels (B,) -> (B,*E)."""
        check_condition(condition, self.conditional)
        return self.module(x, c_noise, condition) if self.conditional else self.module(x, c_noise)


def from_module(module: nn.Module, coefficients: Coefficients, conditional: bool = False) -> Precondition:
    """Any network F with the preconditioning that it was trained under: D = c_skip x + c_out F(c_in x, c_noise).

    Args:
        module: called as ``module(x, time)``, or ``module(x, time, labels)`` if conditional.
        coefficients: ``edm(sigma_data)``, ``vp_eps(time)``, ``vp_v(time)`` or ``x0(time)`` of
            `unrote.denoise.compose`; ``table_clock(alpha_bars)`` is the time of a network that is told
            DDPM timesteps.
        conditional: whether the module takes labels (B,).
    """
    return Precondition(Told(module, conditional), coefficients)


def check_condition(condition: Tensor | None, conditional: bool) -> None:
    """Refuse labels that would be ignored, and their absence where they are needed.

    Raises:
        ValueError: naming what is missing.
    """
    if conditional and condition is None:
        raise ValueError("this model has classes: pass the labels (B,) as its condition")
    if condition is not None and not conditional:
        raise ValueError("this model has no classes and would ignore its condition: pass None")


# Schedulers


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
    plain = edm(float(config["sigma_data"]))

    def negative(sigma: Tensor) -> Scaling:
        c = plain(sigma)
        return replace(c, out=-c.out)

    # EDM's own network predicts what diffusers calls epsilon; its v has the other sign.
    kinds: dict[str, Coefficients] = {"epsilon": plain, "v_prediction": negative}
    prediction = config.get("prediction_type", "epsilon")
    if prediction not in kinds:
        raise InputError(
            f"The scheduler {name} has prediction type {prediction!r}; under EDM's preconditioning known are "
            f"{', '.join(kinds)}."
        )
    return Translation(kinds[prediction], float(config["sigma_min"]), float(config["sigma_max"]))


# U-Nets


@final
class TimestepUNet(nn.Module):
    """diffusers' UNet2DModel as a network F(x, time, labels) -> (B,C,H,W).

    Args:
        unet: a UNet2DModel.
        conditional: whether it has classes.
        whole: whether it knows whole timesteps only (an embedding table).
    """

    def __init__(self, unet: nn.Module, conditional: bool, whole: bool) -> None:
        super().__init__()
        self.unet = unet
        self.conditional = conditional
        self.whole = whole

    def forward(
        self,
        x: Float[Tensor, "B C H W"],
        c_noise: Float[Tensor, " B"],
        condition: Int[Tensor, " B"] | None = None,
    ) -> Float[Tensor, "B C H W"]:
        """(B,C,H,W), (B,), labels (B,) -> (B,C,H,W); of a learned variance only the mean is kept."""
        check_condition(condition, self.conditional)
        weight = next(self.unet.parameters())
        # Timesteps of up to 1,000 keep their fractions in float32 and not in half precision.
        time = c_noise.long() if self.whole else c_noise.float()
        result = self.unet(x.to(weight.dtype), time, class_labels=condition, return_dict=False)[0]
        return result[:, : x.shape[1]].to(x.dtype)


def from_diffusers(unet: nn.Module, scheduler: Any) -> tuple[Precondition, Card]:
    """A UNet2DModel with the scheduler that it was trained with, as a denoiser that shares its weights.

    For a table of alpha-bar, s(t) = sqrt(1/alpha-bar_t - 1), and Euler's steps from s(t) to s(t') are
    DDIM's from t to t' (clip_sample and thresholding off, eta = 0).

    Args:
        unet: a UNet2DModel, trained or in training; neither its mode nor its device is changed.
        scheduler: a diffusers scheduler, see `translate`.

    Returns:
        the denoiser, whose weights follow those of `unet`, and what is known of it.

    Raises:
        InputError: for a network or a scheduler of another kind.
    """
    config: Mapping[str, Any] = getattr(unet, "config", {})
    _check_unet(type(unet).__name__, config)
    whole = config.get("time_embedding_type") == "learned"
    translation = translate(scheduler, whole)
    notes = translation.notes
    if config["out_channels"] == 2 * config["in_channels"]:
        notes += ("The network predicts a variance too, which is left aside.",)
    size = config.get("sample_size")
    height, width = size if isinstance(size, list | tuple) else (size, size)
    classes = config.get("num_class_embeds")
    card = Card(
        kind=f"diffusers UNet2DModel with {type(scheduler).__name__} "
        f"({scheduler.config.get('prediction_type', 'epsilon')})",
        shape=(config["in_channels"], height, width),
        classes=classes,
        low=translation.low,
        high=translation.high,
        notes=notes,
        build={"kind": "diffusers", "unet": _json(config), "scheduler": _named(scheduler)},
    )
    network = TimestepUNet(unet, classes is not None, whole)
    return Precondition(network, translation.coefficients), card


def built(description: Mapping[str, Any]) -> tuple[Precondition, Card]:
    """The denoiser that `Card.build` describes, with random weights.

    Raises:
        InputError: if it cannot be built.
    """
    import diffusers

    try:
        unet = diffusers.UNet2DModel.from_config(dict(description["unet"]))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"The configuration of the U-Net cannot be built ({type(error).__name__}: {error}); it is that of "
            "diffusers' UNet2DModel."
        ) from error
    return from_diffusers(unet.eval(), scheduler_of(description["scheduler"]))


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


def _check_unet(name: str, config: Mapping[str, Any]) -> None:
    if name != "UNet2DModel":
        raise InputError(
            f"The network is a {name}, and networks of diffusers are read as UNet2DModel, without text and in "
            "pixels. In Python any f(x, sigma) can be probed: see docs/models.md."
        )
    if config.get("class_embed_type") is not None:
        raise InputError(
            f"The U-Net embeds classes by {config['class_embed_type']!r}; classes are read as numbers "
            "(num_class_embeds) only."
        )
    if config["out_channels"] not in (config["in_channels"], 2 * config["in_channels"]):
        raise InputError(
            f"The U-Net takes {config['in_channels']} channels and gives {config['out_channels']}; a denoiser gives "
            "as many as it takes, or twice as many with a learned variance."
        )
    if config.get("center_input_sample"):
        raise InputError(
            "The U-Net takes images in [0, 1] (center_input_sample), as score networks of variance-exploding "
            "processes do; models are read on [-1, 1]. In Python any f(x, sigma) can be probed: see docs/models.md."
        )


def _json(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration without the names of places and of defaults."""
    left_out = {"_name_or_path", "_use_default_values", "_diffusers_version", "_class_name"}
    return {k: list(v) if isinstance(v, tuple) else v for k, v in config.items() if k not in left_out}


def _named(scheduler: Any) -> dict[str, Any]:
    plain = {k: v.tolist() if hasattr(v, "tolist") else v for k, v in _json(scheduler.config).items()}
    return {"_class_name": type(scheduler).__name__, **plain}


def check_runs(denoiser: Denoiser, card: Card, shape: tuple[int, ...]) -> None:
    """Denoise one grey image at a level in the middle, so that what cannot run is told before anything else.

    Raises:
        InputError: if the model fails, gives another shape, or gives numbers that are not finite.
    """
    middle = math.sqrt(max(card.low, 0.002) * min(card.high, 80.0))
    label = None if card.classes is None else torch.zeros(1, dtype=torch.int64)
    try:
        with torch.no_grad():
            seen = denoiser(torch.zeros(1, *shape), torch.full((1,), middle), label)
    except (RuntimeError, ValueError, IndexError, TypeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"The model cannot be run on one image of shape {tuple(shape)}: {_first_line(error)}. Check that the "
            "images have the size that it was trained on."
        ) from error
    if tuple(seen.shape[1:]) != tuple(shape) or not bool(seen.isfinite().all()):
        raise InputError(
            f"The model gave {'numbers that are not finite' if seen.shape[1:] == shape else 'another shape'} for one "
            f"grey image of shape {tuple(shape)} at sigma = {middle:.3g}; its weights do not fit its scheduler, or "
            "its training diverged."
        )


def _first_line(error: Exception) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0].rstrip(".")[:300]
