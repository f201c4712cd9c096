r"""Read netCDF: version 4 as the HDF5 it is, versions 1, 2 and 5 (classic) here, values staying in the file.

References:
    Unidata, *NetCDF Classic Format Specification*,
    https://docs.unidata.ucar.edu/netcdf-c/current/file_format_specifications.html
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

import numpy as np

from ..errors import RecordingError
from ..recording import Recording
from ._arrays import Content, Entry, recording_of
from ._sources import decoding

__all__ = ["read_netcdf"]

_TYPES: Final = {1: ">i1", 2: "S1", 3: ">i2", 4: ">i4", 5: ">f4", 6: ">f8", 7: ">u1", 8: ">u2", 9: ">u4", 10: ">i8",
                 11: ">u8"}  # fmt: skip
_DIMENSION, _VARIABLE, _ATTRIBUTE = 10, 11, 12
_MOST: Final = 4096
_LONGEST: Final = 1 << 20


def read_netcdf(
    path: str | Path,
    *,
    fs: float | None = None,
    roles: Mapping[str, str] | None = None,
    units: Mapping[str, str] | None = None,
) -> Recording:
    r"""Read a netCDF file of any version, a stretch at a time.

    Arguments:
        path: The file.
        fs: Sampling rate [Hz] where the file states none.
        roles: Roles by variable name; `TIME` names the time.
        units: Units by variable name or role.

    Returns:
        The recording.

    Raises:
        RecordingError: If the file is damaged or cut short, or holds no signals.

    Example:
        >>> import tempfile, numpy as np
        >>> from pathlib import Path
        >>> from pulsebayes.waveforms import Recording
        >>> from pulsebayes.waveforms.readers import read_netcdf
        >>> from pulsebayes.waveforms.writers import write_netcdf
        >>> path = Path(tempfile.mkdtemp()) / "demo.nc"
        >>> recording = Recording.from_arrays("demo", {"ABP": np.ones(1000)}, fs=125, units={"ABP": "mmHg"})
        >>> _ = write_netcdf(recording, path)
        >>> read_netcdf(path).channel("ART").unit
        'mmHg'
    """
    path = Path(path)
    with path.open("rb") as stream:
        head = stream.read(4)
    if head[:3] != b"CDF":
        from .hdf5 import read_hdf5

        return read_hdf5(path, fs=fs, roles=roles, units=units)
    content = Content()
    with decoding(path.name, "a netCDF header"), path.open("rb") as stream:
        _read(path, _Header(path, stream), content)
    return recording_of(path.name, content, fs=fs, roles=roles, units=units)


@dataclass
class _Header:
    """The header, item by item; widths depend on the version."""

    path: Path
    stream: IO[bytes]
    version: int = 0

    def take(self, size: int) -> bytes:
        if size > _LONGEST:
            raise self.error(f"an item of {size} bytes")
        data = self.stream.read(size)
        if len(data) < size:
            raise self.error("the header breaks off", "truncated")
        return data

    def integer(self, wide: bool = False) -> int:
        long = wide and self.version == 5
        found: int = struct.unpack(">q" if long else ">i", self.take(8 if long else 4))[0]
        return found

    def count(self) -> int:
        found = self.integer(wide=True)
        if not 0 <= found <= _LONGEST:
            raise self.error(f"a count of {found}")
        return found

    def name(self) -> str:
        length = self.count()
        text = self.take(length).decode("utf-8", "replace")
        self.take(-length % 4)
        return text

    def listed(self, tag: int) -> int:
        found, count = self.integer(), self.count()
        if found not in (0, tag) or (found == 0 and count) or count > _MOST:
            raise self.error(f"expected list {tag}, got {found} with {count} items")
        return count

    def error(self, what: str, code: str = "header") -> RecordingError:
        return RecordingError(
            f"{what} (byte {self.stream.tell()})", code=code, file=self.path.name, hint="copy the file again"
        )


def _attributes(header: _Header) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for _ in range(header.listed(_ATTRIBUTE)):
        name, kind, count = header.name(), header.integer(), header.count()
        if kind not in _TYPES:
            raise header.error(f"an attribute of the unknown type {kind}")
        size = count * np.dtype(_TYPES[kind]).itemsize
        raw = header.take(size)
        header.take(-size % 4)
        found[name] = raw.decode("utf-8", "replace") if kind == 2 else np.frombuffer(raw, _TYPES[kind])
    return found


def _read(path: Path, header: _Header, content: Content) -> None:
    header.version = header.take(4)[3]
    if header.version not in (1, 2, 5):
        raise header.error(f"expected netCDF version 1, 2 or 5, got {header.version}", "unsupported")
    n_records = header.integer(wide=True)
    names_sizes = []
    for _ in range(header.listed(_DIMENSION)):
        names_sizes.append((header.name(), header.integer(wide=True)))
    content.attrs[""] = _attributes(header)
    variables = [_variable(header, names_sizes) for _ in range(header.listed(_VARIABLE))]
    size = path.stat().st_size
    records = [v for v in variables if v.is_record]
    stride = sum(v.padded for v in records) if len(records) > 1 else sum(v.size for v in records)
    if records and n_records < 0:  # being written: as many as fit
        n_records = (size - min(v.begin for v in records)) // max(stride, 1)
    for variable in variables:
        _place(path, header, variable, n_records, stride, size, content)


@dataclass(frozen=True)
class _Variable:
    """A variable of the header; `shape` without the record axis."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    is_record: bool
    begin: int
    attrs: dict[str, Any]

    @property
    def size(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def padded(self) -> int:
        return self.size + (-self.size % 4)


def _variable(header: _Header, dimensions: list[tuple[str, int]]) -> _Variable:
    name = header.name()
    places = [header.integer(wide=True) for _ in range(header.count())]
    if any(not 0 <= place < len(dimensions) for place in places):
        raise header.error(f"{name!r} lies along a dimension that is not there")
    attributes = _attributes(header)
    kind = header.integer()
    header.integer(wide=True)
    begin = struct.unpack(">i", header.take(4))[0] if header.version == 1 else struct.unpack(">q", header.take(8))[0]
    if kind not in _TYPES:
        raise header.error(f"{name!r} has the unknown type {kind}")
    sizes = [dimensions[place][1] for place in places]
    if any(size < 0 for size in sizes) or begin < 0 or any(size == 0 for size in sizes[1:]):
        raise header.error(f"{name!r} has the shape {sizes} at byte {begin}")
    is_record = bool(sizes) and sizes[0] == 0
    return _Variable(name, np.dtype(_TYPES[kind]), tuple(sizes[is_record:]), is_record, begin, attributes)


def _place(
    path: Path, header: _Header, variable: _Variable, n_records: int, stride: int, size: int, content: Content
) -> None:
    shape = (n_records, *variable.shape) if variable.is_record else variable.shape
    if 0 in shape:
        return
    wanted = (n_records - 1) * stride + variable.size if variable.is_record else variable.size
    if variable.begin + wanted > size:
        raise RecordingError(
            f"expected {variable.begin + wanted} bytes, the file has {size}",
            code="truncated",
            file=path.name,
            channel=variable.name,
            hint="copy the file again",
        )
    whole = np.memmap(path, np.uint8, "r", variable.begin, (wanted,))
    step = stride if variable.is_record else math.prod(variable.shape[1:]) * variable.dtype.itemsize
    inner = np.zeros(variable.shape if variable.is_record else variable.shape[1:] or (), np.uint8)
    widths = [math.prod(inner.shape[k + 1 :]) * variable.dtype.itemsize for k in range(inner.ndim)]
    array = np.ndarray(shape, variable.dtype, whole, strides=(step, *widths) if shape else ())
    if variable.dtype.kind == "S":
        rows = np.atleast_2d(array[:1024] if array.ndim else array)
        content.texts[variable.name] = [b"".join(row.tolist()).decode("utf-8", "replace").strip("\0 ") for row in rows]
    elif array.size == 1:
        content.numbers[variable.name] = float(np.asarray(array).ravel()[0])
    else:
        content.entries.append(Entry(variable.name, array, variable.attrs))
