r"""What can be promised: diagnostics of posteriors on simulations and on real recordings."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES: dict[str, str] = {
    "Held": ".produce",
    "SBC": ".diagnostics",
    "contraction": ".diagnostics",
    "coverage": ".diagnostics",
    "holm": ".diagnostics",
    "measure": ".evaluate",
    "median_error": ".diagnostics",
    "ranks": ".diagnostics",
    "sbc": ".diagnostics",
}

__all__ = [
    "Held",
    "SBC",
    "contraction",
    "coverage",
    "holm",
    "measure",
    "median_error",
    "ranks",
    "sbc",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
