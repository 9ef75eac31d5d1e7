"""The exact optimum of ambient training: what a denoiser that has memorized noisy copies would return.

Noisy copies x_n = x_i + sigma_n z_i, stored once, are a data set of their own. A state x = x_0 + sigma z above
sigma_n is a stored copy with noise u = sqrt(sigma^2 - sigma_n^2) on top, so the posterior over copies is that of
`Empirical` at level u, and the read-out of x_0 from it is linear.
"""

from __future__ import annotations

from typing import final

from jaxtyping import Float, Int
from torch import Tensor, nn

from unrote.contracts import Denoiser, InputError, over
from unrote.denoise.compose import Switch
from unrote.denoise.exact import Empirical

JUST_ABOVE = 1 + 1e-6
"""A level on an edge of `Switch` belongs to the range above, where the optimum does not exist at sigma_n itself."""


def added_level(sigma: Float[Tensor, "*B"], level: float) -> Float[Tensor, "*B"]:
    """u = sqrt(sigma^2 - sigma_n^2): the noise between a stored copy and a state, computed without cancellation.

    Args:
        sigma: levels of the states, at least sigma_n.
        level: sigma_n.
    """
    return ((sigma - level).clamp(min=0) * (sigma + level)).sqrt()


def total_level(added: Float[Tensor, "*B"], level: float) -> Float[Tensor, "*B"]:
    """sigma = sqrt(u^2 + sigma_n^2): a grid of u that ends at 0 becomes one of sigma that ends at sigma_n.

    Along such a grid the flow of the ambient optimum is the flow of the stored copies; on a grid of sigma the last
    step before sigma_n goes half of the way, whatever its length.

    Args:
        added: noise on top of the stored copies.
        level: sigma_n.
    """
    return (added**2 + level**2).sqrt()


@final
class AmbientOptimum(nn.Module):
    """The minimum of the ambient loss over all functions, given one stored noisy copy of each row.

    h(x, sigma) = (sigma^2 y - sigma_n^2 x)/(sigma^2 - sigma_n^2) = x + sigma^2 (y - x)/(sigma^2 - sigma_n^2),
    y = E[x_n | x] over the stored copies at level u = sqrt(sigma^2 - sigma_n^2).

    Its probability flow is that of `Empirical(noisy)` at level u and lands on the stored copies as sigma falls to
    sigma_n. There h itself grows without bound, as sigma_n^2 |x - x_n|/u^2. Results carry no gradient.

    Args:
        noisy: the stored copies (N,*E), which hold noise of sigma_n; a buffer that moves with ``.to(device)``.
        level: sigma_n > 0.
        label: class of each copy (N,), needed for denoising under a condition.

    Raises:
        InputError: for a level that is no positive number.
        ValueError: as `Empirical`.

    Source: 003 eq. 6 and Lemma 4.1, in the form for x = x0 + sigma z.
    """

    def __init__(
        self, noisy: Float[Tensor, "N *E"], level: float, label: Int[Tensor, " M"] | None = None
    ) -> None:
        super().__init__()
        if not 0 < level < float("inf"):
            raise InputError(
                f"Noisy copies cannot hold noise of level {level:g}: it is a positive number, sigma in "
                "x = x0 + sigma z. The optimum for clean rows is `Empirical`."
            )
        self.copies = Empirical(noisy, label=label)
        self.level = float(level)

    def forward(
        self, x: Float[Tensor, "B *E"], sigma: Float[Tensor, " B"], condition: Int[Tensor, " B"] | None = None
    ) -> Float[Tensor, "B *E"]:
        """The ambient estimate of E[x0 | x] at levels above sigma_n.

        Args:
            x: noisy points (B,*E).
            sigma: their levels (B,), all above sigma_n.
            condition: a class per row (B,), or None for all copies.

        Raises:
            InputError: for a level at or below sigma_n.
        """
        if bool((sigma <= self.level).any()):
            raise InputError(
                f"The ambient optimum was asked for at sigma = {float(sigma.min()):.6g}, and its copies hold noise of "
                f"sigma_n = {self.level:.6g}: what lies below cannot be learned from them. End the levels above "
                "sigma_n, or let a denoiser of clean rows take over there (`ambient_above`)."
            )
        fine = sigma.double()
        added = added_level(fine, self.level)
        y = self.copies(x, added, condition)
        return x + over((fine**2 / added**2).to(x.dtype), x) * (y - x)


def ambient_above(
    noisy: Float[Tensor, "N *E"], level: float, below: Denoiser, label: Int[Tensor, " M"] | None = None
) -> Switch:
    """The ambient optimum above sigma_n, and another denoiser up to and including sigma_n.

    With ``below=Empirical(clean)`` it is the minimum of 003's Algorithm 1 over all functions.

    Args:
        noisy: the stored copies (N,*E).
        level: sigma_n.
        below: denoiser for sigma <= sigma_n (levels within a millionth above it included).
        label: class of each copy (N,), or None.

    Source: 003 Algorithm 1 and the concatenation of section 4.1.
    """
    return Switch([level * JUST_ABOVE], [below, AmbientOptimum(noisy, level, label)])
