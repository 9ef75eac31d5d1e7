"""The calculators of "Two Calm Ends and the Wild Middle": options in, `Outcome` out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unrote.contracts import InputError
from unrote.geometry.alignment import aligned, cosine_bound
from unrote.geometry.locality import locality, sensitivity
from unrote.geometry.shells import Shell, two_shell
from unrote.geometry.thresholds import constants, weight_high, weight_low
from unrote.jobs.calculating import Outcome, exactly_one
from unrote.jobs.calculators import (
    CosineBoundOptions,
    LocalityBoundOptions,
    PosteriorThresholdsOptions,
    ShellProbabilityOptions,
)

CALM = "Two Calm Ends and the Wild Middle"


def shell_probability(options: ShellProbabilityOptions) -> Outcome:
    """c(r)."""
    shell = Shell(options.dimension, options.tail)
    found = two_shell(torch.tensor(options.radius, dtype=torch.float64), shell).tolist()
    more: dict[str, Any] = {
        "inner_radius": shell.inner,
        "outer_radius": shell.outer,
        "self_coverage": shell.probability,
        "promised": shell.bound,
    }
    if shell.probability > 0.5:
        more["half_overlap_radius"] = shell.half_overlap
    return Outcome(
        found[0] if len(found) == 1 else {"radius": list(options.radius), "probability": found},
        "Pr(r_- <= |Z + v| <= r_+), |v| = radius,  r_-^2 = max(d - 2 sqrt(d t), 0),  r_+^2 = d + 2 sqrt(d t) + 2 t",
        f"{CALM}, Lemma 4.5 and Definition 4.7, in closed form",
        more,
    )


def posterior_thresholds(options: PosteriorThresholdsOptions) -> Outcome:
    """Theorem 4.2 and what is sharper."""
    tau, epsilon = options.tau, options.epsilon
    if exactly_one(options, "distances", "nearest") == "nearest":
        _, nearest, farthest, samples = triple(options)
        c = constants(samples, tau, epsilon)
        names = [
            "at least tau up to, Theorem 4.2",
            "at least tau up to, half moment",
            "at most tau from, Theorem 4.2",
        ]
        found = [c.low * nearest, c.half_moment * nearest, c.high * farthest]
        more = {"a": c.a, "q": c.q, "factor_of_nearest": c.low, "factor_of_farthest": c.high}
    else:
        d = distances_of(options)
        c = constants(d.shape[1] + 1, tau, epsilon)
        low, high = weight_low(d, tau, epsilon), weight_high(d, tau, epsilon)
        rows = {
            "at least tau up to, Theorem 4.2": low.paper,
            "at least tau up to, all distances": low.every,
            "at least tau up to, free thresholds": low.free,
            "at least tau up to, half moment": low.moment,
            "at most tau from, Theorem 4.2": high.paper,
            "at most tau from, nearest m": high.near,
            "at most tau from, averaged exponent": high.mean,
            "at most tau from, averaged over nearest m": high.near_mean,
        }
        names, found = list(rows), [float(v.mean()) for v in rows.values()]
        more = {"a": c.a, "q": c.q, "points": len(d), "distances": d.shape[1]}
    return Outcome(
        {"weight": names, "sigma": found},
        "(sqrt(q^2 + 2a) - q)/(2a) D_min and (sqrt(q^2 + 2a) + q)/(2a) D_max,  a = log((N-1) tau/(1-tau)),  "
        "q = Phi^-1(1 - epsilon/(N-1));  means over points",
        f"{CALM}, Theorem 4.2, and sharper forms that need all distances",
        more,
    )


def alignment(options: CosineBoundOptions) -> Outcome:
    """Corollary A.2."""
    formula = (
        "cos(u, u*) >= sqrt(1 - q^2) >= (1 - q)/(1 + q),  q = eta/r,  eta = (1-tau) D_max/(1-t),  "
        "r^2 = |x|^2 - 2 c1 |x| + d - 2 sqrt(d c2)"
    )
    source = f"{CALM}, Corollary A.2; the larger bound is attained"
    if exactly_one(options, "ratio", "time") == "ratio":
        others = ("norm", "dimension", "distances", "nearest", "farthest", "samples")
        if any(getattr(options, name) is not None for name in others):
            raise InputError(
                "--ratio is all that its bound needs; give it alone, or --time with the other flags."
            )
        ratio = torch.tensor(options.ratio, dtype=torch.float64)
        paper, sharp = (float(v) for v in aligned(ratio))
        return Outcome(sharp, formula, source, {"paper": paper, "ratio": float(ratio)})
    if options.norm is None or options.dimension is None:
        raise InputError(
            "--time needs --norm and --dimension, and --distances or --nearest, --farthest, --samples."
        )
    assert options.time is not None
    if exactly_one(options, "distances", "nearest") == "nearest":
        d, _, _, _ = triple(options)
    else:
        d = distances_of(options)
        if len(d) > 1:
            raise InputError(
                f"--norm is of one point, but --distances holds those of {len(d)}; give one line."
            )
        d = d[0]
    norm = torch.tensor(options.norm, dtype=torch.float64)
    margins = options.margin_inner, options.margin_norm
    found = cosine_bound(d, norm, options.dimension, options.time, options.tau, *margins)
    more = {
        "paper": float(found.paper),
        "ratio": float(found.ratio),
        "probability": float(found.probability),
        "sigma": (1 - options.time) / options.time,
    }
    return Outcome(float(found.sharp), formula, source, more)


def decay(options: LocalityBoundOptions) -> Outcome:
    """Theorem D.4."""
    if exactly_one(options, "size", "spectrum") == "size":
        assert options.size is not None
        k = torch.arange(options.size, dtype=torch.float64)
        spectrum = (1 + torch.minimum(k, options.size - k)) ** -options.power
    else:
        spectrum = table(options.spectrum, "--spectrum").flatten()
    n = len(spectrum)
    if max(options.distance) > n // 2:
        raise InputError(
            f"--distance {max(options.distance)} is more than n/2 = {n // 2}, the farthest that two of {n} points on a "
            "cycle can be."
        )
    found, row = locality(spectrum, options.sigma, order=options.order), sensitivity(spectrum, options.sigma)
    at = torch.tensor(options.distance)
    return Outcome(
        {
            "distance": list(options.distance),
            "sensitivity": row[at].tolist(),
            "bound": found.bound[at - 1].tolist(),
            "C / r": found.simple[at - 1].tolist(),
        },
        "|J_r| <= V/(2 n sin(pi r/n)) <= V/(4 r),  V = sum |g_{k+1} - g_k|,  g = sigma^2/(lambda + sigma^2)",
        f"{CALM}, Theorem D.4",
        {"V": found.variation, "C": found.variation / 4},
    )


def triple(options: PosteriorThresholdsOptions | CosineBoundOptions) -> tuple[Tensor, float, float, int]:
    """Distances that nearest, farthest and N allow, each as short as it may be, and the three."""
    nearest, farthest, samples = options.nearest, options.farthest, options.samples
    if nearest is None or farthest is None or samples is None:
        raise InputError(
            "--nearest, --farthest and --samples belong together; give all three, or --distances."
        )
    if farthest < nearest or (samples == 2 and farthest != nearest):
        raise InputError(
            f"--farthest {farthest:g} cannot be with --nearest {nearest:g} and --samples {samples}."
        )
    d = torch.full((samples - 1,), nearest, dtype=torch.float64)
    d[-1] = farthest
    return d, nearest, farthest, samples


def distances_of(options: PosteriorThresholdsOptions | CosineBoundOptions) -> Tensor:
    """Distances from a file, one row for each point."""
    if options.farthest is not None or options.samples is not None:
        raise InputError("--farthest and --samples belong to --nearest; --distances says all of it.")
    d = table(options.distances, "--distances")
    d = d.T if d.shape[1] == 1 else d
    if not bool((d > 0).all()):
        raise InputError(
            "--distances must hold distances to other points, all above 0; leave out the point itself and its "
            "duplicates."
        )
    return d


def table(path: Path | None, name: str) -> Tensor:
    """Numbers from .npy or text as rows (R,C).

    Raises:
        InputError: if the file cannot be read, or holds anything but finite numbers.
    """
    assert path is not None
    try:
        if path.suffix == ".npy":
            values = np.load(path, allow_pickle=False)
        else:
            lines = path.read_text(encoding="utf-8").replace(",", " ").splitlines()
            values = np.loadtxt(lines, ndmin=2)
        values = np.asarray(values, dtype=np.float64)
    except (OSError, ValueError) as error:
        raise InputError(f"{name} {path} cannot be read as numbers: {error}. Give .npy or text.") from error
    values = values[None] if values.ndim == 1 else values
    if values.ndim != 2 or values.size == 0 or not np.isfinite(values).all():
        raise InputError(
            f"{name} {path} must hold finite numbers in one or two dimensions; it holds {values.shape}."
        )
    return torch.from_numpy(np.ascontiguousarray(values))
