"""Array files: .npy, .npz and .pt; mapped into memory where they can be, and never unpickled."""

from __future__ import annotations

import functools
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from unrote.contracts import InputError
from unrote.data.archives import guard
from unrote.data.sources import check_memory
from unrote.data.spelling import Spelling, printable, refuse_split

_IMAGE_KEYS = ("x", "images", "arr_0")
_LABEL_KEYS = ("y", "labels", "label", "arr_1")
_CRC_STEP = 1 << 20


@dataclass(frozen=True)
class Stored:
    """An array in a file.

    Args:
        kind: "npy", "npz" or "pt".
        shape: of the whole array, images first.
        dtype: its name.
        whole: whether it holds whole numbers rather than floats.
        take: some rows of it, as they are stored.
        labels: class of each row (N,), int64, or None.
        label_names: name of class i at place i; empty where classes have numbers only.
        notes: sentences for the reader about the file.
    """

    kind: str
    shape: tuple[int, ...]
    dtype: str
    whole: bool
    take: Callable[[np.ndarray], Tensor]
    labels: np.ndarray | None = None
    label_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def read_npy(spelling: Spelling) -> Stored:
    """The array of a .npy file, mapped into memory."""
    refuse_split(spelling, "a .npy file holds one array")
    try:
        array = np.load(spelling.path, mmap_mode="r", allow_pickle=False)
        if not isinstance(array, np.ndarray):
            raise ValueError("it is not a .npy file")
    except Exception as error:  # readers of broken files raise nearly anything
        raise _broken(spelling, str(error)) from error
    return _from_numpy(spelling, "npy", array, None)


def read_npz(spelling: Spelling) -> Stored:
    """Images and labels of a .npz file; uncompressed arrays are mapped into memory, others are loaded."""
    try:
        with zipfile.ZipFile(spelling.path) as archive:
            guard(archive.infolist(), str(spelling), Path(spelling.path).stat().st_size)
            members = {
                name.removesuffix(".npy"): name for name in archive.namelist() if name.endswith(".npy")
            }
            image, label = _pick_keys(spelling, list(members))
            array = _member(spelling, archive, members[image])
            labels = None if label is None else _member(spelling, archive, members[label])
    except InputError:
        raise
    except Exception as error:  # readers of broken files raise nearly anything
        raise _broken(spelling, str(error)) from error
    return _from_numpy(spelling, "npz", array, labels)


def read_pt(spelling: Spelling) -> Stored:
    """The tensor of a .pt file, which holds a tensor, a pair (images, labels) or a dictionary of tensors."""
    notes = _check_pt(spelling)
    held = _load_pt(spelling)
    labels: Any = None
    if isinstance(held, Mapping):
        tensors = {str(key): value for key, value in held.items() if isinstance(value, Tensor)}
        image, label = _pick_keys(spelling, list(tensors))
        held, labels = tensors[image], None if label is None else tensors[label]
    else:
        refuse_split(spelling, "this .pt file holds no dictionary with splits")
        if isinstance(held, tuple | list) and len(held) == 2:
            held, labels = held
    for what in (held, labels):
        if what is not None and (
            not isinstance(what, Tensor) or what.layout != torch.strided or what.is_quantized
        ):
            raise _broken(spelling, "it is neither a dense tensor, a pair of them, nor a dictionary of them")
    x = held.detach()
    _check_dtype(spelling, str(x.dtype), not (x.dtype == torch.bool or x.is_complex()))
    return Stored(
        kind="pt",
        shape=tuple(x.shape),
        dtype=str(x.dtype).removeprefix("torch."),
        whole=not x.is_floating_point(),
        take=lambda rows: _rows(x, rows),
        labels=None
        if labels is None
        else _labels(spelling, labels.detach().numpy(), len(x) if x.ndim else 0),
        notes=notes,
    )


def _check_pt(spelling: Spelling) -> tuple[str, ...]:
    """Refuse a .pt file that is a harmful or broken archive; a note where a checksum of it does not hold."""
    path = Path(spelling.path)
    try:
        if not zipfile.is_zipfile(path):  # from before torch 1.6, or none at all
            return ()
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            guard(archive.infolist(), str(spelling), path.stat().st_size)
            stored = [info for info in archive.infolist() if info.compress_type == zipfile.ZIP_STORED]
            wrong = [info for info in stored if not _crc_holds(file, _start(file, info), info)]
    except InputError:
        raise
    except Exception as error:  # readers of broken files raise nearly anything
        raise _broken(spelling, str(error)) from error
    if not wrong:
        return ()
    return (
        f"a checksum in '{spelling}' does not hold: the file is damaged, unless it was saved with "
        "torch.serialization.set_crc32_options(False)",
    )


def _load_pt(spelling: Spelling) -> Any:
    load = functools.partial(torch.load, map_location="cpu", weights_only=True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch remarks on pickle protocols before it refuses them
            try:
                return load(spelling.path, mmap=True)
            except (RuntimeError, UnicodeError):  # from before torch 1.6, or of a name that is not UTF-8
                with Path(spelling.path).open("rb") as file:
                    return load(file)
    except Exception as error:  # readers of broken files raise nearly anything
        # torch's own message recommends to unpickle: it is not repeated
        raise _broken(spelling, "it is damaged, or holds more than tensors") from error


def _broken(spelling: Spelling, reason: str) -> InputError:
    first = printable((reason.splitlines() or [""])[0]).rstrip(".") or "no reason is known"
    if "pickle" in first:  # numpy recommends to unpickle: it is not repeated
        first = "it holds Python objects, or is not a .npy file"
    return InputError(
        f"The array file '{printable(spelling.path)}' cannot be read: {first}. Arrays of plain numbers are "
        "allowed; Python objects are never unpickled, since that can run any code. Save the images again "
        "as numbers, with numpy.save, numpy.savez or torch.save."
    )


def _check_dtype(spelling: Spelling, dtype: str, allowed: bool) -> None:
    if not allowed:
        raise InputError(
            f"'{spelling}' holds an array of {dtype.removeprefix('torch.')}. Pixels are uint8, other whole "
            "numbers from 0 to 255, or floats: convert the array to one of these."
        )


def _from_numpy(spelling: Spelling, kind: str, array: np.ndarray, labels: np.ndarray | None) -> Stored:
    _check_dtype(spelling, str(array.dtype), array.dtype.kind in "uif")
    # torch knows no other byte order and only few of the unsigned integers
    plain = np.dtype(np.int64) if array.dtype.kind == "u" and array.dtype.itemsize > 1 else array.dtype
    if array.dtype.kind == "f" and array.dtype.itemsize > 8:
        plain = np.dtype(np.float64)

    def take(rows: np.ndarray) -> Tensor:
        return torch.from_numpy(np.array(_rows(array, rows), dtype=plain.newbyteorder("="), order="C"))

    return Stored(
        kind=kind,
        shape=array.shape,
        dtype=str(array.dtype),
        whole=array.dtype.kind != "f",
        take=take,
        labels=None if labels is None else _labels(spelling, labels, len(array) if array.ndim else 0),
    )


def _rows(array: Any, rows: np.ndarray) -> Any:
    """Some rows; a run of neighbours as a slice, which reads only what it needs."""
    if len(rows) and rows[-1] - rows[0] + 1 == len(rows):
        return array[int(rows[0]) : int(rows[-1]) + 1]
    return array[rows]


def _labels(spelling: Spelling, labels: np.ndarray, count: int) -> np.ndarray:
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.shape != (count,) or labels.dtype.kind not in "ui":
        raise InputError(
            f"'{spelling}' holds labels of shape {labels.shape} and type {labels.dtype} for {count:,} "
            "images. Labels are one whole number for each image: convert them, or leave them out of the "
            "file."
        )
    return labels.astype(np.int64)


def _pick_keys(spelling: Spelling, keys: list[str]) -> tuple[str, str | None]:
    """Names of the images and of their labels, by what is usual."""
    split = spelling.split

    def named(bases: tuple[str, ...]) -> list[str]:
        forms = bases if split is None else tuple(f for b in bases for f in (f"{b}_{split}", f"{split}_{b}"))
        return [form for form in forms if form in keys]

    images, labels = named(_IMAGE_KEYS), named(_LABEL_KEYS)
    others = [key for key in keys if key not in labels]
    if not images and split is None and len(others) == 1:
        images = others
    if not images:
        shown = ", ".join(printable(key) for key in keys[:10]) or "none"
        raise InputError(
            f"'{spelling}' holds no array that is known to be the images (its arrays: {shown}). They are "
            "called x, images or arr_0, or are the only array; with :train, x_train or train_images and so "
            "on. Rename the array or name a split."
        )
    return images[0], labels[0] if labels else None


def _member(spelling: Spelling, archive: zipfile.ZipFile, name: str) -> np.ndarray:
    info = archive.getinfo(name)
    if info.compress_type == zipfile.ZIP_STORED and not info.flag_bits & 1:
        return _map_member(Path(spelling.path), info)
    check_memory(
        str(spelling), info.file_size, "save it uncompressed, with numpy.savez or numpy.save, to stream it"
    )
    with archive.open(info) as file:
        array = np.lib.format.read_array(file, allow_pickle=False)
        while file.read(_CRC_STEP):  # to the end, where zipfile checks the sum
            pass
    return array


def _map_member(path: Path, info: zipfile.ZipInfo) -> np.ndarray:
    """An uncompressed member as a memory map, after its checksum is verified."""
    with path.open("rb") as file:
        start = _start(file, info)
        if not _crc_holds(file, start, info):
            raise ValueError(f"the checksum of {info.filename} does not hold")
        file.seek(start)
        headers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        version = np.lib.format.read_magic(file)
        if version not in headers:
            raise ValueError(f"its .npy format {version} is not one of plain numbers")
        shape, fortran, dtype = headers[version](file)
        offset = file.tell()
    if dtype.hasobject:
        raise ValueError("it holds Python objects")
    if offset + int(np.prod(shape, dtype=object)) * dtype.itemsize > start + info.file_size:
        raise ValueError("it is shorter than its header says")
    if 0 in shape:
        return np.empty(shape, dtype)
    return np.memmap(path, dtype=dtype, mode="r", offset=offset, shape=shape, order="F" if fortran else "C")


def _start(file: BinaryIO, info: zipfile.ZipInfo) -> int:
    """Where the bytes of a member begin: the local header has an extra field of its own length."""
    file.seek(info.header_offset + 26)
    name, extra = struct.unpack("<HH", file.read(4))
    return info.header_offset + 30 + name + extra


def _crc_holds(file: BinaryIO, start: int, info: zipfile.ZipInfo) -> bool:
    file.seek(start)
    crc, left = 0, info.file_size
    while left and (piece := file.read(min(left, _CRC_STEP))):
        crc, left = zlib.crc32(piece, crc), left - len(piece)
    return not left and crc == info.CRC
