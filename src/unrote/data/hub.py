"""Repositories of the Hugging Face hub: from this machine's caches, and downloaded only where that is asked for."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from unrote.contracts import InputError
from unrote.data.configs import configured_files
from unrote.data.decode import UnusableError
from unrote.data.folders import list_files, load_file, open_folder
from unrote.data.members import Listing
from unrote.data.parquet import open_parquet, pick
from unrote.data.saved import ArrowTable
from unrote.data.sources import Source
from unrote.data.spelling import HUB, Spelling, printable
from unrote.data.tables import open_rows

KIND = "Hugging Face hub"

_SHARD = r"(-[0-9]{5}-of-[0-9]{5})?\.arrow"


def open_hub(spelling: Spelling, resize: int | None) -> Source:
    """Images of ``hf:owner/name``, as `datasets` prepared them on this machine, or as they were downloaded.

    Nothing is downloaded unless the spelling says ``?download=yes``, and then only the Parquet files of
    the split that is meant.

    Raises:
        InputError: where the set is not on this machine, with the ways to get it; where a split or a
            configuration has to be chosen; or as for a folder.
    """
    prepared = _prepared(spelling.path.removeprefix(HUB))
    if prepared:
        return _open_prepared(spelling, prepared, resize)
    folder = _fetch(spelling) if spelling.download else _snapshot(spelling.path.removeprefix(HUB))
    listing = None if folder is None else list_files(str(folder))
    if folder is None or listing is None or not (listing.images or listing.parquet):
        raise InputError(_absent(spelling))
    if listing.images and not listing.parquet and not _is_complete(spelling.path.removeprefix(HUB)):
        raise InputError(
            f"'{spelling}' was downloaded in part only. A set must be whole, or copies of the missing part go "
            f"unseen: run `{_command(spelling)}` again."
        )
    return open_clone(spelling, folder, listing, resize, KIND)


def open_clone(
    spelling: Spelling, root: Path, listing: Listing, resize: int | None, kind: str | None = None
) -> Source:
    """Image files or Parquet files in a folder, laid out as in a repository on the hub.

    Args:
        spelling: the DATA argument.
        root: the folder.
        listing: what it holds.
        resize: side to which images are resized, or None.
        kind: where it is from, in words; None says what the files are.

    Raises:
        InputError: where there are both, or neither, or as for these.
    """
    if listing.images and listing.parquet:
        raise InputError(
            f"'{spelling}' holds image files ({printable(listing.images[0])}) and Parquet files "
            f"({printable(listing.parquet[0])}). DATA is one or the other: name the subfolder or the file "
            "that is meant."
        )
    if listing.parquet:
        splits, notes = configured_files(spelling, root, listing.parquet)
        return open_parquet(spelling, splits, resize, kind or "Parquet", notes)
    return open_folder(spelling, root, listing, resize, kind or "folder of images")


def _prepared(name: str) -> list[tuple[Path, dict[str, Any]]]:
    """Folders in which `datasets` keeps a repository as Arrow files, with their descriptions, newest first."""
    import datasets.config
    from datasets.naming import camelcase_to_snakecase

    *owner, last = name.split("/")
    place = Path(datasets.config.HF_DATASETS_CACHE, "___".join([*owner, camelcase_to_snakecase(last)]))
    found = []
    for file in place.glob("*/*/*/dataset_info.json"):
        try:
            held = json.loads(file.read_bytes())
            if isinstance(held, dict) and isinstance(held.get("splits"), dict):
                found.append((file.stat().st_mtime, file.parent, held))
        except (OSError, ValueError):  # one that is being written, or was left behind
            continue
    return [(folder, held) for _, folder, held in sorted(found, key=lambda row: row[0], reverse=True)]


def _open_prepared(
    spelling: Spelling, found: Sequence[tuple[Path, dict[str, Any]]], resize: int | None
) -> Source:
    newest: dict[str, tuple[Path, dict[str, Any]]] = {}
    for folder, held in found:
        newest.setdefault(str(held.get("config_name", folder.parts[-3])), (folder, held))
    config = _choose(spelling, "configuration", spelling.config, sorted(newest), "?config={}")
    folder, held = newest[config]
    splits = {str(name): about for name, about in held["splits"].items() if isinstance(about, dict)}
    split = _choose(spelling, "split", spelling.split, list(splits), ":{}")
    name = re.escape(f"{splits[split].get('dataset_name') or held.get('dataset_name')}-{split}")
    files = sorted(path for path in folder.glob("*.arrow") if re.fullmatch(name + _SHARD, path.name))
    table = ArrowTable(str(spelling), files, _cached_image) if files else None
    wanted = splits[split].get("num_examples")
    if table is None or (isinstance(wanted, int) and wanted != table.count):
        raise InputError(
            f"'{spelling}' is in the cache of `datasets` with {0 if table is None else table.count:,} of {wanted} "
            f"images. A set must be whole, or copies of the missing part go unseen: delete {printable(str(folder))} "
            "and load the set with `datasets` again."
        )
    notes = (f"'{spelling}' is the configuration '{printable(config)}' from the cache of `datasets`",)
    return open_rows(spelling, KIND, table, resize, notes)


def _choose(spelling: Spelling, what: str, wanted: str | None, names: Sequence[str], form: str) -> str:
    """The one that is asked for, or the only one."""
    listed = ", ".join(map(printable, names))
    if wanted is None:
        if len(names) != 1:
            raise InputError(
                f"'{spelling}' holds several {what}s: {listed}. Choose one, for example "
                f"'{form.format(printable(names[0]) if names else '')}'."
            )
        return names[0]
    if wanted not in names:
        raise InputError(
            f"'{spelling}' asks for the {what} '{printable(wanted)}', but what is there is: {listed}. Name one of "
            "these, or load what is missing with `datasets` first."
        )
    return wanted


def _cached_image(path: str) -> bytes:
    """An image file that a prepared set only points to, which must lie in a Hugging Face cache."""
    import datasets.config
    import huggingface_hub.constants

    caches = (datasets.config.HF_DATASETS_CACHE, huggingface_hub.constants.HF_HUB_CACHE)
    place = Path(path).resolve()
    if not any(place.is_relative_to(Path(cache).expanduser().resolve()) for cache in caches):
        raise UnusableError("a path outside the caches of Hugging Face", "load the set with `datasets` again")
    return load_file(place)


def _snapshot(name: str) -> Path | None:
    """The folder of a repository's files in the cache of the hub, whole or not; None where there is none."""
    import huggingface_hub.constants

    place = Path(huggingface_hub.constants.HF_HUB_CACHE, f"datasets--{name.replace('/', '--')}").expanduser()
    try:
        revision = (place / "refs" / "main").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return None
    folder = place / "snapshots" / revision
    return folder if re.fullmatch("[0-9a-f]+", revision) and folder.is_dir() else None


def _is_complete(name: str) -> bool:
    """Whether the snapshot on this machine has all files of its revision, as far as is known."""
    import huggingface_hub

    try:
        huggingface_hub.snapshot_download(name, repo_type="dataset", local_files_only=True)
    except (OSError, ValueError):
        return False
    return True


def _command(spelling: Spelling) -> str:
    return f"hf download {printable(spelling.path.removeprefix(HUB))} --repo-type dataset"


def _absent(spelling: Spelling) -> str:
    name = printable(spelling.path.removeprefix(HUB))
    parts = "" if spelling.config is None else f', "{printable(spelling.config)}"'
    parts += "" if spelling.split is None else f', split="{printable(spelling.split)}"'
    return (
        f"'{spelling}' is not in this machine's Hugging Face caches, and nothing is downloaded unasked. Add "
        "download=yes behind a question mark (with & after ?label= or ?config=) to have the Parquet files of the "
        f"split fetched, their size said first. Or: Download the set first, with `{_command(spelling)}` (all of "
        f'its files) or in Python datasets.load_dataset("{name}"{parts}), where the hub can be reached; or give '
        "a folder."
    )


def _fetch(spelling: Spelling) -> Path:
    """Download the Parquet files of one split into the hub's cache, after saying how much it is."""
    import huggingface_hub as hub

    name = spelling.path.removeprefix(HUB)
    try:
        info = hub.HfApi().dataset_info(name, files_metadata=True, timeout=30)
        sizes = {file.rfilename: file.size or 0 for file in info.siblings or ()}
        readme = ["README.md"] if "README.md" in sizes else []
        root = (
            Path(hub.snapshot_download(name, repo_type="dataset", allow_patterns=readme))
            if readme
            else Path()
        )
        splits, _ = configured_files(
            spelling, root, sorted(n for n in sizes if n.lower().endswith(".parquet"))
        )
        if not splits:
            raise InputError(
                f"'{spelling}' holds no Parquet files but {len(sizes):,} others of {sum(sizes.values()) / 1e6:,.1f} MB "
                f"in all, of which the split cannot be told. Fetch them with `{_command(spelling)} --local-dir "
                "FOLDER`, and give the folder, or the part of it that is meant."
            )
        wanted = [file.relative_to(root).as_posix() for file in pick(spelling, splits).files]
        size = sum(sizes[file] for file in wanted)
        free = shutil.disk_usage(_existing(Path(hub.constants.HF_HUB_CACHE).expanduser())).free
        if size > free:
            raise InputError(
                f"'{spelling}' takes {size / 1e6:,.1f} MB, and the disk of the Hugging Face cache has "
                f"{free / 1e6:,.1f} MB left. Free some space, or set HF_HOME to a folder on another disk."
            )
        print(f"fetching {name}: {len(wanted)} files, {size / 1e6:,.1f} MB", file=sys.stderr, flush=True)
        return Path(hub.snapshot_download(name, repo_type="dataset", allow_patterns=[*readme, *wanted]))
    except InputError:
        raise
    except Exception as error:  # the hub's client raises nearly anything
        first = printable((str(error).strip().splitlines() or [type(error).__name__])[0])
        raise InputError(
            f"'{spelling}' cannot be fetched from the Hugging Face hub: {first} Check the name, the network, and for "
            f"sets that need an account `hf auth login`; or fetch it elsewhere with `{_command(spelling)} --local-dir "
            "FOLDER` and give the folder."
        ) from error


def _existing(place: Path) -> Path:
    """A folder, or the nearest one above it that exists."""
    return next(folder for folder in (place, *place.absolute().parents) if folder.is_dir())
