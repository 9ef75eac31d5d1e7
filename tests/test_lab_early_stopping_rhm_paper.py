"""The paper's grammars at its width: weights are counted and shapes are right at full size, steps are saved and resumed
at the largest width that fits into a small machine's memory, and one layer is moved at full width."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from unrote.contracts import Examples
from unrote.data.grammar import Shape
from unrote.denoise.networks import FEATURES
from unrote.denoise.token_networks import HiddenLayer, TokenPosterior, Tree
from unrote.lab.early_stopping import rhm, rhm_deep
from unrote.lab.early_stopping.rhm_runs import WAYS
from unrote.lab.early_stopping.tokens_study import corpus, model_of
from unrote.noise.tokens import Uniform
from unrote.train.checkpoints import checkpoint_path, save
from unrote.train.loop import Options, train
from unrote.train.state import TrainState

WIDTH = 2048
"""Of steps here, 5.5 GB at most: 67 and 118 million weights; at the paper's 8,192 they are 16 times as many."""
PAPER = {
    "L3": (rhm.configurations("paper")[0], 1_077_362_704),
    "L5": (rhm_deep.configurations("paper")[0], 1_884_815_376),
}


def weights(shape: Shape, w: int) -> int:
    """Blocks and their biases, embedding, what tells the level, and the last layer."""
    v, s, layers = shape.vocabulary, shape.branching, shape.layers
    blocks = (3 * layers - 1) * s * w * w + (s + 1) * layers * w
    return blocks + (v + 1) * w + 2 * layers * FEATURES * w + 2 * w * v + v


@pytest.mark.parametrize("name", PAPER)
def test_the_papers_network_has_its_size_and_shapes_without_memory_for_it(name: str) -> None:
    asked, count = PAPER[name]
    shape = Shape(**asked["shape"])
    with FakeTensorMode():  # shapes alone: nothing is held
        network = Tree(asked["width"]).build(shape.length, shape.vocabulary, None, torch.Generator())
        denoiser = TokenPosterior(network, Uniform(shape.vocabulary))
        x, t = torch.zeros(32, shape.length, dtype=torch.int64), torch.full((32,), 0.5)
        network(x, t).sum().backward()
        assert all(p.grad is not None and p.grad.shape == p.shape for p in denoiser.parameters())
        found = sum(p.numel() for p in denoiser.parameters())
    assert found == weights(shape, asked["width"]) == count


def bytes_of(state: TrainState) -> dict[str, int]:
    """What a run holds between two updates."""
    kept = state.optimizer.optimizer.state.values()
    moments = [one for each in kept for key, one in each.items() if key != "step"]
    parts = {"raw": state.network.parameters(), "ema": state.ema.parameters(), "adam": moments}
    return {name: sum(one.numel() * one.element_size() for one in part) for name, part in parts.items()}


@pytest.mark.slow
@pytest.mark.parametrize("name", PAPER)
def test_the_papers_grammar_makes_a_step_is_saved_and_resumed_to_the_same_bits(
    name: str, tmp_path: Path
) -> None:
    asked: Mapping[str, Any] = PAPER[name][0]
    shape, way = Shape(**asked["shape"]), WAYS[asked["way"]]
    made = corpus(shape, asked["trained"], 64, 0, 0)
    recipe = way.recipe(Examples(made.train, torch.zeros(len(made.train))), shape.vocabulary)
    small = {"batch_size": 4, "tick_every": 1, "cpu": True, "warmup_steps": 1}

    def trained(steps: int, resume: Path | None = None) -> TrainState:
        model = model_of(Tree(WIDTH), made.grammar, way.process(shape.vocabulary), 0)
        options = Options(**{**asked["options"], **small, "steps": steps})
        return list(train(model, recipe, torch.Generator().manual_seed(1), options, resume))[-1].state

    path = checkpoint_path(tmp_path, 1)
    save(trained(1), path)
    resumed, direct = trained(2, path), trained(2)
    for one, other in ((resumed.network, direct.network), (resumed.ema, direct.ema)):
        assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
    # 16 bytes a weight are held and saved, and 4 more are its gradient's within a step.
    count = weights(shape, WIDTH)
    assert bytes_of(direct) == {"raw": 4 * count, "ema": 4 * count, "adam": 8 * count}
    assert 16 * count < path.stat().st_size < 16.01 * count + 100_000


@pytest.mark.slow
def test_a_layer_of_full_width_moves_its_numbers_as_much_as_a_narrow_one() -> None:
    def moved(width: int) -> float:
        g = torch.Generator().manual_seed(0)
        layer = HiddenLayer(2 * width, width, 64 / width, g)
        x = torch.randn(8, 2 * width, generator=g)
        target = torch.randn(8, width, generator=g)
        rates = [
            {"params": [layer.weight], "lr": 3e-3 * layer.rate_factors["weight"]},
            {"params": [layer.bias], "lr": 3e-3},
        ]
        optimizer = torch.optim.AdamW(rates, fused=True)
        before = layer(x)
        nn.functional.mse_loss(before, target).backward()
        optimizer.step()
        with torch.no_grad():
            return float((layer(x) - before).square().mean().sqrt())

    narrow, wide = moved(256), moved(8192)
    assert 0.5 * narrow < wide < 2 * narrow


@pytest.mark.slow
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("name", PAPER)
def test_the_papers_width_makes_a_step_in_bf16_on_a_gpu(name: str) -> None:
    asked, count = PAPER[name]
    if torch.cuda.get_device_properties(0).total_memory < 24 * count:
        pytest.skip(f"needs {24 * count / 2**30:.0f} GiB on the GPU")
    shape, way = Shape(**asked["shape"]), WAYS[asked["way"]]
    made = corpus(shape, 256, 64, 0, 0)
    recipe = way.recipe(Examples(made.train, torch.zeros(256)), shape.vocabulary)
    model = model_of(Tree(asked["width"]), made.grammar, way.process(shape.vocabulary), 0)
    options = Options(**{**asked["options"], "steps": 2, "tick_every": 1, "mixed_precision": "bf16"})
    *_, last = train(model, recipe, torch.Generator().manual_seed(1), options)
    assert all(p.dtype == torch.float32 for p in last.state.network.parameters())
    assert torch.cuda.max_memory_allocated() < 24 * count
