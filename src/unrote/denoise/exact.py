"""Denoisers known in closed form: the posterior over a data set, its mean, and its course over levels.

A point x = x0 + sigma z could have come from every data point. The weights w_n(x, sigma) of 001
eqs. (2) and (3) say how likely each is, and their mean is what a denoiser that has memorized the data
set would return.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn

from unrote import likelihoods
from unrote.contracts import InputError, Process
from unrote.denoise.curve import PosteriorWeights, posterior_curve
from unrote.noise.process import Gaussian

__all__ = ["Empirical", "PosteriorWeights", "posterior_curve", "posterior_weights"]

GAUSSIAN = Gaussian()
"""x = x0 + sigma z."""


def posterior_weights(
    process: Process, x: Shaped[Tensor, "B *E"], x0: Shaped[Tensor, "N *E"], level: Float[Tensor, " B"]
) -> Float[Tensor, "B N"]:
    """The probability that each data point is what a noisy point came from, all being equally likely.

    w_n(x_b) = q(x_b | x0_n, level_b) / sum_m q(x_b | x0_m, level_b), float64, rows sum to one.

    Args:
        process: how the data was destroyed.
        x: noisy points (B,*E), numbers or tokens as the process has them.
        x0: the data set (N,*E).
        level: the level of each noisy point (B,), in the units of the process.

    Source: 001 eq. (3).
    """
    with torch.no_grad():
        weights = process.log_likelihood(x, x0, level)
        for part in likelihoods.chunks(len(x), len(x0)):
            weights[part] = torch.softmax(weights[part], dim=1)
    return weights


class Empirical(nn.Module):
    """The best denoiser of a finite data set: D(x, sigma) = sum_n w_n(x, sigma) x0_n.

    It returns a data point wherever one weight is near one, and the mean of the data for large sigma.
    Results carry no gradient. With labels the data is kept sorted by class.

    Args:
        x0: the data set (N,*E), a buffer that moves with ``.to(device)``.
        process: how data is destroyed.
        label: class of each row (N,), needed for denoising under a condition.
        memory: bytes for the weights of a block of queries; the process has a budget of its own.

    Raises:
        ValueError: if there is no data, or if there is not one label per row.

    Source: 001 eqs. (2) and (3).
    """

    x0: Tensor
    label: Tensor | None

    def __init__(
        self,
        x0: Float[Tensor, "N *E"],
        process: Process = GAUSSIAN,
        *,
        label: Int[Tensor, " M"] | None = None,
        memory: int = likelihoods.DEFAULT_MEMORY,
    ) -> None:
        super().__init__()
        if len(x0) == 0 or (label is not None and len(label) != len(x0)):
            raise ValueError(
                f"Empirical needs at least one data point and one label per point, got {len(x0)} points "
                f"and {'no' if label is None else len(label)} labels"
            )
        if label is not None:
            # Sorted, so that a class is a slice and costs no copy.
            label, order = label.sort(stable=True)
            x0 = x0[order]
        self.register_buffer("x0", x0)
        self.register_buffer("label", label)
        self.process = process
        self.memory = memory

    def forward(
        self, x: Float[Tensor, "B *E"], sigma: Float[Tensor, " B"], condition: Int[Tensor, " B"] | None = None
    ) -> Float[Tensor, "B ..."]:
        """E[x0 | x] over the data set, or over the class that the condition names for each row.

        Args:
            x: noisy points (B,*E).
            sigma: their levels (B,).
            condition: a class per row (B,), or None for the whole data set.

        Raises:
            ValueError: if a condition is given but the data has no labels.
            InputError: if no data point has the label that is asked for.
        """
        if condition is None:
            return self._mean(x, sigma, slice(None))
        if self.label is None:
            raise ValueError(
                "a condition was given, but this data set has no labels: pass label=... to Empirical"
            )
        if condition.shape != sigma.shape:
            raise ValueError(f"a condition must name one class per row, {len(sigma)}, got {condition.shape}")
        parts = []
        order = condition.argsort(stable=True)
        for which in condition.unique().tolist():
            rows = condition == which
            parts.append(self._mean(x[rows], sigma[rows], self._rows(which)))
        back = torch.empty_like(order).scatter_(0, order, torch.arange(len(order), device=order.device))
        return torch.cat(parts)[back] if parts else self._mean(x, sigma, slice(None))

    def _rows(self, which: int) -> slice:
        assert self.label is not None
        ends = torch.searchsorted(self.label, self.label.new_tensor([which, which + 1])).tolist()
        if ends[0] == ends[1]:
            raise InputError(
                f"No data point has the label {which}. The labels of this data set are "
                f"{self.label.unique().tolist()[:20]}; ask for one of these, or for no condition."
            )
        return slice(*ends)

    def _mean(self, x: Tensor, sigma: Tensor, among: slice) -> Tensor:
        data = self.x0[among]
        # Weights, their copy inside the mean, and the temporaries of the softmax.
        rows = max(1, self.memory // (24 * len(data)))
        means = [
            self.process.mix(posterior_weights(self.process, a, data, s), data)
            for a, s in zip(x.split(rows), sigma.split(rows), strict=True)
        ]
        mean = torch.cat(means)
        return mean.to(x.dtype) if x.is_floating_point() else mean
