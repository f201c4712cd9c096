r"""Faults seen sample by sample: what no working transducer on a patient puts out.

Each check takes a `Signal` without missing samples and gives a `Fault` or nothing; the first fault found counts.
Seen but bearable things are returned as tuples that `quality` turns into findings.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.ndimage import maximum_filter1d, minimum_filter1d

__all__ = ["Fault", "Seen", "Signal", "longest_run", "sample_faults"]

FLAT_RANGE_MMHG = 2.0
r"""A pressure that moves less than this for `FLAT_S` is dead [mmHg]."""
FLAT_S = 2.0
r"""Longer than a beat at 35 /min [s]."""
RAIL_S = 0.3
r"""One value for longer than this at the end of the range, entered abruptly, is a rail [s]."""
FLUSH_MMHG = 40.0
r"""Held this far above the systolic or below the diastolic level of the window [mmHg] ..."""
HIGHEST_DIASTOLE_MMHG = 220.0
r"""No artery stays above this without moving for `FLUSH_S`, or at all for `LONGEST_SYSTOLE_S`, however long the flush
and whatever the rest of the window [mmHg]. A stiff artery of a slow heart passes through it at every beat."""
LONGEST_SYSTOLE_S = 1.0
FLUSH_MOTION_MMHG = 20.0
FLUSH_S = 0.5
r"""... for this long [s]: no beat does that."""
CLIPPED_REFUSED = 0.05
r"""Share of samples on cut-off peaks or troughs above which a window is refused."""
CROWDED = 3.0
r"""Samples on the highest level over those on the next: a rounded top cut to digital steps has at most 2.4."""
HIGHEST_MMHG = 320.0
r"""No arterial pressure exceeds this [mmHg]; clinical transducers end at 300."""

Seen = tuple[str, str, float, float, tuple[str, ...]]
r"""Code, message, start [s], end [s], quantities marked."""


class Fault(NamedTuple):
    r"""A refusal in the making: reason, message, hint and second within the window [s]."""

    reason: str
    message: str
    hint: str
    at_s: float


class Signal(NamedTuple):
    r"""One window without missing samples, its rate [Hz], role, and digital step [unit of the wave] (0: none seen)."""

    wave: Float[np.ndarray, " time"]
    fs: float
    role: str
    step: float


def sample_faults(signal: Signal) -> tuple[Fault | None, tuple[Seen, ...]]:
    r"""First fault among flat, ramp or sawtooth, railed, clipped and flush, and what was seen besides."""
    for check in (_flat, _ramp, _railed, _flush):
        fault = check(signal)
        if fault is not None:
            return fault, ()
    return _clipped(signal)


def longest_run(flags: np.ndarray) -> tuple[int, int]:
    r"""First sample and length of the longest run of true flags; (0, 0) if there is none."""
    padded = np.concatenate([[False], flags, [False]])
    edges = np.flatnonzero(padded[1:] != padded[:-1])
    if len(edges) == 0:
        return 0, 0
    lengths = edges[1::2] - edges[::2]
    best = int(lengths.argmax())
    return int(edges[2 * best]), int(lengths[best])


def _is_pressure(signal: Signal) -> bool:
    return signal.role != "PLETH"


def _flat(signal: Signal) -> Fault | None:
    r"""Two seconds without movement: within 2 mmHg, or 1 % of the window's range for signals without a scale."""
    wave, fs = signal.wave, signal.fs
    span = float(np.ptp(wave))
    limit = FLAT_RANGE_MMHG if _is_pressure(signal) else 0.01 * span
    if _is_pressure(signal):
        limit = min(limit, max(0.1 * span, 1e-3 * abs(float(wave.mean())), 1.5 * signal.step))
    width = min(int(FLAT_S * fs), len(wave))
    motion = maximum_filter1d(wave, width) - minimum_filter1d(wave, width)
    half = width // 2
    still = motion[half : len(wave) - half + 1] <= limit if span > 0 else np.ones(1, dtype=bool)
    if not still.any():
        return None
    first, length = longest_run(still)
    seconds = len(wave) / fs if span == 0 else (length - 1 + width) / fs
    level = float(np.median(wave[first : first + width]))
    near = {"PLETH": 0.0, "CVP": 2.0}.get(signal.role, 8.0)
    where = ", near zero, as when the transducer is open to air" if abs(level) < near else ""
    message = f"the signal stays within {max(limit, 0.0):.3g} of {level:.4g} for {seconds:.1f} s{where}"
    return Fault(
        "flat", message, "check that the channel is connected and zeroed; other windows may be fine", first / fs
    )


def _ramp(signal: Signal) -> Fault | None:
    r"""A straight line explains 99.5 % of the variance, or nearly every step goes the same way: a ramp, or teeth."""
    wave = signal.wave
    time = np.arange(len(wave)) - (len(wave) - 1) / 2
    centred = wave - wave.mean()
    total = float(centred @ centred)
    straight = float(time @ centred) ** 2 / float(time @ time) >= 0.995 * total
    steps = np.diff(wave)
    moving = np.sign(steps[steps != 0])
    one_way = len(moving) > 10 and abs(float(moving.mean())) > 0.97
    if not (straight or one_way):
        return None
    up = float(time @ centred) > 0 if straight else float(moving.mean()) > 0
    forth, back = np.maximum(steps if up else -steps, 0.0), np.maximum(-steps if up else steps, 0.0)
    way, hint = "rises" if up else "falls", f'choose another column, such as --channel "NAME={signal.role}"'
    if not straight and float(back.sum()) > 0.1 * float(forth.sum()):
        jumps = max(1, round(float(back.sum() / np.ptp(wave))))
        seen = f"the signal {way} in {100 * len(forth[forth > 0]) / len(moving):.1f} % of its steps and jumps back"
        return Fault("shape", f"{seen} {jumps} times: a sawtooth, which no artery draws", hint, 0.0)
    how = f"in a straight line from {wave[0]:.4g} to" if straight else f"all the time, from {wave[0]:.4g} to"
    return Fault("ramp", f"the signal {way} {how} {wave[-1]:.4g}, as an index or time column does", hint, 0.0)


class _Plateau(NamedTuple):
    start: int
    length: int
    abrupt: bool
    top: bool


def _plateaus(signal: Signal, *, top: bool) -> list[_Plateau]:
    r"""Runs of at least three equal samples at the extreme of the window, and whether each is entered abruptly.

    Troughs are entered slowly and left abruptly by every pressure, so only how they are entered counts.
    A parabola with a top of half width $w$ samples, cut to steps of $q$, enters its highest level with a slope of about
    $2 q / w$ per sample. A clipped wave enters much faster.
    """
    wave = signal.wave if top else -signal.wave
    span = float(np.ptp(wave))
    step = max(signal.step, 1e-3 * span)
    ceiling = wave >= wave.max() - 0.25 * step
    padded = np.concatenate([[False], ceiling, [False]])
    edges = np.flatnonzero(padded[1:] != padded[:-1])
    found = []
    reach = max(1, round(0.02 * signal.fs))
    for start, stop in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        length = stop - start
        if length < 3:
            continue
        before = wave[start] - wave[max(start - reach, 0)]
        after = wave[stop - 1] - wave[min(stop - 1 + reach, len(wave) - 1)]
        natural = 2 * step / (length / 2) * reach + step * (reach / (length / 2)) ** 2 + step
        abrupt = bool(before > 3 * natural or (top and after > 3 * natural))
        found.append(_Plateau(start, length, abrupt, top))
    return found


def _railed(signal: Signal) -> Fault | None:
    r"""Held at the end of its range for 0.3 s, entered or left abruptly."""
    for top in (True, False):
        for plateau in _plateaus(signal, top=top):
            if plateau.length >= RAIL_S * signal.fs and plateau.abrupt:
                value, seconds = signal.wave[plateau.start], plateau.length / signal.fs
                side = "upper" if top else "lower"
                message = f"the signal is held at {value:.4g}, the {side} end of its range, for {seconds:.2f} s"
                hint = "flush, zeroing or an unplugged cable; use --start and --end to choose another stretch"
                return Fault("railed", message, hint, plateau.start / signal.fs)
    return None


def _clipped(signal: Signal) -> tuple[Fault | None, tuple[Seen, ...]]:
    r"""Peaks or troughs cut off at one level: warned up to 5 % of the samples, refused above."""
    cut = [p for top in (True, False) for p in _plateaus(signal, top=top) if p.abrupt]
    if sum(p.length for p in cut) < 5:  # three equal samples in a row happen
        return None, _crowded(signal)
    share = sum(p.length for p in cut) / len(signal.wave)
    first, last = min(p.start for p in cut), max(p.start + p.length for p in cut)
    value = signal.wave[cut[0].start]
    what = "peaks" if cut[0].top else "troughs"
    message = f"{len(cut)} {what} are cut off at {value:.4g} ({share:.1%} of the samples)"
    if share > CLIPPED_REFUSED:
        hint = "the range of the monitor was too small; use another stretch or another channel"
        return Fault("clipped", message, hint, first / signal.fs), ()
    return None, (("clipped", message, first / signal.fs, last / signal.fs, ("SBP", "DBP", "PP")),)


def _crowded(signal: Signal) -> tuple[Seen, ...]:
    r"""Peaks cut off in a wave of coarse steps: their slopes do not tell, but the next level is nearly empty."""
    wave, step, fs = signal.wave, signal.step, signal.fs
    tops = _plateaus(signal, top=True) if step > 0 else []
    if len(tops) < 4:
        return ()
    highest = float(wave.max())
    on = int((wave >= highest - 0.25 * step).sum())
    below = int(((wave < highest - 0.25 * step) & (wave >= highest - 1.25 * step)).sum())
    if on < 0.03 * len(wave) or on < CROWDED * below:
        return ()
    message = f"{len(tops)} peaks end at {highest:.4g} ({on / len(wave):.1%} of the samples): cut off"
    last = tops[-1].start + tops[-1].length
    return (("clipped", message, tops[0].start / fs, last / fs, ("SBP", "DBP", "PP")),)


def _flush(signal: Signal) -> Fault | None:
    r"""A stretch far above every systole or far below every diastole, or beyond what any patient has."""
    if not _is_pressure(signal):
        return None
    wave, fs = signal.wave, signal.fs
    if not 20 < float(np.median(wave)) < 250:  # another unit; the level is judged with the pulses
        return None
    width = max(1, int(FLUSH_S * fs))
    floor, ceiling = minimum_filter1d(wave, width), maximum_filter1d(wave, width)
    # In a block longer than a beat the highest sample is a systole; a third of the blocks are taken to be unharmed.
    blocks = np.array_split(wave, max(3, int(len(wave) / fs / 2.0)))
    systole = float(np.quantile([b.max() for b in blocks], 1 / 3))
    diastole = float(np.quantile([b.min() for b in blocks], 2 / 3))
    long = minimum_filter1d(wave, max(1, int(LONGEST_SYSTOLE_S * fs))) > HIGHEST_DIASTOLE_MMHG
    still = (floor > HIGHEST_DIASTOLE_MMHG) & (ceiling - floor < FLUSH_MOTION_MMHG)
    up = (floor > systole + FLUSH_MMHG) | still | long
    down = ceiling < diastole - FLUSH_MMHG
    hint = "the line was flushed, opened or drawn from; use --start and --end to choose another stretch"
    if up.any() or down.any():
        at = int((up if up.any() else down).argmax())
        side = (
            f"above {min(systole + FLUSH_MMHG, HIGHEST_DIASTOLE_MMHG):.0f}"
            if up.any()
            else f"below {diastole - FLUSH_MMHG:.0f}"
        )
        message = (
            f"the pressure stays {side} mmHg for {FLUSH_S:g} s; beats run from {diastole:.0f} to {systole:.0f} mmHg"
        )
        return Fault("flush", message, hint, max(at - width // 2, 0) / fs)
    beyond = wave > HIGHEST_MMHG
    if beyond.any() and beyond.mean() < 0.2 and float(np.median(wave)) < 200:
        message = f"the pressure reaches {wave.max():.0f} mmHg, more than any patient has"
        return Fault("flush", message, hint, int(beyond.argmax()) / fs)
    return None
