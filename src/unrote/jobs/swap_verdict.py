"""What a swap comes to: which windows flip copying, and the words for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from torch import Tensor

from unrote.contracts import Estimate
from unrote.jobs.swap_windows import THIRDS, Named
from unrote.measure.estimate import wilson
from unrote.report.format import number, percent, ratio
from unrote.sample.windows import Window


class Copying(Enum):
    """What a window of the other model's levels does to copying."""

    FLIPS = "flips"
    STAYS = "stays"
    OPEN = "open"


ONLY_MEDIUM = {"large": Copying.STAYS, "medium": Copying.FLIPS, "small": Copying.STAYS}
"""What the paper found, in both directions."""


@dataclass(frozen=True)
class Drawn:
    """Samples of one window.

    Args:
        copied: which are copies (n,).
        quality: Frechet distance to held-out images, or None where it was not measured.
        shown: a few samples in [-1, 1] (k,C,H,W).
        nearest: their nearest training images (k,).
        shown_copied: which of them are copies (k,).
    """

    copied: Tensor
    quality: Estimate | None
    shown: Tensor
    nearest: Tensor
    shown_copied: Tensor

    @property
    def ratio(self) -> Estimate:
        """The copy ratio with Wilson's interval."""
        return wilson(int(self.copied.sum()), len(self.copied))


@dataclass(frozen=True)
class Direction:
    """One model with windows of the other's levels.

    Args:
        key: "other in model" or "model in other".
        names: of the model, and of the one within the window.
        full: the window of all levels: the other model alone.
        drawn: samples by window; of None, the model alone.
    """

    key: str
    names: tuple[str, str]
    full: Window
    drawn: Mapping[Window | None, Drawn]

    @property
    def contrast(self) -> bool:
        """Whether the two models copy differently, beyond both intervals."""
        a, b = _ends(self.drawn[None].ratio), _ends(self.drawn[self.full].ratio)
        return a[1] < b[0] or b[1] < a[0]

    @property
    def falls(self) -> bool:
        """Whether the model copies more than the one within the window."""
        own, others = (self.drawn[key].ratio.value or 0.0 for key in (None, self.full))
        return own > others

    def verdict(self, window: Window) -> Copying:
        """Flips where the interval lies on the other model's side of the middle between both, stays on its own side."""
        if not self.contrast:
            return Copying.OPEN
        own, others = (self.drawn[key].ratio.value or 0.0 for key in (None, self.full))
        middle = (own + others) / 2
        low, high = _ends(self.drawn[window].ratio)
        if low <= middle <= high:
            return Copying.OPEN
        return Copying.FLIPS if (low > middle) != self.falls else Copying.STAYS


def _ends(e: Estimate) -> tuple[float, float]:
    return e.low or 0.0, 1.0 if e.high is None else e.high


def sentence(windows: Sequence[Named], levels: Tensor, directions: Sequence[Direction]) -> str:
    """Which of the paper's parts of the schedule flips copying, counted from 0."""
    first = directions[0]
    if not first.contrast:
        a, b = (_share(first.drawn[key].ratio) for key in (None, first.full))
        return (
            f"A copies {a} and B {b}, which do not differ beyond their intervals: no window can flip copying. Take a "
            "model that copies as A and one that does not as B."
        )
    source = windows[0].source
    return told([w for w in windows if w.source == source], levels, directions)


def details(windows: Sequence[Named], levels: Tensor, directions: Sequence[Direction]) -> tuple[str, ...]:
    """The same for the other partitions of the schedule."""
    if not directions[0].contrast:
        return ()
    sources = [
        s for s in dict.fromkeys(w.source for w in windows if w.name in THIRDS) if s != windows[0].source
    ]
    return tuple(
        f"{_upper(s)}: {told([w for w in windows if w.source == s], levels, directions)}" for s in sources
    )


def told(parts: Sequence[Named], levels: Tensor, directions: Sequence[Direction]) -> str:
    """Which of the parts of one partition flip copying, in each direction."""
    effects = [{p.name: d.verdict(p.window) for p in parts} for d in directions]
    if all(e == ONLY_MEDIUM for e in effects):
        medium = next(p.window for p in parts if p.name == "medium")
        a, b = (f"{d.names[1]} there flips {_flipped(d, medium)}" for d in directions)
        return f"Only the medium levels (sigma {span(medium, levels)}) decide: {a}; {b}."
    return _upper(
        "; ".join(_one_way(d, parts, effect) for d, effect in zip(directions, effects, strict=True)) + "."
    )


def _one_way(direction: Direction, parts: Sequence[Named], effect: Mapping[str, Copying]) -> str:
    """What the windows of one direction do."""
    outside, inside = direction.names
    window = {p.name: p.window for p in parts}
    flips, unsure = ([n for n in effect if effect[n] is one] for one in (Copying.FLIPS, Copying.OPEN))
    said = [f"{inside} at the {n} levels flips {_flipped(direction, window[n])}" for n in flips]
    if not flips:
        said = [f"none of {inside}'s windows {'surely ' if unsure else ''}flips {outside}'s copying"]
    said += [f"with {inside} at the {n} levels it is open ({_change(direction, window[n])})" for n in unsure]
    return ", ".join(said)


def _flipped(direction: Direction, window: Window) -> str:
    return f"{direction.names[0]}'s copying ({_change(direction, window)})"


def _change(direction: Direction, window: Window) -> str:
    """From which to which ratio a window takes a model."""
    before, after = (direction.drawn[key].ratio for key in (None, window))
    return f"{percent(before.value) if before.value else _share(before)} to {_share(after)}"


def _share(e: Estimate) -> str:
    return ratio(e).split(", n = ")[0]


def _upper(text: str) -> str:
    return text[0].upper() + text[1:]


def span(window: Window, levels: Tensor) -> str:
    """The noise levels of a window, in sampling order."""
    high, low = (number(float(levels[k])) for k in (window.first, window.last))
    return high if window.first == window.last else f"{high} to {low}".replace(" ", "\u00a0")


def steps(window: Window, base: int = 0) -> str:
    """The numbers of a window's steps."""
    first, last = window.first + base, window.last + base
    return str(first) if first == last else f"{first}–{last}"


def table_lines(windows: Sequence[Named], levels: Tensor, directions: Sequence[Direction]) -> list[str]:
    """Every window for a terminal."""
    first = directions[0]
    head = f"  {'window':<12} {'sigma':<18} {'A, window by B':<30} {'B, window by A':<30}".rstrip()
    lines = [head]
    for key, name in ((None, "none"), (first.full, "all")):
        cells = [directions[0].drawn[key], directions[1].drawn[key]]
        lines.append(_line(name, "", cells))
    source = ""
    for named in windows:
        if named.source != source:
            source = named.source
            lines.append(f"  {source}")
        lines.append(
            _line(named.name, span(named.window, levels), [d.drawn[named.window] for d in directions])
        )
    return lines


def _line(name: str, where: str, cells: Sequence[Drawn]) -> str:
    return f"  {name:<12} {where:<18} {_share(cells[0].ratio):<30} {_share(cells[1].ratio):<30}".rstrip()
