"""The programs in the documents run and print what they promise; the commands exist."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

from unrote.cli.main import COMMANDS

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_python_program_prints_what_it_says() -> None:
    (program,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(program, "README.md", "exec"), {})
    assert "1.0" in program.splitlines()[-1]
    assert float(re.findall(r"[\d.]+", printed.getvalue())[0]) == 1.0


def printed_by(program: str) -> str:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(program, "training.md", "exec"), {})
    return printed.getvalue()


def test_the_training_programs_run_to_their_last_step(tmp_path, monkeypatch) -> None:
    text = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    of_images, of_text = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    first, last = (line.split() for line in printed_by(of_images).splitlines())
    assert (first[0], last[0]) == ("100", "200")
    assert float(last[1]) < float(first[1])
    monkeypatch.chdir(tmp_path)
    assert re.fullmatch("[a-z ]{8}\n", printed_by(of_text))


def test_every_command_in_the_readme_exists() -> None:
    shown = "\n".join(re.findall(r"```sh\n(.*?)```", README, re.DOTALL))
    named = set(re.findall(r"^unrote (\w+)", shown, re.MULTILINE)) | set(re.findall(r"`unrote (\w+)", README))
    assert {"audit", "train", "probe", "claims", "reproduce"} <= named
    assert named <= set(COMMANDS)
