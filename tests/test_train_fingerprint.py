from __future__ import annotations

import functools
import json
from dataclasses import dataclass, replace

import pytest
import torch
from torch import nn

from unrote.contracts import Examples, InputError
from unrote.denoise.compose import Precondition, edm, vp_eps
from unrote.denoise.networks import build_mlp
from unrote.noise.levels import LogNormal
from unrote.train.fingerprint import check_same, describe, digest, flatten
from unrote.train.recipe import baseline, levels_first


@dataclass(frozen=True)
class Pair:
    low: float
    high: float


class Plain:
    def __init__(self, value: float) -> None:
        self.value = value

    def __call__(self, x: float) -> float:
        return x * self.value


def enclosing(value: float):
    def inner(x: float) -> float:
        return x * value

    return inner


def denoiser(sigma_data: float = 0.5) -> Precondition:
    network = build_mlp((4,), torch.Generator().manual_seed(0), width=8, depth=1)
    return Precondition(network, edm(sigma_data))


MAKERS = {
    "number": lambda: 0.5,
    "dataclass": lambda: Pair(1.0, 2.0),
    "object": lambda: Plain(2.0),
    "closure": lambda: enclosing(2.0),
    "partial": lambda: functools.partial(enclosing, 2.0),
    "lambda": lambda: lambda x: x + 1,
    "tensor": lambda: torch.arange(3),
    "network": denoiser,
    "method": lambda: denoiser().weight,
    "coefficients": edm,
    "builtin": lambda: torch.ones_like,
    "recipe": lambda: baseline(Examples(torch.zeros(2, 4), torch.zeros(2)), LogNormal(), torch.ones_like),
}
OTHERS = {
    "number": 0.25,
    "dataclass": Pair(1.0, 3.0),
    "object": Plain(3.0),
    "closure": enclosing(3.0),
    "partial": functools.partial(enclosing, 3.0),
    "lambda": lambda x: x + 2,
    "tensor": torch.arange(3) + 1,
    "network": denoiser(0.6),
    "method": denoiser(0.6).weight,
    "coefficients": vp_eps(),
    "builtin": torch.zeros_like,
    "recipe": replace(MAKERS["recipe"](), redraw=levels_first),
}


@pytest.mark.parametrize("name", MAKERS)
def test_what_is_made_twice_is_told_alike_and_what_differs_is_told_apart(name):
    told = describe(MAKERS[name]())
    assert json.loads(json.dumps(told)) == describe(MAKERS[name]())
    assert told != describe(OTHERS[name])
    assert "0x" not in json.dumps(told), "an address would differ in every process"


def test_trained_weights_and_the_mode_are_no_part_of_what_a_network_is():
    fresh, used = denoiser(), denoiser().eval()
    for p in used.parameters():
        nn.init.ones_(p)
    assert describe(fresh) == describe(used)


def test_something_that_holds_itself_is_told_in_finite_words():
    loop = Plain(1.0)
    loop.value = loop  # type: ignore[assignment]
    json.dumps(describe(loop))


def test_a_digest_tells_type_shape_and_order():
    x = torch.arange(6, dtype=torch.int32)
    variants = [[x], [x.long()], [x.reshape(2, 3)], [x.reshape(3, 2)], [x[:3], x[3:]], [x.flip(0)], [x[:0]]]
    assert len({digest(v) for v in variants}) == len(variants)
    assert digest([x.reshape(2, 3).T]) == digest([x.reshape(2, 3).T.contiguous()])
    assert digest([x.to(torch.bfloat16)]) != digest([x.to(torch.float16)])


def test_nested_descriptions_are_flattened_to_paths():
    assert flatten({"a": {"b": 1}, "c": [2, {"d": None}]}) == {"a.b": 1, "c.0": 2, "c.1.d": None}


def test_every_difference_is_named_and_long_lists_are_counted():
    check_same({"a": 1}, {"a": 1}, "x")
    with pytest.raises(InputError, match=r"The file was made.*a was 1, now 2; b was absent, now 3"):
        check_same({"a": 1, "same": 0}, {"a": 2, "b": 3, "same": 0}, "The file")
    many = {str(i): i for i in range(9)}
    with pytest.raises(InputError, match="and 3 more"):
        check_same(many, {}, "x")
