"""How far validation and training loss are apart: of two curves, and of losses in pairs with an interval."""

from __future__ import annotations

import math
from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor

from unrote.contracts import Estimate, InputError
from unrote.measure.estimate import student_quantile

Gap = Callable[[Tensor, Tensor], Tensor]
"""(training loss (T,), validation loss (T,)) -> how far they are apart (T,)."""


def difference(train: Float[Tensor, " T"], validation: Float[Tensor, " T"]) -> Float[Tensor, " T"]:
    """L_val - L_train, the paper's gap, in units of the loss."""
    return validation - train


def excess(train: Float[Tensor, " T"], validation: Float[Tensor, " T"]) -> Float[Tensor, " T"]:
    """L_val / L_train - 1: by what share the validation loss is above the training loss."""
    return validation / train - 1


def relative_gap(
    train: Float[Tensor, " n"], validation: Float[Tensor, " n"], confidence: float = 0.95
) -> Estimate:
    """By what share the validation loss is above the training loss, from losses in pairs with the same noise.

    r = v / t - 1 with the means t and v; log(1 + r) +- t_{n-1} s / sqrt(n), s the standard deviation of
    v_i / v - t_i / t: what the two losses of a pair have in common, levels and noise, cancels.

    Args:
        train: losses of training examples (n,), positive in the mean.
        validation: losses of validation examples (n,), the i-th under the level and noise of the i-th training loss.
        confidence: between 0 and 1.

    Raises:
        InputError: for less than two pairs, losses whose means are not positive and finite, or a confidence outside
            (0, 1).

    Source: the delta method on the logarithm of a ratio of means.
    """
    n = len(train)
    if len(validation) != n or n < 2:
        raise InputError(
            f"A gap between losses needs at least two pairs, got {n} training and {len(validation)} validation losses; "
            "give one loss for each example, pair by pair under the same noise."
        )
    means = [float(losses.double().mean()) for losses in (train, validation)]
    if not all(0 < mean < math.inf for mean in means):
        raise InputError(
            f"The mean losses are {means[0]:.4g} on training and {means[1]:.4g} on validation examples; a relative gap "
            "needs positive, finite ones. A loss that may be negative, such as a likelihood, has only a difference."
        )
    apart = validation.double() / means[1] - train.double() / means[0]
    half = student_quantile(n - 1, confidence) * float(apart.std()) / math.sqrt(n)
    centre = math.log(means[1] / means[0])
    # An overflow far above any threshold: exp stays finite.
    low, high = (math.expm1(min(end, 700.0)) for end in (centre - half, centre + half))
    return Estimate(math.expm1(centre), low, high, n)
