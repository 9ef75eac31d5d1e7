"""A bidirectional transformer for strings of tokens, told the noise level through adaptive norms."""

from __future__ import annotations

import math
from typing import final

import torch
from jaxtyping import Float, Int, Integer
from torch import Tensor, nn

from unrote.denoise.networks import FEATURES, NoiseFeatures

SLOWEST = 10_000.0
"""The longest wavelength of rotary positions is 2 pi times this."""

SMALL = 64
"""Numbers of a token before it is projected to the width."""


class Rotary(nn.Module):
    """Rotate pairs of channels by angles that grow with the place, so that products know distances alone.

    The pair k of place l is turned by l 10000^(-k / pairs).

    Source: Su et al. 2021 (RoFormer), section 3.2.
    """

    def __init__(self, length: int, channels: int) -> None:
        super().__init__()
        pairs = channels // 2
        speed = torch.exp(torch.arange(pairs) * (-math.log(SLOWEST) / pairs))
        angle = torch.arange(length)[:, None] * speed
        self.register_buffer("cosine", angle.cos(), persistent=False)
        self.register_buffer("sine", angle.sin(), persistent=False)

    def forward(self, x: Float[Tensor, "B H L C"]) -> Float[Tensor, "B H L C"]:
        """The same vectors, turned."""
        length = x.shape[2]
        cosine, sine = self.get_buffer("cosine")[:length], self.get_buffer("sine")[:length]
        one, two = x.chunk(2, -1)
        return torch.cat([one * cosine - two * sine, one * sine + two * cosine], -1).to(x.dtype)


class TransformerBlock(nn.Module):
    """h + a attention(norm(h)), then h + b glu(norm(h)), where norms and a, b are told level and class.

    norm(h) = (1 + scale) layernorm(h) + shift; scale, shift, a and b are linear in what is told and start at 0, so that
    the block starts as the identity. glu(h) = C (A h * sigmoid(B h)).

    Source: Shi et al. 2024 (MD4); adaptive norms of Peebles and Xie 2023, gates of Dauphin et al. 2017.
    """

    def __init__(self, width: int, heads: int, hidden: int, rotary: Rotary, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.asked = nn.Linear(width, 3 * width, bias=False)
        self.answered = nn.Linear(width, width, bias=False)
        self.inner = nn.Linear(width, 2 * hidden, bias=False)
        self.outer = nn.Linear(hidden, width, bias=False)
        self.told = nn.Linear(FEATURES, 6 * width)
        self.rotary = rotary
        self.dropout = nn.Dropout(dropout)

    def forward(self, h: Float[Tensor, "B L W"], e: Float[Tensor, "B F"]) -> Float[Tensor, "B L W"]:
        """(B,L,width), (B,features) -> (B,L,width)."""
        told = self.told(e)[:, None].chunk(6, -1)
        h = h + told[2] * self.dropout(self._attention(_adapted(self.norm(h), told[0], told[1])))
        gated = nn.functional.glu(self.inner(_adapted(self.norm(h), told[3], told[4])))
        return h + told[5] * self.dropout(self.outer(gated))

    def _attention(self, h: Tensor) -> Tensor:
        # (B,L,3W) -> three of (B,heads,L,C)
        query, key, value = self.asked(h).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        query, key = self.rotary(query), self.rotary(key)
        found = nn.functional.scaled_dot_product_attention(query, key, value)
        return self.answered(found.transpose(1, 2).flatten(2))


@final
class BidirectionalTransformer(nn.Module):
    """A transformer that reads a noisy string from both sides; its output starts as the same for all tokens.

    Tokens are embedded in 64 numbers and projected to the width; level and class are told to every norm. The optimum
    for masked strings does not depend on the level, which the number of masks tells; it is told as in MD4.

    Args:
        length: tokens in a string, at most.
        vocabulary: v; tokens are 0..v, of which v is the mask.
        width, layers, heads, hidden: sizes.
        classes: number of classes, or None for a network without condition.
        dropout: probability that a number is dropped in training.
        generator: draws the weights.

    Source: Shi et al. 2024 (MD4) as used by 002 appendix B.2. Weights W ~ N(0, 1/fan_in) keep the size of what
    passes at any width (theirs are not said; with GPT-2's .02 a network of width 96 learns next to nothing in 2,000
    steps), and the features of time are ours: cosines of t at frequencies 1 to 16.
    """

    def __init__(
        self,
        length: int,
        vocabulary: int,
        width: int,
        layers: int,
        heads: int,
        hidden: int,
        classes: int | None,
        dropout: float,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        # Weights are drawn below; torch's own start would draw from the global stream.
        with torch.random.fork_rng(devices=[]):
            self.noise = NoiseFeatures()
            self.clock = nn.Sequential(
                nn.Linear(FEATURES, 4 * FEATURES), nn.SiLU(), nn.Linear(4 * FEATURES, FEATURES)
            )
            self.label = None if classes is None else nn.Embedding(classes, FEATURES)
            self.tokens = nn.Embedding(vocabulary + 1, SMALL)
            self.first = nn.Linear(SMALL, width)
            rotary = Rotary(length, width // heads)
            self.blocks = nn.ModuleList(
                TransformerBlock(width, heads, hidden, rotary, dropout) for _ in range(layers)
            )
            self.norm = nn.LayerNorm(width, elementwise_affine=False)
            self.told = nn.Linear(FEATURES, 2 * width)
            self.last = nn.Linear(width, vocabulary)
        self._start(generator)

    @torch.no_grad()
    def _start(self, generator: torch.Generator) -> None:
        for name, weight in self.named_parameters():
            if "bias" in name or "told" in name or name.startswith("last"):
                weight.zero_()
                continue
            embedded = name in {"tokens.weight", "label.weight"}
            spread = 1.0 if embedded else weight.shape[1] ** -0.5
            drawn = torch.randn(weight.shape, generator=generator, device=generator.device)
            weight.copy_(drawn * spread)

    def forward(
        self, x: Integer[Tensor, "B L"], t: Float[Tensor, " B"], condition: Int[Tensor, " B"] | None = None
    ) -> Float[Tensor, "B L V"]:
        """log-probabilities of every token at every place.

        Raises:
            ValueError: if labels are given to a network without classes, or the reverse.
        """
        if (condition is None) != (self.label is None):
            raise ValueError(
                "a network that was built with classes needs the labels (B,) as its condition, and one without "
                "classes would ignore them"
            )
        e = self.clock(self.noise(t.to(self.last.weight.dtype)))
        if self.label is not None:
            e = e + self.label(condition)
        h = self.first(self.tokens(x.long()))
        for block in self.blocks:
            h = block(h, e)
        shift, scale = self.told(e)[:, None].chunk(2, -1)
        return torch.log_softmax(self.last(_adapted(self.norm(h), shift, scale)).float(), -1)


def _adapted(h: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    return (1 + scale) * h + shift
