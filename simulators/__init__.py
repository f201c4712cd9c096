r"""Simulators of the circulation, their parameters, sensors and training sets; JAX and NumPy, never torch."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES: dict[str, str] = {
    "Beta": ".parameters",
    "CatheterLine": ".sensors",
    "ClusterError": ".cluster",
    "Continuous": ".continuous",
    "ElementWindkessel": ".windkessels",
    "Gain": ".sensors",
    "LogUniform": ".parameters",
    "Offset": ".sensors",
    "Operation": ".operations",
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
    "VirtualCase": ".virtual_cohort",
    "VirtualCohort": ".virtual_cohort",
    "WhiteNoise": ".sensors",
    "build": ".registry",
    "count_status": ".status",
    "draw_operation": ".operations",
    "make_case": ".virtual_cohort",
    "make_cohort": ".virtual_cohort",
    "make_training_set": ".dataset",
    "parameters_for": ".patient",
    "shift_physics": ".operations",
    "simulate_adults": ".patient",
    "simulate_continuous": ".continuous",
    "typical_parameters": ".patient",
    "usable": ".status",
}

__all__ = [
    "Beta",
    "CatheterLine",
    "ClusterError",
    "Continuous",
    "ElementWindkessel",
    "Gain",
    "LogUniform",
    "Offset",
    "Operation",
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
    "VirtualCase",
    "VirtualCohort",
    "WhiteNoise",
    "build",
    "count_status",
    "draw_operation",
    "make_case",
    "make_cohort",
    "make_training_set",
    "parameters_for",
    "shift_physics",
    "simulate_adults",
    "simulate_continuous",
    "typical_parameters",
    "usable",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
