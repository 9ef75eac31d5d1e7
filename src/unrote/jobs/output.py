"""Where results go: a folder that appears complete or not at all, and JSON that is a contract."""

from __future__ import annotations

import dataclasses
import errno
import json
import math
import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch

from unrote import __version__
from unrote.contracts import Estimate, InputError
from unrote.data.spelling import printable
from unrote.sweeps import key_of, write_atomic

SCHEMA = 1
"""Version of result.json: keys are added within a version, and renamed never."""


def nothing(folder: Path, error: BaseException) -> bool:
    """A failed command leaves nothing that is worth keeping."""
    return False


@contextmanager
def workspace(
    out: Path,
    overwrite: bool,
    identity: Mapping[str, Any],
    keeps: Callable[[Path, BaseException], bool] = nothing,
) -> Iterator[Path]:
    """A folder to work in that becomes ``out`` when all went well.

    The work happens in ``out`` + ".partial". It is renamed at the end, removed after an error, and
    kept after an interruption (Ctrl-C, a kill), so that the same command goes on where it was.

    Args:
        out: the final folder; refused if it holds anything, unless overwrite is set and what it holds
            is a result of this program.
        identity: what makes two runs the same run; a partial folder of another identity is discarded.
        keeps: whether the folder is kept after an error too, because it holds hours of work.

    Raises:
        InputError: if out cannot be used, or the disk is full.
    """
    check_free(out, overwrite)
    place = out.resolve()
    work = partial_of(place)
    key = key_of(dict(identity))
    made: list[Path] = []
    try:
        if work.exists() and _key_in(work) != key:
            shutil.rmtree(work)
        if not work.exists():
            made = _make(work)
            write_atomic(work / STAMP, json.dumps({"key": key}))
        yield work
        _replace(work, place)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        if not keeps(work, error):
            shutil.rmtree(work, ignore_errors=True)
            _remove_empty(made)
        if isinstance(error, OSError) and error.errno in UNWRITABLE:
            raise InputError(_unwritable(out, error)) from error
        raise


STAMP = "identity.json"
"""Says in a partial folder which run it belongs to."""

FULL = {errno.ENOSPC, errno.EDQUOT}
UNWRITABLE = FULL | {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.ENAMETOOLONG, errno.EIO}
UNWRITABLE |= {errno.EBUSY, errno.EXDEV, errno.EFBIG, errno.ELOOP}
"""What a system answers where nothing, or nothing more, can be written."""


def _unwritable(out: Path, error: OSError) -> str:
    if error.errno in FULL:
        return (
            f"The disk that holds {printable(str(out))} is full, so no result was written; free some space or "
            "name another place with --out."
        )
    return (
        f"Nothing can be written to --out {printable(str(out))} ({error.strerror}); name a folder in a place that "
        "can be written to."
    )


def partial_of(out: Path) -> Path:
    """Where the work for an output folder happens until it is complete."""
    return out.with_name(out.name + ".partial")


def _make(work: Path) -> list[Path]:
    """Make a folder with its parents; returns the parents that were not there, innermost first.

    Raises:
        InputError: if it cannot be made.
    """
    missing = [parent for parent in work.parents if not parent.exists()]
    try:
        work.mkdir(parents=True)
    except OSError as error:
        _remove_empty(missing)
        raise InputError(_unwritable(work.with_suffix(""), error)) from error
    return missing


def _remove_empty(folders: list[Path]) -> None:
    for folder in folders:
        with suppress(OSError):
            folder.rmdir()


def _key_in(work: Path) -> str | None:
    """Which run a partial folder belongs to; None if a kill came before it could be said."""
    try:
        return str(json.loads((work / STAMP).read_text(encoding="utf-8"))["key"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def check_free(out: Path, overwrite: bool) -> None:
    """Refuse an output folder that cannot be one, or holds something that is not ours to replace.

    Raises:
        InputError: naming what is there and what to do.
    """
    shown = f"--out {printable(str(out))}"
    place, here = _place(out, shown)
    if place == here or place in here.parents:
        raise InputError(
            f"{shown} is the folder that the command is run in, or one around it; name a folder that does not "
            "exist yet."
        )
    if os.path.lexists(partial_of(place)):
        _check_ours(partial_of(place))
    if not os.path.lexists(out):
        return
    if not out.is_dir():
        raise InputError(f"{shown} is a file; name a folder that does not exist yet.")
    held = sorted(printable(path.name) for path in out.iterdir())
    if held and not overwrite:
        raise InputError(
            f"{shown} already holds {len(held)} entries ({', '.join(held[:3])}"
            f"{', ...' if len(held) > 3 else ''}); name a new folder, or add --overwrite to replace it."
        )
    if held and not (out / "result.json").is_file():
        raise InputError(
            f"--overwrite replaces only folders that unrote wrote, and {printable(str(out))} has no result.json; "
            "name a new folder, or remove this one yourself."
        )


def _place(out: Path, shown: str) -> tuple[Path, Path]:
    """Where the output folder is, or will be, and where the command is run.

    Raises:
        InputError: if nothing can be made there.
    """
    try:
        place, here = out.resolve(), Path.cwd()
        around = next((parent for parent in place.parents if os.path.lexists(parent)), place)
        with suppress(FileNotFoundError):
            (place.parent / f"{place.name}.partial").lstat()  # a name that is too long is told here
    except (OSError, ValueError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"{shown} cannot be used ({reason}); name another folder.") from error
    if not (around.is_dir() and os.access(around, os.W_OK | os.X_OK)):
        raise InputError(
            f"{shown} cannot be used: nothing can be written to {printable(str(around))}; name a folder in a place "
            "that can be written to."
        )
    return place, here


def _check_ours(work: Path) -> None:
    """Refuse to work in, or to clear away, a folder that is not an interrupted run."""
    begun = work.is_dir() and all(path.name.startswith(f".{STAMP}.") for path in work.iterdir())
    if not begun and not (work / STAMP).is_file():
        raise InputError(
            f"Results are made in {printable(str(work))} until they are complete, and something else is there; move "
            "it, or name another folder with --out."
        )


def _replace(work: Path, out: Path) -> None:
    """Put the finished folder in the place of the old one, which moves into it and goes with the stamp."""
    old = work / ".replaced"
    if out.exists():
        out.rename(old)
    work.rename(out)
    (out / STAMP).unlink()
    shutil.rmtree(out / old.name, ignore_errors=True)


def settings_of(options: Any) -> dict[str, Any]:
    """The settings that a result depends on: all options but where and how it is written."""
    leave = {"out", "overwrite", "json", "fail_above", "fail_on", "seed", "record", "workers"}
    return {k: plain(v) for k, v in dataclasses.asdict(options).items() if k not in leave}


def document(
    command: str, inputs: Mapping[str, Any], options: Any, results: Mapping[str, Any]
) -> dict[str, Any]:
    """The content of result.json: schema, inputs, settings, results, versions and seed."""
    return {
        "schema": SCHEMA,
        "command": command,
        "inputs": plain(inputs),
        "settings": settings_of(options),
        "results": plain(results),
        "versions": versions(),
        "seed": getattr(options, "seed", None),
    }


def write_document(content: Mapping[str, Any], folder: Path) -> None:
    """Write result.json."""
    write_atomic(folder / "result.json", json.dumps(content, indent=1, allow_nan=False) + "\n")


def plain(value: Any) -> Any:
    """A value as JSON: estimates as {value, low, high, n}, curves as lists, nan as null."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    if isinstance(value, torch.Tensor):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {printable(str(k)): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(v) for v in value]
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return printable(str(value))


def curve(estimates: list[Estimate]) -> dict[str, list[Any]]:
    """A list of estimates as one curve: {value, low, high, n}, each a list."""
    return {key: [plain(e.as_dict()[key]) for e in estimates] for key in ("value", "low", "high", "n")}


def versions() -> dict[str, str]:
    """What computed a result."""
    import numpy
    import scipy

    return {
        "unrote": __version__,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "numpy": str(numpy.__version__),
        "scipy": str(scipy.__version__),
        "platform": f"{platform.system()} {platform.machine()}",
    }


def device_of(name: str) -> torch.device:
    """The device that a command computes on.

    Raises:
        InputError: if a GPU is asked for where there is none.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError(
            "--device cuda was asked for, and PyTorch sees no GPU here; use --device cpu or auto."
        )
    use_gpu = name == "cuda" or (name == "auto" and torch.cuda.is_available())
    return torch.device("cuda" if use_gpu else "cpu")


@contextmanager
def progress(label: str, total: int) -> Iterator[Callable[[int], None]]:
    """A progress bar on a terminal, and silence elsewhere; yields a function that advances it."""
    from tqdm import tqdm

    with tqdm(total=total, desc=label, disable=not sys.stderr.isatty(), leave=False, file=sys.stderr) as bar:
        yield lambda n: (bar.update(n), None)[1]
