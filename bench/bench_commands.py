"""Commands as a user waits for them: wall seconds with start-up, median of five.

`unrote --help` (target: under 1 s), and an audit of 1,000 CIFAR images against 5,000 (target: under 20 s).
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "cifar10"
REPEAT = 5


def seconds(*arguments: str) -> float:
    """How long one command takes."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "unrote.cli.main", *arguments], check=True, capture_output=True)
    return time.perf_counter() - start


def main() -> None:
    """Print a table and one JSON line."""
    rows = {"unrote --help": (statistics.median(seconds("--help") for _ in range(REPEAT)), 1.0)}
    if DATA.is_dir():
        with tempfile.TemporaryDirectory() as folder:
            command = ["audit", "--train", f"{DATA}:train@5000", "--samples", f"{DATA}:test@1000"]
            command += ["--out", f"{folder}/audit", "--overwrite"]
            taken = statistics.median(seconds(*command) for _ in range(REPEAT))
            rows["audit, 1,000 CIFAR samples against 5,000"] = (taken, 20.0)
    print("| command | wall seconds | target |\n|---|---|---|")
    for name, (taken, target) in rows.items():
        print(f"| {name} | {taken:.2f} | < {target:g} |")
    print(json.dumps({name: round(taken, 3) for name, (taken, _) in rows.items()}))


if __name__ == "__main__":
    main()
