r"""Blocks of sixteen simulations as the compiled kernel wants them, and one period of a batch through it."""

from __future__ import annotations

import dataclasses
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int

from .cycle import Waves
from .grid import Grid, Physics
from .heart import Ring, RingTrace, no_ring
from .kernel import END_FIELDS, LANES, OUTLET_FIELDS, ROW_FIELDS, VESSEL_FIELDS, run_period
from .scheme import State

__all__ = ["heart_cycle", "kernel_cycle", "pad_lanes"]


def pad_lanes(array: Float[np.ndarray, "*shape B"]) -> Float[np.ndarray, "*shape C"]:
    """Repeat the last simulation until whole blocks are full.

    Arguments:
        array: Values, the batch last.

    Returns:
        Values whose batch is a multiple of sixteen.

    Example:
        >>> pad_lanes(np.array([[1.0, 2.0]])).shape
        (1, 16)
    """
    missing = -array.shape[-1] % LANES
    return np.concatenate([array, np.repeat(array[..., -1:], missing, axis=-1)], axis=-1) if missing else array


@dataclasses.dataclass(frozen=True, eq=False)
class _Tables:
    """What the kernel needs of a grid."""

    grid: Grid

    @cached_property
    def topology(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray, int]:
        grid = self.grid
        sizes = [len(j) for j in grid.junctions]
        starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        members = np.concatenate([*grid.junctions, np.zeros(0, np.int64)]).astype(np.int64)
        cells = grid.cells.astype(np.int64)
        return grid.first.astype(np.int64), cells, starts, members, grid.drains.astype(np.int64), int(grid.root)

    @cached_property
    def faces(self) -> np.ndarray:
        return np.stack([self.grid.first, self.grid.last], axis=1).reshape(-1)


def kernel_cycle(
    grid: Grid,
    physics: Physics,
    state: State,
    probes: tuple[Int[np.ndarray, "K 4"], Float[np.ndarray, "K 4"]],
    *,
    n_steps: int,
    n_samples: int,
) -> tuple[State, Waves]:
    """Advance a batch by one period with the compiled kernel; the same call and result as `jax_cycle`.

    Arguments:
        grid: The grid.
        physics: The numbers, NumPy arrays of one floating type.
        state: State at phase 0.
        probes: Where to take waves: `Grid.interpolation`.
        n_steps: Steps of the period, a multiple of `n_samples`.
        n_samples: Samples of the period.

    Returns:
        State after the period, and the waves.

    Raises:
        ValueError: If the steps are no multiple of the samples.

    Example:
        >>> kernel_cycle.__name__
        'kernel_cycle'
    """
    if n_steps < n_samples or n_steps % n_samples:
        raise ValueError(f"n_steps must be a multiple of n_samples = {n_samples}, got {n_steps}")
    size = physics.period.shape[-1]
    tables = _Tables(grid)
    done = []
    for start in range(0, size, LANES):
        lanes = slice(start, min(start + LANES, size))
        block = Physics(*(pad_lanes(np.asarray(a)[..., lanes]) for a in physics))
        before = State(*(pad_lanes(np.asarray(a)[..., lanes]) for a in state))
        done.append(_block(tables, block, before, probes, n_steps, n_samples, no_ring(LANES)))
    states, waves = zip(*done, strict=True)
    return (
        State(*(np.concatenate(parts, axis=-1)[..., :size] for parts in zip(*states, strict=True))),
        Waves(*(np.concatenate(parts, axis=-1)[..., :size] for parts in zip(*waves, strict=True))),
    )


def heart_cycle(
    grid: Grid,
    physics: Physics,
    state: State,
    ring: Ring,
    probes: tuple[Int[np.ndarray, "K 4"], Float[np.ndarray, "K 4"]],
    *,
    n_steps: int,
    n_samples: int,
) -> tuple[State, Waves, Ring, RingTrace]:
    """Advance networks by one period with a heart at the root of each.

    Arguments:
        grid: The grid.
        physics: The numbers; of `drain` the first row counts, `inflow` and `swing` do not.
        state: State at phase 0.
        ring: The hearts, and where they stand.
        probes: Where to take waves: `Grid.interpolation`.
        n_steps: Steps of the period, a multiple of `n_samples`.
        n_samples: Samples of the period.

    Returns:
        State after the period, the waves, the hearts and what they did.

    Raises:
        ValueError: If the steps are no multiple of the samples.

    Example:
        >>> heart_cycle.__name__
        'heart_cycle'
    """
    if n_steps < n_samples or n_steps % n_samples:
        raise ValueError(f"n_steps must be a multiple of n_samples = {n_samples}, got {n_steps}")
    size = physics.period.shape[-1]
    kind = physics.period.dtype
    physics = physics._replace(inflow=ring.phi[0].astype(kind), swing=ring.phi[1].astype(kind))
    tables = _Tables(grid)
    done = []
    for start in range(0, size, LANES):
        lanes = slice(start, min(start + LANES, size))
        block = Physics(*(pad_lanes(np.asarray(a)[..., lanes]) for a in physics))
        before = State(*(pad_lanes(np.asarray(a)[..., lanes]) for a in state))
        own = Ring(*(np.array(pad_lanes(np.asarray(a, np.float64)[..., lanes]), order="C") for a in ring))
        trace = np.zeros((n_samples + 1, 2, 8, LANES))
        after, waves = _block(
            tables, block, before, probes, n_steps, n_samples, (own.numbers, own.state, own.beds, trace)
        )
        done.append((*after, *waves, own.state, trace[:, 0], trace[:, 1]))
    whole = [np.concatenate(parts, axis=-1)[..., :size] for parts in zip(*done, strict=True)]
    n = len(State._fields)
    return State(*whole[:n]), Waves(*whole[n:-3]), ring._replace(state=whole[-3]), RingTrace(*whole[-2:])


def _block(
    tables: _Tables,
    physics: Physics,
    state: State,
    probes: tuple[np.ndarray, np.ndarray],
    n_steps: int,
    n_samples: int,
    ring: tuple[np.ndarray, ...],
) -> tuple[State, Waves]:
    grid, dtype = tables.grid, physics.period.dtype
    rows, ends, vessels, outlets = _records(tables, physics, state, n_steps)
    kind = dtype.type
    numbers = (kind(grid.density), kind(1 / grid.density), kind(0.5 / grid.density), kind(grid.total))
    n_probes, n_outlets = len(probes[0]), len(grid.drains)
    waves = np.zeros((n_samples + 1, 3, n_probes, LANES), dtype)
    capacitors = np.zeros((n_samples + 1, n_outlets, LANES), dtype)
    cfl, failed = np.zeros(LANES, dtype), np.full((2, LANES), -1, np.int64)
    work = np.zeros((4 + 3 * int(grid.cells.max()), LANES), dtype)
    run_period(
        rows.reshape(-1), ends.reshape(-1), vessels, outlets, np.ascontiguousarray(physics.viscous), tables.topology,
        grid.viscous, (probes[0], _probe_vessels(grid, probes[0])),
        probes[1].astype(dtype), numbers, 0.5 * physics.period / n_steps, np.ascontiguousarray(physics.inflow),
        np.ascontiguousarray(physics.swing), n_steps, n_samples, waves, capacitors, cfl, failed, work, ring,
    )  # fmt: skip
    end = {name: ends[:, i] for i, name in enumerate(END_FIELDS)}
    velocity = np.where(grid.is_cell[:, None], rows[:-1, 1], 0)
    after = State(rows[:-1, 0], velocity, outlets[:, 5], end["pressure"], end["velocity"], cfl)
    return after, Waves(waves[:, 0], waves[:, 1], waves[:, 2], capacitors, failed[0], failed[1])


def _probe_vessels(grid: Grid, rows: np.ndarray) -> np.ndarray:
    first = rows[:, 0]
    inside = first < grid.n_rows
    of_row = grid.vessel_of_row[np.minimum(first, grid.n_rows - 1)]
    return np.where(inside, of_row, (first - grid.n_rows) // 2).astype(np.int64)


def _records(
    tables: _Tables, physics: Physics, state: State, n_steps: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    grid, dtype = tables.grid, physics.period.dtype
    dt = physics.period / n_steps
    rows = np.zeros((grid.n_rows + 1, len(ROW_FIELDS), LANES), dtype)
    with np.errstate(invalid="ignore"):  # a failed simulation stays failed
        pressure = physics.beta * (np.sqrt(state.area / physics.area) - 1)
    columns = (state.area, state.velocity, pressure, 1 / physics.area, physics.beta, physics.face_area,
               physics.face_beta, 1 / physics.face_beta)  # fmt: skip
    for i, column in enumerate(columns):
        rows[:-1, i] = column
    ends = np.zeros((grid.n_ends, len(END_FIELDS), LANES), dtype)
    beta = physics.face_beta[tables.faces]
    external = np.repeat(physics.external, 2, axis=0)
    for i, column in enumerate((physics.face_area[tables.faces], beta, np.sqrt(0.5 / grid.density * beta), external)):
        ends[:, i] = column
    ends[:, 6], ends[:, 7] = state.end_pressure, state.end_velocity
    vessels = np.zeros((len(grid.cells), len(VESSEL_FIELDS), LANES), dtype)
    diffusion = 0.5 * dt / (grid.density * physics.dx**2)
    for i, column in enumerate(
        (dt / physics.dx, 0.5 * dt * physics.friction, diffusion, physics.external, 1 / physics.dx)
    ):
        vessels[:, i] = column
    outlets = np.zeros((len(grid.drains), len(OUTLET_FIELDS), LANES), dtype)
    for i, column in enumerate(_outlet_numbers(physics, state, 0.5 * dt)):
        outlets[:, i] = column
    return rows, ends, vessels, outlets


def _outlet_numbers(physics: Physics, state: State, half: np.ndarray) -> tuple[np.ndarray, ...]:
    """Constants of a step: pressure at mid-step is keep * capacitor + leak * drain + fill * flow."""
    has = physics.compliance > 0
    fill = np.where(has, half / np.where(has, physics.compliance, 1), 0)
    leak = np.where(has, fill / np.where(has, physics.r2, 1), 0)
    fill = fill / (1 + leak)
    keep, share = np.where(has, 1 / (1 + leak), 0), np.where(has, leak / (1 + leak), 1)
    return physics.r1 + fill, physics.drain, keep, share, fill, state.capacitor, 1.0 * has
