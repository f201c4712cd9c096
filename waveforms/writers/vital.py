r"""Write Vital Recorder files (`.vital`): waves as 16-bit samples in records of a second, numbers at their times.

A wave $x$ is stored as $v = \mathrm{round}((x - o)/g)$ with gain $g$ and offset $o$ such that its range fills the
16 bits but for the lowest value. Missing samples are left out between records; in a *packed* file, as VitalDB has them,
records are longer and missing samples are the lowest value of the format.

References:
    https://vitaldb.net/docs (file format); `readers.vital` reads all of it back.
"""

from __future__ import annotations

import gzip
import os
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Float

__all__ = ["VitalNumbers", "VitalWave", "write_vital"]

EPOCH: Final = 1_600_000_000.0
"""Time stamp of the first sample unless another is given [s since 1970]."""
_WAVE, _NUMBER = 1, 2
_INT16, _FLOAT32 = 5, 1
_LOWEST: Final = -(1 << 15)
_MONITOR_TYPES: Final = {"ART": 4, "ABP": 4, "PLETH": 8, "ECG_II": 1}


@dataclass(frozen=True)
class VitalWave:
    r"""A wave to write.

    Arguments:
        name: `device/track`.
        values: Samples, NaN where missing.
        fs: Sampling rate [Hz].
        unit: Unit of the samples; empty for none.

    Raises:
        ValueError: If the name has no device, the rate is not positive or there is no sample.

    Example:
        >>> VitalWave("SNUADC/ART", np.full(125, 90.0), 125.0, "mmHg").name
        'SNUADC/ART'
    """

    name: str
    values: Float[np.ndarray, " time"]
    fs: float
    unit: str = ""

    def __post_init__(self) -> None:
        """Check every field."""
        if not all(self.name.partition("/")[::2]) or not self.fs > 0 or not np.isfinite(self.values).any():
            raise ValueError(
                f"a wave needs a name DEVICE/TRACK, a rate above 0 Hz and a sample, got {self.name!r}, {self.fs} Hz "
                f"and {len(self.values)} samples"
            )


@dataclass(frozen=True)
class VitalNumbers:
    r"""Single numbers to write.

    Arguments:
        name: `device/track`.
        times_s: Time of each number from the start of the waves [s].
        values: The numbers.
        unit: Their unit; empty for none.

    Raises:
        ValueError: If the name has no device or the lengths differ.

    Example:
        >>> len(VitalNumbers("Vigilance/CO", np.array([60.0]), np.array([5.1]), "L/min").values)
        1
    """

    name: str
    times_s: Float[np.ndarray, " numbers"]
    values: Float[np.ndarray, " numbers"]
    unit: str = ""

    def __post_init__(self) -> None:
        """Check every field."""
        if not all(self.name.partition("/")[::2]) or len(self.times_s) != len(self.values):
            raise ValueError(
                f"numbers need a name DEVICE/TRACK and a time each, got {self.name!r}, {len(self.times_s)} times and "
                f"{len(self.values)} values"
            )


def write_vital(
    path: str | Path,
    waves: Sequence[VitalWave],
    numbers: Sequence[VitalNumbers] = (),
    *,
    packed: bool = False,
    epoch: float = EPOCH,
) -> Path:
    r"""Writes a file; the same content gives the same bytes.

    Arguments:
        path: The file, replaced in one step where it is there.
        waves: Waves, all from the same start.
        numbers: Numbers.
        packed: Whether records are long and missing samples are stored as a value.
        epoch: Time stamp of the start [s since 1970].

    Returns:
        The path.

    Example:
        >>> import tempfile
        >>> from pulsebayes.waveforms.readers import read_vital
        >>> path = Path(tempfile.mkdtemp()) / "1.vital"
        >>> wave = VitalWave("SNUADC/ART", 90 + np.sin(np.arange(500) / 9), 125.0, "mmHg")
        >>> read_vital(write_vital(path, [wave])).channel("ART").duration_s
        4.0
    """
    path = Path(path)
    draft = path.with_name(path.name + ".part")
    with draft.open("wb") as raw, gzip.GzipFile("", "wb", 4, raw, mtime=0) as stream:
        header = bytes(26) + (b"\x01" if packed else b"\x00")
        stream.write(b"VITA" + struct.pack("<IH", 3, len(header)) + header)
        devices = {
            name: k for k, name in enumerate(dict.fromkeys(t.name.partition("/")[0] for t in _all(waves, numbers)), 1)
        }
        for name, number in devices.items():
            stream.write(_packet(9, struct.pack("<I", number) + _text(name) + _text(name) + _text("")))
        for number, wave in enumerate(waves, 1):
            for packet in _wave(number, wave, devices, packed, epoch):
                stream.write(packet)
        for number, track in enumerate(numbers, len(waves) + 1):
            stream.write(_describe(number, track.name, _NUMBER, _FLOAT32, track.unit, devices))
            for time, value in zip(track.times_s.tolist(), track.values.tolist(), strict=True):
                body = struct.pack("<HdHf", 10, epoch + time, number, value)
                stream.write(_packet(1, body))
    os.replace(draft, path)
    return path


def _all(waves: Sequence[VitalWave], numbers: Sequence[VitalNumbers]) -> Iterator[VitalWave | VitalNumbers]:
    yield from waves
    yield from numbers


def _wave(number: int, wave: VitalWave, devices: dict[str, int], packed: bool, epoch: float) -> Iterator[bytes]:
    values = np.asarray(wave.values, np.float64)
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    gain = max(high - low, 1e-6) / 65000.0
    offset = 0.5 * (low + high)
    yield _describe(number, wave.name, _WAVE, _INT16, wave.unit, devices, fs=wave.fs, gain=gain, offset=offset)
    missing = ~np.isfinite(values)
    stored = np.rint((np.where(missing, offset, values) - offset) / gain).astype("<i2")
    length = max(1, round(wave.fs * (10.0 if packed else 1.0)))
    for first in range(0, len(stored), length):
        piece, gone = stored[first : first + length].copy(), missing[first : first + length]
        if packed:
            piece[gone] = _LOWEST
            yield _record(number, epoch + first / wave.fs, piece)
            continue
        edges = np.flatnonzero(np.diff(np.concatenate([[True], gone, [True]]).astype(np.int8))).tolist()
        for begin, end in zip(edges[::2], edges[1::2], strict=True):
            yield _record(number, epoch + (first + begin) / wave.fs, piece[begin:end])


def _record(number: int, stamp: float, stored: np.ndarray) -> bytes:
    return _packet(1, struct.pack("<HdHI", 10, stamp, number, len(stored)) + stored.tobytes())


def _describe(
    number: int,
    name: str,
    kind: int,
    fmt: int,
    unit: str,
    devices: dict[str, int],
    *,
    fs: float = 0.0,
    gain: float = 1.0,
    offset: float = 0.0,
) -> bytes:
    device, _, track = name.partition("/")
    data = struct.pack("<HBB", number, kind, fmt) + _text(track) + _text(unit)
    data += struct.pack("<ffIfddB", 0, 200, 0, fs, gain, offset, _MONITOR_TYPES.get(track, 0) if kind == _WAVE else 0)
    return _packet(0, data + struct.pack("<I", devices[device]))


def _packet(kind: int, body: bytes) -> bytes:
    return struct.pack("<BI", kind, len(body)) + body


def _text(value: str) -> bytes:
    raw = value.encode()
    return struct.pack("<I", len(raw)) + raw
