"""What the demonstration says, in words that follow from its numbers whatever they are."""

from __future__ import annotations

from collections.abc import Mapping

from unrote.contracts import Estimate
from unrote.geometry.regimes import Zone
from unrote.jobs.audit_verdict import alarming
from unrote.jobs.auditing import Audit
from unrote.jobs.demo_check import Check, Trained, inside, meets
from unrote.jobs.measuring import Measurement
from unrote.report.format import at_most, number, percent, quantity, ratio

SMALLEST_SHARE = 0.25
"""What the small set must be copied to at least for the demonstration to have shown copying."""


def share(found: Estimate) -> str:
    """A copy ratio in a sentence; its interval stands below it on the page."""
    assert found.value is not None and found.high is not None
    return percent(found.value) if found.value else at_most(found.high)


def is_shown(small: Audit, large: Audit) -> bool:
    """Whether copying appeared where it should and only there.

    The small set must be copied by at least a quarter of the samples, the large one by no more than fresh
    digits (the interval of the difference reaches 0), and the two intervals must not overlap.
    """
    a, b = small.findings.main, large.findings.main
    assert a.ratio.low is not None and a.ratio.value is not None
    assert b.ratio.high is not None and b.excess is not None and b.excess.low is not None
    return a.ratio.value >= SMALLEST_SHARE and b.excess.low <= 0 and a.ratio.low > b.ratio.high


def sentence(small: Audit, large: Audit, shown: bool) -> str:
    """What the demonstration shows, or that it does not."""
    a, b = small.findings.main.ratio, large.findings.main.ratio
    counts = (len(small.reference.images), len(large.reference.images))
    numbers = (
        f"after {counts[0]:,} training images {share(a)} of its samples are copies, "
        f"after {counts[1]:,} {share(b)}"
    )
    if shown:
        return f"The same network learns by rote from few images and not from many: {numbers}."
    return f"Copying did not appear as expected in this run: {numbers}. Nothing was tuned until it would."


def forecast(check: Check) -> str:
    """Whether the level of most copying lies where the geometry said."""
    if check.peak.value is None or check.height.value is None:
        return (
            "At no level of the geometry does one denoising step of the model turn a noised fresh digit into a copy, "
            "so there is no level to hold against the danger zone."
        )
    words = (
        f"The model copies most at sigma = {_level(check.peak)}, where one denoising step turns "
        f"{ratio(check.height).split(', n = ')[0]} of noised fresh digits into copies."
    )
    if check.danger is None:
        return f"{words} The geometry named no danger zone to hold this against."
    words += f" That is {_beside(check)}."
    if check.at_crossing is not None:
        words += (
            f" Where the curves of the geometry cross it is {ratio(check.at_crossing).split(', n = ')[0]}."
        )
    return words


def cure(without: Trained, cured: Trained, difference: Estimate, gap: Zone) -> str:
    """What leaving out the gap did to copies."""
    before, after = without.audited.copy_ratio, cured.audited.copy_ratio
    words = (
        f"Trained with the gap (levels {number(gap.low)} to {number(gap.high)} left out) {share(after)} of the samples "
        f"are copies, trained at all levels {share(before)}: from the same seeds a difference of {points(difference)}."
    )
    return f"{words} {_effect(difference, cured)}"


def losses(without: Trained, cured: Trained) -> str:
    """What leaving out the gap did to the loss on held-out images, all levels counted."""
    a, b = without.history[-1].validation_loss, cured.history[-1].validation_loss
    words = f"The loss on held-out digits, all levels counted, is {_level(b)} with the gap and {_level(a)} without it"
    if apart(b, a):
        return f"{words}: lower with it."
    if apart(a, b):
        return f"{words}: higher with it."
    return f"{words}: the intervals overlap."


def stopping(without: Trained, check: Check, cured: Trained | None) -> str:
    """What stopping the model without the gap at its lowest held-out loss would have done."""
    last, best = without.history[-1], check.stopped
    if best.step == last.step:
        return (
            "Trained at all levels, the loss on held-out digits is lowest at the last step, so it gives no reason to "
            "stop earlier."
        )
    words = (
        f"Trained at all levels, the loss on held-out digits is lowest at step {best.step:,} of {last.step:,} "
        f"({_level(best.validation_loss)}), where {share(best.copy_ratio)} of the samples are copies."
    )
    if not apart(best.copy_ratio, last.copy_ratio):
        return f"{words} Whether stopping there helps against copies cannot be told from these samples."
    words += f" Stopping there is a remedy{_rivals(best, cured)}."
    near, far = check.distance.get("small" if cured is None else "gap"), check.distance.get("stopped")
    if near is None or far is None:
        return words
    than = "at the last step" if cured is None else "with the gap"
    side = "further from" if apart(near, far) else "nearer to" if apart(far, near) else "about as far from"
    return (
        f"{words} The samples of that step are {side} fresh digits {'as' if 'about' in side else 'than'} those {than} "
        f"(squared Fréchet distance of pixels {_level(far)} against {_level(near)})."
    )


def _rivals(best: Measurement, cured: Trained | None) -> str:
    """Stopping early beside the gap, by copies and held-out loss."""
    if cured is None:
        return ""
    end = cured.history[-1]
    copies, loss = (best.copy_ratio, end.copy_ratio), (best.validation_loss, end.validation_loss)
    won = [what for what, pair in (("fewer copies", copies), ("a lower held-out loss", loss)) if apart(*pair)]
    lost = [
        what
        for what, pair in (("more copies", copies), ("a higher held-out loss", loss))
        if apart(*reversed(pair))
    ]
    if not won and not lost:
        return ", and by copies and held-out loss neither it nor the gap is clearly better here"
    return f", in this run with {' and '.join(won + lost)} than the gap at the last step"


def remarks(models: Mapping[str, Trained], check: Check) -> tuple[str, ...]:
    """What the check comes to: the forecast, the cure, its price, and stopping early."""
    small, cured = models["small"], models.get("gap")
    told = [forecast(check)]
    if cured is not None and check.difference is not None and check.gap is not None:
        told += [cure(small, cured, check.difference, check.gap), losses(small, cured)]
    return (*told, stopping(small, check, cured))


def brief(models: Mapping[str, Trained], check: Check) -> tuple[str, ...]:
    """The same in a sentence each, without intervals, which stand elsewhere."""
    small, cured, told = models["small"], models.get("gap"), []
    if check.danger is not None and check.peak.value is not None:
        told.append(
            f"Forecast: the model copies most at sigma = {number(check.peak.value)}, {_beside(check)}."
        )
    if cured is not None and check.difference is not None:
        before, after = share(small.audited.copy_ratio), share(cured.audited.copy_ratio)
        told.append(
            f"Cure: trained with the gap {after} of the samples are copies, at all levels {before}. "
            f"{_effect(check.difference, cured)}"
        )
    return (*told, stopping(small, check, cured))


def named(name: str, model: Trained) -> str:
    """What a model is called: by its training images, and the gap."""
    return f"{model.count:,} images{', gap' if name == 'gap' else ''}"


def points(difference: Estimate) -> str:
    """A difference of two ratios in percentage points, with its interval."""
    value, low, high = (
        "" if end is None else f"{100 * end:+.1f}".replace("-", "−")
        for end in (difference.value, difference.low, difference.high)
    )
    return f"{value} [{low}, {high}] percentage points"


def apart(lower: Estimate, higher: Estimate) -> bool:
    """Whether one interval lies wholly below another."""
    return lower.high is not None and higher.low is not None and lower.high < higher.low


def _effect(difference: Estimate, cured: Trained) -> str:
    assert difference.low is not None and difference.high is not None
    if difference.high < 0:
        rest = alarming(cured.audited.findings.main)
        more = "and does not end it" if rest else "and no more are left than among fresh digits"
        return f"The gap cuts copying {more}."
    if difference.low > 0:
        return "The gap made copying worse in this run."
    return "Whether the gap changes copying cannot be told from these samples."


def _beside(check: Check) -> str:
    """Where the level of most copying lies, seen from the danger zone and from the gap."""
    zone, peak = check.danger, check.peak
    assert zone is not None and peak.value is not None
    ends = f"{number(zone.low)} to {number(zone.high)}"
    if inside(zone, peak):
        return f"inside the danger zone, {ends}"
    side = "below" if peak.value < zone.low else "above"
    words = f"{side} the danger zone, {ends}{', which its interval reaches' if meets(zone, peak) else ''}"
    if check.gap is None:
        return words
    return f"{words}, and {'inside' if inside(check.gap, peak) else 'outside'} the wider gap"


def _level(value: Estimate) -> str:
    return quantity(value).split(", n = ")[0]
