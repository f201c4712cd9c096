r"""Read Zarr stores (folders, versions 2 and 3), chunk by chunk."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from ..errors import RecordingError
from ..recording import Recording
from ._arrays import Content, Entry, recording_of
from ._sources import decoding

__all__ = ["read_zarr"]

_MOST: Final = 1024
_LARGEST_CHUNK: Final = 1 << 28
_MOST_CHUNKS: Final = 1_000_000


def read_zarr(
    path: str | Path,
    *,
    fs: float | None = None,
    roles: Mapping[str, str] | None = None,
    units: Mapping[str, str] | None = None,
) -> Recording:
    r"""Read the arrays of a Zarr folder, a stretch at a time.

    Arguments:
        path: The folder.
        fs: Sampling rate [Hz] where the store states none.
        roles: Roles by array name; `TIME` names the time.
        units: Units by array name or role.

    Returns:
        The recording.

    Raises:
        RecordingError: If the store is damaged, lacks chunks, or holds no signals.

    Example:
        >>> import tempfile, zarr, numpy as np
        >>> from pathlib import Path
        >>> from pulsebayes.waveforms.readers import read_zarr
        >>> path = Path(tempfile.mkdtemp()) / "demo.zarr"
        >>> group = zarr.open_group(path, mode="w")
        >>> wave = group.create_array("ABP", data=np.linspace(80, 120, 1000))
        >>> wave.attrs.update({"units": "mmHg", "fs": 125.0})
        >>> read_zarr(path).channel("ART").duration_s
        8.0
    """
    import zarr

    path = Path(path)
    content = Content()
    with decoding(path.name, "a Zarr store"):
        store = zarr.open(store=str(path), mode="r")
        if isinstance(store, zarr.Array):
            _array(path.name, path.stem, store, content)
        else:
            content.attrs[""] = dict(store.attrs)
            _walk(path.name, store, "", content, 0)
    return recording_of(path.name, content, fs=fs, roles=roles, units=units)


def _walk(file: str, group: Any, prefix: str, content: Content, depth: int) -> None:
    import zarr

    if depth > 8:
        raise RecordingError("groups nested deeper than 8", code="layout", file=file)
    for name, item in sorted(group.members(max_depth=0)):
        if len(content.entries) > _MOST:
            raise RecordingError(f"more than {_MOST} arrays", code="layout", file=file)
        if isinstance(item, zarr.Array):
            _array(file, f"{prefix}{name}", item, content)
        else:
            content.attrs[f"{prefix}{name}"] = dict(item.attrs)
            _walk(file, item, f"{prefix}{name}/", content, depth + 1)


def _array(file: str, path: str, item: Any, content: Content) -> None:
    kind, size = item.dtype.kind, int(np.prod(item.shape, dtype=np.float64))
    if size == 0 or kind not in "fiubMSU":
        return
    chunk = int(np.prod(item.shards or item.chunks, dtype=np.float64)) * item.dtype.itemsize
    if chunk > _LARGEST_CHUNK:
        raise RecordingError(
            f"chunks of {chunk / 1e6:.0f} MB, at most {_LARGEST_CHUNK / 1e6:.0f} MB are unpacked at once",
            code="too-large",
            file=file,
            channel=path,
            hint="write the array with smaller chunks",
        )
    _check_chunks(file, path, item, chunk)
    if size == 1 and kind in "fiu":
        content.numbers[path] = float(np.asarray(item[...]).ravel()[0])
    elif kind in "SU":
        content.texts[path] = [str(text) for text in np.asarray(item[...]).ravel()[:4096].astype(str)]
    else:
        content.entries.append(Entry(path, item, dict(item.attrs)))


def _check_chunks(file: str, path: str, item: Any, chunk: int) -> None:
    """An absent chunk reads as the fill value: fine where that is NaN, else a number nobody wrote."""
    fill = item.fill_value
    sizes = item.shards or item.chunks
    wanted = int(np.prod([-(-n // c) for n, c in zip(item.shape, sizes, strict=True)], dtype=np.float64))
    if wanted > _MOST_CHUNKS:  # merely to list their names would fill the memory
        raise RecordingError(
            f"expected at most {_MOST_CHUNKS:,} chunks, the header states {wanted:,}",
            code="corrupt",
            file=file,
            channel=path,
            hint="copy the folder again, whole, or write the array with larger chunks",
        )
    if item.dtype.kind == "f" and fill is not None and np.isnan(fill):
        return
    held = int(item.nshards_initialized if item.shards else item.nchunks_initialized)
    if held < wanted:
        raise RecordingError(
            f"expected {wanted} chunks, {held} are there; the rest would read as {fill}",
            code="truncated",
            file=file,
            channel=path,
            hint="copy the folder again, whole",
        )
