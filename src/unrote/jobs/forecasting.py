"""`unrote forecast`: how long may I train before the network copies my images? By pilots on a few of them."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from unrote.contracts import InputError
from unrote.denoise.networks import describe
from unrote.jobs.advising_data import command
from unrote.jobs.checking import check_apart, check_options
from unrote.jobs.comparing import origin
from unrote.jobs.forecasting_clock import Answer, Clock, clock_of
from unrote.jobs.forecasting_page import forecast_page
from unrote.jobs.forecasting_runs import FIRST, Material, measured_steps, onsets_of, read_material, reuse, run
from unrote.jobs.options import TrainOptions
from unrote.jobs.options_forecast import ForecastOptions
from unrote.jobs.output import (
    check_free,
    device_of,
    document,
    progress,
    settings_of,
    workspace,
    write_document,
)
from unrote.jobs.training import plan_of
from unrote.jobs.training_start import check_depth
from unrote.measure.onset import Onset
from unrote.report.page import write
from unrote.sweeps import sweep

WARMUP = 200
"""Steps over which the learning rate rises; `unrote train` has as many from ten times as many steps on."""
STORE = "pilots"
"""Folder of what was measured of every pilot."""
SMALLEST = 8
"""Images of a pilot, at least: of fewer a sample is easily near to one and far from all others."""
CHOICES = ("images", "sizes", "seeds", "steps_per_image", "copy_share", "loss_gap")
"""Options that change which pilots there are, or what is made of them, and not what one with a given name does."""


@dataclass(frozen=True)
class Forecast:
    """The answer with all that it rests on.

    Args:
        answer: both laws, what they say of the number of images that was asked about, and how far to trust it.
        pilots: configuration and result of each, by size and number.
        content: what result.json holds.
        out: the folder.
    """

    answer: Answer
    pilots: tuple[tuple[Mapping[str, Any], Mapping[str, Any]], ...]
    content: dict[str, Any]
    out: Path

    def as_json(self) -> dict[str, Any]:
        """The content of result.json."""
        return self.content

    def summary(self) -> str:
        """The answer, what speaks for and against it, and the command."""
        said = self.answer
        return "\n".join(
            [
                said.sentence(),
                "",
                *(f"  {line}" for line in said.evidence()),
                *(f"  note: {note}" for note in self.content["results"]["notes"]),
                "",
                f"  {self.content['results']['command']}",
                "",
                f"report: {self.out / 'report.html'}",
            ]
        )


def forecast(options: ForecastOptions) -> Forecast:
    """Train pilots, fit the law of onsets, and say how long training may last; writes result.json and report.html.

    Raises:
        InputError: if an input cannot be used, a pilot diverges, or copies are known to begin at less than two sizes.
    """
    sizes = check_settings(options)
    device = device_of(options.device)
    material = material_of(options)
    known = read_material(material)
    check_sizes(sizes, known)
    asked_for = len(known.pool) if options.images is None else options.images
    told = train_options(options)
    check_depth(plan_of(told, True).network, max(known.images.shape[1:]))
    inputs = {"train": asdict(origin(known.images)), "test": None}
    if options.test is not None:
        inputs["test"] = asdict(origin(known.fresh))
    planned = configurations(options, sizes, material | {"sha256": hashes(inputs)}, device.type)
    same = {name: value for name, value in settings_of(options).items() if name not in CHOICES}
    identity = {"settings": same, "seed": options.seed, "inputs": inputs}
    most = sum(one["at"][-1] for one in planned)
    print(cost(planned, options.workers), file=sys.stderr)
    with workspace(options.out, options.overwrite, identity, keeps=has_pilots) as folder:
        store = folder / STORE
        reuse(planned, store)
        with progress("steps of pilots", most) as advance:
            done = []
            for pair in sweep(run, planned, store, options.workers):
                done.append(pair)
                advance(pair[0]["at"][-1])
        pilots = tuple(sorted(done, key=lambda pair: (pair[0]["images"], pair[0]["number"])))
        answer = answer_of(pilots, asked_for, options)
        notes = [*answer.notes(), *data_notes(known, options, answer), *settings_notes(options, answer)]
        results = answer.as_json() | {
            "most_steps": most,
            "steps": sum(result["steps"][-1] for _, result in pilots),
            "notes": notes,
            "command": command(replace(told, steps=answer.safe_steps)),
            "pilots": [
                pilot_said(*pair, by_copies, by_losses)
                for pair, by_copies, by_losses in zip(
                    pilots, answer.copies.onsets, answer.losses.onsets, strict=True
                )
            ],
        }
        content = document("forecast", inputs, options, results)
        made = Forecast(answer, pilots, content, options.out)
        write(forecast_page(answer, pilots, content), folder / "report.html")
        write_document(content, folder)
    return made


def check_settings(options: ForecastOptions) -> tuple[int, ...]:
    """Refuse what can be refused before anything is read; returns the sizes, ascending.

    Raises:
        InputError: naming the flag.
    """
    check_options(options)
    check_free(options.out, options.overwrite)
    check_apart(options.out, options.train, options.test)
    try:
        sizes = tuple(sorted({int(word) for word in options.sizes.split(",")}))
    except ValueError as error:
        raise InputError(
            f"--sizes {options.sizes} is no list of whole numbers; write them with commas and nothing else, such as "
            "--sizes 64,128,256."
        ) from error
    if len(sizes) < 2 or sizes[0] < SMALLEST:
        raise InputError(
            f"--sizes {options.sizes} will not do: a law of growth takes pilots at two different sizes at least, each "
            f"of {SMALLEST} images or more, and is held against a third one; such as --sizes 64,128,256."
        )
    right = {
        "images": options.images is None or options.images >= SMALLEST,
        "seeds": 1 <= options.seeds <= 1000,
        "steps_per_image": FIRST < options.steps_per_image <= 1e6,
        "copy_share": 0 < options.copy_share < 1,
        "loss_gap": 0 < options.loss_gap < math.inf,
    }
    wrong = [
        f"--{name.replace('_', '-')} {getattr(options, name)}" for name, fine in right.items() if not fine
    ]
    if wrong:
        raise InputError(
            f"{', '.join(wrong)} cannot be used: --images is at least {SMALLEST}, --seeds at least 1, "
            f"--steps-per-image above {FIRST:g}, --copy-share between 0 and 1, and --loss-gap above 0."
        )
    train_options(options)
    return sizes


def check_sizes(sizes: Sequence[int], known: Material) -> None:
    """Refuse pilots that are larger than the data.

    Raises:
        InputError: naming how many different images there are.
    """
    n = len(known.pool)
    if sizes[-1] <= n:
        return
    held = f", of {len(known.images):,} after a tenth was held out" if known.words else ""
    alike = f", near-duplicates counted as one image{held}" if n < known.trained else held
    raise InputError(
        f"--sizes asks for pilots on {sizes[-1]:,} images, and {known.images.spec} has {n:,} to train on{alike}. Take "
        f"sizes up to {n:,}, such as --sizes {','.join(str(max(SMALLEST, n >> k)) for k in (3, 2, 1, 0))}."
    )


def material_of(options: ForecastOptions) -> dict[str, Any]:
    """Which images pilots are made of."""
    return {
        "train": options.train,
        "test": options.test,
        "train_range": None if options.train_range is None else list(options.train_range),
        "resize": options.resize,
        "duplicate_threshold": options.duplicate_threshold,
        "conditional": options.conditional,
        "seed": options.seed,
    }


def hashes(inputs: Mapping[str, Any]) -> list[str]:
    """What the pixels of both sets are."""
    return [said["sha256"] for said in inputs.values() if said is not None]


def train_options(options: ForecastOptions) -> TrainOptions:
    """What `unrote train` is asked for by the same flags."""
    own = {field.name for field in fields(TrainOptions)} & {field.name for field in fields(ForecastOptions)}
    leave = {"out", "overwrite", "json", "samples"}
    return TrainOptions(**{name: getattr(options, name) for name in own - leave})


def configurations(
    options: ForecastOptions, sizes: Sequence[int], material: Mapping[str, Any], device: str
) -> list[dict[str, Any]]:
    """Every pilot, the largest first, so that no process waits for long at the end."""
    plan = plan_of(train_options(options), device == "cpu")
    settings = asdict(replace(plan.options, warmup_steps=WARMUP))
    # Pilots are told apart by what can differ between them; `unrote train` knows AdamW alone.
    leave = {"steps", "tick_every", "cpu", "momentum"}
    settings = {name: value for name, value in settings.items() if name not in leave}
    return [
        {
            "material": dict(material),
            "network": describe(plan.network),
            "options": settings | {"betas": list(settings["betas"])},
            "images": images,
            "number": number,
            "run_seed": (1_000_003 * (options.seed + 1) + 10_007 * number + images) % 2**31,
            "at": measured_steps(images, options.steps_per_image),
            "samples": options.samples,
            "gap": options.loss_gap,
            "share": options.copy_share,
            "device": device,
        }
        for images in sorted(sizes, reverse=True)
        for number in range(options.seeds)
    ]


def cost(planned: Sequence[Mapping[str, Any]], workers: int) -> str:
    """What all pilots take at most, in a sentence."""
    most = sum(one["at"][-1] for one in planned)
    measured = sum(len(one["at"]) for one in planned)
    at_once = "one after the other" if workers == 1 else f"{workers} at a time"
    return (
        f"{len(planned)} pilots, {at_once}: at most {most:,} steps in all, of {planned[0]['options']['batch_size']} "
        f"images each, and {measured:,} times {planned[0]['samples']:,} samples. Each ends as soon as it has both "
        "onsets, often after a third of its steps."
    )


def has_pilots(folder: Path, error: BaseException) -> bool:
    """Whether a failed command left pilots that a next one can go on with."""
    return any((folder / STORE).glob("*.json"))


def answer_of(
    pilots: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]], images: int, options: ForecastOptions
) -> Answer:
    """Both laws, and what they say.

    Raises:
        InputError: if copies are known to begin at less than two sizes.
    """
    sizes = [asked["images"] for asked, _ in pilots]
    seen = [result for _, result in pilots]
    onsets = [onsets_of(result, options.loss_gap, options.copy_share) for result in seen]
    losses, copies = (clock_of(sizes, [pair[which] for pair in onsets], images) for which in (0, 1))
    if copies.law is None:
        raise InputError(too_few(copies, options))
    return Answer(
        images,
        copies,
        losses,
        options.copy_share,
        options.loss_gap,
        options.seeds,
        max(result["fresh_copies"] / result["fresh"] for result in seen),
    )


def too_few(copies: Clock, options: ForecastOptions) -> str:
    """Why there is no law, and what to do."""
    known = sorted(
        {p for p, onset in zip(copies.sizes, copies.onsets, strict=True) if onset.value is not None}
    )
    early = sum(onset.value is None and onset.high < math.inf for onset in copies.onsets)
    late = sum(onset.value is None and onset.high == math.inf for onset in copies.onsets)
    where = f"at {known[0]:,} images alone" if known else "in none"
    advice = []
    if late:
        advice.append(
            f"{late} of {len(copies.onsets)} pilots ended before that: raise --steps-per-image, which is "
            f"{options.steps_per_image:g}, to {4 * options.steps_per_image:g}, or the learning rate, if you train with "
            "a higher one"
        )
    if early:
        advice.append(
            f"{early} had copied at the first measured step, which is one for each image: take larger --sizes"
        )
    return (
        f"No law can be fitted: {options.copy_share:.3g} of the samples (--copy-share) are seen to become copies "
        f"{where}, and two sizes are needed. {'; '.join(advice)}. Pilots that are done are kept, and the same command "
        "with other --sizes, --seeds or --steps-per-image goes on with them."
    )


def data_notes(known: Material, options: ForecastOptions, answer: Answer) -> list[str]:
    """What is to be known of the images."""
    found = [known.words] if known.words else []
    doubled = known.trained - len(known.pool)
    if doubled:
        found.append(
            f"{doubled:,} of {known.trained:,} training images are near-duplicates of others, and each group counts as "
            f"one image: {len(known.pool):,} different ones. Images that occur often are copied earlier than others."
        )
    if known.leaked:
        found.append(
            f"{known.leaked:,} held-out images were left out, because they are near-duplicates of training images."
        )
    if answer.images != len(known.pool):
        found.append(
            f"The command names all of {known.images.spec}, {len(known.pool):,} different images; name your "
            f"{answer.images:,} with --train."
        )
    return found


def settings_notes(options: ForecastOptions, answer: Answer) -> list[str]:
    """Which training the numbers belong to."""
    found = [
        f"All numbers belong to the averaged weights (--ema-decay {options.ema_decay:g}), which lag behind the raw "
        "ones: those copy earlier. Another network, batch size or learning rate, augmentation, or a cure for copying "
        "has another onset."
    ]
    if answer.safe_steps < 10 * WARMUP:
        found.append(
            f"The learning rate of pilots rose over {WARMUP} steps. `unrote train` lets it rise over a tenth of its "
            f"steps where these are fewer than {10 * WARMUP:,}, so that such a run copies a little earlier."
        )
    return found


def pilot_said(
    asked: Mapping[str, Any], result: Mapping[str, Any], by_copies: Onset, by_losses: Onset
) -> dict[str, Any]:
    """One pilot in result.json."""
    return {
        "images": asked["images"],
        "number": asked["number"],
        "onset_by_copies": by_copies.as_dict(),
        "onset_by_losses": by_losses.as_dict(),
        **result,
    }
