r"""The heart and the whole circulation as a closed loop of compartments, and pressure-volume loops."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES: dict[str, str] = {
    "ADULT": ".parameters",
    "Circuit": ".circuit",
    "ClosedLoop": ".simulator",
    "EndSystolicLine": ".loops",
    "HeartNetwork": ".network",
    "Loop": ".loops",
    "NonlinearHeartNetwork": ".nonlinear",
    "Settled": ".periodic",
    "TwoHill": ".activation",
    "end_systolic_line": ".loops",
    "heart_circuit": ".parameters",
    "make_circuit": ".parameters",
    "settle": ".periodic",
    "solve_loops": ".loops",
}

__all__ = [
    "ADULT",
    "Circuit",
    "ClosedLoop",
    "EndSystolicLine",
    "HeartNetwork",
    "Loop",
    "NonlinearHeartNetwork",
    "Settled",
    "TwoHill",
    "end_systolic_line",
    "heart_circuit",
    "make_circuit",
    "settle",
    "solve_loops",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
