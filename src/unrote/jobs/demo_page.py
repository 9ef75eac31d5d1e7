"""The page of the demonstration in three acts: diagnosis, cure, check; then the evidence."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from unrote.data.pixels import to_bytes
from unrote.jobs.audit_page import NO_GUARANTEE, evidence, histogram, picture, settings_blocks
from unrote.jobs.demo_check import Check, Pairs, Trained
from unrote.jobs.demo_diagnosis import prediction
from unrote.jobs.demo_words import brief, cure, forecast, losses, named, sentence, stopping
from unrote.jobs.geometry_page import between, curves_figure, strip
from unrote.jobs.probing import level_copies, level_errors
from unrote.jobs.surveying import Survey
from unrote.jobs.training_page import copy_figure, estimate_curve, loss_figure
from unrote.noise.levels import edm_levels
from unrote.report import blocks, plots
from unrote.report.canvas import Interval, Line
from unrote.report.format import Value, percent, plain, quantity, ratio

if TYPE_CHECKING:
    from unrote.jobs.demonstration import Demo

ONE_RUN = (
    "One training run each: intervals are over samples and digits, not over runs. `unrote claims` has five seeds of "
    "the sizes (first-look) and of training with such a gap (wild_middle/gap-mlp), with rules that were fixed before "
    "the runs."
)


def demo_page(made: Demo) -> blocks.Page:
    """The whole page."""
    models, named_models = made.models, _by_name(made.models)
    cured = "cure" if "gap" in models else "no cure"
    sections = [
        blocks.Section("Act 1, diagnosis: before training", _diagnosis(made)),
        blocks.Section(f"Act 2, {cured}: training with and without the gap", _cure(made)),
        blocks.Section("Act 3, check: was it right, did it help?", _check(made)),
        blocks.Section("Samples of the same seeds", _samples(made)),
        blocks.Section("Noise level by noise level", _levels(models)),
        *(blocks.Section(f"Audit: trained on {name}", _audit(model)) for name, model in named_models.items()),
        blocks.Section(
            "Definitions side by side", tuple(_definitions(n, m) for n, m in named_models.items())
        ),
        blocks.Section("Settings and versions", settings_blocks(made.content)),
    ]
    return blocks.Page(
        title="Memorization in one minute",
        lead="Diagnosis, cure and check: where a few handwritten digits will be copied, what leaving out these noise "
        "levels changes, and whether the forecast was right",
        verdict=verdict(made),
        sections=tuple(sections),
        footer=(NO_GUARANTEE, f"unrote {made.content['versions']['unrote']}"),
    )


def verdict(made: Demo) -> blocks.Verdict:
    """The answer, what was forecast, what the gap did, and the numbers printed large."""
    models, check = made.models, made.check
    zone = made.survey.findings.regimes.danger
    figures = [] if zone is None else [_figure("danger zone, sigma", between(zone), "before training")]
    figures += [
        blocks.KeyFigure(
            f"copies, {name}",
            model.audited.copy_ratio,
            note=f"fresh digits: {ratio(model.audited.findings.main.calibration)}",
        )
        for name, model in _by_name(models).items()
    ]
    said = sentence(models["small"].audited, models["large"].audited, made.shown)
    tone = blocks.Tone.NEUTRAL if made.shown else blocks.Tone.CAUTION
    return blocks.Verdict(said, tone, brief(models, check), tuple(figures))


def _figure(name: str, value: str, note: str) -> blocks.KeyFigure:
    return blocks.KeyFigure(name, value, plain, note)


def _by_name(models: Mapping[str, Trained]) -> dict[str, Trained]:
    return {named(name, model): model for name, model in models.items()}


def _diagnosis(made: Demo) -> tuple[blocks.Block, ...]:
    count = made.models["small"].count
    words = (
        "A diffusion model learns to remove noise. The optimum of its training loss can only give back the training "
        "images; a network generalizes because it does not reach that optimum. With few images it comes close.",
        f"At which noise levels? Distances between {count:,} of scikit-learn's 8x8 digits say it before anyone trains. "
        "At little noise a network meets only what lies close to its training images, and fresh digits do not; at "
        "much noise no single training image rules the answer. Between these calm ends both go wrong at once.",
        prediction(made.survey),
    )
    out: list[blocks.Block] = [
        blocks.Text(words),
        curves_figure(made.survey),
        strip(made.survey, made.content["seed"]),
    ]
    if made.survey.notes:
        out.append(blocks.Notes(made.survey.notes, blocks.Tone.NEUTRAL))
    return tuple(out)


def _cure(made: Demo) -> tuple[blocks.Block, ...]:
    models = made.models
    small, large = models["small"], models["large"]
    steps = small.history[-1].step
    what = (
        f"Residual MLPs (3 blocks of width 512, EDM's preconditioning) were trained for {steps:,} steps each: on the "
        f"{small.count:,} digits"
        + (", on the same digits with the levels of the recommended gap left out" if "gap" in models else "")
        + f", and on {large.count:,} digits, in which the {small.count:,} are contained. A sample is called a copy if "
        "it is three times nearer to its nearest training image than to the next one. Digits that no model saw say how "
        "often that happens by chance."
    )
    histories = {name: model.history for name, model in _by_name(models).items()}
    return (
        blocks.Text((what,)),
        copy_figure(histories),
        loss_figure({name: h for name, h in histories.items() if name != named("large", large)}),
    )


def _check(made: Demo) -> tuple[blocks.Block, ...]:
    check, models = made.check, made.models
    small, cured = models["small"], models.get("gap")
    out: list[blocks.Block] = [blocks.Text((forecast(check),)), probe_figure(check, models)]
    words = []
    if cured is not None and check.difference is not None and check.gap is not None:
        words += [cure(small, cured, check.difference, check.gap), losses(small, cured)]
    words += [stopping(small, check, cured), ONE_RUN]
    return (*out, blocks.Text(tuple(words)), remedies(made))


def probe_figure(check: Check, models: Mapping[str, Trained]) -> blocks.Figure:
    """Copies after one denoising step on the levels of the geometry, with zone and gap shaded."""
    called = {name: named(name, models[name]) for name in models}
    called["optimum"] = "optimum of the training set"
    marked = (("danger zone", check.danger), ("recommended gap", check.gap))
    return plots.curves(
        [estimate_curve(called[name], check.levels.tolist(), check.ratios(name)) for name in check.copied],
        x_label="noise level sigma",
        y_label="copies after one step",
        caption="Share of noised fresh digits that one denoising step turns into a copy of a training image, over the "
        "levels that were shaded before training; with 95 % intervals.",
        alt="Copy ratio of one denoising step against the noise level, danger zone and gap shaded",
        log_x=True,
        y_limits=(0.0, 1.02),
        show_y=percent,
        lines=[] if check.peak.value is None else [Line(check.peak.value, "copies most")],
        intervals=[Interval(zone.low, zone.high, name) for name, zone in marked if zone is not None],
    )


def remedies(made: Demo) -> blocks.Table:
    """Copies, held-out loss and quality of every model, and of the small one where its held-out loss was lowest."""
    check = made.check
    rows: list[tuple[Value, ...]] = []
    for name, model in made.models.items():
        last, called = model.history[-1], named(name, model)
        rows.append((called, last.step, last.copy_ratio, last.validation_loss, check.distance[name]))
        best = check.stopped
        if name == "small" and best.step != last.step:
            said = f"{called}, stopped early"
            rows.append((said, best.step, best.copy_ratio, best.validation_loss, check.distance["stopped"]))
    rows.append(("real digits", None, None, None, check.distance["real"]))
    columns = (
        blocks.Column("trained on"),
        blocks.Column("step"),
        blocks.Column("copies among samples", _without_count(ratio)),
        blocks.Column("loss on held-out digits", _without_count(quantity)),
        blocks.Column("Fréchet distance", _without_count(quantity)),
    )
    caption = (
        "Copies, loss on held-out digits over all levels, and the squared Fréchet distance of the samples from "
        "held-out digits (pixels from -1 to 1 as features), which sees noise and blur"
    )
    return blocks.Table(columns, tuple(rows), caption, sortable=False)


def _without_count(show: Callable[[Value], str]) -> Callable[[Value], str]:
    return lambda value: show(value).split(", n = ")[0]


def _samples(made: Demo) -> tuple[blocks.Block, ...]:
    shown = made.check.pairs
    step, small = made.check.stopped.step, made.models["small"]
    titles = {
        "small": f"Trained at all levels, {small.history[-1].step:,} steps",
        "gap": "Trained with the gap",
        "stopped": f"Trained at all levels, stopped at step {step:,}, where the held-out loss is lowest",
    }
    words = (
        f"The first {len(shown['small'].pixels)} samples of each model that was trained on {small.count:,} digits, "
        "from the same seeds and not chosen, each beside its nearest training digit. Framed pairs are copies."
    )
    last = small.history[-1].step == step
    parts = [
        blocks.Part(titles[name], (_pairs(made.survey, pairs),))
        for name, pairs in shown.items()
        if not (name == "stopped" and last)
    ]
    return (blocks.Text((words,)), *parts)


def _pairs(survey: Survey, pairs: Pairs) -> blocks.Gallery:
    train = survey.ground.reference.images
    groups = tuple(
        blocks.Exhibit(
            (
                blocks.Picture(to_bytes(sample, train.value_range), "sample"),
                picture(train, int(row), "nearest", ""),
            ),
            "",
            "copy" if bool(is_copied) else "",
            f"ratio {float(part):.2f}",
        )
        for sample, row, part, is_copied in zip(
            pairs.pixels, pairs.nearest, pairs.ratio, pairs.copied, strict=True
        )
    )
    return blocks.Gallery(groups)


def _levels(models: Mapping[str, Trained]) -> tuple[blocks.Block, ...]:
    curves = {}
    for name, model in models.items():
        curves[named(name, model)] = model.model
        if name != "gap":
            curves[f"optimum of {model.count:,}"] = model.empirical
    levels = edm_levels(18)
    trained = {named(name, model) for name, model in models.items()}
    copies = level_copies(levels, curves)
    errors = level_errors(levels, {name: c for name, c in curves.items() if name in trained})
    words = (
        "Fresh digits were noised and denoised once, over EDM's whole grid of levels. At low noise nothing can be "
        "copied by a network, since the digit is still visible; at high noise the answer is an average. The optimum of "
        "the training set copies at every low level: it knows nothing but its images."
    )
    return (copies, blocks.Text((words,)), errors)


def _audit(model: Trained) -> tuple[blocks.Block, ...]:
    made = model.audited
    return (blocks.Text((made.findings.sentence,)), histogram(made, 3.0), evidence(made, 12))


def _definitions(name: str, model: Trained) -> blocks.Block:
    columns = (
        blocks.Column("definition"),
        blocks.Column("a sample is a copy if"),
        blocks.Column("samples", ratio),
        blocks.Column("fresh digits", ratio),
    )
    rows = tuple((d.title, d.rule, d.ratio, d.calibration) for d in model.audited.findings.definitions)
    return blocks.Table(columns, rows, f"Trained on {name}", sortable=False)
