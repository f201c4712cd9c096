r"""Neural posterior estimators, their training, bundles, answers and the verdict on each window's domain."""

from __future__ import annotations

from importlib import import_module

_HOMES: dict[str, str] = {
    "Batches": ".streaming",
    "Checkpoint": ".checkpoint",
    "EmbeddingConfig": ".embedding",
    "NPE": ".npe",
    "NPEConfig": ".npe",
    "OutputSpace": ".outputs",
    "PRESETS": ".npe",
    "Progress": ".training",
    "TrainConfig": ".training",
    "TrainData": ".training",
    "TrainResult": ".training",
    "train": ".training",
}

__all__ = [
    "Batches",
    "Checkpoint",
    "EmbeddingConfig",
    "NPE",
    "NPEConfig",
    "OutputSpace",
    "PRESETS",
    "Progress",
    "TrainConfig",
    "TrainData",
    "TrainResult",
    "train",
]


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
