"""The calm ends: the linear limit (Theorem 4.11), locality (D.4), what the loss leaves open (4.9), alignment (A.2)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from unrote.contracts import Estimate, InputError
from unrote.denoise.exact import Empirical
from unrote.geometry.limits import LinearLimit, copying_denoiser, linear_gap, linear_limit, shell_loss
from unrote.geometry.overlap import Shell
from unrote.geometry.shells import disjoint_below
from unrote.lab.claims import FAILED, HELD, PARTLY, Claim, Experiment, Row, at_least, at_most, inside
from unrote.lab.crossover.settings import stream
from unrote.lab.wild_middle.aligned import alignments
from unrote.lab.wild_middle.calm_figures import show
from unrote.lab.wild_middle.local import localities
from unrote.lab.wild_middle.subsets import ORIGIN, SEEDS, setting, subset
from unrote.lab.wild_middle.thresholds import CHANCE
from unrote.measure.estimate import estimate, wilson
from unrote.noise.levels import edm_levels, log_levels

DIRECTIONS, POINTS = 8, 200
"""Directions along which the gap is measured; noisy points of the other parts."""
FAR = (500.0, 5000.0)
"""Levels between which the order is fitted."""
ORDER = 0.1
"""How far from 2 the fitted order may be."""
LINEAR, ROUGHLY = 0.1, 0.5
"""|m - m_G| / |m_G - mu|: up to which a denoiser counts as linear, as roughly linear."""
START, LARGE = 0, 4
"""Steps of EDM's grid: the start of sampling, 80, and the last step with a weight of about 5 % or less, 19.4."""
LOCAL, FAIRLY = 3.0, 8.0
"""Pixels within which 90 % of the squared sensitivity to other pixels lies."""
SMALL = 13
"""The step of EDM's grid that ends the medium steps: sigma .14."""
DIFFERENT = 0.1
"""Root-mean-square difference per pixel of two denoisers of equal loss that counts as different."""


def configurations(scale: str) -> Sequence[Mapping[str, Any]]:
    """One random subset for each seed, and the pool that it comes from; digits at smoke scale."""
    if scale == "smoke":
        return [setting("digits", 200, 100, 0) | {"points": 20, "directions": 2}]
    sizes = {"points": POINTS, "directions": DIRECTIONS}
    return [setting("cifar10", 1000, 1000, seed) | sizes for seed in SEEDS]


def sets(scale: str) -> tuple[str, ...]:
    """What the runs read."""
    return ("digits",) if scale == "smoke" else ("cifar10", "cifar10_test")


def run(asked: Mapping[str, Any]) -> Mapping[str, Any]:
    """The four parts on one subset; alignment also on the whole pool."""
    drawn, seed, points = subset(asked), int(asked["seed"]), int(asked["points"])
    x, fresh = drawn.x.double(), drawn.fresh[:points].double()
    return {
        "limit": limit(x, fresh, int(asked["directions"]), stream(seed, "limit")),
        "locality": localities(drawn.x),
        "open": undetermined(x, fresh, stream(seed, "undetermined")),
        "alignment": {
            "subset": alignments(drawn.x, points, stream(seed, "alignment")),
            "pool": alignments(drawn.whole(), 2 * points, stream(seed, "alignment of the pool")),
        },
    }


def limit(
    x: Float[Tensor, "N C H W"], fresh: Float[Tensor, "Q C H W"], directions: int, generator: torch.Generator
) -> Mapping[str, Any]:
    """The gap of the empirical and the linear denoiser: its order far out, its size at EDM's levels.

    Source: 001 Theorem 4.11.
    """
    u = torch.randn(directions, *x.shape[1:], generator=generator, dtype=torch.float64)
    far = linear_gap(x, u, log_levels(1.0, FAR[1], 24))
    linear, empirical = linear_limit(x), Empirical(x)
    z = torch.randn(fresh.shape, generator=generator, dtype=torch.float64)
    relative = [relation(linear, empirical, fresh + s * z, s) for s in edm_levels().tolist()]
    return {
        "levels": far.levels.tolist(),
        "gap": far.gap.mean(1).tolist(),
        "leading": far.leading.mean(1).tolist(),
        "bound": far.bound.mean(1).tolist(),
        "order": orders(far.levels, far.gap).tolist(),
        "beyond": int((far.gap > far.bound).sum()),
        "edm": edm_levels().tolist(),
        "relative": relative,
    }


def orders(levels: Float[Tensor, " T"], gap: Float[Tensor, "T B"]) -> Float[Tensor, " B"]:
    """-d log gap / d log sigma over the far levels, by least squares for each direction."""
    kept = (levels >= FAR[0]) & (levels <= FAR[1])
    s, g = levels[kept].log(), gap[kept].log()
    s = s - s.mean()
    return -(s[:, None] * g).sum(0) / s.square().sum()


def relation(linear: LinearLimit, empirical: Empirical, y: Float[Tensor, "B *E"], sigma: float) -> float:
    """|m - m_G| over |m_G - mu| at noisy fresh images, root mean squares."""
    level = torch.full((len(y),), sigma, dtype=torch.float64)
    said = linear(y, level)
    return float((empirical(y, level) - said).norm() / (said.flatten(1) - linear.mean).norm())


def undetermined(
    x: Float[Tensor, "N C H W"], fresh: Float[Tensor, "Q C H W"], generator: torch.Generator
) -> Mapping[str, Any]:
    """Two denoisers that agree on all shells and nowhere else: their losses, and how far they are apart.

    One returns black pixels off the shells and the other the noisy image itself.

    Source: 001 Theorem 4.9 and B.6.
    """
    shell = Shell(x[0].numel())
    below = disjoint_below(float(torch.nn.functional.pdist(x.flatten(1)).min()), shell)
    sigma = below / 2
    if below <= 0:
        raise InputError(
            "Two training images are the same, so that no level has disjoint shells; take one away."
        )
    elsewhere: dict[str, Callable[[Tensor], Tensor]] = {
        "black": lambda y: -torch.ones_like(y),
        "itself": lambda y: y,
    }
    some, losses, off = x[: len(fresh)], {}, {}
    state = generator.get_state()
    for name, rest in elsewhere.items():
        generator.set_state(state)
        denoise = copying_denoiser(x, sigma, shell, rest)
        losses[name] = float(shell_loss(denoise, some, sigma, shell, generator).mean())
        z = torch.randn(fresh.shape, generator=generator, dtype=torch.float64)
        off[name] = denoise(fresh + sigma * z)
    difference = (off["black"] - off["itself"]).square().mean().sqrt()
    return {"below": below, "sigma": sigma, "losses": losses, "difference": float(difference)}


def over(rows: Sequence[Row], number: Callable[[Mapping[str, Any]], float]) -> Estimate:
    """One number of every seed, with the interval of its mean."""
    return estimate(torch.tensor([number(row["result"]) for row in rows], dtype=torch.float64))


def order_is_two(rows: Sequence[Row]) -> tuple[Estimate, str]:
    """The fitted order, mean over directions."""
    found = over(rows, lambda one: sum(one["limit"]["order"]) / len(one["limit"]["order"]))
    return found, inside(found, 2 - ORDER, 2 + ORDER)


def bound_holds(rows: Sequence[Row]) -> tuple[Estimate, str]:
    """The share of gaps above their bound."""
    wrong = sum(row["result"]["limit"]["beyond"] for row in rows)
    tests = sum(len(row["result"]["limit"]["levels"]) * row["configuration"]["directions"] for row in rows)
    return wilson(wrong, tests), FAILED if wrong else HELD


def linear_at(step: int) -> Callable[[Sequence[Row]], tuple[Estimate, str]]:
    """Judge how linear the best denoiser is at a step of EDM's grid."""

    def judged(rows: Sequence[Row]) -> tuple[Estimate, str]:
        found = over(rows, lambda one: float(one["limit"]["relative"][step]))
        return found, at_most(found, LINEAR, ROUGHLY)

    return judged


def sensitivity_is_bounded(rows: Sequence[Row]) -> tuple[Estimate, str]:
    """The share of sensitivities, by level, axis and distance, that exceed Theorem D.4's bound."""
    wrong = sum(row["result"]["locality"]["beyond"] for row in rows)
    return wilson(wrong, sum(row["result"]["locality"]["tests"] for row in rows)), FAILED if wrong else HELD


def small_noise_is_local(rows: Sequence[Row]) -> tuple[Estimate, str]:
    """Pixels within which 90 % of the squared sensitivity lies at the end of the medium steps."""
    found = over(rows, lambda one: float(one["locality"]["reach"][SMALL]))
    return found, at_most(found, LOCAL, FAIRLY)


def stationary_reach_is_right(rows: Sequence[Row]) -> tuple[Estimate, str]:
    """Reach of the stationary spectrum minus that of the covariance itself, largest over the 18 levels."""

    def apart(one: Mapping[str, Any]) -> float:
        both = one["locality"]["reach"], one["locality"]["reach_true"]
        return max(abs(a - b) for a, b in zip(*both, strict=True))

    found = over(rows, apart)
    return found, at_most(found, 1.0, 3.0)


def loss_is_equal(rows: Sequence[Row]) -> tuple[Estimate, str]:
    """Difference of two denoisers of no loss, root mean square per pixel at noisy fresh images."""
    found = over(rows, lambda one: float(one["open"]["difference"]))
    losses = [loss for row in rows for loss in row["result"]["open"]["losses"].values()]
    return found, at_least(found, DIFFERENT, DIFFERENT / 10) if max(losses) == 0 else FAILED


def alignment_holds(rows: Sequence[Row]) -> tuple[Estimate, str]:
    """The share of Lemma A.1's and Corollary A.2's statements, by data and time, that noises refute."""
    from scipy.stats import binom

    wrong = tests = 0
    for row in rows:
        for where in row["result"]["alignment"].values():
            for one in where.values():
                n = one["points"]
                for fails, allowed in (
                    (one["far"], one["lemma_fails"]),
                    (one["off"], one["corollary_fails"]),
                ):
                    wrong += int(binom.sf(fails - 1, n, min(1.0, allowed)) < CHANCE)
                    tests += 1
    return wilson(wrong, tests), FAILED if wrong else HELD


def remark_is_strong(rows: Sequence[Row]) -> tuple[Estimate, str]:
    """Mean lower bound on the cosine at t = .5 over the pool, and its mean probability."""
    found = over(rows, lambda one: float(one["alignment"]["pool"]["0.5"]["paper"]))
    sure = over(rows, lambda one: float(one["alignment"]["pool"]["0.5"]["probability_paper"]))
    verdicts = {at_least(found, 0.9, 0.5), at_least(sure, 0.9, 0.5)}
    return found, next(v for v in (FAILED, PARTLY, HELD) if v in verdicts)


DATA = f"1,000 random images of {ORIGIN}; seeds {SEEDS[0]} to {SEEDS[-1]}, each with its own subset"
LINEAR_RULE = (
    f"|m - m_G| / |m_G - mean|, root mean squares over {POINTS} noisy held-out images, mean over seeds: held if the "
    f"95 % interval ends at or below {LINEAR:g}, partly {ROUGHLY:g}"
)
CLAIMS = (
    Claim(
        "linear-limit-has-order-2",
        "001",
        "Theorem 4.11",
        "The empirical denoiser approaches the linear one as sigma^-2 along y = sigma u.",
        f"{DATA}; {DIRECTIONS} normal directions, sigma from {FAR[0]:g} to {FAR[1]:g}",
        f"fitted order, mean over directions and seeds: held if the 95 % interval over seeds lies within 2 +- "
        f"{ORDER:g}, failed if outside",
        order_is_two,
    ),
    Claim(
        "linear-limit-is-bounded",
        "unrote",
        "docs/geometry.md, Theorem 4.11",
        "The explicit constant bounds the gap at every level.",
        f"{DATA}; {DIRECTIONS} directions, 24 levels from 1 to {FAR[1]:g}",
        "share of gaps above their bound: held if none",
        bound_holds,
    ),
    Claim(
        "linear-where-sampling-starts",
        "001",
        "section 4.2.2",
        "At large noise the best denoiser is effectively linear: at sigma 80.",
        DATA,
        LINEAR_RULE,
        linear_at(START),
    ),
    Claim(
        "linear-where-weights-are-small",
        "001",
        "section 4.2.2",
        "It is so wherever the posterior weight is low: at sigma 19.4, where it is about .05.",
        DATA,
        LINEAR_RULE,
        linear_at(LARGE),
    ),
    Claim(
        "sensitivity-decays",
        "001",
        "Theorem D.4",
        "The sensitivity to a pixel at distance r is at most V / (2 n sin(pi r / n)).",
        f"{DATA}, mean over channels; the spectrum of their stationary covariance; EDM's 18 levels, both axes",
        "share of sensitivities above the bound: held if none",
        sensitivity_is_bounded,
    ),
    Claim(
        "small-noise-is-local",
        "001",
        "Appendix D, section 4.2.1",
        "At small noise the linear denoiser is local.",
        f"{DATA}, mean over channels; the same spectrum at step {SMALL} of EDM's 18, sigma .14",
        f"pixels within which 90 % of the squared sensitivity to other pixels lies, mean over seeds: held if the 95 % "
        f"interval ends at or below {LOCAL:g}, partly {FAIRLY:g}",
        small_noise_is_local,
    ),
    Claim(
        "stationary-reach-is-right",
        "unrote",
        "Appendix D",
        "Real images are not stationary, and still the stationary spectrum tells how far the linear denoiser looks.",
        f"{DATA}, mean over channels; reach by the spectrum against that by the covariance of all pixels, 18 levels",
        "largest difference over levels in pixels, mean over seeds: held if the 95 % interval ends at or below 1, "
        "partly 3",
        stationary_reach_is_right,
    ),
    Claim(
        "loss-leaves-open",
        "001",
        "Theorem 4.9, B.6",
        "Denoisers of exactly equal loss differ off the shells.",
        f"{DATA}; half the level at which shells part; off them one denoiser gives black pixels and one the noisy "
        f"image itself; {POINTS} noisy held-out images",
        f"root-mean-square difference per pixel: held if the 95 % interval over seeds begins at or above "
        f"{DIFFERENT:g}, partly {DIFFERENT / 10:g}, and failed if a loss is not exactly 0",
        loss_is_equal,
    ),
    Claim(
        "alignment-holds",
        "001",
        "Lemma A.1, Corollary A.2",
        "Error and cosine are within their bounds with the probabilities that are promised, in the sharp forms, too.",
        f"{DATA}, {POINTS} images with one noise each, and {2 * POINTS} against all 50,000; t = .4, .5, .6, tau = .99",
        f"share of statements refuted by a one-sided binomial test at {CHANCE:g}: held if none",
        alignment_holds,
    ),
    Claim(
        "alignment-is-strong-at-one-half",
        "001",
        "Remark A.3",
        "At t = .5 the bound of Corollary A.2 is strong and likely.",
        f"{ORIGIN}: all 50,000, {2 * POINTS} points for each of the seeds {SEEDS[0]} to {SEEDS[-1]}; tau = .99, c_1 = "
        "3, c_2 = 5; the remark's own numbers are not in the text at hand",
        "mean bound in the paper's form, and mean probability with N - 1 times the largest term: held if both 95 % "
        "intervals over seeds begin at or above .9, partly .5; known before: .953 with .934 on 500 points",
        remark_is_strong,
    ),
)

EXPERIMENT = Experiment(
    name="wild_middle/calm",
    about="The calm ends: linear limit, locality, what the loss leaves open, alignment of flow matching.",
    scale="laptop",
    configurations=configurations,
    run=run,
    claims=CLAIMS,
    show=show,
    sets=sets,
)
