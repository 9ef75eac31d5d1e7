"""Strings of a grammar: exact posteriors, parsing, and nearest training strings, each against named alternatives.

1,024 strings of 32 tokens (L = 5, s = 2, v = 16, m = 4) at 18 levels of uniform noise. The alternatives to belief
propagation over rules are the same over dense tables of all pairs of symbols (torch, batched, float64) and a
loop in plain Python, timed on a few strings and scaled. Targets: marginals in 4 CPU seconds, 10^6 strings parsed in
120 CPU seconds.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from statistics import median

import torch
from torch import Tensor

from unrote.data.grammar import Grammar, Shape, random_grammar
from unrote.data.grammar_counts import random_strings
from unrote.data.grammar_parse import deepest_layer
from unrote.denoise.grammar import GrammarDenoiser
from unrote.measure.hamming import hamming_neighbors
from unrote.noise.tokens import Uniform, evidence

SHAPE = Shape(16, 4, 5)
LEVELS = 18
TARGET_MARGINALS = 4.0
TARGET_PARSE = 120.0


def seconds(work: Callable[[], object]) -> float:
    """CPU seconds of one call."""
    start = time.process_time()
    work()
    return time.process_time() - start


def dense_marginals(grammar: Grammar, seen: Tensor) -> Tensor:
    """p(x0_l | x) by messages over tables of all pairs of symbols: (B,L,V) likelihoods -> (B,L,V)."""
    v = grammar.shape.vocabulary
    tables = []
    for rules in grammar.rules:
        table = torch.zeros(len(rules), v, v, dtype=seen.dtype)
        for symbol, choices in enumerate(rules.tolist()):
            for left, right in choices:
                table[symbol, left, right] = 1
        tables.append(table)
    ups = [seen]
    for table in tables:
        left, right = ups[-1][:, 0::2], ups[-1][:, 1::2]
        pairs = (left[..., :, None] * right[..., None, :]).flatten(2)
        up = pairs @ table.flatten(1).mT
        ups.append(up / up.sum(-1, keepdim=True))
    down = torch.ones_like(ups[-1])
    for table, below in zip(reversed(tables), reversed(ups[:-1]), strict=True):
        pairs = (down @ table.flatten(1)).unflatten(-1, (v, v))
        left, right = below[:, 0::2], below[:, 1::2]
        parts = [(pairs @ right[..., None])[..., 0], (left[..., None, :] @ pairs)[..., 0, :]]
        down = torch.stack(parts, 2).flatten(1, 2)
        down = down / down.sum(-1, keepdim=True)
    posterior = down * seen
    return posterior / posterior.sum(-1, keepdim=True)


def plain_marginals(grammar: Grammar, seen: list[list[float]]) -> list[list[float]]:
    """The same for one string, in plain Python."""
    v, ups = grammar.shape.vocabulary, [seen]
    tables = [table.tolist() for table in grammar.rules]
    for table in tables:
        below = ups[-1]
        ups.append(
            [
                [sum(below[2 * n][b] * below[2 * n + 1][c] for b, c in choices) for choices in table]
                for n in range(len(below) // 2)
            ]
        )
    downs = [[1.0] * v]
    for table, below in zip(reversed(tables), reversed(ups[:-1]), strict=True):
        out = [[0.0] * v for _ in below]
        for n, message in enumerate(downs):
            for symbol, choices in enumerate(table):
                for b, c in choices:
                    out[2 * n][b] += message[symbol] * below[2 * n + 1][c]
                    out[2 * n + 1][c] += message[symbol] * below[2 * n][b]
        downs = out
    both = [[a * b for a, b in zip(*rows, strict=True)] for rows in zip(downs, seen, strict=True)]
    return [[a / sum(row) for a in row] for row in both]


def marginals(strings: int, repeats: int) -> dict[str, float]:
    """CPU seconds of all marginals, three ways, and by how much the answers differ."""
    g = torch.Generator().manual_seed(0)
    grammar, process = random_grammar(SHAPE, g), Uniform(SHAPE.vocabulary)
    exact = GrammarDenoiser(grammar, process)
    t = torch.linspace(0.05, 0.95, LEVELS, dtype=torch.float64).repeat_interleave(strings)
    x = process.noise(random_strings(grammar, strings, g).x.repeat(LEVELS, 1), t, g)
    blocks = [(x[i : i + 512], t[i : i + 512]) for i in range(0, len(x), 512)]
    few = evidence(process, x[:8], t[:8]).exp()

    def dense() -> list[Tensor]:
        return [dense_marginals(grammar, evidence(process, a, b).exp()).log() for a, b in blocks]

    def plain() -> list[list[list[float]]]:
        return [plain_marginals(grammar, row) for row in few.tolist()]

    ours = exact(x, t).exp()
    error = max(
        float((torch.cat(dense()).exp() - ours).abs().max()),
        float((torch.tensor(plain(), dtype=torch.float64) - ours[:8]).abs().max()),
    )
    runs = [(seconds(lambda: exact(x, t)), seconds(dense), seconds(plain)) for _ in range(repeats)]
    rules, tables, loop = (median(run[i] for run in runs) for i in range(3))
    sampling = median(seconds(lambda: exact.sample(x, t, g)) for _ in range(repeats))
    return {
        "rules": rules,
        "dense": tables,
        "plain": loop * len(x) / len(few),
        "sampling": sampling,
        "difference": error,
    }


def parsing(strings: int) -> float:
    """CPU seconds of finding the deepest valid layer of so many strings, scaled to 10^6."""
    g = torch.Generator().manual_seed(1)
    grammar = random_grammar(SHAPE, g)
    x = random_strings(grammar, strings, g).x
    return seconds(lambda: deepest_layer(grammar, x)) * 10**6 / strings


def nearest(queries: int, strings: int) -> dict[str, float]:
    """CPU seconds of Hamming neighbours among so many strings, packed and by products of one-hot rows."""
    g = torch.Generator().manual_seed(2)
    q, x = (torch.randint(SHAPE.vocabulary, (n, SHAPE.length), generator=g) for n in (queries, strings))

    def products() -> Tensor:
        def hot(rows: Tensor) -> Tensor:
            return torch.nn.functional.one_hot(rows, SHAPE.vocabulary).float().flatten(1)

        left, most = hot(q), torch.zeros(len(q))
        for part in x.split(2**13):
            most = torch.maximum(most, (left @ hot(part).mT).max(1).values)
        return SHAPE.length - most

    found = hamming_neighbors(q, x)
    assert torch.equal(found.distance[:, 0], products().double())
    return {"packed": seconds(lambda: hamming_neighbors(q, x)), "products": seconds(products)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--strings", type=int, default=1024)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    one = marginals(arguments.strings, arguments.repeats)
    parse, near = parsing(10**6), nearest(256, 10**6)
    print("| one thread, CPU seconds | ours | alternative | ratio | target |")
    print("|---|---|---|---|---|")
    count = f"{arguments.strings:,} strings × {LEVELS} levels"
    print(
        f"| marginals of {count} | {one['rules']:.2f} | dense tables {one['dense']:.1f} | "
        f"{one['dense'] / one['rules']:.1f} | {TARGET_MARGINALS:g} s |"
    )
    print(
        f"| the same | {one['rules']:.2f} | plain Python {one['plain']:,.0f} | {one['plain'] / one['rules']:,.0f} | |"
    )
    print(f"| whole strings drawn from {count} | {one['sampling']:.2f} | | | |")
    print(f"| 10^6 strings parsed | {parse:.1f} | | | {TARGET_PARSE:g} s |")
    print(
        f"| nearest of 10^6 strings, 256 queries | {near['packed']:.1f} | one-hot products {near['products']:.1f} | "
        f"{near['products'] / near['packed']:.1f} | |"
    )
    print(f"\nLargest difference between the three ways: {one['difference']:.1e}\n")
    reached = one["rules"] <= TARGET_MARGINALS and parse <= TARGET_PARSE
    print(
        json.dumps(
            {"benchmark": "grammar", "marginals": one, "parse": parse, "nearest": near, "reached": reached}
        )
    )


if __name__ == "__main__":
    main()
