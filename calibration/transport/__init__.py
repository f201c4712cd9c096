r"""Couplings between two clouds of points, and what follows from them: rows, maps, weights."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES: dict[str, str] = {
    "Cost": ".costs",
    "Coupling": ".coupling",
    "EntropicConfig": ".sinkhorn",
    "ExactPlan": ".plans",
    "LowRankPlan": ".plans",
    "ProgressiveMap": ".continuous",
    "entropic": ".sinkhorn",
    "exact_plan": ".plans",
    "low_rank_plan": ".plans",
    "median_cost": ".costs",
    "pairwise": ".costs",
    "progressive_map": ".continuous",
    "semidiscrete_potential": ".continuous",
    "soft_rows": ".coupling",
    "sparse_plan": ".plans",
    "subsample_potential": ".sinkhorn",
}

__all__ = [
    "Cost",
    "Coupling",
    "EntropicConfig",
    "ExactPlan",
    "LowRankPlan",
    "ProgressiveMap",
    "entropic",
    "exact_plan",
    "low_rank_plan",
    "median_cost",
    "pairwise",
    "progressive_map",
    "semidiscrete_potential",
    "soft_rows",
    "sparse_plan",
    "subsample_potential",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
