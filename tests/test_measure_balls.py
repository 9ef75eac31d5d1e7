"""Membership in balls: the projected pass, the sharp pass and all pairs agree."""

from __future__ import annotations

import pytest
import torch

from unrote.contracts import InputError
from unrote.distances import frame
from unrote.measure import balls
from unrote.measure.balls import contacts, radii
from unrote.measure.projection import ProjectedIndex, projected_index


def _images(n: int, generator: torch.Generator) -> torch.Tensor:
    """Points near a surface of 20 dimensions in 768, rounded like pixels."""
    basis = torch.randn(20, 768, generator=torch.Generator().manual_seed(5))
    x = torch.randn(n, 20, generator=generator) @ basis + 0.3 * torch.randn(n, 768, generator=generator)
    return (x * 8 + 128).clamp(0, 255).to(torch.uint8)


def _all(found: list[balls.Contacts]) -> tuple[torch.Tensor, torch.Tensor]:
    assert [f.start for f in found] == [sum(len(g.in_query) for g in found[:i]) for i in range(len(found))]
    return torch.cat([f.in_reference for f in found]), torch.cat([f.in_query for f in found])


def test_projected_and_sharp_passes_find_the_same_balls(
    generator: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    reference, query = _images(900, generator), _images(700, generator)
    query[:5] = reference[:5]
    own, other = radii(query, 5), radii(reference, 5)
    distance = torch.cat(
        [torch.linalg.vector_norm(q.double()[:, None] - reference.double(), dim=-1) for q in query.split(25)]
    )
    passes = []

    def projected(q: torch.Tensor, x: torch.Tensor, memory: int) -> ProjectedIndex:
        return projected_index(x, 32, setting=frame(q, x), memory=memory)

    def sharp(*arguments: object) -> object:
        passes.append("sharp")
        return original(*arguments)

    original = balls._sharp
    monkeypatch.setattr(balls, "_sharp", sharp)
    for reach, index in ((1.0, None), (1.0, projected), (3.0, projected)):
        # Large balls hold so many points that a projected pass is repeated with all coordinates.
        monkeypatch.setattr(balls, "paying_index", index or (lambda *_: None))
        passes.clear()
        found = _all(list(contacts(query, reference, own * reach, other * reach)))
        assert torch.equal(found[0], distance <= other * reach)
        assert torch.equal(found[1], distance <= (own * reach)[:, None])
        assert bool(passes) == (index is None or reach == 3)


def test_radii_leave_out_the_point_itself_but_not_its_equals() -> None:
    x = torch.tensor([[0.0], [0.0], [3.0], [7.0]])
    assert radii(x, 1).tolist() == [0, 0, 3, 4]
    assert radii(x, 2).tolist() == [3, 3, 3, 7]
    with pytest.raises(InputError, match=r"The 4\. nearest"):
        radii(x, 4)
