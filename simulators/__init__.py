r"""Simulators of the circulation, their parameters, sensors and training sets; JAX and NumPy, never torch."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES: dict[str, str] = {
    "Beta": ".parameters",
    "CatheterLine": ".sensors",
    "ElementWindkessel": ".windkessels",
    "Gain": ".sensors",
    "LogUniform": ".parameters",
    "Offset": ".sensors",
    "PPGSensor": ".photoplethysmograph",
    "Parameter": ".parameters",
    "ParameterSpace": ".parameters",
    "PeriodicModel": ".reference",
    "Progress": ".dataset",
    "Quantisation": ".sensors",
    "RandomStart": ".sensors",
    "ReferenceNetwork": ".reference",
    "ReferenceWindkessel": ".reference",
    "STATUS": ".status",
    "SensorModel": ".sensors",
    "Simulated": ".registry",
    "Simulator": ".registry",
    "SimulatorSpec": ".registry",
    "TrainingSet": ".dataset",
    "TrainingSetError": ".dataset",
    "TrainingSetInterrupted": ".dataset",
    "TrainingSetReport": ".dataset",
    "TruncatedLogNormal": ".parameters",
    "TruncatedNormal": ".parameters",
    "Uniform": ".parameters",
    "WhiteNoise": ".sensors",
    "build": ".registry",
    "count_status": ".status",
    "make_training_set": ".dataset",
    "parameters_for": ".patient",
    "simulate_adults": ".patient",
    "typical_parameters": ".patient",
    "usable": ".status",
}

__all__ = [
    "Beta",
    "CatheterLine",
    "ElementWindkessel",
    "Gain",
    "LogUniform",
    "Offset",
    "PPGSensor",
    "Parameter",
    "ParameterSpace",
    "PeriodicModel",
    "Progress",
    "Quantisation",
    "RandomStart",
    "ReferenceNetwork",
    "ReferenceWindkessel",
    "STATUS",
    "SensorModel",
    "Simulated",
    "Simulator",
    "SimulatorSpec",
    "TrainingSet",
    "TrainingSetError",
    "TrainingSetInterrupted",
    "TrainingSetReport",
    "TruncatedLogNormal",
    "TruncatedNormal",
    "Uniform",
    "WhiteNoise",
    "build",
    "count_status",
    "make_training_set",
    "parameters_for",
    "simulate_adults",
    "typical_parameters",
    "usable",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
