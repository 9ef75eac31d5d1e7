"""Lemmas 4.2 and C.1: what draws of the two optima tell about the training data, by simulation.

Draws are made as the lemmas make them, from the exact optima at sigma_n: noisy copies that are repeated (ambient
training) and noisy copies that are new each time (DDPM).  Levels are the paper's sigma_n, which is VP time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from unrote.contracts import Estimate
from unrote.lab.ambient.leakage_figures import show
from unrote.lab.claims import FAILED, HELD, PARTLY, Claim, Experiment, Row, inside
from unrote.lab.crossover.settings import stream
from unrote.measure.estimate import estimate
from unrote.noise.schedule import sigma_of_vp_time
from unrote.theory.leakage import (
    ambient_set_bounds,
    ddpm_leakage,
    ddpm_set_bound,
    printed_leakage,
    simulate_ambient_set,
    simulate_ddpm_set,
    simulate_looks,
)

D = 8
TIMES = (0.1, 0.3, 0.5, 0.7, 0.9)
DRAWS = (1, 2, 4, 16, 64)
LONG = (16, 64, 256)
"""Draws over which the error of an estimate is followed."""
SET_TIMES = (0.1, 0.3, 0.5, 0.7)
SIZES = (2, 5, 8)
SET_DRAWS = (1, 2, 4, 8)
SEEDS = (0, 1, 2, 3, 4)
EXACT, TIMES_M, SLOPE, STAYS, SET_TIMES_M = 0.02, 0.02, 0.1, 0.05, 0.1
EDGE, FAR = 0.02, 0.05
"""How far outside a bracket an interval may lie, and from where on it counts against it."""


def configurations(scale: str) -> Sequence[Mapping[str, Any]]:
    """One run for each seed."""
    repeats = {"smoke": 200, "laptop": 4000, "paper": 40_000}[scale]
    sets = {"smoke": 40, "laptop": 600, "paper": 6000}[scale]
    seeds = SEEDS[:1] if scale == "smoke" else SEEDS
    return [
        {
            "d": D,
            "times": list(TIMES),
            "draws": list(DRAWS),
            "long": list(LONG),
            "set_times": list(SET_TIMES),
            "N": list(SIZES),
            "set_draws": list(SET_DRAWS),
            "repeats": repeats,
            "sets": sets,
            "seed": seed,
        }
        for seed in seeds
    ]


def spectrum() -> Float[Tensor, " D"]:
    """Variances of a training point that fall by a factor of two, as pictures' do; their mean is 1."""
    values = 2.0 ** -torch.arange(D, dtype=torch.float64)
    return values * D / values.sum()


def run(configuration: Mapping[str, Any]) -> Mapping[str, Any]:
    """Information of single points and of sets, errors of estimates, and the formulas beside them."""
    seed, repeats = int(configuration["seed"]), int(configuration["repeats"])
    values = spectrum()
    draws = torch.tensor(configuration["draws"])
    sigma = sigma_of_vp_time(torch.tensor(configuration["times"], dtype=torch.float64))
    looks = [
        [
            float(simulate_looks(values, s, m, stream(seed, f"looks {m} {s:.6f}"), repeats).mean())
            for m in configuration["draws"]
        ]
        for s in sigma.tolist()
    ]
    return {
        "looks": looks,
        "closed": ddpm_leakage(values, sigma, draws).T.tolist(),
        "printed": printed_leakage(values, sigma, draws).T.tolist(),
        "error": errors(values, configuration),
        "sets": sets_of(configuration),
    }


def errors(values: Float[Tensor, " D"], configuration: Mapping[str, Any]) -> dict[str, list[float]]:
    """Mean squared error of the average of m draws, scaled back, as an estimate of x0: at VP time 0.5."""
    sigma = float(sigma_of_vp_time(torch.tensor(0.5, dtype=torch.float64)))
    repeats, seed = int(configuration["repeats"]), int(configuration["seed"])
    found: dict[str, list[float]] = {"ddpm": [], "ambient": []}
    for m in configuration["long"]:
        generator = stream(seed, f"averages {m}")
        size = 4 * repeats, len(values)
        x0 = torch.randn(*size, generator=generator, dtype=torch.float64) * values.sqrt()
        total = torch.zeros(size, dtype=torch.float64)
        stored = x0 + sigma * torch.randn(*size, generator=generator, dtype=torch.float64)
        repeated = torch.zeros(size, dtype=torch.float64)
        for _ in range(m):
            total += x0 + sigma * torch.randn(*size, generator=generator, dtype=torch.float64)
            repeated += stored
        found["ddpm"].append(float((total / m - x0).square().sum(1).mean()))
        found["ambient"].append(float((repeated / m - x0).square().sum(1).mean()))
    return found


def sets_of(configuration: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Simulated information about whole data sets of unit covariance, and what bounds it."""
    values, repeats = torch.ones(int(configuration["d"]), dtype=torch.float64), int(configuration["sets"])
    seed, found = int(configuration["seed"]), []
    for time in configuration["set_times"]:
        sigma = sigma_of_vp_time(torch.tensor([time], dtype=torch.float64))
        for count in configuration["N"]:
            m = torch.tensor(configuration["set_draws"])
            low, high = ambient_set_bounds(values, sigma, count, m)
            above = ddpm_set_bound(values, sigma, count, m)
            printed = printed_leakage(values, sigma, m)
            for i, draws in enumerate(m.tolist()):
                asked = (values, float(sigma), count, draws)
                key = f"{time} {count} {draws}"
                found.append(
                    {
                        "time": time,
                        "N": count,
                        "draws": draws,
                        "ambient": float(
                            simulate_ambient_set(*asked, stream(seed, f"ambient {key}"), repeats).mean()
                        ),
                        "ddpm": float(
                            simulate_ddpm_set(*asked, stream(seed, f"ddpm {key}"), repeats // 2).mean()
                        ),
                        "low": float(low[i]),
                        "high": float(high[i]),
                        "ddpm_high": float(above[i]),
                        "printed": float(printed[i]),
                    }
                )
    return found


def looks_of(rows: Sequence[Row], key: str) -> Float[Tensor, "R L S"]:
    """Runs, levels, draws."""
    return torch.tensor([row["result"][key] for row in rows], dtype=torch.float64)


def cells(rows: Sequence[Row], least: int = 1) -> Iterator[tuple[dict[str, Any], Tensor, Tensor]]:
    """Every (level, N, m) with m at least `least`: its formulas, and both informations of every seed."""
    for i, cell in enumerate(rows[0]["result"]["sets"]):
        if cell["draws"] >= least:
            pair = [[row["result"]["sets"][i][name] for row in rows] for name in ("ambient", "ddpm")]
            yield cell, *torch.tensor(pair, dtype=torch.float64)


def is_m_times(rows: Sequence[Row]) -> tuple[Estimate, str]:
    """I(D; x0) over m I(A; x0), simulated over simulated."""
    found = looks_of(rows, "looks")
    shares = found[:, :, 1:] / (found[:, :, :1] * torch.tensor(DRAWS[1:], dtype=torch.float64))
    judged = [
        inside(estimate(shares[:, i, j]), 1 - TIMES_M, 1 + TIMES_M)
        for i in range(len(TIMES))
        for j in range(len(DRAWS) - 1)
    ]
    shown = estimate(shares[:, TIMES.index(0.5), DRAWS.index(16) - 1])
    if all(verdict == HELD for verdict in judged):
        return shown, HELD
    return shown, FAILED if all(verdict == FAILED for verdict in judged) else PARTLY


def is_the_closed_form(rows: Sequence[Row]) -> tuple[Estimate, str]:
    """Simulated over closed form, the mean over levels and draws."""
    ratio = looks_of(rows, "looks") / looks_of(rows, "closed")
    found = estimate(ratio.mean((1, 2)))
    return found, inside(found, 1 - EXACT, 1 + EXACT)


def one_can_be_averaged_away(rows: Sequence[Row]) -> tuple[Estimate, str]:
    """The slope of log error over log m for DDPM, and the error that ambient training keeps."""
    m = torch.tensor(LONG, dtype=torch.float64).log()
    centred = m - m.mean()

    def table(name: str) -> Float[Tensor, "R M"]:
        return torch.tensor([row["result"]["error"][name] for row in rows], dtype=torch.float64)

    slope = estimate(table("ddpm").log() @ centred / centred.square().sum())
    stays = estimate(table("ambient")[:, -1] / table("ambient")[:, 0])
    judged = inside(slope, -1 - SLOPE, -1 + SLOPE), inside(stays, 1 - STAYS, 1 + STAYS)
    if judged == (HELD, HELD):
        return slope, HELD
    return slope, FAILED if FAILED in judged else PARTLY


def sets_are_bounded(rows: Sequence[Row]) -> tuple[Estimate, str]:
    """The largest I(A; S) over the printed bound."""
    shares = [estimate(ambient / cell["printed"]) for cell, ambient, _ in cells(rows)]
    worst = max(shares, key=lambda e: e.high or 0.0)
    above = [e.low is not None and e.low > 1 for e in shares]
    below = [e.high is not None and e.high <= 1 for e in shares]
    return worst, HELD if all(below) else FAILED if any(above) else PARTLY


def sets_are_bracketed(rows: Sequence[Row]) -> tuple[Estimate, str]:
    """I(A; S) between the two bounds, at every level, N and m; the number is its mean share of the upper one."""
    inside_all, outside, shares = True, False, []
    for cell, ambient, _ in cells(rows):
        found = estimate(ambient)
        assert found.low is not None and found.high is not None
        inside_all &= found.high >= (1 - EDGE) * cell["low"] and found.low <= (1 + EDGE) * cell["high"]
        outside |= found.low > (1 + FAR) * cell["high"] or found.high < (1 - FAR) * cell["low"]
        shares.append(ambient / cell["high"])
    number = estimate(torch.stack(shares).mean(0))
    return number, HELD if inside_all else FAILED if outside else PARTLY


def sets_leak_m_times(rows: Sequence[Row]) -> tuple[Estimate, str]:
    """I(D; S) over m I(A; S)."""
    found = {
        (cell["time"], cell["N"], cell["draws"]): estimate(ddpm / (cell["draws"] * ambient))
        for cell, ambient, ddpm in cells(rows, 2)
    }
    judged = [inside(e, 1 - SET_TIMES_M, 1 + SET_TIMES_M) for e in found.values()]
    number = found[0.5, 5, 8]
    if all(verdict == HELD for verdict in judged):
        return number, HELD
    return number, FAILED if all(verdict == FAILED for verdict in judged) else PARTLY


ONE = (
    f"x0 ~ N(0, Sigma), d = {D}, eigenvalues falling by 2 with mean 1; sigma_n = {', '.join(map(str, TIMES))} (VP); "
    f"m = {', '.join(map(str, DRAWS))}; 4,000 points a cell; seeds {SEEDS[0]} to {SEEDS[-1]}"
)
SET = (
    f"N = {', '.join(map(str, SIZES))} points of N(0, I), d = {D}; sigma_n = {', '.join(map(str, SET_TIMES))} (VP); "
    f"m = {', '.join(map(str, SET_DRAWS))}; 600 and 300 data sets a cell, sums over all assignments; seeds "
    f"{SEEDS[0]} to {SEEDS[-1]}"
)
CLAIMS = (
    Claim(
        "m-draws-tell-m-times",
        "003",
        "Lemma 4.2",
        "m draws of the DDPM optimum tell m times as much about a training point as draws of the ambient optimum.",
        ONE,
        f"simulated I(D; x0) / (m I(A; x0)): held if the 95 % interval over seeds lies within 1 +- {TIMES_M:g} at "
        "every level and m > 1, failed if outside at all, else partly; the number is the one at 0.5 and m = 16",
        is_m_times,
    ),
    Claim(
        "m-draws-tell-log-m",
        "unrote",
        "docs/theory.md",
        "m draws of the DDPM optimum tell (1/2) log det(I + m Sigma / sigma^2).",
        ONE,
        f"simulated / closed form, mean over levels and m: held if its interval over seeds lies within 1 +- {EXACT:g}, "
        "failed if outside",
        is_the_closed_form,
    ),
    Claim(
        "one-can-be-averaged-away",
        "003",
        "after Lemma 4.2",
        "From draws of the DDPM optimum a training point can be estimated with an error that falls with m, from draws "
        "of the ambient optimum it cannot.",
        f"average of m = {', '.join(map(str, LONG))} draws as an estimate of x0; sigma_n = 0.5; {ONE.partition(';')[0]}"
        f"; 16,000 points; seeds {SEEDS[0]} to {SEEDS[-1]}",
        f"slope of log error over log m within -1 +- {SLOPE:g} for DDPM, and error at m = {LONG[-1]} over error at m = "
        f"{LONG[0]} within 1 +- {STAYS:g} for ambient: held if both 95 % intervals over seeds lie inside, failed if "
        "one lies outside; the number is the slope",
        one_can_be_averaged_away,
    ),
    Claim(
        "sets-leak-at-most-m",
        "003",
        "Lemma C.1",
        "m draws of the ambient optimum of a data set tell at most (m d / 2) log(1 / sigma_n^2) about it.",
        SET,
        "I(A; S) over that: held if the 95 % interval over seeds ends at or below 1 at every level, N and m; failed if "
        "one begins above 1; the number is the one with the highest end",
        sets_are_bounded,
    ),
    Claim(
        "sets-leak-distinct-copies",
        "unrote",
        "docs/theory.md",
        "They tell at most what the different copies among them would if one knew whose they are, and at least that "
        "less the entropy of the labels.",
        SET,
        f"held if the 95 % interval over seeds of I(A; S) meets the bracket, {EDGE:.0%} wider at each end, at every "
        f"level, N and m; failed if one lies outside it widened by {FAR:.0%}; the number is the mean share of the "
        "upper bound",
        sets_are_bracketed,
    ),
    Claim(
        "sets-leak-m-times-more",
        "003",
        "section C.1.3",
        "The DDPM optimum of a data set tells m times as much about it as the ambient optimum.",
        SET,
        f"I(D; S) / (m I(A; S)): held if the 95 % interval over seeds lies within 1 +- {SET_TIMES_M:g} at every level, "
        "N and m > 1, failed if outside at all, else partly; the number is the one at 0.5, N = 5, m = 8",
        sets_leak_m_times,
    ),
)

EXPERIMENT = Experiment(
    name="ambient/leakage",
    about="Lemmas 4.2 and C.1: information about training data in draws of the two optima, simulated.",
    scale="laptop",
    configurations=configurations,
    run=run,
    claims=CLAIMS,
    show=show,
)
