"""Views of samples beside the verdict: authenticity always, similarity in features and quality where asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from unrote.contracts import Estimate
from unrote.data.sources import Images, Source
from unrote.jobs.audit_features import Lens, Likeness, likeness, look_through
from unrote.jobs.audit_table import Distances, HeldOut
from unrote.jobs.audit_verdict import Findings
from unrote.jobs.fidelity_parts import NOT_ASKED, Quality, attempt, quality, unmeasured
from unrote.jobs.options import AuditOptions
from unrote.jobs.searching import Searches
from unrote.measure.authenticity import Authenticity, against_held_out, is_authentic
from unrote.measure.estimate import wilson
from unrote.measure.features import FeatureMap
from unrote.report.format import ratio


@dataclass(frozen=True)
class Instruments:
    """What is made once for all sets of samples.

    Args:
        searches: of the training set.
        fresh: authenticity of the held-out images, or None.
        lens: features of training and held-out images; None where they were not asked for.
    """

    searches: Searches
    fresh: Authenticity | None
    lens: Lens | None


@dataclass(frozen=True)
class Views:
    """What else is known of one set of samples.

    Args:
        authenticity: of every sample, in pixels.
        fresh, difference: the share of held-out images that are authentic, and by how much that of the samples
            is larger; None without held-out images.
        lens: the features; None where none were asked for.
        likeness, likeness_reason: similarity in features, or why there is none.
        quality: Frechet distance, precision and so on; None where not asked for.
    """

    authenticity: Authenticity
    fresh: Estimate | None
    difference: Estimate | None
    lens: Lens | None
    likeness: Likeness | None
    likeness_reason: str | None
    quality: Quality | None

    def as_json(self) -> dict[str, Any]:
        """The keys of result.json."""
        found: dict[str, Any] = {"authenticity": self.authenticity.share}
        if self.fresh is not None:
            found |= {"authenticity_calibration": self.fresh, "authenticity_excess": self.difference}
        found["features"] = None if self.lens is None else self.lens.as_json()
        found["similarity"] = None if self.likeness is None else self.likeness.as_json()
        found["similarity_reason"] = self.likeness_reason
        return found | (unmeasured() if self.quality is None else self.quality.as_json())

    def columns(self) -> dict[str, Any]:
        """The columns of samples.parquet."""
        found = {"gap": self.authenticity.gap.numpy(), "authentic": self.authenticity.authentic.numpy()}
        if self.likeness is not None:
            found["similar"] = self.likeness.nearest.numpy()
            found["similarity"] = self.likeness.found.value.numpy()
        return found

    def summary(self) -> list[str]:
        """Lines for a terminal, where they say something."""
        lines = []
        if self.fresh is not None:
            lines.append(
                f"  authentic           {ratio(self.authenticity.share)}; fresh real images {ratio(self.fresh)}"
            )
        if self.likeness is not None:
            lines.append(f"  copies in features  {ratio(self.likeness.definition.ratio)}")
        return lines


def authentic(distances: Distances, searches: Searches, confidence: float) -> Authenticity:
    """Which images are further from their nearest training image than that is from its own neighbours."""
    gap = searches.gaps(distances.nearest)
    decided = is_authentic(distances.d1, gap)
    share = wilson(int(decided.sum()), len(decided), confidence)
    return Authenticity(distances.nearest, distances.d1, gap, decided, share)


def instruments(
    searches: Searches, chosen: FeatureMap | None, held_out: HeldOut | None, options: AuditOptions
) -> Instruments:
    """What is made once for all sets of samples."""
    fresh = None if held_out is None else authentic(held_out.distances, searches, options.confidence)
    lens = None if chosen is None else look_through(chosen, searches.reference, held_out, options)
    return Instruments(searches, fresh, lens)


def look(samples: Source | Images, distances: Distances, tools: Instruments, options: AuditOptions) -> Views:
    """Everything beside the verdict, of one set of samples.

    Args:
        samples: read once more where features are asked for.
        distances: of the samples.
    """
    found = authentic(distances, tools.searches, options.confidence)
    fresh, lens = tools.fresh, tools.lens
    difference = None if fresh is None else against_held_out(found, fresh, options.confidence)
    share = None if fresh is None else fresh.share
    if lens is None:
        return Views(found, share, difference, None, None, NOT_ASKED, None)
    features = lens.features(samples, "samples")
    alike, reason = _likeness(features, lens, options)
    good = quality(features, lens.train, lens.held_out, options)
    return Views(found, share, difference, lens, alike, reason, good)


def _likeness(features: Tensor, lens: Lens, options: AuditOptions) -> tuple[Likeness | None, str | None]:
    scale = lens.scale
    if scale is None:
        return None, lens.reason or NOT_ASKED
    return attempt(lambda: likeness(features, lens, scale, options))


@dataclass(frozen=True)
class Signal:
    """Whether a view speaks of copying.

    Args:
        name: of the view, as a sentence begins with it.
        says: what it found, in words that go on after the name.
        copying: whether that is more copying than fresh data would show; None where it is not known.
    """

    name: str
    says: str
    copying: bool | None


def signals(views: Views, confidence: float) -> list[Signal]:
    """What the views say of copying, each judged against held-out images."""
    found = []
    low = views.difference is not None and views.difference.high is not None and views.difference.high < 0
    share = ratio(views.authenticity.share)
    if views.fresh is None:
        found.append(Signal("Authenticity", f"calls {share} of the samples authentic", None))
    else:
        says = f"calls {share} of the samples authentic and {ratio(views.fresh)} of fresh real images"
        found.append(Signal("Authenticity", says, low))
    if views.likeness is not None:
        rule = views.likeness.definition
        beside = "" if rule.calibration is None else f" and {ratio(rule.calibration)} of fresh real images"
        above = None if rule.excess is None else (rule.excess.low or 0.0) > 0
        found.append(
            Signal(
                "Similarity in features", f"calls {ratio(rule.ratio)} of the samples{beside} copies", above
            )
        )
    test = None if views.quality is None else views.quality.copying
    if test is not None:
        says = f"finds samples nearer than fresh real images {ratio(test.closer)} of the time (p = {test.p_value:.2g})"
        found.append(Signal("The test for data-copying", says, test.p_value < (1 - confidence) / 2))
    return found


def contradictions(findings: Findings, views: Views, confidence: float) -> list[str]:
    """A sentence for every view that speaks of copying where the verdict does not."""
    if findings.alarming:
        return []
    return [
        f"{s.name} speaks of copying where the verdict does not: it {s.says}. Look at 'Quality and other views'."
        for s in signals(views, confidence)
        if s.copying
    ]
