"""The gate and the beats on simulated clinical windows with the sensor model: nearly all must pass."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from pulsebayes.waveforms.beats import detect_beats
from pulsebayes.waveforms.quality import assess

N = 512


@pytest.fixture(scope="module")
def stiff() -> np.ndarray:
    """Radial pressures of the very old with stiff arteries and systoles above 200 mmHg, straight from the artery."""
    from pulsebayes.simulators.network import LinearNetwork
    from pulsebayes.simulators.status import usable

    network = LinearNetwork(duration_s=10.0)
    u = np.random.default_rng(1).uniform(size=(N, network.space.dim))
    for name, least in (("age", 0.97), ("mean_pressure", 0.5), ("wave_speed_deviation", 0.5)):
        at = network.space.names.index(name)
        u[:, at] = least + (1 - least) * u[:, at]
    result = network.simulate(network.space.sample_quantiles(u), seed=5)
    radial = result.waves[usable(result.status), network.sites.index("Radial"), :1000]
    top = radial.max(1)  # transducers end at 300
    return np.asarray(radial[(top > 200) & (top < 300)], np.float64)


def test_a_systole_above_200_is_no_flush_but_a_flush_beside_it_is(stiff):
    assert len(stiff) >= 20 and stiff.max() > 260
    verdicts = [assess(wave, 125.0) for wave in stiff]
    assert not [v.message for v in verdicts if not v.usable]
    rng = np.random.default_rng(6)
    for wave in stiff:
        start, length = int(rng.integers(100, 700)), int(rng.uniform(0.6, 2.0) * 125)
        flushed = wave.copy()
        flushed[start : start + length] = 297 + rng.standard_normal(length)
        verdict = assess(flushed, 125.0)
        assert not verdict.usable and verdict.reason in ("flush", "railed"), verdict
        whole = 270 + 8 * np.sin(np.arange(1000) / 20) + rng.standard_normal(1000)  # the bag's pressure all along
        assert not assess(whole, 125.0).usable


@pytest.fixture(scope="module")
def simulated() -> tuple[np.ndarray, np.ndarray]:
    """Windows of 8 s at 125 Hz behind a catheter line [mmHg], and the true heart rates [1/min]."""
    from pulsebayes.simulators.network import LinearNetwork
    from pulsebayes.simulators.sensors import SensorModel
    from pulsebayes.simulators.status import usable

    network = LinearNetwork(duration_s=10.0)
    result = network.simulate(network.space.sample(np.random.default_rng(8), N), seed=4)
    keep = usable(result.status)
    radial = result.waves[keep, network.sites.index("Radial")]
    windows = SensorModel.radial_line().apply(radial, np.random.default_rng(9), fs=125.0, out_samples=1000)
    return windows, result.quantities[keep, network.quantity_names.index("HR")]


def test_at_most_one_per_cent_of_simulated_windows_is_refused(simulated):
    windows, _ = simulated
    verdicts = [assess(wave, 125.0) for wave in windows]
    reasons = Counter(v.reason for v in verdicts)
    print(f"simulated clinical windows: {dict(reasons)}")
    # 0.15 % of 2,048 when written: more than 1 % of 512 has a probability below 1e-4 at that rate
    assert reasons.total() - reasons[None] <= 0.01 * N, [v.message for v in verdicts if not v.usable]


def test_no_simulated_beat_is_counted_twice_or_missed(simulated):
    windows, rates = simulated
    found = np.array([60 / detect_beats(wave, 125.0).mean_interval_s for wave in windows])
    # The true rate is that of all drawn beats, of which the window holds a part: irregular rhythms differ a little
    assert np.mean(np.abs(found - rates) <= np.maximum(2.0, 0.05 * rates)) >= 0.98
    assert np.mean(np.abs(found / rates - 1) > 0.25) <= 0.002
