"""The program in the document on tokens runs and prints what is shown there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TEXT = (Path(__file__).resolve().parents[1] / "docs" / "tokens.md").read_text(encoding="utf-8")


def test_the_program_prints_what_is_shown(capsys) -> None:
    (source,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    (shown,) = re.findall(r"```\n(t = [^`]*)```", TEXT)
    names: dict = {}
    exec(compile(source, "tokens.md", "exec"), names)
    printed = capsys.readouterr().out
    number = r"-?\d+\.?\d*"
    assert re.sub(number, "N", printed) == re.sub(number, "N", shown)
    found, expected = ([float(one) for one in re.findall(number, text)] for text in (printed, shown))
    assert found == pytest.approx(expected, rel=0.02, abs=0.02)
    assert names["found"].excess.low < 0 < names["found"].excess.high
