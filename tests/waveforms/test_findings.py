"""Warnings on line, rhythm and devices; central venous pressure; channels checked against each other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pulsebayes.waveforms import Recording, assess, cross_check, detect_r_peaks, read, unzeroed_until
from pulsebayes.waveforms._line_findings import flush_response

FS = 125.0


def codes(wave: np.ndarray, fs: float = FS, **named: str) -> dict[str, tuple[str, ...]]:
    return {finding.code: finding.marks for finding in assess(wave, fs, **named).findings}


def venous(seed: int = 0, mean: float = 8.0, seconds: float = 8.0) -> np.ndarray:
    """Right-atrial waves of 3 mmHg on breathing of 3 mmHg."""
    t = np.arange(round(seconds * FS)) / FS
    heart = np.sin(2 * np.pi * 1.2 * t) + 0.6 * np.sin(4 * np.pi * 1.2 * t + 1)
    noise = 0.1 * np.random.default_rng(seed).standard_normal(len(t))
    return mean + 1.2 * heart + 1.5 * np.sin(2 * np.pi * 0.25 * t) + noise


def second_order(wave: np.ndarray, frequency: float, damping: float, fs: float) -> np.ndarray:
    from scipy.signal import bilinear, lfilter, lfilter_zi

    omega = 2 * np.pi * frequency
    b, a = bilinear([omega**2], [1, 2 * damping * omega, omega**2], fs)
    return lfilter(b, a, wave, zi=lfilter_zi(b, a) * wave[0])[0]


@pytest.mark.parametrize(("frequency", "damping"), [(15.0, 0.2), (10.0, 0.15), (20.0, 0.35), (8.0, 0.5)])
def test_a_flush_tells_the_line(pulse_train: Callable, frequency: float, damping: float) -> None:
    fs = 1000.0
    wave = pulse_train(3, fs=fs, duration_s=8.0, noise=0.0, step=0.0, catheter=(40.0, 0.7)).wave
    wave[4000:5000] = 300.0
    found = flush_response(second_order(wave, frequency, damping, fs), fs)
    assert found is not None
    assert found[0] == pytest.approx(frequency, rel=0.15)
    assert found[1] == pytest.approx(damping, abs=0.08)
    assert found[2] == pytest.approx(5.0, abs=0.05)


def test_a_flush_of_a_ringing_line_marks_the_systolic_quantities(pulse_train: Callable) -> None:
    wave = pulse_train(3, fs=500.0, duration_s=8.0, catheter=(40.0, 0.7)).wave
    wave[2000:2500] = 300.0
    verdict = assess(second_order(wave, 12.0, 0.15, 500.0), 500.0)
    assert verdict.reason in ("flush", "railed")
    ringing = next(f for f in verdict.findings if f.code == "ringing" and "flush" in f.message)
    assert {"SBP", "PP"} <= set(ringing.marks)
    assert ringing.start_s == pytest.approx(5.0, abs=0.05)


def test_ringing_and_damped_lines_are_told_by_the_shape_of_the_beats() -> None:
    phase = (np.arange(10000) / 1000) % 0.8
    sharp = 70 + 60 * np.exp(-phase / 0.3) * np.minimum(phase / 0.06, 1)
    noise = 0.2 * np.random.default_rng(0).standard_normal(1000)

    def behind(frequency: float, damping: float) -> np.ndarray:
        return second_order(sharp, frequency, damping, 1000.0)[1000:9000:8] + noise

    assert not {"ringing", "damped"} & set(codes(behind(35.0, 0.6)))
    assert {"SBP", "PP"} <= set(codes(behind(11.0, 0.08))["ringing"])
    assert {"SBP", "PP", "PWV"} <= set(codes(behind(2.5, 1.4))["damped"])


def test_premature_beats_alternans_and_pacing_are_told(pulse_train: Callable) -> None:
    steady = pulse_train(2, duration_s=8.0, spread=0.02).wave
    assert not {"premature", "alternans", "paced", "balloon-pump"} & set(codes(steady))
    assert "paced" in codes(pulse_train(2, duration_s=8.0, spread=0.0, breathing=0.0).wave)
    weak = pulse_train(2, duration_s=8.0, spread=0.01, alternans=0.3, breathing=0.0).wave
    assert codes(weak)["alternans"] == ("SV", "CO")
    found = [codes(pulse_train(seed, duration_s=8.0, spread=0.01, ectopy=0.12).wave) for seed in range(12)]
    assert sum("premature" in one for one in found) >= 5


def test_a_balloon_pump_is_told(pulse_train: Callable) -> None:
    t = np.arange(1000) / FS
    phase = t % 0.8
    systole = 40 * np.exp(-(((phase - 0.16) / 0.07) ** 2)) + 12 * np.exp(-(((phase - 0.31) / 0.12) ** 2))
    augmented = 45 * np.exp(-(((phase - 0.46) / 0.09) ** 2))
    rng = np.random.default_rng(0)
    pumped = 65 + systole + augmented + 0.2 * rng.standard_normal(1000)
    verdict = assess(pumped, FS)
    assert "balloon-pump" in {f.code for f in verdict.findings}
    every_third = 65 + systole + 0.9 * augmented * ((t // 0.8).astype(int) % 3 == 0) + 0.2 * rng.standard_normal(1000)
    assert "balloon-pump" in {f.code for f in assess(every_third, FS).findings}


VENOUS: dict[str, tuple[Callable[[np.ndarray], np.ndarray], str | None]] = {
    "good": (lambda w: w, None),
    "failing heart": (lambda w: w + 20, None),
    "below zero a little": (lambda w: w - 10, None),
    "not zeroed": (lambda w: w - 60, "not-zeroed"),
    "0.1 mmHg": (lambda w: w * 10, "level"),
    "counts": (lambda w: np.round(w * 16 + 2048), "unit"),
    "flat": (lambda w: w * 0 + 7.0, "flat"),
    "gap": (lambda w: np.where(np.abs(np.arange(1000) - 500) < 25, np.nan, w), "gap"),
    "flush": (lambda w: np.where(np.abs(np.arange(1000) - 500) < 80, 250 + np.sin(np.arange(1000)), w), "flush"),
    "railed": (lambda w: np.where(np.abs(np.arange(1000) - 500) < 80, 40.0, w), "railed"),
    "noise": (lambda w: w + 8 * np.random.default_rng(1).standard_normal(1000), "noise"),
    "ramp": (lambda w: np.linspace(2, 20, 1000), "ramp"),
}


@pytest.mark.parametrize("name", VENOUS)
def test_central_venous_pressure_is_judged_by_its_own_limits(name: str) -> None:
    change, reason = VENOUS[name]
    verdict = assess(change(venous()), FS, role="CVP")
    assert verdict.reason == reason, verdict.message
    if reason is not None:
        assert verdict.hint
        assert "CVP at" in verdict.message


def test_an_arterial_wave_is_no_venous_one(pulse_train: Callable) -> None:
    assert assess(pulse_train(1, duration_s=8.0).wave, FS, role="CVP").reason in ("level", "shape")
    assert assess(venous(), FS, role="CVP", unit=None).reason == "unit"
    assert assess(venous()[:300], FS, role="CVP").reason == "too-short"


OXIMETRY: dict[str, tuple[Callable[[np.ndarray], np.ndarray], set[str]]] = {
    "flat": (lambda w: np.where(np.arange(1000) > 500, w[500], w), {"flat"}),
    "gap": (lambda w: np.where(np.abs(np.arange(1000) - 500) < 25, np.nan, w), {"gap"}),
    "clipped": (lambda w: np.minimum(w, w.min() + 0.6 * np.ptp(w)), {"clipped", "railed"}),
    "noise": (lambda w: np.random.default_rng(1).standard_normal(1000), {"noise"}),
    "inverted": (lambda w: -w, {"inverted"}),
    "ramp": (lambda w: np.linspace(0, 1, 1000), {"ramp"}),
    "sine": (lambda w: np.sin(2 * np.pi * 1.3 * np.arange(1000) / FS), {"shape"}),
}


@pytest.mark.parametrize("name", OXIMETRY)
def test_oximetry_is_judged_without_a_unit(pulse_train: Callable, name: str) -> None:
    wave = pulse_train(4, duration_s=8.0, catheter=(6.0, 0.8), step=0.0).wave / 100
    assert assess(wave, FS, role="PLETH", unit=None).usable
    change, reasons = OXIMETRY[name]
    verdict = assess(change(wave), FS, role="PLETH", unit=None)
    assert verdict.reason in reasons, verdict.message
    assert verdict.hint


def test_a_wrong_rate_shows_in_a_second_channel(pulse_train: Callable) -> None:
    train = pulse_train(7, duration_s=64.0, spread=0.03)
    waves = {"ABP": train.wave, "PLETH": train.wave / 100}
    good = Recording.from_arrays("made", waves, fs=FS, units={"ABP": "mmHg"})
    assert cross_check(good) == ()
    wrong = Recording.from_arrays("made", waves, fs={"ABP": FS, "PLETH": 100.0}, units={"ABP": "mmHg"})
    (finding,) = cross_check(wrong)
    assert finding.code == "rate-mismatch"
    assert "a constant factor of 1.2" in finding.message


def test_a_monitors_heart_rate_is_compared(pulse_train: Callable) -> None:
    from pulsebayes.waveforms.readers.vital import Numbers

    made = Recording.from_arrays("m", {"ABP": pulse_train(7, duration_s=64.0).wave}, fs=FS, units={"ABP": "mmHg"})
    times = np.arange(0, 64, 2.0)
    assert cross_check(made, numbers={"Monitor/HR": Numbers(times, np.full(32, 75.0), "1/min")}) == ()
    (finding,) = cross_check(made, numbers={"Monitor/HR": Numbers(times, np.full(32, 60.0), "1/min")})
    assert "Monitor/HR 60" in finding.message


@pytest.mark.parametrize(
    "name", ["physionet_wfdb/mixedsignals.hea", "physionet_wfdb/3975656_0015.hea", "uci_cuffless/rec_1.npz"]
)
def test_channels_of_real_recordings_agree(real_data: Path, name: str) -> None:
    assert cross_check(read(real_data / name, units={"ART": "mmHg"})) == ()


def test_a_real_recording_under_a_wrong_rate_is_found_by_its_electrocardiogram(real_data: Path) -> None:
    stored = np.load(real_data / "uci_cuffless/rec_1.npz")
    waves = {"ABP": stored["ABP"], "ECG": stored["ECG"]}
    wrong = Recording.from_arrays("rec", waves, fs={"ABP": 100.0, "ECG": 125.0}, units={"ABP": "mmHg"})
    assert [f.code for f in cross_check(wrong)] == ["rate-mismatch"]


def test_the_stretch_before_zeroing_is_measured(real_data: Path) -> None:
    assert 10 <= unzeroed_until(read(real_data / "physionet_wfdb/3975656_0015.hea"), "ART") <= 18
    assert 18 <= unzeroed_until(read(real_data / "physionet_wfdb/3975656_0013.hea"), "ART") <= 26
    assert unzeroed_until(read(real_data / "physionet_wfdb/041s.hea"), "ART") == 0.0
    assert unzeroed_until(read(real_data / "physionet_wfdb/3234460_0018.hea"), "ART") == float("inf")


def test_r_peaks_of_both_signs_and_of_nothing() -> None:
    t = np.arange(0, 20, 1 / 250)
    beats = np.exp(-(((t - 0.4) % 0.8 - 0.4) ** 2) / 2 / 0.012**2)
    for sign in (1, -1):
        times = detect_r_peaks(sign * beats + 0.3 * np.sin(t), 250.0)
        assert len(times) == pytest.approx(25, abs=1)
        inner = times[(times > 0.5) & (times < 19.5)] / 0.8
        assert np.abs(inner - np.rint(inner)).max() < 0.03
    assert detect_r_peaks(np.zeros(1000), 250.0).size == 0
    with pytest.raises(ValueError, match="50 Hz or more"):
        detect_r_peaks(beats, 30.0)


@pytest.mark.parametrize("seconds", [1.0, 2.0, 3.0, 4.0])
def test_flushes_of_any_length_are_refused(pulse_train: Callable, seconds: float) -> None:
    for seed in range(8):
        wave = pulse_train(seed, duration_s=8.0).wave.copy()
        rng = np.random.default_rng(seed)
        first = int(rng.integers(60, 940 - round(seconds * FS)))
        wave[first : first + round(seconds * FS)] = 260.0 + 4.0 * rng.standard_normal(round(seconds * FS))
        assert not assess(wave, FS).usable


def test_a_line_damped_to_nothing_is_told(pulse_train: Callable) -> None:
    wave = pulse_train(3, duration_s=8.0).wave
    assert "weak" not in codes(wave)
    weak = wave.mean() + 0.2 * (wave - wave.mean())
    assert {"PP", "SV"} <= set(codes(weak)["weak"])


def test_a_level_that_is_hardly_alive_is_told(pulse_train: Callable) -> None:
    wave = pulse_train(3, duration_s=8.0).wave
    assert "low-level" not in codes(wave)
    assert "MAP" in codes(wave - np.quantile(wave, 0.02) + 15.0)["low-level"]


def test_lost_samples_are_told(pulse_train: Callable) -> None:
    wave = pulse_train(3, duration_s=9.0).wave
    told = [codes(np.delete(wave, np.s_[k : k + 38])[:1000]) for k in range(300, 800, 50)]
    assert sum(bool({"splice", "irregular", "premature"} & set(one)) for one in told) >= 9


def test_peaks_cut_off_in_coarse_steps_are_told(pulse_train: Callable) -> None:
    wave = pulse_train(3, duration_s=8.0, noise=0.0, step=0.0).wave
    coarse = np.round(wave)
    assert "clipped" not in codes(coarse)
    cut = assess(np.minimum(coarse, np.round(np.quantile(wave, 0.9))), FS)
    assert cut.reason == "clipped" or "clipped" in {f.code for f in cut.findings}


@pytest.mark.parametrize(
    ("made", "reason", "hint"),
    [
        (0.1333 * venous(), "unit", "--unit CVP=kPa"),
        (0.2 * np.random.default_rng(0).standard_normal(1000), "flat", "open to air"),
        (1e30 * venous(), "unit", "--unit CVP="),
        (-venous(), "not-zeroed", "zero"),
    ],
)
def test_a_vein_in_another_unit_or_without_life_is_refused(made: np.ndarray, reason: str, hint: str) -> None:
    verdict = assess(made, FS, role="CVP")
    assert verdict.reason == reason and hint in str(verdict.hint)


def test_a_vein_below_zero_is_told() -> None:
    assert "CVP" in codes(venous(mean=-2.0), role="CVP")["low-level"]


def test_a_rate_that_draws_no_pulse_is_refused() -> None:
    assert assess(np.arange(100.0), 3.0).reason == "slow"
