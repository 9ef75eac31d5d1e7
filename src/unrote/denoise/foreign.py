"""Models of others as denoisers: any function or module, and U-Nets of diffusers with their schedulers.

Their time steps, scalings and prediction types are translated here, once; behind this file there is
only D(x, sigma) for x = x0 + sigma z with images in [-1, 1].
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from unrote.contracts import Denoiser, InputError
from unrote.denoise.compose import Coefficients, Precondition
from unrote.denoise.schedulers import named, plain, scheduler_of, translate


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
        build={"kind": "diffusers", "unet": plain(config), "scheduler": named(scheduler)},
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
        with torch.random.fork_rng(devices=[]):
            unet = diffusers.UNet2DModel.from_config(dict(description["unet"]))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"The configuration of the U-Net cannot be built ({type(error).__name__}: {error}); it is that of "
            "diffusers' UNet2DModel."
        ) from error
    return from_diffusers(unet.eval(), scheduler_of(description["scheduler"]))


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


def check_runs(
    denoiser: Denoiser, card: Card, shape: tuple[int, ...], device: torch.device | str = "cpu"
) -> None:
    """Denoise one grey image at a level in the middle, so that what cannot run is told before anything else.

    Raises:
        InputError: if the model fails, gives another shape, or gives numbers that are not finite.
    """
    middle = math.sqrt(max(card.low, 0.002) * min(card.high, 80.0))
    label = None if card.classes is None else torch.zeros(1, dtype=torch.int64, device=device)
    x, sigma = torch.zeros(1, *shape, device=device), torch.full((1,), middle, device=device)
    try:
        with torch.no_grad():
            seen = denoiser(x, sigma, label)
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
