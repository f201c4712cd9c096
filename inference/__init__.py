r"""Neural posterior estimators, their training, bundles, answers and the verdict on each window's domain."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES: dict[str, str] = {
    "Answer": ".answer",
    "AnsweredWindow": ".answering",
    "Batches": ".streaming",
    "Bundle": ".bundle",
    "BundleError": ".bundle",
    "CSVWriter": ".table",
    "Checkpoint": ".checkpoint",
    "DomainMap": ".domain_map",
    "EmbeddingConfig": ".embedding",
    "Estimate": ".answer",
    "InputContract": ".bundle",
    "NPE": ".npe",
    "NPEConfig": ".npe",
    "NetCDFWriter": ".netcdf",
    "OutputSpace": ".outputs",
    "PRESETS": ".npe",
    "PredictedBeats": ".predictive",
    "Prior": ".answer",
    "Progress": ".training",
    "Question": ".answering",
    "Recipe": ".recipe",
    "Refusal": ".answer",
    "Result": ".result",
    "TrainConfig": ".training",
    "TrainData": ".training",
    "TrainResult": ".training",
    "answer_recording": ".answering",
    "answer_window": ".answer",
    "chance_below": ".explain",
    "companions": ".explain",
    "find_bundle": ".bundle",
    "find_recipe": ".recipe",
    "map_domain": ".domain_map",
    "predict_beats": ".predictive",
    "quantile_dots": ".explain",
    "read_result": ".result",
    "render_card": ".card",
    "report": ".answer",
    "shipped_bundles": ".bundle",
    "shipped_recipes": ".recipe",
    "summarise_windows": ".answer",
    "train": ".training",
}

__all__ = [
    "Answer",
    "AnsweredWindow",
    "Batches",
    "Bundle",
    "BundleError",
    "CSVWriter",
    "Checkpoint",
    "DomainMap",
    "EmbeddingConfig",
    "Estimate",
    "InputContract",
    "NPE",
    "NPEConfig",
    "NetCDFWriter",
    "OutputSpace",
    "PRESETS",
    "PredictedBeats",
    "Prior",
    "Progress",
    "Question",
    "Recipe",
    "Refusal",
    "Result",
    "TrainConfig",
    "TrainData",
    "TrainResult",
    "answer_recording",
    "answer_window",
    "chance_below",
    "companions",
    "find_bundle",
    "find_recipe",
    "map_domain",
    "predict_beats",
    "quantile_dots",
    "read_result",
    "render_card",
    "report",
    "shipped_bundles",
    "shipped_recipes",
    "summarise_windows",
    "train",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
