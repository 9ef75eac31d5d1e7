"""Whatever is wrong with the data: status 2, one paragraph that says what to do, and nothing left behind."""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from commands import FRESH, TRAIN, audit
from PIL import Image
from scenes import faces, save_array, save_folder

from unrote.jobs import auditing

pytest_plugins = ("refusals",)

GREY = TRAIN[0, 0].numpy()


# Images that cannot be used, wherever they are given


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def bomb(side: int = 50_000) -> bytes:
    """A PNG of a megabyte whose header promises 2.5 gigapixels."""
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(10**6))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def corrupt(folder: Path) -> None:
    data = (folder / "00003.png").read_bytes()
    (folder / "00003.png").write_bytes(data[:60] + bytes(20) + data[80:])


def truncated(folder: Path) -> None:
    (folder / "00003.png").write_bytes((folder / "00003.png").read_bytes()[:-60])


def animated(folder: Path) -> None:
    more = [Image.fromarray(255 - GREY)]
    Image.fromarray(GREY).save(folder / "9.gif", save_all=True, append_images=more)


def deep(folder: Path) -> None:
    Image.fromarray(GREY.astype(np.uint16) * 257).save(folder / "9.png")


def cmyk(folder: Path) -> None:
    Image.fromarray(GREY).convert("CMYK").save(folder / "9.jpg")


def transparent(folder: Path) -> None:
    Image.fromarray(np.stack([GREY] * 4, 2), "RGBA").save(folder / "9.png")


def larger(folder: Path) -> None:
    Image.fromarray(np.pad(GREY, 2)).save(folder / "9.png")


def coloured(folder: Path) -> None:
    Image.fromarray(GREY).convert("RGB").save(folder / "9.png")


def nothing_at_all(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


def only_text(folder: Path) -> None:
    nothing_at_all(folder)
    (folder / "readme.txt").write_text("no images here")


IMAGES = [
    (nothing_at_all, "holds no images"),
    (only_text, "1 .txt"),
    (corrupt, "1 of 12 images of 'bad' cannot be used: 00003.png (corrupt or truncated"),
    (truncated, "1 of 12 images of 'bad' cannot be used: 00003.png (corrupt or truncated"),
    (animated, "9.gif (animated or of several pages: 2 frames)"),
    (deep, "convert it to 8 bits"),
    (cmyk, "colour mode CMYK"),
    (transparent, "put it on the background that is meant"),
    (larger, "9.png is 16x16"),
    (coloured, "convert all of them to grey or all of them to RGB"),
    (lambda folder: (folder / "9.png").write_bytes(bomb()), "more than 67,108,864 pixels"),
]


@pytest.mark.parametrize("flag", ["train", "samples", "test"])
@pytest.mark.parametrize(("spoil", "says"), IMAGES)
def test_an_image_that_cannot_be_used_is_named_with_a_remedy(refused, flag, spoil, says) -> None:
    save_folder(TRAIN[:12], Path("bad"))
    spoil(Path("bad"))
    assert says in refused(*audit(**{flag: "bad"}))


def test_a_bad_image_beyond_the_first_block_is_found_and_the_blocks_before_it_go(
    refused, monkeypatch
) -> None:
    monkeypatch.setattr(auditing, "BLOCK", 8)
    save_folder(TRAIN, Path("bad"))
    Path("bad/00030.png").write_bytes(b"GIF89a")
    assert "1 of 40 images of 'bad' cannot be used: 00030.png" in refused(
        *audit(samples="bad", out="new/place/out")
    )


def test_palette_images_are_read_without_loss_and_noted(call, monkeypatch) -> None:
    monkeypatch.setattr(auditing, "BLOCK", 16)
    for i, image in enumerate(TRAIN.repeat(1, 3, 1, 1)):
        Path("plain").mkdir(exist_ok=True)
        Path("palette").mkdir(exist_ok=True)
        plain = Image.fromarray(image.permute(1, 2, 0).numpy())
        plain.save(f"plain/{i:02d}.png")
        plain.quantize(256, dither=Image.Dither.NONE).save(f"palette/{i:02d}.png")
        back = np.asarray(Image.open(f"palette/{i:02d}.png").convert("RGB"))
        assert np.array_equal(back, np.asarray(plain))
    status, out, _ = call(*audit(train="plain", samples="palette"), "--json")
    assert status == 0
    result = json.loads(out)["results"]
    assert result["copy_ratio"]["value"] == 1.0
    assert any("40 images had a palette; its colours were written out" in note for note in result["notes"])


def test_mixed_sizes_work_with_resize_and_the_filter_is_named(call) -> None:
    save_folder(TRAIN, Path("mixed"))
    larger(Path("mixed"))
    status, out, _ = call(*audit(train="mixed", resize=12), "--json")
    assert status == 0
    assert any("LANCZOS" in note for note in json.loads(out)["results"]["notes"])


# Sets that do not fit together, and sets that are too small


def test_different_shapes_and_channels_name_both_sets(refused) -> None:
    save_array(faces(9, seed=3, side=16), Path("big.npy"))
    save_array(TRAIN.repeat(1, 3, 1, 1), Path("colour.npy"))
    told = refused(*audit(samples="big.npy"))
    assert "'train.npy' holds grey images of 12x12 pixels and 'big.npy' holds grey images of 16x16" in told
    assert "--resize" in told
    assert "both are grey or both are colour" in refused(*audit(samples="colour.npy"))
    assert "both are grey or both are colour" in refused(*audit(test="colour.npy"))


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("command", ["audit", "train"])
def test_one_or_two_training_images_are_too_few(refused, count, command) -> None:
    save_array(TRAIN[:count], Path("few.npy"))
    arguments = audit(train="few.npy") if command == "audit" else ["train", "--train", "few.npy"]
    assert f"holds {count} image" in refused(*arguments)


def test_a_training_set_of_duplicates_is_refused(refused) -> None:
    save_array(TRAIN[:1].repeat(9, 1, 1, 1), Path("same.npy"))
    assert "lower --duplicate-threshold" in refused(*audit(train="same.npy"))


def test_samples_that_are_the_training_set_are_told(call) -> None:
    status, out, _ = call(*audit(samples="train.npy"))
    assert status == 0
    assert "The samples ARE the training images" in out


# Arrays


UNIT = FRESH.numpy() / np.float32(255)
BROKEN = UNIT.copy()
BROKEN[3, 0, 1, 1] = np.nan
ENDLESS = UNIT.copy()
ENDLESS[5, 0, 0, 0] = np.inf

ARRAYS = [
    (BROKEN, "NaN or infinite numbers in 1 of 30 images (rows 3)"),
    (ENDLESS, "NaN or infinite numbers in 1 of 30 images (rows 5)"),
    (UNIT * 1000, "--samples-range 0 1"),
    (UNIT * 3 - 1.5, "does not say what black and white are"),
    ((UNIT * 1000).astype(np.int64), "store them as uint8"),
    (UNIT > 0.5, "an array of bool"),
    (UNIT + 1j, "an array of complex64"),
    (np.array(["a", "b", "c"]), "convert the array"),
    (UNIT[0, 0], "which has 2 axes"),
    (UNIT[:0], "which is empty"),
    (UNIT[:, [0, 0]], "no axis of 1 or 3 channels"),
]


@pytest.mark.parametrize(("array", "says"), ARRAYS)
def test_arrays_that_are_not_images_are_refused(refused, array, says) -> None:
    np.save("bad.npy", array)
    for flag in ("train", "samples", "test"):
        assert says in refused(*audit(**{flag: "bad.npy"}))


def test_a_range_that_was_stated_and_does_not_hold(refused) -> None:
    np.save("unit.npy", UNIT)
    for text in (("1", "0"), ("nan", "1"), ("-1", "0.1")):
        assert "range" in refused(*audit(samples="unit.npy"), "--samples-range", *text)


class Trap:
    """Loading its pickle makes a file."""

    def __reduce__(self) -> tuple:
        return (Path.touch, (Path("sprung"),))


def test_python_objects_are_never_unpickled(refused, place) -> None:
    pickle.loads(pickle.dumps(Trap()))
    assert Path("sprung").exists()  # the trap works
    Path("sprung").unlink()
    objects = np.array([Trap(), Trap(), Trap()], dtype=object)
    np.save("bad.npy", objects, allow_pickle=True)
    np.savez("bad.npz", x=objects)
    np.savez_compressed("packed.npz", x=objects)
    Path("raw.npy").write_bytes(pickle.dumps(Trap()))
    torch.save(Trap(), "bad.pt")
    torch.save({"x": TRAIN, "y": Trap()}, "half.pt")
    Path("raw.pt").write_bytes(pickle.dumps(Trap()))
    for name in ("bad.npy", "bad.npz", "packed.npz", "raw.npy", "bad.pt", "half.pt", "raw.pt"):
        for flag in ("train", "samples", "test"):
            told = refused(*audit(**{flag: name}))
            assert "never unpickled" in told
            assert "allow_pickle" not in told
            assert "weights_only" not in told
    assert not Path("sprung").exists()


@pytest.mark.parametrize("name", ["cut.npy", "cut.npz", "cut.pt", "cut.parquet"])
def test_files_that_were_cut_short(refused, name) -> None:
    np.savez("cut.npz", x=TRAIN.numpy())
    shutil.copy("train.npy", "cut.npy")
    torch.save(TRAIN, "cut.pt")
    pq.write_table(pa.table({"image": [{"bytes": b"", "path": ""}] * 9}), "cut.parquet")
    Path(name).write_bytes(Path(name).read_bytes()[:-100])
    assert "cannot be read" in refused(*audit(samples=name))


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ("", "does not exist"),
        ("nowhere", "does not exist"),
        ("hf:owner/name", "Download the set first"),
        ("train.npy@0", "at least 1"),
        ("train.npy@41", "there are 40"),
        ("train.npy?label=cat", "has no labels"),
        ("train.npy:test", "holds one array"),
        ("digits?label=cat", "The labels here are 0, 1"),
        ("notes.txt", "text is compared with text"),
        ("text:pipe.npy", "text is compared with text"),
        ("pipe.npy", "a kind that is not read"),
    ],
)
def test_data_that_is_no_data(refused, data, says) -> None:
    Path("notes.txt").write_text("hello")
    os.mkfifo("pipe.npy")
    for flag in ("train", "samples", "test"):
        assert says in refused(*audit(**{flag: data}))


# File names


def test_names_that_are_not_utf_8_are_printable_everywhere(call, place) -> None:
    odd = os.fsdecode(b"caf\xe9")
    save_folder(TRAIN[:20], Path(odd, "train", odd), [f"{i}{odd}\n.png" for i in range(20)])
    save_folder(TRAIN[20:], Path(odd, "train", "dogs"))
    save_folder(torch.cat([TRAIN[:3], FRESH]), Path(odd, "samples"), [f"{odd}{i:02d}.png" for i in range(33)])
    shown = "caf\\xe9"
    arguments = audit(train=f"{odd}/train", samples=f"{odd}/samples", out=f"{odd}/out")
    status, out, told = call(*arguments, "--json")
    assert status == 0, told
    result = json.loads(out)
    assert result == json.loads(Path(odd, "out", "result.json").read_bytes().decode("utf-8"))
    assert result["inputs"]["samples"]["spec"] == f"{shown}/samples"
    with Path(odd, "out", "samples.parquet").open("rb") as file:
        table = pq.read_table(file).to_pydict()
    assert table["sample_name"][0] == f"{shown}00.png"
    assert set(table["class"]) <= {shown, "dogs"}
    assert all(
        shown in name for name, of in zip(table["nearest_name"], table["class"], strict=True) if of == shown
    )
    page = Path(odd, "out", "report.html").read_bytes().decode("utf-8")
    assert f"{shown}00.png" in page
    status, out, _ = call(*arguments, "--overwrite")
    assert status == 0
    out.encode("utf-8")


@pytest.mark.parametrize("kind", ["npy", "npz", "pt", "parquet"])
def test_array_files_of_any_name_are_read(call, kind) -> None:
    name = os.fsdecode(b"caf\xe9.") + kind
    with Path(name).open("wb") as file:
        if kind == "npy":
            np.save(file, TRAIN.numpy())
        elif kind == "npz":
            np.savez(file, x=TRAIN.numpy())
        elif kind == "pt":
            torch.save(TRAIN, file)
        else:
            rows = []
            for image in TRAIN:
                data = io.BytesIO()
                Image.fromarray(image[0].numpy()).save(data, "PNG")
                rows.append({"bytes": data.getvalue(), "path": None})
            pq.write_table(pa.table({"image": rows}), file)
    status, out, told = call(*audit(train=name, samples="train.npy"), "--json")
    assert status == 0, told
    assert json.loads(out)["results"]["copy_ratio"]["value"] == 1.0


def test_a_terminal_without_the_characters_gets_escapes(place) -> None:
    command = [sys.executable, "-m", "unrote.cli.main", *map(str, audit(out="été"))]
    told = subprocess.run(
        command, capture_output=True, check=True, env=os.environ | {"PYTHONIOENCODING": "ascii"}
    )
    assert rb"\xe9t\xe9/report.html" in told.stdout


def test_a_reader_that_goes_changes_nothing(place) -> None:
    command = [sys.executable, "-m", "unrote.cli.main", *map(str, audit(fail_above="0", fail_on="high"))]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    told = process.stderr.read().decode()
    assert process.wait() == 3
    assert "Traceback" not in told
    assert "--fail-above" in told
