"""The calculators of the geometry: values of the paper, files of distances, and refusals."""

from __future__ import annotations

import math

import numpy as np
import pytest
from refusals import call, place, refused  # noqa: F401

from unrote.jobs import theory
from unrote.jobs.calculators import (
    CosineBoundOptions,
    LocalityBoundOptions,
    PosteriorThresholdsOptions,
    ShellProbabilityOptions,
)


def test_shells() -> None:
    one = theory(ShellProbabilityOptions(radius=(18.0,), dimension=3072))
    assert one.value == pytest.approx(0.22265933, rel=1e-7)
    assert one.more["half_overlap_radius"] == pytest.approx(16.0806, rel=1e-5)
    thin = theory(ShellProbabilityOptions(radius=(0.0,), dimension=3072, tail=0.01))
    assert "half_overlap_radius" not in thin.more
    assert thin.value == pytest.approx(thin.more["self_coverage"])


def test_thresholds_from_three_numbers_and_from_files(place) -> None:  # noqa: F811
    three = theory(PosteriorThresholdsOptions(nearest=21.5, farthest=61.3, samples=1000))
    assert three.value["sigma"][0] == pytest.approx(2.1955233, rel=1e-7)
    rows = np.array([[3.0, 4.0, 5.0], [2.0, 4.0, 6.0]])
    np.save("d.npy", rows)
    (place / "d.csv").write_text("3,4,5\n2,4,6\n")
    (place / "one.txt").write_text("3\n4\n5\n")
    found = [
        theory(PosteriorThresholdsOptions(distances=place / name, tau=0.8))
        for name in ("d.npy", "d.csv", "one.txt")
    ]
    assert found[0].value == found[1].value
    assert [f.more["points"] for f in found] == [2, 2, 1]
    assert found[2].value["sigma"][:3] == pytest.approx([0.57581673, 0.66678321, 0.69767132], rel=1e-7)
    same = theory(PosteriorThresholdsOptions(nearest=3.0, farthest=5.0, samples=4, tau=0.8))
    assert same.value["sigma"][0] == pytest.approx(found[2].value["sigma"][0])


def test_alignment(place) -> None:  # noqa: F811
    alone = theory(CosineBoundOptions(ratio=0.6))
    assert (alone.value, alone.more["paper"]) == (pytest.approx(0.8), pytest.approx(0.25))
    (place / "d.txt").write_text("18.5 30 70.2")
    given = {"time": 0.6, "norm": 28.0, "dimension": 3072}
    file = theory(CosineBoundOptions(distances=place / "d.txt", **given))
    three = theory(CosineBoundOptions(nearest=18.5, farthest=70.2, samples=4, **given))
    assert file.value == pytest.approx(three.value)
    assert file.more["probability"] >= three.more["probability"]
    assert math.isnan(theory(CosineBoundOptions(ratio=2.0)).value)


def test_locality(place) -> None:  # noqa: F811
    k = np.arange(64)
    np.save("spectrum.npy", (1.0 + np.minimum(k, 64 - k)) ** -2)
    a = theory(LocalityBoundOptions(sigma=1.0, size=64))
    b = theory(LocalityBoundOptions(sigma=1.0, spectrum=place / "spectrum.npy"))
    assert a.value == b.value
    assert a.more["V"] == pytest.approx(0.9981651376146787, rel=1e-9)
    assert a.value["sensitivity"][3] == pytest.approx(0.009781722030617956, rel=1e-9)


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("shell-probability --radius -1 --dimension 3", "--radius"),
        ("posterior-thresholds", "Exactly one of"),
        ("posterior-thresholds --nearest 3", "belong together"),
        ("posterior-thresholds --nearest 3 --farthest 2 --samples 9", "cannot be"),
        ("posterior-thresholds --nearest 3 --farthest 4 --samples 9 --tau 0.1", "between 1/N and 1"),
        ("posterior-thresholds --distances missing.txt", "cannot be read"),
        ("posterior-thresholds --distances train.npy", "above 0"),
        ("posterior-thresholds --distances words.txt", "cannot be read"),
        ("posterior-thresholds --distances words.txt --samples 3", "belong to --nearest"),
        ("cosine-bound --ratio 0.5 --norm 3", "give it alone"),
        ("cosine-bound --time 0.5", "--norm and --dimension"),
        ("locality-bound --sigma 1 --size 8 --distance 5", "n/2"),
        ("locality-bound --sigma 1 --size 8 --spectrum words.txt", "Exactly one of"),
    ],
)
def test_refusals(refused, place, command: str, said: str) -> None:  # noqa: F811
    (place / "words.txt").write_text("three four")
    np.save(place / "train.npy", np.zeros((2, 3)))
    assert said in refused("theory", *command.split())
