"""Held-out images out of the training set: whole groups of near-duplicates, the same as ever where there are none."""

from __future__ import annotations

import pytest
import torch

from unrote.contracts import InputError
from unrote.data.images import disjoint_splits
from unrote.data.pixels import BYTES
from unrote.data.sources import Images
from unrote.jobs import TrainOptions
from unrote.jobs.comparing import Reference
from unrote.jobs.training import read_data, train
from unrote.jobs.training_split import split_of


def reference(copies: list[int], threshold: float = 0.02) -> Reference:
    """Random images of which each is repeated, with a little noise, so many times."""
    g = torch.Generator().manual_seed(0)
    x = torch.randint(0, 256, (len(copies), 1, 6, 6), generator=g)
    rows = torch.arange(len(copies)).repeat_interleave(torch.tensor(copies))
    pixels = (x[rows] + torch.randint(-1, 2, (len(rows), 1, 6, 6), generator=g)).clamp(0, 255).to(torch.uint8)
    names = tuple(map(str, rows.tolist()))
    return Reference.of(Images(spec="made", pixels=pixels, value_range=BYTES, names=names), threshold, 2**24)


def test_no_held_out_image_has_a_near_duplicate_among_the_others() -> None:
    whole = reference([3, 1, 2] * 20)
    for seed in range(5):
        found = split_of(whole, seed)
        group = whole.groups.group
        assert not torch.isin(group[found.out], group[found.kept]).any()
        assert sorted([*found.kept.tolist(), *found.out.tolist()]) == list(range(120))
        assert 12 <= len(found.out) <= 14  # the last group may be one of three
        assert f"{len(found.out)} of 120 images were held out at random" in found.words
        assert "Near-duplicates stay together (60 images have one before them)." in found.words


def test_without_near_duplicates_the_split_is_that_of_earlier_versions() -> None:
    found = split_of(reference([1] * 50), 3)
    kept, out = disjoint_splits(50, [45, 5], torch.Generator().manual_seed(3))
    assert torch.equal(found.kept, kept)
    assert torch.equal(found.out, out)
    assert found.words == (
        "No --test was given: 5 of 50 images were held out at random and are not trained on, which leaves 45."
    )


def test_two_images_at_least_are_held_out() -> None:
    assert len(split_of(reference([1] * 7), 0).out) == 2


@pytest.mark.parametrize(
    ("copies", "says"), [([1] * 4, "holds 4 images"), ([60, 1, 1, 1, 1], r"not more than half|holds")]
)
def test_sets_out_of_which_nothing_can_be_held_out(copies, says) -> None:
    def every_seed() -> None:
        for seed in range(30):
            split_of(reference(copies), seed)

    with pytest.raises(InputError, match=says):
        every_seed()


def test_a_run_says_what_was_held_out(tmp_path) -> None:
    small = {"width": 8, "depth": 1, "steps": 4, "samples": 4, "checkpoints": 1, "device": "cpu"}
    made = train(TrainOptions(train="digits@40", out=tmp_path / "run", **small))
    words = read_data(TrainOptions(train="digits@40"))[0].split
    assert "4 of 40 images were held out" in words
    assert words in made.summary()
    assert words.replace("--", "") in (tmp_path / "run" / "report.html").read_text().replace("--", "")
    assert made.content["results"]["held_out"] == {"images": 4, "split_off": True}
    given = train(TrainOptions(train="digits@40", test="digits@90:99", out=tmp_path / "given", **small))
    assert given.content["results"]["held_out"] == {"images": 9, "split_off": False}
    assert "No --test" not in given.summary()
