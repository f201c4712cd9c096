r"""Benchmark problems: a prior, a simulator, and either reference posteriors or a reality that differs from it."""

from __future__ import annotations

from importlib import import_module

_HOMES: dict[str, str] = {
    "EpidemicTask": ".epidemic",
    "GaussianTask": ".gaussian",
    "HaemodynamicsTask": ".haemodynamics",
    "PendulumTask": ".pendulum",
    "Task": ".task",
    "TumourTask": ".tumour",
    "WindkesselTask": ".windkessel_grid",
}

__all__ = [
    "EpidemicTask",
    "GaussianTask",
    "HaemodynamicsTask",
    "PendulumTask",
    "Task",
    "TumourTask",
    "WindkesselTask",
]


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
