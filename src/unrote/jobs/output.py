"""Where results go: a folder that appears complete or not at all, and JSON that is a contract."""

from __future__ import annotations

import dataclasses
import errno
import json
import math
import platform
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from unrote import __version__
from unrote.contracts import Estimate, InputError
from unrote.data.spelling import printable
from unrote.sweeps import key_of, write_atomic

SCHEMA = 1
"""Version of result.json: keys are added within a version, and renamed never."""


def nothing(folder: Path) -> bool:
    """A failed command leaves nothing that is worth keeping."""
    return False


@contextmanager
def workspace(
    out: Path,
    overwrite: bool,
    identity: Mapping[str, Any],
    keeps: Callable[[Path], bool] = nothing,
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
    work = out.with_name(out.name + ".partial")
    key = key_of(dict(identity))
    stamp = work / "identity.json"
    if work.exists() and not (stamp.exists() and json.loads(stamp.read_text())["key"] == key):
        shutil.rmtree(work)
    try:
        if not work.exists():
            work.mkdir(parents=True)
            write_atomic(stamp, json.dumps({"key": key}))
        yield work
        stamp.unlink()
        _replace(work, out)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        if not keeps(work):
            shutil.rmtree(work, ignore_errors=True)
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise InputError(
                f"The disk that holds {out} is full, so no result was written; free some space or name "
                "another place with --out."
            ) from error
        raise


def check_free(out: Path, overwrite: bool) -> None:
    """Refuse an output folder that holds something that is not ours to replace.

    Raises:
        InputError: naming what is there and what to do.
    """
    if not out.exists() and not out.is_symlink():
        return
    if not out.is_dir():
        raise InputError(f"--out {out} is a file; name a folder that does not exist yet.")
    held = sorted(path.name for path in out.iterdir())
    if held and not overwrite:
        raise InputError(
            f"--out {out} already holds {len(held)} entries ({', '.join(held[:3])}"
            f"{', ...' if len(held) > 3 else ''}); name a new folder, or add --overwrite to replace it."
        )
    if held and not (out / "result.json").is_file():
        raise InputError(
            f"--overwrite replaces only folders that unrote wrote, and {out} has no result.json; "
            "name a new folder, or remove this one yourself."
        )


def _replace(work: Path, out: Path) -> None:
    """Put the finished folder in the place of the old one."""
    old = out.with_name(out.name + ".old")
    if out.exists():
        shutil.rmtree(old, ignore_errors=True)
        out.rename(old)
    work.rename(out)
    shutil.rmtree(old, ignore_errors=True)


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
