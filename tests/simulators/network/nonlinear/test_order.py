r"""A manufactured solution on a cone: second order in space and time, at every Courant number, capacitor included.

$\sqrt{A/A_0}$ and $u$ are travelling sines; their sources come from automatic differentiation, the inlet's flow and the
pressure behind a windkessel at the outlet from the solution itself.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pulsebayes.simulators.network.model import InflowWave, NetworkModel, Outlet, Vessel
from pulsebayes.simulators.network.nonlinear import make_grid, model_physics
from pulsebayes.simulators.network.nonlinear.scheme import Forcing, State, make_tables, step

LENGTH, DENSITY, VISCOSITY = 0.4, 1060.0, 0.02
R1, R2, C = 1.0e7, 1.0e8, 2.0e-10
WAVE, SPEED, END = 2 * np.pi / 0.3, 6.0, 0.04


def cone() -> NetworkModel:
    wave = InflowWave("a", np.array([0.0, 1.0]), np.zeros(2))
    vessel = Vessel("cone", "a", "b", 1e3 * LENGTH, 12.0, 8.0, stiffness_kPa=(0.0, 60.0))
    return NetworkModel(
        "cone", (vessel,), (Outlet("b", R1 / 133322000.0, R2 / 133322000.0, C * 133322000.0),), wave, DENSITY, VISCOSITY
    )


def rest_area(x):  # type: ignore[no-untyped-def]
    return jnp.pi * (0.012 - 0.004 * x / LENGTH) ** 2


BETA = 4 / 3 * 60.0e3


def stretch(x, t):  # type: ignore[no-untyped-def]
    return 1.05 + 0.03 * jnp.sin(WAVE * (x - SPEED * t))


def speed(x, t):  # type: ignore[no-untyped-def]
    return 0.3 + 0.2 * jnp.cos(WAVE * (x - SPEED * t) + 0.5)


def area(x, t):  # type: ignore[no-untyped-def]
    return rest_area(x) * stretch(x, t) ** 2


def held(t):  # type: ignore[no-untyped-def]
    return BETA * (stretch(LENGTH, t) - 1) - R1 * area(LENGTH, t) * speed(LENGTH, t)


def sources(x, t):  # type: ignore[no-untyped-def]
    flow = jax.grad(lambda y: area(y, t) * speed(y, t))(x)
    head = jax.grad(lambda y: speed(y, t) ** 2 / 2 + BETA * (stretch(y, t) - 1) / DENSITY)(x)
    drag = 8 * np.pi * VISCOSITY / DENSITY * speed(x, t) / area(x, t)
    return jax.grad(area, 1)(x, t) + flow, jax.grad(speed, 1)(x, t) + head + drag


def error(n_cells: int, n_steps: int) -> np.ndarray:
    r"""RMS of numerical less exact velocity and stretch at the end, and the capacitor's error [Pa]."""
    with jax.enable_x64(True):
        grid = make_grid(cone(), dx_mm=1e3 * LENGTH / n_cells)
        physics = model_physics(cone(), grid)
        tables = make_tables(grid, physics)
        x = np.array(grid.share_of_row * LENGTH)
        dt = np.array([END / n_steps])
        ends = np.array([0.0, LENGTH])
        state = State(
            np.array(area(x, 0.0))[:, None], np.where(grid.is_cell, speed(x, 0.0), 0)[:, None], np.full((1, 1),
            held(0.0)), (BETA * (np.array(stretch(ends, 0.0)) - 1))[:, None], np.array(speed(ends, 0.0))[:, None],
            np.zeros(1),
        )  # fmt: skip

        def one(i, state):  # type: ignore[no-untyped-def]
            t = (i + 0.5) * dt[0]
            force = jax.vmap(partial(sources, t=t))(jnp.asarray(x))
            out = area(LENGTH, t) * speed(LENGTH, t)
            drain = jnp.reshape(held(t) - R2 * (out - C * jax.grad(held)(t)), (1, 1))
            inflow = jnp.asarray([area(0.0, t) * speed(0.0, t)])
            forcing = Forcing(force[0][:, None], force[1][:, None])
            return step(grid, physics, tables, state, inflow=inflow, drain=drain, dt=dt, forcing=forcing)

        state = jax.jit(lambda s: jax.lax.fori_loop(0, n_steps, one, s))(state)
        cells = grid.is_cell
        wall = np.sqrt(np.asarray(state.area)[cells, 0] / physics.area[cells, 0]) - np.asarray(stretch(x[cells], END))
        flow = np.asarray(state.velocity)[cells, 0] - np.asarray(speed(x[cells], END))
        kept = float(state.capacitor[0, 0]) - float(held(END))
        return np.array([np.sqrt(np.mean(flow**2)), np.sqrt(np.mean(wall**2)), abs(kept)])


@pytest.mark.parametrize("steps_per_cell", [1.05, 3.0])
def test_second_order_in_space_and_time(steps_per_cell: float) -> None:
    found = np.array([error(n, round(steps_per_cell * n)) for n in (40, 80, 160)])
    rates = np.log2(found[:-1] / found[1:])
    assert rates[-1, :2] == pytest.approx([2.0, 2.0], abs=0.15)
    assert found[-1, 2] < 0.2  # Pa, of 10,000
    assert found[-1, 0] < 2e-4  # m/s, of .5
    assert found[-1, 1] < 1e-5
