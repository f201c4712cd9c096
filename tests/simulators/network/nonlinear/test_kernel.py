r"""The compiled kernel is the JAX scheme: same states, same waves, in both precisions."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest

from pulsebayes.simulators.network.files import load_network
from pulsebayes.simulators.network.model import NetworkModel
from pulsebayes.simulators.network.nonlinear import Grid, Physics, Probe, make_grid, model_physics
from pulsebayes.simulators.network.nonlinear.cycle import Waves, jax_cycle
from pulsebayes.simulators.network.nonlinear.packing import kernel_cycle
from pulsebayes.simulators.network.nonlinear.physics import stack_physics
from pulsebayes.simulators.network.nonlinear.scheme import State, initial_state


def viscous(model: NetworkModel) -> NetworkModel:
    vessels = tuple(dataclasses.replace(v, wall_viscosity=(600.0, 150.0)) for v in model.vessels)
    return dataclasses.replace(model, vessels=vessels)


def setting(model: NetworkModel, dtype: type, batch: int = 2) -> tuple[Grid, Physics, State]:
    grid = make_grid(model, dx_mm=20.0)
    physics = stack_physics([model_physics(model, grid)] * batch)
    physics = physics._replace(beta=physics.beta * np.linspace(1, 1.2, batch), inflow=physics.inflow * 0.9)
    physics = Physics(*(a.astype(dtype) for a in physics))
    start = np.full(batch, 1.2e4, dtype)
    state = initial_state(grid, physics, start, np.full((len(model.outlets), batch), 1.1e4, dtype))
    return grid, physics, State(*(np.asarray(a, dtype) for a in state))


@pytest.mark.parametrize("junction", ["static", "total"])
@pytest.mark.parametrize("wall", ["elastic", "viscous"])
def test_kernel_and_jax_agree_to_rounding(junction: str, wall: str) -> None:
    model = dataclasses.replace(load_network("adan56"), junction=junction)
    grid, physics, state = setting(viscous(model) if wall == "viscous" else model, np.float64)
    probes = grid.interpolation([Probe(v, s) for v in (0, 5, 40) for s in (0.0, 0.3, 1.0)])
    assert 1 in grid.cells  # one-cell vessels have a rule of their own
    with jax.enable_x64(True):
        one = jax_cycle(grid, physics, state, probes, n_steps=2000, n_samples=20)
    two = kernel_cycle(grid, physics, state, probes, n_steps=2000, n_samples=20)
    for a, b in ((one[0], two[0]), (one[1], two[1])):
        for name in a._fields:
            if name == "cfl":  # the kernel looks at samples only
                continue
            x, y = np.asarray(getattr(a, name)), np.asarray(getattr(b, name))
            np.testing.assert_allclose(y, x, rtol=0, atol=1e-10 * max(np.abs(x).max(), 1e-30), err_msg=name)


@pytest.mark.parametrize("wall", ["elastic", "viscous"])
def test_single_precision_suffices(wall: str) -> None:
    model = load_network("adan56")
    waves = []
    for dtype in (np.float32, np.float64):
        grid, physics, state = setting(viscous(model) if wall == "viscous" else model, dtype)
        probes = grid.interpolation([Probe(v, 0.5) for v in range(len(model.vessels))])
        waves.append(kernel_cycle(grid, physics, state, probes, n_steps=2000, n_samples=100)[1].pressure)
    error = np.sqrt(np.mean((waves[0] - waves[1]) ** 2, axis=0)) / waves[1].mean(0)
    assert error.max() < 5e-5


def test_steps_are_a_multiple_of_samples() -> None:
    grid, physics, state = setting(load_network("common-carotid"), np.float64)
    with pytest.raises(ValueError, match="n_steps must be a multiple of n_samples = 7, got 100"):
        kernel_cycle(grid, physics, state, grid.interpolation([Probe(0, 0.5)]), n_steps=100, n_samples=7)


def test_a_failure_names_row_and_sample() -> None:
    grid, physics, state = setting(load_network("common-carotid"), np.float64)
    probes = grid.interpolation([Probe(0, 0.5)])
    area = np.array(state.area)
    area[3, 1] = -1.0
    _, waves = kernel_cycle(grid, physics, state._replace(area=area), probes, n_steps=1000, n_samples=10)
    assert waves.failed_row.tolist() == [-1, 3]
    assert waves.failed_sample.tolist() == [-1, 0]
    with jax.enable_x64(True):
        _, same = jax_cycle(grid, physics, state._replace(area=area), probes, n_steps=1000, n_samples=10)
    assert isinstance(same, Waves)
    assert np.asarray(same.failed_row).tolist() == [-1, 3]
