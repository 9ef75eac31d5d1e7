"""The geometry of real images before training: all curves with their intervals, and the probability of two shells.

N training and 1,000 held-out images of 3,072 numbers at EDM's 40 levels: posterior weight, coverage, coverage without
held-out images, both bounds, regimes with 200 bootstrap samples.  CPU time of one thread.  Targets: N = 1,000 with all
its points under 20 s; N = 50,000 with 1,000 base points under 5 minutes and 2 GB, data and libraries included; linear
in N at so many base points (at most 1.3 times four times the time of a quarter).  The exact probability of two shells
at least 100 times faster than a vectorised Monte Carlo of one normal and one chi-square at a standard error of 1e-3,
with a relative error below 1e-6 wherever it exceeds 1e-12.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from unrote.geometry.overlap import Shell, two_shell
from unrote.geometry.posterior import weight_curve
from unrote.geometry.regimes import regimes
from unrote.geometry.shells import (
    coverage,
    coverage_bounds,
    coverage_without_test,
    nearest_distances,
    pair_distances,
)
from unrote.noise.levels import edm_levels

HERE = Path(__file__).resolve().parents[2] / "shared" / "data" / "cifar10"
DIMENSION, LEVELS, BASE, FRESH = 3072, 40, 1000, 1000
SMALL, LARGE = 1000, 50_000
SECONDS = {SMALL: 20.0, LARGE: 300.0}
BYTES, GROWTH, FASTER, ERROR = 2e9, 1.3, 100.0, 1e-6
DRAWS = 250_000  # a standard error of 1e-3 where the probability is 1/2


def cifar(folder: Path, split: str, n: int) -> Tensor:
    """n images, spread over the classes, in [-1, 1]; decoded one at a time into the one array."""
    import pyarrow.parquet
    from PIL import Image

    table = pyarrow.parquet.ParquetFile(next(folder.glob(f"{split}*.parquet")))
    total = table.metadata.num_rows
    wanted = set(np.linspace(0, total - 1, n).round().astype(int).tolist())
    out, at, row = torch.empty(n, DIMENSION), 0, 0
    for batch in table.iter_batches(1000, columns=["image"]):
        for file in batch.column(0):
            if row in wanted:
                pixels = np.asarray(Image.open(io.BytesIO(file["bytes"].as_py())).convert("RGB"))
                out[at] = torch.from_numpy(pixels.reshape(-1).copy()).float() / 127.5 - 1
                at += 1
            row += 1
    return out


def synthetic(n: int, seed: int) -> Tensor:
    """Vectors whose spectrum falls like that of images, with the mean norm of CIFAR images."""
    g = torch.Generator().manual_seed(seed)
    spectrum = torch.arange(1, DIMENSION + 1) ** -0.6
    return torch.randn(n, DIMENSION, generator=g).mul_(spectrum * 26.6 / spectrum.norm())


def data(folder: Path, n: int) -> tuple[Tensor, Tensor, bool]:
    """Training and held-out images, and whether they are real."""
    if folder.is_dir():
        return cifar(folder, "train", n), cifar(folder, "test", FRESH), True
    return synthetic(n, 0), synthetic(FRESH, 1), False


def survey(train: Tensor, test: Tensor) -> None:
    """Everything that the geometry of a training set consists of."""
    g, levels, shell = torch.Generator().manual_seed(0), edm_levels(LEVELS).flip(0), Shell(DIMENSION)
    weight = weight_curve(train, levels, g, base=BASE).maximum
    covered = coverage(train, test, levels, shell, g)
    coverage_without_test(train, levels, shell, g, base=BASE)
    pairs = pair_distances(train, g, BASE)
    coverage_bounds(nearest_distances(train, test), pairs, len(train), levels, shell)
    regimes(levels, weight, covered, count=len(train), generator=g)


def seconds(train: Tensor, test: Tensor, repeat: int) -> float:
    """CPU seconds of a survey, median."""
    taken = []
    for _ in range(repeat):
        start = time.process_time()
        survey(train, test)
        taken.append(time.process_time() - start)
    return statistics.median(taken)


def peak() -> int:
    """Peak resident bytes of this process (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def alone(folder: Path, n: int) -> None:
    """Print the seconds and the peak memory of one survey, in a process of its own."""
    train, test, _ = data(folder, n)
    taken = seconds(train, test, 1)
    print(json.dumps({"cpu_s": taken, "bytes": peak(), "data": train.nbytes}))


def two_shells(repeat: int) -> dict[str, float]:
    """CPU seconds of one probability alone, one of many, the first of a shell, and of the Monte Carlo; and errors."""
    from scipy.stats import ncx2

    shell = Shell(DIMENSION)
    start = time.process_time()
    two_shell(torch.ones(1), shell)
    first = time.process_time() - start
    radius = shell.half_overlap
    one, many = torch.full((1,), radius, dtype=torch.float64), torch.linspace(0, 30, 100_000).double()
    generator = np.random.default_rng(0)
    taken: dict[str, list[float]] = {"alone": [], "many": [], "drawn": []}
    for _ in range(repeat):
        start = time.process_time()
        for _ in range(1000):
            two_shell(one, shell)
        taken["alone"].append((time.process_time() - start) / 1000)
        start = time.process_time()
        two_shell(many, shell)
        taken["many"].append((time.process_time() - start) / len(many))
        start = time.process_time()
        square = (generator.standard_normal(DRAWS) + radius) ** 2 + generator.chisquare(DIMENSION - 1, DRAWS)
        float(((square >= shell.inner**2) & (square <= shell.outer**2)).mean())
        taken["drawn"].append(time.process_time() - start)
    r = np.linspace(0.1, 34, 200)
    true = ncx2.cdf(shell.outer**2, DIMENSION, r**2) - ncx2.cdf(shell.inner**2, DIMENSION, r**2)
    told = true > 1e-12
    error = float(np.abs(two_shell(torch.from_numpy(r), shell).numpy() / true - 1)[told].max())
    return {name: statistics.median(times) for name, times in taken.items()} | {
        "first": first,
        "error": error,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=HERE, help="a folder with CIFAR-10's Parquet files")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--alone", type=int, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    if chosen.alone is not None:
        alone(chosen.data, chosen.alone)
        return 0
    shells = two_shells(chosen.repeat)
    train, test, real = data(chosen.data, SMALL)
    small = seconds(train, test, chosen.repeat)
    large = {}
    for n in (LARGE // 4, LARGE // 2, LARGE):
        command = [sys.executable, __file__, "--alone", str(n), "--data", str(chosen.data)]
        found = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        large[n] = json.loads(found)
    whole = large[LARGE]
    growth = whole["cpu_s"] / (4 * large[LARGE // 4]["cpu_s"])
    faster = shells["drawn"] / shells["alone"]

    print(
        f"{'CIFAR-10 images' if real else 'synthetic vectors'}, {LEVELS} levels, {FRESH:,} held out, 1 thread\n"
    )
    print(
        "| all curves with intervals | CPU s | target | peak GB, of it the data | target |\n|---|---|---|---|---|"
    )
    print(f"| N = {SMALL:,}, all points | {small:.2f} | {SECONDS[SMALL]:g} | | |")
    for n, one in large.items():
        limits = (f"{SECONDS[n]:g}", f"{BYTES / 1e9:g}") if n == LARGE else ("", "")
        memory = f"{one['bytes'] / 1e9:.2f}, {one['data'] / 1e9:.2f}"
        print(f"| N = {n:,}, {BASE:,} points | {one['cpu_s']:.1f} | {limits[0]} | {memory} | {limits[1]} |")
    print(f"\n50,000 take {growth:.2f} times four times the time of 12,500 (target: at most {GROWTH:g})\n")
    print(
        "| probability of two shells, D = 3,072 | CPU microseconds | Monte Carlo / this | target |\n|---|---|---|---|"
    )
    print(f"| Monte Carlo, {DRAWS:,} of two variables (SE 1e-3) | {1e6 * shells['drawn']:,.0f} | 1 | |")
    print(f"| exact, alone | {1e6 * shells['alone']:.1f} | {faster:.0f} | {FASTER:g} |")
    print(f"| exact, in an array | {1e6 * shells['many']:.3f} | {shells['drawn'] / shells['many']:,.0f} | |")
    print(f"| exact, the first of a shell | {1e6 * shells['first']:,.0f} | | |")
    print(f"\nlargest relative error above 1e-12: {shells['error']:.1e} (target: {ERROR:g})\n")
    held = small < SECONDS[SMALL] and whole["cpu_s"] < SECONDS[LARGE]
    print(json.dumps({"benchmark": "geometry", "real": real, "small_cpu_s": small, "large": large, "growth": growth,
                      "two_shells": shells, "ratio": faster, "speed_held": held,
                      "memory_held": whole["bytes"] < BYTES, "growth_held": growth <= GROWTH,
                      "shells_held": faster >= FASTER and shells["error"] < ERROR}))  # fmt: skip
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
