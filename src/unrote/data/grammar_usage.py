"""How often strings use each rule: measured, and what all strings of the grammar do on average."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from unrote.data.grammar import Grammar, Shape
from unrote.data.grammar_parse import Parse

BLOCK = 2**16
"""Strings whose counts are held at a time."""


@dataclass(frozen=True, eq=False)
class Usage:
    """How often a string uses each rule; the rules of layer 1 first, in each layer as symbol m + choice.

    Args:
        mean: times per string (R,).
        covariance: between two rules over strings (R,R), with the divisor n.
        n: how many strings; 0 where the numbers are exact, over all strings.
    """

    mean: Float[Tensor, " R"]
    covariance: Float[Tensor, "R _R"]
    n: int


def rule_counts(shape: Shape, found: Parse) -> Float[Tensor, "N R"]:
    """How many times each string uses each rule, a value per sample; symbols without a rule count nowhere.

    Args:
        shape: of the grammar.
        found: the parsed strings.
    """
    counts = []
    for layer, rules in enumerate(found.rules, 1):
        number = shape.symbols(layer) * shape.rules
        place = rules.long().masked_fill(rules < 0, number)
        table = torch.zeros(len(rules), number + 1, dtype=torch.float64, device=rules.device)
        counts.append(table.scatter_add_(1, place, torch.ones_like(place, dtype=torch.float64))[:, :-1])
    return torch.cat(counts, 1)


def rule_usage(shape: Shape, found: Parse) -> Usage:
    """The mean occurrence of every rule in strings and the covariance of two, float64.

    mean_r = E[c_r], covariance_rq = E[c_r c_q] - E[c_r] E[c_q], c_r the times that a string uses rule r.

    Args:
        shape: of the grammar.
        found: the parsed strings, at least one.

    Raises:
        ValueError: if there are no strings.

    Source: 002 Figure 14.
    """
    n = len(found.symbols[0])
    if not n:
        raise ValueError("the usage of rules is measured on at least one string, got none")
    places = [shape.symbols(layer) * shape.rules for layer in range(1, shape.layers + 1)]
    total = torch.zeros(sum(places), dtype=torch.float64, device=found.rules[0].device)
    square = torch.zeros(len(total), len(total), dtype=torch.float64, device=total.device)
    for start in range(0, n, BLOCK):
        part = slice(start, start + BLOCK)
        counts = rule_counts(
            shape, Parse(tuple(s[part] for s in found.symbols), tuple(r[part] for r in found.rules))
        )
        total += counts.sum(0)
        square += counts.mT @ counts  # sums of products of small integers: exact
    mean = total / n
    return Usage(mean, square / n - torch.outer(mean, mean), n)


def expected_usage(grammar: Grammar) -> Usage:
    """The same over all strings of the grammar, exactly: what a model that generalizes approaches.

    Below a symbol the counts are those of one of its m rules and, given this, of independent symbols:
    mean_a = (1/m) sum_r (e_r + sum_k mean_{r_k}), and by the law of total covariance
    cov_a = (1/m) sum_r (sum_k cov_{r_k} + (mean_r - mean_a)(mean_r - mean_a)^T).

    Returns:
        Mean and covariance, n = 0.
    """
    shape = grammar.shape
    places = [shape.symbols(layer) * shape.rules for layer in range(1, shape.layers + 1)]
    size, device = sum(places), grammar.rules[0].device
    mean = torch.zeros(shape.vocabulary, size, dtype=torch.float64, device=device)
    covariance = torch.zeros(shape.vocabulary, size, size, dtype=torch.float64, device=device)
    start = 0
    for table, count in zip(grammar.rules, places, strict=True):
        # Rows without rules are computed from symbol 0, and no string asks for them.
        children = table.clamp(min=0)
        own = torch.eye(size, dtype=torch.float64, device=device)[start : start + count]
        each = own.unflatten(0, table.shape[:2]) + mean[children].sum(2)  # (symbols, m, R)
        inside = _summed(covariance, children)
        mean = each.mean(1)
        centred = each - mean[:, None]
        covariance = inside + centred.mT @ centred / shape.rules
        start += count
    whole = mean.mean(0)
    centred = mean - whole
    return Usage(whole, covariance.mean(0) + centred.mT @ centred / shape.roots, 0)


def usage_errors(usage: Usage, expected: Usage) -> Float[Tensor, " R"]:
    """How far measured mean occurrences are from the expected ones, in their standard errors.

    z_r = (mean_r - E_r) / sqrt(covariance_rr / n) with the expected covariance; 0 for rules that all strings
    use equally often, if these strings do too.

    Raises:
        ValueError: if the first is not measured.
    """
    if usage.n < 1:
        raise ValueError("the first usage must be measured on strings, got an expected one")
    spread = (expected.covariance.diagonal().clamp(min=0) / usage.n).sqrt()
    difference = usage.mean - expected.mean
    return torch.where(difference.abs() < 1e-12, torch.zeros_like(difference), difference / spread)


def _summed(covariance: Float[Tensor, "v R _R"], children: Int[Tensor, "n m s"]) -> Float[Tensor, "n R _R"]:
    """sum over rules and children of their covariances, over m."""
    n, m, _ = children.shape
    weight = torch.zeros(n, len(covariance), dtype=torch.float64, device=covariance.device)
    flat = children.flatten(1)
    weight.scatter_add_(1, flat, torch.ones_like(flat, dtype=torch.float64))
    return torch.einsum("nv,vrq->nrq", weight / m, covariance)
