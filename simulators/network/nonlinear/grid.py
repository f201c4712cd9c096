r"""How a network is cut into cells: index tables that all simulations share, and the numbers of each simulation.

Rows: every vessel has one row for its inlet face and one for each cell together with the face on the cell's right, so
that row $r$ of a face array lies between the cells of rows $r$ and $r+1$. Ends are numbered $2v$ (inlet of vessel $v$)
and $2v+1$ (outlet). The batch axis comes last and is contiguous: `[row, batch]`. Units: SI.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from ..model import NetworkModel

__all__ = ["Grid", "Physics", "Probe", "cells_per_vessel", "make_grid"]

LONE_CELL = 0.8  # weight of the Courant number of a vessel of one cell
_MOST_CELLS = 1_000_000
_STENCIL = 4  # points of the Lagrange interpolation between cell centres and ends


class Probe(NamedTuple):
    """A place where waves are taken: vessel (counted from 0) and share of its length.

    Example:
        >>> Probe(0, 0.5).share
        0.5
    """

    vessel: int
    share: float


class Physics(NamedTuple):
    r"""All numbers of a batch of simulations on one grid, SI; any floating type, NumPy or JAX.

    `area`, `beta`: $A_0$ [m2] and $\beta$ [Pa] at cell centres (rows of inlet faces hold those of the face);
    `face_area`, `face_beta`: the same at faces; `viscous`: $\Gamma/A_0^{3/2}$ [Pa s/m2] at faces; each of shape (R,
    B). `dx` [m], `external` [Pa], `friction` $2(\zeta+2)\pi\mu/\rho$ [m2/s]: (V, B). `r1`, `r2` [Pa s/m3],
    `compliance` [m3/Pa, 0 where there is none], `drain` [Pa]: (K, B). `period` [s]: (B,). `inflow` [m3/s] at even
    phases of the period and `swing` [Pa], added to `drain`: (T, B).

    Example:
        >>> Physics._fields[:2]
        ('area', 'beta')
    """

    area: Float[Any, "R B"]
    beta: Float[Any, "R B"]
    face_area: Float[Any, "R B"]
    face_beta: Float[Any, "R B"]
    viscous: Float[Any, "R B"]
    dx: Float[Any, "V B"]
    external: Float[Any, "V B"]
    friction: Float[Any, "V B"]
    r1: Float[Any, "K B"]
    r2: Float[Any, "K B"]
    compliance: Float[Any, "K B"]
    drain: Float[Any, "K B"]
    period: Float[Any, " B"]
    inflow: Float[Any, "T B"]
    swing: Float[Any, "T B"]


@dataclasses.dataclass(frozen=True, eq=False)
class Grid:
    r"""Index tables of a network cut into cells.

    Arguments:
        names: Names of the vessels.
        cells: Cells of each vessel.
        inlet: Node at each vessel's inlet, counted from 0.
        outlet: Node at each vessel's outlet.
        root: End (number of a vessel's end) with the inflow.
        drains: Ends with an outlet, in the order of the outlets.
        density: Blood density [kg/m3].
        total: Whether total pressure is continuous at forks, else static pressure.
        viscous: Vessels with a viscous wall.

    Example:
        >>> from pulsebayes.simulators.network.files import load_network
        >>> grid = make_grid(load_network("aortic-bifurcation"), dx_mm=10.0)
        >>> grid.cells.tolist(), grid.n_rows, len(grid.junctions)
        ([9, 9, 9], 30, 1)
    """

    names: tuple[str, ...]
    cells: Int[np.ndarray, " V"]
    inlet: Int[np.ndarray, " V"]
    outlet: Int[np.ndarray, " V"]
    root: int
    drains: Int[np.ndarray, " K"]
    density: float
    total: bool
    viscous: Bool[np.ndarray, " V"]

    @cached_property
    def first(self) -> Int[np.ndarray, " V"]:
        """Row of each vessel's inlet face."""
        return np.concatenate([[0], np.cumsum(self.cells + 1)[:-1]]).astype(np.int64)

    @cached_property
    def last(self) -> Int[np.ndarray, " V"]:
        """Row of each vessel's last cell and outlet face."""
        last: Int[np.ndarray, " V"] = self.first + self.cells
        return last

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return int((self.cells + 1).sum())

    @property
    def n_cells(self) -> int:
        """Number of cells."""
        return int(self.cells.sum())

    @cached_property
    def vessel_of_row(self) -> Int[np.ndarray, " R"]:
        """Vessel of each row."""
        return np.repeat(np.arange(len(self.cells)), self.cells + 1)

    @cached_property
    def is_cell(self) -> Bool[np.ndarray, " R"]:
        """Whether a row holds a cell (else only an inlet face)."""
        flags = np.ones(self.n_rows, dtype=bool)
        flags[self.first] = False
        return flags

    @cached_property
    def share_of_row(self) -> Float[np.ndarray, " R"]:
        """Place of each row's cell centre along its vessel, the face's for rows without a cell."""
        number = np.arange(self.n_rows) - self.first[self.vessel_of_row]
        share: Float[np.ndarray, " R"] = np.maximum(number - 0.5, 0.0) / self.cells[self.vessel_of_row]
        return share

    @cached_property
    def courant_weight(self) -> Float[np.ndarray, " V"]:
        """How much a vessel's Courant number counts: a lone cell between star states is stable to 1.37, measured."""
        return np.where(self.cells == 1, LONE_CELL, 1.0)

    @cached_property
    def junctions(self) -> tuple[Int[np.ndarray, " M"], ...]:
        """Ends that meet at each node inside the network."""
        meeting: dict[int, list[int]] = {}
        for v, (a, b) in enumerate(zip(self.inlet, self.outlet, strict=True)):
            meeting.setdefault(int(a), []).append(2 * v)
            meeting.setdefault(int(b), []).append(2 * v + 1)
        open_ends = {self.root, *self.drains.tolist()}
        return tuple(np.array(ends) for _, ends in sorted(meeting.items()) if not set(ends) & open_ends)

    @property
    def has_total_pressure(self) -> Bool[np.ndarray, " J"]:
        """Junctions where total pressure is continuous; where just two vessels meet, it always is."""
        return np.array([self.total or len(ends) == 2 for ends in self.junctions], dtype=bool)

    @cached_property
    def coarse(self) -> Grid:
        """The grid of a coarse copy, one and the same at every call."""
        from .coarse import coarse_grid

        return coarse_grid(self)

    @property
    def n_ends(self) -> int:
        """Number of vessel ends."""
        return 2 * len(self.cells)

    def interpolation(self, probes: Sequence[Probe]) -> tuple[Int[np.ndarray, "K 4"], Float[np.ndarray, "K 4"]]:
        """How to take values at probes: rows of cells, or `n_rows` plus the end's number, and Lagrange weights.

        Arguments:
            probes: The places.

        Returns:
            Indices and weights.
        """
        rows = np.zeros((len(probes), _STENCIL), dtype=np.int64)
        weights = np.zeros((len(probes), _STENCIL))
        for k, (v, share) in enumerate(probes):
            n = int(self.cells[v])
            place = np.concatenate([[0.0], (np.arange(n) + 0.5) / n, [1.0]])
            index = np.concatenate([[self.n_rows + 2 * v], self.first[v] + 1 + np.arange(n), [self.n_rows + 2 * v + 1]])
            size = min(_STENCIL, n + 2)
            start = int(np.clip(np.searchsorted(place, share) - size // 2, 0, n + 2 - size))
            near = np.arange(start, start + size)
            for a, i in enumerate(near):
                others = np.delete(place[near], a)
                weights[k, a] = np.prod((share - others) / (place[i] - others))
                rows[k, a] = index[i]
        return rows, weights


def cells_per_vessel(length_mm: Float[np.ndarray, " V"], dx_mm: float) -> Int[np.ndarray, " V"]:
    """Cells of each vessel so that none is longer than wished.

    Arguments:
        length_mm: Lengths [mm].
        dx_mm: Longest cell [mm].

    Returns:
        Number of cells, at least 1.

    Raises:
        ValueError: The length of a cell is not positive, or makes too many cells.

    Example:
        >>> cells_per_vessel(np.array([4.0, 30.0]), 10.0).tolist()
        [1, 3]
    """
    if not dx_mm > 0:
        raise ValueError(f"dx must be positive, got {dx_mm} mm")
    cells = np.maximum(1, np.ceil(np.asarray(length_mm) / dx_mm - 1e-9))
    if cells.sum() > _MOST_CELLS:
        raise ValueError(f"dx must leave at most {_MOST_CELLS:,} cells, got {cells.sum():,.0f} from {dx_mm:g} mm")
    return cells.astype(np.int64)


def make_grid(model: NetworkModel, *, dx_mm: float) -> Grid:
    """Cut a network into cells.

    Arguments:
        model: The network.
        dx_mm: Longest cell [mm].

    Returns:
        The grid.

    Example:
        >>> from pulsebayes.simulators.network.files import load_network
        >>> make_grid(load_network("adan56"), dx_mm=10.0).n_cells
        931
    """
    number: dict[str, int] = {}
    for vessel in model.vessels:
        for node in (vessel.inlet, vessel.outlet):
            number.setdefault(node, len(number))
    end_at = {number[v.outlet]: 2 * i + 1 for i, v in enumerate(model.vessels)}
    root = next(2 * i for i, v in enumerate(model.vessels) if v.inlet == model.inflow.node)
    return Grid(
        names=tuple(v.name for v in model.vessels),
        cells=cells_per_vessel(np.array([v.length_mm for v in model.vessels]), dx_mm),
        inlet=np.array([number[v.inlet] for v in model.vessels]),
        outlet=np.array([number[v.outlet] for v in model.vessels]),
        root=root,
        drains=np.array([end_at[number[o.node]] for o in model.outlets], dtype=np.int64),
        density=model.density,
        total=model.junction == "total",
        viscous=np.array([max(v.wall_viscosity) > 0 for v in model.vessels]),
    )
