"""The transformer's experiment on text asks what the tree's asks, of a network that sees where windows begin."""

from __future__ import annotations

import pytest
import torch

from unrote.data.alphabet import MASK
from unrote.lab.early_stopping import text, text_transformer
from unrote.lab.early_stopping.text_runs import network_of


def test_the_network_tells_places_of_nothing_but_masks_apart() -> None:
    asked = text_transformer.configuration(8, 0)
    network, plain = (
        network_of(asked | {"network": asked["network"] | more}) for more in ({}, {"marked": False})
    )
    nothing, t = torch.full((1, 32), MASK), torch.ones(1)
    for one, apart in ((network, True), (plain, False)):
        with torch.no_grad():
            for weight in one.parameters():
                weight.add_(0.1 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)))
            said = one(nothing, t)[0]
        assert ((said - said[:1]).abs().amax() > 1e-3) == apart


def test_both_experiments_say_the_same_of_different_networks() -> None:
    of_tree = {one.id.removeprefix("text-"): one for one in text.EXPERIMENT.claims}
    of_transformer = {
        one.id.removeprefix("text-transformer-"): one for one in text_transformer.EXPERIMENT.claims
    }
    assert of_tree.keys() == of_transformer.keys()
    for name, one in of_tree.items():
        assert one.rule == of_transformer[name].rule
        assert one.tested != of_transformer[name].tested


@pytest.mark.slow
def test_a_small_run_measures_both_losses_in_bits() -> None:
    result = text_transformer.EXPERIMENT.run(text_transformer.configurations("smoke")[0])
    untrained = result["averaged"]["train"][0]
    assert 4 < untrained < 5  # log2 of 27 is 4.75
    assert len(result["steps"]) == len(result["averaged"]["copies"])
