r"""Faults of central venous pressure: level, zero, unit, flush and noise.

A central venous line carries the mean of the right atrium, 0 to 12 mmHg in most patients and up to 30 in a failing
heart, with small waves of the atrium and larger ones of breathing. The limits pass from -5 to 45 mmHg;
below 0 it is told.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter1d, minimum_filter1d

from ._faults import Fault, Seen, Signal
from .units import convert

__all__ = ["venous_faults", "venous_findings"]

MEAN_MMHG = (-5.0, 45.0)
r"""Mean central venous pressures accepted [mmHg]."""
LEAST_SWING_MMHG = 1.0
r"""Swing below which no breath and no atrium is seen: open to air, blocked, or in another unit [mmHg]."""
SWING_MMHG = 45.0
r"""Swing between the 2 % and 98 % quantiles above which the wave is arterial or an artefact [mmHg]."""
FLUSH_MMHG = 40.0
r"""Held this far above the median of the window [mmHg] ..."""
FLUSH_S = 0.5
r"""... for this long [s], the line is being flushed or injected through."""
ROUGHEST = 0.13
r"""Noise faster than 20 Hz, as a share of the swing, above which nothing is left of the wave."""
LEAST_NOISE_MMHG = 1.0
r"""Less noise than this is digital steps or a quiet line [mmHg]."""
MOST_MMHG = 1000.0
r"""More than this, whatever it does, is in another unit [mmHg]."""
NOISY_MMHG = 0.5
r"""Noise faster than 20 Hz that is told [mmHg]."""
OTHER_UNITS = ("0.1 mmHg", "Pa", "0.1 kPa")


def venous_faults(signal: Signal) -> Fault | None:
    r"""First fault among flush, unit, level, zero, arterial swing and noise."""
    for check in (_flush, _level, _still, _swing, _noise):
        fault = check(signal)
        if fault is not None:
            return fault
    return None


def venous_findings(signal: Signal) -> tuple[Seen, ...]:
    r"""Noise that hides the small waves but not the mean, and a mean below zero."""
    noise, mean, end = _roughness(signal), float(signal.wave.mean()), len(signal.wave) / signal.fs
    found: list[Seen] = []
    if noise > NOISY_MMHG:
        message = f"noise of {noise:.1f} mmHg hides the waves of the atrium; the mean holds"
        found.append(("noisy", message, 0.0, end, ()))
    if mean < 0.0:
        message = f"mean {mean:.1f} mmHg, below zero: check the zero, the height of the transducer and the sign"
        found.append(("low-level", message, 0.0, end, ("CVP", "SVR")))
    return tuple(found)


def _roughness(signal: Signal) -> float:
    wave = signal.wave
    return float((wave - gaussian_filter1d(wave, max(0.008 * signal.fs, 0.5), mode="nearest")).std())


def _flush(signal: Signal) -> Fault | None:
    wave, width = signal.wave, max(1, int(FLUSH_S * signal.fs))
    high = minimum_filter1d(wave, width) > float(np.median(wave)) + FLUSH_MMHG
    if not high.any() or high.mean() > 0.5 or abs(float(np.median(wave))) > MOST_MMHG:
        return None
    at = max(int(high.argmax()) - width // 2, 0) / signal.fs
    message = f"the pressure stays {FLUSH_MMHG:g} mmHg above its median of {np.median(wave):.0f} for {FLUSH_S:g} s"
    return Fault("flush", message, "the line was flushed or injected through; choose another stretch", at)


def _level(signal: Signal) -> Fault | None:
    mean = float(signal.wave.mean())
    low, high = MEAN_MMHG
    if low <= mean <= high:
        return None
    seen = f"mean {mean:.4g} mmHg"
    if mean < low:
        at = int(signal.wave.argmin()) / signal.fs
        hint = "the transducer is not zeroed, or hangs below the heart's height; check the zero"
        return Fault("not-zeroed", f"{seen}: no vein near the heart has that", hint, at)
    swing = float(np.ptp(np.quantile(signal.wave, [0.02, 0.98])))
    for other in OTHER_UNITS:
        size = float(convert(1.0, other, "mmHg"))
        if 1 <= mean * size <= 30 and swing * size <= 15 and not 45 < mean <= 130:
            option = f'"{signal.role}={other}"' if " " in other else f"{signal.role}={other}"
            message = f"{seen}: too much for a vein in mmHg, but not in {other}"
            return Fault("unit", message, f"--unit {option} if the values are {other}", 0.0)
    if mean > MOST_MMHG:
        hint = f"--unit {signal.role}=UNIT, or convert counts with the file's gain"
        return Fault("unit", f"{seen}: raw counts, or another unit", hint, 0.0)
    what = "another unit, or raw counts?"
    if mean < 180:
        what = f'an arterial pressure, or --unit "{signal.role}=0.1 mmHg"?'
    hint = f"{what} check the channel (is it {signal.role}?) and the unit (--unit {signal.role}=UNIT)"
    return Fault("level", f"{seen}: too much for a central vein ({low:g} to {high:g} mmHg)", hint, 0.0)


def _still(signal: Signal) -> Fault | None:
    r"""A wave too small for a vein in mmHg, though not in kPa."""
    mean, swing = float(signal.wave.mean()), float(np.ptp(np.quantile(signal.wave, [0.02, 0.98])))
    if swing >= LEAST_SWING_MMHG:
        return None
    seen = f"mean {mean:.3g} mmHg, swing {swing:.2g} mmHg"
    size, role = float(convert(1.0, "kPa", "mmHg")), signal.role
    if 1 <= mean * size <= 30 and swing * size >= LEAST_SWING_MMHG and swing > 8 * _roughness(signal):
        hint = f"--unit {role}=kPa if the values are kPa"
        return Fault("unit", f"{seen}: no vein near the heart moves so little in mmHg, but one does in kPa", hint, 0.0)
    hint = "open to air, closed or blocked? check the line, and choose another stretch"
    return Fault("flat", f"{seen}: neither breath nor heart is seen", hint, 0.0)


def _swing(signal: Signal) -> Fault | None:
    low, high = (float(q) for q in np.quantile(signal.wave, [0.02, 0.98]))
    if high - low <= SWING_MMHG:
        return None
    hint = f"an arterial or ventricular pressure? choose the channel with --channel NAME={signal.role}"
    message = f"the pressure swings by {high - low:.0f} mmHg, from {low:.0f} to {high:.0f}: no vein does"
    return Fault("shape", message, hint, int(signal.wave.argmax()) / signal.fs)


def _noise(signal: Signal) -> Fault | None:
    noise = _roughness(signal)
    swing = float(np.ptp(np.quantile(signal.wave, [0.02, 0.98])))
    if noise <= max(ROUGHEST * swing, LEAST_NOISE_MMHG):
        return None
    hint = "a loose connection or movement; choose another stretch"
    return Fault("noise", f"noise of {noise:.1f} mmHg in a swing of {swing:.1f} mmHg", hint, 0.0)
