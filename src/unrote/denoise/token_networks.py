"""Networks that go inside a trained denoiser of tokens: a U-Net on a tree, and descriptions of it and the transformer.

Every network is called as ``network(x, t, condition=None)`` and returns log-probabilities (B,L,v); what they are of is
decided by `TokenPosterior` around it, or its absence. A frozen description (`Tree`, `Transformer`) builds it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float, Int, Integer
from torch import Tensor, nn

from unrote.contracts import InputError
from unrote.denoise.networks import FEATURES, NoiseFeatures
from unrote.denoise.transformer import BidirectionalTransformer
from unrote.noise.tokens import TokenProcess, evidence

GAIN = 0.4252**-0.5
"""Weights are so much larger that a GELU of normal numbers, whose mean square is 0.4252, keeps their size."""

CLOCK = 8.0
"""The clock is logit(t) / 8 = log(sigma) / 4 with sigma^2 = t / (1 - t), for which `NoiseFeatures` is made."""

EDGE = 1e-6
"""The clock stands still nearer than this to 0 and 1."""


class TokenPosterior(nn.Module):
    """Read a network as what the other tokens say of each, and add what the noisy token itself says, which is known.

    log p(x0_l = a | x) = log F_la(x, t) + log q(x_l | x0_l = a) + const.

    The best F is p(x0_l | all tokens of x but the l-th), of moderate size at every level. For masked tokens it makes
    every visible token certain. This is the parametrisation of D3PM: its reverse step, in proportion to
    q(x_t | x_s) sum_a q(x_s | a) F_a, is the exact step of this posterior.

    Args:
        network: F, any denoiser of tokens.
        process: how strings are destroyed.

    Source: Austin et al. 2021 (D3PM), eq. 4; the reading as a cavity is elementary.
    """

    def __init__(self, network: nn.Module, process: TokenProcess) -> None:
        super().__init__()
        self.network, self.process = network, process

    def forward(
        self, x: Integer[Tensor, "B L"], t: Float[Tensor, " B"], condition: Int[Tensor, " B"] | None = None
    ) -> Float[Tensor, "B L V"]:
        """log p(x0_l = a | x); what is impossible has -4096 or less, so that sums stay finite.

        Args:
            x: noisy strings (B,L).
            t: the probability with which each row's tokens were destroyed (B,).
            condition: a class per row (B,), for a network with classes.

        Raises:
            InputError: for unknown tokens.
            ValueError: for a level outside [0, 1].
        """
        told = self.network(x, t, condition)
        return torch.log_softmax(told + evidence(self.process, x, t).to(told.dtype), -1)


class HiddenLayer(nn.Module):
    """W x + b between wide layers in maximal-update parametrisation.

    W_ij ~ N(0, gain^2 / fan_in), b = 0; Adam moves W at base/width times the learning rate, b at all of it; gradient
    descent moves W at the rate, b at width/base times it.

    Args:
        fan_in, fan_out: numbers in and out.
        relative: base/width.
        generator: draws W.

    Source: Yang et al. 2022 ("Tensor programs V"), table 8, hidden weights.
    """

    def __init__(self, fan_in: int, fan_out: int, relative: float, generator: torch.Generator) -> None:
        super().__init__()
        drawn = torch.randn(fan_out, fan_in, generator=generator, device=generator.device)
        self.weight = nn.Parameter(drawn.cpu() * (GAIN * fan_in**-0.5))
        self.bias = nn.Parameter(torch.zeros(fan_out))
        self.rate_factors = {"weight": relative}

    @property
    def descent_factors(self) -> dict[str, float]:
        """Factors of the learning rate under gradient descent."""
        return {"bias": 1 / self.rate_factors["weight"]}

    def forward(self, x: Float[Tensor, "*B I"]) -> Float[Tensor, "*B O"]:
        """(..., fan_in) -> (..., fan_out)."""
        return nn.functional.linear(x, self.weight, self.bias)


class InputLayer(nn.Module):
    """W x from few numbers to many: W_ij ~ N(0, 1 / fan_in).

    Adam moves W at the whole learning rate whatever the width, gradient descent at width/base times it.

    Args:
        fan_in, fan_out: numbers in and out.
        relative: base/width; 1 where the numbers out do not grow with the width.
        generator: draws W.

    Source: Yang et al. 2022, table 8, input weights.
    """

    def __init__(self, fan_in: int, fan_out: int, relative: float, generator: torch.Generator) -> None:
        super().__init__()
        drawn = torch.randn(fan_out, fan_in, generator=generator, device=generator.device)
        self.weight = nn.Parameter(drawn.cpu() * fan_in**-0.5)
        self._relative = relative

    @property
    def descent_factors(self) -> dict[str, float]:
        """Factors of the learning rate under gradient descent."""
        return {"weight": 1 / self._relative}

    def forward(self, x: Float[Tensor, "*B I"]) -> Float[Tensor, "*B O"]:
        """(..., fan_in) -> (..., fan_out)."""
        return nn.functional.linear(x, self.weight)


class Readout(nn.Module):
    """(base/width) W x + b from many numbers to few; both start at 0.

    Adam moves both at the whole learning rate, gradient descent W at width/base times it.

    Source: Yang et al. 2022, table 8, output weights, and appendix D.2 for the start at 0.
    """

    def __init__(self, fan_in: int, fan_out: int, relative: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(fan_out, fan_in))
        self.bias = nn.Parameter(torch.zeros(fan_out))
        self.multiplier = relative

    @property
    def descent_factors(self) -> dict[str, float]:
        """Factors of the learning rate under gradient descent."""
        return {"weight": 1 / self.multiplier}

    def forward(self, x: Float[Tensor, "*B I"]) -> Float[Tensor, "*B O"]:
        """(..., fan_in) -> (..., fan_out)."""
        return nn.functional.linear(self.multiplier * x, self.weight, self.bias)


@final
class TreeUNet(nn.Module):
    """A U-Net whose filters and strides are a tree's branching s: L blocks down, L blocks up, skips between them.

    e_0 = E[x], e_l = gelu(W_l [s neighbours of e_{l-1}] + V_l phi), h_L = e_L,
    [s neighbours of h_{l-1}] = gelu(U_l [h_l, e_l] + V'_l phi), log p = log softmax(A [h_0, e_0]).

    phi tells level and class. Blocks are linear maps of s joined neighbours, which is what a convolution of filter and
    stride s is. Widths share one learning rate: see `HiddenLayer`, `InputLayer` and `Readout`.

    Args:
        vocabulary: v; tokens are 0..v, of which v is the mask.
        layers: L.
        branching: s.
        width: channels of every layer.
        base: the width at which all weights have the same learning rate.
        classes: number of classes, or None for a network without condition.
        generator: draws the weights.

    Source: 002 section 4.3 and appendix B.3. Their skips, time conditioning and number of weights are not said: these
    skips are joined, as in Ronneberger et al. 2015; (3L - 1) s width^2 weights in all, where theirs have L s width^2.
    """

    def __init__(
        self,
        vocabulary: int,
        layers: int,
        branching: int,
        width: int,
        base: int,
        classes: int | None,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.branching = branching
        relative = base / width
        self.noise = NoiseFeatures()
        self.label = None if classes is None else InputLayer(classes, FEATURES, 1.0, generator)
        features = FEATURES if classes is None else 2 * FEATURES
        self.embedding = InputLayer(vocabulary + 1, width, relative, generator)
        with torch.no_grad():
            # One of its inputs is 1 and the others 0, so that fan_in counts for one.
            self.embedding.weight.mul_((vocabulary + 1) ** 0.5)
        down, up = branching * width, [2 * width] * (layers - 1) + [width]
        self.down = nn.ModuleList(HiddenLayer(down, width, relative, generator) for _ in range(layers))
        self.up = nn.ModuleList(HiddenLayer(fan_in, down, relative, generator) for fan_in in up)
        told = [InputLayer(features, width, relative, generator) for _ in range(2 * layers)]
        self.told_down, self.told_up = nn.ModuleList(told[:layers]), nn.ModuleList(told[layers:])
        self.last = Readout(2 * width, vocabulary, relative)

    def forward(
        self, x: Integer[Tensor, "B L"], t: Float[Tensor, " B"], condition: Int[Tensor, " B"] | None = None
    ) -> Float[Tensor, "B L V"]:
        """log-probabilities of every token at every place; the same for all at the start of training.

        Raises:
            ValueError: if labels are given to a network without classes, or the reverse.
        """
        phi = self._told(t, condition)
        skips = [nn.functional.embedding(x.long(), self.embedding.weight.mT)]
        for block, told in zip(self.down, self.told_down, strict=True):
            joined = skips[-1].unflatten(1, (-1, self.branching)).flatten(2)
            skips.append(nn.functional.gelu(block(joined) + told(phi)[:, None]))
        h = skips.pop()
        for level, (block, told) in enumerate(
            zip(reversed(self.up), reversed(self.told_up), strict=True), start=-len(self.up)
        ):
            joined = h if level == -len(self.up) else torch.cat([h, skips.pop()], 2)
            spread = block(joined).unflatten(2, (self.branching, -1)).flatten(1, 2)
            h = nn.functional.gelu(spread + told(phi)[:, None])
        return torch.log_softmax(self.last(torch.cat([h, skips.pop()], 2)), -1)

    def _told(self, t: Tensor, condition: Tensor | None) -> Tensor:
        if (condition is None) != (self.label is None):
            raise ValueError(
                "a network that was built with classes needs the labels (B,) as its condition, and one without "
                "classes would ignore them"
            )
        # Near 1 single precision has no digits left for 1 - t of what it was given, but enough for a clock.
        clock = torch.logit(t.double(), EDGE) / CLOCK
        phi = self.noise(clock.to(self.embedding.weight.dtype))
        if self.label is None or condition is None:
            return phi
        labels = nn.functional.embedding(condition, self.label.weight.mT)
        return torch.cat([phi, labels], 1)


@final
@dataclass(frozen=True)
class Tree:
    """Description of a `TreeUNet`.

    Args:
        width: channels of every layer; 002 has 8,192.
        branching: s of the tree.
        base: width at which every weight has the learning rate of the optimizer. With `base` equal to `width` the
            parametrisation is the standard one.
    """

    width: int = 256
    branching: int = 2
    base: int = 64

    def build(
        self, length: int, vocabulary: int, classes: int | None, generator: torch.Generator
    ) -> TreeUNet:
        """The network itself, for strings of s^L tokens.

        Args:
            length: tokens in a string.
            vocabulary: v, without the mask.
            classes: number of classes, or None.
            generator: draws the weights.

        Raises:
            InputError: for sizes that are not positive, or a length that is no power of the branching.
        """
        check_sizes((length, vocabulary, self.width, self.base), classes)
        layers = round(math.log(length, self.branching)) if self.branching > 1 else 0
        if layers < 1 or self.branching**layers != length:
            raise InputError(
                f"A tree of branching {self.branching} has strings of {self.branching}, {self.branching**2}, ... "
                f"tokens, not of {length}: use another branching, or the transformer for strings of any length."
            )
        return TreeUNet(vocabulary, layers, self.branching, self.width, self.base, classes, generator)


@final
@dataclass(frozen=True)
class Transformer:
    """Description of a `BidirectionalTransformer`; the defaults learn a few windows of text on a laptop.

    Args:
        width: numbers in the residual stream.
        layers, heads: blocks, and heads of attention in each.
        hidden: numbers inside the gated linear unit.
        dropout: probability that a number is dropped in training.
    """

    width: int = 96
    layers: int = 2
    heads: int = 4
    hidden: int = 256
    dropout: float = 0.0

    def build(
        self, length: int, vocabulary: int, classes: int | None, generator: torch.Generator
    ) -> BidirectionalTransformer:
        """The network itself, for strings of up to `length` tokens; other arguments as for `Tree.build`.

        Raises:
            InputError: for sizes that cannot be built.
        """
        check_sizes((length, vocabulary, self.width, self.layers, self.heads, self.hidden), classes)
        if self.width % (2 * self.heads) or not 0 <= self.dropout < 1:
            raise InputError(
                f"A transformer needs an even number of channels for each of its heads, and a dropout in [0, 1); got "
                f"width {self.width} for {self.heads} heads, dropout {self.dropout}."
            )
        sizes = self.width, self.layers, self.heads, self.hidden
        return BidirectionalTransformer(length, vocabulary, *sizes, classes, self.dropout, generator)


TEXT8 = Transformer(width=768, layers=12, heads=12, hidden=2048)
"""MD4's configuration for text8, 88.7 million weights (Shi et al. 2024), with contexts of 256 tokens."""


def check_sizes(sizes: tuple[int, ...], classes: int | None) -> None:
    """That sizes can be built.

    Raises:
        InputError: if one is not positive.
    """
    if min(sizes) < 1 or (classes is not None and classes < 1):
        raise InputError(
            f"A network of tokens needs positive sizes and at least one class or none; got sizes {sizes}, "
            f"classes {classes}."
        )
