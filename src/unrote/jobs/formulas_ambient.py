"""The calculators of "Does Generation Require Memorization?": options in, `Outcome` out."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from unrote.contracts import Estimate, InputError
from unrote.jobs.calculating import Outcome, exactly_one
from unrote.jobs.calculators_ambient import LeakageOptions, MergingOptions, SubpopulationsOptions
from unrote.jobs.formulas_calm import table
from unrote.jobs.formulas_edge import user_weights
from unrote.measure.estimate import estimate
from unrote.noise.schedule import sigma_of_vp_time, vp_time
from unrote.theory import leakage as information
from unrote.theory import merging as mixing
from unrote.theory import subpopulations as groups

AMBIENT = "Does Generation Require Memorization? Creative Diffusion Models using Ambient Diffusion"

LARGEST = 2000
"""Draws of a simulation for one point; its covariance has as many rows."""

NUMBERS = 5 * 10**7
"""Numbers that are held at once."""

MOST = 500
"""Components whose modes are looked for."""


def leakage(options: LeakageOptions) -> Outcome:
    """003 Lemmas 4.2 and C.1, corrected."""
    sigma = float(level_of(options))
    spectrum = spectrum_of(options)
    if options.simulate is None and options.seed is not None:
        raise InputError("--seed belongs to --simulate.")
    draws = torch.tensor(options.draws)
    if options.samples is not None:
        return set_leakage(options, sigma, spectrum, draws)
    at = torch.tensor([sigma], dtype=torch.float64)
    one = information.ambient_leakage(spectrum, at)
    first = information.remaining_error(spectrum, at, torch.ones(1, dtype=torch.int64))
    shown: dict[str, Any] = {
        "draws": options.draws,
        "ambient": [float(one)] * len(draws),
        "ddpm": information.ddpm_leakage(spectrum, at, draws)[:, 0].tolist(),
        "as_printed": information.printed_leakage(spectrum, at, draws)[:, 0].tolist(),
        "error_ambient": [float(first)] * len(draws),
        "error_ddpm": information.remaining_error(spectrum, at, draws)[:, 0].tolist(),
    }
    if options.simulate is not None:
        if max(options.draws) > LARGEST:
            raise InputError(f"--simulate is for up to {LARGEST:,} --draws; {max(options.draws):,} came.")
        affordable(
            options.simulate * max(options.draws) * len(spectrum), "--simulate, --draws and --dimension"
        )
        generator = torch.Generator().manual_seed(options.seed or 0)
        found = [
            estimate(information.simulate_looks(spectrum, sigma, m, generator, options.simulate))
            for m in options.draws
        ]
        shown |= columns("simulated_ddpm", found)
    return Outcome(
        listed(shown),
        "ambient (1/2) log det(I + S/sigma^2), ddpm (1/2) log det(I + m S/sigma^2), in nats; as printed m times "
        "ambient; error E|x0 - E[x0 | draws]|^2;  S covariance of x0",
        f"{AMBIENT}, Lemma 4.2, corrected for m > 1",
        {"sigma": sigma, "vp_time": vp(sigma)},
    )


def set_leakage(options: LeakageOptions, sigma: float, spectrum: Tensor, draws: Tensor) -> Outcome:
    """Bounds for N independent points, and simulations of the exact information."""
    count = options.samples
    assert count is not None
    at = torch.tensor([sigma], dtype=torch.float64)
    low, high = information.ambient_set_bounds(spectrum, at, count, draws)
    shown: dict[str, Any] = {
        "draws": options.draws,
        "distinct": information.expected_distinct(count, draws).tolist(),
        "ambient_at_least": low[:, 0].tolist(),
        "ambient_at_most": high[:, 0].tolist(),
        "ddpm_at_most": information.ddpm_set_bound(spectrum, at, count, draws)[:, 0].tolist(),
        "as_printed": information.printed_leakage(spectrum, at, draws)[:, 0].tolist(),
    }
    if options.simulate is not None:
        most = information.MOST_SUBSETS
        if count > most or max(options.draws) > most:
            raise InputError(f"--simulate with --samples is for up to {most} --samples and {most} --draws.")
        needed = options.simulate * max(count**2 * len(spectrum), 2**most)
        affordable(needed, "--simulate, --samples and --dimension")
        generator = torch.Generator().manual_seed(options.seed or 0)
        for name, function in (
            ("simulated_ambient", information.simulate_ambient_set),
            ("simulated_ddpm", information.simulate_ddpm_set),
        ):
            found = [
                estimate(function(spectrum, sigma, count, m, generator, options.simulate))
                for m in options.draws
            ]
            shown |= columns(name, found)
    return Outcome(
        listed(shown),
        "ambient at most E[k] I1, at least E[k] I1 - log N!/(N - E[k])!, E[k] = N (1 - (1 - 1/N)^m), "
        "I1 = (1/2) log det(I + S/sigma^2);  ddpm at most N E[I_j], j ~ Bin(m, 1/N);  as printed m I1;  nats",
        f"{AMBIENT}, Lemma C.1, corrected",
        {"sigma": sigma, "vp_time": vp(sigma)},
    )


def subpopulations(options: SubpopulationsOptions) -> Outcome:
    """003 Theorem A.1's coefficients, and Lemmas A.2 and A.3."""
    shares, n = shares_of(options), options.examples
    if max(options.counts) > n:
        raise InputError(f"--counts {max(options.counts)} is more than --examples {n}.")
    if options.seed is not None and options.picks is None and options.group is None:
        raise InputError("--seed belongs to --picks and --group.")
    generator = torch.Generator().manual_seed(options.seed or 0)
    if options.group is not None:
        order = torch.randperm(len(shares), generator=generator)
        shares = groups.merge(shares[order], torch.arange(len(shares)) // options.group)
    counts = torch.tensor(options.counts)
    prior, error = groups.listed(shares), None
    if options.picks is not None:
        affordable(options.picks * len(shares), "--picks and the number of subpopulations")
        values = groups.normalised(shares, len(shares), generator, options.picks)
        _, error = groups.pooled_coefficients(values, n, counts)
        prior = groups.of_draws(values, len(shares))
    number, mass = groups.represented(prior, n, counts)
    shown = {
        "examples_each": options.counts,
        "tau": groups.coefficients(prior, n, counts).tolist(),
        "subpopulations": number.tolist(),
        "share_of_population": mass.tolist(),
    }
    if error is not None:
        shown["standard_error_of_tau"] = error.tolist()
    more: dict[str, Any] = {
        "components": len(shares),
        "weight_up_to_1/n": groups.weight(prior, 0.0, 1 / n),
        "weight_1/2n_to_1/n": groups.weight(prior, 1 / (2 * n), 1 / n),
        "singletons_at_least": groups.singleton_floor(prior, n),
    }
    if n >= 3:
        more["tau_1_at_least"] = groups.heavy_floor(prior, n)
    if options.theta is not None:
        tail = groups.light_tail(prior, n, options.theta)
        more |= {
            "weight_up_to_theta": tail.below,
            "weight_theta_to_t/n": tail.gap,
            "tau_1_at_most": tail.ceiling if tail.applies else None,
        }
    return Outcome(
        listed(shown),
        "tau_l = E[a^(l+1) (1-a)^(n-l)] / E[a^l (1-a)^(n-l)],  subpopulations N E[C(n,l) a^l (1-a)^(n-l)],  share "
        "their product;  tau_1 >= weight([1/3n, 2/n])/(5n)",
        f"{AMBIENT}, Theorems 4.3 and A.1, Lemmas 4.4, A.2 and A.3",
        more,
    )


def merging(options: MergingOptions) -> Outcome:
    """003 Lemmas 4.5, A.5 and A.6, exactly."""
    if options.epsilon >= 1:
        raise InputError("--epsilon 1 merges everything at every level; give less than 1, for example 0.1.")
    if exactly_one(options, "gap", "means") == "means":
        return merging_of_mixture(options)
    if options.sigma or options.time or options.weights:
        raise InputError(
            "--sigma, --time and --weights belong to --means; --gap gives the levels themselves."
        )
    gap = torch.tensor(options.gap, dtype=torch.float64)
    epsilon, spread = options.epsilon, options.spread
    zero = torch.zeros(1, dtype=torch.float64)
    merged, apart = mixing.merged_from(gap, epsilon, spread), mixing.separated_up_to(gap, epsilon, spread)
    printed = mixing.printed_level(gap, epsilon, spread)
    there = torch.stack(
        [mixing.total_variation(gap[i : i + 1], printed[i : i + 1], spread)[0, 0] for i in range(len(gap))]
    )
    shown = {
        "gap": options.gap,
        "tv_without_noise": mixing.total_variation(gap, zero, spread)[:, 0].tolist(),
        "separated_up_to": apart.tolist(),
        "merged_from": merged.tolist(),
        "merged_from_vp_time": vp_time(merged).tolist(),
        "printed_vp_time": vp_time(printed).tolist(),
        "tv_at_printed": there.tolist(),
    }
    return Outcome(
        listed(shown),
        "TV = 2 Phi(gap / (2 sqrt(s + sigma^2))) - 1;  merged: TV <= epsilon, separated: TV > 2 epsilon;  printed: VP "
        "time sqrt(1 - (epsilon/TV_0)^2);  s = spread",
        f"{AMBIENT}, Lemmas 4.5, A.5 and A.6, with exact total variation",
    )


def merging_of_mixture(options: MergingOptions) -> Outcome:
    """What of a whole mixture is one at which level."""
    means = table(options.means, "--means")
    means = means.T if means.shape[0] == 1 else means  # .npy of one dimension: numbers on a line
    count = len(means)
    if not 2 <= count <= MOST:
        raise InputError(f"--means holds {count} components; from 2 to {MOST} can be used.")
    if options.weights and len(options.weights) != count:
        raise InputError(f"--means holds {count} components, and --weights {len(options.weights)} numbers.")
    weights = user_weights(options.weights) if options.weights else torch.full((count,), 1 / count).double()
    if bool((weights == 0).any()):
        raise InputError("--weights must all be above 0; leave out components that are not there.")
    spread, epsilon = options.spread, options.epsilon
    joined = mixing.tree(means, epsilon, spread)
    sigma = levels_of(options, joined)
    low, high = mixing.label_information_bounds(means, weights, sigma, spread)
    merged, separated = mixing.merged_share(means, weights, epsilon, sigma, spread)
    hills = [
        int(mixing.mode_groups(found, spread + level**2).max()) + 1
        for found, level in zip(mixing.modes(means, weights, sigma, spread), sigma.tolist(), strict=True)
    ]
    shown = {
        "sigma": sigma.tolist(),
        "vp_time": vp_time(sigma).tolist(),
        "groups": joined.counts(sigma).tolist(),
        "modes": hills,
        "told_apart_at_least": low.exp().tolist(),
        "told_apart_at_most": high.exp().tolist(),
        "merged_pairs": merged.tolist(),
        "separated_pairs": separated.tolist(),
    }
    return Outcome(
        listed(shown),
        "groups: any two members have TV <= epsilon;  modes of the noisy density;  told apart: exp of what x tells "
        "about its component;  pairs by weight, TV <= epsilon and TV > 2 epsilon",
        f"{AMBIENT}, section 4.2.3;  Kolchinsky and Tracey 2017 for the bounds",
        {"components": count, "all_one_group_from": float(joined.level[-1])},
    )


def affordable(numbers: int, names: str) -> None:
    """Refuse what would not fit into memory."""
    if numbers > NUMBERS:
        raise InputError(
            f"{names} together ask for {numbers:,} numbers at once, and {NUMBERS:,} are the most; make one of them "
            "smaller."
        )


def level_of(options: LeakageOptions) -> Tensor:
    """The one level that was given, as sigma."""
    chosen = exactly_one(options, "sigma", "time")
    given = torch.tensor(getattr(options, chosen), dtype=torch.float64)
    return {"sigma": lambda v: v, "time": sigma_of_vp_time}[chosen](given)


def levels_of(options: MergingOptions, joined: mixing.Tree) -> Tensor:
    """The levels that were given, as sigma, or nine between half of the first merge and twice the last."""
    if options.sigma and options.time:
        raise InputError("--sigma and --time are the same levels in two units; give one of them.")
    if options.time:
        return sigma_of_vp_time(torch.tensor(options.time, dtype=torch.float64))
    if options.sigma:
        return torch.tensor(options.sigma, dtype=torch.float64)
    positive = joined.level[joined.level > 0]
    if not len(positive):
        return torch.ones(1, dtype=torch.float64)
    return torch.logspace(
        float((positive[0] / 2).log10()), float((2 * positive[-1]).log10()), 9, dtype=torch.float64
    )


def spectrum_of(options: LeakageOptions) -> Tensor:
    """Eigenvalues from a file, or d equal ones."""
    if exactly_one(options, "dimension", "spectrum") == "dimension":
        assert options.dimension is not None
        spread = 1.0 if options.spread is None else options.spread
        return torch.full((options.dimension,), spread, dtype=torch.float64)
    if options.spread is not None:
        raise InputError("--spread belongs to --dimension; --spectrum says all of it.")
    values = table(options.spectrum, "--spectrum").flatten()
    if bool((values < 0).any()):
        raise InputError("--spectrum holds a number below 0; eigenvalues of a covariance are at least 0.")
    return values


def shares_of(options: SubpopulationsOptions) -> Tensor:
    """Frequencies from a file, or in proportion to powers."""
    if exactly_one(options, "components", "frequencies") == "components":
        assert options.components is not None
        return groups.zipf(options.components, 1.0 if options.exponent is None else options.exponent)
    if options.exponent is not None:
        raise InputError("--exponent belongs to --components; --frequencies says all of it.")
    values = table(options.frequencies, "--frequencies").flatten()
    if bool((values < 0).any()) or not bool((values > 0).any()):
        raise InputError("--frequencies must be at least 0, and not all 0.")
    return values / values.sum()


def columns(name: str, found: list[Estimate]) -> dict[str, Any]:
    """Values and ends of intervals as three columns."""
    return {
        name: [e.value for e in found],
        f"{name}_low": [e.low for e in found],
        f"{name}_high": [e.high for e in found],
    }


def listed(shown: dict[str, Any]) -> dict[str, Any]:
    """Columns as lists."""
    return {name: list(column) for name, column in shown.items()}


def vp(sigma: float) -> float:
    """A level as VP time."""
    return float(vp_time(torch.tensor(sigma, dtype=torch.float64)))
