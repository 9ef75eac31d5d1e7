"""A mirrored copy is a copy: of images and mirror images, each pair counts as one neighbour."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from unrote.contracts import InputError
from unrote.data.pixels import UNIT
from unrote.data.sources import Images
from unrote.jobs import TrainOptions, train
from unrote.jobs.comparing import Reference
from unrote.jobs.measuring import copies_of
from unrote.jobs.mirrored import with_mirror_images
from unrote.jobs.training import read_data
from unrote.jobs.training_page import COUNTED
from unrote.measure.duplicates import duplicate_groups


def numbers(*size: int, seed: int = 0) -> Tensor:
    return torch.rand(*size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def reference_of(x: Tensor, threshold: float = 0.01) -> Reference:
    names = tuple(str(i) for i in range(len(x)))
    return Reference.of(Images("x", x, UNIT, names), threshold, 2**26)


def test_mirror_images_and_what_is_near_them_are_copies_and_other_images_are_not():
    x = numbers(20, 1, 6, 6)
    plain = reference_of(x)
    both = with_mirror_images(plain, 2**26)
    for made in (x, x.flip(-1), x.flip(-1) + 0.05 * numbers(20, 1, 6, 6, seed=1)):
        assert bool(copies_of(made, both).all())
    assert bool(copies_of(x, plain).all())
    assert not bool(copies_of(x.flip(-1), plain).any())
    assert not bool(copies_of(numbers(20, 1, 6, 6, seed=2), both).any())
    assert both.images.names[:2] + both.images.names[20:22] == ("0", "1", "0 (mirrored)", "1 (mirrored)")
    assert torch.equal(both.images.pixels[20:], x.flip(-1))


def test_an_image_near_its_own_mirror_image_is_still_copied():
    x = numbers(20, 1, 6, 6)
    x[0] = (x[0] + x[0].flip(-1)) / 2 + 0.1 * numbers(1, 6, 6, seed=3)
    both = with_mirror_images(reference_of(x), 2**26)
    assert float((x[0] - x[0].flip(-1)).norm()) > both.groups.threshold  # no near-duplicate
    sample = 0.6 * x[:1] + 0.4 * x[:1].flip(-1)  # its mirror image as second neighbour would excuse it
    assert bool(copies_of(sample, both).all())


def test_groups_are_the_components_of_near_duplicates_and_mirror_images():
    x = numbers(30, 1, 4, 4)
    x[7], x[9] = x[3].flip(-1), x[5]  # a mirrored duplicate, a duplicate
    x[11] = x[9].flip(-1)
    x[13] = (x[13] + x[13].flip(-1)) / 2
    plain = reference_of(x)
    both = with_mirror_images(plain, 2**26)
    near = duplicate_groups(both.pixels, plain.groups.threshold).group
    rows = torch.arange(60)
    links = torch.cat([torch.stack([rows, near]), torch.stack([rows[:30], rows[30:]])], 1).numpy()
    count, part = connected_components(coo_array(([1] * links.shape[1], links), (60, 60)), directed=False)
    group = both.groups.group
    assert len(group.unique()) == count
    assert len({(int(g), int(p)) for g, p in zip(group, part, strict=True)}) == count
    assert int(group[7]) == int(group[3]) == 3
    assert int(group[11]) == int(group[9]) == 5
    for members, width in zip(both.groups.groups, both.groups.diameter, strict=True):
        flat = both.pixels[members].flatten(1).double()
        assert float(width) == pytest.approx(float(torch.cdist(flat, flat).max()), abs=1e-9)


def test_images_that_are_all_mirror_images_of_each_other_are_refused():
    x = numbers(1, 1, 4, 4)
    with pytest.raises(InputError, match=r"--flip all 3 images.*second neighbour"):
        with_mirror_images(reference_of(torch.cat([x, x.flip(-1), x])), 2**26)


def test_a_run_with_mirror_images_counts_both_and_says_so(tmp_path):
    options = TrainOptions(
        train="digits@24",
        recipe="ambient",
        ambient=0.5,
        flip=True,
        width=16,
        depth=1,
        steps=12,
        samples=6,
        checkpoints=2,
        device="cpu",
        out=tmp_path / "run",
    )
    data, _ = read_data(options)
    assert data.copied_from is data.looks
    assert len(data.copied_from.pixels) == 2 * len(data.x)
    made = train(options)
    result = json.loads((tmp_path / "run" / "result.json").read_text())["results"]
    assert result["copies_of"] == "training images and their mirror images"
    assert len(result["copy_ratio_as_stored"]["value"]) == len(result["steps"])
    assert [one["name"] for one in result["interventions"]] == ["flip", "ambient"]
    assert "mirrored, each with noise of its own" in made.summary()
    page = (tmp_path / "run" / "report.html").read_text().replace("\u00a0", " ")
    assert "copies as stored" in page
    assert COUNTED.replace('"', "&#34;") in page
    assert COUNTED in made.summary()
    assert made.done[0] in page
    plain = train(replace(options, flip=False, out=tmp_path / "plain")).content["results"]
    assert not {"copies_of", "copy_ratio_as_stored"} & plain.keys()
