r"""Beats cut out of a wave, each from its onset to the next: what a picture lays over one another.

Units: seconds and the unit of the wave.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from jaxtyping import Float

from .beats import detect_beats

__all__ = ["cut_beats", "periodic_beat"]


def cut_beats(
    wave: Float[np.ndarray, " time"], fs: float, *, role: str = "ART"
) -> list[tuple[Float[np.ndarray, " beat"], Float[np.ndarray, " beat"]]]:
    r"""Cut a wave at the onsets of its beats.

    Arguments:
        wave: Samples without missing values.
        fs: Sampling rate [Hz].
        role: Role of the channel.

    Returns:
        For every whole beat the times from its onset [s] and the values.

    Example:
        >>> phase = (np.arange(1000) / 125) % 0.75
        >>> beats = cut_beats(70 + 60 * np.exp(-phase / 0.3) * np.minimum(phase / 0.1, 1), 125.0)
        >>> len(beats), bool(0.70 < beats[0][0][-1] < 0.76)
        (9, True)
    """
    onsets = detect_beats(wave, fs, role=role).onsets_s
    pieces = []
    for start, end in pairwise(onsets):
        first, stop = int(np.ceil(start * fs)), int(np.ceil(end * fs))
        pieces.append((np.arange(first, stop) / fs - start, np.asarray(wave[first:stop])))
    return pieces


def periodic_beat(
    beat: Float[np.ndarray, " phase"], period_s: float
) -> tuple[Float[np.ndarray, " phase"], Float[np.ndarray, " phase"]]:
    r"""A periodic beat turned so that it starts at its onset.

    Arguments:
        beat: Samples of one period.
        period_s: The period [s].

    Returns:
        Times from the onset [s] and the values; as it came where no onset is found.

    Example:
        >>> phase = ((np.arange(200) / 200 + 0.3) % 1) * 0.75
        >>> times, values = periodic_beat(70 + 60 * np.exp(-phase / 0.3) * np.minimum(phase / 0.1, 1), 0.75)
        >>> int(values.argmin()) < 10 or int(values.argmin()) > 190
        True
    """
    n = len(beat)
    onsets = detect_beats(np.tile(beat, 6), n / period_s).onsets_s
    inner = onsets[(onsets > 2 * period_s) & (onsets < 4 * period_s)]
    shift = round(float(inner[0]) * n / period_s) % n if len(inner) else 0
    return np.arange(n) * period_s / n, np.roll(beat, -shift)
