r"""Whether posteriors keep their promises on simulations, and what is wrong with those that do not."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES: dict[str, str] = {
    "ECDFBand": ".rank_tests",
    "Finding": ".verdict",
    "Judgement": ".verdict",
    "LocalC2ST": ".local",
    "Miss": ".verdict",
    "Recovery": ".shrinkage",
    "SBC": ".rank_tests",
    "Samples": ".verdict",
    "Subgroup": ".groups",
    "Swap": ".moments",
    "TARP": ".points",
    "bias_test": ".moments",
    "chance_of_miss": ".verdict",
    "contraction": ".shrinkage",
    "coverage": ".intervals",
    "density_levels": ".intervals",
    "ecdf_band": ".rank_tests",
    "holm": ".rank_tests",
    "interval_variation": ".groups",
    "judge": ".verdict",
    "level_coverage": ".intervals",
    "local_c2st": ".local",
    "median_error": ".shrinkage",
    "noise_level": ".groups",
    "prior_test": ".moments",
    "ranks": ".rank_tests",
    "recovery": ".shrinkage",
    "sbc": ".rank_tests",
    "shortest_coverage": ".intervals",
    "spread_ranks": ".rank_tests",
    "subgroups": ".groups",
    "swap_test": ".moments",
    "tarp": ".points",
    "width_test": ".moments",
    "z_scores": ".shrinkage",
}

__all__ = [
    "ECDFBand",
    "Finding",
    "Judgement",
    "LocalC2ST",
    "Miss",
    "Recovery",
    "SBC",
    "Samples",
    "Subgroup",
    "Swap",
    "TARP",
    "bias_test",
    "chance_of_miss",
    "contraction",
    "coverage",
    "density_levels",
    "ecdf_band",
    "holm",
    "interval_variation",
    "judge",
    "level_coverage",
    "local_c2st",
    "median_error",
    "noise_level",
    "prior_test",
    "ranks",
    "recovery",
    "sbc",
    "shortest_coverage",
    "spread_ranks",
    "subgroups",
    "swap_test",
    "tarp",
    "width_test",
    "z_scores",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
