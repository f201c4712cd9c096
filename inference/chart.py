r"""Unknowns of a costly model on a chart where its posterior stays nearly normal up to the ends of intervals.

Beside what [`straight`][pulsebayes.inference.straight] does, two bends are taken out, which matter where a posterior
reaches the end of a parameter's interval:

- *Places.* A normal score runs away from its parameter near an end; its place
  ([`soft_bounds`][pulsebayes.simulators.soft_bounds]) does not. The prior of places takes that of scores' place.
- *The phase of the first harmonic.* A window tells it closely, the start of the beat only as far as travel times are
  known, which bend with the wave speed. It takes the start's place; the shift keeps volumes.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from ..simulators.normal_scores import from_normal
from ..simulators.soft_bounds import place_density, places_of, scores_of
from .reference import START_S
from .solved import STEP, Solver
from .straight import above

__all__ = ["Chart", "Places"]


class Places(NamedTuple):
    r"""Rows taken back from a chart, with what had to be computed for it.

    Arguments:
        z: Unknowns.
        log_prior: Log prior density on the chart, over that of a standard normal law at zero.
        beats: Coefficients of the beats [mmHg].

    Example:
        >>> Places._fields
        ('z', 'log_prior', 'beats')
    """

    z: Float[np.ndarray, "N U"]
    log_prior: Float[np.ndarray, " N"]
    beats: Complex[np.ndarray, "N K1"]


class Chart:
    r"""The chart about one row of unknowns, whose mean and phase it takes for zero.

    Arguments:
        solver: Solver of the reference model.
        z: The row.

    Example:
        >>> from pulsebayes.inference.reference import Reference
        >>> from pulsebayes.simulators.reference import ReferenceWindkessel
        >>> chart = Chart(Solver(Reference(ReferenceWindkessel(), ())), np.zeros(9))
        >>> z = np.full((1, 9), 0.5)
        >>> bool(np.allclose(chart.back(chart.to(z)).z, z))
        True
    """

    def __init__(self, solver: Solver, z: Float[np.ndarray, " U"]) -> None:
        self.solver = solver
        beat = solver.beats(z[None, : solver.dim])[0]
        self.level, self.phase = float(beat[0].real), float(np.angle(beat[1]))

    def to(self, z: Float[np.ndarray, "N U"]) -> Float[np.ndarray, "N U"]:
        r"""Puts unknowns on the chart.

        Arguments:
            z: Unknowns.
        """
        d = self.solver.dim
        with jax.enable_x64(True):
            placed, period = (np.asarray(part) for part in self._forward(jnp.asarray(z[:, :d])))
        beats = self.solver.beats(z[:, :d])
        return np.concatenate([placed, z[:, d:] + self._shifts(z[:, -3], beats, period)], axis=1)

    def back(self, y: Float[np.ndarray, "N U"]) -> Places:
        r"""Takes unknowns back from the chart.

        Arguments:
            y: Unknowns on the chart.
        """
        d = self.solver.dim
        with jax.enable_x64(True):
            scores, log_prior, period = (np.asarray(part) for part in self._backward(jnp.asarray(y[:, :d])))
        beats = self.solver.beats(scores)
        rest = y[:, d:] - self._shifts(y[:, -3], beats, period)
        return Places(np.concatenate([scores, rest], 1), log_prior - 0.5 * (rest[:, :2] ** 2).sum(1), beats)

    def law(
        self, centre: Float[np.ndarray, " U"], factor: Float[np.ndarray, "U U"]
    ) -> tuple[Float[np.ndarray, " U"], Float[np.ndarray, "U U"]]:
        r"""A normal law of the unknowns on the chart: its centre, and a triangular factor of its covariance.

        Arguments:
            centre: Centre of the law.
            factor: Triangular factor of its covariance.
        """
        step = STEP * np.eye(len(centre))
        there = self.to(np.concatenate([centre + step, centre - step, centre[None]]))
        ahead, behind = np.split(there[:-1], 2)
        turned = (ahead - behind).T / (2 * STEP) @ factor
        return there[-1], np.linalg.cholesky(turned @ turned.T)

    def _shifts(self, gain: np.ndarray, beats: np.ndarray, period: np.ndarray) -> Float[np.ndarray, "N 3"]:
        """How far gain, offset and start are shifted."""
        later = -np.angle(beats[:, 1] * np.exp(-1j * self.phase)) * period / (2 * np.pi * START_S)
        return np.stack([0 * gain, above(self.solver.reference, gain, beats[:, 0].real, self.level), later], axis=-1)

    @cached_property
    def _forward(self) -> Any:
        reference = self.solver.reference
        space, constrain = reference.model.space, from_normal(reference.model.space)

        def one(z: Array) -> tuple[Array, Array]:
            theta = constrain(z)
            return places_of(space, z) + reference.model.middles(theta), reference.period(theta)

        return jax.jit(jax.vmap(one))

    @cached_property
    def _backward(self) -> Any:
        reference = self.solver.reference
        space, constrain = reference.model.space, from_normal(reference.model.space)

        def one(y: Array) -> tuple[Array, Array, Array]:
            places = y - reference.model.middles(constrain(scores_of(space, y)))
            scores = scores_of(space, places)
            return scores, place_density(space, places), reference.period(constrain(scores))

        return jax.jit(jax.vmap(one))
