r"""One door for all formats that are written."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Final

from ..recording import Recording

__all__ = ["SUFFIXES", "write"]

SUFFIXES: Final = {
    ".csv": (".csv", "write_csv"),
    ".hea": (".wfdb", "write_wfdb"),
    ".edf": (".edf", "write_edf"),
    ".bdf": (".edf", "write_edf"),
    ".nc": (".netcdf", "write_netcdf"),
}
"""Module and function by suffix."""


def write(recording: Recording, path: str | Path) -> list[Path]:
    r"""Write a recording in the format that the suffix names.

    Arguments:
        recording: The recording; read a stretch at a time.
        path: The file to write: `.csv`, `.hea` (WFDB), `.edf`, `.bdf` or `.nc`.

    Returns:
        The files written.

    Raises:
        ValueError: If the suffix is none of these, or the format cannot hold the recording.
        RecordingError: If the recording cannot be read to its end.

    Example:
        >>> import tempfile, numpy as np
        >>> from pathlib import Path
        >>> from pulsebayes.waveforms import Recording
        >>> from pulsebayes.waveforms.writers import write
        >>> recording = Recording.from_arrays("demo", {"ABP": np.ones(9)}, fs=125)
        >>> [file.name for file in write(recording, Path(tempfile.mkdtemp()) / "demo.edf")]
        ['demo.edf']
    """
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(f"recordings are written as {', '.join(SUFFIXES)}, got {path.name!r}; choose one of these")
    module, name = SUFFIXES[path.suffix.lower()]
    found: list[Path] = getattr(import_module(module, __package__), name)(recording, path)
    return found
