from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from unrote.contracts import Examples, InputError
from unrote.denoise.exact import Empirical
from unrote.denoise.token_networks import TokenPosterior, Transformer
from unrote.noise.levels import LogNormal, UniformTime
from unrote.noise.tokens import Masked, Uniform
from unrote.train.fingerprint import describe
from unrote.train.interventions import (
    ambient,
    classes_with_dummies,
    compose,
    dummy_class,
    gap,
    matched_noise,
    noisy_only,
    reject,
    skip,
    uniform_noise,
)
from unrote.train.loop import Options, train
from unrote.train.losses import Batch, denoising_loss
from unrote.train.recipe import Recipe, baseline, levels_first, rows_first
from unrote.train.token_losses import masked_recipe, uniform_recipe

LAW = LogNormal(-1.2, 1.2)
LAWS = [LAW, UniformTime()]
N = 4000


def recipe_of(rows: int = 6, law=LAW, **changes: object) -> Recipe:
    x = torch.linspace(-1, 1, 2 * rows).reshape(rows, 2)
    label = torch.arange(rows) % 2
    return replace(baseline(Examples(x, torch.zeros(rows), label), law, lambda s: 1 / s), **changes)


def drawn(recipe: Recipe, n: int = N, seed: int = 0) -> tuple[Tensor, Tensor]:
    return recipe.redraw(recipe)(n, torch.Generator().manual_seed(seed))


def inside(sigma: Tensor, low: float, high: float) -> Tensor:
    return (sigma > low) & (sigma <= high)


def kolmogorov(sigma: Tensor, below) -> float:
    ordered = sigma.double().sort().values
    at = torch.arange(0, len(ordered), max(1, len(ordered) // 200))
    expected = torch.tensor([below(s) for s in ordered[at].tolist()], dtype=torch.float64)
    return float((at / len(ordered) - expected).abs().max())


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("redraw", [rows_first, levels_first])
def test_a_rejected_gap_leaves_the_density_of_the_law_outside_and_nothing_inside(law, redraw):
    low, high = 0.2, 0.9
    _, sigma = drawn(gap(low, high)(recipe_of(law=law, redraw=redraw)))
    removed = law.probability(low, high)

    def below(s: float) -> float:
        return (law.probability(0.0, s) - law.probability(low, min(max(s, low), high))) / (1 - removed)

    assert not inside(sigma, low, high).any()
    assert kolmogorov(sigma, below) < 1.95 / N**0.5


@pytest.mark.parametrize("law", LAWS)
def test_a_skipped_gap_keeps_every_draw_and_takes_the_weight_of_the_law_in_it(law):
    plain, low, high = recipe_of(law=law), 0.2, 0.9
    made = gap(low, high, skip)(plain)
    (rows, sigma), (same_rows, same_sigma) = drawn(plain), drawn(made)
    assert torch.equal(rows, same_rows)
    assert torch.equal(sigma, same_sigma)
    held = inside(sigma, low, high)
    assert torch.equal(made.weight(sigma)[~held], plain.weight(sigma)[~held])
    assert (made.weight(sigma)[held] == 0).all()
    share = law.probability(low, high)
    assert float(held.double().mean()) == pytest.approx(share, abs=4 * (share * (1 - share) / N) ** 0.5)


def test_the_gradient_of_a_skipped_gap_is_the_one_of_the_other_rows_alone():
    low, high, n = 0.2, 0.9, 64
    plain = recipe_of()
    rows, sigma = drawn(plain, n)
    z = torch.randn(n, 2, generator=torch.Generator().manual_seed(1))
    slope = torch.ones(2, requires_grad=True)

    def gradient(recipe: Recipe, kept: Tensor) -> Tensor:
        x, level = recipe.examples.x[rows][kept], torch.zeros(int(kept.sum()))
        batch = Batch(x, level, sigma[kept], z[kept], recipe.weight(sigma[kept]))
        loss = denoising_loss(lambda x, sigma, label=None: slope * x, batch).sum() / n
        return torch.autograd.grad(loss, slope)[0]

    everything = torch.ones(n, dtype=torch.bool)
    outside = ~inside(sigma, low, high)
    torch.testing.assert_close(
        gradient(gap(low, high, skip)(plain), everything), gradient(plain, outside), rtol=1e-5, atol=1e-6
    )


def test_twins_hold_their_noise_once_and_for_all_and_clean_rows_stay_below_it():
    made_by = ambient(0.5, torch.Generator().manual_seed(3))
    plain = recipe_of(2000)
    one, two = made_by(plain), made_by(plain)
    assert torch.equal(one.examples.x, two.examples.x)
    clean, twins = one.examples.x.chunk(2)
    assert torch.equal(clean, plain.examples.x)
    assert one.examples.level.tolist() == [0.0] * 2000 + [0.5] * 2000
    assert torch.equal(one.examples.label, torch.cat([plain.examples.label] * 2))
    noise = (twins - clean) / 0.5
    assert float(noise.mean()) == pytest.approx(0, abs=4 / 4000**0.5)
    assert float(noise.square().mean()) == pytest.approx(1, abs=4 * (2 / 4000) ** 0.5)
    rows, sigma = drawn(one)
    assert torch.equal(rows >= 2000, sigma > 0.5)


def test_the_generator_gives_one_draw_and_another_seed_gives_other_twins():
    used, other = torch.Generator().manual_seed(3), torch.Generator().manual_seed(3)
    first = ambient(0.5, used)(recipe_of())
    torch.randint(2**53, (), generator=other)
    assert torch.equal(torch.rand(3, generator=used), torch.rand(3, generator=other))
    second = ambient(0.5, used)(recipe_of())
    assert not torch.equal(first.examples.x, second.examples.x)


@pytest.mark.parametrize("level", [0.3, 1.0])
def test_algorithm_1_trains_twins_half_of_the_time_and_the_program_as_often_as_the_law_says(level):
    shares = {}
    for redraw in (rows_first, levels_first):
        rows, _ = drawn(ambient(level, torch.Generator().manual_seed(0), redraw)(recipe_of()))
        shares[redraw] = float((rows >= 6).double().mean())
    assert shares[rows_first] == pytest.approx(0.5, abs=0.03)
    assert shares[levels_first] == pytest.approx(LAW.probability(level, float("inf")), abs=0.03)


def test_the_ambient_loss_is_stationary_at_the_closed_form_and_not_at_the_mean_of_clean_rows():
    """At one x, h(x) sees each twin n with its posterior weight p(n | x), x = x_n + sqrt(sigma^2 - sigma_n^2) z."""
    sigma_n, sigma = 0.6, 0.9
    clean = torch.tensor([[-1.0, 0.2], [0.4, 0.7], [0.9, -0.5]], dtype=torch.float64)
    plain = baseline(Examples(clean, torch.zeros(3, dtype=torch.float64)), LAW, torch.ones_like)
    twins = ambient(sigma_n, torch.Generator().manual_seed(1))(plain).examples.x[3:]
    extra = (sigma**2 - sigma_n**2) ** 0.5
    for x in torch.tensor([[0.1, 0.3], [-1.5, 0.4], [2.0, -2.0]], dtype=torch.float64):
        z = (x - twins) / extra
        posterior = torch.softmax(-z.square().sum(1) / 2, 0)
        batch = Batch(
            twins, torch.full_like(posterior, sigma_n), torch.full_like(posterior, sigma), z, posterior
        )

        def slope(value: Tensor, batch: Batch = batch) -> float:
            h = value.clone().requires_grad_()
            loss = denoising_loss(lambda state, sigma, label=None: h.expand(len(state), -1), batch).sum()
            return float(torch.autograd.grad(loss, h)[0].norm())

        y = Empirical(twins)(x[None], torch.tensor([extra], dtype=torch.float64))[0]
        optimum = (sigma**2 * y - sigma_n**2 * x) / (sigma**2 - sigma_n**2)
        assert slope(optimum) < 1e-6
        assert slope(Empirical(clean)(x[None], torch.tensor([sigma], dtype=torch.float64))[0]) > 1e-3


@pytest.mark.parametrize("rule", [reject, skip])
@pytest.mark.parametrize("redraw", [rows_first, levels_first])
def test_a_gap_and_ambient_commute(rule, redraw):
    cut = gap(0.3, 0.8, rule)

    def noisy():
        return ambient(0.5, torch.Generator().manual_seed(2), redraw)

    one, two = compose(cut, noisy())(recipe_of()), compose(noisy(), cut)(recipe_of())
    assert torch.equal(one.examples.x, two.examples.x)
    for a, b in zip(drawn(one, 500), drawn(two, 500), strict=True):
        assert torch.equal(a, b)
    _, sigma = drawn(one, 500)
    assert torch.equal(one.weight(sigma), two.weight(sigma))
    if rule is reject:
        assert not inside(sigma, 0.3, 0.8).any()


def test_composition_goes_from_left_to_right_and_of_nothing_is_nothing():
    plain = recipe_of()
    assert compose()(plain) is plain
    order = []

    def note(name: str):
        return lambda recipe: (order.append(name), recipe)[1]

    compose(note("a"), note("b"))(plain)
    assert order == ["a", "b"]


def test_noisy_data_alone_are_the_twins_of_ambient_above_their_level():
    made = noisy_only(0.5, torch.Generator().manual_seed(3))(recipe_of())
    twins = ambient(0.5, torch.Generator().manual_seed(3))(recipe_of()).examples.x[6:]
    assert torch.equal(made.examples.x, twins)
    rows, sigma = drawn(made, 500)
    assert (sigma > 0.5).all()
    assert set(rows.tolist()) == set(range(6))


def test_interventions_tell_recipes_apart():
    def g():
        return torch.Generator().manual_seed(0)

    made = [
        compose(*parts)(recipe_of())
        for parts in (
            (),
            (gap(0.2, 0.5),),
            (gap(0.2, 0.6),),
            (gap(0.2, 0.5, skip),),
            (gap(0.2, 0.5), gap(0.7, 0.8)),
            (ambient(0.4, g()),),
            (ambient(0.4, g(), levels_first),),
            (gap(0.2, 0.3), ambient(0.4, g())),
            (gap(0.2, 0.35), ambient(0.4, g())),
            (noisy_only(0.4, g()),),
        )
    ]
    told = [str(describe({"recipe": recipe})) for recipe in made]
    assert len(set(told)) == len(told)


@pytest.mark.parametrize(("low", "high"), [(0.5, 0.5), (0.6, 0.5), (-0.1, 0.5), (float("nan"), 1.0)])
def test_ends_that_are_no_interval_are_refused(low, high):
    with pytest.raises(InputError, match="no interval"):
        gap(low, high)


@pytest.mark.parametrize("rule", [reject, skip])
@pytest.mark.parametrize(("low", "high"), [(0.0, float("inf")), (1e-5, 1e3)])
def test_a_gap_that_leaves_nothing_is_refused_before_training(rule, low, high):
    with pytest.raises(InputError, match=r"no level is left at which clean rows.*Narrow the gap"):
        gap(low, high, rule)(recipe_of())


@pytest.mark.parametrize("level", [0.0, -1.0, float("nan"), float("inf")])
def test_noise_that_is_no_positive_number_is_refused(level):
    for made_by in (ambient, noisy_only):
        with pytest.raises(InputError, match="positive number"):
            made_by(level, torch.Generator())


@pytest.mark.parametrize(
    ("level", "rows"), [(1e-5, "clean rows"), (1e3, "rows that hold noise of level 1000")]
)
def test_an_ambient_level_beyond_the_law_is_refused_with_its_range(level, rows):
    with pytest.raises(InputError, match=rf"{rows} can be trained.*VP time"):
        ambient(level, torch.Generator())(recipe_of())


def test_a_gap_that_closes_every_level_of_the_twins_is_refused_in_either_order():
    noisy, cut = ambient(0.5, torch.Generator()), gap(0.4, 1e3)
    for order in ((noisy, cut), (cut, noisy)):
        with pytest.raises(InputError, match=r"rows that hold noise of level 0\.5"):
            compose(*order)(recipe_of())


def test_noise_is_added_once():
    noisy = ambient(0.5, torch.Generator())
    for again in (noisy, noisy_only(0.7, torch.Generator())):
        with pytest.raises(InputError, match="hold noise already"):
            compose(noisy, again)(recipe_of())


def dummies(seed: int = 5, **given: object):
    return dummy_class(torch.Generator().manual_seed(seed), **given)


@pytest.mark.parametrize("count", [None, 1, 9])
def test_noise_images_follow_the_real_rows_as_the_next_class(count):
    plain, n = recipe_of(), 6 if count is None else count
    made = dummies(count=count)(plain).examples
    assert torch.equal(made.x[:6], plain.examples.x)
    assert made.label.tolist() == [*plain.examples.label.tolist(), *[2] * n]
    assert made.level.tolist() == [0.0] * (6 + n)
    assert torch.equal(made.x, dummies(count=count)(plain).examples.x)


def test_images_without_labels_are_class_0_and_a_class_that_the_data_lack_keeps_its_number():
    plain = recipe_of()
    unlabelled = replace(plain, examples=replace(plain.examples, label=None))
    assert dummies()(unlabelled).examples.label.tolist() == [0] * 6 + [1] * 6
    assert dummies(classes=4)(plain).examples.label.tolist()[6:] == [4] * 6
    assert [classes_with_dummies(c) for c in (None, 1, 4)] == [2, 2, 5]


def test_the_noise_is_the_one_that_was_asked_for():
    x = torch.linspace(-0.9, 0.3, 4000).reshape(500, 8)
    g = torch.Generator().manual_seed(0)
    flat = uniform_noise(5000, x, g)
    assert float(flat.abs().max()) <= 1
    assert kolmogorov(flat.flatten(), lambda v: (v + 1) / 2) < 1.95 / flat.numel() ** 0.5
    like = matched_noise(5000, x, g)
    assert float(like.mean()) == pytest.approx(float(x.mean()), abs=0.01)
    assert float(like.std()) == pytest.approx(float(x.std(unbiased=False)), rel=0.02)
    plain = recipe_of()
    assert torch.equal(
        dummies(noise=matched_noise)(plain).examples.x[6:],
        matched_noise(6, plain.examples.x, torch.Generator().manual_seed(first_draw(5))),
    )


def first_draw(seed: int) -> int:
    return int(torch.randint(2**53, (), generator=torch.Generator().manual_seed(seed)))


def test_noise_images_take_one_draw_and_half_of_the_updates():
    used, other = torch.Generator().manual_seed(3), torch.Generator().manual_seed(3)
    made = dummy_class(used)(recipe_of())
    torch.randint(2**53, (), generator=other)
    assert torch.equal(torch.rand(3, generator=used), torch.rand(3, generator=other))
    rows, sigma = drawn(made)
    assert float((rows >= 6).double().mean()) == pytest.approx(0.5, abs=0.03)
    assert kolmogorov(sigma, lambda s: LAW.probability(0.0, s)) < 1.95 / N**0.5


@pytest.mark.parametrize("redraw", [rows_first, levels_first])
@pytest.mark.parametrize("rule", [reject, skip])
def test_noise_images_get_noisy_copies_and_meet_the_levels_that_real_rows_of_their_kind_meet(redraw, rule):
    noisy = ambient(0.5, torch.Generator().manual_seed(2), redraw)
    made = compose(gap(0.3, 0.8, rule), dummies(), noisy)(recipe_of())
    x, level, label = made.examples.x, made.examples.level, made.examples.label
    alone = dummies()(recipe_of()).examples
    assert torch.equal(x[:12], alone.x)
    assert torch.equal(label, alone.label.repeat(2))
    assert level.tolist() == [0.0] * 12 + [0.5] * 12
    assert float((x[12:] - x[:12]).std()) == pytest.approx(0.5, abs=0.2)
    rows, sigma = drawn(made)
    assert torch.equal(rows >= 12, sigma > 0.5)
    trained = made.weight(sigma) > 0
    assert torch.equal(trained, ~inside(sigma, 0.3, 0.8)) if rule is skip else trained.all()
    real = label[rows] < 2
    for kind in (rows < 12, rows >= 12):
        assert float(real[kind].double().mean()) == pytest.approx(0.5, abs=0.05)
        ours, theirs = sigma[kind & real].log(), sigma[kind & ~real].log()
        spread = (ours.var() / len(ours) + theirs.var() / len(theirs)) ** 0.5
        assert abs(float(ours.mean() - theirs.mean())) < 4 * float(spread)


def test_a_gap_and_noise_images_commute_and_noisy_data_alone_hold_noise_images_too():
    cut, plain = gap(0.3, 0.8), recipe_of()
    one, two = compose(cut, dummies())(plain), compose(dummies(), cut)(plain)
    assert torch.equal(one.examples.x, two.examples.x)
    assert all(torch.equal(a, b) for a, b in zip(drawn(one, 300), drawn(two, 300), strict=True))
    alone = compose(dummies(), noisy_only(0.5, torch.Generator().manual_seed(2)))(plain)
    twins = compose(dummies(), ambient(0.5, torch.Generator().manual_seed(2)))(plain)
    assert torch.equal(alone.examples.x, twins.examples.x[12:])
    assert torch.equal(alone.examples.label, twins.examples.label[12:])


def test_dummies_that_cannot_be_are_refused():
    with pytest.raises(InputError, match="at least 1"):
        dummies(count=0)
    with pytest.raises(InputError, match="labels up to 1"):
        dummies(classes=1)(recipe_of())
    with pytest.raises(InputError, match="before the other"):
        compose(ambient(0.5, torch.Generator()), dummies())(recipe_of())


STRINGS = torch.randint(4, (40, 6), generator=torch.Generator().manual_seed(5))
TOKENS = Examples(STRINGS, torch.zeros(40))
TABLE = torch.linspace(0.05, 1, 20, dtype=torch.float64)


def test_a_skipped_gap_of_tokens_keeps_stratified_times_and_the_weight_of_the_bound_outside():
    plain = masked_recipe(TOKENS, 4)
    made = gap(0.3, 0.7, skip)(plain)
    for one, other in zip(drawn(plain), drawn(made), strict=True):
        assert torch.equal(one, other)
    _, t = drawn(made)
    held = inside(t, 0.3, 0.7)
    # Stratified: the share is that of the interval but for one place at each end.
    assert float(held.double().mean()) == pytest.approx(0.4, abs=2 / N)
    assert (made.weight(t)[held] == 0).all()
    assert torch.allclose(made.weight(t)[~held], (1 - 1e-4) / t[~held])
    # In single precision, in which a batch has them, no level crosses an end.
    assert torch.equal(made.weight(t.float())[held] == 0, torch.ones(int(held.sum()), dtype=torch.bool))


@pytest.mark.parametrize("rule", [reject, skip])
def test_timesteps_of_tokens_in_a_gap_are_never_trained(rule):
    recipe = gap(0.3, 0.7, rule)(uniform_recipe(TOKENS, 4, TABLE))
    _, t = drawn(recipe)
    trained = t[recipe.weight(t) > 0]
    kept = TABLE[~inside(TABLE, 0.3, 0.7)]
    assert torch.equal(trained.unique(), kept)
    share = len(trained) / N
    assert share == 1 if rule is reject else share == pytest.approx(len(kept) / 20, abs=0.03)
    count = torch.stack([(trained == one).sum() for one in kept]).double()
    assert float((count / len(trained) - 1 / len(kept)).abs().max()) < 0.02


@pytest.mark.parametrize("rule", [reject, skip])
def test_a_gap_of_tokens_trains_the_rest_and_all_levels_cannot_be_left_out(rule):
    g = torch.Generator().manual_seed(0)
    both = ((Masked(4), masked_recipe(TOKENS, 4)), (Uniform(4), uniform_recipe(TOKENS, 4, TABLE)))
    for process, recipe in both:
        model = TokenPosterior(
            Transformer(width=16, layers=1, heads=2, hidden=16).build(6, 4, None, g), process
        )
        ticks = train(model, gap(0.3, 0.7, rule)(recipe), g, Options(steps=8, batch_size=16, tick_every=4))
        assert all(torch.isfinite(torch.tensor(tick.train_loss)) for tick in ticks)
        with pytest.raises(InputError, match="those of tokens are t"):
            gap(0.0, 1.0, rule)(recipe)
