"""A masked denoiser is an ordinary one where all is shown, and never looks at what is hidden."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from unrote.contracts import InputError
from unrote.denoise.compose import Precondition, edm, vp_eps, vp_v
from unrote.denoise.masked import MaskedPrecondition, UnderMask, UnderMasks, sampling_masks
from unrote.denoise.networks import MLP, UNet
from unrote.noise.levels import edm_levels, end_at_zero
from unrote.sample.steps import generate, seeded

SHAPE = (2, 3, 4)


def numbers(*size: int, seed: int = 0) -> Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Wavy(nn.Module):
    """A network that mixes pixels, channels and its mask."""

    def forward(self, x: Tensor, c_noise: Tensor, condition: Tensor | None = None) -> Tensor:
        return torch.tanh(x + x.roll(1, -1) + 0.5 * x.roll(1, 1)) + c_noise.reshape(-1, 1, 1, 1)


class WithoutMask(nn.Module):
    """The same on images alone, with the mask of ones that it would be fed."""

    def forward(self, x: Tensor, c_noise: Tensor, condition: Tensor | None = None) -> Tensor:
        return Wavy()(torch.cat([x, torch.ones_like(x[:, :1])], 1), c_noise)[:, :-1]


@pytest.mark.parametrize("coefficients", [edm(0.5), vp_eps(), vp_v()])
def test_where_all_is_shown_it_is_the_ordinary_preconditioning(coefficients):
    x, sigma = numbers(5, *SHAPE), torch.logspace(-2, 1, 5, dtype=torch.float64)
    ones = torch.ones(1, 1, 3, 4, dtype=torch.float64)
    masked = MaskedPrecondition(Wavy(), coefficients)
    plain = Precondition(WithoutMask(), coefficients)
    assert torch.equal(UnderMask(masked, ones)(x, sigma), plain(x, sigma))
    assert torch.equal(masked.weight(sigma), plain.weight(sigma))


def test_the_mask_comes_back_as_it_went_in_and_hidden_pixels_are_not_looked_at():
    masked = MaskedPrecondition(Wavy(), edm(0.5))
    mask = (numbers(5, 1, 3, 4, seed=1) > 0).double()
    mask[:, :, 0, 0] = 1
    x, sigma = numbers(5, *SHAPE), torch.full((5,), 0.7, dtype=torch.float64)
    assert torch.equal(masked(torch.cat([mask * x, mask], 1), sigma)[:, -1:], mask)
    told = UnderMask(masked, mask[:1])
    other = x + 100 * (1 - mask) * numbers(5, *SHAPE, seed=2)
    assert torch.equal(told(x, sigma, mask), told(other, sigma, mask))
    shown = x + 0.1 * mask
    assert not torch.equal(told(x, sigma, mask), told(shown, sigma, mask))


def test_a_hidden_pixel_is_one_at_infinite_noise():
    """What EDM's preconditioning makes of a pixel as its level grows is what is made of a hidden one at any level."""
    mask = (numbers(5, 1, 3, 4, seed=1) > 0).double()
    hidden = (1 - mask).expand(5, *SHAPE) == 1
    masked = MaskedPrecondition(Constant(), edm(0.5))
    state = torch.cat([mask * numbers(5, *SHAPE), mask], 1)
    far = Precondition(Constant(), edm(0.5))(
        0 * numbers(5, *SHAPE), torch.full((5,), 1e6, dtype=torch.float64)
    )
    for level in (0.002, 1.0, 80.0):
        told = masked(state, torch.full((5,), level, dtype=torch.float64))[:, :-1]
        torch.testing.assert_close(told[hidden], far[hidden])


class Constant(nn.Module):
    """A network that says the same whatever it sees."""

    def forward(self, x: Tensor, c_noise: Tensor, condition: Tensor | None = None) -> Tensor:
        return (
            torch.linspace(-1, 1, x[0, :2].numel(), dtype=x.dtype)
            .reshape(x[:1, :2].shape)
            .expand_as(x[:, :2])
        )


def test_one_mask_for_all_is_that_mask_for_each():
    told = UnderMask(MaskedPrecondition(Wavy(), edm(0.5)), (numbers(1, 1, 3, 4, seed=3) > 0).double())
    x, sigma = numbers(5, *SHAPE), torch.full((5,), 0.7, dtype=torch.float64)
    assert torch.equal(told(x, sigma), told(x, sigma, told.mask.expand(5, 1, 3, 4)))


def test_numbers_stand_for_masks_and_labels():
    """Row i of any batch is what one mask and one label for all give, where these are its own."""
    g = torch.Generator().manual_seed(0)
    network = MLP(16, 1).build((3, 3, 4), 5, g)
    nn.init.normal_(network.last.weight, generator=g)
    masked = MaskedPrecondition(network, edm(0.5)).double().eval()
    masks = sampling_masks(6, SHAPE, 0.5, 0.1, seeded(range(6)))
    label = torch.tensor([4, 3, 2, 1, 0, 4])
    x, sigma = numbers(4, *SHAPE), torch.full((4,), 0.7, dtype=torch.float64)
    which = torch.tensor([5, 0, 0, 3])
    told = UnderMasks(masked, masks, label)(x, sigma, which)
    for row, i in enumerate(which.tolist()):
        alone = UnderMask(masked, masks[i : i + 1])(x[row : row + 1], sigma[:1], label[i : i + 1])
        torch.testing.assert_close(told[row : row + 1], alone)
    assert float((told[1] - told[2]).detach().abs().max()) > 1e-3
    with pytest.raises(ValueError, match="6 masks, 2 labels"):
        UnderMasks(masked, masks, label[:2])
    with pytest.raises(InputError, match="1 of 6 masks hide everything"):
        UnderMasks(masked, masks * (torch.arange(6) != 2).reshape(6, 1, 1, 1), label)


@pytest.mark.parametrize("network", [MLP(16, 1), UNet((8, 8), 1)])
def test_a_network_that_returns_no_mask_is_the_one_whose_last_channel_is_not_used(network):
    wide, narrow = (
        network.build((3, 4, 4), None, torch.Generator().manual_seed(0), channels_out=told)
        for told in (None, 2)
    )
    known = {name: t.clone() for name, t in wide.state_dict().items()}
    for name in ("last.weight", "last.bias", "unet.conv_out.weight", "unet.conv_out.bias"):
        if name in known:
            torch.nn.init.normal_(wide.state_dict()[name], generator=torch.Generator().manual_seed(1))
            known[name] = wide.state_dict()[name].unflatten(0, (3, -1))[:2].flatten(0, 1)
    narrow.load_state_dict(known)
    x, sigma = numbers(5, 3, 4, 4).float(), torch.full((5,), 0.7)
    one, other = (MaskedPrecondition(made.eval(), edm(0.5))(x, sigma) for made in (wide, narrow))
    torch.testing.assert_close(one, other)
    assert float((one - x).detach().abs().max()) > 0.1


@pytest.mark.parametrize("network", [MLP(16, 1), UNet((8, 8), 1)])
def test_networks_of_a_channel_more_sample_images_under_a_mask_of_their_own_each(network):
    g = torch.Generator().manual_seed(0)
    built = network.build((2, 4, 4), None, g)
    nn.init.normal_(
        (built.last if hasattr(built, "last") else built.unet.conv_out).weight, std=0.1, generator=g
    )
    told = UnderMask(MaskedPrecondition(built, edm(0.5)).eval(), torch.ones(1, 1, 4, 4))
    levels = end_at_zero(edm_levels(4))
    masks = sampling_masks(6, (1, 4, 4), 0.5, 0.1, seeded(range(6)))
    whole = generate(told, (1, 4, 4), list(range(6)), levels, condition=masks)
    parts = generate(told, (1, 4, 4), list(range(6)), levels, condition=masks, batch_size=4)
    torch.testing.assert_close(whole, parts, rtol=1e-4, atol=1e-5)
    assert whole.shape == (6, 1, 4, 4)
    all_shown = generate(told, (1, 4, 4), list(range(6)), levels)
    assert float((whole - all_shown).abs().max()) > 1e-3


def test_masks_for_sampling_show_as_much_as_those_of_training_and_each_has_its_own_stream():
    masks = sampling_masks(2000, (3, 5, 5), 0.4, 0.25, torch.Generator().manual_seed(0))
    assert masks.shape == (2000, 1, 5, 5)
    assert float(masks.mean()) == pytest.approx(0.45, abs=4 * (0.45 * 0.55 / 50_000) ** 0.5)
    one, two = (sampling_masks(n, (3, 5, 5), 0.4, 0.25, seeded(range(n))) for n in (3, 8))
    assert torch.equal(one, two[:3])


def test_masks_that_hide_everything_or_are_no_masks_are_refused():
    masked = MaskedPrecondition(Wavy(), edm(0.5))
    with pytest.raises(InputError, match="hide everything"):
        UnderMask(masked, torch.zeros(1, 1, 3, 4))
    with pytest.raises(InputError, match="nothing else"):
        UnderMask(masked, torch.full((1, 1, 3, 4), 0.5))
    with pytest.raises(InputError, match=r"of 50 masks hide everything"):
        sampling_masks(50, (1, 2, 2), 0.9, 0.1, torch.Generator())
    with pytest.raises(InputError, match=r"lie in \[0, 1\)"):
        sampling_masks(5, (1, 2, 2), 1.0, 0.1, torch.Generator())
