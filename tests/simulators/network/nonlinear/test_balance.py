r"""What the scheme keeps: rest at every pressure on every cone, volume, and energy but for what friction takes."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from pulsebayes.simulators.network.files import load_network
from pulsebayes.simulators.network.model import InflowWave, NetworkModel, Outlet, Vessel
from pulsebayes.simulators.network.nonlinear import Physics, Probe, make_grid, model_physics, solve_model
from pulsebayes.simulators.network.nonlinear.packing import kernel_cycle
from pulsebayes.simulators.network.nonlinear.scheme import State, initial_state
from pulsebayes.simulators.network.nonlinear.solution import POSITIONS


def cones() -> NetworkModel:
    r"""A tapering parent, two tapering daughters and a loop, with walls that differ."""
    wave = InflowWave("a", np.array([0.0, 0.5, 1.0]), np.zeros(3))
    vessels = (
        Vessel("parent", "a", "b", 100.0, 12.0, 7.0, young_kPa=300.0),
        Vessel("left", "b", "c", 80.0, 6.0, 3.0, young_kPa=500.0),
        Vessel("right", "b", "c", 4.0, 5.0, 6.0, young_kPa=200.0),
        Vessel("end", "c", "d", 60.0, 5.0, 2.0, stiffness_kPa=(300.0, 60.0)),
    )
    return NetworkModel("cones", vessels, (Outlet("d", 1.0, 10.0, 0.1),), wave)


@pytest.mark.parametrize("pressure_mmHg", [-5.0, 0.0, 80.0, 200.0])
def test_rest_stays_at_rest_on_a_cone_at_any_pressure(pressure_mmHg: float) -> None:
    level = pressure_mmHg * 133.322
    model = cones()
    grid = make_grid(model, dx_mm=10.0)
    physics = model_physics(model, grid)._replace(drain=np.full((1, 1), level))
    state = initial_state(grid, physics, np.array([level]), np.array([[level]]))
    probes = grid.interpolation([Probe(v, s) for v in range(4) for s in POSITIONS])
    _, waves = kernel_cycle(grid, physics, State(*map(np.asarray, state)), probes, n_steps=4000, n_samples=10)
    assert np.abs(waves.flow).max() < 1e-12  # m3/s: a millionth of a millilitre a second
    assert np.abs(waves.pressure - level).max() < 1e-5 * 133.322


def test_volume_is_kept_to_rounding() -> None:
    model = load_network("adan56")
    grid = make_grid(model, dx_mm=20.0)
    physics = Physics(*(a.astype(np.float64) for a in model_physics(model, grid)))
    n = len(model.outlets)
    state = initial_state(grid, physics, np.array([1.3e4]), np.full((n, 1), 1.2e4))
    probes = grid.interpolation([Probe(0, 0.0), *(Probe(e // 2, 1.0) for e in grid.drains)])
    n_steps = 2500
    after, waves = kernel_cycle(grid, physics, state, probes, n_steps=n_steps, n_samples=n_steps)
    volume = [float((s.area * physics.dx[grid.vessel_of_row])[grid.is_cell].sum()) for s in (state, after)]
    flow = 0.5 * (waves.flow[1:] + waves.flow[:-1])[:, :, 0]  # means of star states: not the stars themselves
    inside = float((flow[:, 0] - flow[:, 1:].sum(1)).sum() * physics.period[0] / n_steps)
    stroke = float(physics.inflow.mean() * physics.period[0])
    assert abs(volume[1] - volume[0] - inside) < 2e-4 * stroke


@pytest.mark.parametrize("name", ["common-carotid", "aortic-bifurcation", "adan56"])
def test_mean_outflow_is_mean_inflow(name: str) -> None:
    assert abs(solve_model(load_network(name), dx_mm=20.0, samples=100).mass_balance) < 1e-3


def test_energy_in_is_energy_out_plus_friction() -> None:
    model = dataclasses.replace(load_network("aortic-bifurcation"), junction="total")
    lost = []
    for viscosity in (0.004, 0.0):
        solution = solve_model(
            dataclasses.replace(model, viscosity=viscosity), dx_mm=2.0, samples=1000, tolerance_mmHg=0.005
        )
        head = 133.322 * solution.pressure + 0.5 * model.density * (0.01 * solution.velocity) ** 2
        power = (head * 1e-6 * solution.flow)[..., :-1].mean(-1)
        lost.append((power[0, 0] - power[1, -1] - power[2, -1]) / power[0, 0])
        junction = power[0, -1] - power[1, 0] - power[2, 0]
        assert abs(junction) < 2e-4 * power[0, 0]
    assert 0.003 < lost[0] < 0.05
    assert abs(lost[1]) < 5e-4  # numerical dissipation at 2 mm cells
