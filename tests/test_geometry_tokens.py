"""Curves of strings against closed forms, enumeration, and what an exact swap of denoisers does."""

from __future__ import annotations

import math

import pytest
import torch
from grammars import reference_grammar
from torch import Tensor

from unrote.contracts import InputError
from unrote.data.grammar import Shape, random_grammar
from unrote.data.grammar_counts import all_strings, distinct_strings
from unrote.denoise.grammar import GrammarDenoiser
from unrote.denoise.token_probe import TokenSwitch
from unrote.denoise.tokens import TokenEmpirical
from unrote.geometry.token_laws import (
    capacity,
    capacity_level,
    most_weight,
    pair_cover,
    pair_weight,
    random_masked_curves,
    token_coverage_bounds,
)
from unrote.geometry.tokens import (
    language_weight,
    token_coverage,
    token_coverage_without_fresh,
    token_weight_curve,
    token_zone,
)
from unrote.measure.hamming import hamming_neighbors
from unrote.noise.tokens import Masked, Uniform
from unrote.sample.token_steps import first_hitting, generate_tokens, masks_first

LEVELS = torch.tensor([0.1, 0.3, 0.5, 0.7, 0.9], dtype=torch.float64)
BOTH = [Masked(4), Uniform(4)]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pair(differ: int, length: int = 6) -> Tensor:
    x = torch.zeros(2, length, dtype=torch.int64)
    x[1, :differ] = 1
    return x


def random_strings(count: int, length: int, vocabulary: int, seed: int) -> Tensor:
    return torch.randint(vocabulary, (count, length), generator=seeded(seed))


def near(found: Tensor, expected: Tensor, several: float = 5) -> bool:
    """Whether means over strings are those expected, within some standard errors."""
    error = found.std(1) / found.shape[1] ** 0.5
    return bool(((found.mean(1) - expected).abs() <= several * error + 1e-3).all())


@pytest.mark.parametrize("process", BOTH)
@pytest.mark.parametrize("differ", [0, 1, 3, 6])
def test_two_strings_have_the_weight_of_the_closed_form(process, differ) -> None:
    curve = token_weight_curve(process, pair(differ), LEVELS, seeded(), draws=4000)
    expected = pair_weight(process, differ, LEVELS)
    assert torch.allclose(curve.own.mean(1), expected, atol=0.01)
    assert bool((curve.own <= curve.maximum + 1e-12).all())
    if isinstance(process, Masked):
        assert torch.allclose(expected, 1 - LEVELS**differ / 2)
        # Equal weights of all that agree: the largest is one's own.
        assert torch.allclose(curve.own, curve.maximum)


@pytest.mark.parametrize("process", BOTH)
@pytest.mark.parametrize("differ", [0, 2, 5])
def test_one_string_covers_another_as_the_closed_form_says(process, differ) -> None:
    train = torch.cat([pair(differ)[1:], torch.full((1, 6), 3)])
    fresh = pair(differ)[:1]
    alone = token_coverage(process, train[:1].repeat(2, 1), fresh, LEVELS, seeded(), draws=8000)
    assert torch.allclose(alone[:, 0], pair_cover(process, differ, LEVELS), atol=0.02)
    assert bool((token_coverage(process, train, fresh, LEVELS, seeded(), draws=8000) >= alone - 1e-12).all())


def test_closed_forms_of_replaced_tokens_by_enumeration() -> None:
    process, t = Uniform(3), torch.tensor([0.2, 0.8], dtype=torch.float64)
    x0 = torch.tensor([[0, 0, 0], [1, 1, 0]])
    every = torch.cartesian_prod(*3 * [torch.arange(3)])
    for at, level in enumerate(t.tolist()):
        joint = process.log_likelihood(every, x0, torch.full((27,), level)).exp()
        assert torch.allclose(joint.sum(0), torch.ones(2).double())
        weight = (joint[:, 0] * joint[:, 0] / joint.sum(1)).sum()
        cover = joint[:, 0][joint[:, 1] >= joint[:, 0] * (1 - 1e-9)].sum()
        assert float(pair_weight(process, 2, t)[at]) == pytest.approx(float(weight))
        assert float(pair_cover(process, 2, t)[at]) == pytest.approx(float(cover))


def test_random_strings_under_masks() -> None:
    weight, covered = random_masked_curves(4, 8, 24, LEVELS)
    found, met = [], []
    for seed in range(60):
        x = random_strings(25, 8, 4, seed)
        found.append(token_weight_curve(Masked(4), x[:24], LEVELS, seeded(seed), draws=8).own.mean(1))
        met.append(token_coverage(Masked(4), x[:24], x[24:], LEVELS, seeded(seed), draws=40)[:, 0])
    assert near(torch.stack(found, 1), weight)
    assert near(torch.stack(met, 1), covered)
    # All strings of a vocabulary of one are equal.
    one, all_of_it = random_masked_curves(1, 8, 24, LEVELS)
    assert torch.allclose(one, torch.full_like(one, 1 / 24))
    assert torch.allclose(all_of_it, torch.ones_like(one))


def test_long_random_strings_are_told_apart_up_to_the_capacity() -> None:
    for process in (Masked(8), Uniform(8)):
        x = random_strings(64, 200, 8, 1)
        edge = capacity_level(process, 200, 64)
        levels = torch.tensor([edge * 0.93, min(1.0, edge * 1.05)], dtype=torch.float64)
        below, above = token_weight_curve(process, x, levels, seeded(), draws=4).own.mean(1).tolist()
        assert below > 0.9
        assert above < 0.3
    assert capacity_level(Masked(8), 200, 64) == pytest.approx(1 - math.log(64) / (200 * math.log(8)))


@pytest.mark.parametrize("process", [Masked(2), Uniform(2)])
def test_no_set_of_strings_beats_fano(process) -> None:
    # All strings of 4 letters: the largest weight of each is that of its own letters.
    x = torch.cartesian_prod(*4 * [torch.arange(2)])
    found = token_weight_curve(process, x, LEVELS, seeded(), base=None, draws=400).maximum.mean(1)
    most = most_weight(process, 4, 16, LEVELS)
    exact = (1 - LEVELS / 2) ** 4
    assert torch.allclose(found, exact, atol=0.02)
    assert bool((most >= exact).all())
    assert bool((most <= 1).all())


def test_capacity_is_the_channels() -> None:
    t = torch.tensor([1e-9, 0.5, 1.0], dtype=torch.float64)
    assert torch.allclose(capacity(Masked(8), t), torch.tensor([1.0, 0.5, 0.0]).double() * math.log(8))
    found = capacity(Uniform(2), t)
    flip = torch.tensor(0.25, dtype=torch.float64)
    binary = math.log(2) - torch.special.entr(flip) - torch.special.entr(1 - flip)
    assert torch.allclose(
        found, torch.stack([torch.tensor(math.log(2)).double(), binary, 0 * binary]), atol=1e-7
    )


@pytest.mark.parametrize("process", [Masked(3), Uniform(3)])
def test_a_language_by_belief_and_by_enumeration(process) -> None:
    grammar = reference_grammar()
    everything = all_strings(grammar).x
    exact = GrammarDenoiser(grammar, process)
    count = math.log(len(everything))
    ours = language_weight(process, everything, LEVELS, exact.log_evidence, count, seeded(3), draws=16)
    # A training set of all strings is the language.
    known = token_weight_curve(process, everything, LEVELS, seeded(3), base=None, draws=16)
    assert torch.allclose(ours.mean(1), known.own.mean(1), atol=0.03)
    assert bool((ours.mean(1).diff() < 0).all())


def test_a_language_is_less_certain_than_its_training_strings() -> None:
    grammar = random_grammar(Shape(8, 2, 3), seeded())
    train = distinct_strings(grammar, 32, seeded(1)).x
    for process in (Masked(8), Uniform(8)):
        exact = GrammarDenoiser(grammar, process)
        theirs = language_weight(process, train, LEVELS, exact.log_evidence, math.log(1024), seeded(2))
        ours = token_weight_curve(process, train, LEVELS, seeded(2), base=None).own
        # The same noise, and more strings to share the weight with.
        assert bool((theirs <= ours + 1e-9).all() if isinstance(process, Masked) else True)
        assert bool((theirs.mean(1) < ours.mean(1)).all())


@pytest.mark.parametrize("process", BOTH)
def test_coverage_lies_between_its_bounds_and_ends_at_one(process) -> None:
    levels = torch.cat([LEVELS, torch.ones(1).double()])
    x = random_strings(340, 10, 4, 5)
    train, fresh = x[:40], x[40:]
    found = token_coverage(process, train, fresh, levels, seeded(), draws=4)
    distance = (fresh[:, None] != train[None]).sum(2)
    low, high = token_coverage_bounds(process, distance.amin(1), distance.reshape(-1), 40, levels)
    error = found.std(1) / 300**0.5 + 1e-3
    assert bool((low.mean(1) <= found.mean(1) + 5 * error).all())
    assert bool((found.mean(1) <= high + 5 * error).all())
    assert torch.equal(distance.amin(1), hamming_neighbors(fresh, train).distance[:, 0].long())
    assert bool((found[-1] == 1).all())


def test_under_masks_both_curves_are_never_high_together() -> None:
    # Weight of P + 1 strings is E 1/(1 + K), coverage by P is Pr(K >= 1), K those that agree: W <= 1 - Cov/2.
    t = torch.linspace(0.05, 0.95, 19, dtype=torch.float64)
    for vocabulary, length, count in ((2, 20, 64), (8, 16, 32), (27, 256, 4096)):
        weight = random_masked_curves(vocabulary, length, count + 1, t)[0]
        covered = random_masked_curves(vocabulary, length, count, t)[1]
        assert bool((weight <= 1 - covered / 2 + 1e-9).all())
        assert float(torch.minimum(weight, covered).max()) <= 2 / 3


def test_without_fresh_strings_each_is_held_against_the_others() -> None:
    x = random_strings(60, 8, 4, 7)
    found = token_coverage_without_fresh(Masked(4), x, LEVELS, seeded(1), base=None, draws=3)
    for at in (0, 31):
        others = torch.cat([x[:at], x[at + 1 :]])
        alone = torch.stack(
            [
                token_coverage(Masked(4), others, x[at : at + 1], LEVELS, seeded(s), draws=40)[:, 0]
                for s in (0, 1)
            ]
        ).mean(0)
        assert bool(((found[:, at] - alone).abs() <= 0.9).all())
    whole = token_coverage(Masked(4), x, random_strings(400, 8, 4, 8), LEVELS, seeded(2))
    assert torch.allclose(found.mean(1), whole.mean(1), atol=0.12)


def test_memory_and_the_width_of_integers_change_no_number() -> None:
    x = random_strings(30, 8, 4, 9)
    for process in BOTH:
        a = token_weight_curve(process, x, LEVELS, seeded(2), base=20, draws=3)
        b = token_weight_curve(process, x.to(torch.uint8), LEVELS, seeded(2), base=20, draws=3, memory=1)
        assert torch.equal(a.own, b.own)
        assert torch.equal(a.base, b.base)
        one = token_coverage(process, x[:20], x[20:], LEVELS, seeded(3))
        assert torch.equal(one, token_coverage(process, x[:20], x[20:], LEVELS, seeded(3), memory=1))


def test_exact_swaps_of_masked_denoisers_copy_as_the_curves_say() -> None:
    """Language above t, by heart below: Cov(t) of the strings. By heart above, language below: its weight."""
    grammar = random_grammar(Shape(8, 2, 3), seeded(4))
    strings = distinct_strings(grammar, 1024, seeded(5)).x
    train = strings[:24]
    process = Masked(8)
    exact, heart = GrammarDenoiser(grammar, process), TokenEmpirical(train, process)
    levels = torch.tensor([0.3, 0.6, 0.85], dtype=torch.float64)
    drawn = exact.sample(torch.full((4000, 8), 8), torch.ones(4000), seeded(6))
    covered = token_coverage(process, train, drawn, levels, seeded(7), draws=1)
    copied = (-math.log(1024) - exact_log(exact, train, levels, seeded(8))).exp().mean(1)
    ends = torch.tensor([1.0, 0.0], dtype=torch.float64)
    for at, level in enumerate(levels.tolist()):
        swapped = []
        for pair_of in ([heart, exact], [exact, heart]):
            told = generate_tokens(
                TokenSwitch([level], pair_of), 8, 8, range(1500), ends, first_hitting(8), masks_first
            )
            inside = (told[:, None] == train[None]).all(2).any(1)
            swapped.append(float(inside.double().mean()))
        assert swapped[0] == pytest.approx(float(covered[at].mean()), abs=0.05)
        assert swapped[1] >= float(copied[at]) - 0.05


def exact_log(exact: GrammarDenoiser, x0: Tensor, levels: Tensor, generator: torch.Generator) -> Tensor:
    """log p(visible) of noisy strings (T,n)."""
    rows = x0.repeat(40, 1)
    return torch.stack(
        [
            exact.log_evidence(
                Masked(8).noise(rows, level.expand(len(rows)), generator), level.expand(len(rows))
            )
            for level in levels
        ]
    )


@pytest.mark.parametrize("process", [Masked(8), Uniform(8)])
def test_a_zone_lies_between_the_language_and_the_training_strings(process) -> None:
    grammar = random_grammar(Shape(8, 2, 4), seeded())
    strings = distinct_strings(grammar, 160, seeded(1)).x
    train, fresh = strings[:32], strings[32:]
    exact = GrammarDenoiser(grammar, process)
    levels = torch.linspace(0.05, 1, 20, dtype=torch.float64)
    weight = token_weight_curve(process, train, levels, seeded(2))
    covered = token_coverage(process, train, fresh, levels, seeded(3))
    known = language_weight(process, train, levels, exact.log_evidence, math.log(262_144), seeded(4))
    zone = token_zone(weight, covered, seeded(5), known, repeats=50)
    assert zone.danger is not None and zone.language_half is not None
    assert zone.language_half.value == pytest.approx(zone.danger.low)
    assert zone.danger.low < 0.4
    assert 0.65 < zone.danger.high < 0.95
    assert zone.weight_half.low <= zone.weight_half.value <= zone.weight_half.high
    assert zone.gap is not None and zone.danger.low < zone.gap.low < zone.gap.high < zone.danger.high
    unknown = token_zone(weight, covered, seeded(5), repeats=50)
    assert unknown.danger is not None and unknown.danger.low == 0
    assert unknown.danger.high == pytest.approx(zone.danger.high)


def test_what_is_not_on_the_grid_has_a_reason() -> None:
    x = random_strings(40, 8, 4, 3)
    levels = torch.tensor([0.01, 0.02], dtype=torch.float64)
    weight = token_weight_curve(Masked(4), x, levels, seeded())
    covered = token_coverage_without_fresh(Masked(4), x, levels, seeded())
    zone = token_zone(weight, covered, seeded(), repeats=20)
    assert zone.danger is None
    assert zone.weight_half.value is None
    assert "reach higher" in zone.reasons["weight_half"]


def test_bad_input_is_named() -> None:
    x = random_strings(10, 4, 4, 0)
    process = Masked(4)
    with pytest.raises(InputError, match=r"1\.5 is above 1"):
        token_weight_curve(process, x, torch.tensor([0.5, 1.5]), seeded())
    with pytest.raises(InputError, match="must ascend"):
        token_coverage(process, x[:5], x[5:], torch.tensor([0.5, 0.4]), seeded())
    with pytest.raises(InputError, match="at least two"):
        token_weight_curve(process, x[:1], LEVELS, seeded())
    with pytest.raises(InputError, match="unknown"):
        token_weight_curve(process, x + 1, LEVELS, seeded())
    with pytest.raises(InputError, match="At least 1"):
        token_coverage_without_fresh(process, x, LEVELS, seeded(), draws=0)
    with pytest.raises(InputError, match="differ in 0 tokens"):
        pair_weight(process, -1, LEVELS)
    with pytest.raises(InputError, match="two of them"):
        most_weight(process, 4, 1, LEVELS)
    with pytest.raises(InputError, match="code needs"):
        capacity_level(process, 0, 4)
    with pytest.raises(InputError, match="Random strings"):
        random_masked_curves(0, 4, 4, LEVELS)
