"""The program on text in the document on data runs and prints what is shown, and so does the refusal."""

from __future__ import annotations

import re
from pathlib import Path

from unrote.cli.main import main

TEXT = (Path(__file__).resolve().parents[1] / "docs" / "data.md").read_text(encoding="utf-8")
SECTION = TEXT.split("## Text")[1].split("\n## ")[0]


def test_the_program_and_the_refusal_are_as_shown(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    (lines,) = re.findall(r"With the two lines `(.*?)` and `(.*?)` in `book.txt`", SECTION)
    Path("book.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    program, shown = re.search(r"```python\n(.*?)```\s*```\n(.*?)```", SECTION, re.DOTALL).groups()
    exec(compile(program, "data.md", "exec"), {})
    assert capsys.readouterr().out == shown
    assert (
        main(["audit", "--train", "book.txt", "--samples", "book.txt", "--window", "4", "--out", "out"]) == 2
    )
    assert capsys.readouterr().err.strip() in SECTION
