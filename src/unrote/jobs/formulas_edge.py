"""The calculators of "On the Edge of Memorization in Diffusion Models": options in, `Outcome` out."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from unrote.contracts import InputError
from unrote.data.mixtures import draw, isotropic, sphere_means
from unrote.jobs.calculating import Outcome, exactly_one
from unrote.jobs.calculators import (
    ConcentrationOptions,
    CopyingDistortionOptions,
    CoverageOptions,
    CrossoverOptions,
    GeneralisingExcessOptions,
    NearestKeptOptions,
    NoiseUnitsOptions,
    PartialExcessOptions,
    WassersteinFloorOptions,
)
from unrote.noise import schedule
from unrote.noise.levels import vp_levels
from unrote.theory import concentration as bounds
from unrote.theory import crossover as formulas
from unrote.theory import nearest
from unrote.theory.levels import NAMED, Levels, capped, on_grid, spread_evenly
from unrote.theory.surrogates import SurrogateLosses, isotropic_denoiser, surrogate_losses
from unrote.theory.wasserstein import gaussian_floor

EDGE = "On the Edge of Memorization in Diffusion Models"

LARGEST = 20_000
"""Samples of a data set that is drawn; losses of all model sizes cost as much as one large product."""

ROWS = 500
"""Samples of each data set over which losses are averaged."""


def crossover(options: CrossoverOptions) -> Outcome:
    """000 equation (14), with the paper's constant or the exact one."""
    together = (options.samples, options.dimension, options.clusters)
    exact = any(n is not None for n in together)
    if exact and (None in together or options.constant is not None):
        raise InputError(
            "--samples, --dimension and --clusters give the exact constant together, and in the place of --constant; "
            "give all three, or --constant, or none of them."
        )
    if options.samples is not None and options.clusters is not None and options.clusters > options.samples:
        raise InputError(f"--clusters {options.clusters} is more than --samples {options.samples}.")
    law, spectrum = levels_of(options), formulas.isotropic_spectrum(options.dimension or 1, options.spread)
    share = formulas.rho(law, weighting_of(options.weighting, law), spectrum)
    more: dict[str, Any] = {"rho": share, "constant_for_0.8": formulas.constant_for(share, 0.8)}
    source = f"{EDGE}, equation (14)"
    if (options.data_sets is None or not exact) and options.seed is not None:
        raise InputError("--seed belongs to --data-sets.")
    if options.data_sets is not None:
        return simulated_crossover(options, law, more)
    if exact:
        n, d, k = (int(i) for i in together if i is not None)
        at = formulas.crossover_at_dimension(share, n, d, equal(k), sphere_missing(k, d, options.spread))
        more = {"model_size": at, **more}
        return Outcome(
            math.nan if at is None else at / n,
            "(1 - M/N) C(M) = rho,  C(M) = E[C0(m, d)] over m ~ Bin(M, 1/K),  rho = E[w/(psi s + 1)] / E[w]",
            f"{source}, with the exact constant of finite dimension in the limit of small noise",
            more,
        )
    constants = [1.0, 1.5, 2.0] if options.constant is None else [options.constant]
    found = [formulas.crossover(share, c) for c in constants]
    return Outcome(
        found[0] if options.constant is not None else {"constant": constants, "crossover": found},
        "M*/N = 1 - rho / C,  rho = E[w/(psi s + 1)] / E[w],  psi = 1/sigma^2,  s = spread",
        source,
        more,
    )


def simulated_crossover(options: CrossoverOptions, law: Levels, more: dict[str, Any]) -> Outcome:
    """000 equation (14) with whole losses of data sets that are drawn."""
    if options.samples is None or options.dimension is None or options.clusters is None:
        raise InputError("--data-sets needs --samples, --dimension and --clusters, which say what is drawn.")
    n, d, k, count = options.samples, options.dimension, options.clusters, options.data_sets
    assert count is not None
    if n > LARGEST:
        raise InputError(f"--data-sets can be drawn with up to {LARGEST:,} --samples; {n:,} came.")
    generator = torch.Generator().manual_seed(options.seed or 0)
    sizes = torch.tensor(sorted({max(1, round(n * step / 40)) for step in range(1, 41)}))
    parts = []
    for _ in range(count):
        means = sphere_means(k, d, generator)
        x = draw(isotropic(means, options.spread), n, generator).x
        truth = isotropic_denoiser(means, options.spread, equal(k))
        parts.append(surrogate_losses(x, truth, law, sizes, generator, rows=min(n, ROWS)))
    weighting = weighting_of(options.weighting, law)

    def of(chosen: list[SurrogateLosses]) -> float:
        generalising = torch.cat([p.generalising for p in chosen])
        partial = torch.cat([p.partial for p in chosen])
        at = SurrogateLosses(law, sizes, generalising, partial).crossover(weighting)
        return math.nan if at is None else at / n

    value, without = of(parts), torch.tensor([of(parts[:i] + parts[i + 1 :]) for i in range(count)])
    half = 1.96 * math.sqrt((count - 1) * float(without.var(correction=0)))
    return Outcome(
        value,
        "E[w L_partial(M)] = E[w L_true],  whole losses at every level, interpolated between 40 model sizes",
        f"{EDGE}, equation (14), with exact losses; interval by the jackknife over data sets",
        {"low": value - half, "high": value + half, "data_sets": count, **more},
    )


def nearest_kept(options: NearestKeptOptions) -> Outcome:
    """C0(m, d)."""
    found = nearest.nearest_constant(torch.tensor(options.kept), options.dimension).tolist()
    return Outcome(
        found[0] if len(found) == 1 else {"kept": list(options.kept), "constant": found},
        "C0(m, d) = (1/d) E over L ~ chi^2_d of the integral of (1 - F(u; d, L))^m du, F noncentral chi-square",
        f"{EDGE}, Theorem 3.2, whose constant between 1 and 2 this is at finite dimension",
    )


def partial(options: PartialExcessOptions) -> Outcome:
    """C (1 - M/N) d sigma*^2."""
    if options.kept > options.samples:
        raise InputError(f"--kept {options.kept} is more than --samples {options.samples}.")
    exactly_one(options, "constant", "clusters")
    d, k = options.dimension, options.clusters
    constant = options.constant
    if k is not None:
        missing = sphere_missing(k, d, options.spread)
        at = nearest.binomial_constant(torch.tensor([options.kept]), equal(k), d, missing)
        constant = float(at.mean())
    assert constant is not None
    spectrum = formulas.isotropic_spectrum(d, options.spread)
    return Outcome(
        formulas.partial_excess(options.kept / options.samples, constant, spectrum),
        "C (1 - M/N) d s,  s = spread",
        f"{EDGE}, Theorem 3.2",
        {"constant": constant}
        | ({} if k is None else {"needed_samples": bounds.needed_samples(k, options.dimension)}),
    )


def generalising(options: GeneralisingExcessOptions) -> Outcome:
    """d sigma*^2 / (psi sigma*^2 + 1)."""
    chosen = exactly_one(options, "sigma", "time")
    given = torch.tensor(getattr(options, chosen), dtype=torch.float64)
    sigma = {"sigma": given.clone, "time": lambda: schedule.sigma_of_vp_time(given)}[chosen]()
    found = formulas.generalising_excess(
        sigma, formulas.isotropic_spectrum(options.dimension, options.spread)
    )
    limit = formulas.valid_up_to(options.dimension)
    table = {
        "sigma": sigma.tolist(),
        "vp_time": schedule.vp_time(sigma).tolist(),
        "excess": found.tolist(),
        "within_validity": (sigma <= limit).tolist(),
    }
    return Outcome(
        float(found[0]) if len(found) == 1 else table,
        "d s / (psi s + 1),  psi = 1/sigma^2,  s = spread;  claimed for psi >= log^2(d)/d",
        f"{EDGE}, Theorem 3.1",
        {"valid_up_to_sigma": limit if math.isfinite(limit) else None},
    )


def coverage(options: CoverageOptions) -> Outcome:
    """The coupon collector."""
    chosen = exactly_one(options, "clusters", "weights")
    if chosen == "weights" and options.dimension is not None:
        raise InputError("--dimension is for clusters of equal weight; give --clusters, or leave it out.")
    weights = equal(options.clusters) if options.clusters is not None else user_weights(options.weights)
    number, share = bounds.expected_uncovered(options.kept, weights)
    more: dict[str, Any] = {
        "union_bound": bounds.covered_at_least(options.kept, weights, options.least),
        "expected_missing_clusters": number,
        "expected_missing_share": share,
        "expected_samples_for_one_of_each": bounds.expected_collection(weights),
    }
    if options.dimension is not None and options.clusters is not None:
        more["needed_samples"] = bounds.needed_samples(options.clusters, options.dimension)
        more["probability_of_two_of_each_then"] = bounds.twice_covered(options.clusters, options.dimension)
    return Outcome(
        bounds.covered(options.kept, weights, options.least),
        "P(every cluster has `least` of M samples), exactly;  needed samples (1 + log d) K log K",
        f"{EDGE}, Proposition C.4 (corrected);  Levin 1981",
        {key: value if math.isfinite(value) else None for key, value in more.items()},
    )


def concentration(options: ConcentrationOptions) -> Outcome:
    """Appendix C, corrected."""
    d, epsilon = options.dimension, options.epsilon
    below, above = bounds.chi_square_exactly(d, epsilon)
    low, high, failure = bounds.softmax_distance(options.count, d, epsilon, options.spread)
    rows = [
        ("C.1 (17): chi^2 <= (1 - eps) d", bounds.chi_square_below(d, epsilon), below),
        ("C.1 (18): chi^2 >= (1 + eps) d", bounds.chi_square_above(d, epsilon), above),
        ("C.1 (19): either", bounds.chi_square_away(d, epsilon), below + above),
        ("C.2: squared norm of any isotropic Gaussian", bounds.norm_away(d, epsilon), None),
        (f"C.3: softmax average outside [{low:.6g}, {high:.6g}]", failure, None),
    ]
    names, bound, exact = (list(column) for column in zip(*rows, strict=True))
    return Outcome(
        {"event": names, "bound": bound, "exact": exact},
        "exp(d/2 (e + log(1 - e))), exp(-d/2 (e - log(1 + e))), 2 exp(-d e^2/8), 4 exp(-d e^2/8), 6 n exp(-d e^2/8)",
        f"{EDGE}, Theorem C.1, Lemma C.2, Proposition C.3 (corrected)",
    )


def copying(options: CopyingDistortionOptions) -> Outcome:
    """C d sigma*^2 / (f^2 - 1)."""
    constant = float(nearest.nearest_constant(options.kept, options.dimension))
    return Outcome(
        formulas.copying_distortion(constant, options.dimension, options.spread, options.factor),
        "D2 = C0(m, d) d s / (f^2 - 1),  s = spread, m = kept, f = factor",
        f"{EDGE}, Definition 2.2, with the exact distance to the second nearest sample",
        {"constant": constant},
    )


def wasserstein(options: WassersteinFloorOptions) -> Outcome:
    """The nearest-sample bound."""
    found = [gaussian_floor(n, options.dimension, options.spread) for n in options.samples]
    return Outcome(
        found[0] if len(found) == 1 else {"samples": list(options.samples), "floor": found},
        "E W2^2(pi_N, pi) >= E min_i |x - x_i|^2 = C0(N, d) d s,  s = spread",
        f"every coupling carries x to a sample;  {EDGE}, section 2, argues why N = poly(d)",
    )


def noise_units(options: NoiseUnitsOptions) -> Outcome:
    """One level in every unit."""
    to_sigma: dict[str, Callable[[Tensor], Tensor]] = {
        "sigma": lambda v: v,
        "time": schedule.sigma_of_vp_time,
        "alpha_bar": schedule.sigma_of_alpha_bar,
        "log_snr": schedule.sigma_of_log_snr,
        "linear_timestep": lambda v: schedule.sigma_of_timestep(v, schedule.linear_alpha_bars()),
        "cosine_timestep": lambda v: schedule.sigma_of_timestep(v, schedule.cosine_alpha_bars()),
    }
    chosen = exactly_one(options, *to_sigma)
    sigma = float(to_sigma[chosen](torch.tensor(getattr(options, chosen), dtype=torch.float64)))
    return Outcome(
        asdict(schedule.units(sigma)),
        "t = sigma/sqrt(1 + sigma^2), alpha-bar = 1/(1 + sigma^2), log-SNR = -2 log sigma",
        "variance-preserving and variance-exploding states are one: x = x_t / alpha_t = x0 + sigma z",
    )


def levels_of(options: CrossoverOptions) -> Levels:
    """The law of levels that was asked for."""
    low, high = options.time_low, options.time_high
    if not low < high:
        raise InputError(f"--time-low {low:g} must be less than --time-high {high:g}.")
    if options.continuum:
        if options.steps is not None:
            raise InputError("--steps belongs to the grid; --continuum has none.")
        return spread_evenly(low, high, schedule.sigma_of_vp_time)
    if low == 0 or high == 1:
        raise InputError("A grid of VP times stays inside (0, 1); use --continuum to reach 0 or 1.")
    return on_grid(vp_levels(25 if options.steps is None else options.steps, high, low))


def weighting_of(name: str, law: Levels) -> Tensor:
    """The values of a named weighting on the levels, min(psi,C) for any C.

    Raises:
        InputError: for an unknown name, or a weighting whose mean over the levels is infinite.
    """
    plain = name.replace(" ", "")
    cap = re.fullmatch(r"min\(psi,(\d+\.?\d*(?:e[+-]?\d+)?)\)", plain)
    chosen = capped(float(cap[1])) if cap and float(cap[1]) > 0 else NAMED.get(plain)
    if chosen is None:
        raise InputError(
            f"--weighting {name!r} is not known; it is one of {', '.join(NAMED)}, or min(psi,C)."
        )
    values = chosen(law.sigma)
    weight = law.weights(values)
    if len(weight) > 200 and float(torch.maximum(weight[0], weight[-1]) / weight.sum()) > 1e-6:
        raise InputError(
            f"The mean of --weighting {name} is infinite over these times; move --time-low above 0 (psi) or "
            "--time-high below 1 (1/psi)."
        )
    return values


def equal(clusters: int) -> Tensor:
    """K equal weights."""
    return torch.full((clusters,), 1 / clusters, dtype=torch.float64)


def user_weights(weights: tuple[float, ...]) -> Tensor:
    """Weights that sum to one."""
    w = torch.tensor(weights, dtype=torch.float64)
    if abs(float(w.sum()) - 1) > 1e-6:
        raise InputError(f"--weights must sum to one; these sum to {float(w.sum()):g}.")
    return w / w.sum()


def sphere_missing(clusters: int, dimension: int, spread: float) -> Tensor:
    """What a cluster without a kept sample costs, for means on the sphere of radius sqrt(d)."""
    cost = nearest.missing_cost(2.0 * dimension, dimension, spread)
    return torch.full((clusters,), cost, dtype=torch.float64)
