r"""R peaks of an electrocardiogram, to check the beats of pressure and oximetry against.

The lead is filtered from 5 to 20 Hz, the squared slope is averaged over 80 ms, and its maxima above a fifth of what is
typical, at least 0.25 s apart, are the QRS complexes; the R peak is the largest deflection within 60 ms.

References:
    Pan, Tompkins (1985), A real-time QRS detection algorithm, IEEE Trans Biomed Eng 32, 230-236.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy.ndimage import median_filter
from scipy.signal import butter, find_peaks, sosfiltfilt

__all__ = ["detect_r_peaks"]

BAND_HZ = (5.0, 20.0)
AVERAGED_S = 0.08
APART_S = 0.25
LEAST = 0.2
BLOCK_S = 2.0
SEARCH_S = 0.06


def detect_r_peaks(wave: Float[np.ndarray, " time"], fs: float) -> Float[np.ndarray, " beats"]:
    r"""Find the R peaks of an electrocardiogram.

    Arguments:
        wave: One lead, of either sign, NaN where missing [any unit].
        fs: Sampling rate [Hz], 50 at least.

    Returns:
        Times of the R peaks from the first sample [s].

    Raises:
        ValueError: If `wave` is not one-dimensional or `fs` is too low.

    Example:
        >>> import numpy as np
        >>> from pulsebayes.waveforms import detect_r_peaks
        >>> t = np.arange(0, 10, 1 / 250)
        >>> beats = np.exp(-(((t - 0.4) % 0.8 - 0.4) ** 2) / 2 / 0.012**2)
        >>> [round(float(time), 2) for time in detect_r_peaks(beats, 250.0)[1:3]]
        [0.8, 1.6]
    """
    wave = np.asarray(wave, dtype=np.float64)
    if wave.ndim != 1 or not fs >= 50:
        raise ValueError(f"wave must have shape (time,) at 50 Hz or more, got {wave.shape} at {fs} Hz")
    missing = ~np.isfinite(wave)
    if missing.all() or len(wave) < fs:
        return np.zeros(0)
    index = np.arange(len(wave))
    wave = np.interp(index, index[~missing], wave[~missing])
    band = sosfiltfilt(butter(2, BAND_HZ, "band", fs=fs, output="sos"), wave)
    energy = np.convolve(np.gradient(band) ** 2, np.ones(max(3, round(AVERAGED_S * fs))), "same")
    blocks = [float(piece.max()) for piece in np.array_split(energy, max(1, round(len(energy) / fs / BLOCK_S)))]
    typical = np.repeat(median_filter(np.array(blocks), 9, mode="nearest"), -(-len(energy) // len(blocks)))
    floor = LEAST * np.resize(typical, len(energy))
    places, _ = find_peaks(energy, height=np.maximum(floor, 1e-18), distance=max(1, round(APART_S * fs)))
    reach = max(1, round(SEARCH_S * fs))
    exact = [max(p - reach, 0) + int(np.abs(band[max(p - reach, 0) : p + reach + 1]).argmax()) for p in places.tolist()]
    return np.asarray(sorted({k for k in exact if not missing[k]}), dtype=np.float64) / fs
