"""Mixtures trained as k-means, every model size: one tree and blocked moves against the same from other programs.

What is compared is CPU time on one thread and the distortion that is reached, N = 200, d = 50, K = 12, sizes 12 to
200. "scipy + naive moves" is scipy's linkage and cut_tree, then the best single move from a full table until none
helps. scikit-learn's KMeans runs from k-means++ (once and best of ten) and from the cut. `--sweep` adds the sweep of
64 settings and every size, `--large` N = 20,000 and d = 500 with 20 sizes (two CPU-minutes, 4 GB).
Targets: all sizes < 0.5 s, the sweep < 15 s, the large setting < 300 s and < 6 GB; distortion never above the others'
mean.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Callable, Iterable

import numpy as np
import threadpoolctl
import torch
from torch import Tensor

from unrote.train.mixtures.kmeans import cut, hartigan, ward, ward_tree


def mixture(n: int, d: int, k: int, seed: int = 0) -> Tensor:
    """Points around means on the sphere of radius sqrt(d), variance 1."""
    generator = torch.Generator().manual_seed(seed)
    means = torch.randn(k, d, generator=generator, dtype=torch.float64)
    means *= d**0.5 / torch.linalg.vector_norm(means, dim=1, keepdim=True)
    label = torch.randint(k, (n,), generator=generator)
    return means[label] + torch.randn(n, d, generator=generator, dtype=torch.float64)


def unrote_ward(x: Tensor, counts: list[int]) -> list[float]:
    return [clusters.distortion for clusters in ward(x, counts)]


def unrote_cut(x: Tensor, counts: list[int]) -> list[float]:
    tree = ward_tree(x)
    return [cut(tree, x, count).distortion for count in counts]


def naive(x: Tensor, counts: list[int]) -> list[float]:
    from scipy.cluster.hierarchy import cut_tree, linkage

    data = x.numpy()
    labels = cut_tree(linkage(data, "ward"), counts)
    return [naive_moves(data, label) for label in labels.T]


def naive_moves(x: np.ndarray, label: np.ndarray) -> float:
    """The best of all single moves, again and again, two columns of the table renewed after each."""
    label, count = label.copy(), label.max() + 1
    size = np.bincount(label, minlength=count).astype(float)
    means = np.stack([x[label == k].mean(0) for k in range(count)])
    table = np.stack([((x - mean) ** 2).sum(1) for mean in means], 1)
    rows = np.arange(len(x))
    while True:
        own = size[label]
        with np.errstate(divide="ignore", invalid="ignore"):
            leave = np.where(own > 1, own / (own - 1) * table[rows, label], -np.inf)
        gain = leave[:, None] - size / (size + 1) * table
        gain[rows, label] = -np.inf
        n, b = np.unravel_index(gain.argmax(), gain.shape)
        if gain[n, b] <= 1e-9:
            return float(table[rows, label].mean())
        a, label[n] = label[n], b
        for k in (a, b):
            member = x[label == k]
            size[k], means[k] = len(member), member.mean(0)
            table[:, k] = ((x - means[k]) ** 2).sum(1)


def sklearn(x: Tensor, counts: Iterable[int], runs: int) -> list[float]:
    from sklearn.cluster import KMeans

    data = x.numpy()
    return [KMeans(k, n_init=runs, random_state=0).fit(data).inertia_ / len(data) for k in counts]


METHODS: dict[str, Callable[[Tensor, list[int]], list[float]]] = {
    "unrote ward (tree + moves)": unrote_ward,
    "unrote cut (tree alone)": unrote_cut,
    "scipy linkage + naive moves": naive,
    "scikit-learn KMeans, 1 run": lambda x, counts: sklearn(x, counts, 1),
    "scikit-learn KMeans, best of 10": lambda x, counts: sklearn(x, counts, 10),
}


def compare(repeat: int) -> dict[str, dict[str, float]]:
    """CPU seconds (least of some runs) and distortion relative to ours."""
    x, counts = mixture(200, 50, 12), list(range(12, 201))
    ward(x[:20], [3])  # pays for imports
    rows: dict[str, dict[str, float]] = {}
    for name, method in METHODS.items():
        seconds = []
        for _ in range(1 if "10" in name else repeat):
            start = time.process_time()
            found = np.array(method(x, counts)[:-1])  # the last size is N, where all are 0
            seconds.append(time.process_time() - start)
        if not rows:
            ours = found
        rows[name] = {"cpu_s": min(seconds), "distortion": float((found / ours).mean())}
        rows[name] |= {"best": float((found / ours).min()), "worst": float((found / ours).max())}
    return rows


def sweep() -> dict[str, float]:
    """Every size from K to N for N in 50..200, d in 30..60, K in 3..12."""
    start, models = time.process_time(), 0
    for n in (50, 100, 150, 200):
        for d in (30, 40, 50, 60):
            for k in (3, 6, 9, 12):
                models += sum(1 for _ in ward(mixture(n, d, k), range(k, n + 1)))
    return {"models": models, "cpu_s": time.process_time() - start}


def large(n: int = 20_000, d: int = 500, k: int = 500, sizes: int = 20) -> dict[str, float]:
    x, start = mixture(n, d, k), time.process_time()
    tree = ward_tree(x)
    grown = time.process_time() - start
    for count in np.linspace(k, 0.95 * n, sizes).astype(int).tolist():
        hartigan(x, cut(tree, x, count))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"tree_cpu_s": grown, "cpu_s": time.process_time() - start, "peak_bytes": peak}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--sweep", action="store_true")
    parser.add_argument("--large", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    threadpoolctl.threadpool_limits(1)
    rows = compare(options.repeat)
    print("| 189 sizes, N = 200, d = 50, K = 12 | CPU s | distortion / ours: mean | least | most |")
    print("|---|---|---|---|---|")
    for name, row in rows.items():
        print(
            f"| {name} | {row['cpu_s']:.3f} | {row['distortion']:.4f} | {row['best']:.4f} | {row['worst']:.4f} |"
        )
    ours = rows["unrote ward (tree + moves)"]["cpu_s"]
    met = {"all sizes < 0.5 s": ours < 0.5}
    met |= {"distortion at most the others' mean": all(row["distortion"] > 0.9995 for row in rows.values())}
    record: dict[str, object] = {"benchmark": "mixtures", "sizes": rows}
    if options.sweep:
        record["sweep"] = swept = sweep()
        print(f"\nsweep of 64 settings: {swept['models']:.0f} models in {swept['cpu_s']:.1f} CPU s")
        met["sweep < 15 s"] = swept["cpu_s"] < 15
    if options.large:
        record["large"] = far = large()
        print(
            f"\nN = 20,000, d = 500, 20 sizes: tree {far['tree_cpu_s']:.1f} CPU s, all {far['cpu_s']:.1f} CPU s, "
            f"peak {far['peak_bytes'] / 1e9:.1f} GB"
        )
        met["large < 300 s and < 6 GB"] = far["cpu_s"] < 300 and far["peak_bytes"] < 6e9
    print("\n" + "\n".join(f"- {'met' if ok else 'NOT met'}: {name}" for name, ok in met.items()) + "\n")
    print(json.dumps(record | {"targets": met}))


if __name__ == "__main__":
    main()
