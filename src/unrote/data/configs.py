"""Which Parquet files make a split of a configuration, as their names or a repository's README.md tell."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from unrote.contracts import InputError
from unrote.data.members import SPLITS
from unrote.data.spelling import Spelling, printable

_SHARD = re.compile(r"(?P<split>\w+(?:\.\w+)*)-(?P<index>\d{5})-of-(?P<count>\d{5})(?:-\w+)?")
_FRONT = re.compile(r"\A\ufeff?---\s*\n(.*?)\n---\s*(?:\n|\Z)", re.DOTALL)
_README_BYTES = 1 << 22


@dataclass(frozen=True)
class Shards:
    """The Parquet files of one split, in order."""

    split: str
    files: tuple[Path, ...]


@dataclass(frozen=True)
class _Config:
    """One configuration that a README.md declares: patterns of file names by split, None where names tell."""

    name: str
    patterns: tuple[tuple[str | None, str], ...]
    default: bool


def configured_files(
    spelling: Spelling, root: Path, files: Sequence[str]
) -> tuple[list[Shards], tuple[str, ...]]:
    """The splits of the configuration that is meant, and notes on the choice.

    Configurations are those that README.md declares in its head, as on the Hugging Face hub; where it
    declares none, folders that hold the same split are taken for such.

    Args:
        spelling: the DATA argument.
        root: the folder of the set.
        files: Parquet files, relative to it.

    Raises:
        InputError: where a configuration has to be chosen or is unknown, or a file is missing.
    """
    declared = [config for config in _declared(root / "README.md") if _matched(config, files)]
    if not declared:
        inside = files if spelling.config is None else _in_folder(spelling, files)
        return split_files(spelling, root, inside), ()
    names = [config.name for config in declared]
    default = [c for c in declared if c.default] or [c for c in declared if c.name == "default"] or declared
    if spelling.config is not None:
        if spelling.config not in names:
            raise _unknown(spelling, names)
        chosen = declared[names.index(spelling.config)]
    elif len(default) == 1:
        chosen = default[0]
    else:
        raise _ambiguous(spelling, names)
    notes: tuple[str, ...] = ()
    if len(names) > 1:
        notes = (
            f"the configuration '{printable(chosen.name)}' is read, of {', '.join(map(printable, names))}",
        )
    found: dict[str, list[str]] = {}
    for split, file in _matched(chosen, files):
        members = found.setdefault(split or _split_of(file), [])
        members += [] if file in members else [file]
    for split, members in found.items():
        _check_complete(spelling, split, members)
    return [Shards(split, tuple(root / file for file in found[split])) for split in sorted(found)], notes


def _declared(readme: Path) -> list[_Config]:
    """The configurations in the head of a README.md; none where there is no such head."""
    import yaml  # type: ignore[import-untyped]

    try:
        with readme.open("rb") as file:
            head = _FRONT.match(file.read(_README_BYTES).decode("utf-8", "replace"))
        found = yaml.safe_load(head[1]) if head else None
    except (OSError, yaml.YAMLError, RecursionError):
        return []
    entries = found.get("configs") if isinstance(found, dict) else None
    return (
        [_config(entry) for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
    )


def _config(entry: dict[str, Any]) -> _Config:
    held, folder = entry.get("data_files", "**"), str(entry.get("data_dir", "")).strip("/")
    patterns: list[tuple[str | None, str]] = []
    for item in held if isinstance(held, list) else [held]:
        split, paths = (item.get("split"), item.get("path", [])) if isinstance(item, dict) else (None, item)
        for path in paths if isinstance(paths, list) else [paths]:
            full = f"{folder}/{path}" if folder else str(path)
            patterns.append((None if split is None else str(split), full.removeprefix("./")))
    return _Config(str(entry.get("config_name", "default")), tuple(patterns), entry.get("default") is True)


def _matched(config: _Config, files: Sequence[str]) -> list[tuple[str | None, str]]:
    """(split, file) of every file that a configuration names, in the order of the files."""
    found = []
    for split, pattern in config.patterns:
        form = re.compile(_as_expression(pattern), re.DOTALL)
        found += [(split, file) for file in files if form.fullmatch(file)]
    return found


def _as_expression(pattern: str) -> str:
    """A shell's pattern as a regular expression: ** crosses folders, * and ? do not."""
    pieces = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return "".join(pieces.get(part, re.escape(part)) for part in re.split(r"(\*\*/|\*\*|\*|\?)", pattern))


def _in_folder(spelling: Spelling, files: Sequence[str]) -> list[str]:
    """The files of the folder that a configuration is called after."""
    inside = [file for file in files if spelling.config in PurePosixPath(file).parts[:-1]]
    if not inside:
        folders = {part for file in files for part in PurePosixPath(file).parts[:-1]}
        raise _unknown(spelling, sorted(folders - {"data", *SPLITS}))
    return inside


def _unknown(spelling: Spelling, names: Sequence[str]) -> InputError:
    known = ", ".join(map(printable, names)) or "none that is named"
    return InputError(
        f"'{spelling}' asks for the configuration '{printable(spelling.config or '')}', but what is there is: "
        f"{known}. Name one of these with ?config=NAME, or leave it out where there is only one."
    )


def _ambiguous(spelling: Spelling, names: Sequence[str]) -> InputError:
    return InputError(
        f"'{spelling}' holds several configurations: {', '.join(map(printable, names))}. They are versions of one "
        f"set, so choose one, for example '?config={printable(names[0])}' after all other suffixes."
    )


def split_files(spelling: Spelling, root: Path, files: Sequence[str]) -> list[Shards]:
    """Parquet files by split, as their names tell.

    `train-00000-of-00002.parquet`, `train.parquet` and `train/0000.parquet` belong to "train", and so
    does a file whose name tells nothing.

    Args:
        spelling: the DATA argument.
        root: the folder of the set.
        files: relative to it.

    Raises:
        InputError: where a shard is missing, or one split lies in several folders.
    """
    found: dict[str, list[str]] = {}
    for file in files:
        found.setdefault(_split_of(file), []).append(file)
    for split, members in found.items():
        folders = sorted({str(PurePosixPath(member).parent) for member in members})
        if len(folders) > 1 and spelling.split in {None, split}:
            raise InputError(
                f"'{spelling}' holds the split '{printable(split)}' in several folders: "
                f"{', '.join(printable(f) for f in folders[:5])}. They may be different versions of one "
                "set, so name one of the folders, or choose it with ?config=FOLDER after all other suffixes."
            )
        _check_complete(spelling, split, members)
    return [Shards(split, tuple(root / m for m in found[split])) for split in sorted(found)]


def one_file(file: Path) -> Shards:
    """A single Parquet file, which needs no shards beside it."""
    return Shards(_split_of(file.name), (file,))


def _split_of(file: str) -> str:
    path = PurePosixPath(file)
    if match := _SHARD.fullmatch(path.stem):
        return match["split"]
    told = [name for name in (path.stem, path.parent.name) if name.lower() in SPLITS]
    return told[0] if told else "train"


def _check_complete(spelling: Spelling, split: str, members: Sequence[str]) -> None:
    """Refuse a split that lacks a shard, unless another split is meant."""
    if spelling.split not in {None, split}:
        return
    shards = [match for member in members if (match := _SHARD.fullmatch(PurePosixPath(member).stem))]
    wanted = {(i, int(m["count"])) for m in shards for i in range(int(m["count"]))}
    missing = sorted(wanted - {(int(m["index"]), int(m["count"])) for m in shards})
    if missing:
        index, count = missing[0]
        raise InputError(
            f"'{spelling}' lacks {len(missing):,} of the Parquet files of its split '{printable(split)}', "
            f"first number {index:05d} of {count:05d}. A set must be whole, or copies of the missing part "
            "go unseen: download it again, or name the files that are there one at a time."
        )
