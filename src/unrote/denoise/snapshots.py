"""EDM's snapshots (network-snapshot-*.pkl): read without running them, kept as safetensors, used as denoisers.

A snapshot is a Python pickle that carries the program of its network, and unpickling runs that program.
`extract` reads the same file with an unpickler that knows tensors and nothing else: it keeps weights,
class names and arguments, and runs nothing. What it found is stored as one safetensors file, and the network
is built again from the classes that are installed on this machine.
"""

from __future__ import annotations

import importlib
import io
import json
import math
import pickle
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unrote.contracts import InputError
from unrote.denoise.compose import edm
from unrote.denoise.foreign import Card, check_condition
from unrote.denoise.pipelines import check_finite

HEADER = "unrote-network"
"""The entry of a safetensors file's metadata that says how its network is built."""

MODULE = "training.networks"
"""Where NVIDIA's programs keep their networks."""


@final
@dataclass(frozen=True)
class Snapshot:
    """What a snapshot says of its network.

    Args:
        name: class, as module:Class.
        args, kwargs: what it was built with.
        weights: parameters and buffers by name.
    """

    name: str
    args: list[Any]
    kwargs: dict[str, Any]
    weights: dict[str, Tensor]


# Reading without running


class Inert:
    """Stands for everything in a pickle that is not a tensor: it takes what it is given, and does nothing."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __setitem__(self, key: Any, value: Any) -> None:
        """Items of containers that are not known are left aside."""

    def append(self, value: Any) -> None:
        """As items."""

    def extend(self, values: Any) -> None:
        """As items."""


@dataclass
class Recorded:
    """An object that EDM's programs pickle with its source: its class and its attributes."""

    meta: dict[str, Any] = field(default_factory=dict)

    @property
    def state(self) -> dict[str, Any]:
        """Its attributes."""
        found = self.meta.get("state")
        return found if isinstance(found, dict) else {}


def _storage(data: bytes) -> Any:
    return torch.load(io.BytesIO(data), weights_only=True, map_location="cpu")


KNOWN: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): torch._utils._rebuild_tensor_v2,
    ("torch._utils", "_rebuild_parameter"): torch._utils._rebuild_parameter,
    ("torch.storage", "_load_from_bytes"): _storage,
    ("torch_utils.persistence", "_reconstruct_persistent_obj"): Recorded,
    ("dnnlib.util", "EasyDict"): dict,
    ("torch", "Size"): torch.Size,
    ("builtins", "set"): set,
}
"""All that is called by a snapshot while it is read; whatever else it names becomes an `Inert`."""


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        return KNOWN.get((module, name), Inert)


def extract(path: Path) -> Snapshot:
    """The network ``ema`` of an EDM snapshot: weights and how it was built, without running anything in the file.

    Raises:
        InputError: if the file is something else, or is damaged.
    """
    try:
        with path.open("rb") as file:
            found = _Reader(file).load()
    except (OSError, EOFError, pickle.UnpicklingError, ValueError, TypeError, KeyError, IndexError) as error:
        raise InputError(_not_a_snapshot(path, str(error))) from error
    except (AttributeError, RuntimeError, ImportError, MemoryError, RecursionError) as error:
        raise InputError(_not_a_snapshot(path, f"{type(error).__name__} while reading")) from error
    network = found.get("ema") if isinstance(found, dict) else None
    if not isinstance(network, Recorded) or "class_name" not in network.meta:
        raise InputError(_not_a_snapshot(path, "it holds no network called ema"))
    state = network.state
    snapshot = Snapshot(
        f"{MODULE}:{network.meta['class_name']}",
        list(state.get("_init_args", ())),
        dict(state.get("_init_kwargs", {})),
        dict(_weights(network, "")),
    )
    try:
        json.dumps([snapshot.args, snapshot.kwargs])
    except TypeError as error:
        raise InputError(
            _not_a_snapshot(path, "its network was built with values that are not plain")
        ) from error
    return snapshot


def _not_a_snapshot(path: Path, why: str) -> str:
    return (
        f"{path} is not a snapshot of EDM's training program ({why[:200].rstrip('.')}). A snapshot "
        "(network-snapshot-*.pkl) is a pickle with the network `ema`; training-state-*.pt files are not."
    )


def _weights(module: Any, prefix: str) -> list[tuple[str, Tensor]]:
    state = module.state if isinstance(module, Recorded | Inert) and isinstance(module.state, dict) else {}
    left_out = state.get("_non_persistent_buffers_set")
    hidden = left_out if isinstance(left_out, set) else set()
    own = {**state.get("_parameters", {}), **state.get("_buffers", {})}
    rows = [(prefix + n, t.detach()) for n, t in own.items() if isinstance(t, Tensor) and n not in hidden]
    for name, part in state.get("_modules", {}).items():
        rows += _weights(part, f"{prefix}{name}.")
    return rows


# Safetensors


def write_snapshot(snapshot: Snapshot, path: Path) -> None:
    """Store weights and how to build as one safetensors file.

    Raises:
        InputError: if it cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    header = json.dumps({"class": snapshot.name, "args": snapshot.args, "kwargs": snapshot.kwargs})
    try:
        save_file(
            {n: t.contiguous().clone() for n, t in snapshot.weights.items()}, path, metadata={HEADER: header}
        )
    except (OSError, SafetensorError) as error:
        raise InputError(
            f"{path} cannot be written ({error}); name a file in a place that can be."
        ) from error


def is_snapshot(path: Path) -> bool:
    """Whether a safetensors file says that `write_snapshot` wrote it."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            return HEADER in (file.metadata() or {})
    except (OSError, SafetensorError):
        return False


def read_snapshot(path: Path) -> Snapshot:
    """What `write_snapshot` stored.

    Raises:
        InputError: if the file is damaged, or does not say how its network is built.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            said = json.loads((file.metadata() or {})[HEADER])
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return Snapshot(str(said["class"]), list(said["args"]), dict(said["kwargs"]), weights)
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path} is not a network that unrote converted ({type(error).__name__}: {error}): a safetensors file with "
            f"the entry {HEADER!r} in its header. Weights alone do not say how their network is built; in Python, "
            "load them into it and use unrote.denoise.foreign.from_module."
        ) from error


# Denoisers


@final
class Snapshotted(nn.Module):
    """A network of EDM's programs, net(x, sigma, one-hot labels) -> x0, as a denoiser.

    Args:
        network: has img_channels, img_resolution and label_dim, as all of their networks.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.classes = int(getattr(network, "label_dim", 0))

    def forward(
        self, x: Float[Tensor, "B C H W"], sigma: Float[Tensor, " B"], condition: Tensor | None = None
    ) -> Float[Tensor, "B C H W"]:
        """E[x0 | x] as the network sees it; labels (B,)."""
        check_condition(condition, self.classes > 0)
        told = None if condition is None else nn.functional.one_hot(condition, self.classes).to(torch.float32)
        return self.network(x, sigma, told).to(x.dtype)

    def weight(self, sigma: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
        """EDM's weight of the loss, (sigma^2 + s_d^2) / (sigma s_d)^2."""
        return edm(float(getattr(self.network, "sigma_data", 0.5)))(sigma).out ** -2


def denoiser_of(snapshot: Snapshot, source: str) -> tuple[Snapshotted, Card]:
    """Build the network of a snapshot from the classes installed here, and give it its weights.

    Args:
        source: where it comes from, for messages.

    Raises:
        InputError: if the class cannot be imported, or the weights do not fit it.
    """
    network = _build(snapshot, source)
    expected = network.state_dict()
    shapes = [{n: tuple(t.shape) for n, t in named.items()} for named in (snapshot.weights, expected)]
    wrong = [n for n in {**shapes[0], **shapes[1]} if shapes[0].get(n) != shapes[1].get(n)]
    if wrong:
        raise InputError(
            f"{source} holds the weights of another network than {snapshot.name} builds here: {len(wrong)} tensors "
            f"differ, first {wrong[0]}, {shapes[0].get(wrong[0], 'absent')} in the file and "
            f"{shapes[1].get(wrong[0], 'absent')} here. Use the version of the program that made it."
        )
    network.load_state_dict(snapshot.weights)
    build = {"kind": "snapshot", "class": snapshot.name, "args": snapshot.args, "kwargs": snapshot.kwargs}
    return wrapped(network, source, build)


def built(description: Mapping[str, Any]) -> tuple[Snapshotted, Card]:
    """The denoiser that `Card.build` describes, with random weights.

    Raises:
        InputError: if its class cannot be imported or built.
    """
    snapshot = Snapshot(description["class"], list(description["args"]), dict(description["kwargs"]), {})
    return wrapped(_build(snapshot, "The run"), "The run", dict(description))


def unpickle(path: Path) -> tuple[Snapshotted, Card]:
    """The network ``ema`` of a snapshot by Python's own unpickling, which runs the programs in the file.

    Raises:
        InputError: if it needs what is not installed, or is something else.
    """
    try:
        with path.open("rb") as file:
            found = pickle.load(file)
    except ModuleNotFoundError as error:
        raise InputError(
            f"{path} needs the module {error.name}, which cannot be imported; put the program that made it (for EDM "
            "the folder with torch_utils and dnnlib) on PYTHONPATH."
        ) from error
    except Exception as error:  # the file runs what it likes
        raise InputError(_not_a_snapshot(path, f"{type(error).__name__}: {error}")) from error
    network = found.get("ema") if isinstance(found, dict) else found
    if not isinstance(network, nn.Module):
        raise InputError(_not_a_snapshot(path, "it holds no network called ema"))
    return wrapped(network, str(path), {})


def wrapped(network: nn.Module, source: str, build: dict[str, Any]) -> tuple[Snapshotted, Card]:
    """A network with EDM's interface as a denoiser in evaluation mode.

    Raises:
        InputError: if it has another interface, or weights that are not finite.
    """
    lacking = [name for name in ("img_channels", "img_resolution", "label_dim") if not hasattr(network, name)]
    if lacking:
        raise InputError(
            f"{source} holds a {type(network).__name__} without {', '.join(lacking)}, so it is not one of EDM's "
            "networks, net(x, sigma, labels). In Python any f(x, sigma) can be probed: see docs/models.md."
        )
    check_finite(network, source)
    denoiser = Snapshotted(network.float().eval().requires_grad_(True))
    channels, side = (int(getattr(network, name)) for name in ("img_channels", "img_resolution"))
    card = Card(
        kind=f"EDM network {type(network).__name__}",
        shape=(channels, side, side),
        classes=denoiser.classes or None,
        low=max(float(getattr(network, "sigma_min", 0.0)), 0.002),
        high=min(float(getattr(network, "sigma_max", math.inf)), 80.0),
        notes=("EDM's networks are probed at sigma = 0.002 to 80, or less where they say so.",),
        build=build,
    )
    return denoiser.eval(), card


def _build(snapshot: Snapshot, source: str) -> nn.Module:
    module, _, name = snapshot.name.partition(":")
    try:
        made = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(
            f"{source} needs the class {name} of {module}, which cannot be imported ({error}); put the program that "
            "made it (for EDM the folder with training, torch_utils and dnnlib) on PYTHONPATH."
        ) from error
    if not (isinstance(made, type) and issubclass(made, nn.Module)):
        raise InputError(
            f"{source} names {snapshot.name} as its network, which is no torch module; do not use it."
        )
    try:
        with torch.random.fork_rng(devices=[]):
            return made(*snapshot.args, **snapshot.kwargs)
    except Exception as error:  # a program of others
        raise InputError(
            f"{snapshot.name} could not be built as {source} says ({type(error).__name__}: {error}); use the version "
            "of the program that made it."
        ) from error
