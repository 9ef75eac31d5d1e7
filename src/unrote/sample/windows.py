"""Windows of a schedule: samples of one model whose levels within a window are denoised by another.

Samples are paired: every window starts from the same noise. Windows that begin alike share what they
have in common, so that all windows of a schedule cost about a third of sampling each by itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from unrote.contracts import Denoiser, Step, normal
from unrote.sample.steps import conditioned, edm_start, euler, seeded


@dataclass(frozen=True, order=True)
class Window:
    """Neighbouring levels of a schedule, both ends included.

    Args:
        first, last: indices into the levels, from 0, so that 0 is the highest level.
    """

    first: int
    last: int

    def __post_init__(self) -> None:
        if not 0 <= self.first <= self.last:
            raise ValueError(f"a window needs 0 <= first <= last, got {self.first} and {self.last}")

    def __contains__(self, index: int) -> bool:
        """Whether the level of this index lies in the window."""
        return self.first <= index <= self.last


def all_windows(steps: int) -> list[Window]:
    """Every window of a schedule: steps (steps + 1)/2 of them, ordered by first and last.

    Args:
        steps: levels at which a denoiser is asked, the closing 0 not counted.
    """
    return [Window(first, last) for first in range(steps) for last in range(first, steps)]


def window_within(levels: Float[Tensor, " T"], low: float, high: float) -> Window | None:
    """The window of all levels with low <= sigma <= high, or None if there is no such level.

    Args:
        levels: decreasing levels (T,); a closing 0 is in no window.
        low, high: ends, sigma; infinite where a side is open.
    """
    inside = torch.nonzero((levels >= low) & (levels <= high) & (levels > 0)).flatten().tolist()
    return Window(inside[0], inside[-1]) if inside else None


@torch.no_grad()
def swapped(
    model: Denoiser,
    other: Denoiser,
    shape: Sequence[int],
    seeds: Sequence[int],
    levels: Float[Tensor, " T"],
    windows: Sequence[Window | None],
    step: Step = euler,
    batch_size: int = 256,
    device: torch.device | str = "cpu",
    condition: Tensor | None = None,
) -> Iterator[tuple[Window | None, Tensor]]:
    """Sample with one model, asking the other at the levels of a window; yields each window with its samples.

    The samples of a window are those that ``sample.steps.generate`` would draw from a denoiser that is
    `other` at levels[first..last] and `model` elsewhere, bit for bit. A step that asks at both of its
    ends (Heun's) asks at each the denoiser of that level. Windows come in the order of their paths
    through the schedule, not in the order in which they were given.

    Args:
        shape: of one sample.
        seeds: one for each sample; the same noise starts every window.
        levels: decreasing levels (T,), ending with 0.
        windows: what is replaced; None for nothing.
        condition: what both denoisers are told of each sample (n,...), or None.

    Returns:
        pairs of a window and its samples, (n,*E) on the CPU, float32.

    Raises:
        ValueError: if a window has no place in the schedule, or the levels do not decrease.

    Source: 001 section 5.2, Table 1.
    """
    asked = len(levels) - 1
    if bool((levels.diff() >= 0).any()) or bool((levels < 0).any()):
        raise ValueError(f"levels must decrease and stay at or above 0, got {levels.tolist()}")
    for window in windows:
        if window is not None and window.last >= asked:
            raise ValueError(f"{window} does not fit a schedule of {asked} levels and the closing 0")
    plan = _Plan((model, other), levels.tolist(), step, batch_size, device, condition, seeded(seeds))
    z = normal((len(seeds), *shape), plan.streams) if len(seeds) else torch.empty(0, *shape)
    yield from _walk(plan, edm_start(z, float(levels[0])), 0, list(dict.fromkeys(windows)))


@dataclass(frozen=True)
class _Plan:
    """What every step of every window has in common."""

    denoisers: tuple[Denoiser, Denoiser]
    levels: list[float]
    step: Step
    batch_size: int
    device: torch.device | str
    condition: Tensor | None
    streams: list[torch.Generator]

    def chosen(self, window: Window | None, index: int) -> int:
        """Which denoiser a level is for: 1 within the window, 0 elsewhere, and at the closing 0 the last one."""
        return int(window is not None and min(index, len(self.levels) - 2) in window)


def _walk(
    plan: _Plan, x: Tensor, index: int, windows: list[Window | None]
) -> Iterator[tuple[Window | None, Tensor]]:
    """Follow the windows that have led to one state from there on, parting where they part."""
    if index == len(plan.levels) - 1:
        yield from ((window, x) for window in windows)
        return
    parts: dict[tuple[int, int], list[Window | None]] = {}
    for window in windows:
        parts.setdefault((plan.chosen(window, index), plan.chosen(window, index + 1)), []).append(window)
    before = after = [stream.get_state() for stream in plan.streams] if len(parts) > 1 else []
    previous, moved, looked = -1, x, True
    for here, there in sorted(parts):
        if here != previous or looked:  # a step that did not look ahead ends alike whatever comes next
            _rewind(plan.streams, before)
            moved, looked = _move(plan, x, index, here, there)
            after = [stream.get_state() for stream in plan.streams] if len(parts) > 1 else []
        else:
            _rewind(plan.streams, after)
        previous = here
        yield from _walk(plan, moved, index + 1, parts[here, there])


def _rewind(streams: list[torch.Generator], states: list[Tensor]) -> None:
    """Put streams back to where they were; without states they stay, since nothing parted."""
    for stream, state in zip(streams, states, strict=False):
        stream.set_state(state)


def _move(plan: _Plan, x: Tensor, index: int, here: int, there: int) -> tuple[Tensor, bool]:
    """One step of all samples, batch by batch, and whether it asked at the level that it leads to."""
    done, ahead = [], [False]
    for first in range(0, len(x), plan.batch_size):
        rows = slice(first, first + plan.batch_size)
        part = x[rows].to(plan.device)
        level, following = (part.new_full((len(part),), plan.levels[k]) for k in (index, index + 1))
        ask = _between(plan.denoisers[here], plan.denoisers[there], following, ahead)
        given = None if plan.condition is None else plan.condition[rows].to(plan.device)
        done.append(plan.step(conditioned(ask, given), part, level, following, plan.streams[rows]).cpu())
    return (torch.cat(done) if done else x), any(ahead)


def _between(here: Denoiser, there: Denoiser, following: Tensor, ahead: list[bool]) -> Denoiser:
    """One denoiser, and another at the level that a step leads to; notes in `ahead` when that one is asked."""

    def ask(x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
        ahead.append(torch.equal(sigma, following))
        return (there if ahead[-1] else here)(x, sigma, condition)

    return ask
