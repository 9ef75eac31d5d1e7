"""Every name that a function looks up in its module is there: linters are told not to look, for shapes are strings."""

from __future__ import annotations

import builtins
import dis
import importlib
from collections.abc import Iterator
from pathlib import Path
from types import CodeType

import pytest

import unrote

ROOT = Path(unrote.__file__).parent
MODULES = sorted(
    ".".join(("unrote", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__")
    for path in ROOT.rglob("*.py")
    if path.name != "__main__.py"
)


GIVEN = {"__module__", "__qualname__", "__annotations__"}
"""Names that the interpreter gives to bodies of modules and classes."""


def code_in(path: Path) -> Iterator[CodeType]:
    """The code of a file, and all code inside it."""
    waiting = [compile(path.read_text(encoding="utf-8"), str(path), "exec")]
    while waiting:
        code = waiting.pop()
        yield code
        waiting += [one for one in code.co_consts if isinstance(one, CodeType)]


def looked_up(code: CodeType) -> set[str]:
    """Global names that some code reads."""
    return {i.argval for i in dis.get_instructions(code) if i.opname in {"LOAD_GLOBAL", "LOAD_NAME"}}


@pytest.mark.parametrize("name", MODULES)
def test_every_global_name_is_known(name: str) -> None:
    module = importlib.import_module(name)
    assert module.__file__ is not None
    codes = list(code_in(Path(module.__file__)))
    own = {i.argval for code in codes for i in dis.get_instructions(code) if i.opname == "STORE_NAME"}
    known = set(vars(module)) | set(dir(builtins)) | own | GIVEN
    assert not {n for code in codes for n in looked_up(code)} - known
