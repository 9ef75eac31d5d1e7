"""The three shapes that the components of a mixture denoiser may have, and the algebra of each.

With C_k = Sigma_k + sigma^2 I every shape knows log N(x; mu_k, C_k) and the mean
sum_k p_k [mu_k + Sigma_k C_k^-1 (x - mu_k)] without ever holding a D x D matrix per row or, unless the
covariance is full, per component.
"""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor, nn

from unrote.contracts import InputError
from unrote.data.mixtures import Covariance, Full, Isotropic, LowRank

EPSILON = 2.0**-53


class Shape(Protocol):
    """What a mixture denoiser asks of its covariances; x (B,D), s2 = sigma^2 (B,), means (K,D), all float64."""

    def view(self, x: Tensor, means: Tensor) -> Tensor:
        """Whatever of x the other functions need more than once."""
        ...

    def log_density(self, x: Tensor, view: Tensor, s2: Tensor, means: Tensor) -> Tensor:
        """log N(x_b; mu_k, C_k) + const_b, (B,K), from matrix products."""
        ...

    def exact_log_density(self, x: Tensor, s2: Tensor, means: Tensor) -> Tensor:
        """log N(x_b; mu_k, C_k), (B,K), from differences x - mu, which lose nothing to cancellation."""
        ...

    def rounding(self, square: float, s2: float) -> float:
        """Bound on the error of `log_density` for |x|^2, |mu|^2 <= square and sigma^2 >= s2."""
        ...

    def mean(self, x: Tensor, view: Tensor, s2: Tensor, means: Tensor, p: Tensor) -> Tensor:
        """sum_k p_bk [mu_k + Sigma_k C_k^-1 (x_b - mu_k)], (B,D)."""
        ...

    def overlap(self, s2: float, means: Tensor) -> Tensor:
        """tr(B_j B_k) with B_k = Sigma_k C_k^-1, (K,K), without gradient."""
        ...

    def width(self, dimension: int, count: int) -> int:
        """How many numbers a row of x needs on the way."""
        ...

    def covariance(self, count: int) -> Covariance:
        """The covariance as a value, without gradient."""
        ...


def shape_of(covariance: Covariance, trainable: bool, shared: bool) -> BallShape | ThinShape | FullShape:
    """The algebra that fits a covariance.

    Args:
        covariance: of a mixture.
        trainable: whether it is made of parameters.
        shared: whether all components keep one variance (isotropic only).

    Raises:
        InputError: if a covariance that is to be trained has a zero variance, or if a shared variance is
            asked for but the variances differ.
    """
    if isinstance(covariance, Isotropic):
        return BallShape(covariance, trainable, shared)
    if shared:
        raise InputError(
            "One shared variance was asked for, but only isotropic components have a variance: leave out "
            "shared_variance for low-rank and full covariances."
        )
    return (
        ThinShape(covariance, trainable)
        if isinstance(covariance, LowRank)
        else FullShape(covariance, trainable)
    )


class BallShape(nn.Module):
    """Sigma_k = variance_k I; equal variances are kept as one number, and then two matrix products suffice.

    Trainable: log_variance (K,) or, shared, (1,).
    """

    variance: Tensor

    def __init__(self, covariance: Isotropic, trainable: bool, shared: bool) -> None:
        super().__init__()
        variance = covariance.variance.detach().double()
        alike = bool((variance == variance[0]).all())
        if shared and not alike:
            raise InputError(
                f"One shared variance was asked for, but the variances of the mixture differ, from "
                f"{float(variance.min()):g} to {float(variance.max()):g}: start from equal ones."
            )
        if shared or (alike and not trainable):
            variance = variance[:1]
        self.log_variance: nn.Parameter | None = None
        if trainable:
            if not bool((variance > 0).all()):
                raise InputError(
                    "A trainable mixture needs positive variances, because their logarithms are trained; got 0: "
                    "start from a small one, such as 1e-6."
                )
            self.log_variance = nn.Parameter(variance.log())
        else:
            self.register_buffer("variance", variance.clone())

    def _variance(self) -> Tensor:
        return self.variance if self.log_variance is None else self.log_variance.exp()

    def view(self, x: Tensor, means: Tensor) -> Tensor:
        """Nothing needs to be prepared."""
        return x

    def log_density(self, x: Tensor, view: Tensor, s2: Tensor, means: Tensor) -> Tensor:
        """Of -|x - mu|^2 / 2v the part (x mu - |mu|^2/2) / v, if v is common to all components."""
        variance = self._variance()
        product = torch.addmm(means.square().sum(1).mul(-0.5), x, means.mT)  # (B,K)
        v = variance + s2[:, None]  # (B,1) or (B,K)
        if len(variance) == 1:
            return product / v
        return (product - x.square().sum(1, keepdim=True) / 2) / v - x.shape[1] / 2 * v.log()

    def exact_log_density(self, x: Tensor, s2: Tensor, means: Tensor) -> Tensor:
        """-(D log(2 pi v) + |x - mu|^2 / v) / 2."""
        v = self._variance() + s2[:, None]
        square = (x[:, None] - means).square().sum(2)
        return -(x.shape[1] * (2 * math.pi * v).log() + square / v) / 2

    def rounding(self, square: float, s2: float) -> float:
        """Every product of D terms is off by a few last places of |x| |mu|."""
        return 8 * EPSILON * square / (float(self._variance().detach().min()) + s2)

    def mean(self, x: Tensor, view: Tensor, s2: Tensor, means: Tensor, p: Tensor) -> Tensor:
        """x sum_k p_k variance_k / v_k + sum_k (p_k sigma^2 / v_k) mu_k (000 eq. 11)."""
        variance = self._variance()
        v = variance + s2[:, None]
        if len(variance) == 1:
            return torch.addcmul(variance / v * x, s2[:, None] / v, p @ means)
        share = p / v
        return (share * variance).sum(1, keepdim=True) * x + s2[:, None] * (share @ means)

    def overlap(self, s2: float, means: Tensor) -> Tensor:
        """D variance_j variance_k / (v_j v_k)."""
        variance = self._variance().detach().expand(len(means))
        gain = variance / (variance + s2)
        return means.shape[1] * gain[:, None] * gain

    def width(self, dimension: int, count: int) -> int:
        """Log densities, their softmax, and as much again where variances differ."""
        return 4 * count + 4 * dimension

    def covariance(self, count: int) -> Isotropic:
        """One variance per component."""
        return Isotropic(self._variance().detach().expand(count).clone())


class ThinShape(nn.Module):
    """Sigma_k = F_k F_k^T with F_k (D,R): C^-1 v = (v - F c) / sigma^2 with c = (sigma^2 I + F^T F)^-1 F^T v.

    So v^T C^-1 v = |v - F c|^2 / sigma^2 + |c|^2 and log det C = (D - R) log sigma^2 + log det(sigma^2 I + F^T F)
    (Woodbury; 000 appendix H.4). A fixed F is rotated once, so that F^T F is diagonal.

    Trainable: factor (K,D,R).
    """

    gram: Tensor | None
    factor: Tensor

    def __init__(self, covariance: LowRank, trainable: bool) -> None:
        super().__init__()
        factor = covariance.factor.detach().double()
        if trainable:
            self.register_buffer("gram", None)
            self.factor = nn.Parameter(factor.clone())
        else:
            u, root, _ = torch.linalg.svd(factor, full_matrices=False)
            self.register_buffer("gram", root.square())
            self.register_buffer("factor", u * root[:, None])

    def _solve(self, y: Tensor, s2: Tensor) -> tuple[Tensor, Tensor]:
        """c = (sigma^2 I + F^T F)^-1 y (B,K,R), and the log determinant (B,K)."""
        if self.gram is not None:
            inside = self.gram + s2[:, None, None]
            return y / inside, inside.log().sum(2)
        # A level occurs often and is solved once; but through unique() no gradient reaches sigma.
        levels, row = s2, torch.arange(len(s2), device=s2.device)
        if not s2.requires_grad:
            levels, row = torch.unique(s2, return_inverse=True)
        eye = torch.eye(y.shape[2], dtype=y.dtype, device=y.device)
        lower = torch.linalg.cholesky(
            self.factor.mT @ self.factor + levels[:, None, None, None] * eye
        )  # (T,K,R,R)
        logdet = 2 * lower.diagonal(dim1=2, dim2=3).log().sum(2)
        return (torch.cholesky_inverse(lower)[row] @ y[..., None]).squeeze(3), logdet[row]

    def view(self, x: Tensor, means: Tensor) -> Tensor:
        """F_k^T (x - mu_k), (B,K,R)."""
        count, dimension, rank = self.factor.shape
        flat = self.factor.transpose(0, 1).reshape(dimension, -1)  # (D,KR)
        own = torch.einsum("kdr,kd->kr", self.factor, means)
        return (x @ flat).reshape(-1, count, rank) - own

    def log_density(self, x: Tensor, view: Tensor, s2: Tensor, means: Tensor) -> Tensor:
        """-(log det C + (|x - mu|^2 - y^T c) / sigma^2) / 2 without (D - R) log sigma^2 and |x|^2 / sigma^2."""
        c, logdet = self._solve(view, s2)
        product = torch.addmm(means.square().sum(1), x, means.mT, alpha=-2)
        return -(logdet + (product - (view * c).sum(2)) / s2[:, None]) / 2

    def exact_log_density(self, x: Tensor, s2: Tensor, means: Tensor) -> Tensor:
        """-(D log 2 pi + log det C + |v - F c|^2 / sigma^2 + |c|^2) / 2 with v = x - mu."""
        v = x[:, None] - means  # (B,K,D)
        c, logdet = self._solve(torch.einsum("bkd,kdr->bkr", v, self.factor), s2)
        rest = v - torch.einsum("kdr,bkr->bkd", self.factor, c)
        free = x.shape[1] - self.factor.shape[2]
        constant = x.shape[1] * math.log(2 * math.pi) + free * s2.log()
        quadratic = rest.square().sum(2) / s2[:, None] + c.square().sum(2)
        return -(constant[:, None] + logdet + quadratic) / 2

    def rounding(self, square: float, s2: float) -> float:
        """Everything is divided by sigma^2, also what lies inside the subspace."""
        return 32 * EPSILON * square / s2

    def mean(self, x: Tensor, view: Tensor, s2: Tensor, means: Tensor, p: Tensor) -> Tensor:
        """sum_k p_k mu_k + sum_k F_k (p_k c_k)."""
        c, _ = self._solve(view, s2)
        inside = (p[..., None] * c).flatten(1)  # (B,KR)
        return p @ means + inside @ self.factor.transpose(1, 2).flatten(0, 1)

    def overlap(self, s2: float, means: Tensor) -> Tensor:
        """sum_rs g_jr g_ks (u_jr u_ks)^2 with the axes u and gains g of B = sum_r g_r u_r u_r^T."""
        u, root, _ = torch.linalg.svd(self.factor.detach(), full_matrices=False)
        return _overlap(u, root.square() / (root.square() + s2))

    def width(self, dimension: int, count: int) -> int:
        """Projections and solutions of every component."""
        rank = self.factor.shape[2]
        return count * (4 + 4 * rank + (rank**2 if self.gram is None else 0)) + 4 * dimension

    def covariance(self, count: int) -> LowRank:
        """A factor per component."""
        return LowRank(self.factor.detach().clone())


class FullShape(nn.Module):
    """Sigma_k = Q_k diag(e_k) Q_k^T: in each component's own axes everything is diagonal.

    Trainable: log_spread (K,D), the logarithms of e, and turn (K,D,D), which turns the axes by
    exp(turn - turn^T); no eigenvectors are differentiated, which would fail where eigenvalues coincide.
    """

    axes: Tensor
    log_spread: Tensor

    def __init__(self, covariance: Full, trainable: bool) -> None:
        super().__init__()
        matrix = covariance.matrix.detach().double()
        spread, axes = torch.linalg.eigh((matrix + matrix.mT) / 2)
        self.register_buffer("axes", axes)
        self.turn: nn.Parameter | None = None
        if trainable:
            self.log_spread = nn.Parameter(spread.log())
            self.turn = nn.Parameter(torch.zeros_like(axes))
        else:
            self.register_buffer("log_spread", spread.log())

    def _axes(self) -> Tensor:
        if self.turn is None:
            return self.axes
        return self.axes @ torch.linalg.matrix_exp(self.turn - self.turn.mT)

    def view(self, x: Tensor, means: Tensor) -> Tensor:
        """Q_k^T (x - mu_k), (B,K,D)."""
        axes = self._axes()
        flat = axes.transpose(0, 1).reshape(x.shape[1], -1)  # (D,KD)
        return (x @ flat).reshape(-1, *means.shape) - torch.einsum("kde,kd->ke", axes, means)

    def log_density(self, x: Tensor, view: Tensor, s2: Tensor, means: Tensor) -> Tensor:
        """-(log det C + v^T C^-1 v) / 2."""
        inside = self.log_spread.exp() + s2[:, None, None]
        return -(inside.log() + view.square() / inside).sum(2) / 2

    def exact_log_density(self, x: Tensor, s2: Tensor, means: Tensor) -> Tensor:
        """The same from differences."""
        view = torch.einsum("bkd,kde->bke", x[:, None] - means, self._axes())
        return self.log_density(x, view, s2, means) - x.shape[1] / 2 * math.log(2 * math.pi)

    def rounding(self, square: float, s2: float) -> float:
        """y / sqrt(e + sigma^2) is off by a few last places of |x| / sigma, and y / sqrt(e) is seldom above 10."""
        least = float(self.log_spread.detach().min().exp()) + s2
        return 80 * EPSILON * math.sqrt(square / least)

    def mean(self, x: Tensor, view: Tensor, s2: Tensor, means: Tensor, p: Tensor) -> Tensor:
        """sum_k p_k mu_k + sum_k Q_k diag(p_k e_k / (e_k + sigma^2)) y_k."""
        spread = self.log_spread.exp()
        inside = p[..., None] * view * (spread / (spread + s2[:, None, None]))  # (B,K,D)
        return p @ means + inside.flatten(1) @ self._axes().transpose(1, 2).flatten(0, 1)

    def overlap(self, s2: float, means: Tensor) -> Tensor:
        """sum_rs g_jr g_ks (q_jr q_ks)^2 with the axes q and gains g = e / (e + sigma^2)."""
        spread = self.log_spread.detach().exp()
        return _overlap(self._axes().detach(), spread / (spread + s2))

    def width(self, dimension: int, count: int) -> int:
        """Every component's own coordinates."""
        return 6 * count * dimension

    def covariance(self, count: int) -> Full:
        """A matrix per component, symmetric to the last bit."""
        axes = self._axes().detach()
        matrix = axes * self.log_spread.detach().exp()[:, None] @ axes.mT
        return Full((matrix + matrix.mT) / 2)


def _overlap(axes: Tensor, gain: Tensor) -> Tensor:
    """tr(B_j B_k) of B_k = sum_r gain_kr axes_kr axes_kr^T, (K,D,R), (K,R) -> (K,K), one j at a time."""
    rows = [
        torch.einsum("krs,s,kr->k", (axes.mT @ own).square(), g, gain)
        for own, g in zip(axes, gain, strict=True)
    ]
    return torch.stack(rows)
