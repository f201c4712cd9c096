r"""Differential equations recovered from trajectories: a transformer, proposers, refit, a posterior over equations."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES: dict[str, str] = {
    "Candidate": ".posterior",
    "DecodedEquation": ".decoding",
    "EquationPosterior": ".posterior",
    "EquationTransformer": ".model",
    "Equations": ".equations",
    "Fit": ".refit",
    "Ladder": ".refit",
    "ModelConfig": ".model",
    "Proposal": ".proposers",
    "RecoverConfig": ".recover",
    "Structure": ".equations",
    "SymbolicRecipe": ".recipe",
    "SymbolicRegressor": ".recover",
    "SymbolicTraining": ".training",
    "Trajectory": ".check",
    "WindkesselLaw": ".circulation",
    "decode": ".decoding",
    "equations_from_sympy": ".equations",
    "load_model": ".decoding",
    "recover_equations": ".recover",
    "refit_constants": ".refit",
    "windkessel_law": ".circulation",
}

__all__ = [
    "Candidate",
    "DecodedEquation",
    "EquationPosterior",
    "EquationTransformer",
    "Equations",
    "Fit",
    "Ladder",
    "ModelConfig",
    "Proposal",
    "RecoverConfig",
    "Structure",
    "SymbolicRecipe",
    "SymbolicRegressor",
    "SymbolicTraining",
    "Trajectory",
    "WindkesselLaw",
    "decode",
    "equations_from_sympy",
    "load_model",
    "recover_equations",
    "refit_constants",
    "windkessel_law",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
