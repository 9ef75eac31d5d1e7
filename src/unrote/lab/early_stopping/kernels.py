"""Appendix G and Figures 16 to 19: how long kernels, and one hidden layer, need to learn the noise of one level.

Trained networks in the paper's setting (d = 64, sigma^2 = 0.032, P = 128 where it is not varied), and gradient flow
with the kernels of infinite width in closed form, where rates, levels and dimensions can be followed further.
"""

from __future__ import annotations

from collections.abc import Sequence

from unrote.lab.claims import Claim, Experiment
from unrote.lab.early_stopping.kernels_figures import show
from unrote.lab.early_stopping.kernels_rules import (
    NEAR,
    WIDEST,
    Judged,
    factor,
    halving_over_rayleigh,
    is_exponent,
    learned,
    parted,
    rate_over_prediction,
    rayleigh,
    trained_over_told,
    within,
)
from unrote.lab.early_stopping.kernels_runs import run
from unrote.lab.early_stopping.kernels_settings import (
    BATCHES,
    DIMENSIONS,
    FLOW_COUNT,
    FLOW_COUNTS,
    FLOW_DIMENSION,
    FLOW_LEVEL,
    FLOW_LEVELS,
    LEVEL,
    LEVELS,
    SEEDS,
    SIZES,
    SIZES_ADAM,
    TOLD,
    by_batch,
    by_dimension,
    by_level,
    by_points,
    configurations,
    flow_by_level,
    flow_by_points,
)
from unrote.report.format import Value, fixed

GAP = "0.2"
"""The loss gap that claims rest on; other thresholds stand in the figures."""
SEEDS_WORDS = f"seeds {SEEDS[0]} to {SEEDS[-1]}"
NETWORK = (
    "one hidden layer of 1,024 ReLUs, started at 0, gradient descent on fresh noise around P standard normal points in "
    "d = 64; tau: test less training loss passes 0.2 of the loss at the start"
)
FLOW = "gradient flow with the kernel of infinite width in closed form, standard normal points"


def exponent_rule(said: float | int) -> str:
    """The rule of `is_exponent` in words."""
    return (
        f"exponent of a power law through all runs, those that never got there as later than their end: held if its "
        f"95 % interval contains {said:g} and is narrower than {WIDEST:g}, partly if it lies within {NEAR:g} of it"
    )


def listed(values: Sequence[float | int]) -> str:
    """Numbers as words."""
    return ", ".join(f"{value:g}" for value in values)


def exact(value: Value) -> str:
    """Exponents and factors with three decimals."""
    return fixed(3)(value)


def claim(name: str, paper: str, source: str, says: str, tested: str, rule: str, judged: Judged) -> Claim:
    """A claim whose number is an exponent or a factor."""
    return Claim(f"kernels-{name}", paper, source, says, f"{tested}; {SEEDS_WORDS}", rule, judged, exact)


def scaling_claims() -> tuple[Claim, ...]:
    """Figures 16, 17 and 19: exponents of trained networks."""
    found = []
    for regime, source in (("lazy", "Figure 16"), ("mean field", "Figure 17")):
        name = regime.replace(" ", "-")
        found += [
            claim(
                f"{name}-points",
                "002",
                f"{source}, right",
                f"{regime.capitalize()}: tau_mem is proportional to P.",
                f"{NETWORK}; sigma^2 = 0.032, P = {listed(SIZES)}",
                exponent_rule(1),
                is_exponent(1, "points", by_points(regime), parted(GAP)),
            ),
            claim(
                f"{name}-noise",
                "002",
                f"{source}, left",
                f"{regime.capitalize()}: tau_mem is proportional to 1 / sigma.",
                f"{NETWORK}; P = 128, sigma^2 = {listed([round(s**2, 4) for s in LEVELS])}",
                exponent_rule(-1),
                is_exponent(-1, "sigma", by_level(regime), parted(GAP)),
            ),
            claim(
                f"{name}-batch",
                "002",
                "Figure 18",
                f"{regime.capitalize()}: tau_mem does not depend on the batch size.",
                f"{NETWORK}; P = 128, sigma^2 = 0.032, batches of {listed(BATCHES)}, half of the other runs' rate",
                "exponent of tau over B: held if its 95 % interval lies within +-0.05 (a factor of 1.15 over 16 times "
                "the batch), failed if outside",
                within(0.05, "batch", by_batch(regime), parted(GAP)),
            ),
        ]
    found.append(
        claim(
            "adam-points",
            "002",
            "Figure 19",
            "With Adam, too, the time at which the training loss falls is proportional to P.",
            f"{NETWORK.partition('; tau')[0]}; sigma^2 = 0.032, P = {listed(SIZES_ADAM)}; tau: the training loss has "
            "fallen by a quarter",
            exponent_rule(1),
            is_exponent(1, "points", by_points("lazy", "adam"), learned("0.25")),
        )
    )
    return tuple(found)


def low_noise_claims(kernel: str, words: str, nu: int) -> tuple[Claim, ...]:
    """Appendix G at the lowest level: the constant of a kernel's rate, and whether its inverse is the time."""
    at = flow_by_level(kernel) | {"sigma": FLOW_LEVELS[0]}
    smallest = f"{FLOW}; d = {FLOW_DIMENSION}, P = {FLOW_COUNT}, sigma = {FLOW_LEVELS[0]:g}"
    return (
        claim(
            f"{kernel}-constant",
            "002",
            "equations (22) and (35)",
            f"{words}: at low noise the rate is -C (beta/gamma) sigma^{nu}/P.",
            smallest,
            "Rayleigh quotient over the formula, geometric mean: held if its 95 % interval lies within 0.8 and "
            "1.25, failed if outside",
            factor(rate_over_prediction, at, 0.8, 1.25),
        ),
        claim(
            f"{kernel}-rate-is-the-time",
            "002",
            "equation (24)",
            f"{words}: the score is learned in the time 1 / lambda.",
            f"{smallest}; half of the training loss",
            "time over log 2 / (2 lambda), geometric mean: held if its 95 % interval lies within 2/3 and 3/2, "
            "failed if outside",
            factor(halving_over_rayleigh, at, 2 / 3, 1.5),
        ),
    )


def exponent_claims(kernel: str, words: str, nu: int) -> tuple[Claim, ...]:
    """Appendix G: exponents of a kernel's own rate and of its times."""
    levels = f"{FLOW}; d = {FLOW_DIMENSION}, P = {FLOW_COUNT}, sigma = {listed(FLOW_LEVELS)}"
    return (
        claim(
            f"{kernel}-rate",
            "002",
            "equation (22)",
            f"{words}: the rate of psi_i is proportional to sigma^{nu}.",
            f"Rayleigh quotient of {levels}",
            exponent_rule(-nu),
            is_exponent(-nu, "sigma", flow_by_level(kernel), rayleigh),
        ),
        claim(
            f"{kernel}-halving-noise",
            "002",
            "equation (39)",
            f"{words}: half of the training loss is gone at a time proportional to sigma^-{nu}.",
            levels,
            exponent_rule(-nu),
            is_exponent(-nu, "sigma", flow_by_level(kernel), learned("0.5")),
        ),
        claim(
            f"{kernel}-gap-noise",
            "002",
            "equation (39) with Figure 9's tau",
            f"{words}: the losses part at a time proportional to sigma^-{nu}.",
            f"{levels}; gap of 0.2",
            exponent_rule(-nu),
            is_exponent(-nu, "sigma", flow_by_level(kernel), parted(GAP)),
        ),
        claim(
            f"{kernel}-dimension",
            "002",
            "equation (39)",
            f"{words}: the losses part at a time proportional to C(d)^-1 d^(1-nu/2) = d.",
            f"{FLOW}; P = {FLOW_COUNT}, sigma = {FLOW_LEVEL:g}, d = {listed(DIMENSIONS)}; gap of 0.2",
            exponent_rule(1),
            is_exponent(1, "d", by_dimension(kernel), parted(GAP)),
        ),
    )


def kernel_claims() -> tuple[Claim, ...]:
    """Both kernels."""
    kernels = (("ntk", "ReLU tangent kernel", 1), ("features", "Random features", 2))
    return tuple(
        each for kernel in kernels for each in (*exponent_claims(*kernel), *low_noise_claims(*kernel))
    )


def our_claims() -> tuple[Claim, ...]:
    """What the paper does not ask."""
    points = f"{FLOW}; d = {FLOW_DIMENSION}, sigma = {FLOW_LEVEL:g}, P = {listed(FLOW_COUNTS)}"
    return (
        claim(
            "ntk-halving-points",
            "002",
            "equation (39)",
            "ReLU tangent kernel: half of the training loss is gone at a time proportional to P.",
            points,
            exponent_rule(1),
            is_exponent(1, "points", flow_by_points(), learned("0.5")),
        ),
        claim(
            "ntk-gap-points",
            "002",
            "equation (39) with Figure 9's tau",
            "ReLU tangent kernel: the losses part at a time proportional to P.",
            f"{points}; gap of 0.2",
            exponent_rule(1),
            is_exponent(1, "points", flow_by_points(), parted(GAP)),
        ),
        *(
            claim(
                f"closed-form-{sigma:g}",
                "unrote",
                "docs/early_stopping.md",
                "The closed form of infinite width says when the losses of a trained lazy network part.",
                f"{TOLD['points']} points in d = {TOLD['d']}, sigma = {sigma:g}; 1,024 ReLUs, full batch; gap of 0.2",
                "steps times rate over the time that is told, geometric mean: held if its 95 % interval lies within "
                "0.9 and 1.1, failed if outside",
                trained_over_told(GAP, sigma, TOLD["points"], TOLD["d"]),
            )
            for sigma in (LEVEL / 2, LEVEL)
        ),
    )


EXPERIMENT = Experiment(
    name="early_stopping/kernels",
    about="Appendix G and Figures 16 to 19: memorization time of kernels and of one hidden layer.",
    scale="laptop",
    configurations=configurations,
    run=run,
    claims=(*scaling_claims(), *kernel_claims(), *our_claims()),
    show=show,
)
