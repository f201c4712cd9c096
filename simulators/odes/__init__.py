r"""Ordinary differential equations: a grammar, a library of named systems, a random generator and corruption."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES: dict[str, str] = {
    "Corruption": ".corruption",
    "Exclusions": ".exclusions",
    "Factor": ".grammar",
    "Generator": ".generator",
    "LIBRARY": ".library",
    "NamedSystem": ".library",
    "Packed": ".packed",
    "Prior": ".prior",
    "RandomSystem": ".generator",
    "ShardConfig": ".shards",
    "Solution": ".integration",
    "Stepping": ".integration",
    "System": ".grammar",
    "Term": ".grammar",
    "integrate": ".integration",
    "make_shards": ".shards",
    "odebench_exclusions": ".exclusions",
    "pack": ".packed",
    "simulate_named": ".library",
    "unpack": ".packed",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
