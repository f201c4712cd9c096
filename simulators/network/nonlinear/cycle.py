r"""One period of a batch in JAX: steps, waves at probes, and a check of every cell at each sample.

A period has `n_samples` samples and the same whole number of steps between any two, so that samples fall on fixed
phases; the time step of a simulation is its period over the number of steps, which a block of simulations shares.
Units: SI.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from .grid import Grid, Physics
from .scheme import State, Tables, make_tables, pressure, step

__all__ = ["Waves", "jax_cycle"]


class Waves(NamedTuple):
    """What a period leaves behind, SI.

    `pressure` (elastic, without the external pressure's change over time), `flow` and `viscous` pressure at the probes
    at phases 0, 1/n, ..., 1: (T, K, B); `capacitor`: (T, O, B); `failed_row` and `failed_sample`: where and when the
    first cell failed, -1 if none did: (B,).

    Example:
        >>> Waves._fields[0]
        'pressure'
    """

    pressure: Float[Any, "T K B"]
    flow: Float[Any, "T K B"]
    viscous: Float[Any, "T K B"]
    capacitor: Float[Any, "T O B"]
    failed_row: Int[Any, " B"]
    failed_sample: Int[Any, " B"]


def jax_cycle(
    grid: Grid,
    physics: Physics,
    state: State,
    probes: tuple[Int[np.ndarray, "K 4"], Float[np.ndarray, "K 4"]],
    *,
    n_steps: int,
    n_samples: int,
) -> tuple[State, Waves]:
    """Advance a batch by one period.

    Arguments:
        grid: The grid.
        physics: The numbers.
        state: State at phase 0.
        probes: Where to take waves: `Grid.interpolation`.
        n_steps: Steps of the period, a multiple of `n_samples`.
        n_samples: Samples of the period.

    Returns:
        State after the period, and the waves.

    Raises:
        ValueError: If the steps are no multiple of the samples.

    Example:
        >>> jax_cycle.__name__
        'jax_cycle'
    """
    if n_steps < n_samples or n_steps % n_samples:
        raise ValueError(f"n_steps must be a multiple of n_samples = {n_samples}, got {n_steps}")
    found: tuple[State, Waves] = _compiled(grid)(physics, state, probes[0], probes[1], jnp.asarray(n_steps), n_samples)
    return found


_CACHE: dict[int, tuple[Grid, Any]] = {}


def _compiled(grid: Grid) -> Any:
    if id(grid) not in _CACHE:
        _CACHE[id(grid)] = grid, jax.jit(partial(_cycle, grid), static_argnums=5)
    return _CACHE[id(grid)][1]


def _cycle(
    grid: Grid, physics: Physics, state: State, rows: Array, weights: Array, n_steps: Array, n_samples: int
) -> tuple[State, Waves]:
    tables = make_tables(grid, physics)
    dt = physics.period / n_steps
    between = n_steps // n_samples
    fine = physics.inflow.shape[0]
    weights = weights.astype(physics.period.dtype)

    def one(n: Array, state: State) -> State:
        place = (2 * (n % n_steps) + 1) * (0.5 * fine) / n_steps
        left = jnp.floor(place).astype(int)
        share = (place - left).astype(physics.period.dtype)
        inflow, swing = (
            table[left % fine] * (1 - share) + table[(left + 1) % fine] * share
            for table in (physics.inflow, physics.swing)
        )
        return step(grid, physics, tables, state, inflow=inflow, drain=physics.drain + swing, dt=dt)

    def sample(carry: tuple[State, Array, Array], s: Array) -> tuple[tuple[State, Array, Array], tuple[Array, ...]]:
        state, failed_row, failed_sample = carry
        after = one(s * between, state)
        shown = _record(grid, physics, tables, state, after, rows, weights)
        bad = _bad_row(grid, state)
        fresh = (failed_row < 0) & (bad >= 0)
        carry = (
            jax.lax.cond(
                s < n_samples,
                lambda: jax.lax.fori_loop(s * between + 1, (s + 1) * between, one, after),
                lambda: state,
            ),
            jnp.where(fresh, bad, failed_row),
            jnp.where(fresh, s, failed_sample),
        )
        return carry, shown

    none = jnp.full(physics.period.shape, -1)
    start = state._replace(cfl=jnp.zeros_like(state.cfl))
    (state, failed_row, failed_sample), shown = jax.lax.scan(sample, (start, none, none), jnp.arange(n_samples + 1))
    return state, Waves(shown[0], shown[1], shown[2], shown[3], failed_row, failed_sample)


def _bad_row(grid: Grid, state: State) -> Array:
    """Row of the first cell whose state is not finite, -1 if all are."""
    sick = ~(jnp.isfinite(state.area) & jnp.isfinite(state.velocity) & (state.area > 0)) & grid.is_cell[:, None]
    return jnp.where(sick.any(0), jnp.argmax(sick, axis=0), -1)


def _record(
    grid: Grid, physics: Physics, tables: Tables, state: State, after: State, rows: Array, weights: Array
) -> tuple[Array, ...]:
    """Waves at the probes: cells at the beginning of a step, ends as the mean of the star states on its two sides."""
    end_p, end_u = 0.5 * (state.end_pressure + after.end_pressure), 0.5 * (state.end_velocity + after.end_velocity)
    end_flow = tables.end_area * (1 + end_p / tables.end_beta) ** 2 * end_u
    elastic = pressure(physics, state.area) + jnp.asarray(physics.external)[grid.vessel_of_row]
    flow = state.area * state.velocity
    viscous = jnp.zeros_like(flow)
    if grid.viscous.any():
        slope = tables.back * (flow - jnp.roll(flow, 1, 0)) + tables.ahead * (jnp.roll(flow, -1, 0) - flow)
        viscous = -physics.viscous * jnp.sqrt(physics.area / state.area) * slope / tables.dx
    take = weights[:, :, None]
    values = (
        jnp.concatenate(pair)
        for pair in ((elastic, end_p + tables.end_external), (flow, end_flow), (viscous, jnp.zeros_like(end_p)))
    )
    return *((v[rows] * take).sum(1) for v in values), state.capacitor
