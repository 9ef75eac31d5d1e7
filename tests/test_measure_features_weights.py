"""TorchScript files: run as they are, refused where they are pickles, damaged or do not fit."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from feature_files import Detector, Means, save_script
from torch import nn

from unrote.contracts import InputError
from unrote.measure.features import open_features, weights
from unrote.measure.features.profiles import DCR_SSCD, SSCD

SHAPE = (3, 12, 12)


def opened(spelling: str, shape=SHAPE, **more):
    return open_features(spelling, shape, torch.Generator().manual_seed(0), **more)


def images(n: int = 4, shape=SHAPE) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (n, *shape), dtype=torch.uint8, generator=generator)


def test_features_are_the_programs_output_for_the_prepared_images(tmp_path):
    path = save_script(Means(), tmp_path / "means.pt")
    x = images()
    plain = opened(f"torchscript:{path}@sscd")
    torch.testing.assert_close(plain(x), Means()(SSCD.prepare(x)).flatten(1).detach())
    unit = opened(f"torchscript:{path}@dcr-sscd")(x)
    expected = nn.functional.normalize(Means()(DCR_SSCD.prepare(x)).flatten(1).detach(), dim=1)
    torch.testing.assert_close(unit, expected)
    assert plain.weights in plain.notes[0] and "program" in plain.notes[0]


def test_the_shorthand_for_sscd_uses_its_authors_profile(tmp_path):
    path = save_script(Means(), tmp_path / "sscd_disc_mixup.torchscript.pt")
    assert opened(f"sscd:{path}").profile is SSCD
    assert opened(f"torchscript:{path}").profile is SSCD  # known by the file's name
    assert opened(f"sscd:{path}@dcr-sscd").profile is DCR_SSCD


def test_stylegans_detector_is_asked_for_features_on_bytes(tmp_path):
    path = save_script(Detector(), tmp_path / "detector.pt")
    x = images()
    found = opened(f"inception:{path}@inception-stylegan")(x)
    torch.testing.assert_close(found, x.float().mean((2, 3)))
    folder = tmp_path / "folder"
    save_script(Detector(), folder / "detector.pt")
    assert torch.equal(opened(f"inception:{folder}@inception-stylegan")(x), found)


class Listed(nn.Module):
    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        return [x.mean((2, 3))]


class Scalar(nn.Module):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x.mean(), x.mean()


class Whole(nn.Module):
    """One vector for the batch, whatever its size."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean((0, 2, 3))[None]


def test_outputs_that_are_not_one_vector_each_are_refused(tmp_path):
    listed = opened(f"torchscript:{save_script(Listed(), tmp_path / 'list.pt')}@pixels")
    torch.testing.assert_close(listed(images()), images().float().div(255).mean((2, 3)))
    with pytest.raises(InputError, match="gives tuple and not one vector"):
        opened(f"torchscript:{save_script(Scalar(), tmp_path / 'two.pt')}@pixels")
    whole = opened(f"torchscript:{save_script(Whole(), tmp_path / 'whole.pt')}@pixels")
    with pytest.raises(InputError, match="for 4 images, where one vector of 3 each"):
        whole(images())


def test_a_program_that_does_not_take_the_images_says_what_it_was_given(tmp_path):
    path = save_script(nn.Conv2d(3, 4, 7), tmp_path / "conv.pt")
    with pytest.raises(
        InputError, match=r"profile 'pixels' makes of the images, torch.float32 of shape \(1, 12"
    ):
        opened(f"torchscript:{path}@pixels", shape=(1, 12, 12))
    with pytest.raises(InputError, match="does not take"):
        opened(f"torchscript:{path}@pixels", shape=(3, 5, 5))


def test_nan_in_features_names_weights_and_profile(tmp_path):
    broken = Means()
    with torch.no_grad():
        broken.weight[0, 1] = torch.nan
    found = opened(f"torchscript:{save_script(broken, tmp_path / 'nan.pt')}@pixels")
    with pytest.raises(InputError, match=r"NaN or infinite features for 4 of 4 images.*'pixels'"):
        found(images())


class Trap:
    sprung = False

    def __reduce__(self):
        return (setattr, (Trap, "sprung", True))


@pytest.mark.parametrize("modern", [True, False])
def test_pickles_are_refused_unread(tmp_path, modern):
    path = tmp_path / "model.pt"
    torch.save({"weights": Trap()}, path, _use_new_zipfile_serialization=modern)
    with pytest.raises(InputError, match=r"pickle.*torch\.jit\.trace"):
        opened(f"torchscript:{path}@sscd")
    assert not Trap.sprung


def test_damaged_files_are_refused(tmp_path):
    path = save_script(Means(), tmp_path / "means.pt")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="its end is missing"):
        opened(f"torchscript:{path}@sscd")
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(InputError, match="Git LFS"):
        opened(f"torchscript:{path}@sscd")
    weight = Means().weight.detach().numpy().tobytes()
    flipped = bytearray(whole)
    flipped[whole.find(weight) + 3] ^= 1  # the weight 1 becomes 1/4, which PyTorch loads without a word
    path.write_bytes(bytes(flipped))
    assert float(next(torch.jit.load(str(path)).parameters()).detach().flatten()[0]) == 0.25
    with pytest.raises(InputError, match="does not have its checksum"):
        opened(f"torchscript:{path}@sscd")


def test_missing_files_are_named_with_what_to_type(tmp_path):
    place = tmp_path / "inception-2015-12-05.pt"
    with pytest.raises(InputError) as error:
        opened(f"inception:{place}")
    told = str(error.value)
    assert f"curl -fL -o {place} https://nvlabs-fi-cdn.nvidia.com/" in told and "95,607,719 bytes" in told
    with pytest.raises(InputError, match=r"dl\.fbaipublicfiles\.com/sscd-copy-detection/sscd_disc_large"):
        opened(f"sscd:{tmp_path / 'sscd_disc_large.torchscript.pt'}")
    with pytest.raises(InputError, match="no TorchScript file, and one is needed"):
        opened(f"inception:{tmp_path}")


def test_a_file_with_a_published_name_must_be_the_published_file(tmp_path, monkeypatch):
    path = save_script(Detector(), tmp_path / "inception-2015-12-05.pt")
    with pytest.raises(InputError, match=r"the published inception-2015-12-05\.pt has 95,607,719"):
        opened(f"inception:{path}")
    known = replace(weights.TORCHSCRIPT[-1], bytes=path.stat().st_size)
    monkeypatch.setattr(weights, "TORCHSCRIPT", (known,))
    with pytest.raises(InputError, match=r"f58cb9b6.* was expected"):
        opened(f"inception:{path}")
    right = replace(known, sha256=weights.file_sha256(path))
    monkeypatch.setattr(weights, "TORCHSCRIPT", (right,))
    assert opened(f"inception:{path}").profile.name == "inception-stylegan"


def test_a_hash_that_the_user_states_is_checked(tmp_path):
    path = save_script(Means(), tmp_path / "means.pt")
    assert opened(f"sscd:{path}", sha256=weights.file_sha256(path).upper()).dimension == 3
    with pytest.raises(InputError, match="was expected"):
        opened(f"sscd:{path}", sha256="0" * 64)


def test_an_unknown_file_needs_a_profile(tmp_path):
    path = save_script(Means(), tmp_path / "means.pt")
    with pytest.raises(InputError, match=r"does not say how images are prepared.*dcr-sscd"):
        opened(f"torchscript:{path}")
