r"""The arterial network: geometry, inflow, outlets and the linear one-dimensional solver."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES: dict[str, str] = {
    "Chain": ".transmission",
    "LinearNetwork": ".linear",
    "Network": ".geometry",
    "Outlets": ".outlets",
    "SITES": ".sites",
    "Simulated": ".linear",
    "Site": ".sites",
    "Tubes": ".transmission",
    "VascularBed": ".geometry",
    "adult_network": ".geometry",
    "make_outlets": ".outlets",
    "make_tubes": ".linear",
    "solve_network": ".linear",
    "total_compliance": ".linear",
    "vascular_beds": ".geometry",
}

__all__ = [
    "Chain",
    "LinearNetwork",
    "Network",
    "Outlets",
    "SITES",
    "Simulated",
    "Site",
    "Tubes",
    "VascularBed",
    "adult_network",
    "make_outlets",
    "make_tubes",
    "solve_network",
    "total_compliance",
    "vascular_beds",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
