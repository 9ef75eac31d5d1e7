"""Measures for strings of tokens: copies and their chance, broken rules, distances between distributions.

Each decision or distance is a value per sample first, and becomes a number with `measure.estimate`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from unrote.contracts import Estimate, InputError, Neighbors
from unrote.measure.estimate import estimate, newcombe, normal_quantile, wilson


def is_token_copy(found: Neighbors, threshold: int = 0) -> Bool[Tensor, " Q"]:
    """Whether a string differs from its nearest training string in at most `threshold` tokens.

    Args:
        found: Hamming neighbours of generated strings, see `unrote.measure.hamming`.
        threshold: 0 for exact copies. With more, a language has strings that are near each other anyway: compare
            with fresh strings (`excess_over_fresh`).

    Raises:
        ValueError: for a negative threshold.
    """
    if threshold < 0:
        raise ValueError(f"a copy differs in 0 tokens or more, got {threshold}")
    return found.distance[:, 0] <= threshold


def chance_of_copying(trained: int, strings: int) -> float:
    """How often a perfect model of a finite language generates a training string: P / N.

    Args:
        trained: P, different strings in the training set.
        strings: N, strings of the language, all equally likely; Python's integers have no limit.

    Raises:
        InputError: for more training strings than there are, or none of either.
    """
    if not 1 <= trained <= strings:
        raise InputError(
            f"{trained} different training strings in a language of {strings} are impossible; give how many "
            "different ones the training set has, at least 1 and at most as many as there are."
        )
    return trained / strings


@dataclass(frozen=True)
class CopyRatio:
    """The share of copies, and what of it is not chance.

    Args:
        ratio: copies among all samples.
        chance: what a perfect model would have.
        excess: ratio - chance; above 0 for certain if its lower end is.
        rote: (ratio - chance) / (1 - chance), at least 0: the share of samples that were recalled, if all others
            are drawn from the language as a perfect model does.
    """

    ratio: Estimate
    chance: float
    excess: Estimate
    rote: Estimate


def copy_ratio(copied: Bool[Tensor, " n"], chance: float, confidence: float = 0.95) -> CopyRatio:
    """The share of copies with Wilson's interval, and the same less the chance of copying, which is known exactly.

    A sample that is no string of the language is no copy by chance either: of a model that makes errors, give
    the decisions of its valid samples alone; over all samples, this chance is an upper bound.

    Args:
        copied: one decision per sample (n,).
        chance: in [0, 1), see `chance_of_copying`.
        confidence: of all intervals.

    Raises:
        InputError: for a chance or a confidence out of range.
    """
    if not 0 <= chance < 1:
        raise InputError(
            f"The chance of copying is {chance:g}; it must be at least 0 and less than 1: where every string of the "
            "language is in the training set, no copy can be told from a fresh string."
        )
    ratio = wilson(int(copied.sum()), len(copied), confidence)
    excess = _moved(ratio, lambda p: p - chance)
    return CopyRatio(ratio, chance, excess, _moved(excess, lambda e: max(0.0, e / (1 - chance))))


def excess_over_fresh(
    copied: Bool[Tensor, " n"], fresh: Bool[Tensor, " m"], confidence: float = 0.95
) -> Estimate:
    """Copies among samples less copies among fresh strings of the language, with Newcombe's interval.

    Args:
        copied: one decision per sample (n,).
        fresh: the same rule on strings that are independent of the training set (m,).
        confidence: of the interval.

    Raises:
        InputError: for a confidence outside (0, 1).
    """
    return newcombe(int(copied.sum()), len(copied), int(fresh.sum()), len(fresh), confidence)


def rule_errors(valid: Bool[Tensor, "n layers"], confidence: float = 0.95) -> tuple[Estimate, ...]:
    """The share of samples that break a rule of the layers 1..l, for every l, with Wilson's intervals.

    Args:
        valid: whether a sample obeys all rules of the layers 1..l (n,L).
        confidence: of the intervals.

    Raises:
        InputError: for a confidence outside (0, 1).
        ValueError: if a sample obeys deep layers without the lower ones.

    Source: 002 section 4.4 and Figure 5a; the last one is the fraction of errors of Figure 4.
    """
    _check_nested(valid)
    return tuple(estimate(~layer, confidence) for layer in valid.unbind(1))


def new_rule_errors(valid: Bool[Tensor, "n layers"], confidence: float = 0.95) -> tuple[Estimate, ...]:
    """Among samples that obey the layers below l, the share that breaks a rule of layer l, for every l.

    What `rule_errors` adds up is told apart here: a model that knows a layer's rules has no error in it, however
    many it makes below.

    Args:
        valid, confidence: as there.

    Returns:
        One number per layer; without a value where no sample came so far.

    Raises:
        InputError, ValueError: as there.
    """
    _check_nested(valid)
    reached = torch.cat([torch.ones_like(valid[:, :1]), valid[:, :-1]], 1)
    columns = zip(valid.unbind(1), reached.unbind(1), strict=True)
    return tuple(estimate(~layer[so_far], confidence) for layer, so_far in columns)


def symbol_errors(broken: Float[Tensor, "n layers"], confidence: float = 0.95) -> tuple[Estimate, ...]:
    """The share of a string's symbols of layer l that are missing, with Student's intervals over samples.

    Args:
        broken: that share for each sample (n,L).
        confidence: of the intervals.

    Raises:
        InputError: for a confidence outside (0, 1).
    """
    return tuple(estimate(layer, confidence) for layer in broken.unbind(1))


@dataclass(frozen=True)
class Uniformity:
    """How far samples are from a uniform distribution over a finite language.

    Args:
        distance: total variation of the samples' frequencies, with an interval for that of the model.
        perfect: what as many samples of a perfect model show on average; it falls with more samples.
    """

    distance: Estimate
    perfect: float


def uniformity(index: Int[Tensor, " n"], strings: int, confidence: float = 0.95) -> Uniformity:
    """Total variation between samples and the uniform distribution over all strings of a language.

    T = (1/2) (sum_i |k_i / n - 1/N| + k_invalid / n), k_i the samples that are string i. With few samples per
    string T is large for a perfect model too, which is why its mean stands beside it,
    N E|k/n - 1/N| / 2 with k ~ Bin(n, 1/N), in closed form.

    For the model's distance D: D <= E T <= D + (1/2) sqrt((N + 1)/n), and T is within
    sqrt(log(2/(1 - confidence)) / 2n) of E T with the confidence asked for. So [low, high] covers D for every n; it
    says much only with many samples per string.

    Args:
        index: the number of each sample's string (n,), or -1 if it is none of the language.
        strings: N.
        confidence: of the interval.

    Raises:
        InputError: for numbers outside -1..N - 1, or a confidence outside (0, 1).
        ValueError: without samples.

    Source: McDiarmid, "On the method of bounded differences", 1989; de Moivre's mean absolute deviation as in
    Diaconis and Zabell, "Closed form summation for classical distributions", 1991.
    """
    normal_quantile(confidence)
    n = len(index)
    if not n:
        raise ValueError("a distance between distributions needs at least one sample")
    if int(index.min()) < -1 or int(index.max()) >= strings:
        raise InputError(
            f"A language of {strings} strings numbers them 0..{strings - 1} (-1 for none of them), got "
            f"{int(index.min())} to {int(index.max())}: are these numbers of the same grammar?"
        )
    count = index[index >= 0].unique(return_counts=True)[1].double()
    seen = (count / n - 1 / strings).abs().sum()
    unseen = (strings - len(count)) / strings
    distance = 0.5 * (float(seen) + unseen + int((index < 0).sum()) / n)
    noise = math.sqrt(math.log(2 / (1 - confidence)) / (2 * n))
    low = max(0.0, distance - noise - 0.5 * math.sqrt((strings + 1) / n))
    return Uniformity(Estimate(distance, low, min(1.0, distance + noise), n), _perfect(n, strings))


def hellinger(log_p: Float[Tensor, "B L V"], log_q: Float[Tensor, "_B _L _V"]) -> Float[Tensor, " B"]:
    """How far the outputs of two denoisers of tokens are apart, a value per string in [0, 1].

    (1/L) sum_l H_l, H_l^2 = (1/2) sum_a (sqrt p_la - sqrt q_la)^2.

    Args:
        log_p, log_q: log-probabilities of the tokens at every place (B,L,V), -inf allowed.

    Raises:
        ValueError: for different shapes.

    Source: 002 section 4.4 and Figure 5b (averaged over tokens, trajectories and 1,024 test strings).
    """
    if log_p.shape != log_q.shape:
        raise ValueError(f"two outputs of one shape are compared, got {log_p.shape} and {log_q.shape}")
    difference = torch.exp(log_p.double() / 2) - torch.exp(log_q.double() / 2)
    return (difference.square().sum(2) / 2).sqrt().mean(1)


def _moved(number: Estimate, move: Callable[[float], float]) -> Estimate:
    ends = (None if end is None else move(end) for end in (number.value, number.low, number.high))
    value, low, high = ends
    return Estimate(value, low, high, number.n)


def _check_nested(valid: Tensor) -> None:
    if bool((valid[:, 1:] & ~valid[:, :-1]).any()):
        raise ValueError(
            "a sample obeys a layer without those below it; give whether it obeys the layers 1..l"
        )


def _perfect(n: int, strings: int) -> float:
    """N E|k/n - 1/N| / 2 for k ~ Bin(n, 1/N): E|k - n p| = 2 c C(n, c) p^c (1 - p)^(n - c + 1), c = floor(n p) + 1."""
    if strings == 1:
        return 0.0
    c = n // strings + 1
    # For n < N at c = 1; with n a multiple of N, c - 1 successes are the mean itself.
    log_choose = math.lgamma(n + 1) - math.lgamma(c + 1) - math.lgamma(n - c + 1)
    rest = (n - c + 1) * math.log1p(-1 / strings)
    return strings / n * c * math.exp(log_choose - c * math.log(strings) + rest)
