from __future__ import annotations

import math

import pytest
import torch

from unrote.contracts import InputError
from unrote.geometry.inputs import ascending, contained, held_out, images


@pytest.mark.parametrize(
    ("x", "said"),
    [
        (torch.rand(2, 4), "at least 3"),
        (torch.rand(4).expand(5, 4), "same image"),
        (torch.arange(5.0)[:, None].expand(5, 4), "blank"),
        (torch.tensor([[1.0, 2.0], [math.nan, 1.0], [0.0, 1.0]]), "NaN"),
        (torch.tensor([[1.0, 2.0], [math.inf, 1.0], [0.0, 1.0]]), "NaN"),
    ],
)
def test_unusable_images(x: torch.Tensor, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        images(x)
    assert "\n" not in str(caught.value)


def test_integers_keep_their_range_and_single_numbers_are_not_blank() -> None:
    x = torch.randint(0, 256, (5, 3, 2, 2), dtype=torch.uint8)
    assert torch.equal(images(x), x.flatten(1).float())
    assert images(torch.arange(3.0)).shape == (3, 1)


@pytest.mark.parametrize(
    "levels", [[], [0.0, 1.0], [-1.0, 1.0], [1.0, math.inf], [math.nan], [2.0, 1.0], [1.0, 1.0]]
)
def test_unusable_levels(levels: list[float]) -> None:
    with pytest.raises(InputError, match="Noise levels must") as caught:
        ascending(torch.tensor(levels))
    assert "\n" not in str(caught.value)


def test_a_test_set_that_was_trained_on() -> None:
    train = torch.rand(6, 3)
    assert contained(torch.cat([train[2:4], torch.rand(1, 3)]), train).tolist() == [True, True, False]
    assert contained(-torch.zeros(1, 3), torch.zeros(1, 3)).all()
    assert contained(train[:2].double(), train).all()
    with pytest.raises(InputError, match="coverage would be 1"):
        held_out(train.flip(0), train)
    assert len(held_out(torch.cat([train, torch.rand(1, 3)]), train)) == 7
    for wrong in (torch.rand(2, 4), torch.rand(0, 3)):
        with pytest.raises(InputError, match="same size"):
            held_out(wrong, train)
    with pytest.raises(InputError, match="NaN"):
        held_out(torch.full((2, 3), math.nan), train)
