"""Run every benchmark, one after the other, and print their tables."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def main() -> int:
    """Run each bench_*.py in its own process; the first failure ends with its exit status."""
    here = Path(__file__).parent
    environment = os.environ | {"OMP_WAIT_POLICY": "PASSIVE", "OMP_NUM_THREADS": "1"}
    for script in sorted(here.glob("bench_*.py")):
        print(f"\n## {script.stem.removeprefix('bench_')}\n", flush=True)
        status = subprocess.run([sys.executable, str(script)], env=environment, check=False)
        if status.returncode:
            return status.returncode
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
