r"""As the amplitude goes to zero the non-linear network becomes the linear one, viscous walls or not."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pulsebayes.simulators.network.elimination import plan_elimination
from pulsebayes.simulators.network.geometry import adult_network
from pulsebayes.simulators.network.inflow import flow_coefficients
from pulsebayes.simulators.network.linear import make_tubes, solve_network
from pulsebayes.simulators.network.nonlinear import PeriodicSettings, Physics, Probe, solve_periodic
from pulsebayes.simulators.network.nonlinear.subjects import adult_grid, adult_physics, prepare_adults
from pulsebayes.simulators.network.outlets import make_outlets
from pulsebayes.simulators.network.rhythm import Variability, steady_beat
from pulsebayes.simulators.network.transmission import cut_segments
from pulsebayes.simulators.population import Subject, healthy_subject

LINES, SAMPLES = 80, 512
NODES = {"AorticRoot": (0, 0.0), "Radial": (21, 1.0), "AnteriorTibial": (48, 1.0)}


def adult(viscosity: float) -> Subject:
    subject = healthy_subject(jnp.zeros((1, 7)).at[:, 0].set(40.0))
    return subject._replace(wall_viscosity_factor=jnp.full(1, viscosity))


def linear_response(subject: Subject) -> np.ndarray:
    r"""Pressure over outflow pressure at the nodes [mmHg], from the frequency domain, (K, T)."""
    network = adult_network()
    nodes = tuple(int((network.inlet if share == 0 else network.outlet)[s]) for s, share in NODES.values())
    pieces = cut_segments(network, {})
    plan = plan_elimination(pieces.inlet, pieces.outlet, nodes)
    tubes = make_tubes(subject)
    train = jax.vmap(steady_beat)(subject)
    omega = 2 * jnp.pi * jnp.arange(LINES) / train.period[:, None]
    flow = jax.vmap(lambda s, t: flow_coefficients(s, t, LINES, n_samples=1024))(subject, train)
    outlets = make_outlets(subject, tubes)
    solve = jax.jit(lambda t, o, w, q: solve_network(plan, pieces, t, o, w, q, 0 * q, nodes))
    found = solve(tubes, outlets, omega, flow)
    return np.fft.irfft(np.asarray(found[0]), SAMPLES, axis=-1) * SAMPLES


def scaled_response(subject: Subject, amplitude: float, dx_mm: float) -> np.ndarray:
    r"""The same from the non-linear network with `amplitude` of the flow, over the amplitude."""
    grid = adult_grid(dx_mm)
    zero = jnp.zeros(1)
    variability = Variability(zero + 15.0, zero, zero, zero, zero, zero)
    adults = prepare_adults(subject, variability, jax.vmap(steady_beat)(subject), samples=1024)
    physics, _ = adult_physics(grid, jax.tree.map(np.asarray, adults), healthy=True)
    physics = physics._replace(
        external=0 * physics.external, drain=0 * physics.drain, inflow=amplitude * physics.inflow
    )
    probes = grid.interpolation([Probe(*place) for place in NODES.values()])
    settings = PeriodicSettings(0.02 * amplitude, n_samples=SAMPLES)
    found = solve_periodic(grid, Physics(*map(np.asarray, physics)), probes, settings)
    return (found.waves.pressure + found.waves.viscous)[:-1, :, 0].T / (133.322 * amplitude)


@pytest.mark.parametrize(("viscosity", "tolerance"), [(0.0, 0.006), (1.0, 0.02)])
def test_small_waves_are_those_of_the_linear_network(viscosity: float, tolerance: float) -> None:
    subject = adult(viscosity)
    linear = linear_response(subject)
    swing = np.ptp(linear, axis=1)
    errors = []
    for amplitude in (0.1, 0.001):
        found = scaled_response(subject, amplitude, 10.0)
        print(viscosity, amplitude, np.sqrt(np.mean((found - linear) ** 2, axis=1)) / swing)
        errors.append(np.sqrt(np.mean((found - linear) ** 2, axis=1)) / swing)
    assert errors[1].max() < tolerance  # what is left is the grid, and viscous ends
    assert (errors[0] > 3 * errors[1]).all() or errors[1].max() < tolerance / 2
    assert errors[0].max() < 0.15
