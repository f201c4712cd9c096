r"""Forces for a sampler from a polynomial, where a model's own derivatives cost far more than the model.

Around a posterior's mode the Fourier coefficients of a beat are smooth in its parameters on the chart of
[`straight`][pulsebayes.inference.straight]: a cubic polynomial in them, whitened and fitted to a few hundred solutions
of the model itself, has their slopes to a per cent or so. A
leapfrog step with *any* force that depends on the place alone is reversible and keeps volume; accepted or chosen by the
exact density, Hamiltonian chains with such a force draw from the exact posterior. An error of the polynomial costs
acceptance, never correctness: no density is ever taken from it.

References:
    | Gaussian processes to speed up hybrid Monte Carlo for expensive Bayesian integrals (Rasmussen, 2003), Bayesian
      Statistics 7:651
    | MCMC using Hamiltonian dynamics, section 5.3 (Neal, 2011), https://arxiv.org/abs/1206.1901
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from itertools import combinations_with_replacement
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from ..simulators.normal_scores import from_normal
from .reference import Reference
from .solved import Solver
from .straight import above, parameter_scores

__all__ = ["Fitted", "fit_coefficients", "guided_density"]

_DEGREE = 3
_WIDER = 1.5
"""Standard deviations of the points of the fit over those of the normal law at the mode."""


class Fitted(NamedTuple):
    r"""A polynomial for the coefficients of a beat.

    Arguments:
        centre: Parameters at the mode, on the chart.
        inverse: What whitens their difference from it.
        weights: Weights of the monomials, real parts of the coefficients first.
        level: Mean pressure that is taken for zero [mmHg].

    Example:
        >>> Fitted._fields
        ('centre', 'inverse', 'weights', 'level')
    """

    centre: Float[Array, " D"]
    inverse: Float[Array, "D D"]
    weights: Float[Array, "M 2K1"]
    level: Array

    def coefficients(self, y: Float[Array, " D"]) -> Complex[Array, " K1"]:
        r"""Coefficients of the beat as the polynomial has them.

        Arguments:
            y: Parameters on the chart.
        """
        found = _monomials(self.inverse @ (y - self.centre)) @ self.weights
        half = found.shape[-1] // 2
        return jax.lax.complex(found[:half], found[half:])


def fit_coefficients(
    solver: Solver, centre: Float[np.ndarray, " U"], factor: Float[np.ndarray, "U U"], level: float, *, seed: int
) -> Fitted:
    r"""Fits the polynomial about a mode, to four solutions of the model for each of its terms.

    Arguments:
        solver: Solver of the reference model.
        centre: Mode of all unknowns, on the chart.
        factor: Triangular factor of their covariance there.
        level: Mean pressure that is taken for zero [mmHg].
        seed: Seed of the points.

    Example:
        >>> from pulsebayes.simulators.reference import ReferenceWindkessel
        >>> solver = Solver(Reference(ReferenceWindkessel(), ()))
        >>> fit_coefficients(solver, np.zeros(9), 0.05 * np.eye(9), 90.0, seed=0).weights.shape
        (84, 50)
    """
    d = solver.dim
    own = np.linalg.cholesky((factor @ factor.T)[:d, :d])
    v = _WIDER * np.random.default_rng([seed, 31]).standard_normal((4 * len(_places(d)), d))
    y = centre[:d] + v @ own.T
    solved = solver.beats(y - solver.middles(y))
    with jax.enable_x64(True):
        terms = np.asarray(_rows_of_monomials(jnp.asarray(v)))
        weights = np.linalg.lstsq(terms, np.concatenate([solved.real, solved.imag], axis=1), rcond=None)[0]
        whitened = jnp.asarray(centre[:d]), jnp.asarray(np.linalg.inv(own))
        return Fitted(*whitened, jnp.asarray(weights), jnp.asarray(level))


def guided_density(reference: Reference) -> Callable[[Array, Array, Array, Fitted], Array]:
    r"""Makes the exact log posterior density on the chart, the slope of which comes from a polynomial.

    Arguments:
        reference: The reference model.

    Returns:
        A function of unknowns, window, place that the start is counted from [s], and the polynomial.

    Example:
        >>> from pulsebayes.simulators.reference import ReferenceWindkessel
        >>> reference = Reference(ReferenceWindkessel(), ())
        >>> fitted = fit_coefficients(Solver(reference), np.zeros(9), 0.05 * np.eye(9), 90.0, seed=0)
        >>> float(guided_density(reference)(jnp.zeros(9), jnp.full(1000, 90.0), jnp.asarray(0.0), fitted)) < 0
        True
    """
    constrain = from_normal(reference.model.space)

    def of_beat(y: Array, c: Array, x: Array, start: Array, level: Array) -> Array:
        rest = y[-3:].at[1].add(-above(reference, y[-3], c[0].real, level))
        z = jnp.concatenate([parameter_scores(reference, y[:-3]), rest])
        misfit = reference.difference(reference.period(constrain(z[:-3])), c, z[-3:], x, start)
        return -0.5 * (misfit**2).sum() - 0.5 * (z[:-1] ** 2).sum()

    @jax.custom_jvp
    def density(y: Array, x: Array, start: Array, fitted: Fitted) -> Array:
        scores = parameter_scores(reference, y[:-3])
        return of_beat(y, reference.model.coefficients(constrain(scores))[1], x, start, fitted.level)

    @density.defjvp
    def slope(at: tuple[Any, ...], along: tuple[Any, ...]) -> tuple[Array, Array]:
        y, x, start, fitted = at

        def near(y: Array) -> Array:
            return of_beat(y, fitted.coefficients(y[:-3]), x, start, fitted.level)

        return density(*at), jax.jvp(near, (y,), (along[0],))[1]

    return jax.jit(density)  # what NumPyro calls outside of a compiled step too


@cache
def _places(dim: int) -> np.ndarray:
    """Factors of every monomial up to the third degree; place ``dim`` stands for one."""
    rows: list[tuple[int, ...]] = [()]
    for degree in range(1, _DEGREE + 1):
        rows += combinations_with_replacement(range(dim), degree)
    return np.array([(*row, *[dim] * (_DEGREE - len(row))) for row in rows])


def _monomials(v: Float[Array, " D"]) -> Float[Array, " M"]:
    padded = jnp.append(v, 1.0)
    found: Array = padded[_places(len(v))].prod(-1)
    return found


_rows_of_monomials = jax.jit(jax.vmap(_monomials))
