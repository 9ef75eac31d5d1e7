"""Watching changes nothing of the training that is watched, and measures what the library measures."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch
from strangers import unet
from torch import nn

from unrote.contracts import InputError
from unrote.denoise.compose import edm
from unrote.denoise.exact import Empirical
from unrote.denoise.foreign import Card, from_diffusers, from_function, from_module
from unrote.jobs import watching
from unrote.jobs.watching import Watch, WatchOptions
from unrote.train.probe import untouched

FUNCTION = Card("a function")


@pytest.fixture(scope="module")
def images(digits) -> torch.Tensor:
    return digits.reshape(-1, 1, 8, 8)


def options(tmp_path, **changes) -> WatchOptions:
    return WatchOptions(**({"out": tmp_path / "watch", "first": 2, "samples": 16} | changes))


class Network(nn.Module):
    """An MLP with dropout and batch statistics, which measuring could disturb."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(65, 32), nn.BatchNorm1d(32), nn.SiLU(), nn.Dropout(0.3), nn.Linear(32, 64)
        )

    def forward(self, x, noise):
        return self.layers(torch.cat([x.flatten(1), noise[:, None]], 1)).reshape(x.shape)


def trained(
    images, watch_options=None, steps: int = 12
) -> tuple[dict[str, torch.Tensor], torch.Tensor, Watch | None]:
    """A training loop that draws everything from torch's global stream."""
    torch.manual_seed(0)
    network = Network()
    denoiser = from_module(network, edm(0.5))
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    watch = (
        None
        if watch_options is None
        else Watch(denoiser, FUNCTION, images[:32], images[32:64], watch_options)
    )
    for step in range(1, steps + 1):
        x = images[torch.randint(32, (16,))]
        sigma = torch.exp(-1.2 + 1.2 * torch.randn(16))
        s = sigma.reshape(-1, 1, 1, 1)
        loss = (denoiser(x + s * torch.randn_like(x), sigma) - x).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if watch is not None:
            watch.on_step(step)
            assert all(part.training for part in network.modules())
    return network.state_dict(), torch.rand(3), watch


def test_a_watched_training_ends_with_the_same_bits(images, tmp_path) -> None:
    plain, stream, _ = trained(images)
    watched, watched_stream, watch = trained(images, options(tmp_path))
    assert watch is not None
    assert len(watch.history) >= 4
    assert all(torch.equal(plain[name], watched[name]) for name in plain)
    assert torch.equal(stream, watched_stream)


def test_steps_are_measured_in_geometric_progression(images, tmp_path) -> None:
    watch = Watch(Empirical(images[:8]), FUNCTION, images[:32], images[32:64], options(tmp_path, samples=1))
    due = [step for step in range(1, 60) if watch.on_step(step) is not None]
    assert due == [2, 3, 5, 8, 12, 18, 27, 41]
    # Programs that count in larger steps are measured at the first one that is due.
    assert watch.on_step(100) is not None
    assert watch.on_step(100) is None  # as with accumulated gradients
    assert watch.on_step(149) is None
    assert watch.on_step(200) is not None


def test_a_memorizing_denoiser_is_seen_to_copy_and_an_ignorant_one_is_not(images, tmp_path) -> None:
    train, held_out = images[:32], images[32:96]
    copier = Watch(Empirical(train), FUNCTION, train, held_out, options(tmp_path / "a"))
    seen = copier.on_checkpoint(7)
    assert seen is not None
    assert seen.copy_ratio.value == 1.0
    assert seen.train_loss.value < 0.5 * seen.validation_loss.value
    mean = images.mean(0, keepdim=True)
    ignorant = from_function(lambda x, sigma: mean.expand_as(x))
    unable = Watch(ignorant, FUNCTION, train, held_out, options(tmp_path / "b")).on_checkpoint(7)
    assert unable is not None
    assert unable.copy_ratio.value == 0.0
    assert unable.train_loss.value == pytest.approx(unable.validation_loss.value, rel=0.1)


def test_the_losses_are_the_denoising_losses_under_the_weight_that_is_given(images, tmp_path) -> None:
    train, held_out = images[:32], images[32:64]
    ignorant = from_function(lambda x, sigma: torch.zeros_like(x))
    watch = Watch(
        ignorant,
        FUNCTION,
        train,
        held_out,
        options(tmp_path),
        weight=lambda sigma: torch.full_like(sigma, 3.0),
    )
    seen = watch.on_step(2)
    assert seen is not None
    # D = 0 has the error |x0|^2 whatever the noise; every image is taken equally often.
    assert seen.train_loss.value == pytest.approx(3 * float(train.square().mean()), rel=1e-5)
    assert seen.validation_loss.value == pytest.approx(3 * float(held_out.square().mean()), rel=1e-5)


def test_the_history_is_written_and_a_resumed_program_goes_on(images, tmp_path) -> None:
    parts = (Empirical(images[:8]), FUNCTION, images[:32], images[32:64])
    first = Watch(*parts, options(tmp_path, samples=2))
    for step in range(1, 13):
        first.on_step(step)
    steps = [row["step"] for row in json.loads((tmp_path / "watch" / "history.json").read_text())]
    assert steps == [2, 3, 5, 8, 12]
    again = Watch(*parts, options(tmp_path, samples=2))
    assert again.history == first.history
    # The program was killed and goes on from its checkpoint at step 6: what lay after it is measured again.
    due = [step for step in range(7, 20) if again.on_step(step) is not None]
    assert due == [8, 12, 18]
    assert [m.step for m in again.history] == [2, 3, 5, 8, 12, 18]
    assert again.history[:5] == first.history


def test_a_watch_says_when_memorization_began_and_whose_numbers_they_are(images, tmp_path) -> None:
    train, held_out = images[:32], images[32:64]
    mean = from_function(lambda x, sigma: train.mean(0, keepdim=True).expand_as(x))
    mixed = {"share": 0.0}

    def learning(x, sigma, condition=None):
        share = mixed["share"]
        return (1 - share) * mean(x, sigma) + share * Empirical(train)(x, sigma)

    watch = Watch(
        learning, FUNCTION, train, held_out, options(tmp_path, samples=32), averaged=Empirical(train)
    )
    assert watch.onset == {}
    for step, share in ((2, 0.0), (4, 0.2), (8, 0.5), (16, 0.9)):
        mixed["share"] = share
        assert watch.on_step(step) is not None
    rows = json.loads((tmp_path / "watch" / "history.json").read_text())
    assert {row["weights"] for row in rows} == {"moving average"}
    assert all(len(row["bands"]) == len(row["raw"]["bands"]) == 5 for row in rows)
    found = watch.onset
    assert json.loads((tmp_path / "watch" / "onset.json").read_text()) == json.loads(json.dumps(found))
    averaged = {one["threshold"]: one for one in found["by_loss_gap"]}[1.0]
    raw = {one["threshold"]: one for one in found["raw"]["by_loss_gap"]}[1.0]
    assert (averaged["value"], averaged["high"]) == (None, 2)  # a memorizer from the beginning
    assert 2 < raw["low"] <= raw["value"] <= raw["high"] <= 16
    assert found["by_copies"][0]["high"] == 2
    alone = Watch(learning, FUNCTION, train, held_out, options(tmp_path / "alone", samples=2))
    seen = alone.on_step(2)
    assert seen is not None
    assert (seen.weights, seen.raw) == ("as given", None)
    assert alone.onset["weights"] == "as given"


def test_another_watch_does_not_go_on_with_this_history(images, tmp_path) -> None:
    parts = (Empirical(images[:8]), FUNCTION)
    Watch(*parts, images[:32], images[32:64], options(tmp_path))
    for other in (options(tmp_path, samples=17), options(tmp_path, seed=1)):
        with pytest.raises(InputError, match="another watch"):
            Watch(*parts, images[:32], images[32:64], other)
    with pytest.raises(InputError, match="another watch"):
        Watch(*parts, images[1:33], images[33:64], options(tmp_path))


def test_checkpoints_get_their_copies(images, tmp_path) -> None:
    watch = Watch(Empirical(images[:8]), FUNCTION, images[:32], images[32:64], options(tmp_path, samples=4))
    (tmp_path / "checkpoint").mkdir()
    seen = watch.on_step(2)
    assert watch.on_checkpoint(2, tmp_path / "checkpoint") is seen  # not measured twice
    written = json.loads((tmp_path / "checkpoint" / "copies.json").read_text())
    assert written["copy_ratio"]["n"] == 4
    assert written["step"] == 2


def test_a_network_of_diffusers_is_watched_at_the_levels_that_it_knows(images, tmp_path) -> None:
    from diffusers import DDPMScheduler

    network = unet(num_class_embeds=3).train()
    label = torch.arange(64) % 3
    watch = Watch(
        *from_diffusers(network, DDPMScheduler()),
        images[:32],
        images[32:64],
        options(tmp_path, samples=4),
        label[:32],
        label[32:],
    )
    assert watch.on_step(2) is not None
    assert network.training
    with pytest.raises(InputError, match="no labels"):
        Watch(*from_diffusers(network, DDPMScheduler()), images[:32], images[32:64], options(tmp_path / "b"))


def test_every_process_but_the_first_does_nothing(images, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(watching, "is_first", lambda: False)
    watch = Watch(Empirical(images[:8]), FUNCTION, images[:32], images[32:64], options(tmp_path))
    assert watch.on_step(2) is None
    assert watch.on_checkpoint(3, tmp_path / "nowhere") is None
    assert watch.history == ()
    assert not (tmp_path / "watch").exists()


def test_modes_come_back_after_an_error_and_parts_keep_their_own() -> None:
    network = nn.Sequential(nn.Dropout(), nn.Dropout()).train()
    network[1].eval()
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)

    def fail() -> None:
        with untouched([network]):
            assert not network.training
            torch.rand(5)
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    assert [part.training for part in network.modules()] == [True, True, False]
    assert torch.equal(torch.rand(2), expected)


@pytest.mark.parametrize(
    "changes", [{"first": 0}, {"factor": 1.0}, {"samples": 0}, {"seed": -1}, {"duplicate_threshold": 2.0}]
)
def test_options_out_of_range_are_named(tmp_path, changes) -> None:
    with pytest.raises(InputError, match=f"{next(iter(changes))} = "):
        options(tmp_path, **changes)
    assert dataclasses.is_dataclass(options(tmp_path))


@pytest.mark.parametrize(
    ("train", "held_out", "says"),
    [
        (lambda x: x[:32, 0], lambda x: x, "shape"),
        (lambda x: x[:32] * 4, lambda x: x, r"\[-1, 1\]"),
        (lambda x: x[:32].long(), lambda x: x, "int64"),
        (lambda x: x[:2], lambda x: x, "at least 3"),
        (lambda x: x[:32], lambda x: x[..., :6], "held-out"),
        (lambda x: torch.full_like(x[:32], float("nan")), lambda x: x, "finite"),
    ],
)
def test_images_that_cannot_be_watched(images, tmp_path, train, held_out, says) -> None:
    with pytest.raises(InputError, match=says):
        Watch(Empirical(images[:8]), FUNCTION, train(images), held_out(images), options(tmp_path))


def test_data_is_spelled_as_everywhere(tmp_path) -> None:
    ignorant = from_function(lambda x, sigma: torch.zeros_like(x))
    seen = Watch(ignorant, FUNCTION, "digits@40", "digits@60", options(tmp_path, samples=3)).on_step(2)
    assert seen is not None
    assert seen.copy_ratio.n == 3


def test_losses_of_a_large_set_in_order_are_taken_all_over_it(tmp_path) -> None:
    x = torch.linspace(-1, 1, 3000).reshape(-1, 1, 1, 1) * torch.ones(1, 1, 2, 2)
    x = x + 1e-3 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    label = (torch.arange(3000) >= 1500).long()
    told: list[torch.Tensor] = []

    def denoise(x, sigma, condition=None):
        told.append(condition)
        return torch.zeros_like(x)

    chosen = options(tmp_path, samples=4, duplicate_threshold=0.0)
    card = Card("a function", classes=2)
    seen = Watch(denoise, card, x.clamp(-1, 1), x.clamp(-1, 1), chosen, label, label).on_step(2)
    assert seen is not None
    share = torch.cat(told).double().mean()
    assert share == pytest.approx(
        0.5, abs=0.1
    )  # both classes, although the first half of the set is one of them
