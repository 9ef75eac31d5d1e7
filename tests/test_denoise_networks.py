from __future__ import annotations

import json
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from unrote.contracts import InputError
from unrote.denoise.networks import (
    MLP,
    NoiseFeatures,
    UNet,
    build_mlp,
    build_unet,
    describe,
    from_description,
)

SMALL_UNET = UNet(channels=(8, 16), layers=1, attention=(False, True), dropout=0.1)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def awake(network: nn.Module) -> nn.Module:
    """A network whose output layer is no longer zero, in evaluation mode."""
    for p in network.parameters():
        if not p.any():
            nn.init.normal_(p, std=0.3, generator=seeded(1))
    return network.eval()


def mlp(classes: int | None = None, shape: tuple[int, ...] = (2, 3)) -> nn.Module:
    return awake(build_mlp(shape, seeded(), width=16, depth=2, classes=classes))


def unet(classes: int | None = None, shape: tuple[int, ...] = (1, 8, 8)) -> nn.Module:
    return awake(build_unet(shape, seeded(), (8, 16), classes=classes))


def inputs(n: int, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    return torch.randn(n, *shape, generator=seeded(2)), torch.linspace(-1.5, 1.0, n)


@settings(max_examples=20, deadline=None)
@given(st.floats(-1.6, 1.1), st.floats(-1.6, 1.1), st.floats(-0.5, 0.5))
def test_noise_features_have_one_length_and_tell_differences_alone(first, second, shift):
    phi = NoiseFeatures()
    near, far = torch.tensor([first, second]), torch.tensor([first + shift, second + shift])
    assert torch.allclose(phi(near).square().sum(1), torch.tensor([32.0, 32.0]), rtol=1e-5)
    assert float(phi(near)[0] @ phi(near)[1]) == pytest.approx(float(phi(far)[0] @ phi(far)[1]), abs=1e-3)


def test_noise_features_part_levels_that_differ_by_a_tenth():
    clock = torch.log(torch.tensor([0.5, 0.55])) / 4
    one, two = NoiseFeatures()(clock)
    assert float((one - two).norm() / one.norm()) > 0.1


@pytest.mark.parametrize("description", [MLP(width=16, depth=2), SMALL_UNET])
@pytest.mark.parametrize("classes", [None, 3])
def test_weights_depend_on_the_generator_alone_and_leave_the_global_stream_as_it_was(description, classes):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one = description.build((1, 8, 8), classes, seeded(0)).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(6)
    again = description.build((1, 8, 8), classes, seeded(0)).state_dict()
    other = description.build((1, 8, 8), classes, seeded(1)).state_dict()
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("description", [MLP(width=16, depth=2), SMALL_UNET])
def test_an_untrained_network_returns_zero_so_that_the_preconditioning_begins_alone(description):
    x, clock = inputs(3, (1, 8, 8))
    assert not description.build((1, 8, 8), None, seeded()).eval()(x, clock).any()


@pytest.mark.parametrize(("build", "shape"), [(mlp, (2, 3)), (unet, (1, 8, 8))])
@pytest.mark.parametrize("classes", [None, 4])
def test_a_row_does_not_depend_on_its_batch_and_does_on_level_and_class(build, shape, classes):
    network = build(classes, shape)
    x, clock = inputs(4, shape)
    label = None if classes is None else torch.arange(4)
    together = network(x, clock, label)
    alone = torch.cat([network(x[i : i + 1], clock[i : i + 1], None if label is None else label[i : i + 1])
                       for i in range(4)])  # fmt: skip
    assert torch.allclose(together, alone, atol=1e-5)
    assert (network(x, clock + 0.1, label) - together).abs().max() > 1e-3
    if label is not None:
        assert (network(x, clock, label.flip(0)) - together).abs().max() > 1e-3


def test_the_mlp_sees_an_image_as_the_vector_of_its_pixels():
    x, clock = inputs(5, (1, 4, 4))
    assert torch.equal(mlp(shape=(16,))(x.flatten(1), clock), mlp(shape=(1, 4, 4))(x, clock).flatten(1))


def test_the_mlp_is_the_formula_of_its_docstring():
    network = build_mlp((3,), seeded(), width=8, depth=1)
    nn.init.normal_(network.last.weight, generator=seeded(1))
    x, clock = inputs(2, (3,))

    def norm(h: Tensor) -> Tensor:
        return (h - h.mean(1, keepdim=True)) / (h.var(1, unbiased=False, keepdim=True) + 1e-5).sqrt()

    block, frequency = network.blocks[0], torch.logspace(0, math.log10(16), 32)
    phi = torch.cat([torch.cos(clock[:, None] * frequency), torch.sin(clock[:, None] * frequency)], 1)
    h = x @ network.first.weight.T + network.first.bias
    inner = norm(h) @ block.inner.weight.T + block.inner.bias + phi @ block.told.weight.T + block.told.bias
    expected = norm(h + inner * torch.sigmoid(inner)) @ network.last.weight.T + network.last.bias
    assert torch.allclose(network(x, clock), expected, atol=1e-4)


@pytest.mark.parametrize("size", [(7, 10), (28, 28), (8, 5)])
def test_the_unet_pads_with_zeros_and_crops(size):
    network = awake(build_unet((2, *size), seeded(), (8, 8, 8)))
    x, clock = inputs(2, (2, *size))
    full = tuple(-(-side // 4) * 4 for side in size)
    padded = torch.zeros(2, 2, *full)
    padded[..., : size[0], : size[1]] = x
    assert torch.allclose(network(x, clock), network(padded, clock)[..., : size[0], : size[1]], atol=1e-6)


def test_dropout_works_in_training_only():
    network = build_mlp((2, 3), seeded(), width=16, depth=2, dropout=0.5)
    nn.init.normal_(network.last.weight, generator=seeded(1))
    x, clock = inputs(4, (2, 3))
    assert not torch.equal(network.train()(x, clock), network(x, clock))
    assert torch.equal(network.eval()(x, clock), network(x, clock))


@pytest.mark.parametrize(("build", "shape"), [(mlp, (2, 3)), (unet, (1, 8, 8))])
def test_a_condition_is_never_ignored_and_never_missing(build, shape):
    x, clock = inputs(2, shape)
    with pytest.raises(ValueError, match="would ignore its condition"):
        build(None, shape)(x, clock, torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="pass the labels"):
        build(2, shape)(x, clock)


@pytest.mark.parametrize("description", [MLP(), MLP(64, 2, 0.1), UNet(), SMALL_UNET])
def test_a_description_survives_json(description):
    text = json.dumps(describe(description))
    assert from_description(json.loads(text)) == description


@pytest.mark.parametrize(
    ("description", "message"),
    [
        ({"kind": "transformer"}, "known kinds are mlp, unet"),
        ({"width": 3}, "known kinds are mlp, unet"),
        ({"kind": "mlp", "heads": 2}, "no field heads"),
    ],
)
def test_an_unknown_description_is_refused_with_what_is_known(description, message):
    with pytest.raises(InputError, match=message):
        from_description(description)


@pytest.mark.parametrize(
    "build",
    [
        lambda: build_mlp((4,), seeded(), width=0),
        lambda: build_mlp((4,), seeded(), dropout=1.0),
        lambda: build_mlp((4,), seeded(), classes=0),
        lambda: build_unet((64,), seeded()),
        lambda: build_unet((1, 8, 8), seeded(), (8, 8), attention=(True,)),
    ],
)
def test_sizes_that_cannot_be_built_are_input_errors(build):
    with pytest.raises(InputError, match="got"):
        build()
