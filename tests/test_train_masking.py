"""Masking: the loss is ordinary denoising where nothing is hidden, blind where pixels are, and fills in the rest."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from unrote.contracts import Examples, InputError
from unrote.denoise.compose import edm
from unrote.denoise.masked import MaskedPrecondition, UnderMask
from unrote.denoise.networks import MLP
from unrote.noise.levels import LogNormal
from unrote.train.augment import augmented, flip
from unrote.train.fingerprint import describe
from unrote.train.interventions import ambient, compose, gap, noisy_only
from unrote.train.loop import Options, train
from unrote.train.losses import Batch, denoising_loss
from unrote.train.masking import inpainting_loss, masking
from unrote.train.recipe import Recipe, baseline

SHAPE = (2, 3, 4)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def recipe_of(n: int = 50, shape: tuple[int, ...] = SHAPE) -> Recipe:
    x = torch.randn(n, *shape, generator=seeded(9), dtype=torch.float64)
    return baseline(Examples(x, torch.zeros(n, dtype=torch.float64)), LogNormal(), torch.ones_like)


def batch_of(x: Tensor, seed: int = 1, sigma: Tensor | None = None) -> Batch:
    g, n = seeded(seed), len(x)
    level = torch.zeros(n, dtype=x.dtype)
    z = torch.randn(x.shape, generator=g, dtype=x.dtype)
    sigma = torch.randn(n, generator=g, dtype=x.dtype).exp() if sigma is None else sigma
    return Batch(x, level, sigma, z, 1 / sigma**2)


def wavy(x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
    """A denoiser of images that mixes pixels."""
    return torch.tanh(x + 0.3 * x.roll(1, -1) + sigma.reshape(-1, *(1,) * (x.ndim - 1)))


def with_mask(denoiser):
    return lambda x, sigma, condition=None: torch.cat([denoiser(x[:, :-1], sigma, condition), x[:, -1:]], 1)


def test_with_nothing_hidden_it_is_ordinary_denoising():
    plain = recipe_of()
    made = masking(0.0, seeded(), further=0.0)(plain)
    assert torch.equal(made.examples.x[:, :-1], plain.examples.x)
    assert bool((made.examples.x[:, -1] == 1).all())
    batch = batch_of(made.examples.x)
    images = replace(batch, x=batch.x[:, :-1], z=batch.z[:, :-1])
    torch.testing.assert_close(
        made.loss(with_mask(wavy), batch), denoising_loss(wavy, images), rtol=1e-12, atol=0
    )


def test_hidden_pixels_leave_no_trace_in_the_rows_and_no_gradient_in_the_loss():
    plain = recipe_of()
    rows = masking(0.6, seeded())(plain).examples.x
    shown = rows[:, -1:].expand(-1, 2, -1, -1) == 1
    assert bool((rows[:, :-1][~shown] == 0).all())
    assert torch.equal(rows[:, :-1][shown], plain.examples.x[shown])
    told = torch.randn(50, 3, 3, 4, generator=seeded(2), dtype=torch.float64, requires_grad=True)
    inpainting_loss(0.1)(lambda x, sigma, condition=None: told, batch_of(rows)).sum().backward()
    assert told.grad is not None
    assert bool((told.grad[:, :-1][~shown] == 0).all())
    assert bool((told.grad[:, :-1][shown] != 0).all())
    assert bool((told.grad[:, -1] == 0).all())


def test_the_network_sees_less_than_is_shown_and_is_told_what_it_sees():
    rows = masking(0.3, seeded())(recipe_of(4000)).examples.x
    states: list[Tensor] = []

    def noted(x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
        states.append(x)
        return x

    for seed in (1, 2):
        inpainting_loss(0.2)(noted, batch_of(rows, seed))
    shown = rows[:, -1]
    for state in states:
        seen = state[:, -1]
        assert bool((seen <= shown).all())
        assert bool((state[:, :-1][(seen == 0)[:, None].expand(-1, 2, -1, -1)] == 0).all())
        n = int(shown.sum())
        assert float(seen.sum() / n) == pytest.approx(0.8, abs=4 * (0.16 / n) ** 0.5)
    # Drawn anew at every update, and independently of the noise of the image.
    both = (states[0][:, -1] * states[1][:, -1]).sum() / shown.sum()
    assert float(both) == pytest.approx(0.64, abs=0.01)
    z = batch_of(rows, 1).z[:, 0][shown == 1]
    assert abs(float(torch.corrcoef(torch.stack([z, states[0][:, -1][shown == 1]]))[0, 1])) < 4 / n**0.5


def test_masks_are_drawn_once_hide_pixels_independently_and_all_their_channels():
    hide, plain = masking(0.25, seeded(3)), recipe_of(4000)
    rows = hide(plain).examples.x
    assert torch.equal(rows, hide(plain).examples.x)
    assert not torch.equal(rows, masking(0.25, seeded(4))(plain).examples.x)
    hidden = 1 - rows[:, -1].flatten(1)
    share = hidden.mean(0)
    assert float((share - 0.25).abs().max()) < 5 * (0.1875 / 4000) ** 0.5
    covariance = torch.cov(hidden.T) - torch.diag(torch.cov(hidden.T).diag())
    assert float(covariance.abs().max()) < 5 * 0.1875 / 4000**0.5
    used, other = seeded(3), seeded(3)
    masking(0.25, used)
    torch.randint(2**53, (), generator=other)
    assert torch.equal(torch.rand(3, generator=used), torch.rand(3, generator=other))


def test_the_optimum_is_the_mean_of_the_clean_event_given_what_is_seen_hidden_pixels_included():
    """Two correlated Gaussian pixels: for each of the four masks seen, least squares finds E[x0 | B, B x]."""
    n, sigma, hidden, further = 400_000, 0.6, 0.4, 0.3
    covariance = torch.tensor([[1.0, 0.8], [0.8, 1.5]], dtype=torch.float64)
    z = torch.randn(n, 2, generator=seeded(5), dtype=torch.float64)
    clean = (z @ torch.linalg.cholesky(covariance).T).reshape(n, 1, 2)
    shown = torch.rand(n, 1, 2, generator=seeded(6)) >= hidden
    rows = torch.cat([clean * shown, shown.double()], 1)
    batch = replace(batch_of(rows, 7, torch.full((n,), sigma, dtype=torch.float64)))
    maps = torch.zeros(4, 2, 2, dtype=torch.float64, requires_grad=True)

    def linear(x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
        state, mask = x[:, 0], x[:, 1]
        which = (mask @ torch.tensor([1.0, 2.0], dtype=torch.float64)).long()
        return torch.stack([torch.einsum("bij,bj->bi", maps[which], state), mask], 1)

    # The loss is quadratic: one Newton step per output pixel, from its exact curvature, is the minimum.
    loss = inpainting_loss(further)(linear, batch).mean()
    (slope,) = torch.autograd.grad(loss, maps, create_graph=True)
    curvature = torch.stack(
        [torch.autograd.grad(s, maps, retain_graph=True)[0].flatten() for s in slope.flatten()]
    )
    best = -(torch.linalg.pinv(curvature, rtol=1e-9) @ slope.detach().flatten()).reshape(4, 2, 2)
    for which in (1, 2, 3):
        seen = torch.tensor([which & 1, which >> 1]) == 1
        inner = covariance[seen][:, seen] + sigma**2 * torch.eye(int(seen.sum()), dtype=torch.float64)
        exact = covariance[:, seen] @ torch.linalg.inv(inner)
        torch.testing.assert_close(best[which][:, seen], exact, rtol=0, atol=0.02)
    # Without further hiding nothing pulls at the pixels that are hidden for good.
    naive = inpainting_loss(0.0)(linear, batch).mean()
    (flat,) = torch.autograd.grad(naive, maps)
    assert float(flat[1, 1].abs().max()) == 0.0
    assert float(flat[1, 0].abs().max()) > 0.01


def test_a_network_learns_to_fill_in_what_it_never_saw_of_an_image():
    """Pixel 1 equals pixel 0 in all images: from half of the pixels shown, the other is learned."""
    n = 400
    one = torch.where(torch.rand(n, 1, 1, generator=seeded(1)) < 0.5, -1.0, 1.0)
    recipe = masking(0.3, seeded(2), 0.3)(
        baseline(
            Examples(one.expand(n, 1, 6).contiguous(), torch.zeros(n)), LogNormal(-2.0, 0.5), lambda s: s**0
        )
    )
    denoiser = MaskedPrecondition(MLP(32, 1).build((2, 6), None, seeded(3)), edm(1.0))
    options = Options(
        steps=400, batch_size=128, learning_rate=3e-3, warmup_steps=20, tick_every=400, cpu=True
    )
    *_, tick = train(denoiser, recipe, seeded(4), options)
    mask = torch.tensor([[[1.0, 0.0, 1.0, 0.0, 1.0, 0.0]]])
    told = UnderMask(tick.state.ema, mask)(one[:40].expand(40, 1, 6), torch.full((40,), 0.1))
    error = (told - one[:40]).square().mean((0, 1))
    assert float(error[1::2].max()) < 0.05


def test_it_composes_with_a_gap_and_with_flips_but_not_with_noise():
    hide = masking(0.5, seeded())
    made = compose(hide, augmented([flip]), gap(0.2, 0.4))(recipe_of(6))
    image, mirrored = made.examples.x.chunk(2)
    assert torch.equal(mirrored, image.flip(-1))  # the mask turns with its image: nothing more is shown
    _, sigma = made.redraw(made)(500, seeded())
    assert not bool(((sigma > 0.2) & (sigma <= 0.4)).any())
    for noisy in (ambient(0.5, seeded()), noisy_only(0.5, seeded())):
        with pytest.raises(InputError, match="hold noise"):
            compose(noisy, hide)(recipe_of())
        with pytest.raises(InputError, match="hold noise"):
            compose(hide, noisy)(recipe_of())
    batch = batch_of(torch.ones(3, *SHAPE, dtype=torch.float64))
    with pytest.raises(InputError, match="hold noise"):
        inpainting_loss(0.1)(wavy, replace(batch, level=batch.sigma / 2))


def test_pixels_that_are_not_seen_have_a_weight_of_their_own():
    """A denoiser that says 0 everywhere: the loss is the sum of both kinds of pixels, each under its weight."""
    rows = masking(0.3, seeded())(recipe_of()).examples.x
    batch = batch_of(rows)
    states: list[Tensor] = []

    def nothing(x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
        states.append(x)
        return torch.zeros_like(x)

    value = inpainting_loss(0.4, unseen=3.0)(nothing, batch)
    seen, shown, square = states[0][:, -1:], rows[:, -1:], rows[:, :-1].square()
    weight = torch.where(seen == 1, batch.weight.reshape(-1, 1, 1, 1), 3.0)
    torch.testing.assert_close(value, (shown * weight * square).flatten(1).mean(1))
    skipped = replace(batch, weight=torch.zeros_like(batch.weight))
    assert not bool(inpainting_loss(0.4, unseen=3.0)(nothing, skipped).any())


def test_masks_and_further_shares_tell_recipes_apart():
    made = [
        masking(*parts)(recipe_of()) for parts in ((0.5, seeded()), (0.4, seeded()), (0.5, seeded(), 0.2))
    ]
    made += [masking(0.5, seeded(1))(recipe_of()), recipe_of()]
    told = [str(describe({"recipe": recipe})) for recipe in made]
    assert len(set(told)) == len(told)


@pytest.mark.parametrize(
    ("hidden", "further"), [(1.0, 0.1), (-0.1, 0.1), (0.5, 1.0), (float("nan"), 0.1), (0.5, -1.0)]
)
def test_probabilities_that_hide_everything_or_are_none_are_refused(hidden, further):
    with pytest.raises(InputError, match=r"hides everything"):
        masking(hidden, seeded(), further)


def test_a_mask_that_hides_a_whole_image_is_refused_with_how_many():
    with pytest.raises(InputError, match=r"of 4 pixels.*\d+ of 50 rows show no pixel.*Hide fewer"):
        masking(0.9, seeded())(recipe_of(50, (3, 2, 2)))


def test_hiding_for_good_without_hiding_more_is_refused():
    with pytest.raises(InputError, match=r"50% .*never learn the others"):
        masking(0.5, seeded(), further=0.0)


def test_rows_without_a_channel_axis_are_refused():
    with pytest.raises(InputError, match=r"\(1, D\)"):
        masking(0.5, seeded())(recipe_of(5, (7,)))
