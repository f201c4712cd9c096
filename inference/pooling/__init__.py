r"""The patient-level posterior: slow quantities shared by the windows of a recording, fast ones of each."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES: dict[str, str] = {
    "Anchor": ".anchors",
    "ChangeDetector": ".segments",
    "ChangeFinder": ".segments",
    "EmbeddedRecordings": ".features",
    "PoolPatients": ".patients",
    "PoolTraining": ".training",
    "PooledNPE": ".network",
    "PoolingConfig": ".network",
    "PoolingLayer": ".layer",
    "RunningPool": ".running",
    "answer_pooled": ".answering",
    "answer_pooled_windows": ".answering",
    "embed_windows": ".features",
    "find_changes": ".segments",
    "follow_pooled": ".answering",
    "load_pooling": ".layer",
    "make_embedded": ".features",
    "parse_anchor": ".anchors",
    "pool_averages": ".pools",
    "pool_contexts": ".network",
    "save_pooling": ".layer",
    "split_pool": ".segments",
    "train_detector": ".segment_training",
    "train_pooled": ".training",
}

__all__ = [
    "Anchor",
    "ChangeDetector",
    "ChangeFinder",
    "EmbeddedRecordings",
    "PoolPatients",
    "PoolTraining",
    "PooledNPE",
    "PoolingConfig",
    "PoolingLayer",
    "RunningPool",
    "answer_pooled",
    "answer_pooled_windows",
    "embed_windows",
    "find_changes",
    "follow_pooled",
    "load_pooling",
    "make_embedded",
    "parse_anchor",
    "pool_averages",
    "pool_contexts",
    "save_pooling",
    "split_pool",
    "train_detector",
    "train_pooled",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
