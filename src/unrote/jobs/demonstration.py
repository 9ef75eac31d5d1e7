"""`unrote demo`: the same network on few and on many digits, and everything measured about both."""

from __future__ import annotations

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
from unrote.jobs.auditing import Audit, clear_blocks, examine, measure_held_out
from unrote.jobs.checking import check_options
from unrote.jobs.comparing import Reference, part_of
from unrote.jobs.demo_page import demo_page
from unrote.jobs.fitting import (
    Measurement,
    Plan,
    TrainingSet,
    as_compared,
    draw,
    fit,
    read_denoiser,
    read_history,
)
from unrote.jobs.options import AuditOptions, DemoOptions
from unrote.jobs.output import check_free, curve, document, progress, settings_of, workspace, write_document
from unrote.jobs.probing import LevelCurves, choose, level_curves
from unrote.jobs.training import training_set
from unrote.noise.levels import edm_levels
from unrote.report.format import at_most, percent, ratio
from unrote.report.page import write
from unrote.sweeps import sweep
from unrote.train.loop import Options

DUPLICATES = 0.05
"""Digits are drawn in 17 grey levels on 64 pixels: at the audit's 0.08 different ones would count as alike."""
MEASUREMENTS = 8
POLL = 0.5
"""Seconds between looks at how far the two training processes are."""
SMALLEST_SHARE = 0.25
"""What the small set must be copied to at least for the demonstration to have shown copying."""


@dataclass(frozen=True)
class Half:
    """One of the two models: what it was trained on, and what was found.

    Args:
        count: training images.
        history: losses and copies over training.
        audited: the audit of its samples.
        model, empirical: copies and errors level by level.
    """

    count: int
    history: tuple[Measurement, ...]
    audited: Audit
    model: LevelCurves
    empirical: LevelCurves


@dataclass(frozen=True)
class Demo:
    """The result of the demonstration."""

    small: Half
    large: Half
    shown: bool
    content: dict[str, Any]
    out: Path

    def as_json(self) -> dict[str, Any]:
        """The content of result.json."""
        return self.content

    def summary(self) -> str:
        """The two verdicts."""
        rows = [
            f"  {half.count:>6,} training images: {ratio(half.audited.copy_ratio)} of the samples are copies; fresh "
            f"digits: {ratio(half.audited.findings.main.calibration)}"
            for half in (self.small, self.large)
        ]
        return "\n".join(
            [self.content["results"]["verdict"], "", *rows, "", f"report: {self.out / 'report.html'}"]
        )


def demo(options: DemoOptions) -> Demo:
    """Train twice, audit twice, probe twice, and write one page.

    Raises:
        InputError: if the sizes do not fit into the 1,797 digits.
    """
    check_options(options)
    check_sizes(options)
    check_free(options.out, options.overwrite)
    configurations = [
        configuration(images, options.large, options.steps, options.samples, options.seed)
        for images in (options.small, options.large)
    ]
    identity = {"settings": settings_of(options), "seed": options.seed}
    with workspace(options.out, options.overwrite, identity) as folder:
        runs = [
            c | {"folder": str((folder / name).resolve())}
            for c, name in zip(configurations, NAMES, strict=True)
        ]
        with watched([Path(run["folder"]) for run in runs], 2 * options.steps):
            list(sweep(train_digits, runs, folder / "runs", workers=2))
        small, large = (investigate(run, options) for run in runs)
        shown = is_shown(small.audited, large.audited)
        verdict = sentence(small.audited, large.audited, shown)
        results = {
            "verdict": verdict,
            "copying_shown": shown,
            "copy_ratio": {
                name: half.audited.copy_ratio for name, half in zip(NAMES, (small, large), strict=True)
            },
        } | {name: results_of(half) for name, half in zip(NAMES, (small, large), strict=True)}
        content = document("demo", {"digits": small.audited.reference.images.provenance}, options, results)
        write(demo_page(small, large, verdict, shown, content), folder / "report.html")
        write_document(content, folder)
        tidy(folder)
    return Demo(small, large, shown, content, options.out)


NAMES = ("small", "large")


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


def digits(run: Mapping[str, Any]) -> tuple[Reference, Images]:
    """Training images and held-out images of a run.

    A smaller training set is part of a larger one of the same seed, and the held-out images are the same.
    """
    whole = load_images("digits")
    g = torch.Generator().manual_seed(run["seed"])
    pool, fresh = disjoint_splits(len(whole), [run["pool"], len(whole) - run["pool"]], g)
    return Reference.of(part_of(whole, pool[: run["images"]]), DUPLICATES, 2**29), part_of(whole, fresh)


def plan_of(run: Mapping[str, Any]) -> Plan:
    """The network and settings of the demonstration; only the number of images differs between the two."""
    steps = run["steps"]
    options = Options(
        steps=steps, warmup_steps=min(200, steps // 10), tick_every=max(1, steps // 100), cpu=True
    )
    return Plan(MLP(512, 3), options, MEASUREMENTS, run["samples"], run["seed"])


def train_digits(run: Mapping[str, Any]) -> dict[str, Any]:
    """Train one of the two models in its folder; called in a process of its own."""
    folder = Path(run["folder"])
    folder.mkdir(parents=True, exist_ok=True)
    reference, fresh = digits(run)
    done = 0

    def tell(steps: int) -> None:
        nonlocal done
        done += steps
        (folder / "done").write_text(str(done))

    _, history = fit(training_set(reference, fresh, False), plan_of(run), folder, tell)
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


def investigate(run: Mapping[str, Any], options: DemoOptions) -> Half:
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
    return Half(run["images"], tuple(read_history(place)), audited, model, optimum)


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


def results_of(half: Half) -> dict[str, Any]:
    """What result.json says of one model."""
    return {
        "training_images": half.count,
        "steps": [m.step for m in half.history],
        "train_loss": curve([m.train_loss for m in half.history]),
        "validation_loss": curve([m.validation_loss for m in half.history]),
        "copy_ratio_over_steps": curve([m.copy_ratio for m in half.history]),
        "audit": half.audited.content["results"],
        "levels": edm_levels(18).tolist(),
        **half.model.as_json(),
        "empirical": half.empirical.as_json(),
    }


def tidy(folder: Path) -> None:
    """Leave the page, the result, the two tables and the two models."""
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

    with progress("training both models, steps", total) as advance:
        thread = threading.Thread(target=watch, args=(advance,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
