"""Fronts of the user's own: folders of `unrote train --recipe baseline,...`, pooled over seeds."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from unrote.contracts import Estimate, InputError
from unrote.data.spelling import printable
from unrote.jobs.advising_fronts import BASELINE, Front, Run, Setting, Treatment, front_of
from unrote.jobs.cures import FLAGS, parts_of
from unrote.jobs.options import TrainOptions
from unrote.jobs.training_sizes import IMAGES
from unrote.sweeps import key_of

HIDING = {"noisy-only", "masking"}
"""Parts of a recipe whose copies a rule by distance does not see."""
OWN = {"recipe", *FLAGS}
"""Options that belong to one recipe, not to the setting."""
ASIDE = {"device", "steps", "stop_early"}
"""Options that are spelled anew, or that results do not depend on."""


def read_fronts(folders: Sequence[Path]) -> tuple[Front, ...]:
    """One front for each set of data and settings; folders that differ in the seed alone are pooled.

    Raises:
        InputError: for a folder that is no comparison, or has no baseline, or the same seed twice.
    """
    found: dict[str, list[tuple[Path, dict[str, Any]]]] = {}
    for folder in folders:
        content = read_comparison(folder)
        same = {"inputs": content["inputs"], "settings": content["settings"] | {"device": None}}
        found.setdefault(key_of(same), []).append((folder, content))
    return tuple(_front(same) for same in found.values())


def read_comparison(folder: Path) -> dict[str, Any]:
    """The result.json of a comparison of recipes.

    Raises:
        InputError: saying what is there instead.
    """
    shown = f"--front {printable(str(folder))}"
    what = (
        "name the folder that `unrote train --recipe baseline,gap,... --out FOLDER` wrote, with several recipes and "
        "the baseline among them."
    )
    path = folder / "result.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        missing = "is no folder" if not folder.is_dir() else "holds no result.json that can be read"
        raise InputError(f"{shown} {missing}; {what}") from error
    except ValueError as error:
        raise InputError(f"{shown} holds a result.json that is no JSON; {what}") from error
    if not isinstance(content, dict) or content.get("command") != "train":
        other = content.get("command") if isinstance(content, dict) else None
        made = f"of `unrote {printable(str(other))}`" if isinstance(other, str) else "of another program"
        raise InputError(f"{shown} holds a result {made}, not a comparison of recipes; {what}")
    results = content.get("results")
    if not isinstance(results, dict) or not isinstance(results.get("runs"), dict):
        raise InputError(f"{shown} is a single training run, with nothing to compare it with; {what}")
    if BASELINE not in results["runs"]:
        names = ", ".join(map(printable, results["runs"]))
        raise InputError(f"{shown} compares {names}, and there is no baseline to hold them against; {what}")
    try:
        setting_of(content, [folder])
        _runs(content)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise InputError(
            f"{shown} holds a result.json in which something is missing or of another form ({error}), such as an "
            f"earlier or a later version of unrote may have written; {what}"
        ) from error
    return content


def _front(same: Sequence[tuple[Path, dict[str, Any]]]) -> Front:
    """One front of folders that differ in their seeds."""
    seeds: dict[Any, Path] = {}
    for folder, content in same:
        if content["seed"] in seeds:
            other = printable(str(seeds[content["seed"]]))
            raise InputError(
                f"--front {printable(str(folder))} and --front {other} are the same runs with the same "
                f"seed, {content['seed']}; counted twice they would make intervals too narrow. Leave one out, or train "
                "with another --seed."
            )
        seeds[content["seed"]] = folder
    made = front_of(
        setting_of(same[0][1], [folder for folder, _ in same]),
        [run for _, content in same for run in _runs(content)],
    )
    assert made is not None
    return made


def setting_of(content: Mapping[str, Any], folders: Sequence[Path]) -> Setting:
    """What the runs of a comparison share."""
    settings, train = content["settings"], content["inputs"]["train"]
    known = {field.name: field for field in fields(TrainOptions)}
    options = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in settings.items()
        if name in known and name not in OWN | ASIDE and value != _default(known[name])
    }
    count = int(train["count"])
    held = 0 if settings["test"] is not None else max(1, count // 10)
    channels, height, width = train["shape"]
    network = "U-Net" if settings["network"] == "unet" else "residual MLP"
    started = " started from a model" if settings.get("from_model") else ""
    measured = all(run.get("frechet_distance") for run in content["results"]["runs"].values())
    return Setting(
        f"{count - held:,} images of {height}x{width} ({printable(train['spec'])})",
        count - held,
        (channels, height, width),
        settings["network"],
        f"{network} {settings['depth']}x{settings['width']}{started}",
        settings["steps"],
        f"Frechet distance in {settings['features']}" if measured else "loss on held-out images",
        options,
        sha256=train["sha256"],
        source=", ".join(printable(str(folder)) for folder in folders),
    )


def _default(field: Any) -> Any:
    return vars(IMAGES).get(field.name, None if field.default is MISSING else field.default)


def _runs(content: Mapping[str, Any]) -> list[Run]:
    """Every recipe with what was measured on the way."""
    runs = content["results"]["runs"]
    measured = all(run.get("frechet_distance") for run in runs.values())
    found = []
    for name, run in runs.items():
        quality = run["frechet_distance" if measured else "validation_loss"]
        estimates = [
            Estimate(*each)
            for each in zip(*(quality[key] for key in ("value", "low", "high", "n")), strict=True)
        ]
        found.append(
            Run(
                name,
                int(content["seed"]),
                treatment_of(name, content["settings"]),
                int(run["copy_ratio"]["n"][-1]),
                run["steps"],
                run["copy_ratio"]["value"],
                estimates,
            )
        )
    return found


def treatment_of(recipe: str, settings: Mapping[str, Any]) -> Treatment:
    """What one of several recipes did, with the flags that it needs of those that were given."""
    parts = set(parts_of(recipe))
    own = {flag: settings.get(flag) for flag, users in FLAGS.items() if parts & set(users)}
    gap, noisy = own.pop("gap", None), own.pop("ambient", None)
    default = {field.name: field.default for field in fields(TrainOptions)}
    return Treatment(
        recipe,
        None if gap is None else (gap[0], gap[1]),
        noisy,
        tuple((flag, value) for flag, value in own.items() if value != default[flag]),
        hides=bool(HIDING & parts),
    )
