"""The quality gate on made signals: what it keeps, what it refuses, why, where and with which hint."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d

from pulsebayes.waveforms.quality import REASONS, assess

FS = 125.0
T = np.arange(1000) / FS


def good(pulse_train, **options) -> np.ndarray:
    return pulse_train(1, **{"duration_s": 8.0, **options}).wave


KEPT = {
    "35 /min": {"rate": 35.0},
    "180 /min": {"rate": 180.0},
    "mean 40 mmHg": {"mean": 40.0, "pulse": 20.0},
    "mean 140 mmHg": {"mean": 140.0},
    "pulse 12 mmHg": {"pulse": 12.0},
    "pulse 12 mmHg, coarse and noisy": {"pulse": 12.0, "noise": 0.5, "step": 1.0},
    "pulse 120 mmHg": {"pulse": 120.0, "mean": 110.0},
    "atrial fibrillation": {"spread": 0.2},
    "ectopic beats": {"ectopy": 0.2},
    "breathing": {"breathing": 0.4},
    "ringing line": {"catheter": (10.0, 0.15)},
    "stiff line": {"catheter": (40.0, 0.3)},
    "damped line": {"catheter": (6.0, 1.2)},
    "strong dicrotic waves": {"resonance": (3.0, 0.2), "rate": 50.0},
}


@pytest.mark.parametrize("case", KEPT)
def test_pressures_of_intensive_care_are_kept(case, pulse_train):
    for seed in range(8):
        wave = pulse_train(seed, **{"duration_s": 8.0, **KEPT[case]}).wave
        verdict = assess(wave, FS)
        assert verdict.usable, verdict.message
        assert verdict.mean == pytest.approx(wave.mean())
        assert verdict.message == ""


def test_rate_and_beats_seen_are_reported(pulse_train):
    verdict = assess(good(pulse_train, rate=90.0, spread=0.0), FS)
    assert verdict.heart_rate == pytest.approx(90.0, rel=0.01)
    assert verdict.n_beats in (11, 12)


def nonsense() -> dict[str, tuple[np.ndarray, set[str]]]:
    rng = np.random.default_rng(5)
    beat = (T * 1.3) % 1.0
    qrs = np.exp(-(((beat - 0.3) / 0.02) ** 2)) + 0.25 * np.exp(-(((beat - 0.6) / 0.07) ** 2))
    qrs += 0.01 * rng.standard_normal(1000) + 0.03 * np.sin(2 * np.pi * 0.2 * T)
    return {
        "flat": (np.full(1000, 85.0), {"flat"}),
        "open to air": (0.3 * rng.standard_normal(1000), {"flat", "not-pulsatile"}),
        "ramp": (np.linspace(0, 200, 1000), {"ramp"}),
        "index column": (np.arange(1000.0), {"ramp"}),
        "time column": (np.arange(1000) / FS + 60, {"ramp"}),
        "falling line with noise": (150 - 8 * T + 0.1 * rng.standard_normal(1000), {"ramp"}),
        "white noise": (90 + 15 * rng.standard_normal(1000), {"noise"}),
        "coloured noise": (90 + 60 * gaussian_filter1d(rng.standard_normal(1000), 6), {"noise"}),
        "random walk": (90 + np.cumsum(rng.standard_normal(1000)), {"noise"}),
        "sine at 72 /min": (90 + 20 * np.sin(2 * np.pi * 1.2 * T), {"shape"}),
        "sine at 130 /min": (90 + 20 * np.sin(2 * np.pi * 2.17 * T), {"shape"}),
        "square": (90 + 20 * np.sign(np.sin(2 * np.pi * 1.1 * T)), {"shape", "railed", "clipped"}),
        "triangle": (70 + 80 * np.abs((T * 1.2) % 1 - 0.5), {"shape"}),
        "sudden rises": (70 + 50 * (1 - (T * 1.2) % 1), {"shape"}),
        "sudden falls": (70 + 25 * ((T * 1.2) % 1), {"shape"}),
        "curve that only rises": (70 + 50 * np.exp((T - 8) / 5), {"ramp"}),
        "rises within a sample": (70 + 50 * np.exp(-beat / 0.4) + 0.2 * rng.standard_normal(1000), {"shape"}),
        "narrow pulses": (
            70 + 60 * np.exp(-(((beat - 0.3) / np.where(beat < 0.3, 0.032, 0.05)) ** 2)) + 0.2 * np.sin(2 * T),
            {"shape"},
        ),
        "ECG pointing down": (130 - 60 * qrs, {"shape"}),
        "slow swells": (80 + 20 * np.sin(2 * np.pi * 0.6 * T) + 3 * np.sin(2 * np.pi * 1.2 * T), {"shape"}),
        "breathing": (90 + 10 * np.sin(2 * np.pi * 0.25 * T), {"noise", "rate", "shape", "flat"}),
        "ECG scaled to mmHg": (70 + 60 * qrs, {"shape"}),
        "ECG in mV": (qrs, {"not-pulsatile", "flat"}),
        "oximetry from 0 to 1": (0.4 + 0.2 * np.sin(2 * np.pi * 1.2 * T) ** 3, {"not-pulsatile", "flat"}),
        "venous pressure": (
            9 + 2 * np.sin(2 * np.pi * 1.2 * T) + np.sin(2 * np.pi * 2.4 * T),
            {"not-pulsatile", "level", "not-zeroed", "unit"},
        ),
    }  # fmt: skip


@pytest.mark.parametrize("case", nonsense())
def test_nonsense_is_refused_for_the_right_reason(case):
    wave, reasons = nonsense()[case]
    verdict = assess(wave, FS, start_s=100.0)
    assert not verdict.usable
    assert verdict.reason in reasons, verdict.message
    assert verdict.hint
    assert 100.0 <= verdict.at_s <= 108.0
    assert verdict.message.startswith(f"ART at {verdict.at_s:.2f} s: ")


@pytest.mark.parametrize("rate", [0.6, 1.2, 2.6])
@pytest.mark.parametrize("way", [1, -1])
def test_a_sawtooth_is_not_told_as_a_line(rate, way):
    verdict = assess(90 + way * 40 * ((T * rate) % 1), FS)
    assert verdict.reason in ("shape", "inverted")
    assert "straight line" not in verdict.message
    if rate < 1.5:  # fewer than 1.5 % of the steps go back
        assert f"jumps back {int(rate * T[-1])} times: a sawtooth" in verdict.message


def test_a_line_is_told_as_a_line():
    assert "rises in a straight line from 60 to 67.99" in assess(60 + T, FS).message
    assert "rises all the time, from 80.09 to" in assess(70 + 50 * np.exp((T - 8) / 5), FS).message


def faulty(pulse_train) -> dict[str, tuple[np.ndarray, str, float | None]]:
    wave = good(pulse_train)
    railed, flush, opened, clipped, gap, torn = (wave.copy() for _ in range(6))
    railed[300:420] = 300.0
    flush[400:520] = 250 + 3 * np.sin(np.arange(120))
    opened[500:650] = 1 + 0.5 * np.sin(np.arange(150))
    clipped = np.minimum(clipped, np.quantile(clipped, 0.85))
    gap[250:280] = np.nan
    torn[::6] = np.nan
    return {
        "railed": (railed, "railed", 2.4),
        "flush": (flush, "flush", 3.2),
        "opened": (opened, "flush", 4.0),
        "clipped": (clipped, "clipped", None),
        "gap": (gap, "gap", 2.0),
        "torn": (torn, "gap", 0.0),
        "dead after four seconds": (np.where(T < 4, wave, wave[500]), "flat", 4.0),
        "inverted": (200 - wave, "inverted", None),
        "backwards": (wave[::-1], "inverted", None),
        "negative": (-wave, "inverted", None),
        "not zeroed": (wave - 100, "not-zeroed", None),
        "dying": (0.35 * wave, "level", None),
        "half speed of 50": (good(pulse_train, rate=45.0)[np.arange(1000) // 2], "rate", None),
    }


FAULTS = [
    "railed", "flush", "opened", "clipped", "gap", "torn", "dead after four seconds", "inverted", "backwards",
    "negative", "not zeroed", "dying", "half speed of 50",
]  # fmt: skip


@pytest.mark.parametrize("case", FAULTS)
def test_a_faulty_pressure_is_refused_with_the_second(case, pulse_train):
    wave, reason, at_s = faulty(pulse_train)[case]
    verdict = assess(wave, FS)
    assert verdict.reason == reason, verdict.message
    if at_s is not None:
        assert verdict.at_s == pytest.approx(at_s, abs=0.15)


def test_every_fault_has_its_case(pulse_train):
    assert list(faulty(pulse_train)) == FAULTS


def test_thirty_six_mmhg_is_too_low_and_thirty_nine_is_not(pulse_train):
    wave = good(pulse_train, pulse=20.0)
    wave -= wave.mean()
    assert assess(wave + 36, FS).reason == "level"
    assert assess(wave + 39, FS).usable


def test_a_diastole_below_zero_is_not_zeroed_whatever_the_mean(pulse_train):
    wave = good(pulse_train, pulse=100.0)
    assert assess(wave - wave.min() + 30, FS).usable
    verdict = assess(wave - wave.min() - 3, FS)
    assert verdict.reason == "not-zeroed"
    assert verdict.mean > 37


def test_symmetric_pulses_pass_only_where_a_damped_line_makes_them():
    for rate, reason in ((80, "shape"), (150, None)):
        swell = np.exp(1.2 * np.cos(2 * np.pi * rate / 60 * T))
        assert assess(70 + 15 * swell, FS).reason == reason


@pytest.mark.parametrize(
    ("factor", "hint"),
    [
        (0.1333224, "--unit ART=kPa if the values are kPa"),
        (10.0, '--unit "ART=0.1 mmHg" if the values are 0.1 mmHg'),
        (133.3224, "--unit ART=Pa if the values are Pa"),
    ],
)
def test_a_wrong_unit_is_refused_with_the_option_that_fits(factor, hint, pulse_train):
    verdict = assess(factor * good(pulse_train), FS)
    assert verdict.reason == "unit"
    assert verdict.hint == hint


def test_the_hint_for_the_unit_heals(pulse_train):
    wave = good(pulse_train)
    for factor, unit in ((0.1333224, "kPa"), (10.0, "0.1 mmHg"), (133.3224, "Pa"), (1.35951, "cmH2O")):
        verdict = assess(factor * wave, FS, unit=unit)
        assert verdict.usable, verdict.message
        assert verdict.mean == pytest.approx(wave.mean(), rel=1e-4)


def test_counts_are_named_as_counts(pulse_train):
    verdict = assess(np.round(16 * good(pulse_train) + 2048), FS)
    assert verdict.reason == "unit"
    assert "ADC counts" in verdict.message


@pytest.mark.parametrize(
    ("unit", "said"), [(None, "no unit is stated"), ("mV", "the unit is mV"), ("adu", "the unit is adu")]
)
def test_a_pressure_needs_a_unit_of_pressure(unit, said, pulse_train):
    verdict = assess(good(pulse_train), FS, unit=unit)
    assert verdict.reason == "unit"
    assert said in verdict.message
    assert verdict.hint.startswith("--unit ART=mmHg")


def test_a_short_gap_is_interpolated_and_said(pulse_train):
    wave = good(pulse_train)
    wave[500:525] = np.nan  # 0.2 s, the longest bridged
    verdict = assess(wave, FS, start_s=40.0)
    assert verdict.usable
    assert verdict.n_interpolated == 25
    finding = next(f for f in verdict.findings if f.code == "interpolated")
    assert (finding.start_s, finding.end_s) == (44.0, 44.2)
    wave[525] = np.nan
    assert assess(wave, FS).reason == "gap"


def test_few_clipped_samples_warn_and_mark_the_extremes(pulse_train):
    wave = good(pulse_train, noise=0.05)
    wave = np.minimum(wave, np.quantile(wave, 0.965))
    verdict = assess(wave, FS)
    assert verdict.usable, verdict.message
    finding = next(f for f in verdict.findings if f.code == "clipped")
    assert {"SBP", "PP"} <= set(finding.marks)


def test_rounding_to_whole_mmhg_is_not_clipping(pulse_train):
    for seed in range(10):
        verdict = assess(pulse_train(seed, duration_s=8.0, step=1.2, noise=0.0, pulse=60.0).wave, FS)
        assert verdict.usable, verdict.message
        assert not any(f.code == "clipped" for f in verdict.findings)


def test_irregular_rhythm_is_a_finding_on_the_rate(pulse_train):
    verdict = assess(good(pulse_train, spread=0.25), FS)
    assert verdict.usable
    assert any(f.code == "irregular" and "HR" in f.marks for f in verdict.findings)
    assert not any(f.code == "irregular" for f in assess(good(pulse_train, spread=0.01), FS).findings)


def test_a_splice_is_a_finding_where_it_is(pulse_train):
    wave = good(pulse_train, spread=0.0, rate=60.0)
    peak = 250 + int(wave[250:400].argmax())
    joined = np.concatenate([wave[: peak + 5], wave[peak + 60 :], wave[:55]])
    finding = next(f for f in assess(joined, FS, start_s=16.0).findings if f.code == "splice")
    assert finding.start_s == pytest.approx(16.0 + (peak + 5) / FS, abs=0.02)
    assert "HR" in finding.marks
    assert not [f for f in assess(wave, FS).findings if f.code == "splice"]


def test_noise_and_coarse_steps_are_findings(pulse_train):
    verdict = assess(good(pulse_train, noise=2.2, pulse=25.0, step=0.0), FS)
    assert verdict.usable
    assert [f.code for f in verdict.findings] == ["noisy"]
    verdict = assess(good(pulse_train, noise=0.0, pulse=14.0, step=1.0), FS)
    assert "coarse" in {f.code for f in verdict.findings}


def test_every_second_pulse_small_is_double_counting(pulse_train):
    verdict = assess(good(pulse_train, alternans=0.62, breathing=0.0), FS)
    assert verdict.reason == "double-counting"
    assert "rate may be" in verdict.message


def test_too_short_a_window_is_refused(pulse_train):
    verdict = assess(good(pulse_train)[:400], FS)
    assert verdict.reason == "too-short"
    assert "3.20 s" in verdict.message


def test_other_rates_give_the_same_verdict(pulse_train):
    for fs in (62.5, 100.0, 240.0, 500.0, 1000.0):
        assert assess(pulse_train(2, duration_s=8.0, fs=fs).wave, fs).usable
        assert assess(200 - pulse_train(2, duration_s=8.0, fs=fs).wave, fs).reason == "inverted"


def test_oximetry_needs_no_unit_and_no_level(pulse_train):
    wave = pulse_train(3, duration_s=8.0, mean=0.0, pulse=0.02, noise=1e-4, step=0.0, catheter=(5.0, 0.9)).wave
    assert assess(wave, FS, role="PLETH", unit=None).usable
    assert assess(np.zeros(1000), FS, role="PLETH", unit=None).reason == "flat"


def test_channels_without_pulses_are_checked_for_gaps_and_dead_stretches_only():
    slow = 10 + 3 * np.sin(2 * np.pi * 0.25 * T)
    assert assess(slow, FS, role="CVP").usable
    assert assess(np.full(1000, 9.0), FS, role="CVP").reason == "flat"


@pytest.mark.parametrize(("wave", "fs", "match"), [(np.zeros((2, 9)), 125.0, r"wave must have shape \(time,\)"),
                                                   (np.zeros(9), -1.0, "fs must be positive")])  # fmt: skip
def test_wrong_arguments_are_named(wave, fs, match):
    with pytest.raises(ValueError, match=match):
        assess(wave, fs)


def test_all_missing_is_a_gap():
    verdict = assess(np.full(1000, np.nan), FS)
    assert verdict.reason == "gap"
    assert np.isnan(verdict.mean)


def test_infinite_values_count_as_missing(pulse_train):
    wave = good(pulse_train)
    wave[100] = np.inf
    verdict = assess(wave, FS)
    assert verdict.usable
    assert verdict.n_interpolated == 1


def test_every_reason_is_explained():
    assert all(text and text[0].islower() for text in REASONS.values())
