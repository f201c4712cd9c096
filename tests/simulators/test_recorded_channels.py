"""Recordings of several channels: clocks and clips stay, channels come and go, and the line is told of."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pulsebayes.simulators.channels import ChannelSensor, ClockOffset, SensedChannel
from pulsebayes.simulators.photoplethysmograph import PPGSensor
from pulsebayes.simulators.recorded import SensorChanges, SolvedRecordings
from pulsebayes.simulators.recorded_channels import record_channels
from pulsebayes.simulators.sensors import SensorModel


def _solved(waves: np.ndarray) -> SolvedRecordings:
    ones = np.ones(waves.shape[:2])
    return SolvedRecordings(waves, ones[..., None], ones, ones[:, 0], ones.astype(np.uint8), 8.0 * ones.cumsum(1))


def _sensor(one: SensorModel, other: SensorModel | PPGSensor, clock: ClockOffset) -> ChannelSensor:
    return ChannelSensor((SensedChannel("ART", one), SensedChannel("other", other, clock)), (1e-9, 1.0))


def test_clocks_stay_as_far_off_as_they_are() -> None:
    ideal, ramps = SensorModel.ideal(), np.broadcast_to(np.arange(1450, dtype=np.float32), (30, 6, 2, 1450))
    made = record_channels(_solved(ramps), _sensor(ideal, ideal, ClockOffset()), np.random.default_rng(0), fs=125.0)
    apart = made.waves[:, :, 1, 0] - made.waves[:, :, 0, 0]
    assert np.ptp(apart, axis=1).max() < 0.01
    assert np.std(apart[:, 0]) > 5.0  # [samples], of offsets within 18 or 125
    assert np.ptp(made.waves[:, :, 0, 0], axis=1).min() > 0  # the start is each window's own


def test_a_clip_keeps_its_filters() -> None:
    """The same wave in every window: what differs between recordings is the clip."""
    t = np.arange(1450) / 125.0
    wave = np.broadcast_to(np.sin(np.pi * (1.25 * t % 1.0)) ** 3, (20, 5, 2, 1450)).astype(np.float32)
    clip = replace(PPGSensor.ideal(), venous=PPGSensor().venous, coupling=PPGSensor().coupling)
    made = record_channels(
        _solved(wave), _sensor(SensorModel.ideal(), clip, ClockOffset(0, 0, 0)), np.random.default_rng(0), fs=125.0
    )
    shape = np.sort(made.waves[:, :, 1], axis=-1)  # wherever the window starts
    shape = (shape - shape.mean(-1, keepdims=True)) / shape.std(-1, keepdims=True)
    within = np.abs(shape - shape.mean(1, keepdims=True)).mean()
    assert within < 0.25 * np.abs(shape - shape.mean((0, 1))).mean()


def test_channels_are_given_in_the_shares_of_windows_alone() -> None:
    sensor = replace(_sensor(SensorModel(), SensorModel(), ClockOffset()), sizes=(2.0, 1.0))
    waves = 90 + np.random.default_rng(1).normal(size=(300, 10, 2, 1400)).astype(np.float32)
    made = record_channels(_solved(waves), sensor, np.random.default_rng(2), fs=125.0)
    given = np.isfinite(made.waves).all(-1)
    assert given.any(-1).all()
    shares = [np.mean((given == which).all(-1)) for which in ([1, 0], [0, 1], [1, 1])]
    np.testing.assert_allclose(shares, 1 / 3, atol=0.1)  # four standard errors of 300 recordings
    stays = (given == given[:, :1]).all((1, 2))
    assert 0.4 < stays.mean() < 0.8  # half, and some of the others


def test_the_change_that_is_told_is_that_of_the_first_pressure() -> None:
    waves = np.full((60, 8, 2, 1400), 90.0, np.float32)
    line = replace(SensorModel.ideal(), offset=SensorModel().offset)
    rng, changes = np.random.default_rng(3), SensorChanges(share=1.0)
    made = record_channels(_solved(waves), _sensor(line, line, ClockOffset()), rng, fs=125.0, changes=changes)
    step = made.waves[:, -1, :, 0] - made.waves[:, 0, :, 0]
    np.testing.assert_allclose(step[:, 0], made.step_mmhg, atol=1e-3)
    assert np.abs(made.step_mmhg).max() > 1.0
    np.testing.assert_allclose(step[:, 1], 0.0, atol=1e-3)


def test_rows_that_do_not_share_alike_are_refused() -> None:
    with pytest.raises(ValueError, match="together must divide"):
        PPGSensor().apply(np.ones((5, 1250), np.float32), np.random.default_rng(0), fs=125.0, together=2)


def test_channels_that_are_named_are_given_and_the_waves_stay_the_same() -> None:
    sensor = _sensor(SensorModel(), SensorModel(), ClockOffset())
    waves = 90 + np.random.default_rng(1).normal(size=(8, 5, 2, 1400)).astype(np.float32)
    drawn = record_channels(_solved(waves), sensor, np.random.default_rng(2), fs=125.0)
    named = record_channels(_solved(waves), sensor, np.random.default_rng(2), fs=125.0, given=("other",))
    assert np.isnan(named.waves[:, :, 0]).all()
    both = np.isfinite(drawn.waves[:, :, 1])
    np.testing.assert_array_equal(named.waves[:, :, 1][both], drawn.waves[:, :, 1][both])
    with pytest.raises(ValueError, match="PLETH"):
        record_channels(_solved(waves), sensor, np.random.default_rng(2), fs=125.0, given=("PLETH",))
