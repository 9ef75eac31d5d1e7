"""Two nearest neighbours and copy decisions on CIFAR images, beside faiss and scikit-learn, in one run.

    python bench/bench_neighbors.py --queries 1000 --repeat 3     (a quick look; the targets are for 10,000)

All methods get the same float32 arrays and one thread; times are CPU seconds (`time.process_time`), medians
over interleaved repetitions, and include whatever index a method builds.  Memory is the growth of the peak
resident size beyond data and libraries, each method in a process of its own.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import threadpoolctl
import torch

from unrote.distances import squared, top_k
from unrote.measure.neighbors import copy_decisions, neighbors

DATA = Path(__file__).resolve().parents[1] / ".." / "shared" / "data"
Method = Callable[[np.ndarray, np.ndarray], np.ndarray]


def faiss_flat(query: np.ndarray, reference: np.ndarray) -> np.ndarray:
    import faiss

    faiss.omp_set_num_threads(1)
    index = faiss.IndexFlatL2(reference.shape[1])
    index.add(reference)
    return np.sqrt(np.maximum(index.search(query, 2)[0], 0))


def sklearn_brute(query: np.ndarray, reference: np.ndarray) -> np.ndarray:
    from sklearn.neighbors import NearestNeighbors

    return NearestNeighbors(n_neighbors=2, algorithm="brute", n_jobs=1).fit(reference).kneighbors(query)[0]


def unrote_brute(query: np.ndarray, reference: np.ndarray) -> np.ndarray:
    return top_k(torch.from_numpy(query), torch.from_numpy(reference), 2).distance.numpy()


def unrote_neighbors(query: np.ndarray, reference: np.ndarray) -> np.ndarray:
    return neighbors(torch.from_numpy(query), torch.from_numpy(reference), 2).distance.numpy()


def unrote_decisions(query: np.ndarray, reference: np.ndarray) -> np.ndarray:
    return copy_decisions(torch.from_numpy(query), torch.from_numpy(reference)).numpy()


METHODS: dict[str, Method] = {
    "faiss IndexFlatL2": faiss_flat,
    "scikit-learn brute": sklearn_brute,
    "unrote brute": unrote_brute,
    "unrote neighbors": unrote_neighbors,
    "unrote copy decisions": unrote_decisions,
}


def cifar(folder: Path, split: str) -> np.ndarray:
    """All images of a split as float32 rows in [0, 1]."""
    from PIL import Image
    from pyarrow import parquet

    table = parquet.read_table(folder / "cifar10" / f"{split}-00000-of-00001.parquet", columns=["image"])
    rows = [np.asarray(Image.open(io.BytesIO(cell["bytes"]))).ravel() for cell in table["image"].to_pylist()]
    return np.stack(rows).astype(np.float32) / 255


def is_copy(distance: np.ndarray) -> np.ndarray:
    """The rule d1 < d2 / 3, where an exact copy always counts."""
    if distance.dtype == bool:
        return distance
    return (distance[:, 0] < distance[:, 1] / 3) | (distance[:, 0] == 0)


def times(
    query: np.ndarray, reference: np.ndarray, repeat: int
) -> tuple[dict[str, list[float]], dict[str, np.ndarray]]:
    """CPU seconds of every repetition, and one result of every method."""
    seconds: dict[str, list[float]] = {name: [] for name in METHODS}
    results = {}
    for turn in range(repeat):
        for name, method in METHODS.items():
            start = time.process_time()
            results[name] = method(query, reference)
            seconds[name].append(time.process_time() - start)
            print(f"  {turn + 1}/{repeat} {name}: {seconds[name][-1]:.2f} s", file=sys.stderr)
    return seconds, results


def measure_memory(name: str, folder: str) -> None:
    """Print by how many bytes one method raises the peak resident size (a process of its own)."""
    import faiss  # noqa: F401
    import sklearn.neighbors  # noqa: F401

    query, reference = (np.load(Path(folder) / f"{part}.npy") for part in ("query", "reference"))
    METHODS[name](query[:2], reference[:2])
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    before = peak()
    METHODS[name](query, reference)
    print(peak() - before)


def peak() -> int:
    """Peak resident bytes of this process since it was last reset (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def peak_memory(query: np.ndarray, reference: np.ndarray) -> dict[str, int]:
    """Peak bytes beyond the data for every method."""
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder) / "query.npy", query)
        np.save(Path(folder) / "reference.npy", reference)
        peaks = {}
        for name in METHODS:
            command = [sys.executable, __file__, "--memory-of", name, "--folder", folder]
            peaks[name] = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return peaks


def near_duplicates(reference: np.ndarray, count: int = 300, gap: float = 0.02) -> dict[str, float]:
    """Share of wrong decisions where a training image has a twin at distance `gap` and a query lies between.

    A query at t of the way from an image to its twin has d1 / d2 = t / (1 - t) and is a copy below t = 1/4.
    """
    random = np.random.default_rng(0)
    order = random.permutation(len(reference))
    chosen, others = reference[order[:count]], reference[order[count : count + 5000]]
    step = random.standard_normal(chosen.shape)
    step *= gap / np.linalg.norm(step, axis=1, keepdims=True)
    twins = (chosen + step).astype(np.float32)
    query = (chosen + random.uniform(0.1, 0.4, (count, 1)) * step).astype(np.float32)
    training = np.concatenate([chosen, twins, others])
    pairs = [
        np.linalg.norm(query.astype(np.float64) - other.astype(np.float64), axis=1)
        for other in (chosen, twins)
    ]
    truth = is_copy(np.sort(np.stack(pairs, 1), axis=1))
    return {
        name: float((is_copy(method(query, training)) != truth).mean()) for name, method in METHODS.items()
    }


def largest_error(distance: np.ndarray, query: np.ndarray, reference: np.ndarray, rows: int = 32) -> float:
    """Largest relative error of the two distances against float64 differences, on a few queries."""
    every = torch.arange(len(reference))
    worst = 0.0
    for row in np.linspace(0, len(query) - 1, rows).astype(int):
        first = torch.full((len(reference),), int(row))
        d2 = squared(torch.from_numpy(query), torch.from_numpy(reference), first, every)
        truth = d2.topk(2, largest=False).values.sqrt().numpy()
        worst = max(worst, float(np.abs(distance[row] / truth - 1).max()))
    return worst


def targets(ratio: dict[str, float], memory: dict[str, int], wrong: dict[str, float]) -> dict[str, bool]:
    """What must hold; times are ratios to faiss."""
    ours = [name for name in METHODS if name.startswith("unrote")]
    return {
        "neighbors <= 0.6 faiss": ratio["unrote neighbors"] <= 0.6,
        "brute <= 1.2 faiss": ratio["unrote brute"] <= 1.2,
        "neighbors >= 2x faster than scikit-learn": ratio["scikit-learn brute"]
        >= 2 * ratio["unrote neighbors"],
        "decisions >= 3x faster than brute": ratio["unrote brute"] >= 3 * ratio["unrote copy decisions"],
        "peak memory < 1.5 GB": all(memory[name] < 1.5e9 for name in ours),
        "exact on near-duplicates, faiss is not": wrong["faiss IndexFlatL2"] > 0
        and all(wrong[name] == 0 for name in ours),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--queries", type=int, default=10_000)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--data", type=Path, default=DATA, help="folder that holds cifar10/")
    parser.add_argument("--memory-of", choices=list(METHODS), help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    threadpoolctl.threadpool_limits(1)
    if options.memory_of:
        measure_memory(options.memory_of, options.folder)
        return
    if not (options.data / "cifar10").is_dir():
        print(f"skipped: no CIFAR images in {options.data}; pass --data with a folder that holds cifar10/")
        return
    reference, test = cifar(options.data, "train"), cifar(options.data, "test")
    query = np.ascontiguousarray(test[np.random.default_rng(0).permutation(len(test))[: options.queries]])
    seconds, results = times(query, reference, options.repeat)
    median = {name: statistics.median(values) for name, values in seconds.items()}
    ratio = {name: value / median["faiss IndexFlatL2"] for name, value in median.items()}
    memory, wrong = peak_memory(query, reference), near_duplicates(reference)
    error = {n: largest_error(r, query, reference) for n, r in results.items() if r.dtype != bool}
    decisions, slow = is_copy(results["unrote brute"]), ratio["scikit-learn brute"]
    print(
        f"\n{len(query)} queries x {len(reference)} images x {query.shape[1]}, medians of {options.repeat}\n"
    )
    print("| method | CPU s | / faiss | / scikit-learn | peak MB | largest error | wrong near duplicates |")
    print("|---|---|---|---|---|---|---|")
    for name in METHODS:
        off = f"{error[name]:.0e}" if name in error else f"{(results[name] != decisions).sum()} decisions"
        row = f"| {name} | {median[name]:.2f} | {ratio[name]:.2f} | {ratio[name] / slow:.2f} |"
        print(f"{row} {memory[name] / 1e6:.0f} | {off} | {100 * wrong[name]:.0f} % |")
    met = targets(ratio, memory, wrong)
    print("\n" + "\n".join(f"- {'met' if ok else 'NOT met'}: {name}" for name, ok in met.items()) + "\n")
    record = {"queries": len(query), "repeat": options.repeat, "cpu_seconds": seconds, "ratio": ratio}
    record |= {"peak_bytes": memory, "largest_error": error, "wrong_near_duplicates": wrong, "targets": met}
    print(json.dumps(record))


if __name__ == "__main__":
    main()
