r"""Differential equations recovered from trajectories: a transformer, proposers, refit, a posterior over equations."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES: dict[str, str] = {
    "Candidate": ".posterior",
    "EquationPosterior": ".posterior",
    "Equations": ".equations",
    "Fit": ".refit",
    "Ladder": ".refit",
    "Proposal": ".proposers",
    "RecoverConfig": ".recover",
    "Structure": ".equations",
    "SymbolicRegressor": ".recover",
    "Trajectory": ".check",
    "WindkesselLaw": ".circulation",
    "equations_from_sympy": ".equations",
    "recover_equations": ".recover",
    "refit_constants": ".refit",
    "windkessel_law": ".circulation",
}

__all__ = [
    "Candidate",
    "EquationPosterior",
    "Equations",
    "Fit",
    "Ladder",
    "Proposal",
    "RecoverConfig",
    "Structure",
    "SymbolicRegressor",
    "Trajectory",
    "WindkesselLaw",
    "equations_from_sympy",
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
