"""One learning rate for all widths: the tree U-Net of random grammars in two parametrisations, loss over learning rate.

v = 8, m = 2, L = 4, s = 2, 2,048 strings, so that 256 steps of 32 see each four times and nothing is memorized.

Piloted at seed 100 with rates a factor 4 apart, 300 steps, training loss (2.2 untrained). In maximal-update
parametrisation 1.30, 1.24, 1.55 at 1e-3, 4e-3, 1.6e-2 with width 32 and 1.21, 1.16, 1.37 with width 256, where at
6.4e-2 both have 6.8. In standard parametrisation 1.35, 1.25, 1.39 and 3.6 at 6.4e-2 with width 32; 1.18, 1.44 and 6.7
at 1.6e-2 with width 256.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from unrote.lab.claims import Claim, Experiment
from unrote.lab.early_stopping.rhm import PAPER, SEEDS, SHAPE
from unrote.lab.early_stopping.rhm_rates_figures import show
from unrote.lab.early_stopping.rhm_rates_rules import best, falls, is_shared, stable, wider_is_better
from unrote.lab.early_stopping.rhm_rates_runs import LAST, run
from unrote.lab.wild_middle.gap_rules import Judged
from unrote.report.format import Value, quantity

BASE = 64
"""The width at which both parametrisations are one."""
WIDTHS = (32, 64, 128, 256)
RATES = tuple(2.5e-4 * 2**k for k in range(10))
"""Up to the first at which nothing is learned."""
COMMON = 2e-3
"""The rate at which widths are compared."""
FAR = 1 / 3
"""A rate ~ width^c with |c| below this moves by less than a factor 2, one step of the grid, over the widths."""
OPTIONS: dict[str, Any] = {"steps": 256, "batch_size": 32, "warmup_steps": 50}


def configuration(width: int, base: int, seed: int) -> dict[str, Any]:
    """All rates of one network."""
    return {
        "shape": SHAPE,
        "trained": 2048,
        "held": 512,
        "width": width,
        "base": base,
        "common": BASE,
        "rates": list(RATES),
        "options": OPTIONS,
        "seed": seed,
    }


def configurations(scale: str) -> Sequence[Mapping[str, Any]]:
    """Every width in both parametrisations, for every seed; widths up to the paper's at paper scale."""
    if scale == "smoke":
        quick = {"trained": 64, "held": 64, "options": OPTIONS | {"steps": 32}, "rates": [1e-3, 4e-3]}
        return [configuration(width, base, 0) | quick for width, base in ((16, BASE), (16, 16), (64, BASE))]
    widths, more = WIDTHS, {}
    if scale == "paper":
        widths = (64, 256, 1024, 8192)
        more = {"shape": PAPER, "trained": 16_384, "options": OPTIONS | {"steps": 8192}}
    pairs = [(width, base) for width in widths for base in dict.fromkeys((BASE, width))]
    return [configuration(width, base, seed) | more for seed in SEEDS for width, base in pairs]


TESTED = (
    "random grammars of v = 8, m = 2, L = 4, s = 2, rules and strings of each seed; 2,048 strings, uniform tokens; "
    f"tree U-Net of widths {', '.join(map(str, WIDTHS))}, {{}}; Adam, batches of 32, {OPTIONS['steps']} steps, rates a "
    f"factor 2 apart from {RATES[0]:g} on; loss of the raw weights on 512 training strings, mean over the last {LAST} "
    "steps; seeds 0 to 4"
)
PARAMETRISED = {"mup": f"rates of hidden weights times {BASE}/width", "standard": "one rate for all weights"}
BEST = "rate of the least loss (parabola through the least and its neighbours)"
STABLE = "largest rate before the first at which the loss is not below that of the untrained network"


def claim(
    way: str, name: str, says: str, rule: str, judged: Judged, shown: Callable[[Value], str] = quantity
) -> Claim:
    """One claim on one parametrisation."""
    tested = TESTED.format(PARAMETRISED[way])
    return Claim(f"rhm-rates-{way}-{name}", "002", "appendix B.3", says, tested, rule, judged, shown)


def claims() -> tuple[Claim, ...]:
    """What is claimed of both parametrisations."""
    found = []
    for name, words, of in (("best", BEST, best), ("stable", STABLE, stable)):
        told = (
            f"{words}, exponent c of rate ~ width^c, one line a seed: held if the 95 % interval over seeds "
        )
        found += [
            claim(
                "mup",
                name,
                f"In maximal-update parametrisation the {'best' if of is best else 'largest stable'} learning rate is "
                "one for all widths.",
                f"{told}lies in [-1/3, 1/3] (a factor 2 over the widths), partly if it reaches into it",
                is_shared(of, FAR),
            ),
            claim(
                "standard",
                name,
                f"In standard parametrisation the {'best' if of is best else 'largest stable'} learning rate falls "
                "with the width.",
                f"{told}ends at or below -1/3 (a factor 2 over the widths), partly if it ends below 0",
                falls(of, FAR),
            ),
        ]
    return (
        *found,
        claim(
            "mup",
            "wider",
            f"In maximal-update parametrisation a wider network learns more at a common rate ({COMMON:g}).",
            "change of the held-out loss, in nats a token, from one width to twice that, one line a seed: held if the "
            "95 % interval lies below 0, partly if the value does; failed if a run does not learn",
            wider_is_better(COMMON),
        ),
    )


EXPERIMENT = Experiment(
    name="early_stopping/rhm-rates",
    about="Random grammars: the learning rate of the tree U-Net over its width, in two parametrisations.",
    scale="laptop",
    configurations=configurations,
    run=run,
    claims=claims(),
    show=show,
)
