"""DINOv2 and CLIP from folders: equal to transformers where it should be, to the authors where it is not."""

from __future__ import annotations

import json
import math
import shutil

import pytest
import torch
from feature_files import save_clip, save_dinov2, save_vision_tower

from unrote.contracts import InputError
from unrote.measure.features import FeatureMap, open_features
from unrote.measure.features.pretrained import positions
from unrote.measure.features.profiles import AMBIENT_DINOV2, CLIP, DINOV2

SHAPE = (3, 32, 32)


@pytest.fixture(scope="module")
def dinov2(tmp_path_factory):
    return save_dinov2(tmp_path_factory.mktemp("weights") / "dinov2")


@pytest.fixture
def damaged(dinov2, tmp_path):
    """A copy of the folder that a test may spoil."""
    return shutil.copytree(dinov2, tmp_path / "copy")


def opened(spelling: str, shape=SHAPE, **more) -> FeatureMap:
    return open_features(spelling, shape, torch.Generator().manual_seed(0), **more)


def images(n: int = 5, shape=SHAPE) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (n, *shape), dtype=torch.uint8, generator=generator)


def keys(t: float) -> float:
    """The cubic kernel with a = -3/4."""
    t, a = abs(t), -0.75
    if t <= 1:
        return (a + 2) * t**3 - (a + 3) * t**2 + 1
    return a * (t**3 - 5 * t**2 + 8 * t - 4) if t < 2 else 0.0


def by_hand(grid: torch.Tensor, rows: int, columns: int, offset: float) -> torch.Tensor:
    """Cubic interpolation of (M,M,F), one point after another; edges are repeated."""
    side = len(grid)
    out = torch.zeros(rows, columns, grid.shape[2])
    for i in range(rows):
        for j in range(columns):
            y, x = (i + 0.5) * side / (rows + offset) - 0.5, (j + 0.5) * side / (columns + offset) - 0.5
            for m in range(math.floor(y) - 1, math.floor(y) + 3):
                for n in range(math.floor(x) - 1, math.floor(x) + 3):
                    weight = keys(y - m) * keys(x - n)
                    out[i, j] += weight * grid[min(max(m, 0), side - 1), min(max(n, 0), side - 1)]
    return out


@pytest.mark.parametrize(("rows", "columns", "offset"), [(3, 3, 0.1), (5, 4, 0.1), (9, 9, 0.1), (3, 5, 0.0)])
def test_positions_are_interpolated_where_the_authors_do(rows, columns, offset, generator):
    table = torch.randn(1, 1 + 37 * 37, 4, generator=generator)
    found = positions(table, rows, columns, offset)
    assert torch.equal(found[:, :1], table[:, :1])
    expected = by_hand(table[0, 1:].reshape(37, 37, 4), rows, columns, offset)
    torch.testing.assert_close(found[0, 1:], expected.flatten(0, 1), rtol=0, atol=1e-4)


def test_positions_of_the_table_itself_are_left_alone(generator):
    table = torch.randn(1, 1 + 6 * 6, 4, generator=generator)
    assert torch.equal(positions(table, 6, 6, 0.1), table)


def test_ambient_dinov2_is_the_class_token_of_the_padded_image_with_the_authors_positions(dinov2):
    from transformers import Dinov2Model

    x = images()
    reference = Dinov2Model.from_pretrained(dinov2).eval()
    # A table of the padded size is used as it is, so transformers' own interpolation plays no part.
    table = reference.embeddings.position_embeddings.detach()
    grid = by_hand(table[0, 1:].reshape(6, 6, -1), 3, 3, 0.1).flatten(0, 1)
    reference.embeddings.position_embeddings = torch.nn.Parameter(torch.cat([table[:, :1], grid[None]], 1))
    with torch.no_grad():
        token = reference(pixel_values=AMBIENT_DINOV2.prepare(x)).pooler_output
    expected = token / token.norm(dim=1, keepdim=True)
    found = opened(f"dinov2:{dinov2}@ambient-dinov2")(x)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_transformers_own_positions_give_other_features(dinov2):
    from transformers import Dinov2Model

    x = images()
    with torch.no_grad():
        theirs = (
            Dinov2Model.from_pretrained(dinov2).eval()(pixel_values=AMBIENT_DINOV2.prepare(x)).pooler_output
        )
    ours = opened(f"dinov2:{dinov2}@ambient-dinov2")(x)
    cosine = torch.nn.functional.cosine_similarity(ours, theirs)
    assert float(cosine.max()) < 0.999


def test_dinov2_at_its_own_size_equals_transformers(tmp_path):
    from transformers import Dinov2Model

    folder = save_dinov2(tmp_path / "own", size=224)
    x = images(2)
    with torch.no_grad():
        expected = Dinov2Model.from_pretrained(folder).eval()(pixel_values=DINOV2.prepare(x)).pooler_output
    torch.testing.assert_close(opened(f"dinov2:{folder}")(x), expected, rtol=0, atol=1e-5)


def test_clip_is_the_projected_image_embedding(tmp_path):
    from transformers import CLIPModel

    folder = save_clip(tmp_path / "clip")
    x = images(2)
    with torch.no_grad():
        model = CLIPModel.from_pretrained(folder).eval()
        pooled = model.vision_model(pixel_values=CLIP.prepare(x)).pooler_output
        expected = model.visual_projection(pooled)
    found = opened(f"clip:{folder}")
    assert found.dimension == 16 and not any("projection" in note for note in found.notes)
    torch.testing.assert_close(found(x), expected, rtol=0, atol=1e-5)


def test_a_vision_tower_without_projection_says_so(tmp_path):
    found = opened(f"clip:{save_vision_tower(tmp_path / 'tower')}")
    assert found.dimension == 24 and any("no projection" in note for note in found.notes)
    assert opened(f"clip:{save_vision_tower(tmp_path / 'both', projection=True)}").dimension == 16


@pytest.mark.parametrize("profile", ["ambient-dinov2", "dinov2", "dinov2-uncropped"])
def test_a_sample_does_not_depend_on_its_batch(dinov2, profile):
    x, feature_map = images(7), opened(f"dinov2:{dinov2}@{profile}")
    whole = feature_map(x)
    for rows in ([3], [6, 0], [0, 1, 2, 3, 4]):
        torch.testing.assert_close(feature_map(x[rows]), whole[rows], rtol=0, atol=2e-6)


def test_hash_tells_weights_and_profile_apart(dinov2, tmp_path):
    other = save_dinov2(tmp_path / "other", seed=1)
    hashes = {
        opened(f"dinov2:{folder}@{p}").hash
        for folder in (dinov2, other)
        for p in ("dinov2", "ambient-dinov2")
    }
    assert len(hashes) == 4
    told = opened(f"dinov2:{dinov2}@ambient-dinov2").as_dict()
    assert told["profile"] == "ambient-dinov2" and told["profile_sha256"] == AMBIENT_DINOV2.hash


def test_a_missing_folder_names_repository_revision_file_and_place(tmp_path):
    with pytest.raises(InputError) as error:
        opened(f"dinov2:{tmp_path / 'absent'}")
    for part in ("facebook/dinov2-giant", "611a9d42f2335e0f921f1e313ad3c1b7178d206d", "model.safetensors"):
        assert part in str(error.value)
    for part in (str(tmp_path / "absent"), "4,546,005,432 bytes", "Nothing is downloaded"):
        assert part in str(error.value)
    with pytest.raises(InputError, match="openai/clip-vit-large-patch14"):
        opened(f"clip:{tmp_path / 'absent'}")


def test_folders_that_are_not_whole_are_refused(damaged):
    weights, config = damaged / "model.safetensors", damaged / "config.json"
    kept = weights.read_bytes()
    weights.write_bytes(kept[: len(kept) // 2])
    with pytest.raises(InputError, match="cannot be loaded"):
        opened(f"dinov2:{damaged}")
    weights.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    with pytest.raises(InputError, match="Git LFS"):
        opened(f"dinov2:{damaged}")
    weights.unlink()
    with pytest.raises(InputError, match="no weights"):
        opened(f"dinov2:{damaged}")
    config.write_text("{")
    with pytest.raises(InputError, match="damaged"):
        opened(f"dinov2:{damaged}")
    config.unlink()
    with pytest.raises(InputError, match=r"no config\.json"):
        opened(f"dinov2:{damaged}")


def test_weights_of_another_architecture_are_never_filled_up_with_random_numbers(damaged):
    from safetensors.torch import load_file, save_file

    path = damaged / "model.safetensors"
    tensors = load_file(path)
    lost = next(name for name in tensors if name.endswith("layernorm.weight"))
    save_file({name: t for name, t in tensors.items() if name != lost}, path, {"format": "pt"})
    with pytest.raises(InputError, match="lack 1 of the network's tensors"):
        opened(f"dinov2:{damaged}")
    config = json.loads((damaged / "config.json").read_text())
    (damaged / "config.json").write_text(json.dumps(config | {"hidden_size": 48}))
    with pytest.raises(InputError, match=r"cannot be loaded|lack"):
        opened(f"dinov2:{damaged}")
    (damaged / "config.json").write_text(json.dumps(config | {"model_type": "vit"}))
    with pytest.raises(InputError, match="type 'vit'; needed is dinov2"):
        opened(f"dinov2:{damaged}")


def test_nan_in_weights_is_found_in_the_features(damaged):
    from safetensors.torch import load_file, save_file

    path = damaged / "model.safetensors"
    tensors = load_file(path)
    tensors["layernorm.weight"][0] = math.nan
    save_file(tensors, path, {"format": "pt"})
    with pytest.raises(InputError, match="NaN or infinite features for 5 of 5 images"):
        opened(f"dinov2:{damaged}")(images())


def test_a_hash_that_the_user_states_is_checked(dinov2):
    from unrote.measure.features.weights import file_sha256

    right = file_sha256(dinov2 / "model.safetensors")
    assert opened(f"dinov2:{dinov2}", sha256=right).dimension == 24
    with pytest.raises(InputError, match="was expected"):
        opened(f"dinov2:{dinov2}", sha256="0" * 64)


def test_profiles_that_do_not_fit_the_patches_are_refused(tmp_path):
    folder = save_dinov2(tmp_path / "sixteen", patch=16, size=64)
    with pytest.raises(InputError, match="made for patches of 14"):
        opened(f"dinov2:{folder}@ambient-dinov2")
    assert opened(f"dinov2:{folder}").dimension == 24  # 224 = 14 x 16
    odd = save_dinov2(tmp_path / "odd", patch=10, size=60)
    with pytest.raises(InputError, match=r"224x224 pixels, and .* patches of 10"):
        opened(f"dinov2:{odd}")
    fourteen = save_dinov2(tmp_path / "fourteen")
    with pytest.raises(InputError, match="too small"):
        opened(f"dinov2:{fourteen}@ambient-dinov2", shape=(3, 4, 4))


def test_old_style_weights_are_read_with_weights_only(dinov2, tmp_path):
    from safetensors.torch import load_file

    folder = tmp_path / "bin"
    folder.mkdir()
    shutil.copy(dinov2 / "config.json", folder)
    torch.save(load_file(dinov2 / "model.safetensors"), folder / "pytorch_model.bin")
    x = images(2)
    torch.testing.assert_close(opened(f"dinov2:{folder}")(x), opened(f"dinov2:{dinov2}")(x))
    torch.save({"layernorm.weight": Trap()}, folder / "pytorch_model.bin")
    with pytest.raises(InputError, match="cannot be loaded"):
        opened(f"dinov2:{folder}")
    assert not Trap.sprung


class Trap:
    """Something that runs code when it is unpickled."""

    sprung = False

    def __reduce__(self):
        return (setattr, (Trap, "sprung", True))
