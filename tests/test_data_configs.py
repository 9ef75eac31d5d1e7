"""Configurations of a repository: declared in README.md, or told by folders; one is chosen or one is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from spellings import as_table

from unrote.contracts import InputError
from unrote.data.images import load_images, open_images

PIXELS = np.random.default_rng(11).integers(0, 256, (6, 4, 4), dtype=np.uint8)


def put(root: Path, file: str, row: int) -> None:
    """A Parquet file of one image."""
    (root / file).parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(as_table(PIXELS[row : row + 1], [0]), root / file)


def rows(spec: str) -> list[int]:
    """Which of the images a spelling gives."""
    pixels = load_images(spec).pixels[:, 0].numpy()
    return [int(np.flatnonzero((image == PIXELS).all((1, 2)))[0]) for image in pixels]


def readme(root: Path, text: str) -> None:
    (root / "README.md").write_text(f"---\nlicense: mit\n{text}---\n# A set\nconfigs: none\n")


TWO = """configs:
- config_name: small
  data_files:
  - split: train
    path: data/small/train-*
  - split: test
    path: ["data/small/test-*", data/more.parquet]
- config_name: large
  data_dir: data/large
"""


@pytest.fixture
def two(tmp_path) -> Path:
    files = ["data/small/train-00000-of-00001.parquet", "data/small/test-00000-of-00001.parquet"]
    files += ["data/more.parquet", "data/large/train-00000-of-00002.parquet"]
    files += ["data/large/train-00001-of-00002.parquet", "data/large/test-00000-of-00001.parquet"]
    for i, file in enumerate(files):
        put(tmp_path, file, i)
    readme(tmp_path, TWO)
    return tmp_path


def test_a_declared_configuration_is_read_by_its_patterns(two):
    assert rows(f"{two}:train?config=small") == [0]
    assert rows(f"{two}:test?config=small") == [1, 2]
    assert rows(f"{two}:train?config=large") == [3, 4]
    assert rows(f"{two}:test?label=cat&config=large") == [5]
    assert open_images(f"{two}:train?config=small").notes == (
        "the configuration 'small' is read, of small, large",
    )
    with pytest.raises(InputError, match="several splits: test, train"):
        open_images(f"{two}?config=small")


def test_several_configurations_need_a_choice_unless_one_is_the_default(two):
    with pytest.raises(InputError, match=r"several configurations: small, large\..*\?config=small"):
        open_images(f"{two}:train")
    with pytest.raises(InputError, match=r"configuration 'huge', but what is there is: small, large"):
        open_images(f"{two}:train?config=huge")
    readme(two, TWO + "  default: true\n")
    assert rows(f"{two}:train") == [3, 4]
    readme(two, TWO.replace("small\n", "default\n", 1))
    assert rows(f"{two}:train") == [0]
    readme(two, TWO[: TWO.index("- config_name: large")])
    assert rows(f"{two}:train") == [0]
    assert open_images(f"{two}:train").notes == ()


def test_a_missing_shard_matters_for_the_split_that_is_meant(two):
    (two / "data/large/train-00001-of-00002.parquet").unlink()
    with pytest.raises(InputError, match="lacks 1 of the Parquet files of its split 'train'"):
        open_images(f"{two}:train?config=large")
    assert rows(f"{two}:test?config=large") == [5]
    assert rows(f"{two}:train?config=small") == [0]


@pytest.mark.parametrize(
    ("patterns", "found"),
    [
        ("'**/test-*'", [1, 2]),
        ("a/b/test-0.parquet", [1]),
        ("'a/*/test-?.parquet'", [1]),
        ("'**'", [0, 1, 2]),
        ("'./test-*.parquet'", [2]),
        ("'a/**/*.parquet'", [0, 1]),
        ("'*.parquet'", [2]),
    ],
)
def test_patterns_are_those_of_a_shell(tmp_path, patterns, found):
    for i, file in enumerate(["a/b.parquet", "a/b/test-0.parquet", "test-1.parquet"]):
        put(tmp_path, file, i)
    readme(tmp_path, f"configs:\n- config_name: x\n  data_files:\n  - split: any\n    path: {patterns}\n")
    assert rows(f"{tmp_path}:any") == found


@pytest.mark.parametrize(
    "text", ["configs: 3\n", "configs: [1]\n", "a: [\n", "configs:\n- data_files: other/*\n", ""]
)
def test_a_head_that_says_nothing_leaves_the_names(tmp_path, text):
    put(tmp_path, "data/train-00000-of-00001.parquet", 0)
    put(tmp_path, "data/test-00000-of-00001.parquet", 1)
    readme(tmp_path, text)
    assert rows(f"{tmp_path}:test") == [1]


def test_without_a_readme_folders_are_configurations(tmp_path):
    put(tmp_path, "data/plain/train-00000-of-00001.parquet", 0)
    put(tmp_path, "data/cropped/train-00000-of-00001.parquet", 1)
    with pytest.raises(InputError, match=r"in several folders: data/cropped, data/plain.*\?config=FOLDER"):
        open_images(tmp_path)
    assert rows(f"{tmp_path}?config=plain") == [0]
    assert rows(f"{tmp_path}:train?config=cropped") == [1]
    with pytest.raises(InputError, match="what is there is: cropped, plain"):
        open_images(f"{tmp_path}?config=round")


def test_patterns_never_lead_out_of_the_folder(tmp_path):
    put(tmp_path, "other/train.parquet", 0)
    put(tmp_path / "set", "data/train.parquet", 1)
    readme(tmp_path / "set", "configs:\n- data_files:\n  - split: train\n    path: ../other/*\n")
    assert rows(str(tmp_path / "set")) == [1]


def test_a_pointer_of_git_lfs_is_called_by_its_name(tmp_path):
    (tmp_path / "train.parquet").write_text(
        "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
    )
    with pytest.raises(InputError, match=r"pointer of Git LFS.*git lfs pull"):
        open_images(tmp_path)
    (tmp_path / "train.parquet").rename(tmp_path / "x.png")
    with pytest.raises(InputError, match=r"x\.png \(a pointer of Git LFS.*git lfs pull"):
        open_images(tmp_path)
