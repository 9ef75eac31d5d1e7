"""Bounds of tokens are those of enumeration, the exact denoiser is the best there is, and times are shared evenly."""

from __future__ import annotations

import math
from itertools import product

import pytest
import torch
from scipy.special import beta
from torch import Tensor, nn

from unrote.contracts import Examples, InputError
from unrote.data.grammar import Grammar, Shape, random_grammar
from unrote.data.grammar_counts import all_strings
from unrote.denoise.grammar import GrammarDenoiser
from unrote.denoise.token_networks import TokenPosterior, Tree
from unrote.denoise.tokens import TokenEmpirical, bayes_loss
from unrote.noise.schedule import linear_alpha_bars
from unrote.noise.tokens import Masked, Uniform
from unrote.train.checkpoints import checkpoint_path, save
from unrote.train.interventions import gap, reject
from unrote.train.loop import Options, train
from unrote.train.losses import Batch
from unrote.train.probe import probe_of
from unrote.train.token_losses import (
    StratifiedTimes,
    Timesteps,
    bits,
    bound_term,
    cross_entropy_loss,
    inverse_level,
    masked,
    masked_loss,
    masked_recipe,
    masked_rest,
    replaced,
    string_losses,
    token_nats,
    token_recipe,
    uniform_loss,
    uniform_recipe,
    uniform_rest,
)

LEVELS = 1 - linear_alpha_bars(1000)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def language() -> Grammar:
    return random_grammar(Shape(3, 2, 2, classes=2), seeded(1))


def examples(x: Tensor) -> Examples:
    return Examples(x, torch.zeros(len(x)))


def last(ticks):
    *_, tick = ticks
    return tick


class Tilted(nn.Module):
    """A denoiser with noise in its logits: another one than it was."""

    def __init__(self, exact: nn.Module, amount: float) -> None:
        super().__init__()
        self.exact, self.amount = exact, amount

    def forward(self, x: Tensor, t: Tensor, condition: Tensor | None = None) -> Tensor:
        log_p = self.exact(x, t)
        noise = torch.randn(log_p.shape, generator=seeded(5), dtype=log_p.dtype)
        return torch.log_softmax(log_p.clamp(min=-30) + self.amount * noise, 2)


def joint_of_step(strings: Tensor, v: int, t: float, s: float) -> tuple[Tensor, Tensor]:
    """All strings x (v^L, L) and q(x0_n, x_s,l, x_t = x) for every place l: (n, x, l, v), by definition."""
    every = torch.tensor(list(product(range(v), repeat=strings.shape[1])))
    eye = torch.eye(v, dtype=torch.float64)
    below = (1 - s) * eye + s / v
    keep = (1 - t) / (1 - s)
    step = keep * eye + (1 - keep) / v
    whole = below @ step
    alone = whole[strings[:, None], every[None]]  # (n, x, l)
    together = below[strings][:, None] * step.mT[every][None]  # (n, x, l, j): q(j | x0_l) q(x_l | j)
    rest = alone.prod(2, keepdim=True) / alone
    return every, together * rest[..., None] / len(strings)


@pytest.mark.parametrize(("t", "s"), [(0.3, 0.0), (0.31, 0.3), (0.9, 0.2), (1.0, 0.95)])
def test_the_term_of_the_exact_denoiser_is_the_information_of_enumeration(t, s):
    # E KL(q(x_s,l | x_t, x0) | p(x_s,l | x_t)) = H(x_s,l | x_t) - H(x_s,l | x_t, x0), and x0 helps through x0_l alone.
    grammar = language()
    strings = all_strings(grammar).x
    every, joint = joint_of_step(strings, 3, t, s)
    per_x = joint.sum((0, 3), keepdim=True)
    unknown = -torch.xlogy(joint.sum(0), joint.sum(0) / per_x[0]).sum((0, 2))
    known = -torch.xlogy(joint, joint / joint.sum(3, keepdim=True)).sum((0, 1, 3))
    expected = float((unknown - known).mean())
    exact = GrammarDenoiser(grammar, Uniform(3))
    log_p = exact(every, torch.full((len(every),), t, dtype=torch.float64))
    n, m = len(strings), len(every)
    terms = bound_term(
        log_p.repeat(n, 1, 1),
        strings.repeat_interleave(m, 0),
        every.repeat(n, 1),
        torch.full((n * m,), t),
        torch.full((n * m,), s),
    )
    weight = joint.sum((2, 3)) / strings.shape[1]  # q(x0_n, x), the same from every place
    assert float((weight.reshape(-1) * terms).sum()) == pytest.approx(expected, rel=1e-5)


def test_the_bounds_of_the_exact_denoiser_end_at_the_entropy_of_the_language():
    # A chain of ever smaller steps loses nothing; masks lose nothing: in any order, log p is a chain rule.
    grammar = language()
    strings = all_strings(grammar).x
    n, length = strings.shape
    entropy = math.log(n) / length
    exact = GrammarDenoiser(grammar, Uniform(3))
    found = {}
    for count in (8, 40, 200):
        levels = torch.linspace(0, 1, count + 1, dtype=torch.float64)[1:]
        found[count] = sum(
            exact_term(exact, strings, float(t), float(t) - 1 / count) for t in levels
        ) + uniform_rest(3, 1.0)
    assert found[8] > found[40] > found[200] > entropy
    assert found[200] - entropy < 0.02 * entropy
    assert (found[40] - entropy) / (found[200] - entropy) == pytest.approx(
        5, rel=0.25
    )  # first order in the step
    masks = GrammarDenoiser(grammar, Masked(3))
    total = 0.0
    for pattern in product((False, True), repeat=length):
        hidden = sum(pattern)
        if not hidden:
            continue
        x = strings.masked_fill(torch.tensor(pattern), 3)
        log_p = masks(x, torch.full((n,), 0.5, dtype=torch.float64))
        nats = -log_p.gather(2, strings[..., None])[..., 0][:, list(pattern)].sum(1).mean()
        total += beta(hidden, length - hidden + 1) * float(nats) / length  # int t^(k-1) (1-t)^(L-k) dt
    assert total == pytest.approx(entropy, rel=1e-12)


def exact_term(exact: nn.Module, strings: Tensor, t: float, s: float) -> float:
    """E of `bound_term` over all strings and all noise, the denoiser being any."""
    every, joint = joint_of_step(strings, 3, t, max(s, 0.0))
    n, m = len(strings), len(every)
    log_p = exact(every, torch.full((m,), t, dtype=torch.float64)).repeat(n, 1, 1)
    rows, columns = strings.repeat_interleave(m, 0), every.repeat(n, 1)
    level, below = (torch.full((n * m,), one, dtype=torch.float64) for one in (t, max(s, 0.0)))
    terms = bound_term(log_p, rows, columns, level, below)
    return float(((joint.sum((2, 3)) / strings.shape[1]).reshape(-1) * terms).sum())


@pytest.mark.parametrize("s", [0.0, 0.3])
def test_the_exact_denoiser_is_the_best_and_its_neighbours_are_worse_by_a_square(s):
    grammar = language()
    strings = all_strings(grammar).x
    exact = GrammarDenoiser(grammar, Uniform(3))
    least = exact_term(exact, strings, 0.5, s)
    worse = [exact_term(Tilted(exact, amount), strings, 0.5, s) - least for amount in (0.02, 0.04)]
    assert 0 < worse[0] < worse[1]
    assert worse[1] / worse[0] == pytest.approx(4, rel=0.15)  # no first-order part: a minimum


def test_losses_in_training_are_these_bounds():
    # Drawn rows, levels and normal numbers give, on average, what enumeration gives.
    grammar = language()
    strings = all_strings(grammar).x
    entropy = math.log(len(strings)) / strings.shape[1]
    for process, recipe, rest in (
        (Uniform(3), uniform_recipe(examples(strings), 3, LEVELS), uniform_rest(3, float(LEVELS[-1]))),
        (Masked(3), masked_recipe(examples(strings), 3), masked_rest(3, 1e-4)),
    ):
        exact = GrammarDenoiser(grammar, process)
        found = string_losses(exact, recipe, strings, seeded(), draws=400)
        error = float(found.std()) / math.sqrt(len(found))
        assert abs(float(found.mean()) + rest - entropy) < 4 * error + 0.01 * entropy
        assert error < 0.06 * entropy


def test_a_cross_entropy_at_a_level_is_at_least_the_bayes_loss_and_equals_it_for_the_exact_denoiser():
    grammar = language()
    strings = all_strings(grammar).x.repeat(300, 1)
    process = Uniform(3)
    exact = GrammarDenoiser(grammar, process)
    t, z = torch.full((len(strings),), 0.6), torch.randn(strings.shape, generator=seeded())
    batch = Batch(strings, torch.zeros(len(t)), t, z, torch.ones(len(t)))
    found = cross_entropy_loss(replaced(3))(exact, batch).double()
    least = bayes_loss(exact, process, strings, t, seeded(1))
    error = math.hypot(float(found.std()), float(least.std())) / math.sqrt(len(t))
    assert abs(float(found.mean() - least.mean())) < 4 * error
    mixed = uniform_loss(3, LEVELS, cross_entropy=2.0)(exact, batch) - uniform_loss(3, LEVELS)(exact, batch)
    nearest = LEVELS[(LEVELS - 0.6).abs().argmin()]
    x = replaced(3)(strings, nearest.expand(len(t)), z)
    torch.testing.assert_close(mixed, 2 * token_nats(exact(x, nearest.expand(len(t))), strings))


def test_noise_from_normal_numbers_is_that_of_the_process():
    x0 = torch.randint(5, (40_000, 2), generator=seeded(3))
    z = torch.randn(x0.shape, generator=seeded(4))
    for t in (0.001, 0.3, 1.0):
        level = torch.full((len(x0),), t)
        hidden = masked(5)(x0, level, z)
        spread = math.sqrt(t * (1 - t) / x0.numel()) + 1e-9
        assert abs(float((hidden == 5).double().mean()) - t) < 4.5 * spread
        assert torch.equal(hidden[hidden != 5], x0[hidden != 5])
        moved = replaced(5)(x0, level, z)
        expected = torch.full((5,), t / 5, dtype=torch.float64)
        expected[0] += 1 - t
        shift = (moved - x0) % 5  # 0 for what stayed, all others alike
        count = torch.bincount(shift.reshape(-1), minlength=5).double() / x0.numel()
        assert ((count - expected).abs() < 4.5 * (expected * (1 - expected) / x0.numel()).sqrt()).all()


def test_stratified_times_are_uniform_each_and_even_together():
    law = StratifiedTimes(0.2, 0.9)
    g = seeded()
    drawn = torch.stack([law(8, g) for _ in range(4000)])
    # One in each eighth, whatever the start.
    cell = (
        (((drawn - 0.2) / 0.7 - drawn.sub(0.2).div(0.7).min(1, keepdim=True).values) * 8)
        .round()
        .sort(1)
        .values
    )
    assert torch.equal(cell, torch.arange(8.0, dtype=torch.float64).expand_as(cell))
    for column in (drawn[:, 0], drawn[:, 5]):
        u = ((column - 0.2) / 0.7).sort().values
        steps = torch.arange(1, len(u) + 1) / len(u)
        assert float((u - steps).abs().max()) < 1.95 / math.sqrt(len(u))  # Kolmogorov, 0.1 %
    assert bool((drawn > 0.2).all()) and bool((drawn <= 0.9).all())
    assert abs(float(torch.corrcoef(drawn[:, :2].T)[0, 1]) + 1 / 7) < 0.08  # without replacement, nearly


def test_stratified_times_take_the_noise_of_levels_out_of_a_batch():
    # The bound with its 1/t gains little (most of its noise is which tokens are hidden), a plain cross-entropy much.
    strings = all_strings(language()).x
    exact = TokenEmpirical(strings, Masked(3))

    def plain(n: int, generator: torch.Generator) -> Tensor:
        return 1 - torch.rand(n, generator=generator, dtype=torch.float64)

    spread = []
    for law in (StratifiedTimes(0.0), plain):
        recipe = token_recipe(examples(strings), law, torch.ones_like, cross_entropy_loss(masked(3)))
        means = torch.stack([string_losses(exact, recipe, strings, seeded(k)).mean() for k in range(300)])
        spread.append(float(means.var()))
    assert spread[0] < 0.6 * spread[1]


def test_levels_in_a_gap_are_drawn_again_without_bias():
    law = StratifiedTimes()
    strings = all_strings(language()).x
    recipe = gap(0.3, 0.7, reject)(token_recipe(examples(strings), law, inverse_level(), masked_loss(3)))
    draw = recipe.redraw(recipe)
    g = seeded()
    levels = torch.cat([draw(32, g)[1] for _ in range(500)])
    assert not ((levels > 0.3) & (levels <= 0.7)).any()
    share = torch.histc(levels.float(), 10, 0, 1) / len(levels)
    expected = torch.tensor([1 / 6] * 3 + [0.0] * 4 + [1 / 6] * 3)
    assert (share - expected).abs().max() < 0.012


def test_timesteps_are_drawn_from_their_table_alike():
    table = torch.tensor([0.1, 0.5, 1.0], dtype=torch.float64)
    count = torch.stack([(Timesteps(table)(3000, seeded()) == t).sum() for t in table])
    assert count.sum() == 3000
    assert (count - 1000).abs().max() < 110


def test_a_level_of_the_batch_counts_as_the_nearest_timestep():
    strings = all_strings(language()).x
    exact = GrammarDenoiser(language(), Uniform(3))
    table = torch.tensor([0.1, 0.5, 1.0], dtype=torch.float64)
    z = torch.randn(strings.shape, generator=seeded())
    loss = uniform_loss(3, table)
    rows = torch.ones(len(strings))

    def at(t: float) -> Tensor:
        return loss(exact, Batch(strings, 0 * rows, t * rows, z, rows))

    for near, t in ((0.01, 0.1), (0.29, 0.1), (0.31, 0.5), (0.74, 0.5), (0.76, 1.0), (1.0, 1.0)):
        assert torch.equal(at(near), at(t))
    one = uniform_loss(3, table[2:])(exact, Batch(strings, 0 * rows, rows, z, rows))
    x = replaced(3)(strings, rows, z)
    torch.testing.assert_close(one, token_nats(exact(x, rows), strings))  # one step from noise to data


def test_the_rest_is_the_divergence_from_uniform():
    p = torch.tensor([1 - 0.9 + 0.9 / 4, *[0.9 / 4] * 3], dtype=torch.float64)
    assert uniform_rest(4, 0.9) == pytest.approx(float((p * (p * 4).log()).sum()), rel=1e-12)
    assert uniform_rest(4, 1.0) == pytest.approx(0, abs=1e-12)
    assert uniform_rest(4, 1e-300) == pytest.approx(math.log(4))
    assert masked_rest(27, 1e-4) == pytest.approx(1e-4 * math.log(27))
    assert float(bits(torch.tensor(math.log(27)))) == pytest.approx(math.log2(27))


@pytest.mark.parametrize("process", [Uniform(3), Masked(3)], ids=["uniform", "masked"])
def test_a_network_learns_two_strings_and_continues_to_the_bit(process, tmp_path):
    x = torch.tensor([[0, 1, 2, 0], [2, 2, 1, 1]])
    of = {
        Uniform: lambda: uniform_recipe(examples(x), 3, LEVELS),
        Masked: lambda: masked_recipe(examples(x), 3),
    }
    recipe = of[type(process)]()
    options = Options(steps=200, batch_size=16, learning_rate=1e-2, warmup_steps=10, tick_every=100, cpu=True)

    def model() -> nn.Module:
        return TokenPosterior(Tree(16, base=16).build(4, 3, None, seeded()), process)

    ticks = train(model(), recipe, seeded(2), options)
    save(next(ticks).state, checkpoint_path(tmp_path, 100))
    end = last(ticks)
    least = float(string_losses(TokenEmpirical(x, process), recipe, x, seeded(3), draws=500).mean())
    found = float(string_losses(end.state.network, recipe, x, seeded(3), draws=500).mean())
    assert least - 1e-3 < found < least + 0.25 * (math.log(3) - least)
    again = last(train(model(), recipe, seeded(2), options, resume=checkpoint_path(tmp_path, 100)))
    for one, two in zip(end.state.network.parameters(), again.state.network.parameters(), strict=True):
        assert torch.equal(one, two)


def test_probes_pair_strings_under_one_noise():
    strings = all_strings(language()).x
    recipe = masked_recipe(examples(strings[:4]), 3)
    rows, fresh = examples(strings[:4]), examples(strings[4:8])
    probe = probe_of(rows, fresh, recipe.law, recipe.weight, seeded(), pairs=4, draws=200, loss=recipe.loss)
    rote = TokenEmpirical(strings[:4], Masked(3))
    train_loss, validation = probe.losses(rote)
    exact = probe.losses(GrammarDenoiser(language(), Masked(3)))
    assert float(train_loss.mean()) < float(exact[0].mean()) < 1
    assert float(exact[1].mean()) < float(validation.mean())


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda x: token_recipe(examples(x.float()), StratifiedTimes(), torch.ones_like, masked_loss(3)), "whole"),
        (lambda x: token_recipe(examples(x[:0]), StratifiedTimes(), torch.ones_like, masked_loss(3)), "at least one"),
        (lambda x: token_recipe(Examples(x, torch.ones(len(x))), StratifiedTimes(), torch.ones_like, masked_loss(3)),
         "noise inside"),
        (lambda x: masked_recipe(examples(x), 2), "vocabulary"),
        (lambda x: uniform_recipe(examples(x - 1), 3, LEVELS), "vocabulary"),
        (lambda x: uniform_recipe(examples(x), 3, LEVELS.flip(0)), "ascend"),
        (lambda x: Timesteps(torch.tensor([0.0, 0.5])), "ascend"),
        (lambda x: StratifiedTimes(0.5, 0.5), "interval"),
        (lambda x: StratifiedTimes(-0.1, 0.5), "interval"),
    ],
)  # fmt: skip
def test_what_cannot_be_trained_is_refused_in_words(make, words):
    with pytest.raises(InputError, match=words):
        make(all_strings(language()).x)


def test_noisy_strings_are_refused_on_use():
    x = all_strings(language()).x
    batch = Batch(x, torch.full((len(x),), 0.1), torch.ones(len(x)), torch.zeros(x.shape), torch.ones(len(x)))
    for loss in (masked_loss(3), uniform_loss(3, LEVELS), cross_entropy_loss(masked(3))):
        with pytest.raises(InputError, match="clean strings"):
            loss(GrammarDenoiser(language(), Masked(3)), batch)
