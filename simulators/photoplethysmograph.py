r"""What stands between the blood in a finger and the file: the sensor model of a photoplethysmogram.

A simulated blood volume $v$ becomes a recorded photoplethysmogram in this order, every part drawn anew for every row:

1. a **venous** component: blood that leaves the bed swings with the pulse, later, smoother and of either sign;
2. the **coupling** of the amplifier and the monitor's filter, $H(f) = \dfrac{i f/f_h}{1 + i f/f_h}
   \dfrac{1}{(1 + i f/f_l)^2}$: no level is left, slow waves lean, the upstroke loses its edge;
3. a random **start** of the window;
4. **breathing**, **motion**, and white and 1/f **noise** ([`ppg_artefacts`][pulsebayes.simulators.ppg_artefacts]);
5. the **recorder**: scale, zero and sign of a unit that nobody knows, a gain set anew, clipping, steps, lost samples.

Whoever reads a photoplethysmogram scales it by itself: nothing about its unit is information. ``width`` widens every
prior about its centre; shares and the start stay as they are.

References:
    Allen J. (2007), Physiol Meas 28:R1, https://doi.org/10.1088/0967-3334/28/3/R01 (alternating and slow parts, the
    filters in use: from .05 to 1 Hz below, a few to some 20 Hz above). Shelley K.H. (2007), Anesth Analg 105:S31,
    https://doi.org/10.1213/01.ane.0000269512.82836.c9 (monitors filter and scale by themselves; venous pulsation).
    Where the literature gives no distribution the width is ours.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Complex64, Float, Float32

from .catheter import BRIDGE_S, bridge, check_range, check_share, check_spread, log_uniform
from .ppg_artefacts import Breathing, Motion, OpticalNoise, Recorder, pulse_height
from .sensors import RandomStart, SensorModel

__all__ = ["Coupling", "PPGSensor", "VenousPulse", "sensor_from_json"]

Waves = Float32[np.ndarray, "N T"]


@dataclass(frozen=True)
class VenousPulse:
    r"""Prior of the venous component, $a\,e^{-2\pi i f\tau}/(1 + i f/f_v)$ of the arterial one.

    Arguments:
        size_sd: Standard deviation of $a$, normal around 0 [1].
        delay_low: Least delay $\tau$ [s].
        delay_high: Greatest delay [s].
        corner_low: Least corner $f_v$ of the smoothing [Hz].
        corner_high: Greatest corner [Hz].

    Raises:
        ValueError: If a range is not positive and in order, or the spread is negative.

    Example:
        >>> VenousPulse(size_sd=0.0).response(np.array([1.0]), np.random.default_rng(0), 2).tolist()
        [[(1+0j)], [(1+0j)]]
    """

    size_sd: float = 0.12
    delay_low: float = 0.1
    delay_high: float = 0.5
    corner_low: float = 0.7
    corner_high: float = 4.0

    def __post_init__(self) -> None:
        check_spread("VenousPulse size_sd", self.size_sd, "1")
        check_range("VenousPulse delay", self.delay_low, self.delay_high, "s")
        check_range("VenousPulse corner", self.corner_low, self.corner_high, "Hz")

    def response(
        self, frequencies: Float[np.ndarray, " F"], rng: np.random.Generator, n: int, *, width: float = 1.0
    ) -> Complex64[np.ndarray, "N F"]:
        r"""Draws what the veins add to one, for N rows.

        Arguments:
            frequencies: Frequencies [Hz].
            rng: Source of randomness.
            n: Number of rows N.
            width: Factor on the width of every prior.
        """
        size = np.clip(np.float32(self.size_sd * width) * rng.standard_normal(n, np.float32), -0.6, 0.6)[:, None]
        delay = log_uniform(rng, n, self.delay_low, self.delay_high, width=width)[:, None]
        corner = log_uniform(rng, n, self.corner_low, self.corner_high, width=width)[:, None]
        f = np.asarray(frequencies, np.float32)
        return np.asarray(1 + size * np.exp(-2j * np.pi * delay * f) / (1 + 1j * f / corner), np.complex64)


@dataclass(frozen=True)
class Coupling:
    r"""Prior of the amplifier's high-pass, of first order, and of the monitor's low-pass, of second.

    Arguments:
        high_pass_low: Least corner of the high-pass [Hz].
        high_pass_high: Greatest corner [Hz]: above it a pulse of 60 /min would be a spike and a dip.
        low_pass_low: Least corner of each pole of the low-pass [Hz].
        low_pass_high: Greatest corner [Hz].
        open_share: Share of rows that are not filtered at all [1].

    Raises:
        ValueError: If a range is not positive and in order, or the share is not in [0, 1].

    Example:
        >>> gain = abs(Coupling(1.0, 1.0, open_share=0.0).response(np.array([0.0, 1.0]), np.random.default_rng(0), 1))
        >>> float(gain[0, 0]), bool(0.5 < gain[0, 1] < 0.71)
        (0.0, True)
    """

    high_pass_low: float = 0.02
    high_pass_high: float = 1.2
    low_pass_low: float = 4.0
    low_pass_high: float = 30.0
    open_share: float = 0.1

    def __post_init__(self) -> None:
        check_range("Coupling high_pass", self.high_pass_low, self.high_pass_high, "Hz")
        check_range("Coupling low_pass", self.low_pass_low, self.low_pass_high, "Hz")
        check_share("Coupling open_share", self.open_share)

    def response(
        self, frequencies: Float[np.ndarray, " F"], rng: np.random.Generator, n: int, *, width: float = 1.0
    ) -> Complex64[np.ndarray, "N F"]:
        r"""Draws the filters of N rows.

        Arguments:
            frequencies: Frequencies [Hz].
            rng: Source of randomness.
            n: Number of rows N.
            width: Factor on the width of both log-uniform priors.
        """
        high = log_uniform(rng, n, self.high_pass_low, self.high_pass_high, width=width)[:, None]
        low = log_uniform(rng, n, self.low_pass_low, self.low_pass_high, width=width)[:, None]
        f = np.asarray(frequencies, np.float32)
        response = np.asarray((1j * f / high) / (1 + 1j * f / high) / np.square(1 + 1j * f / low), np.complex64)
        response[rng.random(n) < self.open_share] = 1
        return response


@dataclass(frozen=True)
class PPGSensor:
    r"""The whole chain from the finger's blood to the file, with a prior for each part.

    Arguments:
        venous: Venous component.
        coupling: High-pass and low-pass.
        start: Where the window starts.
        breathing: Swing of baseline and height.
        motion: Bursts.
        noise: White and 1/f noise.
        recorder: Unit, gain, clipping, steps and lost samples.

    Example:
        >>> volume = np.random.default_rng(0).random((2, 1250)).astype(np.float32)
        >>> recorded = PPGSensor.finger().apply(volume, np.random.default_rng(0), fs=125.0)
        >>> recorded.shape, recorded.dtype.name
        ((2, 1000), 'float32')
        >>> PPGSensor.from_json(PPGSensor.finger().to_json()) == PPGSensor.finger()
        True
    """

    venous: VenousPulse = field(default_factory=VenousPulse)
    coupling: Coupling = field(default_factory=Coupling)
    start: RandomStart = field(default_factory=RandomStart)
    breathing: Breathing = field(default_factory=Breathing)
    motion: Motion = field(default_factory=Motion)
    noise: OpticalNoise = field(default_factory=OpticalNoise)
    recorder: Recorder = field(default_factory=Recorder)

    @classmethod
    def finger(cls) -> PPGSensor:
        r"""Returns the sensor of a finger clip as monitors record it: every part at its default prior."""
        return cls()

    @classmethod
    def ideal(cls) -> PPGSensor:
        r"""Returns a sensor that only cuts a window at a random start and takes its mean off."""
        nothing = 1e-9
        return cls(
            venous=VenousPulse(size_sd=0.0),
            coupling=Coupling(open_share=1.0),
            breathing=Breathing(baseline_low=nothing, baseline_high=nothing, height_sd=0.0),
            motion=Motion(share=0.0),
            noise=OpticalNoise(nothing, nothing, nothing, nothing),
            recorder=Recorder.plain(),
        )

    def apply(
        self,
        waves: Float[np.ndarray, "N T"],
        rng: np.random.Generator,
        *,
        fs: float,
        out_samples: int = 1000,
        width: float = 1.0,
        together: int = 1,
    ) -> Float32[np.ndarray, "N out"]:
        r"""Records simulated blood volumes, with a sensor of its own for each row.

        Arguments:
            waves: Simulated blood volume, in any unit, at least as long as the window.
            rng: Source of randomness; the same generator state gives the same recording.
            fs: Sampling rate [Hz].
            out_samples: Length of the recorded window in samples.
            width: Factor on the width of every prior about its centre.
            together: Rows, each after the other, that share veins and filters, as windows of one recording do.

        Returns:
            Recorded photoplethysmograms, each in a unit of its own.

        Raises:
            ValueError: If the shape, ``fs``, ``out_samples``, ``width`` or ``together`` do not fit.
        """
        waves = _checked(waves, fs, out_samples, width)
        n = len(waves)
        if together < 1 or n % together:
            raise ValueError(f"together must divide the {n} rows, got {together}")
        waves = self._filtered(waves, rng, fs, width, together)
        seen = self.start.crop(waves, rng, np.zeros(n, np.int64), fs=fs, out_samples=out_samples)
        seen -= seen.mean(axis=-1, keepdims=True)
        height = pulse_height(seen)
        for part in (self.breathing, self.motion, self.noise):
            seen = part.disturb(seen, rng, height, fs=fs, width=width)
        seen *= 1 / height[:, None]
        return self.recorder.record(seen, rng, fs=fs, width=width)

    def _filtered(self, waves: Waves, rng: np.random.Generator, fs: float, width: float, together: int = 1) -> Waves:
        """Veins and filters, in the frequency domain: a short bridge closes the wave to a circle."""
        from scipy.fft import irfft, next_fast_len, rfft, rfftfreq

        samples = waves.shape[-1]
        total = next_fast_len(samples + math.ceil(BRIDGE_S * fs), real=True)
        closed = np.concatenate([waves, bridge(waves, total - samples)], axis=-1)
        lines = rfft(closed, axis=-1, overwrite_x=True)
        frequencies = rfftfreq(total, 1 / fs)
        for part in (self.venous, self.coupling):
            response = part.response(frequencies, rng, len(waves) // together, width=width)
            lines *= response if together == 1 else np.repeat(response, together, axis=0)
        return np.asarray(irfft(lines, total, axis=-1, overwrite_x=True)[:, :samples])

    def to_json(self) -> dict[str, dict[str, float]]:
        r"""Returns every part's prior as a JSON-able dictionary."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Mapping[str, float]]) -> PPGSensor:
        r"""Rebuilds a sensor from [`to_json`][pulsebayes.simulators.photoplethysmograph.PPGSensor.to_json].

        Arguments:
            data: The dictionary; parts and fields left out take their defaults.

        Raises:
            TypeError: If a part or a field is unknown.
        """
        unknown = sorted(set(data) - set(_PARTS))
        if unknown:
            raise TypeError(f"a photoplethysmograph has the parts {sorted(_PARTS)}, got {unknown}")
        return cls(**{name: _PARTS[name](**fields) for name, fields in data.items()})


def sensor_from_json(data: Mapping[str, Mapping[str, float]]) -> SensorModel | PPGSensor:
    r"""Rebuilds the sensor of a pressure line or of a photoplethysmograph, told apart by their parts.

    [`any_sensor_from_json`][pulsebayes.simulators.channels.any_sensor_from_json] takes several channels besides.

    Arguments:
        data: What ``to_json`` of either gave.

    Raises:
        TypeError: If a part or a field is unknown.

    Example:
        >>> type(sensor_from_json(PPGSensor.finger().to_json())).__name__
        'PPGSensor'
        >>> sensor_from_json(SensorModel.radial_line().to_json()) == SensorModel.radial_line()
        True
    """
    return PPGSensor.from_json(data) if set(data) & (set(_PARTS) - {"start", "noise"}) else SensorModel.from_json(data)


def _checked(waves: Float[np.ndarray, "N T"], fs: float, out_samples: int, width: float) -> Waves:
    waves = np.asarray(waves, np.float32)
    if waves.ndim != 2:
        raise ValueError(f"waves must have shape (N, T), got {waves.shape}: pass one site at a time")
    if not (math.isfinite(fs) and fs > 0):
        raise ValueError(f"fs must be a positive rate in Hz, got {fs}")
    check_spread("width", width, "1")
    if not 1 <= out_samples <= waves.shape[1]:
        raise ValueError(f"waves must have at least {out_samples} samples, got {waves.shape[1]}: simulate longer")
    return waves


_PARTS: dict[str, Any] = {
    "venous": VenousPulse,
    "coupling": Coupling,
    "start": RandomStart,
    "breathing": Breathing,
    "motion": Motion,
    "noise": OpticalNoise,
    "recorder": Recorder,
}
