"""What the gap experiments claim, for one network: the rules were fixed before the runs."""

from __future__ import annotations

from collections.abc import Sequence

from unrote.lab.claims import Claim
from unrote.lab.ratios import SEVERAL
from unrote.lab.wild_middle.gap_cures import BOTH, DUMMY
from unrote.lab.wild_middle.gap_rules import (
    beyond_stopping,
    falling,
    fewer,
    fewer_than_half_trained,
    lower,
    several_fold,
)

FOLD = (
    "copies / copies of the baseline at the end, geometric mean over seeds, none counts as half a copy: held if its "
    f"95 % interval ends at or below {SEVERAL:.2g}, partly if below 1"
)
LESS = (
    "geometric mean over seeds, none counts as half a copy: held if its 95 % interval ends below 1, partly if the mean "
    "lies below"
)
DIFFERENCE = (
    "difference to the baseline at the end, mean over seeds: held if its 95 % interval ends below 0, partly if the "
    "mean lies below"
)
LEVELS = {
    "zone .95": "the paper's danger zone",
    "recommended": "the recommended gap",
    "zone .05": "the widest zone",
}


def name(network: str, *parts: str) -> str:
    """A claim's name in the ledger."""
    words = "-".join(parts).replace(" + ", "-and-").replace(" ", "-").replace("zone-.", "zone-")
    return f"gap-{network}-{words}"


def copying(network: str, tested: str, rules: Sequence[tuple[str, str]]) -> list[Claim]:
    """A gap over the zone cuts copying several-fold, and so does the dummy class."""
    found = [
        Claim(
            name(network, window, rule, "cuts-copying"),
            "001",
            "Figure 4",
            f"A gap over {LEVELS[window]} cuts copying several-fold (rule: {rule}).",
            tested,
            FOLD,
            several_fold(f"{window} {rule}"),
        )
        for window, rule in rules
    ]
    for cure, says in (
        (DUMMY, "The dummy class"),
        (BOTH, "The recommended gap and the dummy class together"),
    ):
        cuts = f"{says} cut{'s' if cure == DUMMY else ''} copying several-fold."
        found.append(
            Claim(
                name(network, cure, "cuts-copying"), "001", "Figure 4", cuts, tested, FOLD, several_fold(cure)
            )
        )
    says = "The dummy class copies less than the baseline at half of its steps, when real rows have been seen as often."
    rule = f"copies / copies of the baseline at half of its steps, {LESS}"
    found.append(
        Claim(
            name(network, DUMMY, "beyond-half-training"),
            "unrote",
            "001 Figure 4",
            says,
            tested,
            rule,
            fewer_than_half_trained(DUMMY),
        )
    )
    return found


def placing(
    network: str, tested: str, places: Sequence[tuple[str, str]], zones: Sequence[str]
) -> list[Claim]:
    """Where a gap lies and how wide it is."""
    found = [
        Claim(
            name(network, "zone-better-than", place, rule),
            "unrote",
            "001 section 5",
            f"The recommended gap copies less than a gap of the same share of the law at the place `{place}` (rule: "
            f"{rule}).",
            tested,
            f"copies / copies with the other gap at the end, {LESS}",
            fewer(f"recommended {rule}", f"{place} {rule}"),
        )
        for place, rule in places
    ]
    found.append(
        Claim(
            name(network, "wider-copies-less"),
            "001",
            "Figure 5",
            "The wider the zone that is left out, the fewer copies (rule: reject).",
            tested,
            f"slope of log copies over the share of the law removed, {', '.join(zones)}, one for each seed: held if "
            "its 95 % interval ends below 0 and every wider zone has a lower geometric mean, partly if only the "
            "interval does",
            falling(zones),
        )
    )
    return found


def quality(network: str, tested: str, cures: Sequence[str]) -> list[Claim]:
    """What a remedy does to quality, and whether stopping early does as well."""
    found = []
    for cure in cures:
        found += [
            Claim(
                name(network, cure, "improves-frechet"),
                "001",
                "Figure 4",
                f"{cure}: the Frechet distance to test pictures is lower than the baseline's.",
                tested,
                DIFFERENCE,
                lower(cure, "frechet"),
            ),
            Claim(
                name(network, cure, "improves-loss"),
                "unrote",
                "001 Figure 4",
                f"{cure}: the excess of the held-out loss over a model with much data is lower than the baseline's.",
                tested,
                DIFFERENCE,
                lower(cure, "held_out"),
            ),
            Claim(
                name(network, cure, "beats-stopping"),
                "001",
                "Figure 9",
                f"{cure}: fewer copies than the baseline stopped at the checkpoint with the nearest Frechet distance "
                "that is not worse.",
                tested,
                "copies / copies of the baseline there (of its 8 checkpoints; if none is as good, at its best one), "
                f"{LESS}",
                beyond_stopping(cure),
            ),
        ]
    return found
