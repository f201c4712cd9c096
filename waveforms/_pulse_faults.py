r"""Faults seen in level and pulses: what no artery of a living patient does.

The limits are wide on purpose: rates from 30 to 200 /min, mean pressures from 37 to 180 mmHg, pulses from 7 mmHg,
irregular and weak beats, damped and ringing lines all pass.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.ndimage import gaussian_filter1d

from ._faults import Fault, Signal
from .beats import Beats
from .units import convert

__all__ = ["pulse_faults"]

MEAN_MMHG = (37.0, 180.0)
r"""Mean arterial pressures of the living [mmHg]."""
PULSE_MMHG = (7.0, 220.0)
r"""Median pulse pressures accepted [mmHg]."""
RATE_PER_MIN = (30.0, 200.0)
r"""Pulse rates accepted [1/min]."""
WIDEST_MMHG = 285.0
r"""Pulse pressures accepted where every pulse is as large and as alike as the others, as in the stiff arteries of the
very old: a flush is one thing among pulses, a pulse is one of many [mmHg]."""
STEADY_LIKENESS, STEADY_HEIGHT = 0.97, (0.6, 1.5)
r"""Least median correlation of such pulses, and their heights over the median one."""
LEAST_LIKENESS = 0.87
r"""Median correlation of the pulses with their median pulse; noise of any colour stays below."""
ROUGHEST = 0.13
r"""Noise faster than 20 Hz, as a share of the pulse, above which its shape is lost; white noise has 0.17."""
FASTEST_RISE_S = 0.02
r"""Time from 10 to 90 % of the upstroke below which no ventricle and no catheter line can have drawn it [s]."""
SLOWEST_RISE_S = 0.23
r"""The same time above which it is no ejection but a breath or a wander [s]; late systolic peaks take up to 0.2."""
LEAST_SKEWNESS = (-2.0, -0.8)
r"""Skewness of the values: below the first spikes point down, below the second the wave is upside down; arteries stay
above -0.3, for they spend longer below their middle than above."""
NARROWEST_S = 0.062
r"""A pulse is wider than this at half its height [s]: ejection lasts longer; QRS complexes are narrower."""
SPIKY = (0.13, 0.035)
r"""Mean pulses narrower than the first [s] and rougher than the second are QRS complexes, wide ones too."""
DAMPED_RATE = 100.0
r"""Only above this rate [1/min] may a damped line make the rise as slow as the fall."""
INVERTED_RATIO = 0.75
r"""Steepest rise over steepest fall below which a wave is upside down or backwards in time."""
SYMMETRIC_RATIO = 1.02
r"""Steepest rise over steepest fall is larger, but for the most damped lines; sines and squares have 1."""
SKEWED = 0.3
r"""Skewness of the values beyond which even a damped wave shows which way is up; sines have 0."""
OTHER_UNITS = ("kPa", "cmH2O", "0.1 mmHg", "Pa", "hPa")
r"""Units tried, in this order, on values that cannot be mmHg."""


def pulse_faults(signal: Signal, beats: Beats) -> Fault | None:
    r"""First fault among unit, level, zero, pulse pressure, noise, rate, inversion, shape and double counting."""
    pulses = _pulses(signal, beats)
    checks = (_scale, _noise, _rate, _inverted, _shape, _double_counting)
    for check in checks:
        fault = check(signal, beats, pulses)
        if fault is not None:
            return fault
    return None


class _Pulses(NamedTuple):
    likeness: Float[np.ndarray, " beats"]
    height: Float[np.ndarray, " beats"]
    width_s: float
    up_over_down: float
    roughness: float
    rise_s: float
    skewness: float
    spikiness: float


def _pulses(signal: Signal, beats: Beats) -> _Pulses:
    r"""Shape of the pulses: likeness to the median pulse, height, width, steepness of rise and fall, roughness."""
    wave, fs = signal.wave, signal.fs
    rough = wave - gaussian_filter1d(wave, max(0.008 * fs, 0.5), mode="nearest")
    low, high = np.quantile(wave, [0.02, 0.98])
    centre = wave - wave.mean()
    skewness = float(np.mean(centre**3) / max(float(wave.std()) ** 3, 1e-12))
    roughness = float(rough.std() / max(high - low, 1e-12))
    smooth = gaussian_filter1d(wave, max(0.016 * fs, 0.5), mode="nearest")
    interval = float(np.median(beats.intervals_s)) if beats.n > 1 else 0.5
    lead, length = round(0.15 * fs), int(min(0.45, max(0.9 * interval, 0.2)) * fs)
    starts = (beats.onsets_s * fs).astype(int)
    starts = starts[(starts >= lead) & (starts + length < len(wave))]
    if len(starts) < 2:
        nan = float("nan")
        return _Pulses(np.zeros(0), np.zeros(0), nan, nan, roughness, nan, skewness, nan)
    pieces = smooth[starts[:, None] + np.arange(length)]
    pieces = pieces - pieces[:, :1]
    centred = pieces - pieces.mean(axis=1, keepdims=True)
    median = np.median(pieces, axis=0)
    typical = median - median.mean()
    norms = np.sqrt((centred**2).sum(axis=1) * (typical @ typical))
    likeness = centred @ typical / np.where(norms > 0, norms, 1.0)
    ratio = _up_over_down(smooth, starts, lead, max(length, int((interval - 0.15) * fs)))
    rise = _rise(wave, smooth, starts, fs)
    spikiness = float(rough[starts[:, None] + np.arange(length)].mean(axis=0).std() / max(high - low, 1e-12))
    return _Pulses(likeness, pieces.max(axis=1), _width(median, fs), ratio, roughness, rise, skewness, spikiness)


def _up_over_down(smooth: Float[np.ndarray, " time"], starts: np.ndarray, lead: int, length: int) -> float:
    r"""Steepest rise over steepest fall of the mean beat, from 0.15 s before its foot to 0.15 s before the next.

    The mean over beats is freer of noise than any of them; the fall of an inverted wave comes right before its foot.
    """
    whole = starts[starts + length < len(smooth)]
    whole = whole if len(whole) >= 2 else starts[:-1]
    index = np.minimum(whole[:, None] + np.arange(-lead, length), len(smooth) - 1)
    slope = np.diff(np.mean(smooth[index], axis=0))
    return float(slope.max() / max(-slope.min(), 1e-12))


def _rise(wave: Float[np.ndarray, " time"], smooth: Float[np.ndarray, " time"], starts: np.ndarray, fs: float) -> float:
    r"""Median time from 10 to 90 % of the upstroke on the unfiltered wave [s]."""
    times = []
    for start in starts.tolist():
        reach = smooth[start : start + int(0.35 * fs)]
        first = max(start - round(0.03 * fs), 0)
        piece = wave[first : start + int(reach.argmax()) + round(0.03 * fs) + 1]
        low, high = float(piece[: max(start - first, 1) + 1].min()), float(piece.max())
        late = int((piece >= low + 0.9 * (high - low)).argmax())
        early = np.flatnonzero(piece[: late + 1] <= low + 0.1 * (high - low))
        times.append((late - (int(early[-1]) if len(early) else 0)) / fs)
    return float(np.median(times))


def _width(pulse: Float[np.ndarray, " time"], fs: float) -> float:
    r"""Time that a pulse stays above half its height around its peak, between samples by straight lines [s]."""
    peak = int(pulse.argmax())
    half = 0.5 * float(pulse[peak])
    rise, fall = np.flatnonzero(pulse[:peak] <= half), np.flatnonzero(pulse[peak:] <= half)
    first, last = 0.0, float(len(pulse))
    if len(rise):
        i = int(rise[-1])
        first = i + (half - pulse[i]) / (pulse[i + 1] - pulse[i])
    if len(fall):
        i = peak + int(fall[0])
        last = i - (half - pulse[i]) / (pulse[i - 1] - pulse[i])
    return float(last - first) / fs


def _scale(signal: Signal, beats: Beats, pulses: _Pulses) -> Fault | None:
    r"""Mean, zero and pulse pressure in mmHg, and the unit in which they would be right."""
    if signal.role == "PLETH":
        return None
    wave, role = signal.wave, signal.role
    mean = float(wave.mean())
    low, high = (float(q) for q in np.quantile(wave, [0.02, 0.98]))
    widest = WIDEST_MMHG if _steady(pulses) else PULSE_MMHG[1]
    if MEAN_MMHG[0] <= mean <= MEAN_MMHG[1] and low > 5.0 and PULSE_MMHG[0] <= high - low <= widest:
        return None
    seen = f"mean {mean:.4g} mmHg, pulse {high - low:.4g} mmHg"
    pulsing = len(pulses.likeness) >= 2 and float(np.median(pulses.likeness)) > LEAST_LIKENESS
    for other in OTHER_UNITS if pulsing else ():
        size = float(convert(1.0, other, "mmHg"))
        if 40 <= mean * size <= 150 and 12 <= (high - low) * size <= 130 and low * size > 20 and not _outside(mean):
            return Fault(
                "unit", f"{seen}: no artery has that in mmHg, but one has in {other}", _unit_hint(role, other), 0.0
            )
    if (mean > MEAN_MMHG[1] and high - low > PULSE_MMHG[1]) or mean > 400:
        whole = bool(np.all(wave == np.round(wave)))
        what = "ADC counts" if whole else "another unit, or raw counts"
        return Fault("unit", f"{seen}: {what}", f"--unit {role}=UNIT, or convert counts with the file's gain", 0.0)
    return _level(signal, mean, low, high, seen)


def _steady(pulses: _Pulses) -> bool:
    r"""Whether the window is made of pulses of one size and shape."""
    height = pulses.height
    if len(height) < 3 or float(np.median(pulses.likeness)) < STEADY_LIKENESS:
        return False
    share = height / max(float(np.median(height)), 1e-9)
    return bool(share.min() >= STEADY_HEIGHT[0] and share.max() <= STEADY_HEIGHT[1])


def _outside(mean: float) -> bool:
    r"""Whether a mean could still be a pressure in mmHg, of a vein or of a dying patient."""
    return 20.5 < mean < MEAN_MMHG[1]


def _unit_hint(role: str, unit: str) -> str:
    option = f'"{role}={unit}"' if " " in unit else f"{role}={unit}"
    return f"--unit {option} if the values are {unit}"


def _level(signal: Signal, mean: float, low: float, high: float, seen: str) -> Fault:
    r"""The fault of a pressure in mmHg that is too low, too high, below zero or without a pulse."""
    role = signal.role
    if MEAN_MMHG[0] <= -mean <= MEAN_MMHG[1] and high < -5.0 and PULSE_MMHG[0] <= high - low <= PULSE_MMHG[1]:
        hint = "the sign is turned: multiply the channel by -1, or export it again"
        return Fault("inverted", f"{seen}: a pressure with the sign turned", hint, 0.0)
    if high - low < PULSE_MMHG[0]:
        hint = f"a venous or airway pressure, or a line without a pulse; check that the channel is {role}, and its unit"
        if high - low < 4 and abs(mean) < 4:
            hint = f"open to air, or no pressure in mmHg? choose the pressure channel with --channel NAME={role}"
        return Fault("not-pulsatile", f"{seen}: the pulse is too small to be arterial", hint, 0.0)
    if low <= 5.0 and high - low <= PULSE_MMHG[1]:
        at = int(signal.wave.argmin()) / signal.fs
        hint = "the transducer is not zeroed, or the line is open; check the zero, or choose another stretch"
        return Fault("not-zeroed", f"{seen}, lowest {signal.wave.min():.4g} mmHg: no artery goes so low", hint, at)
    if high - low > PULSE_MMHG[1]:
        at = int(signal.wave.argmax()) / signal.fs
        hint = f"flushed, opened or disconnected? choose another stretch, or check the unit (--unit {role}=UNIT)"
        return Fault("flush", f"{seen}, from {low:.0f} to {high:.0f} mmHg: no patient has such a pulse", hint, at)
    side = "low" if mean < MEAN_MMHG[0] else "high"
    limit = f"{MEAN_MMHG[0]:g} to {MEAN_MMHG[1]:g} mmHg"
    hint = f"check the zero of the transducer, the channel (is it {role}?) and the unit (--unit {role}=UNIT)"
    return Fault("level", f"{seen}: too {side} for a living patient's artery ({limit})", hint, 0.0)


def _noise(signal: Signal, beats: Beats, pulses: _Pulses) -> Fault | None:
    r"""Too few beats, pulses unlike each other, or sample-to-sample jumps as large as the pulse."""
    hint = f"no pulse here; check that the channel is {signal.role}, or choose another stretch"
    if len(pulses.likeness) < 2:
        return Fault("noise", f"only {beats.n} beats found in {len(signal.wave) / signal.fs:.1f} s", hint, 0.0)
    typical = float(np.median(pulses.likeness))
    if typical < LEAST_LIKENESS:
        at = float(beats.onsets_s[int(pulses.likeness.argmin())])
        return Fault("noise", f"the pulses do not resemble each other (correlation {typical:.2f})", hint, at)
    if pulses.roughness > ROUGHEST:
        return Fault("noise", f"noise of {pulses.roughness:.0%} of the pulse hides its shape", hint, 0.0)
    return None


def _inverted(signal: Signal, beats: Beats, pulses: _Pulses) -> Fault | None:
    ratio = pulses.up_over_down
    if signal.role == "PLETH" and ratio >= SYMMETRIC_RATIO:  # wander skews its values
        return None
    flipped = ratio < INVERTED_RATIO or pulses.skewness < (LEAST_SKEWNESS[1] if ratio >= SYMMETRIC_RATIO else -SKEWED)
    if not flipped or pulses.width_s < NARROWEST_S or pulses.skewness < LEAST_SKEWNESS[0]:
        return None
    seen = f"the steepest rise is {ratio:.2f} of the steepest fall, the skewness {pulses.skewness:.1f}"
    message = f"{seen}: upside down, or backwards in time"
    return Fault("inverted", message, "check the sign of the channel and the order of its samples", 0.0)


def _shape(signal: Signal, beats: Beats, pulses: _Pulses) -> Fault | None:
    r"""Too narrow for an ejection (an electrocardiogram), or rise and fall alike (sine, square, triangle)."""
    hint = f"another signal than {signal.role}? choose the channel with --channel NAME={signal.role}"
    spiky = pulses.width_s < SPIKY[0] and pulses.spikiness > SPIKY[1]
    damped = pulses.skewness >= SKEWED and pulses.spikiness < 0.02 and beats.mean_interval_s < 60.0 / DAMPED_RATE
    symmetric = pulses.up_over_down < SYMMETRIC_RATIO and not damped
    if pulses.width_s < NARROWEST_S or spiky:
        seen = f"the pulses last {pulses.width_s * 1000:.0f} ms at half height: too short for an ejection, as in an ECG"
    elif pulses.rise_s < FASTEST_RISE_S:
        seen = f"the upstrokes take {pulses.rise_s * 1000:.0f} ms: faster than any ventricle and catheter line"
    elif pulses.rise_s > SLOWEST_RISE_S:
        seen = f"the upstrokes take {pulses.rise_s * 1000:.0f} ms: too slow for an ejection, as in breathing"
    elif pulses.skewness < LEAST_SKEWNESS[0]:
        seen = f"the wave stays near its top and dips now and then (skewness {pulses.skewness:.1f}), unlike a pulse"
    elif symmetric:
        seen = (
            f"rise and fall are equally steep (ratio {pulses.up_over_down:.2f}); an artery fills faster than it drains"
        )
    else:
        return None
    return Fault("shape", seen, hint, float(beats.onsets_s[0]))


def _rate(signal: Signal, beats: Beats, pulses: _Pulses) -> Fault | None:
    rate = 60.0 / beats.mean_interval_s
    low, high = RATE_PER_MIN
    if low <= rate <= high:
        return None
    message = f"{rate:.0f} beats per minute, outside {low:g} to {high:g}"
    return Fault("rate", message, "check the sampling rate (--fs) and the channel", float(beats.onsets_s[0]))


def _double_counting(signal: Signal, beats: Beats, pulses: _Pulses) -> Fault | None:
    r"""Every second pulse below 45 % of its neighbours, in four of five pairs: twice the rate, or half of it."""
    height = pulses.height
    if len(height) < 6:
        return None
    odd, even = height[1::2], height[::2]
    pairs = min(len(odd), len(even))
    ratio = odd[:pairs] / even[:pairs]
    small = max(float(np.mean(ratio < 0.45)), float(np.mean(1 / ratio < 0.45)))
    if small < 0.8:
        return None
    rate = 60.0 / beats.mean_interval_s
    message = f"every second pulse is less than half of the next: the rate may be {rate:.0f} or {rate / 2:.0f} /min"
    return Fault("double-counting", message, "look at the wave: strong dicrotic waves, or weak beats?", 0.0)
