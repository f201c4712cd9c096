r"""Time arrays of files that hold arrays: even ones are believed block by block, others go through `_timing`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from jaxtyping import Float

from ..errors import RecordingError
from ..units import convert, unit
from ._sources import BLOCK, Array, column, decoding
from ._timing import Grid, even_grid, round_rate, stated_grid

__all__ = ["Clock", "clock_of", "evenly"]

_NOISE: Final = 1.0e-3  # samples
_LONGEST_START_S: Final = 86400.0
_MOST_UNEVEN: Final = 20_000_000
_PLAUSIBLE_HZ: Final = (5.0, 1.0e5)


@dataclass(frozen=True, eq=False)
class Clock:
    """A time array: its first stamp [s], and its rate where it is even, else all its stamps [s]."""

    start_s: float
    fs: float | None
    stamps_s: Float[np.ndarray, " rows"] | None


def clock_of(file: str, data: Array, name: str, spelled: str | None) -> Clock:
    """Look at a time array, block by block.

    Raises:
        RecordingError: If its unit is not known, or nobody says it and seconds are unlikely.
    """
    axis = int(np.argmax(data.shape))
    length = data.shape[axis]
    read, factor = column(data, axis, None), _seconds(data, spelled)

    def stamps(first: int, stop: int) -> Float[np.ndarray, " rows"]:
        with decoding(file, f"times {first} to {stop}", channel=name):
            block = np.asarray(read(first, stop))
            if block.dtype.kind == "M":
                missing = np.isnat(block)
                block = block.astype("datetime64[ns]").astype(np.int64) / 1.0e9
                return np.where(missing, np.nan, block)
            return block.astype(np.float64) * factor

    begin, end = float(stamps(0, 1)[0]), float(stamps(length - 1, length)[0])
    period = (end - begin) / (length - 1)
    if not (np.isfinite(period) and period > 0):
        return Clock(begin, None, _whole(file, stamps, length, name))
    for first in range(0, length, BLOCK):
        block = stamps(first, min(first + BLOCK, length))
        wrong = np.abs(block - begin - period * np.arange(first, first + len(block)))
        if not float(wrong.max()) < max(_NOISE * period, 4e-16 * abs(end)):
            return Clock(begin, None, _whole(file, stamps, length, name))
    fs = round_rate(1.0 / period, length)
    _check_unit(file, name, spelled, data, fs)
    return Clock(begin, fs, None)


def _seconds(data: Array, spelled: str | None) -> float:
    return convert(1.0, unit(spelled).name, "s") if spelled is not None and data.dtype.kind != "M" else 1.0


def _check_unit(file: str, name: str, spelled: str | None, data: Array, fs: float) -> None:
    if spelled is None and data.dtype.kind != "M" and not _PLAUSIBLE_HZ[0] <= fs <= _PLAUSIBLE_HZ[1]:
        raise RecordingError(
            f"the time array {name!r} names no unit, and in seconds its rate would be {fs:g} Hz",
            code="time-stamps",
            file=file,
            hint="state the unit of the time, or leave it out and give --fs",
        )


def _whole(file: str, stamps: Callable[[int, int], Any], length: int, name: str) -> Float[np.ndarray, " rows"]:
    if length > _MOST_UNEVEN:
        raise RecordingError(
            f"{length} uneven time stamps; at most {_MOST_UNEVEN} are put on a grid",
            code="time-stamps",
            file=file,
            channel=name,
        )
    return np.concatenate([stamps(k, min(k + BLOCK, length)) for k in range(0, length, BLOCK)])


def evenly(
    file: str, clock: Clock, read: Callable[[int, int], Any], length: int, zero: float, fs: float | None
) -> tuple[Callable[[int, int], Any], float, int, float, list[str]]:
    """Reader, rate, number of samples, start [s] and findings of a channel whose times a clock gives."""
    start = clock.start_s - zero if np.isfinite(clock.start_s) else 0.0
    if start > _LONGEST_START_S:
        raise RecordingError(
            f"a channel starts {start / 3600:.1f} h after the first one, at most 24 h are taken for one recording",
            code="time-stamps",
            file=file,
        )
    if clock.fs is not None or clock.stamps_s is None:
        return read, float(clock.fs or 0.0), length, start, []
    with decoding(file, "samples"):
        values = np.concatenate([np.asarray(read(k, min(k + BLOCK, length))) for k in range(0, length, BLOCK)])
        values = values.astype(np.float64)
    same = (values[1:] == values[:-1]) | (np.isnan(values[1:]) & np.isnan(values[:-1]))
    grid = stated_grid(file, clock.stamps_s, fs, 1) if fs is not None else None
    grid = grid or _grid(file, clock.stamps_s, same)
    wave = grid.place(values)
    return (lambda first, stop: wave[first:stop]), grid.fs, grid.n_samples, start, list(grid.findings)


def _grid(file: str, stamps: Float[np.ndarray, " rows"], same: Any) -> Grid:
    try:
        return even_grid(file, stamps, same, 1)
    except RecordingError as error:
        what = error.what.replace(" line ", " row ")
        raise RecordingError(what, code=error.code, file=file, at_s=error.at_s, hint=error.hint) from error
