"""Zip archives, whose contents are read where they lie and never extracted; what could do harm is refused."""

from __future__ import annotations

import os
import re
import stat
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from unrote.contracts import InputError
from unrote.data.decode import MAX_BYTES, UnusableError
from unrote.data.spelling import printable

MAX_MEMBERS = 4_000_000
"""Files in one archive, beyond which its directory is not read."""

MAX_RATIO = 200
"""Unpacked bytes for each packed one, beyond which an archive is a bomb; images are packed already."""

BOMB_BYTES = 1 << 26
"""Unpacked bytes up to which the ratio does not matter: blank images pack very well."""

NESTED = frozenset(
    (
        ".zip",
        ".tar",
        ".gz",
        ".tgz",
        ".bz2",
        ".tbz2",
        ".xz",
        ".txz",
        ".zst",
        ".7z",
        ".rar",
        ".npz",
        ".pt",
        ".pth",
    )
)
"""Endings of archives, which are not looked for inside an archive."""

_END, _END64, _LOCATOR64 = b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07"
_METHODS = {9: "Deflate64", 12: "bzip2", 14: "LZMA", 93: "Zstandard", 95: "xz"}
_DRIVE = re.compile(r"[A-Za-z]:")


@dataclass(frozen=True)
class Member:
    """One file of an archive.

    Args:
        name: with '/' between folders.
        offset: of its local header.
        packed, size: bytes in the archive, and unpacked.
        crc: checksum of the unpacked bytes.
        deflated: whether it is compressed; otherwise it is stored as it is.
    """

    name: str
    offset: int
    packed: int
    size: int
    crc: int
    deflated: bool


def directory(path: str, spec: str) -> list[Member]:
    """The files of a zip archive, in the order of its directory; nothing is unpacked.

    Args:
        path: of the archive.
        spec: the DATA argument, printable.

    Raises:
        InputError: where the archive is damaged, encrypted, packed by another method than deflate, promises
            far more than it holds, or has names that leave it, links, or one name twice.
    """
    try:
        with Path(path).open("rb") as file:
            _check_count(file, spec)
            with zipfile.ZipFile(file) as archive:
                infos = [info for info in archive.infolist() if not _is_folder(info)]
    except InputError:
        raise
    except Exception as error:  # readers of broken files raise nearly anything
        raise InputError(
            f"The archive '{spec}' cannot be read: {printable(str(error)) or type(error).__name__}. It is corrupt, "
            "truncated or not a zip archive; download or write it again."
        ) from error
    guard(infos, spec, Path(path).stat().st_size)
    return [
        Member(
            name=_name(info),
            offset=info.header_offset,
            packed=info.compress_size,
            size=info.file_size,
            crc=info.CRC,
            deflated=info.compress_type == zipfile.ZIP_DEFLATED,
        )
        for info in infos
    ]


def _is_folder(info: zipfile.ZipInfo) -> bool:
    return info.is_dir() or (info.filename.endswith("\\") and info.file_size == 0)


def _name(info: zipfile.ZipInfo) -> str:
    return info.filename.replace("\\", "/")  # some programs on Windows write it so


def _check_count(file: BinaryIO, spec: str) -> None:
    """Refuse a directory of too many entries by what the end of the archive says, before it is read."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - (1 << 16) - 42))
    tail = file.read()
    place = tail.rfind(_END)
    if place < 0 or len(tail) < place + 22:
        return  # zipfile says so in its own words
    length = struct.unpack_from("<I", tail, place + 12)[0]
    locator = place - 20
    if length == 0xFFFFFFFF and locator >= 0 and tail[locator : locator + 4] == _LOCATOR64:
        file.seek(min(struct.unpack_from("<Q", tail, locator + 8)[0], size))
        record = file.read(56)
        if len(record) == 56 and record.startswith(_END64):
            length = struct.unpack_from("<Q", record, 40)[0]
    if min(length, size) > MAX_MEMBERS * 128:
        raise InputError(
            f"The archive '{spec}' has a directory of {length:,} bytes, which is more than {MAX_MEMBERS:,} files "
            "take. Cut the set into several archives, or give it as a folder or an array."
        )
    file.seek(0)


def guard(infos: Sequence[zipfile.ZipInfo], spec: str, size: int) -> None:
    """Refuse an archive that could do harm, or of which it cannot be told what is meant.

    Args:
        infos: its files.
        spec: the DATA argument, printable.
        size: bytes of the archive.

    Raises:
        InputError: see `directory`.
    """
    _check_names(infos, spec)
    _check_packing(infos, spec, size)


def _check_names(infos: Sequence[zipfile.ZipInfo], spec: str) -> None:
    """Refuse names that lead out of the archive, links and repeated names, though nothing is extracted."""
    if len(infos) > MAX_MEMBERS:
        raise InputError(
            f"The archive '{spec}' holds {len(infos):,} files, and at most {MAX_MEMBERS:,} are allowed. Cut the set "
            "into several archives, or give it as a folder or an array."
        )
    leading = [info for info in infos if _leads_out(info)]
    if leading:
        raise InputError(
            f"The archive '{spec}' holds {len(leading):,} of {len(infos):,} files whose names lead out of it, "
            f"such as '{printable(leading[0].orig_filename)}'. Names are relative, without '..', a drive letter "
            "or NUL, so an archive with others was damaged or made to do harm: write it again from the images."
        )
    special = [info for info in infos if stat.S_IFMT(info.external_attr >> 16) not in {0, stat.S_IFREG}]
    if special:
        raise InputError(
            f"The archive '{spec}' holds {len(special):,} links or other special files, such as "
            f"'{printable(_name(special[0]))}'. Only plain files are read from an archive: write it again with "
            "the images themselves in place of links."
        )
    twice = [name for name, n in Counter(map(_name, infos)).items() if n > 1]
    if twice:
        raise InputError(
            f"The archive '{spec}' holds {len(twice):,} names more than once, such as '{printable(twice[0])}'. "
            "Which of the files is meant cannot be told; write the archive again with every name once."
        )


def _leads_out(info: zipfile.ZipInfo) -> bool:
    name = _name(info)
    parts = name.split("/")
    return name.startswith("/") or ".." in parts or bool(_DRIVE.match(name)) or "\0" in info.orig_filename


def _check_packing(infos: Sequence[zipfile.ZipInfo], spec: str, size: int) -> None:
    locked = [info for info in infos if info.flag_bits & 1]
    if locked:
        raise InputError(
            f"The archive '{spec}' is encrypted: {len(locked):,} of {len(infos):,} files need a password, such as "
            f"'{printable(_name(locked[0]))}'. Archives are read without passwords; write it again without one."
        )
    other = [i for i in infos if i.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}]
    if other:
        method = _METHODS.get(other[0].compress_type, f"number {other[0].compress_type}")
        raise InputError(
            f"The archive '{spec}' holds {len(other):,} files that are packed by the method {method}, such as "
            f"'{printable(_name(other[0]))}'. Allowed are files that are stored or deflated: write it again so, "
            "for example with zip -0."
        )
    packed, promised = sum(i.compress_size for i in infos), sum(i.file_size for i in infos)
    if packed > size:
        raise InputError(
            f"The archive '{spec}' has {size:,} bytes, and its files claim {packed:,} of them, so they lie over "
            "each other. It is damaged or a zip bomb; write it again from the images."
        )
    check_bomb(spec, promised, packed)


def check_bomb(spec: str, promised: int, packed: int) -> None:
    """Refuse what would unpack to far more than images do.

    Args:
        spec: the DATA argument, printable.
        promised: bytes after unpacking.
        packed: bytes before.

    Raises:
        InputError: beyond `BOMB_BYTES` and `MAX_RATIO`.
    """
    if promised > BOMB_BYTES and promised > MAX_RATIO * packed:
        raise InputError(
            f"The archive '{spec}' promises {promised / 1e6:,.0f} MB from {packed / 1e6:,.3f} MB, which is more "
            f"than {MAX_RATIO} to 1: a zip bomb, or blank images. Images that are to be measured pack far less; if "
            "it is what you mean, unpack it yourself and give the folder, or save arrays uncompressed."
        )


def read_member(file: BinaryIO, member: Member) -> bytes:
    """The bytes of one file of an archive, no more than its directory promises, checked by length and checksum.

    Raises:
        UnusableError: where they are damaged.
    """
    if member.size > MAX_BYTES:
        raise UnusableError(f"file of more than {MAX_BYTES:,} bytes", "make it smaller")
    file.seek(member.offset)
    head = file.read(30)
    if len(head) < 30 or not head.startswith(b"PK\x03\x04"):
        raise UnusableError("damaged in the archive: its header is missing", "write the archive again")
    name, extra = struct.unpack_from("<HH", head, 26)
    file.seek(name + extra, os.SEEK_CUR)
    data = file.read(member.packed)
    if member.deflated:
        unpack = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            data = unpack.decompress(data, member.size + 1)
        except zlib.error as error:
            raise UnusableError("damaged in the archive", "write the archive again") from error
    if len(data) != member.size:
        more = "more" if len(data) > member.size else "less"
        raise UnusableError(f"{more} in the archive than its directory says", "write the archive again")
    if zlib.crc32(data) != member.crc:
        raise UnusableError("damaged in the archive: its checksum does not hold", "write the archive again")
    return data


def nested(names: Sequence[str]) -> list[str]:
    """Those of some names that are archives themselves."""
    return [name for name in names if PurePosixPath(name).suffix.lower() in NESTED]
