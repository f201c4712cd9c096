r"""Aortic root flow, its coefficients, and the sampling of periodic signals."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pulsebayes.simulators.clinical import CLINICAL, clinical_subject
from pulsebayes.simulators.network.inflow import (
    aortic_flow,
    flow_coefficients,
    inflow_knots,
    venous_coefficients,
    window_samples,
)
from pulsebayes.simulators.network.rhythm import draw_beats, steady_beat
from pulsebayes.simulators.population import healthy_subject

N = 16


@pytest.fixture(scope="module")
def baseline() -> Any:
    return jax.jit(healthy_subject)(jnp.array([25.0, 0, 0, 0, 0, 0, 0]))


def test_flow_of_the_baseline_peaks_at_422_and_falls_to_minus_51_and_nets_66_mL(baseline: Any) -> None:
    train = steady_beat(baseline)
    time = jnp.linspace(0, train.period, 20001)[:-1]
    flow = np.asarray(aortic_flow(baseline, train, time))
    assert flow.max() == pytest.approx(422, abs=0.5)
    assert float(time[flow.argmax()]) == pytest.approx(0.079, abs=2e-4)
    assert flow.min() == pytest.approx(-51, abs=0.5)
    assert flow.mean() * float(train.period) == pytest.approx(66.33, abs=0.02)
    late = np.asarray(time) > 1.0957 * 0.2821
    assert np.abs(flow[late]).max() == 0
    assert -flow[flow < 0].sum() * float(time[1]) == pytest.approx(0.73, abs=0.01)


def test_flow_follows_the_published_knots(baseline: Any) -> None:
    train = steady_beat(baseline)
    rise, fall = (inflow_knots()[name] for name in ("acceleration", "deceleration"))
    ejection = float(train.ejection_time[0])
    time = np.concatenate([0.079 * rise[0], 0.079 + (ejection - 0.079) * fall[0][1:-1]])
    peak = float(aortic_flow(baseline, train, jnp.array([0.079]))[0])
    found = np.asarray(aortic_flow(baseline, train, jnp.asarray(time))) / peak
    np.testing.assert_allclose(found, np.concatenate([rise[1], fall[1][1:-1]]), atol=3e-3)  # 128 intervals a phase


def test_mean_flow_is_exact_whatever_the_grid(baseline: Any) -> None:
    train = steady_beat(baseline)
    for n in (256, 4096):
        q = flow_coefficients(baseline, train, 40, n_samples=n)
        assert complex(q[0]) == pytest.approx(66.33375 * 72.9158 / 60, rel=1e-5)


@pytest.fixture(scope="module")
def trains() -> Any:
    theta = CLINICAL.sample(np.random.default_rng(1), N)

    @jax.jit
    def make(theta: Any) -> Any:
        subject, variability = clinical_subject(theta)
        keys = jax.random.split(jax.random.key(0), N)
        train = jax.vmap(lambda s, v, k: draw_beats(s, v, k, window_s=8.0))(subject, variability, keys)
        flow = jax.vmap(lambda s, t: flow_coefficients(s, t, 256, n_samples=4096))(subject, train)
        time = train.period[:, None] * jnp.arange(4096) / 4096
        return train, flow, jax.vmap(aortic_flow)(subject, train, time).mean(-1)

    return jax.tree.map(np.asarray, make(jnp.asarray(theta, "float32")))


def test_mean_flow_of_a_train_is_its_volume_over_its_period(trains: Any) -> None:
    train, flow, _ = trains
    real = np.arange(32) < np.asarray(train.n_beats)[:, None]
    volume = (np.asarray(train.stroke_volume) * real).sum(1)
    np.testing.assert_allclose(flow[:, 0].real, volume / np.asarray(train.period), rtol=1e-6)


def test_sampling_costs_no_flow_before_the_mean_is_set(trains: Any) -> None:
    _, flow, sampled = trains
    np.testing.assert_allclose(sampled, flow[:, 0].real, rtol=2e-3)


def test_venous_pressure_swings_once_a_breath(trains: Any) -> None:
    train, _, _ = trains
    one = jax.tree.map(lambda a: a[0], train)
    c = np.asarray(venous_coefficients(jnp.asarray(9.0), jnp.asarray(3.0), one, 256))
    wave = np.fft.irfft(c, 2048) * 2048
    assert wave.mean() == pytest.approx(9.0, abs=1e-5)
    assert np.ptp(wave) == pytest.approx(6.0, rel=1e-2)
    assert np.flatnonzero(np.abs(c[1:])).tolist() == [int(one.cycles) - 1]


def test_window_samples_are_the_fourier_sum() -> None:
    rng = np.random.default_rng(0)
    decay = np.exp(-np.arange(256) / 40)
    c = (rng.normal(size=(2, 256)) + 1j * rng.normal(size=(2, 256))) * decay
    time = rng.uniform(0, 30, 100)  # also beyond the period
    angle = 2 * np.pi * np.outer(np.arange(1, 256), time) / 8.0
    exact = c[:, :1].real + 2 * (c[:, 1:] @ np.exp(1j * angle)).real
    found = window_samples(jnp.asarray(c), jnp.asarray(8.0), jnp.asarray(time), oversampling=4096)
    # .023 (2 pi 255/4096)^4 = 5e-4 of the highest line; far less below; single precision in the phase.
    np.testing.assert_allclose(found, exact, atol=2e-3)
