"""Recall is 0 for the language's denoiser and 1 for the one by heart; a switch asks the denoiser of the level."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from unrote.data.grammar import Shape, random_grammar
from unrote.data.grammar_counts import distinct_strings
from unrote.denoise.grammar import GrammarDenoiser
from unrote.denoise.token_networks import TokenPosterior, Tree
from unrote.denoise.token_probe import TokenSwitch, recall
from unrote.denoise.tokens import TokenEmpirical
from unrote.noise.tokens import Masked, Uniform


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("process", [Masked(8), Uniform(8)])
def test_recall_is_none_by_rule_and_all_by_heart(process) -> None:
    grammar = random_grammar(Shape(8, 2, 3), seeded())
    train = distinct_strings(grammar, 16, seeded(1)).x
    exact, heart = GrammarDenoiser(grammar, process), TokenEmpirical(train, process)
    t = torch.linspace(0.1, 0.9, 16, dtype=torch.float64)
    for model, share in ((exact, 0.0), (heart, 1.0)):
        known, most = recall(model, exact, process, train, train, t, seeded(2))
        assert torch.allclose(known, share * most, atol=1e-9)
        assert bool((most >= -1e-12).all())
        assert float(most.mean()) > 0.05
    new = TokenPosterior(Tree(width=8).build(8, 8, None, seeded()), process)
    known, most = recall(new, exact, process, train, train, t, seeded(2))
    assert float(known.mean()) < 0 < float(most.mean())


def test_recall_is_the_gain_in_the_true_tokens() -> None:
    """The mean over x0 of log p_model - log p_exact at the true token, which has more noise."""
    process = Masked(8)
    grammar = random_grammar(Shape(8, 2, 3), seeded())
    train = distinct_strings(grammar, 16, seeded(1)).x
    exact = GrammarDenoiser(grammar, process)
    model = TokenEmpirical(distinct_strings(grammar, 64, seeded(1)).x, process)
    rows, t = train.repeat(250, 1), torch.full((4000,), 0.7, dtype=torch.float64)
    known, _ = recall(model, exact, process, train, rows, t, seeded(3))
    x = process.noise(rows, t, seeded(3))
    gain = (model(x, t) - exact(x, t)).gather(2, rows[..., None])[..., 0].mean(1)
    error = float((gain - known).std()) / 4000**0.5
    assert float(gain.mean() - known.mean()) == pytest.approx(0, abs=4 * error)
    assert float(gain.std()) > float(known.std())


class Says:
    def __init__(self, number: float) -> None:
        self.number = number

    def __call__(self, x: Tensor, t: Tensor, condition: Tensor | None = None) -> Tensor:
        given = torch.zeros(len(x)) if condition is None else condition.float()
        return (self.number + given)[:, None, None].expand(len(x), x.shape[1], 3)


def test_a_switch_asks_the_denoiser_of_the_level() -> None:
    x, t = torch.zeros(5, 2, dtype=torch.int64), torch.tensor([0.0, 0.29, 0.3, 0.8, 1.0])
    told = TokenSwitch([0.3, 0.8], [Says(1), Says(2), Says(3)])
    assert told(x, t)[:, 0, 0].tolist() == [1, 1, 2, 3, 3]
    assert told(x, t, torch.arange(5))[:, 1, 2].tolist() == [1, 2, 4, 6, 7]
    assert told(x, t).dtype == torch.float64
    assert told(x[:0], t[:0]).shape == (0, 2, 3)
    with pytest.raises(ValueError, match="one denoiser more"):
        TokenSwitch([0.3], [Says(1)])
    with pytest.raises(ValueError, match="increasing edges"):
        TokenSwitch([0.3, 0.2], [Says(1)] * 3)
