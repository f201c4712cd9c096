r"""Batched integration of systems of the grammar in JAX, with a step-halving check.

One compiled function integrates every system of a batch from several initial values by the classical Runge-Kutta
method of fourth order, once with a step and once with half of it. A row whose two solutions differ, that leaves the
bound or is not finite is marked and never used: of the trajectories that survive a fixed step one in ten to one in
four fail this check, and would be wrong. The batch is the last axis, so that every operation is one long loop.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from .grammar import INNERS, OUTERS
from .packed import Packed

__all__ = ["Solution", "Stepping", "integrate", "term_values"]

_INNER_NAMES = tuple(INNERS)
_OUTER_NAMES = tuple(OUTERS)
_Functions = tuple[tuple[int, ...], tuple[int, ...]]
_Arrays = tuple[Array, ...]


@dataclass(frozen=True)
class Stepping:
    r"""How a batch is integrated.

    Arguments:
        horizon: Last time; the first is 0.
        n_steps: Steps of the coarse solution; the fine one takes twice as many.
        bound: Largest magnitude a state may reach.
        tolerance: Largest difference between the two solutions, as a share of the state's largest magnitude.

    Raises:
        ValueError: If a number is not positive.

    Example:
        >>> float(Stepping(n_steps=128).times[-1])
        10.0
    """

    horizon: float = 10.0
    n_steps: int = 256
    bound: float = 100.0
    tolerance: float = 1e-3

    def __post_init__(self) -> None:
        for name in ("horizon", "n_steps", "bound", "tolerance"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")

    @property
    def times(self) -> Float[np.ndarray, " T"]:
        r"""Times at which the solution is kept, n_steps + 1 of them."""
        return np.linspace(0.0, self.horizon, self.n_steps + 1)

    @property
    def input_times(self) -> Float[np.ndarray, " S"]:
        r"""Times at which inputs are needed: four times as dense, less three."""
        return np.linspace(0.0, self.horizon, 4 * self.n_steps + 1)


@dataclass(frozen=True)
class Solution:
    r"""Trajectories of a batch.

    Arguments:
        x: States, from the finer of the two solutions.
        ok: Whether the trajectory is finite, within the bound and passed the check.
        difference: Largest difference between the two solutions as a share of the state's largest magnitude.

    Example:
        >>> Solution(np.zeros((1, 1, 2, 1)), np.ones((1, 1), bool), np.zeros((1, 1))).x.shape
        (1, 1, 2, 1)
    """

    x: Float[np.ndarray, "B R T D"]
    ok: Bool[np.ndarray, "B R"]
    difference: Float[np.ndarray, "B R"]


def integrate(
    systems: Packed,
    x0: Float[np.ndarray, "B R D"],
    stepping: Stepping | None = None,
    *,
    u: Float[np.ndarray, "B R S U"] | None = None,
    functions: _Functions | None = None,
    dtype: str = "float32",
) -> Solution:
    r"""Integrates every system from each of its initial values.

    Arguments:
        systems: The systems.
        x0: Initial values.
        stepping: Horizon, step, bound and tolerance.
        u: Inputs at `Stepping.input_times`, needed if the systems have any.
        functions: Outer and inner functions to compile, those that occur by default; name more to share one
            compiled function among batches.
        dtype: Precision, float32 or float64 (which JAX must be configured for).

    Returns:
        Trajectories and whether they can be used.

    Raises:
        ValueError: If initial values or inputs do not fit the systems.

    Example:
        >>> from pulsebayes.simulators.odes import System, pack
        >>> decay = pack([System.from_sympy(["-x"], ["x"])])
        >>> solution = integrate(decay, np.ones((1, 1, 1)), Stepping(horizon=1.0, n_steps=16))
        >>> bool(solution.ok.all()), round(float(solution.x[0, 0, -1, 0]), 4)
        (True, 0.3679)
    """
    stepping = stepping or Stepping()
    b, d = len(systems), systems.dimension
    x0 = np.asarray(x0)
    if x0.ndim != 3 or x0.shape[0] != b or x0.shape[2] != d:
        raise ValueError(f"x0 must have shape ({b}, R, {d}), got {x0.shape}")
    n_times = 4 * stepping.n_steps + 1
    shape = (b, x0.shape[1], n_times, systems.n_inputs)
    if systems.n_inputs and (u is None or u.shape != shape):
        raise ValueError(f"u must have shape {shape}, got {None if u is None else u.shape}")
    inputs = np.zeros((n_times, 0, x0.shape[1], b))
    if u is not None and systems.n_inputs:
        inputs = np.moveaxis(u, (2, 3), (0, 1)).swapaxes(2, 3)
    x, ok, difference = _integrate(
        _batch_last(systems, dtype),
        jnp.asarray(x0.transpose(2, 1, 0), dtype),
        jnp.asarray(inputs, dtype),
        stepping,
        functions or systems.functions,
    )
    return Solution(np.asarray(x).transpose(3, 2, 0, 1), np.asarray(ok).T, np.asarray(difference).T)


def term_values(
    systems: Packed,
    x: Float[np.ndarray, "B P V"],
    *,
    functions: _Functions | None = None,
    dtype: str = "float32",
) -> Float[np.ndarray, "B D M P"]:
    r"""Evaluates every term of every system at points of its own.

    Arguments:
        systems: The systems.
        x: States, then inputs.
        functions: Outer and inner functions to compile, those that occur by default.
        dtype: Precision.

    Returns:
        Values of the terms, coefficient included.

    Example:
        >>> from pulsebayes.simulators.odes import System, pack
        >>> term_values(pack([System.from_sympy(["3 - x**2"], ["x"])]), np.full((1, 1, 1), 2.0))[0, 0, :, 0]
        array([ 3., -4.], dtype=float32)
    """
    arrays = _batch_last(systems, dtype)
    points = jnp.asarray(np.moveaxis(np.asarray(x), 0, -1).swapaxes(0, 1), dtype)
    return np.asarray(_terms_at(arrays, points, functions or systems.functions)).transpose(3, 0, 1, 2)


@partial(jax.jit, static_argnames=("functions",))
def _terms_at(arrays: _Arrays, points: Array, functions: _Functions) -> Array:
    return _terms(arrays, points, functions)


def _batch_last(systems: Packed, dtype: str) -> _Arrays:
    """Arrays with the batch last and an axis of one for the initial values before it."""

    def last(array: np.ndarray, kind: str) -> Array:
        return jnp.asarray(np.moveaxis(array, 0, -1)[..., None, :], kind)

    numbers = (systems.coefficient, systems.weight, systems.offset, systems.a, systems.b)
    return (*(last(n, dtype) for n in numbers), last(systems.outer, "int8"), last(systems.inner, "int8"))


def _inner(z: Array, kind: Array, used: tuple[int, ...]) -> Array:
    """The inner functions that occur, chosen elementwise."""
    names = {_INNER_NAMES[i]: i for i in used}
    out, square = z, z * z
    values: dict[str, Callable[[], Array]] = {
        "pow2": lambda: square,
        "pow3": lambda: square * z,
        "pow4": lambda: square * square,
        "pow5": lambda: square * square * z,
        "exp": lambda: jnp.exp(z),
        "log": lambda: jnp.log(z),
        "sqrt": lambda: jnp.sqrt(z),
        "abs": lambda: jnp.abs(z),
    }
    for name, value in values.items():
        if name in names:
            out = jnp.where(kind == names[name], value(), out)
    if "sin" in names or "cos" in names:
        cosine = kind == names.get("cos", -1)
        out = jnp.where(cosine | (kind == names.get("sin", -1)), _sine(z, cosine), out)
    return out


def _sine(z: Array, cosine: Array) -> Array:
    """Sine or cosine; in single precision by a polynomial, seven times faster than the library's on a CPU.

    The argument is reduced by multiples of pi in two parts and the Taylor series to z^11 used on [-pi/2, pi/2], where
    what it leaves out is 6e-8. Cosine is the sine half a turn of pi on.
    """
    if z.dtype != jnp.float32:
        return jnp.where(cosine, jnp.cos(z), jnp.sin(z))
    half = jnp.where(cosine, jnp.float32(0.5), jnp.float32(0.0))
    n = jnp.round(z * jnp.float32(1 / np.pi) + half)
    r = (z - (n - half) * jnp.float32(3.140625)) - (n - half) * jnp.float32(9.6765358979e-4)
    s = r * r
    series = jnp.float32(-1 / 39916800)
    for c in (1 / 362880, -1 / 5040, 1 / 120, -1 / 6, 1.0):
        series = series * s + jnp.float32(c)
    odd = n - 2 * jnp.floor(n / 2)
    return jnp.asarray(r * series * (1 - 2 * odd))


def _outer(y: Array, kind: Array, used: tuple[int, ...]) -> Array:
    names = {_OUTER_NAMES[i]: i for i in used}
    out = y
    if "inv" in names or "inv2" in names:
        inverse = 1.0 / y
        out = jnp.where(kind == names.get("inv", -1), inverse, out)
        out = jnp.where(kind == names.get("inv2", -1), inverse * inverse, out)
    if "pow2" in names:
        out = jnp.where(kind == names["pow2"], y * y, out)
    if "exp" in names:
        out = jnp.where(kind == names["exp"], jnp.exp(y), out)
    return out


def _terms(arrays: _Arrays, x: Array, functions: _Functions) -> Array:
    """Values of the terms, (D, M, R, B), at points (V, R, B)."""
    coefficient, weight, offset, a, b, outer, inner = arrays
    z = offset
    for v in range(weight.shape[3]):
        z = z + weight[:, :, :, v] * x[v]
    y = _outer(a * _inner(z, inner, functions[1]) + b, outer, functions[0])
    product = coefficient
    for f in range(y.shape[2]):
        product = product * y[:, :, f]
    return product


def _runge_kutta(arrays: _Arrays, x: Array, u: tuple[Array, Array, Array], h: float, functions: _Functions) -> Array:
    def slope(state: Array, inputs: Array) -> Array:
        terms = _terms(arrays, jnp.concatenate([state, inputs]), functions)
        return sum((terms[:, m] for m in range(1, terms.shape[1])), start=terms[:, 0])

    k1 = slope(x, u[0])
    k2 = slope(x + h / 2 * k1, u[1])
    k3 = slope(x + h / 2 * k2, u[1])
    k4 = slope(x + h * k3, u[2])
    return x + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)


@partial(jax.jit, static_argnames=("stepping", "functions"))
def _integrate(
    arrays: _Arrays, x0: Array, u: Array, stepping: Stepping, functions: _Functions
) -> tuple[Array, Array, Array]:
    """Both solutions in one loop: a coarse step and two fine ones at a time."""
    h = stepping.horizon / stepping.n_steps

    def step(state: tuple[Array, Array], inputs: Array) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
        coarse, fine = state
        fine = _runge_kutta(arrays, fine, (inputs[0], inputs[1], inputs[2]), h / 2, functions)
        fine = _runge_kutta(arrays, fine, (inputs[2], inputs[3], inputs[4]), h / 2, functions)
        coarse = _runge_kutta(arrays, coarse, (inputs[0], inputs[2], inputs[4]), h, functions)
        return (coarse, fine), (coarse, fine)

    blocks = jnp.concatenate([u[:-1].reshape(stepping.n_steps, 4, *u.shape[1:]), u[4::4][:, None]], axis=1)
    _, (coarse, fine) = jax.lax.scan(step, (x0, x0), blocks)
    x = jnp.concatenate([x0[None], fine])
    largest = jnp.abs(x).max(0)
    # NaN compares false, so that a solution which is not finite fails here too.
    inside = (largest <= stepping.bound).all(0) & jnp.isfinite(coarse).all((0, 1))
    difference = (jnp.abs(coarse - fine).max(0) / jnp.maximum(largest, 1e-12)).max(0)
    return x, inside & (difference <= stepping.tolerance), difference
