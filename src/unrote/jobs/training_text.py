"""`unrote train` of text: learn windows of a file by masked diffusion, watch copying start, say what to do."""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import Any

from unrote.denoise.token_networks import Transformer
from unrote.jobs.checking import check_apart, check_name
from unrote.jobs.options import TrainOptions
from unrote.jobs.output import check_free, device_of, document, progress, workspace, write_document
from unrote.jobs.training import Training, asked_of, has_checkpoint, kept_of, loop_options, settle
from unrote.jobs.training_results import cost_sentence, results_of
from unrote.jobs.training_sizes import sizes_of
from unrote.jobs.training_stop import check_stop
from unrote.jobs.training_text_data import TextSet, read_windows
from unrote.jobs.training_text_page import text_page
from unrote.jobs.training_text_run import TextPlan, build, fit_text, samples_path
from unrote.jobs.training_words import WINDOWS
from unrote.report.page import write

HEADS = 4
"""Heads of attention, unless given."""
CLIP = 0.5
"""The largest norm of a gradient: weights 1/t have a long tail, with which small batches learn little for a thousand
steps."""
BETAS = 0.9, 0.99
"""Of AdamW: the size of gradients changes within hundreds of steps here."""
UNIT = "bits per character"
"""Of the losses of a run on text."""


def train_text(options: TrainOptions) -> Training:
    """Learn windows of text; an interrupted run goes on where it was.

    Raises:
        InputError: if an input cannot be used, or training diverges.
    """
    check_free(options.out, options.overwrite)
    check_apart(options.out, options.train, options.test)
    check_name("--out", options.out)
    check_stop(options.stop_gap, options.stop_early, "windows")
    device = device_of(options.device)
    plan = plan_of_text(options, device.type == "cpu")
    data, inputs = read_windows(options)
    build(plan.network, 1, 0)  # sizes that cannot be built are told before anything is written
    identity = {"settings": asked_of(options), "seed": options.seed, "inputs": inputs}
    with (
        workspace(options.out, options.overwrite, identity, keeps=has_checkpoint) as folder,
        progress("training steps", plan.options.steps) as advance,
    ):
        run = fit_text(data, plan, folder, advance, device)
        kept = kept_of(run.history, options.stop_early, run.stop)
        results = results_of(run, kept, plan.options, WINDOWS.things) | said_of(data)
        content = document("train", inputs, options, results)
        notes = (data.split, *data.notes, cost_sentence(results["monitoring"]))
        made = Training(
            tuple(run.history),
            content,
            options.out,
            (),
            kept,
            run.stop,
            tuple(note for note in notes if note),
            WINDOWS,
        )
        shutil.copyfile(samples_path(folder, kept.step), folder / "samples.txt")
        write(text_page(made, data, options, folder), folder / "report.html")
        write_document(content, folder)
        settle(made, folder)
        return made


def plan_of_text(options: TrainOptions, cpu: bool) -> TextPlan:
    """The flags as a plan; the gated units of the transformer are 8/3 as wide as its residual stream, as MD4's are."""
    sizes = sizes_of(options)
    heads = HEADS if options.heads is None else options.heads
    network = Transformer(sizes.width, sizes.depth, heads, 8 * sizes.width // 3, options.dropout)
    return TextPlan(
        network,
        replace(loop_options(options, cpu), clip=CLIP, betas=BETAS),
        options.checkpoints,
        sizes.samples,
        options.seed,
        options.both_weights,
        options.stop_gap,
    )


def said_of(data: TextSet) -> dict[str, Any]:
    """What result.json says of the windows."""
    train = data.train
    return {
        "unit": UNIT,
        "window": {"length": train.length, "stride": train.stride, "count": len(train)},
        "held_out": {"windows": len(data.held_out), "split_off": bool(data.split)},
        "notes": list(data.notes),
    }
