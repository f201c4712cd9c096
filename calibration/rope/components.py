r"""Components of a mixture posterior: the estimator's posteriors given simulations, plain or widened.

Component $j$ is $q(\theta \mid h_j)$, the flow given the embedding of simulation $j$. Widened, it is the mean of
Gaussian kernels around $S$ of its draws, in unconstrained coordinates $z$ scaled by the prior's spread $\sigma_d$,

$$
q_\beta(\theta \mid h_j) = \frac1S \sum_s \prod_d
\mathcal{N}\!\left(z_d(\theta);\, z_{jsd},\, \beta^2 \sigma_d^2\right) \left|\frac{dz_d}{d\theta_d}\right| ,
$$

so that a thousand needles leave no holes and no mass leaves the bounds. Both have closed densities: a table over values
and components is computed once and serves every set of weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import torch
from jaxtyping import Float

from ...inference.npe import NPE
from ...simulators.parameters import ParameterSpace

__all__ = ["Components", "DrawnPrior", "PriorLaw"]

_BLOCK = 200_000
"""Pairs of value and component, or kernels, held at a time."""


class PriorLaw(Protocol):
    r"""What a prior offers; a ``ParameterSpace`` does.

    Example:
        >>> from pulsebayes.simulators.parameters import Parameter
        >>> prior: PriorLaw = ParameterSpace((Parameter("a", "1", 0.0, 1.0),))
        >>> prior.log_prior(np.array([[0.5]])).tolist()
        [0.0]
    """

    def sample(self, rng: np.random.Generator, n: int) -> Float[np.ndarray, "n D"]:
        r"""Draws."""

    def log_prior(self, theta: Float[np.ndarray, "*batch D"]) -> Float[np.ndarray, "*batch"]:
        r"""Log density."""


@dataclass(frozen=True)
class DrawnPrior:
    r"""A prior known by draws: kernels of Silverman's width around them, in unconstrained coordinates.

    Arguments:
        space: Bounds and scales of the parameters.
        draws: Draws, each column in its unit.

    Raises:
        ValueError: If there are fewer than two draws.

    Example:
        >>> from pulsebayes.simulators.parameters import Parameter
        >>> space = ParameterSpace((Parameter("a", "1", 0.0, 1.0),))
        >>> prior = DrawnPrior(space, space.sample(np.random.default_rng(0), 4000))
        >>> bool(abs(prior.log_prior(np.array([[0.5]]))[0]) < 0.1)
        True
    """

    space: ParameterSpace
    draws: Float[np.ndarray, "M D"]

    def __post_init__(self) -> None:
        if len(self.draws) < 2:
            raise ValueError(f"a prior known by draws needs at least 2, got {len(self.draws)}")

    def sample(self, rng: np.random.Generator, n: int) -> Float[np.ndarray, "n D"]:
        r"""Draws from the kernels.

        Arguments:
            rng: Source of randomness.
            n: Number of draws.
        """
        z = self._z[rng.integers(len(self._z), size=n)]
        return self.space.constrain(z + self._width * rng.standard_normal(z.shape))

    def log_prior(self, theta: Float[np.ndarray, "*batch D"]) -> Float[np.ndarray, "*batch"]:
        r"""Log density, minus infinity outside the bounds.

        Arguments:
            theta: Values, each column in its unit.
        """
        theta = np.asarray(theta, dtype=np.float64)
        flat = theta.reshape(-1, theta.shape[-1])
        inside = self.space.contains(flat)
        z = self.space.unconstrain(np.where(inside[:, None], flat, 0.5 * (self.space.low + self.space.high)))
        log_p = log_kernels(z, self._z[None], self._width)[:, 0] - self.space.log_abs_det_jacobian(z)
        return np.asarray(np.where(inside, log_p, -np.inf).reshape(theta.shape[:-1]))

    @cached_property
    def _z(self) -> Float[np.ndarray, "M D"]:
        return self.space.unconstrain(np.clip(self.draws, self.space.low, self.space.high))

    @cached_property
    def _width(self) -> Float[np.ndarray, " D"]:
        m, d = self._z.shape
        return np.asarray((4.0 / (m * (d + 2))) ** (1.0 / (d + 4)) * self._z.std(0) + 1e-9)


@dataclass(frozen=True)
class Components:
    r"""Posteriors given N simulations, by their draws and, for exact densities, by the estimator.

    Arguments:
        space: Bounds and scales of the parameters.
        z: Draws of each component, unconstrained.
        scale: Prior spread of each unconstrained coordinate: the unit of a bandwidth.
        npe: The estimator; None where only widened densities are wanted.
        contexts: Embeddings of the simulations, as the estimator's flow takes them; empty without it.

    Raises:
        ValueError: If shapes do not fit.

    Example:
        >>> from pulsebayes.simulators.parameters import Parameter
        >>> space = ParameterSpace((Parameter("a", "1", 0.0, 1.0),))
        >>> parts = Components(space, np.zeros((3, 5, 1)), np.ones(1))
        >>> parts.table(np.array([[0.5]]), bandwidth=0.2).shape
        (1, 3)
    """

    space: ParameterSpace
    z: Float[np.ndarray, "N S D"]
    scale: Float[np.ndarray, " D"]
    npe: NPE | None = None
    contexts: Float[np.ndarray, "N d"] | None = None

    def __post_init__(self) -> None:
        if self.z.ndim != 3 or self.z.shape[-1] != self.space.dim or self.scale.shape != (self.space.dim,):
            raise ValueError(
                f"z must have shape (N, S, {self.space.dim}) and scale ({self.space.dim},), got {self.z.shape} and "
                f"{self.scale.shape}"
            )

    @classmethod
    @torch.no_grad()
    def of(cls, npe: NPE, contexts: Float[np.ndarray, "N d"], *, draws: int = 32, seed: int = 0) -> Components:
        r"""Draws from the estimator's posteriors given embeddings of simulations.

        Arguments:
            npe: The estimator.
            contexts: Embeddings of the simulations.
            draws: Draws S of each.
            seed: Seed of the draws.
        """
        generator = torch.Generator().manual_seed(seed)
        dim = npe.outputs.space.dim
        rows = torch.from_numpy(np.asarray(contexts, dtype=np.float32))
        z = np.empty((len(rows), draws, dim), dtype=np.float32)
        step = max(1, _BLOCK // (4 * draws))
        for j in range(0, len(rows), step):
            block = rows[j : j + step].repeat_interleave(draws, 0)
            noise = torch.randn(len(block), dim, generator=generator)
            found = npe.flow(block).transform.inv(noise) * npe.z_sd + npe.z_mean
            z[j : j + step] = found.view(-1, draws, dim).numpy()
        return cls(npe.outputs.space, z, npe.z_sd.double().numpy(), npe, np.asarray(contexts))

    @property
    def n(self) -> int:
        r"""Number of components."""
        return len(self.z)

    def table(self, theta: Float[np.ndarray, "M D"], *, bandwidth: float = 0.0) -> Float[np.ndarray, "M N"]:
        r"""Log density of each component at each value, with respect to ``theta``.

        Arguments:
            theta: Values, each column in its unit.
            bandwidth: Width of the kernels in units of the prior's spread; 0 takes the estimator's own density.

        Returns:
            The table; minus infinity outside the bounds.

        Raises:
            ValueError: If the bandwidth is negative, or zero without an estimator.
        """
        if bandwidth < 0 or (bandwidth == 0 and self.npe is None):
            raise ValueError(f"bandwidth must be positive without an estimator and never negative, got {bandwidth}")
        theta = np.asarray(theta, dtype=np.float64)
        inside = self.space.contains(theta)
        z = self.space.unconstrain(np.where(inside[:, None], theta, 0.5 * (self.space.low + self.space.high)))
        log_q = self._flow_table(z) if bandwidth == 0 else log_kernels(z, self.z, bandwidth * self.scale)
        log_q -= self.space.log_abs_det_jacobian(z)[:, None]
        log_q[~inside] = -np.inf
        return log_q

    def draw(self, which: np.ndarray, rng: np.random.Generator, *, bandwidth: float = 0.0) -> Float[np.ndarray, "n D"]:
        r"""Draws one value from each of some components.

        Arguments:
            which: Components, repeated as often as draws are wanted.
            rng: Source of randomness.
            bandwidth: As for ``table``.
        """
        if bandwidth == 0 and self.npe is not None:
            return self._flow_draws(which, rng)
        z = self.z[which, rng.integers(self.z.shape[1], size=len(which))].astype(np.float64)
        return self.space.constrain(z + bandwidth * self.scale * rng.standard_normal(z.shape))

    @torch.no_grad()
    def _flow_table(self, z: Float[np.ndarray, "M D"]) -> Float[np.ndarray, "M N"]:
        npe = self._estimator()
        unit = ((torch.from_numpy(z).float() - npe.z_mean) / npe.z_sd)[:, None]
        contexts = torch.from_numpy(np.asarray(self.contexts, dtype=np.float32))
        table = np.empty((len(z), self.n))
        step = max(1, _BLOCK // max(len(z), 1))
        for j in range(0, self.n, step):
            block = contexts[j : j + step]
            values = unit.expand(len(z), len(block), -1).reshape(-1, z.shape[1])
            given = block[None].expand(len(z), -1, -1).reshape(len(values), -1)
            table[:, j : j + step] = npe.flow(given).log_prob(values).double().view(len(z), -1).numpy()
        return table - float(npe.z_sd.double().log().sum())

    @torch.no_grad()
    def _flow_draws(self, which: np.ndarray, rng: np.random.Generator) -> Float[np.ndarray, "n D"]:
        npe = self._estimator()
        noise = torch.from_numpy(rng.standard_normal((len(which), self.space.dim)).astype(np.float32))
        contexts = torch.from_numpy(np.asarray(self.contexts, dtype=np.float32)[which])
        z = npe.flow(contexts).transform.inv(noise) * npe.z_sd + npe.z_mean
        return self.space.constrain(z.double().numpy())

    def _estimator(self) -> NPE:
        if self.npe is None or self.contexts is None:
            raise ValueError("these components have no estimator: give a bandwidth above 0")
        return self.npe


def log_kernels(
    z: Float[np.ndarray, "M D"], centres: Float[np.ndarray, "N S D"], width: Float[np.ndarray, " D"]
) -> Float[np.ndarray, "M N"]:
    """Log mean of Gaussian kernels around each component's draws, one column a component."""
    n, s, d = centres.shape
    points = (z / width).astype(np.float32)
    middle = points.mean(0) if len(points) else np.zeros(d, np.float32)
    points = points - middle
    table = np.empty((len(z), n))
    rows = max(1, 4 * _BLOCK // (s * max(len(z), 1)))
    half = 0.5 * (points**2).sum(1)[:, None]
    for j in range(0, n, rows):
        around = (centres[j : j + rows] / width).astype(np.float32).reshape(-1, d) - middle
        logs = points @ around.T - half - 0.5 * (around**2).sum(1)
        logs = logs.reshape(len(z), -1, s)
        top = logs.max(2, keepdims=True)
        table[:, j : j + rows] = np.log(np.exp(logs - top).mean(2)) + top[..., 0]
    return np.asarray(table - float(np.log(width).sum()) - 0.5 * d * np.log(2 * np.pi))
