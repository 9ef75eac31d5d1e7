"""Names on the Hugging Face hub: read from this machine's caches; nothing is fetched unless it is asked for."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from spellings import CLASSES, as_table, edm_zip, png, save_stream

from unrote.contracts import InputError
from unrote.data.images import load_images, open_images

PIXELS = np.random.default_rng(13).integers(0, 256, (9, 5, 4, 3), dtype=np.uint8)
LABELS = [2, 0, 1, 2, 2, 0, 1, 1, 2]
WHOLE = torch.from_numpy(PIXELS).permute(0, 3, 1, 2)
PARTS = {"train": slice(0, 6), "test": slice(6, 9)}
REVISION = "0123456789abcdef"


@pytest.fixture(autouse=True)
def caches(tmp_path, monkeypatch) -> SimpleNamespace:
    """Empty caches, and a hub that cannot be reached."""
    import datasets
    import huggingface_hub

    datasets.disable_progress_bars()
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "prepared")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return SimpleNamespace(prepared=tmp_path / "prepared", hub=tmp_path / "hub", files=tmp_path / "files")


def parquet_files(root: Path, pixels: np.ndarray = PIXELS) -> dict[str, list[str]]:
    root.mkdir(parents=True, exist_ok=True)
    for split, rows in PARTS.items():
        pq.write_table(as_table(pixels[rows], LABELS[rows]), root / f"{split}-00000-of-00001.parquet")
    return {split: [str(root / f"{split}-00000-of-00001.parquet")] for split in PARTS}


def prepare(caches: SimpleNamespace, config: str = "default", pixels: np.ndarray = PIXELS) -> Path:
    """What `datasets.load_dataset("owner/mySet")` leaves in its cache, made by its own builder."""
    from datasets.packaged_modules.parquet.parquet import Parquet

    builder = Parquet(
        cache_dir=str(caches.prepared),
        dataset_name="mySet",
        config_name=config,
        hash="abc",
        data_files=parquet_files(caches.files / config, pixels),
    )
    builder.download_and_prepare()
    # As it would be called had the files come from the hub.
    made = Path(builder.cache_dir)
    place = caches.prepared / "owner___my_set" / config / "0.0.0"
    place.mkdir(parents=True)
    shutil.move(made, place / "abc")
    info = place / "abc" / "dataset_info.json"
    info.write_text(json.dumps(json.loads(info.read_text()) | {"config_name": config}))
    return place / "abc"


def snapshot(caches: SimpleNamespace, fill: Callable[[Path], object]) -> Path:
    """What `hf download owner/mySet --repo-type dataset` leaves in its cache."""
    place = caches.hub / "datasets--owner--mySet"
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text(REVISION)
    folder = place / "snapshots" / REVISION
    folder.mkdir(parents=True)
    fill(folder)
    return folder


def test_what_datasets_prepared_is_what_datasets_gives(caches):
    import datasets

    prepare(caches)
    known = datasets.load_dataset("owner/mySet", cache_dir=str(caches.prepared))
    for split, rows in PARTS.items():
        images = load_images(f"hf:owner/mySet:{split}")
        pictures = [np.asarray(picture) for picture in known[split]["image"]]
        assert np.array_equal(images.pixels.permute(0, 2, 3, 1).numpy(), pictures)
        assert torch.equal(images.pixels, WHOLE[rows])
        assert images.labels.tolist() == known[split]["label"]
        assert images.label_names == CLASSES
        assert images.provenance.kind == "Hugging Face hub"
        assert "the configuration 'default' from the cache of `datasets`" in images.notes[0]
    assert torch.equal(load_images("hf:owner/mySet:train@1:3?label=owl,dog").pixels, WHOLE[[2, 3]])
    with pytest.raises(InputError, match=r"several splits: train, test\..*':train'"):
        open_images("hf:owner/mySet")
    with pytest.raises(InputError, match=r"split 'val', but what is there is: train, test"):
        open_images("hf:owner/mySet:val")


def test_configurations_of_a_prepared_set(caches):
    prepare(caches, "plain")
    prepare(caches, "turned", 255 - PIXELS)
    with pytest.raises(InputError, match=r"several configurations: plain, turned\..*'\?config=plain'"):
        open_images("hf:owner/mySet:train")
    assert torch.equal(load_images("hf:owner/mySet:test?config=turned").pixels, 255 - WHOLE[6:])
    assert torch.equal(load_images("hf:owner/mySet:test?config=plain").pixels, WHOLE[6:])
    with pytest.raises(InputError, match="configuration 'huge', but what is there is: plain, turned"):
        open_images("hf:owner/mySet:test?config=huge")


def test_a_prepared_set_that_is_not_whole_is_refused(caches):
    folder = prepare(caches)
    (train,) = folder.glob("*-train*.arrow")
    save_stream(as_table(PIXELS[:2], LABELS[:2]), train)
    with pytest.raises(InputError, match=r"with 2 of 6 images.*load the set with `datasets` again"):
        open_images("hf:owner/mySet:train")
    train.unlink()
    with pytest.raises(InputError, match="with 0 of 6 images"):
        open_images("hf:owner/mySet:train")
    assert len(open_images("hf:owner/mySet:test")) == 3


def test_paths_in_a_prepared_set_lead_into_the_caches_only(caches, tmp_path):
    folder = prepare(caches)
    (test,) = folder.glob("*-test*.arrow")
    table = as_table(PIXELS[6:], LABELS[6:])
    for place, allowed in ((caches.hub, True), (tmp_path / "elsewhere", False)):
        place.mkdir()
        for i in range(3):
            (place / f"{i}.png").write_bytes(png(PIXELS[6 + i]))
        rows = [{"bytes": None, "path": str(place / f"{i}.png")} for i in range(3)]
        test.unlink()
        save_stream(table.set_column(0, "image", pa.array(rows, table.schema.field("image").type)), test)
        if allowed:
            assert torch.equal(load_images("hf:owner/mySet:test").pixels, WHOLE[6:])
        else:
            with pytest.raises(InputError, match="a path outside the caches of Hugging Face"):
                open_images("hf:owner/mySet:test")


def test_a_download_is_read_as_the_folder_it_is(caches):
    folder = snapshot(caches, lambda root: parquet_files(root / "data"))
    images = load_images("hf:owner/mySet:train")
    assert torch.equal(images.pixels, WHOLE[:6])
    assert images.provenance.kind == "Hugging Face hub"
    assert images.provenance.sha256 == load_images(f"{folder}:train").provenance.sha256
    (folder / "data" / "test-00000-of-00001.parquet").rename(folder / "data" / "test-00001-of-00002.parquet")
    assert len(open_images("hf:owner/mySet:train")) == 6  # the split that was fetched is whole
    with pytest.raises(InputError, match="lacks 1 of the Parquet files"):
        open_images("hf:owner/mySet:test")


def test_a_download_of_images_must_be_whole(caches, monkeypatch):
    import huggingface_hub

    folder = snapshot(
        caches, lambda root: [(root / f"{i}.png").write_bytes(png(PIXELS[i])) for i in range(9)]
    )
    assert torch.equal(load_images("hf:owner/mySet").pixels, WHOLE)
    assert folder.is_dir()

    def incomplete(*_, **__):
        raise FileNotFoundError("some files are missing")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", incomplete)
    with pytest.raises(InputError, match="downloaded in part only"):
        open_images("hf:owner/mySet")


@pytest.mark.parametrize(
    "fill", [None, lambda root: (root / "README.md").write_text("# A set"), lambda root: None]
)
def test_what_is_not_here_names_every_way_to_get_it(caches, fill):
    if fill is not None:
        snapshot(caches, fill)
    with pytest.raises(InputError) as caught:
        open_images("hf:owner/mySet:test@5?label=cat&config=plain")
    told = str(caught.value)
    assert "nothing is downloaded unasked" in told
    assert "download=yes" in told
    assert "`hf download owner/mySet --repo-type dataset`" in told
    assert 'datasets.load_dataset("owner/mySet", "plain", split="test")' in told
    assert "\n" not in told


def test_a_revision_that_leads_elsewhere_is_not_followed(caches, tmp_path):
    place = caches.hub / "datasets--owner--mySet"
    (place / "refs").mkdir(parents=True)
    (place / "snapshots").mkdir()
    parquet_files(tmp_path / "elsewhere")
    (place / "refs" / "main").write_text("../../../elsewhere")
    with pytest.raises(InputError, match="nothing is downloaded unasked"):
        open_images("hf:owner/mySet:test")


@pytest.fixture
def hub(caches, monkeypatch) -> list[list[str]]:
    """A hub of one repository in this process; the files that were fetched from it."""
    import huggingface_hub

    served, fetched = caches.files / "served", list[list[str]]()
    for config, pixels in (("plain", PIXELS), ("turned", 255 - PIXELS)):
        parquet_files(served / config, pixels)
    (served / "README.md").write_text(
        "---\nconfigs:\n- config_name: plain\n  data_dir: plain\n- config_name: turned\n  data_dir: turned\n---\n"
    )
    names = [path.relative_to(served).as_posix() for path in served.rglob("*") if path.is_file()]

    class Api:
        def dataset_info(self, name, files_metadata, timeout):
            if name != "owner/mySet":
                raise ConnectionError(f"404: there is no\nset {name}.")
            files = [SimpleNamespace(rfilename=n, size=(served / n).stat().st_size) for n in names]
            return SimpleNamespace(siblings=files)

    def download(name, repo_type, allow_patterns):
        assert (name, repo_type) == ("owner/mySet", "dataset")
        fetched.append(sorted(allow_patterns))
        folder = caches.hub / "datasets--owner--mySet" / "snapshots" / REVISION
        for file in allow_patterns:
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(served / file, folder / file)
        (folder.parents[1] / "refs").mkdir(exist_ok=True)
        (folder.parents[1] / "refs" / "main").write_text(REVISION)
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    return fetched


def test_only_what_is_asked_for_is_fetched_and_its_size_is_said(caches, hub, capsys):
    spec = "hf:owner/mySet:test?config=turned"
    with pytest.raises(InputError, match="nothing is downloaded unasked"):
        open_images(spec)
    assert hub == []
    images = load_images(f"{spec}&download=yes")
    assert torch.equal(images.pixels, 255 - WHOLE[6:])
    assert hub == [["README.md"], ["README.md", "turned/test-00000-of-00001.parquet"]]
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err == "fetching owner/mySet: 1 files, 0.0 MB\n"
    assert torch.equal(load_images(spec).pixels, images.pixels)  # from now on without
    assert len(hub) == 2


def test_a_choice_is_asked_for_before_anything_large_is_fetched(hub):
    for spec, says in (
        ("hf:owner/mySet:test?download=yes", "several configurations: plain, turned"),
        ("hf:owner/mySet?config=plain&download=yes", "several splits: test, train"),
        ("hf:owner/mySet:val?config=plain&download=yes", "split 'val', but what is there is: test, train"),
    ):
        with pytest.raises(InputError, match=says):
            open_images(spec)
    assert hub == [["README.md"]] * 3


def test_a_full_disk_is_noticed_before(hub, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda place: SimpleNamespace(free=5))
    with pytest.raises(InputError, match=r"has 0\.0 MB left"):
        open_images("hf:owner/mySet:test?config=plain&download=yes")


def test_a_hub_that_does_not_answer_is_one_paragraph(hub, monkeypatch):
    with pytest.raises(InputError, match=r"cannot be fetched.*404: there is no .*hf download other/name"):
        open_images("hf:other/name:test?download=yes")
    monkeypatch.undo()  # the real client, which is offline in tests
    with pytest.raises(InputError, match=r"cannot be fetched from the Hugging Face hub: .*offline"):
        open_images("hf:owner/mySet-that-is-nowhere:test?download=yes")


def test_repositories_without_parquet_are_not_fetched(hub, caches, monkeypatch):
    import huggingface_hub

    edm_zip(caches.files, PIXELS, LABELS)
    files = [SimpleNamespace(rfilename="edm0.zip", size=3_000_000)]
    monkeypatch.setattr(
        huggingface_hub.HfApi, "dataset_info", lambda *_, **__: SimpleNamespace(siblings=files)
    )
    with pytest.raises(InputError, match=r"no Parquet files but 1 others of 3\.0 MB.*--local-dir FOLDER"):
        open_images("hf:owner/mySet?download=yes")
    assert hub == []
