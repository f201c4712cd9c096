"""Writers for the readers' tests: a `.vital` file from first principles, and WFDB records through wfdb."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from pulsebayes.waveforms import RecordingError

CODES = {1: "<f4", 2: "<f8", 3: "<i1", 4: "<u1", 5: "<i2", 6: "<u2", 7: "<i4", 8: "<u4"}


@dataclass
class VitalTrack:
    """A track to write: records are (time stamp [s], stored samples)."""

    name: str
    records: list[tuple[float, np.ndarray]]
    fs: float = 125.0
    unit: str = "mmHg"
    fmt: int = 6
    gain: float = 0.0625
    offset: float = -50.0
    kind: int = 1
    monitor_type: int = 0
    device: str = "Monitor"


@dataclass
class VitalWriter:
    """Builds the unpacked bytes of a file, packet by packet."""

    version: int = 3
    header: bytes = bytes(10)
    body: bytearray = field(default_factory=bytearray)

    def packet(self, kind: int, data: bytes) -> None:
        self.body += struct.pack("<BI", kind, len(data)) + data

    def describe(self, number: int, track: VitalTrack) -> None:
        data = struct.pack("<HBB", number, track.kind, track.fmt) + text(track.name) + text(track.unit)
        data += struct.pack("<ffIfddB", 0, 200, 0, track.fs, track.gain, track.offset, track.monitor_type)
        self.packet(0, data + struct.pack("<I", 7))

    def record(self, number: int, stamp: float, stored: np.ndarray, track: VitalTrack) -> None:
        data = struct.pack("<HdH", 10, stamp, number)
        if track.kind == 1:
            data += struct.pack("<I", len(stored))
        self.packet(1, data + np.asarray(stored).astype(CODES[track.fmt]).tobytes())

    def bytes(self) -> bytes:
        return b"VITA" + struct.pack("<IH", self.version, len(self.header)) + self.header + bytes(self.body)


def text(value: str) -> bytes:
    raw = value.encode()
    return struct.pack("<I", len(raw)) + raw


def build(tracks: list[VitalTrack], *, packed: bool = False) -> bytes:
    """The unpacked bytes of a file with all records in the order of their time stamps in `tracks`."""
    writer = VitalWriter(header=bytes(26) + b"\x01" if packed else bytes(10))
    writer.packet(9, struct.pack("<I", 7) + text("Type") + text(tracks[0].device) + text("COM1"))
    for number, track in enumerate(tracks, 1):
        writer.describe(number, track)
        for stamp, stored in track.records:
            writer.record(number, stamp, stored, track)
    writer.packet(6, struct.pack("<BH", 5, 1) + struct.pack("<H", 1))
    return writer.bytes()


@pytest.fixture(scope="session")
def vital_track() -> type[VitalTrack]:
    return VitalTrack


@pytest.fixture(scope="session")
def vital_writer() -> type[VitalWriter]:
    return VitalWriter


@pytest.fixture(scope="session")
def vital_bytes() -> Callable[..., bytes]:
    return build


@pytest.fixture
def write_vital(tmp_path: Path) -> Callable[..., Path]:
    """Write tracks, or unpacked bytes, as a `.vital` file."""

    def write(content: list[VitalTrack] | bytes, name: str = "made.vital", **named: bool) -> Path:
        path = tmp_path / name
        path.write_bytes(gzip.compress(content if isinstance(content, bytes) else build(content, **named), 1))
        return path

    return write


@pytest.fixture(scope="session")
def refused() -> Callable[..., RecordingError]:
    """Call something that must raise a `RecordingError`, and return it."""

    def call(function: Callable[..., object], *arguments: object, **named: object) -> RecordingError:
        with pytest.raises(RecordingError) as caught:
            function(*arguments, **named)
        return caught.value

    return call
