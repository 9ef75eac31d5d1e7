"""`unrote COMMAND`: reads flags, runs a job, prints its result, and chooses the exit status.

Exit status: 0 done, 2 the input cannot be used, 3 copying is above --fail-above, 130 interrupted.
"""

from __future__ import annotations

import importlib
import io
import os
import re
import signal
import sys
from collections.abc import Sequence
from contextlib import redirect_stderr, suppress
from typing import Any, NoReturn

from unrote import __version__

COMMANDS = {
    "demo": ("unrote.jobs", "demo", "DemoOptions", "show me everything, now, on digits"),
    "audit": ("unrote.jobs", "audit", "AuditOptions", "are these samples copies? of what? how sure?"),
    "geometry": (
        "unrote.jobs",
        "geometry",
        "GeometryOptions",
        "before training: at which noise levels will it copy?",
    ),
    "train": ("unrote.jobs", "train", "TrainOptions", "train, and watch copying start"),
    "probe": ("unrote.jobs", "probe", "ProbeOptions", "at which noise levels does this model copy?"),
    "swap": ("unrote.jobs", "swap", "SwapOptions", "which noise levels cause the copying?"),
    "convert": (
        "unrote.jobs",
        "convert",
        "ConvertOptions",
        "weights out of an EDM snapshot, running nothing",
    ),
    "forecast": ("unrote.jobs", "forecast", "ForecastOptions", "how many steps before copying starts?"),
    "advise": ("unrote.lab.advising", "advise", "AdviseOptions", "which remedy for my limit on copying?"),
    "theory": ("unrote.jobs", "theory", "", "evaluate one formula (no --out: nothing is written)"),
    "reproduce": ("unrote.lab.runs", "reproduce", "ReproduceOptions", "does the paper's figure hold?"),
    "claims": ("unrote.lab.runs", "claims", "ClaimsOptions", "what has been reproduced, with which numbers?"),
}

NO_MEMORY = "out of memory|can't allocate memory"
"""What PyTorch says when memory runs out."""

HELP = """\
usage: unrote COMMAND [flags]      (unrote COMMAND --help lists the flags)

Measure, predict and prevent memorization in diffusion models.

commands:
{commands}

DATA (--train, --test, --samples) is one spelling everywhere:
  digits                      scikit-learn's 1,797 digits, 8x8
  FOLDER or FILE.zip          images, recursively; subfolders, dataset.json or metadata.csv are classes
  FILE.npy .npz .pt           arrays, uint8 or float (the pixel range is told and printed)
  FILE.parquet or FOLDER      the Hugging Face image layout; also what save_to_disk wrote
  FILE.txt or text:FILE       text, of which `unrote audit` and `unrote train` take windows (@P: the first P)
  hf:owner/name               from the Hugging Face caches; ?download=yes fetches it, nothing else does
  ... with suffixes           :split   @limit or @start:stop   ?label=NAME,NAME   (&config=NAME)
                              cifar10:train@5000?label=automobile      hf:mnist:test@1000:2000?label=3,8

Commands that measure write result.json and report.html to --out; --json prints the result instead.
Exit status: 0 done, 2 unusable input, 3 copying above --fail-above, 130 interrupted.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    signal.signal(signal.SIGTERM, interrupted)
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError):  # not a text file of Python's own, as in a notebook
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        return chosen(argv)
    except KeyboardInterrupt:
        print("\nInterrupted. The same command goes on where it was.", file=sys.stderr)
        return 130


def chosen(argv: Sequence[str] | None) -> int:
    """Help, version, or the command that is named."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in {"-h", "--help", "help"}:
        say(HELP.format(commands="\n".join(f"  {name:<11} {row[3]}" for name, row in COMMANDS.items())))
        return 0
    if arguments[0] == "--version":
        say(f"unrote {__version__}")
        return 0
    if arguments[0] not in COMMANDS:
        return refuse(f"{arguments[0]!r} is not a command; the commands are {', '.join(COMMANDS)}.")
    return calculate(arguments[1:]) if arguments[0] == "theory" else run(arguments[0], arguments[1:])


def calculate(arguments: Sequence[str]) -> int:
    """`unrote theory`: list the calculators, or evaluate the one that is named."""
    from unrote.jobs.calculators import CALCULATORS, listing

    if not arguments or arguments[0] in {"-h", "--help", "help"}:
        say(listing())
        return 0
    name, *flags = arguments
    chosen = next((c for c in CALCULATORS if c.name == name), None)
    if chosen is None:
        names = ", ".join(c.name for c in CALCULATORS)
        return refuse(f"{name!r} is not a calculator of unrote theory; the calculators are {names}.")
    place, function, *_ = COMMANDS["theory"]
    return perform(f"theory {name}", chosen.options, place, function, chosen.summary, flags)


def run(command: str, arguments: Sequence[str]) -> int:
    """A command whose options are in `unrote.jobs.options`."""
    place, function, options_name, summary = COMMANDS[command]
    options_type = getattr(importlib.import_module("unrote.jobs.options"), options_name)
    return perform(command, options_type, place, function, summary, arguments)


def perform(
    command: str, options_type: Any, place: str, function: str, summary: str, arguments: Sequence[str]
) -> int:
    """Parse the flags of a command, run it, print what it says."""
    # Threads that spin while they wait make everything several times slower on a machine that has other
    # work to do; the variable is read when PyTorch is loaded, and the user's own setting stays.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    import tyro

    complaint = io.StringIO()
    try:
        with redirect_stderr(complaint):
            options = tyro.cli(
                options_type, prog=f"unrote {command}", args=list(arguments), description=summary
            )
    except SystemExit as end:
        return (
            refuse(f"{unboxed(complaint.getvalue())}; `unrote {command} --help` lists the flags.")
            if end.code
            else 0
        )
    quiet_libraries()
    from unrote.contracts import InputError

    try:
        result = getattr(importlib.import_module(place), function)(options)
    except InputError as error:
        return refuse(str(error))
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and not re.search(NO_MEMORY, str(error)):
            raise
        return refuse(
            "This machine's memory is not enough for what was asked; take fewer images with @limit, smaller ones "
            "with --resize, or lower what the command counts (unrote COMMAND --help)."
        )
    return show(result, options)


NONE = "'None'"
"""How a choice that is not made is written."""


def unboxed(complaint: str) -> str:
    """What is wrong with the flags, without the box that it is drawn in and the guesses about types.

    Choices that may be left out come in an order of their own every time, with one that says so: here they are sorted.
    """

    def in_order(found: re.Match[str]) -> str:
        named = found[1].split(", ")
        return f"({', '.join(sorted({*named} - {NONE}) if NONE in named else named)})"

    words = []
    for line in complaint.splitlines()[1:]:
        text = line.strip(" │╭╮╰╯")
        if text.startswith(("Got errors", "Argument helptext", "For full helptext")):
            break
        if text.strip("─-"):
            words.append(text)
    return re.sub(r"\(('[^()]*')\)", in_order, " ".join(words).rstrip(".:"))


def show(result: Any, options: Any) -> int:
    """Print a result for people or for programs; status 3 if it is above the limit."""
    import json

    say(json.dumps(result.as_json(), indent=1) if options.json else result.summary())
    limit = getattr(options, "fail_above", None)
    if limit is None:
        return 0
    judged = getattr(result.copy_ratio, options.fail_on)
    if judged is None or judged <= limit:
        return 0
    print(
        f"The copy ratio's {options.fail_on} end, {judged:.4g}, is above --fail-above {limit:.4g}.",
        file=sys.stderr,
    )
    return 3


def say(text: str) -> None:
    """Print to standard output; that its reader has gone, as head goes, changes no exit status."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def refuse(message: str) -> int:
    """One paragraph on standard error, and status 2."""
    text = " ".join(message.split()).encode("utf-8", "backslashreplace").decode("utf-8")
    print(f"unrote: {text}", file=sys.stderr)
    return 2


def interrupted(number: int, frame: Any) -> NoReturn:
    """SIGTERM ends a command as Ctrl-C does: what is done is kept, and the next run goes on."""
    raise KeyboardInterrupt


def quiet_libraries() -> None:
    """Other libraries' chatter stays out of our output; nothing is fetched from a hub in silence."""
    import warnings

    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    warnings.filterwarnings("ignore", category=FutureWarning)


if __name__ == "__main__":
    raise SystemExit(main())
