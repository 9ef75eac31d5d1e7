"""What a swap comes to: which windows flip copying, and the words for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from torch import Tensor

from unrote.contracts import Estimate
from unrote.jobs.swap_windows import THIRDS, Named
from unrote.measure.estimate import wilson
from unrote.report.format import number, ratio
from unrote.sample.windows import Window


class Copying(Enum):
    """What a window of the other model's levels does to copying."""

    FLIPS = "flips"
    STAYS = "stays"
    OPEN = "open"


@dataclass(frozen=True)
class Drawn:
    """Samples of one window.

    Args:
        copied: which are copies (n,).
        quality: Frechet distance to held-out images, or None where it was not measured.
        shown: the first few samples in [-1, 1] (k,C,H,W).
        nearest: their nearest training images (k,).
    """

    copied: Tensor
    quality: Estimate | None
    shown: Tensor
    nearest: Tensor

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

    def verdict(self, window: Window) -> Copying:
        """Flips where the interval lies on the other model's side of the middle between both, stays on its own side."""
        if not self.contrast:
            return Copying.OPEN
        own, others = (self.drawn[key].ratio.value or 0.0 for key in (None, self.full))
        middle = (own + others) / 2
        low, high = _ends(self.drawn[window].ratio)
        if low <= middle <= high:
            return Copying.OPEN
        return Copying.FLIPS if (low > middle) == (others > own) else Copying.STAYS


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
        f"{s[0].upper()}{s[1:]}: {_lower(told([w for w in windows if w.source == s], levels, directions))}"
        for s in sources
    )


def told(parts: Sequence[Named], levels: Tensor, directions: Sequence[Direction]) -> str:
    """Which of the parts of one partition flip copying, in each direction."""
    flips = [[p for p in parts if d.verdict(p.window) is Copying.FLIPS] for d in directions]
    names = [[p.name for p in found] for found in flips]
    if names == [["medium"], ["medium"]]:
        medium = flips[0][0]
        a, b = (_moved(d, medium.window) for d in directions)
        where = f"sigma {span(medium.window, levels)}"
        return f"Only the medium levels, {where}, flip copying, in both directions: {a}; {b}."
    if not any(names):
        return (
            "None of the large, medium and small levels flips copying by itself, in either direction: "
            + "; ".join(_moved(d, p.window, p.name) for d in directions for p in parts if p.name == "medium")
            + "."
        )
    said = []
    for d, found in zip(directions, flips, strict=True):
        inside = d.names[1]
        if found:
            said += [f"{_moved(d, p.window, p.name)}, which flips it" for p in found]
        else:
            said.append(f"no window of {inside}'s levels flips the copying of {d.names[0]}")
    return _upper("; ".join(said) + ".")


def _moved(direction: Direction, window: Window, name: str = "") -> str:
    """From which to which ratio a window takes a model."""
    outside, inside = direction.names
    before, after = (_share(direction.drawn[key].ratio) for key in (None, window))
    where = f"{inside} at the {name} levels" if name else f"{inside} there"
    return f"{where} takes {outside} from {before} to {after} copies"


def _share(e: Estimate) -> str:
    return ratio(e).split(", n = ")[0]


def _lower(text: str) -> str:
    return text[0].lower() + text[1:] if text[1:2].islower() else text


def _upper(text: str) -> str:
    return text[0].upper() + text[1:]


def span(window: Window, levels: Tensor) -> str:
    """The noise levels of a window, in sampling order."""
    high, low = (number(float(levels[k])) for k in (window.first, window.last))
    return high if window.first == window.last else f"{high} to {low}"


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
