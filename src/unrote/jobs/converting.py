"""`unrote convert`: the weights of an EDM snapshot as safetensors, without running the programs in it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unrote.contracts import InputError
from unrote.data.spelling import printable
from unrote.denoise.snapshots import Snapshot, extract, write_snapshot
from unrote.jobs.options import ConvertOptions


@dataclass(frozen=True)
class Conversion:
    """What was found and where it was put."""

    snapshot: Snapshot
    out: Path

    @property
    def numbers(self) -> int:
        """How many weights there are."""
        return sum(t.numel() for t in self.snapshot.weights.values())

    def as_json(self) -> dict[str, Any]:
        """The content of the file, without the weights."""
        return {
            "out": str(self.out),
            "class": self.snapshot.name,
            "args": self.snapshot.args,
            "kwargs": self.snapshot.kwargs,
            "tensors": len(self.snapshot.weights),
            "numbers": self.numbers,
        }

    def summary(self) -> str:
        """What to do next."""
        return (
            f"{self.out}: {len(self.snapshot.weights)} tensors with {self.numbers:,} weights of "
            f"{self.snapshot.name}. It is built from the program that made it, which has to be on PYTHONPATH when "
            "the file is probed."
        )


def convert(options: ConvertOptions) -> Conversion:
    """Read a snapshot with an unpickler that knows tensors alone, and store what it finds.

    Raises:
        InputError: if it is no snapshot, or the file cannot be written.
    """
    out = options.out
    if out.suffix != ".safetensors":
        raise InputError(
            f"--out {printable(str(out))} names no safetensors file; give a name that ends so, such as "
            f"{printable(options.model.with_suffix('.safetensors').name)}."
        )
    if out.exists() and not options.overwrite:
        raise InputError(
            f"--out {printable(str(out))} exists; add --overwrite to replace it, or name another file."
        )
    snapshot = extract(options.model)
    write_snapshot(snapshot, out)
    return Conversion(snapshot, out)
