"""Fronts out of the ledger: every recorded run of remedies side by side, pooled over seeds by setting.

Rows are those of `ambient/front` and `wild_middle/gap`: a configuration with its "cure", and lists of copies and of
Frechet distances by step; those of `ambient/level`, at one level and one step each, are brought to that form.
Experiments that have no recorded runs yet, or whose rows have another form, add nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from unrote.contracts import Estimate
from unrote.denoise.networks import MLP, UNet
from unrote.jobs.advising_fronts import BASELINE, Front, Run, Setting, Treatment, front_of, middle
from unrote.jobs.options import TrainOptions
from unrote.lab.ambient.remedies import REMEDIES
from unrote.lab.claims import Row
from unrote.lab.runs import PLACES, experiment, recorded
from unrote.lab.study import network_of
from unrote.lab.wild_middle.gap_cures import EVERYTHING, MUCH, WINDOWS

EXPERIMENTS = (
    "ambient/front",
    "wild_middle/gap-mlp",
    "wild_middle/gap",
    "ambient/front-unet",
    "ambient/front-faces",
    "ambient/sizes",
    "ambient/level",
)
"""Experiments whose runs are fronts, where they are known and recorded."""
ASIDE = (MUCH,)
"""What is no remedy for a given training set: a model that learned from other pictures."""
NAMES = {
    "digits": "digits",
    "lfw_faces_32": "grey faces",
    "fashion_mnist": "pictures of clothes",
    "cifar10": "pictures of CIFAR-10",
    "cifar10_cars": "cars of CIFAR-10",
    "tiny_imagenet_32": "pictures of Tiny ImageNet",
    "templates": "digits in random colours",
}
"""Picture sets in words."""
COLOURED = ("cifar10", "cifar10_cars", "tiny_imagenet_32", "templates")
"""Picture sets with three channels."""
PYTHON = (
    "copies are drawn by levels first, as the authors' program does, which no flag of `unrote train` asks for"
)
Reader = Callable[[re.Match[str], Row], tuple[str, Treatment]]
"""A cure's name, matched, and a run of it -> its name for users, and what was done."""


def measured(names: Sequence[str] = EXPERIMENTS) -> tuple[Front, ...]:
    """Every front that the ledger holds, one for each setting; runs of several experiments in one setting are joined.

    Args:
        names: experiments.
    """
    sources: dict[str, list[tuple[str, Row]]] = {}
    for name in names:
        if name not in PLACES:
            continue
        rows, _ = recorded(experiment(name))
        for row in map(usual, rows):
            if readable(row):
                sources.setdefault(setting_key(row), []).append((name, row))
    fronts = []
    for found in sources.values():
        rows = [row for _, row in found]
        runs = [run_of(row) for row in rows]
        made = front_of(setting_of(rows, dict.fromkeys(name for name, _ in found)), runs)
        fronts += [] if made is None else [made]
    return tuple(fronts)


def usual(row: Row) -> Row:
    """A run at one level and one step in the form of the others; other rows as they are."""
    asked, result = row["configuration"], row["result"]
    if not {"pictures", "training", "level", "steps"} <= set(asked):
        return row
    training, level = asked["training"], asked["level"]
    configuration = {
        **asked["pictures"],
        "network": asked["network"],
        "batch": training["batch_size"],
        "learning_rate": training["learning_rate"],
        "ema": training["ema_decay"],
        "cure": "baseline" if level is None else f"ambient {level:g}, levels first",
        "seed": asked["seed"],
        "samples": asked["samples"],
    }
    lists = {"steps": [asked["steps"]], "copies": [result["copies"]], "frechet": [result["frechet"]]}
    return {"configuration": configuration, "result": lists}


def readable(row: Row) -> bool:
    """Whether a row is a run of a remedy with copies and quality at its steps."""
    asked, result = row["configuration"], row["result"]
    wanted = {"cure", "seed", "set", "side", "images", "network", "batch", "samples"} <= set(asked)
    return (
        wanted
        and asked["cure"] not in ASIDE
        and all(isinstance(result.get(key), list) for key in ("steps", "copies", "frechet"))
    )


def setting_key(row: Row) -> str:
    """What runs of one front have in common: all of a configuration but remedy, seed and when it was measured."""
    asked = row["configuration"]
    kept = {key: asked[key] for key in sorted(asked) if key not in {"cure", "seed", "pictures", "at"}}
    return repr(kept | {"steps": max(row["result"]["steps"])})


def run_of(row: Row) -> Run:
    """One recorded run under the name that its remedy has for users."""
    asked, result = row["configuration"], row["result"]
    name, treatment = treatment_of(row)
    distances = tuple(Estimate(value, None, None, asked["samples"]) for value in result["frechet"])
    return Run(name, asked["seed"], treatment, asked["samples"], result["steps"], result["copies"], distances)


def setting_of(rows: Sequence[Row], names: Sequence[str] | Mapping[str, Any]) -> Setting:
    """The setting that some runs share."""
    asked, steps = rows[0]["configuration"], max(rows[0]["result"]["steps"])
    side, images = asked["side"], asked["images"]
    network = network_of(asked["network"])
    gaps = [r["result"]["gap"] for r in rows if treatment_of(r)[0].split(" + ")[0] in RECOMMENDED]
    gap = (middle([low for low, _ in gaps]), middle([high for _, high in gaps])) if gaps else None
    said = NAMES.get(asked["set"], asked["set"])
    kind = "" if asked.get("class") is None else f", class {asked['class']}"
    mirrored = ", mirror images counted as copies" if asked.get("mirrored") else ""
    return Setting(
        f"{images:,} {said}{kind}, {side}x{side}{mirrored}",
        images,
        (3 if asked["set"] in COLOURED else 1, side, side),
        asked["network"]["kind"],
        described(network),
        steps,
        "Frechet distance",
        options_of(network, asked, steps),
        gap,
        source=", ".join(f"unrote reproduce {name}" for name in names),
    )


def described(network: MLP | UNet) -> str:
    """A network in words."""
    if isinstance(network, MLP):
        return f"residual MLP {network.depth}x{network.width}"
    return f"U-Net with {'-'.join(map(str, network.channels))} channels"


def options_of(network: MLP | UNet, asked: Mapping[str, Any], steps: int) -> dict[str, Any]:
    """Options of `unrote train` that train as a configuration does; its warm-up is the command's own."""
    if isinstance(network, MLP):
        shaped: dict[str, Any] = {"network": "mlp", "width": network.width, "depth": network.depth}
    else:
        shaped = {"network": "unet", "width": network.channels[0], "depth": len(network.channels)}
    more = {
        "steps": steps,
        "batch_size": asked["batch"],
        "learning_rate": asked.get("learning_rate", TrainOptions.learning_rate),
        "ema_decay": asked.get("ema", TrainOptions.ema_decay),
    }
    return shaped | more


def treatment_of(row: Row) -> tuple[str, Treatment]:
    """The name for users of a run's remedy, and what was done; parts joined by ' + ' are read one by one.

    A name that no reader knows stands as it is and has no command.
    """
    cure = row["configuration"]["cure"]
    parts = [_part(part, row) for part in cure.split(" + ")]
    name, made = parts[0]
    for other, more in parts[1:]:
        name = f"{name} + {other}"
        made = replace(
            made,
            recipe="+".join(dict.fromkeys(p.recipe for p in (made, more) if p.recipe != BASELINE))
            or BASELINE,
            gap=more.gap if made.gap is None else made.gap,
            ambient=more.ambient if made.ambient is None else made.ambient,
            more=(*made.more, *more.more),
            only_python=made.only_python or more.only_python,
            hides=made.hides or more.hides,
        )
    return name, made


def _part(text: str, row: Row) -> tuple[str, Treatment]:
    for pattern, reader in READERS:
        found = re.fullmatch(pattern, text)
        if found is not None:
            return reader(found, row)
    return text, Treatment(only_python=f"{text!r} is spelled in Python alone")


def _plain(found: re.Match[str], row: Row) -> tuple[str, Treatment]:
    return BASELINE, Treatment()


def _ambient(found: re.Match[str], row: Row) -> tuple[str, Treatment]:
    level, by_levels = float(found[1]), found[2] == ", levels first"
    name = f"ambient {level:g}{' by levels first' if by_levels else ''}"
    return name, Treatment(
        "ambient", ambient=level, more=(("ambient_rule", "levels-first"),) if by_levels else ()
    )


def _told(found: re.Match[str], row: Row) -> tuple[str, Treatment]:
    return "ambient at the gap's lower end", Treatment("ambient", ambient=row["result"]["told"])


def _noisy(found: re.Match[str], row: Row) -> tuple[str, Treatment]:
    level = float(found[1])
    return f"noisy copies {level:g} alone", Treatment("noisy-only", ambient=level, hides=True)


def _gap(found: re.Match[str], row: Row) -> tuple[str, Treatment]:
    """A gap by the name of its window and rule, or the recommended one."""
    groups = found.groupdict()
    window = groups.get("window") or "recommended"
    skips = groups.get("rule") == "skip" or "dropped" in found[0]
    named = WORDS.get(window) or (f"gap over the {window}" if window.startswith("zone") else f"gap {window}")
    name = f"{named}, rows dropped" if skips else named
    low, high = row["result"]["gap"]
    return name, Treatment("gap", (low, min(high, EVERYTHING)), more=(("gap_rule", "skip"),) if skips else ())


def _dummy(found: re.Match[str], row: Row) -> tuple[str, Treatment]:
    return "dummy class", Treatment("dummy")


def _masking(found: re.Match[str], row: Row) -> tuple[str, Treatment]:
    hidden = float(found[1])
    return f"masking {hidden:g}", Treatment("masking", more=(("hidden", hidden),), hides=True)


def _flip(found: re.Match[str], row: Row) -> tuple[str, Treatment]:
    return "mirrored images", Treatment(more=(("flip", True),))


def _option(found: re.Match[str], row: Row) -> tuple[str, Treatment]:
    """Weight decay or dropout, with the strength that the experiment gives it."""
    remedy = REMEDIES[found[0]]
    more = (*(remedy.options or {}).items(), *(remedy.network or {}).items())
    return f"{found[0]} {more[0][1]:g}", Treatment(more=more)


RECOMMENDED = ("gap", "gap, rows dropped")
"""Names for users of the gap that the geometry recommends."""
WORDS = {
    "recommended": "gap",
    "below": "gap below the recommended one",
    "lowest": "gap over the lowest levels",
    "highest": "gap over the highest levels",
}
"""Windows in words; "gap" alone is the recommended one."""
WINDOW = "|".join(re.escape(name) for name in WINDOWS)
NUMBER = r"(\d*\.?\d+)"
READERS: tuple[tuple[str, Reader], ...] = (
    ("baseline", _plain),
    (rf"ambient {NUMBER}(, levels first|, rows first)?", _ambient),
    ("ambient recommended", _told),
    (rf"noisy only {NUMBER}", _noisy),
    ("gap(, rows dropped)?", _gap),
    (rf"(?P<window>{WINDOW}) (?P<rule>reject|skip)", _gap),
    ("dummy", _dummy),
    (rf"masking {NUMBER}", _masking),
    ("flip", _flip),
    ("weight decay|dropout", _option),
)
"""How names of remedies in the ledger are read."""
