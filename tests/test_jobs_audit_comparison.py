"""Several sets of samples: each is what its own audit says, and differences and exit status follow from them."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from scenes import faces, save_array

from unrote.cli.main import main
from unrote.contracts import InputError
from unrote.jobs import AuditOptions, audit, auditing
from unrote.jobs.audit_table import Blocks
from unrote.jobs.comparison import Comparison
from unrote.measure.estimate import newcombe

TRAIN, FRESH = faces(120, seed=1), faces(160, seed=2)
SETS = {
    "some": torch.cat([TRAIN[:10], FRESH[:40]]),
    "none": FRESH[40:80],
    "many": torch.cat([TRAIN[:30], FRESH[80:90]]),
}


@pytest.fixture
def place(tmp_path, monkeypatch) -> Iterator[Path]:
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("UNROTE_CACHE", str(tmp_path / "cache"))
    save_array(TRAIN, Path("train.npy"))
    save_array(FRESH[100:], Path("test.npy"))
    for name, pixels in SETS.items():
        save_array(pixels, Path(f"{name}.npy"))
    yield tmp_path
    signal.signal(signal.SIGTERM, before)


FILES = tuple(f"{name}.npy" for name in SETS)


def options(**more) -> AuditOptions:
    given = {"train": "train.npy", "samples": FILES, "test": "test.npy", "out": Path("out")} | more
    return AuditOptions(**given)


def read(out: str = "out") -> dict:
    return json.loads(Path(out, "result.json").read_text())


def test_every_set_is_what_its_own_audit_says(place) -> None:
    made = audit(options(features="pca:3"))
    assert isinstance(made, Comparison)
    found = read()
    for name, inside in zip(FILES, found["results"]["sets"], strict=True):
        alone = audit(options(samples=name, features="pca:3", out=Path(f"alone-{name}")))
        single = json.loads(json.dumps(alone.content))
        assert {k: v for k, v in inside.items() if k not in {"name", "input"}} == single["results"]
        assert inside["name"] == name
        assert inside["input"] == single["inputs"]["samples"]
        assert single["settings"]["samples"] == name
        rows = pq.read_table("out/samples.parquet").to_pandas()
        mine = rows[rows["set"] == name].drop(columns="set").reset_index(drop=True)
        assert mine.equals(pq.read_table(f"alone-{name}/samples.parquet").to_pandas())
    assert found["settings"]["samples"] == list(FILES)
    assert [s["count"] for s in found["inputs"]["samples"]] == [50, 40, 40]
    assert found["results"]["duplicate_groups"] == 0


def test_differences_are_from_the_first_set_with_newcombe_s_interval(place) -> None:
    audit(options(names=("a", "b", "c")))
    result = read()["results"]
    assert [d["set"] for d in result["differences"]] == ["b", "c"]
    assert {d["minus"] for d in result["differences"]} == {"a"}
    assert result["differences"][0]["copy_ratio"] == newcombe(0, 40, 10, 50).as_dict()
    assert result["differences"][1]["copy_ratio"] == newcombe(30, 40, 10, 50).as_dict()
    assert result["worst"]["set"] == "c"
    assert result["copies_found"] is True
    assert result["verdict"].startswith("Of 3 sets of samples, c copies most: 75.0 %")
    assert result["verdict"].endswith("are in a, c.")


def test_the_page_has_one_table_one_picture_and_a_part_for_each_set(place) -> None:
    made = audit(options(fidelity=True))
    page = (made.out / "report.html").read_text()
    for text in ("Side by side", "Differences from some.npy", "more than the first", "not told apart"):
        assert (text in page) is (text != "not told apart")
    assert page.count("Samples with their nearest training image") == 3
    assert "Quality in features" in page
    assert "different sizes" in page
    assert sorted(p.name for p in Path("out").iterdir()) == ["report.html", "result.json", "samples.parquet"]
    told = made.summary()
    assert all(name in told for name in FILES)
    assert "none.npy minus some.npy: −20.0 points" in told


def test_the_worst_set_is_judged(place, capsys) -> None:
    base = ["audit", "--train", "train.npy", "--out", "o", "--overwrite"]
    three = [part for name in FILES for part in ("--samples", name)]
    assert main([*base, *three, "--fail-above", "0.5"]) == 3
    assert main([*base, *three, "--fail-above", "0.8"]) == 0
    assert main([*base, *three[:4], "--fail-above", "0.5"]) == 0
    assert main([*base, *three[:2], "--fail-above", "0.05"]) == 3
    capsys.readouterr()


def test_few_samples_can_be_worst_by_the_upper_end_and_not_by_the_lower(place) -> None:
    save_array(torch.cat([TRAIN[:2], FRESH[:6]]), Path("few.npy"))  # 2 of 8
    save_array(torch.cat([TRAIN[:30], FRESH[:90]]), Path("more.npy"))  # 30 of 120
    for end, worst in (("low", "more.npy"), ("high", "few.npy")):
        made = audit(options(samples=("few.npy", "more.npy"), fail_on=end, out=Path(end)))
        assert made.names[made.worst] == worst
        assert read(end)["results"]["worst"]["set"] == worst


def test_no_copies_anywhere_are_upper_bounds(place) -> None:
    save_array(FRESH[:40], Path("other.npy"))
    made = audit(options(samples=("none.npy", "other.npy"), test=None))
    assert made.summary().startswith("No copies in any of 2 sets of samples: none.npy at most 8.8 %, n = 40")
    assert read()["results"]["copies_found"] is False


def test_sets_of_the_same_pixels_and_notes_of_one_set_are_told(place) -> None:
    save_array(SETS["some"], Path("twin.npy"))
    save_array(TRAIN[5:60], Path("stolen.npy"))
    made = audit(options(samples=("some.npy", "twin.npy", "stolen.npy")))
    assert "some.npy and twin.npy hold the same pixels in the same order." in made.notes
    assert any(note.startswith("stolen.npy: 100% of the samples equal") for note in made.notes)


def test_names_are_short_where_they_tell_sets_apart(place) -> None:
    for folder in ("a", "b"):
        Path(folder).mkdir()
        save_array(SETS["none"], Path(folder, "samples.npy"))
    made = audit(options(samples=("a/samples.npy", "b/samples.npy")))
    assert made.names == ("a/samples.npy", "b/samples.npy")
    again = audit(options(samples=("a/samples.npy", "none.npy@20"), out=Path("again")))
    assert again.names == ("samples.npy", "none.npy@20")


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ({"names": ("a", "b")}, "2 names .* for 3 sets"),
        ({"names": ("a", "b", "a")}, "'a' twice"),
        ({"names": ("a", " ", "b")}, "empty"),
        ({"samples": "some.npy", "names": ("a",)}, "there is one"),
        ({"samples": ("some.npy", "some.npy")}, "--names"),
        ({"samples": ()}, "nothing to audit"),
        ({"samples": ("some.npy", "nowhere.npy")}, "nowhere"),
        ({"samples": ("some.npy", "wide.npy")}, "--resize"),
    ],
)
def test_sets_that_cannot_be_compared_are_refused(place, flags, says) -> None:
    save_array(faces(5, seed=3, side=16), Path("wide.npy"))
    with pytest.raises(InputError, match=says):
        audit(options(**flags))
    assert not list(place.glob("out*"))


def test_the_same_set_twice_can_be_named_apart(place) -> None:
    made = audit(options(samples=("some.npy", "some.npy"), names=("x", "y")))
    assert made.differences[0].copies.value == 0


def test_results_never_replace_any_of_the_sets(place) -> None:
    Path("out").mkdir()
    save_array(SETS["none"], Path("out/more.npy"))
    Path("out/result.json").write_text("{}")
    with pytest.raises(InputError, match="never replace"):
        audit(options(samples=("some.npy", "out/more.npy@3"), overwrite=True))
    assert Path("out/more.npy").is_file()


def test_an_interrupted_comparison_goes_on_where_it_was(place, monkeypatch) -> None:
    whole = audit(options(out=Path("whole"))).content["results"]
    measure, done = Blocks.measure, []

    def stop_in_the_third_set(self, number, *rest):
        if self.folder.name == f"{auditing.SAMPLE_BLOCKS}-2":
            raise KeyboardInterrupt
        return measure(self, number, *rest)

    monkeypatch.setattr(Blocks, "measure", stop_in_the_third_set)
    with pytest.raises(KeyboardInterrupt):
        audit(options())
    monkeypatch.undo()
    monkeypatch.chdir(place)
    one = auditing.Blocks

    def counted(folder):
        done.append((folder.name, len(list(folder.glob("*.npz"))) if folder.exists() else 0))
        return one(folder)

    monkeypatch.setattr(auditing, "Blocks", counted)
    assert audit(options()).content["results"] == whole
    assert dict(done) == {
        auditing.HELD_OUT_BLOCKS: 1,
        "sample-blocks-0": 1,
        "sample-blocks-1": 1,
        "sample-blocks-2": 0,
    }
    assert not list(place.glob("out.*"))
