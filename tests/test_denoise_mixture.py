from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from unrote.contracts import InputError
from unrote.data.mixtures import (
    Covariance,
    Full,
    GaussianMixture,
    Isotropic,
    LowRank,
    coloured_templates,
    draw,
    isotropic,
    points,
    sphere_means,
)
from unrote.denoise.exact import Empirical
from unrote.denoise.mixture import MixtureDenoiser, log_density
from unrote.sample.steps import euler, trajectory

COUNT, DIMENSION = 4, 5
LEVELS = [1e-3, 0.05, 0.7, 3.0, 30.0]


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


def level(sigma: float, x: Tensor) -> Tensor:
    return torch.full((len(x),), sigma, dtype=torch.float64)


def covariances() -> dict[str, Covariance]:
    a = normal(COUNT, DIMENSION, DIMENSION, seed=7)
    return {
        "equal": Isotropic(torch.full((COUNT,), 0.3, dtype=torch.float64)),
        "points": Isotropic(torch.zeros(COUNT, dtype=torch.float64)),
        "unequal": Isotropic(torch.tensor([0.0, 0.2, 1.0, 4.0], dtype=torch.float64)),
        "low-rank": LowRank(a[:, :, :2].clone()),
        "rank above dimension": LowRank(torch.cat([a, a[:, :, :2]], 2)),
        "full": Full(a @ a.mT / DIMENSION + 0.01 * torch.eye(DIMENSION, dtype=torch.float64)),
    }


TRAINABLE = ["equal", "low-rank", "full"]


def mixture(name: str) -> GaussianMixture:
    weights = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
    return GaussianMixture(weights, 1.5 * normal(COUNT, DIMENSION, seed=1), covariances()[name])


def dense(covariance: Covariance, dimension: int) -> Tensor:
    if isinstance(covariance, Isotropic):
        return covariance.variance[:, None, None] * torch.eye(dimension, dtype=torch.float64)
    return covariance.factor @ covariance.factor.mT if isinstance(covariance, LowRank) else covariance.matrix


def axes(covariance: Covariance, k: int, dimension: int) -> tuple[Tensor, Tensor]:
    """All D eigenvalues and axes; those outside a subspace are exactly 0, as sigma = 0.001 would show."""
    if isinstance(covariance, LowRank):
        q, root, _ = torch.linalg.svd(covariance.factor[k], full_matrices=True)
        return torch.cat([root.square(), root.new_zeros(dimension - len(root))]), q
    e, q = torch.linalg.eigh(dense(covariance, dimension)[k])
    return e, q


def brute(mix: GaussianMixture, x: Tensor, sigma: float) -> tuple[Tensor, Tensor, Tensor]:
    """Posterior mean, log density and posterior by dense algebra, one component at a time."""
    logs, means = [], []
    for k, (w, mu) in enumerate(zip(mix.weights, mix.means, strict=True)):
        e, q = axes(mix.covariance, k, mix.dimension)
        v = x - mu
        y, c = v @ q, e + sigma**2
        logs.append(w.log() - (y.square() / c + (2 * math.pi * c).log()).sum(1) / 2)
        means.append(mu + (y * e / c) @ q.mT)
    log = torch.stack(logs, 1)
    p = log.softmax(1)
    return torch.einsum("bk,kbd->bd", p, torch.stack(means)), log.logsumexp(1), p


def states(mix: GaussianMixture, sigma: float, count: int = 24) -> Tensor:
    """Noisy data, and points half way between two noisy components, where the posterior is not one-hot."""
    x = draw(mix, count, seeded(3)).x
    middle = (x[: count // 2] + x.flip(0)[: count // 2]) / 2
    return torch.cat([x, middle]) + sigma * normal(count + count // 2, mix.dimension, seed=4)


@pytest.mark.parametrize("sigma", LEVELS)
@pytest.mark.parametrize("name", list(covariances()))
def test_denoiser_is_the_posterior_mean_of_dense_algebra(name: str, sigma: float) -> None:
    mix = mixture(name)
    x = states(mix, sigma)
    mean, log, p = brute(mix, x, sigma)
    denoiser = MixtureDenoiser(mix)
    torch.testing.assert_close(denoiser(x, level(sigma, x)), mean, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(denoiser.responsibilities(x, level(sigma, x)), p, rtol=0, atol=1e-10)
    torch.testing.assert_close(log_density(mix, x, level(sigma, x)), log, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", TRAINABLE)
def test_a_trainable_denoiser_is_the_fixed_one_until_it_is_trained(name: str) -> None:
    mix = mixture(name)
    for sigma in LEVELS:
        x = states(mix, sigma)
        fixed, free = MixtureDenoiser(mix), MixtureDenoiser(mix, trainable=True)
        torch.testing.assert_close(
            free(x, level(sigma, x)).detach(), fixed(x, level(sigma, x)), rtol=1e-10, atol=1e-10
        )
    back = free.mixture
    torch.testing.assert_close(back.weights, mix.weights)
    torch.testing.assert_close(back.means, mix.means)
    torch.testing.assert_close(dense(back.covariance, DIMENSION), dense(mix.covariance, DIMENSION))
    assert not any(t.requires_grad for t in (back.weights, back.means))
    assert len(list(fixed.parameters())) == 0


@pytest.mark.parametrize("name", ["equal", "unequal", "low-rank", "full"])
def test_posterior_mean_is_the_integral_of_bayes_rule(name: str) -> None:
    # Two dimensions, a grid fine enough that the rectangle rule is exact to rounding, and no algebra of ours.
    parts = {
        "equal": Isotropic(torch.full((3,), 0.5, dtype=torch.float64)),
        "unequal": Isotropic(torch.tensor([0.4, 0.7, 1.1], dtype=torch.float64)),
        "low-rank": LowRank(torch.eye(2, dtype=torch.float64) * torch.tensor([[0.7]]) + normal(3, 2, 2) / 9),
        "full": Full(torch.eye(2, dtype=torch.float64) + torch.tensor([[[0.0, 0.4], [0.4, 0.0]]] * 3)),
    }
    mix = GaussianMixture(
        torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64), normal(3, 2, seed=8), parts[name]
    )
    axis = torch.linspace(-12, 12, 601, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    matrices = dense(mix.covariance, 2)
    prior = sum(
        w * torch.distributions.MultivariateNormal(m, c).log_prob(grid).exp()
        for w, m, c in zip(mix.weights, mix.means, matrices, strict=True)
    )
    x = normal(6, 2, seed=9) * 2
    likelihood = torch.exp(-torch.cdist(x, grid).square() / (2 * 0.8**2)) * prior
    expected = likelihood @ grid / likelihood.sum(1, keepdim=True)
    torch.testing.assert_close(MixtureDenoiser(mix)(x, level(0.8, x)), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("sigma", [0.01, 0.7, 5.0])
@pytest.mark.parametrize("name", list(covariances()))
def test_tweedie_score_is_the_gradient_of_the_log_density(name: str, sigma: float) -> None:
    mix = mixture(name)
    x = states(mix, sigma, 12).requires_grad_()
    denoiser = MixtureDenoiser(mix)
    (gradient,) = torch.autograd.grad(denoiser.log_density(x, level(sigma, x)).sum(), x)
    score = denoiser.score(x, level(sigma, x))
    torch.testing.assert_close(score * sigma, gradient * sigma, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", list(covariances()))
def test_one_component_is_the_linear_denoiser(name: str) -> None:
    # mu + S (S + sigma^2)^-1 (x - mu).
    mix = mixture(name)
    covariance = mix.covariance
    first: Covariance
    if isinstance(covariance, Isotropic):
        first = Isotropic(covariance.variance[-1:])
    elif isinstance(covariance, LowRank):
        first = LowRank(covariance.factor[-1:])
    else:
        first = Full(covariance.matrix[-1:])
    one = GaussianMixture(torch.ones(1), mix.means[-1:], first)
    s, eye = dense(first, DIMENSION)[0], torch.eye(DIMENSION, dtype=torch.float64)
    x = 3 * normal(10, DIMENSION)
    for sigma in (0.1, 1.0, 9.0):
        gain = torch.linalg.solve(s + sigma**2 * eye, s)
        torch.testing.assert_close(
            MixtureDenoiser(one)(x, level(sigma, x)),
            mix.means[-1] + (x - mix.means[-1]) @ gain,
            rtol=1e-10,
            atol=1e-10,
        )


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    dimension=st.integers(1, 8),
    sigma=st.sampled_from([1e-3, 0.03, 0.3, 1.0, 10.0]),
)
def test_points_are_the_memorizing_denoiser(seed: int, dimension: int, sigma: float) -> None:
    x0 = torch.randn(30, dimension, generator=seeded(seed), dtype=torch.float64)
    x = torch.cat([x0[:10], (x0[:10] + x0[10:20]) / 2])
    x = x + sigma * torch.randn(20, dimension, generator=seeded(seed + 1), dtype=torch.float64)
    torch.testing.assert_close(
        MixtureDenoiser(points(x0))(x, level(sigma, x)),
        Empirical(x0)(x, level(sigma, x)),
        rtol=1e-10,
        atol=1e-10,
    )


def test_partial_memorization_of_all_samples_is_memorization(digits: Tensor) -> None:
    # 000 eqs. (7) and (10): M = N.
    x0 = digits[:60].double()
    x = x0[:20] + 0.9 * normal(20, 64)
    partial = {m: MixtureDenoiser(points(x0[:m]))(x, level(0.9, x)) for m in (30, 60)}
    whole = Empirical(x0)(x, level(0.9, x))
    torch.testing.assert_close(partial[60], whole, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(partial[30], Empirical(x0[:30])(x, level(0.9, x)), rtol=1e-10, atol=1e-10)
    assert (partial[30] - whole).norm() > 1


@pytest.mark.parametrize("name", list(covariances()))
def test_model_classes_are_nested(name: str) -> None:
    # 000 appendix B. A component may be split in two, or one of weight 0 or infinitely far away be added.
    mix = mixture(name)

    def select(rows: list[int]) -> Covariance:
        c = mix.covariance
        if isinstance(c, Isotropic):
            return Isotropic(c.variance[rows])
        return LowRank(c.factor[rows]) if isinstance(c, LowRank) else Full(c.matrix[rows])

    rows = [0, 1, 2, 3, 3]
    weights, means = mix.weights[rows].clone(), mix.means[rows].clone()
    half = weights.clone()
    half[3], half[4] = 0.1, 0.3
    none = weights.clone()
    none[4] = 0.0
    far = means.clone()
    far[4] *= 1e6
    other = means.clone()
    other[4] = 0.0
    equal = torch.full((5,), 0.2, dtype=torch.float64)
    x = states(mix, 0.8)
    expected = MixtureDenoiser(mix)(x, level(0.8, x))
    for bigger in (
        GaussianMixture(half, means, select(rows)),
        GaussianMixture(none, other, select(rows)),
        GaussianMixture(weights / weights.sum(), far, select(rows)),
    ):
        torch.testing.assert_close(
            MixtureDenoiser(bigger)(x, level(0.8, x)), expected, rtol=1e-10, atol=1e-10
        )
    four = GaussianMixture(torch.full((4,), 0.25, dtype=torch.float64), mix.means, mix.covariance)
    torch.testing.assert_close(
        MixtureDenoiser(GaussianMixture(equal, far, select(rows)))(x, level(0.8, x)),
        MixtureDenoiser(four)(x, level(0.8, x)),
        rtol=1e-10,
        atol=1e-10,
    )


def test_low_rank_and_full_are_isotropic_where_the_covariance_is() -> None:
    means, weights = normal(3, 4), torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)
    eye = torch.eye(4, dtype=torch.float64).repeat(3, 1, 1)
    x = 2 * normal(9, 4, seed=2)
    expected = MixtureDenoiser(isotropic(means, 0.49, weights))(x, level(0.6, x))
    for covariance in (LowRank(0.7 * eye), Full(0.49 * eye)):
        found = MixtureDenoiser(GaussianMixture(weights, means, covariance))(x, level(0.6, x))
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


def test_coloured_templates_follow_appendix_h4() -> None:
    # In VP time: c = (sigma^2 u + alpha s^2 A^T y) / (sigma^2 + alpha^2 s^2 |x|^2), and a log determinant with the
    # factor C on log(1 + alpha^2 s^2 |x|^2 / sigma^2).
    templates = torch.rand(3, 9, generator=seeded(0), dtype=torch.float64)
    u, t, variance = normal(3, 3), 0.6, 0.8
    alpha, sigma = math.sqrt(1 - t**2), t
    y = normal(7, 3, 9, seed=2)
    inner, norm = torch.einsum("kn,bcn->bkc", templates, y), templates.square().sum(1)[:, None]
    c = (sigma**2 * u + alpha * variance * inner) / (sigma**2 + alpha**2 * variance * norm)
    away = y.flatten(1)[:, None] - alpha * torch.einsum("kc,kn->kcn", u, templates).flatten(1)
    projected = torch.einsum("kn,bkcn->bkc", templates, away.reshape(7, 3, 3, 9)).square().sum(2)
    quadratic = (
        away.square().sum(2) - alpha**2 * variance / (sigma**2 + alpha**2 * variance * norm[:, 0]) * projected
    ) / sigma**2
    logdet = 3 * (1 + alpha**2 * variance * norm[:, 0] / sigma**2).log()
    p = torch.softmax(-(logdet + quadratic) / 2, 1)
    expected = torch.einsum("bk,bkc,kn->bcn", p, c, templates)
    denoiser = MixtureDenoiser(coloured_templates(templates, variance=variance, colour=u))
    found = denoiser(y / alpha, level(sigma / alpha, y))
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
    free = MixtureDenoiser(coloured_templates(templates, variance=variance, colour=u), trainable=True)
    free(y / alpha, level(sigma / alpha, y)).square().sum().backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in free.parameters())


def test_ddim_in_vp_form_is_euler_in_sigma() -> None:
    # 000 appendix H.2, written out in VP form with the isotropic denoiser of eq. (11) as it stands there.
    data, variance = normal(8, 6), 0.2
    grid = [0.999 - 0.998 * index / 25 for index in range(26)]
    alphas, sigmas = [math.sqrt(1 - t * t) for t in grid], grid

    def bar(t: float, y: Tensor) -> Tensor:
        alpha = math.sqrt(1 - t * t)
        v = alpha**2 * variance + t**2
        p = torch.softmax(-torch.cdist(y, alpha * data).square() / (2 * v), 1)
        return alpha * variance / v * y + t**2 / v * p @ data

    start = normal(20, 6, seed=1)
    y = start
    for now, (t, s) in enumerate(itertools.pairwise(grid)):
        y = s / t * y + (alphas[now + 1] - s / t * alphas[now]) * bar(t, y)
    levels = torch.tensor([s / a for s, a in zip(sigmas, alphas, strict=True)], dtype=torch.float64)
    denoiser = MixtureDenoiser(points(data, variance))
    *_, x = trajectory(euler, denoiser, start / alphas[0], levels)
    torch.testing.assert_close(x * alphas[-1], y, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    ("name", "shared"), [("equal", False), ("equal", True), ("low-rank", False), ("full", False)]
)
def test_gradients_by_parameters_and_by_x(name: str, shared: bool) -> None:
    a = normal(2, 3, 3, seed=2)
    covariance: Covariance = {
        "equal": Isotropic(torch.full((2,), 0.5, dtype=torch.float64)),
        "low-rank": LowRank(a[:, :, :2].clone()),
        "full": Full(a @ a.mT + torch.eye(3, dtype=torch.float64)),
    }[name]
    weights = torch.tensor([0.3, 0.7], dtype=torch.float64)
    denoiser = MixtureDenoiser(
        GaussianMixture(weights, normal(2, 3, seed=5), covariance), trainable=True, shared_variance=shared
    )
    names = [n for n, _ in denoiser.named_parameters()]
    x = normal(3, 3, seed=6).requires_grad_()
    sigma = torch.tensor([0.5, 1.0, 0.5], dtype=torch.float64, requires_grad=True)

    def run(x: Tensor, sigma: Tensor, *parameters: Tensor) -> Tensor:
        return torch.func.functional_call(denoiser, dict(zip(names, parameters, strict=True)), (x, sigma))

    # Away from the symmetric start, where some derivatives vanish.
    inputs = [(p + 0.1 * torch.rand_like(p)).detach().requires_grad_() for p in denoiser.parameters()]
    assert torch.autograd.gradcheck(run, (x, sigma, *inputs))
    assert torch.autograd.gradcheck(lambda x, *p: run(x, sigma.detach(), *p), (x, *inputs))


def test_a_shared_variance_is_one_number() -> None:
    mix = points(normal(5, 3), 0.3)
    shared = MixtureDenoiser(mix, trainable=True, shared_variance=True)
    assert sum(p.numel() for p in shared.shape.parameters()) == 1
    x = 2 * normal(8, 3, seed=1)
    torch.testing.assert_close(shared(x, level(0.5, x)).detach(), MixtureDenoiser(mix)(x, level(0.5, x)))


def test_training_lowers_the_loss_to_that_of_the_true_mixture() -> None:
    truth = isotropic(4 * sphere_means(2, 3, seeded(0)), 0.2)
    data = draw(truth, 400, seeded(1)).x
    start = isotropic(truth.means + normal(2, 3, seed=2), 0.05)
    model = MixtureDenoiser(start, trainable=True, shared_variance=True)
    optimizer, noise = torch.optim.Adam(model.parameters(), lr=0.05), seeded(3)
    for _ in range(200):
        z = torch.randn(data.shape, generator=noise, dtype=torch.float64)
        loss = (model(data + 0.8 * z, level(0.8, data)) - data).square().sum(1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    after = model.mixture
    assert isinstance(after.covariance, Isotropic)
    torch.testing.assert_close(after.means, truth.means, rtol=0, atol=0.15)
    assert abs(float(after.covariance.variance[0]) - 0.2) < 0.04


def test_rows_do_not_depend_on_their_batch_or_on_the_memory() -> None:
    for name in covariances():
        mix = mixture(name)
        x = states(mix, 0.5)
        sigma = torch.linspace(0.01, 5, len(x), dtype=torch.float64)
        whole = MixtureDenoiser(mix)(x, sigma)
        small = MixtureDenoiser(mix, memory=2000)
        torch.testing.assert_close(small(x, sigma), whole, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(
            MixtureDenoiser(mix)(x[3:4], sigma[3:4]), whole[3:4], rtol=1e-12, atol=1e-12
        )
        torch.testing.assert_close(small.log_density(x, sigma), log_density(mix, x, sigma))
        assert MixtureDenoiser(mix)(x[:0], sigma[:0]).shape == (0, DIMENSION)
        assert small.responsibilities(x[:0], sigma[:0]).shape == (0, COUNT)


def test_types_and_event_shapes_come_back() -> None:
    denoiser = MixtureDenoiser(coloured_templates(torch.rand(2, 4), channels=3))
    x = torch.randn(5, 3, 2, 2)
    out = denoiser(x, torch.full((5,), 0.4))
    assert out.dtype == torch.float32
    torch.testing.assert_close(
        out.double(), denoiser(x.double().flatten(1), torch.full((5,), 0.4)).reshape(5, 3, 2, 2)
    )


@pytest.mark.parametrize("name", ["equal", "unequal", "low-rank", "full"])
def test_blend_with_the_posterior_is_the_denoiser_and_its_loss_is_known(name: str) -> None:
    mix = mixture(name)
    denoiser = MixtureDenoiser(mix, memory=4000)
    x = states(mix, 0.7)
    p = denoiser.responsibilities(x, level(0.7, x))
    torch.testing.assert_close(denoiser.blend(x, level(0.7, x), p), denoiser(x, level(0.7, x)))
    # An affine map: its expected loss follows exactly from 2 D noises that are orthogonal and of length sqrt(D).
    q = torch.rand(len(x), COUNT, generator=seeded(1), dtype=torch.float64)
    q = q / q.sum(1, keepdim=True)
    total = torch.zeros(len(x), dtype=torch.float64)
    for axis in torch.eye(DIMENSION, dtype=torch.float64):
        for sign in (-1, 1):
            noisy = x + 0.7 * sign * math.sqrt(DIMENSION) * axis
            total += (denoiser.blend(noisy, level(0.7, x), q) - x).square().sum(1) / (2 * DIMENSION)
    torch.testing.assert_close(denoiser.blend_loss(x, 0.7, q), total, rtol=1e-10, atol=1e-10)


def test_bad_input_is_refused_with_a_reason() -> None:
    mix = mixture("equal")
    denoiser, x = MixtureDenoiser(mix), normal(3, DIMENSION)
    with pytest.raises(ValueError, match="no classes"):
        denoiser(x, level(1.0, x), torch.zeros(3, dtype=torch.int64))
    with pytest.raises(ValueError, match="must be positive"):
        denoiser(x, level(0.0, x))
    with pytest.raises(ValueError, match="must be positive"):
        denoiser(x, level(math.nan, x))
    with pytest.raises(ValueError, match="one number per row"):
        denoiser(x, level(1.0, x[:2]))
    with pytest.raises(ValueError, match="5 dimensions"):
        denoiser(x[:, :3], level(1.0, x))
    with pytest.raises(ValueError, match=r"weights of shape \(3, 4\)"):
        denoiser.blend(x, level(1.0, x), torch.ones(3, 2))
    with pytest.raises(InputError, match="positive variances"):
        MixtureDenoiser(mixture("points"), trainable=True)
    with pytest.raises(InputError, match="positive weights"):
        MixtureDenoiser(isotropic(x, 1.0, torch.tensor([0.5, 0.5, 0.0])), trainable=True)
    with pytest.raises(InputError, match="needs trainable"):
        MixtureDenoiser(mix, shared_variance=True)
    with pytest.raises(InputError, match="variances of the mixture differ"):
        MixtureDenoiser(isotropic(x, torch.tensor([1.0, 2.0, 3.0])), trainable=True, shared_variance=True)
    with pytest.raises(InputError, match="only isotropic"):
        MixtureDenoiser(mixture("full"), trainable=True, shared_variance=True)
