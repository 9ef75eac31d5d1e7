"""Questions to a trained denoiser of tokens, level by level: which one is asked, and whether it knows by heart."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int, Integer
from torch import Tensor, nn

from unrote.contracts import Randomness, TokenDenoiser, over
from unrote.denoise.tokens import TokenEmpirical
from unrote.noise.tokens import TokenProcess


class TokenSwitch(nn.Module):
    """One denoiser of tokens per range of levels: a swap within a window, the others outside.

    Args:
        edges: increasing levels that part the ranges; a level on an edge belongs to the range above.
        denoisers: one more than edges, for the lowest range first.

    Raises:
        ValueError: for edges that do not increase, or another number of denoisers.

    Source: 001 section 5.2 (swapping denoisers by noise level), for tokens.
    """

    def __init__(self, edges: Sequence[float], denoisers: Sequence[TokenDenoiser]) -> None:
        super().__init__()
        if len(denoisers) != len(edges) + 1 or list(edges) != sorted(set(edges)):
            raise ValueError(
                f"TokenSwitch takes increasing edges and one denoiser more than edges, got edges {list(edges)} "
                f"and {len(denoisers)} denoisers"
            )
        self.edges = tuple(float(edge) for edge in edges)
        self.denoisers = tuple(denoisers)
        # Networks are also registered, so that .to(device) and .eval() reach them.
        self.networks = nn.ModuleList(d for d in denoisers if isinstance(d, nn.Module))

    def forward(
        self, x: Integer[Tensor, "B L"], t: Float[Tensor, " B"], condition: Int[Tensor, " B"] | None = None
    ) -> Float[Tensor, "B L V"]:
        """Each row goes to the denoiser of its level; float64, since denoisers may differ in precision."""
        over(t, x)
        part = torch.bucketize(t, t.new_tensor(self.edges), right=True)
        result: Tensor | None = None
        for which in part.unique().tolist():
            rows = part == which
            told = self.denoisers[which](x[rows], t[rows], None if condition is None else condition[rows])
            if result is None:
                result = torch.empty(*x.shape, told.shape[2], dtype=torch.float64, device=x.device)
            result[rows] = told.double()
        return result if result is not None else self.denoisers[0](x, t, condition).double()


def recall(
    denoiser: TokenDenoiser,
    exact: TokenDenoiser,
    process: TokenProcess,
    train: Integer[Tensor, "N L"],
    x0: Integer[Tensor, "B L"],
    t: Float[Tensor, " B"],
    generator: Randomness,
) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"]]:
    """What a model knows of noisy training strings beyond the language, and what there is to know, nats per token.

    Between the exact denoiser of the language and that of the training strings alone (by heart),

        known = KL(heart | exact) - KL(heart | model),  to know = KL(heart | exact),

    so that the mean of `known` over the mean of `to know` is 0 for the language's own denoiser, 1 for one that has
    learned the training strings by heart, and negative for one that knows less than the language. On training strings
    it is (log p_model - log p_exact) / (log p_heart - log p_exact) of the true tokens, without the noise of x0.

    Args:
        denoiser: the model.
        exact: the language's denoiser.
        process: how strings are destroyed.
        train: all training strings (N,L).
        x0: those of them that are noised (B,L).
        t: a level per string (B,).
        generator: of the noise.

    Returns:
        known and to know, a value per string.

    Source: 001 Figure 1 asks the same of squared errors, without the language's denoiser; both divergences are those of
    `unrote.denoise.tokens.excess_loss`.
    """
    x = process.noise(x0, t, generator)
    log_p = TokenEmpirical(train, process)(x, t)
    best, model = (told(x, t).double() for told in (exact, denoiser))
    p = log_p.exp()
    most = torch.where(p > 0, p * (log_p - best), 0.0).sum(2).mean(1)
    return torch.where(p > 0, p * (model - best), 0.0).sum(2).mean(1), most
