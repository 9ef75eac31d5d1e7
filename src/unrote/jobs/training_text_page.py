"""The page of a run on text: copies and bits per character, copied text beside its source, and what to do next."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from unrote.data.spelling import parse, printable
from unrote.jobs.options import TrainOptions
from unrote.jobs.text_evidence import beside, compared, evidence
from unrote.jobs.training_page import run_page
from unrote.jobs.training_results import lowest_held_out
from unrote.jobs.training_text_data import TextSet
from unrote.jobs.training_text_run import read_samples, samples_path
from unrote.report import blocks
from unrote.report.format import quantity, ratio

if TYPE_CHECKING:
    from unrote.jobs.training import Training


def text_page(made: Training, data: TextSet, options: TrainOptions, folder: Path) -> blocks.Page:
    """The whole page.

    Args:
        folder: with the samples of every measured step.
    """
    train = data.train
    samples = read_samples(samples_path(folder, made.kept.step))
    found = compared(samples, train)
    names = tuple(f"sample {i + 1:,}" for i in range(len(samples)))
    rows = evidence(samples, names, train, found.nearest, found.differ, found.copied)
    lead = (
        f"A transformer learns {len(train):,} windows of {train.length:,} characters in {train.text.spec} by masked "
        "diffusion"
    )
    return run_page(
        made,
        lead,
        blocks.Section("Copied text beside its source", (rows,)),
        blocks.Section(
            "One sample on the way", (on_the_way(made, data, folder, int(found.differ.argmin())),)
        ),
        blocks.Section(
            "What to do next", (blocks.Text(advice(made, data)), blocks.Code(audit_command(data, options)))
        ),
    )


def on_the_way(made: Training, data: TextSet, folder: Path, which: int) -> blocks.Collations:
    """The same random numbers at every measured step, beside the window that the kept sample is nearest to."""
    steps, train = [m.step for m in made.history], data.train
    drawn = torch.stack([read_samples(samples_path(folder, step))[which] for step in steps])
    found = compared(drawn, train)
    window = int(found.nearest[steps.index(made.kept.step)])
    first = int(train.start[window])
    differ = (drawn != train.text.tokens[first : first + train.length]).sum(1)
    rows = tuple(
        beside(drawn[i], f"step {step:,}", train, window, int(differ[i]), bool(found.copied[i]))
        for i, step in enumerate(steps)
    )
    caption = (
        "What becomes of the same random numbers at every measured step, averaged weights, beside the window that the "
        "kept sample is nearest to. Characters that differ are marked. Framed samples are copies of this window or of "
        "another one."
    )
    return blocks.Collations(rows, caption, shown=len(rows))


def advice(made: Training, data: TextSet) -> tuple[str, ...]:
    """Sentences on what to do after this run."""
    history, kept, last = made.history, made.kept, made.history[-1]
    best = lowest_held_out(history)
    loss = quantity(best.validation_loss).split(", n = ")[0]
    bits = f"{loss} bits per character"
    audit = (
        "The command below audits the samples of the weights that were kept, with passages in other places."
    )
    if kept.copy_ratio.value:
        twice = 2 * len(data.train)
        return (
            f"Train for fewer steps. At step {best.step:,} the held-out loss was lowest ({bits}), and copies were "
            f"{ratio(best.copy_ratio)}. `--stop-early` keeps that step; `--stop-gap 0.9` ends a run where its losses "
            "have parted.",
            f"Or learn more text. Paper 002 finds the step at which copying starts about proportional to the number "
            f"of windows, so that {twice:,} windows may be learned for about twice as many steps.",
            audit,
        )
    if best is last:
        return (
            f"The held-out loss still fell ({bits} at the last step) and nothing is copied yet: train longer, for "
            f"example `--steps {2 * last.step}`, and look again.",
            audit,
        )
    return (
        f"More steps make it worse. At step {best.step:,} the held-out loss was lowest ({bits}); from there on the "
        "model learns its training text by heart, and copies follow. For a better model learn more text.",
        audit,
    )


def audit_command(data: TextSet, options: TrainOptions) -> str:
    """The audit of the samples that were kept, against the windows that were learned."""
    train, spelling = data.train, parse(options.train)
    learned = options.train
    if data.split:
        text = "text:" if str(options.train).startswith("text:") else ""
        learned = f"{text}{spelling.path}@{spelling.start}:{spelling.start + len(train)}"
    words = ["unrote", "audit", "--train", learned, "--samples", str(options.out / "samples.txt")]
    words += [] if options.test is None else ["--test", options.test]
    words += [] if options.stride is None else ["--stride", str(options.stride)]
    words += [] if options.normalize is None else ["--normalize", options.normalize]
    return " ".join(shlex.quote(printable(word)) for word in words)
