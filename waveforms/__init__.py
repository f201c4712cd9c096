r"""Recordings, units, quantities, beats, windows and the quality gate: what was measured, before any model."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES: dict[str, str] = {
    "Beats": ".beats",
    "BuildPlan": ".cohort_build",
    "Built": ".cohort_build",
    "Channel": ".labelling",
    "CohortTable": ".cohort_table",
    "Finding": ".quality",
    "FoundFile": ".cohort_files",
    "Numerals": ".numerals",
    "Patience": ".following",
    "Pyramid": ".pyramid",
    "QUANTITIES": ".quantities",
    "Quantity": ".quantities",
    "ROLES": ".roles",
    "Recording": ".recording",
    "RecordingError": ".errors",
    "RecordingReport": ".cohort_build",
    "References": ".cohort_references",
    "Verdict": ".quality",
    "Window": ".windows",
    "assess": ".quality",
    "build_cohort": ".cohort_build",
    "convert": ".units",
    "cross_check": ".crosscheck",
    "cut_beats": ".beat_shapes",
    "cut_windows": ".windows",
    "cut_windows_at": ".windows",
    "decimate": ".pyramid",
    "detect_beats": ".beats",
    "detect_r_peaks": ".ecg",
    "find_cohort": ".cohort_table",
    "find_recordings": ".cohort_files",
    "follow_channels": ".following",
    "guess_role": ".roles",
    "missing_share": ".recording",
    "parse_unit": ".units",
    "periodic_beat": ".beat_shapes",
    "read": ".readers",
    "read_cohort_table": ".cohort_table",
    "read_numerals": ".numerals",
    "read_references": ".cohort_references",
    "regular_starts": ".windows",
    "require_data": ".recording",
    "require_pressure_unit": ".recording",
    "unzeroed_until": ".crosscheck",
    "write_cohort_table": ".cohort_table",
}

__all__ = [
    "Beats",
    "BuildPlan",
    "Built",
    "Channel",
    "CohortTable",
    "Finding",
    "FoundFile",
    "Numerals",
    "Patience",
    "Pyramid",
    "QUANTITIES",
    "Quantity",
    "ROLES",
    "Recording",
    "RecordingError",
    "RecordingReport",
    "References",
    "Verdict",
    "Window",
    "assess",
    "build_cohort",
    "convert",
    "cross_check",
    "cut_beats",
    "cut_windows",
    "cut_windows_at",
    "decimate",
    "detect_beats",
    "detect_r_peaks",
    "find_cohort",
    "find_recordings",
    "follow_channels",
    "guess_role",
    "missing_share",
    "parse_unit",
    "periodic_beat",
    "read",
    "read_cohort_table",
    "read_numerals",
    "read_references",
    "regular_starts",
    "require_data",
    "require_pressure_unit",
    "unzeroed_until",
    "write_cohort_table",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
