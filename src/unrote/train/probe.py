"""Losses on fixed examples, levels and noise, in pairs: a training and a validation example under the same noise.

Between two checks nothing changes but the denoiser, so that curves are smooth; within a pair levels and noise are the
same, so that they cancel in the gap.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int, Num
from torch import Tensor, nn

from unrote.contracts import Denoiser, Examples, InputError, normal
from unrote.train.losses import Loss, denoising_loss, held_out_loss, real_type
from unrote.train.recipe import Law, Weight

PAIRS = 256
"""Pairs in a probe: an MLP on 512 digits has a relative gap of 10 % to within 5 % with them."""


@dataclass(frozen=True, eq=False)
class Probe:
    """What `losses` are taken on; row k n + j is draw k of pair j.

    Args:
        train, validation: rows (R,*E), R = pairs * draws.
        sigma: levels, the same for both (R,).
        z: standard normal numbers, the same for both (R,*E).
        weight: of a level in the loss.
        pairs: n; no example is in two of them.
        train_label, validation_label: classes (R,), or None.
        loss: what is taken, of clean rows.
    """

    train: Num[Tensor, "R *E"]
    validation: Num[Tensor, "R *E"]
    sigma: Float[Tensor, " R"]
    z: Float[Tensor, "R *E"]
    weight: Weight
    pairs: int
    train_label: Int[Tensor, " R"] | None = None
    validation_label: Int[Tensor, " R"] | None = None
    loss: Loss = denoising_loss

    @property
    def rows(self) -> int:
        """Rows that a denoiser is asked for at one check, 2 R."""
        return 2 * len(self.sigma)

    def to(self, device: torch.device | str) -> Probe:
        """The same probe where the denoiser is."""
        labels = [
            None if label is None else label.to(device) for label in (self.train_label, self.validation_label)
        ]
        return replace(
            self,
            train=self.train.to(device),
            validation=self.validation.to(device),
            sigma=self.sigma.to(device),
            z=self.z.to(device),
            train_label=labels[0],
            validation_label=labels[1],
        )

    def losses(
        self, denoiser: Denoiser, modules: Sequence[nn.Module] = (), batch_size: int = 256
    ) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
        """Training and validation losses, one of each for every pair, float64.

        l_j = mean_k weight(sigma_kj) (1/dim) |D(x_kj + sigma_kj z_kj, sigma_kj) - x_kj|^2, or the mean of another loss.

        Evaluation mode, no gradients and random numbers of their own, whatever the caller is in the middle of.

        Args:
            denoiser: D(x, sigma, condition), on the device of the rows.
            modules: what to put into evaluation mode, where the denoiser is a function and not a module.
            batch_size: rows per call.
        """
        own = [denoiser] if isinstance(denoiser, nn.Module) else []
        with untouched([*own, *modules]):
            found = [
                held_out_loss(denoiser, x, self.sigma, self.z, self.weight, label, batch_size, self.loss)
                for x, label in ((self.train, self.train_label), (self.validation, self.validation_label))
            ]
        train, validation = (loss.double().reshape(-1, self.pairs).mean(0) for loss in found)
        return train, validation


@dataclass(frozen=True)
class Split:
    """Examples of which some were taken away for validation.

    Args:
        train: what is left to train on.
        validation: what is not trained on.
        words: what was done, for the user to be told.
    """

    train: Examples
    validation: Examples
    words: str


def probe_of(
    train: Examples,
    validation: Examples,
    law: Law,
    weight: Weight,
    generator: torch.Generator,
    pairs: int = PAIRS,
    draws: int = 1,
    loss: Loss = denoising_loss,
) -> Probe:
    """Choose examples at random, pair them, and draw levels and noise once and for all.

    There are min(pairs, P, M) pairs for P training and M validation examples. Further draws of a pair take other
    examples of the larger set where there are any, never those of another pair: pairs stay independent.

    Args:
        train, validation: clean examples, those of `train` all trained on, those of `validation` never.
        law: of levels, best that of training.
        weight: of a level in the loss, as in training.
        generator: of the choice, the levels and the noise.
        pairs: at most as many.
        draws: levels and noises for each pair.
        loss: what is taken, of clean rows; best that of training.

    Raises:
        InputError: if there is no validation example, fewer than two pairs, examples with noise inside, or sets that
            do not fit each other.
    """
    _check_sets(train, validation)
    if pairs < 2 or draws < 1:
        raise InputError(
            f"A probe of {pairs} pairs with {draws} draws each is none; take at least 2 pairs and 1 draw."
        )
    n = min(pairs, len(train.x), len(validation.x))
    rows = [_rows(len(examples.x), n, draws, generator) for examples in (train, validation)]
    real = real_type(train.x)
    sigma = law(n * draws, generator).to(train.x.device, real)
    z = normal((n * draws, *train.x.shape[1:]), generator, real, train.x.device)
    labels = [None if e.label is None else e.label[r] for e, r in zip((train, validation), rows, strict=True)]
    return Probe(train.x[rows[0]], validation.x[rows[1]], sigma, z, weight, n, labels[0], labels[1], loss)


def split_off(
    examples: Examples,
    share: float,
    generator: torch.Generator,
    group: Int[Tensor, " N"] | None = None,
) -> Split:
    """Take a share of the examples away for validation, where there are no others.

    Whole groups of near-duplicates are taken in random order until the share is reached: a validation example whose
    twin is trained on would hide what is memorized.

    Args:
        examples: clean ones (N).
        share: between 0 and 1, such as 0.1; at least one example.
        generator: of the choice.
        group: which examples are near-duplicates (N,), see `unrote.measure.duplicates`; None if none are.

    Returns:
        both parts, each in the order that the examples had, and a sentence that says so.

    Raises:
        InputError: if one part would be empty, or examples hold noise.
        ValueError: unless there is one group number for each example.
    """
    n = len(examples.x)
    group = torch.arange(n) if group is None else group.cpu()
    if len(group) != n:
        raise ValueError(f"{n} examples need as many group numbers, got {len(group)}")
    _check_clean(examples)
    kinds, of_row, count = group.unique(return_inverse=True, return_counts=True)
    if not 0 < share < 1 or len(kinds) < 2:
        raise InputError(
            f"A share of {share:g} cannot be split off {n} examples in {len(kinds)} groups of near-duplicates: the "
            "share lies between 0 and 1, and both parts need one group at least. Give validation examples of their "
            "own."
        )
    order = torch.randperm(len(kinds), generator=generator, device=generator.device).cpu()
    ends = count[order].cumsum(0)
    taken = min(int(torch.searchsorted(ends, max(1.0, share * n) - 1e-9)) + 1, len(kinds) - 1)
    chosen = torch.isin(of_row, order[:taken])
    parts = [_part(examples, mask.nonzero()[:, 0]) for mask in (~chosen, chosen)]
    held = len(parts[1].x)
    words = (
        f"No validation examples were given: {held:,} of {n:,} ({held / n:.0%}) were split off at random and are not "
        f"trained on, which leaves {n - held:,}."
    )
    return Split(parts[0], parts[1], words)


@contextmanager
def untouched(modules: Sequence[nn.Module]) -> Iterator[None]:
    """Evaluation mode, no gradients and streams of random numbers of one's own; afterwards all is as it was."""
    modes = [(part, part.training) for module in modules for part in module.modules()]
    devices = {p.device for module in modules for p in module.parameters() if p.device.type == "cuda"}
    with torch.random.fork_rng(sorted(devices, key=str)), torch.no_grad():
        for module in modules:
            module.eval()
        try:
            yield
        finally:
            for part, training in modes:
                part.training = training


def _rows(count: int, pairs: int, draws: int, generator: torch.Generator) -> Tensor:
    """Draw k of pair j takes example j + pairs (k mod (count // pairs)) of a random order."""
    order = torch.randperm(count, generator=generator, device=generator.device).cpu()
    j, k = torch.arange(pairs), torch.arange(draws)
    return order[(j + pairs * (k % (count // pairs))[:, None]).reshape(-1)]


def _part(examples: Examples, rows: Tensor) -> Examples:
    label = examples.label
    kept = rows.to(examples.x.device)
    return Examples(
        examples.x[kept],
        examples.level[rows.to(examples.level.device)],
        None if label is None else label[rows.to(label.device)],
    )


def _check_clean(examples: Examples) -> None:
    if bool((examples.level > 0).any()):
        raise InputError(
            f"{int((examples.level > 0).sum())} of {len(examples.level)} examples hold noise; split and probe clean "
            "ones, and add noise (`ambient`) to what is left to train on."
        )


def _check_sets(train: Examples, validation: Examples) -> None:
    if not len(validation.x):
        raise InputError(
            "There are no validation examples, and without them no gap between losses. Give some that are not trained "
            "on, or take a share of the training set away: split_off(examples, 0.1, generator)."
        )
    if min(len(train.x), len(validation.x)) < 2:
        raise InputError(
            f"A probe needs at least two training and two validation examples, got {len(train.x)} and "
            f"{len(validation.x)}; with one there is no interval."
        )
    for examples in (train, validation):
        _check_clean(examples)
    shapes = [tuple(e.x.shape[1:]) for e in (train, validation)]
    labels = [e.label is not None for e in (train, validation)]
    if shapes[0] != shapes[1] or labels[0] != labels[1]:
        raise InputError(
            f"Training examples have shape {shapes[0]} {_with(labels[0])} and validation examples {shapes[1]} "
            f"{_with(labels[1])}; both must be what the denoiser is trained on."
        )


def _with(labels: bool) -> str:
    return "with labels" if labels else "without labels"
