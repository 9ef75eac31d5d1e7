"""The tree U-Net keeps its size at every width, obeys its tree, and reads what is known exactly."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from unrote.contracts import Examples, InputError
from unrote.data.grammar import Shape, random_grammar
from unrote.data.grammar_counts import all_strings, random_strings
from unrote.denoise.grammar import GrammarDenoiser
from unrote.denoise.token_networks import (
    TEXT8,
    HiddenLayer,
    Readout,
    TokenPosterior,
    Transformer,
    Tree,
    TreeUNet,
)
from unrote.noise.schedule import linear_alpha_bars
from unrote.noise.tokens import Masked, Uniform, evidence
from unrote.train.loop import Options, train
from unrote.train.token_losses import uniform_recipe

LEVELS = 1 - linear_alpha_bars(1000)
WIDTHS = (64, 256, 1024)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def activations(network: nn.Module, x: Tensor, t: Tensor) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}

    def keep(name: str):
        return lambda module, given, made: found.__setitem__(name, made.detach().clone())

    layers = [(n, m) for n, m in network.named_modules() if isinstance(m, HiddenLayer | Readout)]
    hooks = [module.register_forward_hook(keep(name)) for name, module in layers]
    with torch.no_grad():
        network(x, t)
    for hook in hooks:
        hook.remove()
    return found


def size(x: Tensor) -> float:
    return float(x.square().mean().sqrt())


ADAM = Options(steps=5, batch_size=16, learning_rate=3e-3, warmup_steps=0, tick_every=5, cpu=True)
DESCENT = replace(ADAM, learning_rate=2e-2, momentum=0.9)


def moved_in_five_steps(
    width: int, base: int, options: Options = ADAM
) -> tuple[dict[str, float], dict[str, float]]:
    """Sizes of the numbers that come out of each layer at the start, and of what five steps change in them."""
    strings = torch.randint(4, (64, 4), generator=seeded(3))
    network = Tree(width, base=base).build(4, 4, None, seeded())
    x, t = strings[:16], torch.linspace(0.1, 0.9, 16)
    before = activations(network, x, t)
    recipe = uniform_recipe(Examples(strings, torch.zeros(64)), 4, LEVELS)
    list(train(network, recipe, seeded(1), options))
    after = activations(network, x, t)
    return {n: size(a) for n, a in before.items()}, {n: size(after[n] - before[n]) for n in before}


def test_coordinates_keep_their_size_from_width_64_to_1024_and_do_not_in_the_standard_parametrisation():
    # The coordinate check of Yang et al. 2022, appendix D.1.
    ours = [moved_in_five_steps(width, base=64) for width in WIDTHS]
    standard = [moved_in_five_steps(width, base=width) for width in WIDTHS]
    for name in ours[0][0]:
        start, change = ([sizes[part][name] for sizes in ours] for part in (0, 1))
        if name != "last":  # the output starts at 0
            assert all(0.5 < one < 3 for one in start)
        assert all(0.1 < one < 2 for one in change)
        assert max(change) < 1.5 * min(change)
        others = [sizes[1][name] for sizes in standard]
        assert others[0] < others[1] < others[2]
        assert others[2] > 5 * others[0]


def test_coordinates_keep_their_size_under_gradient_descent():
    ours = [moved_in_five_steps(width, 64, DESCENT)[1] for width in WIDTHS]
    standard = [moved_in_five_steps(width, width, DESCENT)[1] for width in WIDTHS]
    for name in ours[0]:
        change, others = ([sizes[name] for sizes in table] for table in (ours, standard))
        assert max(change) < 1.5 * min(change)
        assert others[2] > 5 * others[0]


def test_at_the_base_width_both_parametrisations_are_one():
    assert moved_in_five_steps(64, base=64) == moved_in_five_steps(64, base=64)
    network = Tree(64, base=64).build(4, 4, None, seeded())
    assert all(m.rate_factors == {"weight": 1.0} for m in network.modules() if isinstance(m, HiddenLayer))


def test_weights_are_as_many_as_the_docstring_says():
    for layers, s, width in ((3, 2, 32), (2, 3, 24)):
        network = Tree(width, branching=s).build(s**layers, 5, None, seeded())
        matrices = [m.weight.numel() for m in network.modules() if isinstance(m, HiddenLayer)]
        assert sum(matrices) == (3 * layers - 1) * s * width**2


def test_blocks_are_convolutions_of_filter_and_stride_s():
    # One block down is torch's convolution, one block up its transpose.
    network = Tree(6, branching=3).build(9, 4, None, seeded())
    h = torch.randn(2, 9, 6, generator=seeded(1))
    down = network.down[0]
    conv = nn.functional.conv1d(h.mT, down.weight.reshape(6, 3, 6).permute(0, 2, 1), down.bias, stride=3).mT
    torch.testing.assert_close(down(h.unflatten(1, (-1, 3)).flatten(2)), conv)
    up = network.up[-1]
    weight = up.weight.reshape(3, 6, -1).permute(2, 1, 0)
    spread = nn.functional.conv_transpose1d(h[:, :3].mT, weight, stride=3).mT
    bias = up.bias.reshape(3, 6).repeat(3, 1)
    torch.testing.assert_close(up(h[:, :3]).unflatten(2, (3, 6)).flatten(1, 2), spread + bias)


def trained_a_little(network: nn.Module) -> nn.Module:
    """Weights that start at 0 are random after this."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=seeded(9)))
    return network.eval()


@pytest.mark.parametrize(
    "make",
    [
        lambda classes: Tree(12).build(8, 5, classes, seeded()),
        lambda classes: Transformer(16, heads=2, hidden=8).build(8, 5, classes, seeded()),
    ],
    ids=["tree", "transformer"],
)
def test_networks_return_probabilities_and_use_tokens_level_and_class(make):
    network = make(3)
    x = torch.randint(6, (7, 8), generator=seeded(2))
    t, label = torch.linspace(0, 1, 7), torch.arange(7) % 3
    start = network(x, t, label)
    torch.testing.assert_close(start, torch.full_like(start, -math.log(5)))  # knows nothing at the start
    found = trained_a_little(network)(x, t, label)
    torch.testing.assert_close(found.exp().sum(2), torch.ones(7, 8))
    for others in ((x.roll(1, 1), t, label), (x, t.flip(0), label), (x, t, (label + 1) % 3)):
        assert (network(*others) - found).abs().max() > 1e-3
    torch.testing.assert_close(network(x[2:3], t[2:3], label[2:3]), found[2:3])
    with pytest.raises(ValueError, match="classes"):
        network(x, t)
    with pytest.raises(ValueError, match="classes"):
        make(None)(x, t, label)


def test_every_token_hears_of_every_other_and_more_of_its_siblings_at_half_the_depth():
    # Without the upper half of the tree a token knows its own subtree alone.
    network = trained_a_little(Tree(12).build(8, 5, None, seeded()))
    assert isinstance(network, TreeUNet)
    x = torch.randint(5, (1, 8), generator=seeded(2))
    t = torch.tensor([0.5])
    heard = torch.stack(
        [(network(changed(x, place), t) - network(x, t)).abs().amax(2)[0] for place in range(8)]
    )
    assert (heard > 0).all()
    with torch.no_grad():
        network.up[-1].weight.zero_()
        network.up[-1].bias.zero_()
    half = torch.stack(
        [(network(changed(x, place), t) - network(x, t)).abs().amax(2)[0] for place in range(8)]
    )
    same_half = torch.arange(8)[:, None] // 4 == torch.arange(8) // 4
    assert torch.equal(half > 0, same_half)


def changed(x: Tensor, place: int) -> Tensor:
    other = x.clone()
    other[:, place] = (other[:, place] + 1) % 5
    return other


def test_weights_depend_on_the_generator_alone():
    for build in (Tree(8).build, Transformer(8, heads=2, hidden=8).build):
        torch.manual_seed(1)
        one = build(4, 3, 2, seeded())
        state = torch.random.get_rng_state()
        torch.manual_seed(1)
        assert torch.equal(torch.random.get_rng_state(), state)  # nothing drawn from the global stream
        torch.manual_seed(2)
        two, three = build(4, 3, 2, seeded()), build(4, 3, 2, seeded(1))
        pairs = zip(one.parameters(), two.parameters(), three.parameters(), strict=True)
        assert all(torch.equal(a, b) for a, b, _ in pairs)
        assert any(not torch.equal(a, c) for a, c in zip(one.parameters(), three.parameters(), strict=True))


class Cavity(nn.Module):
    """What the other tokens of x say of each, summed over all strings."""

    def __init__(self, strings: Tensor, process: Uniform) -> None:
        super().__init__()
        self.strings, self.process = strings, process

    def forward(self, x: Tensor, t: Tensor, condition: Tensor | None = None) -> Tensor:
        seen = evidence(self.process, x, t)  # (B,L,V)
        each = seen[:, torch.arange(x.shape[1])[None], self.strings]  # (B,N,L)
        others = (each.sum(2, keepdim=True) - each).exp()
        truth = nn.functional.one_hot(self.strings, self.process.vocabulary).double()
        total = torch.einsum("bnl,nlv->blv", others, truth)
        return (total / total.sum(2, keepdim=True)).log()


def test_the_posterior_of_the_exact_cavity_is_the_exact_posterior():
    grammar = random_grammar(Shape(4, 2, 2), seeded())
    process = Uniform(4)
    t = torch.linspace(0.05, 1, 20, dtype=torch.float64)
    x = process.noise(random_strings(grammar, 20, seeded(1)).x, t, seeded(2))
    found = TokenPosterior(Cavity(all_strings(grammar).x, process), process)(x, t).exp()
    torch.testing.assert_close(found, GrammarDenoiser(grammar, process)(x, t).exp(), atol=1e-12, rtol=0)


def test_visible_tokens_of_masked_strings_are_certain_and_hidden_ones_the_networks():
    network = trained_a_little(Tree(8).build(4, 3, None, seeded()))
    model = TokenPosterior(network, Masked(3))
    x, t = torch.tensor([[0, 3, 2, 3]]), torch.tensor([0.5])
    found = model(x, t)
    torch.testing.assert_close(found[0, [1, 3]], network(x, t)[0, [1, 3]])
    assert torch.equal(found[0, [0, 2]].exp(), torch.tensor([[1.0, 0, 0], [0, 0, 1]]))
    assert bool(found.isfinite().all())
    uniform = TokenPosterior(network, Uniform(3))(x[:, :1].expand(-1, 4), t)
    told = network(x[:, :1].expand(-1, 4), t) + evidence(Uniform(3), x[:, :1].expand(-1, 4), t)
    torch.testing.assert_close(uniform, torch.log_softmax(told.float(), 2))


def test_md4s_configuration_has_the_weights_it_should():
    with torch.device("meta"):
        blocks = TEXT8.layers * (4 * TEXT8.width**2 + 3 * TEXT8.width * TEXT8.hidden + 6 * TEXT8.width * 65)
    assert blocks / 1e6 == pytest.approx(88.5, abs=0.1)  # and 0.2 million around them


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda g: Tree(8).build(6, 3, None, g), "branching"),
        (lambda g: Tree(8, branching=1).build(4, 3, None, g), "branching"),
        (lambda g: Tree(8).build(1, 3, None, g), "branching"),
        (lambda g: Tree(0).build(4, 3, None, g), "positive"),
        (lambda g: Tree(8).build(4, 3, 0, g), "class"),
        (lambda g: Transformer(10, heads=4).build(4, 3, None, g), "even number"),
        (lambda g: Transformer(8, heads=2, dropout=1.0).build(4, 3, None, g), "dropout"),
    ],
)
def test_networks_that_cannot_be_built_are_refused_in_words(build, words):
    with pytest.raises(InputError, match=words):
        build(seeded())
