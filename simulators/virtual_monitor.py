r"""What is recorded of a virtual operation: a pressure line with faults, an oximeter, an electrocardiogram, a monitor.

*Line.* Clean lines are stiff and well damped (15 to 25 Hz, .4 to .7), zeroed and quiet; others are drawn from the
[sensor model][pulsebayes.simulators.sensors.SensorModel] and have faults: not connected at first, flushed, damped for
minutes, disconnected, and a zero that is lost. *Monitor.* Continuous thermodilution: with true output $q$,

$$
r(t) = (1 + g)\,(1 + d\,t/1\,\mathrm{h})\,(1 + \epsilon_t)\,\frac{1}{240\,\mathrm s}\int_{t-240}^{t} q ,
$$

once a minute: two minutes of lag, an error of the case $g \sim N(0, .11)$ and of the reading $\epsilon \sim N(0, .10)$,
together 15 %, and a drift $d \sim N(0, .05)$ an hour. *Oximeter.* Another coupling than the training's: a Butterworth
band from .3 to 6 Hz, a wandering level and noise.

Units: mmHg, L/min, 1/min, seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from ..waveforms.quantities import systemic_vascular_resistance
from .catheter import CatheterLine
from .sensors import SensorModel

__all__ = ["FAULTS", "Readings", "electrocardiogram", "oximetry", "record_pressure", "thermodilution"]

AVERAGED_S = 240.0
READ_EVERY_S = 60.0
CASE_ERROR, READING_ERROR, DRIFT = 0.11, 0.10, 0.05
FAULTS = ("not-zeroed", "flush", "damped", "disconnected", "zero-lost")
"""Faults of a line, in the order in which they are drawn."""


@dataclass(frozen=True)
class Readings:
    r"""Numbers of a monitor.

    Arguments:
        times_s: Time of each [s].
        values: Values by quantity.

    Example:
        >>> Readings(np.zeros(0), {}).values
        {}
    """

    times_s: Float[np.ndarray, " numbers"]
    values: Mapping[str, Float[np.ndarray, " numbers"]]


def thermodilution(
    rng: np.random.Generator,
    time_s: Float[np.ndarray, " W"],
    output: Float[np.ndarray, " W"],
    pressure: Float[np.ndarray, " W"],
    venous: Float[np.ndarray, " W"],
) -> Readings:
    r"""Reads cardiac output as a thermodilution monitor does, late and with its errors.

    Arguments:
        rng: Source of randomness.
        time_s: Start of each window [s], evenly spaced.
        output: True cardiac output [L/min].
        pressure: Mean arterial pressure [mmHg].
        venous: Central venous pressure [mmHg].

    Returns:
        Output and resistance, once a minute from the fourth on.

    Example:
        >>> time_s = np.arange(100) * 8.0
        >>> found = thermodilution(np.random.default_rng(0), time_s, 0 * time_s + 5, 0 * time_s + 80, 0 * time_s + 8)
        >>> len(found.times_s), bool(abs(found.values["CO"].mean() - 5) < 1.5)
        (10, True)
    """
    step = float(time_s[1] - time_s[0])
    times = np.arange(AVERAGED_S, float(time_s[-1]) + step + 1e-9, READ_EVERY_S)

    def averaged(values: Float[np.ndarray, " W"]) -> Float[np.ndarray, " numbers"]:
        total = np.concatenate([[0.0], np.cumsum(values) * step])
        edges = np.concatenate([time_s, [time_s[-1] + step]])
        late, early = (np.interp(t, edges, total) for t in (times, times - AVERAGED_S))
        return np.asarray((late - early) / AVERAGED_S)

    case = 1 + CASE_ERROR * np.clip(rng.standard_normal(), -2.5, 2.5)
    drift = 1 + DRIFT * np.clip(rng.standard_normal(), -2.5, 2.5) * times / 3600.0
    reading = 1 + READING_ERROR * np.clip(rng.standard_normal(len(times)), -2.5, 2.5)
    read = averaged(output) * case * drift * reading
    resistance = systemic_vascular_resistance(averaged(pressure), averaged(venous), read)
    return Readings(times, {"CO": read, "SVR": np.asarray(resistance)})


def record_pressure(
    rng: np.random.Generator, wave: Float[np.ndarray, " time"], fs: float, *, faulty: bool
) -> tuple[Float[np.ndarray, " time"], list[tuple[float, float, str]]]:
    r"""Records a pressure through a catheter line.

    Arguments:
        rng: Source of randomness.
        wave: Pressure in the artery [mmHg].
        fs: Sampling rate [Hz].
        faulty: Whether the line is drawn from the sensor model and has faults, else it is clean.

    Returns:
        The recorded pressure, NaN where nothing was recorded, and each fault with its start and end [s].

    Example:
        >>> wave = 90 + 20 * np.sin(np.arange(75000) / 20)
        >>> recorded, faults = record_pressure(np.random.default_rng(0), wave, 125.0, faulty=True)
        >>> len(recorded), [name for *_, name in faults][0]
        (75000, 'not-zeroed')
    """
    sensor = SensorModel.radial_line()
    line = sensor.line if faulty else CatheterLine(15.0, 25.0, 0.4, 0.7, ideal_share=0.0)
    frequency, damping = line.draw(rng, 1)
    made = CatheterLine.transmit(np.asarray(wave, np.float32)[None], frequency, damping, fs=fs)[0].astype(np.float64)
    if faulty:
        made = made * float(sensor.gain.draw(rng, 1)[0]) + float(sensor.offset.draw(rng, 1)[0])
    found = _faults(rng, made, wave, fs) if faulty else []
    made += rng.normal(0.0, 0.3 if faulty else 0.15, len(made))
    return np.clip(np.round(made * 8) / 8, -50.0, 320.0), found


def _faults(
    rng: np.random.Generator, made: Float[np.ndarray, " time"], wave: Float[np.ndarray, " time"], fs: float
) -> list[tuple[float, float, str]]:
    """Puts faults into a recorded pressure, in place."""
    length_s = len(made) / fs
    scale = min(1.0, length_s / 3600.0)
    found = []

    def at(share: float, seconds: float, name: str) -> slice:
        start = share * length_s
        found.append((round(start, 2), round(min(start + seconds, length_s), 2), name))
        return slice(round(start * fs), round((start + seconds) * fs))

    made[at(0.0, rng.uniform(40, 120) * max(scale, 0.3), "not-zeroed")] = rng.uniform(-3.0, 1.0)
    for share in (rng.uniform(0.1, 0.3), rng.uniform(0.5, 0.7)):
        made[at(share, rng.uniform(1.5, 4.0), "flush")] = 295.0
    piece = at(rng.uniform(0.32, 0.42), rng.uniform(120, 360) * max(scale, 0.15), "damped")
    slow = CatheterLine.transmit(
        np.asarray(wave, np.float32)[None], np.array([3.0], np.float32), np.array([1.6], np.float32), fs=fs
    )
    made[piece] = slow[0, piece]
    made[at(rng.uniform(0.72, 0.8), rng.uniform(15, 60) * max(scale, 0.3), "disconnected")] = np.nan
    if rng.random() < 0.5:
        lost = at(rng.uniform(0.83, 0.88), rng.uniform(60, 180) * max(scale, 0.3), "zero-lost")
        made[lost] += 12.0 * rng.choice([-1, 1])
    return sorted(found)


def oximetry(rng: np.random.Generator, volume: Float[np.ndarray, " time"], fs: float) -> Float[np.ndarray, " time"]:
    r"""Records a photoplethysmogram by another instrument than the training's.

    Arguments:
        rng: Source of randomness.
        volume: Blood volume of the finger, in any unit.
        fs: Sampling rate [Hz].

    Example:
        >>> wave = oximetry(np.random.default_rng(0), np.sin(np.arange(1000) / 15), 125.0)
        >>> bool(20 < wave.mean() < 80)
        True
    """
    from scipy.signal import butter, sosfilt

    band = sosfilt(butter(2, (0.3, 6.0), "band", fs=fs, output="sos"), volume - volume.mean())
    band /= max(float(band.std()), 1e-9)
    slow = np.repeat(rng.standard_normal(len(volume) // round(fs) + 2).cumsum() * 0.05, round(fs))[: len(volume)]
    return np.asarray(50.0 + 12.0 * band + 5.0 * np.tanh(slow) + 0.2 * rng.standard_normal(len(volume)))


def electrocardiogram(
    rng: np.random.Generator, feet_s: Float[np.ndarray, " beats"], length_s: float, fs: float
) -> Float[np.ndarray, " time"]:
    r"""An electrocardiogram with an R peak before each pulse: for its rate, not its shape.

    Arguments:
        rng: Source of randomness.
        feet_s: Feet of the pulses [s].
        length_s: Length [s].
        fs: Sampling rate [Hz].

    Returns:
        One lead [mV].

    Example:
        >>> wave = electrocardiogram(np.random.default_rng(0), np.arange(1.0, 9.0, 0.8), 10.0, 250.0)
        >>> round(float(wave.max()), 1)
        1.0
    """
    wave = 0.01 * rng.standard_normal(round(length_s * fs))
    delay = rng.uniform(0.14, 0.22)
    reach = round(0.4 * fs)
    offsets = np.arange(-reach, reach + 1)
    shape = np.exp(-((offsets / fs) ** 2) / 2 / 0.011**2) + 0.2 * np.exp(-((offsets / fs - 0.25) ** 2) / 2 / 0.04**2)
    for foot in feet_s:
        centre = round((float(foot) - delay) * fs)
        inside = (centre + offsets >= 0) & (centre + offsets < len(wave))
        wave[centre + offsets[inside]] += shape[inside]
    return wave
