from __future__ import annotations

import pytest
import torch

from unrote.contracts import Estimate, Examples, normal, over


def test_over_broadcasts_rows_and_nothing_else() -> None:
    x = torch.ones(3, 2, 4)
    level = torch.tensor([1.0, 2.0, 3.0])
    assert torch.equal(over(level, x) * x, torch.stack([torch.full((2, 4), v) for v in (1.0, 2.0, 3.0)]))


@pytest.mark.parametrize("level", [torch.tensor(1.0), torch.ones(2), torch.ones(3, 1)])
def test_over_refuses_what_is_not_one_number_per_row(level: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="one number per row"):
        over(level, torch.ones(3, 2))


def test_rows_with_their_own_stream_do_not_depend_on_their_batch() -> None:
    def streams(seeds: list[int]) -> list[torch.Generator]:
        return [torch.Generator().manual_seed(s) for s in seeds]

    together = normal((3, 5), streams([7, 8, 9]))
    alone = normal((1, 5), streams([8]))
    assert torch.equal(together[1:2], alone)
    with pytest.raises(ValueError, match="one generator per row"):
        normal((3, 5), streams([1, 2]))


def test_an_estimate_has_the_form_of_the_result_file() -> None:
    assert Estimate(0.5, 0.4, 0.6, 10).as_dict() == {"value": 0.5, "low": 0.4, "high": 0.6, "n": 10}


def test_examples_have_one_length() -> None:
    with pytest.raises(ValueError, match="one length"):
        Examples(torch.zeros(3, 2), torch.zeros(2))
