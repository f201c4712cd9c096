r"""The open data set VitalDB: its web interface, a cache of whole files, its track names and reference monitors."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES: dict[str, str] = {
    "Cache": ".cache",
    "Entry": ".cache",
    "MONITORS": ".tracks",
    "Monitor": ".tracks",
    "Outcome": ".client",
    "Patience": ".transfer",
    "SourceError": ".errors",
    "TERMS": ".client",
    "Tracks": ".tracks",
    "VitalDB": ".client",
    "default_cache": ".cache",
    "download": ".transfer",
    "open_case": ".tracks",
}

__all__ = [
    "Cache",
    "Entry",
    "MONITORS",
    "Monitor",
    "Outcome",
    "Patience",
    "SourceError",
    "TERMS",
    "Tracks",
    "VitalDB",
    "default_cache",
    "download",
    "open_case",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
