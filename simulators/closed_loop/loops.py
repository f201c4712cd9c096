r"""Pressure-volume loops: a ventricle's beat as a closed curve, its end of systole, and the line through many of them.

The end of systole of a loop is where $P/(V - V_0)$ is largest; over loops that differ in filling these points lie on a
line of slope $E_{es}$, whatever filling and load. It is found as the literature does, without knowing $V_0$: a line
through the points, $V_0$ where it meets the axis, the points again, until nothing moves.

References:
    | Suga & Sagawa (1974), Circ Res 35:117 (the line)
    | Kono et al. (1984), Am J Physiol 246:H634 (its iteration). Units: mmHg, mL.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from .simulator import UNITS, ClosedLoop, loop_quantities, loop_status

__all__ = ["EndSystolicLine", "Loop", "end_systolic_line", "solve_loops"]

_VENTRICLES = {"LV": 1, "RV": 5}


class Loop(NamedTuple):
    r"""One loop: volume and pressure over a beat, quantities of that beat by symbol, and the code of its status.

    Example:
        >>> Loop._fields
        ('volume', 'pressure', 'quantities', 'status')
    """

    volume: Float[np.ndarray, " n"]
    pressure: Float[np.ndarray, " n"]
    quantities: dict[str, float]
    status: int

    @property
    def work_J(self) -> float:
        r"""Area of the loop, by the trapezoidal rule around it [J]."""
        from ...waveforms.units import convert

        v, p = np.append(self.volume, self.volume[0]), np.append(self.pressure, self.pressure[0])
        return convert(float(-np.sum(np.diff(v) * (p[1:] + p[:-1]) / 2)), "mmHg mL", "J")


class EndSystolicLine(NamedTuple):
    r"""The line through the ends of systole: `elastance` [mmHg/mL], `rest_volume` [mL], and the points.

    Example:
        >>> EndSystolicLine._fields[0]
        'elastance'
    """

    elastance: float
    rest_volume: float
    volume: Float[np.ndarray, " L"]
    pressure: Float[np.ndarray, " L"]


def solve_loops(simulator: ClosedLoop, changes: list[Mapping[str, float]], *, chamber: str = "LV") -> list[Loop]:
    r"""Loops of the simulator's median adult with some parameters changed.

    Arguments:
        simulator: The closed loop.
        changes: For each loop, parameters by name.
        chamber: `LV` or `RV`.

    Returns:
        The loops.

    Raises:
        ValueError: If a name or a chamber is unknown, or a value out of bounds.

    Example:
        >>> rest, failing = solve_loops(ClosedLoop(n_steps=128), [{}, {"lv_elastance": 1.0}])
        >>> failing.quantities["SV"] < rest.quantities["SV"]
        True
    """
    if chamber not in _VENTRICLES:
        raise ValueError(f"chamber must be LV or RV, got {chamber!r}")
    space = simulator.space
    theta = np.repeat(space.sample_quantiles(np.full((1, space.dim), 0.5)), len(changes), axis=0)
    for row, change in zip(theta, changes, strict=True):
        for name, value in change.items():
            row[space.index(name)] = value
    space.unconstrain(theta)  # says which value is out of bounds
    circuit, found = simulator.solve(theta)
    quantities = loop_quantities(circuit, found.beat)
    status = np.asarray(loop_status(quantities, found, simulator.tolerance_mL))
    volume, pressure = (
        np.asarray(x, float)[:, _VENTRICLES[chamber]].T for x in (found.beat.volume, found.beat.pressure)
    )
    named = [dict(zip(UNITS, row, strict=True)) for row in np.asarray(quantities, float).tolist()]
    return [Loop(*row) for row in zip(volume, pressure, named, status.tolist(), strict=True)]


def end_systolic_line(loops: list[Loop], *, iterations: int = 30) -> EndSystolicLine:
    r"""The end-systolic line of loops that differ in filling or load.

    Arguments:
        loops: Two loops or more.
        iterations: Most iterations.

    Returns:
        The line.

    Raises:
        ValueError: If there are fewer than two loops.

    Example:
        >>> fillings = [{"stressed_volume": v} for v in (800.0, 1000.0, 1200.0)]
        >>> line = end_systolic_line(solve_loops(ClosedLoop(n_steps=256), fillings))
        >>> round(line.elastance, 1)  # the prior's median
        2.4
    """
    if len(loops) < 2:
        raise ValueError(f"an end-systolic line needs two loops or more, got {len(loops)}")
    rest, slope = 0.0, 0.0
    for _ in range(iterations):
        ends = [int(np.argmax(loop.pressure / np.maximum(loop.volume - rest, 1.0))) for loop in loops]
        volume = np.array([loop.volume[i] for loop, i in zip(loops, ends, strict=True)])
        pressure = np.array([loop.pressure[i] for loop, i in zip(loops, ends, strict=True)])
        slope, level = np.polyfit(volume, pressure, 1)
        moved, rest = abs(-level / slope - rest), -level / slope
        if moved < 1e-6:
            break
    return EndSystolicLine(float(slope), float(rest), volume, pressure)
