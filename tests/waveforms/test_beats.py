"""Beat detection against trains with known ejections, and its properties."""

from __future__ import annotations

import time

import numpy as np
import pytest
from scipy.signal import resample_poly

from pulsebayes.waveforms.beats import Beats, detect_beats

CASES = {
    "calm": {},
    "slow": {"rate": 35.0},
    "fast": {"rate": 180.0},
    "atrial fibrillation": {"spread": 0.2},
    "fast atrial fibrillation": {"spread": 0.25, "rate": 110.0},
    "ectopic beats": {"ectopy": 0.15},
    "ectopic beats at 110": {"ectopy": 0.15, "rate": 110.0},
    "alternans": {"alternans": 0.5},
    "breathing that halves the pulse": {"breathing": 0.5},
    "strong dicrotic waves": {"resonance": (3.0, 0.15), "rate": 60.0},
    "stronger dicrotic waves": {"resonance": (2.5, 0.15), "rate": 45.0},
    "dicrotic waves at 100": {"resonance": (4.5, 0.15), "rate": 100.0},
    "ringing line": {"catheter": (8.0, 0.15)},
    "damped line": {"catheter": (4.0, 1.2)},
    "damped line at 160": {"catheter": (8.0, 1.2), "rate": 160.0},
    "small noisy pulse": {"pulse": 12.0, "noise": 1.0, "step": 1.0},
    "small noisy pulse at 40": {"pulse": 12.0, "noise": 1.0, "step": 1.0, "rate": 40.0},
    "line that rings at 5 Hz": {"catheter": (5.0, 0.06), "resonance": (8.0, 0.7)},
    "large pulse": {"pulse": 120.0, "mean": 130.0},
}


def matched(true: np.ndarray, found: np.ndarray, tolerance_s: float = 0.1) -> tuple[int, int, int, np.ndarray]:
    """Hits, true beats and found beats away from the ends, and errors after the delay of the line is taken off."""
    nearest = np.array([found[np.abs(found - t).argmin()] - t for t in true])
    delay = float(np.median(nearest))  # arm and catheter delay every foot alike
    found = found - delay
    inner = true[(true > 0.3) & (true < true.max() - 0.5)]
    seen = found[(found > 0.3) & (found < true.max() - 0.5)]
    errors = np.array([found[np.abs(found - t).argmin()] - t for t in inner])
    hits = int((np.abs(errors) < tolerance_s).sum())
    false = int(sum(np.abs(true - f).min() >= tolerance_s for f in seen))
    return hits, len(inner), false, errors[np.abs(errors) < tolerance_s]


@pytest.mark.parametrize("case", CASES)
def test_every_ejection_is_found_once(case, pulse_train):
    hits = beats = false = 0
    for seed in range(4):
        train = pulse_train(seed, **CASES[case])
        found = detect_beats(train.wave, train.fs)
        h, n, f, _ = matched(train.onsets_s, found.onsets_s)
        hits, beats, false = hits + h, beats + n, false + f
    print(f"{case:34} {beats} beats: sensitivity {hits / beats:.4f}, false per beat {false / beats:.4f}")
    # One beat in two hundred is the resolution of these trains; every case measured 1.000 and 0.000 when written.
    assert hits >= 0.995 * beats
    assert false <= 0.005 * beats


@pytest.mark.parametrize(
    ("case", "limit_ms"), [("calm", 3), ("slow", 4), ("fast", 3), ("ringing line", 3), ("damped line", 4)]
)
def test_onsets_keep_time_with_the_ejections(case, limit_ms, pulse_train):
    errors = np.concatenate([matched(t.onsets_s, detect_beats(t.wave, t.fs).onsets_s)[3]
                             for t in (pulse_train(seed, **CASES[case]) for seed in range(4))])  # fmt: skip
    assert 1000 * np.std(errors) < limit_ms  # half a sample at 125 Hz is 4 ms


def test_mean_interval_is_that_of_the_ejections_when_rhythm_is_irregular(pulse_train):
    for seed in range(5):
        train = pulse_train(seed, spread=0.15)
        found = detect_beats(train.wave, train.fs)
        inside = train.onsets_s[
            (train.onsets_s > found.onsets_s[0] - 0.1) & (train.onsets_s < found.onsets_s[-1] + 0.1)
        ]
        assert found.mean_interval_s == pytest.approx(np.diff(inside).mean(), rel=0.002)


def test_a_sharp_foot_is_found_where_the_tangents_meet():
    fs, rise = 1000.0, 0.08
    t = np.arange(0, 8, 1 / fs)
    phase = (t - 0.5) % 0.8
    wave = np.where(phase < rise, 80 + 40 * phase / rise, 80 + 40 * np.maximum(0, 1 - (phase - rise) / 0.5))
    found = detect_beats(wave, fs)
    true = 0.5 + 0.8 * np.arange(10)
    assert found.n == 10
    assert np.abs(found.onsets_s - true).max() < 0.004
    assert np.abs(found.peaks_s - true - rise).max() < 0.003
    assert found.feet == pytest.approx(np.full(10, 80.0), abs=0.5)


def test_peaks_and_notches_lie_in_order_within_their_beat(pulse_train):
    train = pulse_train(1, resonance=(4.0, 0.25))
    found = detect_beats(train.wave, train.fs)
    notched = np.isfinite(found.notches_s)
    assert notched.mean() > 0.9
    assert np.all(found.peaks_s[:-1] > found.onsets_s[:-1])
    assert np.all(found.notches_s[notched] > found.peaks_s[notched])
    assert np.all(found.notches_s[notched] < found.onsets_s[notched] + 0.6)
    ahead = notched[:-1]
    assert np.all(found.notches_s[:-1][ahead] < found.onsets_s[1:][ahead])


def test_notch_is_the_local_minimum_after_the_peak():
    t = np.arange(0, 10, 1 / 125)
    phase = (t - 0.4) % 1.0
    wave = 80 + 40 * np.exp(-(((phase - 0.15) / 0.08) ** 2)) + 14 * np.exp(-(((phase - 0.45) / 0.07) ** 2))
    found = detect_beats(wave, 125.0)
    grid = np.arange(0.2, 0.45, 0.001)
    shape = 40 * np.exp(-(((grid - 0.15) / 0.08) ** 2)) + 14 * np.exp(-(((grid - 0.45) / 0.07) ** 2))
    true = 0.4 + grid[shape.argmin()] + np.round(found.onsets_s[:-1] - found.onsets_s[0])
    assert np.nanmax(np.abs(found.notches_s[:-1] - true)) < 0.012


def test_no_notch_is_claimed_on_a_plain_decay():
    t = np.arange(0, 10, 1 / 125)
    phase = (t - 0.4) % 0.9
    wave = 70 + 50 * np.exp(-phase / 0.4) * np.sin(np.minimum(phase / 0.2, 1) * np.pi / 2)
    assert np.isnan(detect_beats(wave, 125.0).notches_s).all()


@pytest.mark.parametrize(("gain", "offset"), [(1.0, -500.0), (0.133322, 0.0), (1000.0, 0.0)])
def test_beats_do_not_depend_on_unit_or_zero(gain, offset, pulse_train):
    train = pulse_train(2, step=0.0)
    plain, scaled = detect_beats(train.wave, 125.0), detect_beats(gain * train.wave + offset, 125.0)
    assert scaled.onsets_s == pytest.approx(plain.onsets_s, abs=1e-6)
    assert scaled.feet == pytest.approx(gain * plain.feet + offset, abs=1e-6 * abs(gain))


@pytest.mark.parametrize(("up", "down"), [(8, 1), (2, 1), (1, 2)])
def test_beats_do_not_depend_on_the_sampling_rate(up, down, pulse_train):
    train = pulse_train(3, step=0.0, noise=0.05)
    other = resample_poly(train.wave - 90, up, down) + 90
    plain, resampled = detect_beats(train.wave, 125.0), detect_beats(other, 125.0 * up / down)
    assert resampled.n == plain.n
    assert np.abs(resampled.onsets_s - plain.onsets_s)[1:-1].max() < 0.006


def test_a_long_recording_gives_the_beats_of_its_windows(pulse_train):
    train = pulse_train(4, duration_s=120.0, breathing=0.2)
    whole = detect_beats(train.wave, 125.0)
    pieces = [detect_beats(train.wave[i : i + 1000], 125.0).onsets_s + i / 125 for i in range(0, 15000, 1000)]
    for onsets in pieces:
        inner = onsets[1:-1]
        assert max(np.abs(whole.onsets_s - t).min() for t in inner) < 0.01


def test_beats_are_compared_with_their_neighbours_not_with_the_whole_recording(pulse_train):
    train = pulse_train(8, duration_s=120.0, noise=0.02, step=0.0)
    shrinking = np.where(np.arange(len(train.wave)) < 7500, 1.0, 0.12)
    found = detect_beats(90 + (train.wave - 90) * shrinking, 125.0)
    late = found.onsets_s[found.onsets_s > 75]
    assert len(late) == pytest.approx(np.sum(train.onsets_s > 75), abs=2)


def test_missing_samples_hold_no_beats(pulse_train):
    train = pulse_train(5)
    wave = train.wave.copy()
    wave[1000:1500] = np.nan
    whole, onsets = detect_beats(train.wave, 125.0).onsets_s, detect_beats(wave, 125.0).onsets_s
    assert max(np.abs(whole - t).min() for t in onsets) < 0.03  # none that is not there; one is half lost
    apart = whole[(whole < 7.5) | (whole > 12.5)]
    assert max(np.abs(onsets - t).min() for t in apart) < 0.005  # all that do not touch the gap


@pytest.mark.parametrize("wave", [np.zeros(1000), np.full(1000, np.nan), np.zeros(3), np.arange(1000.0)])
def test_nothing_to_find_gives_no_beats(wave):
    found = detect_beats(wave, 125.0)
    assert found.n == 0
    assert np.isnan(found.mean_interval_s)
    assert found.intervals_s.shape == (0,)


def test_oximetry_is_detected_with_baseline_wander(pulse_train):
    train = pulse_train(6, catheter=(4.0, 0.9), pulse=1.0, mean=0.0, noise=0.005, step=0.0)
    t = np.arange(len(train.wave)) / 125
    found = detect_beats(train.wave + 1.5 * np.sin(2 * np.pi * 0.2 * t), 125.0, role="PLETH")
    hits, n, false, _ = matched(train.onsets_s, found.onsets_s)
    assert hits == n
    assert false == 0


def test_an_eight_second_window_takes_less_than_two_milliseconds(pulse_train):
    wave = pulse_train(7, rate=150.0).wave[:1000]
    best = np.inf
    for _ in range(40):
        start = time.perf_counter()
        detect_beats(wave, 125.0)
        best = min(best, time.perf_counter() - start)
    assert best < 0.002  # measured 0.4 ms


@pytest.mark.parametrize(
    ("wave", "fs", "role", "match"),
    [
        (np.zeros((2, 100)), 125.0, "ART", r"wave must have shape \(time,\), got \(2, 100\)"),
        (np.zeros(100), 0.0, "ART", r"fs must be positive \[Hz\], got 0.0"),
        (np.zeros(100), float("nan"), "ART", r"fs must be positive"),
        (np.zeros(100), 125.0, "ECG", r"role must be one of \['ART', 'PLETH'\], got 'ECG'"),
    ],
)
def test_wrong_arguments_are_named(wave, fs, role, match):
    with pytest.raises(ValueError, match=match):
        detect_beats(wave, fs, role=role)


def test_beats_are_frozen():
    beats = Beats(*(np.array([1.0]) for _ in range(5)))
    with pytest.raises(AttributeError):
        beats.onsets_s = np.zeros(1)  # type: ignore[misc]
