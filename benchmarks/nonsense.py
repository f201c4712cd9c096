r"""Windows for `benchmarks.domain`: good real arterial pressure, real signals that are none, and made-up nonsense.

Every window is 8 s at 125 Hz, in mmHg or said to be. The recordings are read where they lie and never copied.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from pulsebayes.waveforms.readers import read
from pulsebayes.waveforms.recording import Recording
from pulsebayes.waveforms.units import convert
from pulsebayes.waveforms.windows import cut_windows

FS = 125.0
SAMPLES = 1000
ICU = "mimic2_testicu/TestICU.hea"
WFDB = "physionet_wfdb"


def real_folder() -> Path | None:
    """The folder of real recordings, None where there is none."""
    here = Path(__file__).resolve().parents[1]
    folder = Path(os.environ.get("PULSEBAYES_DATA") or here.parent / "shared" / "data") / "real"
    return folder if folder.is_dir() else None


def cut(recording: Recording, channel: str, *, gated: bool = False) -> np.ndarray:
    """Windows (N, 1000) of a channel that hold every sample; `gated`: only those that the quality gate lets pass."""
    windows = cut_windows(recording, (channel,), fs=FS)
    kept = [w.values[0] for w in windows if np.isfinite(w.values).all() and (w.verdict.usable or not gated)]
    return np.array(kept, np.float32).reshape(-1, SAMPLES)


def good_pressure(real: Path) -> dict[str, np.ndarray]:
    """Real arterial pressure that the gate lets pass, by recording."""
    found = {
        name: cut(read(real / WFDB / f"{name}.hea"), "ART", gated=True)
        for name in ("mixedsignals", "3975656_0015", "041s")
    }
    found["TestICU"] = cut(read(real / ICU, roles={"col 3": "ART"}, units={"ART": "mmHg"}), "ART", gated=True)
    for path in sorted((real / "vitalrecorder_demo").glob("*.vital")):
        found[path.stem] = cut(read(path), "ART", gated=True)
    for path, fs in (("cardiovascularmodels_abp_30s_125Hz.csv", None), ("waveformtools_abp_40s_125Hz.csv", FS)):
        found[path.split("_")[0]] = cut(
            read(real / "abp_short" / path, fs=fs, units={"ART": "mmHg"}), "ART", gated=True
        )
    found["uci_cuffless"] = np.concatenate([cut(r, "ABP", gated=True) for r in _uci(real, "ABP", "mmHg")])
    return found


def oximetry(real: Path) -> dict[str, np.ndarray]:
    """Real pulse oximetry in units of its own, by recording."""
    found = {"uci_cuffless": np.concatenate([cut(r, "PPG") for r in _uci(real, "PPG", "NU")])}
    found["bidmc"] = cut(read(real / "bidmc" / "bidmc_01_Signals.csv"), "PLETH")
    found["mixedsignals"] = cut(read(real / WFDB / "mixedsignals.hea"), "PLETH")
    found["041s"] = cut(read(real / WFDB / "041s.hea"), "PLETH")
    found["TestICU col 5"] = cut(read(real / ICU), "col 5")
    vital = [cut(read(p), "PLETH") for p in sorted((real / "vitalrecorder_demo").glob("*.vital"))]
    return {**found, "vital": np.concatenate(vital)}


def leads(real: Path) -> np.ndarray:
    """Real electrocardiograms [mV]."""
    found = [cut(r, "ECG") for r in _uci(real, "ECG", "mV")]
    for name, channels in (
        ("mixedsignals", ("II", "III", "V")),
        ("3975656_0015", ("II", "V")),
        ("041s", ("III", "I", "V")),
    ):
        recording = read(real / WFDB / f"{name}.hea")
        found += [cut(recording, channel) for channel in channels]
    found.append(cut(read(real / ICU), "col 1"))
    return np.concatenate(found)


def pulmonary(real: Path) -> np.ndarray:
    """Real pulmonary arterial pressure [mmHg]."""
    icu = read(real / ICU, units={"col 4": "mmHg"})
    return np.concatenate([cut(read(real / WFDB / "041s.hea"), "PAP"), cut(icu, "col 4")])


def _uci(real: Path, channel: str, unit: str) -> Iterator[Recording]:
    for path in sorted((real / "uci_cuffless").glob("*.npz")):
        with np.load(path) as stored:
            values, fs = stored[channel].astype(np.float64), float(stored["fs"])
        yield Recording.from_arrays(path.stem, {channel: values}, fs=fs, units={channel: unit})


def as_arterial(windows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Windows scaled to means of 60 to 110 and heights of 30 to 80 mmHg; those that do not move are left out."""
    low, high = np.quantile(windows, [0.02, 0.98], axis=1)
    windows = windows[high > low]
    height = (high - low)[high > low]
    mean, pulse = rng.uniform(60, 110, (len(windows), 1)), rng.uniform(30, 80, (len(windows), 1))
    return (windows - windows.mean(axis=1, keepdims=True)) / height[:, None] * pulse + mean


def distorted(windows: np.ndarray) -> dict[str, np.ndarray]:
    """Arterial pressure made wrong: inverted, reversed, in kPa, at half speed, doubled."""
    half = np.array([np.interp(np.arange(SAMPLES) / 2, np.arange(SAMPLES), w) for w in windows])
    return {
        "inverted": 2 * windows.mean(axis=1, keepdims=True) - windows,
        "reversed in time": windows[:, ::-1],
        "in kPa": np.asarray(convert(windows, "mmHg", "kPa")),
        "half speed": half,
        "doubled": 2 * windows,
    }


def made_up(rng: np.random.Generator, n: int) -> dict[str, np.ndarray]:
    """Noise, sines and squares at pulse rates, venous pressure."""
    seconds = np.arange(SAMPLES) / FS
    turns = rng.uniform(40, 160, (n, 1)) / 60 * seconds + rng.uniform(0, 1, (n, 1))
    white = rng.standard_normal((n, SAMPLES))
    spectrum = np.fft.rfft(white) / np.sqrt(np.arange(SAMPLES // 2 + 1) + 1)
    venous = _venous(rng, n, seconds)
    return {
        "white noise": as_arterial(white, rng),
        "pink noise": as_arterial(np.fft.irfft(spectrum, SAMPLES), rng),
        "sine": as_arterial(np.sin(2 * np.pi * turns), rng),
        "square": as_arterial(np.sign(np.sin(2 * np.pi * turns)) + 0.02 * white, rng),
        "venous pressure": venous,
        "venous, shifted to arterial mean": venous - venous.mean(axis=1, keepdims=True) + rng.uniform(60, 110, (n, 1)),
        "venous, scaled to arterial": as_arterial(venous, rng),
    }


def teeth_and_breaths(rng: np.random.Generator, n: int) -> dict[str, np.ndarray]:
    """Sawtooths that rise or fall, as they are and with noise, at pulse rates; breathing, 8 to 30 breaths a minute."""
    seconds = np.arange(SAMPLES) / FS
    phase = (rng.uniform(40, 160, (n, 1)) / 60 * seconds + rng.uniform(0, 1, (n, 1))) % 1.0
    noise = 0.02 * rng.standard_normal((n, SAMPLES))
    pace = rng.uniform(8, 30, (n, 1)) / 60
    turns = pace * seconds + rng.uniform(0, 1, (n, 1)) + rng.uniform(0, 0.05, (n, 1)) * np.sin(0.5 * pace * seconds)
    share = rng.uniform(0.3, 0.5, (n, 1))  # of a breath that is breathed in
    within = turns % 1.0
    breath = np.where(within < share, 0.5 * within / share, 0.5 + 0.5 * (within - share) / (1 - share))
    breath = 0.5 - 0.5 * np.cos(2 * np.pi * breath)
    return {
        "sawtooth, rising": as_arterial(phase, rng),
        "sawtooth, falling": as_arterial(-phase, rng),
        "sawtooth, rising, with noise": as_arterial(phase + noise, rng),
        "sawtooth, falling, with noise": as_arterial(-phase + noise, rng),
        "respiration": as_arterial(breath + noise, rng),
    }


def breathing(real: Path) -> np.ndarray:
    """Real respiration by impedance, in units of its own."""
    files = [
        real / "bidmc" / "bidmc_01_Signals.csv",
        *(real / WFDB / f"{name}.hea" for name in ("mixedsignals", "041s")),
    ]
    return np.concatenate([cut(read(path), "RESP") for path in files])


def _venous(rng: np.random.Generator, n: int, seconds: np.ndarray) -> np.ndarray:
    """a, c and v waves, x and y descents, breathing, noise; from 0 to 25 mmHg."""
    beats = rng.uniform(50, 120, (n, 1)) / 60 * seconds + rng.uniform(0, 1, (n, 1))
    phase = beats % 1.0
    wave = np.zeros_like(phase)
    for place, width, low, high in (
        (0.15, 0.07, 0.5, 1),
        (0.32, 0.04, 0.1, 0.4),
        (0.65, 0.09, 0.3, 1),
        (0.45, 0.07, -0.6, -0.2),
    ):
        distance = np.abs(phase - place - rng.uniform(-0.03, 0.03, (n, 1)))
        wave += rng.uniform(low, high, (n, 1)) * np.exp(-0.5 * (np.minimum(distance, 1 - distance) / width) ** 2)
    wave = wave * rng.uniform(2, 8, (n, 1)) / np.ptp(wave, axis=1, keepdims=True)
    breath = rng.uniform(0.5, 2, (n, 1)) * np.sin(
        2 * np.pi * (rng.uniform(0.15, 0.35, (n, 1)) * seconds + rng.random((n, 1)))
    )
    wave = wave + breath + rng.uniform(0.02, 0.3, (n, 1)) * rng.standard_normal(wave.shape)
    return np.clip(wave - wave.mean(axis=1, keepdims=True) + rng.uniform(3, 17, (n, 1)), 0, 25)
