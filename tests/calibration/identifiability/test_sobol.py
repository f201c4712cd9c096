r"""Sobol's indices: functions whose indices are known, failed rows, and quantities from given data."""

from __future__ import annotations

import numpy as np
import pytest

from pulsebayes.calibration.identifiability.noise import noise_reach, scale_noise
from pulsebayes.calibration.identifiability.sobol import Sensitivity, given_data_index, sobol_indices
from pulsebayes.simulators.photoplethysmograph import PPGSensor
from pulsebayes.simulators.sensors import SensorModel


def ishigami(u: np.ndarray) -> np.ndarray:
    x = 2 * np.pi * u - np.pi
    return (np.sin(x[:, 0]) + 7 * np.sin(x[:, 1]) ** 2 + 0.1 * x[:, 2] ** 4 * np.sin(x[:, 0]))[:, None, None]


def test_indices_of_ishigami_are_the_published_ones() -> None:
    first, total, error, n = sobol_indices(ishigami, lambda u: u, 3, 1024)
    # Ishigami & Homma (1990), a = 7, b = .1: closed form
    np.testing.assert_allclose(first[:, 0], [0.3139, 0.4424, 0.0], atol=0.03)
    np.testing.assert_allclose(total[:, 0], [0.5576, 0.4424, 0.2437], atol=0.03)
    assert n == 1024 and np.all(error < 0.05)


def test_channels_are_joined_by_variance_and_failed_rows_left_out() -> None:
    def two(u: np.ndarray) -> np.ndarray:
        waves = np.stack([np.stack([3 * u[:, 0], u[:, 1]], -1), np.stack([u[:, 1], u[:, 1]], -1)], 1)
        waves[u[:, 0] > 0.97] = np.nan
        return waves

    first, total, _, n = sobol_indices(two, lambda u: u, 2, 512)
    assert 400 < n < 512
    np.testing.assert_allclose(first, [[0.9, 0.0], [0.1, 1.0]], atol=0.05)
    np.testing.assert_allclose(total, first, atol=0.06)
    with pytest.raises(ValueError, match="power of two"):
        sobol_indices(two, lambda u: u, 2, 100)
    with pytest.raises(ValueError, match="at least 16"):
        sobol_indices(lambda u: np.full((len(u), 1, 1), np.nan), lambda u: u, 1, 32)


def test_given_data_tell_the_share_a_quantity_explains() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 2000))
    waves = np.stack([a + b, b, rng.normal(size=2000)], 1)[..., None]
    np.testing.assert_allclose(given_data_index(a, waves), [0.5, 0.0, 0.0], atol=0.04)
    tables = (np.eye(2), np.eye(2), np.zeros((2, 2)))
    kept = Sensitivity(("a", "b"), ("x", "y"), *tables, {"q": np.array([0.1, 0.2])}, 64)
    again = Sensitivity.from_json(kept.to_json())
    np.testing.assert_allclose(again.quantities["q"], [0.1, 0.2])
    assert again.parameters == ("a", "b")


def test_noise_is_scaled_within_the_prior_of_the_sensor() -> None:
    waves = 90 + 20 * np.sin(np.arange(1300) / 9)[None].repeat(64, 0).astype(np.float32)
    clean = SensorModel.ideal()
    for sensor in (SensorModel.radial_line(), PPGSensor.finger()):
        spread = []
        for factor in (0.25, 4.0):
            quiet = scale_noise(sensor, factor)
            seen = quiet.apply(waves, np.random.default_rng(0), fs=125.0)
            fast = np.diff(seen, n=4) / seen.std(-1, keepdims=True)
            spread.append(float(np.median(fast.std(-1))))
        assert spread[1] > 2 * spread[0]
        assert scale_noise(sensor, 0.0) is sensor
        with pytest.raises(ValueError, match="what the sensors' priors hold, got 50"):
            scale_noise(sensor, 50.0)
    assert scale_noise(SensorModel(), 2.0).noise.sd_low == pytest.approx(2 * np.sqrt(0.02 * 1.0))
    assert noise_reach(clean) == np.inf
    assert noise_reach(SensorModel.radial_line()) == pytest.approx(np.sqrt(35))
