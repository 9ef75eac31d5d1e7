"""The program in the document on trained models of tokens runs and has learned the rules of pairs."""

from __future__ import annotations

import re
from pathlib import Path

from unrote.data.grammar_parse import parse

TEXT = (Path(__file__).resolve().parents[1] / "docs" / "token_models.md").read_text(encoding="utf-8")


def test_the_program_runs_and_its_samples_obey_rules() -> None:
    (source,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    names: dict = {}
    exec(compile(source, "token_models.md", "exec"), names)
    valid = parse(names["grammar"], names["samples"]).valid.double().mean(0)
    # Four random pairs obey the rules of the lowest layer with probability (16 / 64)^4.
    assert valid[0] > 0.5
    assert valid[2] > 0.2
