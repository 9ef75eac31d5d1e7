"""What was computed once, kept under the user's cache folder by the content of what it was computed from.

An entry is a file that ends with the BLAKE2b of what stands before. It is written beside its place and then
moved there, so it is whole or absent; one that is damaged counts as absent.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32, Shaped
from torch import Tensor

LIMIT = 20 * 2**30
"""Bytes that the cache may take; entries not used for longest go first."""

STALE = 3600.0
"""Seconds after which a file that is still being written belongs to a process that was killed."""

_DIGEST = 32
_WRITING = ".writing-"


def cache_folder() -> Path:
    """UNROTE_CACHE, or unrote in XDG_CACHE_HOME, or ~/.cache/unrote."""
    named = os.environ.get("UNROTE_CACHE")
    if named:
        return Path(named)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base and Path(base).is_absolute() else Path.home() / ".cache") / "unrote"


@dataclass(frozen=True)
class Cache:
    """Files by key, shared by any number of processes; a cache that cannot be written is only slow.

    Args:
        folder: where the entries lie.
        limit: bytes that they may take together, see `trim`.
    """

    folder: Path = field(default_factory=cache_folder)
    limit: int = LIMIT

    def features(self, key: str) -> Float32[Tensor, "B F"] | None:
        """Features that were kept under a key; None where there are none, or the entry is damaged."""
        content = self._read(f"features/{key}.npy")
        if content is None:
            return None
        try:
            array = np.load(io.BytesIO(content), allow_pickle=False)
        except (ValueError, EOFError, OSError):
            return None
        return torch.from_numpy(array) if array.dtype == np.float32 and array.ndim == 2 else None

    def keep_features(self, key: str, values: Float32[Tensor, "B F"]) -> None:
        """Keep features under a key, as npy."""
        buffer = io.BytesIO()
        np.save(buffer, values.numpy(), allow_pickle=False)
        self._write(f"features/{key}.npy", buffer.getvalue())

    def fitted(self, key: str) -> dict[str, Tensor] | None:
        """What was fitted to a training set and kept under a key; None as for `features`."""
        from safetensors import SafetensorError
        from safetensors.torch import load

        content = self._read(f"fitted/{key}.fit")
        try:
            return None if content is None else load(content)
        except SafetensorError:
            return None

    def keep_fitted(self, key: str, tensors: Mapping[str, Shaped[Tensor, "..."]]) -> None:
        """Keep named tensors under a key."""
        from safetensors.torch import save

        self._write(f"fitted/{key}.fit", save({name: t.contiguous() for name, t in tensors.items()}))

    def size(self) -> int:
        """Bytes that the entries take."""
        return sum(size for _, _, size in self._entries())

    def trim(self) -> None:
        """Remove what killed processes left half-written, then entries not used for longest, down to the limit."""
        entries = sorted(self._entries())
        total = sum(size for _, _, size in entries)
        now = time.time()
        for used, path, size in entries:
            stale = path.name.startswith(_WRITING) and now - used > STALE
            if stale or (total > self.limit and not path.name.startswith(_WRITING)):
                _remove(path)
                total -= size

    def clear(self) -> int:
        """Remove everything; the number of bytes that were freed."""
        entries = self._entries()
        for _, path, _ in entries:
            _remove(path)
        return sum(size for _, _, size in entries)

    def _entries(self) -> list[tuple[float, Path, int]]:
        """When each file was last used, where it lies, and its size."""
        found = []
        for kind in ("features", "fitted"):
            for path in (self.folder / kind).rglob("*"):
                try:
                    if path.is_file():
                        state = path.stat()
                        found.append((state.st_mtime, path, state.st_size))
                except OSError:  # another process removed it
                    continue
        return found

    def _read(self, name: str) -> bytes | None:
        path = self.folder / name
        try:
            raw = path.read_bytes()
        except OSError:
            return None
        content = raw[:-_DIGEST]
        if len(raw) <= _DIGEST or hashlib.blake2b(content, digest_size=_DIGEST).digest() != raw[-_DIGEST:]:
            _remove(path)
            return None
        with contextlib.suppress(OSError):  # another user's cache may be read-only
            os.utime(path)
        return content

    def _write(self, name: str, content: bytes) -> None:
        path = self.folder / name
        beside = path.with_name(f"{_WRITING}{os.getpid()}-{secrets.token_hex(8)}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            beside.write_bytes(content + hashlib.blake2b(content, digest_size=_DIGEST).digest())
            beside.replace(path)
        except OSError:  # a full or read-only disk must not end a measurement
            pass
        finally:
            _remove(beside)


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)
