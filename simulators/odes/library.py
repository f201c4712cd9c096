r"""Named systems of the grammar: populations, epidemics, chemistry, oscillators, chaos, and the circulation.

The equations are textbook material, written by us from the authors named with each; constants are ordinary choices in
the units of the equations. Windkessels and the closed loop have mmHg, mL, s; their input is a flow from the heart.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from .grammar import System
from .integration import Stepping, integrate
from .packed import pack

__all__ = ["LIBRARY", "NamedSystem", "simulate_named"]

_Array = np.ndarray


@dataclass(frozen=True)
class NamedSystem:
    r"""A system with constants, initial values and a horizon.

    Arguments:
        name: Name.
        family: population, epidemic, chemistry, oscillator, chaos or circulation.
        states: Names of the states.
        equations: Their right-hand sides.
        constants: Values of the constants.
        start: Initial values.
        other: Initial values of a second trajectory.
        horizon: Time the trajectories take, in the units of the equations.
        source: Who wrote it first, and when.
        inputs: Names of inputs.
        drive: How the input runs: sine, steps or heart.

    Example:
        >>> LIBRARY["windkessel"].system.skeleton()
        '1+1: C*x0 + C*u0'
    """

    name: str
    family: str
    states: tuple[str, ...]
    equations: tuple[str, ...]
    constants: Mapping[str, float]
    start: tuple[float, ...]
    other: tuple[float, ...]
    horizon: float
    source: str
    inputs: tuple[str, ...] = ()
    drive: str = ""

    @cached_property
    def system(self) -> System:
        r"""The system in the grammar."""
        return System.from_sympy(self.equations, self.states, inputs=self.inputs, constants=self.constants)

    def input_at(self, t: Float[_Array, "*n"]) -> Float[_Array, "*n U"]:
        r"""The input at times.

        Arguments:
            t: Times.
        """
        if not self.inputs:
            return np.zeros((*np.shape(t), 0))
        s = np.asarray(t) / self.horizon
        if self.drive == "heart":
            phase = np.mod(np.asarray(t), 0.85)
            return np.asarray(np.where(phase < 0.3, 360.0 * np.sin(np.pi * phase / 0.3), 0.0)[..., None])
        if self.drive == "steps":
            return np.asarray(1.0 + 0.8 * np.tanh(30 * np.sin(6 * np.pi * s)))[..., None]
        return np.asarray(1.0 + 0.6 * np.sin(8 * np.pi * s) + 0.3 * np.sin(22 * np.pi * s))[..., None]


def _read() -> dict[str, NamedSystem]:
    text = (Path(__file__).parent / "data" / "library.json").read_text(encoding="utf-8")
    rows: list[dict[str, Any]] = json.loads(text)
    lists = ("states", "equations", "start", "other", "inputs")
    for row in rows:
        row |= {name: tuple(row[name]) for name in lists if name in row}
    return {row["name"]: NamedSystem(**row) for row in rows}


LIBRARY: dict[str, NamedSystem] = _read()


def simulate_named(name: str, *, n_points: int = 256, other: bool = False) -> tuple[_Array, _Array, _Array]:
    r"""Integrates a named system.

    Arguments:
        name: Its name in `LIBRARY`.
        n_points: Points of the trajectory, at even times.
        other: Whether to start at the second initial values.

    Returns:
        Times (n_points,), states (n_points, D) and inputs (n_points, U).

    Raises:
        ValueError: If there is no such system, or the integration fails its own check.

    Example:
        >>> t, x, u = simulate_named("windkessel", n_points=64)
        >>> x.shape, u.shape, bool(40 < x.min() < x.max() < 200)
        ((64, 1), (64, 1), True)
    """
    if name not in LIBRARY:
        raise ValueError(f"name must be one of {sorted(LIBRARY)}, got {name!r}")
    row = LIBRARY[name]
    step = -(-1024 // (n_points - 1))
    stepping = Stepping(row.horizon, step * (n_points - 1), bound=1e6, tolerance=1e-3)
    start = np.array(row.other if other else row.start)[None, None]
    u = row.input_at(stepping.input_times)[None, None]
    solution = integrate(pack([row.system]), start, stepping, u=u if row.inputs else None)
    if not solution.ok.all():
        raise ValueError(f"{name} fails its step-halving check: difference {solution.difference.max():.1e}")
    t = stepping.times[::step]
    return t, np.asarray(solution.x[0, 0, ::step], dtype=np.float64), row.input_at(t)
