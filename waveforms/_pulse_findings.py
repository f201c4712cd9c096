r"""What is seen in the pulses of a window without refusing it, each with the quantities it makes less certain."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter1d

from ._faults import Seen, Signal
from .beats import Beats

__all__ = ["pulse_findings"]

IRREGULAR = 0.1
r"""Standard deviation of the beat intervals over their mean; breathing alone stays below."""
ODD, ODD_TIMES = 0.09, 3.5
r"""One interval is told if it is off the usual one by this share, and by so many times what the others are."""
STEEP = 1.6
r"""A rise so many times as steep as any other is no heart's."""
WEAK = 0.18
r"""Pulse pressure over mean pressure below which the pulse is weak; healthy adults have .3 to .6."""
LOW_DIASTOLE_MMHG, LOW_MEAN_MMHG = 30.0, 48.0
r"""Diastolic and mean pressures below which the zero is asked for [mmHg]."""
COARSE = 0.04
r"""Digital step over the height of the pulse: fewer than 25 levels draw it."""
NOISY = 0.05
r"""Noise faster than 20 Hz over the height of the pulse."""
SPLICE_S = 0.008
r"""A fall within this time [s] ..."""
SPLICE_SHARE = 0.35
r"""... by this share of the pulse is a splice or a lost stretch: no artery drains, and no line rings, so fast."""


def pulse_findings(signal: Signal, beats: Beats) -> tuple[Seen, ...]:
    r"""Irregular rhythm, splices, coarse steps, noise, weak pulses and low levels."""
    if beats.n < 3:
        return ()
    height = float(np.nanmedian(beats.peaks - beats.feet))
    seen = (*_irregular(signal, beats), *_splices(signal, height), *_coarse(signal, height), *_noisy(signal, height))
    return seen if signal.role == "PLETH" else (*seen, *_weak(signal), *_low(signal))


def _irregular(signal: Signal, beats: Beats) -> tuple[Seen, ...]:
    intervals = beats.intervals_s
    share = intervals / np.median(intervals)
    if float(intervals.std() / intervals.mean()) <= IRREGULAR:
        off = np.abs(share - 1.0)
        odd = int(off.argmax())
        if off[odd] < max(ODD, ODD_TIMES * float(np.median(off))):
            return ()
        start, end = float(beats.onsets_s[odd]), float(beats.onsets_s[odd + 1])
        message = (
            f"one interval of {intervals[odd]:.2f} s among {np.median(intervals):.2f} s: an odd beat, or samples lost"
        )
        return (("irregular", message, start, end, ("HR", "SV", "CO")),)
    message = f"irregular rhythm: beat intervals from {intervals.min():.2f} to {intervals.max():.2f} s"
    return (("irregular", message, float(beats.onsets_s[0]), float(beats.onsets_s[-1]), ("HR", "SV", "CO")),)


def _splices(signal: Signal, height: float) -> tuple[Seen, ...]:
    reach = max(1, round(SPLICE_S * signal.fs))
    fall = signal.wave[:-reach] - signal.wave[reach:]
    at = int(fall.argmax())
    way = "falls"
    if fall[at] < max(SPLICE_SHARE * height, 12 * float(np.median(np.abs(fall)))):  # no splice among equals: noise
        at, fall, way = int(fall.argmin()), -fall, "rises"
        beside = np.abs(np.arange(len(fall)) - at) > 0.1 * signal.fs
        if fall[at] < max(0.2 * height, STEEP * float(fall[beside].max())):
            return ()
    start, end = at / signal.fs, (at + reach) / signal.fs
    message = f"the signal {way} by {fall[at]:.3g} within {(end - start) * 1000:.0f} ms: samples lost or pieces joined"
    return (("splice", message, start, end, ("HR", "SV", "CO", "LVET")),)


def _coarse(signal: Signal, height: float) -> tuple[Seen, ...]:
    if signal.step <= COARSE * height:
        return ()
    message = f"coarse digital steps of {signal.step:.2g} for a pulse of {height:.3g}"
    return (("coarse", message, 0.0, len(signal.wave) / signal.fs, ("PWV", "C")),)


def _weak(signal: Signal) -> tuple[Seen, ...]:
    low, high = (float(q) for q in np.quantile(signal.wave, [0.02, 0.98]))
    mean = float(signal.wave.mean())
    if high - low >= WEAK * mean:
        return ()
    message = f"a pulse of {high - low:.0f} mmHg at a mean of {mean:.0f}: a damped line, or hardly any output"
    return (("weak", message, 0.0, len(signal.wave) / signal.fs, ("SBP", "DBP", "PP", "SV", "CO")),)


def _low(signal: Signal) -> tuple[Seen, ...]:
    low, mean = float(np.quantile(signal.wave, 0.02)), float(signal.wave.mean())
    if low >= LOW_DIASTOLE_MMHG and mean >= LOW_MEAN_MMHG:
        return ()
    message = f"diastole {low:.0f} mmHg, mean {mean:.0f} mmHg: check the zero and the height of the transducer"
    return (("low-level", message, 0.0, len(signal.wave) / signal.fs, ("SBP", "DBP", "MAP", "SVR")),)


def _noisy(signal: Signal, height: float) -> tuple[Seen, ...]:
    rough = signal.wave - gaussian_filter1d(signal.wave, max(0.008 * signal.fs, 0.5), mode="nearest")
    share = float(rough.std()) / max(height, 1e-12)
    if share <= NOISY:
        return ()
    message = f"noise of {share:.0%} of the pulse"
    return (("noisy", message, 0.0, len(signal.wave) / signal.fs, ("LVET", "PWV", "C")),)
