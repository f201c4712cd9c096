r"""Write netCDF-4: one group a sampling grid, one float32 variable a channel with units, role, rate and start."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

import numpy as np

from ..recording import Recording
from ._frames import BLOCK_S, check_target

__all__ = ["write_netcdf"]

_CHUNK: Final = 1 << 16


def write_netcdf(recording: Recording, path: str | Path) -> list[Path]:
    r"""Write a recording as netCDF-4, exactly.

    Channels that share rate and start stand in one group (`125Hz`) with the coordinate `time` [s];
    `xarray.open_datatree` reads the file. A `/` in a name is written `|`, the name itself is an attribute.

    Arguments:
        recording: The recording; read a stretch at a time.
        path: The file to write, ending in `.nc`.

    Returns:
        The file written.

    Raises:
        ValueError: If the suffix is another one, or there is nothing to write.
        RecordingError: If the recording cannot be read to its end.

    Example:
        >>> import tempfile, numpy as np
        >>> from pathlib import Path
        >>> from pulsebayes.waveforms import Recording, read
        >>> from pulsebayes.waveforms.writers import write_netcdf
        >>> recording = Recording.from_arrays("demo", {"ABP": [80.1, np.nan, 81]}, fs=125, units={"ABP": "mmHg"})
        >>> (file,) = write_netcdf(recording, Path(tempfile.mkdtemp()) / "demo.nc")
        >>> bool(np.array_equal(read(file).values("ART"), recording.values("ART"), equal_nan=True))
        True
    """
    import h5netcdf

    path = Path(path)
    check_target(recording, path, (".nc",))
    part = path.with_name(f"{path.name}.part")
    try:
        part.touch()  # says what is wrong with the folder, where HDF5 only says that something is
        with h5netcdf.File(part, "w") as file:
            file.attrs["title"] = "waveform recording"
            file.attrs["Conventions"] = "CF-1.8"
            file.attrs["source"] = recording.name
            for name, indices in _grids(recording).items():
                _group(file.create_group(name), recording, indices)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    return [path]


def _grids(recording: Recording) -> dict[str, list[int]]:
    """Channels by group: same rate, start and length."""
    grids: dict[tuple[float, float, int], list[int]] = {}
    for index, channel in enumerate(recording.channels):
        if channel.n_samples:
            grids.setdefault((channel.fs, channel.start_s, channel.n_samples), []).append(index)
    named: dict[str, list[int]] = {}
    for (fs, _, _), indices in grids.items():
        base, k = f"{fs:.10g}Hz", 2
        name = base
        while name in named:
            name, k = f"{base}_{k}", k + 1
        named[name] = indices
    return named


def _group(group: Any, recording: Recording, indices: list[int]) -> None:
    first = recording.channels[indices[0]]
    length = first.n_samples
    group.dimensions = {"time": length}
    packed: dict[str, Any] = {"chunks": (min(_CHUNK, length),), "compression": "gzip", "compression_opts": 1,
                              "shuffle": True}  # fmt: skip
    time = group.create_variable("time", ("time",), "f8", **packed)
    time.attrs["units"], time.attrs["long_name"] = "s", "time from the start of the recording"
    size = max(1, round(BLOCK_S * first.fs))
    for begin in range(0, length, size):
        time[begin : begin + size] = first.start_s + np.arange(begin, min(begin + size, length)) / first.fs
    taken = {"time"}
    for index in indices:
        channel = recording.channels[index]
        name = channel.name.replace("/", "|").strip() or f"channel_{index + 1}"
        while name in taken:
            name += "_"
        taken.add(name)
        wave = group.create_variable(name, ("time",), "f4", fillvalue=np.float32(np.nan), **packed)
        attributes = {
            "name": channel.name, "units": channel.unit or "", "role": channel.role or "", "fs": channel.fs,
            "start_s": channel.start_s, "order": index,
        }  # fmt: skip
        for key, value in attributes.items():
            wave.attrs[key] = value
        if channel.findings:
            wave.attrs["findings"] = "; ".join(channel.findings)
        for begin in range(0, length, size):
            stop = min(begin + size, length)
            start_s = channel.start_s + (begin - 0.5) / channel.fs
            wave[begin:stop] = recording._read(index, start_s, channel.start_s + (stop - 0.5) / channel.fs)
