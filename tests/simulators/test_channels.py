r"""Sensors of several channels: which are given, clocks that disagree, and each channel's own sensor."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from pulsebayes.simulators.channels import ChannelSensor, ClockOffset, SensedChannel, any_sensor_from_json
from pulsebayes.simulators.photoplethysmograph import PPGSensor
from pulsebayes.simulators.sensors import SensorModel

FS = 125.0


def ideal(*clocks: ClockOffset) -> ChannelSensor:
    channels = [SensedChannel(f"c{i}", SensorModel.ideal(), clock) for i, clock in enumerate(clocks)]
    return ChannelSensor(tuple(channels))


def ramps(n: int, c: int, samples: int = 1450) -> np.ndarray:
    return np.broadcast_to(np.arange(samples, dtype=np.float32), (n, c, samples))


def test_every_set_of_channels_is_given_and_none_is_empty() -> None:
    sensor = ideal(*[ClockOffset()] * 3)
    given = sensor.draw_given(np.random.default_rng(0), 20_000)
    assert given.any(1).all()
    _, counts = np.unique(given @ [1, 2, 4], return_counts=True)
    assert len(counts) == 7
    assert counts.min() > 0.04 * len(given)


def test_two_channels_are_given_a_third_each_alone_and_together() -> None:
    given = ideal(ClockOffset(), ClockOffset()).draw_given(np.random.default_rng(1), 30_000)
    shares = [np.mean((given == which).all(1)) for which in ([1, 0], [0, 1], [1, 1])]
    np.testing.assert_allclose(shares, 1 / 3, atol=0.012)  # four standard errors


def test_weights_say_how_many_are_given() -> None:
    sensor = dataclasses.replace(ideal(*[ClockOffset()] * 3), sizes=(1.0, 1.0, 8.0))
    given = sensor.draw_given(np.random.default_rng(2), 10_000)
    assert abs(np.mean(given.all(1)) - 0.8) < 0.02


def test_clocks_differ_by_their_offsets_and_channels_start_together_without() -> None:
    clocks = (ClockOffset(), ClockOffset(0.1, 0.0, 0.0), ClockOffset(0.0, 0.0, 0.0), ClockOffset(0.05, 0.4, 0.5))
    seen = ideal(*clocks).observe(
        ramps(2000, 4), np.random.default_rng(3), np.ones((2000, 4), bool), fs=FS, out_samples=1000
    )
    first = seen[:, :, 0]
    offset = (first - first[:, :1]) / FS
    assert np.abs(offset[:, 1]).max() <= 0.1 + 0.5 / FS
    assert offset[:, 1].std() == pytest.approx(0.1 / np.sqrt(3), rel=0.1)
    assert not offset[:, 2].any()
    assert 0.3 < np.abs(offset[:, 3]).max() <= 0.4 + 0.5 / FS
    assert 0.3 < np.mean(np.abs(offset[:, 3]) > 0.06) < 0.5
    assert np.ptp(first[:, 0]) > 1.5 * FS  # the start itself is free
    np.testing.assert_allclose(np.diff(seen, axis=-1), 1.0)


def test_a_channel_that_is_not_given_is_a_row_of_nan() -> None:
    sensor = ChannelSensor((SensedChannel("ART", SensorModel()), SensedChannel("PLETH", PPGSensor())))
    waves = np.random.default_rng(0).normal(90, 10, (64, 2, 1450)).astype(np.float32)
    seen = sensor.apply(waves, np.random.default_rng(4), fs=FS)
    there = np.isfinite(seen)
    assert np.array_equal(there.any(-1), there.all(-1))
    assert there.any((1, 2)).all()
    again = sensor.apply(waves, np.random.default_rng(4), fs=FS)
    np.testing.assert_array_equal(seen, again)


def test_a_number_of_channels_without_weight_is_never_given() -> None:
    sensor = dataclasses.replace(ideal(*[ClockOffset()] * 3), sizes=(0.0, 1.0, 0.0))
    given = sensor.draw_given(np.random.default_rng(0), 1000)
    assert set(given.sum(1)) == {2} and given.any(0).all()
    assert any_sensor_from_json(sensor.to_json()) == sensor


def test_sensors_survive_their_json() -> None:
    ppg = PPGSensor.from_json({"motion": {"share": 0.0}})
    channels = (SensedChannel("ART", SensorModel()), SensedChannel("PLETH", ppg, ClockOffset(0.2)))
    sensor = ChannelSensor(channels, (2.0, 1.0))
    assert any_sensor_from_json(sensor.to_json()) == sensor
    assert any_sensor_from_json(ppg.to_json()) == ppg


def test_what_does_not_fit_is_told() -> None:
    sensor = ideal(ClockOffset(), ClockOffset())
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match=r"waves must have shape \(N, 2, T\), got \(3, 1450\)"):
        sensor.apply(ramps(3, 2)[:, 0], rng, fs=FS)
    with pytest.raises(ValueError, match=r"at least 1375 samples, got 1300: simulate 11\.00 s"):
        sensor.apply(ramps(3, 2, 1300), rng, fs=FS)
    with pytest.raises(ValueError, match="names, each once"):
        ChannelSensor((sensor.channels[0], sensor.channels[0]))
    for sizes in ((0.0, 0.0), (1.0, -0.1), (1.0, float("inf")), (1.0, float("nan")), (1.0, 1.0, 1.0)):
        with pytest.raises(ValueError, match="2 weights, none negative, one positive"):
            dataclasses.replace(sensor, sizes=sizes)
    with pytest.raises(ValueError, match="loose_share"):
        ClockOffset(loose_share=2.0)
