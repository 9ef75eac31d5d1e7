"""Figure 14: how often each rule is used, layer by layer, and which are used together; of one seed, numbers of all."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from unrote.contracts import Estimate
from unrote.data.grammar import Shape, random_grammar
from unrote.data.grammar_usage import Usage, expected_usage
from unrote.lab.claims import Row
from unrote.lab.early_stopping.rhm_usage_rules import (
    Amount,
    beyond,
    everywhere,
    mean,
    of,
    of_strings,
    over_noise,
    wrong_structure,
)
from unrote.measure.estimate import estimate, normal_quantile
from unrote.report.blocks import Beside, Block, Column, Exhibit, Gallery, Picture, Table
from unrote.report.format import number, quantity
from unrote.report.heat import heat
from unrote.report.plots import Curve, curves

MOST = 16
"""Rules of a layer that are drawn in a grid of numbers."""
FULL = 0.5
"""The correlation of the fullest colour in the pictures of all rules."""
EARLY, ROTE = "stopped early", "by rote"


@dataclass(frozen=True, eq=False)
class Seen:
    """What is drawn of one seed.

    Args:
        way: the process.
        shape: of the grammar.
        expected: what all strings do.
        models: what valid samples do, by name; those without a valid sample are left out.
    """

    way: str
    shape: Shape
    expected: Usage
    models: dict[str, Usage]

    def rules(self, layer: int) -> range:
        """Places of the rules of a layer."""
        sizes = [self.shape.symbols(k) * self.shape.rules for k in range(1, self.shape.layers + 1)]
        first = sum(sizes[: layer - 1])
        return range(first, first + sizes[layer - 1])


def show(rows: Sequence[Row]) -> tuple[Block, ...]:
    """Every process: occurrence by layer, correlations, all rules at a glance, and what seeds have in common."""
    found: list[Block] = []
    for way in dict.fromkeys(row["configuration"]["way"] for row in rows):
        seen = seen_of(rows, way)
        found += [occurrences(seen, layer) for layer in range(1, seen.shape.layers + 1)]
        if seen.shape.layers > 1:
            found.append(together(seen, seen.shape.layers, seen.shape.layers - 1))
        found += [together(seen, 1, 1), glance(seen), table(rows, way)]
    return tuple(found)


def seen_of(rows: Sequence[Row], way: str) -> Seen:
    """The first seed of a process."""
    runs = {EARLY: of(rows, way, True)[:1], ROTE: of(rows, way, False)[:1]}
    first = next(row for found in runs.values() for row in found)
    shape, seed = Shape(**first["configuration"]["shape"]), first["configuration"]["seed"]
    expected = expected_usage(random_grammar(shape, torch.Generator().manual_seed(seed)))
    models = {
        name: usage_of(row["result"])
        for name, found in runs.items()
        for row in found
        if row["result"]["valid"]
    }
    return Seen(way, shape, expected, models)


def usage_of(result: Row) -> Usage:
    """Mean and covariance from the recorded sums."""
    n, size = result["valid"], len(result["times"])
    upper = torch.triu_indices(size, size)
    sums = torch.zeros(size, size, dtype=torch.float64)
    sums[upper[0], upper[1]] = torch.tensor(result["together"], dtype=torch.float64)
    product = sums + sums.triu(1).mT
    average = torch.tensor(result["times"], dtype=torch.float64) / n
    return Usage(average, product / n - torch.outer(average, average), n)


def occurrences(seen: Seen, layer: int) -> Block:
    """Left half of Figure 14: times that a valid string uses each rule of a layer, and what chance allows."""
    places = seen.rules(layer)
    here = torch.tensor(list(places))
    order = here[seen.expected.mean[here].argsort(stable=True)]
    at = list(range(1, len(places) + 1))
    count = max((one.n for one in seen.models.values()), default=1)
    half = normal_quantile(0.95) * (seen.expected.covariance.diagonal()[order].clamp(min=0) / count).sqrt()
    middle = seen.expected.mean[order]
    lines = [Curve("all strings", at, middle.tolist(), (middle - half).tolist(), (middle + half).tolist())]
    lines += [Curve(name, at, one.mean[order].tolist()) for name, one in seen.models.items()]
    return curves(
        lines,
        x_label=f"rules of layer {layer}, those expected least first",
        y_label="times in a string",
        caption=f"{seen.way}, one seed, layer {layer}: how often a valid sample uses each rule. The band is the chance "
        f"of {count:,} strings.",
        alt=f"Mean occurrence of the rules of layer {layer}: expected, of a model stopped early, and by rote.",
    )


def scaled(usage: Usage, expected: Usage) -> Tensor:
    """Covariances over the standard deviations that are expected."""
    spread = expected.covariance.diagonal().clamp(min=1e-300).sqrt()
    return usage.covariance / torch.outer(spread, spread)


def together(seen: Seen, above: int, below: int) -> Block:
    """Right half of Figure 14: which rules of two layers are used together, measured beside what is expected."""
    rows, columns = list(seen.rules(above))[:MOST], list(seen.rules(below))[:MOST]
    tables = {"all strings": seen.expected, **seen.models}
    parts = {
        name: off_diagonal(scaled(one, seen.expected))[rows][:, columns]
        for name, one in tables.items()
        if name != ROTE
    }
    end = max(float(parts["all strings"].abs().max()), 1e-3)
    return Beside(tuple(grid(seen.way, name, part, above, below, end) for name, part in parts.items()))


def off_diagonal(table: Tensor) -> Tensor:
    """The same with zeros for each rule with itself."""
    return table - table.diagonal().diag()


def grid(way: str, name: str, part: Tensor, above: int, below: int, end: float) -> Block:
    """One table of correlations; a rule with itself is left out."""
    height, width = part.shape
    cells = {
        (x, y): float(part[y, x]) for x in range(width) for y in range(height) if above != below or x != y
    }
    return heat(
        cells,
        across=[str(x + 1) for x in range(width)],
        down=[str(y + 1) for y in range(height)],
        x_label=f"rules of layer {below}",
        y_label=f"rules of layer {above}",
        value_label="covariance over the expected standard deviations",
        limits=(-end, end),
        write=lambda value: f"{100 * value:.0f}".replace("-", "−"),
        show=quantity,
        caption=f"{way}, one seed, {name}: covariance of the times that two rules are used, in percent of the standard "
        "deviations that are expected.",
        alt=f"Covariances of rules of layer {above} with rules of layer {below}: {name}.",
    )


def glance(seen: Seen) -> Block:
    """All rules with all rules as pictures: grey is 0, white together, black not together."""
    tables = {"all strings": seen.expected, **seen.models}

    def picture(name: str, one: Usage) -> Picture:
        found = off_diagonal(scaled(one, seen.expected)).div(FULL).clamp(-1, 1)
        return Picture((127.5 + 127.5 * found).round().to(torch.uint8)[None], name)

    pictures = tuple(picture(name, one) for name, one in tables.items())
    caption = (
        f"{seen.way}, one seed: covariances of all rules, lowest layer first, over the expected standard deviations; "
        f"grey is 0, white {number(FULL)} and more, black −{number(FULL)} and less."
    )
    return Gallery((Exhibit(pictures, "all rules"),), caption)


def table(rows: Sequence[Row], way: str) -> Table:
    """What was drawn and how far it is off, means over seeds."""

    def numbers(take: Callable[[Row], float]) -> list[Estimate | None]:
        return [
            estimate(torch.tensor([take(row) for row in mine], dtype=torch.float64)) if mine else None
            for mine in (of(rows, way, True), of(rows, way, False))
        ]

    def both(amount: Amount) -> list[Estimate | None]:
        return [mean(of(rows, way, early), amount) for early in (True, False)]

    def root(name: str) -> Amount:
        def amount(row: Row) -> float | None:
            found = over_noise(name)(row)
            return None if found is None else math.sqrt(found)

        return amount

    def share(name: str) -> Callable[[Row], float]:
        return lambda row: row["result"][name] / row["configuration"]["samples"]

    cells = [
        ("strings P", *numbers(lambda row: row["configuration"]["trained"])),
        ("step", *numbers(lambda row: row["result"]["steps"][-1])),
        ("valid samples, share", *numbers(share("valid"))),
        ("copies, share", *numbers(share("copies"))),
        ("occurrence off, root mean square beyond chance, relative", *both(beyond("occurrence"))),
        ("the same over chance, chance included", *both(root("occurrence"))),
        ("the same in all samples, beyond chance", *both(everywhere)),
        ("occurrence off in the training strings", *both(of_strings)),
        ("correlations off, root mean square beyond chance", *both(beyond("covariance"))),
        ("the same over chance, chance included", *both(root("covariance"))),
        ("correlations off over those of the language", *both(wrong_structure)),
    ]
    columns = (Column(""), Column(EARLY, quantity), Column(ROTE, quantity))
    return Table(columns, tuple(cells), f"{way}: means over seeds with 95 % intervals", False)
