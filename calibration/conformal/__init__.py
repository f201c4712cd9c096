r"""Conformal regions: scores of targets, limits that keep their promise with few cases, regions as objects."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES: dict[str, str] = {
    "BoxGauge": ".gauge",
    "Conformal": ".split",
    "Coordinates": ".region",
    "CoverageLaw": ".order",
    "CrossConformal": ".cross",
    "GroupedConformal": ".split",
    "HPD": ".draws",
    "LatentNorm": ".draws",
    "NormGauge": ".gauge",
    "OnlineLimit": ".online",
    "PCP": ".draws",
    "PlainResidual": ".residual",
    "Plane": ".region",
    "PosteriorResidual": ".residual",
    "Prediction": ".prediction",
    "QuantileBox": ".draws",
    "Range": ".region",
    "Region": ".region",
    "Regions": ".region",
    "ResidualScore": ".residual",
    "Volume": ".region",
    "WeightedConformal": ".split",
    "conformal_limit": ".order",
    "coverage_law": ".order",
    "cross_conformal": ".cross",
    "cross_promise": ".cross",
    "fewest": ".order",
    "group_limits": ".weighted",
    "grouped_conformal": ".split",
    "hierarchical_limit": ".patients",
    "hierarchical_p_values": ".patients",
    "jackknife_conformal": ".cross",
    "make_folds": ".cross",
    "one_window_limit": ".patients",
    "order_index": ".order",
    "p_values": ".order",
    "patient_conformal": ".split",
    "split_conformal": ".split",
    "weighted_conformal": ".split",
    "weighted_limits": ".weighted",
}

__all__ = [
    "BoxGauge",
    "Conformal",
    "Coordinates",
    "CoverageLaw",
    "CrossConformal",
    "GroupedConformal",
    "HPD",
    "LatentNorm",
    "NormGauge",
    "OnlineLimit",
    "PCP",
    "PlainResidual",
    "Plane",
    "PosteriorResidual",
    "Prediction",
    "QuantileBox",
    "Range",
    "Region",
    "Regions",
    "ResidualScore",
    "Volume",
    "WeightedConformal",
    "conformal_limit",
    "coverage_law",
    "cross_conformal",
    "cross_promise",
    "fewest",
    "group_limits",
    "grouped_conformal",
    "hierarchical_limit",
    "hierarchical_p_values",
    "jackknife_conformal",
    "make_folds",
    "one_window_limit",
    "order_index",
    "p_values",
    "patient_conformal",
    "split_conformal",
    "weighted_conformal",
    "weighted_limits",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
