r"""What stands between the artery and the file: catheter line, transducer, noise and digitisation of a pressure.

A simulated pressure $p$ [mmHg] becomes a recorded one in this order, every part drawn anew for every row:

1. a rare **flush** of the line ([`line_artefacts`][pulsebayes.simulators.line_artefacts]);
2. the fluid-filled **line** with its transducer, a second-order system ([`catheter`][pulsebayes.simulators.catheter]);
3. a random **start** of the window, after the line has forgotten how the simulation began;
4. **gain** $g$ and **offset** $o$ of the transducer, $g p + o$;
5. **respiration** that moves arm and transducer, **drift** (1/f noise) and white **noise**;
6. **clipping** of peaks, **quantisation** to a step, and short **dropouts**, bridged.

Flush, respiration, drift, clipping and dropouts are off unless named; `SensorModel.radial_line` has them all.

``width`` widens every prior about its centre: normal priors by their standard deviation, log-uniform ones by the range
of the logarithm; shares and the start stay as they are. NumPy and `scipy.fft` in float32: a batch of 256 rows of 1250
samples takes about 20 ms on one core, so the model runs inside the training loop and every epoch sees new recordings.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, Integer

from .catheter import CatheterLine, check_range, check_share, check_spread, log_uniform
from .line_artefacts import Clipping, Drift, Dropouts, Flush, Respiration

__all__ = ["CatheterLine", "Gain", "Offset", "Quantisation", "RandomStart", "SensorModel", "WhiteNoise"]

LEAST_MARGIN_S = 1.0
"""Time a simulated wave must last longer than the window when there is a line to settle [s]."""

Waves = Float32[np.ndarray, "N T"]
PerRow = Float32[np.ndarray, " N"]


@dataclass(frozen=True)
class RandomStart:
    r"""Prior of where the window starts: uniform from the moment the line has settled.

    Arguments:
        span_s: Greatest time between the earliest start possible and the start [s]; 0 always takes the earliest.

    Raises:
        ValueError: If ``span_s`` is negative or not finite.

    Example:
        >>> waves = np.arange(20, dtype=np.float32)[None]
        >>> RandomStart(span_s=0.0).crop(waves, np.random.default_rng(0), np.array([4]), fs=1.0, out_samples=3)
        array([[4., 5., 6.]], dtype=float32)
    """

    span_s: float = 2.0

    def __post_init__(self) -> None:
        check_spread("RandomStart span_s", self.span_s, "s")

    def crop(
        self,
        waves: Waves,
        rng: np.random.Generator,
        earliest: Integer[np.ndarray, " N"],
        *,
        fs: float,
        out_samples: int,
    ) -> Float32[np.ndarray, "N out"]:
        r"""Cuts one window out of every row.

        Arguments:
            waves: Waves.
            rng: Source of randomness.
            earliest: Earliest first sample of each row; later ones than fit are taken as the latest that fits.
            fs: Sampling rate [Hz].
            out_samples: Length of the window in samples.

        Returns:
            The windows.
        """
        latest = waves.shape[-1] - out_samples
        first = np.minimum(earliest, latest)
        last = np.minimum(first + round(self.span_s * fs), latest)
        start = rng.integers(first, last, endpoint=True)
        return np.asarray(
            np.lib.stride_tricks.sliding_window_view(waves, out_samples, axis=-1)[np.arange(len(waves)), start]
        )


@dataclass(frozen=True)
class Gain:
    r"""Prior of the transducer's gain, normal around 1.

    Arguments:
        sd: Standard deviation [1]. Disposable transducers must read within 1 % up to 50 mmHg and 3 % above
            (ANSI/AAMI BP22); 1 % takes the latter as three standard deviations.

    Raises:
        ValueError: If ``sd`` is negative or not finite.

    Example:
        >>> Gain(sd=0.0).draw(np.random.default_rng(0), 2)
        array([1., 1.], dtype=float32)
    """

    sd: float = 0.01

    def __post_init__(self) -> None:
        check_spread("Gain sd", self.sd, "1")

    def draw(self, rng: np.random.Generator, n: int, *, width: float = 1.0) -> PerRow:
        r"""Draws the gains of N rows [1]; ``width`` multiplies the standard deviation."""
        return 1 + np.float32(self.sd * width) * rng.standard_normal(n, np.float32)


@dataclass(frozen=True)
class Offset:
    r"""Prior of the transducer's offset, normal around 0.

    Arguments:
        sd: Standard deviation [mmHg]. A transducer 1 cm below the heart reads .74 mmHg too much (blood, 1060 kg/m^3,
            gives .78): 2.5 mmHg is 3.4 cm of levelling error, or zero drift.

    Raises:
        ValueError: If ``sd`` is negative or not finite.

    Example:
        >>> Offset(sd=2.0).draw(np.random.default_rng(0), 3).shape
        (3,)
    """

    sd: float = 2.5

    def __post_init__(self) -> None:
        check_spread("Offset sd", self.sd, "mmHg")

    def draw(self, rng: np.random.Generator, n: int, *, width: float = 1.0) -> PerRow:
        r"""Draws the offsets of N rows [mmHg]; ``width`` multiplies the standard deviation."""
        return np.float32(self.sd * width) * rng.standard_normal(n, np.float32)


@dataclass(frozen=True)
class WhiteNoise:
    r"""Prior of the white noise: its standard deviation is log-uniform.

    Arguments:
        sd_low: Least standard deviation [mmHg].
        sd_high: Greatest standard deviation [mmHg].
        none_share: Share of rows without noise [1].

    Raises:
        ValueError: If the range is not positive and in order, or the share is not in [0, 1].

    Example:
        >>> WhiteNoise(none_share=1.0).draw(np.random.default_rng(0), 2)
        array([0., 0.], dtype=float32)
    """

    sd_low: float = 0.02
    sd_high: float = 1.0
    none_share: float = 0.0

    def __post_init__(self) -> None:
        check_range("WhiteNoise sd", self.sd_low, self.sd_high, "mmHg")
        check_share("WhiteNoise none_share", self.none_share)

    def draw(self, rng: np.random.Generator, n: int, *, width: float = 1.0) -> PerRow:
        r"""Draws the standard deviations of N rows [mmHg]; ``width`` multiplies the width of their logarithm."""
        sd = log_uniform(rng, n, self.sd_low, self.sd_high, width=width)
        sd[rng.random(n) < self.none_share] = 0
        return sd

    @staticmethod
    def add(waves: Waves, rng: np.random.Generator, sd: PerRow) -> Waves:
        r"""Adds noise of standard deviation ``sd`` [mmHg] to each row."""
        noise = rng.standard_normal(waves.shape, np.float32)
        noise *= np.asarray(sd, np.float32)[:, None]
        noise += waves
        return noise


@dataclass(frozen=True)
class Quantisation:
    r"""Prior of the file's resolution: its step is log-uniform, some files have none worth the name.

    Arguments:
        step_low: Least step [mmHg]: 12-bit PhysioNet records hold 20 counts/mmHg (``041s``).
        step_high: Greatest step [mmHg]: 8-bit MIMIC II records hold .83 counts/mmHg (``3975656_0015``).
        none_share: Share of rows left as they are [1].

    Raises:
        ValueError: If the range is not positive and in order, or the share is not in [0, 1].

    Example:
        >>> Quantisation.digitise(np.array([[1.26, 1.24]], np.float32), np.array([0.5], np.float32)).tolist()
        [[1.5, 1.0]]
    """

    step_low: float = 0.05
    step_high: float = 1.25
    none_share: float = 0.3

    def __post_init__(self) -> None:
        check_range("Quantisation step", self.step_low, self.step_high, "mmHg")
        check_share("Quantisation none_share", self.none_share)

    def draw(self, rng: np.random.Generator, n: int, *, width: float = 1.0) -> PerRow:
        r"""Draws the steps of N rows [mmHg], 0 for none; ``width`` multiplies the width of their logarithm."""
        step = log_uniform(rng, n, self.step_low, self.step_high, width=width)
        step[rng.random(n) < self.none_share] = 0
        return step

    @staticmethod
    def digitise(waves: Waves, step: PerRow) -> Waves:
        r"""Rounds each row to multiples of its ``step`` [mmHg]; rows of step 0 stay as they are."""
        column = np.asarray(step, np.float32)[:, None]
        rounded = waves * (1 / np.where(column > 0, column, 1))
        np.rint(rounded, out=rounded)
        rounded *= column
        return np.where(column > 0, rounded, waves)


@dataclass(frozen=True)
class SensorModel:
    r"""The whole chain from the artery to the file, with a prior for each part.

    Arguments:
        line: Catheter, tube and transducer.
        start: Where the window starts.
        gain: Gain of the transducer.
        offset: Offset of the transducer.
        noise: White noise.
        quantisation: Resolution of the file.
        flush: Fast flushes.
        respiration: Movement of the transducer with the breath.
        drift: 1/f noise.
        clipping: Peaks cut off.
        dropouts: Lost samples, bridged.

    Example:
        >>> waves = np.full((2, 1250), 90.0, np.float32)
        >>> recorded = SensorModel.radial_line().apply(waves, np.random.default_rng(0), fs=125.0)
        >>> recorded.shape, recorded.dtype.name
        ((2, 1000), 'float32')
        >>> SensorModel.from_json(SensorModel.radial_line().to_json()) == SensorModel.radial_line()
        True
    """

    line: CatheterLine = field(default_factory=CatheterLine)
    start: RandomStart = field(default_factory=RandomStart)
    gain: Gain = field(default_factory=Gain)
    offset: Offset = field(default_factory=Offset)
    noise: WhiteNoise = field(default_factory=WhiteNoise)
    quantisation: Quantisation = field(default_factory=Quantisation)
    flush: Flush = field(default_factory=lambda: Flush(share=0.0))
    respiration: Respiration = field(default_factory=lambda: Respiration(sd=0.0))
    drift: Drift = field(default_factory=lambda: Drift(none_share=1.0))
    clipping: Clipping = field(default_factory=lambda: Clipping(share=0.0))
    dropouts: Dropouts = field(default_factory=lambda: Dropouts(share=0.0))

    @classmethod
    def radial_line(cls) -> SensorModel:
        r"""Returns the sensor of a radial arterial line as monitors record it: every part at its default prior."""
        return cls(flush=Flush(), respiration=Respiration(), drift=Drift(), clipping=Clipping(), dropouts=Dropouts())

    @classmethod
    def ideal(cls) -> SensorModel:
        r"""Returns a sensor that only cuts a window at a random start: nothing else is changed."""
        return cls(
            line=CatheterLine(ideal_share=1.0),
            gain=Gain(sd=0.0),
            offset=Offset(sd=0.0),
            noise=WhiteNoise(none_share=1.0),
            quantisation=Quantisation(none_share=1.0),
        )

    def apply(
        self,
        waves: Float[np.ndarray, "N T"],
        rng: np.random.Generator,
        *,
        fs: float,
        out_samples: int = 1000,
        width: float = 1.0,
    ) -> Float32[np.ndarray, "N out"]:
        r"""Records simulated waves, with a sensor of its own for each row.

        Arguments:
            waves: Simulated pressure [mmHg], longer than the window by at least 1 s where a line has to settle.
            rng: Source of randomness; the same generator state gives the same recording.
            fs: Sampling rate [Hz].
            out_samples: Length of the recorded window in samples.
            width: Factor on the width of every prior about its centre; 0 records with the centre of each.

        Returns:
            Recorded pressure [mmHg].

        Raises:
            ValueError: If the shape, ``fs``, ``out_samples`` or ``width`` do not fit.
        """
        waves = self._check(waves, fs, out_samples, width)
        n = len(waves)
        earliest = np.zeros(n, np.int64)
        if self.flush.share > 0:
            waves = self.flush.open(waves, rng, fs=fs)
        if self.line.ideal_share < 1:
            frequency, damping = self.line.draw(rng, n, width=width)
            margin_s = (waves.shape[-1] - out_samples) / fs
            frequency, settling_s = self.line.settled(frequency, damping, margin_s=margin_s)
            waves = self.line.transmit(waves, frequency, damping, fs=fs)
            earliest = np.ceil(settling_s * fs).astype(np.int64)
        recorded = self.start.crop(waves, rng, earliest, fs=fs, out_samples=out_samples)
        recorded *= self.gain.draw(rng, n, width=width)[:, None]
        recorded += self.offset.draw(rng, n, width=width)[:, None]
        return self._digitised(self._disturbed(recorded, rng, fs, width), rng, fs, width)

    def _disturbed(self, recorded: Waves, rng: np.random.Generator, fs: float, width: float) -> Waves:
        """What is added to the reading."""
        if self.respiration.sd > 0:
            recorded = self.respiration.add(recorded, rng, fs=fs, width=width)
        if self.drift.none_share < 1:
            recorded = self.drift.add(recorded, rng, width=width)
        if self.noise.none_share < 1:
            recorded = self.noise.add(recorded, rng, self.noise.draw(rng, len(recorded), width=width))
        return recorded

    def _digitised(self, recorded: Waves, rng: np.random.Generator, fs: float, width: float) -> Waves:
        """What the recorder makes of the reading."""
        if self.clipping.share > 0:
            recorded = self.clipping.cut(recorded, rng)
        if self.quantisation.none_share < 1:
            recorded = self.quantisation.digitise(recorded, self.quantisation.draw(rng, len(recorded), width=width))
        if self.dropouts.share > 0:
            recorded = self.dropouts.bridge(recorded, rng, fs=fs)
        return recorded

    def to_json(self) -> dict[str, dict[str, float]]:
        r"""Returns every part's prior as a JSON-able dictionary."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Mapping[str, float]]) -> SensorModel:
        r"""Rebuilds a sensor from [`to_json`][pulsebayes.simulators.sensors.SensorModel.to_json].

        Arguments:
            data: The dictionary; parts and fields left out take their defaults.

        Raises:
            TypeError: If a part or a field is unknown.
        """
        unknown = sorted(set(data) - set(_PARTS))
        if unknown:
            raise TypeError(f"a sensor has the parts {sorted(_PARTS)}, got {unknown}")
        return cls(**{name: _PARTS[name](**fields) for name, fields in data.items()})

    def _check(self, waves: Float[np.ndarray, "N T"], fs: float, out_samples: int, width: float) -> Waves:
        waves = np.asarray(waves, np.float32)
        if waves.ndim != 2:
            raise ValueError(f"waves must have shape (N, T), got {waves.shape}: pass one site at a time")
        if not (math.isfinite(fs) and fs > 0):
            raise ValueError(f"fs must be a positive rate in Hz, got {fs}")
        check_spread("width", width, "1")
        least = out_samples + (math.ceil(LEAST_MARGIN_S * fs) if self.line.ideal_share < 1 else 0)
        if out_samples < 1 or waves.shape[1] < least:
            raise ValueError(
                f"waves must have at least {least} samples for windows of {out_samples}, got {waves.shape[1]}: "
                f"simulate {LEAST_MARGIN_S:g} s more than the window, so that the line settles before it"
            )
        return waves


_PARTS: dict[str, Any] = {
    "line": CatheterLine,
    "start": RandomStart,
    "gain": Gain,
    "offset": Offset,
    "noise": WhiteNoise,
    "quantisation": Quantisation,
    "flush": Flush,
    "respiration": Respiration,
    "drift": Drift,
    "clipping": Clipping,
    "dropouts": Dropouts,
}
