"""Laws of pictures: overconfidence in closed forms, one noise for all denoisers, rules on made runs, the page."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from unrote.denoise.ambient import AmbientOptimum
from unrote.denoise.exact import Empirical
from unrote.lab import study
from unrote.lab.ambient import pictures
from unrote.lab.ambient.pictures_figures import BEST, MUCH, PLAIN, few
from unrote.lab.claims import FAILED, HELD, PARTLY
from unrote.lab.wild_middle.gap_runs import read
from unrote.noise.levels import log_levels

NAMES = (MUCH, PLAIN, *map(pictures.named, pictures.SIGMA_N), BEST)


def rows(
    apart: float = 0.3, below: float = 1.0, surplus: float = 0.02, plain: float = 0.3
) -> list[dict[str, Any]]:
    """Runs in which ambient training is a share as far from much data, and ventures a surplus above sigma_n."""
    made = []
    for i, asked in enumerate(pictures.configurations("laptop")):
        levels = log_levels(*pictures.LEVELS).tolist()
        jitter = 1 + 0.01 * (i % 3)
        far = dict.fromkeys(NAMES[1:], [0.1 * jitter] * len(levels))
        bold = dict.fromkeys(NAMES, [0.01] * len(levels)) | {PLAIN: [plain * jitter] * len(levels)}
        for n in pictures.SIGMA_N:
            far[pictures.named(n)] = [0.1 * (apart if level > n else below) for level in levels]
            bold[pictures.named(n)] = [0.01 + surplus * jitter] * len(levels)
        result = {"levels": levels, "apart": far, "overconfidence": bold, "copies": bold, "shown": None}
        made.append({"configuration": asked, "result": result})
    return made


def mixture(seed: int, n: int) -> tuple[Tensor, Tensor]:
    """Pictures of a normal law with variance 1, and what is seen of them at sigma = 1."""
    g = torch.Generator().manual_seed(seed)
    x0 = torch.randn(n, 1, 4, 4, generator=g)
    return x0, x0 + torch.randn(n, 1, 4, 4, generator=g)


def test_overconfidence_of_a_conditional_mean_is_zero_and_of_others_what_algebra_says() -> None:
    x0, seen = mixture(0, 20_000)
    middle = torch.zeros(1, 4, 4)
    found = [pictures.overconfidence(share * seen, x0, middle) for share in (0.5, 1.0, 0.25)]
    assert found[0] == pytest.approx(0, abs=0.01)  # E[x0 | x] = x / 2
    assert found[1] == pytest.approx(2, abs=0.03)  # 2 E<x, x - x0>: says all that it sees
    assert found[2] == pytest.approx(-0.25, abs=0.01)  # blurrier than it need be
    assert pictures.overconfidence(x0 * 0 + middle, x0, middle) == 0


def test_overconfidence_is_departure_and_error_beyond_the_variance() -> None:
    x0, seen = mixture(1, 50)
    middle = x0.mean(0)
    d = 0.7 * seen + 0.1
    variance = (x0 - middle).square().mean()
    sides = ((d - middle).square().mean() + (d - x0).square().mean() - variance) / variance
    assert pictures.overconfidence(d, x0, middle) == pytest.approx(float(sides), abs=1e-5)


def test_an_optimum_of_few_pictures_ventures_more_than_one_of_many() -> None:
    made = study.material({"set": "digits", "class": None, "side": 8, "images": 8, "test": 200}, 0)
    level, middle = torch.tensor([1.0]), made.many.mean(0)
    least, most = (
        pictures.overconfidence(pictures.at_levels(Empirical(x), made.test, level, 0)[0], made.test, middle)
        for x in (made.many, made.train)
    )
    assert abs(least) < 0.1
    assert most > 0.3


def test_the_exact_ambient_optimum_is_no_blurry_picture() -> None:
    made = study.material({"set": "digits", "class": None, "side": 8, "images": 32, "test": 200}, 0)
    twins = made.train + torch.randn(made.train.shape, generator=torch.Generator().manual_seed(1))
    levels, middle = torch.tensor([1.2, 2.0, 5.0]), made.many.mean(0)
    ours, plain = (
        [
            pictures.overconfidence(out, made.test, middle)
            for out in pictures.at_levels(one, made.test, levels, 0)
        ]
        for one in (AmbientOptimum(twins, 1.0), Empirical(made.train))
    )
    assert all(a > 5 * b for a, b in zip(ours, plain, strict=True))
    assert ours == sorted(ours, reverse=True)  # without bound towards sigma_n


def test_all_denoisers_see_the_same_noise() -> None:
    x0 = torch.zeros(3, 1, 4, 4)
    levels = torch.tensor([0.5, 2.0])

    def itself(x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
        return x

    def half(x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
        return x / 2

    whole, halves = (pictures.at_levels(one, x0, levels, 3) for one in (itself, half))
    assert torch.equal(whole, 2 * halves)
    assert torch.allclose(whole[1], 4 * whole[0])
    assert pictures.by_level(whole, halves) == pytest.approx(
        halves.double().square().flatten(1).mean(1).tolist()
    )


@pytest.mark.parametrize("sigma_n", pictures.SIGMA_N)
def test_levels_above_and_below_part_the_curve_at_sigma_n(sigma_n: float) -> None:
    row = rows()[0]
    levels = row["result"]["levels"]
    above, below = pictures.above(row, sigma_n), pictures.below(row, sigma_n)
    assert not set(above) & set(below)
    assert min(levels[i] for i in above) > sigma_n >= max(levels[i] for i in below)
    assert max(levels[i] for i in above) <= pictures.HIGHEST
    assert below[0] == 0


@pytest.mark.parametrize("sigma_n", pictures.SIGMA_N)
def test_rules_of_figure_3(sigma_n: float) -> None:
    good = rows()
    found, verdict = pictures.nearer(sigma_n)(good)
    assert (verdict, found.value) == (HELD, pytest.approx(0.3, rel=0.02))
    assert pictures.nearer(sigma_n)(rows(apart=0.7))[1] == PARTLY
    assert pictures.nearer(sigma_n)(rows(apart=4.0))[1] == FAILED
    assert pictures.alike_below(sigma_n)(good)[1] == HELD
    assert pictures.alike_below(sigma_n)(rows(below=2.0))[1] == FAILED
    assert pictures.ventures(sigma_n)(good)[1] == HELD
    assert pictures.ventures(sigma_n)(rows(plain=0.05))[1] == PARTLY
    assert pictures.ventures(sigma_n)(rows(plain=0.0))[1] == FAILED
    found, verdict = pictures.blurry(sigma_n)(good)
    assert (verdict, found.value) == (HELD, pytest.approx(0.02, rel=0.02))
    assert pictures.blurry(sigma_n)(rows(surplus=0.2))[1] == PARTLY
    assert pictures.blurry(sigma_n)(rows(surplus=2.0))[1] == FAILED


def test_claims_look_at_the_fewest_pictures_alone() -> None:
    assert len(few(rows())) == len(pictures.SEEDS)
    assert {row["configuration"]["images"] for row in few(rows())} == {pictures.IMAGES}


def test_only_drawn_pictures_are_ever_shown() -> None:
    for scale in ("smoke", "laptop", "paper"):
        assert {asked["set"] for asked in pictures.configurations(scale)} <= {"digits", "fashion_mnist"}


@pytest.mark.slow
def test_a_short_run_shows_what_it_measured() -> None:
    (asked,) = pictures.configurations("smoke")
    row = {"configuration": asked, "result": pictures.run(asked)}
    kept = row["result"]["shown"]
    made = study.material(asked, asked["seed"])
    assert torch.equal(read(kept["clean"][0], kept["shape"]), study.as_pixels(made.test[:1])[0])
    assert list(kept["columns"]) == ["noised", *NAMES]
    assert row["result"]["copies"][BEST][0] == 1.0  # the optimum at a low level returns a training picture
    assert row["result"]["samples"][PLAIN]["pairs"] is not None
    assert len(pictures.show([row])) == 2
