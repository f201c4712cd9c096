r"""Transport from a distribution that can only be sampled, and by progressive steps.

Semidiscrete transport maximises the semi-dual over the potential of the target alone, one batch of source draws at a
time; progressive transport moves the source a part of the way with each entropic solve, so that a coarse regularisation
at first and a fine one at last give a map with less bias than a single solve.

References:
    | Stochastic optimization for large-scale optimal transport (Genevay et al., 2016), https://arxiv.org/abs/1605.08527
    | Progressive entropic optimal transport solvers (Kassraie et al., 2024), https://arxiv.org/abs/2406.05061
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from .costs import Cost
from .sinkhorn import EntropicConfig, entropic

__all__ = ["ProgressiveMap", "progressive_map", "semidiscrete_potential"]


def semidiscrete_potential(
    sampler: Callable[[int], Float[np.ndarray, "batch d"]],
    y: Float[np.ndarray, "n d"],
    *,
    epsilon: float,
    b: Float[np.ndarray, " n"] | None = None,
    iterations: int = 10_000,
    batch: int = 64,
) -> Float[np.ndarray, " n"]:
    r"""Potential of the target points against a distribution that is sampled, for squared Euclidean cost.

    Arguments:
        sampler: Draws that many source points.
        y: Target points.
        epsilon: Regularisation, in the unit of the squared distance; 0 for none.
        b: Weights of the target points; None for equal ones.
        iterations: Batches.
        batch: Source points a batch.

    Returns:
        The potential, for ``soft_rows``.

    Raises:
        ValueError: If epsilon is negative.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> y = np.array([[-1.0], [1.0]])
        >>> g = semidiscrete_potential(lambda n: rng.normal(0.5, 1.0, (n, 1)), y, epsilon=0.1, iterations=500)
        >>> bool(g[0] > g[1])
        True
    """
    import ot

    if epsilon < 0:
        raise ValueError(f"epsilon must not be negative, got {epsilon}")
    y = np.asarray(y, dtype=np.float64)
    g = ot.semidiscrete.solve_semidiscrete(
        y,
        lambda n: np.asarray(sampler(n), dtype=np.float64),
        a_target=b,
        reg=epsilon,
        max_iter=iterations,
        batch_size=batch,
    )
    return np.asarray(g, dtype=np.float64)


@dataclass(frozen=True)
class ProgressiveMap:
    r"""A map in several entropic steps.

    Arguments:
        steps: For each step the share of the rest of the way, the target's potential and the regularisation.
        y: Target points.
        converged: Whether every step reached its tolerance.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> x = rng.normal(size=(200, 1))
        >>> progressive_map(x, x + 3.0, steps=3, fine=0.1).converged
        True
    """

    steps: tuple[tuple[float, Float[np.ndarray, " n"], float], ...]
    y: Float[np.ndarray, "n d"]
    converged: bool

    def __call__(self, x: Float[np.ndarray, "k d"]) -> Float[np.ndarray, "k d"]:
        r"""Maps points.

        Arguments:
            x: Source points, old or new.
        """
        from .coupling import soft_rows

        at = np.asarray(x, dtype=np.float64)
        b = np.full(len(self.y), 1.0 / len(self.y))
        for share, g, epsilon in self.steps:
            rows = soft_rows(Cost.of_points(at, self.y, "sqeuclidean").matrix(), g, b, epsilon)
            at = at + share * (rows @ self.y - at)
        return np.asarray(at)


def progressive_map(
    x: Float[np.ndarray, "m d"],
    y: Float[np.ndarray, "n d"],
    *,
    steps: int = 4,
    coarse: float = 0.1,
    fine: float = 0.01,
    config: EntropicConfig | None = None,
) -> ProgressiveMap:
    r"""Fits a map from one cloud to another by progressive entropic steps, for squared Euclidean cost.

    Arguments:
        x: Source points.
        y: Target points.
        steps: Number of steps; the k-th goes $1/(K - k + 1)$ of the rest of the way, the last all of it.
        coarse: First regularisation, in units of the mean cost; the following ones fall geometrically.
        fine: Last regularisation, in units of the mean cost of the last step.
        config: Tolerance and memory; None for a tolerance of 1e-6.

    Returns:
        The map.

    Raises:
        ValueError: If there is no step or a regularisation is not positive.

    Example:
        >>> x = np.random.default_rng(0).normal(size=(200, 2))
        >>> moved = progressive_map(x, x @ np.diag([2.0, 1.0]))(x)
        >>> bool(np.corrcoef(moved[:, 0], x[:, 0])[0, 1] > 0.99)
        True
    """
    if steps < 1 or not (coarse > 0 and fine > 0):
        raise ValueError(f"steps, coarse and fine must be positive, got {steps}, {coarse} and {fine}")
    config = config or EntropicConfig(tolerance=1e-6)
    at, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    found, converged = [], True
    for k in range(steps):
        cost = Cost.of_points(at, y, "sqeuclidean")
        level = coarse * (fine / coarse) ** (k / max(steps - 1, 1))
        epsilon = level * float(cost.matrix().mean())
        coupling = entropic(cost, epsilon=epsilon, config=config)
        share = 1.0 / (steps - k)
        found.append((share, coupling.g, epsilon))
        converged = converged and coupling.converged
        at = at + share * (coupling.map(at, y) - at)
    return ProgressiveMap(tuple(found), y, converged)
