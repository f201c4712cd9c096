r"""Write text tables: one sample a row, a time column, units in the header, rate and roles in comments above it.

A table has one rate: a recording of several rates becomes several tables, `NAME_125Hz.csv` and so on. Numbers are
written with nine digits, which is all that float32 holds.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import numpy as np

from ..recording import Recording
from ._frames import block, check_target, lead, whole_file

__all__ = ["write_csv"]

_ROWS: Final = 1 << 15


def write_csv(recording: Recording, path: str | Path) -> list[Path]:
    r"""Write a recording as one CSV table, or one for each sampling rate.

    Arguments:
        recording: The recording; read a stretch at a time.
        path: The file to write, ending in `.csv`.

    Returns:
        The files written.

    Raises:
        ValueError: If the suffix is another one, or there is nothing to write.
        RecordingError: If the recording cannot be read to its end.

    Example:
        >>> import tempfile, numpy as np
        >>> from pathlib import Path
        >>> from pulsebayes.waveforms import Recording
        >>> from pulsebayes.waveforms.writers import write_csv
        >>> recording = Recording.from_arrays("demo", {"ABP": [80.5, np.nan, 81]}, fs=125, units={"ABP": "mmHg"})
        >>> (file,) = write_csv(recording, Path(tempfile.mkdtemp()) / "demo.csv")
        >>> print(file.read_text().splitlines()[-2])
        0.008000,
    """
    path = Path(path)
    check_target(recording, path, (".csv",))
    rates: dict[float, list[int]] = {}
    for index, channel in enumerate(recording.channels):
        rates.setdefault(channel.fs, []).append(index)
    written = []
    for fs, indices in rates.items():
        target = path if len(rates) == 1 else path.with_name(f"{path.stem}_{fs:.10g}Hz{path.suffix}")
        _table(recording, indices, fs, target)
        written.append(target)
    return written


def _table(recording: Recording, indices: list[int], fs: float, path: Path) -> None:
    channels = [recording.channels[index] for index in indices]
    names = [_plain(channel.name) for channel in channels]
    heads = [f"{name} [{c.unit}]" if c.unit else name for name, c in zip(names, channels, strict=True)]
    length = max(lead(channel) + channel.n_samples for channel in channels)
    with whole_file(path) as stream:
        lines = [f"# fs = {np.format_float_positional(fs, trim='-')} Hz"]
        lines += [f"# role {name} = {c.role or 'none'}" for name, c in zip(names, channels, strict=True)]
        stream.write(("\n".join([*lines, ",".join(["time [s]", *heads])]) + "\n").encode())
        for first in range(0, length, _ROWS):
            stop = min(first + _ROWS, length)
            columns = [[f"{t:.6f}" for t in (np.arange(first, stop) / fs).tolist()]]
            columns += [_cells(block(recording, index, first, stop)) for index in indices]
            stream.write(("\n".join(map(",".join, zip(*columns, strict=True))) + "\n").encode())


def _cells(wave: np.ndarray) -> list[str]:
    """Nine digits, nothing where a sample is missing; short numbers stay short."""
    return ["" if value != value else f"{value:.9g}" for value in _decimal(wave)]


def _decimal(wave: np.ndarray) -> list[float]:
    """The shortest decimals that give the same float32."""
    rounded = np.round(wave.astype(np.float64), 6)
    same = rounded.astype(np.float32) == wave
    return np.where(same, rounded, wave.astype(np.float64)).tolist()  # type: ignore[no-any-return]


def _plain(name: str) -> str:
    """A name that a header of this table can hold."""
    return re.sub(r"[,;|\t\r\n\"\[\]]", "_", name).strip() or "_"
