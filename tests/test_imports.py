"""Imports point one way, as drawn in docs/house.md; the code itself is read."""

from __future__ import annotations

import ast
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[1] / "src" / "unrote"

EVERYONE = {"contracts", "distances", "likelihoods"}
ARROWS: dict[str, set[str]] = {
    "contracts": set(),
    "distances": {"contracts"},
    "likelihoods": {"contracts", "distances"},
    "data": set(),
    "noise": set(),
    "sample": set(),
    "train": set(),
    "measure": set(),
    "theory": set(),
    "denoise": {"noise", "data.mixtures", "data.grammar"},
    "geometry": {"denoise.exact", "noise.schedule", "noise.tokens", "measure", "theory"},
    "report": {"contracts"},
    "sweeps": {"contracts"},
    "jobs": {
        "data",
        "noise",
        "denoise",
        "sample",
        "train",
        "measure",
        "geometry",
        "theory",
        "report",
        "sweeps",
    },
    "lab": {"jobs", "data", "noise", "denoise", "sample", "train", "measure", "geometry", "theory", "report"}
    | {"sweeps"},
    "cli": {"jobs", "lab", "theory", "contracts"},
}
STRICT = {"contracts", "distances", "likelihoods", "report", "sweeps", "cli"}
"""Places that may not even use all of what everyone may use."""


def imported(path: Path) -> set[str]:
    """The modules of unrote that a file imports, lazily or not, as dotted names below unrote."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "unrote":
            base = (node.module or "").split(".")[1:]
            names |= {".".join([*base, alias.name]) for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {
                alias.name.partition(".")[2] for alias in node.names if alias.name.split(".")[0] == "unrote"
            }
        assert not (isinstance(node, ast.ImportFrom) and node.level), f"{path}: relative import"
    return names - {"", "__version__"}


def place(path: Path) -> str:
    """The place in the house that a file belongs to: contracts, data, jobs, ..."""
    return path.relative_to(SOURCE).with_suffix("").parts[0]


def test_imports_point_one_way() -> None:
    wrong = []
    for path in SOURCE.rglob("*.py"):
        here = place(path)
        if here == "__init__":
            continue
        allowed = ARROWS[here] | {here} | (set() if here in STRICT else EVERYONE)
        for name in imported(path):
            if not any(name == target or name.startswith(target + ".") for target in allowed):
                wrong.append(f"{path.relative_to(SOURCE)} imports unrote.{name}")
    assert not wrong, "\n".join(wrong)


def test_files_and_functions_stay_readable() -> None:
    wrong = []
    for path in SOURCE.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        if text.count("\n") > 400:
            wrong.append(f"{path.relative_to(SOURCE)}: {text.count(chr(10))} lines, at most 400")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                doc = ast.get_docstring(node, clean=False)
                size = node.end_lineno - node.lineno + 1 - (doc.count("\n") + 1 if doc else 0)
                if size > 60:
                    wrong.append(f"{path.relative_to(SOURCE)}:{node.name}: {size} lines, at most 60")
    assert not wrong, "\n".join(wrong)
