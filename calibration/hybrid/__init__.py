r"""Learning from real labels: hybrid training, RoPE and regions, chosen by cross-validation over subjects."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES: dict[str, str] = {
    "CANDIDATES": ".crossval",
    "FEWEST": ".learning",
    "HeldOut": ".judging",
    "HybridConfig": ".fit",
    "LearnPlan": ".learning",
    "Learned": ".learning",
    "Learner": ".crossval",
    "Mix": ".fit",
    "PARTS": ".fit",
    "Readings": ".readings",
    "Sitting": ".judging",
    "choose": ".judging",
    "compare": ".judging",
    "cross_validate": ".crossval",
    "fit_hybrid": ".fit",
    "learn": ".learning",
    "reading_loss": ".fit",
    "reference_errors": ".learning",
    "save_learned": ".learning",
    "table_lines": ".telling",
    "thin_evenly": ".learning",
    "with_section": ".telling",
}

__all__ = [
    "CANDIDATES",
    "FEWEST",
    "HeldOut",
    "HybridConfig",
    "LearnPlan",
    "Learned",
    "Learner",
    "Mix",
    "PARTS",
    "Readings",
    "Sitting",
    "choose",
    "compare",
    "cross_validate",
    "fit_hybrid",
    "learn",
    "reading_loss",
    "reference_errors",
    "save_learned",
    "table_lines",
    "thin_evenly",
    "with_section",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
