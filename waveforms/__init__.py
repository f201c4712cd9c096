r"""Recordings, units, quantities, beats, windows and the quality gate: what was measured, before any model."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES: dict[str, str] = {
    "Beats": ".beats",
    "Channel": ".labelling",
    "CohortTable": ".cohort_table",
    "Finding": ".quality",
    "Numerals": ".numerals",
    "Pyramid": ".pyramid",
    "QUANTITIES": ".quantities",
    "Quantity": ".quantities",
    "ROLES": ".roles",
    "Recording": ".recording",
    "RecordingError": ".errors",
    "Verdict": ".quality",
    "Window": ".windows",
    "assess": ".quality",
    "convert": ".units",
    "cross_check": ".crosscheck",
    "cut_beats": ".beat_shapes",
    "cut_windows": ".windows",
    "decimate": ".pyramid",
    "detect_beats": ".beats",
    "detect_r_peaks": ".ecg",
    "guess_role": ".roles",
    "missing_share": ".recording",
    "parse_unit": ".units",
    "periodic_beat": ".beat_shapes",
    "read": ".readers",
    "read_cohort_table": ".cohort_table",
    "read_numerals": ".numerals",
    "require_data": ".recording",
    "require_pressure_unit": ".recording",
    "unzeroed_until": ".crosscheck",
}

__all__ = [
    "Beats",
    "Channel",
    "CohortTable",
    "Finding",
    "Numerals",
    "Pyramid",
    "QUANTITIES",
    "Quantity",
    "ROLES",
    "Recording",
    "RecordingError",
    "Verdict",
    "Window",
    "assess",
    "convert",
    "cross_check",
    "cut_beats",
    "cut_windows",
    "decimate",
    "detect_beats",
    "detect_r_peaks",
    "guess_role",
    "missing_share",
    "parse_unit",
    "periodic_beat",
    "read",
    "read_cohort_table",
    "read_numerals",
    "require_data",
    "require_pressure_unit",
    "unzeroed_until",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
