"""`unrote theory` as a user meets it: values, JSON, refusals, and every example of docs/theory.md."""

from __future__ import annotations

import json
import math
import re
import shlex
from pathlib import Path

import pytest
from refusals import call, place, refused  # noqa: F401

import unrote.jobs
from unrote.jobs import theory
from unrote.jobs.calculating import LIMITS, shown, text
from unrote.jobs.calculators import (
    CALCULATORS,
    CoverageOptions,
    CrossoverOptions,
    GeneralisingExcessOptions,
    NearestKeptOptions,
    NoiseUnitsOptions,
)

PAGE = Path(__file__).resolve().parents[1] / "docs" / "theory.md"

EXAMPLES = re.findall(
    r"```console\n\$ unrote (theory[^\n]*)\n(.*?)\n```", PAGE.read_text(encoding="utf-8"), re.DOTALL
)


@pytest.mark.parametrize(("command", "said"), EXAMPLES)
def test_the_page_shows_what_the_program_says(call, command: str, said: str) -> None:  # noqa: F811
    status, out, told = call(*shlex.split(command))
    assert (status, told) == (0, "")
    assert out.rstrip() == said


def test_the_page_has_an_example_of_every_calculator() -> None:
    assert {shlex.split(command)[1] for command, _ in EXAMPLES} == {c.name for c in CALCULATORS}


def test_alone_it_lists_its_calculators(call) -> None:  # noqa: F811
    for arguments in (("theory",), ("theory", "--help")):
        status, out, _ = call(*arguments)
        assert status == 0
        for calculator in CALCULATORS:
            assert f"{calculator.name} " in out
            assert calculator.summary in out


@pytest.mark.parametrize("calculator", CALCULATORS, ids=lambda c: c.name)
def test_every_calculator_has_help_and_named_limits(call, calculator) -> None:  # noqa: F811
    status, out, _ = call("theory", calculator.name, "--help")
    assert status == 0
    assert "--json" in out
    numeric = {
        n for n, f in calculator.options.__dataclass_fields__.items() if "int" in f.type or "float" in f.type
    }
    assert numeric <= set(LIMITS)


def test_json_alone_holds_value_formula_and_source(call, tmp_path) -> None:  # noqa: F811
    status, out, told = call(*shlex.split("theory nearest-kept-constant --kept 8 --dimension 50 --json"))
    assert (status, told) == (0, "")
    content = json.loads(out)
    assert content["schema"] == 1
    assert content["settings"] == {"kept": [8], "dimension": 50}
    results = content["results"]
    assert results["value"] == pytest.approx(1.5340, abs=5e-5)
    assert results["formula"].startswith("C0(m, d)")
    assert "Edge of Memorization" in results["source"]
    assert not any(tmp_path.glob("theory*"))


def test_one_number_is_a_number_and_several_are_a_table() -> None:
    one = theory(NearestKeptOptions(kept=(2,), dimension=50))
    assert one.value == pytest.approx(1.805533696)
    table = theory(NearestKeptOptions(kept=(1, 2), dimension=50)).value
    assert table["kept"] == [1, 2]
    assert table["constant"] == pytest.approx([2, 1.805533696])
    assert unrote.jobs.theory is theory


def test_the_crossover_in_the_continuum_and_for_other_spreads() -> None:
    flat = CrossoverOptions(constant=2.0, continuum=True, time_low=0.0, time_high=1.0)
    assert theory(flat).value == pytest.approx(5 / 6, rel=1e-12)
    capped = theory(CrossoverOptions(weighting="min(psi,5)", constant=1.0)).value
    assert capped == pytest.approx(0.8682976570918703, rel=1e-12)
    assert theory(CrossoverOptions(weighting="min(psi, 5.0)", constant=1.0)).value == capped
    integral = (1 - math.atan(1.0)) / 0.5  # s = 1/2: int t^2 / (1/2 + t^2/2) dt = 2 (1 - pi/4)
    half = CrossoverOptions(constant=1.0, spread=0.5, continuum=True, time_low=0.0, time_high=1.0)
    assert theory(half).value == pytest.approx(1 - integral, rel=1e-12)


def test_drawn_data_sets_reproduce_the_true_crossover() -> None:
    options = CrossoverOptions(samples=200, dimension=50, clusters=12, data_sets=8, seed=1)
    first, again = theory(options), theory(options)
    assert first.value == again.value
    assert first.more["low"] < 0.7988 < first.more["high"]
    assert 0.78 < first.more["low"] < first.value < first.more["high"] < 0.82


def test_one_level_in_every_unit_from_any() -> None:
    value = theory(NoiseUnitsOptions(sigma=0.7)).value
    for name, key in (
        ("time", "vp_time"),
        ("alpha_bar", "alpha_bar"),
        ("log_snr", "log_snr"),
        ("linear_timestep", "ddpm_linear_timestep"),
        ("cosine_timestep", "ddpm_cosine_timestep"),
    ):
        again = theory(NoiseUnitsOptions(**{name: value[key]})).value
        assert again["sigma"] == pytest.approx(0.7, rel=1e-9)


def test_levels_outside_the_validity_are_marked() -> None:
    value = theory(GeneralisingExcessOptions(dimension=50, time=(0.5, 0.9))).value
    assert value["within_validity"] == [True, False]
    assert value["excess"] == pytest.approx([12.5, 40.5])


def test_weights_may_be_given() -> None:
    assert theory(CoverageOptions(kept=2, weights=(0.5, 0.5))).value == pytest.approx(0.5)
    assert theory(CoverageOptions(kept=2, weights=(0.9, 0.1))).value == pytest.approx(0.18)


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("theory what", "the calculators are crossover"),
        ("theory crossover --what 3", "--help"),
        ("theory nearest-kept-constant --kept 3", "--dimension"),
        ("theory nearest-kept-constant --kept --dimension 3", "--kept"),
        ("theory nearest-kept-constant --kept 0 --dimension 3", "between 1"),
        ("theory nearest-kept-constant --kept 1.5 --dimension 3", "--kept"),
        ("theory crossover --weighting heavy", "is not known"),
        ("theory crossover --weighting min(psi,0)", "is not known"),
        ("theory crossover --spread nan", "--spread nan"),
        ("theory crossover --constant 0", "--constant 0"),
        ("theory crossover --samples 10", "give all three"),
        ("theory crossover --samples 10 --dimension 2 --clusters 2 --constant 1", "in the place of"),
        ("theory crossover --data-sets 3", "needs --samples"),
        ("theory crossover --seed 3", "belongs to --data-sets"),
        ("theory crossover --samples 30000 --dimension 2 --clusters 2 --data-sets 3", "up to 20,000"),
        ("theory crossover --samples 5 --dimension 2 --clusters 9 --data-sets 3", "--clusters 9"),
        ("theory crossover --continuum --steps 3", "belongs to the grid"),
        ("theory crossover --time-low 0", "use --continuum"),
        ("theory crossover --time-low 0.9 --time-high 0.1", "must be less"),
        ("theory crossover --weighting psi --continuum --time-low 0", "infinite"),
        ("theory crossover --weighting 1/psi --continuum --time-high 1", "infinite"),
        ("theory partial-excess --kept 9 --samples 8 --dimension 2 --constant 1", "more than"),
        ("theory partial-excess --kept 3 --samples 8 --dimension 2", "Exactly one of --constant, --clusters"),
        ("theory generalising-excess --dimension 3", "Exactly one of --sigma, --time"),
        ("theory generalising-excess --dimension 3 --time 1", "--time 1"),
        ("theory coverage-of-clusters --kept 3", "Exactly one of"),
        ("theory coverage-of-clusters --kept 3 --weights 0.5 0.4", "sum to one"),
        ("theory coverage-of-clusters --kept 3 --weights 0.5 0.5 --dimension 3", "equal weight"),
        ("theory concentration --dimension 3 --epsilon 2", "--epsilon 2"),
        ("theory noise-units", "none of them came"),
        ("theory noise-units --sigma 1 --time 0.5", "--sigma and --time came"),
        ("theory noise-units --linear-timestep 1000", "between 0 and 999"),
    ],
)
def test_what_cannot_be_used_is_one_paragraph(refused, command: str, says: str) -> None:  # noqa: F811
    assert says in refused(*shlex.split(command))


def test_options_of_something_else_are_a_programming_error() -> None:
    from unrote.jobs.calculators import Formula

    with pytest.raises(ValueError, match="not the options"):
        theory(Formula())


def test_tables_are_aligned() -> None:
    assert shown("x", {"a": [1, 22], "longer": [None, True]}, 3) == ["a   longer", "1   -", "22  yes"]
    assert shown("name", 0.1, 6) == ["name    0.1"]
    assert shown("x", {"one": 1.5, "other": None}, 3) == ["one    1.5", "other  -"]
    assert text(-0.0) == "0"
    assert text(math.nan) == "-"
