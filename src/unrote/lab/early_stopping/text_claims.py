"""What is claimed of masked diffusion of text, whatever the network: Figures 3, 9b and 13."""

from __future__ import annotations

from collections.abc import Callable

from unrote.lab.claims import Claim
from unrote.lab.early_stopping.law_rules import NEAR, WIDEST, Definition
from unrote.lab.early_stopping.text_rules import (
    COPIED,
    FAR,
    FEW,
    MORE,
    MOST,
    PARTED,
    RISEN,
    comes_before,
    copies_at_end,
    gained,
    is_linear,
    kept_away,
    minimum,
    reaches,
    risen,
    stays_below,
    stops_clean,
    wrong_at_end,
)
from unrote.lab.wild_middle.gap_rules import Judged
from unrote.report.format import Value, quantity, ratio

GAPS = (0.4, 0.8, 1.6)
"""Bits a character by which losses are apart, as in Figure 9b."""
LEARNED = (0.1, 0.0)
"""Bits a character below the best denoiser without context: held, partly."""
COPIES = (0.1, 0.5)
"""Shares of copies whose onset is fitted."""


Says = Callable[..., Claim]
"""(name, source, what is said, rule, judge, how the number is written) -> a claim of one experiment."""


def says_of(prefix: str, tested: str) -> Says:
    """Claims whose names begin alike and that the same runs test."""

    def claim(
        name: str, source: str, says: str, rule: str, judged: Judged, shown: Callable[[Value], str] = quantity
    ) -> Claim:
        return Claim(f"{prefix}-{name}", "002", source, says, tested, rule, judged, shown)

    return claim


def claims_of(prefix: str, tested: str, most: int) -> tuple[Claim, ...]:
    """What is claimed of one network.

    Args:
        prefix: of the claims' names.
        tested: what is run, in words.
        most: the largest P.
    """
    claim = says_of(prefix, tested)
    return (*dynamics(claim, most), *laws(claim), *texts(claim))


ORDER = (
    "geometric mean over sizes and seeds of one step over the other (what never comes counts as at the last step): "
    "held if the 95 % interval over seeds lies below 1, partly if the value does; failed if the first never comes"
)
LAW = (
    f"exponent of tau = a P^b: held if its 95 % interval contains 1 and is narrower than {WIDEST:g}, partly if it "
    f"contains 1 or b is within {NEAR:g} of it"
)


def dynamics(claim: Says, most: int) -> list[Claim]:
    """Losses fall together, then part; copies come after."""
    return [
        claim(
            "generalizes",
            "Figure 3",
            f"At first both losses fall: with {most} windows the model learns about text that it has not seen.",
            "bits a character by which the least validation bound lies below that of the best denoiser without "
            "context (the held-out text's own frequencies, under the same noise): held if the 95 % interval over seeds "
            f"lies at or above {LEARNED[0]:g}, partly at or above {LEARNED[1]:g}",
            reaches(gained, *LEARNED, most),
        ),
        claim(
            "turns",
            "Figure 3",
            "Then the validation loss turns up.",
            "bits a character by which it ends above its least value, mean over sizes: held if the interval lies at "
            f"or above {RISEN:g}, partly at or above 0.02",
            reaches(risen, RISEN, 0.02),
        ),
        claim(
            "parts-first",
            "section 3.2",
            f"Losses are {PARTED.threshold:g} bits a character apart before {COPIED.threshold:.0%} of the samples are "
            "copies.",
            ORDER,
            comes_before(PARTED.onset, COPIED.onset),
        ),
        claim(
            "minimum-first",
            "Figure 3",
            f"The validation loss is least before {COPIED.threshold:.0%} of the samples are copies.",
            ORDER,
            comes_before(minimum, COPIED.onset),
        ),
        claim(
            "new-before",
            "Figure 3",
            "Until then samples are as far from the training windows as fresh text.",
            "mean Hamming distance to the nearest window where the validation loss is least, over that of held-out "
            f"windows, mean over sizes: held if the interval lies at or above {FAR[0]:g}, partly at or above "
            f"{FAR[1]:g}",
            reaches(kept_away, *FAR),
        ),
        claim(
            "copies-later",
            "Figure 3",
            "Later the model copies its training text.",
            f"share of copies at the last step, mean over sizes: held if the interval lies at or above {MOST[0]:g}, "
            f"partly at or above {MOST[1]:g}",
            reaches(copies_at_end, *MOST),
            ratio,
        ),
    ]


def law(claim: Says, definition: Definition, says: str) -> Claim:
    """The exponent by one definition of the onset."""
    return claim(
        f"law-{definition.kind}-{definition.threshold:g}", "Figure 9b", says, LAW, is_linear(definition)
    )


def laws(claim: Says) -> list[Claim]:
    """The onset grows in proportion to P."""
    gaps = [
        law(
            claim,
            Definition("gap", bits, "averaged"),
            f"The step at which losses are {bits:g} bits apart is proportional to P.",
        )
        for bits in GAPS
    ]
    copies = [
        law(
            claim,
            Definition("copies", share, "averaged"),
            f"The step of {share:.0%} copies is proportional to P.",
        )
        for share in COPIES
    ]
    return [*gaps, *copies]


def texts(claim: Says) -> list[Claim]:
    """What copies are like, and what early stopping leaves of them."""
    return [
        claim(
            "few-mistakes",
            "Figure 13",
            "Copies are right up to a few characters.",
            "share of wrong characters in the median copy at the last step, mean over sizes: held if the interval ends "
            f"at or below {FEW[0]:g}, partly at or below {FEW[1]:g}",
            stays_below(wrong_at_end, *FEW),
            ratio,
        ),
        claim(
            "stops-clean",
            "section 3.2",
            "Stopping where the validation loss is least leaves no copies.",
            "share of copies there less that among held-out windows, all runs together: held if Newcombe's 95 % "
            f"interval ends at or below {MORE:g}, partly if the value does",
            stops_clean,
        ),
    ]
