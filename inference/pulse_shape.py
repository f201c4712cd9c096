r"""What the domain verdict sees of a window: its median pulse and how its pulses differ, not the posterior's embedding.

Beats are found as the quality gate finds them. Over the beats of the window the median is taken, which leaves ectopic
beats and single artefacts aside, of

- the **pulse**, from onset to onset in 48 equal parts of its own interval;
- the **upstroke**, from 80 ms before the onset to 200 ms after it;
- the **course**, from 20 ms to 1.3 s after the onset in steps of 8 %, held where the next beat begins.

All are scaled to foot 0 and height 1, so that gain and zero of the transducer drop out. **Traits** are single numbers
that have names: rate, steepness, asymmetry, levels, variability; the reason of a verdict is told in their words.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.ndimage import gaussian_filter1d

from ..waveforms.beats import Beats, detect_beats

__all__ = ["TRAITS", "PulseShape", "pulse_shape"]

SMOOTHING_S = 0.012
r"""Standard deviation of the Gaussian that takes off noise and digital steps [s]."""
LEAD_S = 0.08
r"""Time before the onset that belongs to the upstroke [s]."""
UPSTROKE_S = 0.2
r"""Time after it [s]."""
RELATIVE_SD = 25.0
r"""Standard deviation to which a wave without a unit is scaled."""
PHASES = (np.arange(48) + 0.5) / 48
UPSTROKE_STEPS = 36
COURSE_S = np.geomspace(0.02, 1.3, 56)
r"""Times after the onset at which the course is taken [s]; a wave played slower is shifted along them."""
FEWEST = 2
r"""Whole beats without which a window has no shape."""
TRAITS: dict[str, tuple[str, str]] = {
    "rate": ("the pulse is slower than simulated ones", "the pulse is faster than simulated ones"),
    "steepness": ("the upstroke is too slow", "the upstroke is too steep"),
    "asymmetry": ("the beat falls faster than it rises", "the beat rises far faster than it falls"),
    "rise": ("the peak comes too early in the beat", "the peak comes too late in the beat"),
    "fullness": ("the pulse is too narrow for its height", "the pulse stays near its peak for too long"),
    "trough": ("the pulse rises before its foot", "the pulse falls steeply right up to its foot"),
    "mean": ("the mean pressure is lower than simulated", "the mean pressure is higher than simulated"),
    "pulse": ("the pulse pressure is too small", "the pulse pressure is too large"),
    "feet": ("the feet of the beats are too alike", "the feet of the beats vary too much"),
    "likeness": ("the beats are too alike", "the beats differ too much from each other"),
    "intervals": ("the beat intervals are too even", "the beat intervals vary too much"),
    "roughness": ("the wave is too smooth", "the wave is too rough between its beats"),
}
r"""Names of the traits, with what is wrong when one is too low and when it is too high."""

RELATIVE_TRAITS: dict[str, tuple[str, str]] = TRAITS | {
    "pulse": ("the pulses are too small for how the window moves", "the pulses stand out too far for how it moves"),
}
r"""The same for a wave without a unit."""


class PulseShape(NamedTuple):
    r"""Shape of the pulses of one window.

    Arguments:
        pulse: Median pulse over its interval, foot 0 and height 1.
        upstroke: Median upstroke in equal steps of time, scaled likewise.
        traits: One number for each of ``TRAITS``.
        course: Median course of pressure after the onset over ``COURSE_S``, scaled likewise.

    Example:
        >>> PulseShape(np.zeros(48), np.zeros(36), np.zeros(len(TRAITS)), np.zeros(56)).traits.shape
        (12,)
    """

    pulse: Float[np.ndarray, " 48"]
    upstroke: Float[np.ndarray, " 36"]
    traits: Float[np.ndarray, " trait"]
    course: Float[np.ndarray, " 56"]


def pulse_shape(window: Float[np.ndarray, " T"], fs: float, *, role: str = "ART") -> PulseShape | None:
    r"""Describes the pulses of a window.

    Arguments:
        window: Pressure without missing samples [mmHg].
        fs: Sampling rate [Hz].
        role: ``"ART"``, or ``"PLETH"`` for a wave without a unit, which is scaled by itself.

    Returns:
        The shape; None where there are fewer than two whole beats.

    Raises:
        ValueError: If the window is not one-dimensional or the rate not positive.

    Example:
        >>> phase = (np.arange(1000) / 125) % 0.75
        >>> wave = 70 + 60 * np.exp(-phase / 0.3) * np.minimum(phase / 0.1, 1)
        >>> shape = pulse_shape(wave, 125.0)
        >>> round(float(np.exp(shape.traits[list(TRAITS).index("rate")])))
        80
        >>> pulse_shape(np.zeros(1000), 125.0) is None
        True
    """
    wave = np.asarray(window, dtype=np.float64)
    if role == "PLETH":
        wave = RELATIVE_SD * (wave - wave.mean()) / max(float(wave.std()), 1e-12)
    beats = detect_beats(wave, fs, role=role)
    if beats.n <= FEWEST:
        return None
    whole = np.flatnonzero(beats.onsets_s[:-1] > LEAD_S)
    if len(whole) < FEWEST:
        return None
    starts, intervals = beats.onsets_s[whole], beats.intervals_s[whole]
    seconds = np.arange(len(wave)) / fs
    smooth = gaussian_filter1d(wave, SMOOTHING_S * fs, mode="nearest")
    pulses = np.interp(starts[:, None] + PHASES * intervals[:, None], seconds, smooth)
    steps = np.linspace(-LEAD_S, UPSTROKE_S, UPSTROKE_STEPS)
    pulse = np.median(pulses, axis=0)
    upstroke = np.median(np.interp(starts[:, None] + steps, seconds, smooth), axis=0)
    course = np.median(np.interp(starts[:, None] + np.minimum(COURSE_S, intervals[:, None]), seconds, smooth), axis=0)
    foot = float(min(pulse.min(), upstroke.min()))
    height = float(max(pulse.max(), upstroke.max())) - foot
    if not height > 1e-6:
        return None
    pulse, upstroke, course = ((part - foot) / height for part in (pulse, upstroke, course))
    level = _levels(wave, smooth, beats, (pulses - foot) / height, pulse, height)
    if role == "PLETH":
        level[0] = 0.0  # its mean is rounding
    return PulseShape(pulse, upstroke, np.array([*_slopes(pulse, upstroke, intervals), *level]), course)


def _slopes(
    pulse: Float[np.ndarray, " 48"], upstroke: Float[np.ndarray, " 36"], intervals: Float[np.ndarray, " beats"]
) -> list[float]:
    r"""Rate, steepness, asymmetry, rise, fullness and trough."""
    interval = float(np.median(intervals))
    rising = np.diff(upstroke) / ((LEAD_S + UPSTROKE_S) / (UPSTROKE_STEPS - 1))
    falling = np.diff(pulse, append=pulse[0]) * len(pulse) / interval
    steepest, fall = max(float(rising.max()), 0.1), max(float(-falling.min()), 0.1)
    late = slice(-len(pulse) // 8, -1)
    return [
        float(np.log(60.0 / interval)),
        float(np.log(steepest)),
        float(np.log(steepest / fall)),
        float(np.log(PHASES[pulse.argmax()])),
        float(pulse.mean()),
        float(-falling[late].min() / steepest),
    ]


def _levels(
    wave: Float[np.ndarray, " T"],
    smooth: Float[np.ndarray, " T"],
    beats: Beats,
    pulses: Float[np.ndarray, "beats 48"],
    pulse: Float[np.ndarray, " 48"],
    height: float,
) -> list[float]:
    r"""Mean, pulse pressure, and how feet, shapes, intervals and single samples vary."""
    shifted = pulses - pulses.mean(axis=1, keepdims=True)
    spread = np.median(np.abs(shifted - (pulse - pulse.mean())))
    roughness = float(np.std(wave - smooth)) / height
    intervals = beats.intervals_s
    return [
        float(wave.mean()) / 30.0,
        float(np.log(height)),
        float(np.log(np.std(beats.feet) / height + 0.005)),
        float(np.log(spread + 0.003)),
        float(np.log(np.std(intervals) / np.mean(intervals) + 0.005)),
        float(np.log(roughness + 0.003)),
    ]
