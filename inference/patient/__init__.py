r"""What is known of a patient beside the wave: age, sex, height, weight, aortic root; observations of one model."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES: dict[str, str] = {
    "Informed": ".layer",
    "NormalMixture": ".heads",
    "Patient": ".info",
    "PatientError": ".info",
    "PatientEvidence": ".layer",
    "PatientHeads": ".heads",
    "PatientLayer": ".layer",
    "PatientRecipe": ".recipe",
    "PatientRows": ".recipe",
    "PatientTraining": ".recipe",
    "TruncatedMixture": ".heads",
    "draw_measured": ".info",
    "draw_sex_and_weight": ".info",
    "find_patient_recipe": ".recipe",
    "load_patient": ".layer",
    "measure_patient": ".recipe",
    "measured_root": ".info",
    "parse_patient": ".info",
    "produce_patient": ".recipe",
    "root_of_sex": ".info",
    "save_patient": ".layer",
    "standardised": ".layer",
    "train_heads": ".recipe",
}

__all__ = [
    "Informed",
    "NormalMixture",
    "Patient",
    "PatientError",
    "PatientEvidence",
    "PatientHeads",
    "PatientLayer",
    "PatientRecipe",
    "PatientRows",
    "PatientTraining",
    "TruncatedMixture",
    "draw_measured",
    "draw_sex_and_weight",
    "find_patient_recipe",
    "load_patient",
    "measure_patient",
    "measured_root",
    "parse_patient",
    "produce_patient",
    "root_of_sex",
    "save_patient",
    "standardised",
    "train_heads",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
