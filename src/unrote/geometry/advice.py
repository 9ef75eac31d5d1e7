"""What to do about a danger zone: levels to leave out of training, and the noise of noisy copies.

The two thresholds come from trained networks: `unrote reproduce wild_middle/forecast` measured at which levels a small
U-Net copies, on many data sets, and the pair whose zones fit best on every second data set stands here. On five of the
others the gap left .37 of the copies where levels were drawn again, .11 where rows were dropped.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from unrote.contracts import Estimate
from unrote.geometry.crossings import ends
from unrote.geometry.regimes import Regimes, Zone, check_shares, zone_of

COVERED = 0.02
"""Coverage at the lower end of the recommended gap."""
WEIGHT = 0.9
"""Posterior weight at its upper end."""
HALF = 0.5
"""Coverage at the recommended ambient level."""


@dataclass(frozen=True)
class Recommendation:
    """What to do, and why.

    Args:
        low, high: the levels to leave out of training, or the one ambient level twice.
        level: coverage at the lower end.
        why: the reasoning, for the reader of a report; where an end is None, the reason.
        weight: posterior weight at the upper end, None where there is no upper end.
    """

    low: Estimate
    high: Estimate
    level: float
    why: str
    weight: float | None = None

    @property
    def zone(self) -> Zone | None:
        """Both ends, or None if one is not known."""
        return zone_of(self.low, self.high)


def recommended_gap(found: Regimes, covered: float = COVERED, weight: float = WEIGHT) -> Recommendation:
    """Levels to leave out of training so that a network cannot learn to copy: [sigma_C(covered), sigma_W(weight)].

    From where a few noisy test points are in some training point's shell, for those it can copy, to where the owner
    of a noisy training point begins to share its weight.  It is wider than the danger zone, and reaches further down
    than up: trained networks copy below the level at which both curves are high, and hardly above it.

    Args:
        found: what `regimes` returned.
        covered: coverage at the lower end.
        weight: posterior weight at the upper end.

    Raises:
        InputError: for thresholds outside (0, 1).
    """
    check_shares(covered, weight)
    low, _, below = ends(found.samples, torch.full_like(found.samples.covered[0], covered))
    _, high, above = ends(found.samples, torch.full_like(found.samples.weight[0], weight))
    reasons = [
        *(below[key] for key in below if key == "low"),
        *(above[key] for key in above if key == "high"),
    ]
    if reasons:
        return Recommendation(low, high, covered, " ".join(reasons), weight)
    assert low.value is not None and high.value is not None
    if low.value >= high.value:
        why = (
            f"Coverage reaches {covered:.0%} only at {low.value:.3g}, where the posterior weight is below {weight:.0%} "
            "already: there is no level at which single images are both met and owned, and nothing to leave out."
        )
        return Recommendation(low, high, covered, why, weight)
    why = (
        f"Leave levels between {low.value:.3g} and {high.value:.3g} out of training. Below {low.value:.3g} fewer than "
        f"{covered:.0%} of noisy held-out images meet the shell of a training image, so what is learned there is not "
        f"about single images; above {high.value:.3g} the most likely training image has less than {weight:.0%} of "
        "the weight, so that what is learned is an average of several. Both thresholds were calibrated on where small "
        "U-Nets copy (wild_middle/forecast); the gap is wider than the danger zone because networks copy below it, "
        "too."
    )
    return Recommendation(low, high, covered, why, weight)


def recommended_ambient_level(found: Regimes, covered: float = HALF) -> Recommendation:
    """The noise to add to images once before training on them at all higher levels: sigma_C(0.5).

    Levels above it are learned from noisy copies, levels below it from clean images.  The more noise the copies hold,
    the less of a single image they give away, and the worse samples become; with little, dangerous levels see all but
    clean images.  It is where every second noisy held-out image is in some shell, a rule of thumb: over eight sets of
    8x8 pictures a small U-Net copied least at sigma_n = .21 to .35 (six sets) and .61, .76, whatever their geometry,
    and on digits a residual MLP at 1, so that no scale of the geometry predicts the best level (ambient/level); around
    this one both copy less than without.

    Args:
        found: what `regimes` returned.
        covered: coverage at the level.

    Raises:
        InputError: for a threshold outside (0, 1).
    """
    check_shares(covered)
    low, _, reasons = ends(found.samples, torch.full_like(found.samples.covered[0], covered))
    if "low" in reasons:
        return Recommendation(low, low, covered, reasons["low"])
    assert low.value is not None
    why = (
        f"Add noise of level {low.value:.3g} to every image once, and learn all higher levels from these copies. "
        f"There {covered:.0%} of noisy held-out images meet the shell of a training image. A lower level would hide "
        "less of each image, a higher one cost more quality. It is a rule of thumb: on small pictures the best level "
        "depended on the network more than on the data, about .25 for a U-Net and 1 for an MLP; run two or three "
        "levels around it (`unrote train --recipe`), and see `unrote advise` for what was measured."
    )
    return Recommendation(low, low, covered, why)
