r"""Parameters with truncated normal priors on the scale of the normal law before it was truncated.

Normal scores (see [`normal_scores`][pulsebayes.simulators.normal_scores]) run away from a parameter that nears an end
of its interval: what a model is smooth in, they bend. With $s = (\theta - \mu)/\sigma$ between $a$ and $b$, the *place*
$v$ is that of

$$
w = a + \delta \log\big(1 + e^{(v-a)/\delta}\big), \qquad s = b - \delta \log\big(1 + e^{(b-w)/\delta}\big),
$$

so that $v = s$ but for a few $\delta = 0.1$ at either end. Priors of another kind keep their normal scores.
"""

from __future__ import annotations

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtr, ndtri
from jaxtyping import Array, Float

from .parameters import ParameterSpace
from .priors import TruncatedLogNormal, TruncatedNormal

__all__ = ["place_density", "places_of", "scores_of"]

_SOFT = 0.1
_LEAST = 1e-15
"""Least share of the prior that lies beyond a place."""


def places_of(space: ParameterSpace, z: Float[Array, " D"]) -> Float[Array, " D"]:
    r"""Places of parameters from their normal scores.

    Arguments:
        space: The parameters.
        z: Normal scores.

    Example:
        >>> from .parameters import Parameter
        >>> space = ParameterSpace((Parameter("d", "1", -3.0, 3.0, TruncatedNormal(0.0, 1.0)),))
        >>> [round(float(places_of(space, jnp.array([z]))[0]), 2) for z in (0.0, -2.0, -3.3)]
        [0.0, -1.98, -2.96]
    """
    ends = _ends(space)
    low, high, below, within = (jnp.asarray(part, z.dtype) for part in ends[:-1])
    s = ndtri(jnp.clip(below + within * ndtr(z), below + _LEAST, below + within - _LEAST))
    w = high - _unsoftened(jnp.maximum(high - s, 1e-9))
    return jnp.where(ends[-1], low + _unsoftened(jnp.maximum(w - low, 1e-9)), z)


def scores_of(space: ParameterSpace, v: Float[Array, " D"]) -> Float[Array, " D"]:
    r"""Normal scores of parameters from their places.

    Arguments:
        space: The parameters.
        v: Places.

    Example:
        >>> from .parameters import Parameter
        >>> space = ParameterSpace((Parameter("d", "1", -3.0, 3.0, TruncatedNormal(0.0, 1.0)),))
        >>> z = jnp.array([-3.3])
        >>> abs(float(scores_of(space, places_of(space, z))[0] - z[0])) < 1e-3
        True
    """
    ends = _ends(space)
    _, _, below, within = (jnp.asarray(part, v.dtype) for part in ends[:-1])
    share = (ndtr(_softened(ends, v)[0]) - below) / within
    return jnp.where(ends[-1], ndtri(jnp.clip(share, _LEAST, 1 - _LEAST)), v)


def place_density(space: ParameterSpace, v: Float[Array, " D"]) -> Float[Array, ""]:
    r"""Log prior density of places, over that of a standard normal law at zero.

    Arguments:
        space: The parameters.
        v: Places.

    Example:
        >>> from .parameters import Parameter
        >>> space = ParameterSpace((Parameter("d", "1", -3.0, 3.0, TruncatedNormal(0.0, 1.0)),))
        >>> round(float(place_density(space, jnp.array([1.0]))), 3)
        -0.497
    """
    ends = _ends(space)
    s, log_slope = _softened(ends, v)
    own = -0.5 * s**2 + log_slope - jnp.asarray(np.log(ends[3]), v.dtype)
    return jnp.where(ends[-1], own, -0.5 * v**2).sum()


def _softened(ends: tuple[np.ndarray, ...], v: Array) -> tuple[Array, Array]:
    """Score before truncation, and the log of its slope."""
    low, high = (jnp.asarray(part, v.dtype) for part in ends[:2])
    w = low + _SOFT * jax.nn.softplus((v - low) / _SOFT)
    s = high - _SOFT * jax.nn.softplus((high - w) / _SOFT)
    return s, jax.nn.log_sigmoid((v - low) / _SOFT) + jax.nn.log_sigmoid((high - w) / _SOFT)


def _unsoftened(far: Array) -> Array:
    """Inverse of the soft distance from an end."""
    return far + _SOFT * jnp.log(-jnp.expm1(-far / _SOFT))


@cache
def _ends(space: ParameterSpace) -> tuple[np.ndarray, ...]:
    """Ends before truncation, share of the prior below the lower one and between them, and where there are any."""
    from scipy.special import ndtr as cdf

    found = []
    for p in space.parameters:
        if isinstance(p.prior, TruncatedNormal):
            found.append([(end - p.prior.mean) / p.prior.sd for end in (p.low, p.high)])
        elif isinstance(p.prior, TruncatedLogNormal):
            found.append([float(np.log(end / p.prior.median)) / p.prior.sigma for end in (p.low, p.high)])
        else:
            found.append([-np.inf, np.inf])
    low, high = np.array(found).T
    bounded = np.isfinite(low)
    low, high = np.where(bounded, low, -3.0), np.where(bounded, high, 3.0)
    return low, high, cdf(low), cdf(high) - cdf(low), bounded
