"""Rotary positions know distances alone, the blocks start as nothing, and both sides of a string are read."""

from __future__ import annotations

import pytest
import torch

from unrote.denoise.token_networks import Transformer
from unrote.denoise.transformer import BidirectionalTransformer, Rotary


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def small(seed: int = 0) -> BidirectionalTransformer:
    return Transformer(16, layers=2, heads=2, hidden=24).build(12, 5, None, seeded(seed)).eval()


def test_rotated_products_depend_on_the_distance_alone():
    rotary = Rotary(12, 8)
    query, key = torch.randn(2, 8, generator=seeded())
    turned = [rotary(one.expand(1, 1, 12, 8))[0, 0] for one in (query, key)]
    products = turned[0] @ turned[1].mT
    for distance in range(-11, 12):
        diagonal = products.diagonal(distance)
        torch.testing.assert_close(diagonal, diagonal[:1].expand_as(diagonal), rtol=1e-4, atol=1e-5)
    assert products[0].std() > 0.1
    torch.testing.assert_close(turned[0].norm(dim=1), query.norm().expand(12))


def test_blocks_start_as_the_identity():
    network = small()
    h, e = torch.randn(3, 12, 16, generator=seeded()), torch.randn(3, 64, generator=seeded(1))
    for block in network.blocks:
        assert torch.equal(block(h, e), h)


def test_weights_start_with_their_spread():
    network = Transformer(256, layers=2, heads=4, hidden=100).build(8, 5, 3, seeded())
    block = network.blocks[0]
    assert float(block.asked.weight.detach().std()) == pytest.approx(1 / 16, rel=0.02)  # 256 numbers in
    assert float(block.outer.weight.detach().std()) == pytest.approx(1 / 10, rel=0.02)  # 100 numbers in
    for whole in (network.tokens, network.label):  # one number in
        assert float(whole.weight.detach().square().mean()) == pytest.approx(1, rel=0.2)
    for zero in (network.last.weight, block.told.weight, block.told.bias, network.told.weight):
        assert not zero.any()


def test_shorter_strings_are_read_as_well_and_both_sides_count():
    network = small()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=seeded(9)))
    x, t = torch.randint(6, (1, 9), generator=seeded(2)), torch.tensor([0.4])
    found = network(x, t)
    assert found.shape == (1, 9, 5)
    for place in (0, 8):
        other = x.clone()
        other[0, place] = (other[0, place] + 1) % 6
        assert ((network(other, t) - found).abs().amax(2) > 0).all()


def test_dropout_works_in_training_alone():
    network = Transformer(16, layers=1, heads=2, hidden=8, dropout=0.5).build(4, 3, None, seeded())
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=seeded(9)))
    x, t = torch.zeros(1, 4, dtype=torch.int64), torch.tensor([0.5])
    network.train()
    assert not torch.equal(network(x, t), network(x, t))
    network.eval()
    assert torch.equal(network(x, t), network(x, t))
