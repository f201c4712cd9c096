r"""Networks as files: the documented TOML format, openBF's YAML, and the networks that are shipped."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES: dict[str, str] = {
    "NetworkFileError": ".lines",
    "is_openbf": ".openbf",
    "load_network": ".toml_format",
    "network_to_toml": ".toml_format",
    "read_network": ".toml_format",
    "read_openbf": ".openbf",
    "shipped_networks": ".toml_format",
}

__all__ = [
    "NetworkFileError",
    "is_openbf",
    "load_network",
    "network_to_toml",
    "read_network",
    "read_openbf",
    "shipped_networks",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
