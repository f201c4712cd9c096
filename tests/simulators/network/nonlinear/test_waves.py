r"""Closed forms: speed of a small pulse, its reflection at a fork, and the transients of all three outlets."""

from __future__ import annotations

import numpy as np
import pytest

from pulsebayes.simulators.network.model import InflowWave, NetworkModel, Outlet, Vessel, impedance
from pulsebayes.simulators.network.nonlinear import Probe, make_grid, model_physics
from pulsebayes.simulators.network.nonlinear.packing import kernel_cycle
from pulsebayes.simulators.network.nonlinear.scheme import State, initial_state

MMHG = 133.322


def transient(model: NetworkModel, probes: list[Probe], *, dx_mm: float, n_steps: int, n_samples: int):  # type: ignore[no-untyped-def]
    r"""Pressure [mmHg] and flow [mL/s] at probes over one period from rest at zero pressure."""
    grid = make_grid(model, dx_mm=dx_mm)
    physics = model_physics(model, grid)
    state = initial_state(grid, physics, np.zeros(1), np.zeros((len(model.outlets), 1)))
    after, waves = kernel_cycle(
        grid, physics, State(*map(np.asarray, state)), grid.interpolation(probes), n_steps=n_steps, n_samples=n_samples
    )
    assert after.cfl[0] < 0.95
    return waves.pressure[:, :, 0] / MMHG, 1e6 * waves.flow[:, :, 0]


def pulse(period: float, width: float) -> InflowWave:
    time = np.linspace(0, period, 2001)
    return InflowWave("a", time, 0.1 * np.exp(-(((time - 4 * width) / width) ** 2)))


def fork(radius: float) -> NetworkModel:
    r"""A parent and two equal daughters, viscosity zero, ends matched so that nothing comes back from them."""
    vessels = (
        Vessel("parent", "a", "b", 1000.0, 8.0, 8.0, stiffness_kPa=(0.0, 60.0)),
        Vessel("left", "b", "c", 800.0, radius, radius, stiffness_kPa=(0.0, 90.0)),
        Vessel("right", "b", "d", 800.0, radius, radius, stiffness_kPa=(0.0, 90.0)),
    )
    model = NetworkModel("fork", vessels, (Outlet("c", 1.0), Outlet("d", 1.0)), pulse(0.3, 0.01), viscosity=0.0)
    z = impedance(model, vessels[1])
    return NetworkModel("fork", vessels, (Outlet("c", z), Outlet("d", z)), model.inflow, viscosity=0.0)


def test_a_small_pulse_travels_at_the_wave_speed() -> None:
    model = fork(5.0)
    pressure, _ = transient(model, [Probe(0, 0.2), Probe(0, 0.7)], dx_mm=5.0, n_steps=3000, n_samples=3000)
    time = np.linspace(0, 0.3, 3001)
    first = time < 0.2  # before anything comes back
    moments = [np.sum((time * wave**2)[first]) / np.sum((wave**2)[first]) for wave in pressure.T]
    expected = np.sqrt((2 / 3) * 60.0e3 / 1060.0)
    assert 0.5 / (moments[1] - moments[0]) == pytest.approx(expected, rel=0.003)


@pytest.mark.parametrize("radius", [4.0, 6.0, 8.0])
def test_a_fork_reflects_as_its_admittances_say(radius: float) -> None:
    model = fork(radius)
    parent, daughter = (1 / impedance(model, model.vessels[i]) for i in (0, 1))
    expected = (parent - 2 * daughter) / (parent + 2 * daughter)
    pressure, _ = transient(model, [Probe(0, 0.5), Probe(1, 0.2)], dx_mm=5.0, n_steps=3000, n_samples=3000)
    time = np.linspace(0, 0.3, 3001)
    there = np.abs(pressure[:, 0]) * (time < 0.165)
    back = pressure[:, 0] * ((time > 0.165) & (time < 0.3))
    reflected = back[np.argmax(np.abs(back))] / there.max()
    assert reflected == pytest.approx(expected, abs=0.012)
    assert pressure[:, 1].max() / there.max() == pytest.approx(1 + expected, abs=0.015)


@pytest.mark.parametrize("kind", ["R1-C-R2", "R1-C", "R1"])
def test_outlets_fill_as_their_closed_forms(kind: str) -> None:
    outlet = {"R1-C-R2": Outlet("b", 0.1, 1.0, 0.2), "R1-C": Outlet("b", 1.1, 0.0, 0.2), "R1": Outlet("b", 1.1)}[kind]
    vessel = Vessel("short", "a", "b", 10.0, 10.0, 10.0, stiffness_kPa=(0.0, 5000.0))
    wave = InflowWave("a", np.array([0.0, 0.5, 1.0]), np.array([50.0, 50.0, 50.0]))
    model = NetworkModel("short", (vessel,), (outlet,), wave, viscosity=0.0)
    pressure, flow = transient(model, [Probe(0, 0.0), Probe(0, 1.0)], dx_mm=5.0, n_steps=20000, n_samples=200)
    time = np.linspace(0, 1.0, 201)
    matched = impedance(model, vessel)
    r1, r2 = {"R1-C-R2": (0.1, 1.0), "R1-C": (min(matched, 0.55), 1.1 - min(matched, 0.55)), "R1": (1.1, 0.0)}[kind]
    rate = 1 / (r2 * outlet.compliance) if r2 else np.inf
    expected = 50.0 * (r1 + r2 * -np.expm1(-time * rate)) if r2 else np.full(201, 55.0)
    assert kind == outlet.kind
    np.testing.assert_allclose(pressure[20:, 1], expected[20:], rtol=0.004)
    np.testing.assert_allclose(flow[40:, 1], 50.0, rtol=0.004)
