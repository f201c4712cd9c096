r"""The non-linear one-dimensional network: batched, in JAX and as a compiled kernel, to a bounded periodic state."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES: dict[str, str] = {
    "Grid": ".grid",
    "NetworkFailure": ".solution",
    "NetworkSolution": ".solution",
    "NonlinearNetwork": ".simulator",
    "PeriodicSettings": ".periodic",
    "PeriodicSolution": ".periodic",
    "Physics": ".grid",
    "Probe": ".grid",
    "make_grid": ".grid",
    "model_physics": ".physics",
    "solve_model": ".solution",
    "solve_periodic": ".periodic",
    "write_waves": ".solution",
}

__all__ = [
    "Grid",
    "NetworkFailure",
    "NetworkSolution",
    "NonlinearNetwork",
    "PeriodicSettings",
    "PeriodicSolution",
    "Physics",
    "Probe",
    "make_grid",
    "model_physics",
    "solve_model",
    "solve_periodic",
    "write_waves",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
