"""Beats against truth: known ejections of simulated trains, and R peaks of real electrocardiograms."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from pulsebayes.waveforms import detect_beats, detect_r_peaks, read
from pulsebayes.waveforms.recording import Recording

from .nonsense import real_folder
from .quality_trains import Train, trains
from .quality_windows import ABSENT
from .rows import Row

WITHIN_S = 0.1
REAL = {
    "mixedsignals": ("physionet_wfdb/mixedsignals.hea", "II", 5.0, 228.0),
    "3975656_0015": ("physionet_wfdb/3975656_0015.hea", "V", 20.0, 240.0),
    "3975656_0013": ("physionet_wfdb/3975656_0013.hea", "V", 26.0, 118.0),
    "uci 1": ("uci_cuffless/rec_1.npz", "ECG", 0.0, 480.0),
    "uci 2": ("uci_cuffless/rec_2.npz", "ECG", 0.0, 480.0),
    "uci 4": ("uci_cuffless/rec_4.npz", "ECG", 0.0, 550.0),
}


def beat_rows(quick: bool) -> Iterable[Row]:
    """Sensitivity, positive predictivity, and onset error, by kind of window."""
    for kind, made in trains(12 if quick else 150).items():
        yield from _score(f"simulated, {kind}", [_matched(train) for train in made])
    root = real_folder()
    for name, (file, lead, start_s, end_s) in REAL.items():
        if root is None:
            yield Row("beats", "pulsebayes", f"real, {name}", "sensitivity [%]", ABSENT)
            continue
        recording = read(root / file, units={"ART": "mmHg"})
        yield from _score(f"real, {name}, against R peaks of {lead}", [_real(recording, lead, start_s, end_s)])


Match = tuple[int, int, int, np.ndarray]
"""True beats found, true beats, beats found, and errors of the onsets found about their median [s]."""


def _matched(train: Train) -> Match:
    """Onsets against true starts of ejection; the delay of the line is the same for all beats of a train."""
    onsets = detect_beats(train.wave, train.fs).onsets_s
    return _pair(onsets, train.onsets_s, 0.7, len(train.wave) / train.fs - 0.7)


def _pair(onsets: np.ndarray, truth: np.ndarray, low: float, high: float) -> Match:
    if not len(onsets) or not len(truth):
        return 0, len(truth), len(onsets), np.zeros(0)
    lags = [onset - truth[truth <= onset + 0.03][-1] for onset in onsets if (truth <= onset + 0.03).any()]
    delay = float(np.median(lags))
    expected = truth + delay
    inner_true = expected[(expected > low) & (expected < high)]
    inner = onsets[(onsets > low) & (onsets < high)]
    nearest = np.array([onsets[np.abs(onsets - t).argmin()] - t for t in inner_true])
    found = np.abs(nearest) < WITHIN_S
    true = sum(bool(np.abs(expected - t).min() < WITHIN_S) for t in inner)
    return int(found.sum()), len(inner_true), len(inner) * 10_000 + true, nearest[found]


def _real(recording: Recording, lead: str, start_s: float, end_s: float) -> Match:
    art, ecg = recording.channel("ART"), recording.channel(lead)
    onsets = detect_beats(recording.values("ART", start_s, end_s).astype(np.float64), art.fs).onsets_s
    peaks = detect_r_peaks(recording.values(lead, start_s, end_s), ecg.fs)
    lags = np.array([onset - peaks[peaks < onset][-1] for onset in onsets if (peaks < onset).any()])
    shifted = peaks + float(np.median(lags)) - 1e-6
    return _pair(onsets, shifted, 1.0, end_s - start_s - 1.0)


def _score(setting: str, matches: list[Match]) -> Iterable[Row]:
    found, true = sum(m[0] for m in matches), sum(m[1] for m in matches)
    inner, right = sum(m[2] // 10_000 for m in matches), sum(m[2] % 10_000 for m in matches)
    errors = np.concatenate([m[3] for m in matches])
    text = f"{setting}, {true} beats"
    yield Row("beats", "pulsebayes", text, "sensitivity [%]", 100 * found / max(true, 1))
    yield Row("beats", "pulsebayes", text, "positive predictivity [%]", 100 * right / max(inner, 1))
    spread = float(np.quantile(np.abs(errors), 0.95)) * 1000
    yield Row("beats", "pulsebayes", text, "onset error, median [ms]", float(np.median(np.abs(errors))) * 1000, spread)
