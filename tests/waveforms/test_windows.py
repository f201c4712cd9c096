"""Windows: when they start, what they hold, how they are resampled, and that nothing is loaded whole."""

from __future__ import annotations

import numpy as np
import pytest

from pulsebayes.waveforms.recording import Recording
from pulsebayes.waveforms.windows import cut_windows, regular_starts, resample


def tone(frequency: float, fs: float, seconds: float) -> np.ndarray:
    return np.sin(2 * np.pi * frequency * np.arange(round(fs * seconds)) / fs)


def recording(waves: dict, fs, **options) -> Recording:
    return Recording.from_arrays("made", waves, fs=fs, units={"ABP": "mmHg"}, **options)


def test_starts_and_ends_follow_length_and_interval(pulse_train):
    made = recording({"ABP": pulse_train(0, duration_s=60.0).wave}, 125)
    assert [w.start_s for w in cut_windows(made)] == [0, 8, 16, 24, 32, 40, 48]
    assert [w.start_s for w in cut_windows(made, every_s=2.5, start_s=31, end_s=47)] == [31, 33.5, 36, 38.5]
    assert [w.start_s for w in cut_windows(made, length_s=10, every_s=25)] == [0, 25, 50]
    assert all(w.end_s - w.start_s == 8 for w in cut_windows(made))


def test_the_last_window_may_lack_half_a_sample():
    made = recording({"ABP": np.ones(3998)}, 124.945)  # 31.9981 s, and 4 windows of 8 s need 32 s
    windows = list(cut_windows(made))
    assert len(windows) == 4
    assert all(np.isfinite(w.values).all() for w in windows)
    assert all(w.verdict.n_interpolated == 0 and not w.verdict.findings for w in windows)


@pytest.mark.parametrize("fs", [40, 62.5, 124.945, 125, 500])
@pytest.mark.parametrize("every_s", [2.5, 8.0, 13.0])
def test_regular_starts_are_those_of_the_windows_that_are_cut(fs, every_s):
    for samples in (round(32 * fs) - 2, round(32 * fs) - 1, round(32 * fs), round(32 * fs) + 1, round(7 * fs)):
        made = recording({"ABP": np.ones(samples)}, fs)
        cut = [w.start_s for w in cut_windows(made, every_s=every_s) if w.end_s - w.start_s == 8]
        assert regular_starts(made, "ART", every_s=every_s).tolist() == cut
    for wrong in ({"every_s": 0.0}, {"every_s": np.inf}, {"length_s": -1.0}, {"fs": 0.0}):
        with pytest.raises(ValueError, match="must be positive"):
            regular_starts(made, "ART", **wrong)


def test_native_samples_are_copied_where_they_stand_on_the_grid(pulse_train):
    wave = pulse_train(0, duration_s=30.0).wave.astype(np.float32)
    for k, window in enumerate(cut_windows(recording({"ABP": wave}, 125), every_s=0.4)):
        assert np.array_equal(window.values[0], wave[50 * k : 50 * k + 1000])
        assert window.values.dtype == np.float32
        assert window.fs == 125.0


@pytest.mark.parametrize("fs", [100.0, 124.945, 128.0, 200.0, 240.0, 249.89, 250.0, 300.0, 500.0, 1000.0])
@pytest.mark.parametrize("frequency", [1.3, 10.0, 26.0])
def test_tones_below_26_hz_come_through_in_time_and_height(fs, frequency):
    made = recording({"ABP": 90 + 10 * tone(frequency, fs, 40)}, fs)
    for window in cut_windows(made, start_s=8, end_s=32):
        t = window.start_s + np.arange(1000) / 125
        expected = 90 + 10 * np.sin(2 * np.pi * frequency * t)
        # 80 dB of the kernel's stop band, and its ripple: 1e-3 of 10 mmHg
        assert np.abs(window.values[0] - expected).max() < 0.01


@pytest.mark.parametrize("fs", [200.0, 500.0, 1000.0])
def test_what_the_target_rate_cannot_hold_is_removed(fs):
    made = recording({"ABP": 90 + 10 * tone(72.0, fs, 40)}, fs)
    window = list(cut_windows(made))[2]
    assert np.abs(window.values[0] - 90).max() < 0.02  # without a filter 10 mmHg at 53 Hz would stay
    sharp = resample(tone(0.45 * fs, fs, 8), fs, 125.0)
    assert np.abs(sharp[30:-30]).max() < 2e-3


def test_a_start_between_samples_is_interpolated():
    made = recording({"ABP": 90 + 10 * tone(5.0, 125.0, 30)}, 125.0)
    window = next(cut_windows(made, start_s=8.0037))
    expected = 90 + 10 * np.sin(2 * np.pi * 5 * (8.0037 + np.arange(1000) / 125))
    assert np.abs(window.values[0] - expected).max() < 0.01


def test_channels_of_different_rates_and_starts_share_one_time_axis():
    fs = {"ABP": 125.0, "PLETH": 60.0, "ECG": 500.0}
    start = {"ABP": 0.0, "PLETH": 0.31, "ECG": 0.0}
    waves = {
        name: 80 + 5 * np.sin(2 * np.pi * 3.0 * (start[name] + np.arange(round(30 * rate)) / rate))
        for name, rate in fs.items()
    }
    made = Recording.from_arrays("made", waves, fs=fs, start_s=start, units={"ABP": "mmHg"})
    window = next(cut_windows(made, ("ART", "PLETH", "ECG"), start_s=8))
    expected = 80 + 5 * np.sin(2 * np.pi * 3.0 * (8 + np.arange(1000) / 125))
    assert window.values.shape == (3, 1000)
    assert window.channels == ("ART", "PLETH", "ECG")
    assert np.abs(window.values - expected).max() < 0.01


def test_edges_are_finite_and_smooth(pulse_train):
    wave = pulse_train(0, fs=500.0, duration_s=16.0, noise=0.0, step=0.0).wave
    first, last = cut_windows(recording({"ABP": wave}, 500.0))
    grid = np.arange(1000) / 125
    for window, at in ((first, grid), (last, 8 + grid)):
        expected = np.interp(at, np.arange(len(wave)) / 500, wave)
        assert np.abs(window.values[0] - expected).max() < 0.5


def test_the_verdict_names_the_second_of_the_recording(pulse_train):
    wave = pulse_train(0, duration_s=40.0).wave
    wave[125 * 19 : 125 * 20] = np.nan
    windows = list(cut_windows(recording({"ABP": wave}, 125)))
    assert [w.verdict.usable for w in windows] == [True, True, False, True, True]
    assert windows[2].verdict.reason == "gap"
    assert windows[2].verdict.at_s == pytest.approx(19.0)
    assert np.isnan(windows[2].values).sum() == 125
    assert "19.00 s" in windows[2].verdict.message


def test_a_long_gap_stays_missing_after_resampling(pulse_train):
    wave = pulse_train(0, duration_s=16.0, fs=250.0).wave
    wave[1000:1250] = np.nan
    values = next(cut_windows(recording({"ABP": wave}, 250.0))).values[0]
    assert np.isnan(values[501:624]).all()
    assert np.isfinite(values[:499]).all()
    assert np.isfinite(values[626:]).all()


def test_a_short_gap_is_bridged_in_the_values(pulse_train):
    for fs in (125.0, 250.0):
        wave = pulse_train(0, duration_s=16.0, fs=fs).wave
        wave[int(4 * fs) : int(4.1 * fs)] = np.nan
        window = next(cut_windows(recording({"ABP": wave}, fs)))
        assert window.verdict.usable
        assert np.isfinite(window.values).all()
        assert window.verdict.n_interpolated == pytest.approx(0.1 * fs, abs=1)


@pytest.mark.parametrize("fs", [100.0, 124.945, 125.0, 250.0])
@pytest.mark.parametrize(("from_s", "to_s"), [(7.85, 8.15), (7.7, 8.005), (7.995, 8.3), (15.85, 16.5)])
def test_a_long_gap_across_an_edge_refuses_both_windows_at_any_rate(fs, from_s, to_s, pulse_train):
    time = np.arange(round(24 * fs)) / fs
    wave = np.interp(time, np.arange(25 * 125) / 125, pulse_train(0, duration_s=25.0).wave)
    wave[(time >= from_s) & (time < to_s)] = np.nan
    edge = 8.0 * round(from_s / 8)
    for window in cut_windows(recording({"ABP": wave}, fs)):
        touched = window.start_s in (edge, edge - 8.0)
        assert window.verdict.reason == ("gap" if touched else None)
        assert touched or np.isfinite(window.values).all()


@pytest.mark.parametrize("fs", [100.0, 124.945, 125.0, 250.0])
@pytest.mark.parametrize(("from_s", "to_s"), [(7.92, 8.08), (0.0, 0.15), (23.9, 24.0)])
def test_a_usable_window_has_no_missing_values_at_any_rate(fs, from_s, to_s, pulse_train):
    time = np.arange(round(24 * fs)) / fs
    wave = np.interp(time, np.arange(25 * 125) / 125, pulse_train(0, duration_s=25.0).wave)
    wave[(time >= from_s) & (time < to_s)] = np.nan
    windows = list(cut_windows(recording({"ABP": wave}, fs)))
    assert [window.verdict.reason for window in windows] == [None] * 3
    assert all(np.isfinite(window.values).all() for window in windows)


def test_one_bad_channel_refuses_the_window(pulse_train):
    waves = {"ABP": pulse_train(0, duration_s=16.0).wave, "PLETH": np.zeros(2000)}
    window = next(cut_windows(recording(waves, 125), ("ART", "PLETH")))
    assert [v.usable for v in window.verdicts] == [True, False]
    assert window.verdict.reason == "flat"
    assert window.verdict.message.startswith("PLETH")


def test_a_pressure_without_unit_is_refused_with_the_hint(pulse_train):
    made = Recording.from_arrays("made", {"ABP": pulse_train(0).wave}, fs=125)
    verdict = next(cut_windows(made)).verdict
    assert verdict.reason == "unit"
    assert verdict.hint.startswith("--unit ART=mmHg")


def test_a_channel_named_as_role_is_judged_as_that_role(pulse_train):
    waves = {"col 3": pulse_train(0).wave - 100}
    made = Recording.from_arrays("made", waves, fs=125, roles={"col 3": "ART"}, units={"ART": "mmHg"})
    assert next(cut_windows(made)).verdict.reason == "not-zeroed"


@pytest.mark.parametrize("seconds", [6.0, 7.92])
def test_a_recording_shorter_than_a_window_is_refused_not_dropped(seconds, pulse_train):
    (window,) = cut_windows(recording({"ABP": pulse_train(0, duration_s=seconds).wave}, 125))
    assert window.verdict.reason == "too-short"
    assert f"{seconds:.2f} s" in window.verdict.message
    assert window.values.shape == (1, 1000)
    assert np.isnan(window.values[0, round(125 * seconds) :]).all()
    assert np.isfinite(window.values[0, : round(125 * seconds)]).all()


def test_windows_outside_the_channel_are_gaps(pulse_train):
    waves = {"ABP": pulse_train(0, duration_s=20.0).wave, "ECG": np.zeros(5000)}
    windows = list(cut_windows(recording(waves, 125)))
    assert [w.verdict.reason for w in windows] == [None, None, "gap", "gap", "gap"]
    assert np.isnan(windows[-1].values).all()


def test_reading_is_piecewise_and_in_order():
    asked: list[tuple[int, int]] = []

    def samples(index: int, first: int, stop: int) -> np.ndarray:
        asked.append((first, stop))
        return np.zeros(stop - first, dtype=np.float32)

    whole = recording({"ABP": np.zeros(10)}, 125)
    hours = 4
    channel = type(whole.channels[0])("ABP", "ART", "mmHg", 125.0, 0.0, hours * 3600 * 125, ())
    made = Recording("long", (channel,), samples)
    iterator = cut_windows(made)
    assert asked == []
    next(iterator)
    assert len(asked) == 1
    for _ in range(400):
        next(iterator)
    assert max(stop - first for first, stop in asked) <= 130 * 125
    assert asked == sorted(asked)
    assert len(asked) < 40


def test_resample_keeps_a_constant_and_the_length():
    assert resample(np.full(2500, 87.0), 250.0, 125.0) == pytest.approx(np.full(1250, 87.0), abs=1e-4)
    assert len(resample(np.zeros(1000), 124.945, 125.0)) == 1000


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"length_s": 0.0}, r"length_s must be positive \[s\], got 0.0"),
        ({"every_s": -1.0}, r"every_s must be positive"),
        ({"fs": float("nan")}, r"fs must be positive \[Hz\]"),
        ({"channels": ()}, r"channels must name at least one"),
        ({"start_s": 50.0}, r"end_s must be after start_s, got 50 to 10 s of a recording of 10 s"),
        ({"start_s": 5.0, "end_s": 5.0}, r"end_s must be after start_s"),
    ],
)
def test_wrong_arguments_are_named_before_the_first_window(options, match):
    made = recording({"ABP": np.zeros(1250)}, 125)
    with pytest.raises(ValueError, match=match):
        cut_windows(made, **options)


def test_a_missing_channel_is_named_before_the_first_window():
    with pytest.raises(ValueError, match="PLETH"):
        cut_windows(recording({"ABP": np.zeros(1250)}, 125), ("ART", "PLETH"))


@pytest.mark.parametrize(("wave", "fs"), [(np.zeros((2, 5)), 125.0), (np.zeros(5), 0.0)])
def test_resample_refuses_wrong_arguments(wave, fs):
    with pytest.raises(ValueError, match="must"):
        resample(wave, fs, 125.0)
