"""003's merging of subpopulations: which components of a Gaussian mixture noise makes one, and at which level.

All components have one covariance, s I or anything else, and noise adds sigma^2 I to it (x = x0 + sigma z).  The total
variation of two of them is 2 Phi(delta/2) - 1 exactly, delta the distance of their means in units of the standard
deviation; it falls to nothing as sigma grows.  Two components are epsilon-merged where it is at most epsilon, and
epsilon-separated where it is more than 2 epsilon.  In the paper's VP time t the same components are
N(sqrt(1 - t^2) mu, I), for s = 1, and t^2 = sigma^2 / (1 + sigma^2).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from unrote.contracts import normal
from unrote.theory.levels import probabilities

ROUNDS = 3000
"""Most steps from a mean to a mode; they slow down where two modes are about to meet."""


def total_variation(
    gap: Float[Tensor, " P"], sigma: Float[Tensor, " L"], spread: float = 1.0
) -> Float[Tensor, "P L"]:
    """TV(N(mu, (s + sigma^2) I), N(mu', (s + sigma^2) I)) = erf(|mu - mu'| / sqrt(8 (s + sigma^2))).

    Args:
        gap: distances of the means (P,).
        sigma: noise levels (L,), at least 0.
        spread: s, variance of a component.

    Source: 003 Lemma 4.5, in closed form.
    """
    if not spread >= 0:
        raise ValueError(f"a variance is at least 0, got {spread}")
    deviation = (spread + sigma.double().square()).sqrt()
    ratio = gap.double()[:, None] / (math.sqrt(8) * deviation)
    return torch.erf(torch.where(gap.double()[:, None] == 0, torch.zeros_like(ratio), ratio))


def total_variation_along(
    difference: Float[Tensor, "P D"], spectrum: Float[Tensor, " D"], sigma: Float[Tensor, " L"]
) -> Float[Tensor, "P L"]:
    """The same for any common covariance: erf(delta / sqrt 8), delta^2 = sum_k d_k^2 / (lambda_k + sigma^2).

    Args:
        difference: of the means, in the basis of the covariance's eigenvectors (P,D).
        spectrum: eigenvalues of the covariance (D,).
        sigma: noise levels (L,).
    """
    variance = spectrum.double() + sigma.double().square()[:, None]
    delta = (difference.double()[:, None].square() / variance).sum(2).sqrt()
    return torch.erf(delta / math.sqrt(8))


def level_of(variation: float, gap: Float[Tensor, " P"], spread: float = 1.0) -> Float[Tensor, " P"]:
    """The noise level at which the total variation is this: sigma^2 = (gap / 2q)^2 - s, q = Phi^-1((1 + TV)/2).

    0 where it is less even without noise.

    Args:
        variation: total variation, inside (0, 1).
        gap: distances of the means (P,).
        spread: s.
    """
    if not 0 < variation < 1:
        raise ValueError(f"the total variation of two Gaussians lies between 0 and 1, got {variation}")
    q = torch.special.ndtri(torch.tensor((1 + variation) / 2, dtype=torch.float64))
    return ((gap.double() / (2 * q)).square() - spread).clamp(min=0).sqrt()


def merged_from(gap: Float[Tensor, " P"], epsilon: float, spread: float = 1.0) -> Float[Tensor, " P"]:
    """The level from which two components are epsilon-merged (TV <= epsilon): exact.

    Source: 003 Lemmas 4.5 and A.6, whose sqrt(1 - (epsilon/C)^2) is too low.
    """
    return level_of(epsilon, gap, spread)


def separated_up_to(gap: Float[Tensor, " P"], epsilon: float, spread: float = 1.0) -> Float[Tensor, " P"]:
    """The level below which two components are epsilon-separated (TV > 2 epsilon): exact; 0 for 2 epsilon >= 1.

    Source: 003 Lemmas 4.5 and A.5, whose sqrt(1 - (2 epsilon/C)^2) is lower.
    """
    if 2 * epsilon >= 1:
        return torch.zeros_like(gap, dtype=torch.float64)
    return level_of(2 * epsilon, gap, spread)


def printed_level(gap: Float[Tensor, " P"], variation: float, spread: float = 1.0) -> Float[Tensor, " P"]:
    """What the paper has for `level_of`: VP time sqrt(1 - (TV/C)^2), C the total variation without noise.

    sigma^2 = s ((C/TV)^2 - 1), for s = 1 the same level in our units; 0 where C <= TV.  With TV = 2 epsilon it is below
    the exact level, so that separation is true there and not sharp; with TV = epsilon it is below the exact level as
    well, so that merging is false there.

    Args:
        gap: distances of the means (P,).
        variation: epsilon for merging, 2 epsilon for separation.
        spread: s, positive.

    Source: 003 Lemma 4.5 as printed.
    """
    start = total_variation(gap, torch.zeros(1, dtype=torch.float64), spread)[:, 0]
    return (spread * ((start / variation).square() - 1)).clamp(min=0).sqrt()


def simple_merged_from(gap: Float[Tensor, " P"], epsilon: float, spread: float = 1.0) -> Float[Tensor, " P"]:
    """A level from which components are merged, without a quantile: sigma^2 = gap^2 / (2 pi epsilon^2) - s.

    It comes from TV <= delta / sqrt(2 pi), and is VP time sqrt(1 - 2 pi (epsilon/gap)^2) for s = 1.

    Source: what the proof of 003 Lemma A.6 needs.
    """
    return (gap.double().square() / (2 * math.pi * epsilon**2) - spread).clamp(min=0).sqrt()


@dataclass(frozen=True)
class Tree:
    """Which components are one at which level.

    Args:
        level: noise level of each merge (K-1,), ascending.
        first, second: groups that are merged (K-1,): numbers below K are components, K + i is what merge i made.
    """

    level: Float[Tensor, " M"]
    first: Int[Tensor, " M"]
    second: Int[Tensor, " M"]

    def groups(self, sigma: float) -> Int[Tensor, " K"]:
        """The group of every component at a level, numbered from 0 in the order of their first components (K,)."""
        count = len(self.level) + 1
        member = [[k] for k in range(count)]
        owner = list(range(count))
        for i, (level, a, b) in enumerate(
            zip(self.level.tolist(), self.first.tolist(), self.second.tolist(), strict=True)
        ):
            member.append(member[a] + member[b])
            if level <= sigma:
                for k in member[-1]:
                    owner[k] = count + i
        _, label = torch.unique(torch.tensor(owner), return_inverse=True)
        first = torch.full((int(label.max()) + 1,), count)
        first.scatter_reduce_(0, label, torch.arange(count), "amin")
        return first.argsort().argsort()[label]

    def counts(self, sigma: Float[Tensor, " L"]) -> Int[Tensor, " L"]:
        """How many groups there are at each level (L,)."""
        return len(self.level) + 1 - (self.level[None] <= sigma.double()[:, None]).sum(1)


def tree(means: Float[Tensor, "K D"], epsilon: float, spread: float = 1.0) -> Tree:
    """Groups any two members of which are epsilon-merged, joined as noise grows.

    Being merged is not transitive: A and B may be, B and C too, and A and C not.  Here two groups become one at the
    level at which the least alike of their members are merged (complete linkage), which no chain of neighbours can
    cheat.

    Args:
        means: of the components (K,D).
        epsilon: greatest total variation of merged components.
        spread: s, variance of a component.

    Source: 003 section 4.2.3; linkage by Sorensen, 1948.
    """
    from scipy.cluster.hierarchy import linkage
    from scipy.spatial.distance import pdist

    if len(means) < 2:
        nothing = torch.zeros(0, dtype=torch.int64)
        return Tree(torch.zeros(0, dtype=torch.float64), nothing, nothing)
    joined = torch.from_numpy(linkage(pdist(means.double().numpy()), "complete"))
    return Tree(level_of(epsilon, joined[:, 2], spread), joined[:, 0].long(), joined[:, 1].long())


def merged_share(
    means: Float[Tensor, "K D"],
    weights: Float[Tensor, " K"],
    epsilon: float,
    sigma: Float[Tensor, " L"],
    spread: float = 1.0,
) -> tuple[Float[Tensor, " L"], Float[Tensor, " L"]]:
    """Which share of pairs of examples from two components comes from merged, and from separated ones.

    sum over i < j of w_i w_j 1{...} / sum over i < j of w_i w_j, for TV <= epsilon and for TV > 2 epsilon; what is left
    is neither.

    Args:
        means: (K,D), K at least 2.
        weights: (K,).
        epsilon: see `merged_from`.
        sigma: noise levels (L,).
        spread: s.
    """
    w, x = probabilities(weights), means.double()
    i, j = torch.triu_indices(len(x), len(x), 1)
    pair = w[i] * w[j]
    pair = pair / pair.sum()
    gap, s = (x[i] - x[j]).norm(dim=1), sigma.double()
    merged = merged_from(gap, epsilon, spread)[:, None] <= s
    separated = separated_up_to(gap, epsilon, spread)[:, None] > s
    return pair @ merged.double(), pair @ separated.double()


def label_information(
    means: Float[Tensor, "K D"],
    weights: Float[Tensor, " K"],
    sigma: Float[Tensor, " L"],
    generator: torch.Generator,
    spread: float = 1.0,
    draws: int = 1000,
) -> Float[Tensor, "R L"]:
    """How much x tells about its component: entropy of the weights less that of the posterior, in nats.

    The mean over draws is I(component; x), and exp of it the effective number of components, from exp(H(w)) without
    noise down to 1.  With s = 0 the components are points, and it is what a noisy copy tells about which training image
    it was made of; m copies of one point are one copy at sigma / sqrt(m).

    Args:
        means: (K,D).
        weights: (K,).
        sigma: noise levels (L,), positive where s = 0.
        generator: draws component and noise; all levels see the same.
        spread: s.
        draws: R.
    """
    w, x = probabilities(weights), means.double()
    label = torch.multinomial(w, draws, replacement=True, generator=generator)
    z = normal((draws, x.shape[1]), generator, torch.float64)
    square = torch.cdist(x, x).square()[label]  # (R,K)
    along = (z * x[label]).sum(1, keepdim=True) - z @ x.T  # <z, mu_label - mu_k>
    prior = -torch.xlogy(w, w).sum()
    out = []
    for variance in (spread + sigma.double().square()).tolist():
        log = w.log() - square / (2 * variance) - along / math.sqrt(variance)
        posterior = torch.softmax(log, 1)
        out.append(prior + torch.xlogy(posterior, posterior).sum(1))
    return torch.stack(out, 1)


def label_information_bounds(
    means: Float[Tensor, "K D"],
    weights: Float[Tensor, " K"],
    sigma: Float[Tensor, " L"],
    spread: float = 1.0,
) -> tuple[Float[Tensor, " L"], Float[Tensor, " L"]]:
    """Between which numbers I(component; x) lies, without any draw: (low, high), in nats.

    -sum_i w_i log sum_j w_j exp(-|mu_i - mu_j|^2 / (c v)),  v = s + sigma^2,  c = 8 (Bhattacharyya) below and c = 2
    (Kullback-Leibler) above.

    Source: Kolchinsky and Tracey, "Estimating mixture entropy with pairwise distances", 2017.
    """
    w, x = probabilities(weights), means.double()
    square, log_w = torch.cdist(x, x).square(), w.log()
    keep = w > 0
    ends = []
    for constant in (8, 2):
        variance = constant * (spread + sigma.double().square())
        overlap = torch.logsumexp(log_w - square[keep] / variance[:, None, None], 2)  # (L,K)
        ends.append(-(overlap @ w[keep]))
    return ends[0], ends[1]


def modes(
    means: Float[Tensor, "K D"],
    weights: Float[Tensor, " K"],
    sigma: Float[Tensor, " L"],
    spread: float = 1.0,
) -> Float[Tensor, "L K D"]:
    """The mode of the noisy density uphill of every component's mean.

    x <- E[mu | x] until it stays where it is.  Components share a mode once noise has made them one hill; there may be
    further modes between three or more components, which no mean leads to.

    Args:
        means: (K,D).
        weights: (K,), positive.
        sigma: noise levels (L,), positive where s = 0.
        spread: s.

    Source: Carreira-Perpinan, "Mode-finding for mixtures of Gaussian distributions", 2000.
    """
    w, mu = probabilities(weights), means.double()
    found = []
    for variance in (spread + sigma.double().square()).tolist():
        x = mu.clone()
        for _ in range(ROUNDS):
            log = w.log() - torch.cdist(x, mu).square() / (2 * variance)
            after = torch.softmax(log, 1) @ mu
            moved = float((after - x).abs().max())
            x = after
            if moved < 1e-9 * math.sqrt(variance):
                break
        found.append(x)
    return torch.stack(found)


def mode_groups(found: Float[Tensor, "K D"], variance: float, tolerance: float = 0.01) -> Int[Tensor, " K"]:
    """Components by the mode that they lead to, numbered from 0 in their order (K,).

    Args:
        found: modes of one level (K,D).
        variance: s + sigma^2 of that level.
        tolerance: modes nearer than this many standard deviations are one.
    """
    near = torch.cdist(found, found) <= tolerance * math.sqrt(variance)
    first = near.to(torch.uint8).argmax(1)
    return torch.unique(first, return_inverse=True)[1]
