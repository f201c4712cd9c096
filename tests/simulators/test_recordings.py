"""Simulated recordings: what stays, what moves, and that each window alone is distributed as the prior."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pulsebayes.simulators.line_artefacts import Flush
from pulsebayes.simulators.network.linear import LinearNetwork
from pulsebayes.simulators.recorded import SensorChanges, SolvedRecordings, record
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


def test_each_recording_may_have_a_liveliness_of_its_own() -> None:
    simulator, time_s = LinearNetwork(), np.repeat(np.arange(20)[None] * 60.0, 2, axis=0)
    course = draw_courses(simulator, np.random.default_rng(6), time_s, liveliness=np.array([0.0, 1.0]))
    within = course.theta.std(1)[:, simulator.space.index("heart_rate")]
    assert within[0] < 1e-9 < within[1]


def _flat(n: int) -> SolvedRecordings:
    """Patients of 90 mmHg and no pulse, ten windows of a minute each."""
    ones = np.ones((n, 10))
    waves = np.full((n, 10, 1188), 90.0, np.float32)
    return SolvedRecordings(waves, ones[..., None], ones, ones[:, 0], ones.astype(np.uint8), 60.0 * ones.cumsum(1))


def test_a_new_zero_corrects_a_slip_and_its_step_is_told() -> None:
    sensor = replace(SensorModel.radial_line(), flush=Flush(share=0.0))
    changes = SensorChanges(share=1.0, slip=8.0)
    made = record(_flat(400), sensor, np.random.default_rng(0), fs=125.0, changes=changes)
    assert bool(np.isfinite(made.change_s).all())
    offset = made.waves.mean(-1) - 90.0
    later = made.time_s >= made.change_s[:, None]
    both = later.any(1) & ~later.all(1)
    told = np.array([row[late].mean() - row[~late].mean() for row, late in zip(offset[both], later[both], strict=True)])
    np.testing.assert_allclose(told, made.step_mmhg[both], atol=4.0)  # gain, drift and respiration
    zeroed = made.step_mmhg != 0
    assert 0.5 < zeroed.mean() < 0.8  # a line, a zero or both
    assert np.std(made.step_mmhg[zeroed]) > 3 * sensor.offset.sd
    assert 0.5 < made.relined.mean() < 0.8


def test_some_windows_hold_a_flush_where_the_sensor_has_them() -> None:
    for share in (0.0, 0.2):
        sensor = replace(SensorModel(), flush=Flush(share=share))
        made = record(_flat(60), sensor, np.random.default_rng(0), fs=125.0)
        flushed = float((made.waves.max(-1) > 180).mean())
        assert abs(flushed - share) < 0.06


def test_impossible_changes_are_refused() -> None:
    with pytest.raises(ValueError, match="share"):
        SensorChanges(share=1.2)
    with pytest.raises(ValueError, match="slip"):
        SensorChanges(slip=0.5)


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
