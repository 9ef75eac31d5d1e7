"""Array files: whatever holds the same numbers gives the same images, and nothing is unpickled."""

from __future__ import annotations

import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from unrote.contracts import InputError
from unrote.data.images import load_images, open_images

RNG = np.random.default_rng(4)
X = RNG.integers(0, 256, (6, 5, 4), dtype=np.uint8)
Y = np.array([3, 1, 4, 1, 5, 9])


class Trap:
    """Unpickling this writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def check(path, labels=Y) -> None:
    images = load_images(path)
    assert torch.equal(images.pixels[:, 0], torch.from_numpy(X))
    assert (None if images.labels is None else images.labels.tolist()) == (
        None if labels is None else labels.tolist()
    )


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize(
    ("images", "labels"),
    [("x", "y"), ("images", "labels"), ("arr_0", "arr_1"), ("samples", "label"), ("x", None)],
)
def test_npz_keys(tmp_path, save, images, labels):
    save(tmp_path / "a.npz", **{images: X}, **({} if labels is None else {labels: Y[:, None]}))
    check(tmp_path / "a.npz", None if labels is None else Y)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("form", ["{}_{}", "{1}_{0}"])
def test_npz_with_splits(tmp_path, save, form):
    other = {form.format("x", "test"): X[:2], form.format("y", "test"): Y[:2]}
    save(tmp_path / "a.npz", **{form.format("x", "train"): X, form.format("y", "train"): Y}, **other)
    check(f"{tmp_path / 'a.npz'}:train")
    assert len(open_images(f"{tmp_path / 'a.npz'}:test")) == 2
    with pytest.raises(InputError, match=r"its arrays: .*train.*name a split"):
        open_images(tmp_path / "a.npz")
    with pytest.raises(InputError, match="no array that is known to be the images"):
        open_images(f"{tmp_path / 'a.npz'}:val")


def test_npz_of_several_unknown_arrays_is_refused(tmp_path):
    np.savez(tmp_path / "a.npz", left=X, right=X)
    with pytest.raises(InputError, match=r"its arrays: left, right"):
        open_images(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz")
    with pytest.raises(InputError, match="its arrays: none"):
        open_images(tmp_path / "b.npz")


@pytest.mark.parametrize(
    "held", [X, (X, Y), {"images": X, "labels": Y}, {"x": X, "y": Y, "epoch": 3}, {"anything": X}], ids=str
)
def test_tensor_files(tmp_path, held):
    def to_tensor(value):
        return torch.from_numpy(value) if isinstance(value, np.ndarray) else value

    if isinstance(held, dict):
        tensors = {key: to_tensor(value) for key, value in held.items()}
    else:
        tensors = tuple(map(to_tensor, held)) if isinstance(held, tuple) else to_tensor(held)
    torch.save(tensors, tmp_path / "a.pt")
    labels = Y if isinstance(held, tuple) or (isinstance(held, dict) and len(held) > 1) else None
    check(tmp_path / "a.pt", labels)
    torch.save(tensors, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    check(tmp_path / "old.pt", labels)


def test_tensors_that_do_not_lie_in_order_or_carry_gradients(tmp_path):
    torch.save(torch.from_numpy(X).permute(2, 1, 0).contiguous().permute(2, 1, 0), tmp_path / "a.pt")
    check(tmp_path / "a.pt", None)
    torch.save((torch.from_numpy(X) / 255).requires_grad_(), tmp_path / "b.pt")
    assert not load_images(tmp_path / "b.pt").pixels.requires_grad


@pytest.mark.parametrize("suffix", ["x.npy:train", "a.pt:train"])
def test_a_split_that_would_be_ignored_is_an_error(tmp_path, suffix):
    np.save(tmp_path / "x.npy", X)
    torch.save(torch.from_numpy(X), tmp_path / "a.pt")
    with pytest.raises(InputError, match=r"split 'train'.*Leave ':train' out"):
        open_images(f"{tmp_path}/{suffix}")


@pytest.mark.parametrize("bad", [Y[:5], Y / 2, np.array(list("abcdef")), np.eye(6, dtype=int)])
def test_labels_that_are_not_one_whole_number_each_are_refused(tmp_path, bad):
    np.savez(tmp_path / "a.npz", x=X, y=bad)
    with pytest.raises(InputError, match="one whole number for each image"):
        open_images(tmp_path / "a.npz")


def test_objects_are_never_unpickled(tmp_path):
    trap, mark = Trap(tmp_path / "sprung"), np.empty(1, object)
    mark[0] = trap
    np.save(tmp_path / "object.npy", mark, allow_pickle=True)
    np.savez(tmp_path / "stored.npz", x=mark)
    np.savez_compressed(tmp_path / "packed.npz", x=mark)
    np.savez(tmp_path / "labels.npz", x=X, y=mark)
    torch.save(trap, tmp_path / "trap.pt")
    torch.save({"x": torch.from_numpy(X), "more": trap}, tmp_path / "beside.pt")
    torch.save(trap, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    for name in ("pickle.npy", "pickle.npz", "pickle.pt"):
        (tmp_path / name).write_bytes(pickle.dumps(trap))
    files = [path for path in tmp_path.iterdir() if path.suffix in {".npy", ".npz", ".pt"}]
    assert len(files) == 10
    for path in files:
        with pytest.raises(InputError, match=r"cannot be read: .*never unpickled") as caught:
            open_images(path)
        assert "weights_only=False" not in str(caught.value)
    assert not trap.path.exists()
    with pytest.raises(ValueError, match="pickle"):
        np.load(tmp_path / "object.npy")
    np.load(tmp_path / "object.npy", allow_pickle=True)
    assert trap.path.exists()  # the trap does work


@pytest.mark.parametrize("name", ["a.npy", "a.npz", "b.npz", "a.pt", "old.pt"])
@pytest.mark.parametrize("keep", [0.0, 0.3, 0.7, 0.98])
def test_truncated_files_are_refused(tmp_path, name, keep):
    np.save(tmp_path / "a.npy", X)
    np.savez(tmp_path / "a.npz", x=X)
    np.savez_compressed(tmp_path / "b.npz", x=X)
    torch.save(torch.from_numpy(X), tmp_path / "a.pt")
    torch.save(torch.from_numpy(X), tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[: int(keep * len(data))])
    with pytest.raises(InputError, match=r"cannot be read: \w+.*Save the images again"):
        open_images(tmp_path / name)


def test_a_flipped_bit_in_a_tensor_file_is_remarked_on(tmp_path):
    torch.save({"x": torch.from_numpy(X), "y": torch.from_numpy(Y)}, tmp_path / "a.pt")
    assert len(open_images(tmp_path / "a.pt").notes) == 1
    data = bytearray((tmp_path / "a.pt").read_bytes())
    data[data.index(X.tobytes()) + 5] ^= 1
    (tmp_path / "b.pt").write_bytes(data)
    source = open_images(tmp_path / "b.pt")
    assert "a checksum in '" in source.notes[1]
    assert "does not hold: the file is damaged" in source.notes[1]


def test_packed_or_locked_members_of_a_tensor_file_are_refused(tmp_path):
    torch.save(torch.zeros(3, 5000, 5000, dtype=torch.uint8), tmp_path / "a.pt")
    with zipfile.ZipFile(tmp_path / "a.pt") as one, zipfile.ZipFile(tmp_path / "b.pt", "w", 8) as other:
        for name in one.namelist():
            other.writestr(name, one.read(name))
    with pytest.raises(InputError, match="zip bomb"):
        open_images(tmp_path / "b.pt")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_flipped_bit_in_an_npz_is_found(tmp_path, save):
    save(tmp_path / "a.npz", x=RNG.integers(0, 256, (20, 9, 9), dtype=np.uint8))
    data = bytearray((tmp_path / "a.npz").read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "a.npz").write_bytes(data)
    with pytest.raises(InputError, match="cannot be read"):
        open_images(tmp_path / "a.npz")


def _npy(shape: str, data: bytes = b"") -> bytes:
    head = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}}}".encode()
    head += b" " * (-(len(head) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + data


@pytest.mark.parametrize(
    "shape",
    ["(1000000, 1000, 1000)", "(-1, 4, 4)", "(2, 'a')", "__import__('os')", "(99999999999999999999, 4, 4)"],
)
@pytest.mark.parametrize("packing", [None, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_headers_that_lie_are_refused(tmp_path, shape, packing):
    path = tmp_path / ("a.npy" if packing is None else "a.npz")
    if packing is None:
        path.write_bytes(_npy(shape, bytes(64)))
    else:
        with zipfile.ZipFile(path, "w", packing) as archive:
            archive.writestr("x.npy", _npy(shape, bytes(64)))
    with pytest.raises(InputError, match="cannot be read"):
        open_images(path)


def test_a_compressed_array_larger_than_the_memory_is_refused_unread(tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / "a.npz", x=np.zeros((64, 64, 64), np.uint8))
    monkeypatch.setattr("os.sysconf", lambda name: 500 if name == "SC_PHYS_PAGES" else 512)
    with pytest.raises(InputError, match=r"needs 0\.0 GB of memory .*save it uncompressed"):
        open_images(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", x=np.zeros((64, 64, 64), np.uint8))
    assert open_images(tmp_path / "b.npz").read(3, 5).pixels.shape == (2, 1, 64, 64)  # streams


def test_an_uncompressed_npz_is_mapped_where_it_lies(tmp_path):
    np.savez(tmp_path / "a.npz", y=Y, pad=np.zeros(37), x=X)
    check(tmp_path / "a.npz")
    with zipfile.ZipFile(tmp_path / "b.npz", "w") as archive:  # with an extra field in the local header
        for name, array in (("pad", np.zeros(37)), ("x", np.asfortranarray(X)), ("y", Y)):
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.save(file, array)
    check(tmp_path / "b.npz")
