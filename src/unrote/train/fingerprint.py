"""What a run was made of, as JSON: so that it is resumed with the same things or not at all."""

from __future__ import annotations

import functools
import hashlib
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from unrote.contracts import InputError


def digest(tensors: Iterable[Tensor]) -> str:
    """SHA-256 over types, shapes and bytes, in order."""
    total = hashlib.sha256()
    for tensor in tensors:
        plain = tensor.detach().cpu().contiguous()
        total.update(f"{plain.dtype}{tuple(plain.shape)}".encode())
        total.update(plain.reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()


def describe(value: Any, depth: int = 6) -> Any:
    """JSON values that tell two settings apart, without addresses and without trained weights.

    Dataclasses become their fields; functions their name and what they close over; networks their
    classes and plain attributes; tensors their digest. Two anonymous functions differ by their code.

    Args:
        value: anything that a recipe, options or a denoiser are made of.
        depth: how deep to look into objects.
    """
    if isinstance(value, (str, int, float, type(None))):
        return value
    if depth == 0:
        return type(value).__qualname__
    for kind, told in TOLD:
        if isinstance(value, kind):
            return told(value, depth)
    return _object(value, depth)


def _tensor(tensor: Tensor, depth: int) -> Any:
    return digest([tensor])


def _module(module: nn.Module, depth: int) -> Any:
    # A tree of modules ends by itself, other attributes need not.
    return _module_alone(module, depth) | {
        name: _module(part, depth) for name, part in module.named_children()
    }


def _module_alone(module: nn.Module, depth: int) -> dict[str, Any]:
    told = {"class": f"{type(module).__qualname__}({module.extra_repr()})"}
    if type(module).__module__.startswith("torch.nn."):  # torch's own say all in extra_repr
        return told
    own = {k: v for k, v in vars(module).items() if not k.startswith("_") and k != "training"}
    return told | {name: describe(v, depth - 1) for name, v in own.items()}


def _mapping(values: Mapping[Any, Any], depth: int) -> Any:
    return {str(key): describe(part, depth - 1) for key, part in values.items()}


def _sequence(values: Sequence[Any], depth: int) -> Any:
    return [describe(part, depth - 1) for part in values]


def _partial(value: functools.partial[Any], depth: int) -> Any:
    return [describe(part, depth - 1) for part in (value.func, value.args, value.keywords)]


def _method(method: types.MethodType, depth: int) -> Any:
    owner = method.__self__
    # The network below a denoiser's method is described once, as the denoiser.
    told = _module_alone(owner, depth) if isinstance(owner, nn.Module) else describe(owner, depth - 1)
    return [method.__func__.__qualname__, told]


def _function(function: types.FunctionType, depth: int) -> Any:
    name = f"{function.__module__}.{function.__qualname__}"
    if function.__name__ == "<lambda>":
        code = function.__code__
        name += ":" + hashlib.sha256(code.co_code + repr(code.co_consts).encode()).hexdigest()[:16]
    held = [cell.cell_contents for cell in function.__closure__ or ()] + list(function.__defaults__ or ())
    return [name, *(describe(part, depth - 1) for part in held)] if held else name


def _object(value: Any, depth: int) -> Any:
    if isinstance(value, type) or not getattr(value, "__dict__", None):
        return getattr(value, "__qualname__", type(value).__qualname__)
    attributes = {name: describe(part, depth - 1) for name, part in vars(value).items()}
    return {"class": type(value).__qualname__} | attributes


TOLD: tuple[tuple[Any, Callable[[Any, int], Any]], ...] = (
    (Tensor, _tensor),
    (nn.Module, _module),
    (Mapping, _mapping),
    ((list, tuple), _sequence),
    (functools.partial, _partial),
    (types.MethodType, _method),
    (types.FunctionType, _function),
)
"""How each kind of value is told; frozen dataclasses are told like any object, by their attributes."""


def flatten(description: Any, name: str = "") -> dict[str, Any]:
    """{"a": {"b": 1}, "c": [2]} -> {"a.b": 1, "c.0": 2}."""
    if isinstance(description, Mapping):
        items: Iterable[tuple[Any, Any]] = description.items()
    elif isinstance(description, list):
        items = enumerate(description)
    else:
        return {name: description}
    flat: dict[str, Any] = {}
    for key, part in items:
        flat |= flatten(part, f"{name}.{key}" if name else str(key))
    return flat


def check_same(found: Mapping[str, Any], expected: Mapping[str, Any], where: str) -> None:
    """Refuse to continue a run with other things than it was begun with.

    Args:
        found, expected: flat descriptions of the run in the file and of this one.
        where: the file, for the message.

    Raises:
        InputError: naming every difference.
    """
    names = [n for n in {**found, **expected} if found.get(n) != expected.get(n)]
    if names:
        told = "; ".join(
            f"{name} was {_short(found.get(name))}, now {_short(expected.get(name))}" for name in names[:6]
        )
        more = f"; and {len(names) - 6} more" if len(names) > 6 else ""
        raise InputError(
            f"{where} was made by another run than the one that would continue it: {told}{more}. "
            "Resume with the data, seed and settings that it was begun with, or begin a new run elsewhere."
        )


def _short(value: Any) -> str:
    text = "absent" if value is None else str(value)
    return text if len(text) <= 60 else f"{text[:12]}..."  # a digest has 64 letters
