r"""The arterial network: geometry, inflow, outlets and the linear one-dimensional solver."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES: dict[str, str] = {
    "Chain": ".transmission",
    "InflowWave": ".model",
    "LinearNetwork": ".linear",
    "Network": ".geometry",
    "NetworkModel": ".model",
    "Outlet": ".model",
    "Outlets": ".outlets",
    "SITES": ".sites",
    "Simulated": ".linear",
    "Site": ".sites",
    "Tubes": ".transmission",
    "VascularBed": ".geometry",
    "Vessel": ".model",
    "adult_network": ".geometry",
    "make_outlets": ".outlets",
    "make_tubes": ".linear",
    "solve_network": ".linear",
    "total_compliance": ".linear",
    "vascular_beds": ".geometry",
}

__all__ = [
    "Chain",
    "InflowWave",
    "LinearNetwork",
    "Network",
    "NetworkModel",
    "Outlet",
    "Outlets",
    "SITES",
    "Simulated",
    "Site",
    "Tubes",
    "VascularBed",
    "Vessel",
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
