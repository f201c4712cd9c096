"""The gate, the windows and the beats on real recordings: good windows kept, bad ones refused, faults caught.

`pytest -s tests/waveforms/test_quality_real.py` prints the shares.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from scipy.signal import butter, find_peaks, sosfiltfilt

from pulsebayes.waveforms import read
from pulsebayes.waveforms.beats import detect_beats
from pulsebayes.waveforms.quality import Verdict, assess
from pulsebayes.waveforms.recording import Recording
from pulsebayes.waveforms.windows import Window, cut_windows

MMHG = {"ART": "mmHg"}
COL3 = {"roles": {"col 3": "ART"}, "units": MMHG}
# name: folder and file, options of `read`, where the good part begins [s], windows of 8 s that are truly bad after it
GOOD: dict[str, tuple[str, dict, float, int]] = {
    "041s": ("physionet_wfdb/041s.hea", {}, 0, 0),
    "mixedsignals": ("physionet_wfdb/mixedsignals.hea", {}, 2, 0),
    "3975656_0015": ("physionet_wfdb/3975656_0015.hea", {}, 20, 0),
    "TestICU": ("mimic2_testicu/TestICU.hea", COL3, 0, 0),
    "vital demo 1": ("vitalrecorder_demo/test_intellivue_demo1.vital", {}, 0, 0),
    "vital demo 2": ("vitalrecorder_demo/test_intelliue_demo2.vital", {}, 0, 0),
    "vital demo 3": ("vitalrecorder_demo/test_data_demo.vital", {}, 2, 1),
    "csv 30 s": ("abp_short/cardiovascularmodels_abp_30s_125Hz.csv", {"units": MMHG}, 0, 0),
    "csv 40 s": ("abp_short/waveformtools_abp_40s_125Hz.csv", {"fs": 125.0, "units": MMHG}, 0, 0),
    "uci 1": ("uci_cuffless/rec_1.npz", {}, 0, 0),
    "uci 2": ("uci_cuffless/rec_2.npz", {}, 0, 0),
    "uci 4": ("uci_cuffless/rec_4.npz", {}, 0, 0),
    "uci 8": ("uci_cuffless/rec_8.npz", {}, 0, 0),
}


def load(root: Path, file: str, **options: object) -> Recording:
    if file.endswith(".npz"):
        arrays = np.load(root / file)
        waves = {"ABP": arrays["ABP"], "PPG": arrays["PPG"], "ECG": arrays["ECG"]}
        return Recording.from_arrays(file, waves, fs=float(arrays["fs"]), units={"ABP": "mmHg", "ECG": "mV"})
    return read(root / file, **options)


def reasons(windows: Iterator[Window]) -> Counter[str | None]:
    return Counter(w.verdict.reason for w in windows)


@pytest.fixture(scope="module")
def pieces(real_data: Path) -> list[np.ndarray]:
    """Every second good window of 8 s at 125 Hz."""
    found = []
    for file, options, start_s, _ in GOOD.values():
        for window in cut_windows(load(real_data, file, **options), start_s=start_s, every_s=16.0):
            if window.verdict.usable:
                found.append(window.values[0].astype(np.float64))
    return found


@pytest.mark.parametrize("name", GOOD)
def test_good_windows_are_kept(name, real_data):
    file, options, start_s, bad = GOOD[name]
    windows = list(cut_windows(load(real_data, file, **options), start_s=start_s))
    refused = [w.verdict.message for w in windows if not w.verdict.usable]
    print(f"{name:16} kept {len(windows) - len(refused)} of {len(windows)} {refused}")
    assert len(refused) <= bad, refused


def test_starts_of_windows_do_not_matter(real_data):
    """Windows every second, where the good recordings are good: the share refused stays under half a per cent."""
    refused = total = 0
    for name in ("mixedsignals", "3975656_0015", "uci 1", "csv 40 s", "TestICU"):
        file, options, start_s, _ = GOOD[name]
        counts = reasons(cut_windows(load(real_data, file, **options), start_s=start_s, every_s=1.0))
        total, refused = total + counts.total(), refused + counts.total() - counts[None]
    print(f"overlapping windows: {refused} of {total} refused")
    assert refused <= 0.005 * total


def test_pressures_of_31_mmhg_are_refused_as_too_low(real_data):
    counts = reasons(cut_windows(read(real_data / "physionet_wfdb/03700181.hea"), every_s=2.0))
    assert set(counts) == {"level"}


def test_a_dead_line_is_refused_throughout(real_data):
    counts = reasons(cut_windows(read(real_data / "physionet_wfdb/3234460_0018.hea")))
    assert None not in counts
    assert counts["flat"] > 0.5 * counts.total()


def test_railed_and_zeroed_stretches_are_refused_and_the_rest_kept(real_data):
    windows = list(cut_windows(read(real_data / "physionet_wfdb/3975656_0013.hea")))
    bad = {w.start_s for w in windows if not w.verdict.usable}
    assert bad == {0.0, 8.0, 16.0, 128.0, 136.0}  # at the rail, open to air, at the rail again; opened at the end
    windows = list(cut_windows(read(real_data / "physionet_wfdb/3975656_0015.hea")))
    assert {w.start_s: w.verdict.reason for w in windows if not w.verdict.usable} == {0.0: "flat", 8.0: "railed"}


def test_a_clipped_recording_is_refused_and_says_how_much(real_data):
    loadmat = pytest.importorskip("scipy.io").loadmat
    wave = loadmat(real_data / "mimic2_testicu/abpsampledata.mat")["data_simp"][:, 0]
    verdicts = [assess(wave[i : i + 1000], 125.0) for i in range(0, len(wave) - 999, 1000)]
    assert {v.reason for v in verdicts} == {"clipped"}
    assert "cut off at 135.1" in verdicts[0].message


def tenths(root: Path) -> np.ndarray:
    rows = (root / "aphp_demo/Art-20040915081233_20040915121232.csv").read_text().split()
    return np.array([float(v) for row in rows if "," in row for v in row.split(",")[1:]])


def test_tenths_of_mmhg_are_refused_with_the_unit_and_kept_with_it(real_data):
    wave = tenths(real_data)
    for i in range(0, len(wave) - 1023, 1024):
        verdict = assess(wave[i : i + 1024], 128.0)
        assert verdict.reason == "unit"
        assert verdict.hint == '--unit "ART=0.1 mmHg" if the values are 0.1 mmHg'
        assert assess(wave[i : i + 1024], 128.0, unit="0.1 mmHg").usable


def test_missing_units_are_refused_with_the_option(real_data):
    made = read(real_data / "abp_short/cardiovascularmodels_abp_30s_125Hz.csv")
    verdict = next(cut_windows(made)).verdict
    assert verdict.reason == "unit"
    assert verdict.hint.startswith("--unit ART=mmHg")


OTHERS = {
    "041s": ("physionet_wfdb/041s.hea", ["III", "I", "V", "PLETH", "RESP"]),
    "mixedsignals": ("physionet_wfdb/mixedsignals.hea", ["II", "III", "V", "Pleth", "Resp"]),
    "3975656_0015": ("physionet_wfdb/3975656_0015.hea", ["II", "V"]),
    "a103l": ("physionet_wfdb/a103l.hea", ["II", "V", "PLETH"]),
    "v102s": ("physionet_wfdb/v102s.hea", ["II", "V", "PLETH", "RESP"]),
    "uci 1": ("uci_cuffless/rec_1.npz", ["PPG", "ECG"]),
    "uci 4": ("uci_cuffless/rec_4.npz", ["PPG", "ECG"]),
}


@pytest.mark.parametrize("name", OTHERS)
def test_ecg_oximetry_and_respiration_called_mmhg_are_refused(name, real_data):
    file, channels = OTHERS[name]
    made = load(real_data, file)
    for channel in channels:
        found = made.channel(channel)
        wave, n = made.values(channel), round(8 * found.fs)
        verdicts = [assess(wave[i : i + n], found.fs) for i in range(0, len(wave) - n + 1, n)]
        assert verdicts
        assert not [v for v in verdicts if v.usable], channel


def scaled(wave: np.ndarray) -> np.ndarray:
    """Any signal made to look like 70 to 130 mmHg."""
    low, high = np.quantile(wave, [0.01, 0.99])
    return 70 + 60 * (wave - low) / (high - low)


def test_ecg_scaled_to_mmhg_is_refused_by_its_shape(real_data):
    kept = total = 0
    leads = {
        "physionet_wfdb/mixedsignals.hea": ["II", "V"],
        "physionet_wfdb/3975656_0015.hea": ["II", "V"],
        "uci_cuffless/rec_1.npz": ["ECG"],
        "uci_cuffless/rec_2.npz": ["ECG"],
    }
    for file, channels in leads.items():
        made = load(real_data, file)
        for channel in channels:
            fs = made.channel(channel).fs
            wave, n = made.values(channel).astype(np.float64), round(8 * fs)
            for i in range(n, len(wave) - n + 1, n):
                kept, total = kept + assess(scaled(wave[i : i + n]), fs).usable, total + 1
    print(f"ECG scaled to 70..130 mmHg: {total - kept} of {total} refused")
    assert kept <= 0.05 * total


def test_respiration_scaled_to_mmhg_is_refused(real_data):
    kept = total = 0
    files = {
        "physionet_wfdb/mixedsignals.hea": "Resp",
        "physionet_wfdb/03700181.hea": "RESP",
        "physionet_wfdb/v102s.hea": "RESP",
        "vitalrecorder_demo/test_intelliue_demo2.vital": "RESP",
    }
    for file, channel in files.items():
        made = load(real_data, file)
        fs = made.channel(channel).fs
        wave, n = made.values(channel).astype(np.float64), round(8 * fs)
        for i in range(n, len(wave) - n + 1, n):
            if np.isfinite(wave[i : i + n]).all() and np.ptp(wave[i : i + n]) > 0:
                kept, total = kept + assess(scaled(wave[i : i + n]), fs).usable, total + 1
    print(f"respiration scaled to 70..130 mmHg: {total - kept} of {total} refused")
    assert kept <= 0.05 * total


FAULTS: dict[str, tuple[Callable[[np.ndarray, np.random.Generator], np.ndarray], set[str], float]] = {
    "kPa": (lambda w, r: w * 0.133322, {"unit"}, 1.0),
    "0.1 mmHg": (lambda w, r: w * 10, {"unit"}, 1.0),
    "Pa": (lambda w, r: w * 133.322, {"unit"}, 1.0),
    "ADC counts": (lambda w, r: np.round(w * 16 + 2048), {"unit"}, 1.0),
    "inverted": (lambda w, r: 200 - w, {"inverted"}, 0.98),
    "sign changed": (lambda w, r: -w, {"inverted"}, 1.0),
    "time reversed": (lambda w, r: w[::-1], {"inverted"}, 0.98),
    "not zeroed, -90": (lambda w, r: w - 90, {"not-zeroed", "level"}, 1.0),
    "gap of 0.4 s": (lambda w, r: np.where(np.abs(np.arange(1000) - 500) < 25, np.nan, w), {"gap"}, 1.0),
    "dead for 3 s": (lambda w, r: np.where(np.arange(1000) > 625, w[625], w), {"flat"}, 1.0),
    "railed for 1 s": (lambda w, r: np.where(np.abs(np.arange(1000) - 500) < 63, 300.0, w), {"railed"}, 1.0),
    "flush of 1 s": (
        lambda w, r: np.where(np.abs(np.arange(1000) - 500) < 63, 250 + 5 * r.standard_normal(1000), w),
        {"flush"},
        1.0,
    ),
    "opened for 2 s": (
        lambda w, r: np.where(np.abs(np.arange(1000) - 500) < 125, r.standard_normal(1000), w),
        {"flush", "flat", "not-zeroed"},
        0.99,
    ),
    "clipped at 80 %": (lambda w, r: np.minimum(w, w.min() + 0.8 * np.ptp(w)), {"clipped"}, 0.92),
    "white noise": (lambda w, r: w.mean() + w.std() * r.standard_normal(1000), {"noise"}, 1.0),
    "phases shuffled": (lambda w, r: surrogate(w, r), {"noise", "shape", "inverted", "double-counting"}, 0.5),
    "drowned in noise": (
        lambda w, r: w + 0.6 * np.ptp(w) * r.standard_normal(1000),
        {"noise", "shape", "not-zeroed", "flush"},
        0.98,
    ),
    "sine": (lambda w, r: w.mean() + 20 * np.sin(2 * np.pi * 1.3 * np.arange(1000) / 125), {"shape"}, 1.0),
    "ramp": (lambda w, r: np.linspace(w.min(), w.max(), 1000), {"ramp"}, 1.0),
    "dying, x 0.35": (lambda w, r: 0.35 * w, {"level", "unit"}, 0.75),  # 0.35 of 125 mmHg is a possible patient
}


def surrogate(wave: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The wave with its spectrum and random phases."""
    spectrum = np.fft.rfft(wave - wave.mean())
    mixed = np.fft.irfft(np.abs(spectrum) * np.exp(2j * np.pi * rng.random(len(spectrum))), len(wave))
    return wave.mean() + mixed


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_made_of_good_windows_are_caught(fault, pieces):
    make, wanted, share = FAULTS[fault]
    rng = np.random.default_rng(11)
    verdicts: list[Verdict] = [assess(make(wave, rng), 125.0) for wave in pieces]
    caught = np.mean([not v.usable for v in verdicts])
    named = np.mean([v.reason in wanted for v in verdicts])
    print(f"{fault:18} refused {caught:.3f}, for the right reason {named:.3f} of {len(verdicts)}")
    assert caught >= share
    assert named >= share - 0.05


def r_peaks(ecg: np.ndarray, fs: float) -> np.ndarray:
    """R peaks by the energy of the slope between 5 and 20 Hz [s]."""
    band = sosfiltfilt(butter(2, [5, 20], "band", fs=fs, output="sos"), ecg)
    energy = np.convolve(np.gradient(band) ** 2, np.ones(max(3, round(0.08 * fs))), "same")
    typical = np.median([piece.max() for piece in np.array_split(energy, max(3, len(energy) // round(2 * fs)))])
    return find_peaks(energy, height=0.2 * typical, distance=round(0.3 * fs))[0] / fs


@pytest.mark.parametrize(
    ("file", "ecg", "start_s", "end_s", "agree"),
    [
        ("physionet_wfdb/mixedsignals.hea", "II", 5, 228, 0.97),  # the premature beats eject little or nothing
        ("physionet_wfdb/3975656_0015.hea", "V", 20, 240, 0.97),
        ("physionet_wfdb/3975656_0013.hea", "V", 26, 118, 0.97),
        ("uci_cuffless/rec_1.npz", "ECG", 0, 480, 0.98),
        ("uci_cuffless/rec_2.npz", "ECG", 0, 480, 0.98),
        ("uci_cuffless/rec_4.npz", "ECG", 0, 550, 0.98),
    ],
)
def test_every_r_peak_has_its_pulse(file, ecg, start_s, end_s, agree, real_data):
    made = load(real_data, file)
    art, lead = made.channel("ART"), made.channel(ecg)
    pressure = made.values("ART", start_s, end_s).astype(np.float64)
    onsets = detect_beats(pressure, art.fs).onsets_s
    peaks = r_peaks(np.nan_to_num(made.values(ecg, start_s, end_s).astype(np.float64)), lead.fs)
    delay = np.median([o - peaks[peaks < o][-1] for o in onsets[onsets > peaks[0]]])  # heart to wrist, and the filters
    expected = peaks + delay
    expected = expected[(expected > 1) & (expected < end_s - start_s - 1)]
    inner = onsets[(onsets > 1) & (onsets < end_s - start_s - 1)]
    sensitivity = np.mean([np.abs(onsets - t).min() < 0.1 for t in expected])
    predictivity = np.mean([np.abs(peaks + delay - t).min() < 0.1 for t in inner])
    print(f"{file:34} {len(expected)} R peaks: sensitivity {sensitivity:.4f}, predictivity {predictivity:.4f}")
    assert sensitivity >= agree
    assert predictivity >= agree


def test_beats_agree_with_the_monitors_heart_rate(real_data):
    """The monitor's demo beats 60 times a minute."""
    for window in cut_windows(read(real_data / "vitalrecorder_demo/test_intelliue_demo2.vital")):
        assert window.verdict.heart_rate == pytest.approx(60.0, abs=0.2)


def test_oximetry_of_monitors_is_kept(real_data):
    files = ["physionet_wfdb/mixedsignals.hea", "uci_cuffless/rec_1.npz", "uci_cuffless/rec_4.npz"]
    for file in [*files, "vitalrecorder_demo/test_intelliue_demo2.vital"]:
        counts = reasons(cut_windows(load(real_data, file), ("PLETH",), start_s=8))
        assert counts[None] >= 0.98 * counts.total(), (file, counts)
