r"""Entropic transport in the log domain: balanced, semi-balanced and unbalanced, by matrices or by streams of blocks.

The problem is

$$
\min_{P \ge 0} \langle P, C \rangle + \varepsilon\,\mathrm{KL}(P \,\|\, a b^\top)
+ \rho_a\,\mathrm{KL}(P 1 \,\|\, a) + \rho_b\,\mathrm{KL}(P^\top 1 \,\|\, b),
\qquad \tau = \frac{\rho}{\rho + \varepsilon},
$$

where $\tau = 1$ stands for a hard marginal. Its potentials solve

$$
g_j = -\tau_b \varepsilon \ln \sum_i a_i e^{(f_i - C_{ij}) / \varepsilon}, \qquad
f_i = -\tau_a \varepsilon \ln \sum_j b_j e^{(g_j - C_{ij}) / \varepsilon},
$$

iterated in turn, with the best constant moved from one to the other after each turn, while $\varepsilon$ is annealed
from the size of the cost to its value. A matrix that fits is iterated by products with an absorbed kernel, which is
taken anew whenever a scaling grows large; a cloud that does not is gone through by blocks of columns, one exponential a
pair and iteration. Everything is float64. The last step is
always that of $f$, so with a hard source marginal the rows are exact.

References:
    | Sinkhorn distances (Cuturi, 2013), https://arxiv.org/abs/1306.0895
    | Scaling algorithms for unbalanced transport problems (Chizat et al., 2018), https://arxiv.org/abs/1607.05816
    | Faster unbalanced optimal transport (Séjourné et al., 2022), https://arxiv.org/abs/2201.00730
    | Stabilized sparse scaling algorithms (Schmitzer, 2019), https://arxiv.org/abs/1610.06519
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from .costs import Cost
from .coupling import Coupling

__all__ = ["EntropicConfig", "entropic", "subsample_potential"]

_LARGEST_TABLE = 50_000_000
"""Entries of a kernel that is kept whole: 400 MB in float64."""

_ABSORB = 30.0
"""Largest |log scaling| before the kernel is taken anew."""


@dataclass(frozen=True)
class EntropicConfig:
    r"""How an entropic problem is solved.

    Arguments:
        tau_a: Hardness of the source marginal in (0, 1]; 1 is hard.
        tau_b: Hardness of the target marginal.
        tolerance: Error below which the iteration ends.
        iterations: Most iterations at the final epsilon.
        anneal: Factor from one epsilon to the next in (0, 1); 1 starts at the final one.
        block: Pairs held at a time when the cost is streamed.

    Raises:
        ValueError: If a number is out of range.

    Example:
        >>> EntropicConfig(tau_b=0.9).tau_a
        1.0
    """

    tau_a: float = 1.0
    tau_b: float = 1.0
    tolerance: float = 1e-10
    iterations: int = 5000
    anneal: float = 0.25
    block: int = 12_500_000

    def __post_init__(self) -> None:
        for name in ("tau_a", "tau_b", "anneal"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie in (0, 1], got {getattr(self, name)}")
        if not (self.tolerance > 0 and self.iterations >= 1 and self.block >= 1):
            raise ValueError(
                f"tolerance, iterations and block must be positive, got {self.tolerance}, {self.iterations} and "
                f"{self.block}"
            )


def entropic(
    cost: Cost,
    *,
    epsilon: float,
    a: Float[np.ndarray, " m"] | None = None,
    b: Float[np.ndarray, " n"] | None = None,
    config: EntropicConfig | None = None,
    start: Float[np.ndarray, " n"] | None = None,
) -> Coupling:
    r"""Solves an entropic transport problem.

    Arguments:
        cost: Cost between source and target points; points are streamed where their table would not fit.
        epsilon: Regularisation, in the unit of the cost.
        a: Weights of the source points; None for equal ones.
        b: Weights of the target points; None for equal ones.
        config: Marginals, tolerance, annealing and memory.
        start: First potential of the target, from a neighbouring problem or ``subsample_potential``; then there is no
            annealing.

    Returns:
        The coupling; ``converged`` tells whether the tolerance was reached.

    Raises:
        ValueError: If epsilon or a weight is not positive, or shapes do not fit.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> cost = Cost.of_points(rng.normal(size=(30, 2)), rng.normal(size=(40, 2)))
        >>> coupling = entropic(cost, epsilon=0.3)
        >>> bool(np.allclose(coupling.matrix().sum(0), 1 / 40)), coupling.converged
        (True, True)
    """
    config = config or EntropicConfig()
    m, n = cost.shape
    if not (epsilon > 0 and math.isfinite(epsilon)):
        raise ValueError(f"epsilon must be positive and finite, got {epsilon}")
    a, b = check_weights(a, m, "a"), check_weights(b, n, "b")
    if config.tau_a == config.tau_b == 1.0 and not math.isclose(a.sum(), b.sum(), rel_tol=1e-9):
        raise ValueError(f"two hard marginals must weigh the same, got {a.sum():g} and {b.sum():g}")
    if start is not None and np.shape(start) != (n,):
        raise ValueError(f"start must have shape ({n},), got {np.shape(start)}")
    whole = cost.is_matrix or m * n <= min(_LARGEST_TABLE, 4 * config.block)
    sweep: _Sweep = _Table(cost.matrix(), a, b) if whole else _Stream(cost, a, b, config.block)
    g = np.zeros(n) if start is None else np.array(start, dtype=np.float64)
    done, taken = False, 0
    error = math.inf
    stages = [epsilon] if start is not None else _stages(cost, epsilon, config.anneal)
    f = sweep.first(g, stages[0], config.tau_a)
    for stage in stages:
        last = stage == epsilon
        taus = tuple(_tau(tau, epsilon, stage) for tau in (config.tau_a, config.tau_b))
        tolerance, most = (config.tolerance, config.iterations) if last else (1e-2, 50)
        f, g, error, used, done = sweep.run(f, g, stage, taus[0], taus[1], tolerance, most)
        taken += used
    return Coupling(cost, a, b, f, g, float(epsilon), bool(done), taken, float(error))


def subsample_potential(
    cost: Cost, *, epsilon: float, config: EntropicConfig | None = None, size: int = 500, seed: int = 0
) -> Float[np.ndarray, " n"]:
    r"""A first guess of the target's potential from the data: solved on some source and target points, then extended.

    Arguments:
        cost: The cost; weights are taken as equal.
        epsilon: Regularisation, in the unit of the cost.
        config: As for ``entropic``.
        size: Points of each side that are solved for.
        seed: Seed of their choice.

    Returns:
        A potential for the ``start`` of ``entropic``.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> cost = Cost.of_points(rng.normal(size=(300, 2)), rng.normal(size=(300, 2)))
        >>> start = subsample_potential(cost, epsilon=0.2, size=100)
        >>> entropic(cost, epsilon=0.2, start=start).converged
        True
    """
    config = config or EntropicConfig()
    rng = np.random.default_rng(seed)
    m, n = cost.shape
    rows = np.sort(rng.choice(m, min(size, m), replace=False))
    columns = np.sort(rng.choice(n, min(size, n), replace=False))
    small = entropic(cost.subset(rows, columns), epsilon=epsilon, config=config)
    g = np.empty(n)
    step = max(1, config.block // len(rows))
    for begin in range(0, n, step):
        where = np.arange(begin, min(begin + step, n))
        scores = (small.f[:, None] - cost.subset(rows, where).matrix()) / epsilon
        g[where] = -config.tau_b * epsilon * _lse(scores, small.a[:, None], 0)
    return g


def _stages(cost: Cost, epsilon: float, factor: float) -> list[float]:
    largest = float(np.max(cost.columns(0, min(cost.shape[1], 64))))
    stages = [epsilon]
    while factor < 1 and stages[-1] < largest:
        stages.append(stages[-1] / factor)
    return stages[::-1]


def _tau(tau: float, epsilon: float, stage: float) -> float:
    """The hardness at another epsilon for the same rho."""
    return 1.0 if tau == 1.0 else (rho := epsilon * tau / (1 - tau)) / (rho + stage)


def check_weights(given: Float[np.ndarray, " k"] | None, k: int, name: str) -> Float[np.ndarray, " k"]:
    r"""Weights as they are, or equal ones.

    Arguments:
        given: Weights, or None.
        k: How many there must be.
        name: Name of the argument, for the message.

    Raises:
        ValueError: If the shape is wrong or a weight is not positive.

    Example:
        >>> check_weights(None, 2, "a").tolist()
        [0.5, 0.5]
    """
    if given is None:
        return np.full(k, 1.0 / k)
    weights = np.asarray(given, dtype=np.float64)
    if weights.shape != (k,) or not (np.isfinite(weights).all() and (weights > 0).all()):
        raise ValueError(f"{name} must hold {k} positive weights, got shape {weights.shape} or values that are not")
    return weights


def _lse(scores: Float[np.ndarray, "m n"], weights: np.ndarray, axis: int) -> np.ndarray:
    top = scores.max(axis, keepdims=True)
    total = np.sum(weights * np.exp(scores - top), axis=axis)
    return np.asarray(np.log(total) + np.squeeze(top, axis))


_Result = tuple[np.ndarray, np.ndarray, float, int, bool]


class _Table:
    """Iterations over a cost matrix that is kept, by products with an absorbed kernel."""

    def __init__(self, table: np.ndarray, a: np.ndarray, b: np.ndarray) -> None:
        self.table, self.a, self.b = table, a, b

    def first(self, g: np.ndarray, epsilon: float, tau_a: float) -> np.ndarray:
        return -tau_a * epsilon * _lse((g - self.table) / epsilon, self.b, 1)

    def run(
        self, f: np.ndarray, g: np.ndarray, epsilon: float, tau_a: float, tau_b: float, tolerance: float, most: int
    ) -> _Result:
        error, used = math.inf, 0
        while used < most and error > tolerance:
            f0, g0 = f, g
            kernel = np.exp((f0[:, None] + g0 - self.table) / epsilon)
            u, v = np.ones(len(f)), np.ones(len(g))
            while used < most and error > tolerance and _small(u) and _small(v):
                before = g
                with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
                    g = _step(g0, (self.a * u) @ kernel, epsilon, tau_b)
                    v = np.exp((g - g0) / epsilon)
                    f = _step(f0, kernel @ (self.b * v), epsilon, tau_a)
                    u = np.exp((f - f0) / epsilon)
                if not (np.isfinite(f).all() and np.isfinite(g).all()):
                    f, g = self._exact(f0, epsilon, tau_a, tau_b)
                    u = np.full_like(u, np.inf)
                shift = _shift(f, g, self.a, self.b, epsilon, tau_a, tau_b)
                f, g, u, v = f + shift, g - shift, u * math.exp(shift / epsilon), v * math.exp(-shift / epsilon)
                error, used = float(self.b @ np.abs(g - before)) / (epsilon * self.b.sum()), used + 1
        return f, g, error, used, error <= tolerance

    def _exact(self, f: np.ndarray, epsilon: float, tau_a: float, tau_b: float) -> tuple[np.ndarray, np.ndarray]:
        """One iteration by sums of logarithms, where the kernel underflows."""
        g = -tau_b * epsilon * _lse((f[:, None] - self.table) / epsilon, self.a[:, None], 0)
        return self.first(g, epsilon, tau_a), g


class _Stream:
    """Iterations over points, by blocks of columns: one exponential a pair and iteration."""

    def __init__(self, cost: Cost, a: np.ndarray, b: np.ndarray, block: int) -> None:
        self.cost, self.a, self.b = cost, a, b
        self.step = max(1, block // cost.shape[0])

    def first(self, g: np.ndarray, epsilon: float, tau_a: float) -> np.ndarray:
        total = np.full(len(self.a), -np.inf)
        for where in self._blocks():
            scores = (g[where] - self.cost.columns(where.start, where.stop)) / epsilon
            total = np.logaddexp(total, _lse(scores, self.b[where], 1))
        return -tau_a * epsilon * total

    def run(
        self, f: np.ndarray, g: np.ndarray, epsilon: float, tau_a: float, tau_b: float, tolerance: float, most: int
    ) -> _Result:
        error, used = math.inf, 0
        while used < most and error > tolerance:
            before, g = g, g.copy()
            total = np.full(len(f), -np.inf)
            for where in self._blocks():
                g[where], rows = self._block(where, f, g[where], epsilon, tau_b)
                total = np.logaddexp(total, rows)
            f = tau_a * (f - epsilon * total)
            shift = _shift(f, g, self.a, self.b, epsilon, tau_a, tau_b)
            f, g = f + shift, g - shift
            error, used = float(self.b @ np.abs(g - before)) / (epsilon * self.b.sum()), used + 1
        return f, g, error, used, error <= tolerance

    def _block(
        self, where: slice, f: np.ndarray, g: np.ndarray, epsilon: float, tau_b: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """New potential of some columns, and the log row sums of exp((f + g - C) / epsilon) over them."""
        scores = self.cost.columns(where.start, where.stop)
        np.subtract(g, scores, out=scores)
        scores += f[:, None]
        scores /= epsilon
        weights = self.b[where]
        kernel = np.exp(scores)
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            new = _step(g, self.a @ kernel, epsilon, tau_b)
            rows = np.log(kernel @ (weights * np.exp((new - g) / epsilon)))
        if not (np.isfinite(new).all() and np.isfinite(rows).all()):
            new = tau_b * (g - epsilon * _lse(scores, self.a[:, None], 0))
            rows = _lse(scores + (new - g) / epsilon, weights, 1)
        return new, rows

    def _blocks(self) -> list[slice]:
        n = self.cost.shape[1]
        return [slice(i, min(i + self.step, n)) for i in range(0, n, self.step)]


_Sweep = _Table | _Stream


def _step(old: np.ndarray, total: np.ndarray, epsilon: float, tau: float) -> np.ndarray:
    return np.asarray(tau * (old - epsilon * np.log(total)))


def _shift(
    f: np.ndarray, g: np.ndarray, a: np.ndarray, b: np.ndarray, epsilon: float, tau_a: float, tau_b: float
) -> float:
    """What the dual gains most by moving from the target's potential to the source's; the plan stays as it is."""
    if tau_a == tau_b == 1.0:
        return 0.0
    rho_a, rho_b = (epsilon * tau / (1 - tau) if tau < 1 else math.inf for tau in (tau_a, tau_b))
    mass_a, mass_b = float(_lse(-f / rho_a, a, 0)), float(_lse(-g / rho_b, b, 0))
    return (mass_a - mass_b) / (1 / rho_a + 1 / rho_b)


def _small(scaling: np.ndarray) -> bool:
    return bool((scaling < math.exp(_ABSORB)).all() and (scaling > math.exp(-_ABSORB)).all())
