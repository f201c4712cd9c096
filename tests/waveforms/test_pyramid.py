r"""Decimation keeps extremes and gaps, and never gives more points than were asked for."""

from __future__ import annotations

import numpy as np
import pytest

from pulsebayes.waveforms import Pyramid, Recording, decimate, read_numerals


def recording(seconds: float, fs: float = 500.0) -> Recording:
    t = np.arange(round(seconds * fs)) / fs
    wave = 90 + 30 * np.sin(2 * np.pi * 1.2 * t)
    wave[len(wave) // 3] = 300.0  # a spike of one sample
    wave[len(wave) // 2 : len(wave) // 2 + round(20 * fs)] = np.nan
    return Recording.from_arrays("a", {"ABP": wave}, fs=fs, units={"ABP": "mmHg"})


@pytest.mark.parametrize("stretch", [(0.0, 900.0), (100.0, 700.0), (290.0, 310.0), (300.0, 301.0), (899.0, 2000.0)])
def test_points_are_few_and_lie_in_the_stretch(stretch: tuple[float, float]) -> None:
    times, values = Pyramid.of(recording(900), "ABP").draw(*stretch)
    assert 0 < len(times) <= 2000 and len(times) == len(values)
    assert np.all(np.diff(times) > 0)
    assert times[0] >= stretch[0] - 1.0 and times[-1] <= stretch[1] + 1.0


@pytest.mark.parametrize("stretch", [(0.0, 900.0), (200.0, 400.0), (295.0, 305.0)])
def test_a_spike_of_one_sample_is_seen_at_every_zoom(stretch: tuple[float, float]) -> None:
    times, values = Pyramid.of(recording(900), "ABP").draw(*stretch)
    assert np.nanmax(values) == pytest.approx(300.0)
    assert times[np.nanargmax(values)] == pytest.approx(300.0, abs=1.0)


def test_a_gap_stays_a_gap() -> None:
    times, values = Pyramid.of(recording(900), "ABP").draw(0.0, 900.0)
    assert np.isnan(values[(times > 453) & (times < 467)]).all()


def test_levels_hold_little() -> None:
    pyramid = Pyramid.of(recording(900), "ABP")
    # Two extremes of 64 samples, and as much again for all coarser levels.
    assert sum(level.nbytes for level in pyramid.levels) < 0.065 * 900 * 500 * 4


def test_empty_stretch_is_refused() -> None:
    with pytest.raises(ValueError, match="start_s < end_s"):
        Pyramid.of(recording(30), "ABP").draw(5.0, 5.0)


def test_decimation_keeps_the_order_of_time_and_all_of_a_short_wave() -> None:
    t = np.arange(1000.0)
    assert decimate(t, t)[0] is t
    times, values = decimate(t, np.where(t == 500, np.nan, t), points=100)
    assert np.all(np.diff(times) > 0) and values[0] == 0 and values[-1] == 999


def test_numerals_of_a_wave_and_of_nothing() -> None:
    phase = (np.arange(1000) / 125) % (60 / 80)
    found = read_numerals(70 + 60 * np.exp(-phase / 0.3) * np.minimum(phase / 0.1, 1), 125.0, role="ART")
    assert found.rate == pytest.approx(80, abs=0.5)
    assert found.diastolic < found.mean < found.systolic
    nothing = read_numerals(np.full(1000, np.nan), 125.0, role="ART")
    assert np.isnan(nothing.mean) and nothing.beats.n == 0
    assert read_numerals(np.full(1000, 8.0), 125.0, role="CVP").mean == 8.0
