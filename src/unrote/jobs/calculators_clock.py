"""The formulas of "Bigger Isn't Always Memorizing": options of their calculators; no slow imports here."""

from __future__ import annotations

from dataclasses import dataclass

from unrote.jobs.formula import Calculator, Formula


@dataclass(frozen=True, kw_only=True)
class KernelConstantsOptions(Formula):
    """How does the rate at which a kernel memorizes depend on the dimension? beta, gamma and their ratio."""

    dimension: int
    """d."""
    nu: float
    """Exponent of the kernel near its diagonal, K = 1 - C |x - y|^nu: 1 for the tangent kernel of ReLUs, 2 for their
    random features."""


@dataclass(frozen=True, kw_only=True)
class MemorizationTimeOptions(Formula):
    """After which time of gradient flow has a kernel memorized P points at one noise level?"""

    points: tuple[int, ...]
    """P, one or more numbers."""
    sigma: tuple[float, ...]
    """Noise levels, in the units of the data; one or more numbers."""
    dimension: int
    """d."""
    nu: float = 1.0
    """Exponent of the kernel near its diagonal: 1 for the tangent kernel of ReLUs, 2 for their random features."""
    coefficient: float | None = None
    """C of K = 1 - C |x - y|^nu; for nu = 1 and 2 that of ReLUs at points of length sqrt(d), unless given."""
    rate: float | None = None
    """Learning rate: times are then steps of gradient descent on half the squared error."""


@dataclass(frozen=True, kw_only=True)
class GrammarOptions(Formula):
    """How many strings does a Random Hierarchy Model have, and from how many are its rules learned?"""

    vocabulary: int
    """v, the symbols of each layer."""
    rules: int
    """m, in how many ways a symbol is spelled out."""
    layers: int
    """L, the depth of the tree."""
    branching: int = 2
    """s, how many symbols a symbol becomes."""
    classes: int | None = None
    """The symbols at the top; v unless given."""
    trained: int | None = None
    """P, different training strings: how often does a perfect model generate one of them by chance?"""


_CLOCK = "unrote.jobs.formulas_clock"

CLOCK = (
    Calculator(
        "memorization-time",
        MemorizationTimeOptions,
        f"{_CLOCK}:memorization_time",
        "when a kernel has learned the score of its training points",
    ),
    Calculator(
        "kernel-constants",
        KernelConstantsOptions,
        f"{_CLOCK}:kernel_constants",
        "beta and gamma of a kernel's memorization time",
    ),
    Calculator(
        "grammar",
        GrammarOptions,
        "unrote.jobs.formulas_grammar:grammar",
        "strings of a random hierarchy model, and from how many its rules are learned",
    ),
)
