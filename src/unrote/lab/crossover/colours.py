"""Figures 4 and 5: pictures in random colours, a mixture of low rank.

A picture of the data is a template in a colour c ~ N(0, I_3). The learned model has templates with colours of
its own, N(u_i, v I); one colour variance v for all components, as the paper's model has it. Training starts
from the true templates of M training pictures. What is off the span of a component's template costs the more the
lower the noise is, without bound, so that no picture goes to a component of another template while its own has
one: what is learned is k-means of colours within templates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from unrote.contracts import Estimate
from unrote.data.mixtures import GaussianMixture, LowRank, coloured_templates, draw, points
from unrote.denoise.mixture import MixtureDenoiser
from unrote.lab.claims import FAILED, HELD, PARTLY, Claim, Experiment, Row
from unrote.lab.crossover.colours_figures import show
from unrote.lab.crossover.learned import (
    CRITERION,
    FACTORS,
    SOLVERS,
    as_json,
    copies,
    generated,
    half,
    transition,
)
from unrote.lab.crossover.settings import LEVELS, SHOWN, stream
from unrote.lab.pictures import pictures
from unrote.measure.estimate import estimate
from unrote.measure.excess import fixed_level_loss
from unrote.train.mixtures.kmeans import Clusters

N, SIDE, CHANNELS = 100, 15, 3
COMPONENTS = (4, 6)
"""The paper's text and the authors' program."""
SIZES = tuple(range(10, 101, 5))
SEEDS = (0, 1, 2, 3, 4)
FRESH, DRAWS = 1000, 10


@dataclass(frozen=True)
class Coloured:
    """Coloured pictures, the templates and colours behind them, and held-out ones.

    Args:
        x, fresh: data (N,D) and held-out data, D = channels * pixels.
        label: template of every training picture (N,).
        templates: (K,n) in [0, 1].
        law: the mixture of low rank.
    """

    x: Float[Tensor, "N D"]
    fresh: Float[Tensor, "F D"]
    label: Tensor
    templates: Float[Tensor, "K n"]
    law: GaussianMixture


def configurations(scale: str) -> Sequence[Mapping[str, Any]]:
    """Both numbers of templates at every seed; digits at smoke scale, which ship with a dependency."""
    if scale == "smoke":
        return [{"pictures": "digits", "K": 4, "seed": 0, "generated": 50}]
    more = {"laptop": 1000, "paper": 10_000}[scale]
    return [
        {"pictures": "fashion_mnist", "K": count, "seed": seed, "generated": more}
        for count in COMPONENTS
        for seed in SEEDS
    ]


def sets(scale: str) -> tuple[str, ...]:
    """Fashion-MNIST, but for a look at whether it runs."""
    return () if scale == "smoke" else ("fashion_mnist",)


def coloured(configuration: Mapping[str, Any]) -> Coloured:
    """Choose templates, bring them to 15x15 (Pillow, bicubic) and one range [0, 1], and colour them (H.1)."""
    from PIL import Image

    everything, seed = pictures(configuration["pictures"]), int(configuration["seed"])
    chosen = torch.randperm(len(everything), generator=stream(seed, "templates"))[: int(configuration["K"])]
    small = [
        np.asarray(Image.fromarray(everything[i, 0].numpy()).resize((SIDE, SIDE), Image.Resampling.BICUBIC))
        for i in chosen.tolist()
    ]
    grey = torch.from_numpy(np.stack(small)).double().flatten(1)
    templates = (grey - grey.min()) / (grey.max() - grey.min())
    law = coloured_templates(templates, CHANNELS)
    drawn = draw(law, N, stream(seed, "coloured"))
    return Coloured(drawn.x, draw(law, FRESH, stream(seed, "fresh")).x, drawn.label, templates, law)


APART = 1e4
"""How far templates are set apart for k-means; colours are of order one."""


def within_templates(x: Float[Tensor, "N D"], label: Tensor) -> Float[Tensor, "N E"]:
    """Pictures with coordinates of their template appended, so far apart that k-means does not mix templates."""
    return torch.cat([x, APART * torch.nn.functional.one_hot(label).to(x)], 1)


def solved(drawn: Coloured, solver: str, seed: int) -> Iterator[Clusters]:
    """k-means of every size within templates; a component that is left without pictures is left out."""
    for found in SOLVERS[solver](within_templates(drawn.x, drawn.label), SIZES, seed):
        used, own = found.assignment.unique(return_inverse=True)
        means = found.means[used, : drawn.x.shape[1]]
        yield Clusters(means, own, float((drawn.x - means[own]).square().sum()) / N)


def templates_of(clusters: Clusters, drawn: Coloured) -> Float[Tensor, "M n"]:
    """The true template of a picture in each cluster."""
    first = torch.zeros(len(clusters.means), dtype=torch.long).scatter_(0, clusters.assignment, drawn.label)
    return drawn.templates[first]


def spans(clusters: Clusters, drawn: Coloured) -> tuple[Float[Tensor, " N"], Float[Tensor, " N"]]:
    """q, the squared norm of each picture's template, and r^2, its squared distance to the mean inside the span."""
    template = templates_of(clusters, drawn)[clusters.assignment]
    q = template.square().sum(1)
    away = (drawn.x - clusters.means[clusters.assignment]).reshape(N, CHANNELS, -1)
    return q, torch.einsum("ncp,np->nc", away, template).square().sum(1) / q


def in_colour(clusters: Clusters, drawn: Coloured, variance: Tensor) -> GaussianMixture:
    """Components with their cluster's template and mean, and a colour variance each: (M,) -> mixture."""
    template = templates_of(clusters, drawn)
    factor = torch.einsum("cr,mn->mcnr", torch.eye(CHANNELS, dtype=torch.float64), template).flatten(1, 2)
    factor = variance.sqrt()[:, None, None] * factor
    weights = torch.full((len(template),), 1 / len(template), dtype=torch.float64)
    return GaussianMixture(weights, clusters.means, LowRank(factor))


def shared(clusters: Clusters, drawn: Coloured) -> GaussianMixture:
    """One colour variance v for all components, the best for the training loss where the softmax is one-hot.

    With r_n^2 the squared distance of x_n to its mean, inside the span of its template, and q its template's
    squared norm, the loss at level sigma is the mean over n of
        (sigma^2 / (v q + sigma^2))^2 r_n^2 + 3 sigma^2 (v q / (v q + sigma^2))^2,
    weighted by psi = 1/sigma^2 and minimised over v on the paper's grid.
    """
    from scipy.optimize import minimize_scalar

    q, r = (values[:, None] for values in spans(clusters, drawn))
    if float(r.max()) < 1e-20 * float(q.max()):
        return in_colour(clusters, drawn, torch.zeros(len(clusters.means), dtype=torch.float64))
    noise = LEVELS.square()[None]

    def loss(log_v: float) -> float:
        spread = np.exp(log_v) * q
        total = spread + noise
        return float(((noise / total).square() * r / noise + CHANNELS * (spread / total).square()).mean())

    best = minimize_scalar(loss, bounds=(-20.0, 3.0), method="bounded", options={"xatol": 1e-6})
    return in_colour(clusters, drawn, torch.full((len(clusters.means),), float(np.exp(best.x))).double())


def separate(clusters: Clusters, drawn: Coloured) -> GaussianMixture:
    """A variance for each component: what the objective can also have, since a template may trade its scale
    for its colours'. Within one cluster the best is its own: v_i q_i = (mean r_n^2) / 3, so 0 for one picture.
    """
    q, r = spans(clusters, drawn)
    total = torch.zeros(len(clusters.means), dtype=torch.float64).scatter_add_(0, clusters.assignment, r / q)
    return in_colour(clusters, drawn, total / (CHANNELS * clusters.sizes))


VARIANTS: dict[str, tuple[str, Callable[[Clusters, Coloured], GaussianMixture]]] = {
    "lloyd": ("lloyd", shared),
    "ward": ("ward", shared),
    "separate": ("lloyd", separate),
}
"""Solver and colour variance of each model that is drawn."""


def run(configuration: Mapping[str, Any]) -> Mapping[str, Any]:
    """Ratio, training and test loss over the model size for three ways of training."""
    drawn, seed = coloured(configuration), int(configuration["seed"])
    samples = int(configuration["generated"])
    order = torch.randperm(N, generator=stream(seed, "kept"))
    found: dict[str, Any] = {
        "templates": (255 * drawn.templates).round().int().tolist(),
        "coloured": (drawn.x[:8] * 127.5).round().int().tolist(),
        "label": drawn.label[:8].tolist(),
        "sizes": list(SIZES),
        "law": losses(drawn.law, drawn, seed),
        "law_without_factor": losses(without_factor(drawn), drawn, seed),
        "memorizing": losses(points(drawn.x), drawn, seed),
        "partial": [losses(points(drawn.x[order[:size]]), drawn, seed) for size in SIZES],
    }
    for name, (solver, finish) in VARIANTS.items():
        models = [finish(clusters, drawn) for clusters in solved(drawn, solver, seed)]
        counts = [
            copies(generated(MixtureDenoiser(model), samples, drawn.x.shape[1], seed), drawn.x)
            for model in models
        ]
        found[name] = {
            "copies": counts,
            "samples": samples,
            "losses": [losses(model, drawn, seed) for model in models],
            "transition": [
                as_json(transition(SIZES, [c[k] for c in counts], samples)) for k in range(len(FACTORS))
            ],
        }
    return found


def losses(model: GaussianMixture, drawn: Coloured, seed: int) -> list[float]:
    """Training and test loss at the level shown."""
    denoiser, sigma = MixtureDenoiser(model), float(LEVELS[SHOWN])
    return [
        float(fixed_level_loss(denoiser, x, sigma, stream(seed, f"loss {len(x)}"), DRAWS).mean())
        for x in (drawn.x, drawn.fresh)
    ]


def without_factor(drawn: Coloured) -> GaussianMixture:
    """The law as the authors' program sees it at the level shown: its log-determinant lacks the factor c.

    Where H.4 has c log(1 + |x|^2 / sigma^2) the program has that term once, which is the same as weights
    multiplied by (1 + |x|^2 / sigma^2)^((c - 1) / 2).
    """
    q = drawn.templates.square().sum(1)
    weights = (1 + q / LEVELS[SHOWN] ** 2) ** ((CHANNELS - 1) / 2)
    return GaussianMixture(weights / weights.sum(), drawn.law.means, drawn.law.covariance)


def ratio(row: Row, name: str, size: int) -> float:
    """The memorization ratio of one model size."""
    found = row["result"][name]
    counts: int = found["copies"][row["result"]["sizes"].index(size)][FACTORS.index(CRITERION)]
    return counts / float(found["samples"])


def there_is_one(rows: Sequence[Row]) -> tuple[Estimate, str]:
    """Ratios at M = N/2 and at M = N."""
    small = torch.tensor([ratio(row, "lloyd", N // 2) for row in rows], dtype=torch.float64)
    whole = torch.tensor([ratio(row, "lloyd", N) for row in rows], dtype=torch.float64)
    good = int(((small < 0.25) & (whole > 0.9)).sum())
    return estimate(whole - small), HELD if good == len(rows) else PARTLY if good else FAILED


def half_at(name: str) -> Callable[[Sequence[Row]], tuple[Estimate, str]]:
    """Judge whether half of the samples are copies at M = 0.9 N, where the authors' notebook has it."""

    def judged(rows: Sequence[Row]) -> tuple[Estimate, str]:
        values = [half(row["result"][name]).value for row in rows]
        if any(value is None for value in values):
            return Estimate(None, None, None, len(rows)), FAILED
        found = estimate(torch.tensor([v / N for v in values if v is not None], dtype=torch.float64))
        assert found.low is not None and found.high is not None
        if found.low >= 0.8 and found.high <= 1.0:
            return found, HELD
        return found, PARTLY if found.high >= 0.8 else FAILED

    return judged


def test_loss_leaves_late(rows: Sequence[Row]) -> tuple[Estimate, str]:
    """Test loss over the law's own, at M = 0.4 N and at M = N."""
    at = [SIZES.index(int(part * N)) for part in (0.4, 1.0)]
    table = [[row["result"]["lloyd"]["losses"][i][1] / row["result"]["law"][1] for i in at] for row in rows]
    good = sum(early <= 1.5 and late >= 10 for early, late in table)
    late = estimate(torch.tensor([late for _, late in table], dtype=torch.float64))
    return late, HELD if good == len(rows) else PARTLY if good else FAILED


TESTED = (
    f"Fashion-MNIST templates at {SIDE}x{SIDE}, 3 colours, N = {N}, K = {COMPONENTS[0]} and {COMPONENTS[1]}, "
    f"k-means within templates, {len(SIZES)} sizes, 1,000 samples each; seeds {SEEDS[0]} to {SEEDS[-1]}"
)
CLAIMS = (
    Claim(
        "pictures-have-a-transition",
        "000",
        "Figure 5, left",
        "A mixture of coloured pictures goes from generalising to memorizing as its size grows.",
        f"Lloyd, one colour variance; {TESTED}",
        "held if in every run the ratio is below 0.25 at M = N/2 and above 0.9 at M = N; partly if in some; the number "
        "is the difference",
        there_is_one,
    ),
    Claim(
        "pictures-half-at-nine-tenths",
        "000",
        "Figure 5, left",
        "Half of the samples are copies near M = 0.9 N.",
        f"Lloyd, one colour variance; {TESTED}",
        "M_pt/N: held if its 95 % interval over runs lies within 0.8 to 1.0; partly if it ends above 0.8",
        half_at("lloyd"),
    ),
    Claim(
        "pictures-half-at-nine-tenths-separate",
        "unrote",
        "Figure 5, what the parameters allow",
        "The same where each component has its own colour variance, as the free scale of its template allows.",
        f"Lloyd, a variance for each component; {TESTED}",
        "M_pt/N: held if its 95 % interval over runs lies within 0.8 to 1.0; partly if it ends above 0.8",
        half_at("separate"),
    ),
    Claim(
        "pictures-test-loss",
        "000",
        "Figure 5, right",
        "The test loss stays near the law's for small models and jumps when they memorize.",
        f"Lloyd, one colour variance; t = 0.360; {TESTED}",
        "test loss over the law's: held if in every run it is at most 1.5 at M = 0.4 N and at least 10 at M = N; the "
        "number is the one at N",
        test_loss_leaves_late,
    ),
)

EXPERIMENT = Experiment(
    name="crossover/colours",
    about="Figures 4 and 5: coloured Fashion-MNIST templates, a mixture of low rank (digits at smoke scale).",
    scale="laptop",
    configurations=configurations,
    run=run,
    claims=CLAIMS,
    show=show,
    sets=sets,
)
