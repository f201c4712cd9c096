r"""Read NumPy files: `.npy` (one array) and `.npz` (a zip of arrays), never with pickled objects.

Arrays of plain files and of zips without compression stay in the file; compressed ones are unpacked piece by piece,
and never to more than their headers announce.
"""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
from numpy.lib import format as npy

from ..errors import RecordingError
from ..recording import Recording
from ._arrays import Content, Entry, recording_of
from ._sources import BLOCK, decoding, unpack

__all__ = ["read_npz"]

_MOST_MEMBERS: Final = 1024
_HEADER: Final = 65536


def read_npz(
    path: str | Path,
    *,
    fs: float | None = None,
    roles: Mapping[str, str] | None = None,
    units: Mapping[str, str] | None = None,
) -> Recording:
    r"""Read an `.npz` or `.npy` file.

    The rate is a single number named `fs` (or the like), a time array, or `--fs`.

    Arguments:
        path: The file.
        fs: Sampling rate [Hz] where the file states none.
        roles: Roles by array name.
        units: Units by array name or role.

    Returns:
        The recording.

    Raises:
        RecordingError: If the zip or an array is damaged, cut short, or unpacks to more than it announces.

    Example:
        >>> import tempfile, numpy as np
        >>> from pathlib import Path
        >>> from pulsebayes.waveforms.readers import read_npz
        >>> path = Path(tempfile.mkdtemp()) / "demo.npz"
        >>> np.savez(path, ABP=90 + 30 * np.sin(np.arange(1000) / 20), fs=125.0)
        >>> read_npz(path, units={"ART": "mmHg"}).channel("ART").fs
        125.0
    """
    path = Path(path)
    with path.open("rb") as stream:
        zipped = stream.read(4) == b"PK\x03\x04"
    content = Content()
    with decoding(path.name, "a NumPy file"):
        if zipped:
            _members(path, content)
        else:
            with path.open("rb") as stream:
                dtype, shape, fortran, offset = _header(path.name, path.stem, stream)
                size = path.stat().st_size - offset
            _check(path.name, path.stem, dtype, shape, size)
            data = np.memmap(path, dtype, "r", offset, shape, "F" if fortran else "C")
            content.entries.append(Entry(path.stem, data))
    return recording_of(path.name, content, fs=fs, roles=roles, units=units)


def _members(path: Path, content: Content) -> None:
    with zipfile.ZipFile(path) as archive:
        members = [info for info in archive.infolist() if info.filename.endswith(".npy")]
        if len(members) > _MOST_MEMBERS:
            raise RecordingError(
                f"at most {_MOST_MEMBERS} arrays are read, the file holds {len(members)}", code="layout", file=path.name
            )
        for info in members:
            _member(path, archive, info, content)


def _member(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo, content: Content) -> None:
    name = info.filename[:-4]
    with archive.open(info) as stream:
        dtype, shape, fortran, offset = _header(path.name, name, stream)
        if dtype.hasobject:
            content.findings.append(f"{name!r} holds Python objects, which are never loaded; left out")
            return
        _check(path.name, name, dtype, shape, info.file_size - offset)
        wanted = math.prod(shape) * dtype.itemsize
        if math.prod(shape) == 0:
            return
        raw = unpack(path.name, _pieces(stream), wanted, f"the array {name!r}")
    array = raw.view(dtype).reshape(shape, order="F" if fortran else "C")
    if array.size == 1 and array.dtype.kind in "fiu":
        content.numbers[name] = float(array.ravel()[0])
    elif array.dtype.kind in "US":
        content.texts[name] = [str(text) for text in np.atleast_1d(array).ravel()[:4096].astype(str)]
    else:
        content.entries.append(Entry(name, array))


def _header(file: str, name: str, stream: IO[Any]) -> tuple[np.dtype[Any], tuple[int, ...], bool, int]:
    """Type, shape, order and offset of the values of an array."""
    head = io.BytesIO(stream.read(16))
    version = npy.read_magic(head)
    width = 2 if version == (1, 0) else 4
    length = int.from_bytes(head.getvalue()[8 : 8 + width], "little")
    if length > _HEADER:
        raise RecordingError(f"the header of {name!r} says it is {length} bytes long", code="corrupt", file=file)
    rest = stream.read(8 + width + length - len(head.getvalue()))
    whole = io.BytesIO(head.getvalue() + rest)
    npy.read_magic(whole)
    reader = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, fortran, dtype = reader(whole)
    return np.dtype(dtype), tuple(shape), fortran, 8 + width + length


def _check(file: str, name: str, dtype: np.dtype[Any], shape: tuple[int, ...], held: int) -> None:
    wanted = math.prod(shape) * dtype.itemsize
    if dtype.hasobject:
        raise RecordingError(f"{name!r} holds Python objects, which are never loaded", code="unsupported", file=file)
    if wanted != held:
        raise RecordingError(
            f"the array {name!r} of shape {shape} takes {wanted} bytes, the file holds {held}",
            code="truncated" if held < wanted else "corrupt",
            file=file,
            channel=name,
            hint="save the array again",
        )


def _pieces(stream: IO[bytes]) -> Iterator[bytes]:
    while piece := stream.read(BLOCK):
        yield piece
