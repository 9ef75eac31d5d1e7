"""The runs of the kernel experiment: one hidden layer trained on the noise of one level, and the same in closed form.

Everything starts at f = 0 and learns the noise u of x_i + sigma u; losses are per coordinate and 1 at the start.  Time
is steps times learning rate, so that gradient flow and training share one axis; in the mean-field regime the learning
rate is in units of the width, which gives both regimes one kernel at the start.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from unrote.lab.crossover.settings import stream
from unrote.measure.onset import gap_onsets
from unrote.theory.kernels_averaged import features_gram, ntk_gram
from unrote.theory.timescales import (
    Expansion,
    relu_features_expansion,
    relu_ntk_expansion,
    small_noise_rate,
)
from unrote.theory.timescales_flow import rayleigh, spectrum, test_loss, training_loss

GAPS, FITS = (0.05, 0.1, 0.2, 0.5), (0.1, 0.25)
"""Loss gaps, and shares of the training loss, whose times are recorded; of the loss at the start."""
FLOW_FITS = (0.1, 0.25, 0.5)
PER_DECADE = 16
"""Checkpoints in a factor of ten."""
SEEN = 1024
"""Noisy training points that the training loss is measured on."""
TESTED = 256
"""Other points, of which a closed form may take the first ones."""
BLOCK = 32
"""Other points whose averages are held at once."""

Step = Callable[["Network", Float[Tensor, "N D"], Float[Tensor, "N D"]], None]
Gram = Callable[[Tensor, Tensor, float], Tensor]
KERNELS: dict[str, tuple[Gram, Callable[[int], Expansion]]] = {
    "ntk": (ntk_gram, relu_ntk_expansion),
    "features": (features_gram, relu_features_expansion),
}
ON_DIAGONAL = {"ntk": 1.0, "features": 0.5}
"""K(x, x) at |x| = sqrt(d), in whose units the expansions are."""


@dataclass
class Network:
    """f(x) = scale sum_k out_k relu(inner_k . x / sqrt(d)), started at 0: every unit has a twin of opposite sign.

    Args:
        inner, out: weights (N,D).
        scale: N^-1/2 in the lazy regime, 1/N in the mean-field one.
    """

    inner: Tensor
    out: Tensor
    scale: float

    def __call__(self, x: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        """The noise that it sees in x."""
        return ((x @ self.inner.T) * x.shape[1] ** -0.5).relu() @ self.out * self.scale

    def gradients(self, x: Float[Tensor, "B D"], noise: Float[Tensor, "B D"]) -> tuple[Tensor, Tensor]:
        """Gradients of half the mean squared error with respect to inner and out."""
        root = x.shape[1] ** -0.5
        before = x @ self.inner.T * root
        after = before.relu()
        off = (after @ self.out * self.scale - noise) / len(x)
        back = off @ self.out.T * self.scale * (before > 0)
        return back.T @ x * root, after.T @ off * self.scale


def lazy(width: int) -> float:
    """Output scale of the tangent kernel's regime."""
    return width**-0.5


def mean_field(width: int) -> float:
    """Output scale at which features are learned."""
    return 1 / width


REGIMES = {"lazy": lazy, "mean field": mean_field}


@dataclass
class Descent:
    """Plain gradient descent; the rate is for the lazy scale and grows with the width at any other."""

    rate: float

    def __call__(self, network: Network, inner: Tensor, out: Tensor) -> None:
        """One step along minus the gradients."""
        rate = self.rate / (network.scale**2 * len(network.inner))
        network.inner -= rate * inner
        network.out -= rate * out


@dataclass
class Adam:
    """Adam with its usual constants.

    Source: Kingma and Ba 2015.
    """

    rate: float
    steps: int = 0
    moments: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)

    def __call__(self, network: Network, inner: Tensor, out: Tensor) -> None:
        """One step."""
        self.steps += 1
        for at, (weight, gradient) in enumerate(((network.inner, inner), (network.out, out))):
            first, second = self.moments.setdefault(at, (torch.zeros_like(weight), torch.zeros_like(weight)))
            first.lerp_(gradient, 0.1)
            second.lerp_(gradient.square(), 0.001)
            size = (second / (1 - 0.999**self.steps)).sqrt().add_(1e-8)
            weight.sub_(self.rate / (1 - 0.9**self.steps) * first / size)


OPTIMIZERS: dict[str, Callable[[float], Descent | Adam]] = {"descent": Descent, "adam": Adam}


def run(configuration: Mapping[str, Any]) -> Mapping[str, Any]:
    """One training or one closed form."""
    return PARTS[configuration["part"]](configuration)


def points(seed: int, count: int, dimension: int, purpose: str) -> Float[Tensor, "P D"]:
    """Standard normal points."""
    return torch.randn(
        count, dimension, generator=stream(seed, f"kernels {purpose} {dimension}"), dtype=torch.float64
    )


def train(configuration: Mapping[str, Any]) -> Mapping[str, Any]:
    """A network trained until all times are known, or for the steps that it is given."""
    d, width, sigma = (configuration[name] for name in ("d", "width", "sigma"))
    seed, batch = int(configuration["seed"]), int(configuration["batch"])
    x = points(seed, configuration["points"], d, "train").float()
    network = begin(width, d, REGIMES[configuration["regime"]], stream(seed, "kernels start"))
    step = OPTIMIZERS[configuration["optimizer"]](configuration["rate"])
    noise = stream(seed, "kernels noise")
    measure = losses(x, points(seed, TESTED, d, "test").float(), sigma, stream(seed, "kernels measure"))
    rows: list[tuple[int, float, float]] = []
    for at in range(1, configuration["steps"] + 1):
        chosen = x if batch == len(x) else x[torch.randint(len(x), (batch,), generator=noise)]
        u = torch.randn(len(chosen), d, generator=noise)
        step(network, *network.gradients(chosen + sigma * u, u))
        if is_checkpoint(at) or at == configuration["steps"]:
            rows.append((at, *measure(network)))
            gap, fit = rows[-1][2] - rows[-1][1], 1 - rows[-1][1]
            if not math.isfinite(gap) or (gap >= configuration["gap"] and fit >= configuration["fit"]):
                break
    steps, training, test = (list(column) for column in zip(*rows, strict=True))
    times = onsets(steps, training, test, GAPS, FITS)
    return {"steps": steps, "training": training, "test": test, "last_step": steps[-1], **times}


def begin(width: int, dimension: int, regime: Callable[[int], float], generator: torch.Generator) -> Network:
    """Standard normal weights in pairs that cancel."""
    inner, out = (torch.randn(width // 2, dimension, generator=generator) for _ in range(2))
    return Network(torch.cat([inner, inner]), torch.cat([out, -out]), regime(width))


def losses(
    x: Float[Tensor, "P D"], fresh: Float[Tensor, "Q D"], sigma: float, generator: torch.Generator
) -> Callable[[Network], tuple[float, float]]:
    """Training and test loss on fixed noise, less the chance of |u|^2: 1 + E[|f|^2 - 2 f . u] / d."""
    parts = []
    for centres in (x.repeat(math.ceil(SEEN / len(x)), 1), fresh):
        u = torch.randn(centres.shape, generator=generator)
        parts.append((centres + sigma * u, u))

    def measure(network: Network) -> tuple[float, float]:
        found = []
        for noisy, u in parts:
            seen = network(noisy)
            found.append(1 + float((seen * (seen - 2 * u)).mean()))
        return found[0], found[1]

    return measure


def is_checkpoint(step: int) -> bool:
    """Steps next to powers of 10^(1/PER_DECADE)."""
    place = round(PER_DECADE * math.log10(step))
    return step == round(10 ** (place / PER_DECADE))


def flow(configuration: Mapping[str, Any]) -> Mapping[str, Any]:
    """Gradient flow with an infinitely wide network's kernel, in closed form."""
    gram_of, expansion = KERNELS[configuration["kernel"]]
    d, seed, sigma = configuration["d"], int(configuration["seed"]), configuration["sigma"]
    x = points(seed, configuration["points"], d, "train")
    gram = gram_of(x, x, sigma)
    found = spectrum(gram)
    times = torch.logspace(
        0, configuration["decades"], 20 * configuration["decades"] + 1, dtype=torch.float64
    )
    training = training_loss(found, times)
    fresh = points(seed, TESTED, d, "test")[: configuration["fresh"]]
    parts = [len(part) * test_loss(found, gram_of(part, x, sigma), times) for part in fresh.split(BLOCK)]
    test = torch.stack(parts).sum(0) / len(fresh)
    count = torch.tensor(float(len(x)))
    told = (
        small_noise_rate(count, torch.tensor(sigma), d, expansion(d)) * ON_DIAGONAL[configuration["kernel"]]
    )
    return {
        "rayleigh": float(rayleigh(gram).mean()),
        "predicted": float(told),
        "largest": float(found.rates[-1]),
        "times": times.tolist(),
        "training": training.tolist(),
        "test": test.tolist(),
        **onsets(times.tolist(), training.tolist(), test.tolist(), GAPS, FLOW_FITS),
    }


PARTS = {"network": train, "flow": flow}


def onsets(
    times: Sequence[float | int],
    training: Sequence[float],
    test: Sequence[float],
    gaps: Sequence[float],
    fits: Sequence[float],
) -> dict[str, dict[str, float | None]]:
    """When the losses have parted by each gap, and when each share of the training loss is learned; None: never."""
    apart = gap_onsets(times, training, test, gaps)
    down = gap_onsets(times, training, test, fits, learned)
    return {
        "parted": {f"{gap:g}": onset.value for gap, onset in zip(gaps, apart, strict=True)},
        "learned": {f"{fit:g}": onset.value for fit, onset in zip(fits, down, strict=True)},
    }


def learned(training: Tensor, test: Tensor) -> Tensor:
    """How much of the training loss at the start is gone, whatever became of the test loss."""
    return torch.ones_like(test) - training
