r"""The packets of a Vital Recorder file, strictly: whatever does not fit stops the reading, with the byte.

A `.vital` file is a gzip stream of little-endian data: the sign `VITA`, a version, a header with its length, then
packets of one byte type, four bytes length and a body. Types: 9 describes a device, 0 a track (a wave, a number or a
text, with sample format, unit, rate, gain and offset), 1 holds one record of a track with its time stamp, 6 is a
command of the program, 10 raw bytes of a device.
"""

from __future__ import annotations

import gzip
import io
import math
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
from jaxtyping import Shaped

from ..errors import RecordingError
from ._sources import MAX_UNPACKED, Spool

__all__ = ["NUMBER", "TEXT", "WAVE", "Track", "VitalFile", "read_packets"]

WAVE, NUMBER, TEXT = 1, 2, 5
FORMATS: Final = {1: "<f4", 2: "<f8", 3: "<i1", 4: "<u1", 5: "<i2", 6: "<u2", 7: "<i4", 8: "<u4"}
_TRACK, _RECORD, _COMMAND, _DEVICE, _RAW = 0, 1, 6, 9, 10
_LONGEST: Final = 1 << 26
_NEWEST: Final = 3
_RECORD_HEAD: Final = struct.Struct("<HdH")
_TRACK_TAIL: Final = (  # optional fields after name and unit, in this order; older files stop anywhere
    ("low", "<f"),
    ("high", "<f"),
    ("colour", "<I"),
    ("fs", "<f"),
    ("gain", "<d"),
    ("offset", "<d"),
    ("monitor_type", "<B"),
    ("device", "<I"),
)


@dataclass(frozen=True)
class Track:
    """A track's description, and its records in the order of the file: time stamp, first byte and samples of each."""

    name: str
    kind: int
    fmt: int
    unit: str
    fs: float
    gain: float
    offset: float
    monitor_type: int
    stamps: list[float] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(FORMATS[self.fmt])


@dataclass(frozen=True)
class VitalFile:
    """Everything in a file that is read: waves and numbers, by track, and the bytes of their samples."""

    tracks: dict[int, Track]
    packed: bool
    raw: np.ndarray

    def stored(self, track: Track, record: int) -> Shaped[np.ndarray, " _"]:
        """Samples of one record as the file stores them."""
        begin = track.offsets[record]
        return self.raw[begin : begin + track.counts[record] * track.dtype.itemsize].view(track.dtype)


class _Stream:
    """A gzip stream that counts its bytes and refuses to come up short."""

    def __init__(self, path: Path, stream: io.BufferedReader) -> None:
        self.file = path.name
        self.position = 0
        self.stamp: float | None = None
        self.first_stamp: float | None = None
        self._stream = stream

    def read(self, size: int, what: str) -> bytes:
        data = self.up_to(size)
        if len(data) < size:
            raise self.error(f"expected {size} bytes of {what}, the file ends after {len(data)}", "truncated")
        return data

    def up_to(self, size: int) -> bytes:
        try:
            data = self._stream.read(size)
        except EOFError as error:
            raise self.error("the compressed stream breaks off", "truncated") from error
        except (OSError, zlib.error) as error:
            raise self.error(f"the compressed stream is damaged ({error})", "corrupt") from error
        self.position += len(data)
        if self.position > 2 * MAX_UNPACKED:
            raise self.error("the stream unpacks to more than a recording can hold", "too-large")
        return data

    def error(self, what: str, code: str) -> RecordingError:
        at_s = None
        if self.stamp is not None and self.first_stamp is not None:
            at_s = self.stamp - self.first_stamp
        return RecordingError(
            f"{what} (byte {self.position} of the unpacked data)",
            code=code,
            file=self.file,
            at_s=at_s,
            hint="copy or export the file again",
        )


def read_packets(path: Path) -> VitalFile:
    """Read all waves and numbers of a file.

    Raises:
        RecordingError: At the first byte that does not fit: `corrupt`, `truncated`, `unsupported`, `unreadable`.
    """
    try:
        with gzip.open(path) as unpacked:
            return _read(_Stream(path, io.BufferedReader(cast(io.RawIOBase, unpacked), 1 << 20)))
    except OSError as error:
        raise RecordingError(
            f"cannot be opened ({error.strerror or error})", code="unreadable", file=path.name
        ) from error


def _read(stream: _Stream) -> VitalFile:
    if stream.read(4, "the sign VITA") != b"VITA":
        raise stream.error("expected the sign VITA of a Vital Recorder file", "corrupt")
    version, length = struct.unpack("<IH", stream.read(6, "version and header length"))
    if version > _NEWEST:
        raise stream.error(f"expected version {_NEWEST} or older, got {version}", "unsupported")
    header = stream.read(length, "the header")
    tracks: dict[int, Track] = {}
    spool = Spool(stream.file)
    devices: dict[int, str] = {}
    for kind, body in _packets(stream):
        try:
            if kind == _DEVICE:
                number, name = _device(body)
                devices[number] = name
            elif kind == _TRACK:
                number, track = _track(body, devices)
                tracks[number] = track
            elif kind == _RECORD:
                _record(stream, body, tracks, spool)
        except (struct.error, _Short) as error:
            names = {_DEVICE: "a device", _TRACK: "a track", _RECORD: "a record"}
            what = f"the packet of {names[kind]} is too short: {len(body)} bytes ({error})"
            raise stream.error(what, "corrupt") from error
    return VitalFile(tracks, len(header) > 26 and header[26] == 1, spool.finish())


def _packets(stream: _Stream) -> Iterator[tuple[int, bytes]]:
    while head := stream.up_to(5):
        if len(head) < 5:
            raise stream.error(f"expected 5 bytes of a packet's head, the file ends after {len(head)}", "truncated")
        kind, length = struct.unpack("<BI", head)
        if kind not in (_TRACK, _RECORD, _COMMAND, _DEVICE, _RAW) or length > _LONGEST:
            raise stream.error(f"expected a packet, got type {kind} with {length} bytes", "corrupt")
        yield kind, stream.read(length, f"a packet of type {kind}")


class _Short(Exception):
    """A text or an array that does not fit into its packet."""


def _text(body: bytes, at: int) -> tuple[str, int]:
    (length,) = struct.unpack_from("<I", body, at)
    stop = at + 4 + length
    if stop > len(body):
        raise _Short(f"a text of {length} bytes does not fit")
    return body[at + 4 : stop].decode("utf-8", "replace"), stop


def _device(body: bytes) -> tuple[int, str]:
    (number,) = struct.unpack_from("<I", body)
    kind, at = _text(body, 4)
    name, _ = _text(body, at)
    return number, name or kind


def _track(body: bytes, devices: dict[int, str]) -> tuple[int, Track]:
    number, kind, fmt = struct.unpack_from("<HBB", body)
    name, at = _text(body, 4)
    unit = ""
    if at < len(body):
        unit, at = _text(body, at)
    tail: dict[str, float] = {"fs": 0.0, "gain": 1.0, "offset": 0.0, "monitor_type": 0, "device": 0}
    for key, code in _TRACK_TAIL:
        if at >= len(body):
            break
        (tail[key],) = struct.unpack_from(code, body, at)
        at += struct.calcsize(code)
    if kind in (WAVE, NUMBER) and fmt not in FORMATS:
        raise _Short(f"sample format {fmt} of track {name!r} is unknown")
    device = devices.get(int(tail["device"]), "")
    full = f"{device}/{name}" if device else name
    return number, Track(
        full, kind, fmt, unit.strip(), tail["fs"], tail["gain"], tail["offset"], int(tail["monitor_type"])
    )


def _record(stream: _Stream, body: bytes, tracks: dict[int, Track], spool: Spool) -> None:
    info, stamp, number = _RECORD_HEAD.unpack_from(body)
    track = tracks.get(number)
    if track is None:
        raise stream.error(f"a record of track {number}, which no packet describes", "corrupt")
    if track.kind not in (WAVE, NUMBER):
        return
    if info < 10 or not math.isfinite(stamp) or stamp <= 0:
        raise stream.error(f"a record of {track.name} with the time stamp {stamp}", "corrupt")
    stream.stamp = stamp
    stream.first_stamp = stamp if stream.first_stamp is None else min(stream.first_stamp, stamp)
    at, count = 2 + info, 1
    if track.kind == WAVE:
        (count,) = struct.unpack_from("<I", body, at)
        at += 4
    width = track.dtype.itemsize
    if at + count * width > len(body):
        raise _Short(f"{count} samples of {width} bytes of {track.name} do not fit")
    if track.kind == WAVE and track.fs > 0:
        stream.stamp = stamp + count / track.fs
    track.stamps.append(stamp)
    track.offsets.append(spool.write(body[at : at + count * width]))
    track.counts.append(count)
