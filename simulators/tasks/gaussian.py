r"""Three Gaussian parameters seen through two linear maps, of which the simulator knows the first.

$$
\theta \sim \mathcal{N}(m, G G^\top + I), \qquad x = A \theta + b + L \varepsilon, \qquad y = C x + d + R \varepsilon',
$$

with $x, y \in \mathbb{R}^{10}$; entries of $m$ are $U(-5, 5)$, of $G, L, A, b$ standard normal, of $C$ normal with mean
and variance one, of $d$ $U(5, 10)$, of $R$ normal with standard deviation .1. The simulator makes $x$, reality $y$, and
both $p(\theta \mid x)$ and $p(\theta \mid y)$ are Gaussian. Coordinates are the whitened parameters, standard normal
within six standard deviations.

References:
    | Flow matching corrected posterior estimation (Ruhlmann et al., 2025), https://arxiv.org/abs/2509.23385
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float

from ..parameters import Parameter, ParameterSpace, TruncatedNormal

__all__ = ["GaussianTask"]

_DIM, _WIDTH, _BOUND = 3, 10, 6.0


@dataclass(frozen=True)
class GaussianTask:
    r"""Linear Gaussian problem with analytic posteriors.

    Arguments:
        seed: Seed of the matrices.

    Example:
        >>> task, rng = GaussianTask(), np.random.default_rng(0)
        >>> mean, root = task.posterior_of_real(task.observe(task.space.sample(rng, 2), rng))
        >>> mean.shape, root.shape
        ((2, 3), (3, 3))
    """

    seed: int = 0

    @property
    def name(self) -> str:
        r"""Short name."""
        return "gaussian"

    @property
    def samples(self) -> int:
        r"""Length of an observation."""
        return _WIDTH

    @cached_property
    def space(self) -> ParameterSpace:
        r"""Whitened parameters."""
        law = TruncatedNormal(0.0, 1.0)
        return ParameterSpace(Parameter(f"w{i}", "1", -_BOUND, _BOUND, law) for i in range(_DIM))

    def simulate(self, theta: Float[np.ndarray, "N 3"], rng: np.random.Generator) -> Float[np.ndarray, "N 10"]:
        r"""Draws x.

        Arguments:
            theta: Whitened parameters.
            rng: Source of randomness.
        """
        m = self._maps
        noise = rng.standard_normal((len(theta), _WIDTH))
        return np.asarray(self.natural(theta) @ m["A"].T + m["b"] + noise @ m["L"].T)

    def observe(self, theta: Float[np.ndarray, "N 3"], rng: np.random.Generator) -> Float[np.ndarray, "N 10"]:
        r"""Draws y.

        Arguments:
            theta: Whitened parameters.
            rng: Source of randomness.
        """
        m = self._maps
        x = self.simulate(theta, rng)
        return np.asarray(x @ m["C"].T + m["d"] + rng.standard_normal(x.shape) @ m["R"].T)

    def natural(self, theta: Float[np.ndarray, "*batch 3"]) -> Float[np.ndarray, "*batch 3"]:
        r"""Parameters of the whitened ones.

        Arguments:
            theta: Whitened parameters.
        """
        return np.asarray(self._maps["m"] + np.asarray(theta) @ self._root.T)

    def log_volume(self, theta: Float[np.ndarray, "*batch 3"]) -> Float[np.ndarray, "*batch"]:
        r"""Log determinant of the prior's root.

        Arguments:
            theta: Whitened parameters.
        """
        return np.full(np.shape(theta)[:-1], float(np.log(np.diagonal(self._root)).sum()))

    def posterior_of_simulated(
        self, x: Float[np.ndarray, "N 10"]
    ) -> tuple[Float[np.ndarray, "N 3"], Float[np.ndarray, "3 3"]]:
        r"""Mean and Cholesky root of the whitened parameters given simulated observations.

        Arguments:
            x: Simulated observations.
        """
        m = self._maps
        return self._posterior(np.asarray(x) - m["b"] - m["A"] @ m["m"], m["A"] @ self._root, m["L"] @ m["L"].T)

    def posterior_of_real(
        self, y: Float[np.ndarray, "N 10"]
    ) -> tuple[Float[np.ndarray, "N 3"], Float[np.ndarray, "3 3"]]:
        r"""Mean and Cholesky root of the whitened parameters given real observations.

        Arguments:
            y: Real observations.
        """
        m = self._maps
        offset = m["C"] @ (m["b"] + m["A"] @ m["m"]) + m["d"]
        noise = m["C"] @ m["L"] @ m["L"].T @ m["C"].T + m["R"] @ m["R"].T
        return self._posterior(np.asarray(y) - offset, m["C"] @ m["A"] @ self._root, noise)

    def _posterior(
        self, residual: Float[np.ndarray, "N 10"], slope: Float[np.ndarray, "10 3"], noise: Float[np.ndarray, "10 10"]
    ) -> tuple[Float[np.ndarray, "N 3"], Float[np.ndarray, "3 3"]]:
        whitened = np.linalg.solve(noise, slope)
        covariance = np.linalg.inv(np.eye(_DIM) + slope.T @ whitened)
        return residual @ whitened @ covariance, np.linalg.cholesky(covariance)

    @cached_property
    def _root(self) -> Float[np.ndarray, "3 3"]:
        return np.linalg.cholesky(self._maps["G"] @ self._maps["G"].T + np.eye(_DIM))

    @cached_property
    def _maps(self) -> dict[str, np.ndarray]:
        rng = np.random.default_rng([self.seed, 3])
        return {
            "m": rng.uniform(-5.0, 5.0, _DIM),
            "G": rng.standard_normal((_DIM, _DIM)),
            "A": rng.standard_normal((_WIDTH, _DIM)),
            "b": rng.standard_normal(_WIDTH),
            "L": rng.standard_normal((_WIDTH, _WIDTH)),
            "C": rng.normal(1.0, 1.0, (_WIDTH, _WIDTH)),
            "d": rng.uniform(5.0, 10.0, _WIDTH),
            "R": rng.normal(0.0, 0.1, (_WIDTH, _WIDTH)),
        }
