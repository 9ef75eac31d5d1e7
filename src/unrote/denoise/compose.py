"""Denoisers made of other parts: a network with its preconditioning, and a switch between denoisers.

A network of any convention becomes D(x, sigma) = c_skip x + c_out F(c_in x, c_noise); only the four
coefficients differ between EDM, noise prediction, v prediction and direct prediction of x0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unrote.contracts import Denoiser, over
from unrote.noise.schedule import vp_time


@dataclass(frozen=True)
class Scaling:
    """The four coefficients of a preconditioning at given levels, each (B,)."""

    skip: Tensor
    out: Tensor
    input: Tensor
    noise: Tensor


Coefficients = Callable[[Tensor], Scaling]
"""sigma (B,) -> Scaling."""


def edm(sigma_data: float = 0.5) -> Coefficients:
    """EDM's preconditioning, in which input, target and error of F all have unit variance.

    c_skip = s_d^2/(sigma^2 + s_d^2), c_out = sigma s_d/sqrt(sigma^2 + s_d^2),
    c_in = 1/sqrt(sigma^2 + s_d^2), c_noise = log(sigma)/4. Source: Karras et al. 2022, table 1.
    """

    def coefficients(sigma: Tensor) -> Scaling:
        total = sigma**2 + sigma_data**2
        return Scaling(
            sigma_data**2 / total, sigma * sigma_data / total.sqrt(), total.rsqrt(), sigma.log() / 4
        )

    return coefficients


def vp_eps(time: Callable[[Tensor], Tensor] = vp_time) -> Coefficients:
    """A network that predicts the noise of a VP state: x0 = x - sigma eps(x/sqrt(1 + sigma^2), time).

    Args:
        time: what the network was told as its time, as a function of sigma; for a DDPM network
            ``lambda sigma: timestep(sigma, linear_alpha_bars())``.
    """

    def coefficients(sigma: Tensor) -> Scaling:
        return Scaling(torch.ones_like(sigma), -sigma, (1 + sigma**2).rsqrt(), time(sigma))

    return coefficients


def vp_v(time: Callable[[Tensor], Tensor] = vp_time) -> Coefficients:
    """A network that predicts v = alpha_t eps - sigma_t x0 of a VP state.

    x0 = alpha_t x_t - sigma_t v, so c_skip = 1/(1 + sigma^2), c_out = -sigma/sqrt(1 + sigma^2).
    Source: Salimans and Ho 2022; 003 Lemma B.2.
    """

    def coefficients(sigma: Tensor) -> Scaling:
        scale = (1 + sigma**2).rsqrt()
        return Scaling(scale**2, -sigma * scale, scale, time(sigma))

    return coefficients


def x0(time: Callable[[Tensor], Tensor] = vp_time) -> Coefficients:
    """A network that predicts x0 from a VP state: D = F(x/sqrt(1 + sigma^2), time)."""

    def coefficients(sigma: Tensor) -> Scaling:
        return Scaling(torch.zeros_like(sigma), torch.ones_like(sigma), (1 + sigma**2).rsqrt(), time(sigma))

    return coefficients


class Precondition(nn.Module):
    """A network with its preconditioning, as a denoiser: D = c_skip x + c_out F(c_in x, c_noise).

    Args:
        network: called as ``network(x, c_noise, condition)``.
        coefficients: ``edm(...)``, ``vp_eps(...)``, ``vp_v(...)``, ``x0(...)`` or any function
            sigma (B,) -> Scaling.

    Source: Karras et al. 2022, eq. 7.
    """

    def __init__(self, network: nn.Module, coefficients: Coefficients) -> None:
        super().__init__()
        self.network = network
        self.coefficients = coefficients

    def forward(
        self, x: Float[Tensor, "B *E"], sigma: Float[Tensor, " B"], condition: Tensor | None = None
    ) -> Float[Tensor, "B *E"]:
        """E[x0 | x] as the network sees it."""
        # Coefficients in float64: at sigma = 0.002 a float32 c_skip already loses the last digits.
        c = self.coefficients(sigma.double())
        parts = [over(part.to(x.dtype), x) for part in (c.skip, c.out, c.input)]
        return parts[0] * x + parts[1] * self.network(parts[2] * x, c.noise.to(x.dtype), condition)

    def weight(self, sigma: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
        """1/c_out^2: the weight under which the error of D is the error of F itself."""
        return self.coefficients(sigma).out ** -2


class Switch(nn.Module):
    """One denoiser per range of levels: a swap of denoisers, or ambient above and plain below.

    Args:
        edges: increasing levels that part the ranges; a level on an edge belongs to the range above.
        denoisers: one more than edges, for the lowest range first.

    Source: 001 section 5.2 (swapping denoisers by noise level); 003 section 4.1.
    """

    def __init__(self, edges: Sequence[float], denoisers: Sequence[Denoiser]) -> None:
        super().__init__()
        if len(denoisers) != len(edges) + 1 or list(edges) != sorted(set(edges)):
            raise ValueError(
                f"Switch takes increasing edges and one denoiser more than edges, got edges {list(edges)} "
                f"and {len(denoisers)} denoisers"
            )
        self.edges = tuple(float(edge) for edge in edges)
        self.denoisers = tuple(denoisers)
        # Networks are also registered, so that .to(device) and .eval() reach them.
        self.networks = nn.ModuleList(d for d in denoisers if isinstance(d, nn.Module))

    def forward(
        self, x: Float[Tensor, "B *E"], sigma: Float[Tensor, " B"], condition: Tensor | None = None
    ) -> Float[Tensor, "B *E"]:
        """Each row goes to the denoiser of its level."""
        over(sigma, x)
        part = torch.bucketize(sigma, sigma.new_tensor(self.edges), right=True)
        result = torch.empty_like(x)
        for which in part.unique().tolist():
            rows = part == which
            given = None if condition is None else condition[rows]
            result[rows] = self.denoisers[which](x[rows], sigma[rows], given)
        return result
