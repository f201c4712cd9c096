r"""Modes and proposals for a model whose derivatives cost far more than the model: all from solutions of the model.

One compiled function solves sixteen rows at a time, whatever they are for. The Jacobian at the posterior mode comes
from central differences of it. Proposals for rate, gain, offset and start, given the parameters that an estimator
gives, hold the beat's coefficients at the window's rate: these vary by a thousandth over the width of the rate.
Importance weights are of the model itself and take up what that misses.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from ..simulators.normal_scores import from_normal
from .reference import Proposal, Reference, gauss_newton, student_about, student_density

__all__ = ["STEP", "Solver"]

_BLOCK = 16
STEP = 1e-3
"""Step of central differences, in normal scores."""
_STEPS, _MOST_STEPS = 12, 40
_ENOUGH = 1e-5
"""Change of every unknown below which the mode is found."""


class Solver:
    r"""Solves a reference model for rows of parameters, and finds modes and proposals from that alone.

    Arguments:
        reference: The reference model.

    Example:
        >>> from pulsebayes.simulators.reference import ReferenceWindkessel
        >>> solver = Solver(Reference(ReferenceWindkessel(), ("SV", "LVET", "MAP", "tau", "Pout")))
        >>> solver.beats(np.zeros((3, 6))).shape
        (3, 25)
    """

    def __init__(self, reference: Reference) -> None:
        self.reference = reference
        self.dim = reference.dim - 3
        free = [reference.names[i] for i in reference.free[:-3]]
        self.held = free == [reference.model.rate_name]
        self.serves = self.held or len(free) == self.dim
        self._weight = np.append(np.ones(reference.dim - 1), 0.0)
        self._prior = np.append(np.ones(len(reference.free) - 1), 0.0)

    def beats(self, z: Float[np.ndarray, "N D"]) -> Complex[np.ndarray, "N K1"]:
        r"""Fourier coefficients of the beat of each row.

        Arguments:
            z: Normal scores of the parameters.
        """
        n = len(z)
        padded = np.concatenate([z, np.repeat(z[-1:], -n % _BLOCK, axis=0)])
        with jax.enable_x64(True):
            blocks = [np.asarray(self._solve(jnp.asarray(part))) for part in np.split(padded, len(padded) // _BLOCK)]
        return np.concatenate(blocks)[:n]

    def middles(self, z: Float[np.ndarray, "N D"]) -> Float[np.ndarray, "N D"]:
        r"""What the parameters of each row are counted from, as the model has it.

        Arguments:
            z: Normal scores of the parameters.
        """
        with jax.enable_x64(True):
            return np.asarray(self._middles(jnp.asarray(z)))

    def laplace(
        self, x: Float[np.ndarray, " T"], z: Float[np.ndarray, " U"], start: float
    ) -> tuple[Float[np.ndarray, " U"], Float[np.ndarray, "U U"]]:
        r"""Posterior mode near a point, and a factor of the covariance there, by Gauss-Newton steps.

        Arguments:
            x: Window [mmHg].
            z: Unknowns to begin from.
            start: Place that the start is counted from [s].
        """
        best, at, step = (-np.inf, z, np.eye(len(z))), z, STEP * np.eye(self.dim)
        for i in range(_MOST_STEPS):
            here = at[: self.dim]
            c = self.beats(np.concatenate([here + step, here - step, here[None]]))
            slope = (c[: self.dim] - c[self.dim : -1]) / (2 * STEP)
            with jax.enable_x64(True):
                found = self._stepped(*(jnp.asarray(v) for v in (at, c[-1], slope, np.asarray(x, np.float64), start)))
            new, precision, density = (np.asarray(part) for part in found)
            if i == 0 or density > best[0]:
                best = (float(density), at, precision)
            if not np.isfinite(new).all() or np.abs(new - at).max() < _ENOUGH:
                break
            at = new
        inverse = np.linalg.inv(best[2])
        return best[1], np.linalg.cholesky(0.5 * (inverse + inverse.T))

    def propose(self, x: Float[np.ndarray, " T"], z: Float[np.ndarray, "N U"], start: float, *, seed: int) -> Proposal:
        r"""Proposals for what the estimator does not give; of one that gives nothing, for all unknowns, about the mode.

        Arguments:
            x: Window [mmHg].
            z: Unknowns to begin from, one row a draw.
            start: Place that the start is counted from [s].
            seed: Seed.
        """
        d, free = self.dim, self.reference.free
        middle = self.middle(x, z, start)
        with jax.enable_x64(True):
            window, at = jnp.asarray(np.asarray(x, np.float64)), jnp.asarray(start)
            keys = jax.random.split(jax.random.key(seed), len(z))
            if self.held:
                z[:, free[0]] = middle[free[0]]
                c = self.beats(z[:, :d])
                drawn, log_q = self._completed(jnp.asarray(c), jnp.asarray(middle[free]), window, at, keys)
            else:
                mode, factor = self.laplace(x, middle, start)
                lower = np.linalg.cholesky(np.linalg.inv(factor @ factor.T))
                drawn, log_q = jax.vmap(student_about, (None, None, 0))(jnp.asarray(mode), jnp.asarray(lower), keys)
            z[:, free] = np.asarray(drawn)
        log_p = -0.5 * self.misfits(x, z, start) - 0.5 * (self._prior * z[:, free] ** 2).sum(1)
        return Proposal(z, np.asarray(log_q), log_p)

    def middle(self, x: Float[np.ndarray, " T"], z: Float[np.ndarray, "N U"], start: float) -> Float[np.ndarray, " U"]:
        r"""Median of unknowns; what the estimator does not give, at its mode given the others.

        Arguments:
            x: Window [mmHg].
            z: Unknowns.
            start: Place that the start is counted from [s].
        """
        found, free = np.median(z, axis=0), self.reference.free
        if self.held:
            c = self.beats(found[None, : self.dim])[0]
            with jax.enable_x64(True):
                window, at = jnp.asarray(np.asarray(x, np.float64)), jnp.asarray(start)
                found[free] = np.asarray(self._centre(jnp.asarray(c), jnp.asarray(found[free]), window, at))
        return np.asarray(found)

    def misfits(self, x: Float[np.ndarray, " T"], z: Float[np.ndarray, "N U"], start: float) -> Float[np.ndarray, " N"]:
        r"""Sums of squares of the standardised residuals of rows of unknowns.

        Arguments:
            x: Window [mmHg].
            z: Unknowns.
            start: Place that the start is counted from [s].
        """
        return self.misfits_of(self.beats(z[:, : self.dim]), x, z, start)

    def misfits_of(
        self, c: Complex[np.ndarray, "N K1"], x: Float[np.ndarray, " T"], z: Float[np.ndarray, "N U"], start: float
    ) -> Float[np.ndarray, " N"]:
        r"""Sums of squares of the standardised residuals of rows whose beats are known.

        Arguments:
            c: Fourier coefficients of their beats [mmHg].
            x: Window [mmHg].
            z: Unknowns.
            start: Place that the start is counted from [s].
        """
        with jax.enable_x64(True):
            window, at = jnp.asarray(np.asarray(x, np.float64)), jnp.asarray(start)
            return np.asarray(self._misfits(jnp.asarray(c), jnp.asarray(z), window, at))

    def completion_density(
        self, x: Float[np.ndarray, " T"], z: Float[np.ndarray, "N U"], start: float, middle: Float[np.ndarray, " U"]
    ) -> Float[np.ndarray, " N"]:
        r"""Log density with which ``propose`` would have completed rows as they are.

        Arguments:
            x: Window [mmHg].
            z: Unknowns.
            start: Place that the start is counted from [s].
            middle: What ``middle`` gave for the draws of the estimator.
        """
        free, known = self.reference.free, z[:, : self.dim].copy()
        known[:, free[0]] = middle[free[0]]
        c = self.beats(known)
        with jax.enable_x64(True):
            about = jnp.asarray(middle[free]), jnp.asarray(np.asarray(x, np.float64)), jnp.asarray(start)
            return np.asarray(self._scored(jnp.asarray(c), jnp.asarray(z[:, free]), *about))

    @cached_property
    def _solve(self) -> Any:
        constrain = from_normal(self.reference.model.space)
        return jax.jit(jax.vmap(lambda z: self.reference.model.coefficients(constrain(z))[1]))

    @cached_property
    def _middles(self) -> Any:
        constrain = from_normal(self.reference.model.space)
        return jax.jit(jax.vmap(lambda z: self.reference.model.middles(constrain(z))))

    @cached_property
    def _stepped(self) -> Any:
        reference, weight, d = self.reference, jnp.asarray(self._weight), self.dim
        constrain = from_normal(reference.model.space)

        def stepped(at: Array, c: Array, slope: Array, x: Array, start: Array) -> tuple[Array, Array, Array]:
            def misfit(z: Array) -> Array:
                beat = reference.period(constrain(z[:d])), c + (z[:d] - at[:d]) @ slope
                return reference.difference(*beat, z[d:], x, start)

            density = -0.5 * (misfit(at) ** 2).sum() - 0.5 * (weight * at**2).sum()
            return gauss_newton(misfit, weight, at, 1)[0], gauss_newton(misfit, weight, at, 0)[1], density

        return jax.jit(stepped)

    def _conditional(self, c: Array, at: Array, x: Array, start: Array, steps: int) -> tuple[Array, Array]:
        """Mode and precision of rate, gain, offset and start, the beat's coefficients held."""
        reference = self.reference
        rate = from_normal(reference.model.space.subset([reference.model.rate_name]))

        def misfit(rest: Array) -> Array:
            return reference.difference(60.0 / rate(rest[:1])[0], c, rest[1:], x, start)

        return gauss_newton(misfit, jnp.asarray(self._prior), at, steps)

    @cached_property
    def _centre(self) -> Any:
        return jax.jit(lambda c, at, x, start: self._conditional(c, at, x, start, _STEPS)[0])

    @cached_property
    def _completed(self) -> Any:
        def one(c: Array, key: Array, at: Array, x: Array, start: Array) -> tuple[Array, Array]:
            mode, precision = self._conditional(c, at, x, start, _STEPS // 3)
            return student_about(mode, jnp.linalg.cholesky(precision), key)

        def every(c: Array, at: Array, x: Array, start: Array, keys: Array) -> Any:
            return jax.lax.map(lambda row: one(row[0], row[1], at, x, start), (c, keys), batch_size=_BLOCK)

        return jax.jit(every)

    @cached_property
    def _scored(self) -> Any:
        def one(c: Array, rest: Array, at: Array, x: Array, start: Array) -> Array:
            mode, precision = self._conditional(c, at, x, start, _STEPS // 3)
            lower = jnp.linalg.cholesky(precision)
            return jnp.log(jnp.diag(lower)).sum() + student_density(lower.T @ (rest - mode))

        def every(c: Array, rest: Array, at: Array, x: Array, start: Array) -> Any:
            return jax.lax.map(lambda row: one(row[0], row[1], at, x, start), (c, rest), batch_size=_BLOCK)

        return jax.jit(every)

    @cached_property
    def _misfits(self) -> Any:
        reference, d = self.reference, self.dim
        constrain = from_normal(reference.model.space)

        def one(c: Array, z: Array, x: Array, start: Array) -> Array:
            return (reference.difference(reference.period(constrain(z[:d])), c, z[d:], x, start) ** 2).sum()

        def every(c: Array, z: Array, x: Array, start: Array) -> Any:
            return jax.lax.map(lambda row: one(row[0], row[1], x, start), (c, z), batch_size=_BLOCK)

        return jax.jit(every)
