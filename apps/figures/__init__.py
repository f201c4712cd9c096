r"""Pictures for the dashboard and the report: described once, drawn by Plotly on screen and by Matplotlib on paper."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES: dict[str, str] = {
    "Picture": ".marks",
    "Table": ".marks",
    "draw_interactive": ".interactive",
    "draw_static": ".static",
    "pressure_volume": ".loops",
}

__all__ = ["Picture", "Table", "draw_interactive", "draw_static", "pressure_volume"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
