"""EDM's snapshots: taken apart without running them, stored, built again, used."""

from __future__ import annotations

import io
import pickle
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from strangers import forget_program, install_program, save_snapshot

from unrote.contracts import InputError
from unrote.denoise.snapshots import (
    built,
    denoiser_of,
    extract,
    is_snapshot,
    read_snapshot,
    unpickle,
    write_snapshot,
)

X = torch.linspace(-1, 1, 128).reshape(2, 1, 8, 8)
SIGMA = torch.tensor([0.3, 4.0])


@pytest.fixture
def program(tmp_path, monkeypatch) -> Path:
    """A program like EDM's on sys.path."""
    install_program(tmp_path / "program")
    forget_program()
    monkeypatch.syspath_prepend(str(tmp_path / "program"))
    monkeypatch.setattr(sys, "snapshot_program_ran", False, raising=False)
    yield tmp_path / "program"
    forget_program()


@pytest.fixture
def snapshot(program, tmp_path) -> Path:
    save_snapshot(tmp_path / "network-snapshot-000100.pkl")
    return tmp_path / "network-snapshot-000100.pkl"


def test_weights_are_taken_out_without_running_the_file(program, snapshot, tmp_path) -> None:
    network = save_snapshot(snapshot)
    forget_program()
    sys.path.remove(str(program))
    found = extract(snapshot)
    assert not sys.snapshot_program_ran
    assert "training" not in sys.modules
    assert "torch_utils" not in sys.modules
    assert found.name == "training.networks:EDMPrecond"
    assert found.kwargs == {"img_resolution": 8, "img_channels": 1}
    expected = network.state_dict()
    assert found.weights.keys() == expected.keys()
    assert all(torch.equal(found.weights[name], expected[name]) for name in expected)


def test_a_converted_network_is_the_network(program, snapshot, tmp_path) -> None:
    network = save_snapshot(snapshot)
    write_snapshot(extract(snapshot), tmp_path / "network.safetensors")
    assert is_snapshot(tmp_path / "network.safetensors")
    denoiser, card = denoiser_of(read_snapshot(tmp_path / "network.safetensors"), "it")
    assert not sys.snapshot_program_ran
    with torch.no_grad():
        assert torch.equal(denoiser(X, SIGMA), network(X, SIGMA))
    assert card.shape == (1, 8, 8)
    assert card.classes is None
    assert (card.low, card.high) == (0.002, 80.0)


def test_unpickling_runs_the_file_and_gives_the_same(snapshot) -> None:
    network = save_snapshot(snapshot)
    denoiser, card = unpickle(snapshot)
    assert sys.snapshot_program_ran
    with torch.no_grad():
        assert torch.equal(denoiser(X, SIGMA), network(X, SIGMA))
    assert card.build == {}


def test_labels_become_one_hot(program, tmp_path) -> None:
    network = save_snapshot(tmp_path / "a.pkl", label_dim=4)
    denoiser, card = denoiser_of(extract(tmp_path / "a.pkl"), "it")
    assert card.classes == 4
    with torch.no_grad():
        ours = denoiser(X, SIGMA, torch.tensor([3, 0]))
        assert torch.equal(ours, network(X, SIGMA, torch.eye(4)[[3, 0]]))
    with pytest.raises(ValueError, match="labels"):
        denoiser(X, SIGMA)


def test_a_description_builds_it_again(snapshot) -> None:
    denoiser, card = denoiser_of(extract(snapshot), "it")
    again, card_again = built(card.build)
    again.load_state_dict(denoiser.state_dict())
    with torch.no_grad():
        assert torch.equal(denoiser(X, SIGMA), again(X, SIGMA))
    assert card_again == card
    assert torch.allclose(denoiser.weight(SIGMA), (SIGMA**2 + 0.25) / (0.5 * SIGMA) ** 2)


def test_levels_are_the_ones_that_the_network_names(program, tmp_path) -> None:
    save_snapshot(tmp_path / "a.pkl", sigma_min=0.02, sigma_max=100)
    _, card = denoiser_of(extract(tmp_path / "a.pkl"), "it")
    assert (card.low, card.high) == (0.02, 80.0)


class Trap:
    """Touches a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def traps(path: Path) -> list[object]:
    storage = io.BytesIO()
    torch.save({"x": Trap(path)}, storage)

    class Hidden:
        def __reduce__(self):
            return (torch.storage._load_from_bytes, (storage.getvalue(),))

    return [Trap(path), {"ema": Trap(path)}, [Trap(path)], {"ema": {"a": Hidden()}}]


@pytest.mark.parametrize("which", range(4))
def test_extracting_runs_nothing_that_is_hidden_in_a_pickle(tmp_path, which) -> None:
    (tmp_path / "trap.pkl").write_bytes(pickle.dumps(traps(tmp_path / "ran")[which]))
    with pytest.raises(InputError, match="not a snapshot"):
        extract(tmp_path / "trap.pkl")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "content", [b"", b"junk", pickle.dumps(7), pickle.dumps({"ema": None}), b"\x80\x04]\x94."]
)
def test_files_that_are_no_snapshots(tmp_path, content) -> None:
    (tmp_path / "a.pkl").write_bytes(content)
    with pytest.raises(InputError, match="not a snapshot"):
        extract(tmp_path / "a.pkl")
    with pytest.raises(InputError, match="not a snapshot"):
        unpickle(tmp_path / "a.pkl")


def test_truncated_snapshots(snapshot) -> None:
    whole = snapshot.read_bytes()
    for part in range(1, 10):
        snapshot.write_bytes(whole[: len(whole) * part // 10])
        with pytest.raises(InputError, match="not a snapshot"):
            extract(snapshot)


def test_a_program_that_is_not_installed_is_named(program, snapshot) -> None:
    found = extract(snapshot)
    forget_program()
    sys.path.remove(str(program))
    with pytest.raises(InputError, match=r"EDMPrecond of training\.networks.*PYTHONPATH"):
        denoiser_of(found, "it")
    with pytest.raises(InputError, match=r"torch_utils.*PYTHONPATH"):
        unpickle(snapshot)


def test_weights_of_another_network_and_weights_that_are_not_finite(snapshot, tmp_path) -> None:
    place = tmp_path / "network.safetensors"
    write_snapshot(extract(snapshot), place)
    from safetensors import safe_open

    with safe_open(place, framework="pt") as file:
        metadata = file.metadata()
    weights = load_file(place)
    for change, says in (
        ({"model.conv.bias": torch.zeros(2)}, r"model\.conv\.bias, \(2,\) in the file and \(1,\) here"),
        ({"other": torch.zeros(2)}, "other"),
        ({"model.conv.bias": torch.full((1,), float("nan"))}, "not finite"),
    ):
        save_file(weights | change, place, metadata=metadata)
        with pytest.raises(InputError, match=says):
            denoiser_of(read_snapshot(place), "it")
    save_file(
        weights,
        place,
        metadata=metadata | {"unrote-network": '{"class": "os:system", "args": ["x"], "kwargs": {}}'},
    )
    with pytest.raises(InputError, match="no torch module"):
        denoiser_of(read_snapshot(place), "it")
    save_file(weights, place)
    assert not is_snapshot(place)
    with pytest.raises(InputError, match="how their network is built"):
        read_snapshot(place)
