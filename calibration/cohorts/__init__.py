r"""Evaluation in vivo: answers over a cohort, paired with references, measured by subject, beside baselines."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES: dict[str, str] = {
    "AnswerPlan": ".answers",
    "Answers": ".answers",
    "Pairing": ".protocol",
    "RULES": ".rules",
    "RejectionCurve": ".uncertainty",
    "answer_cohort": ".answers",
    "evaluate_cohort": ".evaluation",
    "load_answers": ".answers",
    "measure_pairs": ".measures",
    "pair_answers": ".protocol",
    "pulse_rules": ".rules",
    "rejection_curve": ".uncertainty",
}

__all__ = [
    "AnswerPlan",
    "Answers",
    "Pairing",
    "RULES",
    "RejectionCurve",
    "answer_cohort",
    "evaluate_cohort",
    "load_answers",
    "measure_pairs",
    "pair_answers",
    "pulse_rules",
    "rejection_curve",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
