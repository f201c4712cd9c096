"""Reference models: the windkessel's coefficients are those of the closed form, starts are random, maps invert."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pulsebayes.simulators.network.linear import LinearNetwork, make_tubes
from pulsebayes.simulators.network.outlets import make_outlets
from pulsebayes.simulators.normal_scores import from_normal, to_normal
from pulsebayes.simulators.parameters import Parameter, ParameterSpace
from pulsebayes.simulators.priors import Beta
from pulsebayes.simulators.reference import NETWORK_FREE, ReferenceNetwork, ReferenceWindkessel, periodic_wave
from pulsebayes.simulators.windkessel import windkessel_pressure


def test_windkessel_is_the_closed_form():
    model = ReferenceWindkessel(harmonics=200)
    for theta in model.space.sample(np.random.default_rng(0), 4):
        rate, volume, ejection, mean, tau, out = theta
        period = 60 / rate
        resistance = (mean - out) * period / volume
        time = jnp.linspace(0, period, 101)[:-1]
        exact = windkessel_pressure(
            time, resistance=resistance, compliance=tau / resistance, stroke_volume=volume, period=period,
            ejection=1e-3 * ejection, venous_pressure=out,
        )  # fmt: skip
        found = periodic_wave(model.coefficients(jnp.asarray(theta))[1], time / period)
        np.testing.assert_allclose(found, exact, atol=0.02)  # [mmHg]; the series is cut after 200 harmonics


def test_windows_start_anywhere_and_are_the_seeds():
    model = ReferenceWindkessel(duration_s=4.0)
    theta = np.repeat(model.space.sample(np.random.default_rng(0), 1), 3, axis=0)
    one, two = model.simulate(theta, 1), model.simulate(theta, 1)
    np.testing.assert_array_equal(one.waves, two.waves)
    assert np.abs(one.waves[0] - one.waves[1]).max() > 1
    assert (one.status == 0).all()
    np.testing.assert_allclose(one.quantities[:, 1], theta[:, 0] * theta[:, 1] / 1000, rtol=1e-5)


def test_normal_scores_and_back():
    space = ReferenceWindkessel().space
    theta = space.sample(np.random.default_rng(0), 500)
    z = to_normal(space, theta)
    assert np.abs(z.mean(0)).max() < 0.2 and np.abs(z.std(0) - 1).max() < 0.15
    with jax.enable_x64(True):
        back = np.asarray(from_normal(space)(jnp.asarray(z)))
    np.testing.assert_allclose(back, theta, rtol=1e-6, atol=1e-6)
    with pytest.raises(ValueError, match="a must have a uniform"):
        from_normal(ParameterSpace((Parameter("a", "1", 0.0, 1.0, Beta(2.0, 2.0)),)))


def test_network_is_the_steady_beat_of_the_linear_network():
    model = ReferenceNetwork(harmonics=16)
    theta = model.space.sample(np.random.default_rng(1), 2)
    network = LinearNetwork(beat="periodic", sites=("Radial",), n_frequencies=17, n_phases=64)
    whole = np.repeat(model._fixed[0][None], 2, axis=0)
    whole[:, model._fixed[1]] = theta
    expected = network.simulate(whole, 0).waves[:, 0]
    for row, wave in zip(theta, expected, strict=True):
        period, c = model.coefficients(jnp.asarray(row, jnp.float32))
        assert float(period) == pytest.approx(60 / row[0], rel=1e-5)
        np.testing.assert_allclose(periodic_wave(c, jnp.arange(64) / 64), wave, atol=0.05)
    assert model.space.names == NETWORK_FREE


def test_likelihood_has_the_outlets_of_the_simulator():
    model = ReferenceNetwork()
    theta = model.space.sample(np.random.default_rng(0), 64)

    def outlets(whole):
        subject, _ = model._network.subjects(whole)
        return make_outlets(subject, make_tubes(subject)).r1

    simulated = outlets(jnp.asarray(model._whole(theta), jnp.float32))
    jax.clear_caches()  # what is traced at one width cannot be used at the other
    with jax.enable_x64(True):  # as samplers have it
        likely = outlets(jax.vmap(model._completed)(jnp.asarray(theta, jnp.float64)))
    jax.clear_caches()
    np.testing.assert_allclose(simulated, likely, rtol=1e-4)
