"""Commands in this process, and what it means that one is refused: fixtures for tests of bad input."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from commands import FRESH, SHORT, TRAIN
from scenes import save_array

from unrote.cli.main import main


@pytest.fixture
def place(tmp_path, monkeypatch) -> Iterator[Path]:
    """A folder with a training set and samples, in which commands are run; SIGTERM stays as it was."""
    monkeypatch.chdir(tmp_path)
    save_array(TRAIN, Path("train.npy"))
    save_array(FRESH, Path("samples.npy"))
    before = signal.getsignal(signal.SIGTERM)
    yield tmp_path
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def call(capsys, place) -> Callable[..., tuple[int, str, str]]:
    """The command line in this process: status, standard output, standard error."""

    def run(*arguments: object) -> tuple[int, str, str]:
        status = main([str(a) for a in arguments])
        told = capsys.readouterr()
        return status, told.out, told.err

    return run


def everything(folder: Path) -> dict[bytes, int]:
    """All names under a folder with their sizes."""
    paths = [os.path.join(at, name) for at, dirs, files in os.walk(folder) for name in (*dirs, *files)]  # noqa: PTH118
    return {os.fsencode(path): os.lstat(path).st_size for path in paths}


@pytest.fixture
def refused(call, place) -> Callable[..., str]:
    """Run a command that must be refused; returns its paragraph."""

    def run(*arguments: object) -> str:
        before = everything(place)
        status, out, told = call(*arguments)
        assert status == 2, told
        assert out == ""
        assert told.startswith("unrote: ")
        assert told.endswith("\n")
        assert len(told.splitlines()) == 1
        assert "Traceback" not in told
        assert everything(place) == before
        return told

    return run


@pytest.fixture(scope="session")
def trained(tmp_path_factory) -> Path:
    """A run of a moment."""
    out = tmp_path_factory.mktemp("trained") / "run"
    assert main(["train", "--train", "digits@64", *map(str, SHORT), "--out", str(out)]) == 0
    return out


@pytest.fixture
def run(trained, place) -> Path:
    """A copy of that run, to spoil, called run."""
    return Path(shutil.copytree(trained, "run"))
