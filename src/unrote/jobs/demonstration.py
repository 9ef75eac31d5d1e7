"""`unrote demo`: the geometry of a few digits, training on them with and without its gap, and whether it was right."""

from __future__ import annotations

import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from unrote.contracts import InputError
from unrote.data.images import disjoint_splits, load_images
from unrote.data.pixels import ContentHash
from unrote.data.sources import Images, Provenance
from unrote.denoise.compose import Precondition
from unrote.denoise.exact import Empirical
from unrote.denoise.networks import MLP
from unrote.jobs.auditing import clear_blocks, examine, measure_held_out
from unrote.jobs.checking import check_options
from unrote.jobs.comparing import Reference, part_of
from unrote.jobs.cure_words import told
from unrote.jobs.cures import Cures
from unrote.jobs.demo_check import Check, Trained, check_of, lowest_loss
from unrote.jobs.demo_diagnosis import diagnose, gap_of, prediction
from unrote.jobs.demo_page import demo_page
from unrote.jobs.demo_words import is_shown, named, remarks, sentence
from unrote.jobs.fitting import Plan, fit, read_denoiser
from unrote.jobs.measuring import LAW, TrainingSet, as_compared, draw, read_history
from unrote.jobs.options import AuditOptions, DemoOptions
from unrote.jobs.output import check_free, curve, document, progress, settings_of, workspace, write_document
from unrote.jobs.probing import choose, level_curves
from unrote.jobs.surveying import Survey
from unrote.jobs.training import training_set
from unrote.noise.levels import edm_levels
from unrote.report.format import ratio
from unrote.report.page import write
from unrote.sweeps import sweep
from unrote.train.checkpoints import checkpoint_path
from unrote.train.loop import Options

DUPLICATES = 0.05
"""Digits are drawn in 17 grey levels on 64 pixels: at the audit's 0.08 different ones would count as alike."""
MEASUREMENTS = 8
POLL = 0.5
"""Seconds between looks at how far the training processes are."""


@dataclass(frozen=True)
class Demo:
    """The result of the demonstration.

    Args:
        survey: the geometry of the small set, computed before training.
        models: what was trained, by name: small, gap (if one is recommended), large.
        check: the geometry held against what training did.
        shown: whether the small set was copied and the large one was not.
        content: what result.json holds.
        out: the folder with everything.
    """

    survey: Survey
    models: Mapping[str, Trained]
    check: Check
    shown: bool
    content: dict[str, Any]
    out: Path

    def as_json(self) -> dict[str, Any]:
        """The content of result.json."""
        return self.content

    def summary(self) -> str:
        """Diagnosis, cure and check, and the numbers behind them."""
        rows = [
            f"  {named(name, model):>28}: {ratio(model.audited.copy_ratio)} of the samples are copies; fresh digits: "
            f"{ratio(model.audited.findings.main.calibration)}"
            for name, model in self.models.items()
        ]
        said = (prediction(self.survey), *remarks(self.models, self.check))
        return "\n".join(
            [
                self.content["results"]["verdict"],
                "",
                *rows,
                "",
                *said,
                "",
                f"report: {self.out / 'report.html'}",
            ]
        )


def demo(options: DemoOptions) -> Demo:
    """Survey a few digits, train on them with and without the recommended gap, and on many; audit, probe, compare.

    Raises:
        InputError: if the sizes do not fit into the 1,797 digits.
    """
    check_options(options)
    check_sizes(options)
    check_free(options.out, options.overwrite)
    identity = {"settings": settings_of(options), "seed": options.seed}
    with workspace(options.out, options.overwrite, identity) as folder:
        survey = survey_of(options, folder)
        announce(prediction(survey))
        runs = runs_of(options, gap_of(survey), folder)
        with watched([Path(run["folder"]) for run in runs.values()], len(runs) * options.steps):
            # A process each, on two cores too: they share the cores to the end, where a third would run alone.
            list(sweep(train_digits, list(runs.values()), folder / "runs", workers=len(runs)))
        models = {name: investigate(run, options) for name, run in runs.items()}
        check = compare(runs, models, survey)
        shown = is_shown(models["small"].audited, models["large"].audited)
        results = results_of(models, survey, check, shown)
        if "gap" in runs:
            results["gap"]["interventions"] = told(plan_of(runs["gap"]).cures, LAW)
        origin = models["small"].audited.reference.images.provenance
        content = document("demo", {"digits": origin}, options, results)
        made = Demo(survey, models, check, shown, content, options.out)
        write(demo_page(made), folder / "report.html")
        write_document(content, folder)
        tidy(folder)
    return made


NAMES = ("small", "gap", "large")


def check_sizes(options: DemoOptions) -> None:
    """Refuse sizes that the digits do not allow.

    Raises:
        InputError: if small and large are not 3 <= small < large <= 1,600.
    """
    if not 3 <= options.small < options.large <= 1600 or options.steps < 100 or options.samples < 16:
        raise InputError(
            f"--small {options.small} --large {options.large} --steps {options.steps} --samples {options.samples} "
            "cannot be used: 3 <= small < large <= 1600 (of 1,797 digits the others are held out), at least 100 "
            "steps and 16 samples."
        )


def configuration(images: int, pool: int, steps: int, samples: int, seed: int) -> dict[str, Any]:
    """One run as JSON.

    Args:
        images: training images, the first of the pool.
        pool: digits that are set aside for training; the others are held out.
    """
    return {"images": images, "pool": pool, "steps": steps, "samples": samples, "seed": seed}


def survey_of(options: DemoOptions, folder: Path) -> Survey:
    """The geometry of the small set against the digits that are held out."""
    run = configuration(options.small, options.large, options.steps, options.samples, options.seed)
    reference, fresh = digits(run)
    return diagnose(reference, fresh, DUPLICATES, options.seed, folder)


def runs_of(options: DemoOptions, gap: tuple[float, float] | None, folder: Path) -> dict[str, dict[str, Any]]:
    """What is trained, by name; without a gap there are two runs."""
    small, large = (
        configuration(images, options.large, options.steps, options.samples, options.seed)
        for images in (options.small, options.large)
    )
    made = {"small": small} | ({} if gap is None else {"gap": small | {"gap": list(gap)}}) | {"large": large}
    return {name: run | {"folder": str((folder / name).resolve())} for name, run in made.items()}


def digits(run: Mapping[str, Any]) -> tuple[Reference, Images]:
    """Training images and held-out images of a run.

    A smaller training set is part of a larger one of the same seed, and the held-out images are the same.
    """
    whole = load_images("digits")
    g = torch.Generator().manual_seed(run["seed"])
    pool, fresh = disjoint_splits(len(whole), [run["pool"], len(whole) - run["pool"]], g)
    return Reference.of(part_of(whole, pool[: run["images"]]), DUPLICATES, 2**29), part_of(whole, fresh)


def plan_of(run: Mapping[str, Any]) -> Plan:
    """The network and settings of the demonstration; only images and the gap, where a run has one, differ."""
    steps, gap = run["steps"], run.get("gap")
    options = Options(
        steps=steps, warmup_steps=min(200, steps // 10), tick_every=max(1, steps // 100), cpu=True
    )
    cures = Cures() if gap is None else Cures(gap=(gap[0], gap[1]))
    return Plan(MLP(512, 3), options, MEASUREMENTS, run["samples"], run["seed"], cures=cures)


def train_digits(run: Mapping[str, Any]) -> dict[str, Any]:
    """Train one of the models in its folder; called in a process of its own."""
    folder = Path(run["folder"])
    folder.mkdir(parents=True, exist_ok=True)
    reference, fresh = digits(run)
    done = 0

    def tell(steps: int) -> None:
        nonlocal done
        done += steps
        (folder / "done").write_text(str(done))

    history = fit(training_set(reference, fresh, False), plan_of(run), folder, tell).history
    return {"history": [asdict(m) for m in history]}


def count_copies(run: Mapping[str, Any]) -> dict[str, Any]:
    """Train one model, and count copies among its samples and among fresh digits by the verdict's rule."""
    with tempfile.TemporaryDirectory() as place:
        options = DemoOptions(samples=run["samples"], seed=run["seed"])
        placed = {**run, "folder": place}
        train_digits(placed)
        half = investigate(placed, options)
    main = half.audited.findings.main
    fresh = half.audited.held_out
    assert fresh is not None and main.calibration is not None
    return {
        "samples": len(main.copied),
        "copies": int(main.copied.sum()),
        "fresh": len(fresh.distances),
        "fresh_copies": round((main.calibration.value or 0.0) * len(fresh.distances)),
    }


def investigate(run: Mapping[str, Any], options: DemoOptions) -> Trained:
    """Sample, audit and probe a trained model; table and page of the audit go beside the model."""
    place = Path(run["folder"])
    reference, fresh = digits(run)
    data = training_set(reference, fresh, False)
    denoiser, _, _ = read_denoiser(place)
    samples = sampled(denoiser, data, run)
    chosen = AuditOptions(
        train="digits",
        samples="the model",
        out=options.out,
        seed=options.seed,
        duplicate_threshold=DUPLICATES,
    )
    held_out = measure_held_out(fresh, reference, chosen, place)
    audited = examine(samples, reference, held_out, chosen, place)
    clear_blocks(place)
    points = choose(data.x, data.held_out, None, None, 256, run["seed"])
    levels = edm_levels(18)
    with progress("levels", 2 * len(levels)) as advance:
        model = level_curves(denoiser, points, reference, levels, run["seed"], advance)
        optimum = level_curves(Empirical(data.x), points, reference, levels, run["seed"], advance)
    return Trained(run["images"], tuple(read_history(place)), samples, audited, model, optimum)


def sampled(denoiser: Precondition, data: TrainingSet, run: Mapping[str, Any]) -> Images:
    """Samples of a model as a set of images."""
    x = draw(denoiser, data, run["samples"], run["seed"])
    pixels = as_compared(x, data.reference)
    content = ContentHash((0.0, 255.0))
    content.update(pixels)
    spec = f"a model trained on {run['images']:,} digits"
    _, channels, height, width = pixels.shape
    origin = Provenance(
        spec, "samples", len(pixels), (channels, height, width), "uint8", (0.0, 255.0), content.hexdigest()
    )
    names = tuple(f"sample {i}" for i in range(len(pixels)))
    return Images(spec=spec, pixels=pixels, value_range=(0.0, 255.0), names=names, provenance=origin)


def compare(runs: Mapping[str, Mapping[str, Any]], models: Mapping[str, Trained], survey: Survey) -> Check:
    """The geometry of the small set held against the models that were trained on it."""
    run = runs["small"]
    reference, fresh = digits(run)
    places = {name: Path(runs[name]["folder"]) for name in ("small", "gap") if name in runs}
    best = lowest_loss(models["small"].history)
    earlier, _, _ = read_denoiser(checkpoint_path(places["small"], best.step))
    stopped = sampled(earlier, training_set(reference, fresh, False), run)
    denoisers = {name: read_denoiser(place)[0] for name, place in places.items()}
    return check_of(survey, denoisers, models, stopped, run["seed"])


def results_of(models: Mapping[str, Trained], survey: Survey, check: Check, shown: bool) -> dict[str, Any]:
    """The keys of result.json."""
    verdict = sentence(models["small"].audited, models["large"].audited, shown)
    return {
        "verdict": verdict,
        "copying_shown": shown,
        "copy_ratio": {name: model.audited.copy_ratio for name, model in models.items()},
        "geometry": survey.content,
        "check": check.as_json(),
        **{name: trained_as_json(models[name]) if name in models else None for name in NAMES},
    }


def trained_as_json(model: Trained) -> dict[str, Any]:
    """What result.json says of one model."""
    return {
        "training_images": model.count,
        "steps": [m.step for m in model.history],
        "train_loss": curve([m.train_loss for m in model.history]),
        "validation_loss": curve([m.validation_loss for m in model.history]),
        "copy_ratio_over_steps": curve([m.copy_ratio for m in model.history]),
        "audit": model.audited.content["results"],
        "levels": edm_levels(18).tolist(),
        **model.model.as_json(),
        "empirical": model.empirical.as_json(),
    }


def announce(text: str) -> None:
    """Say something before the work goes on: on a terminal, like progress, and nowhere else."""
    if sys.stderr.isatty():
        print(f"{text}\n", file=sys.stderr, flush=True)


def tidy(folder: Path) -> None:
    """Leave the page, the result, and the table and the last checkpoint of each model."""
    import shutil

    shutil.rmtree(folder / "runs", ignore_errors=True)
    for name in NAMES:
        (folder / name / "done").unlink(missing_ok=True)
        for checkpoint in sorted((folder / name).glob("step-*.safetensors"))[:-1]:
            checkpoint.unlink()


@contextmanager
def watched(folders: Sequence[Path], total: int) -> Iterator[None]:
    """A progress bar over training processes, which say in a file how far they are."""
    over = threading.Event()

    def done() -> int:
        texts = [(f / "done").read_text() for f in folders if (f / "done").exists()]
        return sum(int(text) for text in texts if text)

    def watch(advance: Callable[[int], None]) -> None:
        seen = 0
        while not over.wait(POLL):
            now = done()
            advance(now - seen)
            seen = now

    with progress("training all models, steps", total) as advance:
        thread = threading.Thread(target=watch, args=(advance,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
