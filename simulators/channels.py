r"""Several channels of one patient as a monitor files them: a sensor each, clocks that disagree, channels not there.

Each channel $c$ of a row goes through its own sensor model, drawn anew, and is cut at $s + o_c$: the start $s$ is
common to the row and uniform over what was simulated, the offset $o_c$ of the channel's clock is uniform within
`near_s`, or, in a share of the rows, within `loose_s`, about a beat. The first channel's clock is the row's. Then it is
drawn which channels are given: first how many, $k$, with weights $C, C - 1, \ldots, 1$ unless others are named, then
which, each set of $k$ alike. Every set has a positive probability and none is empty. A channel that is not given is a
row of NaN.

References:
    Liang Y. et al. (2019), J Clin Med 8:337, https://doi.org/10.3390/jcm8030337 (channels of a monitor's record, there
    MIMIC's, are not synchronised: what is timed between them is not physiology). The widths are ours.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
from jaxtyping import Bool, Float, Float32, Integer

from .catheter import check_share, check_spread
from .photoplethysmograph import PPGSensor, sensor_from_json
from .sensors import LEAST_MARGIN_S, RandomStart, SensorModel

__all__ = ["ChannelSensor", "ClockOffset", "SensedChannel", "any_sensor_from_json"]


@dataclass(frozen=True)
class ClockOffset:
    r"""Prior of how far a channel's clock is from that of the first channel.

    Arguments:
        near_s: Greatest offset, either way [s].
        loose_s: Greatest offset of channels that are hardly aligned, either way [s].
        loose_share: Share of rows of which that is so [1].

    Raises:
        ValueError: If a time is negative, or the share is not in [0, 1].

    Example:
        >>> bool((abs(ClockOffset(loose_share=0.0).draw(np.random.default_rng(0), 50)) <= 0.15).all())
        True
    """

    near_s: float = 0.15
    loose_s: float = 1.0
    loose_share: float = 0.2

    def __post_init__(self) -> None:
        check_spread("ClockOffset near_s", self.near_s, "s")
        check_spread("ClockOffset loose_s", self.loose_s, "s")
        check_share("ClockOffset loose_share", self.loose_share)

    @property
    def most_s(self) -> float:
        r"""Greatest offset that can be drawn [s]."""
        return max(self.near_s, self.loose_s if self.loose_share else 0.0)

    def draw(self, rng: np.random.Generator, n: int) -> Float[np.ndarray, " N"]:
        r"""Draws the offsets of N rows [s]."""
        reach = np.where(rng.random(n) < self.loose_share, self.loose_s, self.near_s)
        return np.asarray(reach * rng.uniform(-1.0, 1.0, n))


@dataclass(frozen=True)
class SensedChannel:
    r"""A channel, the sensor that makes it, and its clock.

    Arguments:
        name: Name of the channel.
        sensor: Sensor model of its signal.
        clock: Prior of its clock's offset; that of the first channel is not used.

    Example:
        >>> SensedChannel("PLETH", PPGSensor.finger()).clock.near_s
        0.15
    """

    name: str
    sensor: SensorModel | PPGSensor
    clock: ClockOffset = field(default_factory=ClockOffset)


@dataclass(frozen=True)
class _LatestStart:
    """A start that leaves all of the margin before the window, so that the window is where the caller put it."""

    def crop(
        self,
        waves: Float32[np.ndarray, "N T"],
        rng: np.random.Generator,
        earliest: Integer[np.ndarray, " N"],
        *,
        fs: float,
        out_samples: int,
    ) -> Float32[np.ndarray, "N out"]:
        return waves[:, waves.shape[-1] - out_samples :].copy()


LATEST = cast(RandomStart, _LatestStart())
"""The start of a sensor that is given what `ChannelSensor.cut` cut."""


@dataclass(frozen=True)
class ChannelSensor:
    r"""The sensors of several channels of one patient, their clocks, and which of them are given.

    Arguments:
        channels: The channels, in the order of the waveforms.
        sizes: Weights of one, two, ... channels being given, 0 for never; empty for as many as there are down to 1.

    Raises:
        ValueError: If a name is used twice or missing, if there are not as many weights as channels, one is negative
            or infinite, or all are 0.

    Example:
        >>> sensor = ChannelSensor((SensedChannel("ART", SensorModel()), SensedChannel("PLETH", PPGSensor())))
        >>> waves = np.random.default_rng(0).normal(90, 10, (4, 2, 1450)).astype(np.float32)
        >>> seen = sensor.apply(waves, np.random.default_rng(0), fs=125.0)
        >>> seen.shape, bool(np.isfinite(seen).all(-1).any(-1).all())
        ((4, 2, 1000), True)
        >>> ChannelSensor.from_json(sensor.to_json()) == sensor
        True
    """

    channels: tuple[SensedChannel, ...]
    sizes: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        names = [channel.name for channel in self.channels]
        if not names or not all(names) or len(set(names)) < len(names):
            raise ValueError(f"channels must have names, each once, got {names}")
        sizes = tuple(float(size) for size in self.sizes) or tuple(float(k) for k in range(len(names), 0, -1))
        if len(sizes) != len(names) or not all(0 <= size < math.inf for size in sizes) or not any(sizes):
            raise ValueError(f"sizes must be {len(names)} weights, none negative, one positive, got {list(self.sizes)}")
        object.__setattr__(self, "sizes", sizes)

    @property
    def names(self) -> tuple[str, ...]:
        r"""Names of the channels."""
        return tuple(channel.name for channel in self.channels)

    def draw_given(self, rng: np.random.Generator, n: int) -> Bool[np.ndarray, "N C"]:
        r"""Draws which channels are given in N rows, at least one in each."""
        weights = np.asarray(self.sizes) / sum(self.sizes)
        count = rng.choice(len(weights), size=n, p=weights) + 1
        rank = rng.random((n, len(weights))).argsort(axis=1).argsort(axis=1)
        return np.asarray(rank < count[:, None])

    def apply(
        self,
        waves: Float[np.ndarray, "N C T"],
        rng: np.random.Generator,
        *,
        fs: float,
        out_samples: int = 1000,
        width: float = 1.0,
    ) -> Float32[np.ndarray, "N C out"]:
        r"""Records simulated waves, with sensors, clocks and given channels drawn for each row.

        Arguments:
            waves: Simulated waveforms, a channel each.
            rng: Source of randomness; the same generator state gives the same recording.
            fs: Sampling rate [Hz].
            out_samples: Length of the recorded windows in samples.
            width: Factor on the width of every sensor's priors; clocks and what is given stay as they are.

        Returns:
            Recorded windows, NaN where a channel is not given.

        Raises:
            ValueError: If the shape or the length does not fit.
        """
        given = self.draw_given(rng, len(waves))
        return self.observe(waves, rng, given, fs=fs, out_samples=out_samples, width=width)

    def observe(
        self,
        waves: Float[np.ndarray, "N C T"],
        rng: np.random.Generator,
        given: Bool[np.ndarray, "N C"],
        *,
        fs: float,
        out_samples: int = 1000,
        width: float = 1.0,
    ) -> Float32[np.ndarray, "N C out"]:
        r"""Records the channels that are given.

        Arguments:
            waves: Simulated waveforms, a channel each.
            rng: Source of randomness.
            given: Channels given in each row.
            fs: Sampling rate [Hz].
            out_samples: Length of the recorded windows in samples.
            width: Factor on the width of every sensor's priors.

        Raises:
            ValueError: If the shape or the length does not fit.
        """
        pieces = self.cut(waves, rng, fs=fs, out_samples=out_samples)
        seen = np.full((len(waves), len(self.channels), out_samples), np.nan, np.float32)
        for c, channel in enumerate(self.channels):
            rows = np.flatnonzero(given[:, c])
            if not len(rows):
                continue
            sensor = dataclasses.replace(channel.sensor, start=LATEST)
            seen[rows, c] = sensor.apply(pieces[rows, c], rng, fs=fs, out_samples=out_samples, width=width)
        return seen

    def cut(
        self,
        waves: Float[np.ndarray, "N C T"],
        rng: np.random.Generator,
        *,
        fs: float,
        out_samples: int = 1000,
        together: int = 1,
    ) -> Float32[np.ndarray, "N C piece"]:
        r"""Cuts what the sensor of every channel sees: a window where its clock says, and the second before it.

        Arguments:
            waves: Simulated waveforms, a channel each.
            rng: Source of randomness.
            fs: Sampling rate [Hz].
            out_samples: Length of the recorded windows in samples.
            together: Rows, each after the other, whose clocks are the same.

        Raises:
            ValueError: If the shape or the length does not fit.
        """
        margin = math.ceil(LEAST_MARGIN_S * fs)
        self._check(waves, fs, out_samples + margin)
        at = self._starts(rng, waves.shape, out_samples, margin, fs, together) - margin
        pieces = np.lib.stride_tricks.sliding_window_view(waves, out_samples + margin, axis=-1)
        rows, channels = np.arange(len(waves))[:, None], np.arange(len(self.channels))
        return np.asarray(pieces[rows, channels, at], np.float32)

    def to_json(self) -> dict[str, Any]:
        r"""Returns sensors, clocks and weights as a JSON-able dictionary."""
        rows = [
            {"name": c.name, "sensor": c.sensor.to_json(), "clock": dataclasses.asdict(c.clock)} for c in self.channels
        ]
        return {"channels": rows, "sizes": list(self.sizes)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ChannelSensor:
        r"""Rebuilds a sensor from [`to_json`][pulsebayes.simulators.channels.ChannelSensor.to_json].

        Arguments:
            data: The dictionary.

        Raises:
            TypeError: If a part or a field is unknown.
        """
        channels = tuple(
            SensedChannel(row["name"], sensor_from_json(row["sensor"]), ClockOffset(**row["clock"]))
            for row in data["channels"]
        )
        return cls(channels, tuple(data["sizes"]))

    def _starts(
        self, rng: np.random.Generator, shape: tuple[int, ...], out_samples: int, margin: int, fs: float, together: int
    ) -> Integer[np.ndarray, "N C"]:
        """First sample of every channel's window: a common start, and offsets of the clocks."""
        n, _, samples = shape
        offsets = np.zeros((n, len(self.channels)), np.int64)
        for c, channel in enumerate(self.channels[1:], start=1):
            offsets[:, c] = np.repeat(np.rint(fs * channel.clock.draw(rng, n // together)), together)
        earliest, latest = margin - offsets.min(axis=1), samples - out_samples - offsets.max(axis=1)
        return np.asarray(rng.integers(earliest, latest, endpoint=True)[:, None] + offsets)

    def _check(self, waves: Float[np.ndarray, "N C T"], fs: float, samples: int) -> None:
        if waves.ndim != 3 or waves.shape[1] != len(self.channels):
            raise ValueError(f"waves must have shape (N, {len(self.channels)}, T), got {waves.shape}")
        if not (math.isfinite(fs) and fs > 0):
            raise ValueError(f"fs must be a positive rate in Hz, got {fs}")
        reach = [math.ceil(fs * channel.clock.most_s) for channel in self.channels[1:]]
        least = samples + 2 * max(reach, default=0)
        if waves.shape[-1] < least:
            raise ValueError(
                f"waves must have at least {least} samples, got {waves.shape[-1]}: simulate {least / fs:.2f} s, for "
                "the window, the second in which a line settles and the offsets of the clocks"
            )


def any_sensor_from_json(data: Mapping[str, Any]) -> SensorModel | PPGSensor | ChannelSensor:
    r"""Rebuilds the sensor of one channel or of several.

    Arguments:
        data: What ``to_json`` of any of them gave.

    Raises:
        TypeError: If a part or a field is unknown.

    Example:
        >>> any_sensor_from_json(SensorModel.radial_line().to_json()) == SensorModel.radial_line()
        True
    """
    return ChannelSensor.from_json(data) if "channels" in data else sensor_from_json(data)
