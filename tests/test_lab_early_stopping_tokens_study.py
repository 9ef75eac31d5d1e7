"""What is measured of a model of a grammar is right for models whose answers are known."""

from __future__ import annotations

import pytest
import torch

from unrote.data.grammar import Shape
from unrote.data.grammar_parse import parse
from unrote.denoise.grammar import GrammarDenoiser
from unrote.denoise.token_networks import Tree
from unrote.denoise.tokens import TokenEmpirical
from unrote.lab.early_stopping.tokens_study import (
    Way,
    by_masks,
    by_uniform,
    corpus,
    excess,
    of_samples,
    study,
)
from unrote.train.loop import Options

SHAPE = Shape(4, 2, 2)


def test_strings_are_parted_and_larger_sets_contain_smaller_ones():
    small, large = corpus(SHAPE, 4, 8, 1, 2), corpus(SHAPE, 16, 8, 1, 2)
    assert torch.equal(small.train, large.train[:4])
    assert torch.equal(small.held, large.held)
    rows = {tuple(row) for row in torch.cat([large.train, large.held]).tolist()}
    assert len(rows) == 24
    assert parse(large.grammar, large.train).valid.all()
    other = corpus(SHAPE, 16, 8, 1, 3)
    assert all(torch.equal(a, b) for a, b in zip(large.grammar.rules, other.grammar.rules, strict=True))
    assert not torch.equal(large.train, other.train)


@pytest.mark.parametrize("way", [by_uniform(40), by_masks()], ids=["uniform", "masks"])
def test_the_exact_denoiser_has_no_excess_and_no_errors_and_a_rote_one_copies(way: Way):
    made = corpus(SHAPE, 4, 18, 1, 2)
    process = way.process(4)
    exact, rote = GrammarDenoiser(made.grammar, process), TokenEmpirical(made.train, process)
    assert excess(exact, exact, process, made, 0)["excess"] == pytest.approx(0, abs=1e-12)
    found = of_samples(way.generate(rote, 4, 4, 60, 0), made)
    assert found["copies"] >= 57
    found = of_samples(way.generate(exact, 4, 4, 200, 0), made)
    assert found["errors_2"] <= 10
    assert 8 <= found["copies"] <= 45  # 4 of 32 by chance
    assert found["valid"] == 200 - found["errors_2"]


def test_a_run_measures_both_weights_at_every_step():
    made = corpus(SHAPE, 4, 18, 1, 2)
    options = Options(steps=16, batch_size=8, learning_rate=3e-3, warmup_steps=4, cpu=True)
    found = study(made, by_masks(), Tree(8), options, [8, 16], 6, 100)
    assert found["steps"] == [8, 16]
    for name in ("raw", "averaged"):
        assert {"train", "validation", "gap", "excess", "excess_0.5", "errors_1", "copies"} <= set(
            found[name]
        )
        assert all(len(column) == 2 for column in found[name].values())
    assert 0 < found["exact"]["validation"] < found["averaged"]["validation"][-1]
    alone = study(made, by_masks(), Tree(8), options, [8], 6, 100, averaged_alone=True)
    assert "copies" not in alone["raw"]
    assert alone["averaged"]["copies"] == found["averaged"]["copies"][:1]
