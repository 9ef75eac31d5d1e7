"""The calculators of ambient training: values of the paper and of its corrections, files, units, and refusals."""

from __future__ import annotations

import math

import numpy as np
import pytest
from refusals import call, place, refused  # noqa: F401

from unrote.jobs import theory
from unrote.jobs.calculators_ambient import LeakageOptions, MergingOptions, SubpopulationsOptions


def test_leakage_of_one_point_in_both_units_and_from_a_file(place) -> None:  # noqa: F811
    (place / "spectrum.txt").write_text("1 2 4")
    found = theory(LeakageOptions(time=0.5, spectrum=place / "spectrum.txt", draws=(2, 100)))
    assert found.value["ddpm"] == pytest.approx([3.8648676656925254, 9.598307510682034], rel=1e-10)
    assert found.value["as_printed"] == pytest.approx([5.8971538676367405, 294.857693381837], rel=1e-10)
    same = theory(LeakageOptions(sigma=math.sqrt(1 / 3), spectrum=place / "spectrum.txt", draws=(2, 100)))
    assert same.value["ddpm"] == pytest.approx(found.value["ddpm"], rel=1e-12)
    assert same.more["vp_time"] == pytest.approx(0.5)
    d = theory(LeakageOptions(time=0.5, dimension=3, draws=(1,))).value
    assert d["ambient"] == pytest.approx([1.5 * math.log(4)])  # (d/2) log(1/sigma_n^2) for unit variance


def test_leakage_of_data_sets_and_its_simulation() -> None:
    options = LeakageOptions(time=0.5, dimension=2, samples=4, draws=(2, 5), simulate=400, seed=3)
    found, again = theory(options).value, theory(options).value
    assert found == again
    for i in range(2):
        assert found["ambient_at_least"][i] <= found["simulated_ambient_high"][i]
        assert found["simulated_ambient_low"][i] <= found["ambient_at_most"][i]
        assert found["simulated_ddpm_low"][i] <= found["ddpm_at_most"][i] <= found["as_printed"][i]
    one = theory(LeakageOptions(time=0.5, dimension=2, draws=(3,), simulate=2000)).value
    assert one["simulated_ddpm_low"][0] <= one["ddpm"][0] <= one["simulated_ddpm_high"][0]


def test_subpopulations_of_zipf_of_files_of_picks_and_of_groups(place) -> None:  # noqa: F811
    zipf = theory(SubpopulationsOptions(components=1000, examples=100))
    assert zipf.value["tau"] == pytest.approx([0.00053423, 0.00262644, 0.01013442, 0.02000987], rel=2e-5)
    np.save("f.npy", 7 / np.arange(1, 1001))
    assert theory(SubpopulationsOptions(frequencies=place / "f.npy", examples=100)).value[
        "tau"
    ] == pytest.approx(zipf.value["tau"], rel=1e-12)
    drawn = theory(SubpopulationsOptions(components=1000, examples=100, picks=300, counts=(1,))).value
    assert abs(drawn["tau"][0] - 0.00265028) < 5 * drawn["standard_error_of_tau"][0] + 2.3e-5
    merged = theory(SubpopulationsOptions(components=1000, examples=1000, group=10, counts=(1,)))
    plain = theory(SubpopulationsOptions(components=1000, examples=1000, counts=(1,)))
    assert merged.value["tau"][0] > plain.value["tau"][0]
    assert merged.value["share_of_population"][0] < plain.value["share_of_population"][0]
    big = theory(SubpopulationsOptions(components=10**5, examples=10**7, counts=(1, 10**7)))
    assert all(0 < value < 1 for value in big.value["tau"])
    light = theory(SubpopulationsOptions(components=3, exponent=20.0, examples=20, theta=1e-6, counts=(1,)))
    assert light.more["tau_1_at_most"] is None  # 2^-20 lies between


def test_merging_of_two_and_of_many(place) -> None:  # noqa: F811
    two = theory(MergingOptions(gap=(4.0, 1.0), epsilon=0.1)).value
    assert two["merged_from_vp_time"][0] == pytest.approx(0.9980242013481648, rel=1e-10)
    assert two["printed_vp_time"][0] == pytest.approx(0.9944968033750726, rel=1e-10)
    assert two["tv_at_printed"][0] == pytest.approx(0.16596848296314515, rel=1e-9)
    (place / "means.txt").write_text("0 0\n3 0\n4 0\n20 5\n")
    np.save("line.npy", np.array([0.0, 3.0, 4.0]))
    many = theory(MergingOptions(means=place / "means.txt", time=(0.1, 0.9999, 0.99999999))).value
    assert (many["groups"][0], many["groups"][-1], many["modes"][-1]) == (4, 1, 1)
    assert many["told_apart_at_least"][0] <= many["told_apart_at_most"][0] <= 4 + 1e-9
    line = theory(MergingOptions(means=place / "line.npy", weights=(0.5, 0.25, 0.25)))
    assert line.more["components"] == 3
    assert line.value["groups"][-1] == 1


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("leakage --dimension 3", "Exactly one of"),
        ("leakage --sigma 1 --time 0.5 --dimension 3", "Exactly one of"),
        ("leakage --time 1.5 --dimension 3", "--time"),
        ("leakage --sigma 1", "Exactly one of"),
        ("leakage --sigma 1 --spectrum minus.txt", "below 0"),
        ("leakage --sigma 1 --spectrum minus.txt --spread 2", "--spread belongs"),
        ("leakage --sigma 1 --dimension 3 --seed 1", "--seed belongs"),
        ("leakage --sigma 1 --dimension 3 --draws 0", "--draws 0"),
        ("leakage --sigma 1 --dimension 3 --draws 3000 --simulate 9", "2,000"),
        ("leakage --sigma 1 --dimension 1000000 --draws 100 --simulate 9", "at once"),
        ("leakage --sigma 1 --dimension 3 --samples 20 --draws 3 --simulate 9", "12 --samples"),
        ("subpopulations --examples 9", "Exactly one of"),
        ("subpopulations --examples 2 --components 3", "more than --examples"),
        ("subpopulations --examples 9 --frequencies minus.txt", "at least 0"),
        ("subpopulations --examples 9 --frequencies minus.txt --exponent 2", "--exponent belongs"),
        ("subpopulations --examples 9 --components 4 --seed 1", "--seed belongs"),
        ("subpopulations --examples 9 --components 10000000 --picks 100", "at once"),
        ("subpopulations --examples 9 --frequencies missing.txt", "cannot be read"),
        ("merging", "Exactly one of"),
        ("merging --gap 1 --epsilon 1", "--epsilon 1"),
        ("merging --gap 1 --sigma 2", "belong to --means"),
        ("merging --means means.txt --sigma 2 --time 0.5", "two units"),
        ("merging --means means.txt --weights 0.5 0.5", "3 components"),
        ("merging --means means.txt --weights 0.5 0.5 0", "above 0"),
        ("merging --means means.txt --weights 0.5 0.5 0.5", "sum to one"),
        ("merging --means one.txt", "from 2 to"),
    ],
)
def test_what_cannot_be_is_refused(refused, place, command: str, said: str) -> None:  # noqa: F811
    (place / "minus.txt").write_text("1 -1 2")
    (place / "means.txt").write_text("0\n1\n2\n")
    (place / "one.txt").write_text("1\n")
    assert said in refused("theory", *command.split())
