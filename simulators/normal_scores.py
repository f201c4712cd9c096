r"""Parameters on the scale on which their prior is standard normal, in JAX.

With $F_d$ the prior's distribution of parameter $d$ and $\Phi$ the normal one, $z_d = \Phi^{-1}(F_d(\theta_d))$. A
sampler that works in $z$ needs no bounds, and its prior is $\mathcal{N}(0, I)$ whatever the parameters are.
"""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtr, ndtri
from jaxtyping import Array, Float

from .parameters import Parameter, ParameterSpace
from .priors import LogUniform, TruncatedLogNormal, TruncatedNormal, Uniform

__all__ = ["from_normal", "to_normal"]

_FARTHEST = 7.0


def to_normal(space: ParameterSpace, theta: Float[np.ndarray, "*batch D"]) -> Float[np.ndarray, "*batch D"]:
    r"""Maps parameters to normal scores.

    Arguments:
        space: The parameters.
        theta: Values, each column in its unit.

    Returns:
        Scores, at most seven from zero.

    Example:
        >>> space = ParameterSpace((Parameter("HR", "1/min", 40.0, 160.0),))
        >>> to_normal(space, np.array([[100.0]])).tolist()
        [[0.0]]
    """
    from scipy import special

    return np.asarray(np.clip(special.ndtri(space.quantiles(theta)), -_FARTHEST, _FARTHEST))


def from_normal(space: ParameterSpace) -> Callable[[Float[Array, "*batch D"]], Float[Array, "*batch D"]]:
    r"""Makes the map from normal scores to parameters, differentiable; in float64 it keeps its digits in both tails.

    Arguments:
        space: Parameters with uniform, log-uniform, truncated normal or truncated log-normal priors.

    Returns:
        A function of scores.

    Raises:
        ValueError: If a prior is of another kind.

    Example:
        >>> space = ParameterSpace((Parameter("HR", "1/min", 40.0, 160.0),))
        >>> from_normal(space)(jnp.zeros((1, 1))).tolist()
        [[100.0]]
    """
    columns = [_column(parameter) for parameter in space.parameters]

    def constrain(z: Float[Array, "*batch D"]) -> Float[Array, "*batch D"]:
        return jnp.stack([column(z[..., d]) for d, column in enumerate(columns)], axis=-1)

    return constrain


def _column(p: Parameter) -> Callable[[Array], Array]:
    low, high, prior = p.low, p.high, p.prior
    if isinstance(prior, Uniform):
        return lambda z: low + (high - low) * ndtr(z)
    if isinstance(prior, LogUniform):
        return lambda z: low * jnp.exp(jnp.log(high / low) * ndtr(z))
    if isinstance(prior, TruncatedNormal):
        mean, sd = prior.mean, prior.sd
        return lambda z: mean + sd * _truncated(z, (low - mean) / sd, (high - mean) / sd)
    if isinstance(prior, TruncatedLogNormal):
        median, sigma = prior.median, prior.sigma
        ends = np.log(np.array([low, high]) / median) / sigma
        return lambda z: median * jnp.exp(sigma * _truncated(z, float(ends[0]), float(ends[1])))
    raise ValueError(f"{p.name} must have a uniform, log-uniform, normal or log-normal prior, got {prior}")


def _truncated(z: Array, low: float, high: float) -> Array:
    """Quantile of a truncated standard normal."""
    from scipy.special import ndtr as cdf

    first, last = float(cdf(low)), float(cdf(high))
    return ndtri(first + (last - first) * ndtr(z))
