"""Ambient training in the words of VP papers: what eps, v and x0 networks are to predict from a noisy copy.

X_t = alpha_t X_0 + sigma_t Z with alpha_t^2 + sigma_t^2 = 1, and a stored copy X_n at VP noise sigma_n < sigma_t.
`unrote.train.losses.denoising_loss` says the same once, for x = X_t / alpha_t; here are the papers' formulas, with
two of them corrected.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from unrote.contracts import InputError, over


@dataclass(frozen=True)
class ReadOut:
    """E[X_n | X_t] = a E[X_0 | X_t] + b X_t.

    Args:
        a, b: coefficients (B,).
        between: sigma_{t|n}, the noise that was added between X_n and X_t, as X_t = (alpha_t/alpha_n) X_n +
            sigma_{t|n} Z' (B,).
    """

    a: Float[Tensor, " B"]
    b: Float[Tensor, " B"]
    between: Float[Tensor, " B"]


def read_out(sigma_t: Float[Tensor, " B"], sigma_n: Float[Tensor, " B"]) -> ReadOut:
    """How the mean of the stored copy follows from the mean of the clean image.

    sigma_{t|n}^2 = (sigma_t^2 - sigma_n^2)/(1 - sigma_n^2), a = alpha_n sigma_{t|n}^2 / sigma_t^2,
    b = alpha_t sigma_n^2 / (alpha_n sigma_t^2).

    Args:
        sigma_t: VP noise of the state (B,).
        sigma_n: VP noise of the stored copy (B,), 0 <= sigma_n < sigma_t < 1.

    Raises:
        InputError: for levels out of order.

    Source: 003 eq. 6 and Lemma B.1. Deviation: as printed, the lemma's a has sigma_t^2 in place of
    sigma_{t|n}^2 and so becomes alpha_n, which holds only for sigma_n = 0; its proof has the index.
    """
    if bool(((sigma_n < 0) | (sigma_n >= sigma_t) | (sigma_t >= 1)).any()):
        raise InputError(
            f"VP noise must satisfy 0 <= sigma_n < sigma_t < 1; got sigma_n up to {float(sigma_n.max()):g}, sigma_t "
            f"from {float(sigma_t.min()):g} to {float(sigma_t.max()):g}. A level sigma of x = x0 + sigma z is VP noise "
            "sigma/sqrt(1 + sigma^2) (`unrote.noise.schedule.vp_time`)."
        )
    keeps_n, keeps_t = _alpha(sigma_n), _alpha(sigma_t)
    between = ((sigma_t - sigma_n) * (sigma_t + sigma_n)).sqrt() / keeps_n
    a = keeps_n * (between / sigma_t) ** 2
    return ReadOut(a, keeps_t * (sigma_n / sigma_t) ** 2 / keeps_n, between)


def clean_target(
    x_n: Float[Tensor, "B *E"],
    x_t: Float[Tensor, "B *E"],
    sigma_t: Float[Tensor, " B"],
    sigma_n: Float[Tensor, " B"],
) -> Float[Tensor, "B *E"]:
    """What an x0 network is to predict: x0^ = (X_n - b X_t)/a, with E[x0^ | X_t] = E[X_0 | X_t].

    Its spread grows as 1/a^2 when sigma_t falls to sigma_n; with weight a^2 the squared error is 003 eq. 6.

    Args:
        x_n: stored copies (B,*E), VP.
        x_t: states (B,*E), VP.
        sigma_t, sigma_n: as in `read_out`.
    """
    r = read_out(sigma_t, sigma_n)
    return (x_n - over(r.b, x_n) * x_t) / over(r.a, x_n)


def noise_target(
    x_n: Float[Tensor, "B *E"],
    x_t: Float[Tensor, "B *E"],
    sigma_t: Float[Tensor, " B"],
    sigma_n: Float[Tensor, " B"],
) -> Float[Tensor, "B *E"]:
    """What an eps network is to predict: eps^ = (X_t - alpha_t x0^)/sigma_t = (sigma_t/sigma_{t|n}) Z'.

    E[eps^ | X_t] = E[Z | X_t] with the total noise Z = (X_t - alpha_t X_0)/sigma_t: the noise added since the copy,
    Z', must be scaled up.

    Args:
        x_n, x_t, sigma_t, sigma_n: as in `clean_target`.

    Source: 003 Lemma B.2, its noise part. Deviation: see `velocity_target`.
    """
    clean = clean_target(x_n, x_t, sigma_t, sigma_n)
    return (x_t - over(_alpha(sigma_t), x_t) * clean) / over(sigma_t, x_t)


def velocity_target(
    x_n: Float[Tensor, "B *E"],
    x_t: Float[Tensor, "B *E"],
    sigma_t: Float[Tensor, " B"],
    sigma_n: Float[Tensor, " B"],
) -> Float[Tensor, "B *E"]:
    """What a v network is to predict: v^ = alpha_t eps^ - sigma_t x0^ = (alpha_t X_t - x0^)/sigma_t.

    E[v^ | X_t] = E[alpha_t Z - sigma_t X_0 | X_t].

    Args:
        x_n, x_t, sigma_t, sigma_n: as in `clean_target`.

    Source: 003 Lemma B.2. Deviation: the printed target has a Z that the proof of Lemma B.1 uses for the noise
    between X_n and X_t; unscaled, that one is biased. Here it is scaled by sigma_t/sigma_{t|n}.
    """
    clean = clean_target(x_n, x_t, sigma_t, sigma_n)
    return (over(_alpha(sigma_t), x_t) * x_t - clean) / over(sigma_t, x_t)


@dataclass(frozen=True)
class LossWeights:
    """Weights under which three errors are one loss, each (B,).

    |a h + b X_t - X_n|^2 = clean |h - x0^|^2 = noise |eps_theta - eps^|^2 = velocity |v_theta - v^|^2
    = sigma_form |w D + (1 - w) x - x_n|^2 with x = X_t/alpha_t, x_n = X_n/alpha_n (`denoising_loss`).

    Args:
        clean: a^2.
        noise: a^2 sigma_t^2 / alpha_t^2.
        velocity: a^2 sigma_t^2.
        sigma_form: alpha_n^2.
    """

    clean: Float[Tensor, " B"]
    noise: Float[Tensor, " B"]
    velocity: Float[Tensor, " B"]
    sigma_form: Float[Tensor, " B"]


def loss_weights(sigma_t: Float[Tensor, " B"], sigma_n: Float[Tensor, " B"]) -> LossWeights:
    """How the losses of x0, eps and v networks on a noisy copy follow from each other and from 003 eq. 6.

    Args:
        sigma_t, sigma_n: as in `read_out`.

    Source: 003 eq. 6, Lemma B.1 and B.2, corrected; the equalities hold for every single row.
    """
    a = read_out(sigma_t, sigma_n).a
    keeps_t = _alpha(sigma_t)
    velocity = (a * sigma_t) ** 2
    return LossWeights(a**2, velocity / keeps_t**2, velocity, _alpha(sigma_n) ** 2)


def _alpha(sigma: Tensor) -> Tensor:
    return torch.sqrt((1 - sigma) * (1 + sigma))
