"""The networks inside a trained denoiser: a small residual MLP and diffusers' U-Net.

Every network is called as ``network(x, c_noise, condition=None)``; what it predicts is decided by the
preconditioning around it. A frozen description (`MLP`, `UNet`) builds it, and can be kept as JSON.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from typing import Any, final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from unrote.contracts import InputError

FEATURES = 64  # numbers that tell the MLP its noise level, and as many its class
HIGHEST = 16.0  # radians per unit of c_noise: resolves sigma to about 2 %, and stays smooth between levels


class NoiseFeatures(nn.Module):
    """cos and sin of c_noise at frequencies in geometric progression from 1 to 16.

    phi(c) = [cos(f_i c), sin(f_i c)]. Made for c_noise = log(sigma)/4 in about [-1.6, 1.1] and for
    VP time in [0, 1]; the frequencies are fixed and not drawn, so that two networks see one clock.
    """

    def __init__(self, features: int = FEATURES) -> None:
        super().__init__()
        frequencies = torch.exp(torch.linspace(0.0, math.log(HIGHEST), features // 2))
        self.register_buffer("frequencies", frequencies, persistent=False)

    def forward(self, c_noise: Float[Tensor, " B"]) -> Float[Tensor, "B F"]:
        """(B,) -> (B, features)."""
        angle = c_noise[:, None] * self.get_buffer("frequencies")
        return torch.cat([angle.cos(), angle.sin()], dim=1)


class ResidualBlock(nn.Module):
    """h + dropout(silu(W norm(h) + V e)), where e tells noise level and class."""

    def __init__(self, width: int, features: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.inner = nn.Linear(width, width)
        self.told = nn.Linear(features, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, h: Float[Tensor, "B W"], e: Float[Tensor, "B F"]) -> Float[Tensor, "B W"]:
        """(B, width), (B, features) -> (B, width)."""
        return h + self.dropout(nn.functional.silu(self.inner(self.norm(h)) + self.told(e)))


@final
class ResidualMLP(nn.Module):
    """A residual MLP on flattened events; its output starts at zero.

    F(x, c) = A norm(h_depth), h_0 = B x, h_{i+1} = h_i + silu(W_i norm(h_i) + V_i phi(c)).

    Args:
        shape: event shape ``*E``.
        width: numbers in the residual stream.
        depth: residual blocks.
        classes: number of classes, or None for a network without condition.
        dropout: probability that a block's output number is dropped in training.
        outputs: shape of what is returned; None for ``*E``.
    """

    def __init__(
        self,
        shape: Sequence[int],
        width: int,
        depth: int,
        classes: int | None,
        dropout: float,
        outputs: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        self.shape = tuple(shape)
        # Private, so that the description of a run is what it was: the shapes of weights tell it.
        self._outputs = self.shape if outputs is None else tuple(outputs)
        dimension = math.prod(self.shape)
        self.noise = NoiseFeatures()
        self.label = None if classes is None else nn.Embedding(classes, FEATURES)
        features = FEATURES if classes is None else 2 * FEATURES
        self.first = nn.Linear(dimension, width)
        self.blocks = nn.ModuleList(ResidualBlock(width, features, dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.last = nn.Linear(width, math.prod(self._outputs))
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(
        self,
        x: Float[Tensor, "B *E"],
        c_noise: Float[Tensor, " B"],
        condition: Int[Tensor, " B"] | None = None,
    ) -> Float[Tensor, "B *O"]:
        """(B,*E), (B,), labels (B,) -> (B,*O), where *O is *E unless other outputs were asked for.

        Raises:
            ValueError: if labels are given to a network without classes, or the reverse.
        """
        _check_condition(condition, self.label is not None)
        e = self.noise(c_noise)
        if self.label is not None:
            e = torch.cat([e, self.label(condition)], dim=1)
        h = self.first(x.flatten(1))
        for block in self.blocks:
            h = block(h, e)
        return self.last(self.norm(h)).reshape(len(x), *self._outputs)


@final
class PaddedUNet(nn.Module):
    """diffusers' UNet2DModel, told a continuous c_noise, for images of any size.

    Images are padded with zeros at the bottom and right to a multiple of 2^(levels - 1), and the result
    is cropped. diffusers' sinusoids have frequencies 1 to 1e-4 and expect timesteps up to 1,000, so they
    are told 100 c_noise: frequencies 0.01 to 100 per unit, for log(sigma)/4 as for VP time in [0, 1].
    (Factors 1 to 1,000 differ by less than 1 % in held-out loss on digits. diffusers' "fourier" clock
    takes logarithms of the timestep and divides the output by it, which c_noise <= 0 forbids.)

    Args:
        unet: a diffusers UNet2DModel.
        multiple: the multiple that height and width are padded to.
    """

    clock = 100.0

    def __init__(self, unet: nn.Module, multiple: int, conditional: bool) -> None:
        super().__init__()
        self.unet = unet
        self.multiple = multiple
        self.conditional = conditional

    def forward(
        self,
        x: Float[Tensor, "B C H W"],
        c_noise: Float[Tensor, " B"],
        condition: Int[Tensor, " B"] | None = None,
    ) -> Float[Tensor, "B O H W"]:
        """(B,C,H,W), (B,), labels (B,) -> (B,O,H,W), where O is C unless other outputs were asked for.

        Raises:
            ValueError: if labels are given to a network without classes, or the reverse.
        """
        _check_condition(condition, self.conditional)
        height, width = x.shape[-2:]
        padded = nn.functional.pad(x, (0, -width % self.multiple, 0, -height % self.multiple))
        result = self.unet(padded, self.clock * c_noise, class_labels=condition, return_dict=False)[0]
        return result[..., :height, :width]


def _check_condition(condition: Tensor | None, conditional: bool) -> None:
    if conditional and condition is None:
        raise ValueError("this network was built with classes: pass the labels (B,) as its condition")
    if condition is not None and not conditional:
        raise ValueError("this network was built without classes and would ignore its condition: pass None")


def build_mlp(
    shape: Sequence[int],
    generator: torch.Generator,
    width: int = 512,
    depth: int = 3,
    classes: int | None = None,
    dropout: float = 0.0,
    channels_out: int | None = None,
) -> ResidualMLP:
    """Build a residual MLP whose weights depend on the generator alone.

    Args:
        shape: event shape ``*E``.
        generator: draws the initial weights.
        width, depth, dropout: see `ResidualMLP`; 3 x 512 learns 32 digits by heart in 2,000 steps.
        classes: number of classes, or None.
        channels_out: C of what is returned; None for that of what is taken.

    Raises:
        InputError: if a size is not positive, or dropout not in [0, 1).
    """
    outputs = tuple(shape) if channels_out is None else (channels_out, *shape[1:])
    _check_sizes((*shape, *outputs, width, depth), classes, dropout)
    with _initialized_by(generator):
        return ResidualMLP(shape, width, depth, classes, dropout, outputs)


def build_unet(
    shape: Sequence[int],
    generator: torch.Generator,
    channels: Sequence[int] = (32, 64, 64),
    layers: int = 1,
    attention: Sequence[bool] | None = None,
    classes: int | None = None,
    dropout: float = 0.0,
    channels_out: int | None = None,
) -> PaddedUNet:
    """Build diffusers' U-Net whose weights depend on the generator alone and whose output starts at zero.

    Args:
        shape: (C, H, W).
        generator: draws the initial weights.
        channels: channels at each resolution, highest first; each is half the size of the one before.
        layers: residual blocks per resolution.
        attention: whether each resolution has self-attention; None for none. The middle block always has it.
        classes: number of classes, or None.
        dropout: probability of dropout inside each residual block.
        channels_out: C of what is returned; None for that of what is taken.

    Raises:
        InputError: if the shape is not (C, H, W) or a size cannot be built.
    """
    _check_sizes((*shape, *channels, layers), classes, dropout)
    attends = (False,) * len(channels) if attention is None else tuple(attention)
    if len(shape) != 3 or not channels or len(attends) != len(channels):
        raise InputError(
            f"A U-Net takes images (C, H, W) and one attention flag per resolution; got shape "
            f"{tuple(shape)}, channels {tuple(channels)}, attention {attends}. Use the MLP for other shapes."
        )
    groups = math.gcd(32, *channels)
    from diffusers import UNet2DModel

    with _initialized_by(generator):
        unet = UNet2DModel(
            in_channels=shape[0],
            out_channels=shape[0] if channels_out is None else channels_out,
            block_out_channels=tuple(channels),
            layers_per_block=layers,
            down_block_types=tuple("AttnDownBlock2D" if a else "DownBlock2D" for a in attends),
            up_block_types=tuple("AttnUpBlock2D" if a else "UpBlock2D" for a in reversed(attends)),
            norm_num_groups=groups,
            attention_head_dim=math.gcd(8, *channels),
            dropout=dropout,
            num_class_embeds=classes,
        )
    nn.init.zeros_(unet.conv_out.weight)
    nn.init.zeros_(unet.conv_out.bias)
    return PaddedUNet(unet, 2 ** (len(channels) - 1), conditional=classes is not None)


def _check_sizes(sizes: Sequence[int], classes: int | None, dropout: float) -> None:
    if min(sizes) < 1 or (classes is not None and classes < 1) or not 0 <= dropout < 1:
        raise InputError(
            f"A network needs positive sizes, at least one class or none, and a dropout in [0, 1); "
            f"got sizes {tuple(sizes)}, classes {classes}, dropout {dropout}."
        )


@contextmanager
def _initialized_by(generator: torch.Generator) -> Iterator[None]:
    """torch's layers draw their weights from the global stream: lend it one seed, then restore it."""
    seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


@final
@dataclass(frozen=True)
class MLP:
    """Description of a residual MLP; see `build_mlp`."""

    width: int = 512
    depth: int = 3
    dropout: float = 0.0

    def build(
        self,
        shape: Sequence[int],
        classes: int | None,
        generator: torch.Generator,
        channels_out: int | None = None,
    ) -> nn.Module:
        """The network itself."""
        return build_mlp(shape, generator, self.width, self.depth, classes, self.dropout, channels_out)


@final
@dataclass(frozen=True)
class UNet:
    """Description of a U-Net; see `build_unet`."""

    channels: tuple[int, ...] = (32, 64, 64)
    layers: int = 1
    attention: tuple[bool, ...] | None = None
    dropout: float = 0.0

    def build(
        self,
        shape: Sequence[int],
        classes: int | None,
        generator: torch.Generator,
        channels_out: int | None = None,
    ) -> nn.Module:
        """The network itself."""
        parts = self.channels, self.layers, self.attention, classes, self.dropout, channels_out
        return build_unet(shape, generator, *parts)


KINDS: dict[str, type[MLP] | type[UNet]] = {"mlp": MLP, "unet": UNet}
"""Every network that a file can name."""


def describe(network: MLP | UNet) -> dict[str, Any]:
    """The description as JSON values: its kind and its fields; `from_description` is the inverse."""
    kind = next(name for name, made in KINDS.items() if made is type(network))
    return {"kind": kind, **asdict(network)}


def from_description(description: Mapping[str, Any]) -> MLP | UNet:
    """The description that JSON values hold.

    Raises:
        InputError: if the kind or a field is unknown.
    """
    given = dict(description)
    kind = given.pop("kind", None)
    if kind not in KINDS:
        raise InputError(f"A network description has kind {kind!r}; known kinds are {', '.join(KINDS)}.")
    known = {field.name for field in fields(KINDS[kind])}
    if not set(given) <= known:
        raise InputError(
            f"A network of kind {kind} has no field {', '.join(sorted(set(given) - known))}; "
            f"its fields are {', '.join(sorted(known))}."
        )
    # JSON has lists where a frozen value has tuples.
    values: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in given.items()}
    return KINDS[kind](**values)
