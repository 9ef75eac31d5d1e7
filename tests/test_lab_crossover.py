"""Laws of the laboratory: transitions of known curves, foretold copies, the regression's degeneracy, settings."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from scipy.stats import ncx2

from unrote.contracts import InputError
from unrote.data.mixtures import draw, isotropic
from unrote.denoise.mixture import MixtureDenoiser
from unrote.jobs.options import ReproduceOptions
from unrote.lab import pictures, runs
from unrote.lab.crossover import colours, prediction, regression, sweep
from unrote.lab.crossover import transition as figures
from unrote.lab.crossover.learned import (
    FACTORS,
    SOLVERS,
    copies,
    crossing,
    fitted,
    generated,
    measured,
    transition,
)
from unrote.lab.crossover.settings import LEVELS, SHOWN, TIMES, problem, setting, stream
from unrote.lab.crossover.surrogates import surrogates
from unrote.train.mixtures.kmeans import Clusters


def test_the_grid_is_the_papers() -> None:
    assert torch.allclose(TIMES, 0.999 - 0.998 * torch.arange(26, dtype=torch.float64) / 25, atol=1e-14)
    assert math.isclose(1 / float(LEVELS[SHOWN]) ** 2, 6.704, abs_tol=5e-4)


def test_streams_differ_by_purpose_and_seed_and_repeat() -> None:
    def first(seed: int, purpose: str) -> float:
        return float(torch.rand((), generator=stream(seed, purpose)))

    assert first(0, "data") == first(0, "data")
    assert len({first(0, "data"), first(1, "data"), first(0, "samples")}) == 3


@pytest.mark.parametrize(("shape", "by"), [("round", 1.0), ("stretched", 16.0), ("flat", 5.0)])
def test_every_shape_has_the_variance_that_is_asked_for(shape: str, by: float) -> None:
    drawn = problem(setting(20_000, 10, 3, 0, variance=0.25, shape=shape, by=by))
    whole = draw(drawn.law, 20_000, torch.Generator().manual_seed(1))
    around = whole.x - drawn.law.means[whole.label]
    assert math.isclose(float(around.square().mean()), 0.25, rel_tol=0.03)
    spectrum = torch.linalg.eigvalsh(around[whole.label == 0].T.cov())
    if shape == "stretched":
        assert math.isclose(float(spectrum[-1] / spectrum[0]), by, rel_tol=0.15)
    if shape == "flat":
        assert int((spectrum > 1e-9).sum()) == 10 / by


def test_weights_decay_and_data_do_not_depend_on_the_solver_or_the_size_of_the_held_out_set() -> None:
    drawn = problem(setting(50, 5, 4, 3, decay=1.0))
    assert torch.allclose(drawn.law.weights * torch.arange(1, 5), drawn.law.weights[0].expand(4))
    assert torch.equal(drawn.x, problem(setting(50, 5, 4, 3, decay=1.0)).x)


def test_round_clusters_refuse_a_number_that_they_would_ignore() -> None:
    with pytest.raises(ValueError, match="by = 2"):
        problem(setting(50, 5, 4, 3, by=2.0))


@pytest.mark.parametrize(
    ("asked", "words"), [((5, 3, 6), "K = 6"), ((5, 1, 2), "d = 1"), ((5, 3, 0), "K = 0")]
)
def test_impossible_settings_are_refused(asked: tuple[int, int, int], words: str) -> None:
    with pytest.raises(InputError, match=words):
        problem(setting(*asked, seed=0))


@pytest.mark.parametrize("sizes", [[0, 2], [3, 7]])
def test_model_sizes_beyond_the_data_are_refused(sizes: list[int]) -> None:
    with pytest.raises(InputError, match="1 to N = 6"):
        measured(problem(setting(6, 3, 2, 0)).x, "lloyd", sizes, 10, 0)


def test_transition_of_a_known_curve() -> None:
    sizes = list(range(0, 101, 10))
    found = transition(sizes, [size * 10 for size in sizes], 1000)  # the ratio is M/100
    for place, height in ((found.start, 10), (found.half, 50), (found.end, 90)):
        assert place.value is not None and place.low is not None and place.high is not None
        assert math.isclose(place.value, height, abs_tol=1e-9)
        assert place.low <= height <= place.high
        assert place.high - place.low < 15


def test_a_transition_that_is_not_reached_has_no_place() -> None:
    found = transition([1, 2, 3], [0, 10, 20], 100)
    assert found.half.value is None
    assert transition([1, 2, 3], [90, 95, 100], 100).half.value is None  # it begins above


def test_a_dip_does_not_move_the_crossing_before_it() -> None:
    curve = torch.tensor([[0.0, 0.2, 0.8, 0.8]], dtype=torch.float64)
    assert float(crossing(torch.tensor([0.0, 1, 2, 3]).double(), curve, 0.5)) == 1.5


def test_copies_follow_the_definition_for_every_constant() -> None:
    x = torch.tensor([[0.0], [10.0]], dtype=torch.float64)
    samples = torch.tensor(
        [[0.0], [1.9], [2.4], [3.0], [5.0]], dtype=torch.float64
    )  # ratios 0, .23, .32, .43, 1
    assert FACTORS == (2.0, 3.0, 4.0, 5.0)
    assert copies(samples, x) == [4, 3, 2, 1]


def test_the_memorizing_model_copies_always_and_one_component_never() -> None:
    x = problem(setting(40, 20, 4, 0)).x
    for solver in SOLVERS:
        found = measured(x, solver, [1, 40], 50, 0)
        at = FACTORS.index(3.0)
        assert [counts[at] for counts in found["copies"]] == [0, 50]
        assert found["distortion"][1] == 0


def test_samples_do_not_depend_on_how_many_are_drawn_and_follow_the_law_of_one_component() -> None:
    law = isotropic(torch.full((1, 8), 3.0, dtype=torch.float64), 0.5)
    samples = generated(MixtureDenoiser(law), 4000, 8, 0)
    assert torch.allclose(samples[:10], generated(MixtureDenoiser(law), 10, 8, 0))
    # What 25 steps of Euler's method keep of the start's distance to the mean is a product.
    level, kept = LEVELS.tolist(), 1.0
    for here, there in itertools.pairwise(level):
        kept *= 1 - (here - there) * here / (0.5 + here**2)
    assert math.isclose(float(samples.mean()), 3.0 * (1 - kept), abs_tol=0.02)
    assert math.isclose(float(samples.var()), (1 + level[0] ** 2) * kept**2, rel_tol=0.03)


def test_foretold_copies_against_draws_of_the_component_itself() -> None:
    x = torch.tensor([[0.0] * 10, [3.0] + [0.0] * 9, [3.0, 1.0] + [0.0] * 8], dtype=torch.float64)
    means = torch.stack([x[0], x[1:].mean(0)])
    clusters = Clusters(means, torch.tensor([0, 1, 1]), 1.5)
    told = prediction.geometric(x, [clusters], 2.0)
    z = torch.randn(200_000, 10, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    y = clusters.variance**0.5 * z
    near = y.norm(dim=1) < (y - x[1]).norm(dim=1) / 2
    assert math.isclose(float(told[0]), float(near.double().mean()) / 2, abs_tol=0.003)


def test_foretold_copies_jump_where_the_distortion_passes_an_eighth_in_high_dimension() -> None:
    d = 20_000
    x = torch.eye(3, d, dtype=torch.float64)  # squared distances of 2 between any two
    for distortion, share in ((2 / 8 * 0.95, 1.0), (2 / 8 * 1.05, 0.0)):
        clusters = Clusters(x.clone(), torch.arange(3), distortion)
        assert math.isclose(float(prediction.geometric(x, [clusters], 3.0)[0]), share, abs_tol=1e-3)
    assert ncx2.cdf(1.0, 3, 0.5) > 0  # the law that is used exists in this SciPy


def test_predictions_are_judged_by_their_error_against_four_fifths() -> None:
    def row(name: float, seed: int, said: float, seen: float) -> dict:
        place = {"value": seen, "low": seen, "high": seen, "n": 1}
        curve = {"transition": [{"half": place} for _ in FACTORS]}
        asked = setting(100, 5, 2, seed, variance=name)
        return {"configuration": asked, "result": {"crossover": said, "lloyd": curve}}

    judged = prediction.beats("lloyd", prediction.by_crossover, 0.05)
    moved = [(0.25, 60.0), (0.5, 70.0), (2.0, 88.0), (4.0, 92.0)]
    good = [row(v, s, m + 1, m) for v, m in moved for s in (0, 1)]
    bad = [row(v, s, 160 - m, m) for v, m in moved for s in (0, 1)]
    assert judged(good)[1] == "held"
    assert math.isclose(judged(good)[0].value or 0, 0.01, abs_tol=1e-9)
    assert judged(bad)[1] == "failed"
    missing = [*good[:-1], good[-1] | {"result": good[-1]["result"] | {"crossover": None}}]
    assert judged(missing)[1] == "held"  # the setting's other seed has one
    assert judged([r | {"result": r["result"] | {"crossover": None}} for r in good])[1] == "failed"


def test_the_regression_finds_one_number_and_no_weighting() -> None:
    targets = [regression.Target(n, k, 0.8 * n) for n in (50, 100, 200) for k in (3, 6)]
    made = {name: regression.fit(targets, targets, start) for name, start in regression.starts().items()}
    for fit in made.values():
        assert math.isclose(fit.spread, 0.2, abs_tol=2e-3)  # E[t^2] = C/5
        assert fit.test < 1e-4
        assert bool((fit.weight > 0).all())
    assert sweep.apart(made) > 0.2


def test_the_regressions_gradient_is_that_of_its_value() -> None:
    targets = [regression.Target(20, 3, 15.0), regression.Target(20, 3, 16.0), regression.Target(9, 2, 7.0)]
    known = regression.table_of(targets)
    weight = torch.rand(26, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 0.1
    _, slope = regression.objective(weight, known)
    for index in (0, 7, 25):
        step = torch.zeros(26).double()
        step[index] = 1e-6
        up, down = (regression.objective(weight + sign * step, known)[0] for sign in (1, -1))
        assert math.isclose(float(up - down) / 2e-6, float(slope[index]), rel_tol=1e-6, abs_tol=1e-9)
    whole = regression.objective(weight, known)[0]
    alone = sum(float(regression.objective(weight, regression.table_of([target]))[0]) for target in targets)
    assert math.isclose(float(whole), alone, rel_tol=1e-12)


def test_any_weighting_of_equal_spread_puts_the_crossover_in_the_same_place() -> None:
    share = torch.linspace(0, 1, 101, dtype=torch.float64)
    early, late = torch.zeros(26).double(), torch.zeros(26).double()
    early[20], late[:2] = 1.0, 1.0
    square = TIMES.square()
    flat = torch.ones(26).double()
    for one in (early, late):  # mixed with each other until E[t^2] is that of the flat weighting
        assert one.sum() > 0
    want = float((flat * square).sum() / flat.sum())
    a, b = float((early * square).sum()), float((late * square).sum() / 2)
    part = (b - want) / (b - a)
    mixed = part * early + (1 - part) * late / 2
    assert torch.equal(
        regression.gap(mixed, share).square().argmin(), regression.gap(flat / 26, share).square().argmin()
    )


def test_the_law_of_a_size_that_keeps_everything_has_the_memorizing_loss() -> None:
    drawn = problem(setting(60, 30, 3, 0))
    made = surrogates(drawn, [30, 60], 0, 2)
    assert float(made.partial[:, SHOWN:, 1].max()) < 1e-6
    flat = made.generalising.mean(0)[SHOWN:]
    t = TIMES[SHOWN:]
    assert torch.allclose(flat, 30 * t.square(), rtol=0.06)


def test_coloured_pictures_lie_in_their_templates_spans() -> None:
    drawn = colours.coloured({"pictures": "digits", "K": 4, "seed": 0})
    shaped = drawn.x.reshape(-1, 3, 225)
    assert drawn.templates.min() == 0 and drawn.templates.max() == 1
    residual = shaped - torch.einsum(
        "nc,np->ncp",
        (shaped * drawn.templates[drawn.label][:, None]).sum(2)
        / drawn.templates[drawn.label].square().sum(1)[:, None],
        drawn.templates[drawn.label],
    )
    assert float(residual.abs().max()) < 1e-10


@pytest.mark.parametrize("change", [0.7, 1.4])
def test_the_shared_colour_variance_is_the_best(change: float) -> None:
    """By the training loss of a denoiser that knows each picture's component, noise integrated out."""
    drawn = colours.coloured({"pictures": "digits", "K": 4, "seed": 0})
    clusters = list(colours.solved(drawn, "ward", 0))[3]
    count = len(clusters.means)
    assert all(
        len(drawn.label[clusters.assignment == k].unique()) == 1 for k in range(count)
    )  # templates stay apart
    best = colours.shared(clusters, drawn).covariance.factor
    template = colours.templates_of(clusters, drawn)
    variance = best.square().sum((1, 2)) / template.square().sum(1) / 3
    assert torch.allclose(variance, variance[:1].expand(count))

    def loss(v: float) -> float:
        total = 0.0
        for sigma in LEVELS.tolist():
            for n, k in enumerate(clusters.assignment.tolist()):
                span = v**0.5 * torch.kron(torch.eye(3).double(), template[k][:, None])
                q = float(template[k].square().sum())
                away = drawn.x[n] - clusters.means[k]
                kept = span @ (span.T @ away) / (v * q + sigma**2)
                inside = span @ (span.T @ away) / (v * q)
                total += (
                    float((kept - inside).square().sum()) / sigma**2 + 3 * (v * q / (v * q + sigma**2)) ** 2
                )
        return total

    assert loss(float(variance[0])) < loss(change * float(variance[0]))


def test_a_missing_picture_set_is_told_before_anything_runs(tmp_path, monkeypatch) -> None:
    monkeypatch.delenv(pictures.FOLDER, raising=False)
    with pytest.raises(InputError, match="--data FOLDER"):
        runs.reproduce(ReproduceOptions(experiment="crossover", scale="laptop", out=tmp_path / "r"))
    assert not (tmp_path / "r").exists()


def test_groups_and_names_are_told_apart() -> None:
    assert [one.name for one in runs.named("crossover/losses")] == ["crossover/losses"]
    assert len(runs.named("crossover")) >= 6
    with pytest.raises(InputError, match=r"groups .*crossover"):
        runs.named("crossing")


def test_an_experiment_draws_judges_and_resumes(tmp_path) -> None:
    options = ReproduceOptions(
        experiment="crossover/transition", scale="smoke", out=tmp_path / "r", workers=1
    )
    made = runs.reproduce(options)
    assert {claim["verdict"] for claim in made.claims} == {"not tested at this scale"}
    page = (tmp_path / "r" / "report.html").read_text()
    assert page.count("<svg") >= 5
    row = made.content["results"]["runs"][0]["result"]
    whole = row["lloyd"]["losses"][-1]
    assert whole == pytest.approx(row["memorizing"], rel=1e-9)  # M = N is the memorizing denoiser
    assert figures.ratios(made.content["results"]["runs"], "lloyd")[0, -1] > 0.95
    assert (
        fitted(
            next(iter(SOLVERS["ward"](problem(setting(30, 5, 2, 0)).x, [30], 0)))
        ).covariance.variance.max()
        == 0
    )
