"""The levels of a command are EDM's, as far as a model knows them."""

from __future__ import annotations

import math

import pytest
import torch

from unrote.contracts import Examples, InputError
from unrote.jobs.levels import AT_ONCE, EVERYWHERE, GRID, at_once, grid_within, sampling_levels, within
from unrote.noise.levels import LogNormal, edm_levels
from unrote.train.recipe import baseline


def test_a_model_that_knows_everything_gets_the_grid_of_edm() -> None:
    assert torch.equal(grid_within(18, EVERYWHERE), edm_levels(18))
    assert torch.equal(sampling_levels()[:-1], edm_levels(18))
    assert float(sampling_levels()[-1]) == 0.0


@pytest.mark.parametrize(
    ("known", "ends"),
    [
        ((0.01, 157.4), (0.01, 80.0)),
        ((0.0004, 14.6), (0.002, 14.6)),
        ((0.03, 36.9), (0.03, 36.9)),
        ((0.0, math.inf), GRID),
    ],
)
def test_a_grid_ends_where_the_model_does_and_keeps_its_number_and_spacing(known, ends) -> None:
    grid = grid_within(9, known)
    assert (float(grid[-1]), float(grid[0])) == ends
    assert len(grid) == 9
    steps = (grid ** (1 / 7)).diff()
    assert torch.allclose(steps, steps[:1].expand_as(steps), rtol=1e-6)


def test_a_model_without_a_level_in_common_is_refused() -> None:
    with pytest.raises(InputError, match=r"100 to 200 only"):
        grid_within(5, (100.0, 200.0))


def test_training_stays_within_what_the_model_knows(generator) -> None:
    examples = Examples(torch.zeros(4, 2), torch.zeros(4))
    recipe = baseline(examples, LogNormal(), torch.ones_like)
    assert within(recipe, EVERYWHERE) is recipe
    narrow = within(recipe, (0.2, 0.5))
    _, sigma = narrow.redraw(narrow)(2000, generator)
    assert 0.2 <= float(sigma.min()) < 0.21
    assert 0.49 < float(sigma.max()) <= 0.5
    # The law itself, given that the level is known.
    law = LogNormal()
    expected = law.probability(0.2, 0.3) / law.probability(0.2, 0.5)
    assert float((sigma <= 0.3).double().mean()) == pytest.approx(expected, abs=0.04)


def test_large_images_go_through_in_smaller_batches() -> None:
    sizes = {side: at_once(torch.zeros(1, 3, side, side), 256) for side in (8, 32, 64, 256, 1024)}
    assert sizes == {8: 256, 32: 256, 64: 64, 256: 4, 1024: 1}
    assert all(n * 3 * side**2 <= AT_ONCE for side, n in sizes.items() if n > 1)
    assert at_once(torch.zeros(1, 3, 32, 32), 512) == 512
