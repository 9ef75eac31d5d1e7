"""A mark before a string: what a transformer with relative places learns of absolute ones."""

from __future__ import annotations

import pytest
import torch

from unrote.contracts import InputError
from unrote.denoise.marked import Marked, marked
from unrote.denoise.token_networks import Transformer

SMALL = Transformer(width=16, layers=2, heads=2, hidden=24)


def stirred(network: torch.nn.Module, generator: torch.Generator) -> torch.nn.Module:
    """The network with weights as after training: none of them 0."""
    with torch.no_grad():
        for weight in network.parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator) * 0.3)
    return network.eval()


def test_a_string_of_masks_looks_the_same_everywhere_without_a_mark_and_not_with_one(generator) -> None:
    masks, t = torch.full((1, 6), 5), torch.ones(1)
    plain = stirred(SMALL.build(6, 5, None, generator), generator)(masks, t)
    assert torch.allclose(plain, plain[:, :1].expand_as(plain), atol=1e-5)
    seen = torch.log_softmax(stirred(marked(SMALL, 6, 5, None, generator), generator)(masks, t), -1)
    assert float((seen - seen[:, :1]).detach().abs().max()) > 0.01


def test_it_says_what_its_network_says_of_the_longer_string(generator) -> None:
    network = marked(SMALL, 6, 5, 3, generator)
    stirred(network, generator)
    x, t, label = torch.randint(6, (4, 6), generator=generator), torch.rand(4), torch.tensor([0, 1, 2, 0])
    longer = torch.cat([torch.full((4, 1), 6), x], 1)
    assert torch.equal(network(x, t, label), network.network(longer, t, label)[:, 1:, :5])
    assert isinstance(network, Marked)


def test_before_training_all_tokens_are_alike(generator) -> None:
    said = marked(SMALL, 6, 5, None, generator)(torch.randint(6, (4, 6), generator=generator), torch.rand(4))
    assert torch.allclose(said, said[..., :1].expand_as(said))


def test_sizes_that_cannot_be_built_are_refused(generator) -> None:
    with pytest.raises(InputError, match="even number of channels"):
        marked(Transformer(width=10, heads=4), 6, 5, None, generator)
