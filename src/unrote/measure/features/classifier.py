"""A small classifier trained on the spot on the user's labels; its last hidden layer gives features."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64, Shaped
from torch import Tensor, nn
from torch.nn import functional as F

from unrote.contracts import Estimate, InputError
from unrote.measure.estimate import wilson
from unrote.measure.features.maps import CPU, FeatureMap, digest
from unrote.measure.features.profiles import SMALL

FEATURES = 128
"""Width of the last hidden layer."""

FEWEST = 40
"""Labelled images below which no classifier is trained."""

_WIDTHS = (24, 48, 64)
_BATCH = 64
_SHIFT = 2  # pixels by which training images are moved at random


@dataclass(frozen=True)
class Schedule:
    """How long a classifier is trained.

    Args:
        epochs: at most.
        patience: epochs without improvement on the stopping part after which it ends.
        learning_rate: Adam's, falling to zero along half a cosine.
        held_out: share of images that are neither trained on nor looked at before the end.
        stopping: share of images that decide when to stop.
        images_seen: training images times epochs, at most; bounds the time for large sets.
    """

    epochs: int = 60
    patience: int = 6
    learning_rate: float = 2e-3
    held_out: float = 0.2
    stopping: float = 0.1
    images_seen: int = 80_000


class SmallNetwork(nn.Module):
    """Three convolutions with group norm, pooled between, then 128 features and one score a class."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        for before, width in zip((channels, *_WIDTHS), _WIDTHS, strict=False):
            blocks += [nn.Conv2d(before, width, 3, padding=1), nn.GroupNorm(8, width), nn.ReLU()]
            blocks += [nn.AvgPool2d(2, ceil_mode=True)]
        self.body = nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(2), nn.Flatten())
        self.hidden = nn.Linear(4 * _WIDTHS[-1], FEATURES)
        self.scores = nn.Linear(FEATURES, classes)
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("deviation", torch.ones(channels))

    def features(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B F"]:
        """Pixels from 0 to 1 -> the last hidden layer, after its ReLU."""
        mean, deviation = (self.get_buffer(n).reshape(1, -1, 1, 1) for n in ("mean", "deviation"))
        return F.relu(self.hidden(self.body((x - mean) / deviation)))

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B K"]:
        """Pixels from 0 to 1 -> one score for each class."""
        return self.scores(self.features(x))


@dataclass(frozen=True, eq=False)
class Classifier:
    """A trained classifier and how good it is on images that it never saw.

    Args:
        network: with the weights of the best epoch.
        accuracy: on the held-out part, with Wilson's interval.
        chance: the share of the most frequent class in the held-out part.
        classes: label of each score, ascending (K,).
        held_out: rows of the labelled images that were held out, ascending.
        epochs: how many were trained.
        shape: (C,H,W) of one image.
    """

    network: SmallNetwork
    accuracy: Estimate
    chance: float
    classes: Int64[Tensor, " K"]
    held_out: Int64[Tensor, " M"]
    epochs: int
    shape: tuple[int, int, int]

    def feature_map(self, device: torch.device = CPU) -> FeatureMap:
        """The last hidden layer as features; the accuracy stands in the facts."""
        network = copy.deepcopy(self.network).to(device)
        notes: tuple[str, ...] = ()
        if self.accuracy.low is not None and self.accuracy.low <= self.chance:
            notes = (
                f"The classifier is not better than always naming the most frequent class ({self.chance:.0%}), so "
                "its features may say nothing about the images.",
            )
        return FeatureMap(
            name="classifier",
            profile=SMALL,
            weights=digest(self.network.state_dict().values()),
            dimension=FEATURES,
            network=network.features,
            device=device,
            batch=256,
            notes=notes,
            facts={
                "held_out_accuracy": self.accuracy,
                "most_frequent_class": self.chance,
                "classes": len(self.classes),
                "epochs": self.epochs,
            },
        )

    def tensors(self) -> dict[str, Tensor]:
        """All of it as tensors, for `Classifier.of`."""
        right = round((self.accuracy.value or 0.0) * self.accuracy.n)
        return {
            **{f"network.{name}": value for name, value in self.network.state_dict().items()},
            "right": torch.tensor(right),
            "chance": torch.tensor(self.chance, dtype=torch.float64),
            "classes": self.classes,
            "held_out": self.held_out,
            "epochs": torch.tensor(self.epochs),
            "shape": torch.tensor(self.shape),
        }

    @staticmethod
    def of(tensors: dict[str, Tensor], confidence: float = 0.95) -> Classifier:
        """The inverse of `tensors`, with the accuracy's interval at a confidence."""
        channels, height, width = tensors["shape"].tolist()
        network = SmallNetwork(channels, len(tensors["classes"]))
        network.load_state_dict(
            {name.partition(".")[2]: t for name, t in tensors.items() if name.startswith("network.")}
        )
        return Classifier(
            network=network.eval().requires_grad_(False),
            accuracy=wilson(int(tensors["right"]), len(tensors["held_out"]), confidence),
            chance=float(tensors["chance"]),
            classes=tensors["classes"],
            held_out=tensors["held_out"],
            epochs=int(tensors["epochs"]),
            shape=(channels, height, width),
        )


def train_classifier(
    images: Shaped[Tensor, "N C H W"],
    labels: Int64[Tensor, " N"] | None,
    generator: torch.Generator,
    schedule: Schedule | None = None,
    confidence: float = 0.95,
) -> Classifier:
    """Train a small convolutional network on labelled images, and test it on a part that it never saw.

    Images without a label (-1) are left out. The rest are parted at random: a held-out part that only the last
    test sees, a part that decides when to stop, and a part that is trained on (cross-entropy, Adam, images
    moved by up to 2 pixels). The weights of the epoch with the lowest stopping loss are kept.

    Args:
        images: uint8, or float in [0,1]; larger ones are brought to at most 32x32 by means.
        labels: class of each image, -1 where unknown.
        generator: parts the images, starts the weights, orders the batches; on the CPU.
        schedule: how long.
        confidence: of the accuracy's interval.

    Raises:
        InputError: without labels, with one class only, or with fewer than 40 labelled images.
    """
    schedule = schedule or Schedule()
    rows, classes, target = _labelled(images, labels)
    order = rows[torch.randperm(len(rows), generator=generator)]
    sizes = [max(1, round(len(order) * share)) for share in (schedule.held_out, schedule.stopping)]
    held_out, stopping, training = order.split([*sizes, len(order) - sum(sizes)])
    held_out = held_out.sort().values
    x = torch.cat([SMALL.prepare(block) for block in images.split(1024)])
    network = _started(x[training], len(classes), generator)
    epochs = _fit(network, x, target, training, stopping, generator, schedule)
    right = int((_scores(network, x[held_out]).argmax(1) == target[held_out]).sum())
    return Classifier(
        network=network.eval().requires_grad_(False),
        accuracy=wilson(right, len(held_out), confidence),
        chance=float(target[held_out].bincount().max()) / len(held_out),
        classes=classes,
        held_out=held_out,
        epochs=epochs,
        shape=(images.shape[1], images.shape[2], images.shape[3]),
    )


def _labelled(images: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Rows with a label (n,), the classes (K,), and the number of each row's class (N,)."""
    remedy = (
        "Sort the images into one folder per class, store a labels array beside them, or use features that need "
        "no labels (pca:64, dinov2:FOLDER)."
    )
    if labels is None:
        raise InputError(f"The features 'classifier' are learned from labels, and the set has none. {remedy}")
    rows = (labels >= 0).nonzero()[:, 0]
    if len(rows) < FEWEST:
        raise InputError(
            f"The features 'classifier' need at least {FEWEST} labelled images, and {len(rows)} of {len(images)} "
            f"have a label. {remedy}"
        )
    classes = labels[rows].unique()
    if len(classes) < 2:
        raise InputError(
            f"The features 'classifier' are learned from labels, and all {len(rows):,} labelled images have the "
            f"label {int(classes[0])}. {remedy}"
        )
    target = torch.searchsorted(classes, labels.clamp_min(int(classes[0]))).clamp_max(len(classes) - 1)
    return rows, classes, target


def _started(x: Tensor, classes: int, generator: torch.Generator) -> SmallNetwork:
    """A network with weights from the generator, and the mean and deviation of the training part."""
    with torch.random.fork_rng(devices=[]):  # the modules' own initial numbers are overwritten
        network = SmallNetwork(x.shape[1], classes)
    for part in network.modules():
        if isinstance(part, nn.Conv2d | nn.Linear):
            fan = math.prod(part.weight.shape[1:])
            with torch.no_grad():
                part.weight.copy_(torch.randn(part.weight.shape, generator=generator) * math.sqrt(2 / fan))
                if part.bias is not None:
                    nn.init.zeros_(part.bias)
    with torch.no_grad():
        network.scores.weight.mul_(0.1)
    network.get_buffer("mean").copy_(x.mean((0, 2, 3)))
    network.get_buffer("deviation").copy_(x.std((0, 2, 3)).clamp_min(1e-3))
    return network


def _fit(
    network: SmallNetwork,
    x: Tensor,
    target: Tensor,
    training: Tensor,
    stopping: Tensor,
    generator: torch.Generator,
    schedule: Schedule,
) -> int:
    """Train in place up to the best epoch; how many epochs were trained."""
    optimizer = torch.optim.Adam(network.parameters(), schedule.learning_rate)
    epochs = max(1, min(schedule.epochs, schedule.images_seen // len(training)))
    batches = math.ceil(len(training) / _BATCH)
    decay = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: (1 + math.cos(math.pi * min(1.0, step / (epochs * batches)))) / 2
    )
    best, kept, since = math.inf, copy.deepcopy(network.state_dict()), 0
    trained = 0
    while trained < epochs and since < schedule.patience:
        network.train()
        for rows in training[torch.randperm(len(training), generator=generator)].split(_BATCH):
            loss = F.cross_entropy(network(_moved(x[rows], generator)), target[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            decay.step()
        trained += 1
        loss_now = float(F.cross_entropy(_scores(network, x[stopping]), target[stopping]))
        if loss_now < best:
            best, kept, since = loss_now, copy.deepcopy(network.state_dict()), 0
        else:
            since += 1
    network.load_state_dict(kept)
    return trained


def _moved(x: Tensor, generator: torch.Generator) -> Tensor:
    """A batch moved by up to 2 pixels in each direction, one move for the batch; edges are repeated."""
    reach = min(_SHIFT, (min(x.shape[2:]) - 1) // 4)
    if reach < 1:
        return x
    down, right = torch.randint(0, 2 * reach + 1, (2,), generator=generator).tolist()
    padded = F.pad(x, (reach, reach, reach, reach), mode="replicate")
    return padded[:, :, down : down + x.shape[2], right : right + x.shape[3]]


@torch.no_grad()
def _scores(network: SmallNetwork, x: Tensor) -> Tensor:
    network.eval()
    return torch.cat([network(part) for part in x.split(256)])
