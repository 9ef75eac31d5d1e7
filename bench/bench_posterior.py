"""Posterior weights along 18 noise levels against torch.cdist and softmax, level by level.

512 queries x0 + sigma z of real images, N = 50,000, D = 3,072, the 18 levels of EDM (80 to 0.002, rho 7).
CPU time of one thread, interleaved, median of --repeat. Targets: 8 times less for weights and entropies,
3 times less with the denoised images, weights within 1e-6 of float64 also where images have near-duplicates.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from unrote.denoise.exact import PosteriorWeights, posterior_curve

HERE = Path(__file__).resolve().parents[2] / "shared" / "data" / "cifar10"
LEVELS = torch.linspace(80 ** (1 / 7), 0.002 ** (1 / 7), 18, dtype=torch.float64) ** 7
SOME = (2, 8, 14)  # levels at which the peer is timed unless --full: its cost hardly depends on sigma
WEIGHTS, IMAGES, LIMIT = 8.0, 3.0, 1e-6


def cifar(folder: Path, n: int) -> Tensor:
    import pyarrow.parquet
    from PIL import Image

    table = pyarrow.parquet.read_table(next(folder.glob("train*.parquet")))
    column = next(name for name in table.column_names if name.startswith("im"))
    files = table[column].slice(0, n).to_pylist()
    pixels = [np.asarray(Image.open(io.BytesIO(file["bytes"])).convert("RGB")) for file in files]
    return torch.from_numpy(np.stack(pixels).reshape(len(pixels), -1)).float() / 127.5 - 1


def synthetic(n: int) -> Tensor:
    g = torch.Generator().manual_seed(0)
    spectrum = torch.arange(1, 3073) ** -0.6  # power-law, scaled to the mean norm of CIFAR images
    turn = torch.linalg.qr(torch.randn(3072, 3072, generator=g))[0]
    return torch.randn(n, 3072, generator=g) * (spectrum * 26.6 / spectrum.norm()) @ turn


def peer(x0: Tensor, base: Tensor, z: Tensor, sigma: float, images: bool) -> Tensor:
    weights = torch.softmax(-torch.cdist(base + sigma * z, x0).square() / (2 * sigma**2), dim=1)
    torch.special.entr(weights).sum(1)
    if images:
        weights @ x0
    return weights


def ours(x0: Tensor, base: Tensor, z: Tensor, images: bool) -> None:
    for weights in posterior_curve(x0, base, z, LEVELS):
        assert weights.entropy.shape == base.shape[:1]
        if images:
            weights.mean(x0)


def seconds(run: Callable[[], object]) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


def speed(x0: Tensor, base: Tensor, z: Tensor, images: bool, full: bool, repeat: int) -> dict[str, float]:
    some = range(len(LEVELS)) if full else SOME
    theirs, mine = [], []
    for _ in range(repeat):
        mine.append(seconds(lambda: ours(x0, base, z, images)))
        one = [seconds(lambda s=s: peer(x0, base, z, float(LEVELS[s]), images)) for s in some]  # type: ignore[misc]
        theirs.append(statistics.mean(one) * len(LEVELS))
    ratios = sorted(a / b for a, b in zip(theirs, mine, strict=True))
    return {
        "peer_cpu_s": statistics.median(theirs),
        "ours_cpu_s": statistics.median(mine),
        "ratio": statistics.median(ratios),
        "lowest_ratio": ratios[0],
        "highest_ratio": ratios[-1],
    }


def reference(x0: Tensor, base: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """Half squared distances and inner products in float64 by direct differences, for some queries."""
    half, slope = [], []
    for b in range(len(base)):
        parts = [block.double() - base[b].double() for block in x0.split(512)]
        half.append(torch.cat([d.square().sum(1) / 2 for d in parts]))
        slope.append(torch.cat([d @ z[b].double() for d in parts]))
    return torch.stack(half), torch.stack(slope)


def errors(x0: Tensor, base: Tensor, z: Tensor) -> dict[str, float]:
    half, slope = reference(x0, base, z)
    exact = [torch.softmax((float(s) * slope - half) / float(s) ** 2, dim=1) for s in LEVELS]
    worst = {"ours": 0.0, "ours_entropy": 0.0, "float32": 0.0}

    def note(name: str, difference: Tensor) -> None:
        worst[name] = max(worst[name], float(difference.abs().max()))

    found: list[PosteriorWeights] = list(posterior_curve(x0, base, z, LEVELS))
    for weights, truth in zip(found, exact, strict=True):
        note("ours", weights.dense().double() - truth)
        note("ours_entropy", weights.entropy - torch.special.entr(truth).sum(1))
        sigma = float(LEVELS[weights.index])
        note("float32", peer(x0, base, z, sigma, images=False).double() - truth)
    return worst


def with_twins(x0: Tensor, rows: Tensor, generator: torch.Generator) -> Tensor:
    """The data with near-duplicates at distance about 0.05 of the given rows in place of other rows."""
    twins = x0.clone()
    places = [i for i in range(len(x0)) if i not in set(rows.tolist())][: len(rows)]
    noise = torch.randn(len(rows), x0.shape[1], generator=generator)
    twins[places] = x0[rows] + 0.05 / x0.shape[1] ** 0.5 * noise
    return twins


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=HERE, help="a folder with CIFAR-10's train*.parquet")
    parser.add_argument("--n", type=int, default=50_000)
    parser.add_argument("--queries", type=int, default=512)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--full", action="store_true", help="time the peer at all levels, not at 3 of 18")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    real = chosen.data.is_dir()
    x0 = cifar(chosen.data, chosen.n) if real else synthetic(chosen.n)
    g = torch.Generator().manual_seed(0)
    rows = torch.randperm(len(x0), generator=g)[: chosen.queries]
    base, z = x0[rows], torch.randn(len(rows), x0.shape[1], generator=g)
    timed = {
        name: speed(x0, base, z, images, chosen.full, chosen.repeat)
        for name, images in (("weights and entropies", False), ("and denoised images", True))
    }
    wrong = {"as they are": errors(x0, base[:24], z[:24])}
    wrong["with near-duplicates"] = errors(with_twins(x0, rows[:24], g), base[:24], z[:24])

    source = "CIFAR-10 images" if real else "synthetic vectors (no real data found, pass --data)"
    scope = "at all levels" if chosen.full else f"at {len(SOME)} of {len(LEVELS)} levels, scaled"
    print(
        f"{len(x0):,} {source}, {len(rows)} queries, {len(LEVELS)} levels, 1 thread; the peer is timed {scope}\n"
    )
    print("| CPU seconds | torch.cdist + softmax | unrote | ratio (median, range) | target |")
    print("|---|---|---|---|---|")
    for (name, t), target in zip(timed.items(), (WEIGHTS, IMAGES), strict=True):
        ratio = f"{t['ratio']:.2f} ({t['lowest_ratio']:.2f} to {t['highest_ratio']:.2f})"
        print(f"| {name} | {t['peer_cpu_s']:.2f} | {t['ours_cpu_s']:.2f} | {ratio} | {target:g} |")
    print(
        "\n| largest error of a weight, 24 queries | torch.cdist in float32 | unrote | target |\n|---|---|---|---|"
    )
    for name, error in wrong.items():
        print(f"| images {name} | {error['float32']:.1e} | {error['ours']:.1e} | {LIMIT:.0e} |")
    held = (
        all(t["ratio"] >= target for t, target in zip(timed.values(), (WEIGHTS, IMAGES), strict=True)),
        all(error["ours"] <= LIMIT for error in wrong.values()),
    )
    print()
    print(json.dumps({"benchmark": "posterior", "n": len(x0), "queries": len(rows), "real": real,
                      "full": chosen.full, "repeat": chosen.repeat, "cpu": timed, "error": wrong,
                      "speed_held": held[0], "accuracy_held": held[1]}))  # fmt: skip
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
