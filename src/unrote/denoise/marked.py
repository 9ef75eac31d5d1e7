"""A network of tokens that sees where a string begins, through a mark before its first token."""

from __future__ import annotations

from typing import final

import torch
from jaxtyping import Float, Int, Integer
from torch import Tensor, nn

from unrote.denoise.token_networks import Transformer


@final
class Marked(nn.Module):
    """A network that sees a mark before the first token, so that relative places tell it the absolute ones.

    log F_la(x, t) = network(m x, t)_(l+1)a for the tokens a = 0..v - 1, with the mark m = v + 1.

    Rotary positions alone know no place: of a string of nothing but masks they say the same everywhere, and a string
    has to be told from a few tokens wherever they stand, which small networks take long to learn.

    Args:
        network: of strings one longer, with one token more: 0..v + 1, of which v is the mask.
        vocabulary: v.
    """

    def __init__(self, network: nn.Module, vocabulary: int) -> None:
        super().__init__()
        self.network, self.vocabulary = network, vocabulary

    def forward(
        self, x: Integer[Tensor, "B L"], t: Float[Tensor, " B"], condition: Int[Tensor, " B"] | None = None
    ) -> Float[Tensor, "B L V"]:
        """Log-probabilities of every token at every place, up to a constant for each place."""
        mark = x.new_full((len(x), 1), self.vocabulary + 1)
        found: Tensor = self.network(torch.cat([mark, x], 1), t, condition)
        return found[:, 1:, : self.vocabulary]


def marked(
    description: Transformer, length: int, vocabulary: int, classes: int | None, generator: torch.Generator
) -> Marked:
    """A fresh transformer that sees where strings begin; arguments as of `Transformer.build`.

    Raises:
        InputError: for sizes that cannot be built.
    """
    return Marked(description.build(length + 1, vocabulary + 1, classes, generator), vocabulary)
