r"""Unknowns of a costly model on a chart where its posterior is nearly normal.

Two shifts, each of some unknowns by a function of the others, so that volumes and densities stay as they are:

- *Expected values.* What a deviation is counted from moves with other parameters; a beat is smooth in the sum of the
  two (``middles`` of the model). Mean wave speed of the network is a table of mean pressure: beside a knee of it the
  posterior of the deviation is bent, that of wave speed itself is not, and no polynomial follows a bend.
- *The window's mean.* A window tells its mean to a twentieth of a millimetre, but mean pressure and offset only as far
  as their priors and the shape of the pulse do: a ridge that bends where the prior of mean pressure does. The mean
  itself takes the offset's place.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Array, Float

from ..simulators.normal_scores import from_normal
from .reference import Reference
from .solved import STEP, Solver

__all__ = ["above", "parameter_scores", "straighten", "straightened_law"]


def straighten(solver: Solver, z: Float[np.ndarray, "N U"], level: float, *, back: bool = False) -> np.ndarray:
    r"""Puts unknowns on the chart, or takes them back from it.

    Arguments:
        solver: Solver of the reference model.
        z: Unknowns.
        level: Mean pressure that is taken for zero [mmHg].
        back: Whether they stand on the chart already.

    Example:
        >>> from pulsebayes.simulators.reference import ReferenceWindkessel
        >>> solver = Solver(Reference(ReferenceWindkessel(), ()))
        >>> y = straighten(solver, np.ones((1, 9)), 90.0)
        >>> np.allclose(straighten(solver, y, 90.0, back=True), 1.0)
        True
    """
    d, moved = solver.dim, np.array(z)
    sign = -1 if back else 1
    moved[:, :d] += sign * solver.middles(z[:, :d])
    mean = solver.beats((moved if back else z)[:, :d])[:, 0].real
    moved[:, -2] += sign * above(solver.reference, z[:, -3], mean, level)
    return moved


def straightened_law(
    solver: Solver, centre: Float[np.ndarray, " U"], factor: Float[np.ndarray, "U U"], level: float
) -> tuple[Float[np.ndarray, " U"], Float[np.ndarray, "U U"]]:
    r"""A normal law of the unknowns on the chart: its centre, and a triangular factor of its covariance.

    Arguments:
        solver: Solver of the reference model.
        centre: Centre of the law.
        factor: Triangular factor of its covariance.
        level: Mean pressure that is taken for zero [mmHg].

    Example:
        >>> from pulsebayes.simulators.reference import ReferenceWindkessel
        >>> solver = Solver(Reference(ReferenceWindkessel(), ()))
        >>> straightened_law(solver, np.zeros(9), 0.05 * np.eye(9), 90.0)[1].shape
        (9, 9)
    """
    step = STEP * np.eye(len(centre))
    there = straighten(solver, np.concatenate([centre + step, centre - step, centre[None]]), level)
    ahead, behind = np.split(there[:-1], 2)
    turned = (ahead - behind).T / (2 * STEP) @ factor
    return there[-1], np.linalg.cholesky(turned @ turned.T)


def parameter_scores(reference: Reference, y: Float[Array, " D"]) -> Float[Array, " D"]:
    r"""Normal scores of the parameters from their place on the chart.

    Arguments:
        reference: The reference model.
        y: Places of the parameters. Those that are counted from something tell nothing of what that is.

    Example:
        >>> from pulsebayes.simulators.reference import ReferenceWindkessel
        >>> parameter_scores(Reference(ReferenceWindkessel(), ()), np.ones(6)).tolist()
        [1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    """
    moved: Array = y - reference.model.middles(from_normal(reference.model.space)(y))
    return moved


def above(reference: Reference, gain: Any, mean: Any, level: Any) -> Any:
    r"""How far a window's mean lies above a level but for the offset, in units of the offset.

    Arguments:
        reference: The reference model.
        gain: Gain as it stands among the unknowns.
        mean: Mean of the beat [mmHg].
        level: The level [mmHg].

    Example:
        >>> from pulsebayes.simulators.reference import ReferenceWindkessel
        >>> above(Reference(ReferenceWindkessel(), (), offset_sd=2.5), 0.0, 95.0, 90.0)
        2.0
    """
    if reference.offset_sd == 0:
        return 0.0 * mean
    return ((1 + reference.gain_sd * gain) * mean - level) / reference.offset_sd
