r"""What can be promised: diagnostics of posteriors on simulations and on real recordings."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES: dict[str, str] = {
    "Agreement": ".agreement",
    "Calibrated": ".load",
    "CohortTest": ".misspecification",
    "Held": ".produce",
    "HeldOut": ".validation",
    "LPP": ".scores",
    "Pairs": ".pairs",
    "Reference": ".reference",
    "ReferenceTableError": ".reference",
    "SBC": ".diagnostics.rank_tests",
    "Trending": ".agreement",
    "acauc": ".scores",
    "acauc_density": ".scores",
    "agree": ".agreement",
    "classifier_test": ".misspecification",
    "cohort_tests": ".misspecification",
    "contraction": ".diagnostics.shrinkage",
    "coverage": ".diagnostics.intervals",
    "draw_samples": ".validation",
    "hash_subject": ".pairs",
    "holm": ".diagnostics.rank_tests",
    "load_calibrated": ".load",
    "lpp": ".scores",
    "measure": ".evaluate",
    "median_error": ".diagnostics.shrinkage",
    "mmd_test": ".misspecification",
    "one_per_subject": ".misspecification",
    "pair_up": ".agreement",
    "predictive_check": ".predictive_checks",
    "predictive_discrepancy": ".misspecification",
    "predictive_test": ".misspecification",
    "rank_bias": ".scores",
    "ranks": ".diagnostics.rank_tests",
    "read_held_out": ".validation",
    "read_pairs": ".pairs",
    "read_reference": ".reference",
    "save_validated": ".validation",
    "sbc": ".diagnostics.rank_tests",
    "sensitivity": ".faults",
    "simulate_held_out": ".validation",
    "track": ".agreement",
    "validate": ".validation",
    "wasserstein": ".scores",
    "window_features": ".predictive_checks",
}

__all__ = [
    "Agreement",
    "Calibrated",
    "CohortTest",
    "Held",
    "HeldOut",
    "LPP",
    "Pairs",
    "Reference",
    "ReferenceTableError",
    "SBC",
    "Trending",
    "acauc",
    "acauc_density",
    "agree",
    "classifier_test",
    "cohort_tests",
    "contraction",
    "coverage",
    "draw_samples",
    "hash_subject",
    "holm",
    "load_calibrated",
    "lpp",
    "measure",
    "median_error",
    "mmd_test",
    "one_per_subject",
    "pair_up",
    "predictive_check",
    "predictive_discrepancy",
    "predictive_test",
    "rank_bias",
    "ranks",
    "read_held_out",
    "read_pairs",
    "read_reference",
    "save_validated",
    "sbc",
    "sensitivity",
    "simulate_held_out",
    "track",
    "validate",
    "wasserstein",
    "window_features",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
