r"""An entropic coupling by its potentials: weights of any row, also of points that were not there when it was solved.

With weights $a$, $b$ and potentials $f$, $g$ the plan is

$$
P_{ij} = a_i b_j \exp\left(\frac{f_i + g_j - C_{ij}}{\varepsilon}\right).
$$

A new source point needs no new solve: with $g$ fixed its row, normalised to one, is

$$
\alpha_j(x) = \frac{b_j \exp((g_j - c(x, y_j)) / \varepsilon)}{\sum_k b_k \exp((g_k - c(x, y_k)) / \varepsilon)},
$$

and $T(x) = \sum_j \alpha_j(x) y_j$ is the entropic map. For a source point of the solved problem with a hard marginal
this is the row of the plan.

References:
    | Entropic estimation of optimal transport maps (Pooladian & Niles-Weed, 2021), https://arxiv.org/abs/2109.12004
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from .costs import Cost

__all__ = ["Coupling", "soft_rows"]


def soft_rows(
    cost_rows: Float[np.ndarray, "k n"],
    g: Float[np.ndarray, " n"],
    b: Float[np.ndarray, " n"],
    epsilon: float,
) -> Float[np.ndarray, "k n"]:
    r"""Normalised weights of new source points given the target's potential.

    Arguments:
        cost_rows: Cost of each new point to each target point.
        g: Potential of the target.
        b: Weights of the target.
        epsilon: Regularisation, in the unit of the cost.

    Returns:
        Rows that sum to one.

    Example:
        >>> soft_rows(np.array([[1.0, 1.0]]), np.zeros(2), np.array([0.25, 0.75]), 0.1).round(3).tolist()
        [[0.25, 0.75]]
    """
    with np.errstate(divide="ignore"):
        logits = (g - cost_rows) / epsilon + np.log(b)
    logits -= logits.max(1, keepdims=True)
    np.exp(logits, out=logits)
    logits /= logits.sum(1, keepdims=True)
    return np.asarray(logits)


@dataclass(frozen=True)
class Coupling:
    r"""Solution of an entropic transport problem.

    Arguments:
        cost: The cost.
        a: Weights of the source points.
        b: Weights of the target points.
        f: Potential of the source.
        g: Potential of the target.
        epsilon: Regularisation, in the unit of the cost.
        converged: Whether the tolerance was reached.
        iterations: Iterations taken, annealing included.
        error: Last change of the target's potential over epsilon, a weighted mean: the marginal's error in L1 where it
            is hard.

    Example:
        >>> from pulsebayes.calibration.transport import entropic
        >>> coupling = entropic(Cost.of_matrix(np.array([[0.0, 1.0], [1.0, 0.0]])), epsilon=0.1)
        >>> coupling.matrix().round(3).tolist()
        [[0.5, 0.0], [0.0, 0.5]]
    """

    cost: Cost
    a: Float[np.ndarray, " m"]
    b: Float[np.ndarray, " n"]
    f: Float[np.ndarray, " m"]
    g: Float[np.ndarray, " n"]
    epsilon: float
    converged: bool
    iterations: int
    error: float

    def matrix(self) -> Float[np.ndarray, "m n"]:
        r"""The plan."""
        return self._plan(self.cost.matrix(), slice(None))

    def blocks(self, size: int = 8192) -> Iterator[tuple[slice, Float[np.ndarray, "m block"]]]:
        r"""The plan by columns, for plans larger than memory.

        Arguments:
            size: Columns a block.
        """
        n = self.cost.shape[1]
        for start in range(0, n, size):
            where = slice(start, min(start + size, n))
            yield where, self._plan(self.cost.columns(where.start, where.stop), where)

    def rows(self, x: Float[np.ndarray, "k d"]) -> Float[np.ndarray, "k n"]:
        r"""Weights of new source points with the target's potential fixed; each row sums to one.

        Arguments:
            x: New source points, or their cost rows if the cost is a matrix.
        """
        return soft_rows(self.cost.rows(x), self.g, self.b, self.epsilon)

    def map(self, x: Float[np.ndarray, "k d"], values: Float[np.ndarray, "n q"]) -> Float[np.ndarray, "k q"]:
        r"""Entropic map: the mean of the target's values under each new point's row.

        Arguments:
            x: New source points.
            values: What stands at each target point; the points themselves for the transport map.
        """
        return np.asarray(self.rows(x) @ np.asarray(values, dtype=np.float64))

    def _plan(self, cost: Float[np.ndarray, "m k"], where: slice) -> Float[np.ndarray, "m k"]:
        plan = np.exp((self.f[:, None] + self.g[None, where] - cost) / self.epsilon)
        return np.asarray(plan * self.a[:, None] * self.b[None, where])
