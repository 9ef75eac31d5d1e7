"""Extraction: the same numbers overlapped or not, cut anyhow, remembered or computed."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest
import torch
from feature_files import save_dinov2

from unrote.contracts import InputError
from unrote.data.sources import Images
from unrote.measure.features import (
    Cache,
    FeatureMap,
    as_pixels,
    extract,
    feature_blocks,
    open_features,
)
from unrote.measure.features.maps import pixels


@dataclass(frozen=True)
class Piece:
    pixels: torch.Tensor
    value_range: tuple[float, float] = (0, 255)


def images(n: int, shape=(3, 32, 32)) -> torch.Tensor:
    generator = torch.Generator().manual_seed(n)
    return torch.randint(0, 256, (n, *shape), dtype=torch.uint8, generator=generator)


def pieces(x: torch.Tensor, size: int) -> Iterator[Piece]:
    for part in x.split(size):
        yield Piece(part)


@pytest.fixture(scope="module")
def dinov2(tmp_path_factory) -> FeatureMap:
    folder = save_dinov2(tmp_path_factory.mktemp("weights") / "dinov2")
    found = open_features(f"dinov2:{folder}@ambient-dinov2", (3, 32, 32), torch.Generator())
    return replace(found, batch=8)


@pytest.mark.parametrize("ahead", [1, 2, 5])
def test_overlapped_is_bitwise_the_same_as_one_after_another(dinov2, ahead):
    x = images(45)
    apart = extract(dinov2, pieces(x, 20), ahead=0)
    together = extract(dinov2, pieces(x, 20), ahead=ahead)
    assert torch.equal(apart.values, together.values)
    torch.testing.assert_close(apart.values, dinov2(x), rtol=0, atol=2e-6)


def test_the_cut_into_blocks_does_not_matter(dinov2):
    x = images(23)
    whole = extract(dinov2, [Piece(x)]).values
    for size in (1, 7, 8, 23):
        torch.testing.assert_close(extract(dinov2, pieces(x, size)).values, whole, rtol=0, atol=2e-6)


def test_reading_goes_on_while_the_network_computes():
    """The network waits until the next block is being read, which only a second thread can bring about."""
    reading, seen = threading.Event(), []

    def blocks() -> Iterator[Piece]:
        yield Piece(images(2))
        reading.set()
        yield Piece(images(2))

    def network(x: torch.Tensor) -> torch.Tensor:
        seen.append(reading.wait(5 if overlapped else 0))
        return x.flatten(1)

    for overlapped in (False, True):
        reading.clear()
        seen.clear()
        feature_map = replace(pixels((3, 32, 32)), network=network)
        extract(feature_map, blocks(), ahead=2 if overlapped else 0)
        assert seen == [overlapped, True]


def test_no_more_batches_wait_than_were_asked_for():
    ahead, prepared, computed, most = 3, [0], [0], [0]

    def network(x: torch.Tensor) -> torch.Tensor:
        computed[0] += 1
        return x.flatten(1)

    class Counting(FeatureMap):
        def prepare(self, images: torch.Tensor) -> torch.Tensor:
            prepared[0] += 1
            most[0] = max(most[0], prepared[0] - computed[0])
            return super().prepare(images)

    base = pixels((3, 32, 32))
    feature_map = Counting("x", base.profile, base.weights, base.dimension, network, batch=1)
    extract(feature_map, pieces(images(40), 40), ahead=ahead)
    assert most[0] <= ahead + 2  # one in the reader's hand, one in the network's


def test_errors_of_reading_arrive_and_the_reader_ends():
    def broken() -> Iterator[Piece]:
        yield Piece(images(3))
        raise InputError("the third file is no image")

    with pytest.raises(InputError, match="third file"):
        extract(pixels((3, 32, 32)), broken())
    work = feature_blocks(pixels((3, 32, 32)), pieces(images(4000), 2))
    next(work)
    work.close()
    assert not any(thread.name == "unrote-reader" for thread in threading.enumerate())


def test_an_error_of_the_network_ends_the_reader(dinov2):
    def network(x: torch.Tensor) -> torch.Tensor:
        return torch.full((len(x), 24), torch.nan)

    with pytest.raises(InputError, match="NaN"):
        extract(replace(dinov2, network=network), pieces(images(400), 10))
    assert not any(thread.name == "unrote-reader" for thread in threading.enumerate())


def test_features_are_remembered_by_content_map_and_profile(dinov2, tmp_path):
    cache, calls = Cache(tmp_path), []

    def network(x: torch.Tensor) -> torch.Tensor:
        calls.append(len(x))
        return dinov2.network(x)

    feature_map, x = replace(dinov2, network=network), images(30)
    first = extract(feature_map, pieces(x, 10), cache=cache)
    assert (sum(calls), first.remembered) == (30, 0)
    again = extract(feature_map, pieces(x, 10), cache=cache)
    assert (sum(calls), again.remembered) == (30, 30) and torch.equal(first.values, again.values)
    changed = x.clone()
    changed[25, 0, 3, 3] ^= 1
    third = extract(feature_map, pieces(changed, 10), cache=cache)
    assert (sum(calls), third.remembered) == (40, 20)
    other = replace(feature_map, profile=replace(feature_map.profile, position_offset=0.0))
    assert extract(other, pieces(x, 10), cache=cache).remembered == 0
    assert extract(replace(feature_map, weights="others"), pieces(x, 10), cache=cache).remembered == 0


def test_pixels_are_not_kept(tmp_path):
    cache, x = Cache(tmp_path), images(20)
    for _ in range(2):
        assert extract(pixels((3, 32, 32)), pieces(x, 10), cache=cache).remembered == 0
    assert cache.size() == 0


def test_damaged_entries_are_computed_again(dinov2, tmp_path):
    cache, x = Cache(tmp_path), images(20)
    first = extract(dinov2, pieces(x, 10), cache=cache)
    entry = next(tmp_path.rglob("*.npy"))
    entry.write_bytes(entry.read_bytes()[:-5])
    again = extract(dinov2, pieces(x, 10), cache=cache)
    assert again.remembered == 10 and torch.equal(first.values, again.values)
    assert extract(dinov2, pieces(x, 10), cache=cache).remembered == 20


def test_what_an_interrupted_extraction_did_is_not_done_again(dinov2, tmp_path):
    cache, x = Cache(tmp_path), images(30)
    work = feature_blocks(dinov2, pieces(x, 10), cache=cache)
    next(work)
    next(work)
    work.close()
    assert extract(dinov2, pieces(x, 10), cache=cache).remembered == 20


def test_blocks_come_back_with_their_features(dinov2):
    blocks = list(pieces(images(25), 10))
    for block, done in zip(blocks, feature_blocks(dinov2, blocks), strict=True):
        assert done.block is block and not done.remembered
        torch.testing.assert_close(done.features, dinov2(block.pixels), rtol=0, atol=2e-6)


def test_images_that_were_read_are_brought_to_the_scale_of_a_map():
    x = images(3)
    whole = Images("x", x, (0.0, 255.0), ("a", "b", "c"))
    assert as_pixels(whole) is x
    floats = Images("x", x.float() / 127.5 - 1, (-1.0, 1.0), ("a", "b", "c"))
    torch.testing.assert_close(as_pixels(floats), x.float() / 255)
    over = Piece(torch.tensor([[[[-1.2, 1.2]]]]), (-1.0, 1.0))
    assert as_pixels(over).flatten().tolist() == [0.0, 1.0]
    with pytest.raises(ValueError, match=r"float from 0 to 1; got torch\.float32 from -1 to"):
        pixels((3, 32, 32))(floats.pixels)


def test_pixels_of_another_choice_are_what_is_measured():
    x = images(2).float() / 255
    rounded = extract(
        pixels((3, 32, 32)), [Piece(x, (0, 1))], pixels=lambda b: (b.pixels * 255).round().byte()
    )
    torch.testing.assert_close(rounded.values, x.flatten(1))


def test_progress_counts_every_image(dinov2):
    counted: list[int] = []
    extract(dinov2, pieces(images(25), 10), advance=counted.append)
    assert counted == [10, 10, 5]
    with pytest.raises(ValueError, match="at least 0"):
        extract(dinov2, [], ahead=-1)
    assert extract(dinov2, []).values.shape == (0, 24)
