r"""The numbers a monitor prints beside a wave: rate and pressures of a stretch, measured, not estimated.

Rate is $60 / \overline{RR}$ of the beats found; systolic and diastolic pressure are the medians over beats of peak and
foot; the mean is that of all samples. A channel without pulses has a mean only.

Units: 1/min and the unit of the wave.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from .beats import Beats, detect_beats
from .quality import PULSATILE_ROLES
from .quantities import heart_rate

__all__ = ["Numerals", "read_numerals"]

_FEWEST_BEATS = 2
_LEAST_PRESENT = 0.5


@dataclass(frozen=True)
class Numerals:
    r"""What a monitor would print; NaN where it cannot be told.

    Arguments:
        rate: Pulse rate [1/min].
        systolic: Median peak [unit of the wave].
        diastolic: Median foot [unit of the wave].
        mean: Mean [unit of the wave].
        beats: The beats found.

    Example:
        >>> Numerals(72.0, 120.0, 70.0, 90.0, detect_beats(np.zeros(100), 125.0)).rate
        72.0
    """

    rate: float
    systolic: float
    diastolic: float
    mean: float
    beats: Beats


def read_numerals(wave: Float[np.ndarray, " time"], fs: float, *, role: str | None) -> Numerals:
    r"""Measures a stretch of one channel.

    Arguments:
        wave: Samples, NaN where missing.
        fs: Sampling rate [Hz].
        role: Role of the channel; without pulses only a mean is given.

    Returns:
        The numbers.

    Example:
        >>> phase = (np.arange(1000) / 125) % 0.75
        >>> found = read_numerals(70 + 60 * np.exp(-phase / 0.3) * np.minimum(phase / 0.1, 1), 125.0, role="ART")
        >>> round(found.rate)
        80
    """
    present = np.isfinite(wave)
    nothing = detect_beats(np.zeros(0), fs)
    mean = float(wave[present].mean()) if present.any() else float("nan")
    if role not in PULSATILE_ROLES or present.mean() < _LEAST_PRESENT:
        return Numerals(float("nan"), float("nan"), float("nan"), mean, nothing)
    beats = detect_beats(wave, fs, role="PLETH" if role == "PLETH" else "ART")
    if beats.n < _FEWEST_BEATS:
        return Numerals(float("nan"), float("nan"), float("nan"), mean, beats)
    high, low = (_median(v) for v in (beats.peaks, beats.feet))
    return Numerals(float(heart_rate(beats.mean_interval_s)), high, low, mean, beats)


def _median(values: Float[np.ndarray, " beats"]) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else float("nan")
