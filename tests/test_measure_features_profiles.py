"""Profiles against preparations that are written out here, pixel by pixel or by other libraries."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from unrote.contracts import InputError
from unrote.measure.features.profiles import (
    AMBIENT_DINOV2,
    BILINEAR,
    CLIP,
    DCR_SSCD,
    DINOV2,
    DINOV2_UNCROPPED,
    INCEPTION_FID,
    INCEPTION_PYTORCH_FID,
    INCEPTION_STYLEGAN,
    PIXELS,
    PROFILES,
    SSCD,
    SSCD_320,
    Shrink,
    profile_named,
)

MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def images(n: int = 2, channels: int = 3, height: int = 32, width: int = 32) -> torch.Tensor:
    generator = torch.Generator().manual_seed(height * width + channels)
    return torch.randint(0, 256, (n, channels, height, width), dtype=torch.uint8, generator=generator)


def pictures(x: torch.Tensor) -> list[Image.Image]:
    return [Image.fromarray(a).convert("RGB") for a in x.movedim(1, 3).numpy()]


def written_out(x: torch.Tensor, size, crop: int | None, resample, mean, std) -> torch.Tensor:
    """Resize, crop, to [0,1], normalise: one picture after another, as the papers' programs do."""
    rows = []
    for picture in pictures(x):
        if isinstance(size, int):
            width, height = picture.size
            shorter, longer = min(width, height), max(width, height)
            far = int(size * longer / shorter)
            to = (size, far) if width <= height else (far, size)
        else:
            to = size
        p = picture.resize(to, resample)
        if crop is not None:
            left, top = round((p.size[0] - crop) / 2), round((p.size[1] - crop) / 2)
            p = p.crop((left, top, left + crop, top + crop))
        rows.append(((np.asarray(p) / 255 - mean) / std).transpose(2, 0, 1))
    return torch.tensor(np.stack(rows), dtype=torch.float32)


SHAPES = [(32, 32), (40, 27), (27, 41), (300, 350)]
PIL_BILINEAR, PIL_BICUBIC = Image.Resampling.BILINEAR, Image.Resampling.BICUBIC


@pytest.mark.parametrize(("height", "width"), SHAPES)
@pytest.mark.parametrize(
    ("profile", "size", "crop", "resample", "mean", "std"),
    [
        (DCR_SSCD, 256, 224, PIL_BILINEAR, 0.5, 0.5),
        (SSCD, 288, None, PIL_BILINEAR, MEAN, STD),
        (SSCD_320, (320, 320), None, PIL_BILINEAR, MEAN, STD),
        (DINOV2, 256, 224, PIL_BICUBIC, MEAN, STD),
        (DINOV2_UNCROPPED, (224, 224), None, PIL_BICUBIC, MEAN, STD),
    ],
)
def test_resizing_profiles_are_the_papers_pipelines(height, width, profile, size, crop, resample, mean, std):
    x = images(height=height, width=width)
    expected = written_out(x, size, crop, resample, mean, std)
    torch.testing.assert_close(profile.prepare(x), expected, rtol=0, atol=1e-6)


# Where an odd number of pixels is cut off, transformers cuts less above than the authors' torchvision.
@pytest.mark.parametrize(("height", "width"), [(32, 32), (27, 41), (300, 350)])
def test_dinov2_and_clip_are_what_transformers_own_processors_do(height, width):
    from transformers import BitImageProcessorPil, CLIPImageProcessorPil

    x = images(height=height, width=width)
    dinov2 = BitImageProcessorPil(
        size={"shortest_edge": 256},
        crop_size={"height": 224, "width": 224},
        resample=3,
        image_mean=MEAN.tolist(),
        image_std=STD.tolist(),
    )
    for profile, processor in [(DINOV2, dinov2), (CLIP, CLIPImageProcessorPil())]:
        expected = torch.as_tensor(np.stack(processor(pictures(x), return_tensors="np")["pixel_values"]))
        torch.testing.assert_close(profile.prepare(x), expected.float(), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("height", "width", "to"), [(32, 32, (42, 42)), (64, 64, (70, 70)), (28, 15, (28, 28))]
)
def test_ambient_dinov2_reflects_to_a_multiple_of_14_and_does_nothing_else(height, width, to):
    x = images(height=height, width=width)
    literal = (x.numpy() / 127.5 - 1 + 1) / 2  # the program goes through [-1, 1]
    above, left = (to[0] - height) // 2, (to[1] - width) // 2
    expected = np.pad(
        literal,
        ((0, 0), (0, 0), (above, to[0] - height - above), (left, to[1] - width - left)),
        mode="reflect",
    )
    prepared = AMBIENT_DINOV2.prepare(x)
    torch.testing.assert_close(prepared, torch.tensor(expected).float(), rtol=0, atol=2e-7)
    assert 0 <= float(prepared.min()) <= float(prepared.max()) <= 1
    assert AMBIENT_DINOV2.unit_length


def test_inception_fid_samples_where_tensorflow_does():
    x = images(n=1, height=20, width=33)
    prepared = INCEPTION_FID.prepare(x)
    picture = x[0].double().numpy()
    for row, column in [(0, 0), (0, 298), (298, 0), (298, 298), (150, 77), (13, 201)]:
        y, z = row * 20 / 299, column * 33 / 299
        top, left = int(y), int(z)
        bottom, right = min(top + 1, 19), min(left + 1, 32)
        dy, dz = y - top, z - left
        value = (1 - dy) * ((1 - dz) * picture[:, top, left] + dz * picture[:, top, right]) + dy * (
            (1 - dz) * picture[:, bottom, left] + dz * picture[:, bottom, right]
        )
        expected = torch.tensor((value - 128) / 128).float()
        torch.testing.assert_close(prepared[0, :, row, column], expected, rtol=0, atol=1e-4)


def test_inception_pytorch_fid_samples_at_pixel_centres():
    x = images(n=1, height=20, width=33)
    prepared = INCEPTION_PYTORCH_FID.prepare(x)
    picture = x[0].double().numpy() / 255
    for row, column in [(0, 0), (0, 298), (298, 298), (150, 77), (13, 201)]:
        y = min(max((row + 0.5) * 20 / 299 - 0.5, 0), 19)
        z = min(max((column + 0.5) * 33 / 299 - 0.5, 0), 32)
        top, left = int(y), int(z)
        bottom, right = min(top + 1, 19), min(left + 1, 32)
        dy, dz = y - top, z - left
        value = (1 - dy) * ((1 - dz) * picture[:, top, left] + dz * picture[:, top, right]) + dy * (
            (1 - dz) * picture[:, bottom, left] + dz * picture[:, bottom, right]
        )
        expected = torch.tensor(2 * value - 1).float()
        torch.testing.assert_close(prepared[0, :, row, column], expected, rtol=0, atol=1e-4)


def test_stylegan_gives_the_bytes_and_asks_for_features():
    x = images()
    assert torch.equal(INCEPTION_STYLEGAN.prepare(x), x)
    assert torch.equal(INCEPTION_STYLEGAN.prepare(x / 255), x)
    assert dict(INCEPTION_STYLEGAN.keywords) == {"return_features": True}


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
def test_every_profile_treats_images_one_by_one_and_floats_like_bytes(profile):
    x = images(n=3, height=30, width=36)
    prepared = profile.prepare(x)
    assert torch.equal(profile.prepare(x[1:2]), prepared[1:2])
    torch.testing.assert_close(profile.prepare(x.float() / 255), prepared, rtol=0, atol=1e-6)
    if profile is not PIXELS:
        grey = images(n=2, channels=1)
        assert torch.equal(profile.prepare(grey), profile.prepare(grey.expand(-1, 3, -1, -1).contiguous()))


def test_shrinking_takes_means_of_larger_images_only():
    x = images(height=64, width=64).float()
    blocks = x.unfold(2, 2, 2).unfold(3, 2, 2).mean((4, 5))
    torch.testing.assert_close(Shrink(32)(x), blocks)
    assert Shrink(32)(x[:, :, :32, :20]).shape[2:] == (32, 20)


def test_the_hash_tells_any_change_and_nothing_else():
    hashes = {profile.hash for profile in PROFILES.values()}
    assert len(hashes) == len(PROFILES)
    changes = [
        {"steps": SSCD.steps[:-1]},
        {"unit_length": True},
        {"patch": 14},
        {"position_offset": 0.1},
        {"keywords": (("a", True),)},
        {"name": "other"},
    ]
    assert len({replace(SSCD, **change).hash for change in changes} | {SSCD.hash}) == len(changes) + 1
    assert replace(SSCD, source="other words").hash == SSCD.hash


def test_hashes_of_profiles_are_the_same_in_every_process_and_version():
    """A change here makes cached features and published numbers incomparable: give it another name."""
    assert {name: profile.hash[:12] for name, profile in PROFILES.items()} == KNOWN


KNOWN = {
    "pixels": "1878a905985f",
    "ambient-dinov2": "a686a0fce8c4",
    "dinov2": "81a980b4ca5a",
    "dinov2-uncropped": "11c2decf2588",
    "sscd": "f571844d1c06",
    "sscd-320": "0116569e5965",
    "dcr-sscd": "7fc38b7bbfa5",
    "clip": "cea65f35d4b6",
    "inception-fid": "782dfebb2387",
    "inception-pytorch-fid": "100a7d79419d",
    "inception-stylegan": "5f6de5f74d03",
}


def test_images_that_do_not_fit_are_refused_with_the_reason():
    with pytest.raises(InputError, match=r"'ambient-dinov2'.*4x4, too small"):
        AMBIENT_DINOV2.prepare(images(height=4, width=4))
    with pytest.raises(InputError, match="4 channels"):
        DINOV2.prepare(images(channels=4))
    assert AMBIENT_DINOV2.prepare(images(height=8, width=8)).shape[2:] == (14, 14)
    assert int(PIL_BILINEAR) == BILINEAR


def test_profiles_are_found_by_name_for_the_networks_that_they_are_meant_for():
    assert profile_named("dcr-sscd", "torchscript") is DCR_SSCD
    with pytest.raises(InputError, match=r"no profile 'dino'.*ambient-dinov2, dinov2, dinov2-uncropped"):
        profile_named("dino", "dinov2")
    with pytest.raises(InputError, match=r"meant for torchscript .*not for 'dinov2'"):
        profile_named("dcr-sscd", "dinov2")
