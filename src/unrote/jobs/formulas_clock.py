"""The calculators of "Bigger Isn't Always Memorizing": options in, `Outcome` out."""

from __future__ import annotations

import torch

from unrote.contracts import InputError
from unrote.jobs.calculating import Outcome
from unrote.jobs.calculators_clock import KernelConstantsOptions, MemorizationTimeOptions
from unrote.theory import timescales

CLOCK = "Bigger Isn't Always Memorizing: Early Stopping Overparameterized Diffusion Models"

RELU = {1.0: timescales.relu_ntk_expansion, 2.0: timescales.relu_features_expansion}
"""Expansions of the kernels of ReLUs by their exponent."""

MOST = 10**5
"""Rows of a table."""


def kernel_constants(options: KernelConstantsOptions) -> Outcome:
    """002 equations (25) to (37)."""
    d, nu = options.dimension, options.nu
    ratio, limit = timescales.constant_ratio(d, nu), timescales.asymptotic_ratio(d, nu)
    shown = {
        "beta": timescales.beta_constant(d, nu),
        "gamma": timescales.gamma_constant(d),
        "ratio": ratio,
    }
    return Outcome(
        shown,
        "beta = E[u.v |u - v|^nu] = -(nu/2) 2^nu Gamma((d + nu)/2) / Gamma(d/2),  gamma = d,  ratio beta/gamma, "
        "in many dimensions -2^(nu/2 - 1) nu d^(nu/2 - 1)",
        f"{CLOCK}, equations (25) to (37)",
        {"ratio_in_many_dimensions": limit, "exact_over_that": ratio / limit},
    )


def memorization_time(options: MemorizationTimeOptions) -> Outcome:
    """002 equations (22), (24) and (39)."""
    if len(options.points) * len(options.sigma) > MOST:
        raise InputError(
            f"--points and --sigma together ask for more than {MOST:,} rows; give fewer of them."
        )
    kernel = expansion(options)
    pairs = [(p, s) for p in options.points for s in options.sigma]
    points = torch.tensor([p for p, _ in pairs], dtype=torch.float64)
    sigma = torch.tensor([s for _, s in pairs], dtype=torch.float64)
    tau = timescales.memorization_time(points, sigma, options.dimension, kernel)
    limit = timescales.asymptotic_time(points, sigma, options.dimension, kernel)
    shown = {
        "points": [p for p, _ in pairs],
        "sigma": sigma.tolist(),
        "time": tau.tolist(),
        "time_in_many_dimensions": limit.tolist(),
    }
    if options.rate is not None:
        shown["steps"] = (tau / options.rate).tolist()
    return Outcome(
        shown,
        "tau = 1/lambda,  lambda = -C (beta/gamma) sigma^nu / P;  in many dimensions "
        "(2^(1 - nu/2) / nu) C^-1 d^(1 - nu/2) P / sigma^nu",
        f"{CLOCK}, equations (22), (24) and (39) with its constant",
        {"coefficient": kernel.coefficient},
    )


def expansion(options: MemorizationTimeOptions) -> timescales.Expansion:
    """nu and C as given, or those of ReLUs."""
    if options.coefficient is not None:
        return timescales.Expansion(options.nu, options.coefficient)
    if options.nu not in RELU:
        raise InputError(
            f"--nu {options.nu:g} needs --coefficient, C of K = 1 - C |x - y|^nu; only for 1 and 2, the kernels of "
            "ReLUs, it is known."
        )
    return RELU[options.nu](options.dimension)
