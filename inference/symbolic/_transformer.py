r"""The transformer as a proposer: the most probable candidates of every equation, joined over the equations."""

from __future__ import annotations

import heapq
import json
from pathlib import Path

import numpy as np

from ._smooth import Path as SmoothPath
from .check import Trajectory as Observed
from .equations import Equations, equations_from_sympy

_MODELS = Path(__file__).parents[1] / "models"


def shipped() -> str:
    r"""Name of the shipped transformer, or an empty text."""
    for info in sorted(_MODELS.glob("*/symbolic.json")) if _MODELS.is_dir() else []:
        if json.loads(info.read_text(encoding="utf-8")):
            return info.parent.name
    return ""


def transformer_equations(paths: list[SmoothPath], *, n_samples: int = 32, n_best: int = 16) -> list[Equations]:
    r"""Equations that the transformer proposes, most probable first.

    Raises:
        ValueError: If no transformer is shipped.
    """
    name = shipped()
    if not name:
        raise ValueError("the proposer 'transformer' needs trained weights, and none are shipped; use weak or sindy")
    from ...simulators.odes.grammar import System
    from . import decoding

    given = [Observed(p.t, p.x, p.u) for p in paths]
    found = decoding.decode(decoding.load_model(name), given, n_samples=n_samples)
    n_states, n_inputs = paths[0].x.shape[1], paths[0].u.shape[1]
    best: list[tuple[float, tuple[decoding.DecodedEquation, ...]]] = [(0.0, ())]
    for candidates in found:
        grown = [(s - c.log_probability, (*chosen, c)) for s, chosen in best for c in candidates if c.terms]
        best = heapq.nsmallest(n_best, grown, key=lambda item: item[0])
    states, inputs = [f"x{i}" for i in range(n_states)], [f"u{i}" for i in range(n_inputs)]
    made = []
    for _, chosen in best:
        system = System(tuple(c.terms for c in chosen), n_inputs)
        try:
            equations = equations_from_sympy(system.to_sympy([*states, *inputs]), states, inputs)
        except ValueError:
            continue
        if np.isfinite(equations.constants).all() and equations.structure.n_constants:
            made.append(equations)
    return made
