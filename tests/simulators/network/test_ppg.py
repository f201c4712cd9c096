r"""Photoplethysmograms: the volume of a bed, against its differential equation, and as the linear network gives it."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

from pulsebayes.simulators.clinical import clinical_subject
from pulsebayes.simulators.network import LinearNetwork, adult_network, make_outlets, make_tubes
from pulsebayes.simulators.network.outlets import Outlets
from pulsebayes.simulators.network.ppg import bed_pressure, scaled_ppg
from pulsebayes.simulators.network.sites import terminal_of


def volume_over_time(
    pressure: np.ndarray, period: float, r1: float, r2: float, compliance: float, outflow: float
) -> np.ndarray:
    r"""Pressure on the compliance by integrating the windkessel's equation until it repeats."""
    n = len(pressure)
    time = period * np.arange(n + 1) / n
    periodic = np.append(pressure, pressure[0])

    def slope(t: float, p: np.ndarray) -> np.ndarray:
        inlet = np.interp(t % period, time, periodic)
        return ((inlet - p) / r1 - (p - outflow) / r2) / compliance

    state = np.array([pressure.mean() * r2 / (r1 + r2) + outflow * r1 / (r1 + r2)])
    beats = int(np.ceil(12 * r1 * r2 / (r1 + r2) * compliance / period)) + 1  # e^-12 of the start is left
    for _ in range(beats):
        state = solve_ivp(slope, (0, period), state, rtol=1e-7, atol=1e-7, max_step=period / 200).y[:, -1]
    return solve_ivp(slope, (0, period), state, t_eval=time[:-1], rtol=1e-7, atol=1e-7, max_step=period / 200).y[0]


def test_the_bed_obeys_its_differential_equation() -> None:
    n, period = 512, 0.8
    phase = 2 * np.pi * np.arange(n) / n
    pressure = 90 + 20 * np.sin(phase) + 8 * np.cos(3 * phase)
    one = jnp.ones((1, 1))
    bed = Outlets(2.0 * one, 11.0 * one, 0.05 * one, one[0] > 2)
    lines = jnp.asarray(np.fft.rfft(pressure)[None, :40] / n)
    drain = jnp.zeros_like(lines).at[:, 0].set(25.0)
    found = bed_pressure(bed, 0, 2 * jnp.pi * jnp.arange(40)[None] / period, lines, drain)
    expected = volume_over_time(pressure, period, 2.0, 11.0, 0.05, 25.0)
    np.testing.assert_allclose(np.fft.irfft(np.asarray(found[0]), n) * n, expected, atol=2e-3)  # single precision


def test_the_finger_is_the_bed_behind_the_digital_artery() -> None:
    simulator = LinearNetwork(beat="periodic", sites=("Digital", "Digital:ppg"), n_phases=512)
    theta = simulator.space.sample(np.random.default_rng(2), 2)
    theta[:, simulator.space.names.index("venous_swing")] = 0.0
    waves = simulator.simulate(theta, seed=1).waves
    subject, _ = clinical_subject(jnp.asarray(theta, "float32"))
    outlets = make_outlets(subject, make_tubes(subject))
    k = terminal_of(adult_network(), "Digital")
    for i, (pressure, ppg) in enumerate(waves):
        bed = [float(field[k, i]) for field in outlets[:3]]
        volume = volume_over_time(
            pressure.astype(float), 60 / float(subject.heart_rate[i]), *bed, float(subject.outflow_pressure[i])
        )
        expected = scaled_ppg(volume, rotate=True)
        lines, wanted = (np.abs(np.fft.rfft(wave))[1:60] / 256 for wave in (ppg, expected))
        np.testing.assert_allclose(lines, wanted, atol=2e-3)  # magnitudes, for either may begin a sample earlier


def test_windows_are_scaled_and_leave_pressures_as_they_are() -> None:
    both = LinearNetwork(sites=("Radial", "Digital:ppg"))
    theta = both.space.sample(np.random.default_rng(3), 8)
    rows, alone = both.simulate(theta, seed=5), LinearNetwork(sites=("Radial", "Digital")).simulate(theta, seed=5)
    np.testing.assert_allclose(rows.waves[:, 0], alone.waves[:, 0], rtol=1e-4)
    np.testing.assert_array_equal(rows.status, alone.status)
    np.testing.assert_allclose(rows.waves[:, 1].min(-1), 0.0, atol=1e-6)
    np.testing.assert_allclose(rows.waves[:, 1].max(-1), 1.0, atol=1e-6)
    pairs = zip(rows.waves[:, 1], alone.waves[:, 1], strict=True)
    likeness = [np.corrcoef(ppg[6:], pressure[:-6])[0, 1] for ppg, pressure in pairs]
    assert np.median(likeness) > 0.9  # blood fills the bed some 50 ms after the pressure has come


def test_units_tell_a_photoplethysmogram_from_a_pressure() -> None:
    assert LinearNetwork(sites=("Digital:ppg",)).units["waves"] == "1"
    assert LinearNetwork(sites=("Radial", "Digital:ppg")).units["waves"] == "mmHg"


@pytest.mark.parametrize("site", ["Radial:velocity", "Toe:ppg"])
def test_a_site_or_signal_that_is_not_there_is_refused(site: str) -> None:
    with pytest.raises(ValueError, match=f"got '{site}'"):
        LinearNetwork(sites=(site,))
