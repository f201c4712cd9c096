r"""A recording as frames: every channel from time zero, block by block, and what integers would hold it.

Channels that begin later start with missing samples; a start between two samples moves to the nearer one. A value
$v$ is kept as the integer $\mathrm{round}(v/q)$; where the values of a channel are multiples of one step $q$ that 16
bits can count, they come back exactly.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

import numpy as np
from jaxtyping import Float

from ..recording import Channel, Recording

__all__ = ["Span", "block", "check_target", "frame_counts", "lead", "scan", "whole_file"]

BLOCK_S: Final = 600.0
_LEVELS: Final = 4096
_MOST_FRAMES: Final = 4000


@dataclass(frozen=True)
class Span:
    """Smallest and largest value of a channel, and the step all its values are multiples of (0: none)."""

    low: float
    high: float
    step: float

    @property
    def largest(self) -> float:
        return max(abs(self.low), abs(self.high))


def lead(channel: Channel) -> int:
    """Samples between the start of the recording and that of the channel."""
    return max(0, round(channel.start_s * channel.fs))


def block(recording: Recording, index: int, first: int, stop: int) -> Float[np.ndarray, " time"]:
    """Samples `first` to `stop` of a channel counted from the start of the recording, NaN where there are none."""
    channel = recording.channels[index]
    offset = lead(channel)
    wave = np.full(stop - first, np.nan, dtype=np.float32)
    low, high = max(first - offset, 0), min(stop - offset, channel.n_samples)
    if high > low:
        begin = channel.start_s + (low - 0.5) / channel.fs
        values = recording._read(index, begin, channel.start_s + (high - 0.5) / channel.fs)
        wave[low + offset - first : high + offset - first] = values
    return wave


def _blocks(recording: Recording, index: int) -> Iterator[Float[np.ndarray, " time"]]:
    channel = recording.channels[index]
    size = max(1, round(BLOCK_S * channel.fs))
    for first in range(0, channel.n_samples, size):
        yield block(recording, index, lead(channel) + first, lead(channel) + min(first + size, channel.n_samples))


def scan(recording: Recording, index: int) -> Span:
    """Look at all values of a channel once, or twice where they may lie on a grid."""
    low, high, step = math.inf, -math.inf, None
    for wave in _blocks(recording, index):
        known = wave[np.isfinite(wave)].astype(np.float64)
        if known.size:
            low, high = min(low, float(known.min())), max(high, float(known.max()))
            step = _step(known) if step is None else step
    if not math.isfinite(low):
        return Span(0.0, 0.0, 0.0)
    if not step or max(abs(low), abs(high)) / step > 32767:
        return Span(low, high, 0.0)
    for wave in _blocks(recording, index):
        known = wave[np.isfinite(wave)].astype(np.float64)
        if np.any(np.float32(np.rint(known / step) * step) != np.float32(known)):
            return Span(low, high, 0.0)
    return Span(low, high, step)


def _step(values: Float[np.ndarray, " time"]) -> float:
    """The step that all values are multiples of, 0 where none is seen."""
    levels = np.unique(np.abs(values))
    if len(levels) < 2:
        return float(levels[0]) if levels[0] else 1.0
    gaps = np.diff(levels)
    gap = float(gaps[gaps > 1e-5 * levels[-1]].min(initial=math.inf))
    if not math.isfinite(gap) or levels[-1] / gap > 32767:
        return 0.0
    count = round(float(levels[-1]) / gap)
    return _rounded(float(levels[-1]) / count) if count else 0.0


def _rounded(step: float) -> float:
    """The roundest number within float32 noise of a step or of its inverse."""
    for digits in range(1, 9):
        for candidate in (float(f"{step:.{digits}g}"), 1.0 / float(f"{1.0 / step:.{digits}g}")):
            if abs(candidate / step - 1.0) < 1.0e-7:
                return candidate
    return step


def frame_counts(rates: Sequence[float]) -> tuple[float, list[int]]:
    """Frames per second and samples of each channel in a frame.

    Raises:
        ValueError: If the rates have no common frame.
    """
    slowest = min(rates)
    for divisor in range(1, _MOST_FRAMES):
        counts = [rate * divisor / slowest for rate in rates]
        if all(abs(count - round(count)) < 1.0e-9 * count for count in counts):
            return slowest / divisor, [round(count) for count in counts]
    raise ValueError(f"the rates {sorted(set(rates))} Hz have no common frame; write netCDF, or fewer channels")


def check_target(recording: Recording, path: Path, suffixes: tuple[str, ...]) -> None:
    """Refuse a target of another suffix, and a recording without samples."""
    if path.suffix.lower() not in suffixes:
        raise ValueError(f"the file to write must end in {' or '.join(suffixes)}, got {path.name!r}")
    if not recording.channels or not any(channel.n_samples for channel in recording.channels):
        raise ValueError(f"{recording.name} holds no samples to write")


@contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """A file that is there whole or not at all: written beside and renamed."""
    part = path.with_name(f"{path.name}.part")
    try:
        with part.open("wb") as stream:
            yield stream
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
