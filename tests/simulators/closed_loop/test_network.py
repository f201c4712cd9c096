r"""The loop drives the network: what the valve feels is what the network answers, and load changes what is ejected."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pulsebayes.simulators.clinical import CLINICAL
from pulsebayes.simulators.closed_loop.network import Driven, HeartNetwork
from pulsebayes.simulators.closed_loop.simulator import UNITS, loop_quantities
from pulsebayes.simulators.network.linear import LinearNetwork
from pulsebayes.simulators.registry import Simulated
from pulsebayes.simulators.status import NOT_PERIODIC, OK

SITES = ("AorticRoot", "Radial", "LV", "AorticRoot:flow")


@pytest.fixture(scope="module")
def simulator() -> HeartNetwork:
    return HeartNetwork(beat="periodic", sites=SITES, n_steps=256, n_harmonics=32)


@pytest.fixture(scope="module")
def rows(simulator: HeartNetwork) -> np.ndarray:
    r"""The median; more resistance; stiffer arteries; a weak heart; draws of the prior."""
    q = np.random.default_rng(2).random((16, simulator.space.dim))
    q[:4] = 0.5
    theta = simulator.space.sample_quantiles(q)
    for row, name, value in ((1, "mean_pressure", 120.0), (2, "wave_speed_deviation", 2.5), (3, "lv_elastance", 1.0)):
        theta[row, simulator.space.index(name)] = value
    return np.asarray(theta)


@pytest.fixture(scope="module")
def driven(simulator: HeartNetwork, rows: np.ndarray) -> Driven:
    return simulator.solve(rows)


@pytest.fixture(scope="module")
def adults(driven: Driven) -> list[dict[str, float]]:
    table: Any = loop_quantities(driven.circuit, driven.found.beat, driven.pressure()[:, 0])
    return [dict(zip(UNITS, row, strict=True)) for row in np.asarray(table).tolist()]


def test_the_valve_feels_what_the_network_answers(driven: Driven) -> None:
    assert float(driven.disagreement().max()) < 0.1  # [mmHg], of pulses of 20 to 80
    assert int(driven.found.beats.max()) <= 25 and float(driven.found.volume_change.max()) < 0.03


def test_mean_pressure_is_mean_flow_times_the_network_s_resistance(driven: Driven) -> None:
    flow = np.asarray(driven.found.beat.flow[:, 1]).mean(0)
    expected = np.asarray(driven.impedance[:, 0, 0].real) * flow + np.asarray(driven.circuit.closing)
    np.testing.assert_allclose(np.asarray(driven.pressure()[:, 0]).mean(0), expected, atol=0.1)


def test_load_and_heart_hang_together(adults: list[dict[str, float]]) -> None:
    rest, loaded, stiff, weak = adults[:4]
    assert loaded["MAP"] > rest["MAP"] + 5 and loaded["SV"] < rest["SV"] - 3
    assert loaded["LVET"] < rest["LVET"]
    assert stiff["SBP"] - stiff["DBP"] > rest["SBP"] - rest["DBP"] + 15
    assert stiff["EDV"] > rest["EDV"]  # blood that stiff arteries do not hold fills the heart
    assert weak["SV"] < rest["SV"] - 10 and weak["ESV"] > rest["ESV"] + 15 and weak["EF"] < rest["EF"]


@pytest.mark.slow
def test_the_impedance_is_that_of_the_linear_network(driven: Driven) -> None:
    import jax

    from pulsebayes.simulators.network.inflow import flow_coefficients
    from pulsebayes.simulators.network.rhythm import steady_beat

    theta = CLINICAL.sample_quantiles(
        np.full((1, CLINICAL.dim), 0.5)
    )  # as the first row, but with an inflow of its own
    theta[0, CLINICAL.index("venous_swing")] = 0.0
    found = LinearNetwork(beat="periodic", sites=("Radial",), n_frequencies=33, n_phases=128).simulate(theta, 0)
    adult = jax.tree.map(lambda x: x[0], driven.subject)
    beat = steady_beat(adult)
    flow = jax.jit(lambda s, t: flow_coefficients(s, t, 33, n_samples=4096))(adult, beat)
    assert float(beat.period) == pytest.approx(float(driven.circuit.period[0]))  # the same harmonics
    lines = np.asarray(driven.impedance[0, 1]) * np.asarray(flow)
    wave = np.fft.irfft(lines, 128) * 128 + float(adult.outflow_pressure)
    assert np.abs(found.waves[0, 0] - wave).max() < 0.1


def test_rows_come_as_from_every_simulator(simulator: HeartNetwork, rows: np.ndarray) -> None:
    found: Simulated = simulator.simulate(rows, 0)
    assert found.waves.shape == (16, 4, 256) and found.quantities.shape == (16, len(UNITS) + 1)
    assert (found.status == OK).mean() > 0.8
    root, radial, ventricle, flow = found.waves[0].astype(float)
    assert np.ptp(radial) > np.ptp(root)  # the pulse grows on its way
    assert flow.min() >= 0 and np.abs(ventricle - root)[flow > 50].mean() < 12.0
    assert radial.mean() < root.mean()


def test_bad_input_is_told(rows: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"a site must be an artery .* got 'Wrist'"):
        HeartNetwork(sites=("Wrist",))
    with pytest.raises(ValueError, match=r"got 'Digital:ppg'"):
        HeartNetwork(sites=("Digital:ppg",))
    with pytest.raises(ValueError, match=r"n_harmonics must lie in 2\.\.255, got 300"):
        HeartNetwork(n_harmonics=300)
    with pytest.raises(ValueError, match="beat must be one of repeated, periodic, got 'aperiodic'"):
        HeartNetwork(beat="aperiodic")
    with pytest.raises(ValueError, match=r"theta must have shape \(N, 35\), got \(2, 3\)"):
        HeartNetwork().simulate(np.ones((2, 3)), 0)


@pytest.mark.slow
def test_a_row_that_needs_more_beats_says_so(rows: np.ndarray) -> None:
    hurried = HeartNetwork(beat="periodic", n_steps=64, n_harmonics=16, max_beats=1).simulate(rows[:4], 0)
    assert (hurried.status == NOT_PERIODIC).all()
