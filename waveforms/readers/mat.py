r"""Read MATLAB files: level 5 (`save -v6`, `-v7`) here, 7.3 as the HDF5 it is.

A level 5 file is a row of elements, each with a type, a length and a body, perhaps compressed. Numbers of variables
that are not compressed stay in the file; others are unpacked piece by piece, and never to more than they announce.
Fields of a struct are named `struct/field`. Sparse arrays, objects and functions are left out.

References:
    MathWorks, *MAT-File Format*, https://www.mathworks.com/help/pdf_doc/matlab/matfile_format.pdf
"""

from __future__ import annotations

import io
import math
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final, cast

import numpy as np

from ..errors import RecordingError
from ..recording import Recording
from ._arrays import Content, Entry, recording_of
from ._sources import BLOCK, decoding, unpack

__all__ = ["read_mat"]

_MATRIX, _COMPRESSED = 14, 15
_TYPES: Final = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8",
                 16: "u1", 17: "u2", 18: "u4"}  # fmt: skip
_NUMBERS: Final = frozenset(range(6, 16))
_CELL, _STRUCT, _CHAR = 1, 2, 4
_DEEPEST: Final = 6
_MOST: Final = 4096


def read_mat(
    path: str | Path,
    *,
    fs: float | None = None,
    roles: Mapping[str, str] | None = None,
    units: Mapping[str, str] | None = None,
) -> Recording:
    r"""Read a MATLAB file, level 5 or 7.3.

    Arguments:
        path: The file.
        fs: Sampling rate [Hz] where the file states none (a variable `fs`, or a time vector).
        roles: Roles by variable name.
        units: Units by variable name or role.

    Returns:
        The recording.

    Raises:
        RecordingError: If the file is damaged or cut short, with the byte, or holds no signals.

    Example:
        >>> import tempfile, numpy as np
        >>> from pathlib import Path
        >>> from scipy.io import savemat
        >>> from pulsebayes.waveforms.readers import read_mat
        >>> path = Path(tempfile.mkdtemp()) / "demo.mat"
        >>> savemat(path, {"ABP": 90 + 30 * np.sin(np.arange(1000) / 20), "fs": 125.0})
        >>> read_mat(path, units={"ABP": "mmHg"}).duration_s
        8.0
    """
    path = Path(path)
    with path.open("rb") as stream:
        head = stream.read(128)
    if b"MATLAB 7.3" in head[:16] or head.startswith(b"\x89HDF"):
        from .hdf5 import read_hdf5

        return read_hdf5(path, fs=fs, roles=roles, units=units)
    if len(head) < 128:
        raise RecordingError(
            f"expected 128 bytes of header, the file has {len(head)}", code="truncated", file=path.name
        )
    order = {b"IM": "<", b"MI": ">"}.get(head[126:128])
    if order is None:
        raise RecordingError(
            f"expected a byte order mark, got {head[126:128]!r} at byte 126", code="header", file=path.name
        )
    content = Content()
    with decoding(path.name, "MATLAB variables"):
        _variables(_File(path, order, path.stat().st_size), content)
    return recording_of(path.name, content, fs=fs, roles=roles, units=units)


@dataclass(frozen=True)
class _File:
    """Where bytes come from: the file itself."""

    path: Path
    order: str
    size: int

    @property
    def name(self) -> str:
        return self.path.name

    def error(self, what: str, at: int, code: str = "corrupt") -> RecordingError:
        return RecordingError(
            f"{what} (byte {at})", code=code, file=self.name, hint="copy the file, or save the variables again"
        )


@dataclass(frozen=True)
class _Region:
    """A run of bytes that are a matrix: in the file, or unpacked."""

    file: _File
    stream: IO[bytes]
    base: int  # byte of the file at which the run, or what it is unpacked from, starts
    raw: np.ndarray | None  # unpacked bytes, where it was packed

    def tag(self, end: int) -> tuple[int, int, int]:
        """Type and length of the next element, and where the next one begins; leaves the stream at the body."""
        at = self.stream.tell()
        head = self.stream.read(8)
        if len(head) < 8 or at + 8 > end:
            raise self.file.error("an element is cut off", self.base + at, "truncated")
        kind, length = struct.unpack(self.file.order + "II", head)
        if kind >> 16:  # small: type and length in four bytes, the body in the next four
            kind, length = kind & 0xFFFF, kind >> 16
            if length > 4:
                raise self.file.error(f"a small element of {length} bytes", self.base + at)
            self.stream.seek(at + 4)
            return kind, length, at + 8
        if at + 8 + length > end:
            raise self.file.error(
                f"an element of {length} bytes where {end - at - 8} are left", self.base + at, "truncated"
            )
        return kind, length, at + 8 + length + (-length % 8)

    def body(self, end: int, expected: tuple[int, ...] = ()) -> tuple[int, bytes]:
        at = self.stream.tell()
        kind, length, following = self.tag(end)
        if length > 1 << 20 or (expected and kind not in expected):
            raise self.file.error(f"an element of type {kind} and {length} bytes", self.base + at)
        data = self.stream.read(length)
        self.stream.seek(following)
        return kind, data


def _variables(file: _File, content: Content) -> None:
    with file.path.open("rb") as stream:
        at = 128
        while at < file.size:
            stream.seek(at)
            head = stream.read(8)
            if len(head) < 8:
                raise file.error("an element is cut off", at, "truncated")
            kind, length = struct.unpack(file.order + "II", head)
            if at + 8 + length > file.size:
                raise file.error(f"expected {length} bytes, the file ends after {file.size - at - 8}", at, "truncated")
            if kind == _COMPRESSED:
                _packed(file, stream, at, length, content)
            elif kind == _MATRIX:
                _matrix(_Region(file, stream, 0, None), at + 8 + length, "", content, 0)
            else:
                raise file.error(f"expected a variable, got an element of type {kind}", at)
            at += 8 + length


def _packed(file: _File, stream: IO[bytes], at: int, length: int, content: Content) -> None:
    pieces = _inflate(file, stream, at, length)
    head = b""
    for piece in pieces:
        head += piece
        if len(head) >= 8:
            break
    if len(head) < 8:
        raise file.error("a compressed variable is cut off", at, "truncated")
    kind, wanted = struct.unpack(file.order + "II", head[:8])
    if kind != _MATRIX:
        raise file.error(f"expected a variable, got an element of type {kind}", at)

    def rest() -> Iterator[bytes]:
        yield head[8:]
        yield from pieces

    raw = unpack(file.name, rest(), wanted, f"the variable at byte {at}")
    region = _Region(file, cast(IO[bytes], _Bytes(raw)), at, raw)
    _matrix(region, len(raw), "", content, 0)


class _Bytes(io.RawIOBase):
    """Unpacked bytes as a stream, without a copy."""

    def __init__(self, raw: np.ndarray) -> None:
        self._raw, self._at = raw, 0

    def read(self, size: int = -1) -> bytes:
        data = self._raw[self._at : self._at + size].tobytes()
        self._at += len(data)
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = offset
        return offset

    def tell(self) -> int:
        return self._at


def _inflate(file: _File, stream: IO[bytes], at: int, length: int) -> Iterator[bytes]:
    stream.seek(at + 8)
    unpacker, left = zlib.decompressobj(), length
    while not unpacker.eof:
        data = unpacker.unconsumed_tail or stream.read(min(left, 65536))
        if not unpacker.unconsumed_tail:
            left -= len(data)
        if not data:
            raise file.error("a compressed variable breaks off", at, "truncated")
        try:
            piece = unpacker.decompress(data, BLOCK)
        except zlib.error as error:
            raise file.error(f"a compressed variable is damaged ({error})", at) from error
        if piece:
            yield piece


def _matrix(region: _Region, end: int, prefix: str, content: Content, depth: int) -> None:
    """One variable, field or cell: its flags, shape and name, then what it holds."""
    begin = region.stream.tell()
    if depth > _DEEPEST or len(content.entries) + len(content.numbers) + len(content.texts) > _MOST:
        raise region.file.error("variables nested too deep, or too many", region.base + begin)
    _, flags = region.body(end, (6,))
    _, shape_raw = region.body(end, (5,))
    shape = tuple(int(n) for n in np.frombuffer(shape_raw, region.file.order + "i4"))
    _, name_raw = region.body(end, (1, 2, 16))
    kind = struct.unpack(region.file.order + "I", flags[:4])[0]
    if len(shape) < 2 or min(shape) < 0:
        raise region.file.error(f"a variable of shape {shape}", region.base + begin)
    name = prefix.rstrip("/") if depth else name_raw.decode("latin-1")
    _dispatch(region, end, name, (kind & 0xFF, bool(kind & 0x800)), shape, content, depth)


def _dispatch(
    region: _Region,
    end: int,
    name: str,
    kind: tuple[int, bool],
    shape: tuple[int, ...],
    content: Content,
    depth: int,
) -> None:
    if kind[0] == _STRUCT and math.prod(shape) == 1:
        _fields(region, end, name, content, depth)
    elif kind[0] == _CELL and 0 < math.prod(shape) <= 1024:
        _cells(region, end, name, math.prod(shape), content, depth)
    elif kind[0] == _CHAR:
        stored, raw = region.body(end)
        width = {4: "u2", 17: "u2", 18: "u4"}.get(stored, "u1")
        text = np.frombuffer(raw, region.file.order + width)
        rows = text.reshape(shape, order="F") if len(shape) == 2 and shape[0] * shape[1] == len(text) else text[None]
        content.texts[name] = ["".join(map(chr, row)).strip() for row in rows[:1024]]
    elif kind[0] in _NUMBERS and not kind[1] and all(shape):
        _numbers(region, end, name, shape, content)
    elif all(shape):
        content.findings.append(f"{name!r} is a sparse, complex or other array that holds no signals; left out")


def _numbers(region: _Region, end: int, name: str, shape: tuple[int, ...], content: Content) -> None:
    at = region.stream.tell()
    kind, length, _ = region.tag(end)
    if kind not in _TYPES:
        raise region.file.error(f"numbers of the unknown type {kind}", region.base + at)
    dtype = np.dtype(region.file.order + _TYPES[kind])
    if math.prod(shape) * dtype.itemsize != length:
        raise region.file.error(
            f"{name!r} of shape {shape} takes {math.prod(shape) * dtype.itemsize} bytes, {length} are stored",
            region.base + at,
        )
    offset = region.stream.tell()
    if region.raw is None:
        array: Any = np.memmap(region.file.path, dtype, "r", offset, shape, "F")
    else:
        array = np.ndarray(shape, dtype, region.raw, offset, order="F")
    if array.size == 1:
        content.numbers[name] = float(array.ravel()[0])
    else:
        content.entries.append(Entry(name, array))


def _fields(region: _Region, end: int, name: str, content: Content, depth: int) -> None:
    _, width_raw = region.body(end, (5,))
    _, names_raw = region.body(end, (1, 2, 16))
    width = struct.unpack(region.file.order + "i", width_raw[:4])[0]
    if not 0 < width <= 128:
        raise region.file.error(f"field names of {width} bytes", region.base + region.stream.tell())
    names = [names_raw[k : k + width].split(b"\0")[0].decode("latin-1") for k in range(0, len(names_raw), width)]
    for field in names:
        _nested(region, end, f"{name}/{field}/", content, depth)


def _nested(region: _Region, end: int, prefix: str, content: Content, depth: int) -> None:
    at = region.stream.tell()
    kind, length, following = region.tag(end)
    if kind != _MATRIX:
        raise region.file.error(f"expected a field, got an element of type {kind}", region.base + at)
    if length:
        _matrix(region, region.stream.tell() + length, prefix, content, depth + 1)
    region.stream.seek(following)


def _cells(region: _Region, end: int, name: str, count: int, content: Content, depth: int) -> None:
    """Cells of texts become one list of texts; other cells are variables of their own."""
    inner = Content()
    for k in range(count):
        _nested(region, end, f"{name}/{k + 1}/", inner, depth)
    if len(inner.texts) == count:
        content.texts[name] = [" ".join(inner.texts[f"{name}/{k + 1}"]) for k in range(count)]
    else:
        content.entries.extend(inner.entries)
        content.numbers.update(inner.numbers)
