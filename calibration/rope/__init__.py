r"""RoPE: posteriors under a misspecified simulator, by a tuned embedding and transport to simulations."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES: dict[str, str] = {
    "Bank": ".bundles",
    "BankTargets": ".encoder",
    "Components": ".components",
    "DrawnPrior": ".components",
    "FitConfig": ".baselines",
    "FlowPosterior": ".baselines",
    "FoldFit": ".folds",
    "GaussianPosterior": ".baselines",
    "Grid": ".selection",
    "LabelScore": ".labels",
    "Mixture": ".mixture",
    "PoolTargets": ".encoder",
    "Posterior": ".baselines",
    "PriorPosterior": ".baselines",
    "RoPE": ".fit",
    "RoPEConfig": ".fit",
    "RoPELayer": ".layer",
    "Selection": ".selection",
    "TuneConfig": ".encoder",
    "Whitening": ".encoder",
    "aligned": ".encoder",
    "calibrate_rope": ".bundles",
    "check_patients": ".checks",
    "couple": ".fit",
    "cross_rope": ".crossfit",
    "effective_size": ".mixture",
    "embed": ".encoder",
    "fit_flow": ".baselines",
    "fit_gaussian": ".baselines",
    "fit_rope": ".fit",
    "gaussian_of": ".baselines",
    "labelled_pairs": ".checks",
    "load_rope": ".layer",
    "region_draws": ".folds",
    "save_rope": ".layer",
    "select": ".selection",
    "simulate_bank": ".bundles",
    "subject_weights": ".fit",
    "tune": ".encoder",
}

__all__ = [
    "Bank",
    "BankTargets",
    "Components",
    "DrawnPrior",
    "FitConfig",
    "FlowPosterior",
    "FoldFit",
    "GaussianPosterior",
    "Grid",
    "LabelScore",
    "Mixture",
    "PoolTargets",
    "Posterior",
    "PriorPosterior",
    "RoPE",
    "RoPEConfig",
    "RoPELayer",
    "Selection",
    "TuneConfig",
    "Whitening",
    "aligned",
    "calibrate_rope",
    "check_patients",
    "couple",
    "cross_rope",
    "effective_size",
    "embed",
    "fit_flow",
    "fit_gaussian",
    "fit_rope",
    "gaussian_of",
    "labelled_pairs",
    "load_rope",
    "region_draws",
    "save_rope",
    "select",
    "simulate_bank",
    "subject_weights",
    "tune",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
