r"""The quality gate: can this window of a signal be trusted to be what its role says?

`assess` looks at one window of one channel and gives a `Verdict`: usable, or refused with a reason, the second it
happened and what to try.  It asks, in this order:

1. is the unit that of a pressure, is the window long enough, are samples missing (`unit`, `too-short`, `gap`);
2. is it the output of a working transducer: `flat`, `ramp`, `railed`, `clipped`, `flush` (sample by sample);
3. is the level that of a living patient in this unit: `unit`, `level`, `not-zeroed`, `not-pulsatile`;
4. are there pulses, and do they look like an arterial pulse: `noise`, `rate`, `inverted`, `shape`, `double-counting`.

Steps 2 and 4 rest on physics that hold for any patient and any catheter line: a transducer never holds one value for
long; pressure rises while the ventricle ejects and runs off more slowly, so the steepest rise exceeds the steepest
fall; ejection lasts more than a tenth of a second; the pulses of one window resemble each other.  Whether a wave that
passes could come from the simulator is another question, put to the domain model.

Small faults do not refuse a window: they are findings, each with the time it covers and the quantities it marks.

References:
    Sun, Reisner & Mark (2006), A signal abnormality index for arterial blood pressure waveforms, Computers in
    Cardiology 33, 13-16 (limits on pressure, rate and beat-to-beat change).
    Gardner (1981), Direct blood pressure measurement: dynamic response requirements, Anesthesiology 54, 227-236.

Units: seconds; pressures are converted to mmHg at the door.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from ._faults import Fault, Signal, sample_faults
from ._line_findings import (
    GOOD_DAMPING,
    GOOD_FREQUENCY_HZ,
    SYSTOLIC,
    device_findings,
    flush_response,
    line_findings,
    rhythm_findings,
)
from ._pulse_faults import pulse_faults
from ._pulse_findings import pulse_findings
from ._venous_faults import venous_faults, venous_findings
from .beats import Beats, detect_beats
from .quantities import heart_rate
from .roles import PRESSURE_ROLES
from .units import convert, is_pressure

__all__ = ["LONGEST_BRIDGED_GAP_S", "PULSATILE_ROLES", "REASONS", "Finding", "Verdict", "assess"]

LONGEST_BRIDGED_GAP_S = 0.2
r"""Missing stretches up to this length are interpolated, longer ones refuse the window [s]."""
MOST_MISSING = 0.1
r"""More than this share of missing samples refuses a window, however short each gap."""
LEAST_HZ = 25.0
r"""Below this rate the upstroke of a pulse is lost [Hz]."""
SHORTEST_S = 4.0
r"""Two beats at 35 /min and the edges [s]."""
PULSATILE_ROLES = frozenset({"ART", "AO", "FEM", "PLETH"})
r"""Roles whose windows must hold pulses; other channels are only checked for missing and dead stretches."""
REASONS: dict[str, str] = {
    "unit": "the values are not in a unit of pressure, or not in the one stated",
    "slow": "the sampling rate is too low to draw a pulse",
    "too-short": "the window is too short to hold two beats",
    "gap": "samples are missing for longer than can be interpolated",
    "flat": "the signal does not move",
    "ramp": "the signal goes one way, such as an index or time column",
    "railed": "the signal is held at the end of its range",
    "clipped": "too many peaks or troughs are cut off at the end of the range",
    "flush": "the line is being flushed, opened or disconnected",
    "level": "the mean pressure is outside what a living patient has",
    "not-zeroed": "the level is impossible for a zeroed transducer",
    "not-pulsatile": "the pulse is too small to be arterial",
    "noise": "no regular pulse stands out of the noise",
    "rate": "the pulse rate is outside 30 to 200 /min",
    "inverted": "the wave falls faster than it rises, as when inverted or reversed in time",
    "shape": "the pulses are not those of an artery",
    "double-counting": "every second pulse is much smaller: one beat or two cannot be told",
}
r"""Every reason for a refusal, with its meaning."""


@dataclass(frozen=True)
class Finding:
    r"""Something seen that does not refuse the window.

    Arguments:
        code: Short slug: `interpolated`, `clipped`, `irregular`, `premature`, `alternans`, `paced`, `splice`, `coarse`,
            `noisy`, `weak`, `low-level`, `ringing`, `damped`, `line`, `balloon-pump`, `unit`.
        message: One sentence on what was seen.
        start_s: Where it begins [s].
        end_s: Where it ends [s].
        marks: Symbols of the quantities it makes less certain.

    Example:
        >>> Finding("irregular", "beat intervals vary by 30 %", 0.0, 8.0, ("HR",)).marks
        ('HR',)
    """

    code: str
    message: str
    start_s: float
    end_s: float
    marks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Verdict:
    r"""What the gate says about one window.

    Arguments:
        usable: Whether the window may be used.
        reason: Slug of the refusal, a key of `REASONS`; `None` if usable.
        hint: What to try; `None` if usable.
        at_s: Second at which the refused thing was seen [s]; `None` if usable.
        findings: What was seen that does not refuse the window.
        message: One sentence that names what was seen and where; empty if usable.
        heart_rate: Rate of the beats seen [1/min], NaN without beats.
        mean: Mean of the window [mmHg for pressures, else unit of the wave], NaN if not known.
        n_beats: Number of beats seen.
        n_interpolated: Number of samples interpolated.

    Example:
        >>> Verdict(True, None, None, None, ()).usable
        True
    """

    usable: bool
    reason: str | None
    hint: str | None
    at_s: float | None
    findings: tuple[Finding, ...]
    message: str = ""
    heart_rate: float = float("nan")
    mean: float = float("nan")
    n_beats: int = 0
    n_interpolated: int = 0


def assess(
    wave: Float[np.ndarray, " time"],
    fs: float,
    *,
    role: str = "ART",
    unit: str | None = "mmHg",
    start_s: float = 0.0,
) -> Verdict:
    r"""Judge one window of one channel, best at its native rate and before any filter.

    Arguments:
        wave: Samples, NaN where missing [`unit`].
        fs: Sampling rate [Hz].
        role: What the channel is: `"ART"`, `"PLETH"`, ...
        unit: Unit of the samples, `None` if nobody said.
        start_s: Time of the first sample, added to every time reported [s].

    Returns:
        The verdict, with times in seconds counted as `start_s` is.

    Raises:
        ValueError: If `wave` is not one-dimensional or `fs` is not positive.

    Example:
        >>> import numpy as np
        >>> assess(np.full(1000, 80.0), 125.0).reason
        'flat'
        >>> phase = (np.arange(1000) / 125) % 0.75
        >>> pulse = 70 + 60 * np.exp(-phase / 0.3) * np.minimum(phase / 0.1, 1)
        >>> verdict = assess(pulse, 125.0)
        >>> verdict.usable, round(verdict.heart_rate)
        (True, 80)
        >>> assess(pulse / 7.5, 125.0).hint
        '--unit ART=kPa if the values are kPa'
    """
    wave = np.asarray(wave, dtype=np.float64)
    if wave.ndim != 1:
        raise ValueError(f"wave must have shape (time,), got {wave.shape}; pass one channel at a time")
    if not fs > 0:
        raise ValueError(f"fs must be positive [Hz], got {fs}; pass the sampling rate of the wave")
    early = _unit_fault(wave, role, unit) or _rate_fault(fs) or _length_fault(wave, fs)
    if early is not None:
        return _refusal(early, start_s, role)
    if unit is not None and role in PRESSURE_ROLES:
        wave = convert(wave, unit, "mmHg")
    gap = _gap_fault(wave, fs)
    if gap is not None:
        return _refusal(gap, start_s, role, mean=_mean(wave))
    filled, bridged = _interpolated(wave, fs)
    signal = Signal(filled, fs, role, _step(filled))
    return _judge(signal, bridged, start_s)


def _judge(signal: Signal, bridged: tuple[Finding, ...], start_s: float) -> Verdict:
    r"""Steps 2 to 4 on a window without missing samples."""
    mean = float(signal.wave.mean())
    n_bridged = sum(round((f.end_s - f.start_s) * signal.fs) for f in bridged)
    fault, seen = sample_faults(signal)
    findings = bridged + tuple(Finding(*s) for s in seen)
    beats = Beats(*(np.zeros(0) for _ in range(5)))
    if signal.role in PULSATILE_ROLES and (fault is None or fault.reason not in ("flat", "ramp")):
        beats = detect_beats(signal.wave, signal.fs, role="PLETH" if signal.role == "PLETH" else "ART")
        if fault is None:
            fault = pulse_faults(signal, beats)
        seen = (*pulse_findings(signal, beats), *line_findings(signal, beats), *rhythm_findings(signal, beats))
        findings += tuple(Finding(*s) for s in (*seen, *device_findings(signal, beats)))
    if signal.role == "CVP" and fault is None:
        fault = venous_faults(signal)
        findings += tuple(Finding(*s) for s in venous_findings(signal))
    findings += _flush_findings(signal)
    rate = float(heart_rate(beats.mean_interval_s)) if beats.n > 1 else float("nan")
    findings = tuple(replace(f, start_s=f.start_s + start_s, end_s=f.end_s + start_s) for f in findings)
    if fault is not None:
        return _refusal(fault, start_s, signal.role, findings, mean, rate, beats.n, n_bridged)
    return Verdict(True, None, None, None, findings, "", rate, mean, beats.n, n_bridged)


def _flush_findings(signal: Signal) -> tuple[Finding, ...]:
    r"""What a fast flush tells of the line, wherever one is seen; the window itself is refused as `flush`."""
    response = flush_response(signal.wave, signal.fs) if signal.role in PRESSURE_ROLES else None
    if response is None:
        return ()
    frequency, damping, at_s = response
    text = f"flush at {at_s:.1f} s: the line has {frequency:.0f} Hz and damping {damping:.2f}"
    good = GOOD_DAMPING[0] <= damping <= GOOD_DAMPING[1] and frequency >= GOOD_FREQUENCY_HZ
    code, marks = ("line", ()) if good else ("ringing" if damping < GOOD_DAMPING[0] else "damped", SYSTOLIC)
    return (Finding(code, text, at_s, at_s + 0.3, marks),)


def _refusal(
    fault: Fault,
    start_s: float,
    role: str,
    findings: tuple[Finding, ...] = (),
    mean: float = float("nan"),
    rate: float = float("nan"),
    n_beats: int = 0,
    n_interpolated: int = 0,
) -> Verdict:
    at_s = start_s + fault.at_s
    message = f"{role} at {at_s:.2f} s: {fault.message}"
    return Verdict(False, fault.reason, fault.hint, at_s, findings, message, rate, mean, n_beats, n_interpolated)


def _mean(wave: Float[np.ndarray, " time"]) -> float:
    return float(np.nanmean(wave)) if np.isfinite(wave).any() else float("nan")


def _unit_fault(wave: Float[np.ndarray, " time"], role: str, unit: str | None) -> Fault | None:
    r"""A pressure role needs a unit of pressure."""
    if role not in PRESSURE_ROLES or is_pressure(unit):
        return None
    stated = "no unit is stated" if unit is None else f"the unit is {unit}"
    message = f"{stated}, and {role} needs a unit of pressure"
    return Fault("unit", message, f"--unit {role}=mmHg (or kPa, cmH2O, ...), whichever the values are in", 0.0)


def _rate_fault(fs: float) -> Fault | None:
    if fs >= LEAST_HZ:
        return None
    message = f"{fs:g} samples a second do not draw a pulse, and at least {LEAST_HZ:g} are needed"
    return Fault("slow", message, "check --fs, or choose the channel with the waveform itself", 0.0)


def _length_fault(wave: Float[np.ndarray, " time"], fs: float) -> Fault | None:
    seconds = len(wave) / fs
    if seconds >= SHORTEST_S - 0.5 / fs:
        return None
    message = f"the window lasts {seconds:.2f} s, and at least {SHORTEST_S:g} s are needed to hold two beats"
    return Fault("too-short", message, "pass a longer stretch, or check --fs", 0.0)


def _gaps(wave: Float[np.ndarray, " time"]) -> tuple[np.ndarray, np.ndarray]:
    r"""First sample of each missing stretch and the first after it."""
    missing = np.concatenate([[False], ~np.isfinite(wave), [False]])
    edges = np.flatnonzero(missing[1:] != missing[:-1])
    return edges[::2], edges[1::2]


def _gap_fault(wave: Float[np.ndarray, " time"], fs: float) -> Fault | None:
    starts, stops = _gaps(wave)
    if len(starts) == 0:
        return None
    lengths = (stops - starts) / fs
    worst = int(lengths.argmax())
    hint = "use --start and --end to choose a stretch without gaps"
    if lengths[worst] > LONGEST_BRIDGED_GAP_S + 1e-9:
        message = f"{lengths[worst]:.2f} s of samples are missing; up to {LONGEST_BRIDGED_GAP_S:g} s are interpolated"
        return Fault("gap", message, hint, float(starts[worst] / fs))
    share = float((stops - starts).sum() / len(wave))
    if share > MOST_MISSING:
        message = (
            f"{share:.0%} of the samples are missing, in {len(starts)} gaps; up to {MOST_MISSING:.0%} are accepted"
        )
        return Fault("gap", message, hint, float(starts[0] / fs))
    return None


def _interpolated(
    wave: Float[np.ndarray, " time"], fs: float
) -> tuple[Float[np.ndarray, " time"], tuple[Finding, ...]]:
    r"""The window with short gaps bridged by straight lines, and a finding for each."""
    starts, stops = _gaps(wave)
    if len(starts) == 0:
        return wave, ()
    index = np.arange(len(wave))
    known = np.isfinite(wave)
    filled = np.interp(index, index[known], wave[known])
    findings = tuple(
        Finding("interpolated", f"{b - a} missing samples interpolated ({(b - a) / fs * 1000:.0f} ms)", a / fs, b / fs)
        for a, b in zip(starts.tolist(), stops.tolist(), strict=True)
    )
    return filled, findings


def _step(wave: Float[np.ndarray, " time"]) -> float:
    r"""Step between the levels of a digitised signal, 0 where nearly every sample has a value of its own."""
    levels = np.unique(wave)
    if len(levels) < 2 or len(levels) > 0.6 * len(wave):
        return 0.0
    steps = np.diff(levels)
    span = float(levels[-1] - levels[0])
    steps = steps[steps > 1e-6 * span]
    return float(np.quantile(steps, 0.1)) if len(steps) else 0.0
