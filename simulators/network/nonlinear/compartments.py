r"""The slow part of a network: its arteries as one compartment between the windkessels, exactly solvable.

All arteries share one pressure $P_a$ with their total compliance; outlet $k$ hangs on it through $R_{1k}$. In $\tilde
x = C^{1/2}(P_a, P_1, \dots)$ the equations are $\tilde x' = -S\tilde x + \dots$ with $S$ symmetric, so that over a
period $T$ deviations shrink by $M = e^{-TS}$. From it come the state to start from, the correction of a state after a
period in which it changed by $d$,

$$x^* \approx x + M(I - M)^{-1} d,$$

and the slowest factor $r$ that bounds the remaining error by $|d|\,r/(1-r)$. Units: SI.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from .grid import Grid, Physics

__all__ = ["Compartments", "make_compartments"]

_FEED = 256  # samples of the inflow behind the starting state


class Compartments(NamedTuple):
    """The eigenvectors and rates of a batch: rates (B, K+1) [1/s], vectors (B, K+1, K+1), root of compliance (B, K+1).

    Example:
        >>> Compartments._fields
        ('rates', 'vectors', 'root', 'mean', 'period')
    """

    rates: Float[np.ndarray, "B n"]
    vectors: Float[np.ndarray, "B n n"]
    root: Float[np.ndarray, "B n"]
    mean: Float[np.ndarray, "B n"]
    period: Float[np.ndarray, " B"]

    @property
    def decay(self) -> Float[np.ndarray, " B"]:
        """Slowest factor by which a deviation shrinks in a period."""
        slowest: Float[np.ndarray, " B"] = np.exp(-self.rates.min(-1) * self.period)
        return slowest

    def correct(self, change: Float[np.ndarray, "B n"]) -> Float[np.ndarray, "B n"]:
        """What is still missing of a periodic state after a period in which it changed.

        Arguments:
            change: Change of arterial pressure and of every capacitor over the period [Pa].

        Returns:
            What to add to the state at the period's end [Pa].
        """
        return self._through(change, 1 / np.expm1(np.minimum(self.rates * self.period[:, None], 500.0)))

    def start(self, inflow: Float[np.ndarray, "T B"]) -> Float[np.ndarray, "B n"]:
        """Periodic pressures at phase 0.

        Arguments:
            inflow: Flow into the arteries at even phases [m3/s].

        Returns:
            Arterial pressure and every capacitor's [Pa].
        """
        stride = max(1, len(inflow) // _FEED)
        flow = inflow[: len(inflow) // stride * stride].reshape(-1, stride, inflow.shape[-1]).mean(1)
        swing = (flow - flow.mean(0)).T
        left = self.period[:, None] * (1 - (np.arange(len(flow)) + 0.5) / len(flow))
        dt = self.period[:, None] / len(flow)
        memory = np.einsum("bt,btn->bn", swing * dt, np.exp(-self.rates[:, None, :] * left[:, :, None]))
        enter = self.vectors[:, 0, :] / self.root[:, :1]
        z = enter * memory / -np.expm1(-self.rates * self.period[:, None])
        found: Float[np.ndarray, "B n"] = self.mean + np.einsum("bij,bj->bi", self.vectors, z) / self.root
        return found

    def _through(self, x: Float[np.ndarray, "B n"], factor: Float[np.ndarray, "B n"]) -> Float[np.ndarray, "B n"]:
        inner = np.einsum("bij,bi->bj", self.vectors, x * self.root) * factor
        found: Float[np.ndarray, "B n"] = np.einsum("bij,bj->bi", self.vectors, inner) / self.root
        return found


def compliance_of_rows(grid: Grid, physics: Physics, transmural: Float[np.ndarray, "R B"]) -> Float[np.ndarray, "R B"]:
    """Compliance of the cell of each row at a transmural pressure.

    Arguments:
        grid: The grid.
        physics: The numbers.
        transmural: Pressure over external pressure [Pa].

    Returns:
        Compliance [m3/Pa], zero in rows without a cell.

    Example:
        >>> compliance_of_rows.__name__
        'compliance_of_rows'
    """
    alpha = np.maximum(1 + transmural / physics.beta, 0.05)  # a wall that cannot stand this fails later, by name
    return np.where(
        grid.is_cell[:, None], 2 * physics.area * alpha / physics.beta * physics.dx[grid.vessel_of_row], 0.0
    )


def make_compartments(grid: Grid, physics: Physics) -> Compartments:
    """The slow part of a batch of networks.

    Arguments:
        grid: The grid.
        physics: The numbers.

    Returns:
        The compartments.

    Example:
        >>> from pulsebayes.simulators.network.files import load_network
        >>> from pulsebayes.simulators.network.nonlinear.grid import make_grid
        >>> from pulsebayes.simulators.network.nonlinear.physics import model_physics
        >>> model = load_network("adan56")
        >>> grid = make_grid(model, dx_mm=10.0)
        >>> bool(0.4 < make_compartments(grid, model_physics(model, grid)).decay[0] < 0.8)
        True
    """
    p = Physics(*(np.asarray(a, np.float64) for a in physics))
    has = (p.compliance > 0).T
    g1 = 1 / np.maximum(p.r1, 1e-12 * p.r1.max()).T
    g2 = np.where(has, 1 / np.where(has, p.r2.T, 1), 0)
    drain = (p.drain + p.swing.mean(0)).T
    series = np.where(has, 1 / (1 / g1 + 1 / np.where(has, g2, 1)), g1)
    mean_flow = p.inflow.mean(0)
    level = (mean_flow + (series * drain).sum(1)) / series.sum(1)
    capacitors = np.where(has, (g1 * level[:, None] + g2 * drain) / (g1 + g2), drain)
    arteries = compliance_of_rows(grid, p, level - p.external[grid.vessel_of_row]).sum(0)
    compliance = np.concatenate([arteries[:, None], np.where(has, p.compliance.T, 1.0)], axis=1)
    root = np.sqrt(compliance)
    size = compliance.shape[1]
    matrix = np.zeros((len(level), size, size))
    matrix[:, 0, 0] = g1.sum(1)
    matrix[:, 0, 1:] = matrix[:, 1:, 0] = np.where(has, -g1, 0)
    k = np.arange(1, size)
    matrix[:, k, k] = np.where(has, g1 + g2, 1e6 * compliance[:, 1:] / p.period[:, None])
    rates, vectors = np.linalg.eigh(matrix / (root[:, :, None] * root[:, None, :]))
    mean = np.concatenate([level[:, None], capacitors], axis=1)
    return Compartments(rates, vectors, root, mean, p.period)
