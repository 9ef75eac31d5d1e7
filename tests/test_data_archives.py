"""Zip archives: what could do harm is refused in one paragraph, nothing is ever written, damage is found."""

from __future__ import annotations

import io
import os
import stat
import struct
import zipfile
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from spellings import png

from unrote.contracts import InputError
from unrote.data import archives
from unrote.data.archives import Member, directory, read_member
from unrote.data.decode import UnusableError
from unrote.data.images import load_images, open_images

RNG = np.random.default_rng(8)
IMAGES = [png(pixels) for pixels in RNG.integers(0, 256, (4, 6, 5), dtype=np.uint8)]


@pytest.fixture(autouse=True)
def nothing_is_extracted(tmp_path, monkeypatch):
    """Every test runs in a folder in which only the archive may lie."""
    inner = tmp_path / "deep" / "inner"
    inner.mkdir(parents=True)
    monkeypatch.chdir(inner)
    yield
    held = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")}
    assert held <= {"deep", "deep/inner", "deep/inner/x.zip", "deep/inner/x.npz"}


def pack(*names: str, method: int = zipfile.ZIP_STORED, data: bytes | None = None) -> None:
    with zipfile.ZipFile("x.zip", "w", method) as archive:
        for i, name in enumerate(names):
            archive.writestr(name, IMAGES[i % 4] if data is None else data)


def refused(says: str) -> str:
    with pytest.raises(InputError, match=says) as caught:
        load_images("x.zip")
    told = str(caught.value)
    assert "\n" not in told
    assert told.endswith(".")
    return told


@settings(max_examples=25, deadline=None)
@given(st.lists(st.binary(max_size=3000), max_size=6), st.booleans(), st.binary(max_size=99))
def test_members_come_back_as_they_went_in(contents, deflate, before):
    file = io.BytesIO(before)  # as a program that unpacks itself has something in front
    file.seek(0, 2)
    method = zipfile.ZIP_DEFLATED if deflate else zipfile.ZIP_STORED
    with zipfile.ZipFile(file, "a", method) as archive:
        for i, content in enumerate(contents):
            with archive.open(f"d/{i}", "w", force_zip64=bool(i % 2)) as member:
                member.write(content)
    Path("x.zip").write_bytes(file.getvalue())
    held = directory("x.zip", "x.zip")
    assert [member.name for member in held] == [f"d/{i}" for i in range(len(contents))]
    with Path("x.zip").open("rb") as opened:
        assert [read_member(opened, member) for member in held] == contents


@pytest.mark.parametrize(
    "name",
    [
        "../x.png",
        "a/../../x.png",
        "/x.png",
        "//host/x.png",
        "C:x.png",
        "C:\\x.png",
        "..\\x.png",
        "a/..",
        "\\x.png",
    ],
)
def test_names_that_lead_out_are_refused(name):
    pack("a.png", name)
    told = refused(r"1 of 2 files whose names lead out of it, such as .*'\.\.', a drive letter")
    assert repr(name)[1:-1].replace("\\\\", "\\") in told or "x.png" in told


def test_a_nul_in_a_name_does_not_hide_what_follows():
    pack("a.png", "aXpng")
    data = Path("x.zip").read_bytes().replace(b"aXpng", b"a\0png")
    Path("x.zip").write_bytes(data)
    refused(r"names lead out of it|damaged")


def test_dots_in_the_middle_of_a_name_lead_nowhere():
    pack("a..b/c...png", "a..b/..d.png")
    assert len(load_images("x.zip")) == 1  # ..d.png is hidden


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_links_and_devices_are_refused(kind):
    with zipfile.ZipFile("x.zip", "w") as archive:
        archive.writestr("a.png", IMAGES[0])
        info = zipfile.ZipInfo("b.png")
        info.external_attr = (kind | 0o644) << 16
        archive.writestr(info, "/etc/passwd")
    refused(r"1 links or other special files, such as 'b\.png'.*images themselves in place of links")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_repeated_names_are_refused():
    pack("a.png", "b.png", "a.png")
    refused(r"1 names more than once, such as 'a\.png'")
    pack("a/b.png", "a\\b.png")  # the same on Windows
    refused(r"1 names more than once, such as 'a/b\.png'")


def test_encrypted_members_are_refused():
    pack("a.png", "b.png")
    data = bytearray(Path("x.zip").read_bytes())
    place = data.rindex(b"PK\x01\x02")
    data[place + 8] |= 1
    Path("x.zip").write_bytes(data)
    refused(r"is encrypted: 1 of 2 files need a password, such as 'b\.png'.*without one")


@pytest.mark.parametrize(("method", "called"), [(zipfile.ZIP_BZIP2, "bzip2"), (zipfile.ZIP_LZMA, "LZMA")])
def test_other_methods_of_packing_are_refused(method, called):
    pack("a.png", method=method)
    refused(rf"packed by the method {called}, such as 'a\.png'.*stored or deflated")


def test_what_promises_far_more_than_it_holds_is_refused():
    pack("a.bmp", method=zipfile.ZIP_DEFLATED, data=bytes(archives.BOMB_BYTES + 1))
    refused(r"promises 67 MB from 0\.065 MB, which is more than 200 to 1: a zip bomb")
    with zipfile.ZipFile("x.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", bytes(archives.BOMB_BYTES + 1))
    with pytest.raises(InputError, match="zip bomb"):
        open_images("x.npz")


def test_members_that_lie_over_each_other_are_refused():
    """Many entries of the directory for one place in the file: a bomb that needs no nesting."""
    pack("a.png", "b.png", "c.png", data=RNG.bytes(4000))
    with zipfile.ZipFile("x.zip") as archive:
        infos = archive.infolist()
    data = bytearray(Path("x.zip").read_bytes())
    start = data.index(b"PK\x01\x02")
    first = data[: infos[1].header_offset]
    entries = bytes(data[start:]).replace(struct.pack("<I", infos[1].header_offset), struct.pack("<I", 0))
    entries = entries.replace(struct.pack("<I", infos[2].header_offset), struct.pack("<I", 0))
    end = bytearray(entries)
    struct.pack_into("<I", end, len(end) - 6, len(first))
    Path("x.zip").write_bytes(bytes(first) + bytes(end))
    refused(r"its files claim 12,000 of them, so they lie over each other")


def test_too_many_members_are_refused(monkeypatch):
    pack(*(f"{i}.png" for i in range(9)))
    monkeypatch.setattr(archives, "MAX_MEMBERS", 8)
    refused(r"holds 9 files, and at most 8 are allowed")
    monkeypatch.setattr(archives, "MAX_MEMBERS", 3)  # by the size of the directory, before it is read
    refused(r"directory of 4\d\d bytes, which is more than 3 files take")


@pytest.mark.parametrize("name", ["more.zip", "more.tar.gz", "x.NPZ", "a/b.7z", "weights.pt"])
def test_archives_inside_are_refused(name):
    pack("a.png", name)
    refused(r"holds 1 archives or array files, such as .*give them by themselves")


def spoiled(place: int, data: bytes) -> None:
    held = bytearray(Path("x.zip").read_bytes())
    held[place : place + len(data)] = data
    Path("x.zip").write_bytes(held)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_damaged_members_are_named(method):
    pack("a.png", "b.png", "c.png", method=method)
    member = directory("x.zip", "x.zip")[1]
    middle = member.offset + 30 + len(member.name) + member.packed // 2
    spoiled(middle, bytes([Path("x.zip").read_bytes()[middle] ^ 255]))
    refused(r"1 of 3 images of 'x\.zip' cannot be used: b\.png \((damaged|less|more) in the archive")
    spoiled(member.offset, b"junk")
    refused(r"b\.png \(damaged in the archive: its header is missing\).*write the archive again")


def unpack(data: bytes, member: Member) -> None:
    Path("x.zip").write_bytes(data)
    with Path("x.zip").open("rb") as file:
        read_member(file, member)


@pytest.mark.parametrize("more", [-1, 1, 1000])
def test_members_of_another_length_than_promised_are_refused(more):
    data = zlib.compressobj(wbits=-15)
    packed = data.compress(b"x" * 5000) + data.flush()
    raw = b"PK\x03\x04" + bytes(26) + packed
    member = Member("a", 0, len(packed), 5000 - more, zlib.crc32(b"x" * (5000 - more)), True)
    with pytest.raises(UnusableError, match="more in the archive" if more > 0 else "less in the archive"):
        unpack(raw, member)


def test_a_member_is_never_unpacked_beyond_its_promise(monkeypatch):
    """A gigabyte behind a promise of 10 bytes: no more than 11 are ever made."""
    packer = zlib.compressobj(9, wbits=-15)
    packed = b"".join(packer.compress(bytes(1 << 20)) for _ in range(64)) + packer.flush()
    made = []
    real = zlib.decompressobj

    class Watched:
        def __init__(self, *settings):
            self.inner = real(*settings)

        def decompress(self, data, most):
            made.append(self.inner.decompress(data, most))
            return made[-1]

    monkeypatch.setattr(zlib, "decompressobj", Watched)
    member = Member("a", 0, len(packed), 10, 0, True)
    with pytest.raises(UnusableError, match="more in the archive than its directory says"):
        unpack(b"PK\x03\x04" + bytes(26) + packed, member)
    assert [len(piece) for piece in made] == [11]


def test_a_member_larger_than_any_image_is_not_opened():
    with pytest.raises(UnusableError, match="file of more than"):
        unpack(b"", Member("a", 0, 10, 1 << 40, 0, True))


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.7, 0.99])
def test_archives_that_were_cut_short_are_refused(keep):
    pack("a.png", "b.png")
    data = Path("x.zip").read_bytes()
    Path("x.zip").write_bytes(data[: int(keep * len(data))])
    refused(r"The archive 'x\.zip' cannot be read: .*corrupt, truncated or not a zip archive")


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_no_damage_gives_anything_but_a_paragraph(data):
    pack("a.png", "d/b.png", "dataset.json", method=data.draw(st.sampled_from([0, 8])))
    held = bytearray(Path("x.zip").read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(held) - 1))
        held[place] = data.draw(st.integers(0, 255))
    Path("x.zip").write_bytes(held)
    with suppress(InputError):
        load_images("x.zip")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_two_processes_read_one_opened_archive():
    pack(*(f"{i}.png" for i in range(40)))
    source = open_images("x.zip")
    whole = load_images("x.zip").pixels
    child = os.fork()
    for _ in range(20):
        if not (source.read(0, 40).pixels == whole).all():
            os._exit(1)
    if child == 0:
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
