"""From distances to a verdict: five definitions of a copy, each with its calibration, and what was copied."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unrote.contracts import Estimate
from unrote.jobs.audit_table import Distances
from unrote.jobs.comparing import Reference
from unrote.jobs.options import AuditOptions
from unrote.jobs.searching import shift_for
from unrote.measure import copies
from unrote.measure.estimate import newcombe, samples_to_bound, wilson
from unrote.report.format import at_most, percent, ratio


@dataclass(frozen=True)
class Definition:
    """One definition of a copy, applied to the samples and to held-out images.

    Args:
        key: its name in result.json.
        title, rule: its name and its rule in words.
        copied: which samples it calls copies (n,).
        ratio: the share of samples.
        calibration: the share of held-out images that it calls copies, or None.
        excess: ratio minus calibration, or None.
    """

    key: str
    title: str
    rule: str
    copied: Tensor
    ratio: Estimate
    calibration: Estimate | None
    excess: Estimate | None

    def as_json(self) -> dict[str, Any]:
        """Without the per-sample decisions, which the table holds."""
        return {
            "rule": self.rule,
            "copy_ratio": self.ratio,
            "calibration_ratio": self.calibration,
            "excess": self.excess,
        }


@dataclass(frozen=True)
class Findings:
    """Everything that an audit concludes.

    Args:
        definitions: by_groups first, on which the verdict rests.
        p_value: share of held-out images with a ratio as small as a sample's (n,), or None.
        threshold: ratio below which the calibrated definition calls a copy, or None.
        copied: which training images were copied and how often.
        sentence, alarming: the verdict.
    """

    definitions: tuple[Definition, ...]
    p_value: Tensor | None
    threshold: float | None
    copied: copies.CopiedTraining
    sentence: str
    alarming: bool

    @property
    def main(self) -> Definition:
        """The definition that the verdict rests on."""
        return self.definitions[0]

    def columns(self) -> dict[str, Any]:
        """What the other definitions say of every sample, and p-values, for samples.parquet."""
        found = {f"copy_{one.key}": one.copied.numpy() for one in self.definitions[1:]}
        return found if self.p_value is None else found | {"p_value": self.p_value.numpy()}


@dataclass(frozen=True)
class Words:
    """What an audit is of, in its sentences.

    Args:
        trained, fresh, held_out: training data, real data that were not trained on, and such data as they are given.
    """

    trained: str = "training images"
    fresh: str = "fresh real images"
    held_out: str = "held-out images"


IMAGES = Words()

Rule = Callable[[Distances], Tensor]


def conclude(
    samples: Distances, held_out: Distances | None, reference: Reference, options: AuditOptions
) -> Findings:
    """Apply every definition, then state the verdict by the one with groups."""
    threshold = None
    if held_out is not None:
        threshold = copies.calibrated_threshold(held_out.ratio, options.false_positives)
    definitions = tuple(
        define(
            key,
            title,
            words,
            rule(samples),
            None if held_out is None else rule(held_out),
            options.confidence,
        )
        for key, title, words, rule in _rules(reference, options, threshold)
    )
    main = definitions[0]
    generator = torch.Generator().manual_seed(options.seed)
    return Findings(
        definitions,
        None if held_out is None else copies.rank_p_value(samples.ratio, held_out.ratio),
        threshold,
        copies.copied_training(
            samples.nearest, main.copied, reference.groups.group, generator, confidence=options.confidence
        ),
        sentence(main, options.confidence),
        alarming(main),
    )


def _rules(
    reference: Reference, options: AuditOptions, threshold: float | None
) -> list[tuple[str, str, str, Rule]]:
    """Key, title, words and rule of every definition that applies."""
    factor, limit, shift = options.factor, options.absolute_threshold, shift_for(reference.pixels)

    def by_groups(d: Distances) -> Tensor:
        return copies.is_copy(d.d1, d.d2, factor)

    def plain(d: Distances) -> Tensor:
        return copies.is_copy(d.d1, d.plain_d2, factor)

    def calibrated(d: Distances) -> Tensor:
        return copies.below(d.ratio, threshold if threshold is not None else 0.0)

    def absolute(d: Distances) -> Tensor:
        return copies.below(reference.root_mean_square(d.d1), limit)

    def aligned(d: Distances) -> Tensor:
        return copies.is_copy(d.aligned_d1, d.aligned_d2, factor)

    rules: list[tuple[str, str, str, Rule]] = [
        (
            "by_groups",
            "ratio, duplicates as one",
            f"d1 < d2/{factor:g}, the second neighbour from outside the first one's group of near-duplicates",
            by_groups,
        ),
        ("plain", "plain ratio", f"d1 < d2/{factor:g}, any second neighbour", plain),
        (
            "absolute",
            "absolute distance",
            f"root-mean-square pixel distance to the nearest training image below {limit:g} (pixels 0 to 1)",
            absolute,
        ),
        (
            "aligned",
            "best alignment",
            f"the ratio rule after the best mirror image, shift of up to {shift} pixels, brightness and contrast "
            f"(d1 < d2/{factor:g})",
            aligned,
        ),
    ]
    if threshold is not None:
        share = percent(options.false_positives)
        words = f"d1/d2 below {threshold:.3g}, as of at most {share} of fresh real images"
        rules.insert(2, ("calibrated", "calibrated ratio", words, calibrated))
    return rules


def define(
    key: str, title: str, words: str, copied: Tensor, fresh: Tensor | None, confidence: float
) -> Definition:
    """A definition from its decisions for samples (n,) and held-out images (m,).

    Args:
        key, title, words: see `Definition`.
        copied, fresh: which samples, and which held-out images or None, it calls copies.
        confidence: of the intervals.
    """
    k, n = int(copied.sum()), len(copied)
    calibration = excess = None
    if fresh is not None:
        calibration = wilson(int(fresh.sum()), len(fresh), confidence)
        excess = newcombe(k, n, int(fresh.sum()), len(fresh), confidence)
    return Definition(key, title, words, copied, wilson(k, n, confidence), calibration, excess)


def alarming(main: Definition) -> bool:
    """Whether there are more copies than fresh real data would give; without them, whether there are any."""
    if main.excess is not None and main.excess.low is not None:
        return main.excess.low > 0
    return bool(main.copied.any())


def sentence(main: Definition, confidence: float, words: Words = IMAGES) -> str:
    """The verdict in one sentence."""
    n, k = len(main.copied), int(main.copied.sum())
    level = f"{100 * confidence:g} %"
    if k == 0:
        assert main.ratio.high is not None
        return f"No copies among {n:,} samples: {at_most(main.ratio.high)} of such samples are copies, at {level}."
    found = f"{k:,} of {n:,} samples are copies of {words.trained} ({ratio(main.ratio).split(',  n')[0]})"
    if main.excess is None or main.calibration is None:
        return f"{found}; without {words.held_out} it is not known how many {words.fresh} would be called copies."
    low, high = (percent(end).removesuffix(" %") for end in (main.excess.low, main.excess.high))
    points = f"{percent(main.excess.value).removesuffix(' %')} points [{low}, {high}]"
    if alarming(main):
        return f"{found}: {points} more than {words.fresh} would be."
    return f"{found}, which is no more than {words.fresh} would be: the difference is {points}."


def missed(findings: Findings) -> list[str]:
    """A sentence if the best alignment finds clearly more copies than the verdict's definition does."""
    main = findings.main
    aligned = next(d for d in findings.definitions if d.key == "aligned")
    assert aligned.ratio.low is not None and main.ratio.high is not None
    if aligned.ratio.low <= main.ratio.high:
        return []
    more = int((aligned.copied & ~main.copied).sum())
    fresh = (
        ""
        if aligned.calibration is None
        else f" (of fresh real images it finds {ratio(aligned.calibration)})"
    )
    return [
        f"The best alignment finds {more:,} more copies than the verdict counts: mirrored, shifted, brightened or "
        f"darkened training images{fresh}. Look at 'Definitions side by side' and at `copy_aligned` in samples.parquet."
    ]


def bounds(main: Definition, confidence: float) -> dict[str, int]:
    """How many samples without a copy would bound the copy ratio at 1 % and at 0.1 %."""
    return {f"{rate:g}": samples_to_bound(rate, confidence) for rate in (0.01, 0.001)}
