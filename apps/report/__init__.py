r"""Reports: the figures of the dashboard in one HTML file that needs no network and can be printed."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES: dict[str, str] = {
    "atlas_page": ".atlas",
    "atlas_pictures": ".atlas",
    "cohort_page": ".cohort",
    "evaluation_page": ".evaluation",
    "gap_page": ".cohort",
    "html_page": ".cohort",
    "html_table": ".cohort",
    "report_page": ".page",
    "validation_page": ".validation",
}

__all__ = [
    "atlas_page",
    "atlas_pictures",
    "cohort_page",
    "evaluation_page",
    "gap_page",
    "html_page",
    "html_table",
    "report_page",
    "validation_page",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
