"""Many runs: a store keyed by the hash of the configuration, so that a killed sweep goes on.

Engines are joblib's: processes here, and on a cluster whatever backend the caller has chosen with
``joblib.parallel_config``.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

Configuration = Mapping[str, Any]
Result = Mapping[str, Any]


def key_of(configuration: Configuration) -> str:
    """The name of a configuration in a store: the first 16 hex digits of the SHA-256 of its JSON.

    Key order does not matter. Values must be JSON (numbers, strings, lists, mappings, None).
    """
    text = json.dumps(configuration, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def write_atomic(path: Path, text: str) -> None:
    """Write a text file that is either the old one or the new one, whatever happens in between."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def stored(configuration: Configuration, store: Path) -> Result | None:
    """The result that a store holds for a configuration, or None."""
    path = store / f"{key_of(configuration)}.json"
    return json.loads(path.read_text(encoding="utf-8"))["result"] if path.exists() else None


def sweep(
    function: Callable[[Configuration], Result],
    configurations: Sequence[Configuration],
    store: Path,
    workers: int = 1,
) -> Iterator[tuple[Configuration, Result]]:
    """Run a function over configurations; yields each pair as it is done, stored ones first.

    A result is stored the moment it exists, so that an interrupted sweep repeats nothing; a failure
    ends the sweep with its own error and leaves the stored results behind.

    Args:
        function: configuration -> result, both JSON; importable by its module's name, so that other
            processes find it.
        configurations: what to run; equal ones run once.
        store: folder of results, made if absent.
        workers: processes (each with one thread), or 1 for this process.
    """
    from joblib import Parallel, delayed

    store.mkdir(parents=True, exist_ok=True)
    distinct = {key_of(c): c for c in configurations}
    waiting = []
    for configuration in distinct.values():
        result = stored(configuration, store)
        if result is None:
            waiting.append(configuration)
        else:
            yield configuration, result
    engine = Parallel(n_jobs=min(workers, max(1, len(waiting))), return_as="generator_unordered")
    yield from engine(delayed(_run)(function, configuration, store) for configuration in waiting)


def _run(
    function: Callable[[Configuration], Result], configuration: Configuration, store: Path
) -> tuple[Configuration, Result]:
    """Run one configuration on one thread and store its result."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)  # spinning threads of several processes slow each other down
    try:
        result = function(configuration)
    finally:
        torch.set_num_threads(before)
    text = json.dumps({"configuration": configuration, "result": result}, indent=1, allow_nan=False)
    write_atomic(store / f"{key_of(configuration)}.json", text)
    return configuration, result
