r"""A coarse copy of a batch: its first periods are cheap, and what they end in is where the wished grid starts.

A copy has a part of the cells, and no cell far shorter than the others (few short vessels set the step of all): its
periodic state differs from the true one, but far less than a network at rest does. Nothing of it is a result. Units:
SI.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Float

from .grid import Grid, Physics
from .scheme import State

__all__ = ["coarse_grid", "coarse_physics", "refined_state"]

COARSENING = 2
"""Cells of the wished grid that one cell of the copy replaces."""
SHORTEST = 0.4
"""Shortest cell of the copy, as a share of its longest."""


def coarse_grid(grid: Grid) -> Grid:
    """The grid of a copy.

    Arguments:
        grid: The wished grid.

    Returns:
        The same network with fewer cells.

    Example:
        >>> from pulsebayes.simulators.network.files import load_network
        >>> from pulsebayes.simulators.network.nonlinear.grid import make_grid
        >>> coarse_grid(make_grid(load_network("adan56"), dx_mm=10.0)).n_cells
        486
    """
    return dataclasses.replace(grid, cells=np.ceil(grid.cells / COARSENING).astype(np.int64))


def coarse_physics(grid: Grid, physics: Physics, coarse: Grid) -> Physics:
    """The numbers of a copy.

    Arguments:
        grid: The wished grid.
        physics: Its numbers.
        coarse: The grid of the copy.

    Returns:
        Walls at the copy's cells, the shortest cells lengthened; everything else as it was.

    Example:
        >>> from pulsebayes.simulators.network.files import load_network
        >>> from pulsebayes.simulators.network.nonlinear.grid import make_grid
        >>> from pulsebayes.simulators.network.nonlinear.physics import model_physics
        >>> model = load_network("adan56")
        >>> grid = make_grid(model, dx_mm=10.0)
        >>> copy = coarse_physics(grid, model_physics(model, grid), coarse_grid(grid))
        >>> round(float(1e3 * copy.dx.min()), 1), round(float(1e3 * copy.dx.max()), 1)
        (8.0, 20.0)
    """
    vessel = coarse.vessel_of_row
    number = np.arange(coarse.n_rows) - coarse.first[vessel]
    centre = 2.0 * grid.cells[vessel] * coarse.share_of_row
    face = 2.0 * grid.cells[vessel] * (number / coarse.cells[vessel])
    return physics._replace(
        area=_at(grid, vessel, centre, physics.area, physics.face_area),
        beta=_at(grid, vessel, centre, physics.beta, physics.face_beta),
        face_area=_at(grid, vessel, face, physics.area, physics.face_area),
        face_beta=_at(grid, vessel, face, physics.beta, physics.face_beta),
        viscous=physics.viscous[grid.first[vessel] + np.round(face / 2).astype(np.int64)],
        dx=_lengths(grid, physics, coarse).astype(physics.dx.dtype),
    )


def _lengths(grid: Grid, physics: Physics, coarse: Grid) -> Float[np.ndarray, "V B"]:
    """Lengths of the copy's cells: short ones longer, and what follows them shorter, so that waves arrive in time."""
    cells = coarse.cells[:, None]
    true = physics.dx * grid.cells[:, None]
    least = SHORTEST * (true / cells).max(0) * cells
    length = np.maximum(true, least)
    for v in np.flatnonzero((length > true).any(-1)):
        after = grid.inlet == grid.outlet[v]
        room = np.maximum(length[after] - least[after], 0)
        length[after] -= np.minimum(length[v] - true[v], room)
    found: Float[np.ndarray, "V B"] = length / cells
    return found


def _at(
    grid: Grid,
    vessel: np.ndarray,
    place: Float[np.ndarray, " r"],
    centres: Float[np.ndarray, "R B"],
    faces: Float[np.ndarray, "R B"],
) -> Float[np.ndarray, "r B"]:
    """Values between the faces (even places) and cell centres (odd places) of vessels."""
    left = np.clip(np.floor(place + 1e-9).astype(np.int64), 0, 2 * grid.cells[vessel] - 1)
    share = (place - left)[:, None].astype(faces.dtype)

    def take(half: np.ndarray) -> np.ndarray:
        row = grid.first[vessel] + (half + 1) // 2
        return np.asarray(np.where((half % 2 == 0)[:, None], faces[row], centres[row]))

    found: Float[np.ndarray, "r B"] = (1 - share) * take(left) + share * take(left + 1)
    return found


def refined_state(coarse: Grid, numbers: Physics, state: State, grid: Grid, physics: Physics) -> State:
    """The state of a copy on the wished grid: pressure and velocity are interpolated, ends and capacitors kept.

    Arguments:
        coarse: The grid of the copy.
        numbers: Its numbers.
        state: Its state.
        grid: The wished grid.
        physics: Its numbers.

    Returns:
        The state.

    Example:
        >>> refined_state.__name__
        'refined_state'
    """
    vessel = grid.vessel_of_row
    place = coarse.cells[vessel] * grid.share_of_row + 0.5  # 0.5: inlet, 1, 2, ...: cells, n + 0.5: outlet
    n = coarse.cells[vessel]
    left = np.clip(np.floor(place).astype(np.int64), 0, n)
    at_left, at_right = np.where(left == 0, 0.5, left), np.where(left == n, n + 0.5, left + 1)
    share = ((place - at_left) / (at_right - at_left))[:, None].astype(physics.period.dtype)

    def interpolated(cells: np.ndarray, ends: np.ndarray) -> np.ndarray:
        row = coarse.first[vessel] + left
        low = np.where((left == 0)[:, None], ends[2 * vessel], cells[row])
        high = np.where((left == n)[:, None], ends[2 * vessel + 1], cells[np.minimum(row + 1, coarse.n_rows - 1)])
        return np.asarray((1 - share) * low + share * high)

    over = interpolated(numbers.beta * (np.sqrt(state.area / numbers.area) - 1), state.end_pressure)
    velocity = np.where(grid.is_cell[:, None], interpolated(state.velocity, state.end_velocity), 0)
    return state._replace(area=physics.area * (1 + over / physics.beta) ** 2, velocity=velocity)
