"""k-means: fixed points of Lloyd's algorithm, exact cells, and every centre in use."""

from __future__ import annotations

import pytest
import torch

from unrote.contracts import InputError
from unrote.measure.partition import cell_of, centres


def test_clusters_far_apart_are_found_and_centres_are_their_means(generator: torch.Generator) -> None:
    truth = torch.arange(4).repeat_interleave(50)
    x = 20 * torch.eye(4)[truth] + torch.randn(200, 4, generator=generator)
    middle = centres(x, 4, generator)
    cell = cell_of(x, middle)
    assert len(torch.stack([truth, cell]).unique(dim=1).T) == 4
    means = torch.stack([x[cell == c].mean(0) for c in range(4)])
    assert torch.allclose(middle, means, atol=1e-5)


def test_cells_are_those_of_the_nearest_centre_and_none_is_empty(
    digits: torch.Tensor, generator: torch.Generator
) -> None:
    x = (16 * (digits + 1) / 2).to(torch.uint8)
    middle = centres(x, 10, generator)
    cell = cell_of(x, middle)
    assert torch.equal(cell, torch.cdist(x.double(), middle.double()).argmin(1))
    assert torch.equal(cell[5:6], cell_of(x[5:6], middle))
    assert len(cell.unique()) == 10
    inertia = (x.double() - middle[cell].double()).square().sum()
    one = (x.double() - x.double().mean(0)).square().sum()
    assert inertia < 0.6 * one


def test_equal_points_and_impossible_numbers(generator: torch.Generator) -> None:
    same = centres(torch.ones(5, 3), 3, generator)
    assert torch.equal(same, torch.ones(3, 3))
    with pytest.raises(InputError, match="6 cells"):
        centres(torch.ones(5, 3), 6, generator)
