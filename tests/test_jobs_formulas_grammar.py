"""The numbers of a grammar: counted, of any size, and refused where there is none."""

from __future__ import annotations

import json

import pytest
import torch

from unrote.cli.main import main
from unrote.contracts import InputError
from unrote.data.grammar import Shape, random_grammar
from unrote.data.grammar_counts import all_strings
from unrote.jobs import theory
from unrote.jobs.calculators_clock import GrammarOptions


def test_strings_are_as_many_as_can_be_listed() -> None:
    found = theory(GrammarOptions(vocabulary=4, rules=2, layers=2, trained=8))
    assert set(found.value) == {"strings", "threshold", "layer_thresholds"}
    listed = all_strings(random_grammar(Shape(4, 2, 2), torch.Generator().manual_seed(0))).x
    assert found.value["strings"] == len(listed.unique(dim=0)) == 32
    assert found.more["chance_of_copying"] == 8 / 32
    assert found.value["layer_thresholds"] == (16, 32)
    assert found.value["threshold"] == 32


def test_the_paper_s_grammars(capsys) -> None:
    assert (
        main(["theory", "grammar", "--vocabulary", "16", "--rules", "4", "--layers", "3", "--branching", "2"])
        == 0
    )
    shown = capsys.readouterr().out
    assert "262144" in shown and "256, 1024, 4096" in shown
    arguments = ["theory", "grammar", "--vocabulary", "16", "--rules", "3", "--layers", "5", "--json"]
    assert main(arguments) == 0
    results = json.loads(capsys.readouterr().out)["results"]
    assert results["value"]["threshold"] == 11_664
    assert results["value"]["layer_thresholds"] == [144, 432, 1296, 3888, 11_664]
    assert results["value"]["strings"] == 16 * 3**31


def test_numbers_too_large_to_be_written_have_their_logarithm() -> None:
    found = theory(GrammarOptions(vocabulary=16, rules=4, layers=16, trained=1000))
    assert found.value["strings"] is None
    assert found.more["log10_strings"] == pytest.approx(39_457, abs=1)
    assert found.more["chance_of_copying"] == 0.0
    assert "strings" in found.summary()


def test_grammars_that_cannot_be_are_refused() -> None:
    for wrong, told in (
        ({"vocabulary": 4, "rules": 5, "layers": 2}, "5"),
        ({"vocabulary": 1, "rules": 1, "layers": 1}, "--vocabulary 1 cannot be used"),
        ({"vocabulary": 4, "rules": 2, "layers": 40}, "2\\^20|1,048,576|1048576"),
        ({"vocabulary": 4, "rules": 2, "layers": 2, "trained": 33}, "33"),
    ):
        with pytest.raises(InputError, match=told):
            theory(GrammarOptions(**wrong))
