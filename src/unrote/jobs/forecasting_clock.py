"""What pilots say of a longer run: the laws of both onsets, the answer in words, and how far to trust it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from unrote.contracts import Estimate, InputError
from unrote.measure.onset import Onset
from unrote.measure.power_law import (
    HeldOut,
    PowerLaw,
    fit_power_law,
    forecast,
    held_out_sizes,
    over_seeds,
)
from unrote.report.format import percent

TRUSTED = 1.5
"""How far a held-out size may be off its forecast before it is said that the forecast is not to be trusted."""
FAR = 4.0
"""Factor beyond the largest pilot from which on a forecast is called far."""
PROPORTIONAL = 1.0
"""The exponent of paper 002."""


@dataclass(frozen=True)
class Clock:
    """The onsets of all pilots by one definition, and what they say of a number of images.

    Args:
        sizes, onsets: of every pilot.
        law: tau = a P^b, or None where onsets are known at less than two sizes.
        said: the onset of one new run, with its prediction interval, or None without a law.
        proportional: what it would be if b were 1, from the same pilots.
        held_out: the largest size, forecast from the smaller ones, or None where it cannot be.
        end: the law of the two largest sizes alone, or None where there are no others or onsets are missing.
        by_end: what that law says.
    """

    sizes: tuple[int, ...]
    onsets: tuple[Onset, ...]
    law: PowerLaw | None
    said: Estimate | None
    proportional: Estimate
    held_out: HeldOut | None
    end: PowerLaw | None
    by_end: Estimate | None

    @property
    def bends(self) -> bool:
        """Whether the largest size is surely, or by far, off its forecast from the smaller ones."""
        if self.held_out is None or self.held_out.factor.value is None:
            return False
        factor = self.held_out.factor
        surely = factor.low is not None and factor.high is not None and not factor.low <= 1 <= factor.high
        return surely or abs(math.log(factor.value or 1)) > math.log(TRUSTED)

    @property
    def missing(self) -> int:
        """How many onsets are no more than a bound."""
        return sum(onset.value is None for onset in self.onsets)

    def told(self, images: float | int) -> Estimate | None:
        """The onset of one run at a size, with its prediction interval."""
        return None if self.law is None else forecast(self.law, images)

    def as_json(self) -> dict[str, Any]:
        """The form in which result.json holds it."""
        law, held = self.law, self.held_out
        return {
            "forecast": None if self.said is None else self.said.as_dict(),
            "exponent": None if law is None else law.exponent.as_dict(),
            "constant": None if law is None else law.constant.as_dict(),
            "spread": None if law is None else law.spread,
            "if_proportional": self.proportional.as_dict(),
            "by_two_largest_sizes": None
            if self.end is None or self.by_end is None
            else {"exponent": self.end.exponent.as_dict(), "forecast": self.by_end.as_dict()},
            "known_onsets": len(self.onsets) - self.missing,
            "held_out": None
            if held is None
            else {
                "images": int(held.size),
                "forecast": held.forecast.as_dict(),
                "measured": held.measured.as_dict(),
                "factor": held.factor.as_dict(),
            },
        }


@dataclass(frozen=True)
class Answer:
    """How long training may last.

    Args:
        images: how many images were asked about.
        copies, losses: both clocks; that of copies has a law.
        share: of the samples that are copies, from which there is copying.
        gap: relative gap of the losses from which they have parted.
        seeds: pilots of every size.
        fresh: the largest share of held-out images, over pilots, that the rule for copies calls copies.
    """

    images: int
    copies: Clock
    losses: Clock
    share: float | int
    gap: float | int
    seeds: int
    fresh: float | int

    @property
    def safe_steps(self) -> int:
        """The lower end of the interval, or the value where there is none, rounded down.

        Where the largest pilots copied earlier than the smaller ones had it, the law of the two largest sizes counts
        too.
        """
        told = [self.copies.said, *([self.copies.by_end] if self.copies.bends else [])]
        ends = [one.value if one.low is None else one.low for one in told if one is not None]
        return max(1, rounded_down(min(end for end in ends if end is not None)))

    @property
    def outside(self) -> float:
        """How many times as many images were asked about as there were in the largest pilot; below 1 within."""
        return self.images / max(self.copies.sizes)

    def as_json(self) -> dict[str, Any]:
        """The keys of result.json that are laws and what they say."""
        return {
            "sentence": self.sentence(),
            "images": self.images,
            "weights": "moving average",
            "copies": {"share": self.share} | self.copies.as_json(),
            "losses": {"gap": self.gap} | self.losses.as_json(),
            "evidence": list(self.evidence()),
            "times_largest_pilot": self.outside,
            "fresh_copies": self.fresh,
        }

    def sentence(self) -> str:
        """The answer."""
        said = self.copies.said
        assert said is not None
        return (
            f"You may train {steps(said)} on your {self.images:,} images before {plainly(self.share)} of the samples "
            f"are copies; {self._parting()}"
        )

    def _parting(self) -> str:
        said = self.losses.said
        what = f"that on held-out images is {1 + self.gap:g} times that on training images"
        if said is None:
            return f"when the losses part, so that {what}, is not known, since they did so in too few pilots."
        return f"the losses part after {steps(said)}, where {what}."

    def evidence(self) -> tuple[str, ...]:
        """What the answer rests on: laws and the held-out size."""
        found = []
        for name, clock in (("copies", self.copies), ("losses", self.losses)):
            if clock.law is not None:
                found.append(f"Onset by {name}: {growth(clock)}.")
                found.append(f"  {checked(clock)}")
        return tuple(found)

    def notes(self) -> tuple[str, ...]:
        """What weakens the answer."""
        return tuple(
            note
            for note in (
                self._reach(),
                *self._exponent(),
                self._trust(),
                self._few(),
                self._bounds(),
                self._rule(),
            )
            if note
        )

    def _reach(self) -> str:
        low, high = min(self.copies.sizes), max(self.copies.sizes)
        if self.outside > 1:
            far = "far beyond what was tried" if self.outside > FAR else "beyond what was tried"
            return (
                f"{self.images:,} images are {self.outside:.3g} times as many as in the largest pilot, {far}: the "
                "interval holds if the law goes on as between the pilots."
            )
        if self.images < low:
            return f"{self.images:,} images are fewer than in the smallest pilot, {low:,}."
        return f"{self.images:,} images lie within the pilots, {low:,} to {high:,}."

    def _exponent(self) -> list[str]:
        law = self.copies.law
        assert law is not None
        b, then = law.exponent, self.copies.proportional
        if b.low is None or b.high is None:
            return [
                "The exponent has no interval, for onsets are known of two pilots alone; take more --seeds."
            ]
        if b.low <= PROPORTIONAL <= b.high:
            wide = " That is wide; more --sizes or --seeds narrow it." if b.high - b.low > 0.5 else ""
            return [
                f"The exponent's interval holds 1, growth in proportion as in paper 002.{wide}"
                if wide
                else ""
            ]
        return [
            f"The exponent, {b.value:.2f} (95 %: {b.low:.2f} to {b.high:.2f}), is surely not 1: between these pilots "
            f"the onset does not grow in proportion to the number of images, as in paper 002. If it did, copying would "
            f"begin after about {number(then.value)} steps."
        ]

    def _trust(self) -> str:
        clock, held = self.copies, self.copies.held_out
        if held is None or held.factor.value is None:
            return "No size could be held against a forecast from the others; take three --sizes or more."
        if not clock.bends:
            return ""
        later = held.factor.value > 1
        off = (
            f"The law bends: the largest pilots copied at {held.factor.value:.2f} times the step that the smaller ones "
            f"had forecast, and the interval above does not hold that. A larger number of images likely copies "
            f"{'later' if later else 'earlier'} than is said"
        )
        if clock.end is None or clock.by_end is None:
            return f"{off}; take pilots nearer to {self.images:,} images (--sizes)."
        return (
            f"{off}: by the two largest sizes alone, between which the exponent is {clock.end.exponent.value:.2f}, "
            f"after {steps(clock.by_end)}. Pilots nearer to {self.images:,} images (--sizes) tell."
        )

    def _few(self) -> str:
        if self.seeds > 1:
            return ""
        return (
            "One pilot of each size: what runs of one size differ by is not seen, and intervals rest on how the sizes "
            "scatter around the line. Take --seeds 3."
        )

    def _bounds(self) -> str:
        bounds = [
            f"{clock.missing} of {len(clock.onsets)} pilots have no onset by {name}"
            for name, clock in (("copies", self.copies), ("losses", self.losses))
            if clock.missing
        ]
        return f"{' and '.join(bounds)} within what was measured; they count as bounds." if bounds else ""

    def _rule(self) -> str:
        if self.fresh < self.share / 2:
            return ""
        return (
            f"Of held-out images up to {percent(self.fresh)} count as copies of a pilot's training images by chance, "
            f"near the {plainly(self.share)} that are the onset; take larger --sizes or a higher --copy-share."
        )


def clock_of(sizes: Sequence[int], onsets: Sequence[Onset], images: int) -> Clock:
    """The law of some onsets, where there is one, and its forecast.

    Args:
        sizes, onsets: of every pilot.
        images: how many are asked about.
    """
    try:
        law = fit_power_law(sizes, onsets)
    except InputError:
        law = None
    try:
        table = held_out_sizes(sizes, onsets)
    except InputError:
        table = ()
    end = _law_of_two_largest(sizes, onsets)
    each = over_seeds([_scaled(onset, 1 / size) for size, onset in zip(sizes, onsets, strict=True)])
    times = [None if end is None else end * images for end in (each.value, each.low, each.high)]
    return Clock(
        tuple(sizes),
        tuple(onsets),
        law,
        None if law is None else forecast(law, images),
        replace(each, value=times[0], low=times[1], high=times[2]),
        next((one for one in table if one.size == max(sizes)), None),
        end,
        None if end is None else forecast(end, images),
    )


def _law_of_two_largest(sizes: Sequence[int], onsets: Sequence[Onset]) -> PowerLaw | None:
    distinct = sorted(set(sizes))
    last = [(p, onset) for p, onset in zip(sizes, onsets, strict=True) if p in distinct[-2:]]
    try:
        return fit_power_law([p for p, _ in last], [onset for _, onset in last]) if distinct[2:] else None
    except InputError:
        return None


def _scaled(onset: Onset, factor: float) -> Onset:
    value = None if onset.value is None else onset.value * factor
    low, high = onset.low * factor, onset.high * factor
    # Rounding must not carry the value beyond its ends.
    return Onset(
        value, low if value is None else min(low, value), high if value is None else max(high, value)
    )


def growth(clock: Clock) -> str:
    """The law in words."""
    assert clock.law is not None
    b, sizes = clock.law.exponent, sorted(set(clock.sizes))
    interval = "" if b.low is None or b.high is None else f" (95 %: {b.low:.2f} to {b.high:.2f})"
    return (
        f"it grows as the number of images to the power {b.value:.2f}{interval}, by {b.n} of {len(clock.onsets)} "
        f"pilots on {', '.join(f'{size:,}' for size in sizes)} images"
    )


def checked(clock: Clock) -> str:
    """The largest size against its forecast from the smaller ones, in words."""
    held = clock.held_out
    if held is None:
        return "The largest size cannot be forecast from the others, of which two need a known onset."
    said, seen, factor = held.forecast, held.measured, held.factor
    if seen.value is None or factor.value is None:
        return (
            f"Held out: {held.size:,.0f} images were forecast to begin after {steps(said)}; none was seen to."
        )
    interval = (
        "" if factor.low is None or factor.high is None else f" (95 %: {factor.low:.2f} to {factor.high:.2f})"
    )
    return (
        f"Held out: from the smaller pilots, {held.size:,.0f} images were forecast to begin after {steps(said)}; "
        f"measured were {number(seen.value)}, {factor.value:.2f} times as many{interval}."
    )


def steps(said: Estimate) -> str:
    """A number of steps with its interval: 41,000 steps (95 %: 35,000 to 48,000)."""
    if said.low is None or said.high is None:
        return f"{number(said.value)} steps (no interval)"
    return f"{number(said.value)} steps (95 %: {number(said.low)} to {number(said.high)})"


def number(value: float | int | None) -> str:
    """Three digits of a number of steps; more than anyone will train are written as a power."""
    if value is None:
        return "no"
    if value >= 1e9:
        return f"{value:.1e}"
    unit = 10 ** max(0, len(str(int(value))) - 3)
    return f"{round(value / unit) * unit:,}"


def rounded_down(value: float | int) -> int:
    """Three digits, none of them rounded up, and no more steps than training takes."""
    whole = int(min(value, 1e9))
    unit = 10 ** max(0, len(str(whole)) - 3)
    return whole // unit * unit


def plainly(share: float | int) -> str:
    """A share as a percentage without needless zeros."""
    return f"{100 * share:g} %"
