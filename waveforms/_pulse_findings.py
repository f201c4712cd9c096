r"""What is seen in the pulses of a window without refusing it, each with the quantities it makes less certain."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter1d

from ._faults import Seen, Signal
from .beats import Beats

__all__ = ["pulse_findings"]

IRREGULAR = 0.1
r"""Standard deviation of the beat intervals over their mean; breathing alone stays below."""
COARSE = 0.04
r"""Digital step over the height of the pulse: fewer than 25 levels draw it."""
NOISY = 0.05
r"""Noise faster than 20 Hz over the height of the pulse."""
SPLICE_S = 0.008
r"""A fall within this time [s] ..."""
SPLICE_SHARE = 0.35
r"""... by this share of the pulse is a splice or a lost stretch: no artery drains, and no line rings, so fast."""


def pulse_findings(signal: Signal, beats: Beats) -> tuple[Seen, ...]:
    r"""Irregular rhythm, splices, coarse steps and noise."""
    if beats.n < 3:
        return ()
    height = float(np.nanmedian(beats.peaks - beats.feet))
    return (*_irregular(signal, beats), *_splices(signal, height), *_coarse(signal, height), *_noisy(signal, height))


def _irregular(signal: Signal, beats: Beats) -> tuple[Seen, ...]:
    intervals = beats.intervals_s
    if float(intervals.std() / intervals.mean()) <= IRREGULAR:
        return ()
    message = f"irregular rhythm: beat intervals from {intervals.min():.2f} to {intervals.max():.2f} s"
    return (("irregular", message, float(beats.onsets_s[0]), float(beats.onsets_s[-1]), ("HR", "SV", "CO")),)


def _splices(signal: Signal, height: float) -> tuple[Seen, ...]:
    reach = max(1, round(SPLICE_S * signal.fs))
    fall = signal.wave[:-reach] - signal.wave[reach:]
    at = int(fall.argmax())
    if fall[at] < max(SPLICE_SHARE * height, 12 * float(np.median(np.abs(fall)))):  # no splice among equals: noise
        return ()
    start, end = at / signal.fs, (at + reach) / signal.fs
    message = f"the signal falls by {fall[at]:.3g} within {(end - start) * 1000:.0f} ms: samples lost or pieces joined"
    return (("splice", message, start, end, ("HR", "SV", "CO", "LVET")),)


def _coarse(signal: Signal, height: float) -> tuple[Seen, ...]:
    if signal.step <= COARSE * height:
        return ()
    message = f"coarse digital steps of {signal.step:.2g} for a pulse of {height:.3g}"
    return (("coarse", message, 0.0, len(signal.wave) / signal.fs, ("PWV", "C")),)


def _noisy(signal: Signal, height: float) -> tuple[Seen, ...]:
    rough = signal.wave - gaussian_filter1d(signal.wave, max(0.008 * signal.fs, 0.5), mode="nearest")
    share = float(rough.std()) / max(height, 1e-12)
    if share <= NOISY:
        return ()
    message = f"noise of {share:.0%} of the pulse"
    return (("noisy", message, 0.0, len(signal.wave) / signal.fs, ("LVET", "PWV", "C")),)
