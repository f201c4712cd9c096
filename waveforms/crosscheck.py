r"""What channels say of each other: rates that disagree, and stretches before the catheter was zeroed.

A wrong sampling rate cannot be seen in one channel. Two channels with the same heart in them tell: pressure, oximetry,
electrocardiogram, or the heart rate a monitor wrote beside them. Rates that differ by a constant factor in most windows
are a wrong sampling rate or a wrong file; rates that differ now and then are beats missed or without a pulse.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from .beats import detect_beats
from .ecg import detect_r_peaks
from .quality import Finding, assess
from .recording import Recording

if TYPE_CHECKING:
    from .readers.vital import Numbers

__all__ = ["cross_check", "unzeroed_until"]

COMPARED = ("ART", "AO", "FEM", "PLETH", "ECG")
WINDOW_S = 10.0
MOST_WINDOWS = 60
TOLERANCE = 0.04
r"""Rates closer than this, relatively, agree."""
LEAST_WINDOWS = 3
STEADY = 0.03
r"""Spread of the ratio of two rates over windows below which a difference is one of the clocks."""


def cross_check(recording: Recording, *, numbers: Mapping[str, Numbers] | None = None) -> tuple[Finding, ...]:
    r"""Compare the heart rate of every channel that has one, and of the monitor's own numbers.

    Arguments:
        recording: The recording; up to sixty windows of ten seconds are looked at.
        numbers: What `readers.read_numbers` gives: tracks named like `HR` or `PR` in 1/min are compared.

    Returns:
        A finding `rate-mismatch` for each pair that disagrees: by one factor throughout, as when a sampling rate is
        wrong, or from window to window.

    Example:
        >>> import numpy as np
        >>> from pulsebayes.waveforms import Recording, cross_check
        >>> def pulse(fs):
        ...     phase = (np.arange(60 * 125) / fs) % 0.75
        ...     return 70 + 60 * np.exp(-phase / 0.3) * np.minimum(phase / 0.1, 1)
        >>> waves = {"ABP": pulse(125), "PLETH": pulse(100)}
        >>> made = Recording.from_arrays("made", waves, fs=125, units={"ABP": "mmHg"})
        >>> [finding.code for finding in cross_check(made)]
        ['rate-mismatch']
    """
    starts = _starts(recording)
    rates = {name: _rates(recording, role, name, starts) for role, name in _channels(recording)}
    for name, track in (numbers or {}).items():
        word = name.rpartition("/")[2].upper()
        if word in ("HR", "ECG_HR", "ART_HR", "ABP_HR", "PLETH_HR", "PR", "PLETH_PR"):
            rates[name] = _numbers(track, starts)
    names = list(rates)
    found = []
    for k, one in enumerate(names):
        for other in names[k + 1 :]:
            finding = _pair(one, other, rates[one], rates[other], starts)
            if finding is not None:
                found.append(finding)
    return tuple(found)


def _channels(recording: Recording) -> list[tuple[str, str]]:
    """Role and name of the first channel of each role that holds a heart rate."""
    found = []
    for role in COMPARED:
        channel = next((c for c in recording.channels if c.role == role and c.fs >= 50), None)
        if channel is not None:
            found.append((role, channel.name))
    return found


def _starts(recording: Recording) -> Float[np.ndarray, " windows"]:
    last = recording.duration_s - WINDOW_S
    if last < 0:
        return np.zeros(0)
    return np.linspace(0.0, last, min(MOST_WINDOWS, max(1, int(recording.duration_s / WINDOW_S))))


def _rates(
    recording: Recording, role: str, name: str, starts: Float[np.ndarray, " windows"]
) -> Float[np.ndarray, " windows"]:
    """Heart rate of one channel in each window [1/min], NaN where the gate refuses it."""
    channel = recording.channel(name)
    found = np.full(len(starts), np.nan)
    for k, start in enumerate(starts.tolist()):
        wave = recording.values(name, start, start + WINDOW_S).astype(np.float64)
        if np.isnan(wave).mean() > 0.02 or np.nanmax(wave) == np.nanmin(wave):
            continue
        if role == "ECG":
            times = detect_r_peaks(wave, channel.fs)
            steps = np.diff(times)
            steady = len(times) > 4 and float(np.median(np.abs(steps - np.median(steps)))) < 0.1 * np.median(steps)
        else:
            steady = assess(wave, channel.fs, role=role, unit=channel.unit).usable
            steps = detect_beats(wave, channel.fs, role="PLETH" if role == "PLETH" else "ART").intervals_s
        if steady and len(steps) > 2:
            found[k] = 60.0 / float(np.median(steps))
    return found


def _numbers(track: Numbers, starts: Float[np.ndarray, " windows"]) -> Float[np.ndarray, " windows"]:
    """The monitor's number in each window, NaN where it wrote none."""
    found = np.full(len(starts), np.nan)
    for k, start in enumerate(starts.tolist()):
        inside = (track.times_s >= start) & (track.times_s < start + WINDOW_S + 2.0)
        values = track.values[inside & (track.values > 20) & (track.values < 300)]
        if len(values):
            found[k] = float(np.median(values))
    return found


def _pair(
    one: str,
    other: str,
    first: Float[np.ndarray, " windows"],
    second: Float[np.ndarray, " windows"],
    starts: Float[np.ndarray, " windows"],
) -> Finding | None:
    """A finding if two channels disagree in most windows that both have."""
    both = np.isfinite(first) & np.isfinite(second)
    if both.sum() < LEAST_WINDOWS:
        return None
    ratio = first[both] / second[both]
    apart = np.abs(ratio - 1.0) > TOLERANCE
    if apart.mean() < 0.5:
        return None
    typical = float(np.median(ratio))
    steady = float(np.median(np.abs(ratio - typical))) < STEADY * typical
    rates = f"{one} beats {np.median(first[both]):.0f} /min, {other} {np.median(second[both]):.0f}"
    why = (
        f"a constant factor of {typical:.3f}: the sampling rate of one of them may be wrong"
        if steady
        else "the beats of one of them are not the heart's, or not all of them"
    )
    begin, end = float(starts[both][0]), float(starts[both][-1] + WINDOW_S)
    return Finding("rate-mismatch", f"{rates}: {why}", begin, end, ("HR", "CO", "LVET") if steady else ("HR",))


def unzeroed_until(recording: Recording, channel: str, *, step_s: float = 1.0, length_s: float = 4.0) -> float:
    r"""End of the stretch at the start of a recording in which the catheter was not yet connected and zeroed [s].

    Such a stretch begins flat, railed, flushed, at an impossible level or without a pulse; a usable look ends it.

    Arguments:
        recording: The recording.
        channel: A role or name of a pressure.
        step_s: Time from one look to the next [s].
        length_s: Length of a look [s].

    Returns:
        The time [s]; the channel's start where it begins with a pulse, infinity where no pulse comes within an hour.

    Example:
        >>> import numpy as np
        >>> from pulsebayes.waveforms import Recording, unzeroed_until
        >>> phase = (np.arange(7500) / 125) % 0.75
        >>> wave = 70 + 60 * np.exp(-phase / 0.3) * np.minimum(phase / 0.1, 1)
        >>> wave[:2500] = 0.0
        >>> unzeroed_until(Recording.from_arrays("made", {"ABP": wave}, fs=125, units={"ABP": "mmHg"}), "ART")
        20.0
    """
    found = recording.channel(channel)
    last = min(found.start_s + found.duration_s, found.start_s + 3600.0)
    start = found.start_s
    while start + length_s <= last + 1e-9:
        wave = recording.values(channel, start, start + length_s)
        verdict = assess(wave, found.fs, role=found.role or "ART", unit=found.unit)
        if verdict.usable:
            return start
        if start == found.start_s and verdict.reason not in _NOT_YET:
            return start
        start += step_s
    return float("inf")


_NOT_YET = frozenset({"flat", "railed", "flush", "not-zeroed", "not-pulsatile", "level", "gap", "ramp", "noise"})
