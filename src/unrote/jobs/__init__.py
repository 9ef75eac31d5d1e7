"""One function for every command: DATA and MODEL in, a frozen result out.

``unrote.jobs.audit(AuditOptions(train="digits", samples="mine.npz"))`` is what ``unrote audit`` runs.
Names are loaded when they are first used, so that asking for help stays quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from unrote.jobs.options import (
    AdviseOptions,
    AuditOptions,
    ClaimsOptions,
    ConvertOptions,
    DemoOptions,
    GeometryOptions,
    ProbeOptions,
    ReproduceOptions,
    SwapOptions,
    TrainOptions,
)
from unrote.jobs.options_forecast import ForecastOptions

_PLACES = {
    "audit": "unrote.jobs.auditing",
    "convert": "unrote.jobs.converting",
    "demo": "unrote.jobs.demonstration",
    "forecast": "unrote.jobs.forecasting",
    "geometry": "unrote.jobs.surveying",
    "probe": "unrote.jobs.probing",
    "swap": "unrote.jobs.swapping",
    "theory": "unrote.jobs.calculating",
    "train": "unrote.jobs.training",
}

__all__ = [
    "AdviseOptions",
    "AuditOptions",
    "ClaimsOptions",
    "ConvertOptions",
    "DemoOptions",
    "ForecastOptions",
    "GeometryOptions",
    "ProbeOptions",
    "ReproduceOptions",
    "SwapOptions",
    "TrainOptions",
    "audit",
    "convert",
    "demo",
    "forecast",
    "geometry",
    "probe",
    "swap",
    "theory",
    "train",
]


def __getattr__(name: str) -> Any:
    """Load a command's function on first use."""
    if name in _PLACES:
        return getattr(import_module(_PLACES[name]), name)
    raise AttributeError(f"unrote.jobs has no {name!r}; it has {', '.join(__all__)}")
