r"""What a wave shows of the person and of the recording: rhythm, secondary waves, clipping, noise.

Parameters say who a person is, not what happened in the eight seconds that were recorded. These do, and so they may
separate regimes that parameters only foreshadow.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from numba import njit

__all__ = ["wave_covariates"]

_UPSTROKE = 0.5  # least rise of an upstroke, of the typical one
_EDGE = 1e-3  # of the range: samples so near to an end are cut off there


@njit(cache=True)
def _rises(waves: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Relative spread of the intervals between upstrokes, and the share of all rises that is in no upstroke."""
    n, length = waves.shape
    spread, rest = np.zeros(n), np.zeros(n)
    height, begin = np.zeros(length), np.zeros(length)
    for row in range(n):
        count = 0
        i = 1
        while i < length:
            if waves[row, i] <= waves[row, i - 1]:
                i += 1
                continue
            first = i - 1
            while i < length and waves[row, i] > waves[row, i - 1]:
                i += 1
            height[count], begin[count] = waves[row, i - 1] - waves[row, first], first
            count += 1
        least = 0.0  # of the rise in which a height is typically gained
        for k in range(count):
            least += _UPSTROKE * height[k] ** 2
        least /= max(height[:count].sum(), 1e-12)
        total, up, last, beats = 0.0, 0.0, -1.0, 0
        gaps, squares = 0.0, 0.0
        for k in range(count):
            total += height[k]
            if height[k] < least:
                continue
            up += height[k]
            if begin[k] == 0:  # cut off: it began before
                continue
            if last >= 0:
                gaps += begin[k] - last
                squares += (begin[k] - last) ** 2
                beats += 1
            last = begin[k]
        if beats > 1:
            mean = gaps / beats
            spread[row] = np.sqrt(max(squares / beats - mean * mean, 0.0)) / mean
        rest[row] = 1 - up / total if total > 0 else 0.0
    return spread, rest


def wave_covariates(
    waves: Float[np.ndarray, "N W"], windows: Float[np.ndarray, "N T"]
) -> dict[str, Float[np.ndarray, " N"]]:
    r"""Computes covariates of one channel's waves.

    Arguments:
        waves: Waves before any sensor.
        windows: What was recorded of them.

    Returns:
        ``beat_variation`` (relative spread of the intervals between upstrokes) and ``secondary_rise`` (share of all
        rises that is in no upstroke: the dicrotic wave and late reflections) of the wave, ``clipped`` (share of samples
        at either end of the range) and ``roughness`` (second differences over the standard deviation) of the
        recording; none of waves too short to have any.

    Example:
        >>> t = np.arange(800) / 100.0
        >>> found = wave_covariates(np.sin(2 * np.pi * t)[None], np.clip(np.sin(2 * np.pi * t), -1, 0.9)[None])
        >>> round(float(found["beat_variation"][0]), 3), bool(found["clipped"][0] > 0.1)
        (0.0, True)
    """
    if min(waves.shape[1], windows.shape[1]) < 8:
        return {}
    variation, secondary = _rises(np.ascontiguousarray(waves, np.float64))
    values = np.asarray(windows, np.float64)
    low, high = values.min(1, keepdims=True), values.max(1, keepdims=True)
    near = _EDGE * (high - low)
    bend = np.diff(values, n=2, axis=1).std(1) / np.maximum(values.std(1), 1e-12)
    return {
        "beat_variation": variation,
        "secondary_rise": secondary,
        "clipped": ((values <= low + near) | (values >= high - near)).mean(1),
        "roughness": bend,
    }
