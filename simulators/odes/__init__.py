r"""Ordinary differential equations: a grammar, a library of named systems, a random generator and corruption."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES: dict[str, str] = {
    "Factor": ".grammar",
    "System": ".grammar",
    "Term": ".grammar",
}

__all__ = [
    "Factor",
    "System",
    "Term",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
