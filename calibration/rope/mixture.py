r"""A posterior for each of many recordings: a mixture over simulations with weights from transport.

$$
p(\theta \mid x_i) = (1 - \pi) \sum_j \alpha_{ij}\, q_\beta(\theta \mid h_j) + \pi\, p(\theta)
$$

with weights $\alpha_{ij}$ that sum to one, components that are widened by $\beta$ or not, and a share $\pi$ of the
prior itself. $1 / \sum_j \alpha_{ij}^2$ is the effective number of simulations: all of them means the prior.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from .components import Components, PriorLaw

__all__ = ["Mixture", "effective_size"]


def effective_size(weights: Float[np.ndarray, "N n"]) -> Float[np.ndarray, " N"]:
    r"""Effective number of components of each row of weights.

    Arguments:
        weights: Rows that sum to one.

    Example:
        >>> effective_size(np.array([[0.5, 0.5], [1.0, 0.0]])).tolist()
        [2.0, 1.0]
    """
    return np.asarray(1.0 / np.sum(np.asarray(weights, dtype=np.float64) ** 2, axis=1))


@dataclass(frozen=True)
class Mixture:
    r"""Posteriors of N recordings over shared components.

    Arguments:
        weights: Weights of each recording; rows sum to one.
        components: The components.
        prior: The prior, for its share.
        bandwidth: Width of the components' kernels in units of the prior's spread; 0 for the estimator's densities.
        prior_share: Share of the prior.

    Raises:
        ValueError: If the weights do not fit or the share is out of range.

    Example:
        >>> from pulsebayes.simulators.parameters import Parameter, ParameterSpace
        >>> space = ParameterSpace((Parameter("a", "1", 0.0, 1.0),))
        >>> parts = Components(space, np.zeros((2, 9, 1)), np.ones(1))
        >>> mixture = Mixture(np.array([[0.5, 0.5]]), parts, space, bandwidth=0.1, prior_share=0.05)
        >>> mixture.sample(np.random.default_rng(0), 7).shape
        (1, 7, 1)
    """

    weights: Float[np.ndarray, "N n"]
    components: Components
    prior: PriorLaw
    bandwidth: float = 0.0
    prior_share: float = 0.0

    def __post_init__(self) -> None:
        if self.weights.ndim != 2 or self.weights.shape[1] != self.components.n:
            raise ValueError(f"weights must have shape (N, {self.components.n}), got {self.weights.shape}")
        if not 0 <= self.prior_share <= 1:
            raise ValueError(f"prior_share must lie in [0, 1], got {self.prior_share}")

    @property
    def effective(self) -> Float[np.ndarray, " N"]:
        r"""Effective number of simulations behind each posterior."""
        return effective_size(self.weights)

    def log_prob(
        self, theta: Float[np.ndarray, "N D"], *, table: Float[np.ndarray, "N n"] | None = None
    ) -> Float[np.ndarray, " N"]:
        r"""Log density of one value a recording.

        Arguments:
            theta: Values, each column in its unit.
            table: ``components.table(theta, bandwidth=bandwidth)`` where it is known already.

        Returns:
            Log density with respect to ``theta``, minus infinity where there is none.
        """
        theta = np.asarray(theta, dtype=np.float64)
        if theta.shape != (len(self.weights), self.components.space.dim):
            raise ValueError(
                f"theta must have shape ({len(self.weights)}, {self.components.space.dim}), got {theta.shape}"
            )
        if table is None:
            table = self.components.table(theta, bandwidth=self.bandwidth)
        top = np.where(np.isfinite(table), table, -np.inf).max(1, keepdims=True)
        top = np.where(np.isfinite(top), top, 0.0)
        with np.errstate(divide="ignore"):
            log_q = np.log(np.sum(self.weights * np.exp(table - top), axis=1)) + top[:, 0]
            if not self.prior_share:
                return np.asarray(log_q)
            share = np.log(self.prior_share) + self.prior.log_prior(theta)
            return np.asarray(np.logaddexp(np.log1p(-self.prior_share) + log_q, share))

    def sample(self, rng: np.random.Generator, n: int) -> Float[np.ndarray, "N n D"]:
        r"""Draws from each posterior.

        Arguments:
            rng: Source of randomness.
            n: Draws a recording.
        """
        draws = np.empty((len(self.weights), n, self.components.space.dim))
        for i, row in enumerate(self.weights):
            which = np.searchsorted(np.cumsum(row), rng.random(n) * row.sum()).clip(0, len(row) - 1)
            draws[i] = self.components.draw(which, rng, bandwidth=self.bandwidth)
            from_prior = rng.random(n) < self.prior_share
            if from_prior.any():
                draws[i, from_prior] = self.prior.sample(rng, int(from_prior.sum()))
        return draws
