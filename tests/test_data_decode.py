"""Decoding: lossless files give their pixels back, and what is not plain 8-bit is refused by name."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageFile

from unrote.contracts import InputError
from unrote.data.decode import Encoded, UnusableError, decode, probe, read_encoded

RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (6, 9, 3), dtype=np.uint8)
GREY = COLOUR[:, :, :1]


def encode(pixels: np.ndarray, kind: str = "PNG", mode: str | None = None, **settings) -> bytes:
    image = Image.fromarray(pixels.squeeze(2) if pixels.shape[2] == 1 else pixels)
    file = io.BytesIO()
    (image if mode is None else image.convert(mode)).save(file, kind, **settings)
    return file.getvalue()


def png(width: int, height: int, depth: int, colour: int, raw: bytes, extra: bytes = b"") -> bytes:
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    body = chunk(b"IHDR", head) + extra + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("PNG", {}),
        ("BMP", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("PPM", {}),
        ("WEBP", {"lossless": True}),
    ],
)
def test_lossless_formats_give_back_every_pixel(kind, settings):
    assert np.array_equal(decode(encode(COLOUR, kind, **settings))[0], COLOUR)
    if kind != "WEBP":  # which knows colour only
        assert np.array_equal(decode(encode(GREY, kind, **settings))[0], GREY)


def test_the_content_decides_and_not_what_the_file_is_called():
    pixels, done = decode(encode(COLOUR, "JPEG", quality=95))
    assert pixels.shape == COLOUR.shape
    assert not done
    assert np.abs(pixels.astype(int) - COLOUR).max() > 0


def test_an_opaque_alpha_channel_is_dropped_and_said():
    for pixels in (COLOUR, GREY):
        opaque = encode(pixels, mode="RGBA" if pixels.shape[2] == 3 else "LA")
        back, done = decode(opaque)
        assert np.array_equal(back, pixels)
        assert "alpha" in done[0]


def test_one_transparent_pixel_is_enough_to_refuse():
    veil = np.full((6, 9, 1), 255, np.uint8)
    veil[5, 8] = 254
    with pytest.raises(UnusableError, match="transparent"):
        decode(encode(np.concatenate([COLOUR, veil], 2)))
    with pytest.raises(UnusableError, match="transparent"):
        decode(encode(np.concatenate([GREY, veil], 2)))
    key = tuple(int(value) for value in COLOUR[2, 3])
    with pytest.raises(UnusableError, match="transparent"):
        decode(encode(COLOUR, transparency=key))
    assert np.array_equal(decode(encode(GREY, transparency=_absent(GREY)))[0], GREY)


def _absent(grey: np.ndarray) -> int:
    return min(set(range(256)) - set(grey.ravel().tolist()))


def test_palettes_are_written_out_without_loss():
    few = COLOUR // 64 * 64
    image = Image.fromarray(few).quantize(256)
    for kind in ("PNG", "GIF", "BMP"):
        file = io.BytesIO()
        image.save(file, kind)
        pixels, done = decode(file.getvalue())
        assert np.array_equal(pixels, np.asarray(image.convert("RGB")))
        assert "palette" in done[0]
    file = io.BytesIO()
    image.save(file, "PNG", transparency=0)
    with pytest.raises(UnusableError, match="transparent"):
        decode(file.getvalue())


def test_two_levels_and_sixteen_levels_are_grey_images():
    assert decode(png(8, 1, 1, 0, b"\0\xb0"))[0].ravel().tolist() == [255, 0, 255, 255, 0, 0, 0, 0]
    assert decode(png(2, 1, 4, 0, b"\0\x0f"))[0].ravel().tolist() == [0, 255]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_once(orientation):
    turns = {
        1: lambda x: x,
        2: np.fliplr,
        3: lambda x: np.rot90(x, 2),
        4: np.flipud,
        5: lambda x: np.swapaxes(x, 0, 1),
        6: lambda x: np.rot90(x, -1),
        7: lambda x: np.rot90(np.swapaxes(x, 0, 1), 2),
        8: lambda x: np.rot90(x, 1),
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    for kind in ("PNG", "TIFF"):
        pixels, done = decode(encode(COLOUR, kind, exif=exif))
        assert np.array_equal(pixels, turns[orientation](COLOUR))
        assert any("EXIF" in what for what in done) == (orientation > 1)


def test_broken_metadata_does_not_break_pixels():
    assert np.array_equal(decode(encode(COLOUR, exif=b"Exif\0\0garbage"))[0], COLOUR)


@pytest.mark.parametrize(
    ("depth", "colour", "channels"),
    [(16, 0, 1), (16, 2, 3), (16, 4, 2), (16, 6, 4)],
    ids=["L", "RGB", "LA", "RGBA"],
)
def test_sixteen_bit_png_is_refused(depth, colour, channels):
    raw = b"".join(b"\0" + b"\x12\x34" * channels * 4 for _ in range(4))
    with pytest.raises(UnusableError, match="more than 8 bits"):
        decode(png(4, 4, depth, colour, raw))


def test_other_depths_and_colour_spaces_are_refused():
    file = io.BytesIO()
    Image.fromarray(GREY[:, :, 0].astype(np.uint16) * 257).save(file, "TIFF")
    for data in (file.getvalue(), b"P6 2 2 65535\n" + bytes(24), b"P5 2 2 65535\n" + bytes(8)):
        with pytest.raises(UnusableError, match="more than 8 bits"):
            decode(data)
    for kind in ("JPEG", "TIFF"):
        with pytest.raises(UnusableError, match="colour mode CMYK"):
            decode(encode(COLOUR, kind, mode="CMYK"))
    with pytest.raises(UnusableError, match="colour mode LAB"):
        decode(encode(COLOUR, "TIFF", mode="LAB"))


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_animations_and_pages_are_refused(kind):
    other = [Image.fromarray(np.flipud(COLOUR))]
    with pytest.raises(UnusableError, match="animated or of several pages: 2 frames"):
        decode(encode(COLOUR, kind, save_all=True, append_images=other))


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "WEBP", "TIFF", "GIF", "PPM"])
def test_a_truncated_file_is_refused_or_whole_and_never_half(kind):
    data = encode(COLOUR, kind)
    whole = decode(data)[0]
    refused = 0
    for length in range(0, len(data), 7):
        try:
            assert np.array_equal(decode(data[:length])[0], whole)
        except UnusableError:
            refused += 1
    assert refused > 0.9 * len(range(0, len(data), 7))


def test_a_jpeg_filled_up_with_zeros_is_refused():
    data = encode(COLOUR.repeat(8, 0).repeat(8, 1), "JPEG")
    for length in range(100, len(data) - 1, 50):
        with pytest.raises(UnusableError):
            decode(data[:length] + bytes(len(data) - length))
    assert decode(data + b"more")[0].shape == (48, 72, 3)


def test_every_flipped_bit_in_png_pixels_is_found():
    data = encode(COLOUR)
    start = data.index(b"IDAT") + 4
    for place in range(start, len(data) - 16, 3):
        broken = bytearray(data)
        broken[place] ^= 4
        with pytest.raises(UnusableError):
            decode(bytes(broken))


@pytest.mark.parametrize("side", [9_000, 20_000, 60_000])
def test_a_decompression_bomb_is_refused_from_its_header(side):
    with pytest.raises(UnusableError, match=r"67,108,864 pixels|corrupt"):
        decode(png(side, side, 8, 0, b""))


def test_text_that_unpacks_to_a_gigabyte_is_refused():
    bomb = zlib.compress(bytes(1 << 24))
    text = chunk(b"zTXt", b"note\0\0" + bomb)
    with pytest.raises(UnusableError, match="too large"):
        decode(png(1, 1, 8, 0, b"\0\0", extra=text))


@pytest.mark.parametrize("data", [b"", b"hello", b"%!PS-Adobe-3.0 EPSF-3.0\n", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_image_is_refused(data):
    with pytest.raises(UnusableError, match=r"empty|not readable"):
        decode(data)


def test_resizing_is_lanczos_to_an_exact_square_without_cropping():
    small = decode(encode(COLOUR), resize=4)[0]
    assert np.array_equal(small, np.asarray(Image.fromarray(COLOUR).resize((4, 4), Image.Resampling.LANCZOS)))
    square = COLOUR[:, :6]
    assert np.array_equal(decode(encode(square), resize=6)[0], square)


def _files(*data: bytes, resize: int | None = None) -> Encoded:
    return Encoded("set", np.arange(len(data)), lambda row: f"{row}.png", lambda row: data[row], resize)


def test_a_block_holds_the_images_in_order_and_counts_what_was_done():
    opaque = encode(np.flipud(COLOUR).copy(), mode="RGBA")
    files = _files(encode(COLOUR), opaque, encode(COLOUR // 2))
    shape = probe(files)
    block = read_encoded(files, shape, np.array([2, 1]))
    assert shape == (3, 6, 9)
    assert block.names == ("2.png", "1.png")
    assert np.array_equal(block.pixels[0].permute(1, 2, 0).numpy(), COLOUR // 2)
    assert np.array_equal(block.pixels[1].permute(1, 2, 0).numpy(), np.flipud(COLOUR))
    assert block.notes == ("1 image had an alpha channel that is opaque everywhere; it was dropped",)


@pytest.mark.parametrize("first_is_bad", [True, False])
def test_all_bad_files_are_counted_the_first_few_named_and_remedies_given(first_is_bad):
    good, cut = encode(COLOUR), encode(COLOUR)[:-60]
    deep = png(4, 4, 16, 0, b"\0" * 36)
    data = [good, cut, good, deep, b"", cut, cut, cut, good]
    files = _files(*(data[1:] if first_is_bad else data))
    with pytest.raises(InputError) as caught:
        read_encoded(files, probe(files), files.rows)
    text = str(caught.value)
    assert text.startswith(f"6 of {8 if first_is_bad else 9} images of 'set' cannot be used: ")
    assert "and 1 more" in text
    assert "corrupt or truncated: replace or remove it" in text
    assert "more than 8 bits per channel: convert it to 8 bits" in text
    assert "\n" not in text


def test_mixed_sizes_name_two_files_and_the_remedy():
    files = _files(encode(COLOUR), encode(COLOUR), encode(COLOUR[:4]))
    with pytest.raises(InputError, match=r"0\.png is 9x6 pixels, 2\.png is 9x4\..*--resize"):
        read_encoded(files, probe(files), np.array([1, 2]))
    resized = _files(encode(COLOUR), encode(COLOUR[:4]), resize=5)
    assert read_encoded(resized, probe(resized), resized.rows).pixels.shape == (2, 3, 5, 5)


def test_grey_among_colour_names_one_of_each():
    files = _files(encode(COLOUR), encode(GREY), encode(COLOUR))
    with pytest.raises(InputError, match=r"1\.png is grey \(1 images .*0\.png is in colour \(2 are"):
        read_encoded(files, probe(files), files.rows)


def test_half_decoding_switched_on_elsewhere_is_refused(monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with pytest.raises(InputError, match="LOAD_TRUNCATED_IMAGES"):
        probe(_files(encode(COLOUR)))
