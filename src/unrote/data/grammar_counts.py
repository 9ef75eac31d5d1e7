"""All strings of a grammar: their numbers, a list of them, and distinct ones drawn at random.

A string's number is its class and then its choices of rules, read as digits: the class first, then that of
the class's rule, then layer by layer. Numbers are Python's integers, since there are soon more strings than
64 bits can count; whatever needs no number works on derivations and knows no such limit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from unrote.contracts import InputError
from unrote.data.grammar import Derivation, Grammar, Shape, strings_of

ENUMERABLE = 2**28
"""Tokens in a list of all strings, at most (2 GiB)."""

PERMUTED = 2**24
"""Up to so many strings, distinct ones are the beginning of a permutation of all."""

CHUNK = 4096
"""Derivations that are drawn at a time; those before do not depend on how many are asked for."""

DIGIT_BITS = 62.0
"""How much of a number is handled at a time in 64-bit integers."""


@dataclass(frozen=True, eq=False)
class Strings:
    """Strings of a grammar with their derivations.

    Args:
        x: tokens (N,L), int64.
        derivation: how each came about.
    """

    x: Int[Tensor, "N L"]
    derivation: Derivation

    @property
    def label(self) -> Int[Tensor, " N"]:
        """The class of each string."""
        return self.derivation.label


def index_of(shape: Shape, derivation: Derivation) -> list[int]:
    """The number of each string, in 0..strings - 1, exactly.

    ((label m + choice_1) m + choice_2) m + ...

    Raises:
        ValueError: if the derivations are of another shape.
    """
    if derivation.choice.shape[1] != shape.nodes:
        raise ValueError(f"{shape.nodes} choices make a string, got {derivation.choice.shape[1]}")
    numbers = derivation.label.tolist()
    group = _group(shape.rules)
    for part in derivation.choice.long().split(group, 1):
        digits = torch.zeros(len(part), dtype=torch.int64, device=part.device)
        for column in part.unbind(1):
            digits = digits * shape.rules + column
        scale = shape.rules ** part.shape[1]
        numbers = [number * scale + digit for number, digit in zip(numbers, digits.tolist(), strict=True)]
    return numbers


def derivation_at(shape: Shape, index: Sequence[int] | Int[Tensor, " N"]) -> Derivation:
    """The derivation of the strings with these numbers, the inverse of `index_of`.

    Raises:
        InputError: for a number outside 0..strings - 1.
    """
    numbers = index.tolist() if isinstance(index, Tensor) else [int(number) for number in index]
    strings = shape.strings
    outside = [number for number in numbers if not 0 <= number < strings]
    if outside:
        raise InputError(
            f"This grammar has {_count(shape)} strings, numbered from 0, and {len(outside)} of the numbers given "
            f"have none, among them {outside[0]}."
        )
    if strings < 2**63:
        return _derivation_at(shape, torch.tensor(numbers, dtype=torch.int64))
    columns: list[Tensor] = []
    left, group = shape.nodes, _group(shape.rules)
    while left:
        # The last digits first, in groups of the same size as there, the odd one out being the last group.
        size = left % group or group
        scale = shape.rules**size
        digits = torch.tensor([number % scale for number in numbers], dtype=torch.int64)
        numbers = [number // scale for number in numbers]
        for _ in range(size):
            columns.insert(0, digits % shape.rules)
            digits = digits // shape.rules
        left -= size
    return Derivation(torch.tensor(numbers, dtype=torch.int64), torch.stack(columns, 1))


def all_strings(grammar: Grammar) -> Strings:
    """Every string of a grammar, in the order of their numbers.

    Raises:
        InputError: if they have more than 2^28 tokens in all.
    """
    shape = grammar.shape
    if shape.log_strings + math.log(shape.length) > math.log(ENUMERABLE) + 1e-9:
        raise InputError(
            f"This grammar has {_count(shape)} strings of {shape.length} tokens, too many to list: at most "
            f"{ENUMERABLE:,} tokens in all. Draw some of them (distinct_strings), or use fewer layers or rules."
        )
    derivation = _derivation_at(shape, torch.arange(shape.strings))
    return Strings(strings_of(grammar, derivation), derivation)


def distinct_strings(grammar: Grammar, count: int, generator: torch.Generator) -> Strings:
    """Different strings, uniform without replacement; training and held-out strings are parts of one draw.

    Up to 2^24 strings in the grammar these are the beginning of a permutation of all. In larger ones
    derivations are drawn and those seen before left out, however many strings there are. Either way string i
    does not depend on how many are asked for.

    Args:
        grammar: the grammar.
        count: how many, at least 0.
        generator: the source of all of them.

    Raises:
        InputError: for a negative count, or more strings than there are.
    """
    shape = grammar.shape
    if not 0 <= count <= shape.strings:
        raise InputError(
            f"{count} different strings were asked for, and this grammar has {_count(shape)}; ask for at most so "
            "many, or use more layers, rules or classes."
        )
    if shape.log_strings <= math.log(PERMUTED) + 1e-9:
        order = torch.randperm(shape.strings, generator=generator, device=generator.device)
        derivation = derivation_at(shape, order[:count].cpu())
    else:
        derivation = _distinct_derivations(shape, count, generator)
    return Strings(strings_of(grammar, derivation), derivation)


def random_strings(grammar: Grammar, count: int, generator: torch.Generator) -> Strings:
    """Independent strings, uniform over all: what a perfect model of the grammar would generate.

    String i does not depend on how many are asked for.

    Raises:
        InputError: for a negative count.
    """
    if count < 0:
        raise InputError(f"{count} strings of a grammar were asked for; ask for 0 or more.")
    stream = _stream(generator)
    parts = [_chunk(grammar.shape, stream) for _ in range(-(-count // CHUNK))] or [
        torch.empty(0, 1 + grammar.shape.nodes, dtype=torch.int64)
    ]
    derivation = _derivation(torch.cat(parts)[:count])
    return Strings(strings_of(grammar, derivation), derivation)


def _derivation_at(shape: Shape, index: Tensor) -> Derivation:
    choice = torch.empty(len(index), shape.nodes, dtype=torch.int64)
    for column in range(shape.nodes - 1, -1, -1):
        choice[:, column] = index % shape.rules
        index = index // shape.rules
    return Derivation(index, choice)


def _distinct_derivations(shape: Shape, count: int, generator: torch.Generator) -> Derivation:
    stream = _stream(generator)
    rows = torch.empty(0, 1 + shape.nodes, dtype=torch.int64)
    while len(rows) < count:
        chunks = -(-(count - len(rows)) // CHUNK)
        rows = torch.cat([rows, *(_chunk(shape, stream) for _ in range(chunks))])
        # A row is compared as one string of bytes; of equal ones the first stays.
        kept = np.unique(_keys(shape, rows), return_index=True)[1]
        rows = rows[torch.from_numpy(np.sort(kept))]
    return _derivation(rows[:count])


def _keys(shape: Shape, rows: Tensor) -> np.ndarray:
    """One value per row, equal for equal rows alone."""
    packed = [rows[:, 0]]
    for part in rows[:, 1:].split(_group(shape.rules), 1):
        digits = torch.zeros(len(part), dtype=torch.int64)
        for column in part.unbind(1):
            digits = digits * shape.rules + column
        packed.append(digits)
    table = torch.stack(packed, 1).contiguous().numpy()
    return np.ascontiguousarray(table).view(np.dtype((np.void, table.shape[1] * 8)))[:, 0]


def _group(rules: int) -> int:
    """How many digits of this base a 64-bit integer surely holds."""
    return int(DIGIT_BITS // math.log2(rules)) if rules > 1 else 1024


def _stream(generator: torch.Generator) -> torch.Generator:
    seed = int(torch.randint(2**62, (1,), generator=generator, device=generator.device))
    return torch.Generator().manual_seed(seed)


def _chunk(shape: Shape, stream: torch.Generator) -> Tensor:
    label = torch.randint(shape.roots, (CHUNK, 1), generator=stream)
    return torch.cat([label, torch.randint(shape.rules, (CHUNK, shape.nodes), generator=stream)], 1)


def _derivation(rows: Tensor) -> Derivation:
    return Derivation(rows[:, 0], rows[:, 1:])


def _count(shape: Shape) -> str:
    """The number of strings in words: written out while that is short."""
    if shape.log_strings < 40:
        return f"{shape.strings:,}"
    return f"about 10^{shape.log_strings / math.log(10):.0f}"
