r"""Warnings on the catheter line, the rhythm and devices: what bends the numbers without spoiling the window.

*Line.* A catheter line is a second-order system of natural frequency $f_n$ and damping $\zeta$. Where the window holds
the end of a fast flush, both are read from its ringing: with period $T$ and ratio $r$ of successive swings, the first
from the plateau down, the second back up,

$$ \zeta = \frac{\ln (1/r)}{\sqrt{\pi^2 + \ln^2 r}}, \qquad f_n = \frac{1}{T \sqrt{1 - \zeta^2}} . $$

Without a flush the shape of the beats is all there is: a line that rings lifts one band of the spectrum above its
neighbours, a damped one leaves neither a steep rise nor a sharp peak. Both bend the systolic pressure. Shapes overlap:
at 1 to 2 % of false warnings two in three lines of 10 to 15 Hz with a damping of .15, and of 2.5 to 3 Hz with 1.2 or
more, are told (`docs/benchmarks/quality.md`).

*Rhythm.* Premature beats are early and weak and followed by a pause; in pulsus alternans every second pulse is weaker;
a paced rhythm hardly varies. *Balloon pump:* a second peak in diastole, after a deep notch, as high as the systole.

References:
    Gardner (1981), Direct blood pressure measurement: dynamic response requirements, Anesthesiology 54, 227-236.
    Kleinman (1992), The fast flush test measures the dynamic response of the entire blood pressure monitoring system,
    Anesthesiology 77, 1215-1220.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float
from scipy.ndimage import gaussian_filter1d
from scipy.signal import find_peaks

from ._faults import Seen, Signal
from .beats import Beats

__all__ = ["device_findings", "flush_response", "line_findings", "rhythm_findings"]

SYSTOLIC = ("SBP", "PP", "SV", "CO", "LVET")
RESONANCE = 0.9
r"""Decades by which a band of 6 to 18 Hz stands above the bands 1.6 times lower and higher; lines of 25 Hz stay below
.97 in 99 % of simulated windows."""
DAMPED_RISE_S = 0.095
r"""Time from 10 to 90 % of the upstroke [s] at which a line is called damped ..."""
DAMPED_SHARE = 0.022
r"""... if what moves faster than about 6 Hz around the peak is less than this share of the pulse."""
GOOD_DAMPING = (0.3, 0.95)
r"""Damping between which a line of sufficient frequency follows the pulse [1]."""
GOOD_FREQUENCY_HZ = 12.0
r"""Least natural frequency that follows a usual pulse at good damping [Hz]."""
EARLY, LATE = 0.82, 1.1
r"""A premature beat comes before this share of the usual interval, and the next after this one."""
ALTERNANS = 0.12
r"""Pulses of even and odd beats differ by this share, in one direction."""
PACED = 0.004
r"""Standard deviation over mean of the beat intervals below which no sinus node is at work."""
NOTCH = 0.15
r"""Height of the notch before a balloon's augmentation, at least, over the height of the pulse."""


def flush_response(wave: Float[np.ndarray, " time"], fs: float) -> tuple[float, float, float] | None:
    r"""Natural frequency [Hz], damping [1] and time [s] of the ringing after the last fast flush; None without one."""
    typical = float(np.quantile(wave, 0.5))
    high = wave > max(200.0, typical + 80.0)
    ends = np.flatnonzero(high[:-1] & ~high[1:])
    reach = int(0.3 * fs)
    ends = ends[(ends > int(0.1 * fs)) & (ends + reach < len(wave))]
    ends = np.array([e for e in ends if high[max(0, e - int(0.15 * fs)) : e].mean() > 0.9])
    if not len(ends):
        return None
    start = int(ends[-1])
    piece = wave[start : start + reach]
    troughs, tops = find_peaks(-piece)[0], find_peaks(piece)[0]
    tops = tops[tops > troughs[0]] if len(troughs) else tops
    plateau = float(np.median(wave[max(0, start - int(0.1 * fs)) : start]))
    if not len(troughs) or not len(tops):
        return None
    first, second = int(troughs[0]), int(tops[0])
    # From the plateau to the trough the line swings by x (1 + r), from the trough to the next top by r as much.
    ratio = float(piece[second] - piece[first]) / (plateau - float(piece[first]))
    if not 0.004 < ratio < 0.99:
        return None
    damping = -math.log(ratio) / math.sqrt(math.pi**2 + math.log(ratio) ** 2)
    period = 2.0 * (second - first) / fs
    return 1.0 / (period * math.sqrt(1.0 - damping**2)), damping, start / fs


def line_findings(signal: Signal, beats: Beats) -> tuple[Seen, ...]:
    r"""Ringing or damped catheter line, from the shape of the beats."""
    if signal.role == "PLETH" or len(signal.wave) < 4 * signal.fs or signal.fs < 60:
        return ()
    end = len(signal.wave) / signal.fs
    height, frequency = _resonance(signal)
    if height > RESONANCE:
        message = f"the line rings at about {frequency:.0f} Hz; systolic pressure reads high"
        return (("ringing", message, 0.0, end, SYSTOLIC),)
    shape = _peak_shape(signal, beats)
    if shape is not None and shape[0] < DAMPED_SHARE and shape[1] > DAMPED_RISE_S:
        message = (
            f"the line is damped: upstrokes of {shape[1] * 1000:.0f} ms and round peaks; systolic pressure reads low"
        )
        return (("damped", message, 0.0, end, (*SYSTOLIC, "PWV", "C")),)
    return ()


def _resonance(signal: Signal) -> tuple[float, float]:
    r"""How far one band of 6 to 18 Hz stands above its neighbours [decades], and its frequency [Hz]."""
    fs = signal.fs
    wave = signal.wave - gaussian_filter1d(signal.wave, 0.08 * fs)
    power = np.abs(np.fft.rfft(wave * np.hanning(len(wave)))) ** 2
    frequencies = np.fft.rfftfreq(len(wave), 1 / fs)
    level = np.log10(gaussian_filter1d(power, 0.7 / frequencies[1]) + 1e-9)
    bands = np.geomspace(6.0, min(18.0, 0.28 * fs), 40)
    below, here, above = (np.interp(np.minimum(bands * k, 0.46 * fs), frequencies, level) for k in (1 / 1.6, 1.0, 1.6))
    over = here - 0.5 * (below + above)
    best = int(over.argmax())
    return float(over[best]), float(bands[best])


def _peak_shape(signal: Signal, beats: Beats) -> tuple[float, float] | None:
    r"""Share of the mean pulse that moves faster than about 6 Hz around its peak, and its rise time [s]."""
    wave, fs = signal.wave, signal.fs
    height = float(np.nanmedian(beats.peaks - beats.feet)) if beats.n > 2 else 0.0
    reach, lead = int(0.2 * fs), int(0.3 * fs)
    places = (beats.peaks_s[np.isfinite(beats.peaks_s)] * fs).astype(int)
    places = places[(places >= lead) & (places + reach < len(wave))]
    if height <= 0 or len(places) < 3:
        return None
    mean = np.mean(wave[places[:, None] + np.arange(-lead, reach)], axis=0)
    quick = gaussian_filter1d(mean - gaussian_filter1d(mean, 0.0265 * fs, mode="nearest"), max(0.004 * fs, 0.3))
    rise = mean[: lead + 1]
    low = float(rise[-int(0.25 * fs) :].min())
    steep = int(np.flatnonzero(rise >= low + 0.9 * (mean[lead] - low))[0])
    foot = np.flatnonzero(rise[:steep] <= low + 0.1 * (mean[lead] - low))
    return float(quick.std()) / height, (steep - (int(foot[-1]) if len(foot) else 0)) / fs


def rhythm_findings(signal: Signal, beats: Beats) -> tuple[Seen, ...]:
    r"""Premature beats, pulsus alternans, and a rhythm too even for a sinus node."""
    if beats.n < 5:
        return ()
    intervals, heights = beats.intervals_s, beats.peaks - beats.feet
    typical = float(np.median(intervals))
    found: list[Seen] = []
    early = np.flatnonzero((intervals[:-1] < EARLY * typical) & (intervals[1:] > LATE * typical))
    if len(early):
        times = ", ".join(f"{t:.1f}" for t in beats.onsets_s[early + 1][:4])
        many = "a premature beat" if len(early) == 1 else f"{len(early)} premature beats"
        first, last = float(beats.onsets_s[early[0]]), float(beats.onsets_s[early[-1] + 2])
        found.append(("premature", f"{many} at {times} s, followed by a pause", first, last, ("HR", "SV", "CO")))
    change = np.diff(heights[np.isfinite(heights)])
    size = float(np.nanmedian(heights))
    if len(change) >= 5 and not len(early) and size > 0:
        signs = np.sign(change)
        steps = np.abs(change) / size
        if bool(np.all(signs[:-1] != signs[1:])) and float(np.median(steps)) > ALTERNANS:
            message = f"every second pulse is weaker by {np.median(steps):.0%}: pulsus alternans, or bigeminy"
            found.append(("alternans", message, float(beats.onsets_s[0]), float(beats.onsets_s[-1]), ("SV", "CO")))
    spread = float(intervals.std() / intervals.mean())
    if spread < PACED and beats.n >= 6:
        message = f"beat intervals vary by {spread:.2%} only, as in pacing"
        found.append(("paced", message, float(beats.onsets_s[0]), float(beats.onsets_s[-1]), ()))
    return tuple(found)


def device_findings(signal: Signal, beats: Beats) -> tuple[Seen, ...]:
    r"""Diastolic augmentation by a balloon pump, on every beat or every second or third.

    A second peak follows a systole within half a second, as high, after a notch that stays well above
    the end of diastole: the feet of a fast heart do not.
    """
    if beats.n < 4 or signal.role == "PLETH":
        return ()
    wave, fs = gaussian_filter1d(signal.wave, max(0.012 * signal.fs, 0.5), mode="nearest"), signal.fs
    low, high = (float(q) for q in np.quantile(wave, [0.02, 0.98]))
    pulse = high - low
    tops = find_peaks(wave, prominence=0.2 * pulse, distance=max(1, int(0.12 * fs)))[0]
    marked = []
    for one, two in zip(tops[:-1].tolist(), tops[1:].tolist(), strict=True):
        notch = float(wave[one:two].min())
        deep = notch < min(wave[one], wave[two]) - 0.2 * pulse and notch > low + NOTCH * pulse
        if 0.15 < (two - one) / fs < 0.5 and wave[two] > wave[one] - 0.12 * pulse and deep:
            marked.append(one)
    systoles = len(tops) - len(marked)
    if len(marked) < 2 or len(marked) < 0.25 * systoles:
        return ()
    message = f"{len(marked)} of {systoles} beats rise in diastole as high as in systole: a balloon pump"
    marks = ("SBP", "DBP", "PP", "MAP", "SV", "CO", "SVR", "LVET", "PWV", "C")
    return (("balloon-pump", message, marked[0] / fs, marked[-1] / fs, marks),)
