r"""Read text tables (CSV, TSV): one sample a row, one channel a column; or one second a row, one channel.

The rate comes from a time column, from a column or comment that states it, or from `--fs`; never from a guess. Units
stand in the header (`ABP [mmHg]`, `ABP (mmHg)`, `ABP_mmHg`, or a second header row) or come from `--unit`. A time
column is known by its name (`time [s]`, `seconds`, `timestamp`, ...) or by `--channel "col 1=TIME"`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Bool

from ..errors import RecordingError
from ..labelling import RawChannel, label_channels
from ..recording import Recording, _Arrays
from ..units import convert, unit
from ._long_table import LongTable, long_table
from ._seconds import holds_seconds, read_seconds
from ._sources import Sliced
from ._table import Column, Table, read_table
from ._timing import Grid, even_grid, round_rate, stated_grid

__all__ = ["read_csv"]

_TIME: Final = re.compile(
    r"(?:elapsed |relative |abs(?:olute)? |sample |date[ _]?)?(?:time|times|time[ _]?stamps?|datetime)|"
    r"t|seconds?|secs?|m(?:illi)?s(?:ec(?:onds?)?)?",
    re.IGNORECASE,
)
_RATE: Final = re.compile(r"fs|sampl\w*[ _]*(?:freq\w*|rate)(?:[ _]*hz)?|sfreq|frequency", re.IGNORECASE)
_PLAUSIBLE_HZ: Final = (5.0, 1.0e5)
_STRAY: Final = 0.02  # samples by which the first row of a block may be off in a long table


def read_csv(
    path: str | Path,
    *,
    fs: float | None = None,
    roles: Mapping[str, str] | None = None,
    units: Mapping[str, str] | None = None,
) -> Recording:
    r"""Read a text table.

    Delimiter (comma, semicolon, tab, bar, blanks) and decimal comma are found from the text; empty cells, `NA`, `NaN`
    and the like are missing. Columns without a name are called `col 1`, `col 2`, ... by their place in the file.

    Arguments:
        path: The file, UTF-8.
        fs: Sampling rate [Hz]; required where the file has no time column and states none.
        roles: Roles by column name; the role `TIME` names the time column.
        units: Units by column name or role.

    Returns:
        The recording.

    Raises:
        RecordingError: If the text is no table of numbers, its rate is not known (`no-rate`) or contradicts `fs`
            (`bad-rate`), or its time stamps are uneven (`time-stamps`); with line and column.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from pulsebayes.waveforms.readers import read_csv
        >>> path = Path(tempfile.mkdtemp()) / "abp.csv"
        >>> _ = path.write_text("ABP_mmHg\n80\n81\n82\n83\n")
        >>> read_csv(path, fs=2).duration_s
        2.0
    """
    path = Path(path)
    delimiter = holds_seconds(path)
    if delimiter is not None:
        return read_seconds(path, delimiter, fs=fs, roles=roles, units=units)
    long = long_table(path)
    if long is not None:
        found = _long_recording(path.name, long, fs, dict(roles or {}), units)
        if found is not None:
            return found
    table = read_table(path)
    time, rate, signals, wishes = _parts(path.name, table, dict(roles or {}))
    kept = [time, rate, *signals]
    if not signals:
        raise RecordingError("expected at least one column of numbers beside the time", code="no-data", file=path.name)
    stated = _stated_rate(path.name, table, rate)
    findings = [*table.findings, *(f"column {c.label!r} left out" for c in table.columns if c not in kept)]
    if time is None and table.empty_line is not None:
        raise RecordingError(
            f"line {table.empty_line} is empty; without a time column that may or may not be a missing sample",
            code="corrupt",
            file=path.name,
            hint="write NaN for a missing sample, or remove the line",
        )
    if time is None:
        hz = _one_rate(path.name, stated, fs, len(signals))
        arrays = [_finite(column) for column in signals]
    else:
        grid = _grid(path.name, table, time, signals, stated if fs is None else fs)
        hz = grid.fs
        _check_rate(path.name, hz, fs, stated)
        findings += grid.findings
        arrays = [grid.place(_finite(column).astype(np.float64)) for column in signals]
    channels = [_raw(table, column, wave, hz) for column, wave in zip(signals, arrays, strict=True)]
    labelled = label_channels(path.name, channels, roles=wishes, units=units)
    return Recording(path.name, labelled, _Arrays(tuple(arrays)), tuple(findings))


def _long_recording(
    file: str, long: LongTable, fs: float | None, roles: dict[str, str], units: Mapping[str, str] | None
) -> Recording | None:
    """A long table as a recording that reads its rows when asked; `None` where its times need the whole look."""
    time, rate, signals, wishes = _parts(file, long.head, roles)
    if not signals or (time is not None and time.clock):
        return None
    stated = _stated_rate(file, long.head, rate)
    start, hz = 0.0, 0.0
    if time is None:
        hz = _one_rate(file, stated, fs, len(signals))
    else:
        found = _even_blocks(long, time)
        if found is None:
            return None
        start, hz = found
        _check_rate(file, hz, fs, stated)
    readers = [partial(_rows_of, file, long, c, None if time is None else (time, start, hz)) for c in signals]
    channels = [replace(_raw(long.head, c, c.values, hz), n_samples=long.n_rows, findings=()) for c in signals]
    labelled = label_channels(file, channels, roles=wishes, units=units)
    left = [c for c in long.head.columns if c not in (time, rate, *signals)]
    notes = (*long.head.findings, *(f"column {c.label!r} left out" for c in left))
    source = Sliced(file, tuple(c.name for c in labelled), tuple(c.fs for c in labelled), tuple(readers))
    return Recording(file, labelled, source, notes)


def _even_blocks(long: LongTable, time: Column) -> tuple[float, float] | None:
    """First time [s] and rate [Hz], if the first row of every block is where the others say."""
    rows, stamps = long.stamps(time.number - 1)
    known = _time_unit(long.layout.file, time)
    seconds = convert(stamps, known, "s")
    period = (seconds[-1] - seconds[0]) / rows[-1]
    if not (np.isfinite(seconds).all() and period > 0):
        return None
    fs = round_rate(1.0 / period, long.n_rows)
    even = bool(np.abs(seconds - seconds[0] - rows / fs).max() < _STRAY / fs)
    return (float(seconds[0]), fs) if even and _PLAUSIBLE_HZ[0] <= fs <= _PLAUSIBLE_HZ[1] else None


def _rows_of(
    file: str, long: LongTable, column: Column, clock: tuple[Column, float, float] | None, first: int, stop: int
) -> np.ndarray:
    """Values of one column, after a look at the times of their rows."""
    numbers = long.rows(first, stop)
    places = [c.number for c in long.head.columns]
    if clock is not None:
        time, start, fs = clock
        stamps = convert(numbers[:, places.index(time.number)], _time_unit(file, time), "s")
        stray = ~(np.abs(stamps - start - np.arange(first, stop) / fs) < 0.5 / fs)
        if stray.any():
            row = int(stray.argmax())
            raise RecordingError(
                f"expected a row every {1 / fs:g} s, line {long.layout.first_line + first + row} is at "
                f"{stamps[row]:.6g} s where {start + (first + row) / fs:.6g} s are expected",
                code="time-stamps",
                file=file,
                at_s=(first + row) / fs,
            )
    values: np.ndarray = numbers[:, places.index(column.number)]
    return values


def _raw(table: Table, column: Column, wave: np.ndarray, fs: float) -> RawChannel:
    label = column.label
    return RawChannel(
        label,
        column.unit,
        fs,
        len(wave),
        findings=_notes(wave),
        named=bool(column.name),
        role=table.roles.get(label),
        role_known=label in table.roles,
    )


def _parts(
    file: str, table: Table, roles: dict[str, str]
) -> tuple[Column | None, Column | None, list[Column], dict[str, str]]:
    """Time column, rate column, signals, and the roles that remain."""
    wished = [name for name, role in roles.items() if role.strip().upper() == "TIME"]
    time: Column | None = None
    if wished:
        time = next((c for c in table.columns if wished[0].strip() in (c.label, f"col {c.number}")), None)
        if time is None or len(wished) > 1:
            raise RecordingError(
                f"expected one time column, {wished} names none or several",
                code="channel-missing",
                file=file,
                hint=f'--channel "{table.columns[0].label}=TIME"' if table.columns else None,
            )
    taken = {name.strip() for name in roles}
    free = [c for c in table.columns if c.label not in taken]
    time = time or next((c for c in free if c.name and _TIME.fullmatch(c.name)), None)
    time = time or next((c for c in table.columns if c.clock), None)
    rate = next((c for c in free if _RATE.fullmatch(c.name) and len(set(c.values[np.isfinite(c.values)])) == 1), None)
    rest = [c for c in table.columns if c is not time and c is not rate and not c.clock]
    once = [c for c in rest if len(c.values) == 1 and any(len(o.values) > 1 for o in table.columns)]
    signals = [c for c in rest if c not in once]
    return time, rate, signals, {name: role for name, role in roles.items() if name not in wished}


def _stated_rate(file: str, table: Table, column: Column | None) -> float | None:
    stated = table.stated_fs
    if column is not None:
        stated = float(column.values[np.isfinite(column.values)][0])
    if stated is not None and not 0.0 < stated < math.inf:
        raise RecordingError(f"a sampling rate must be positive, the file says {stated}", code="bad-rate", file=file)
    return stated


def _one_rate(file: str, stated: float | None, fs: float | None, n_columns: int) -> float:
    if stated is None and fs is None:
        second = "; or, if a row is a time and one second of samples, the header `time [s],ABP [mmHg]` above it"
        raise RecordingError(
            "the file has no time column and states no sampling rate",
            code="no-rate",
            file=file,
            hint="--fs HZ, for example --fs 125" + (second if n_columns > 16 else ""),
        )
    if stated is not None and fs is not None and not math.isclose(stated, fs, rel_tol=1.0e-3):
        raise RecordingError(
            f"--fs says {fs:g} Hz, the file {stated:g} Hz", code="bad-rate", file=file, hint="leave --fs out"
        )
    return float(fs if stated is None else stated)  # type: ignore[arg-type]


def _check_rate(file: str, found: float, fs: float | None, stated: float | None) -> None:
    for name, claim in (("--fs", fs), ("the file", stated)):
        if claim is not None and not math.isclose(claim, found, rel_tol=1.0e-2):
            raise RecordingError(
                f"{name} says {claim:g} Hz, the time column {found:g} Hz",
                code="bad-rate",
                file=file,
                hint="leave --fs out, or name the unit of time in the header: `time [ms]`",
            )


def _spelled(time: Column) -> str | None:
    return time.unit or ("ms" if re.match(r"m(illi)?s", time.name.casefold()) else None)


def _time_unit(file: str, time: Column) -> str:
    """Unit of the time column, seconds where it names none."""
    spelled = _spelled(time)
    try:
        known = unit(spelled) if spelled else unit("s")
    except ValueError as error:
        raise RecordingError(
            f"the unit {spelled!r} of the time column is not known", code="unknown-unit", file=file, hint="`time [s]`"
        ) from error
    if known.kind != "time":
        raise RecordingError(
            f"expected a unit of time, got {spelled!r}", code="unknown-unit", file=file, hint="`time [s]`"
        )
    return known.name


def _grid(file: str, table: Table, time: Column, signals: list[Column], claimed: float | None) -> Grid:
    spelled = _spelled(time)
    stamps = convert(time.values, _time_unit(file, time), "s")
    if claimed is not None:
        taken = stated_grid(file, stamps, claimed, table.first_line)
        if taken is not None:
            return taken
    grid = even_grid(file, stamps, _identical(signals), table.first_line)
    if spelled is None and not _PLAUSIBLE_HZ[0] <= grid.fs <= _PLAUSIBLE_HZ[1]:
        raise RecordingError(
            f"the time column {time.label!r} names no unit, and in seconds its rate would be {grid.fs:g} Hz",
            code="time-stamps",
            file=file,
            hint="name the unit in the header: `time [ms]`",
        )
    return grid


def _identical(signals: list[Column]) -> Bool[np.ndarray, " pairs"]:
    same = np.ones(max(len(signals[0].values) - 1, 0), dtype=bool)
    for column in signals:
        before, after = column.values[:-1], column.values[1:]
        same &= (before == after) | (np.isnan(before) & np.isnan(after))
    return same


def _finite(column: Column) -> np.ndarray:
    with np.errstate(over="ignore"):
        values = column.values.astype(np.float32)
    values[~np.isfinite(values)] = np.nan
    return values


def _notes(wave: np.ndarray) -> tuple[str, ...]:
    share = float(np.isnan(wave).mean()) if len(wave) else 1.0
    return (f"{share:.1%} of the samples are missing",) if share else ()
