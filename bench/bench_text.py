"""Text: nearest windows, longest shared passages, and a training step of the transformer.

Synthetic words, as frequent as words are, 1.96 million characters (the size of WikiText-2). Nearest windows against
one-hot matrix products, which must agree; passages against difflib on one sample and a twentieth of the text, times
what is left out; a masked training step by the loop against a bare PyTorch loop over the same network. CPU time on one
thread. Targets: windows 2 times faster, passages 1,000 times, the step within 15 %.
"""

from __future__ import annotations

import argparse
import copy
import difflib
import json
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from unrote.contracts import Examples
from unrote.data.alphabet import decode
from unrote.denoise.token_networks import TokenPosterior, Transformer
from unrote.measure.text import longest_passages, window_neighbors
from unrote.noise.tokens import Masked
from unrote.train.loop import Options, train
from unrote.train.token_losses import LEAST, masked_recipe

CHARACTERS, WINDOW, SAMPLES = 1_960_000, 256, 256
V = 27
SHARE = 20  # difflib is given a twentieth of the text
CHUNK = 10  # updates between turns


def words(count: int, seed: int) -> Tensor:
    """Characters of random words, the k-th as frequent as 1/k, parted by spaces."""
    g = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, 10, (20_000,), generator=g).tolist()
    lexicon = [
        torch.cat([torch.randint(1, V, (n,), generator=g), torch.zeros(1, dtype=torch.int64)])
        for n in lengths
    ]
    chosen = torch.multinomial(
        1 / torch.arange(1, 20_001).double(), count // 3, replacement=True, generator=g
    )
    return torch.cat([lexicon[i] for i in chosen.tolist()])[:count]


def cpu_of(call: Callable[[], Any]) -> tuple[float, Any]:
    start = time.process_time()
    found = call()
    return time.process_time() - start, found


def by_products(query: Tensor, text: Tensor, start: Tensor) -> Tensor:
    """The least Hamming distance of each sample, from one-hot products, 1,024 windows at a time."""
    q = one_hot(query, V).float().flatten(1)
    rows = start[:, None] + torch.arange(query.shape[1])
    most = [(q @ one_hot(text[part], V).float().flatten(1).mT).max(1).values for part in rows.split(1024)]
    return query.shape[1] - torch.stack(most).max(0).values


def windows_table(text: Tensor, query: Tensor) -> dict[str, float]:
    start = torch.arange(0, len(text) - WINDOW + 1, WINDOW)
    ours, found = cpu_of(lambda: window_neighbors(query, text, start, 1))
    theirs, least = cpu_of(lambda: by_products(query, text, start))
    assert torch.equal(found.distance[:, 0].float(), least)
    return {"ours": ours, "one-hot products": theirs}


def passages_table(text: Tensor, query: Tensor) -> dict[str, float]:
    ours, _ = cpu_of(lambda: longest_passages(query, text[None]))
    part, sample = text[: len(text) // SHARE], query[:1]
    spelled, one = decode(part), decode(sample[0])
    matcher = difflib.SequenceMatcher(None, autojunk=False)
    built, _ = cpu_of(lambda: matcher.set_seq2(spelled))
    matcher.set_seq1(one)
    asked, match = cpu_of(matcher.find_longest_match)
    assert match.size == int(longest_passages(sample, part[None]).length[0])
    return {"ours": ours, "difflib, extrapolated": SHARE * (built + len(query) * asked)}


def bare(x: Tensor, network: torch.nn.Module) -> Iterator[None]:
    model, g = network.train(), torch.Generator().manual_seed(1)
    ema = copy.deepcopy(model).requires_grad_(False)
    raw, averaged = list(model.parameters()), list(ema.parameters())
    optimizer = torch.optim.AdamW(raw, lr=1e-3, weight_decay=0.0, fused=True)
    while True:
        for _ in range(CHUNK):
            x0 = x[torch.randint(len(x), (16,), generator=g)]
            t = LEAST + (1 - LEAST) * torch.rand(16, generator=g)
            hidden = torch.rand(x0.shape, generator=g) < t[:, None]
            nats = -model(x0.masked_fill(hidden, V), t).gather(2, x0[..., None])[..., 0]
            loss = ((nats * hidden).mean(1) / t).mean()
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            with torch.no_grad():
                torch._foreach_lerp_(averaged, raw, 0.01)
        yield


def ours(x: Tensor, network: torch.nn.Module) -> Iterator[None]:
    recipe = masked_recipe(Examples(x, torch.zeros(len(x))), V)
    options = Options(steps=10**6, batch_size=16, tick_every=CHUNK, cpu=True)
    model = TokenPosterior(network, Masked(V))
    for _ in train(model, recipe, torch.Generator().manual_seed(1), options):
        yield


def steps_table(text: Tensor) -> dict[str, float]:
    """CPU seconds per update of runs that take turns, so that a busy machine slows both alike."""
    x = text[: 64 * 512].reshape(512, 64)
    made = [Transformer().build(64, V, None, torch.Generator().manual_seed(0)) for _ in range(2)]
    runs = {"ours": ours(x, made[0]), "bare loop": bare(x, made[1])}
    spent: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(8):
        for name, run in runs.items():
            seconds, _ = cpu_of(lambda run=run: next(run))
            if turn:  # the first one sets things up
                spent[name].append(seconds / CHUNK)
    return {name: statistics.median(times) for name, times in spent.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--characters", type=int, default=CHARACTERS)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    text, query = words(asked.characters, 0), words(SAMPLES * WINDOW, 1).reshape(SAMPLES, WINDOW)
    tables = {
        "nearest of all windows, 256 samples": windows_table(text, query),
        "longest passages, 256 samples": passages_table(text, query),
        "training step of the transformer, 16 windows of 64": steps_table(text),
    }
    if asked.json:
        print(json.dumps(tables))
        return
    for name, table in tables.items():
        print(name)
        for way, seconds in table.items():
            print(f"  {way:24s} {seconds:12.4g} CPU s  {seconds / table['ours']:10.3g}")


if __name__ == "__main__":
    main()
