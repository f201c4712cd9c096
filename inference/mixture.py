r"""Proposals for a costly model where an estimator alone proposes too little: its draws, and a law about the mode.

On the chart of [`straight`][pulsebayes.inference.straight] a posterior is nearly normal about its mode. To $n_1$ draws
of the estimator, of density $q_1$ over all unknowns, come $n_2$ of a Student law about the mode, of density $q_2$;
every one is weighted by

$$w = \frac{p(x \mid z)\,p(z)}{(n_1 q_1(z) + n_2 q_2(z)) / (n_1 + n_2)} .$$

Weights stay exact, and where the estimator alone finds a part of the posterior, its draws there weigh much: Pareto's
k still tells of a mode that the law does not hold.

References:
    | Optimally combining sampling techniques for Monte Carlo rendering (Veach & Guibas, 1995), the balance heuristic,
      https://doi.org/10.1145/218380.218498
    | Safe and effective importance sampling (Owen & Zhou, 2000), https://doi.org/10.1080/01621459.2000.10473909
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from .reference import student_about, student_density
from .solved import Solver
from .straight import straighten, straightened_law

__all__ = ["ModeLaw", "balanced", "mode_law"]


@dataclass(frozen=True)
class ModeLaw:
    r"""A Student law about a posterior's mode, on the chart.

    Arguments:
        solver: Solver of the reference model.
        centre: The mode.
        factor: Triangular factor of the covariance there.
        level: Mean pressure that is taken for zero [mmHg].

    Example:
        >>> from pulsebayes.simulators.reference import ReferenceWindkessel
        >>> from pulsebayes.inference.reference import Reference
        >>> law = ModeLaw(Solver(Reference(ReferenceWindkessel(), ())), np.zeros(9), 0.05 * np.eye(9), 90.0)
        >>> law.log_density(law.draw(4, seed=0)).shape
        (4,)
    """

    solver: Solver
    centre: Float[np.ndarray, " U"]
    factor: Float[np.ndarray, "U U"]
    level: float

    def draw(self, n: int, *, seed: int) -> Float[np.ndarray, "n U"]:
        r"""Draws unknowns.

        Arguments:
            n: How many.
            seed: Seed.
        """
        unit = np.eye(len(self.centre))
        with jax.enable_x64(True):
            keys = jax.random.split(jax.random.key(seed), n)
            step, _ = jax.vmap(student_about, (None, None, 0))(jnp.zeros(len(unit)), jnp.asarray(unit), keys)
        return straighten(self.solver, self.centre + np.asarray(step) @ self.factor.T, self.level, back=True)

    def log_density(self, z: Float[np.ndarray, "n U"]) -> Float[np.ndarray, " n"]:
        r"""Log density of unknowns.

        Arguments:
            z: Unknowns.
        """
        y = straighten(self.solver, z, self.level)
        step = np.linalg.solve(self.factor, (y - self.centre).T).T
        with jax.enable_x64(True):
            found = jax.vmap(student_density)(jnp.asarray(step))
        return np.asarray(np.asarray(found) - np.log(np.diag(self.factor)).sum())


def mode_law(solver: Solver, x: Float[np.ndarray, " T"], z: Float[np.ndarray, " U"], start: float) -> ModeLaw:
    r"""Finds the mode near a point, and the law about it.

    Arguments:
        solver: Solver of the reference model.
        x: Window [mmHg].
        z: Unknowns to begin from.
        start: Place that the start is counted from [s].

    Example:
        >>> mode_law(reference.solver, window, z, start).centre.shape  # doctest: +SKIP
        (10,)
    """
    mode, factor = solver.laplace(x, z, start)
    level = float(solver.beats(mode[None, : solver.dim])[0, 0].real)
    return ModeLaw(solver, *straightened_law(solver, mode, factor, level), level)


def balanced(
    law: ModeLaw,
    estimator: Callable[[np.ndarray], np.ndarray],
    z: Float[np.ndarray, "N U"],
    log_q: Float[np.ndarray, " N"],
    n: int,
    *,
    seed: int,
) -> tuple[Float[np.ndarray, "M U"], Float[np.ndarray, " M"]]:
    r"""Adds draws of the law to draws of an estimator, with the density of the two together.

    Arguments:
        law: Law about the mode.
        estimator: Log density of the estimator's proposals over all unknowns.
        z: Draws of the estimator.
        log_q: Their log density.
        n: Draws of the law.
        seed: Seed.

    Returns:
        All unknowns, and the log density of the mixture there.

    Example:
        >>> from pulsebayes.simulators.reference import ReferenceWindkessel
        >>> from pulsebayes.inference.reference import Reference
        >>> law = ModeLaw(Solver(Reference(ReferenceWindkessel(), ())), np.zeros(9), 0.05 * np.eye(9), 90.0)
        >>> z, log_q = balanced(law, law.log_density, np.zeros((2, 9)), law.log_density(np.zeros((2, 9))), 2, seed=0)
        >>> bool(np.allclose(log_q, law.log_density(z)))
        True
    """
    drawn = law.draw(n, seed=seed)
    every = np.concatenate([z, drawn])
    own = np.concatenate([log_q, estimator(drawn)])
    shares = np.log(len(z) / len(every)), np.log(n / len(every))
    return every, np.logaddexp(shares[0] + own, shares[1] + law.log_density(every))
