r"""Benchmark problems whose posterior is known: a prior, a simulator of observations, and reference draws."""

from __future__ import annotations

from importlib import import_module

_HOMES: dict[str, str] = {
    "WindkesselTask": ".windkessel_grid",
}

__all__ = [
    "WindkesselTask",
]


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
