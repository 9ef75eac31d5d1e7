"""Beside the verdict: authenticity, similarity in features, quality. Each equals its measure, or says why not."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from scenes import faces, save_array

from unrote.contracts import InputError
from unrote.data.images import load_images
from unrote.jobs import AuditOptions, audit, searching
from unrote.jobs.comparing import Reference
from unrote.jobs.searching import Searches
from unrote.measure.authenticity import against_held_out, authenticity
from unrote.measure.fidelity import fidelity
from unrote.measure.manifolds import manifolds
from unrote.measure.neighbors import neighbors
from unrote.measure.similarity import background, most_similar, similarity

TRAIN, FRESH = faces(200, seed=1), faces(260, seed=2)
SAMPLES, TEST = torch.cat([TRAIN[:30], FRESH[:90]]), FRESH[100:]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("UNROTE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def run(tmp_path: Path, samples=SAMPLES, test=TEST, out="out", train=TRAIN, **more):
    spec = {
        "train": save_array(train, tmp_path / "train.npy"),
        "samples": save_array(samples, tmp_path / "s.npy"),
    }
    if test is not None:
        spec["test"] = save_array(test, tmp_path / "test.npy")
    made = audit(AuditOptions(**spec, out=tmp_path / out, **more))
    return made, json.loads((tmp_path / out / "result.json").read_text())["results"]


def flat(pixels: torch.Tensor) -> torch.Tensor:
    return pixels.flatten(1).float() / 255


def test_authenticity_is_the_measure_and_stands_beside_that_of_held_out_images(tmp_path) -> None:
    made, result = run(tmp_path)
    group = made.reference.groups.group
    mine, fresh = authenticity(SAMPLES, TRAIN, group), authenticity(TEST, TRAIN, group)
    assert result["authenticity"] == mine.share.as_dict()
    assert result["authenticity_calibration"] == fresh.share.as_dict()
    assert result["authenticity_excess"] == against_held_out(mine, fresh).as_dict()
    table = pq.read_table(tmp_path / "out" / "samples.parquet").to_pydict()
    assert table["authentic"] == mine.authentic.tolist()
    assert table["gap"] == mine.gap.tolist()
    assert not any(table["authentic"][:30])  # exact copies never are
    assert "fresh real images" in made.summary()


def test_what_was_not_asked_for_is_null_with_a_reason(tmp_path) -> None:
    _, result = run(tmp_path, test=None)
    for key in ("frechet_distance", "precision", "recall", "data_copying", "similarity", "features"):
        assert result[key] is None
    for key in ("frechet_reason", "precision_reason", "data_copying_reason", "similarity_reason"):
        assert "--fidelity" in result[key]
    assert "authenticity_calibration" not in result
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Quality and other views" in page
    assert "not known" in page


def test_the_frechet_distance_of_pixels_is_refused_and_the_rest_is_measured(tmp_path) -> None:
    _, result = run(tmp_path, fidelity=True)
    assert result["frechet_distance"] is None
    assert "principal components" in result["frechet_reason"]
    n = len(SAMPLES)
    assert len(TEST) > n
    expected = manifolds(flat(SAMPLES), flat(TRAIN), 5)
    assert result["precision"] == expected.precision.as_dict()
    assert result["recall"] == expected.recall.as_dict()
    assert result["coverage"] == expected.coverage.as_dict()
    assert result["precision_baseline"]["n"] == n  # as many held-out images, so that the two compare
    assert result["data_copying"]["closer"]["low"] > 0.5
    assert result["data_copying"]["p_value"] < 0.01
    assert result["similarity"] is None
    assert result["features"]["name"] == "pixels"


def test_frechet_distances_in_components_equal_the_measure_and_have_a_baseline(tmp_path) -> None:
    made, result = run(tmp_path, features="pca:4")
    lens = made.views.lens
    assert lens is not None
    expected = fidelity(lens.map(SAMPLES), lens.map(TRAIN), torch.Generator().manual_seed(0), lens.map(TEST))
    for key, of in (("frechet_distance", expected.generated), ("frechet_baseline", expected.baseline)):
        assert result[key]["value"] == pytest.approx(of.distance.value, rel=1e-3, abs=1e-6)
        assert result[key]["n"] == len(SAMPLES)
    assert result["frechet_at_n"] == pytest.approx(expected.generated.at_n, rel=1e-3)
    assert result["frechet_baseline_from"] == "held-out images"
    assert result["features"]["hash"] == lens.map.hash
    assert result["features"]["profile"] == "pixels"


def test_without_held_out_images_the_baseline_comes_from_halves_of_the_training_set(tmp_path) -> None:
    _, result = run(tmp_path, test=None, features="pca:4")
    assert result["frechet_distance"]["n"] == len(TRAIN) // 2
    assert "half of the training" in result["frechet_baseline_from"]
    assert result["data_copying"] is None
    assert "--test" in result["data_copying_reason"]
    assert result["precision"]["n"] == len(SAMPLES)


def test_similarity_in_features_is_a_second_definition_beside_the_first(tmp_path) -> None:
    dark = torch.cat([(TRAIN[:40].float() * 0.5).round().to(torch.uint8), FRESH[:60]])
    _, plain = run(tmp_path, dark)
    made, result = run(tmp_path, dark, features="pixels", out="again")
    assert result["copy_ratio"] == plain["copy_ratio"]
    assert result["verdict"] == plain["verdict"]
    assert result["definitions"]["by_groups"] == plain["definitions"]["by_groups"]
    second = result["definitions"]["features"]
    assert second["copy_ratio"]["value"] >= 0.4  # the cosine does not see darkness
    assert second["calibration_ratio"]["value"] <= 0.01
    value = similarity(most_similar(flat(dark), flat(TRAIN), 1).distance[:, 0])
    table = pq.read_table(made.out / "samples.parquet").to_pydict()
    assert table["similarity"] == pytest.approx(value.tolist())
    assert table["similar"][:40] == list(range(40))
    assert table["copy_features"] == (value > result["similarity"]["threshold"]).tolist()
    assert not any(table["copy"])
    # The verdict is not contradicted in silence.
    assert any("Similarity in features speaks of copying where the verdict does not" in n for n in made.notes)
    assert "only their features call copies" in (made.out / "report.html").read_text()


def test_thresholds_come_from_the_user_from_fresh_or_from_training_images(tmp_path) -> None:
    _, asked = run(tmp_path, features="pixels", similarity_threshold=0.999, out="a")
    assert asked["similarity"]["threshold"] == 0.999
    _, fresh = run(tmp_path, features="pixels", out="b")
    assert "fresh real images" in fresh["similarity"]["threshold_source"]
    assert sum(fresh["similarity"]["held_out"]["above"]["0.9"].values()) >= 0
    _, own = run(tmp_path, test=None, features="pixels", out="c")
    values = background(flat(TRAIN)).sort(descending=True).values
    assert own["similarity"]["threshold"] == pytest.approx(float(values[1]))  # 2 of 201 ranks are 1 %
    assert own["similarity"]["held_out"] is None
    assert own["similarity"]["calibration_ratio"] is None


def test_a_black_sample_has_no_similarity_and_the_audit_goes_on(tmp_path) -> None:
    samples = torch.cat([SAMPLES, torch.zeros(1, 1, 12, 12, dtype=torch.uint8)])
    made, result = run(tmp_path, samples, features="pixels")
    assert result["similarity"] is None
    assert "all 0" in result["similarity_reason"]
    assert "features" not in result["definitions"]
    assert result["copy_ratio"]["value"] == pytest.approx(30 / 121)
    assert "all 0" in (made.out / "report.html").read_text()


def test_one_training_set_is_enough_for_a_small_audit_with_everything(tmp_path) -> None:
    _, result = run(tmp_path, FRESH[:7], FRESH[10:16], features="pca:2")
    assert result["precision"]["n"] == 6
    assert "20 generated" in result["data_copying_reason"]


def test_features_are_kept_and_the_second_audit_is_the_same(tmp_path, cache) -> None:
    _, first = run(tmp_path, features="pca:4", out="a")
    assert any(cache.rglob("*.fit"))
    _, second = run(tmp_path, features="pca:4", out="b")
    assert first == second


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ({"features": "classifier"}, "label"),
        ({"features": "dino"}, "--features 'dino' is not understood"),
        ({"features": "pixels", "profile": "sscd"}, "pixels@sscd"),
        ({"features": "dinov2:nowhere@dinov2", "profile": "dinov2"}, "named twice"),
        ({"profile": "dinov2"}, "name them with --features"),
        ({"similarity_threshold": 0.5}, "name them with --features"),
        ({"features": "pixels", "similarity_threshold": 1.5}, "--similarity-threshold 1.5"),
        ({"features": "dinov2:nowhere", "profile": "no-such"}, "no-such"),
    ],
)
def test_features_that_cannot_be_had_are_refused_before_anything_is_measured(
    tmp_path, monkeypatch, flags, says
) -> None:
    monkeypatch.setattr(searching, "top_k", None)
    with pytest.raises(InputError, match=says):
        run(tmp_path, **flags)
    assert not list(tmp_path.glob("out*"))


def test_an_index_is_made_once_and_changes_no_bit(monkeypatch) -> None:
    g = torch.Generator().manual_seed(0)
    mixing = torch.randn(6, 576, generator=g)

    def smooth(n: int) -> torch.Tensor:
        x = torch.randn(n, 6, generator=g) @ mixing + 0.3 * torch.randn(n, 576, generator=g)
        return (128 + 20 * x).clamp(0, 255).to(torch.uint8).reshape(n, 1, 24, 24)

    training, queries = smooth(2200), smooth(300)
    images = load_images("digits@3")
    reference = Reference(images, training, 255.0, Reference.of(images, 0.0, 2**28).groups)
    made: list[int] = []
    once = searching.paying_index

    def counted(query, *rest):
        made.append(len(query))
        return once(query, *rest)

    monkeypatch.setattr(searching, "paying_index", counted)
    searches = Searches(reference, 2**30, expected=10_000)
    for block in (*queries.split(100), training[:50]):
        found, plain = searches.straight(block, training, 5), neighbors(block, training, 5)
        assert torch.equal(found.distance, plain.distance)
        assert torch.equal(found.index, plain.index)
    assert len(made) == 1
    assert searches._index is not None
    some = training[:500]
    assert torch.equal(searches.straight(queries, some, 1).index, neighbors(queries, some, 1).index)
