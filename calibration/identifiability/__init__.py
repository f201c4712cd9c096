r"""What each signal can tell: information, regimes and trade-offs of every channel, and of channels together."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES: dict[str, str] = {
    "AtlasConfig": ".plan",
    "BundleStudy": ".study",
    "Cell": ".cells",
    "CellKey": ".cells",
    "Measured": ".plan",
    "People": ".study",
    "Regimes": ".regimes",
    "Sensitivity": ".sobol",
    "Separator": ".regimes",
    "Study": ".study",
    "TwoModes": ".modes",
    "age_trends": ".trends",
    "atlas_of": ".atlas",
    "checks": ".findings",
    "compare_sensitivity": ".atlas",
    "dip": ".dip",
    "dip_p_value": ".dip",
    "dips": ".dip",
    "entropy": ".information",
    "find_regimes": ".regimes",
    "gains": ".findings",
    "given_data_index": ".sobol",
    "individual_map": ".findings",
    "information": ".information",
    "measure_cell": ".cells",
    "modal_share": ".regimes",
    "next_channel": ".findings",
    "noise_reach": ".noise",
    "people_by_age": ".trends",
    "plan_cells": ".plan",
    "regimes_of": ".findings",
    "run_cells": ".plan",
    "scale_noise": ".noise",
    "separators": ".regimes",
    "sobol_indices": ".sobol",
    "sobol_of_study": ".sobol",
    "summary_of": ".cells",
    "table_rows": ".atlas",
    "trade_offs": ".findings",
    "two_modes": ".modes",
    "wave_covariates": ".covariates",
    "without": ".study",
}

__all__ = [
    "AtlasConfig",
    "BundleStudy",
    "Cell",
    "CellKey",
    "Measured",
    "People",
    "Regimes",
    "Sensitivity",
    "Separator",
    "Study",
    "TwoModes",
    "age_trends",
    "atlas_of",
    "checks",
    "compare_sensitivity",
    "dip",
    "dip_p_value",
    "dips",
    "entropy",
    "find_regimes",
    "gains",
    "given_data_index",
    "individual_map",
    "information",
    "measure_cell",
    "modal_share",
    "next_channel",
    "noise_reach",
    "people_by_age",
    "plan_cells",
    "regimes_of",
    "run_cells",
    "scale_noise",
    "separators",
    "sobol_indices",
    "sobol_of_study",
    "summary_of",
    "table_rows",
    "trade_offs",
    "two_modes",
    "wave_covariates",
    "without",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
