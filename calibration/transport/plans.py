r"""Plans without an entropic blur: exact, sparse by a quadratic penalty, and of low rank.

Exact plans are vertices of the transport polytope and need all of the cost in memory; sparse ones solve

$$
\min_P \langle P, C \rangle + \tfrac{\gamma}{2} \lVert P \rVert^2
$$

with hard marginals; a plan of rank $r$ is $P = Q \operatorname{diag}(1/w) R^\top$ and costs $O((m + n) r)$ memory for
points, whatever their number.

References:
    | POT: Python Optimal Transport (Flamary et al., 2021), https://jmlr.org/papers/v22/20-451.html
    | Smooth and sparse optimal transport (Blondel et al., 2018), https://arxiv.org/abs/1710.06276
    | Low-rank Sinkhorn factorization (Scetbon et al., 2021), https://arxiv.org/abs/2103.04737
    | Unbalanced low-rank optimal transport solvers (Scetbon et al., 2023), https://arxiv.org/abs/2305.19727
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from .costs import Cost
from .sinkhorn import check_weights

__all__ = ["ExactPlan", "LowRankPlan", "exact_plan", "low_rank_plan", "sparse_plan"]


@dataclass(frozen=True)
class ExactPlan:
    r"""A plan as a matrix, with the potentials of its dual.

    Arguments:
        matrix: The plan.
        f: Potential of the source.
        g: Potential of the target.
        value: Transport cost of the plan.
        converged: Whether the solver reached its end.

    Example:
        >>> exact_plan(Cost.of_matrix(np.array([[0.0, 1.0], [1.0, 0.0]]))).value
        0.0
    """

    matrix: Float[np.ndarray, "m n"]
    f: Float[np.ndarray, " m"]
    g: Float[np.ndarray, " n"]
    value: float
    converged: bool


@dataclass(frozen=True)
class LowRankPlan:
    r"""A plan by its factors, $P = Q \operatorname{diag}(1/w) R^\top$.

    Arguments:
        q: Source factor.
        r: Target factor.
        w: Inner weights.
        value: Transport cost of the plan.
        converged: Whether the solver reached its tolerance.

    Example:
        >>> plan = LowRankPlan(np.full((2, 1), 0.5), np.full((3, 1), 1 / 3), np.ones(1), 0.0, True)
        >>> plan.rows(slice(0, 1)).round(3).tolist()
        [[0.333, 0.333, 0.333]]
    """

    q: Float[np.ndarray, "m r"]
    r: Float[np.ndarray, "n r"]
    w: Float[np.ndarray, " r"]
    value: float
    converged: bool

    def rows(self, which: slice | np.ndarray) -> Float[np.ndarray, "k n"]:
        r"""Weights of some source points; each row sums to one.

        Arguments:
            which: The source points.
        """
        rows = (self.q[which] / self.w) @ self.r.T
        return np.asarray(rows / rows.sum(1, keepdims=True))

    def matrix(self) -> Float[np.ndarray, "m n"]:
        r"""The plan."""
        return np.asarray((self.q / self.w) @ self.r.T)


def exact_plan(
    cost: Cost,
    *,
    a: Float[np.ndarray, " m"] | None = None,
    b: Float[np.ndarray, " n"] | None = None,
    iterations: int = 1_000_000,
) -> ExactPlan:
    r"""Solves an unregularised problem by the network simplex.

    Arguments:
        cost: The cost; its matrix is held.
        a: Weights of the source points; None for equal ones.
        b: Weights of the target points; None for equal ones.
        iterations: Most pivots.

    Returns:
        The plan.

    Raises:
        ValueError: If the weights differ in sum.

    Example:
        >>> points = np.array([[0.0], [1.0], [5.0]])
        >>> exact_plan(Cost.of_points(points, points[::-1])).matrix.argmax(1).tolist()
        [2, 1, 0]
    """
    import ot

    a, b = check_weights(a, cost.shape[0], "a"), check_weights(b, cost.shape[1], "b")
    if not np.isclose(a.sum(), b.sum(), rtol=1e-9, atol=0.0):
        raise ValueError(f"a and b must weigh the same, got {a.sum():g} and {b.sum():g}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what the solver warns of is returned
        plan, log = ot.emd(a, b, cost.matrix(), numItermax=iterations, log=True)
    return ExactPlan(plan, log["u"], log["v"], float(log["cost"]), log["warning"] is None)


def sparse_plan(
    cost: Cost,
    *,
    penalty: float,
    a: Float[np.ndarray, " m"] | None = None,
    b: Float[np.ndarray, " n"] | None = None,
    iterations: int = 2000,
    tolerance: float = 1e-9,
) -> ExactPlan:
    r"""Solves a problem with a quadratic penalty: smooth in its data, yet most entries are exactly zero.

    Arguments:
        cost: The cost; its matrix is held.
        penalty: Weight $\gamma$ of the squared norm.
        a: Weights of the source points; None for equal ones.
        b: Weights of the target points; None for equal ones.
        iterations: Most steps of L-BFGS.
        tolerance: Norm of the gradient below which it ends.

    Returns:
        The plan; ``value`` is its transport cost without the penalty, ``converged`` tells whether the marginals hold
        to a thousandth in L1.

    Raises:
        ValueError: If the penalty is not positive.

    Example:
        >>> points = np.array([[0.0], [1.0], [5.0]])
        >>> int((sparse_plan(Cost.of_points(points, points), penalty=0.5).matrix > 0).sum())
        3
    """
    import ot

    if not penalty > 0:
        raise ValueError(f"penalty must be positive, got {penalty}")
    a, b = check_weights(a, cost.shape[0], "a"), check_weights(b, cost.shape[1], "b")
    table = cost.matrix()
    plan, log = ot.smooth.smooth_ot_dual(
        a, b, table, penalty, reg_type="l2", numItermax=iterations, stopThr=tolerance, log=True
    )
    missed = np.abs(plan.sum(1) - a).sum() + np.abs(plan.sum(0) - b).sum()
    return ExactPlan(plan, log["alpha"], log["beta"], float((plan * table).sum()), bool(missed < 1e-3))


def low_rank_plan(
    x: Float[np.ndarray, "m d"],
    y: Float[np.ndarray, "n d"],
    *,
    rank: int,
    tau_a: float = 1.0,
    tau_b: float = 1.0,
    iterations: int = 2000,
    seed: int = 0,
) -> LowRankPlan:
    r"""Solves for a plan of low rank between points with squared Euclidean cost.

    With hard marginals POT solves it; a soft marginal needs ott-jax (extra ``bench``).

    Arguments:
        x: Source points.
        y: Target points.
        rank: Rank of the plan.
        tau_a: Hardness of the source marginal in (0, 1].
        tau_b: Hardness of the target marginal in (0, 1].
        iterations: Most iterations.
        seed: Seed of the first factors.

    Returns:
        The plan's factors.

    Raises:
        ValueError: If the rank or a hardness is out of range.
        ImportError: If a marginal is soft and ott-jax is absent.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> plan = low_rank_plan(rng.normal(size=(30, 2)), rng.normal(size=(40, 2)), rank=4)
        >>> bool(np.allclose(plan.matrix().sum(1), 1 / 30, atol=1e-4))
        True
    """
    x, y = (np.asarray(points, dtype=np.float64) for points in (x, y))
    if not 1 <= rank <= min(len(x), len(y)):
        raise ValueError(f"rank must lie between 1 and {min(len(x), len(y))}, got {rank}")
    if not (0 < tau_a <= 1 and 0 < tau_b <= 1):
        raise ValueError(f"tau_a and tau_b must lie in (0, 1], got {tau_a} and {tau_b}")
    if tau_a == tau_b == 1.0:
        return _balanced_low_rank(x, y, rank, iterations, seed)
    return _soft_low_rank(x, y, rank, (tau_a, tau_b), iterations, seed)


def _balanced_low_rank(x: np.ndarray, y: np.ndarray, rank: int, iterations: int, seed: int) -> LowRankPlan:
    import ot

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        q, r, w, log = ot.lowrank_sinkhorn(x, y, rank=rank, numItermax=iterations, seed_init=seed, log=True)
    return LowRankPlan(q, r, w, float(log["value_linear"]), bool(np.isfinite(q).all()))


def _soft_low_rank(
    x: np.ndarray, y: np.ndarray, rank: int, taus: tuple[float, float], iterations: int, seed: int
) -> LowRankPlan:
    solver, geometry, problem, jax = _ott()
    with jax.enable_x64(True):
        cloud = geometry.PointCloud(jax.numpy.asarray(x), jax.numpy.asarray(y), scale_cost="mean")
        task = problem.LinearProblem(cloud, tau_a=taus[0], tau_b=taus[1])
        found = solver.LRSinkhorn(rank=rank, max_iterations=iterations)(task, rng=jax.random.key(seed))
        value = float(found.primal_cost) * float(np.mean(_squares(x, y)))
        factors = [np.asarray(part, dtype=np.float64) for part in (found.q, found.r, found.g)]
        return LowRankPlan(factors[0], factors[1], factors[2], value, bool(found.converged))


def _squares(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.asarray((x**2).sum(1).mean() + (y**2).sum(1).mean() - 2 * x.mean(0) @ y.mean(0))


def _ott() -> tuple[Any, Any, Any, Any]:
    try:
        import jax
        from ott.geometry import pointcloud
        from ott.problems.linear import linear_problem
        from ott.solvers.linear import sinkhorn_lr
    except ImportError as error:
        raise ImportError(
            "soft low-rank plans need ott-jax: pip install 'pulsebayes[bench]'", name=error.name
        ) from error
    return sinkhorn_lr, pointcloud, linear_problem, jax
