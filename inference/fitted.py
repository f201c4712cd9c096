r"""Forces for a sampler from a polynomial, where a model's own derivatives cost far more than the model.

Around a posterior's mode the Fourier coefficients of a beat are smooth in its parameters: a cubic polynomial in the
whitened parameters, fitted to a few hundred solutions of the model itself, has their slopes to a per cent or so. A
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

__all__ = ["Fitted", "fit_coefficients", "guided_density", "level_factor", "to_level"]

_DEGREE = 3
_WIDER = 1.5
"""Standard deviations of the points of the fit over those of the normal law at the mode."""


class Fitted(NamedTuple):
    r"""A polynomial for the coefficients of a beat.

    Arguments:
        centre: Normal scores of the parameters at the mode.
        inverse: What whitens their difference from it.
        weights: Weights of the monomials, real parts of the coefficients first.
        level: Mean of the beat at the mode [mmHg].

    Example:
        >>> Fitted._fields
        ('centre', 'inverse', 'weights', 'level')
    """

    centre: Float[Array, " D"]
    inverse: Float[Array, "D D"]
    weights: Float[Array, "M 2K1"]
    level: Array

    def coefficients(self, z: Float[Array, " D"]) -> Complex[Array, " K1"]:
        r"""Coefficients of the beat as the polynomial has them.

        Arguments:
            z: Normal scores of the parameters.
        """
        found = _monomials(self.inverse @ (z - self.centre)) @ self.weights
        half = found.shape[-1] // 2
        return jax.lax.complex(found[:half], found[half:])


def fit_coefficients(
    solver: Solver, centre: Float[np.ndarray, " U"], factor: Float[np.ndarray, "U U"], *, seed: int
) -> Fitted:
    r"""Fits the polynomial about a mode, to four solutions of the model for each of its terms.

    Arguments:
        solver: Solver of the reference model.
        centre: Mode of all unknowns.
        factor: Triangular factor of their covariance.
        seed: Seed of the points.

    Example:
        >>> from pulsebayes.simulators.reference import ReferenceWindkessel
        >>> solver = Solver(Reference(ReferenceWindkessel(), ()))
        >>> fit_coefficients(solver, np.zeros(9), 0.05 * np.eye(9), seed=0).weights.shape
        (84, 50)
    """
    d = solver.dim
    own = np.linalg.cholesky((factor @ factor.T)[:d, :d])
    v = _WIDER * np.random.default_rng([seed, 31]).standard_normal((4 * len(_places(d)), d))
    solved = solver.beats(centre[:d] + v @ own.T)
    with jax.enable_x64(True):
        terms = np.asarray(_rows_of_monomials(jnp.asarray(v)))
        weights = np.linalg.lstsq(terms, np.concatenate([solved.real, solved.imag], axis=1), rcond=None)[0]
        whitened = jnp.asarray(centre[:d]), jnp.asarray(np.linalg.inv(own))
        return Fitted(*whitened, jnp.asarray(weights), jnp.asarray(solver.beats(centre[None, :d])[0, 0].real))


def guided_density(reference: Reference) -> Callable[[Array, Array, Array, Fitted], Array]:
    r"""Makes the exact log posterior density on the chart of ``to_level``, the slope of which comes from a polynomial.

    Arguments:
        reference: The reference model.

    Returns:
        A function of unknowns, window, place that the start is counted from [s], and the polynomial.

    Example:
        >>> from pulsebayes.simulators.reference import ReferenceWindkessel
        >>> reference = Reference(ReferenceWindkessel(), ())
        >>> fitted = fit_coefficients(Solver(reference), np.zeros(9), 0.05 * np.eye(9), seed=0)
        >>> float(guided_density(reference)(jnp.zeros(9), jnp.full(1000, 90.0), jnp.asarray(0.0), fitted)) < 0
        True
    """
    constrain = from_normal(reference.model.space)

    def of_beat(y: Array, c: Array, x: Array, start: Array, level: Array) -> Array:
        z = y.at[-2].add(-_above(reference, y[-3], c[0].real, level))
        misfit = reference.difference(reference.period(constrain(z[:-3])), c, z[-3:], x, start)
        return -0.5 * (misfit**2).sum() - 0.5 * (z[:-1] ** 2).sum()

    @jax.custom_jvp
    def density(y: Array, x: Array, start: Array, fitted: Fitted) -> Array:
        return of_beat(y, reference.model.coefficients(constrain(y[:-3]))[1], x, start, fitted.level)

    @density.defjvp
    def slope(at: tuple[Any, ...], along: tuple[Any, ...]) -> tuple[Array, Array]:
        y, x, start, fitted = at

        def near(y: Array) -> Array:
            return of_beat(y, fitted.coefficients(y[:-3]), x, start, fitted.level)

        return density(*at), jax.jvp(near, (y,), (along[0],))[1]

    return jax.jit(density)  # what NumPyro calls outside of a compiled step too


def to_level(solver: Solver, z: Float[np.ndarray, "N U"], level: float, *, back: bool = False) -> np.ndarray:
    r"""Puts the mean of the window in the place of the offset, or the offset back.

    A window tells its mean to a twentieth of a millimetre, but mean pressure and offset only as far as their priors and
    the shape of the pulse do: a ridge that bends where the prior of mean pressure does. With the mean itself as an
    unknown it is straight; the map only shifts one unknown by a function of the others, so densities stay as they are.

    Arguments:
        solver: Solver of the reference model.
        z: Unknowns.
        level: Mean pressure that is taken for zero [mmHg].
        back: Whether the offset is put back.

    Example:
        >>> from pulsebayes.simulators.reference import ReferenceWindkessel
        >>> solver = Solver(Reference(ReferenceWindkessel(), ()))
        >>> y = to_level(solver, np.ones((1, 9)), 90.0)
        >>> np.allclose(to_level(solver, y, 90.0, back=True), 1.0)
        True
    """
    mean = solver.beats(z[:, : solver.dim])[:, 0].real
    moved = z.copy()
    moved[:, -2] += (-1 if back else 1) * _above(solver.reference, z[:, -3], mean, level)
    return moved


def level_factor(
    reference: Reference, fitted: Fitted, centre: Float[np.ndarray, " U"], factor: Float[np.ndarray, "U U"]
) -> Float[np.ndarray, "U U"]:
    r"""Triangular factor of a covariance on the chart of ``to_level``.

    Arguments:
        reference: The reference model.
        fitted: The polynomial.
        centre: Mode of the unknowns.
        factor: Triangular factor of their covariance there.

    Example:
        >>> from pulsebayes.simulators.reference import ReferenceWindkessel
        >>> reference, factor = Reference(ReferenceWindkessel(), ()), 0.05 * np.eye(9)
        >>> fitted = fit_coefficients(Solver(reference), np.zeros(9), factor, seed=0)
        >>> level_factor(reference, fitted, np.zeros(9), factor).shape
        (9, 9)
    """

    def above(z: Array) -> Array:
        level: Array = _above(reference, z[-3], fitted.coefficients(z[:-3])[0].real, fitted.level)
        return level

    with jax.enable_x64(True):
        turn = np.eye(len(centre))
        turn[-2] += np.asarray(jax.jit(jax.jacfwd(above))(jnp.asarray(centre)))
    turned = turn @ factor
    return np.linalg.cholesky(turned @ turned.T)


def _above(reference: Reference, gain: Any, mean: Any, level: Any) -> Any:
    """How far the window's mean lies above a level but for the offset, in units of the offset."""
    if reference.offset_sd == 0:
        return 0.0 * mean
    return ((1 + reference.gain_sd * gain) * mean - level) / reference.offset_sd


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
