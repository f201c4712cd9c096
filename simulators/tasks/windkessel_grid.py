r"""Two parameters of a windkessel from one noisy beat, with the posterior on a grid.

Resistance and compliance are log-uniform; the observation is one beat of pressure with independent Gaussian noise,
$x_i = P(t_i; R, C) + \varepsilon_i$, $\varepsilon_i \sim \mathcal{N}(0, \sigma^2)$, so that the posterior density is

$$
p(R, C \mid x) \propto \frac{1}{RC} \exp\left(-\frac{1}{2 \sigma^2} \sum_i (x_i - P(t_i; R, C))^2\right)
$$

and two parameters can be tabulated. Draws take a cell with its probability and a point within it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from ..parameters import ParameterSpace
from ..windkessel import Windkessel

__all__ = ["WindkesselTask"]


@dataclass(frozen=True)
class WindkesselTask:
    r"""Resistance and compliance from one noisy beat.

    Arguments:
        samples: Samples of the beat.
        noise: Standard deviation of the noise [mmHg].
        windkessel: The model.

    Raises:
        ValueError: If there are fewer than two samples or the noise is not positive.

    Example:
        >>> task = WindkesselTask()
        >>> rng = np.random.default_rng(0)
        >>> x = task.observe(np.array([[1.0, 1.5]]), rng)
        >>> task.reference(x[0], 100, rng).shape
        (100, 2)
    """

    samples: int = 40
    noise: float = 6.0
    windkessel: Windkessel = field(default_factory=Windkessel)

    def __post_init__(self) -> None:
        if self.samples < 2 or not self.noise > 0:
            raise ValueError(f"samples must be at least 2 and noise positive, got {self.samples} and {self.noise}")

    @property
    def space(self) -> ParameterSpace:
        r"""Parameters and their prior."""
        return self.windkessel.space

    def pressure(self, theta: Float[np.ndarray, "*batch 2"]) -> Float[np.ndarray, "*batch samples"]:
        r"""Pressure over one beat without noise.

        Arguments:
            theta: Resistance [mmHg s/mL] and compliance [mL/mmHg].

        Returns:
            Pressure [mmHg].
        """
        time = jnp.arange(self.samples, dtype=jnp.float32) * (self.windkessel.period / self.samples)
        return np.asarray(self.windkessel.pressure(jnp.asarray(theta, jnp.float32), time))

    def observe(
        self, theta: Float[np.ndarray, "*batch 2"], rng: np.random.Generator
    ) -> Float[np.ndarray, "*batch samples"]:
        r"""Observes a beat with noise.

        Arguments:
            theta: Resistance and compliance.
            rng: Source of randomness.

        Returns:
            Pressure [mmHg].
        """
        clean = self.pressure(theta)
        return np.asarray(clean + self.noise * rng.standard_normal(clean.shape, dtype=np.float32))

    def reference(
        self, x: Float[np.ndarray, " samples"], n: int, rng: np.random.Generator, *, cells: int = 400
    ) -> Float[np.ndarray, "n 2"]:
        r"""Draws from the posterior on a grid.

        Arguments:
            x: One observation [mmHg].
            n: Number of draws.
            rng: Source of randomness.
            cells: Cells along each parameter.

        Returns:
            Draws of resistance and compliance.

        Raises:
            ValueError: If the observation has another length.
        """
        x = np.asarray(x)
        if x.shape != (self.samples,):
            raise ValueError(f"x must have shape ({self.samples},), got {x.shape}")
        low, high = np.log(self.space.low), np.log(self.space.high)
        width = (high - low) / cells
        centres = [low[d] + width[d] * (np.arange(cells) + 0.5) for d in range(2)]
        table = self._log_likelihood(x, centres).ravel()  # the prior is flat in these coordinates
        weight = np.exp(table - table.max())
        cell = rng.choice(len(weight), n, p=weight / weight.sum())
        within = rng.random((n, 2)) - 0.5
        rows = np.stack([centres[0][cell // cells], centres[1][cell % cells]], axis=-1)
        return np.asarray(np.exp(rows + within * width))

    def _log_likelihood(
        self, x: Float[np.ndarray, " samples"], centres: list[Float[np.ndarray, " cells"]]
    ) -> Float[np.ndarray, "cells cells"]:
        r, c = np.meshgrid(np.exp(centres[0]), np.exp(centres[1]), indexing="ij")
        residual = (self.pressure(np.stack((r, c), axis=-1)) - x).astype(np.float64)
        return np.asarray(-0.5 * (residual**2).sum(-1) / self.noise**2)

    @cached_property
    def names(self) -> tuple[str, ...]:
        r"""Names of the parameters."""
        return self.space.names
