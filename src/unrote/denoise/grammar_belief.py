"""Belief propagation on the tree of a grammar: two passes that give every posterior exactly.

Upwards, nu_n(a) = (1/m) sum_r prod_k nu_{n_k}(r_k) over the rules r of a: the likelihood of what is seen below
node n if its symbol is a. Downwards, mu_{n_k}(b) = sum_a mu_n(a) (1/m) sum_{r of a, r_k = b} prod_{j != k}
nu_{n_j}(r_j): the same of all that is not below it. The posterior of a node is proportional to mu nu.

A message is a tensor (symbols, nodes, B). Only the v m rules are visited, never v^(s + 1) pairs of symbols, and
each rule works in place on whole rows. Nodes stand in such an order that the k-th children of all nodes of a
layer are neighbours and in the order of their parents.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from unrote.data.grammar import Grammar

LOST = -660.0
"""Where the logarithms of normalizations along a path add up to less, underflow may have lost digits.

What underflows is below e^-708, and each normalization on its way to a posterior makes it larger: it is at most
e^(-708 + 660), 1e-21 of the posterior.
"""


class Scaled:
    """Probabilities as they are: fast, and exact but for what underflows within one message."""

    zero = 0.0

    def of_logarithm(self, x: Tensor) -> Tensor:
        """exp x."""
        return x.exp()

    def product(self, a: Tensor, b: Tensor) -> Tensor:
        """A product a b."""
        return a * b

    def add_product(self, out: Tensor, a: Tensor, b: Tensor) -> None:
        """Add a b to out, in place."""
        out.addcmul_(a, b)

    def normalize(self, x: Tensor) -> Tensor:
        """Divide by the sum over dim 0, in place, and return its logarithm."""
        total = x.sum(0)
        x /= total.clamp(min=torch.finfo(x.dtype).tiny)  # what is less counts as lost
        return total.log_()

    def logarithm(self, x: Tensor) -> Tensor:
        """Logarithms, in place."""
        return x.log_()


class Logarithmic:
    """Probabilities as logarithms: slower, and exact however small they are."""

    zero = -torch.inf

    def of_logarithm(self, x: Tensor) -> Tensor:
        """The logarithm itself."""
        return x.clone()

    def product(self, a: Tensor, b: Tensor) -> Tensor:
        """A product, a + b."""
        return a + b

    def add_product(self, out: Tensor, a: Tensor, b: Tensor) -> None:
        """log(exp out + exp(a + b)), in place."""
        torch.logaddexp(out, a + b, out=out)

    def normalize(self, x: Tensor) -> Tensor:
        """Subtract the logarithm of the sum over dim 0, in place, and return it."""
        total = x.logsumexp(0)
        x -= total
        return total

    def logarithm(self, x: Tensor) -> Tensor:
        """The numbers themselves."""
        return x


Algebra = Scaled | Logarithmic
"""How probabilities are multiplied, added and normalized."""


@dataclass(frozen=True)
class Rule:
    """What symbol becomes what: one step of a message.

    Args:
        symbol: of the layer above.
        becomes: s symbols of the layer below.
    """

    symbol: int
    becomes: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Tree:
    """A grammar as the passes need it.

    Args:
        rules: of the layers 1..L, without those that are missing.
        tables: the same as tensors (symbols, m, s), -1 replaced by 0.
        symbols: how many symbols the layers 0..L have.
    """

    rules: tuple[tuple[Rule, ...], ...]
    tables: tuple[Int[Tensor, "_N m s"], ...]
    symbols: tuple[int, ...]

    @property
    def choices(self) -> int:
        """In how many ways a symbol is spelled out, m."""
        return self.tables[0].shape[1]

    @property
    def branching(self) -> int:
        """How many symbols a symbol becomes, s."""
        return self.tables[0].shape[2]

    def order(self, layer: int) -> Int[Tensor, " n"]:
        """The places of a layer's nodes, left to right, in the order in which messages hold them.

        Digits reversed: which child of its parent a node is comes first, that of the class's children last.
        It is its own inverse.
        """
        depth = len(self.rules) - layer
        places = torch.arange(self.branching**depth).reshape((self.branching,) * depth)
        return places.permute(list(reversed(range(depth)))).flatten()


@dataclass(frozen=True, eq=False)
class Upward:
    """What the upward pass found.

    Args:
        messages: nu of the layers 0..L, normalized (symbols, nodes, B).
        paths: for each of their nodes, the least sum of logarithms of normalizations from a token up (nodes, B).
        root: prior times likelihood of the classes, normalized (classes, B).
        log_evidence: log of the probability of what is seen (B,).
        weak: rows in which numbers underflowed, so that nothing of them may be used (B,).
    """

    messages: list[Tensor]
    paths: list[Tensor]
    root: Float[Tensor, "classes B"]
    log_evidence: Float[Tensor, " B"]
    weak: Bool[Tensor, " B"]


@dataclass(frozen=True, eq=False)
class Downward:
    """What the downward pass found.

    Args:
        messages: mu of the layers 0..L, normalized (symbols, nodes, B).
        paths: for each of their nodes, the least sum of logarithms of normalizations on the way to it (nodes, B).
    """

    messages: list[Tensor]
    paths: list[Tensor]


def tree_of(grammar: Grammar) -> Tree:
    """The rules of a grammar, one by one."""
    shape = grammar.shape
    rules = tuple(
        tuple(
            Rule(symbol, tuple(becomes))
            for symbol, choices in enumerate(table.tolist())
            for becomes in choices
            if becomes[0] >= 0
        )
        for table in grammar.rules
    )
    tables = tuple(table.clamp(min=0) for table in grammar.rules)
    return Tree(rules, tables, tuple(shape.symbols(layer) for layer in range(shape.layers + 1)))


def upward(
    tree: Tree, log_evidence: Float[Tensor, "V d B"], log_prior: Float[Tensor, "classes B"], algebra: Algebra
) -> Upward:
    """The likelihood of what is seen below every node, for each symbol that it may be.

    Args:
        tree: the grammar.
        log_evidence: log q(x_k | x0_k = a) (v,d,B), places in the tree's order.
        log_prior: log of the probability of each class (classes,B).
        algebra: how numbers are kept.
    """
    scale = log_evidence.amax(0)  # so that no place underflows by itself
    total = scale.sum(0)
    messages = [algebra.of_logarithm(log_evidence - scale)]
    paths = [algebra.normalize(messages[0])]
    total += paths[0].sum(0)
    for layer, rules in enumerate(tree.rules, 1):
        children = _children(messages[-1], tree.branching)
        out = messages[-1].new_full((tree.symbols[layer], *children[0].shape[1:]), algebra.zero)
        _spell_out(rules, [child.unbind(0) for child in children], out.unbind(0), algebra)
        step = algebra.normalize(out)
        total += step.sum(0) - out.shape[1] * math.log(tree.choices)
        messages.append(out)
        paths.append(step + paths[-1].unflatten(0, (tree.branching, -1)).amin(0))
    root = algebra.product(algebra.of_logarithm(log_prior), messages[-1][:, 0])
    step = algebra.normalize(root)
    return Upward(messages, paths, root, total + step, step + paths[-1][0] < LOST)


def downward(tree: Tree, up: Upward, log_prior: Float[Tensor, "classes B"], algebra: Algebra) -> Downward:
    """What the rest of a string says about every node, for each symbol that it may be.

    Args:
        tree: the grammar.
        up: what the upward pass found, in the same algebra.
        log_prior: as there.
        algebra: how numbers are kept.
    """
    messages = [algebra.of_logarithm(log_prior)[:, None]]
    paths = [torch.zeros_like(up.paths[-1])]
    for layer in range(len(tree.rules), 0, -1):
        nu = up.messages[layer - 1]
        out = torch.full_like(nu, algebra.zero)
        children, outs = _children(nu, tree.branching), _children(out, tree.branching)
        _pass_down(
            tree.rules[layer - 1],
            messages[0].unbind(0),
            [child.unbind(0) for child in children],
            [one.unbind(0) for one in outs],
            algebra,
        )
        messages.insert(0, out)
        paths.insert(0, algebra.normalize(out) + _other_paths(paths[0], up.paths[layer - 1], tree.branching))
    return Downward(messages, paths)


def posterior(
    up: Upward, down: Downward, layer: int, algebra: Algebra
) -> tuple[Float[Tensor, "symbols nodes B"], Bool[Tensor, " B"]]:
    """log p(node = a | what is seen) for the nodes of a layer, and the rows in which numbers underflowed.

    mu_n(a) nu_n(a) / sum_b mu_n(b) nu_n(b).
    """
    product = algebra.product(down.messages[layer], up.messages[layer])
    path = algebra.normalize(product) + torch.minimum(down.paths[layer], up.paths[layer])
    return algebra.logarithm(product), up.weak | (path < LOST).any(0)


def draw_down(tree: Tree, up: Upward, u: Float[Tensor, "J B"], algebra: Algebra) -> Int[Tensor, "d B"]:
    """Exact draws of whole strings from their posterior: the class first, then a rule at every symbol.

    Args:
        tree: the grammar.
        up: what the upward pass found.
        u: uniform numbers, one for the class and one for each symbol above the tokens (J,B).
        algebra: that of the upward pass.

    Returns:
        Tokens in the order of the messages (d,B).
    """
    label = _inverse(algebra.logarithm(up.root.clone()).T, u[0])
    symbols, start = label[None], 1
    for layer in range(len(tree.rules), 0, -1):
        table, below = tree.tables[layer - 1].to(label.device), up.messages[layer - 1]
        options = table[symbols]  # (n, B, m, s)
        weight: Tensor | None = None
        for child, option in zip(_children(below, tree.branching), options.unbind(-1), strict=True):
            # child (v, n, B) at symbols (n, B, m)
            found = child.permute(1, 2, 0).gather(2, option)
            weight = found if weight is None else algebra.product(weight, found)
        assert weight is not None
        choice = _inverse(algebra.logarithm(weight), u[start : start + len(symbols)])
        start += len(symbols)
        picked = options.gather(2, choice[..., None, None].expand(*choice.shape, 1, tree.branching))[:, :, 0]
        symbols = picked.permute(2, 0, 1).flatten(0, 1)
    return symbols


def _children(message: Tensor, branching: int) -> tuple[Tensor, ...]:
    return message.unflatten(1, (branching, -1)).unbind(1)


def _other_paths(above: Tensor, children: Tensor, branching: int) -> Tensor:
    """For each child the least of its parent's path and those of its siblings (nodes, B)."""
    each = children.unflatten(0, (branching, -1))  # (s, n, B)
    parts = []
    for k in range(branching):
        others = torch.cat([each[:k], each[k + 1 :], above[None]])
        parts.append(others.amin(0))
    return torch.cat(parts)


def _spell_out(
    rules: Sequence[Rule], children: Sequence[Sequence[Tensor]], out: Sequence[Tensor], algebra: Algebra
) -> None:
    """Add prod_k nu_k(r_k) to the symbol of every rule."""
    for rule in rules:
        rows = [child[b] for child, b in zip(children, rule.becomes, strict=True)]
        first = rows[0]
        for row in rows[1:-1]:
            first = algebra.product(first, row)
        algebra.add_product(out[rule.symbol], first, rows[-1])


def _pass_down(
    rules: Sequence[Rule],
    message: Sequence[Tensor],
    children: Sequence[Sequence[Tensor]],
    outs: Sequence[Sequence[Tensor]],
    algebra: Algebra,
) -> None:
    """Add mu(a) prod_{j != k} nu_j(r_j) to child k's symbol r_k, for every rule of a and every k."""
    last = len(children) - 1
    for rule in rules:
        rows = [child[b] for child, b in zip(children, rule.becomes, strict=True)]
        right = [rows[last]]  # products of the last rows
        for k in range(last - 1, 0, -1):
            right.insert(0, algebra.product(rows[k], right[0]))
        left = message[rule.symbol]
        for k in range(last):
            algebra.add_product(outs[k][rule.becomes[k]], left, right[k])
            if k < last - 1:
                left = algebra.product(left, rows[k])
        algebra.add_product(outs[last][rule.becomes[last]], left, rows[last - 1])


def _inverse(log_weight: Tensor, u: Tensor) -> Tensor:
    """The place (...) in the last dimension at which the cumulated weights pass u."""
    weight = torch.exp(log_weight - log_weight.amax(-1, keepdim=True))
    total = weight.cumsum(-1)
    place = torch.searchsorted(total, (u * total[..., -1])[..., None].contiguous(), right=True)[..., 0]
    # Rounding may lead past the last option that has any weight.
    most = (weight > 0).long().mul(torch.arange(1, weight.shape[-1] + 1, device=u.device)).amax(-1) - 1
    # Where no option has weight in this algebra the row is drawn again in another one.
    return torch.minimum(place, most).clamp_(min=0)
