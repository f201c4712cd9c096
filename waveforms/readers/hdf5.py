r"""Read HDF5 files and what is built on them: MATLAB 7.3, netCDF-4. Datasets stay in the file.

Datasets are channels named by their place; see `_arrays` for how rates, times, units and roles are told. In MATLAB 7.3
files text is stored as 16-bit numbers and arrays transposed; the order of the axes does not matter here.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from ..errors import RecordingError
from ..recording import Recording
from ._arrays import Content, Entry, recording_of
from ._sources import decoding

__all__ = ["read_hdf5"]

_MOST_OBJECTS: Final = 4096
_DEEPEST: Final = 8
_LARGEST_CHUNK: Final = 1 << 28
_LONGEST_TEXT: Final = 65536
_PROBE_S: Final = 15.0


def read_hdf5(
    path: str | Path,
    *,
    fs: float | None = None,
    roles: Mapping[str, str] | None = None,
    units: Mapping[str, str] | None = None,
) -> Recording:
    r"""Read the arrays of an HDF5, netCDF-4 or MATLAB 7.3 file, a stretch at a time.

    Arguments:
        path: The file.
        fs: Sampling rate [Hz] where the file states none.
        roles: Roles by dataset name; `TIME` names the time.
        units: Units by dataset name or role.

    Returns:
        The recording.

    Raises:
        RecordingError: If the file is damaged or cut short, or holds no signals.

    Example:
        >>> import tempfile, h5py, numpy as np
        >>> from pathlib import Path
        >>> from pulsebayes.waveforms.readers import read_hdf5
        >>> path = Path(tempfile.mkdtemp()) / "demo.h5"
        >>> with h5py.File(path, "w") as file:
        ...     wave = file.create_dataset("ABP", data=90 + 30 * np.sin(np.arange(1000) / 20))
        ...     wave.attrs["units"], wave.attrs["fs"] = "mmHg", 125.0
        >>> read_hdf5(path).channel("ART").fs
        125.0
    """
    import h5py

    path = Path(path)
    _probe(path)
    with decoding(path.name, "an HDF5 file"):
        file = h5py.File(path, "r")
    content = Content()
    with decoding(path.name, "HDF5 groups and datasets"):
        content.attrs[""] = _attributes(file)
        _walk(path.name, file, "", content, 0)
    return recording_of(path.name, content, fs=fs, roles=roles, units=units)


def _probe(path: Path) -> None:
    """Refuse a file that the HDF5 library cannot look through: damaged ones may make it loop or crash."""
    source = Path(__file__).with_name("_hdf5_probe.py").read_text(encoding="utf-8")
    try:
        found = subprocess.run(
            [sys.executable, "-P", "-c", source, str(path)], capture_output=True, timeout=_PROBE_S, check=False
        )
        why = found.stdout.decode("utf-8", "replace") or f"the HDF5 library ended with {found.returncode}"
        bad = found.returncode != 0
    except subprocess.TimeoutExpired:
        why, bad = f"the HDF5 library is not through with it after {_PROBE_S:g} s", True
    if bad:
        raise RecordingError(
            f"expected an HDF5 file, the file is damaged ({why})",
            code="corrupt",
            file=path.name,
            hint="copy or export the file again",
        )


def _walk(file: str, group: Any, prefix: str, content: Content, depth: int) -> None:
    import h5py

    if depth > _DEEPEST:
        raise RecordingError(f"groups nested deeper than {_DEEPEST}", code="layout", file=file)
    for name in group:
        if str(name).startswith("#"):  # what MATLAB keeps for cells
            continue
        path = f"{prefix}{name}"
        if len(content.entries) + len(content.numbers) + len(content.texts) > _MOST_OBJECTS:
            raise RecordingError(f"more than {_MOST_OBJECTS} objects", code="layout", file=file)
        if isinstance(group.get(name, getlink=True), h5py.ExternalLink):
            content.findings.append(f"{path!r} lies in another file; left out")
            continue
        item = group[name]
        if isinstance(item, h5py.Group):
            content.attrs[path] = _attributes(item)
            _walk(file, item, f"{path}/", content, depth + 1)
        elif isinstance(item, h5py.Dataset):
            _dataset(file, path, item, content)


def _dataset(file: str, path: str, item: Any, content: Content) -> None:
    if item.external or item.is_virtual:
        content.findings.append(f"{path!r} keeps its values in another file; left out")
        return
    attributes = _attributes(item)
    kind, shape = item.dtype.kind, item.shape
    if shape is None or 0 in shape:
        return
    size = int(np.prod(shape, dtype=np.float64))
    text = attributes.get("MATLAB_class") == "char" and kind == "u" and size < _LONGEST_TEXT
    if text:
        values = np.asarray(item[()]).astype(np.uint16)
        content.texts[path] = ["".join(map(chr, column)).strip() for column in np.atleast_2d(values.T)]
    elif kind in "OSU" and size < _LONGEST_TEXT:
        if kind != "O" or item.dtype.metadata is None or "ref" not in item.dtype.metadata:
            content.texts[path] = [_decoded(value) for value in np.atleast_1d(item[()]).ravel()]
        else:
            _cells(path, item, content)
    elif kind in "fiub" and size == 1:
        content.numbers[path] = float(np.asarray(item[()]).ravel()[0])
    elif kind in "fiub":
        _check_storage(file, path, item)
        content.entries.append(Entry(path, item, attributes))


def _cells(path: str, item: Any, content: Content) -> None:
    """A MATLAB cell array of texts, such as channel names."""
    texts = []
    for reference in np.atleast_1d(item[()]).ravel()[:1024]:
        target = item.file[reference]
        if _attributes(target).get("MATLAB_class") != "char" or target.size > _LONGEST_TEXT:
            return
        texts.append("".join(map(chr, np.asarray(target[()]).ravel().astype(np.uint16))).strip())
    content.texts[path] = texts


def _check_storage(file: str, path: str, item: Any) -> None:
    """Refuse chunks too large to unpack, and datasets of which the file lacks a part."""
    chunk = int(np.prod(item.chunks, dtype=np.float64)) * item.dtype.itemsize if item.chunks else 0
    if chunk > _LARGEST_CHUNK:
        raise RecordingError(
            f"chunks of {chunk / 1e6:.0f} MB, at most {_LARGEST_CHUNK / 1e6:.0f} MB are unpacked at once",
            code="too-large",
            file=file,
            channel=path,
            hint="write the dataset with smaller chunks",
        )
    wanted = int(np.prod(item.shape, dtype=np.float64)) * item.dtype.itemsize
    held = item.id.get_storage_size()
    if item.chunks is None and item.id.get_offset() is not None and held < wanted:
        raise RecordingError(
            f"expected {wanted} bytes of values, the file holds {held}", code="truncated", file=file, channel=path
        )
    if held == 0 or (item.chunks is not None and _absent(item)):
        raise RecordingError(
            "expected values, parts of the dataset were never written",
            code="truncated",
            file=file,
            channel=path,
            hint="the program that wrote the file may have been stopped; export it again",
        )


def _absent(item: Any) -> bool:
    """Whether chunks are missing that would be filled with something else than NaN in silence."""
    if item.dtype.kind == "f" and np.isnan(item.fillvalue):
        return False
    wanted = int(np.prod([-(-n // c) for n, c in zip(item.shape, item.chunks, strict=True)], dtype=np.float64))
    return int(item.id.get_num_chunks()) < wanted


def _attributes(item: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key in item.attrs:
        if key in ("DIMENSION_LIST", "REFERENCE_LIST"):
            continue
        value = item.attrs[key]
        found[key] = _decoded(value) if isinstance(value, (bytes, np.bytes_)) else value
    return found


def _decoded(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
