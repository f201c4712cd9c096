r"""One door for all formats."""

from __future__ import annotations

import math
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Final

from ..errors import RecordingError
from ..recording import Recording
from ._sniff import sniff

__all__ = ["read"]

_LONGEST_S: Final = 60 * 86400.0
"""A recording that would last longer has a wrong rate or start [s]."""
_HIGHEST_HZ: Final = 1.0e6
_READERS: Final = {
    "csv": (".csv", "read_csv"),
    "wfdb": (".wfdb", "read_wfdb"),
    "vital": (".vital", "read_vital"),
    "edf": (".edf", "read_edf"),
    "mat": (".mat", "read_mat"),
    "hdf5": (".hdf5", "read_hdf5"),
    "netcdf": (".netcdf", "read_netcdf"),
    "numpy": (".npz", "read_npz"),
    "parquet": (".parquet", "read_parquet"),
    "zarr": (".zarr", "read_zarr"),
    "labchart": (".labchart", "read_labchart"),
}


def read(
    path: str | Path,
    *,
    fs: float | None = None,
    roles: Mapping[str, str] | None = None,
    units: Mapping[str, str] | None = None,
) -> Recording:
    r"""Read a waveform file, whatever its format.

    The format is told by the content. Nothing is resampled and no unit is guessed.

    Arguments:
        path: A CSV/TSV, WFDB, Vital Recorder, EDF/BDF, MATLAB, HDF5, netCDF, NumPy, Parquet, Zarr or LabChart file.
        fs: Sampling rate [Hz], only where the file states none.
        roles: Roles by channel name, such as `{"col 3": "ART"}`.
        units: Units by channel name or role, such as `{"ART": "kPa"}`.

    Returns:
        The recording.

    Raises:
        RecordingError: If the file cannot be read; says where and what to try.
        ValueError: If `fs` is not a positive number.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from pulsebayes.waveforms import read
        >>> path = Path(tempfile.mkdtemp()) / "abp.csv"
        >>> _ = path.write_text("time [s],ABP [kPa]\n" + "".join(f"{i / 100},{12 + i % 3}\n" for i in range(300)))
        >>> recording = read(path)
        >>> recording.channel("ART").fs, recording.channel("ART").unit
        (100.0, 'mmHg')
    """
    if fs is not None and not 0.0 < fs < math.inf:
        raise ValueError(f"fs must be a positive sampling rate [Hz], got {fs}; give for example 125")
    found = sniff(path)
    module, name = _READERS[found.kind]
    reader = getattr(import_module(module, __package__), name)
    try:
        recording: Recording = reader(found.path, fs=fs, roles=roles, units=units)
    except OSError as error:
        raise RecordingError(
            f"cannot be read ({error.strerror or error})", code="unreadable", file=found.path.name
        ) from error
    _check_length(recording)
    return recording


def _check_length(recording: Recording) -> None:
    """Refuse rates and starts that no recording has: whatever goes through one second by second would not end."""
    for channel in recording.channels:
        end_s = channel.start_s + channel.duration_s
        if channel.fs <= _HIGHEST_HZ and end_s <= _LONGEST_S:
            continue
        what = f"{channel.fs:g} Hz, {channel.n_samples} samples from {channel.start_s:g} s to {end_s:g} s"
        raise RecordingError(
            f"at most {_HIGHEST_HZ:g} Hz and {_LONGEST_S / 86400:g} days are read, got {what}",
            code="bad-rate",
            file=recording.name,
            channel=channel.name,
            hint="check --fs, or the rate and start that the file states",
        )
