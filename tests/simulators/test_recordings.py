"""Simulated recordings: what stays, what moves, and that each window alone is distributed as the prior."""

from __future__ import annotations

import numpy as np
import pytest

from pulsebayes.simulators.network.linear import LinearNetwork
from pulsebayes.simulators.recordings import EVENTS, draw_courses, simulate_recordings, spread_times
from pulsebayes.simulators.sensors import SensorModel


def test_every_window_alone_is_nearly_a_draw_of_the_prior() -> None:
    simulator = LinearNetwork()
    rng = np.random.default_rng(0)
    course = draw_courses(simulator, rng, spread_times(rng, 1500, 3))
    u = simulator.space.quantiles(course.theta[:, 1])
    grid = np.linspace(0.05, 0.95, 19)
    worst = np.abs((u[:, None, :] <= grid[None, :, None]).mean(0) - grid[:, None]).max(0)
    assert worst.max() < 0.06  # the 99.9 % band of 27 exact columns is .050


def test_geometry_stays_and_the_heart_moves() -> None:
    simulator = LinearNetwork()
    rng = np.random.default_rng(1)
    course = draw_courses(simulator, rng, spread_times(rng, 20, 30))
    within = course.theta.std(1).mean(0)
    for name in ("age", "height", "wave_speed_deviation", "diameter_deviation"):
        assert within[simulator.space.index(name)] < 1e-9
    for name in ("heart_rate", "mean_pressure", "bed_compliance"):
        assert within[simulator.space.index(name)] > 0


def test_compliance_at_the_reference_stays_while_pressure_moves() -> None:
    simulator = LinearNetwork(duration_s=9.0, n_frequencies=40, sites=("Radial",))
    course = draw_courses(simulator, np.random.default_rng(2), np.arange(8)[None] * 900.0)
    made = simulate_recordings(simulator, course, site="Radial", sensor=SensorModel.radial_line(), seed=3)
    names = simulator.quantity_names
    moving = made.quantities[0, :, names.index("C")]
    assert np.ptp(np.log(made.compliance[0])) < np.ptp(np.log(moving)) / 2
    pressure = made.quantities[0, :, names.index("MAP")]
    assert np.corrcoef(np.log(pressure), np.log(moving))[0, 1] < -0.5  # stiffer as pressure rises
    assert np.isfinite(made.waves).all()


def test_the_sensor_stays_unless_it_changes() -> None:
    """The same heart beating through the same sensor: a changed line or zero is the only thing that jumps."""
    simulator = LinearNetwork(duration_s=9.0, n_frequencies=40, sites=("Radial",))
    time_s = np.repeat(np.arange(6)[None] * 60.0, 24, axis=0)
    course = draw_courses(simulator, np.random.default_rng(4), time_s, liveliness=0.0)
    made = simulate_recordings(simulator, course, site="Radial", sensor=SensorModel.radial_line(), seed=5)
    true = made.quantities[..., simulator.quantity_names.index("MAP")]
    apart = (made.waves.mean(-1) - true).std(1)
    changed = np.isfinite(made.change_s)
    assert 0 < changed.sum() < 24
    assert np.median(apart[~changed]) < np.median(apart[changed])


def test_events_move_only_parameters_of_the_population() -> None:
    names = set(LinearNetwork().space.names)
    assert all(set(directions) <= names for directions in EVENTS.values())


def test_bad_courses_are_refused() -> None:
    simulator = LinearNetwork()
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="rise"):
        draw_courses(simulator, rng, np.array([[8.0, 0.0]]))
    with pytest.raises(ValueError, match="liveliness"):
        draw_courses(simulator, rng, np.array([[0.0, 8.0]]), liveliness=3.0)
    course = draw_courses(simulator, rng, np.array([[0.0, 8.0]]))
    with pytest.raises(ValueError, match="site"):
        simulate_recordings(simulator, course, site="Nose", sensor=SensorModel.radial_line(), seed=0)
